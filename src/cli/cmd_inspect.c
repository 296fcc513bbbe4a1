// orion inspect: what is in a file: a model, an adapter, a run of training, a MIL text, a blob file, safetensors, a
// tokenizer, a record of device calls.
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/commands.h"
#include "device/record/record.h"
#include "mil/bind.h"
#include "mil/blob.h"
#include "model/model.h"
#include "model/peft_config.h"
#include "model/safetensors.h"
#include "orion/tokenizer.h"
#include "train/checkpoint.h"
#include "train/log.h"

static const cli_option options[] = {
    {"all", 0, CLI_FLAG, NULL, "every tensor, not only the first twenty", false},
    {"svg", 0, CLI_TEXT, "OUT.svg", "of a run: write its loss curve", false},
    {0},
};

#define FEW 20

static json_t *ints_json(int n, const int64_t *v) {
  json_t *list = json_array();
  for (int i = 0; i < n; i++) json_array_append_new(list, json_integer(v[i]));
  return list;
}

// ---- programs -------------------------------------------------------------------------------------------------------

static void type_text(const orion_type *t, char *out, size_t size) {
  if (!orion_type_is_tensor(t)) {
    snprintf(out, size, "no tensor");
    return;
  }
  size_t n = (size_t)snprintf(out, size, "%s [", orion_dtype_name(t->dtype));
  for (int i = 0; i < t->rank && n < size; i++) {
    n += t->dims[i] == ORION_DIM_UNKNOWN ? (size_t)snprintf(out + n, size - n, "%s?", i ? ", " : "")
                                         : (size_t)snprintf(out + n, size - n, "%s%lld", i ? ", " : "", (long long)t->dims[i]);
  }
  if (n < size) snprintf(out + n, size - n, "]");
}

static json_t *ios_json(const orion_function *f, const orion_value_id *ids, size_t n) {
  json_t *list = json_array();
  for (size_t i = 0; i < n; i++) {
    char text[200];
    type_text(orion_value_type(f, ids[i]), text, sizeof text);
    json_array_append_new(list, json_pack("{s:s, s:s}", "name", f->values[ids[i]].name, "type", text));
  }
  return list;
}

static json_t *function_json(const orion_function *f) {
  size_t ops = 0, constants = 0, bytes = 0;
  json_t *kinds = json_object();
  ORION_EACH_OP(f, id) {
    const orion_op *op = &f->ops[id];
    size_t n;
    if (op->code == ORION_OP_const) {
      constants++;
      if (orion_type_bytes(orion_value_type(f, op->results[0]), &n)) bytes += n;
      continue;
    }
    ops++;
    json_object_set_new(kinds, op->spelling, json_integer(1 + json_integer_value(json_object_get(kinds, op->spelling))));
  }
  return json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:o}", "name", f->name, "opset", f->opset, "inputs",
                   ios_json(f, f->params, f->n_params), "outputs", ios_json(f, f->outputs, f->n_outputs), "ops",
                   (json_int_t)ops, "constants", (json_int_t)constants, "constant_bytes", (json_int_t)bytes, "kinds", kinds);
}

static void print_program(json_t *o) {
  size_t i, k;
  json_t *f, *io;
  const char *kind;
  printf("MIL program %s\n", json_string_value(json_object_get(o, "version")));
  json_array_foreach(json_object_get(o, "functions"), i, f) {
    printf("func %s<%s>: %lld operations, %lld constants of %lld bytes\n", json_string_value(json_object_get(f, "name")),
           json_string_value(json_object_get(f, "opset")), (long long)json_integer_value(json_object_get(f, "ops")),
           (long long)json_integer_value(json_object_get(f, "constants")),
           (long long)json_integer_value(json_object_get(f, "constant_bytes")));
    for (int side = 0; side < 2; side++) {
      json_array_foreach(json_object_get(f, side ? "outputs" : "inputs"), k, io) {
        printf("  %s %s: %s\n", side ? "out" : "in ", json_string_value(json_object_get(io, "name")),
               json_string_value(json_object_get(io, "type")));
      }
    }
    json_object_foreach(json_object_get(f, "kinds"), kind, io) printf("  %5lld %s\n", (long long)json_integer_value(io), kind);
  }
}

static orion_status inspect_program(const char *path, json_t **out, orion_error *err) {
  orion_program *p;
  orion_mil_open_options unbound = {.unbound = true};
  ORION_TRY(orion_mil_open(NULL, path, &unbound, &p, err));
  json_t *functions = json_array();
  for (size_t i = 0; i < p->n_functions; i++) json_array_append_new(functions, function_json(p->functions[i]));
  *out = json_pack("{s:s, s:s, s:o}", "kind", "program", "version", p->version, "functions", functions);
  orion_program_destroy(p);
  return ORION_OK;
}

// ---- lists of tensors -----------------------------------------------------------------------------------------------

static void print_tensors(json_t *o, bool all) {
  json_t *list = json_object_get(o, "tensors"), *t, *d;
  size_t i, k, n = json_array_size(list);
  printf("%s: %zu tensors\n", json_string_value(json_object_get(o, "kind")), n);
  json_array_foreach(list, i, t) {
    if (i >= FEW && !all) {
      printf("  and %zu more (--all)\n", n - i);
      break;
    }
    const char *name = json_string_value(json_object_get(t, "name"));
    printf("  %-*s %-6s", name ? 48 : 0, name ? name : "", json_string_value(json_object_get(t, "dtype")));
    json_array_foreach(json_object_get(t, "shape"), k, d) printf("%s%lld", k ? " x " : " ", (long long)json_integer_value(d));
    printf("  at %lld\n", (long long)json_integer_value(json_object_get(t, "offset")));
  }
}

// Counts by kind, the device, and the first error.
static orion_status inspect_record(const char *path, json_t **out, orion_error *err) {
  orion_record *r;
  orion_record_entry e;
  size_t counts[ORION_RECORD_KINDS] = {0}, failed = 0;
  double seconds = 0;
  bool more = true;
  ORION_TRY(orion_record_open(NULL, path, &r, err));
  *out = json_pack("{s:s}", "kind", "record");
  orion_status status = orion_record_next(r, &e, &more, err);
  for (; status == ORION_OK && more; status = orion_record_next(r, &e, &more, err)) {
    counts[e.kind]++;
    if (e.kind == ORION_RECORD_RUN) seconds += e.seconds;
    if (e.kind == ORION_RECORD_OPEN) {
      json_object_set_new(*out, "device", json_stringn(e.spec.text, e.spec.n));
      json_object_set_new(*out, "numerics", json_stringn(e.numerics.text, e.numerics.n));
    }
    if (e.status != ORION_OK && failed++ == 0) {
      json_object_set_new(*out, "first_error", json_stringn(e.message.text, e.message.n));
    }
  }
  for (int k = ORION_RECORD_PROGRAM; k < ORION_RECORD_KINDS; k++) {
    json_object_set_new(*out, orion_record_kind_name((uint32_t)k), json_integer((json_int_t)counts[k]));
  }
  json_object_set_new(*out, "errors", json_integer((json_int_t)failed));
  json_object_set_new(*out, "run_ms", json_real(1e3 * seconds));
  json_object_set_new(*out, "ends_inside_a_call", json_boolean(orion_record_cut(r)));
  orion_record_close(r);
  if (status != ORION_OK) {
    json_decref(*out);
    *out = NULL;
  }
  return status;
}

static orion_status inspect_blob(const char *path, json_t **out, orion_error *err) {
  orion_blob_file *f;
  ORION_TRY(orion_blob_open(NULL, path, &f, err));
  size_t n;
  const orion_blob_tensor *tensors = orion_blob_tensors(f, &n);
  json_t *list = json_array();
  for (size_t i = 0; i < n; i++) {
    json_array_append_new(list, json_pack("{s:s, s:[I], s:I, s:I}", "dtype", orion_dtype_name(tensors[i].dtype), "shape",
                                          (json_int_t)tensors[i].elements, "offset", (json_int_t)tensors[i].record, "bytes",
                                          (json_int_t)tensors[i].size));
  }
  *out = json_pack("{s:s, s:o}", "kind", "blob file", "tensors", list);
  orion_blob_close(f);
  return ORION_OK;
}

static orion_status inspect_safetensors(const char *path, json_t **out, orion_error *err) {
  orion_safetensors *s;
  ORION_TRY(orion_safetensors_open(NULL, path, &s, err));
  json_t *list = json_array(), *meta = json_object();
  for (size_t i = 0; i < s->n_tensors; i++) {
    json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:I, s:I}", "name", s->tensors[i].name, "dtype",
                                          s->tensors[i].spelling, "shape", ints_json(s->tensors[i].rank, s->tensors[i].dims),
                                          "offset", (json_int_t)s->tensors[i].offset, "bytes", (json_int_t)s->tensors[i].size));
  }
  for (size_t i = 0; i < s->n_metadata; i++) {
    json_object_set_new(meta, s->metadata[i].key, json_string(s->metadata[i].value));
  }
  *out = json_pack("{s:s, s:o, s:o}", "kind", "safetensors", "metadata", meta, "tensors", list);
  orion_safetensors_close(s);
  return ORION_OK;
}

// ---- models and tokenizers ------------------------------------------------------------------------------------------

static orion_status inspect_model(const char *path, json_t **out, orion_error *err) {
  orion_model *m;
  ORION_TRY(orion_model_open(NULL, path, &m, err));
  const orion_config *c = &m->config;
  *out = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I}", "kind", "model", "model_type",
                   c->model_type, "parameters", (json_int_t)orion_config_parameters(c), "vocab", (json_int_t)c->vocab,
                   "context", (json_int_t)c->context, "dim", (json_int_t)c->dim, "hidden", (json_int_t)c->hidden, "layers",
                   (json_int_t)c->layers, "heads", (json_int_t)c->heads, "kv_heads", (json_int_t)c->kv_heads, "head_dim",
                   (json_int_t)c->head_dim, "tied", c->tied, "file_bytes", (json_int_t)m->file_bytes);
  orion_model_close(m);
  return ORION_OK;
}

static orion_status inspect_tokenizer(const char *path, json_t **out, orion_error *err) {
  orion_tokenizer *t;
  ORION_TRY(orion_tokenizer_open(NULL, path, NULL, &t, err));
  *out = json_pack("{s:s, s:s, s:i, s:i, s:i}", "kind", "tokenizer", "type", orion_tokenizer_kind(t), "vocab",
                   orion_tokenizer_vocab_size(t), "bos", orion_tokenizer_bos(t), "eos", orion_tokenizer_eos(t));
  orion_tokenizer_close(t);
  return ORION_OK;
}

static orion_status read_peft(const char *path, orion_peft_config *out, orion_error *err) {
  char *text;
  size_t n;
  ORION_TRY(orion_file_read(NULL, path, (size_t)1 << 20, &text, &n, err));
  orion_status status = orion_peft_config_read(text, n, path, out, err);
  orion_free(NULL, text, n + 1, 1);
  return status;
}

// A PEFT directory, without the model that it is for: its settings, and its tensors counted.
static orion_status inspect_adapter(const char *path, json_t **out, orion_error *err) {
  char *config = NULL, *tensors = NULL;
  uint64_t parameters = 0;
  orion_peft_config peft = {0};
  orion_safetensors *s;
  orion_status status = cli_path(&config, err, "%s/adapter_config.json", path);
  if (status == ORION_OK) status = cli_path(&tensors, err, "%s/adapter_model.safetensors", path);
  if (status == ORION_OK) status = read_peft(config, &peft, err);
  if (status == ORION_OK) status = orion_safetensors_open(NULL, tensors, &s, err);
  if (status == ORION_OK) {
    for (size_t i = 0; i < s->n_tensors; i++) {
      uint64_t elements = 1;
      for (int k = 0; k < s->tensors[i].rank; k++) elements *= (uint64_t)s->tensors[i].dims[k];
      parameters += elements;
    }
    char targets[256] = "";
    json_t *list = json_object_get(peft.root, "target_modules"), *item;
    size_t i, at = 0;
    json_array_foreach(list, i, item) {
      const char *name = json_string_value(item);
      if (name && at < sizeof targets) at += (size_t)snprintf(targets + at, sizeof targets - at, "%s%s", i ? "," : "", name);
    }
    *out = json_pack("{s:s, s:I, s:f, s:b, s:s, s:I, s:I, s:I}", "kind", "adapter", "rank", (json_int_t)peft.rank, "alpha",
                     peft.alpha, "rslora", peft.rslora, "targets", targets, "parameters", (json_int_t)parameters, "modules",
                     (json_int_t)(s->n_tensors / 2), "file_bytes", (json_int_t)s->size);
    orion_safetensors_close(s);
  }
  orion_peft_config_free(&peft);
  orion_strfree(NULL, config);
  orion_strfree(NULL, tensors);
  return status;
}

// ---- runs and checkpoints --------------------------------------------------------------------------------------------

static orion_status write_curve(const orion_curve *c, const char *title, const char *path, orion_error *err) {
  orion_strbuf svg;
  orion_strbuf_init(&svg, NULL);
  orion_status status = orion_curve_svg(c, title, &svg, err);
  if (status == ORION_OK) status = orion_file_write(NULL, path, svg.data, svg.size, err);
  orion_strbuf_deinit(&svg);
  return status;
}

// A directory with a log: how far the run is, and what it can be resumed from.
static orion_status inspect_run(const char *path, const char *svg, json_t **out, orion_error *err) {
  orion_curve c;
  char *log;
  ORION_TRY(cli_path(&log, err, "%s/log.jsonl", path));
  orion_status status = orion_curve_read(NULL, log, &c, err);
  orion_strfree(NULL, log);
  if (status != ORION_OK) return status;
  status = svg ? write_curve(&c, path, svg, err) : ORION_OK;
  if (status == ORION_OK) {
    const orion_curve_point *last = &c.train[c.n_train - 1], *eval = c.n_eval ? &c.eval[c.n_eval - 1] : NULL;
    *out = json_pack("{s:s, s:I, s:f, s:f}", "kind", "run", "step", (json_int_t)last->step, "first_loss", c.train[0].loss,
                     "loss", last->loss);
    if (eval) json_object_set_new(*out, "eval_loss", json_real(eval->loss));
    if (svg) json_object_set_new(*out, "svg", cli_json_text(svg));
  }
  orion_curve_free(&c);
  if (status != ORION_OK) return status;
  char *checkpoint;
  json_t *state;
  orion_strbuf warnings;
  orion_strbuf_init(&warnings, NULL);
  if (orion_checkpoint_find(NULL, path, &checkpoint, &state, &warnings, NULL) == ORION_OK) {
    json_object_set_new(*out, "checkpoint", cli_json_text(checkpoint));
    json_object_set_new(*out, "checkpoint_step", json_incref(json_object_get(state, "step")));
    orion_strfree(NULL, checkpoint);
    json_decref(state);
  }
  orion_strbuf_deinit(&warnings);
  return ORION_OK;
}

// A checkpoint is a model too: its fields, with the state of the training behind them.
static orion_status add_state(const char *path, json_t *o, orion_error *err) {
  char *checkpoint;
  json_t *state;
  orion_strbuf warnings;
  orion_strbuf_init(&warnings, NULL);
  orion_status status = orion_checkpoint_find(NULL, path, &checkpoint, &state, &warnings, err);
  orion_strbuf_deinit(&warnings);
  if (status != ORION_OK) return status;
  json_object_set_new(o, "kind", json_string("checkpoint"));
  json_object_set_new(o, "step", json_incref(json_object_get(state, "step")));
  json_object_set_new(o, "tokens", json_incref(json_object_get(state, "tokens")));
  json_t *eval = json_object_get(state, "eval_loss");
  if (eval) json_object_set(o, "eval_loss", eval);
  orion_strfree(NULL, checkpoint);
  json_decref(state);
  return ORION_OK;
}

static void print_fields(json_t *o) {
  const char *key;
  json_t *v;
  json_object_foreach(o, key, v) {
    if (json_is_string(v)) printf("%-12s %s\n", key, json_string_value(v));
    if (json_is_integer(v)) printf("%-12s %lld\n", key, (long long)json_integer_value(v));
    if (json_is_real(v)) printf("%-12s %.6g\n", key, json_real_value(v));
    if (json_is_boolean(v)) printf("%-12s %s\n", key, json_is_true(v) ? "yes" : "no");
  }
}

// A .bin file is a blob file if it begins as one (count, then version 2), else a llama2.c checkpoint or tokenizer.
static bool begins_as_blob(const char *path) {
  orion_file_map map;
  if (orion_file_open_map(path, &map, NULL) != ORION_OK) return false;
  bool blob = map.size >= 68 && map.data[4] == 2 && !map.data[5] && !map.data[6] && !map.data[7] && map.data[64] == 0xEF &&
              map.data[65] == 0xBE;
  orion_file_close_map(&map);
  return blob;
}

static bool has_file(const char *dir, const char *name) {
  char *path = orion_path_join(NULL, dir, name);
  bool has = path && orion_file_exists(path);
  orion_strfree(NULL, path);
  return has;
}

static orion_status inspect(const char *path, const char *svg, json_t **out, orion_error *err) {
  if (!orion_file_exists(path) && !orion_dir_exists(path)) {
    return ORION_FAIL(err, ORION_NOT_FOUND, "%s: no such file or directory (pipes are not inspected)", path);
  }
  if (orion_path_ends(path, ".mil") || has_file(path, "model.mil")) return inspect_program(path, out, err);
  if (orion_path_ends(path, ".safetensors")) return inspect_safetensors(path, out, err);
  if (orion_record_is(path)) return inspect_record(path, out, err);
  if (begins_as_blob(path)) return inspect_blob(path, out, err);
  if (has_file(path, "log.jsonl")) return inspect_run(path, svg, out, err);
  if (svg) return CLI_USAGE(err, "--svg: %s is not the directory of a run (there is no log.jsonl)", path);
  if (has_file(path, "config.json")) {
    ORION_TRY(inspect_model(path, out, err));
    return has_file(path, "state.json") ? add_state(path, *out, err) : ORION_OK;
  }
  if (has_file(path, "adapter_config.json")) {
    ORION_TRY(inspect_adapter(path, out, err));
    return has_file(path, "state.json") ? add_state(path, *out, err) : ORION_OK;
  }
  const char *slash = strrchr(path, '/');
  if (strcmp(slash ? slash + 1 : path, "config.json") == 0) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: a model's settings alone (give the directory that they are in)", path);
  }
  if (orion_path_ends(path, ".json") || orion_path_ends(path, ".model") || orion_dir_exists(path)) return inspect_tokenizer(path, out, err);
  if (inspect_model(path, out, err) == ORION_OK) return ORION_OK;
  orion_error second = {0};
  if (inspect_tokenizer(path, out, &second) == ORION_OK) {
    err->message[0] = 0;
    return ORION_OK;
  }
  return err->code;
}

static orion_status run(const cli_args *a, orion_error *err) {
  json_t *o = NULL;
  orion_status status = inspect(a->rest[0], cli_text(a, "svg", NULL), &o, err);
  if (status != ORION_OK) {
    json_decref(o);
    return status;
  }
  if (a->json) {
    cli_print_json(o);
    return ORION_OK;
  }
  if (json_object_get(o, "functions")) {
    print_program(o);
  } else if (json_object_get(o, "tensors")) {
    print_tensors(o, cli_flag(a, "all"));
  } else {
    print_fields(o);
  }
  json_decref(o);
  return ORION_OK;
}

const cli_command cli_command_inspect = {
    "inspect", "FILE", "Show what is in a model, adapter, run, checkpoint, MIL, blob, safetensors or tokenizer file.",
    "orion inspect gpt2/model.safetensors", options, 1, 1, run};

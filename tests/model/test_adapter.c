// PEFT directories are read whole or refused in one line that names the tensor; what is written reads back the same.
#include <math.h>

#include "base/file.h"
#include "model/adapter.h"
#include "model/safetensors.h"
#include "support/adapters.h"
#include "support/models.h"

typedef struct folder {
  char path[TEST_PATH_MAX], config[TEST_PATH_MAX + 32], tensors[TEST_PATH_MAX + 32];
} folder;

static void open_folder(folder *f) {
  test_temp_dir_create(f->path, sizeof f->path);
  test_path(f->config, sizeof f->config, f->path, "adapter_config.json");
  test_path(f->tensors, sizeof f->tensors, f->path, "adapter_model.safetensors");
}

// Two layers of q and v, rank 2, of the llama of tests/support: written here, tensor by tensor.
typedef struct entry {
  char name[160];
  const char *dtype;
  int64_t rows, cols;
} entry;

typedef struct peft {
  entry list[24];
  int n;
  const char *settings;  // JSON members after r and lora_alpha, each after a comma
} peft;

static void add(peft *p, const char *name, int64_t rows, int64_t cols) {
  entry *e = &p->list[p->n++];
  snprintf(e->name, sizeof e->name, "%s", name);
  e->dtype = "F32";
  e->rows = rows;
  e->cols = cols;
}

static void sound(peft *p) {
  *p = (peft){.settings = ""};
  for (int layer = 0; layer < 2; layer++) {
    for (int v = 0; v < 2; v++) {
      char name[160];
      const char *stem = "base_model.model.model.layers.%d.self_attn.%c_proj.lora_%c.weight";
      snprintf(name, sizeof name, stem, layer, v ? 'v' : 'q', 'A');
      add(p, name, 2, 64);
      snprintf(name, sizeof name, stem, layer, v ? 'v' : 'q', 'B');
      add(p, name, v ? 32 : 64, 2);
    }
  }
}

static float value_of(const char *name, int64_t i) {
  unsigned h = 2166136261u;
  for (const char *c = name; *c; c++) h = (h ^ (unsigned char)*c) * 16777619u;
  h = (h + (unsigned)i) * 2654435761u;
  return (float)((double)(h >> 12) / (1 << 20) - 0.5);
}

static void write_peft(const peft *p, const folder *f) {
  char *header = calloc(1, 16384);
  size_t at = (size_t)sprintf(header, "{"), offset = 0;
  for (int i = 0; i < p->n; i++) {
    size_t size = (size_t)(p->list[i].rows * p->list[i].cols) * 4;
    at += (size_t)sprintf(header + at, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%lld,%lld],\"data_offsets\":[%zu,%zu]}", i ? "," : "",
                          p->list[i].name, p->list[i].dtype, (long long)p->list[i].rows, (long long)p->list[i].cols, offset,
                          offset + size);
    offset += size;
  }
  at += (size_t)sprintf(header + at, "}");
  while (at % 8) header[at++] = ' ';
  char *file = calloc(1, 8 + at + offset);
  uint64_t n = at;
  memcpy(file, &n, 8);
  memcpy(file + 8, header, at);
  float *values = (float *)(void *)(file + 8 + at);
  for (int i = 0; i < p->n; i++) {
    for (int64_t k = 0; k < p->list[i].rows * p->list[i].cols; k++) *values++ = value_of(p->list[i].name, k);
  }
  test_write_file(f->tensors, file, 8 + at + offset);
  free(file);
  int size = sprintf(header, "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 6%s}", p->settings);
  test_write_file(f->config, header, (size_t)size);
  free(header);
}

static void numbers_and_settings_are_read(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64);
  orion_model *m = test_model(&c);
  folder f;
  peft p;
  orion_adapter *a;
  orion_error err;
  open_folder(&f);
  sound(&p);
  snprintf(p.list[0].name, sizeof p.list[0].name, "%s", "layers.0.self_attn.q_proj.lora_A.default.weight");  // shorter spellings
  snprintf(p.list[2].name, sizeof p.list[2].name, "%s", "base_model.model.layers.0.self_attn.v_proj.lora_A.weight");
  p.list[4].rows = p.list[5].cols = 3;
  p.settings = ", \"rank_pattern\": {\"layers.1.self_attn.q_proj\": 3}, \"alpha_pattern\": {\"v_proj\": 5, \"roj\": 100, "
               "\"1\\\\.self_attn\\\\.q_proj\": 12}, \"use_rslora\": true, \"target_modules\": [\"q_proj\", \"v_proj\"], "
               "\"bias\": \"none\", \"modules_to_save\": null, \"init_lora_weights\": true";
  write_peft(&p, &f);
  assert_ok(orion_adapter_open(m, f.path, &a, &err), &err);
  orion_model_close(m);
  orion_adapter_info info;
  orion_adapter_describe(a, &info);
  assert_int_equal(info.rank, 3);
  assert_string_equal(info.targets, "q,v");
  assert_int_equal(info.parameters, 2 * (64 + 64) + 3 * (64 + 64) + 2 * 2 * (64 + 32));
  const double scales[2][2] = {{6 / sqrt(2), 5 / sqrt(2)}, {12 / sqrt(3), 5 / sqrt(2)}};
  for (int layer = 0; layer < 2; layer++) {
    for (int v = 0; v < 2; v++) {
      const orion_adapter_part *part = orion_adapter_at(a, layer, v ? ORION_PROJECTION_V : ORION_PROJECTION_Q);
      const entry *e = &p.list[layer * 4 + v * 2];
      float values[64 * 3];
      assert_int_equal(part->rank, e->rows);
      assert_true(fabs(part->scale - scales[layer][v]) < 1e-12);
      assert_ok(orion_data_read(part->a, ORION_FP32, 0, part->a->rows, values, &err), &err);
      for (int64_t i = 0; i < e[0].rows * e[0].cols; i++) assert_true(values[i] == value_of(e[0].name, i));
      assert_ok(orion_data_read(part->b, ORION_FP32, 0, part->b->rows, values, &err), &err);
      for (int64_t i = 0; i < e[1].rows * e[1].cols; i++) assert_true(values[i] == value_of(e[1].name, i));
    }
    assert_null(orion_adapter_at(a, layer, ORION_PROJECTION_K)->a);
  }
  orion_adapter_close(a);
  test_temp_dir_remove(f.path);
}

typedef struct bad {
  const char *what;      // changed in the sound adapter: a setting, or a tensor's name, shape or type
  int tensor;            // -1: settings
  const char *text;      // settings, new name, or new type
  int64_t rows, cols;    // 0: as they are
  orion_status status;
  const char *message;   // part of it; for tensors with the name
} bad;

static const bad BAD[] = {
    {"another layer", 1, "base_model.model.model.layers.7.self_attn.q_proj.lora_B.weight", 0, 0, ORION_FORMAT,
     "tensor 'base_model.model.model.layers.7.self_attn.q_proj.lora_B.weight': the model has 2 layers"},
    {"another model", 1, "base_model.model.transformer.h.0.attn.c_attn.lora_B.weight", 0, 0, ORION_FORMAT,
     "tensor 'base_model.model.transformer.h.0.attn.c_attn.lora_B.weight': names no projection of this model"},
    {"unknown target", 3, "base_model.model.model.layers.0.self_attn.w_proj.lora_B.weight", 0, 0, ORION_FORMAT,
     "tensor 'base_model.model.model.layers.0.self_attn.w_proj.lora_B.weight': names no projection"},
    {"wrong width", 2, NULL, 2, 63, ORION_FORMAT,
     "v_proj.lora_A.weight' has shape [2, 63], the model and adapter_config.json ask for [2, 64]"},
    {"wrong rank", 0, NULL, 4, 64, ORION_FORMAT, "q_proj.lora_A.weight' has shape [4, 64]"},
    {"wrong height", 7, NULL, 64, 2, ORION_FORMAT, "layers.1.self_attn.v_proj.lora_B.weight' has shape [64, 2]"},
    {"integers", 5, "I32", -1, 0, ORION_UNSUPPORTED, "layers.1.self_attn.q_proj.lora_B.weight' is stored as I32"},
    {"half a module", 6, "base_model.model.model.layers.1.self_attn.k_proj.lora_A.weight", 0, 0, ORION_FORMAT, "other half"},
    {"twice", 4, "model.layers.0.self_attn.q_proj.lora_A.weight", 0, 0, ORION_FORMAT, "twice"},
    {"dora's tensor", 4, "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector", 0, 0, ORION_UNSUPPORTED,
     "tensor 'base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector': is a magnitude of DoRA"},
    {"embedding", 4, "base_model.model.model.embed_tokens.lora_embedding_A", 0, 0, ORION_UNSUPPORTED, "changes the embedding"},
    {"bias", 4, "base_model.model.model.layers.0.self_attn.q_proj.bias", 0, 0, ORION_UNSUPPORTED, "is a trained bias"},
    {"whole module", 4, "base_model.model.model.norm.weight", 0, 0, ORION_UNSUPPORTED, "model.norm.weight': is neither lora_A nor lora_B"},
    {"head unlisted", 4, "base_model.model.lm_head.weight", 0, 0, ORION_FORMAT, "lm_head.weight': adapter_config.json does not list it"},
    {"no number", 4, "base_model.model.model.layers.x.self_attn.q_proj.lora_A.weight", 0, 0, ORION_FORMAT, "names no projection"},
    {"dora", -1, ", \"use_dora\": true", 0, 0, ORION_UNSUPPORTED, "'use_dora' is true (DoRA"},
    {"biases", -1, ", \"bias\": \"all\"", 0, 0, ORION_UNSUPPORTED, "'bias' is \"all\""},
    {"saved", -1, ", \"modules_to_save\": [\"lm_head\", \"embed_tokens\"]", 0, 0, ORION_UNSUPPORTED, "'modules_to_save'"},
    {"saved head", -1, ", \"modules_to_save\": [\"lm_head\"]", 0, 0, ORION_FORMAT, "tensor 'lm_head.weight' is missing"},
    {"pissa", -1, ", \"init_lora_weights\": \"pissa_niter_4\"", 0, 0, ORION_UNSUPPORTED, "'init_lora_weights'"},
    {"pattern", -1, ", \"alpha_pattern\": {\".*q_proj\": 3}", 0, 0, ORION_UNSUPPORTED, "plain names"},
    {"rank pattern", -1, ", \"rank_pattern\": {\"q_proj\": 0}", 0, 0, ORION_FORMAT, "'rank_pattern'"},
    {"rank pattern that lies", -1, ", \"rank_pattern\": {\"q_proj\": 5}", 0, 0, ORION_FORMAT, "ask for [5, 64]"},
    {"prompt", -1, ", \"peft_type\": \"PROMPT\"", 0, 0, ORION_FORMAT, "not valid JSON"},
    {"text", -1, "", 0, 0, ORION_OK, NULL},
};

static void bad_adapters_get_one_line_that_names_the_tensor(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64);
  orion_model *m = test_model(&c);
  folder f;
  open_folder(&f);
  for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
    const bad *b = &BAD[i];
    peft p;
    sound(&p);
    if (b->tensor < 0) {
      p.settings = b->text;
    } else {
      entry *e = &p.list[b->tensor];
      if (b->rows < 0) e->dtype = b->text;
      else if (b->text) snprintf(e->name, sizeof e->name, "%s", b->text);
      if (b->rows > 0) e->rows = b->rows, e->cols = b->cols;
    }
    write_peft(&p, &f);
    orion_adapter *a = NULL;
    orion_error err = {0};
    orion_status status = orion_adapter_open(m, f.path, &a, &err);
    if (status != b->status) fail_msg("%s: %s, %s", b->what, orion_status_name(status), err.message);
    if (b->message && !strstr(err.message, b->message)) fail_msg("%s: %s", b->what, err.message);
    if (strchr(err.message, '\n')) fail_msg("%s: more than a line", b->what);
    orion_adapter_close(a);
  }
  orion_model_close(m);
  test_temp_dir_remove(f.path);
}

static void what_is_no_directory_of_peft_is_refused(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64);
  orion_model *m = test_model(&c);
  folder f;
  peft p;
  orion_adapter *a;
  orion_error err;
  open_folder(&f);
  assert_error(orion_adapter_open(m, f.path, &a, &err), ORION_NOT_FOUND, &err, "no adapter_config.json");
  sound(&p);
  write_peft(&p, &f);
  assert_error(orion_adapter_open(m, f.config, &a, &err), ORION_FORMAT, &err, "is a file");
  assert_int_equal(remove(f.tensors), 0);
  assert_error(orion_adapter_open(m, f.path, &a, &err), ORION_NOT_FOUND, &err, "no adapter_model.safetensors");
  test_write_file(f.tensors, "PK\3\4pickled", 11);
  assert_error(orion_adapter_open(m, f.path, &a, &err), ORION_FORMAT, &err, "adapter_model.safetensors");
  p.n = 0;
  write_peft(&p, &f);
  assert_error(orion_adapter_open(m, f.path, &a, &err), ORION_FORMAT, &err, "no lora_A or lora_B is in it");
  test_write_file(f.config, "[1]", 3);
  assert_error(orion_adapter_open(m, f.path, &a, &err), ORION_FORMAT, &err, "adapter_config.json:1:1");
  test_write_file(f.config, "{\"peft_type\": \"IA3\", \"r\": 2}", 28);
  assert_error(orion_adapter_open(m, f.path, &a, &err), ORION_UNSUPPORTED, &err, "'peft_type' is \"IA3\"");
  char nowhere[TEST_PATH_MAX + 32];
  test_path(nowhere, sizeof nowhere, f.path, "nowhere");
  assert_error(orion_adapter_open(m, nowhere, &a, &err), ORION_NOT_FOUND, &err, "no such directory");
  orion_model_close(m);
  test_temp_dir_remove(f.path);
}

static void damaged_numbers_are_found(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64);
  orion_model *m = test_model(&c);
  folder f;
  peft p;
  orion_adapter *a;
  orion_error err;
  open_folder(&f);
  sound(&p);
  write_peft(&p, &f);
  size_t size;
  char *bytes = test_read_file(f.tensors, &size);
  float nan = NAN;
  memcpy(bytes + size - 4 * 32 * 2 + 20, &nan, 4);  // in the last tensor
  test_write_file(f.tensors, bytes, size);
  free(bytes);
  assert_error(orion_adapter_open(m, f.path, &a, &err), ORION_FORMAT, &err,
               "tensor 'base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight': element 5 is NaN");
  orion_model_close(m);
  test_temp_dir_remove(f.path);
}

static void check_same(const orion_adapter *a, const orion_adapter *b, double tolerance) {
  orion_error err;
  assert_int_equal(a->rank, b->rank);
  assert_int_equal(a->targets, b->targets);
  for (int64_t i = 0; i < a->config.layers * ORION_PROJECTIONS; i++) {
    const orion_adapter_part *x = &a->parts[i], *y = &b->parts[i];
    assert_int_equal(x->a != NULL, y->a != NULL);
    if (!x->a) continue;
    assert_true(x->scale == y->scale && x->rank == y->rank);
    const orion_data *pairs[2][2] = {{x->a, y->a}, {x->b, y->b}};
    for (int h = 0; h < 2; h++) {
      size_t n = orion_data_elements(pairs[h][0]);
      float *u = calloc(n, sizeof *u), *v = calloc(n, sizeof *v);
      assert_int_equal(n, orion_data_elements(pairs[h][1]));
      assert_ok(orion_data_read(pairs[h][0], ORION_FP32, 0, pairs[h][0]->rows, u, &err), &err);
      assert_ok(orion_data_read(pairs[h][1], ORION_FP32, 0, pairs[h][1]->rows, v, &err), &err);
      for (size_t k = 0; k < n; k++) assert_true(fabs((double)u[k] - (double)v[k]) <= tolerance);
      free(u);
      free(v);
    }
  }
}

static void what_is_written_reads_back(void **state) {
  (void)state;
  for (int kind = 0; kind < TEST_KINDS; kind++) {
    for (int half = 0; half < 2; half++) {
      orion_config c = test_config((test_kind)kind, 64);
      orion_model *m = test_model(&c);
      orion_adapter *a = test_adapter(m, 5, 0, 3), *b;
      folder f;
      orion_error err;
      open_folder(&f);
      assert_ok(orion_adapter_save(a, f.path, half, &err), &err);
      assert_ok(orion_adapter_open(m, f.path, &b, &err), &err);
      check_same(a, b, half ? 1e-3 : 0);
      orion_adapter_close(b);
      orion_adapter_close(a);
      orion_model_close(m);
      test_temp_dir_remove(f.path);
    }
  }
}

// PEFT knows GPT-2's q, k and v as one matrix: those that an adapter leaves alone are zeros in the file.
static void a_part_of_a_joint_matrix_is_filled_up_with_zeros(void **state) {
  (void)state;
  orion_config c = test_config(TEST_GPT2, 64);
  orion_model *m = test_model(&c);
  orion_adapter *a = test_adapter(m, 2, 1u << ORION_PROJECTION_Q | 1u << ORION_PROJECTION_V, 3), *b;
  folder f;
  orion_error err;
  open_folder(&f);
  assert_ok(orion_adapter_save(a, f.path, false, &err), &err);
  assert_ok(orion_adapter_open(m, f.path, &b, &err), &err);
  orion_adapter_info info;
  orion_adapter_describe(b, &info);
  assert_string_equal(info.targets, "q,k,v");
  float k[64 * 2], q[2][64 * 2];
  const orion_adapter_part *part = orion_adapter_at(b, 1, ORION_PROJECTION_K);
  assert_ok(orion_data_read(part->b, ORION_FP32, 0, 64, k, &err), &err);
  for (int i = 0; i < 128; i++) assert_true(k[i] == 0);
  assert_ok(orion_data_read(orion_adapter_at(a, 1, ORION_PROJECTION_V)->b, ORION_FP32, 0, 64, q[0], &err), &err);
  assert_ok(orion_data_read(orion_adapter_at(b, 1, ORION_PROJECTION_V)->b, ORION_FP32, 0, 64, q[1], &err), &err);
  assert_memory_equal(q[0], q[1], sizeof q[0]);
  orion_safetensors *s;
  assert_ok(orion_safetensors_open(NULL, f.tensors, &s, &err), &err);
  const orion_stored_tensor *t = orion_safetensors_find(s, "base_model.model.transformer.h.1.attn.c_attn.lora_B.weight");
  assert_non_null(t);
  assert_int_equal(t->dims[0], 3 * 64);
  orion_safetensors_close(s);
  json_t *config = test_json_load(f.config);
  assert_true(json_is_true(json_object_get(config, "fan_in_fan_out")));
  assert_string_equal(json_string_value(json_array_get(json_object_get(config, "target_modules"), 0)), "c_attn");
  json_decref(config);
  orion_adapter_close(b);
  orion_adapter_close(a);
  orion_model_close(m);
  test_temp_dir_remove(f.path);
}

static void merging_adds_the_product(void **state) {
  (void)state;
  orion_config c = test_config(TEST_QWEN3, 64);
  orion_model *m = test_model(&c), *merged;
  orion_adapter *a = test_adapter(m, 3, 1u << ORION_PROJECTION_K | 1u << ORION_PROJECTION_DOWN, 3);
  orion_error err;
  assert_ok(orion_model_merge(m, a, 0.5, &merged, &err), &err);
  assert_ptr_equal(merged->layers[0].wq, m->layers[0].wq);
  assert_ptr_equal(merged->embedding, m->embedding);
  const orion_adapter_part *part = orion_adapter_at(a, 1, ORION_PROJECTION_DOWN);
  const float *w = m->layers[1].down->bytes, *got = merged->layers[1].down->bytes, *x = part->a->bytes, *y = part->b->bytes;
  for (int i = 0; i < 64; i++) {
    for (int k = 0; k < 96; k++) {
      double want = (double)w[i * 96 + k];
      for (int r = 0; r < 3; r++) want += 0.5 * 2 * (double)y[i * 3 + r] * (double)x[r * 96 + k];
      assert_true(fabs(want - (double)got[i * 96 + k]) < 1e-6);
    }
  }
  orion_model_close(m);  // the merged one keeps what it shares
  float row[64];
  assert_ok(orion_model_embed(merged, 3, 0, row, &err), &err);
  orion_model_close(merged);
  orion_adapter_close(a);
}

// One that others trained: read for GPT-2's shape, whose weights it does not need.
static void an_adapter_of_peft_is_read(void **state) {
  (void)state;
  char path[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(path, "data/lora/gpt2-tigrinya-causal");
  orion_config c = test_config(TEST_GPT2, 16);
  c.layers = 12;
  c.heads = c.kv_heads = 12;
  c.head_dim = 64;
  c.dim = 768;
  c.hidden = 3072;
  orion_model shape = {.allocator = orion_allocator_or_default(NULL), .config = c};
  orion_adapter *a;
  orion_error err;
  orion_adapter_info info;
  assert_ok(orion_adapter_open(&shape, path, &a, &err), &err);
  orion_adapter_describe(a, &info);
  assert_int_equal(info.rank, 8);
  assert_string_equal(info.targets, "q,k,v,o,down");
  assert_int_equal(info.parameters, 12 * 8 * (768 + 2304 + 768 + 768 + 3072 + 768));
  for (int layer = 0; layer < 12; layer++) {
    const orion_adapter_part *q = orion_adapter_at(a, layer, ORION_PROJECTION_Q), *v = orion_adapter_at(a, layer, ORION_PROJECTION_V);
    assert_true(q->scale == 4 && v->a == q->a);  // alpha 32
    assert_ptr_equal(v->b->bytes, (const char *)q->b->bytes + 2 * 768 * 8 * sizeof(float));
  }
  orion_adapter_close(a);
}

typedef struct sweep {
  orion_model *model;
  folder folder;
} sweep;

static orion_status open_and_save(void *ctx, const orion_allocator *allocator, orion_error *err) {
  const sweep *w = ctx;
  orion_model model = *w->model;
  model.allocator = allocator;
  orion_adapter *a = NULL;
  char out[TEST_PATH_MAX + 32];
  test_path(out, sizeof out, w->folder.path, "again");
  orion_status status = orion_adapter_open(&model, w->folder.path, &a, err);
  if (status == ORION_OK) status = orion_adapter_save(a, out, false, err);
  orion_adapter_close(a);
  return status;
}

static void no_failing_allocation_leaks(void **state) {
  (void)state;
  orion_config c = test_config(TEST_LLAMA, 64);
  sweep w = {.model = test_model(&c)};
  peft p;
  open_folder(&w.folder);
  sound(&p);
  write_peft(&p, &w.folder);
  test_sweep_allocations(open_and_save, &w, 200);
  orion_model_close(w.model);
  test_temp_dir_remove(w.folder.path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_and_settings_are_read),
      cmocka_unit_test(bad_adapters_get_one_line_that_names_the_tensor),
      cmocka_unit_test(what_is_no_directory_of_peft_is_refused),
      cmocka_unit_test(damaged_numbers_are_found),
      cmocka_unit_test(an_adapter_of_peft_is_read),
      cmocka_unit_test(what_is_written_reads_back),
      cmocka_unit_test(a_part_of_a_joint_matrix_is_filled_up_with_zeros),
      cmocka_unit_test(merging_adds_the_product),
      cmocka_unit_test(no_failing_allocation_leaks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

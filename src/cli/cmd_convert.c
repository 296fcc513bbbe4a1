// orion convert: a model's weights in another format or another type. What comes out is whole or not there: weights and
// config.json are each renamed into place, the latter last.
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/lora_args.h"
#include "model/model.h"
#include "train/tokenizer_files.h"

static const cli_option options[] = {
    {"dtype", 0, CLI_TEXT, "T", "fp32, fp16, bf16, int8 or int4; default: as the model has them (llama2.c: fp32)", false},
    {"tokenizer", 0, CLI_TEXT, "PATH", "tokenizer to put beside the weights; default: the directory's own", false},
    {"merge-lora", 0, CLI_TEXT, "PATH[:SCALE]", "put a PEFT adapter into the weights, SCALE times (default 1); several add up", true},
    {0},
};

// The type that the weights have now; matrices count where they are kept otherwise than the rest.
static orion_dtype own_dtype(const orion_model *m) {
  const orion_data *q, *scales;
  if (orion_data_integers(m->data, m->layers[0].wo, &q, &scales)) return q->dtype;
  orion_dtype d = m->embedding->dtype;
  return d == ORION_FP16 || d == ORION_BF16 ? d : ORION_FP32;
}

static orion_status choose_dtype(const cli_args *a, const orion_model *m, bool file, orion_dtype *out, orion_error *err) {
  static const orion_dtype known[] = {ORION_FP32, ORION_FP16, ORION_BF16, ORION_INT8, ORION_INT4};
  const char *name = cli_text(a, "dtype", NULL);
  *out = name ? ORION_DTYPE_NONE : file ? ORION_FP32 : own_dtype(m);
  for (size_t i = 0; name && i < sizeof known / sizeof *known; i++) {
    if (strcmp(name, orion_dtype_name(known[i])) == 0) *out = known[i];
  }
  if (*out == ORION_DTYPE_NONE) return CLI_USAGE(err, "--dtype: \"%s\" (fp32, fp16, bf16, int8 or int4)", name);
  if (file && *out != ORION_FP32) {
    return CLI_USAGE(err, "--dtype: llama2.c files hold fp32 (give a directory for %s)", orion_dtype_name(*out));
  }
  return ORION_OK;
}

// A mapped model must not be replaced under the reader, and a mistaken OUT must not cost the original.
static orion_status refuse_same(const char *in, const char *out, orion_error *err) {
  struct stat a, b;
  bool same = stat(in, &a) == 0 && stat(out, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
  return same ? CLI_USAGE(err, "%s: IN and OUT are the same", out) : ORION_OK;
}

// What another model's tokenizer left in OUT might be taken for this one's.
static orion_status refuse_strange_tokenizer(const orion_tokenizer_files *own, const char *to, orion_error *err) {
  orion_tokenizer_files there = {0};
  orion_status status = orion_dir_exists(to) ? orion_tokenizer_files_open(to, &there, err) : ORION_OK;
  for (size_t i = 0; status == ORION_OK && i < there.n; i++) {
    bool replaced = false;
    for (size_t k = 0; k < own->n; k++) replaced = replaced || strcmp(own->names[k], there.names[i]) == 0;
    if (!replaced) status = CLI_USAGE(err, "%s: holds a %s of another model (give a new directory)", to, there.names[i]);
  }
  orion_tokenizer_files_close(&there);
  return status;
}

// `from`: NULL for none. `asked`: by name, so that there must be one.
static orion_status copy_tokenizer(const char *from, bool asked, const char *to, orion_error *err) {
  orion_tokenizer_files files = {0};
  orion_status status = from ? orion_tokenizer_files_open(from, &files, err) : ORION_OK;
  if (status == ORION_OK && asked && files.n == 0) {
    status = ORION_FAIL(err, ORION_NOT_FOUND, "%s: neither a tokenizer nor a directory with one", from);
  }
  if (status == ORION_OK) status = refuse_strange_tokenizer(&files, to, err);
  if (status == ORION_OK) status = orion_dir_make(to, err);
  for (size_t i = 0; status == ORION_OK && i < files.n; i++) {
    char *path = orion_path_join(NULL, to, files.names[i]);
    status = path ? orion_file_write(NULL, path, files.maps[i].data, files.maps[i].size, err) : ORION_OOM(err, to);
    orion_strfree(NULL, path);
  }
  orion_tokenizer_files_close(&files);
  return status;
}

static orion_status save(const cli_args *a, const orion_model *m, orion_dtype dtype, orion_error *err) {
  const char *in = a->rest[0], *out = a->rest[1];
  if (orion_path_ends(out, ".bin")) {
    if (cli_flag(a, "tokenizer")) return CLI_USAGE(err, "convert: --tokenizer goes beside a directory; %s is one file", out);
    if (m->config.bos != 1) cli_warn("%s: llama2.c takes token 1 for the begin of a text, this model's is another", out);
    return orion_model_save_llama2c(m, out, err);
  }
  const char *tokenizer = cli_text(a, "tokenizer", orion_dir_exists(in) ? in : NULL);
  ORION_TRY(copy_tokenizer(tokenizer, cli_flag(a, "tokenizer"), out, err));
  return orion_model_save(m, out, dtype, err);
}

static orion_status convert(const cli_args *a, orion_model *m, orion_error *err) {
  orion_dtype dtype;
  ORION_TRY(choose_dtype(a, m, orion_path_ends(a->rest[1], ".bin"), &dtype, err));
  if (dtype != ORION_BF16) ORION_TRY(orion_model_check_weights(m, dtype == ORION_FP32 ? ORION_FP32 : ORION_FP16, err));
  ORION_TRY(save(a, m, dtype, err));
  const char *name = orion_dtype_name(dtype);
  if (a->json) {
    cli_print_json(json_pack("{s:o, s:s, s:I}", "out", cli_json_text(a->rest[1]), "dtype", name, "parameters",
                             (json_int_t)orion_config_parameters(&m->config)));
  } else if (!a->quiet) {
    printf("%s: %s, %.1fM weights as %s\n", a->rest[1], m->config.model_type,
           1e-6 * (double)orion_config_parameters(&m->config), name);
  }
  return ORION_OK;
}

static orion_status run(const cli_args *a, orion_error *err) {
  ORION_TRY(refuse_same(a->rest[0], a->rest[1], err));
  orion_model *m;
  ORION_TRY(orion_model_open(NULL, a->rest[0], &m, err));
  orion_status status = lora_args_merge(a, &m, err);
  if (status == ORION_OK) status = convert(a, m, err);
  orion_model_close(m);
  return status;
}

const cli_command cli_command_convert = {
    "convert", "IN OUT", "Write a model in another weight format or type: a Hugging Face directory, or FILE.bin of llama2.c.",
    "orion convert gpt2 gpt2-int8 --dtype int8", options, 2, 2, run};

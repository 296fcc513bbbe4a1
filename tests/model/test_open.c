// Opening models: every weight is where it belongs, whatever the names, the file layout and the element type.
#include <math.h>

#include "model/parts.h"
#include "model/slots.h"
#include "tiny.h"

static char dir[TEST_PATH_MAX];

static int make_dir(void **state) {
  (void)state;
  test_temp_dir_create(dir, sizeof dir);
  return 0;
}

static int remove_dir(void **state) {
  (void)state;
  test_temp_dir_remove(dir);
  return 0;
}

// Element (r, c) of x must be element r * row + c * col + start of the tensor `name` of a tiny checkpoint.
static void check(const orion_data *x, const char *name, size_t rows, size_t cols, size_t row, size_t col, size_t start) {
  assert_non_null(x);
  assert_true(x->rows == rows && x->cols == cols);
  float *v = malloc(rows * cols * sizeof *v);
  orion_error err;
  assert_ok(orion_data_read(x, ORION_FP32, 0, rows, v, &err), &err);
  for (size_t r = 0; r < rows; r++) {
    for (size_t c = 0; c < cols; c++) {
      float want = tiny_value(name, start + r * row + c * col);
      if (v[r * cols + c] != want) fail_msg("%s (%zu, %zu) is %g, expected %g", name, r, c, (double)v[r * cols + c], (double)want);
    }
  }
  free(v);
}

static void plain(const orion_data *x, const char *prefix, const char *name, size_t rows, size_t cols) {
  char full[128];
  snprintf(full, sizeof full, "%s%s", prefix, name);
  check(x, full, rows, cols, cols, 1, 0);
}

// Stored [in, out]: columns [first, first + rows) of a matrix `width` wide.
static void conv1d(const orion_data *x, const char *prefix, const char *name, size_t rows, size_t cols, size_t width,
                   size_t first) {
  char full[128];
  snprintf(full, sizeof full, "%s%s", prefix, name);
  check(x, full, rows, cols, 1, width, first);
}

static void check_gpt2(const orion_model *m, const char *prefix) {
  enum { D = TINY_DIM, H = TINY_HIDDEN };
  plain(m->embedding, prefix, "wte.weight", TINY_VOCAB, D);
  plain(m->positions, prefix, "wpe.weight", TINY_CONTEXT, D);
  plain(m->norm, prefix, "ln_f.weight", D, 1);
  plain(m->norm_bias, prefix, "ln_f.bias", D, 1);
  for (int i = 0; i < TINY_LAYERS; i++) {
    const orion_layer_weights *w = &m->layers[i];
    char p[64], bias[96];
    snprintf(p, sizeof p, "%sh.%d.", prefix, i);
    snprintf(bias, sizeof bias, "%sattn.c_attn.bias", p);
    plain(w->norm1, p, "ln_1.weight", D, 1);
    plain(w->norm1_bias, p, "ln_1.bias", D, 1);
    conv1d(w->wq, p, "attn.c_attn.weight", D, D, 3 * D, 0);
    conv1d(w->wk, p, "attn.c_attn.weight", D, D, 3 * D, D);
    conv1d(w->wv, p, "attn.c_attn.weight", D, D, 3 * D, 2 * D);
    check(w->bq, bias, D, 1, 1, 1, 0);
    check(w->bk, bias, D, 1, 1, 1, D);
    check(w->bv, bias, D, 1, 1, 1, 2 * D);
    conv1d(w->wo, p, "attn.c_proj.weight", D, D, D, 0);
    plain(w->bo, p, "attn.c_proj.bias", D, 1);
    plain(w->norm2, p, "ln_2.weight", D, 1);
    conv1d(w->up, p, "mlp.c_fc.weight", H, D, H, 0);
    plain(w->up_bias, p, "mlp.c_fc.bias", H, 1);
    conv1d(w->down, p, "mlp.c_proj.weight", D, H, D, 0);
    plain(w->down_bias, p, "mlp.c_proj.bias", D, 1);
    assert_true(!w->gate && !w->q_norm);
  }
}

static void check_llama(const orion_model *m, const char *prefix) {
  const orion_config *c = &m->config;
  size_t d = TINY_DIM, h = TINY_HIDDEN, q = (size_t)(c->heads * c->head_dim), k = (size_t)(c->kv_heads * c->head_dim);
  plain(m->norm, prefix, "norm.weight", d, 1);
  for (int i = 0; i < TINY_LAYERS; i++) {
    const orion_layer_weights *w = &m->layers[i];
    char p[64];
    snprintf(p, sizeof p, "%slayers.%d.", prefix, i);
    plain(w->norm1, p, "input_layernorm.weight", d, 1);
    plain(w->wq, p, "self_attn.q_proj.weight", q, d);
    plain(w->wk, p, "self_attn.k_proj.weight", k, d);
    plain(w->wv, p, "self_attn.v_proj.weight", k, d);
    plain(w->wo, p, "self_attn.o_proj.weight", d, q);
    plain(w->norm2, p, "post_attention_layernorm.weight", d, 1);
    plain(w->gate, p, "mlp.gate_proj.weight", h, d);
    plain(w->up, p, "mlp.up_proj.weight", h, d);
    plain(w->down, p, "mlp.down_proj.weight", d, h);
    assert_true((w->bq != NULL) == c->qkv_bias && (w->bo != NULL) == c->out_bias && (w->q_norm != NULL) == c->qk_norm);
    if (w->bq) plain(w->bv, p, "self_attn.v_proj.bias", k, 1);
    if (w->q_norm) plain(w->k_norm, p, "self_attn.k_norm.weight", (size_t)c->head_dim, 1);
  }
}

static orion_model *open_ok(void) {
  orion_model *m = NULL;
  orion_error err;
  assert_ok(orion_model_open(NULL, dir, &m, &err), &err);
  assert_string_equal(m->path, dir);
  assert_string_equal(m->dir, dir);
  return m;
}

static void refused(orion_status status, const char *text) {
  orion_model *m = NULL;
  orion_error err;
  assert_error(orion_model_open(NULL, dir, &m, &err), status, &err, text);
  assert_null(m);
}

static void gpt2_opens_with_and_without_prefix_in_every_type(void **state) {
  (void)state;
  static const char *const prefixes[] = {"", "transformer."}, *const dtypes[] = {"F32", "F16", "BF16", "F64"};
  for (int skew = 0; skew < 4; skew++) {  // odd headers leave all tensors unaligned
    tiny t;
    tiny_gpt2(&t, prefixes[skew % 2]);
    tiny_add(&t, "transformer.h.0.attn.bias", 2, 4, 4);  // the old mask buffers are left alone
    tiny_set_dtype(&t, dtypes[skew]);
    tiny_find(&t, "transformer.h.0.attn.bias")->dtype = "I32";
    t.skew = skew;
    tiny_write(&t, dir);
    orion_model *m = open_ok();
    check_gpt2(m, prefixes[skew % 2]);
    assert_ptr_equal(m->classifier, m->embedding);
    assert_int_equal(orion_config_parameters(&m->config),
                     24 * 16 + 16 * 16 + 2 * (4 * 16 + 4 * 16 * 16 + 4 * 16 + 2 * 16 * 40 + 40 + 16) + 2 * 16);
    orion_model_close(m);
  }
}

static void llama_and_its_relatives_open(void **state) {
  (void)state;
  static const char *const types[] = {"llama", "mistral", "qwen2", "qwen3"};
  for (int i = 0; i < 8; i++) {
    tiny t;
    const char *prefix = i & 1 ? "" : "model.";
    tiny_llama(&t, types[i / 2], prefix, "");
    tiny_set_dtype(&t, i & 2 ? "BF16" : "F32");
    tiny_write(&t, dir);
    orion_model *m = open_ok();
    assert_string_equal(m->config.model_type, types[i / 2]);
    check_llama(m, prefix);
    plain(m->embedding, prefix, "embed_tokens.weight", TINY_VOCAB, TINY_DIM);
    assert_null(m->positions);
    orion_model_close(m);
  }
}

static void ties_are_found_however_they_are_told(void **state) {
  (void)state;
  tiny t;
  orion_model *m;
  tiny_llama(&t, "llama", "model.", "\"tie_word_embeddings\": false,");
  tiny_write(&t, dir);
  refused(ORION_FORMAT, "tensor 'lm_head.weight' is missing");
  tiny_add(&t, "lm_head.weight", 2, TINY_VOCAB, TINY_DIM);
  tiny_write(&t, dir);
  m = open_ok();
  plain(m->classifier, "", "lm_head.weight", TINY_VOCAB, TINY_DIM);
  plain(m->embedding, "model.", "embed_tokens.weight", TINY_VOCAB, TINY_DIM);
  orion_model_close(m);
  // Tied by the configuration, stored under the classifier's name only.
  tiny_llama(&t, "llama", "model.", "\"tie_word_embeddings\": true,");
  tiny_remove(&t, "model.embed_tokens.weight");
  tiny_write(&t, dir);
  refused(ORION_FORMAT, "tensor 'model.embed_tokens.weight' is missing");
  tiny_add(&t, "lm_head.weight", 2, TINY_VOCAB, TINY_DIM);
  for (int told = 0; told < 2; told++) {
    t.metadata = told ? "{\"model.embed_tokens.weight\":\"lm_head.weight\"}" : NULL;
    tiny_write(&t, dir);
    m = open_ok();
    plain(m->embedding, "", "lm_head.weight", TINY_VOCAB, TINY_DIM);
    assert_ptr_equal(m->classifier, m->embedding);
    orion_model_close(m);
  }
  // Nothing said: tied if there is no classifier.
  tiny_llama(&t, "llama", "model.", "");
  tiny_write(&t, dir);
  m = open_ok();
  assert_true(m->config.tied && m->classifier == m->embedding);
  orion_model_close(m);
  tiny_add(&t, "lm_head.weight", 2, TINY_VOCAB, TINY_DIM);
  tiny_write(&t, dir);
  m = open_ok();
  assert_true(!m->config.tied && m->classifier != m->embedding);
  orion_model_close(m);
}

static void write_index(const tiny *t, const char *override, const char *file) {
  char text[16384], path[TEST_PATH_MAX];
  size_t at = (size_t)snprintf(text, sizeof text, "{\"metadata\":{},\"weight_map\":{");
  for (int i = 0; i < t->n; i++) {
    bool other = override && strcmp(t->tensors[i].name, override) == 0;
    at += (size_t)snprintf(text + at, sizeof text - at, "%s\"%s\":", i ? "," : "", t->tensors[i].name);
    at += other ? (size_t)snprintf(text + at, sizeof text - at, "\"%s\"", file)
                : (size_t)snprintf(text + at, sizeof text - at, "\"part-%d.safetensors\"", i % 3);
  }
  snprintf(text + at, sizeof text - at, "}}");
  test_path(path, sizeof path, dir, "model.safetensors.index.json");
  test_write_file(path, text, strlen(text));
}

static void shards_are_found_by_the_index_only(void **state) {
  (void)state;
  tiny t;
  char path[TEST_PATH_MAX];
  tiny_gpt2(&t, "");
  tiny_write_config(&t, dir);
  test_path(path, sizeof path, dir, "model.safetensors");
  remove(path);
  refused(ORION_NOT_FOUND, "neither model.safetensors nor");
  write_index(&t, NULL, NULL);
  refused(ORION_NOT_FOUND, "part-0.safetensors");
  for (int i = 0; i < 3; i++) {
    char name[32];
    snprintf(name, sizeof name, "part-%d.safetensors", i);
    test_path(path, sizeof path, dir, name);
    tiny_write_tensors(&t, path, i, 3);
  }
  orion_model *m = open_ok();
  check_gpt2(m, "");
  orion_model_close(m);
  write_index(&t, "ln_f.weight", "part-1.safetensors");  // it is in part 2 or 0
  int index = (int)(tiny_find(&t, "ln_f.weight") - t.tensors);
  if (index % 3 == 1) write_index(&t, "ln_f.weight", "part-2.safetensors");
  refused(ORION_FORMAT, "tensor 'ln_f.weight' is missing");
  static const char *const names[] = {"../part-0.safetensors", "a/b", "", "..", ".hidden", "a\\\\b"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    write_index(&t, "wte.weight", names[i]);
    refused(ORION_FORMAT, "is no name of a file in this directory");
  }
  test_path(path, sizeof path, dir, "model.safetensors.index.json");
  test_write_file(path, "{\"weight_map\":[]}", 17);
  refused(ORION_FORMAT, "'weight_map' is missing or empty");
  test_write_file(path, "{\"weight_map\":{\"a\":1}}", 22);
  refused(ORION_FORMAT, "tensor 'a': '(no string)'");
}

static void wrong_tensors_are_refused_by_name_and_shape(void **state) {
  (void)state;
  tiny t;
  tiny_gpt2(&t, "");
  tiny_find(&t, "h.1.mlp.c_fc.weight")->dims[0] = 40;
  tiny_find(&t, "h.1.mlp.c_fc.weight")->dims[1] = 16;
  tiny_write(&t, dir);
  refused(ORION_FORMAT, "tensor 'h.1.mlp.c_fc.weight' has shape [40, 16], config.json asks for [16, 40]");
  tiny_gpt2(&t, "");
  tiny_find(&t, "h.1.ln_2.bias")->rank = 2;
  tiny_find(&t, "h.1.ln_2.bias")->dims[1] = 1;
  tiny_write(&t, dir);
  refused(ORION_FORMAT, "tensor 'h.1.ln_2.bias' has shape [16, 1], config.json asks for [16]");
  tiny_gpt2(&t, "");
  tiny_remove(&t, "h.0.attn.c_attn.bias");
  tiny_write(&t, dir);
  refused(ORION_FORMAT, "tensor 'h.0.attn.c_attn.bias' is missing");
  tiny_gpt2(&t, "");
  tiny_find(&t, "wpe.weight")->dtype = "I32";
  tiny_write(&t, dir);
  refused(ORION_UNSUPPORTED, "tensor 'wpe.weight' is stored as I32");
}

static void weights_that_are_no_numbers_are_refused(void **state) {
  (void)state;
  tiny t;
  char path[TEST_PATH_MAX];
  static const struct {
    const char *dtype;
    uint64_t bits;
    size_t width;
    const char *text;
  } cases[] = {{"F32", 0x7fc00000u, 4, "is NaN"}, {"F32", 0xff800000u, 4, "is infinite"}, {"F16", 0x7e01, 2, "is NaN"},
               {"BF16", 0xff80, 2, "is infinite"}, {"F64", 0x7ff0000000000000u, 8, "is infinite"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tiny_gpt2(&t, "");
    tiny_set_dtype(&t, cases[i].dtype);
    tiny_write(&t, dir);
    test_path(path, sizeof path, dir, "model.safetensors");
    size_t n;
    char *file = test_read_file(path, &n), text[128];
    memcpy(file + n - 3 * cases[i].width, &cases[i].bits, cases[i].width);  // the last tensor is ln_f.bias [16]
    test_write_file(path, file, n);
    free(file);
    snprintf(text, sizeof text, "(byte %zu): tensor 'ln_f.bias': element 13 %s", n - 3 * cases[i].width, cases[i].text);
    refused(ORION_FORMAT, text);
  }
}

static void generation_config_is_heeded(void **state) {
  (void)state;
  tiny t;
  char path[TEST_PATH_MAX];
  tiny_gpt2(&t, "");
  tiny_write(&t, dir);
  test_path(path, sizeof path, dir, "generation_config.json");
  test_write_file(path, "{\"eos_token_id\":[9,10]}", 23);
  orion_model *m = open_ok();
  assert_true(m->config.n_eos == 2 && m->config.eos[1] == 10 && m->config.bos == 2);
  orion_model_close(m);
  test_write_file(path, "{", 1);
  refused(ORION_FORMAT, "generation_config.json:1:");
  remove(path);
}

static void embedding_rows_are_looked_up_and_checked(void **state) {
  (void)state;
  tiny t;
  tiny_gpt2(&t, "");
  tiny_write(&t, dir);
  orion_model *m = open_ok();
  float row[TINY_DIM];
  orion_error err;
  assert_ok(orion_model_embed(m, 23, 15, row, &err), &err);
  for (size_t i = 0; i < TINY_DIM; i++) {
    assert_true(row[i] == tiny_value("wte.weight", 23 * 16 + i) + tiny_value("wpe.weight", 15 * 16 + i));
  }
  assert_error(orion_model_embed(m, 24, 0, row, &err), ORION_INVALID, &err, "token 24 is outside");
  assert_error(orion_model_embed(m, -1, 0, row, &err), ORION_INVALID, &err, "token -1");
  assert_error(orion_model_embed(m, 0, 16, row, &err), ORION_LIMIT, &err, "position 16 is outside");
  assert_error(orion_model_embed(m, 0, -1, row, &err), ORION_LIMIT, &err, "position -1");
  orion_model_close(m);
}

// ---- llama2.c ----

static size_t write_llama2c(const char *path, const int32_t h[7], int extra) {
  size_t vocab = (size_t)abs(h[5]), d = (size_t)h[0], f = (size_t)h[1], layers = (size_t)h[2];
  size_t head = d / (size_t)h[3], k = head * (size_t)h[4];
  size_t n = vocab * d + layers * (2 * d + 2 * d * d + 2 * d * k + 3 * d * f) + d + (size_t)h[6] * head +
             (h[5] < 0 ? vocab * d : 0);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  fwrite(h, 4, 7, file);
  for (size_t i = 0; i < n; i++) {
    float v = (float)i;
    fwrite(&v, 4, 1, file);
  }
  for (int i = 0; i < extra; i++) fputc(0, file);
  fclose(file);
  return n;
}

static void llama2c_files_open_in_the_order_of_halves(void **state) {
  (void)state;
  char path[TEST_PATH_MAX];
  test_path(path, sizeof path, dir, "m.bin");
  for (int untied = 0; untied < 2; untied++) {
    const int32_t h[7] = {8, 6, 2, 2, 1, untied ? -5 : 5, 3};
    size_t n = write_llama2c(path, h, 0);
    orion_model *m;
    orion_error err;
    assert_ok(orion_model_open(NULL, path, &m, &err), &err);
    assert_string_equal(m->dir, dir);
    assert_int_equal(m->file_bytes, 28 + 4 * n);
    assert_true(m->config.tied == !untied && m->config.vocab == 5 && m->config.head_dim == 4 && m->config.kv_heads == 1);
    float v[64];
    // Offsets: embedding 40, norm1 16, wq 128, wk 64, wv 64, wo 128, norm2 16, gate 96, down 96, up 96, norm 8.
    assert_ok(orion_data_read(m->layers[1].wq, ORION_FP32, 0, 8, v, &err), &err);
    static const int rows[8] = {0, 2, 1, 3, 4, 6, 5, 7};  // heads of 4: even rows, then odd ones
    for (int r = 0; r < 8; r++) assert_true(v[r * 8 + 5] == (float)(40 + 16 + 64 + rows[r] * 8 + 5));
    assert_ok(orion_data_read(m->layers[0].wk, ORION_FP32, 0, 4, v, &err), &err);
    for (int r = 0; r < 4; r++) assert_true(v[r * 8] == (float)(40 + 16 + 128 + rows[r] * 8));
    assert_ok(orion_data_read(m->layers[0].wv, ORION_FP32, 1, 1, v, &err), &err);
    assert_true(v[0] == 40 + 16 + 128 + 64 + 8);
    assert_ok(orion_data_read(m->layers[1].down, ORION_FP32, 0, 8, v, &err), &err);
    assert_true(v[0] == 40 + 16 + 128 + 64 + 64 + 128 + 16 + 96 + 48);
    assert_ok(orion_data_read(m->layers[0].up, ORION_FP32, 0, 6, v, &err), &err);
    assert_true(v[0] == 40 + 16 + 128 + 64 + 64 + 128 + 16 + 96 + 96);
    assert_ok(orion_data_read(m->norm, ORION_FP32, 7, 1, v, &err), &err);
    assert_true(v[0] == 40 + 16 + 128 + 64 + 64 + 128 + 16 + 96 + 96 + 96 + 7);
    assert_ok(orion_data_read(m->classifier, ORION_FP32, 4, 1, v, &err), &err);
    assert_true(v[7] == (untied ? (float)(n - 1) : 39));
    orion_model_close(m);
  }
}

static void llama2c_headers_that_lie_are_refused(void **state) {
  (void)state;
  char path[TEST_PATH_MAX];
  test_path(path, sizeof path, dir, "m.bin");
  const int32_t good[7] = {8, 6, 2, 2, 1, 5, 3};
  orion_model *m = NULL;
  orion_error err;
  write_llama2c(path, good, 1);
  assert_error(orion_model_open(NULL, path, &m, &err), ORION_FORMAT, &err, "but its header");
  write_llama2c(path, good, 0);
  size_t n;
  char *file = test_read_file(path, &n);
  static const int32_t bad[] = {0, -1, INT32_MAX, INT32_MIN, 7};
  for (int field = 0; field < 7; field++) {
    for (size_t i = 0; i < 5; i++) {
      memcpy(file + 4 * field, &bad[i], 4);
      assert_error(orion_llama2c_parse(NULL, "m", ".", file, n, &m, &err), ORION_FORMAT, &err, "m");
    }
    memcpy(file + 4 * field, &good[field], 4);
  }
  for (size_t cut = 0; cut < n; cut += 37) {
    assert_error(orion_llama2c_parse(NULL, "m", ".", file, cut, &m, &err), ORION_FORMAT, &err, "m: ");
  }
  free(file);
  assert_error(orion_model_open(NULL, "no/such.bin", &m, &err), ORION_NOT_FOUND, &err, "no/such.bin");
  assert_error(orion_model_open(NULL, "x.safetensors", &m, &err), ORION_INVALID, &err, "give the directory");
}

// ---- memory ----

static orion_status open_and_close(void *ctx, const orion_allocator *a, orion_error *err) {
  orion_model *m = NULL;
  orion_status status = orion_model_open(a, ctx, &m, err);
  orion_model_close(m);
  return status;
}

static void every_failing_allocation_is_reported(void **state) {
  (void)state;
  tiny t;
  char path[TEST_PATH_MAX];
  tiny_gpt2(&t, "");
  t.skew = 1;
  tiny_write(&t, dir);
  test_sweep_allocations(open_and_close, dir, 0);
  test_path(path, sizeof path, dir, "m.bin");
  const int32_t h[7] = {8, 6, 2, 2, 1, 5, 3};
  write_llama2c(path, h, 0);
  test_sweep_allocations(open_and_close, path, 0);
  write_index(&t, NULL, NULL);
  for (int i = 0; i < 3; i++) {
    char name[32];
    snprintf(name, sizeof name, "part-%d.safetensors", i);
    test_path(path, sizeof path, dir, name);
    tiny_write_tensors(&t, path, i, 3);
  }
  test_path(path, sizeof path, dir, "model.safetensors");
  remove(path);
  test_sweep_allocations(open_and_close, dir, 0);
}

// ---- shared data ----

static void malformed_weights(void *ctx, const char *path, const char *name) {
  (void)ctx;
  char model[TEST_PATH_MAX], to[TEST_PATH_MAX];
  test_temp_dir_create(model, sizeof model);
  char config[TEST_PATH_MAX];
  assert_true(test_shared_path(config, sizeof config, "data/fuzz/base-model/config.json"));
  size_t n;
  char *text = test_read_file(config, &n);
  test_path(to, sizeof to, model, "config.json");
  test_write_file(to, text, n);
  free(text);
  text = test_read_file(path, &n);
  test_path(to, sizeof to, model, "model.safetensors");
  test_write_file(to, text, n);
  free(text);
  orion_model *m = NULL;
  orion_error err = {0};
  orion_status status = orion_model_open(NULL, model, &m, &err);
  // The reversed shape of tensor-wrong-shape is that of a square matrix: nothing is wrong with that file.
  bool may_load = strncmp(name, "bitflip", 7) == 0 || strcmp(name, "tensor-wrong-shape") == 0;
  if (status == ORION_OK ? !may_load : !strstr(err.message, "model.safetensors")) {
    fail_msg("%s: %s: %s", name, orion_status_name(status), err.message);
  }
  if (strcmp(name, "weights-nan") == 0) assert_non_null(strstr(err.message, "'h.0.attn.c_attn.bias': element 0 is NaN"));
  orion_model_close(m);
  test_temp_dir_remove(model);
}

static void malformed_config(void *ctx, const char *path, const char *name) {
  (void)ctx;
  size_t n;
  char *text = test_read_file(path, &n);
  orion_config c;
  orion_error err;
  if (orion_config_parse(text, n, name, &c, &err) == ORION_OK) fail_msg("%s was accepted", name);
  assert_non_null(strstr(err.message, name));
  free(text);
}

static void malformed_llama2c(void *ctx, const char *path, const char *name) {
  (void)ctx;
  orion_model *m = NULL;
  orion_error err;
  if (orion_model_open(NULL, path, &m, &err) != ORION_FORMAT) fail_msg("%s: not refused as malformed", name);
  assert_non_null(strstr(err.message, name));
}

static void shared_malformed_files_are_refused(void **state) {
  (void)state;
  char path[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(path, "data/fuzz/safetensors");
  assert_true(test_each_file(path, malformed_weights, NULL) > 50);
  assert_true(test_shared_path(path, sizeof path, "data/fuzz/config"));
  assert_true(test_each_file(path, malformed_config, NULL) > 10);
  assert_true(test_shared_path(path, sizeof path, "data/fuzz/llama2c"));
  assert_true(test_each_file(path, malformed_llama2c, NULL) > 20);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(gpt2_opens_with_and_without_prefix_in_every_type, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(llama_and_its_relatives_open, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(ties_are_found_however_they_are_told, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(shards_are_found_by_the_index_only, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(wrong_tensors_are_refused_by_name_and_shape, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(weights_that_are_no_numbers_are_refused, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(generation_config_is_heeded, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(embedding_rows_are_looked_up_and_checked, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(llama2c_files_open_in_the_order_of_halves, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(llama2c_headers_that_lie_are_refused, make_dir, remove_dir),
      cmocka_unit_test_setup_teardown(every_failing_allocation_is_reported, make_dir, remove_dir),
      cmocka_unit_test(shared_malformed_files_are_refused),
  };
  return cmocka_run_group_tests_name("open", tests, NULL, NULL);
}

// See tiny.h.
#include "tiny.h"

float tiny_value(const char *name, size_t i) {
  uint32_t h = 2166136261u;
  for (; *name; name++) h = (h ^ (unsigned char)*name) * 16777619u;
  h = (h ^ (uint32_t)i) * 16777619u;
  h ^= h >> 15;
  h *= 0x2c1b3c6du;
  h ^= h >> 12;
  return (float)((int)(h & 127) - 64) / 256.0f;
}

void tiny_add(tiny *t, const char *name, int rank, int64_t a, int64_t b) {
  assert_true(t->n < 64);
  tiny_tensor *x = &t->tensors[t->n++];
  snprintf(x->name, sizeof x->name, "%s", name);
  x->dtype = "F32";
  x->rank = rank;
  x->dims[0] = a;
  x->dims[1] = b;
}

static void add(tiny *t, const char *prefix, int layer, const char *name, int64_t a, int64_t b) {
  char full[96];
  if (layer >= 0) {
    snprintf(full, sizeof full, "%s%d.%s", prefix, layer, name);
  } else {
    snprintf(full, sizeof full, "%s%s", prefix, name);
  }
  tiny_add(t, full, b ? 2 : 1, a, b);
}

void tiny_gpt2(tiny *t, const char *prefix) {
  enum { D = TINY_DIM, H = TINY_HIDDEN };
  memset(t, 0, sizeof *t);
  snprintf(t->config, sizeof t->config,
           "{\"model_type\": \"gpt2\", \"vocab_size\": %d, \"n_positions\": %d, \"n_embd\": %d, \"n_layer\": %d, "
           "\"n_head\": %d, \"n_inner\": %d, \"eos_token_id\": 3, \"bos_token_id\": 2}",
           TINY_VOCAB, TINY_CONTEXT, D, TINY_LAYERS, TINY_HEADS, H);
  add(t, prefix, -1, "wte.weight", TINY_VOCAB, D);
  add(t, prefix, -1, "wpe.weight", TINY_CONTEXT, D);
  char layer[64];
  snprintf(layer, sizeof layer, "%sh.", prefix);
  for (int i = 0; i < TINY_LAYERS; i++) {
    add(t, layer, i, "ln_1.weight", D, 0);
    add(t, layer, i, "ln_1.bias", D, 0);
    add(t, layer, i, "attn.c_attn.weight", D, 3 * D);
    add(t, layer, i, "attn.c_attn.bias", 3 * D, 0);
    add(t, layer, i, "attn.c_proj.weight", D, D);
    add(t, layer, i, "attn.c_proj.bias", D, 0);
    add(t, layer, i, "ln_2.weight", D, 0);
    add(t, layer, i, "ln_2.bias", D, 0);
    add(t, layer, i, "mlp.c_fc.weight", D, H);
    add(t, layer, i, "mlp.c_fc.bias", H, 0);
    add(t, layer, i, "mlp.c_proj.weight", H, D);
    add(t, layer, i, "mlp.c_proj.bias", D, 0);
  }
  add(t, prefix, -1, "ln_f.weight", D, 0);
  add(t, prefix, -1, "ln_f.bias", D, 0);
}

void tiny_llama(tiny *t, const char *type, const char *prefix, const char *more) {
  enum { D = TINY_DIM, H = TINY_HIDDEN };
  bool qwen2 = strcmp(type, "qwen2") == 0, qwen3 = strcmp(type, "qwen3") == 0;
  int head = qwen3 ? 8 : D / TINY_HEADS, q = TINY_HEADS * head, k = TINY_KV * head;
  memset(t, 0, sizeof *t);
  snprintf(t->config, sizeof t->config,
           "{\"model_type\": \"%s\", \"vocab_size\": %d, \"max_position_embeddings\": %d, \"hidden_size\": %d, "
           "\"intermediate_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
           "\"num_key_value_heads\": %d, %s \"head_dim\": %d, \"sliding_window\": null}",
           type, TINY_VOCAB, TINY_CONTEXT, D, H, TINY_LAYERS, TINY_HEADS, TINY_KV, more, head);
  add(t, prefix, -1, "embed_tokens.weight", TINY_VOCAB, D);
  char layer[64];
  snprintf(layer, sizeof layer, "%slayers.", prefix);
  for (int i = 0; i < TINY_LAYERS; i++) {
    add(t, layer, i, "input_layernorm.weight", D, 0);
    add(t, layer, i, "self_attn.q_proj.weight", q, D);
    add(t, layer, i, "self_attn.k_proj.weight", k, D);
    add(t, layer, i, "self_attn.v_proj.weight", k, D);
    add(t, layer, i, "self_attn.o_proj.weight", D, q);
    if (qwen2) {
      add(t, layer, i, "self_attn.q_proj.bias", q, 0);
      add(t, layer, i, "self_attn.k_proj.bias", k, 0);
      add(t, layer, i, "self_attn.v_proj.bias", k, 0);
    }
    if (qwen3) {
      add(t, layer, i, "self_attn.q_norm.weight", head, 0);
      add(t, layer, i, "self_attn.k_norm.weight", head, 0);
    }
    add(t, layer, i, "post_attention_layernorm.weight", D, 0);
    add(t, layer, i, "mlp.gate_proj.weight", H, D);
    add(t, layer, i, "mlp.up_proj.weight", H, D);
    add(t, layer, i, "mlp.down_proj.weight", D, H);
  }
  add(t, prefix, -1, "norm.weight", D, 0);
}

tiny_tensor *tiny_find(tiny *t, const char *name) {
  for (int i = 0; i < t->n; i++) {
    if (strcmp(t->tensors[i].name, name) == 0) return &t->tensors[i];
  }
  fail_msg("no tensor %s in the tiny model", name);
  return NULL;
}

void tiny_remove(tiny *t, const char *name) { *tiny_find(t, name) = t->tensors[--t->n]; }

void tiny_set_dtype(tiny *t, const char *dtype) {
  for (int i = 0; i < t->n; i++) t->tensors[i].dtype = dtype;
}

static size_t width(const tiny_tensor *x) { return strstr(x->dtype, "16") ? 2 : strcmp(x->dtype, "F64") == 0 ? 8 : 4; }

static size_t count(const tiny_tensor *x) {
  size_t n = 1;
  for (int i = 0; i < x->rank; i++) n *= (size_t)x->dims[i];
  return n;
}

static void put_element(FILE *f, const tiny_tensor *x, size_t i) {
  float v = tiny_value(x->name, i);
  uint32_t bits;
  memcpy(&bits, &v, 4);
  if (strcmp(x->dtype, "F64") == 0) {
    double d = v;
    fwrite(&d, 8, 1, f);
  } else if (strcmp(x->dtype, "BF16") == 0) {
    fwrite((char *)&bits + 2, 2, 1, f);
  } else if (strcmp(x->dtype, "F16") == 0) {
    // Multiples of 1/256 below 1 are normal numbers of binary16: shift the fraction, move the exponent.
    uint16_t h = v == 0 ? 0 : (uint16_t)((bits >> 16 & 0x8000) | ((bits >> 23 & 255) - 112) << 10 | (bits >> 13 & 1023));
    fwrite(&h, 2, 1, f);
  } else {
    if (strcmp(x->dtype, "F32") != 0) bits = 0;
    fwrite(&bits, 4, 1, f);
  }
}

void tiny_write_tensors(const tiny *t, const char *path, int first, int step) {
  char header[16384];
  size_t at = 0, offset = 0;
  at += (size_t)snprintf(header, sizeof header, "{");
  if (t->metadata) at += (size_t)snprintf(header + at, sizeof header - at, "\"__metadata__\":%s,", t->metadata);
  for (int i = first; i < t->n; i += step) {
    const tiny_tensor *x = &t->tensors[i];
    at += (size_t)snprintf(header + at, sizeof header - at, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i > first ? "," : "",
                           x->name, x->dtype);
    for (int k = 0; k < x->rank; k++) {
      at += (size_t)snprintf(header + at, sizeof header - at, "%s%d", k ? "," : "", (int)x->dims[k]);
    }
    size_t bytes = count(x) * width(x);
    at += (size_t)snprintf(header + at, sizeof header - at, "],\"data_offsets\":[%zu,%zu]}", offset, offset + bytes);
    offset += bytes;
  }
  at += (size_t)snprintf(header + at, sizeof header - at, "}");
  assert_true(at + 16 + (size_t)t->skew < sizeof header);
  for (size_t n = (-at & 7) + (size_t)t->skew; n > 0; n--) header[at++] = ' ';
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  uint64_t length = at;
  fwrite(&length, 8, 1, f);
  fwrite(header, 1, at, f);
  for (int i = first; i < t->n; i += step) {
    for (size_t k = 0; k < count(&t->tensors[i]); k++) put_element(f, &t->tensors[i], k);
  }
  fclose(f);
}

void tiny_write_config(const tiny *t, const char *dir) {
  char path[TEST_PATH_MAX];
  test_path(path, sizeof path, dir, "config.json");
  test_write_file(path, t->config, strlen(t->config));
}

void tiny_write(const tiny *t, const char *dir) {
  char path[TEST_PATH_MAX];
  tiny_write_config(t, dir);
  test_path(path, sizeof path, dir, "model.safetensors");
  tiny_write_tensors(t, path, 0, 1);
}

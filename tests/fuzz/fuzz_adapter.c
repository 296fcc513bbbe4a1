// Any bytes as a PEFT adapter for a small model: a 32-bit length, adapter_config.json of so many bytes, then the tensors'
// file. What is accepted must have both halves of every matrix, in the model's shapes and finite.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "model/adapter.h"

static const orion_config llama = {.family = ORION_FAMILY_LLAMA, .model_type = "llama", .vocab = 16, .context = 8, .dim = 8,
                                   .hidden = 12, .layers = 2, .heads = 2, .kv_heads = 1, .head_dim = 4, .gated = true,
                                   .rope = true, .tied = true};
static const orion_config gpt2 = {.family = ORION_FAMILY_GPT2, .model_type = "gpt2", .vocab = 16, .context = 8, .dim = 8,
                                  .hidden = 12, .layers = 2, .heads = 2, .kv_heads = 2, .head_dim = 4, .qkv_bias = true,
                                  .out_bias = true, .mlp_bias = true, .tied = true};

static void check_half(const orion_data *x, size_t rows, size_t cols) {
  if (!x || x->rows != rows || x->cols != cols) abort();
  for (size_t i = 0; i < rows * cols; i++) {
    if (!isfinite(orion_load_double(x->dtype, x->bytes, i))) abort();
  }
}

static void check(const orion_adapter *a) {
  for (int64_t layer = 0; layer < a->config.layers; layer++) {
    for (int p = 0; p < ORION_PROJECTIONS; p++) {
      const orion_adapter_part *part = orion_adapter_at(a, layer, (orion_projection)p);
      int64_t in, out;
      if (!part->a && !part->b) continue;
      orion_projection_shape(&a->config, (orion_projection)p, &in, &out);
      if (part->rank < 1 || part->rank > a->rank || !(a->targets >> p & 1)) abort();
      check_half(part->a, (size_t)part->rank, (size_t)in);
      check_half(part->b, (size_t)out, (size_t)part->rank);
    }
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint32_t n;
  if (size < sizeof n) return 0;
  memcpy(&n, data, sizeof n);
  data += sizeof n;
  size -= sizeof n;
  if (n > size) return 0;
  const orion_config *configs[] = {&llama, &gpt2};
  for (int i = 0; i < 2; i++) {
    orion_adapter *a;
    orion_error err;
    if (orion_adapter_parse(NULL, configs[i], "config", (const char *)data, n, "tensors", data + n, size - n, &a, &err) != ORION_OK) {
      continue;
    }
    check(a);
    orion_adapter_close(a);
  }
  return 0;
}

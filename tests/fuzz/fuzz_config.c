// Any bytes as config.json: what is accepted keeps the limits, and can be written down and read again.
#include <stdlib.h>

#include "fuzz/fuzz.h"
#include "model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  orion_config c;
  orion_error err;
  if (orion_config_parse((const char *)data, size, "fuzz", &c, &err) != ORION_OK) return 0;
  if (c.heads < 1 || c.kv_heads < 1 || c.heads % c.kv_heads != 0 || c.layers > 1000 || c.n_eos > 8) abort();
  if (orion_config_parameters(&c) > UINT64_MAX / 16) abort();
  if (c.rope) {
    float *table = calloc((size_t)c.head_dim, sizeof *table);
    if (table) orion_config_rope(&c, 1, table, table + c.head_dim / 2);
    free(table);
  }
  orion_strbuf text;
  orion_strbuf_init(&text, NULL);
  if (orion_config_text(&c, ORION_FP32, &text, &err) != ORION_OK) abort();
  orion_strbuf_deinit(&text);
  orion_config_read_generation((const char *)data, size, "fuzz", &c, &err);
  return 0;
}

#include "model/lora.h"

#include <stdio.h>
#include <string.h>

static const char *const names[ORION_PROJECTIONS] = {"q", "k", "v", "o", "gate", "up", "down"};
static const char *const keys[ORION_PROJECTIONS] = {"wq", "wk", "wv", "wo", "gate", "up", "down"};  // of the weights

int orion_projection_of(const char *key) {
  for (int p = 0; p < ORION_PROJECTIONS; p++) {
    if (strcmp(keys[p], key) == 0) return p;
  }
  return -1;
}

unsigned orion_projection_all(const orion_config *c) {
  unsigned all = (1u << ORION_PROJECTIONS) - 1;
  return c->gated ? all : all & ~(1u << ORION_PROJECTION_GATE);
}

orion_status orion_projection_parse(const orion_config *c, const char *text, unsigned *out, orion_error *err) {
  unsigned all = orion_projection_all(c);
  *out = all;
  if (!text || strcmp(text, "all") == 0) return ORION_OK;
  *out = 0;
  for (const char *at = text;; at++) {
    size_t n = strcspn(at, ",");
    int p = 0;
    while (p < ORION_PROJECTIONS && (strlen(names[p]) != n || strncmp(at, names[p], n) != 0)) p++;
    if (p == ORION_PROJECTIONS || !(all >> p & 1)) {
      char known[32];
      orion_projection_text(all, known);
      return ORION_FAIL(err, ORION_INVALID, "projections: '%.*s' of \"%.60s\" is none of this model's (want some of %s)", (int)n,
                        at, text, known);
    }
    *out |= 1u << p;
    at += n;
    if (!*at) return ORION_OK;
  }
}

void orion_projection_text(unsigned targets, char out[32]) {
  size_t at = 0;
  out[0] = 0;
  for (int p = 0; p < ORION_PROJECTIONS; p++) {
    if (targets >> p & 1) at += (size_t)snprintf(out + at, 32 - at, "%s%s", at ? "," : "", names[p]);
  }
}

void orion_projection_shape(const orion_config *c, orion_projection p, int64_t *out_in, int64_t *out_out) {
  int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
  *out_in = p == ORION_PROJECTION_O ? q : p == ORION_PROJECTION_DOWN ? c->hidden : c->dim;
  switch (p) {
    case ORION_PROJECTION_Q: *out_out = q; break;
    case ORION_PROJECTION_K:
    case ORION_PROJECTION_V: *out_out = kv; break;
    case ORION_PROJECTION_GATE:
    case ORION_PROJECTION_UP: *out_out = c->hidden; break;
    case ORION_PROJECTION_O:
    case ORION_PROJECTION_DOWN: *out_out = c->dim; break;
  }
}

void orion_lora_name(char out[ORION_LORA_NAME], orion_family family, int layer, orion_projection p, orion_lora_half half) {
  bool joint = family == ORION_FAMILY_GPT2 && p <= ORION_PROJECTION_V && half == ORION_LORA_A;
  snprintf(out, ORION_LORA_NAME, "l%d_%s_lora_%c", layer, joint ? "qkv" : keys[p], half == ORION_LORA_A ? 'a' : 'b');
}

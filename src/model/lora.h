// Words that all who handle low-rank adapters share: which projections there are, and what their slots are called.
//
// An adapter adds to a projection W [out, in] the product of two small matrices, scale * B A with A [r, in] and B [out, r].
// In programs B lies transposed, [r, out], so that both have the rank as rows: adapters are put side by side by putting
// their rows one after another, and a smaller one is filled up with rows of zeros.
#ifndef ORION_MODEL_LORA_H
#define ORION_MODEL_LORA_H

#include "model/model.h"

#define ORION_LORA_MAX_RANK 4096        // of slots; files have ranks far below
#define ORION_LORA_NAME 48              // bytes of a slot's name
#define ORION_LORA_GATE "lora_gate"

typedef enum orion_projection {
  ORION_PROJECTION_Q,
  ORION_PROJECTION_K,
  ORION_PROJECTION_V,
  ORION_PROJECTION_O,
  ORION_PROJECTION_GATE,
  ORION_PROJECTION_UP,
  ORION_PROJECTION_DOWN,
} orion_projection;
enum { ORION_PROJECTIONS = 7 };

typedef enum orion_lora_half { ORION_LORA_A, ORION_LORA_B } orion_lora_half;

typedef struct orion_lora_slots {
  int64_t rank;      // R; 0: none
  unsigned targets;  // bit p: projection p has one
} orion_lora_slots;

int orion_projection_of(const char *key);               // by the name of the weight's field, "wq"; -1: of none
// The projections that a configuration has, as bits.
unsigned orion_projection_all(const orion_config *c);
// "q,v" as bits, among those that `c` has; NULL or "all": all of them. GPT-2's c_attn is q, k and v.
orion_status orion_projection_parse(const orion_config *c, const char *text, unsigned *out, orion_error *err);
void orion_projection_text(unsigned targets, char out[32]);  // bits as "q,v"

// In and out features of a projection.
void orion_projection_shape(const orion_config *c, orion_projection p, int64_t *out_in, int64_t *out_out);

// "l3_wq_lora_a"; a of GPT-2's q, k and v, which are one matrix in its files, is one: "l3_qkv_lora_a".
void orion_lora_name(char out[ORION_LORA_NAME], orion_family family, int layer, orion_projection p, orion_lora_half half);

#endif

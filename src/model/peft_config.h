// adapter_config.json: what of PEFT's settings matters, and which of them make an adapter more than a sum of A and B.
#ifndef ORION_MODEL_PEFT_CONFIG_H
#define ORION_MODEL_PEFT_CONFIG_H

#include "base/strbuf.h"
#include "base/json.h"

typedef struct orion_peft_config {
  json_t *root;           // owned; NULL after a failure
  int64_t rank;           // "r"
  double alpha;           // "lora_alpha"
  bool rslora;            // alpha / sqrt(rank)
  bool saves_head;        // modules_to_save is the classifier
} orion_peft_config;

// Refuses, naming file and key, what cannot be expressed by A and B alone.
orion_status orion_peft_config_read(const char *text, size_t n, const char *name, orion_peft_config *out, orion_error *err);
void orion_peft_config_free(orion_peft_config *c);

// For a module as PEFT names it ("model.layers.3.self_attn.q_proj"): the entry of rank_pattern or alpha_pattern whose
// key is that name or ends it after a dot, else the general value.
int64_t orion_peft_rank(const orion_peft_config *c, const char *module);
double orion_peft_scale(const orion_peft_config *c, const char *module, int64_t rank);

// The text of a configuration: each of n modules by its last words ("q_proj"), scales given by alpha = rank * scale.
typedef struct orion_peft_module {
  const char *name;       // "model.layers.3.self_attn.q_proj"
  const char *target;     // "q_proj"
  int64_t rank;
  double alpha;
} orion_peft_module;
orion_status orion_peft_config_text(const orion_peft_module *modules, size_t n, bool fan_in_fan_out, bool head,
                                    orion_strbuf *out, orion_error *err);

#endif

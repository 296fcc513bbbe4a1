// --lora PATH[:SCALE], as often as there are adapters.
#ifndef ORION_CLI_LORA_ARGS_H
#define ORION_CLI_LORA_ARGS_H

#include "cli/cli.h"
#include "orion/adapter.h"

typedef struct lora_args {
  orion_mix_part parts[CLI_MAX_VALUES];  // adapters owned
  size_t n;
  char targets[32];                      // projections that one of them changes
  int64_t rank;                          // of all together
} lora_args;

// `option`: "lora", or another that takes the same text.
orion_status lora_args_open(const cli_args *a, const char *option, const orion_model *m, lora_args *out, orion_error *err);
// Replaces *m by the model with the adapters of --merge-lora in its weights, one after another.
orion_status lora_args_merge(const cli_args *a, orion_model **m, orion_error *err);
void lora_args_close(lora_args *l);

#endif

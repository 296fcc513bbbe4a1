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

orion_status lora_args_open(const cli_args *a, const orion_model *m, lora_args *out, orion_error *err);
void lora_args_close(lora_args *l);

#endif

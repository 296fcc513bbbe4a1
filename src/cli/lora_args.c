#include "cli/lora_args.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/adapter.h"

// What follows the last colon is a scale, unless the whole is a path that exists.
static orion_status split(const char *option, const char *text, char *path, size_t size, double *out_scale, orion_error *err) {
  const char *colon = strrchr(text, ':');
  size_t n = strlen(text);
  *out_scale = 1;
  if (colon && !orion_dir_exists(text)) {
    char *end;
    *out_scale = strtod(colon + 1, &end);
    if (end == colon + 1 || *end || !isfinite(*out_scale)) {
      return CLI_USAGE(err, "--%s %.200s: '%.40s' is no scale (want PATH or PATH:SCALE)", option, text, colon + 1);
    }
    n = (size_t)(colon - text);
  }
  if (n >= size) return CLI_USAGE(err, "--%s: the path is too long", option);
  memcpy(path, text, n);
  path[n] = 0;
  return ORION_OK;
}

orion_status lora_args_open(const cli_args *a, const char *option, const orion_model *m, lora_args *out, orion_error *err) {
  unsigned targets = 0;
  *out = (lora_args){0};
  for (const char *text; (text = cli_nth(a, option, out->n)) != NULL;) {
    char path[4096];
    orion_adapter *adapter;
    double scale;
    ORION_TRY(split(option, text, path, sizeof path, &scale, err));
    ORION_TRY(orion_adapter_open(m, path, &adapter, err));
    out->parts[out->n++] = (orion_mix_part){adapter, scale};
    out->rank += adapter->rank;
    targets |= adapter->targets;
  }
  orion_projection_text(targets, out->targets);
  return ORION_OK;
}

orion_status lora_args_merge(const cli_args *a, orion_model **m, orion_error *err) {
  lora_args list;
  orion_status status = lora_args_open(a, "merge-lora", *m, &list, err);
  for (size_t i = 0; status == ORION_OK && i < list.n; i++) {
    orion_model *merged;
    status = orion_model_merge(*m, list.parts[i].adapter, list.parts[i].scale, &merged, err);
    if (status != ORION_OK) break;
    orion_model_close(*m);  // the merged one keeps what it shares with it
    *m = merged;
  }
  lora_args_close(&list);
  return status;
}

void lora_args_close(lora_args *l) {
  for (size_t i = 0; i < l->n; i++) orion_adapter_close((orion_adapter *)(uintptr_t)l->parts[i].adapter);
  l->n = 0;
}

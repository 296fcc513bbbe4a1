#include "train/update.h"

#include <stdio.h>

#include "base/clock.h"

struct orion_updater {
  const orion_allocator *allocator;
  orion_params *params;
  orion_device *device;
  const orion_target *target;
  orion_step_source source;
  orion_step_spec spec;
  orion_update_kind kind;
  orion_step *step;
  int compiles;          // that an update costs
  char note[768];
};

static const char *const names[] = {"delta", "input", "recompile"};

bool orion_update_parse(const char *name, orion_update_kind *out) {
  for (int i = 0; i < 3; i++) {
    if (strcmp(name, names[i]) != 0) continue;
    *out = (orion_update_kind)i;
    return true;
  }
  return false;
}

const char *orion_update_name(orion_update_kind kind) { return names[kind]; }

// Finds the first strategy that passes. What only says that the strategy does not work here is noted, and the next is
// tried; the last one's failure is the caller's.
static orion_status choose(orion_updater *u, orion_update_kind first, orion_error *err) {
  size_t used = 0;
  for (int kind = first;; kind++) {
    orion_error why = {0};
    orion_status status = orion_update_prove(&u->params->model->config, &u->params->lora, u->device, u->target, &u->source, &u->spec,
                                             (orion_update_kind)kind, u->allocator, &why);
    u->kind = (orion_update_kind)kind;
    if (status == ORION_OK) break;
    if (kind == ORION_UPDATE_RECOMPILE || status == ORION_NO_MEMORY) {
      if (err) *err = why;
      orion_error_prefix(err, "update by %s", names[kind]);
      return status;
    }
    int n = snprintf(u->note + used, sizeof u->note - used, "%supdate by %s does not work here: %.160s", used ? "; " : "",
                     names[kind], why.message);
    used += n > 0 && (size_t)n < sizeof u->note - used ? (size_t)n : 0;
  }
  if (used) snprintf(u->note + used, sizeof u->note - used, "; %s is used", names[u->kind]);
  return ORION_OK;
}

static orion_status compile(orion_updater *u, orion_error *err) {
  orion_device_usage before, after;
  orion_device_usage_get(u->device, &before);
  ORION_TRY(orion_step_create(u->params, u->device, u->target, &u->source, &u->spec, &u->step, err));
  u->spec.recompute = orion_step_spec_of(u->step)->recompute;  // searched for once
  orion_device_usage_get(u->device, &after);
  const int cost = after.compiles - before.compiles;  // less where the device had some on disk
  if (cost > u->compiles) u->compiles = cost;
  return ORION_OK;
}

// Where processes end for it, it is said.
static void note_budget(orion_updater *u) {
  orion_device_usage usage;
  orion_device_usage_get(u->device, &usage);
  if (u->kind != ORION_UPDATE_RECOMPILE || usage.max_compiles == 0) return;
  size_t used = strlen(u->note);
  snprintf(u->note + used, sizeof u->note - used, "%supdates by recompile: a process may compile %d programs, and each update "
           "takes %d; in between the run is saved and goes on in a new process", used ? "; " : "", usage.max_compiles,
           u->compiles);
}

orion_status orion_updater_create(orion_params *params, orion_device *device, const orion_target *target,
                                  const orion_step_source *source, const orion_step_spec *spec, orion_update_kind first,
                                  orion_updater **out, orion_error *err) {
  orion_updater *u = orion_alloc_zero(params->allocator, 1, sizeof *u);
  if (!u) return ORION_OOM(err, "update");
  *u = (orion_updater){.allocator = params->allocator, .params = params, .device = device, .target = target,
                       .source = *source, .spec = *spec};
  orion_status status = choose(u, first, err);
  u->spec.weights_as_inputs = u->kind == ORION_UPDATE_INPUT;
  u->spec.constants_change = u->kind == ORION_UPDATE_DELTA;
  if (status == ORION_OK) status = compile(u, err);
  if (status == ORION_OK) note_budget(u);
  if (status != ORION_OK) {
    orion_updater_destroy(u);
    return status;
  }
  *out = u;
  return ORION_OK;
}

void orion_updater_destroy(orion_updater *u) {
  if (!u) return;
  orion_step_destroy(u->step);
  orion_free(u->allocator, u, 1, sizeof *u);
}

orion_status orion_updater_apply(orion_updater *u, double *out_ms, orion_error *err) {
  double start = orion_now();
  if (u->kind == ORION_UPDATE_RECOMPILE) {
    orion_step_destroy(u->step);  // first: its packed constants must not be found again
    u->step = NULL;
    ORION_TRY(compile(u, err));
  } else {
    ORION_TRY(orion_step_refresh(u->step, err));
  }
  *out_ms = (orion_now() - start) * 1e3;
  return ORION_OK;
}

bool orion_updater_spent(const orion_updater *u) {
  orion_device_usage usage;
  orion_device_usage_get(u->device, &usage);
  return u->kind == ORION_UPDATE_RECOMPILE && usage.max_compiles > 0 && usage.compiles + u->compiles > usage.max_compiles;
}

orion_step *orion_updater_step(const orion_updater *u) { return u->step; }
orion_update_kind orion_updater_kind(const orion_updater *u) { return u->kind; }
const char *orion_updater_note(const orion_updater *u) { return u->note; }

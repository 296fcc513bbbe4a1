// Making: programs, surfaces shared between them, the way from weights to both.
//
//   x of a layer          is y of the one before
//   taps, weights         backward's are forward's
//   dy of layer_back      is d_x of the layer after; two surfaces take turns
//   d_WEIGHT              one surface for all layers: the host reads it before the next layer runs
//   dh_in of loss_back    is dh of the part before; the first one's stays zero
#include "train/gradient_sums.h"
#include "train/layered_impl.h"

#include <stdio.h>

enum { MAX_GIVEN = 40 };

typedef struct given {
  orion_given_surface list[MAX_GIVEN];
  size_t n;
} given;

static void give(given *g, const char *logical, const orion_runner *from, const char *name) {
  const orion_tensor *t = from ? orion_runner_tensor(from, name) : NULL;
  if (t && g->n < MAX_GIVEN) g->list[g->n++] = (orion_given_surface){logical, t->surface};
}

// The runner of one layer, or part of the classes: compiles the unit, or shares what is compiled.
static orion_status make(orion_layered *l, orion_unit_role role, int64_t index, orion_runner *beside, const given *g,
                         orion_runner **out, orion_error *err) {
  orion_unit *unit = orion_units_find(l->units, role, index);
  if (!unit) return ORION_FAIL(err, ORION_INTERNAL, "training: there is no program for role %d", (int)role);
  orion_runner **owner = &l->compiled[unit - l->units->list];
  orion_status status;
  if (unit->plan) {
    orion_plan *plan = unit->plan;
    unit->plan = NULL;
    status = orion_runner_create_with(l->device, plan, beside, g->n, g->list, owner, err);
    *out = *owner;
  } else {
    status = orion_runner_create_like(*owner, beside, g->n, g->list, out, err);
  }
  if (status != ORION_OK) {
    orion_error_prefix(err, "%s", unit->name);
    return status;
  }
  l->all[l->n_all++] = *out;
  return ORION_OK;
}

static orion_status make_forward(orion_layered *l, orion_error *err) {
  for (int64_t i = 0; i < l->units->layers; i++) {
    given g = {.n = 0};
    if (i) give(&g, "x", l->layer[i - 1], "y");
    ORION_TRY(make(l, ORION_ROLE_LAYER, i, NULL, &g, &l->layer[i], err));
  }
  given g = {.n = 0};
  give(&g, "x", l->layer[l->units->layers - 1], "y");
  ORION_TRY(make(l, ORION_ROLE_NORM, 0, NULL, &g, &l->norm, err));
  for (int64_t k = 0; k < l->units->parts; k++) {
    g.n = 0;
    give(&g, "h", l->norm, "y");
    ORION_TRY(make(l, ORION_ROLE_LOSS, k, NULL, &g, &l->loss[k], err));
  }
  return ORION_OK;
}

static orion_status make_backward(orion_layered *l, orion_error *err) {
  static const char *const shared[] = {"peak", "share", "weight", "d_classifier"};
  int64_t last = l->units->layers - 1;
  for (int64_t k = 0; k < l->units->parts; k++) {
    given g = {.n = 0};
    for (size_t i = 0; k && i < 4; i++) give(&g, shared[i], l->loss_back[0], shared[i]);
    if (k) give(&g, "dh_in", l->loss_back[k - 1], "dh");
    ORION_TRY(make(l, ORION_ROLE_LOSS_BACK, k, l->loss[k], &g, &l->loss_back[k], err));
  }
  given g = {.n = 0};
  give(&g, "dy", l->loss_back[l->units->parts - 1], "dh");
  ORION_TRY(make(l, ORION_ROLE_NORM_BACK, 0, l->norm, &g, &l->norm_back, err));
  for (int64_t i = last; i >= 0; i--) {
    g.n = 0;
    give(&g, "dy", i == last ? l->norm_back : l->layer_back[i + 1], "d_x");
    if (i + 2 <= last) give(&g, "d_x", l->layer_back[i + 2], "d_x");
    for (size_t w = 0; i < last && w < l->per_layer; w++) {
      give(&g, l->weights[w].gradient, l->layer_back[last], l->weights[w].gradient);
    }
    ORION_TRY(make(l, ORION_ROLE_LAYER_BACK, i, l->layer[i], &g, &l->layer_back[i], err));
  }
  return ORION_OK;
}

// ---- weights --------------------------------------------------------------------------------------------------------

static orion_status note_weight(orion_layered *l, layered_weight *w, const char *field, size_t param, orion_error *err) {
  *w = (layered_weight){orion_arena_strdup(&l->arena, field), orion_gradient_name(&l->arena, field), param};
  return w->field && w->gradient ? ORION_OK : ORION_OOM(err, "training");
}

// Where each weight goes, by its name in graphs: "l3_wq" is wq of layer 3.
static orion_status sort_weights(orion_layered *l, orion_error *err) {
  size_t n = l->params->n, layers = (size_t)l->params->model->config.layers;
  orion_weight *list = ORION_ARENA_ARRAY(&l->arena, orion_weight, n);
  size_t *counts = ORION_ARENA_ARRAY(&l->arena, size_t, layers);
  l->weights = ORION_ARENA_ARRAY(&l->arena, layered_weight, n);
  if (!list || !counts || !l->weights) return ORION_OOM(err, "training");
  if (orion_model_weights(l->params->model, list, n) != n) return ORION_FAIL(err, ORION_INTERNAL, "weights: two counts of them");
  size_t of_layers = 0;
  int layer, at;
  for (size_t i = 0; i < n; i++) of_layers += sscanf(list[i].name, "l%d_%n", &layer, &at) == 1;
  l->per_layer = of_layers / layers;
  l->embedding = l->positions = l->classifier = LAYERED_NO_WEIGHT;
  for (size_t i = 0; i < n; i++) {
    const char *name = list[i].name;
    if (sscanf(name, "l%d_%n", &layer, &at) == 1) {
      size_t k = counts[layer]++;
      ORION_TRY(note_weight(l, &l->weights[(size_t)layer * l->per_layer + k], name + at, i, err));
    } else if (strcmp(name, "embedding") == 0) {
      l->embedding = i;
    } else if (strcmp(name, "positions") == 0) {
      l->positions = i;
    } else if (strcmp(name, "classifier") == 0) {
      l->classifier = i;
    } else if (l->n_norm < 2) {
      ORION_TRY(note_weight(l, &l->norm_weights[l->n_norm++], name, i, err));
    }
  }
  if (l->classifier == LAYERED_NO_WEIGHT) l->classifier = l->embedding;
  return ORION_OK;
}

static bool has_constant(const orion_runner *r, const char *name) {
  const orion_plan *plan = orion_runner_plan(r);
  for (size_t i = 0; i < plan->n_parts; i++) {
    if (orion_function_find(plan->parts[i].program->functions[0], name) != ORION_NONE) return true;
  }
  return false;
}

// rows x cols of a weight to the program of one layer, or part of the classes, and to its backward program.
static orion_status refresh(orion_layered *l, orion_runner *forward, orion_runner *back, const char *field, const float *values,
                            size_t rows, size_t cols, orion_error *err) {
  if (l->spec.weights_as_inputs) {
    orion_tensor *t = orion_runner_tensor(forward, field);
    if (t) orion_rows_put(t, values, rows, cols);
    return t ? ORION_OK : ORION_FAIL(err, ORION_INTERNAL, "training: no program has an input %s", field);
  }
  if (!ORION_GROW(l->allocator, &l->halves, &l->cap_halves, rows * cols)) return ORION_OOM(err, "update");
  orion_floats_to_half(l->halves, values, rows * cols);
  ORION_TRY(orion_runner_update(forward, field, l->halves, rows * cols * sizeof *l->halves, err));
  if (!back || !has_constant(back, field)) return ORION_OK;
  return orion_runner_update(back, field, l->halves, rows * cols * sizeof *l->halves, err);
}

static orion_status refresh_param(orion_layered *l, orion_runner *forward, orion_runner *back, const layered_weight *w,
                                  orion_error *err) {
  const orion_param *x = &l->params->list[w->param];
  return refresh(l, forward, back, w->field, x->value, layered_rows(x), layered_cols(x), err);
}

orion_status orion_layered_refresh(orion_layered *l, orion_error *err) {
  bool both = l->spec.gradients;
  for (size_t i = 0; i < (size_t)l->units->layers; i++) {
    for (size_t k = 0; k < l->per_layer; k++) {
      const layered_weight *w = &l->weights[i * l->per_layer + k];
      ORION_TRY(refresh_param(l, l->layer[i], both ? l->layer_back[i] : NULL, w, err));
    }
  }
  for (size_t k = 0; k < l->n_norm; k++) ORION_TRY(refresh_param(l, l->norm, both ? l->norm_back : NULL, &l->norm_weights[k], err));
  const float *classifier = l->params->list[l->classifier].value;
  for (int64_t k = 0; k < l->units->parts; k++) {
    ORION_TRY(refresh(l, l->loss[k], both ? l->loss_back[k] : NULL, "classifier", classifier + layered_first(l, k) * l->dim,
                      (size_t)layered_classes(l, k), (size_t)l->dim, err));
  }
  return ORION_OK;
}

// ---- all ------------------------------------------------------------------------------------------------------------

static orion_status allocate(orion_layered *l, orion_error *err) {
  size_t layers = (size_t)l->units->layers, parts = (size_t)l->units->parts, n = (size_t)l->N;
  orion_arena *a = &l->arena;
  l->compiled = ORION_ARENA_ARRAY(a, orion_runner *, l->units->n);
  l->all = ORION_ARENA_ARRAY(a, orion_runner *, 2 * (layers + parts + 1));
  l->layer = ORION_ARENA_ARRAY(a, orion_runner *, layers);
  l->layer_back = ORION_ARENA_ARRAY(a, orion_runner *, layers);
  l->loss = ORION_ARENA_ARRAY(a, orion_runner *, parts);
  l->loss_back = ORION_ARENA_ARRAY(a, orion_runner *, parts);
  l->line = ORION_ARENA_ARRAY(a, float, n);
  l->peak = ORION_ARENA_ARRAY(a, double, n);
  l->sum = ORION_ARENA_ARRAY(a, double, n);
  l->picked = ORION_ARENA_ARRAY(a, double, n);
  l->gradients = ORION_ARENA_ARRAY(a, float *, l->params->n);
  bool ok = l->compiled && l->all && l->layer && l->layer_back && l->loss && l->loss_back && l->line && l->peak && l->sum &&
            l->picked && l->gradients;
  if (!ok) return ORION_OOM(err, "training");
  if (!l->spec.gradients) return ORION_OK;
  l->gradient_memory = orion_alloc_zero(l->allocator, l->params->elements, sizeof(float));
  if (!l->gradient_memory) return ORION_OOM(err, "gradients");
  float *at = l->gradient_memory;
  for (size_t i = 0; i < l->params->n; i++) {
    l->gradients[i] = at;
    at += l->params->list[i].n;
  }
  return ORION_OK;
}

static orion_status prepare(orion_layered *l, const orion_target *target, orion_error *err) {
  const orion_data **leaves = ORION_ARENA_ARRAY(&l->arena, const orion_data *, l->params->n);
  if (!leaves) return ORION_OOM(err, "weights");
  orion_units_spec spec = {.batch = l->spec.batch, .tokens = l->P, .inputs = l->spec.weights_as_inputs,
                           .gradients = l->spec.gradients};
  orion_model *view;
  ORION_TRY(orion_params_view(l->params, leaves, &view, err));
  orion_status status = orion_units_create(view, target, &spec, &l->units, err);
  orion_model_close(view);
  if (status != ORION_OK) return status;
  ORION_TRY(allocate(l, err));
  ORION_TRY(sort_weights(l, err));
  ORION_TRY(make_forward(l, err));
  if (l->spec.gradients) ORION_TRY(make_backward(l, err));
  return l->spec.weights_as_inputs ? orion_layered_refresh(l, err) : ORION_OK;
}

orion_status orion_layered_create(orion_params *params, orion_device *device, const orion_target *target,
                                  const orion_step_spec *spec, orion_layered **out, orion_error *err) {
  orion_layered *l = orion_alloc_zero(params->allocator, 1, sizeof *l);
  if (!l) return ORION_OOM(err, "training");
  *l = (orion_layered){.allocator = params->allocator, .params = params, .device = device, .spec = *spec, .T = spec->seq,
                       .P = orion_units_tokens(target, spec->batch, spec->seq), .dim = params->model->config.dim};
  l->N = l->P * spec->batch;
  orion_arena_init(&l->arena, l->allocator);
  orion_status status = prepare(l, target, err);
  if (status != ORION_OK) {
    orion_layered_destroy(l);
    return status;
  }
  *out = l;
  return ORION_OK;
}

void orion_layered_destroy(orion_layered *l) {
  if (!l) return;
  while (l->n_all > 0) orion_runner_destroy(l->all[--l->n_all]);  // those that share before those that own
  orion_units_destroy(l->units);
  orion_free(l->allocator, l->gradient_memory, l->params->elements, sizeof(float));
  orion_free(l->allocator, l->halves, l->cap_halves, sizeof *l->halves);
  orion_arena_deinit(&l->arena);
  orion_free(l->allocator, l, 1, sizeof *l);
}

float *const *orion_layered_gradients(const orion_layered *l) { return l->gradients; }
const char *orion_layered_overflow(const orion_layered *l) { return l->overflow[0] ? l->overflow : NULL; }

size_t orion_layered_runs(const orion_layered *l) {
  size_t runs = 0;
  for (size_t i = 0; i < l->n_all; i++) runs += orion_runner_parts(l->all[i]);
  return runs;
}

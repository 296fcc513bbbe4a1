#include "train/units.h"

#include <stdio.h>

#include "grad/grad.h"
#include "model/graph.h"
#include "model/slots.h"
#include "target/cost.h"

#define LOGIT_BYTES (16 << 20)  // of the classes of one run: beyond, nothing is won against the cost of a dispatch
#define MAX_WRT 32              // weights of a layer, and its input

// Constants that change must come through as they are: no pass may compute with them, merge equal ones, or find that scales,
// which begin as ones, change nothing. Where weights are inputs only equal operations go besides: the same bits.
static const char passes_of_constants[] = "cast_fuse,reshape_merge,transpose_merge,dce";
static const char passes_of_inputs[] = "cast_fuse,cse,reshape_merge,transpose_merge,dce";

typedef struct making {
  orion_units *u;
  const orion_model *model;
  const orion_target *target;
  orion_opt_options passes;
} making;

int64_t orion_units_tokens(const orion_target *target, int64_t batch, int64_t seq) {
  while (batch * seq % target->width_multiple != 0) seq++;
  return seq;
}

// ---- one unit -------------------------------------------------------------------------------------------------------

static orion_status add(making *k, orion_unit_role role, int64_t index, const char *stem, bool numbered, orion_program *p,
                        const char *function, orion_error *err) {
  orion_units *u = k->u;
  if (!ORION_GROW(u->allocator, &u->list, &u->cap, u->n + 1)) return ORION_OOM(err, "training programs");
  orion_unit *unit = &u->list[u->n];
  *unit = (orion_unit){.role = role, .index = index};
  if (numbered) {
    snprintf(unit->name, sizeof unit->name, "%.20s_%02d", stem, (int)index);
  } else {
    snprintf(unit->name, sizeof unit->name, "%.20s", stem);
  }
  const orion_lower_options options = {.target = k->target, .passes = &k->passes, .function = function, .training = true};
  orion_status status = orion_lower(p, &options, &unit->plan, err);
  if (status != ORION_OK) orion_error_prefix(err, "%s", unit->name);
  u->n += status == ORION_OK;
  return status;
}

static orion_unit_spec graph_spec(const making *k, orion_unit_kind kind) {
  const orion_units_spec *s = &k->u->spec;
  return (orion_unit_spec){.kind = kind, .batch = s->batch, .tokens = s->tokens, .compute = ORION_FP16, .weights = ORION_FP16,
                           .inputs = s->inputs};
}

// Names of what has a gradient: the input, and every weight that the graph has.
static size_t name_wrt(const orion_program *p, const making *k, const char *names[MAX_WRT]) {
  orion_family family = k->model->config.family;
  size_t n = 0, sizes[2];
  const orion_slot *tables[2] = {orion_slots_layer(family, &sizes[0]), orion_slots_model(family, &sizes[1])};
  names[n++] = "x";
  for (int t = 0; t < 2; t++) {
    for (size_t i = 0; i < sizes[t] && n < MAX_WRT; i++) {
      if (orion_function_find(p->functions[0], tables[t][i].key) != ORION_NONE) names[n++] = tables[t][i].key;
    }
  }
  return n;
}

// Forward and backward of a graph from x to y.
static orion_status add_pair(making *k, orion_unit_role role, const orion_unit_spec *spec, const char *stem, bool numbered,
                             orion_error *err) {
  orion_program *graph, *both = NULL;
  char back[24];
  snprintf(back, sizeof back, "%.16s_back", stem);
  ORION_TRY(orion_model_unit_graph(k->model, spec, &graph, err));
  orion_status status;
  if (k->u->spec.gradients) {
    const char *wrt[MAX_WRT];
    const orion_grad_options options = {.seeds = &(orion_grad_seed){"y", "dy"}, .n_seeds = 1, .wrt = wrt,
                                        .n_wrt = name_wrt(graph, k, wrt), .recompute = orion_cost_recompute,
                                        .recompute_ctx = (void *)(uintptr_t)k->target, .split = true};
    orion_grad_report report = {0};
    status = orion_grad(graph, &options, &both, &report, err);
    if (status == ORION_OK) status = add(k, role, spec->layer, stem, numbered, both, "main", err);
    if (status == ORION_OK) status = add(k, role + 1, spec->layer, back, numbered, both, "backward", err);
    if (role == ORION_ROLE_LAYER) {
      k->u->taps = report.kept;
      k->u->tap_bytes = report.kept_bytes;
      k->u->again = report.recomputed;
      k->u->again_bytes = report.recomputed_bytes;
    }
  } else {
    status = add(k, role, spec->layer, stem, numbered, graph, NULL, err);
  }
  orion_program_destroy(both);
  orion_program_destroy(graph);
  return status;
}

// ---- the loss -------------------------------------------------------------------------------------------------------

static void divide_classes(orion_units *u, const orion_target *t) {
  int64_t n = u->spec.batch * u->spec.tokens, limit = LOGIT_BYTES / 2 / n / 32 * 32;
  if (limit > ORION_MAX_UNIT_CLASSES) limit = ORION_MAX_UNIT_CLASSES;
  if (limit > t->max_axis) limit = t->max_axis / 32 * 32;
  if (limit < 32) limit = 32;
  u->parts = (u->vocab + limit - 1) / limit;
  u->classes = (u->vocab + u->parts - 1) / u->parts;
  if (u->parts > 1) u->classes = (u->classes + 31) / 32 * 32;  // at most the limit, which is a multiple
  u->parts = (u->vocab + u->classes - 1) / u->classes;
}

static orion_status add_loss(making *k, int64_t part, orion_unit_kind kind, orion_unit_role role, const char *stem, bool numbered,
                             orion_error *err) {
  const orion_units *u = k->u;
  orion_unit_spec spec = graph_spec(k, kind);
  spec.first = part * u->classes;
  spec.classes = u->vocab - spec.first < u->classes ? u->vocab - spec.first : u->classes;
  orion_program *graph;
  ORION_TRY(orion_model_unit_graph(k->model, &spec, &graph, err));
  orion_status status = add(k, role, part, stem, numbered, graph, NULL, err);
  orion_program_destroy(graph);
  return status;
}

// ---- all ------------------------------------------------------------------------------------------------------------

static int64_t own_index(const orion_units *u, orion_unit_role role, int64_t index) {
  if (role == ORION_ROLE_NORM || role == ORION_ROLE_NORM_BACK) return 0;
  if (!u->spec.inputs) return index;
  bool loss = role == ORION_ROLE_LOSS || role == ORION_ROLE_LOSS_BACK;
  return loss && index == u->parts - 1 && u->vocab % u->classes ? index : 0;
}

static orion_status make_all(making *k, orion_error *err) {
  orion_units *u = k->u;
  for (int64_t i = 0; i < u->layers; i++) {
    if (own_index(u, ORION_ROLE_LAYER, i) != i) continue;
    orion_unit_spec spec = graph_spec(k, ORION_UNIT_LAYER);
    spec.layer = i;
    ORION_TRY(add_pair(k, ORION_ROLE_LAYER, &spec, "layer", !u->spec.inputs, err));
  }
  const orion_unit_spec norm = graph_spec(k, ORION_UNIT_NORM);
  ORION_TRY(add_pair(k, ORION_ROLE_NORM, &norm, "norm", false, err));
  for (int64_t i = 0; i < u->parts; i++) {
    if (own_index(u, ORION_ROLE_LOSS, i) != i) continue;
    bool numbered = !u->spec.inputs || i > 0;
    ORION_TRY(add_loss(k, i, ORION_UNIT_LOSS, ORION_ROLE_LOSS, "loss", numbered, err));
    if (u->spec.gradients) ORION_TRY(add_loss(k, i, ORION_UNIT_LOSS_GRAD, ORION_ROLE_LOSS_BACK, "loss_back", numbered, err));
  }
  return ORION_OK;
}

orion_status orion_units_create(const orion_model *m, const orion_target *target, const orion_units_spec *spec,
                                orion_units **out, orion_error *err) {
  orion_units *u = orion_alloc_zero(m->allocator, 1, sizeof *u);
  if (!u) return ORION_OOM(err, "training programs");
  *u = (orion_units){.allocator = m->allocator, .spec = *spec, .layers = m->config.layers, .vocab = m->config.vocab};
  divide_classes(u, target);
  making k = {.u = u, .model = m, .target = target};
  if (spec->passes) k.passes = *spec->passes;
  if (!k.passes.passes) k.passes.passes = spec->inputs ? passes_of_inputs : passes_of_constants;
  orion_status status = make_all(&k, err);
  u->spec.passes = NULL;
  if (status != ORION_OK) {
    orion_units_destroy(u);
    return status;
  }
  *out = u;
  return ORION_OK;
}

void orion_units_destroy(orion_units *u) {
  if (!u) return;
  for (size_t i = 0; i < u->n; i++) orion_plan_destroy(u->list[i].plan);
  orion_free(u->allocator, u->list, u->cap, sizeof *u->list);
  orion_free(u->allocator, u, 1, sizeof *u);
}

orion_unit *orion_units_find(const orion_units *u, orion_unit_role role, int64_t index) {
  index = own_index(u, role, index);
  for (size_t i = 0; i < u->n; i++) {
    if (u->list[i].role == role && u->list[i].index == index) return &u->list[i];
  }
  return NULL;
}

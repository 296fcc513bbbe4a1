// The way from a graph to a plan: open, optimise, quantise, cut, name, verify.
#include "lower/lower.h"

#include <string.h>

#include "lower/lower_internal.h"
#include "opt/uniform_io.h"

bool orion_lowering_port(lowering *l, const char *logical, const char *name, bool input, orion_arrangement arrangement,
                         int64_t rows, int64_t cols, int64_t heads, int64_t first_col) {
  if (!ORION_GROW(l->program->allocator, &l->ports, &l->cap_ports, l->n_ports + 1)) return false;
  orion_port port = {orion_arena_strdup(&l->scratch, logical), orion_arena_strdup(&l->scratch, name), input, arrangement,
                     rows, cols, heads, first_col};
  if (!port.logical || !port.name) return false;
  l->ports[l->n_ports++] = port;
  return true;
}

orion_ref orion_lowering_causal(lowering *l, orion_dtype dtype, int64_t T, int rank) {
  if (l->causal != ORION_NONE && l->causal_tokens == T) return l->causal;
  void *bytes;
  const orion_data *data = orion_data_new(l->program->data, dtype, (size_t)T, (size_t)T, &bytes);
  if (!data) {
    orion_builder_fail(&l->b, ORION_NO_MEMORY, "causal mask: out of memory");
    return ORION_NONE;
  }
  for (int64_t t = 0; t < T; t++) {
    for (int64_t s = t + 1; s < T; s++) orion_store_double(dtype, bytes, (size_t)(t * T + s), ORION_MASKED);
  }
  int64_t dims[4] = {1, 1, T, T};
  l->causal = orion_build_weight(&l->b, "causal", data, rank, dims + 4 - rank);
  l->causal_tokens = T;
  return l->causal;
}

void orion_plan_destroy(orion_plan *plan) {
  if (!plan) return;
  for (size_t i = 0; i < plan->n_parts; i++) orion_program_destroy(plan->parts[i].program);
  orion_arena_deinit(&plan->arena);
  orion_free(plan->allocator, plan, 1, sizeof *plan);
}

static orion_status open_graph(lowering *l, orion_error *err) {
  l->map = ORION_ARENA_ARRAY(&l->scratch, orion_ref, l->from->n_values + 1);
  if (!l->map) return ORION_OOM(err, "lowering");
  for (size_t i = 0; i < l->from->n_values; i++) l->map[i] = ORION_NONE;
  l->program->version = l->target->version;
  ORION_TRY(orion_program_add_function(l->program, "main", l->target->opset, &l->to, err));
  orion_builder_init(&l->b, l->to);
  return l->target->ane ? orion_open_channels(l, err) : orion_open_rows(l, err);
}

// The engine binds surfaces in the byte order of their names, and a value both returned and used inside may come back
// wrong, so each part's inputs and outputs are made uniform once the cut has said what they are. Ports follow the names.
static orion_status make_ios_uniform(orion_plan *plan, orion_error *err) {
  for (size_t i = 0; i < plan->n_parts; i++) {
    orion_part *part = &plan->parts[i];
    orion_io_map map;
    ORION_TRY(orion_uniform_io(part->program->functions[0], ORION_IO_OWN_VALUES | ORION_IO_SORTED_NAMES, &plan->arena, &map, err));
    for (size_t p = 0; p < part->n_ports; p++) {
      orion_port *port = &part->ports[p];
      const char *to = NULL;
      for (size_t k = 0; k < map.n && !to; k++) {
        if (map.items[k].input == port->input && strcmp(map.items[k].from, port->name) == 0) to = map.items[k].to;
      }
      if (to) port->name = to;
    }
  }
  return ORION_OK;
}

static orion_status verify_parts(const orion_plan *plan, orion_error *err) {
  for (size_t i = 0; i < plan->n_parts; i++) {
    orion_status status = orion_verify_ok(plan->parts[i].program, err);
    if (status != ORION_OK) {
      orion_error_prefix(err, "lowering for %s, part %zu", plan->target->name, i);
      if (status == ORION_NO_MEMORY) return status;
      if (err) err->code = ORION_INTERNAL;
      return ORION_INTERNAL;
    }
  }
  return ORION_OK;
}

orion_status orion_lower(orion_program *graph, const orion_lower_options *options, orion_plan **out, orion_error *err) {
  const orion_target *t = options->target;
  lowering l = {.target = t, .training = options->training, .causal = ORION_NONE, .full_mask = ORION_NONE};
  orion_plan *plan = orion_alloc_zero(graph->allocator, 1, sizeof *plan);
  if (!plan) return ORION_OOM(err, "plan");
  plan->allocator = graph->allocator;
  plan->target = t;
  orion_arena_init(&plan->arena, graph->allocator);
  orion_arena_init(&l.scratch, graph->allocator);
  l.from = options->function ? orion_program_function(graph, options->function) : graph->functions[0];
  orion_status status = l.from ? orion_program_create(graph->allocator, graph->data, &l.program, err)
                               : ORION_FAIL(err, ORION_NOT_FOUND, "lowering: there is no function %s", options->function);
  if (status != ORION_OK) goto done;
  if ((status = open_graph(&l, err)) != ORION_OK) goto done;
  const orion_opt_limits limits = {.ane = t->ane,
                                   .sram_bytes = t->sram_bytes,
                                   .split_conv_in = t->split_conv_in,
                                   .max_conv_out = t->max_conv_out,
                                   .max_weight_bytes = t->max_weight_bytes};
  if ((status = orion_optimize(l.program, &limits, options->passes, err)) != ORION_OK) goto done;
  const orion_opt_options last = {.passes = "unfence"};
  if ((status = orion_optimize(l.program, &limits, &last, err)) != ORION_OK) goto done;
  if (options->quantise || options->keep_integers) {
    if ((status = orion_lowering_quantise(&l, options->quantise, options->keep_integers, err)) != ORION_OK) goto done;
  }
  if ((status = orion_partition(&l, plan, err)) != ORION_OK) goto done;
  if (t->ane && (status = make_ios_uniform(plan, err)) != ORION_OK) goto done;
  status = verify_parts(plan, err);
done:
  orion_free(graph->allocator, l.ports, l.cap_ports, sizeof *l.ports);
  orion_program_destroy(l.program);
  orion_arena_deinit(&l.scratch);
  if (status != ORION_OK) {
    orion_plan_destroy(plan);
    return status;
  }
  *out = plan;
  return ORION_OK;
}

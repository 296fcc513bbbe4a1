// uniform_io: see the header. Exact. As a pass it makes own values only: new names and sizes are for callers that take the
// map (lower does so on each part of a cut program, for only then is it known what is handed over).
#include "opt/uniform_io.h"

#include <stdio.h>
#include <string.h>

#include "ir/builder.h"
#include "opt/passes.h"

// Puts `copy` in the place of output `index`, under the name that it had.
static bool take_place(orion_function *f, size_t index, orion_value_id copy) {
  orion_value_id v = f->outputs[index];
  const char *name = f->values[v].name;
  f->outputs[index] = copy;
  if (f->values[v].def == ORION_NONE) return true;  // a parameter keeps its name
  for (size_t i = 0; i < f->n_outputs; i++) {
    if (f->outputs[i] == v) return true;            // so does a value that is still returned elsewhere
  }
  const char *inner = orion_function_unique_name(f, "kept");
  return inner && orion_value_rename(f, v, inner) && orion_value_rename(f, copy, name);
}

static orion_status make_own(orion_function *f, orion_builder *b, orion_io_map *map, orion_error *err) {
  orion_arena scratch;
  orion_arena_init(&scratch, f->program->allocator);
  uint32_t *uses = orion_function_count_uses(f, &scratch);
  bool ok = uses != NULL;
  for (size_t i = 0; ok && i < f->n_outputs; i++) {
    orion_value_id v = f->outputs[i];
    if (f->values[v].def != ORION_NONE && !orion_ref_is_const(f, v) && uses[v] < 2) continue;
    orion_value_id copy = ORION_BUILD(b, "returned", ORION_OP_identity, {"x", v});
    ok = copy != ORION_NONE && take_place(f, i, copy);
    uses[v]--;
    map->changes++;
  }
  orion_arena_deinit(&scratch);
  if (!ok) return b->status != ORION_OK ? orion_builder_finish(b, err) : ORION_OOM(err, "uniform_io");
  return ORION_OK;
}

static bool is_channels_first(const orion_type *t) {
  return orion_type_is_static(t) && t->rank == 4 && t->dims[0] == 1 && t->dims[2] == 1;
}

// The widest output, if all outputs are [1, C, 1, T] of one T and one element type; else 0.
static int64_t common_channels(const orion_function *f) {
  int64_t widest = 0;
  const orion_type *first = f->n_outputs ? orion_value_type(f, f->outputs[0]) : NULL;
  for (size_t i = 0; i < f->n_outputs; i++) {
    const orion_type *t = orion_value_type(f, f->outputs[i]);
    if (!is_channels_first(t) || !is_channels_first(first) || t->dims[3] != first->dims[3] || t->dtype != first->dtype) return 0;
    if (t->dims[1] > widest) widest = t->dims[1];
  }
  return widest;
}

static orion_status make_equal(orion_function *f, orion_builder *b, orion_io_map *map, orion_error *err) {
  int64_t widest = common_channels(f);
  for (size_t i = 0; i < f->n_outputs; i++) {
    orion_value_id v = f->outputs[i];
    const orion_type *t = orion_value_type(f, v);
    if (!widest || t->dims[1] == widest) continue;
    int64_t dims[4] = {1, widest - t->dims[1], 1, t->dims[3]};
    void *bytes;
    const orion_data *zeros = orion_data_new(f->program->data, t->dtype, (size_t)dims[1], (size_t)dims[3], &bytes);
    const orion_in rest[] = {{"axis", orion_build_int(b, "axis", 1)}, {"interleave", orion_build_bool(b, "interleave", false)}, {0}};
    orion_ref parts[2] = {v, orion_build_weight(b, "zeros", zeros, 4, dims)};
    orion_value_id padded = orion_build_tuple_op(b, "padded", ORION_OP_concat, "values", 2, parts, rest);
    if (padded == ORION_NONE) return orion_builder_finish(b, err);
    map->items[f->n_params + i].channels = t->dims[1];
    if (!take_place(f, i, padded)) return ORION_OOM(err, "uniform_io");
    map->changes++;
  }
  return ORION_OK;
}

static orion_status sort_names(orion_function *f, orion_io_map *map, orion_error *err) {
  for (size_t i = 0; i < map->n; i++) {
    bool input = i < f->n_params;
    size_t index = input ? i : i - f->n_params;
    orion_value_id v = input ? f->params[index] : f->outputs[index];
    char name[200];
    snprintf(name, sizeof name, "%c%02zu_%.150s", input ? 'i' : 'o', index, map->items[i].from);
    const char *unique = orion_function_unique_name(f, name);
    if (!unique || !orion_value_rename(f, v, unique)) return ORION_OOM(err, "uniform_io");
    map->changes++;
  }
  return ORION_OK;
}

orion_status orion_uniform_io(orion_function *f, unsigned what, orion_arena *arena, orion_io_map *out, orion_error *err) {
  orion_builder b;
  orion_builder_init(&b, f);
  *out = (orion_io_map){.items = ORION_ARENA_ARRAY(arena, orion_io_entry, f->n_params + f->n_outputs + 1),
                        .n = f->n_params + f->n_outputs};
  if (!out->items) return ORION_OOM(err, "uniform_io");
  for (size_t i = 0; i < out->n; i++) {
    orion_value_id v = i < f->n_params ? f->params[i] : f->outputs[i - f->n_params];
    out->items[i] = (orion_io_entry){.from = f->values[v].name, .input = i < f->n_params};
  }
  if (what & ORION_IO_OWN_VALUES) ORION_TRY(make_own(f, &b, out, err));
  if (what & ORION_IO_EQUAL_SIZES) ORION_TRY(make_equal(f, &b, out, err));
  if (what & ORION_IO_SORTED_NAMES) ORION_TRY(sort_names(f, out, err));
  for (size_t i = 0; i < out->n; i++) {
    orion_value_id v = i < f->n_params ? f->params[i] : f->outputs[i - f->n_params];
    out->items[i].from = orion_arena_strdup(arena, out->items[i].from);
    out->items[i].to = orion_arena_strdup(arena, f->values[v].name);
    if (!out->items[i].from || !out->items[i].to) return ORION_OOM(err, "uniform_io");
  }
  return ORION_OK;
}

static orion_status run(orion_pass_context *ctx, orion_program *p, orion_error *err) {
  for (size_t i = 0; i < p->n_functions; i++) {
    orion_io_map map;
    orion_arena scratch;
    orion_arena_init(&scratch, ctx->allocator);
    orion_status status = orion_uniform_io(p->functions[i], ORION_IO_OWN_VALUES, &scratch, &map, err);
    orion_arena_deinit(&scratch);
    if (status != ORION_OK) return status;
    ctx->changes += map.changes;
  }
  return ORION_OK;
}

const orion_pass orion_pass_uniform_io = {"uniform_io", "gives every output a value of its own", run};

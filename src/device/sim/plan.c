// Compiles a function: a tensor for every value, arguments resolved to tensors (defaults of the op table included), and
// one arena for all values that are not constant, in which two values share memory if their lives do not overlap.
#include "device/sim/plan.h"

#include <stdlib.h>
#include <string.h>

typedef struct planner {
  orion_sim_executable *e;
  orion_function *f;
  orion_arena *arena;            // of the executable: all that is kept
  orion_arena scratch;           // dies with the planner
  orion_sim_tensor **tensors;    // by value
  orion_sim_constant **constant_of;  // by value, NULL if it is none
  size_t *last_use;              // by value: index of the last operation that reads it
  bool *planned;                 // by value: memory in the arena
} planner;

static orion_sim_tensor *new_tensor(planner *p, const orion_type *type) {
  orion_sim_tensor *t = ORION_ARENA_NEW(p->arena, orion_sim_tensor);
  if (!t || !orion_type_elements(type, &t->n)) return NULL;  // of huge constants; other values were checked before
  t->dtype = type->dtype;
  t->rank = type->rank;
  for (int i = 0; i < t->rank; i++) t->dims[i] = type->dims[i];
  return t;
}

static orion_sim_constant *add_constant(planner *p, const char *name, const orion_type *type, const orion_data *data) {
  orion_sim_constant *c = &p->e->constants[p->e->n_constants];
  c->name = orion_arena_strdup(p->arena, name);
  c->data = data;
  c->tensor = new_tensor(p, type);
  if (!c->name || !c->tensor) return NULL;
  c->tensor->constant = true;
  p->e->n_constants++;
  return c;
}

static bool is_string(const orion_literal *l) { return l && l->kind == ORION_LIT_STRINGS; }

// ---- arguments ----

// How an argument of the op table is read: does its value decide the plan itself?
static bool shapes(orion_arg_kind kind) {
  return kind == ORION_ARG_INT || kind == ORION_ARG_INTS || kind == ORION_ARG_BOOL || kind == ORION_ARG_BOOLS ||
         kind == ORION_ARG_STR;
}

static void mark_use(planner *p, orion_sim_constant *c, bool fold, orion_arg_kind kind) {
  if (!c) return;
  if (fold) {
    c->folded = true;
  } else {
    c->kept = true;
  }
  if (shapes(kind)) c->shaping = true;
}

// The tensor of a literal written in place (or in brackets).
static orion_sim_constant *literal_constant(planner *p, const orion_literal *l) {
  return l->data ? add_constant(p, "", l->type, l->data) : NULL;
}

// A default of the op table: one number, repeated by the reader where a vector is wanted.
static orion_sim_constant *default_constant(planner *p, const orion_arg_info *info) {
  const orion_type type = {.kind = ORION_TYPE_TENSOR, .dtype = info->kind == ORION_ARG_NUM ? ORION_FP32 : ORION_INT32};
  orion_sim_constant *c = add_constant(p, "", &type, NULL);
  if (c) c->fallback = strcmp(info->fallback, "true") == 0 ? 1 : strtod(info->fallback, NULL);
  return c;
}

static orion_status resolve_arg(planner *p, const orion_op *op, const orion_arg_info *info, bool fold, size_t index,
                                orion_sim_arg *out, orion_error *err) {
  const orion_arg *arg = orion_op_arg(op, info->name);
  const orion_literal *attr = arg ? NULL : orion_op_attr(op, info->name);
  *out = (orion_sim_arg){.name = info->name, .given = arg || attr};
  if (info->kind == ORION_ARG_STR) {
    const char *text = orion_op_string(p->f, op, info->name);
    out->text = text ? orion_arena_strdup(p->arena, text) : NULL;
    return text && !out->text ? ORION_OOM(err, "sim") : ORION_OK;
  }
  if (!out->given && !info->fallback) return ORION_OK;
  out->n = arg ? arg->n_refs : 1;
  out->t = ORION_ARENA_ARRAY(p->arena, orion_sim_tensor *, out->n);
  if (!out->t) return ORION_OOM(err, "sim");
  for (size_t i = 0; i < out->n; i++) {
    orion_sim_constant *c;
    if (!arg) {
      c = attr ? literal_constant(p, attr) : default_constant(p, info);
    } else if (orion_ref_is_literal(arg->refs[i])) {
      c = literal_constant(p, orion_ref_literal(p->f, arg->refs[i]));
    } else {
      orion_value_id v = arg->refs[i];
      c = p->constant_of[v];
      out->t[i] = p->tensors[v];
      p->last_use[v] = index;
    }
    if (c) out->t[i] = c->tensor;
    if (!out->t[i]) return ORION_OOM(err, "sim");
    mark_use(p, c, fold, info->kind);
  }
  return ORION_OK;
}

// ---- integers behind a convolution ---- chip families multiply these as they are

// A tensor that `from` takes and that the operation at `index` will read too; NULL if it takes none, or a literal.
static const orion_sim_tensor *also_reads(planner *p, const orion_op *from, const char *arg, size_t index) {
  orion_ref r = orion_op_ref(from, arg);
  if (r == ORION_NONE || orion_ref_is_literal(r)) return NULL;
  p->last_use[r] = index;
  if (p->constant_of[r]) p->constant_of[r]->kept = true;
  return p->tensors[r];
}

static orion_status find_int8(planner *p, const orion_op *op, size_t index, orion_sim_op *out, orion_error *err) {
  const orion_op *x = orion_op_source(p->f, op, "x"), *w = orion_op_source(p->f, op, "weight");
  if (op->code != ORION_OP_conv || !out->arith->ane || orion_op_arg(op, "bias") || !x || !w ||
      x->code != ORION_OP_dequantize) {
    return ORION_OK;
  }
  bool affine = w->code == ORION_OP_constexpr_affine_dequantize;
  if (!affine && w->code != ORION_OP_constexpr_blockwise_shift_scale) return ORION_OK;
  orion_sim_int8 *i = ORION_ARENA_NEW(p->arena, orion_sim_int8);
  if (!i) return ORION_OOM(err, "sim");
  *i = (orion_sim_int8){also_reads(p, x, "input", index), also_reads(p, x, "scale", index),
                        also_reads(p, x, "zero_point", index),
                        also_reads(p, w, affine ? "quantized_data" : "data", index), also_reads(p, w, "scale", index),
                        also_reads(p, w, affine ? "zero_point" : "offset", index)};
  bool known = i->x && i->w && i->x_scale && i->w_scale && i->x->dtype == ORION_INT8 && i->w->dtype == ORION_INT8;
  if (known && i->x_scale->n == 1 && (i->w_scale->n == 1 || i->w_scale->n == (size_t)i->w->dims[0])) out->int8 = i;
  return ORION_OK;
}

static orion_status resolve_op(planner *p, const orion_op *op, bool fold, size_t index, orion_sim_op *out,
                               orion_error *err) {
  const orion_op_info *info = orion_opcode_info(op->code);
  *out = (orion_sim_op){.code = op->code, .kernel = orion_sim_kernel_of(op->code)};
  const orion_sim_device *d = (const orion_sim_device *)p->e->base.device;
  out->arith = d->arith;
  out->tally = SIZE_MAX;
  out->flaw = (uint8_t)orion_sim_rules_flaw(&d->rules, p->f, op);
  out->name = orion_arena_strdup(p->arena, op->n_results ? p->f->values[op->results[0]].name : op->spelling);
  if (d->counting && !fold) {
    out->tally = orion_sim_tally_row(&((orion_sim_device *)p->e->base.device)->tallies, d->base.allocator,
                                     orion_opcode_info(op->code)->name, out->name ? out->name : "");
    if (out->tally == SIZE_MAX) return ORION_OOM(err, "sim: counts");
  }
  out->args = ORION_ARENA_ARRAY(p->arena, orion_sim_arg, info->n_args);
  out->out = ORION_ARENA_ARRAY(p->arena, orion_sim_tensor *, op->n_results);
  if (!out->name || !out->args || !out->out) return ORION_OOM(err, "sim");
  for (size_t i = 0; i < info->n_args; i++) {
    ORION_TRY(resolve_arg(p, op, &info->args[i], fold, index, &out->args[i], err));
  }
  out->n_args = info->n_args;
  ORION_TRY(find_int8(p, op, index, out, err));
  for (uint32_t i = 0; i < op->n_results; i++) {
    orion_value_id v = op->results[i];
    out->out[i] = p->tensors[v] = new_tensor(p, p->f->values[v].type);
    if (!out->out[i]) return ORION_OOM(err, "sim");
    p->last_use[v] = index;
    if (fold) {
      p->e->owned[p->e->n_owned++] = out->out[i];
    } else {
      p->planned[v] = true;
    }
  }
  out->n_out = op->n_results;
  return ORION_OK;
}

// ---- memory ----

typedef struct span {  // a value in the arena, from its operation to the last one that reads it
  size_t begin, end;   // bytes
  size_t dies;         // after this operation
} span;

// Lowest gap of `size` bytes between living spans, which are sorted by address. Greedy, and good: most values of a
// layer die before the next begins.
static size_t place(span *live, size_t *n, size_t size, size_t dies) {
  size_t at = 0, i = 0;
  for (; i < *n && live[i].begin - at < size; i++) at = live[i].end > at ? live[i].end : at;
  memmove(live + i + 1, live + i, (*n - i) * sizeof *live);
  live[i] = (span){at, at + size, dies};
  (*n)++;
  return at;
}

static size_t bury(span *live, size_t n, size_t now) {  // those whose last reader ran before `now`
  size_t kept = 0;
  for (size_t i = 0; i < n; i++) {
    if (live[i].dies >= now) live[kept++] = live[i];
  }
  return kept;
}

// Offsets first (operation 0 stands for the inputs), then one allocation, then pointers.
static orion_status plan_memory(planner *p, orion_error *err) {
  orion_sim_executable *e = p->e;
  orion_function *f = p->f;
  span *live = ORION_ARENA_ARRAY(&p->scratch, span, f->n_values + 1);
  size_t *offset = ORION_ARENA_ARRAY(&p->scratch, size_t, f->n_values + 1);
  size_t *born = ORION_ARENA_ARRAY(&p->scratch, size_t, f->n_values + 1);
  if (!live || !offset || !born) return ORION_OOM(err, "sim");
  size_t n = 0, index = 0, high = 0;
  for (size_t i = 0; i < f->n_outputs; i++) p->last_use[f->outputs[i]] = SIZE_MAX;
  if (orion_sim_rules_off(&((const orion_sim_device *)e->base.device)->rules, ORION_RULE_X19)) {
    for (size_t i = 0; i < f->n_params; i++) p->last_use[f->params[i]] = SIZE_MAX;
  }
  for (orion_op_id id = ORION_NONE; ; id = id == ORION_NONE ? f->first : f->ops[id].next) {
    bool inputs = index == 0;
    if (!inputs && id == ORION_NONE) break;
    const orion_value_id *values = inputs ? f->params : f->ops[id].results;
    size_t n_values = inputs ? f->n_params : f->ops[id].n_results;
    n = bury(live, n, index);
    for (size_t i = 0; i < n_values; i++) {
      orion_value_id v = values[i];
      if (!p->planned[v]) continue;
      size_t bytes;
      if (!orion_mul_ok(p->tensors[v]->n, 4, &bytes) || bytes > PTRDIFF_MAX / 2) {
        return ORION_FAIL(err, ORION_LIMIT, "sim: %s is too large", f->values[v].name);
      }
      offset[v] = place(live, &n, orion_round_up(bytes ? bytes : 1, ORION_ALIGN_CACHE), p->last_use[v]);
      if (offset[v] > PTRDIFF_MAX / 2) return ORION_FAIL(err, ORION_LIMIT, "sim: the values do not fit into memory");
      size_t end = offset[v] + orion_round_up(bytes ? bytes : 1, ORION_ALIGN_CACHE);
      if (end > high) high = end;
    }
    index++;
    if (inputs && f->first == ORION_NONE) break;
  }
  e->arena_bytes = high;
  e->arena = orion_alloc_aligned(e->base.device->allocator, high, ORION_ALIGN_CACHE);
  if (!e->arena) return ORION_OOM(err, "sim: values");
  for (size_t v = 0; v < f->n_values; v++) {
    if (p->planned[v]) p->tensors[v]->data = (char *)e->arena + offset[v];
  }
  return ORION_OK;
}

static orion_status plan_scratch(orion_sim_executable *e, const orion_sim_device *d, orion_error *err) {
  size_t most = 1;
  for (size_t i = 0; i < e->n_ops; i++) {
    const orion_sim_op *op = &e->ops[i];
    size_t size = op->kernel->scratch ? op->kernel->scratch(op, orion_pool_threads(d->pool)) : 0;
    if (size > PTRDIFF_MAX) return ORION_FAIL(err, ORION_LIMIT, "sim: %s needs too much memory", op->name);
    if (size > most) most = size;
  }
  e->scratch_bytes = most;
  e->scratch = orion_alloc_aligned(e->base.device->allocator, most, ORION_ALIGN_CACHE);
  return e->scratch ? ORION_OK : ORION_OOM(err, "sim: scratch");
}

// ---- the whole ----

// Upper bounds, so that the arrays never move: every argument may be a constant of its own.
static orion_status make_arrays(planner *p, orion_error *err) {
  size_t n_ops = 0, n_args = 0, n_results = 0;
  ORION_EACH_OP(p->f, id) {
    const orion_op *op = &p->f->ops[id];
    n_ops++;
    n_args += orion_opcode_info(op->code)->n_args;
    for (uint32_t a = 0; a < op->n_args; a++) n_args += op->args[a].n_refs;
    n_results += op->n_results;
  }
  orion_sim_executable *e = p->e;
  size_t n_values = p->f->n_values + 1;
  e->constants = ORION_ARENA_ARRAY(p->arena, orion_sim_constant, n_ops + n_args + 1);
  e->ops = ORION_ARENA_ARRAY(p->arena, orion_sim_op, n_ops + 1);
  e->folds = ORION_ARENA_ARRAY(p->arena, orion_sim_op, n_ops + 1);
  e->owned = ORION_ARENA_ARRAY(p->arena, orion_sim_tensor *, n_results + 1);
  e->ios = ORION_ARENA_ARRAY(p->arena, orion_sim_tensor *, e->base.n_ios + 1);
  e->tapped = ORION_ARENA_ARRAY(p->arena, bool, e->base.n_ios + 1);
  p->tensors = ORION_ARENA_ARRAY(&p->scratch, orion_sim_tensor *, n_values);
  p->constant_of = ORION_ARENA_ARRAY(&p->scratch, orion_sim_constant *, n_values);
  p->last_use = ORION_ARENA_ARRAY(&p->scratch, size_t, n_values);
  p->planned = ORION_ARENA_ARRAY(&p->scratch, bool, n_values);
  if (!e->constants || !e->ops || !e->folds || !e->owned || !e->ios || !e->tapped || !p->tensors || !p->constant_of ||
      !p->last_use || !p->planned) {
    return ORION_OOM(err, "sim");
  }
  return ORION_OK;
}

static orion_status plan_op(planner *p, orion_op_id id, size_t index, orion_error *err) {
  const orion_op *op = &p->f->ops[id];
  orion_sim_executable *e = p->e;
  if (op->code == ORION_OP_const) {
    orion_value_id v = op->results[0];
    const orion_literal *l = orion_ref_literal(p->f, v);
    if (is_string(l)) return ORION_OK;
    if (!l || !l->data) {
      return ORION_FAIL(err, ORION_REFUSED, "sim: constant %s has no data (bind its file)", p->f->values[v].name);
    }
    p->constant_of[v] = add_constant(p, p->f->values[v].name, l->type, l->data);
    if (!p->constant_of[v]) return ORION_OOM(err, "sim");
    p->tensors[v] = p->constant_of[v]->tensor;
    return ORION_OK;
  }
  bool fold = orion_opcode_info(op->code)->cls == ORION_CLASS_CONSTEXPR;
  orion_sim_op *out = fold ? &e->folds[e->n_folds] : &e->ops[e->n_ops];
  ORION_TRY(resolve_op(p, op, fold, index, out, err));
  if (fold) {
    e->n_folds++;
  } else {
    e->n_ops++;
  }
  return ORION_OK;
}

static orion_status plan_values(planner *p, orion_error *err) {
  ORION_TRY(make_arrays(p, err));
  orion_function *f = p->f;
  for (size_t i = 0; i < f->n_params; i++) {
    orion_value_id v = f->params[i];
    p->tensors[v] = new_tensor(p, f->values[v].type);
    if (!p->tensors[v]) return ORION_OOM(err, "sim");
    p->planned[v] = true;
  }
  size_t index = 1;
  ORION_EACH_OP(f, id) ORION_TRY(plan_op(p, id, index++, err));
  for (size_t i = 0; i < p->e->base.n_ios; i++) {
    orion_value_id v = i < f->n_params ? f->params[i] : f->outputs[i - f->n_params];
    p->e->ios[i] = p->tensors[v];
    if (p->constant_of[v]) p->constant_of[v]->kept = true;
    const orion_sim_rules *rules = &((const orion_sim_device *)p->e->base.device)->rules;
    p->e->tapped[i] = i >= f->n_params && orion_sim_rules_tapped(rules, f, v);
    if (!p->tensors[v]) return ORION_FAIL(err, ORION_REFUSED, "sim: output %s is a string", f->values[v].name);
  }
  return plan_memory(p, err);
}

orion_status orion_sim_plan(orion_sim_executable *e, orion_sim_device *d, orion_function *f, orion_error *err) {
  planner p = {.e = e, .f = f, .arena = &e->base.arena};
  orion_arena_init(&p.scratch, d->base.allocator);
  e->seconds = orion_sim_rules_run_time(&d->rules, f);
  orion_status status = plan_values(&p, err);
  if (status == ORION_OK) status = orion_sim_constants_make(e, err);
  for (size_t i = 0; i < e->n_ops && status == ORION_OK; i++) status = orion_sim_curve_find(d, &e->ops[i], err);
  if (status == ORION_OK) status = plan_scratch(e, d, err);  // asks axes and strides, which are constants
  e->base.times.memory_bytes = e->base.times.weight_bytes + e->arena_bytes + e->scratch_bytes + e->base.arena.total;
  orion_arena_deinit(&p.scratch);
  return status;
}

void orion_sim_unplan(orion_sim_executable *e) {
  const orion_allocator *a = e->base.device->allocator;
  orion_sim_constants_free(e);
  orion_free_aligned(a, e->arena, e->arena_bytes, ORION_ALIGN_CACHE);
  orion_free_aligned(a, e->scratch, e->scratch_bytes, ORION_ALIGN_CACHE);
}

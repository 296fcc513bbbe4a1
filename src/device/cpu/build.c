// The building of a plan: arguments, results and steps for the emitters, and the walk over a function's ops.
#include "device/cpu/build.h"

// ---- views and buffers ----------------------------------------------------------------------------------------------

static orion_status new_buffer(orion_cpu_build *b, orion_cpu_buffer desc, uint32_t *out, orion_error *err) {
  orion_cpu_plan *p = b->plan;
  if (!ORION_GROW(p->allocator, &p->buffers, &p->cap_buffers, p->n_buffers + 1)) return ORION_OOM(err, "plan");
  desc.first = UINT32_MAX;
  desc.last = 0;
  *out = (uint32_t)p->n_buffers;
  p->buffers[p->n_buffers++] = desc;
  return ORION_OK;
}

static void packed_strides(orion_cpu_view *v) {
  int64_t stride = 1;
  for (int i = v->rank - 1; i >= 0; i--) {
    v->strides[i] = stride;
    stride *= v->dims[i] ? v->dims[i] : 1;
  }
}

static orion_status packed_view(orion_dtype dtype, int rank, const int64_t *dims, orion_cpu_view *out, size_t *bytes,
                                orion_error *err) {
  size_t n = 1;
  *out = (orion_cpu_view){.dtype = dtype, .rank = rank};
  for (int i = 0; i < rank; i++) {
    out->dims[i] = dims[i];
    if (dims[i] < 0 || !orion_mul_ok(n, (size_t)dims[i], &n)) {
      return ORION_FAIL(err, ORION_UNSUPPORTED,
                        "a dimension is not known when compiling (give the program fixed shapes)");
    }
  }
  if (!orion_dtype_bytes(dtype, n, bytes)) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "tensors of %s are not computed", orion_dtype_name(dtype));
  }
  packed_strides(out);
  return ORION_OK;
}

orion_status orion_cpu_new_view(orion_cpu_build *b, orion_dtype dtype, int rank, const int64_t *dims,
                                orion_cpu_view *out, orion_error *err) {
  size_t bytes;
  ORION_TRY(packed_view(dtype, rank, dims, out, &bytes, err));
  return new_buffer(b, (orion_cpu_buffer){.space = ORION_CPU_ARENA, .bytes = bytes}, &out->buffer, err);
}

orion_status orion_cpu_temp(orion_cpu_build *b, size_t bytes, uint32_t *out, orion_error *err) {
  return new_buffer(b, (orion_cpu_buffer){.space = ORION_CPU_ARENA, .bytes = bytes}, out, err);
}

const orion_type *orion_cpu_result_type(const orion_cpu_build *b, const orion_op *op, uint32_t i) {
  return b->f->values[op->results[i]].type;
}

bool orion_cpu_batch_strides(int rank, const int64_t *batch, const orion_cpu_view *v, int own, int64_t *out_strides) {
  for (int i = 0; i < rank; i++) {
    int at = i - (rank - own);
    out_strides[i] = at < 0 || v->dims[at] == 1 ? 0 : v->strides[at];
    if (at >= 0 && v->dims[at] != 1 && v->dims[at] != batch[i]) return false;
  }
  return own <= rank;
}

// View of an output surface.
static orion_status surface_view(orion_cpu_build *b, uint32_t io, const orion_type *t, orion_cpu_view *out,
                                 orion_error *err) {
  size_t bytes;
  if (!orion_type_is_tensor(t)) return ORION_FAIL(err, ORION_UNSUPPORTED, "inputs and outputs must be tensors");
  ORION_TRY(packed_view(t->dtype, t->rank, t->dims, out, &bytes, err));
  if (b->plan->surfaces[io] == ORION_CPU_NO_BUFFER) {
    orion_cpu_buffer desc = {.space = ORION_CPU_SURFACE, .bytes = bytes, .io = io};
    ORION_TRY(new_buffer(b, desc, &b->plan->surfaces[io], err));
  }
  out->buffer = b->plan->surfaces[io];
  return ORION_OK;
}

orion_status orion_cpu_result(orion_cpu_build *b, const orion_op *op, uint32_t i, orion_cpu_view *out,
                              orion_error *err) {
  orion_cpu_value *v = &b->values[op->results[i]];
  const orion_type *t = orion_cpu_result_type(b, op, i);
  if (!orion_type_is_tensor(t)) return ORION_FAIL(err, ORION_UNSUPPORTED, "a result that is not a tensor");
  if (v->io) {
    ORION_TRY(surface_view(b, v->io - 1, t, out, err));
  } else {
    ORION_TRY(orion_cpu_new_view(b, t->dtype, t->rank, t->dims, out, err));
  }
  v->view = *out;
  v->state = ORION_CPU_READY;
  return ORION_OK;
}

void orion_cpu_alias(orion_cpu_build *b, const orion_op *op, uint32_t i, const orion_cpu_view *view) {
  orion_cpu_value *v = &b->values[op->results[i]];
  v->view = *view;
  v->state = ORION_CPU_READY;
}

bool orion_cpu_view_constant(const orion_cpu_build *b, const orion_cpu_view *v) {
  return b->plan->buffers[v->buffer].constant;
}

// ---- arguments ------------------------------------------------------------------------------------------------------

orion_status orion_cpu_weight_buffer(orion_cpu_build *b, const orion_cpu_weight_key *key, uint32_t *out,
                                     orion_error *err) {
  orion_cpu_plan *p = b->plan;
  for (uint32_t i = 0; i < p->n_buffers; i++) {
    const orion_cpu_buffer *o = &p->buffers[i];
    if (o->space == ORION_CPU_CONSTANT && orion_cpu_weight_key_equal(&p->keys[o->weight], key)) {
      *out = i;
      return ORION_OK;
    }
  }
  if (!ORION_GROW(p->allocator, &p->keys, &p->cap_weights, p->n_weights + 1)) return ORION_OOM(err, "plan");
  p->keys[p->n_weights] = *key;
  orion_cpu_buffer desc = {
      .space = ORION_CPU_CONSTANT, .weight = (uint32_t)p->n_weights, .constant = true, .written = true};
  ORION_TRY(new_buffer(b, desc, out, err));
  p->n_weights++;
  return ORION_OK;
}

static orion_status literal_view(orion_cpu_build *b, const orion_literal *l, orion_cpu_view *out, orion_error *err) {
  size_t bytes, n;
  if (!l || !orion_type_is_tensor(l->type))
    return ORION_FAIL(err, ORION_UNSUPPORTED, "a constant that is not a tensor");
  ORION_TRY(packed_view(l->type->dtype, l->type->rank, l->type->dims, out, &bytes, err));
  if (!l->data) return ORION_FAIL(err, ORION_INVALID, "a constant has no data: its blob file was not bound");
  if (!orion_type_elements(l->type, &n) || n != orion_data_elements(l->data)) {
    return ORION_FAIL(err, ORION_FORMAT, "a constant has %zu elements, its type wants %zu",
                      orion_data_elements(l->data), n);
  }
  orion_cpu_weight_key key = {.data = l->data, .format = ORION_CPU_PLAIN, .dtype = l->type->dtype};
  return orion_cpu_weight_buffer(b, &key, &out->buffer, err);
}

orion_status orion_cpu_ref_view(orion_cpu_build *b, orion_ref ref, orion_cpu_view *out, orion_error *err) {
  if (ref == ORION_NONE) return ORION_FAIL(err, ORION_INTERNAL, "an argument is missing");
  if (orion_ref_is_literal(ref)) return literal_view(b, orion_ref_literal(b->f, ref), out, err);
  orion_cpu_value *v = &b->values[ref];
  if (v->state == ORION_CPU_PENDING) ORION_TRY(orion_cpu_force(b, ref, NULL, err));
  if (v->state == ORION_CPU_CONST) {
    ORION_TRY(literal_view(b, orion_ref_literal(b->f, ref), &v->view, err));
    v->state = ORION_CPU_READY;
  }
  if (v->state != ORION_CPU_READY) return ORION_FAIL(err, ORION_INTERNAL, "%s has no value", b->f->values[ref].name);
  *out = v->view;
  return ORION_OK;
}

orion_status orion_cpu_arg(orion_cpu_build *b, const orion_op *op, const char *name, orion_cpu_view *out,
                           orion_error *err) {
  orion_ref ref = orion_op_ref(op, name);
  if (ref == ORION_NONE) {
    const orion_literal *l = orion_op_attr(op, name);
    if (l) return literal_view(b, l, out, err);
    return ORION_FAIL(err, ORION_FORMAT, "argument %s is missing", name);
  }
  return orion_cpu_ref_view(b, ref, out, err);
}

static orion_status copied(orion_cpu_build *b, orion_cpu_view *v, orion_dtype dtype, orion_error *err) {
  orion_cpu_view packed;
  ORION_TRY(orion_cpu_new_view(b, dtype, v->rank, v->dims, &packed, err));
  ORION_TRY(orion_cpu_add_copy(b, v, &packed, err));
  *v = packed;
  return ORION_OK;
}

orion_status orion_cpu_to_f32(orion_cpu_build *b, orion_cpu_view *v, orion_error *err) {
  return v->dtype == ORION_FP32 && orion_cpu_contiguous(v) ? ORION_OK : copied(b, v, ORION_FP32, err);
}

orion_status orion_cpu_to_float_rows(orion_cpu_build *b, orion_cpu_view *v, orion_error *err) {
  bool rows = v->dtype == ORION_FP32 && v->rank >= 2 && v->strides[v->rank - 1] == 1 && v->strides[v->rank - 2] >= 0;
  return rows ? ORION_OK : orion_cpu_to_f32(b, v, err);
}

orion_status orion_cpu_to_packed(orion_cpu_build *b, orion_cpu_view *v, orion_error *err) {
  return orion_cpu_contiguous(v) ? ORION_OK : copied(b, v, v->dtype, err);
}

orion_status orion_cpu_arg_f32(orion_cpu_build *b, const orion_op *op, const char *name, orion_cpu_view *out,
                               orion_error *err) {
  ORION_TRY(orion_cpu_arg(b, op, name, out, err));
  return orion_cpu_to_f32(b, out, err);
}

bool orion_cpu_has(const orion_op *op, const char *name) { return orion_op_arg(op, name) || orion_op_attr(op, name); }

bool orion_cpu_ref_constant(const orion_cpu_build *b, orion_ref ref) {
  if (ref == ORION_NONE) return false;
  if (orion_ref_is_literal(ref)) return true;
  const orion_cpu_value *v = &b->values[ref];
  return v->state == ORION_CPU_CONST || (v->state == ORION_CPU_READY && orion_cpu_view_constant(b, &v->view));
}

bool orion_cpu_is_lazy(const orion_cpu_build *b, orion_ref ref) {
  return ref != ORION_NONE && !orion_ref_is_literal(ref) && b->values[ref].state == ORION_CPU_PENDING &&
         b->values[ref].lazy;
}

bool orion_cpu_taken_by_value(const orion_literal *l) {
  size_t n, most = orion_dtype_is_float(l->type->dtype) ? 1 : ORION_MAX_RESULTS;  // the longest list that an op reads
  return !orion_type_elements(l->type, &n) || n <= most;
}

orion_status orion_cpu_int(orion_cpu_build *b, const orion_op *op, const char *name, int64_t *out, orion_error *err) {
  if (orion_op_int(b->f, op, name, out)) return ORION_OK;
  return ORION_FAIL(err, ORION_UNSUPPORTED, "argument %s must be one constant integer", name);
}

orion_status orion_cpu_axis(orion_cpu_build *b, const orion_op *op, const char *name, int rank, int64_t *out,
                            orion_error *err) {
  ORION_TRY(orion_cpu_int(b, op, name, out, err));
  if (*out < 0) *out += rank;
  if (*out < 0 || *out >= rank) return ORION_FAIL(err, ORION_FORMAT, "%s is out of range for rank %d", name, rank);
  return ORION_OK;
}

orion_status orion_cpu_axes(orion_cpu_build *b, const orion_op *op, const char *name, int rank, bool *out_marked,
                            orion_error *err) {
  int64_t axes[ORION_MAX_RANK];
  size_t n = 0;
  bool all = !orion_cpu_has(op, name);
  if (!all && !orion_op_ints(b->f, op, name, ORION_MAX_RANK, axes, &n)) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "argument %s must be a constant list of axes", name);
  }
  for (int i = 0; i < rank; i++) out_marked[i] = all;
  for (size_t i = 0; i < n; i++) {
    int64_t axis = axes[i] < 0 ? axes[i] + rank : axes[i];
    if (axis < 0 || axis >= rank) return ORION_FAIL(err, ORION_FORMAT, "%s is out of range for rank %d", name, rank);
    out_marked[axis] = true;
  }
  return ORION_OK;
}

// ---- steps ----------------------------------------------------------------------------------------------------------

void *orion_cpu_data(orion_cpu_build *b, size_t size) { return orion_arena_alloc(&b->plan->arena, 1, size); }

static void touch(orion_cpu_plan *p, uint32_t buffer, uint32_t step) {
  orion_cpu_buffer *b = &p->buffers[buffer];
  if (step < b->first) b->first = step;
  if (step > b->last) b->last = step;
}

// A step is constant if all it reads is, and nothing else writes what it writes in every run.
static bool is_constant(const orion_cpu_plan *p, const orion_cpu_step *s) {
  for (uint32_t i = 0; i < s->n_in; i++) {
    if (!p->buffers[s->in[i].buffer].constant) return false;
  }
  for (uint32_t i = 0; i < s->n_out; i++) {
    const orion_cpu_buffer *o = &p->buffers[s->out[i].buffer];
    if (o->space == ORION_CPU_SURFACE || (o->space == ORION_CPU_ARENA && o->written)) return false;
  }
  return true;
}

// Which buffers step `at` reads and writes.
static void mark_buffers(orion_cpu_plan *p, const orion_cpu_step *s, uint32_t at) {
  for (uint32_t i = 0; i < s->n_in; i++) {
    touch(p, s->in[i].buffer, at);
    if (!s->start || i != s->start) p->buffers[s->in[i].buffer].read = true;
  }
  for (uint32_t i = 0; i < s->n_tmp; i++) touch(p, s->tmp[i], at);
  for (uint32_t i = 0; i < s->n_out; i++) {
    orion_cpu_buffer *o = &p->buffers[s->out[i].buffer];
    touch(p, s->out[i].buffer, at);
    if (s->constant) {
      if (!o->written) o->constant = true;
      o->space = ORION_CPU_KEPT;
    } else {
      o->constant = false;
    }
    o->written = true;
  }
}

orion_status orion_cpu_add_step(orion_cpu_build *b, const orion_cpu_step *desc, orion_error *err) {
  orion_cpu_plan *p = b->plan;
  if (!ORION_GROW(p->allocator, &p->steps, &p->cap_steps, p->n_steps + 1)) return ORION_OOM(err, "plan");
  orion_cpu_step s = *desc;
  s.op = b->op;
  s.name = b->op == ORION_NONE ? "output" : orion_arena_strdup(&p->arena, b->f->ops[b->op].spelling);
  s.in = orion_arena_copy(&p->arena, desc->in, desc->n_in, sizeof *desc->in);
  s.out = orion_arena_copy(&p->arena, desc->out, desc->n_out, sizeof *desc->out);
  s.tmp = orion_arena_copy(&p->arena, desc->tmp, desc->n_tmp, sizeof *desc->tmp);
  if (!s.name || !s.in || !s.out || !s.tmp) return ORION_OOM(err, "plan");
  s.constant = is_constant(p, &s);
  mark_buffers(p, &s, (uint32_t)p->n_steps);
  if (s.scratch > p->scratch_stride) p->scratch_stride = s.scratch;
  p->steps[p->n_steps++] = s;
  return ORION_OK;
}

static const orion_cpu_view *append(orion_arena *arena, const orion_cpu_view *views, size_t n, const orion_cpu_view *more,
                                    size_t n_more) {
  orion_cpu_view *all = orion_arena_alloc(arena, n + n_more, sizeof *all);
  if (!all) return NULL;
  memcpy(all, views, n * sizeof *all);
  memcpy(all + n, more, n_more * sizeof *all);
  return all;
}

orion_status orion_cpu_extend_step(orion_cpu_build *b, orion_cpu_step *s, const orion_cpu_view *ins, size_t n_in,
                                   const orion_cpu_view *outs, size_t n_out, size_t scratch, orion_error *err) {
  orion_cpu_plan *p = b->plan;
  s->in = append(&p->arena, s->in, s->n_in, ins, n_in);
  s->out = append(&p->arena, s->out, s->n_out, outs, n_out);
  if (!s->in || !s->out) return ORION_OOM(err, "plan");
  s->n_in += (uint32_t)n_in;
  s->n_out += (uint32_t)n_out;
  s->scratch = scratch;
  if (s->scratch > p->scratch_stride) p->scratch_stride = s->scratch;
  mark_buffers(p, s, (uint32_t)(s - p->steps));
  return ORION_OK;
}

// ---- the walk -------------------------------------------------------------------------------------------------------

static bool keeps_layout(orion_opcode code) {
  return code == ORION_OP_reshape || code == ORION_OP_expand_dims || code == ORION_OP_squeeze ||
         code == ORION_OP_identity || code == ORION_OP_flatten2d;
}

// Output i goes straight to its surface: the op that computes it, perhaps behind reshapes and behind sums that are
// scattered into it where it lies, writes there.
static void assign_output(orion_cpu_build *b, uint32_t io, orion_value_id v) {
  const orion_function *f = b->f;
  for (;;) {
    orion_op_id def = f->values[v].def;
    if (def == ORION_NONE || b->values[v].io) return;
    const orion_op *op = &f->ops[def];
    orion_value_id x = keeps_layout(op->code) ? orion_op_value(op, "x") : orion_cpu_scatter_source(b, op);
    if (x == ORION_NONE || f->values[x].type->dtype != f->values[v].type->dtype) break;
    v = x;
  }
  b->values[v].io = io + 1;
}

static orion_status prepare(orion_cpu_build *b, orion_error *err) {
  const orion_function *f = b->f;
  orion_cpu_plan *p = b->plan;
  b->uses = orion_function_count_uses(f, &b->scratch);
  b->user = ORION_ARENA_ARRAY(&b->scratch, orion_op_id, f->n_values + 1);
  b->values = ORION_ARENA_ARRAY(&b->scratch, orion_cpu_value, f->n_values + 1);
  b->rms = ORION_ARENA_ARRAY(&b->scratch, const orion_cpu_rms *, f->n_ops + 1);
  b->joins = ORION_ARENA_ARRAY(&b->scratch, const orion_cpu_join *, f->n_ops + 1);
  b->attention_grads = ORION_ARENA_ARRAY(&b->scratch, const orion_cpu_attention_grad *, f->n_ops + 1);
  b->classifiers = ORION_ARENA_ARRAY(&b->scratch, const orion_cpu_classifier *, f->n_ops + 1);
  b->norm_grads = ORION_ARENA_ARRAY(&b->scratch, const orion_cpu_norm_grad *, f->n_ops + 1);
  b->places = ORION_ARENA_ARRAY(&b->scratch, uint32_t, f->n_ops + 1);
  b->absorbed = ORION_ARENA_ARRAY(&b->scratch, bool, f->n_ops + 1);
  p->n_surfaces = f->n_params + f->n_outputs;
  p->surfaces = ORION_ARENA_ARRAY(&p->arena, uint32_t, p->n_surfaces + 1);
  if (!b->uses || !b->user || !b->values || !b->rms || !b->joins || !b->attention_grads || !b->classifiers || !b->norm_grads ||
      !b->places || !b->absorbed || !p->surfaces) {
    return ORION_OOM(err, "plan");
  }
  for (size_t i = 0; i < f->n_values; i++) b->user[i] = ORION_NONE;
  for (size_t i = 0; i < p->n_surfaces; i++) p->surfaces[i] = ORION_CPU_NO_BUFFER;
  uint32_t place = 0;
  ORION_EACH_OP(f, id) {
    const orion_op *op = &f->ops[id];
    b->places[id] = place++;
    for (uint32_t a = 0; a < op->n_args; a++) {
      for (uint32_t r = 0; r < op->args[a].n_refs; r++) {
        orion_ref ref = op->args[a].refs[r];
        if (!orion_ref_is_literal(ref)) b->user[ref] = id;
      }
    }
  }
  for (size_t i = 0; i < f->n_params; i++) {
    orion_cpu_value *v = &b->values[f->params[i]];
    ORION_TRY(surface_view(b, (uint32_t)i, f->values[f->params[i]].type, &v->view, err));
    b->plan->buffers[v->view.buffer].written = true;
    v->state = ORION_CPU_READY;
  }
  for (size_t i = 0; i < f->n_outputs; i++) assign_output(b, (uint32_t)(f->n_params + i), f->outputs[i]);
  if (!b->fuse) return ORION_OK;
  ORION_TRY(orion_cpu_find_rms(b, err));
  ORION_TRY(orion_cpu_find_joins(b, err));
  ORION_TRY(orion_cpu_find_attention_grads(b, err));
  ORION_TRY(orion_cpu_find_norm_grads(b, err));
  return orion_cpu_find_classifiers(b, err);
}

// What only changes how a constant is seen waits until somebody wants elements: packed weights do not.
static bool lazy_constant(const orion_cpu_build *b, const orion_op *op) {
  if (op->code == ORION_OP_constexpr_blockwise_shift_scale) return true;
  if (!keeps_layout(op->code) && op->code != ORION_OP_cast && op->code != ORION_OP_transpose) return false;
  orion_ref x = orion_op_ref(op, "x");
  if (x == ORION_NONE || orion_ref_is_literal(x)) return false;
  const orion_cpu_value *v = &b->values[x];
  return v->state == ORION_CPU_CONST || (v->state == ORION_CPU_PENDING && v->lazy);
}

static orion_status emit_op(orion_cpu_build *b, orion_op_id id, orion_error *err) {
  const orion_op *op = &b->f->ops[id];
  b->op = id;
  if (op->code == ORION_OP_const) {
    for (uint32_t i = 0; i < op->n_results; i++) b->values[op->results[i]].state = ORION_CPU_CONST;
    return ORION_OK;
  }
  bool used = false;
  for (uint32_t i = 0; i < op->n_results; i++) used = used || b->uses[op->results[i]] > 0;
  if (b->absorbed[id] || !used) return ORION_OK;
  if (lazy_constant(b, op)) {
    b->values[op->results[0]].state = ORION_CPU_PENDING;
    b->values[op->results[0]].lazy = true;
    return ORION_OK;
  }
  if (b->rms[id]) return orion_cpu_emit_rms(b, op, b->rms[id], err);
  if (b->attention_grads[id]) return orion_cpu_emit_attention_grad(b, op, b->attention_grads[id], err);
  if (b->classifiers[id]) return orion_cpu_emit_classifier(b, b->classifiers[id], err);
  if (b->norm_grads[id]) return orion_cpu_emit_norm_grad(b, b->norm_grads[id], err);
  orion_cpu_emit_fn emit = orion_cpu_emitter(op->code);
  if (!emit) return ORION_FAIL(err, ORION_UNSUPPORTED, "the cpu device has no kernel for this operation");
  return emit(b, op, err);
}

// After a refusal that was only noted: results that the following ops can be checked against.
static orion_status pretend_results(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  for (uint32_t i = 0; i < op->n_results; i++) {
    const orion_type *t = orion_cpu_result_type(b, op, i);
    orion_cpu_view v;
    int64_t one[1] = {1};
    bool known = orion_type_is_tensor(t) && orion_type_is_static(t) && t->dtype != ORION_STRING;
    ORION_TRY(
        orion_cpu_new_view(b, known ? t->dtype : ORION_FP32, known ? t->rank : 1, known ? t->dims : one, &v, err));
    orion_cpu_alias(b, op, i, &v);
  }
  return ORION_OK;
}

static orion_status emit_outputs(orion_cpu_build *b, orion_error *err) {
  const orion_function *f = b->f;
  b->op = ORION_NONE;
  for (size_t i = 0; i < f->n_outputs; i++) {
    orion_cpu_view from, to;
    uint32_t io = (uint32_t)(f->n_params + i);
    ORION_TRY(orion_cpu_ref_view(b, f->outputs[i], &from, err));
    if (b->plan->surfaces[io] == from.buffer && orion_cpu_contiguous(&from) && from.offset == 0) continue;
    ORION_TRY(surface_view(b, io, f->values[f->outputs[i]].type, &to, err));
    ORION_TRY(orion_cpu_add_copy(b, &from, &to, err));
  }
  return ORION_OK;
}

static orion_status build(orion_cpu_build *b, orion_findings *findings, orion_error *err) {
  ORION_TRY(prepare(b, err));
  const orion_function *f = b->f;
  ORION_EACH_OP(f, id) {
    orion_error local = {0};
    orion_status status = emit_op(b, id, &local);
    if (status == ORION_OK) continue;
    const orion_op *op = &f->ops[id];
    if (findings && status != ORION_NO_MEMORY) {
      orion_findings_add(findings, "op", true, f, id, op->n_results ? f->values[op->results[0]].name : NULL, NULL,
                         "%s: %s", op->spelling, local.message);
      ORION_TRY(pretend_results(b, op, err));
      continue;
    }
    if (status == ORION_NO_MEMORY) return ORION_OOM(err, "plan");
    return ORION_FAIL(err, status == ORION_UNSUPPORTED ? ORION_REFUSED : status, "line %u:%u: %s %s: %s", op->loc.line,
                      op->loc.column, op->spelling, op->n_results ? f->values[op->results[0]].name : "", local.message);
  }
  orion_status status = emit_outputs(b, err);
  if (status != ORION_OK && status != ORION_NO_MEMORY && findings) {
    orion_findings_add(findings, "op", true, f, ORION_NONE, NULL, NULL, "%s", err ? err->message : "");
    return ORION_OK;
  }
  return status;
}

orion_status orion_cpu_build_plan(const orion_function *f, const orion_kernels *k, const orion_allocator *a,
                                  const orion_cpu_choices *choices, orion_findings *findings, orion_cpu_plan *out,
                                  orion_error *err) {
  *out = (orion_cpu_plan){.allocator = a};
  orion_arena_init(&out->arena, a);
  orion_cpu_build b = {.f = f, .plan = out, .k = k, .fuse = choices->fuse, .fast = choices->fast, .op = ORION_NONE};
  orion_arena_init(&b.scratch, a);
  orion_status status = build(&b, findings, err);
  orion_arena_deinit(&b.scratch);
  if (status == ORION_OK) status = orion_cpu_plan_memory(out, a, err);
  return status;
}

void orion_cpu_plan_deinit(orion_cpu_plan *p) {
  orion_free(p->allocator, p->buffers, p->cap_buffers, sizeof *p->buffers);
  orion_free(p->allocator, p->steps, p->cap_steps, sizeof *p->steps);
  orion_free(p->allocator, p->keys, p->cap_weights, sizeof *p->keys);
  orion_arena_deinit(&p->arena);
  *p = (orion_cpu_plan){0};
}

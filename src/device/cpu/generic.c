#include "device/cpu/generic.h"

static const orion_generic_op *find(orion_opcode code) {
  static const orion_generic_op *const tables[] = {
      orion_generic_elementwise, orion_generic_move,  orion_generic_index,    orion_generic_misc,
      orion_generic_norm,        orion_generic_quant, orion_generic_products,
  };
  for (size_t t = 0; t < sizeof tables / sizeof *tables; t++) {
    for (const orion_generic_op *o = tables[t]; o->run; o++) {
      if (o->code == code) return o;
    }
  }
  return NULL;
}

bool orion_cpu_generic_has(orion_opcode code) { return find(code) != NULL; }

typedef struct generic_data {
  const orion_generic_op *op;
  orion_generic_step step;
} generic_data;

static orion_status run_generic(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const generic_data *d = s->data;
  return d->op->run(x, s, &d->step, err);
}

// Elements in the type that the program says: some of these operations move them as they lie, and a widening cast is only
// another view of narrower ones.
static orion_status own_type(orion_cpu_build *b, const orion_op *op, const char *name, orion_cpu_view *v,
                             orion_error *err) {
  const orion_type *t = orion_op_arg_type(b->f, op, name);
  if (!t || !orion_type_is_tensor(t) || t->dtype == v->dtype || !orion_dtype_is_float(t->dtype)) return ORION_OK;
  orion_cpu_view own;
  ORION_TRY(orion_cpu_new_view(b, t->dtype, v->rank, v->dims, &own, err));
  ORION_TRY(orion_cpu_add_copy(b, v, &own, err));
  *v = own;
  return ORION_OK;
}

orion_status orion_cpu_emit_generic(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  const orion_generic_op *g = find(op->code);
  if (!g)
    return ORION_FAIL(err, ORION_UNSUPPORTED,
                      "the cpu device has no kernel for this operation with these types or arguments");
  generic_data *d = orion_cpu_data(b, sizeof *d);
  if (!d) return ORION_OOM(err, "plan");
  d->op = g;
  d->step.code = op->code;
  orion_cpu_view in[ORION_GENERIC_INPUTS], out[ORION_MAX_RESULTS];
  memset(in, 0, sizeof in);
  uint32_t n = 0, n_out = op->n_results;
  for (int i = 0; i < ORION_GENERIC_INPUTS && g->inputs[i]; i++) {
    const char *name = g->inputs[i];
    bool optional = *name == '?';
    name += optional;
    d->step.has[i] = orion_cpu_has(op, name);
    n = (uint32_t)i + 1;
    if (optional && !d->step.has[i]) {
      if (i > 0) in[i] = in[0];  // a view that is valid; never read
      continue;
    }
    ORION_TRY(orion_cpu_arg(b, op, name, &in[i], err));
    ORION_TRY(own_type(b, op, name, &in[i], err));
    ORION_TRY(orion_cpu_to_packed(b, &in[i], err));
  }
  if (n_out > ORION_MAX_RESULTS) return ORION_FAIL(err, ORION_LIMIT, "too many results");
  if (g->prepare) ORION_TRY(g->prepare(b, op, in, &d->step, err));
  for (uint32_t i = 0; i < n_out; i++) ORION_TRY(orion_cpu_result(b, op, i, &out[i], err));
  orion_cpu_step step = {
      .run = run_generic, .kind = ORION_CPU_GENERIC, .n_in = n, .in = in, .n_out = n_out, .out = out, .data = d};
  return orion_cpu_add_step(b, &step, err);
}

size_t orion_generic_broadcast(const orion_cpu_view *v, const int64_t *c, int rank) {
  size_t i = 0;
  for (int d = 0; d < v->rank; d++) {
    int at = d + rank - v->rank;
    i = i * (size_t)v->dims[d] + (v->dims[d] == 1 || at < 0 ? 0 : (size_t)c[at]);
  }
  return i;
}

bool orion_generic_broadcasts(const orion_cpu_view *v, const orion_type *t) {
  for (int d = 0; d < v->rank; d++) {
    int at = d + t->rank - v->rank;
    if (v->dims[d] != 1 && (at < 0 || t->dims[at] != v->dims[d])) return false;
  }
  return true;
}

void orion_generic_move_element(const orion_cpu_exec *x, const orion_cpu_view *to, size_t i, const orion_cpu_view *from,
                                size_t j) {
  size_t w = orion_dtype_bits(to->dtype) / 8;
  memcpy((uint8_t *)orion_cpu_at(x, to) + i * w, (const uint8_t *)orion_cpu_at(x, from) + j * w, w);
}

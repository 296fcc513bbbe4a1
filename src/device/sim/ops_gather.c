// Gathering and scattering by index. Negative indices count from the end; an index outside its dimension fails the run,
// for there is no answer that would not hide it. Scatter works in the order of the indices, so that repeated ones give
// the same result every time.
#include <string.h>

#include "device/sim/rules.h"
#include "device/sim/sim.h"

static bool resolve(int64_t i, size_t n, size_t *out) {
  if (i < 0) i += (int64_t)n;
  *out = (size_t)i;
  return i >= 0 && (size_t)i < n;
}

static orion_status outside(const orion_sim_op *op, int32_t index, size_t n, orion_error *err) {
  return ORION_FAIL(err, ORION_DEVICE, "%s: index %d is outside a dimension of %zu elements", op->name, index, n);
}

static size_t product(const orion_sim_tensor *t, int from, int to) {
  size_t n = 1;
  for (int i = from; i < to; i++) n *= (size_t)t->dims[i];
  return n;
}

// x [batch, middle, n, inner], indices [batch, j] -> [batch, middle, j, inner]
ORION_SIM_RUN(orion_sim_run_gather) {
  const orion_sim_tensor *x = orion_sim_in(op, "x"), *indices = orion_sim_in(op, "indices");
  int axis = orion_sim_axis(op, "axis", x->rank), batch_dims = (int)orion_sim_int(op, "batch_dims");
  if (batch_dims < 0) batch_dims += indices->rank;
  size_t batch = product(x, 0, batch_dims), middle = product(x, batch_dims, axis), n = (size_t)x->dims[axis];
  size_t inner = product(x, axis + 1, x->rank), many = product(indices, batch_dims, indices->rank);
  uint32_t *to = op->out[0]->word;
  for (size_t b = 0; b < batch; b++) {
    for (size_t m = 0; m < middle; m++) {
      for (size_t j = 0; j < many; j++, to += inner) {
        size_t i;
        if (!resolve(indices->i[b * many + j], n, &i)) return outside(op, indices->i[b * many + j], n, err);
        if (op->flaw == ORION_SIM_FIRST_ELEMENT) i = 0;
        memcpy(to, x->word + ((b * middle + m) * n + i) * inner, inner * 4);
      }
    }
  }
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_gather_along_axis) {
  const orion_sim_tensor *x = orion_sim_in(op, "x"), *indices = orion_sim_in(op, "indices");
  int axis = orion_sim_axis(op, "axis", x->rank);
  orion_sim_lines from = orion_sim_lines_of(x, axis), to = orion_sim_lines_of(indices, axis);
  for (size_t at = 0; at < indices->n; at++) {
    size_t inner = at % to.inner, outer = at / to.inner / to.n, i;
    if (!resolve(indices->i[at], from.n, &i)) return outside(op, indices->i[at], from.n, err);
    op->out[0]->word[at] = x->word[(outer * from.n + i) * from.inner + inner];
  }
  return ORION_OK;
}

// Address in `t` that the k numbers at `index` name, counted in blocks of `inner` elements after `batch`.
static orion_status address(const orion_sim_op *op, const orion_sim_tensor *t, int first, const int32_t *index,
                            size_t k, size_t *at, orion_error *err) {
  for (size_t d = 0; d < k; d++) {
    size_t n = (size_t)t->dims[first + (int)d], i;
    if (!resolve(index[d], n, &i)) return outside(op, index[d], n, err);
    *at = *at * n + i;
  }
  return ORION_OK;
}

// indices [batch, j, k] name blocks of x [batch, d1, ..., dk, inner]
ORION_SIM_RUN(orion_sim_run_gather_nd) {
  const orion_sim_tensor *x = orion_sim_in(op, "x"), *indices = orion_sim_in(op, "indices");
  int batch_dims = (int)orion_sim_int(op, "batch_dims");
  size_t k = (size_t)indices->dims[indices->rank - 1], batch = product(x, 0, batch_dims);
  size_t inner = product(x, batch_dims + (int)k, x->rank);
  size_t many = product(indices, batch_dims, indices->rank - 1);
  for (size_t b = 0; b < batch; b++) {
    for (size_t j = 0; j < many; j++) {
      size_t at = b, row = b * many + j;
      ORION_TRY(address(op, x, batch_dims, indices->i + row * k, k, &at, err));
      memcpy(op->out[0]->word + row * inner, x->word + at * inner, inner * 4);
    }
  }
  return ORION_OK;
}

// ---- scatter ----

static const char *const modes[] = {"add", "sub", "mul", "div", "max", "min", "update"};
static const orion_opcode mode_codes[] = {ORION_OP_add,     ORION_OP_sub,     ORION_OP_mul,  ORION_OP_real_div,
                                          ORION_OP_maximum, ORION_OP_minimum, ORION_OP_OTHER};

static int find_mode(const char *mode) {
  for (int i = 0; i < (int)(sizeof modes / sizeof *modes); i++) {
    if (strcmp(modes[i], mode) == 0) return i;
  }
  return -1;
}

const char *orion_sim_lacks_scatter(const orion_function *f, const orion_op *op) {
  const char *mode = orion_op_string(f, op, "mode");
  return mode && find_mode(mode) >= 0 ? NULL : "its mode is none of add, sub, mul, div, max, min, update";
}

static int32_t combine_int(orion_opcode code, int32_t x, int32_t y) {
  switch (code) {
    case ORION_OP_add: return (int32_t)((uint32_t)x + (uint32_t)y);
    case ORION_OP_sub: return (int32_t)((uint32_t)x - (uint32_t)y);
    case ORION_OP_mul: return (int32_t)((uint32_t)x * (uint32_t)y);
    case ORION_OP_real_div: return y == 0 ? 0 : y == -1 ? (int32_t)(0u - (uint32_t)x) : x / y;
    case ORION_OP_maximum: return x > y ? x : y;
    case ORION_OP_minimum: return x < y ? x : y;
    default: return y;
  }
}

static void combine(const orion_sim_ctx *c, orion_opcode code, orion_sim_tensor *y, size_t at, const uint32_t *update,
                    size_t n) {
  bool floats = orion_dtype_is_float(y->dtype);
  for (size_t i = 0; i < n; i++) {
    if (code == ORION_OP_OTHER) {
      y->word[at + i] = update[i];
    } else if (floats) {
      float v;
      memcpy(&v, &update[i], sizeof v);
      y->f[at + i] = c->arith->binary(code, y->f[at + i], v);
    } else {
      y->i[at + i] = combine_int(code, y->i[at + i], (int32_t)update[i]);
    }
  }
}

static orion_opcode start_scatter(const orion_sim_op *op) {
  const orion_sim_tensor *data = orion_sim_in(op, "data");
  memcpy(op->out[0]->data, data->data, data->n * 4);
  int mode = find_mode(orion_sim_text(op, "mode"));
  return mode_codes[mode < 0 ? 0 : mode];
}

// data [outer, n, inner], indices [j], updates [outer, j, inner]
ORION_SIM_RUN(orion_sim_run_scatter) {
  const orion_sim_tensor *data = orion_sim_in(op, "data"), *indices = orion_sim_in(op, "indices");
  const orion_sim_tensor *updates = orion_sim_in(op, "updates");
  orion_opcode code = start_scatter(op);
  orion_sim_lines l = orion_sim_lines_of(data, orion_sim_axis(op, "axis", data->rank));
  if (updates->n != l.outer * indices->n * l.inner) {
    return ORION_FAIL(err, ORION_DEVICE, "%s: updates have another shape than data and indices ask for", op->name);
  }
  for (size_t o = 0; o < l.outer; o++) {
    for (size_t j = 0; j < indices->n; j++) {
      size_t i;
      if (!resolve(indices->i[j], l.n, &i)) return outside(op, indices->i[j], l.n, err);
      combine(c, code, op->out[0], (o * l.n + i) * l.inner, updates->word + (o * indices->n + j) * l.inner, l.inner);
    }
  }
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_scatter_along_axis) {
  const orion_sim_tensor *data = orion_sim_in(op, "data"), *indices = orion_sim_in(op, "indices");
  const orion_sim_tensor *updates = orion_sim_in(op, "updates");
  orion_opcode code = start_scatter(op);
  int axis = orion_sim_axis(op, "axis", data->rank);
  orion_sim_lines to = orion_sim_lines_of(data, axis), from = orion_sim_lines_of(indices, axis);
  if (updates->n != indices->n || from.inner != to.inner || from.outer != to.outer) {
    return ORION_FAIL(err, ORION_DEVICE, "%s: indices, updates and data do not fit together", op->name);
  }
  for (size_t at = 0; at < indices->n; at++) {
    size_t inner = at % from.inner, outer = at / from.inner / from.n, i;
    if (!resolve(indices->i[at], to.n, &i)) return outside(op, indices->i[at], to.n, err);
    combine(c, code, op->out[0], (outer * to.n + i) * to.inner + inner, updates->word + at, 1);
  }
  return ORION_OK;
}

// indices [j, k] name blocks of data [d1, ..., dk, inner]; updates [j, inner]
ORION_SIM_RUN(orion_sim_run_scatter_nd) {
  const orion_sim_tensor *data = orion_sim_in(op, "data"), *indices = orion_sim_in(op, "indices");
  const orion_sim_tensor *updates = orion_sim_in(op, "updates");
  orion_opcode code = start_scatter(op);
  size_t k = (size_t)indices->dims[indices->rank - 1], inner = product(data, (int)k, data->rank);
  size_t many = product(indices, 0, indices->rank - 1);
  if (updates->n != many * inner) {
    return ORION_FAIL(err, ORION_DEVICE, "%s: updates have another shape than data and indices ask for", op->name);
  }
  for (size_t j = 0; j < many; j++) {
    size_t at = 0;
    ORION_TRY(address(op, data, 0, indices->i + j * k, k, &at, err));
    combine(c, code, op->out[0], at * inner, updates->word + j * inner, inner);
  }
  return ORION_OK;
}

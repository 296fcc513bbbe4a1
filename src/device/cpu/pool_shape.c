#include "device/cpu/pool_shape.h"

static bool list(const orion_function *f, const orion_op *op, const char *name, size_t n, int64_t fallback,
                 int64_t *out) {
  size_t got = 0;
  for (size_t i = 0; i < n; i++) out[i] = fallback;
  if (!orion_op_arg(op, name) && !orion_op_attr(op, name)) return true;
  int64_t v[6];
  if (!orion_op_ints(f, op, name, 6, v, &got)) return false;
  if (got != n && got != 1 && got != 0) return false;
  for (size_t i = 0; i < n && got; i++) out[i] = got == 1 ? v[0] : v[i];
  return true;
}

// "same" padding: as much as makes out = ceil(in / stride); the odd one goes after (same), or before (same_lower).
static void pad_same(orion_pool_shape *g, bool lower) {
  for (int i = 0; i < g->n; i++) {
    int64_t reach = (g->kernel[i] - 1) * g->dilation[i] + 1;
    int64_t total = (g->out[i] - 1) * g->stride[i] + reach - g->in[i];
    if (total < 0) total = 0;
    g->before[i] = lower ? total - total / 2 : total / 2;
    g->after[i] = total - g->before[i];
  }
}

orion_status orion_pool_shape_read(const orion_function *f, const orion_op *op, const orion_cpu_view *x,
                                   const int64_t *kernel, const orion_type *out_type, orion_pool_shape *out,
                                   orion_error *err) {
  orion_pool_shape g = {.n = x->rank - 2, .taps = 1, .positions = 1};
  int64_t pad[6];
  if (g.n < 1 || g.n > 3) return ORION_FAIL(err, ORION_UNSUPPORTED, "windows have one to three spatial dimensions");
  const char *type = orion_op_string(f, op, "pad_type");
  if (!type || !list(f, op, "strides", (size_t)g.n, 1, g.stride) ||
      !list(f, op, "dilations", (size_t)g.n, 1, g.dilation) || !list(f, op, "pad", (size_t)g.n * 2, 0, pad)) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "strides, dilations and padding must be constants of the right length");
  }
  for (int i = 0; i < g.n; i++) {
    g.in[i] = x->dims[2 + i];
    g.out[i] = out_type->dims[2 + i];
    g.kernel[i] = kernel[i];
    g.taps *= (size_t)kernel[i];
    g.positions *= (size_t)g.out[i];
    if (g.stride[i] < 1 || g.dilation[i] < 1 || g.out[i] < 0)
      return ORION_FAIL(err, ORION_FORMAT, "strides must be 1 or more");
  }
  if (strcmp(type, "custom") == 0) {
    for (int i = 0; i < g.n; i++) {
      g.before[i] = pad[2 * i];
      g.after[i] = pad[2 * i + 1];
    }
  } else if (strcmp(type, "same") == 0 || strcmp(type, "same_lower") == 0) {
    pad_same(&g, type[4] != 0);
  } else if (strcmp(type, "valid") != 0) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "pad_type %s is unknown", type);
  }
  *out = g;
  return ORION_OK;
}

bool orion_pool_trivial(const orion_pool_shape *g) {
  for (int i = 0; i < g->n; i++) {
    if (g->stride[i] != 1 || g->before[i] || g->after[i] || g->in[i] != g->out[i]) return false;
  }
  return true;
}

void orion_pool_start(const orion_pool_shape *g, size_t position, int64_t start[3]) {
  for (int i = g->n - 1; i >= 0; i--) {
    start[i] = (int64_t)(position % (size_t)g->out[i]) * g->stride[i] - g->before[i];
    position /= (size_t)g->out[i];
  }
}

bool orion_pool_tap(const orion_pool_shape *g, const int64_t start[3], size_t tap, const int64_t *strides,
                    int64_t *out) {
  *out = 0;
  for (int i = g->n - 1; i >= 0; i--) {
    int64_t at = start[i] + (int64_t)(tap % (size_t)g->kernel[i]) * g->dilation[i];
    tap /= (size_t)g->kernel[i];
    if (at < 0 || at >= g->in[i]) return false;
    *out += at * strides[i];
  }
  return true;
}

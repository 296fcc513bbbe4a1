// See evaluate.h.
#include "evaluate.h"

#include <math.h>

typedef struct machine {
  const orion_function *f;
  double **values;  // by value id
} machine;

static size_t rows_of(const machine *m, orion_value_id v) { return (size_t)orion_value_type(m->f, v)->dims[0]; }

static size_t count_of(const machine *m, orion_value_id v) {
  size_t n;
  assert_true(orion_type_elements(orion_value_type(m->f, v), &n));
  return n;
}

static const double *arg(const machine *m, const orion_op *op, const char *name) {
  orion_value_id v = orion_op_value(op, name);
  return v == ORION_NONE ? NULL : m->values[v];
}

static size_t int_arg(const machine *m, const orion_op *op, const char *name) {
  int64_t v;
  assert_true(orion_op_int(m->f, op, name, &v));
  return (size_t)v;
}

static double float_arg(const machine *m, const orion_op *op, const char *name) {
  double v;
  assert_true(orion_op_float(m->f, op, name, &v));
  return v;
}

static void constant(machine *m, const orion_op *op, double *y, size_t n) {
  const orion_literal *l = orion_op_attr(op, "val");
  if (l->kind != ORION_LIT_DATA) return;
  orion_error err;
  assert_int_equal(orion_data_elements(l->data), n);
  assert_ok(orion_data_read(l->data, ORION_FP64, 0, l->data->rows, y, &err), &err);
}

static void cast(machine *m, const orion_op *op, double *y, size_t n) {
  const double *x = arg(m, op, "x");
  orion_dtype d = orion_value_type(m->f, op->results[0])->dtype;
  assert_string_equal(orion_op_string(m->f, op, "dtype"), orion_dtype_name(d));
  for (size_t i = 0; i < n; i++) {
    uint64_t one;
    orion_store_double(d, &one, 0, x[i]);
    y[i] = orion_load_double(d, &one, 0);
  }
}

static void linear(machine *m, const orion_op *op, double *y) {
  const double *x = arg(m, op, "x"), *w = arg(m, op, "weight"), *b = arg(m, op, "bias");
  const orion_type *type = orion_value_type(m->f, orion_op_value(op, "weight"));
  size_t out = (size_t)type->dims[0], in = (size_t)type->dims[1], tokens = rows_of(m, orion_op_value(op, "x"));
  for (size_t t = 0; t < tokens; t++) {
    for (size_t o = 0; o < out; o++) {
      double sum = b ? b[o] : 0;
      for (size_t i = 0; i < in; i++) sum += x[t * in + i] * w[o * in + i];
      y[t * out + o] = sum;
    }
  }
}

static void layer_norm(machine *m, const orion_op *op, double *y, size_t n) {
  const double *x = arg(m, op, "x"), *gamma = arg(m, op, "gamma"), *beta = arg(m, op, "beta");
  size_t c = n / rows_of(m, op->results[0]);
  double eps = float_arg(m, op, "epsilon");
  for (size_t t = 0; t < n; t += c) {
    double mean = 0, var = 0;
    for (size_t i = 0; i < c; i++) mean += x[t + i] / (double)c;
    for (size_t i = 0; i < c; i++) var += (x[t + i] - mean) * (x[t + i] - mean) / (double)c;
    for (size_t i = 0; i < c; i++) y[t + i] = (x[t + i] - mean) / sqrt(var + eps) * gamma[i] + beta[i];
  }
}

static void rms_norm(machine *m, const orion_op *op, double *y, size_t n) {
  const double *x = arg(m, op, "x"), *gamma = arg(m, op, "gamma");
  size_t c = n / rows_of(m, op->results[0]) / int_arg(m, op, "groups");
  assert_int_equal(count_of(m, orion_op_value(op, "gamma")), c);
  double eps = float_arg(m, op, "epsilon");
  for (size_t t = 0; t < n; t += c) {
    double square = 0;
    for (size_t i = 0; i < c; i++) square += x[t + i] * x[t + i] / (double)c;
    for (size_t i = 0; i < c; i++) y[t + i] = x[t + i] / sqrt(square + eps) * gamma[i];
  }
}

static void rope(machine *m, const orion_op *op, double *y, size_t n) {
  const double *x = arg(m, op, "x"), *cosine = arg(m, op, "cos"), *sine = arg(m, op, "sin");
  size_t tokens = rows_of(m, op->results[0]), heads = int_arg(m, op, "heads"), half = n / tokens / heads / 2;
  for (size_t t = 0; t < tokens; t++) {
    for (size_t h = 0; h < heads; h++) {
      const double *a = x + (t * heads + h) * 2 * half;
      double *out = y + (t * heads + h) * 2 * half;
      for (size_t i = 0; i < half; i++) {
        double co = cosine[t * half + i], si = sine[t * half + i];
        out[i] = a[i] * co - a[half + i] * si;
        out[half + i] = a[half + i] * co + a[i] * si;
      }
    }
  }
}

static void attention(machine *m, const orion_op *op, double *y, size_t n) {
  const double *q = arg(m, op, "q"), *k = arg(m, op, "k"), *v = arg(m, op, "v"), *mask = arg(m, op, "mask");
  const double *old_k = arg(m, op, "k_cache"), *old_v = arg(m, op, "v_cache");
  size_t tokens = rows_of(m, op->results[0]), heads = int_arg(m, op, "heads"), kv = int_arg(m, op, "kv_heads");
  size_t past = old_k ? rows_of(m, orion_op_value(op, "k_cache")) : 0, size = n / tokens / heads, wide = kv * size;
  double scale = float_arg(m, op, "scale"), *p = malloc((past + tokens) * sizeof *p);
  for (size_t t = 0; t < tokens; t++) {
    for (size_t h = 0; h < heads; h++) {
      const double *row = q + (t * heads + h) * size;
      size_t at = h / (heads / kv) * size;
      double most = -INFINITY, sum = 0;
      for (size_t s = 0; s < past + t + 1; s++) {
        const double *key = s < past ? old_k + s * wide + at : k + (s - past) * wide + at;
        p[s] = s < past ? mask[s] : 0;
        for (size_t i = 0; i < size; i++) p[s] += row[i] * key[i] * scale;
        most = fmax(most, p[s]);
      }
      for (size_t s = 0; s < past + t + 1; s++) sum += p[s] = exp(p[s] - most);
      for (size_t i = 0; i < size; i++) {
        double z = 0;
        for (size_t s = 0; s < past + t + 1; s++) {
          z += p[s] / sum * (s < past ? old_v[s * wide + at + i] : v[(s - past) * wide + at + i]);
        }
        y[(t * heads + h) * size + i] = z;
      }
    }
  }
  free(p);
}

static double gelu(double x, bool tanh_form) {
  if (!tanh_form) return 0.5 * x * (1 + erf(x / sqrt(2)));
  return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
}

static void elementwise(machine *m, const orion_op *op, double *y, size_t n) {
  const double *x = arg(m, op, "x"), *z = arg(m, op, "y");
  bool tanh_form = op->code == ORION_OP_gelu && strcmp(orion_op_string(m->f, op, "mode"), "TANH_APPROXIMATION") == 0;
  for (size_t i = 0; i < n; i++) {
    switch (op->code) {
      case ORION_OP_add: y[i] = x[i] + z[i]; break;
      case ORION_OP_mul: y[i] = x[i] * z[i]; break;
      case ORION_OP_silu: y[i] = x[i] / (1 + exp(-x[i])); break;
      case ORION_OP_relu: y[i] = fmax(x[i], 0); break;
      case ORION_OP_gelu: y[i] = gelu(x[i], tanh_form); break;
      default: fail_msg("the evaluator does not know %s", op->spelling);
    }
  }
}

static void run_op(machine *m, const orion_op *op) {
  size_t n = count_of(m, op->results[0]);
  double *y = m->values[op->results[0]] = calloc(n ? n : 1, sizeof *y);
  switch (op->code) {
    case ORION_OP_const: constant(m, op, y, n); return;
    case ORION_OP_cast: cast(m, op, y, n); return;
    case ORION_OP_linear: linear(m, op, y); return;
    case ORION_OP_layer_norm: layer_norm(m, op, y, n); return;
    case ORION_OP_orion_rms_norm: rms_norm(m, op, y, n); return;
    case ORION_OP_orion_rope: rope(m, op, y, n); return;
    case ORION_OP_orion_attention: attention(m, op, y, n); return;
    default: elementwise(m, op, y, n); return;
  }
}

void evaluate(const orion_program *p, const bound *io, size_t n) {
  machine m = {orion_program_function(p, "main"), NULL};
  m.values = calloc(m.f->n_values, sizeof *m.values);
  for (size_t i = 0; i < m.f->n_params; i++) {
    const char *name = m.f->values[m.f->params[i]].name;
    for (size_t k = 0; k < n; k++) {
      if (strcmp(io[k].name, name) == 0) m.values[m.f->params[i]] = (double *)(uintptr_t)io[k].in;
    }
    if (!m.values[m.f->params[i]]) fail_msg("input %s is not bound", name);
  }
  ORION_EACH_OP(m.f, id) run_op(&m, &m.f->ops[id]);
  for (size_t k = 0; k < n; k++) {
    if (!io[k].out) continue;
    orion_value_id v = orion_function_find(m.f, io[k].name);
    if (v == ORION_NONE) fail_msg("there is no output %s", io[k].name);
    memcpy(io[k].out, m.values[v], count_of(&m, v) * sizeof(double));
  }
  for (size_t v = 0; v < m.f->n_values; v++) {
    if (m.f->values[v].def != ORION_NONE) free(m.values[v]);
  }
  free(m.values);
}

// Products that models seldom use: convolutions turned round, and einsum. Sums are in double.
#include "device/cpu/generic.h"
#include "device/cpu/pool_shape.h"

// ---- conv_transpose ----  the window walks the result as a convolution would walk its input; it travels in `i`

enum { GROUPS = 24 };  // after the window, in i

_Static_assert(sizeof(orion_pool_shape) <= GROUPS * sizeof(int64_t), "a window fits before the groups");

static orion_status prepare_turned(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in,
                                   orion_generic_step *d, orion_error *err) {
  const orion_type *t = orion_cpu_result_type(b, op, 0);
  orion_cpu_view result = {.rank = t->rank};
  orion_type positions = {.kind = ORION_TYPE_TENSOR, .rank = (uint8_t)in[0].rank};
  orion_pool_shape g;
  ORION_TRY(orion_cpu_int(b, op, "groups", &d->i[GROUPS], err));
  int64_t groups = d->i[GROUPS];
  if (in[0].rank != t->rank || in[1].rank != t->rank || groups < 1 || in[0].dims[1] != in[1].dims[0] ||
      in[0].dims[1] % groups || t->dims[1] != in[1].dims[1] * groups) {
    return ORION_FAIL(err, ORION_FORMAT, "channels do not fit the weight and groups");
  }
  for (int i = 0; i < t->rank; i++) {
    result.dims[i] = t->dims[i];
    positions.dims[i] = in[0].dims[i];
  }
  ORION_TRY(orion_pool_shape_read(b->f, op, &result, in[1].dims + 2, &positions, &g, err));
  memcpy(d->i, &g, sizeof g);
  return ORION_OK;
}

// One element of the result is gathered: the taps of all positions that reach it. in: x, weight, bias
static orion_status run_turned(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                               orion_error *err) {
  orion_pool_shape g;
  memcpy(&g, d->i, sizeof g);
  const orion_cpu_view *in = &s->in[0], *w = &s->in[1], *out = &s->out[0];
  size_t groups = (size_t)d->i[GROUPS], from = (size_t)in->dims[1] / groups, to = (size_t)w->dims[1];
  size_t plane = 1;
  for (int k = 2; k < out->rank; k++) plane *= (size_t)out->dims[k];
  for (size_t image = 0; image < (size_t)out->dims[0] * groups * to; image++) {
    size_t sample = image / (groups * to), group = image / to % groups, channel = image % to;
    double bias = d->has[2] ? orion_generic_get(x, &s->in[2], group * to + channel) : 0;
    for (size_t at = 0; at < plane; at++) {
      double sum = bias;
      for (size_t p = 0; p < g.positions; p++) {
        int64_t start[3], hit;
        orion_pool_start(&g, p, start);
        for (size_t tap = 0; tap < g.taps; tap++) {
          if (!orion_pool_tap(&g, start, tap, out->strides + 2, &hit) || (size_t)hit != at) continue;
          for (size_t c = 0; c < from; c++) {
            size_t input = group * from + c;
            sum += orion_generic_get(x, in, (sample * groups * from + input) * g.positions + p) *
                   orion_generic_get(x, w, (input * to + channel) * g.taps + tap);
          }
        }
      }
      orion_generic_set(x, out, image * plane + at, sum);
    }
  }
  return ORION_OK;
}

const orion_generic_op orion_generic_products[] = {
    {ORION_OP_conv_transpose, {"x", "weight", "?bias"}, prepare_turned, run_turned},
    {0},
};

// ---- einsum ----

enum { OPERANDS = 4, LETTERS = 16 };

typedef struct einsum_step {
  int letters, kept;  // letters of the result come first
  int64_t dims[LETTERS], strides[OPERANDS][LETTERS];
  size_t sums;  // products of the letters that are summed over
} einsum_step;

static orion_status run_einsum(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const einsum_step *d = s->data;
  size_t n = orion_cpu_elements(&s->out[0]);
  for (size_t i = 0; i < n; i++) {
    double sum = 0;
    for (size_t k = 0; k < d->sums; k++) {
      double product = 1;
      for (uint32_t o = 0; o < s->n_in; o++) {
        int64_t at = orion_cpu_row_offset(d->kept, d->dims, d->strides[o], i) +
                     orion_cpu_row_offset(d->letters - d->kept, d->dims + d->kept, d->strides[o] + d->kept, k);
        product *= orion_generic_get(x, &s->in[o], (size_t)at);
      }
      sum += product;
    }
    orion_generic_set(x, &s->out[0], i, sum);
  }
  return ORION_OK;
}

static int letter_of(einsum_step *d, char *names, char letter, bool add) {
  for (int i = 0; i < d->letters; i++) {
    if (names[i] == letter) return i;
  }
  if (!add || d->letters == LETTERS) return -1;
  names[d->letters] = letter;
  d->dims[d->letters] = 1;
  return d->letters++;
}

orion_status orion_cpu_emit_einsum(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  const char *equation = orion_op_string(b->f, op, "equation"), *arrow = equation ? strstr(equation, "->") : NULL;
  const orion_arg *values = orion_op_arg(op, "values");
  einsum_step *d = orion_cpu_data(b, sizeof *d);
  char names[LETTERS];
  if (!d) return ORION_OOM(err, "plan");
  if (!arrow || !values || values->n_refs > OPERANDS) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "equation must be constant, of at most %d operands", OPERANDS);
  }
  for (const char *p = arrow + 2; *p; p++) {
    if (*p != ' ' && letter_of(d, names, *p, true) < 0) return ORION_FAIL(err, ORION_LIMIT, "too many letters");
  }
  d->kept = d->letters;
  orion_cpu_view in[OPERANDS], out;
  const char *p = equation;
  for (uint32_t o = 0; o < values->n_refs; o++, p++) {
    int axis = 0;
    ORION_TRY(orion_cpu_ref_view(b, values->refs[o], &in[o], err));
    ORION_TRY(orion_cpu_to_packed(b, &in[o], err));
    for (; p < arrow && *p != ','; p++) {
      if (*p == ' ') continue;
      int l = letter_of(d, names, *p, true);
      if (l < 0 || axis == in[o].rank) return ORION_FAIL(err, ORION_FORMAT, "equation does not fit its operands");
      d->strides[o][l] += in[o].dims[axis] == 1 ? 0 : in[o].strides[axis];
      if (in[o].dims[axis] != 1) d->dims[l] = in[o].dims[axis];
      axis++;
    }
    if (axis != in[o].rank) return ORION_FAIL(err, ORION_FORMAT, "equation does not fit its operands");
  }
  d->sums = 1;
  for (int l = d->kept; l < d->letters; l++) d->sums *= (size_t)d->dims[l];
  ORION_TRY(orion_cpu_result(b, op, 0, &out, err));
  orion_cpu_step step = {.run = run_einsum,
                         .kind = ORION_CPU_GENERIC,
                         .n_in = values->n_refs,
                         .in = in,
                         .n_out = 1,
                         .out = &out,
                         .data = d};
  return orion_cpu_add_step(b, &step, err);
}

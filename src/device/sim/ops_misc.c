// Making, sorting and accumulating: fill, range, one_hot, cumsum, argsort, topk, lstm.
#include <math.h>
#include <string.h>

#include "device/sim/sim.h"

ORION_SIM_RUN(orion_sim_run_fill) {
  double v = orion_sim_num(op, "value");
  for (size_t i = 0; i < op->out[0]->n; i++) orion_sim_set(op->out[0], i, v);
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_range) {
  double start = orion_sim_num(op, "start"), step = orion_sim_num(op, "step");
  for (size_t i = 0; i < op->out[0]->n; i++) orion_sim_set(op->out[0], i, start + (double)i * step);
  return ORION_OK;
}

// Indices outside the vector switch nothing on.
ORION_SIM_RUN(orion_sim_run_one_hot) {
  const orion_sim_tensor *indices = orion_sim_in(op, "indices");
  orion_sim_tensor *y = op->out[0];
  orion_sim_lines l = orion_sim_lines_of(y, orion_sim_axis(op, "axis", y->rank));
  double on = orion_sim_num(op, "on_value"), off = orion_sim_num(op, "off_value");
  for (size_t i = 0; i < y->n; i++) {
    size_t inner = i % l.inner, place = i / l.inner % l.n, outer = i / l.inner / l.n;
    orion_sim_set(y, i, indices->i[outer * l.inner + inner] == (int64_t)place ? on : off);
  }
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_cumsum) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  orion_sim_lines l = orion_sim_lines_of(x, orion_sim_axis(op, "axis", x->rank));
  bool exclusive = orion_sim_int(op, "exclusive") != 0, backwards = orion_sim_int(op, "reverse") != 0;
  for (size_t line = 0; line < l.outer * l.inner; line++) {
    size_t base = line / l.inner * l.n * l.inner + line % l.inner;
    double sum = 0;
    for (size_t k = 0; k < l.n; k++) {
      size_t i = base + (backwards ? l.n - 1 - k : k) * l.inner;
      double before = sum;
      sum += orion_sim_value(x, i);
      orion_sim_set(op->out[0], i, exclusive ? before : sum);
    }
  }
  return ORION_OK;
}

// ---- sorting ---- stable, so that equal numbers keep their order; NaN counts as largest.

size_t orion_sim_scratch_sort(const orion_sim_op *op, int threads) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  size_t n = x->rank ? (size_t)x->dims[orion_sim_axis(op, "axis", x->rank)] : 1;
  return 2 * n * sizeof(uint32_t);
}

static bool goes_before(const orion_sim_tensor *x, size_t base, size_t step, uint32_t a, uint32_t b, bool ascending) {
  double va = orion_sim_value(x, base + a * step), vb = orion_sim_value(x, base + b * step);
  if (isnan(va) || isnan(vb)) return ascending ? !isnan(va) && isnan(vb) : isnan(va) && !isnan(vb);
  return ascending ? va < vb : va > vb;
}

// Bottom-up merge sort of the places 0..n-1 of a line; the result is in one half of `order` [2n], which is returned.
static const uint32_t *sort_line(const orion_sim_tensor *x, size_t base, size_t step, size_t n, bool ascending,
                                 uint32_t *order) {
  uint32_t *from = order, *to = order + n;
  for (size_t i = 0; i < n; i++) from[i] = (uint32_t)i;
  for (size_t run = 1; run < n; run *= 2) {
    for (size_t begin = 0; begin < n; begin += 2 * run) {
      size_t middle = begin + run < n ? begin + run : n, end = begin + 2 * run < n ? begin + 2 * run : n;
      size_t a = begin, b = middle;
      for (size_t i = begin; i < end; i++) {
        bool second = a == middle || (b < end && goes_before(x, base, step, from[b], from[a], ascending));
        to[i] = second ? from[b++] : from[a++];
      }
    }
    uint32_t *swap = from;
    from = to;
    to = swap;
  }
  return from;
}

ORION_SIM_RUN(orion_sim_run_argsort) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  orion_sim_lines l = orion_sim_lines_of(x, orion_sim_axis(op, "axis", x->rank));
  bool ascending = orion_sim_int(op, "ascending") != 0;
  for (size_t line = 0; line < l.outer * l.inner; line++) {
    size_t base = line / l.inner * l.n * l.inner + line % l.inner;
    const uint32_t *order = sort_line(x, base, l.inner, l.n, ascending, c->scratch);
    for (size_t k = 0; k < l.n; k++) op->out[0]->i[base + k * l.inner] = (int32_t)order[k];
  }
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_topk) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  int axis = orion_sim_axis(op, "axis", x->rank);
  orion_sim_lines l = orion_sim_lines_of(x, axis);
  size_t k = x->rank ? (size_t)op->out[0]->dims[axis] : 1;
  if (k > l.n) return ORION_FAIL(err, ORION_DEVICE, "%s: k is %zu of %zu elements", op->name, k, l.n);
  bool ascending = orion_sim_int(op, "ascending") != 0;
  for (size_t line = 0; line < l.outer * l.inner; line++) {
    size_t base = line / l.inner * l.n * l.inner + line % l.inner;
    size_t to = line / l.inner * k * l.inner + line % l.inner;
    const uint32_t *order = sort_line(x, base, l.inner, l.n, ascending, c->scratch);
    for (size_t i = 0; i < k; i++) {
      op->out[0]->word[to + i * l.inner] = x->word[base + order[i] * l.inner];
      if (op->n_out > 1) op->out[1]->i[to + i * l.inner] = (int32_t)order[i];
    }
  }
  return ORION_OK;
}

// ---- lstm ---- x [s, b, i]; h, c [b, directions * n]; weights [4n, i] and [4n, n], gates in the order input, forget,
// output, cell; results: the sequence (or its last step), last h, last c.

typedef struct lstm {
  const orion_sim_arith *arith;
  const orion_sim_tensor *x, *ih, *hh, *bias, *peephole;
  const char *recurrent, *cell, *output;
  size_t n, inputs;
  double clip;                  // of the cell state; 0: none
} lstm;

const char *orion_sim_lacks_lstm(const orion_function *f, const orion_op *op) {
  static const char *const names[] = {"recurrent_activation", "cell_activation", "activation"};
  for (int i = 0; i < 3; i++) {
    const char *text = orion_op_string(f, op, names[i]);
    if (!text || !orion_sim_activation_known(text)) return "an activation that the sim does not have";
  }
  const char *direction = orion_op_string(f, op, "direction");
  bool known = direction && (strcmp(direction, "forward") == 0 || strcmp(direction, "reverse") == 0 ||
                             strcmp(direction, "bidirectional") == 0);
  return known ? NULL : "its direction is none of forward, reverse, bidirectional";
}

size_t orion_sim_scratch_lstm(const orion_sim_op *op, int threads) {
  size_t n = (size_t)orion_sim_in(op, "weight_hh")->dims[1];
  return 6 * n * sizeof(float);  // four gates, h, c
}

static float gate_sum(const lstm *l, size_t row, const float *x, const float *h) {
  double sum = l->bias ? (double)l->bias->f[row] : 0;
  for (size_t i = 0; i < l->inputs; i++) sum += (double)l->ih->f[row * l->inputs + i] * (double)x[i];
  for (size_t i = 0; i < l->n; i++) sum += (double)l->hh->f[row * l->n + i] * (double)h[i];
  return (float)sum;
}

// One step of one sequence; `gates` [4n] is scratch.
static void lstm_step(const lstm *l, const float *x, float *h, float *cell, float *gates) {
  size_t n = l->n;
  for (size_t r = 0; r < 4 * n; r++) gates[r] = gate_sum(l, r, x, h);
  for (size_t i = 0; i < n; i++) {
    float peep[3] = {0};
    for (size_t g = 0; g < 3 && l->peephole; g++) peep[g] = l->peephole->f[g * n + i];
    float in = orion_sim_activation(l->arith, l->recurrent, gates[i] + peep[0] * cell[i]);
    float forget = orion_sim_activation(l->arith, l->recurrent, gates[n + i] + peep[1] * cell[i]);
    float fresh = orion_sim_activation(l->arith, l->cell, gates[3 * n + i]);
    float next = (float)((double)forget * (double)cell[i] + (double)in * (double)fresh);
    if (l->clip > 0) next = next > l->clip ? (float)l->clip : next < -l->clip ? (float)-l->clip : next;
    float out = orion_sim_activation(l->arith, l->recurrent, gates[2 * n + i] + peep[2] * next);
    cell[i] = next;
    h[i] = out * orion_sim_activation(l->arith, l->output, next);
  }
}

// All steps of all sequences in one direction; `part` of `parts` columns of the results.
static void lstm_direction(const lstm *l, const orion_sim_op *op, bool backwards, size_t part, size_t parts,
                           float *scratch) {
  const orion_sim_tensor *h0 = orion_sim_in(op, "initial_h"), *c0 = orion_sim_in(op, "initial_c");
  size_t n = l->n, steps = (size_t)l->x->dims[0], batch = (size_t)l->x->dims[1], width = n * parts;
  bool sequence = orion_sim_int(op, "output_sequence") != 0;
  float *gates = scratch, *h = scratch + 4 * n, *cell = scratch + 5 * n;
  for (size_t b = 0; b < batch; b++) {
    size_t at = b * width + part * n;
    memcpy(h, h0->f + at, n * sizeof *h);
    memcpy(cell, c0->f + at, n * sizeof *cell);
    for (size_t s = 0; s < steps; s++) {
      size_t t = backwards ? steps - 1 - s : s;
      lstm_step(l, l->x->f + (t * batch + b) * l->inputs, h, cell, gates);
      if (sequence) memcpy(op->out[0]->f + t * batch * width + at, h, n * sizeof *h);
    }
    if (!sequence) memcpy(op->out[0]->f + at, h, n * sizeof *h);
    memcpy(op->out[1]->f + at, h, n * sizeof *h);
    memcpy(op->out[2]->f + at, cell, n * sizeof *cell);
  }
}

ORION_SIM_RUN(orion_sim_run_lstm) {
  lstm l = {.arith = c->arith, .x = orion_sim_in(op, "x"), .ih = orion_sim_in(op, "weight_ih"),
            .hh = orion_sim_in(op, "weight_hh"), .bias = orion_sim_in(op, "bias"),
            .peephole = orion_sim_in(op, "peephole"), .recurrent = orion_sim_text(op, "recurrent_activation"),
            .cell = orion_sim_text(op, "cell_activation"), .output = orion_sim_text(op, "activation"),
            .clip = orion_sim_num(op, "clip")};
  l.inputs = (size_t)l.ih->dims[1];
  l.n = (size_t)l.hh->dims[1];
  const char *direction = orion_sim_text(op, "direction");
  bool both = strcmp(direction, "bidirectional") == 0;
  lstm_direction(&l, op, strcmp(direction, "reverse") == 0, 0, both ? 2 : 1, c->scratch);
  if (!both) return ORION_OK;
  l.ih = orion_sim_in(op, "weight_ih_back");
  l.hh = orion_sim_in(op, "weight_hh_back");
  l.bias = orion_sim_in(op, "bias_back");
  l.peephole = orion_sim_in(op, "peephole_back");
  if (!l.ih || !l.hh) {
    return ORION_FAIL(err, ORION_DEVICE, "%s: bidirectional without weights of the way back", op->name);
  }
  lstm_direction(&l, op, true, 1, 2, c->scratch);
  return ORION_OK;
}

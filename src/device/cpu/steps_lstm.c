// lstm: x [S, B, I] -> y [S or 1, B, D*H], h and c [B, D*H]; D directions. Gates lie in the order input, forget,
// output, cell. Peepholes and activations other than sigmoid and tanh are refused.
#include "device/cpu/build.h"

typedef struct lstm_step {
  size_t steps, batch, in, hidden, directions;
  bool forward, sequence;
  float clip;   // 0: none
  int bias[2];  // inputs, or -1
} lstm_step;

enum { X, H0, C0, WEIGHTS };  // inputs; then weight_ih, weight_hh of each direction, then biases

// gates[4H] = W x + R h + b, then the new c and h. `gates` is scratch.
static void cell(const orion_cpu_exec *x, const lstm_step *d, const float *in, const float *wih, const float *whh,
                 const float *bias, float *h, float *c, float *gates) {
  const orion_kernels *k = x->k;
  size_t n = d->hidden;
  for (size_t g = 0; g < 4 * n; g++) {
    gates[g] = k->dot(wih + g * d->in, in, d->in) + k->dot(whh + g * n, h, n) + (bias ? bias[g] : 0);
  }
  if (d->clip > 0) k->map[ORION_MAP_CLIP](gates, gates, NULL, 4 * n, -d->clip, d->clip);
  k->map[ORION_MAP_SIGMOID](gates, gates, NULL, 3 * n, 0, 0);
  k->map[ORION_MAP_TANH](gates + 3 * n, gates + 3 * n, NULL, n, 0, 0);
  for (size_t i = 0; i < n; i++) c[i] = gates[n + i] * c[i] + gates[i] * gates[3 * n + i];
  k->map[ORION_MAP_TANH](h, c, NULL, n, 0, 0);
  k->map[ORION_MAP_MUL](h, h, gates + 2 * n, n, 0, 0);
}

static void store(const orion_cpu_exec *x, const orion_cpu_view *v, size_t row, size_t col, size_t cols,
                  const float *src, size_t n) {
  orion_cpu_store(x->k, v->dtype, x->base[v->buffer], v->offset + (int64_t)(row * cols + col), 1, src, n);
}

static orion_status run_lstm(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const lstm_step *d = s->data;
  size_t n = d->hidden, width = d->directions * n;
  float *h = orion_cpu_scratch(x, 0), *c = h + n, *gates = c + n;
  for (size_t direction = 0; direction < d->directions; direction++) {
    bool back = direction == 1 || !d->forward;
    const float *wih = orion_cpu_at(x, &s->in[WEIGHTS + 2 * direction]);
    const float *whh = orion_cpu_at(x, &s->in[WEIGHTS + 2 * direction + 1]);
    const float *bias = d->bias[direction] >= 0 ? orion_cpu_at(x, &s->in[d->bias[direction]]) : NULL;
    for (size_t b = 0; b < d->batch; b++) {
      memcpy(h, (float *)orion_cpu_at(x, &s->in[H0]) + b * width + direction * n, n * sizeof *h);
      memcpy(c, (float *)orion_cpu_at(x, &s->in[C0]) + b * width + direction * n, n * sizeof *c);
      for (size_t t = 0; t < d->steps; t++) {
        size_t at = back ? d->steps - 1 - t : t;
        cell(x, d, (float *)orion_cpu_at(x, &s->in[X]) + (at * d->batch + b) * d->in, wih, whh, bias, h, c, gates);
        if (d->sequence) store(x, &s->out[0], at * d->batch + b, direction * n, width, h, n);
      }
      if (!d->sequence) store(x, &s->out[0], b, direction * n, width, h, n);
      if (s->n_out > 1) store(x, &s->out[1], b, direction * n, width, h, n);
      if (s->n_out > 2) store(x, &s->out[2], b, direction * n, width, c, n);
    }
  }
  return ORION_OK;
}

static bool is_text(const orion_cpu_build *b, const orion_op *op, const char *name, const char *want) {
  const char *got = orion_op_string(b->f, op, name);
  return got && strcmp(got, want) == 0;
}

orion_status orion_cpu_emit_lstm(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  static const char *const weights[] = {"weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back"};
  static const char *const biases[] = {"bias", "bias_back"};
  lstm_step *d = orion_cpu_data(b, sizeof *d);
  orion_cpu_view in[9], out[3];
  double clip = 0;
  if (!d) return ORION_OOM(err, "plan");
  bool both = is_text(b, op, "direction", "bidirectional");
  d->forward = !is_text(b, op, "direction", "reverse");
  d->directions = both ? 2 : 1;
  if (orion_cpu_has(op, "peephole") || orion_cpu_has(op, "peephole_back") ||
      !is_text(b, op, "recurrent_activation", "sigmoid") || !is_text(b, op, "cell_activation", "tanh") ||
      !is_text(b, op, "activation", "tanh")) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "peepholes and activations other than sigmoid and tanh are not done");
  }
  if (!orion_op_bool(b->f, op, "output_sequence", &d->sequence) ||
      (orion_cpu_has(op, "clip") && !orion_op_float(b->f, op, "clip", &clip)) || op->n_results > 3) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "output_sequence and clip must be constants");
  }
  d->clip = (float)clip;
  ORION_TRY(orion_cpu_arg_f32(b, op, "x", &in[X], err));
  ORION_TRY(orion_cpu_arg_f32(b, op, "initial_h", &in[H0], err));
  ORION_TRY(orion_cpu_arg_f32(b, op, "initial_c", &in[C0], err));
  uint32_t n = WEIGHTS;
  for (size_t i = 0; i < 2 * d->directions; i++) ORION_TRY(orion_cpu_arg_f32(b, op, weights[i], &in[n++], err));
  if (in[X].rank != 3 || in[WEIGHTS].rank != 2 || in[WEIGHTS].dims[1] != in[X].dims[2]) {
    return ORION_FAIL(err, ORION_FORMAT, "x or the weights have other shapes than [S, B, I] and [4H, I]");
  }
  d->steps = (size_t)in[X].dims[0];
  d->batch = (size_t)in[X].dims[1];
  d->in = (size_t)in[X].dims[2];
  d->hidden = (size_t)in[WEIGHTS].dims[0] / 4;
  size_t state = d->batch * d->directions * d->hidden;
  bool fits = orion_cpu_elements(&in[H0]) == state && orion_cpu_elements(&in[C0]) == state;
  for (size_t i = 0; i < 2 * d->directions; i++) {
    fits = fits && orion_cpu_elements(&in[WEIGHTS + i]) == 4 * d->hidden * (i % 2 ? d->hidden : d->in);
  }
  for (size_t i = 0; i < 2; i++) {
    d->bias[i] = -1;
    if (i >= d->directions || !orion_cpu_has(op, biases[i])) continue;
    d->bias[i] = (int)n;
    ORION_TRY(orion_cpu_arg_f32(b, op, biases[i], &in[n++], err));
    fits = fits && orion_cpu_elements(&in[n - 1]) == 4 * d->hidden;
  }
  if (!fits) return ORION_FAIL(err, ORION_FORMAT, "states, weights and biases do not fit each other");
  for (uint32_t i = 0; i < op->n_results; i++) ORION_TRY(orion_cpu_result(b, op, i, &out[i], err));
  orion_cpu_step step = {.run = run_lstm,
                         .kind = ORION_CPU_GENERIC,
                         .n_in = n,
                         .in = in,
                         .n_out = op->n_results,
                         .out = out,
                         .data = d,
                         .scratch = 6 * d->hidden * sizeof(float)};
  return orion_cpu_add_step(b, &step, err);
}

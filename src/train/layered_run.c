// Running: one micro-batch forward and backward.
#include <math.h>
#include <stdio.h>

#include "model/graph.h"
#include "train/layered_impl.h"

#define MAX_HALF 65504.0

// ---- what is not finite ---------------------------------------------------------------------------------------------

static void note_overflow(orion_layered *l, const char *what, int64_t layer) {
  if (l->overflow[0]) return;
  if (layer >= 0) {
    snprintf(l->overflow, sizeof l->overflow, "%s of layer %d", what, (int)layer);
  } else {
    snprintf(l->overflow, sizeof l->overflow, "%s", what);
  }
}

// Looks at what a program hands on: [dim, N].
static bool look(orion_layered *l, const orion_runner *r, const char *name, const char *what, int64_t layer) {
  orion_tensor *t = orion_runner_tensor(r, name);
  if (!t || orion_rows_finite(t, (size_t)l->dim, (size_t)l->N)) return true;
  note_overflow(l, what, layer);
  return false;
}

// Looks at all that a layer's program returns: its result, and what it keeps for backward.
static bool look_at_layer(orion_layered *l, int64_t layer) {
  const orion_plan *plan = orion_runner_plan(l->layer[layer]);
  for (size_t i = 0; i < plan->n_parts; i++) {
    for (size_t p = 0; p < plan->parts[i].n_ports; p++) {
      const orion_port *port = &plan->parts[i].ports[p];
      orion_tensor *t = port->input ? NULL : orion_runner_tensor(l->layer[layer], port->logical);
      if (!t || t->layout.dtype != ORION_FP16) continue;
      size_t rows = 1;
      for (int k = 0; k + 1 < t->layout.rank; k++) rows *= (size_t)t->layout.dims[k];
      if (orion_rows_finite(t, rows, (size_t)t->layout.dims[t->layout.rank - 1])) continue;
      note_overflow(l, port->logical, layer);
      return false;
    }
  }
  return true;
}

// ---- embedding ------------------------------------------------------------------------------------------------------

static orion_status embed(orion_layered *l, const int32_t *tokens, orion_error *err) {
  const float *table = l->params->list[l->embedding].value;
  const float *places = l->positions == LAYERED_NO_WEIGHT ? NULL : l->params->list[l->positions].value;
  orion_tensor *x = orion_runner_tensor(l->layer[0], "x");
  char *to = orion_surface_lock(x->surface);
  orion_status status = ORION_OK;
  for (int64_t i = 0; i < l->spec.batch * l->T && status == ORION_OK; i++) {
    if (tokens[i] < 0 || tokens[i] >= l->units->vocab) {
      status = ORION_FAIL(err, ORION_INVALID, "training: token %d is not below the vocabulary's size %lld", (int)tokens[i],
                          (long long)l->units->vocab);
    }
  }
  for (int64_t c = 0; c < l->dim && status == ORION_OK; c++) {  // what fills a sequence up stays 0
    for (int64_t b = 0; b < l->spec.batch; b++) {
      for (int64_t t = 0; t < l->T; t++) {
        float v = table[tokens[b * l->T + t] * l->dim + c];
        l->line[b * l->P + t] = places ? v + places[t * l->dim + c] : v;
      }
      memset(l->line + b * l->P + l->T, 0, (size_t)(l->P - l->T) * sizeof *l->line);
    }
    orion_floats_to_half((orion_half *)(void *)(to + (size_t)c * x->layout.row_bytes), l->line, (size_t)l->N);
  }
  orion_surface_unlock(x->surface);
  return status;
}

// Gradients of the rows that were looked up.
static void embed_back(orion_layered *l, const int32_t *tokens) {
  float *table = l->gradients[l->embedding];
  float *places = l->positions == LAYERED_NO_WEIGHT ? NULL : l->gradients[l->positions];
  orion_tensor *dx = orion_runner_tensor(l->layer_back[0], "d_x");
  const char *from = orion_surface_lock(dx->surface);
  for (int64_t c = 0; c < l->dim; c++) {
    orion_half_to_floats(l->line, from + (size_t)c * dx->layout.row_bytes, (size_t)l->N);
    for (int64_t b = 0; b < l->spec.batch; b++) {
      for (int64_t t = 0; t < l->T; t++) {
        float d = l->line[b * l->P + t];
        table[tokens[b * l->T + t] * l->dim + c] += d;
        if (places) places[t * l->dim + c] += d;
      }
    }
  }
  orion_surface_unlock(dx->surface);
}

// ---- loss -----------------------------------------------------------------------------------------------------------

// The target of position i of all N, or -1.
static int32_t target_of(const orion_layered *l, const int32_t *targets, int64_t i) {
  int64_t b = i / l->P, t = i % l->P;
  return t < l->T ? targets[b * l->T + t] : -1;
}

static void put_targets(orion_layered *l, int64_t k, const int32_t *targets) {
  int64_t first = layered_first(l, k), n = layered_classes(l, k);
  for (int low = 0; low < 2; low++) {
    orion_tensor *to = orion_runner_tensor(l->loss[k], low ? "target_low" : "target_high");
    for (int64_t i = 0; i < l->N; i++) {
      int64_t class = (int64_t)target_of(l, targets, i) - first;
      bool here = class >= 0 && class < n;
      int64_t none = low ? 0 : -ORION_CLASS_BASE, digit = low ? class % ORION_CLASS_BASE : class / ORION_CLASS_BASE;
      l->line[i] = (float)(here ? digit : none);
    }
    orion_rows_put(to, l->line, 1, (size_t)l->N);
  }
}

// Joins the sums of exp(logit - peak) of part k with those so far: whichever peak is larger becomes that of both.
static void join_part(orion_layered *l, int64_t k) {
  orion_rows_get(orion_runner_tensor(l->loss[k], "picked"), l->line, 1, (size_t)l->N);
  for (int64_t i = 0; i < l->N; i++) l->picked[i] = (k ? l->picked[i] : 0) + (double)l->line[i];
  orion_tensor *max = orion_runner_tensor(l->loss[k], "max");
  const orion_half *peaks = orion_surface_lock(max->surface);
  orion_rows_get(orion_runner_tensor(l->loss[k], "sum"), l->line, 1, (size_t)l->N);
  for (int64_t i = 0; i < l->N; i++) {
    double peak = (double)orion_half_to_float(peaks[i]), sum = (double)l->line[i];
    if (k && l->peak[i] >= peak) {
      l->sum[i] += sum * exp(peak - l->peak[i]);
    } else {
      l->sum[i] = sum + (k ? l->sum[i] * exp(l->peak[i] - peak) : 0);
      l->peak[i] = peak;
    }
  }
  orion_surface_unlock(max->surface);
}

// The mean over the positions that have a target; NaN where it is not finite.
static double mean_loss(const orion_layered *l, const int32_t *targets, int64_t *out_n) {
  double total = 0;
  int64_t n = 0;
  for (int64_t i = 0; i < l->N; i++) {
    if (target_of(l, targets, i) < 0) continue;
    total += l->peak[i] + log(l->sum[i]) - l->picked[i];
    n++;
  }
  *out_n = n;
  return n == 0 ? 0 : isfinite(total) ? total / (double)n : (double)NAN;
}

static orion_status forward(orion_layered *l, const int32_t *tokens, const int32_t *targets, double *out_loss, int64_t *out_n,
                            orion_error *err) {
  bool finite = true;
  ORION_TRY(embed(l, tokens, err));
  for (int64_t i = 0; i < l->units->layers; i++) {
    ORION_TRY(orion_runner_run(l->layer[i], err));
    finite = look_at_layer(l, i) && finite;
  }
  ORION_TRY(orion_runner_run(l->norm, err));
  finite = look(l, l->norm, "y", "the result of the last norm", -1) && finite;
  for (int64_t k = 0; k < l->units->parts; k++) {
    put_targets(l, k, targets);
    ORION_TRY(orion_runner_run(l->loss[k], err));
    join_part(l, k);
  }
  *out_loss = mean_loss(l, targets, out_n);
  if (!isfinite(*out_loss)) note_overflow(l, "the logits", -1);
  if (!finite) *out_loss = (double)NAN;
  return ORION_OK;
}

// ---- backward -------------------------------------------------------------------------------------------------------

// Adds a gradient to where the optimiser finds it. What is not finite is noted.
static void take(orion_layered *l, const orion_runner *r, const char *name, size_t param, size_t first, size_t rows, size_t cols) {
  orion_tensor *t = orion_runner_tensor(r, name);
  float *to = l->gradients[param] + first;
  orion_rows_add(t, to, rows, cols);
  if (!l->overflow[0] && orion_find_nonfinite(ORION_FP32, to, rows * cols) < rows * cols) {
    note_overflow(l, l->params->list[param].name, -1);
  }
}

static void take_param(orion_layered *l, const orion_runner *r, const layered_weight *w) {
  const orion_param *x = &l->params->list[w->param];
  take(l, r, w->gradient, w->param, 0, layered_rows(x), layered_cols(x));
}

// A gradient handed on that is not finite: what comes of it may be finite again (0 times infinity is 0 on the engine), so the
// weight nearest to it says so.
static void look_back(orion_layered *l, const orion_runner *r, const char *name, int64_t layer, size_t param) {
  if (!look(l, r, name, "the gradient of the input", layer)) l->gradients[param][0] = INFINITY;
}

static void put_loss_gradient(orion_layered *l, const int32_t *targets, double each) {
  static const char *const names[] = {"peak", "share", "weight"};
  for (int k = 0; k < 3; k++) {
    for (int64_t i = 0; i < l->N; i++) {
      double weight = target_of(l, targets, i) < 0 ? 0 : each;
      l->line[i] = (float)(k == 0 ? l->peak[i] : k == 1 ? weight / l->sum[i] : weight);
    }
    orion_rows_put(orion_runner_tensor(l->loss_back[0], names[k]), l->line, 1, (size_t)l->N);
  }
}

static orion_status backward(orion_layered *l, const int32_t *tokens, const int32_t *targets, double each, orion_error *err) {
  int64_t parts = l->units->parts;
  if (each > MAX_HALF) note_overflow(l, "the loss", -1);  // its scale alone is too large
  put_loss_gradient(l, targets, each);
  for (int64_t k = 0; k < parts; k++) {
    ORION_TRY(orion_runner_run(l->loss_back[k], err));
    take(l, l->loss_back[k], "d_classifier", l->classifier, (size_t)(layered_first(l, k) * l->dim),
         (size_t)layered_classes(l, k), (size_t)l->dim);
  }
  if (each > MAX_HALF) l->gradients[l->classifier][0] = INFINITY;
  look_back(l, l->loss_back[parts - 1], "dh", -1, l->classifier);
  ORION_TRY(orion_runner_run(l->norm_back, err));
  for (size_t w = 0; w < l->n_norm; w++) take_param(l, l->norm_back, &l->norm_weights[w]);
  look_back(l, l->norm_back, "d_x", -1, l->norm_weights[0].param);
  for (int64_t i = l->units->layers - 1; i >= 0; i--) {
    const layered_weight *weights = &l->weights[(size_t)i * l->per_layer];
    ORION_TRY(orion_runner_run(l->layer_back[i], err));
    for (size_t w = 0; w < l->per_layer; w++) take_param(l, l->layer_back[i], &weights[w]);
    look_back(l, l->layer_back[i], "d_x", i, weights[0].param);
  }
  embed_back(l, tokens);
  return ORION_OK;
}

orion_status orion_layered_run(orion_layered *l, const int32_t *tokens, const int32_t *targets, double loss_scale,
                               orion_layered_pass pass, double *out_loss, orion_error *err) {
  int64_t n;
  l->overflow[0] = 0;
  ORION_TRY(forward(l, tokens, targets, out_loss, &n, err));
  if (pass == ORION_LAYERED_LOSS || !isfinite(*out_loss)) return ORION_OK;
  if (pass == ORION_LAYERED_GRADIENTS) memset(l->gradient_memory, 0, l->params->elements * sizeof(float));
  return backward(l, tokens, targets, n ? loss_scale / (double)n : 0, err);
}

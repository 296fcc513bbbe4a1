// Rules of reductions, softmax and normalisation: what was summed over an axis gives back to every position of it.
#include "grad/backward.h"

// x's shape with 1 in place of the n axes.
static void kept_dims(const orion_type *x, size_t n, const int64_t *axes, int64_t *out) {
  memcpy(out, x->dims, sizeof x->dims);
  for (size_t i = 0; i < n; i++) out[axes[i]] = 1;
}

static double count(const orion_type *x, size_t n, const int64_t *axes) {
  double product = 1;
  for (size_t i = 0; i < n; i++) product *= (double)x->dims[axes[i]];
  return product;
}

// Repeats d, of size 1 along the n axes, to the shape of x.
static orion_ref spread(orion_backward *w, orion_ref d, const orion_type *x, size_t n, const int64_t *axes) {
  int64_t reps[ORION_MAX_RANK];
  bool any = false;
  for (int i = 0; i < x->rank; i++) reps[i] = 1;
  for (size_t i = 0; i < n; i++) {
    reps[axes[i]] = x->dims[axes[i]];
    any = any || reps[axes[i]] != 1;
  }
  if (!any) return d;
  return ORION_BUILD(&w->b, NULL, ORION_OP_tile, {"x", d},
                     {"reps", orion_build_ints(&w->b, "reps", (size_t)x->rank, reps)});
}

// max: equal maxima share, so that the sum over the axes is kept.
void orion_grad_reduce(orion_backward *w, const orion_op *op, orion_ref dy) {
  const orion_type *x = orion_back_type(w, op, "x");
  int64_t axes[ORION_MAX_RANK], dims[ORION_MAX_RANK];
  size_t n = orion_back_axes(w, op, x->rank, axes);
  kept_dims(x, n, axes, dims);
  dy = orion_back_reshape(w, dy, x->rank, dims);
  if (op->code == ORION_OP_reduce_max) {
    orion_ref y = orion_back_reshape(w, orion_back_result(w, op), x->rank, dims);
    orion_ref hit = orion_back_cast(w, binary(w, ORION_OP_equal, orion_back_arg(w, op, "x"), y), x->dtype);
    orion_ref hits = orion_back_reduce(w, ORION_OP_reduce_sum, hit, n, axes, true);
    orion_back_give(w, op, "x", mul(w, hit, binary(w, ORION_OP_real_div, dy, hits)));
    return;
  }
  if (op->code == ORION_OP_reduce_mean) dy = orion_back_times(w, dy, 1 / count(x, n, axes));
  orion_back_give(w, op, "x", spread(w, dy, x, n, axes));
}

// dx = y (dy - sum of dy y)
void orion_grad_softmax(orion_backward *w, const orion_op *op, orion_ref dy) {
  int64_t axis = orion_back_axis(w, op, orion_back_type(w, op, "x")->rank);
  orion_ref y = orion_back_result(w, op);
  orion_ref sum = orion_back_reduce(w, ORION_OP_reduce_sum, mul(w, dy, y), 1, &axis, true);
  orion_back_give(w, op, "x", mul(w, y, sub(w, dy, sum)));
}

static void give_composite(orion_backward *w, const orion_op *op, orion_ref dy) {
  orion_value_id d[2];
  orion_in in[] = {{"x", orion_back_arg(w, op, "x")},
                   {"gamma", orion_back_arg(w, op, "gamma")},
                   {"dy", dy},
                   {"epsilon", orion_back_arg(w, op, "epsilon")},
                   {0}};
  orion_build_multi(&w->b, "grad", ORION_OP_orion_layer_norm_grad, in, 2, d);
  orion_back_give(w, op, "x", d[0]);
  orion_back_give(w, op, "gamma", d[1]);
  if (orion_back_wants(w, op, "beta")) {
    orion_back_give(w, op, "beta", orion_back_reduce(w, ORION_OP_reduce_sum, dy, 1, (int64_t[]){0}, false));
  }
}

// x^ = (x - mean) r, r = 1/sqrt(variance + epsilon), g = dy gamma:
// dx = r (g - mean g - x^ mean(g x^)), dgamma = sum of dy x^, dbeta = sum of dy over the other axes.
// The mean square is taken in fp32 where x is fp16: squares of activations leave fp16's range. The norm of a model graph in
// fp16 becomes a composite, for targets that have no fp32 scale it in their own way.
void orion_grad_layer_norm(orion_backward *w, const orion_op *op, orion_ref dy) {
  const orion_type *t = orion_back_type(w, op, "x"), *gamma = orion_back_type(w, op, "gamma");
  int64_t axes[ORION_MAX_RANK], others[ORION_MAX_RANK], dims[ORION_MAX_RANK];
  size_t n = orion_back_axes(w, op, t->rank, axes), n_others = 0;
  for (int i = 0; i < t->rank; i++) {
    bool among = false;
    for (size_t k = 0; k < n; k++) among = among || axes[k] == i;
    dims[i] = among ? t->dims[i] : 1;
    if (!among) others[n_others++] = i;
  }
  if (t->dtype == ORION_FP16 && t->rank == 2 && n == 1 && axes[0] == 1 && gamma) {
    give_composite(w, op, dy);
    return;
  }
  double epsilon = 0;
  orion_op_float(w->from, op, "epsilon", &epsilon);
  orion_ref x = orion_back_cast(w, orion_back_arg(w, op, "x"), ORION_FP32);
  orion_ref centred = sub(w, x, orion_back_reduce(w, ORION_OP_reduce_mean, x, n, axes, true));
  orion_ref variance = orion_back_reduce(w, ORION_OP_reduce_mean, mul(w, centred, centred), n, axes, true);
  orion_ref r =
      ORION_BUILD(&w->b, NULL, ORION_OP_rsqrt, {"x", variance}, {"epsilon", orion_back_number(w, ORION_FP32, epsilon)});
  orion_ref hat = orion_back_cast(w, mul(w, centred, r), t->dtype);
  r = orion_back_cast(w, r, t->dtype);
  if (orion_back_wants(w, op, "gamma")) {
    orion_ref d = orion_back_reduce(w, ORION_OP_reduce_sum, mul(w, dy, hat), n_others, others, false);
    orion_back_give(w, op, "gamma", d);
  }
  if (orion_back_wants(w, op, "beta")) {
    orion_back_give(w, op, "beta", orion_back_reduce(w, ORION_OP_reduce_sum, dy, n_others, others, false));
  }
  if (!orion_back_wants(w, op, "x")) return;
  orion_ref g = dy;
  if (gamma) {
    orion_ref scale = orion_back_cast(w, orion_back_arg(w, op, "gamma"), t->dtype);
    g = mul(w, dy, orion_back_reshape(w, scale, t->rank, dims));
  }
  orion_ref along = orion_back_reduce(w, ORION_OP_reduce_mean, mul(w, g, hat), n, axes, true);
  orion_ref dx = sub(w, g, orion_back_reduce(w, ORION_OP_reduce_mean, g, n, axes, true));
  orion_back_give(w, op, "x", mul(w, r, sub(w, dx, mul(w, hat, along))));
}

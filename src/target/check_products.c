// Checks of convolutions and matrix products.
#include "target/check.h"

// The weights of a convolution [out, in per group, height, width]; NULL for other operations.
static const orion_type *conv_weight(const orion_checker *c) {
  if (c->op->code != ORION_OP_conv) return NULL;
  const orion_type *w = orion_op_arg_type(c->f, c->op, "weight");
  return orion_type_is_tensor(w) && w->rank >= 3 ? w : NULL;
}

static bool runtime_weight(const orion_checker *c) {
  orion_ref ref = orion_op_ref(c->op, "weight");
  return c->op->code == ORION_OP_conv && ref != ORION_NONE && !orion_ref_is_const(c->f, ref);
}

void orion_check_conv_bias(orion_checker *c) {
  const orion_type *b = c->op->code == ORION_OP_conv ? orion_op_arg_type(c->f, c->op, "bias") : NULL;
  if (orion_type_is_tensor(b) && b->rank != 1) orion_check_report(c, "a bias of rank %d; it has rank 1", b->rank);
}

void orion_check_conv_in(orion_checker *c) {
  const orion_type *w = conv_weight(c);
  if (!w || w->dims[1] <= c->t->max_conv_in) return;
  orion_check_report(c, "convolution over %lld input channels; at most %lld", (long long)w->dims[1],
                     (long long)c->t->max_conv_in);
}

void orion_check_conv_out(orion_checker *c) {
  const orion_type *w = conv_weight(c);
  if (!w || w->dims[0] <= c->t->max_conv_out) return;
  orion_check_report(c, "convolution to %lld output channels; at most %lld", (long long)w->dims[0],
                     (long long)c->t->max_conv_out);
}

void orion_check_conv_rank(orion_checker *c) {
  const orion_type *w = conv_weight(c);
  if (w && w->rank > 4) orion_check_report(c, "a convolution over %d axes; two at most", w->rank - 2);
}

void orion_check_kernel_width(orion_checker *c) {
  const orion_type *w = conv_weight(c);
  if (!w || w->dims[w->rank - 1] <= c->t->max_kernel_width) return;
  orion_check_report(c, "a kernel %lld wide; %s takes at most %lld", (long long)w->dims[w->rank - 1], c->t->name,
                     (long long)c->t->max_kernel_width);
}

void orion_check_groups(orion_checker *c) {
  int64_t groups;
  if (!conv_weight(c) || !orion_op_int(c->f, c->op, "groups", &groups) || groups <= c->t->max_groups) return;
  orion_check_report(c, "%lld groups; more than %lld are taken apart", (long long)groups, (long long)c->t->max_groups);
}

void orion_check_runtime_groups(orion_checker *c) {
  int64_t groups;
  if (!runtime_weight(c) || !orion_op_int(c->f, c->op, "groups", &groups) || groups < 2) return;
  orion_check_report(c, "%lld groups with weights known only at run time", (long long)groups);
}

void orion_check_runtime_conv(orion_checker *c) {
  const orion_type *x = orion_op_arg_type(c->f, c->op, "x");
  if (!runtime_weight(c) || !orion_type_is_tensor(x) || x->rank < 3 || x->dims[0] < 2) return;
  orion_check_report(c, "weights known only at run time with batch %lld; one is all that is known to work",
                     (long long)x->dims[0]);
}

void orion_check_wide_contraction(orion_checker *c) {
  const orion_type *w = conv_weight(c);
  if (!w || w->dims[1] <= c->t->split_conv_in || w->dims[1] > c->t->max_conv_in) return;  // the latter is C16
  orion_check_report(c, "a convolution over %lld input channels; above %lld several narrower ones are faster",
                     (long long)w->dims[1], (long long)c->t->split_conv_in);
}

// Output channels are dealt out to 16 cores; each streams its share of the weights.
void orion_check_weight_stride(orion_checker *c) {
  enum { CORES = 16, MIB = 1 << 20, NEAR = 16 << 10 };
  const orion_type *w = conv_weight(c);
  size_t all, share;
  if (!w || w->dims[0] < 1 || !orion_type_elements(w, &all) || all > PTRDIFF_MAX) return;
  share = (size_t)((w->dims[0] - 1) / CORES + 1) * (all / (size_t)w->dims[0]) * 2;
  if (share < MIB - NEAR || (share + NEAR) % MIB > 2 * NEAR) return;
  orion_check_report(c, "each core streams %zu bytes of weights, a multiple of 1 MiB within 16 KiB", share);
}

void orion_check_matmul_rank(orion_checker *c) {
  const orion_type *x = orion_op_arg_type(c->f, c->op, "x"), *y = orion_op_arg_type(c->f, c->op, "y");
  if (c->op->code != ORION_OP_matmul || !x || !y) return;
  int rank = x->rank > y->rank ? x->rank : y->rank;
  if (rank > 4) orion_check_report(c, "a matrix product of rank %d; four at most", rank);
}

void orion_check_matmul_size(orion_checker *c) {
  if (c->op->code != ORION_OP_matmul) return;
  for (int i = 0; i < 2; i++) {
    const orion_type *m = orion_op_arg_type(c->f, c->op, i ? "y" : "x");
    orion_value_id v = orion_op_value(c->op, i ? "y" : "x");
    if (v == ORION_NONE || c->f->values[v].def != ORION_NONE || !m || m->rank < 2) continue;
    int64_t rows = m->dims[m->rank - 2], cols = m->dims[m->rank - 1], n = c->t->max_matmul;
    if (rows <= n && cols <= n) continue;
    orion_check_report(c, "a matrix of %lld x %lld as input; at most %lld x %lld is reported", (long long)rows,
                       (long long)cols, (long long)n, (long long)n);
  }
}

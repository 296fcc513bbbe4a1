// split_conv: convolutions that are too wide become several.
//
//   over more input channels than split_conv_in   slices of x, a convolution each, the results added. Engines run a very
//       wide contraction at a quarter of their speed. Not exact: each addition rounds; sums stay smaller, though, and the
//       engine's accumulator saturates later.
//   to more output channels than max_conv_out     pieces of the weights, results joined along the channels. Exact.
//
// Must not touch: grouped convolutions, weights that are not constant. Pieces are within the limits, so that a second run
// finds nothing.
#include <string.h>

#include "opt/passes.h"
#include "opt/rewrite.h"

enum { MAX_PIECES = 64, MULTIPLE = 32 };

// Pieces of equal size, but for the last, at most `limit`; sizes are multiples of 32 where that is possible.
static int64_t piece_size(int64_t n, int64_t limit) {
  int64_t pieces = (n + limit - 1) / limit, size = (n + pieces - 1) / pieces;
  int64_t rounded = (size + MULTIPLE - 1) / MULTIPLE * MULTIPLE;
  return rounded <= limit ? rounded : size;
}

static const uint32_t *range(orion_rewrite *r, int64_t begin, int64_t n) {
  uint32_t *index = ORION_ARENA_ARRAY(&r->scratch, uint32_t, (size_t)n);
  if (!index) {
    orion_rewrite_out_of_memory(r);
    return NULL;
  }
  for (int64_t i = 0; i < n; i++) index[i] = (uint32_t)(begin + i);
  return index;
}

// The convolution `id` with other input, weight and bias (ORION_NONE: without).
static orion_value_id conv_like(orion_rewrite *r, orion_op_id id, const char *stem, orion_ref x, orion_ref weight,
                                orion_ref bias) {
  static const char *const geometry[] = {"dilations", "groups", "pad", "pad_type", "strides"};
  orion_in in[9] = {{"x", x}, {"weight", weight}, {"bias", bias}};
  for (size_t i = 0; i < 5; i++) in[3 + i] = (orion_in){geometry[i], orion_op_ref(&r->f->ops[id], geometry[i])};
  return orion_build_op(&r->b, stem, ORION_OP_conv, in);
}

static void split_input(orion_rewrite *r, orion_op_id id, const orion_data *d, const orion_type *w, int64_t size) {
  orion_function *f = r->f;
  orion_value_id x = orion_op_value(&f->ops[id], "x"), result = f->ops[id].results[0], sum = ORION_NONE;
  const orion_type *t = orion_value_type(f, x);
  const char *name = f->values[result].name;
  int64_t window = (int64_t)d->cols / w->dims[1], dims[ORION_MAX_RANK], sizes[ORION_MAX_RANK], begin[ORION_MAX_RANK] = {0};
  memcpy(dims, w->dims, sizeof dims);
  memcpy(sizes, t->dims, sizeof sizes);
  for (int64_t at = 0; at < w->dims[1] && r->b.status == ORION_OK; at += size) {
    int64_t n = w->dims[1] - at < size ? w->dims[1] - at : size;
    const uint32_t *index = range(r, at * window, n * window);
    if (!index) return;
    const orion_data *part = orion_data_take_cols(f->program->data, d, (size_t)(n * window), index);
    begin[1] = at;
    sizes[1] = dims[1] = n;
    orion_ref slice = ORION_BUILD(&r->b, "piece", ORION_OP_slice_by_size, {"x", x},
                                  {"begin", orion_build_ints(&r->b, "begin", (size_t)t->rank, begin)},
                                  {"size", orion_build_ints(&r->b, "size", (size_t)t->rank, sizes)});
    orion_ref weight = orion_build_weight(&r->b, "piece_weight", part, w->rank, dims);
    orion_ref bias = at == 0 ? orion_op_ref(&f->ops[id], "bias") : ORION_NONE;
    orion_value_id y = conv_like(r, id, "piece_conv", slice, weight, bias);
    sum = at == 0 ? y : ORION_BUILD(&r->b, name, ORION_OP_add, {"x", sum}, {"y", y});
  }
  if (sum != ORION_NONE && r->b.status == ORION_OK) orion_rewrite_replace(r, id, sum);
}

static void split_output(orion_rewrite *r, orion_op_id id, const orion_data *d, const orion_type *w, int64_t size) {
  orion_function *f = r->f;
  orion_ref x = orion_op_ref(&f->ops[id], "x"), bias = orion_op_ref(&f->ops[id], "bias"), pieces[MAX_PIECES];
  const char *name = f->values[f->ops[id].results[0]].name;
  const orion_type *bias_type;
  const orion_data *bias_data = bias == ORION_NONE ? NULL : orion_rewrite_data(r, bias, &bias_type);
  int64_t dims[ORION_MAX_RANK];
  size_t count = 0;
  if (bias != ORION_NONE && (!bias_data || bias_data->rows != d->rows)) return;
  memcpy(dims, w->dims, sizeof dims);
  for (int64_t at = 0; at < w->dims[0] && r->b.status == ORION_OK; at += size) {
    dims[0] = w->dims[0] - at < size ? w->dims[0] - at : size;
    const uint32_t *index = range(r, at, dims[0]);
    if (!index) return;
    const orion_data *part = orion_data_take_rows(f->program->data, d, (size_t)dims[0], index);
    orion_ref weight = orion_build_weight(&r->b, "piece_weight", part, w->rank, dims), part_bias = ORION_NONE;
    if (bias_data) {
      part = orion_data_take_rows(f->program->data, bias_data, (size_t)dims[0], index);
      part_bias = orion_build_weight(&r->b, "piece_bias", part, 1, dims);
    }
    pieces[count++] = conv_like(r, id, "piece_conv", x, weight, part_bias);
  }
  const orion_in rest[] = {{"axis", orion_build_int(&r->b, "axis", 1)},
                           {"interleave", orion_build_bool(&r->b, "interleave", false)},
                           {0}};
  orion_value_id all = orion_build_tuple_op(&r->b, name, ORION_OP_concat, "values", count, pieces, rest);
  if (all != ORION_NONE) orion_rewrite_replace(r, id, all);
}

static void visit(orion_rewrite *r, orion_op_id id) {
  const orion_op *op = &r->f->ops[id];
  const orion_opt_limits *limits = r->ctx->limits;
  const orion_type *w;
  int64_t groups;
  if (op->code != ORION_OP_conv || limits->split_conv_in < 1 || limits->max_conv_out < 1) return;
  const orion_data *d = orion_rewrite_data(r, orion_op_ref(op, "weight"), &w);
  orion_value_id x = orion_op_value(op, "x");
  if (!d || x == ORION_NONE || d->dtype != w->dtype || !orion_type_is_static(orion_value_type(r->f, x))) return;
  if (!orion_op_int(r->f, op, "groups", &groups) || groups != 1 || d->rows != (size_t)w->dims[0]) return;
  if (w->dims[1] > limits->split_conv_in) {
    int64_t size = piece_size(w->dims[1], limits->split_conv_in);
    if (size * MAX_PIECES >= w->dims[1]) split_input(r, id, d, w, size);
  } else if (w->dims[0] > limits->max_conv_out) {
    int64_t size = piece_size(w->dims[0], limits->max_conv_out);
    if (size * MAX_PIECES >= w->dims[0]) split_output(r, id, d, w, size);
  }
}

static orion_status run(orion_pass_context *ctx, orion_program *p, orion_error *err) {
  return orion_rewrite_run(ctx, p, &(orion_visitor){.visit = visit}, err);
}

const orion_pass orion_pass_split_conv = {"split_conv", "cuts convolutions over or to very many channels", run};

// Movement: elements go elsewhere unchanged, four bytes each whatever their type. Almost all of it is one strided copy.
#include <math.h>
#include <string.h>

#include "device/sim/sim.h"

void orion_sim_strides(const orion_sim_tensor *t, int64_t *out) {
  int64_t step = 1;
  for (int i = t->rank - 1; i >= 0; i--) {
    out[i] = step;
    step *= t->dims[i];
  }
}

void orion_sim_broadcast(const orion_sim_tensor *t, int rank, const int64_t *dims, int64_t *out) {
  int64_t own[ORION_MAX_RANK];
  orion_sim_strides(t, own);
  for (int i = 0; i < rank; i++) {
    int mine = i - (rank - t->rank);
    out[i] = mine < 0 || t->dims[mine] == 1 ? 0 : own[mine];
  }
}

bool orion_sim_next(int rank, const int64_t *dims, int64_t *index) {
  for (int i = rank - 1; i >= 0; i--) {
    if (++index[i] < dims[i]) return true;
    index[i] = 0;
  }
  return false;
}

// dst[sum index * dst_strides] = src[sum index * src_strides] over all indices within dims.
static void copy(int rank, const int64_t *dims, uint32_t *dst, const int64_t *dst_strides, const uint32_t *src,
                 const int64_t *src_strides) {
  int64_t index[ORION_MAX_RANK + 1] = {0};
  for (int i = 0; i < rank; i++) {
    if (dims[i] == 0) return;
  }
  int64_t n = rank ? dims[rank - 1] : 1, d = rank ? dst_strides[rank - 1] : 1, s = rank ? src_strides[rank - 1] : 1;
  do {
    uint32_t *to = dst;
    const uint32_t *from = src;
    for (int i = 0; i + 1 < rank; i++) {
      to += index[i] * dst_strides[i];
      from += index[i] * src_strides[i];
    }
    if (d == 1 && s == 1) {
      memcpy(to, from, (size_t)n * 4);
    } else {
      for (int64_t i = 0; i < n; i++) to[i * d] = from[i * s];
    }
  } while (orion_sim_next(rank - 1, dims, index));
}

ORION_SIM_RUN(orion_sim_run_reshape) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  if (x->n != op->out[0]->n) {  // a shape that is a run-time value may contradict the declared one
    return ORION_FAIL(err, ORION_DEVICE, "%s: %zu elements do not make %zu", op->name, x->n, op->out[0]->n);
  }
  memcpy(op->out[0]->data, x->data, x->n * 4);
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_shape) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  for (int i = 0; i < x->rank; i++) op->out[0]->i[i] = (int32_t)x->dims[i];
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_transpose) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  orion_sim_tensor *y = op->out[0];
  int64_t perm[ORION_MAX_RANK], own[ORION_MAX_RANK], from[ORION_MAX_RANK], to[ORION_MAX_RANK];
  if (!orion_sim_ints(op, "perm", (size_t)x->rank, perm)) return ORION_FAIL(err, ORION_INTERNAL, "%s: perm", op->name);
  orion_sim_strides(x, own);
  orion_sim_strides(y, to);
  for (int i = 0; i < y->rank; i++) from[i] = own[perm[i] < 0 ? perm[i] + x->rank : perm[i]];
  copy(y->rank, y->dims, y->word, to, x->word, from);
  return ORION_OK;
}

// ---- slices ----

typedef struct window {  // of a tensor: count elements from start, `step` apart, along each dimension
  int64_t start[ORION_MAX_RANK], step[ORION_MAX_RANK], count[ORION_MAX_RANK];
} window;

static bool flag(const orion_sim_op *op, const char *name, int i) {
  const orion_sim_tensor *t = orion_sim_in(op, name);
  return t && (size_t)i < t->n && t->i[i] != 0;
}

static int64_t clamp(int64_t v, int64_t low, int64_t high) { return v < low ? low : v > high ? high : v; }

// begin:end:stride as in Python, negative numbers from the end; masks take the whole side, squeezed dimensions one.
static orion_status window_of_index(const orion_sim_op *op, const orion_sim_tensor *x, window *w, orion_error *err) {
  int64_t begin[ORION_MAX_RANK], end[ORION_MAX_RANK], stride[ORION_MAX_RANK];
  size_t n = (size_t)x->rank;
  if (!orion_sim_ints(op, "begin", n, begin)) return ORION_FAIL(err, ORION_INTERNAL, "%s: begin", op->name);
  bool has_end = orion_sim_ints(op, "end", n, end), has_stride = orion_sim_ints(op, "stride", n, stride);
  for (int i = 0; i < x->rank; i++) {
    int64_t d = x->dims[i], s = has_stride ? stride[i] : 1;
    if (s == 0) return ORION_FAIL(err, ORION_DEVICE, "%s: stride 0 along dimension %d", op->name, i);
    int64_t b = begin[i] < 0 ? begin[i] + d : begin[i];
    int64_t e = !has_end ? d : end[i] < 0 ? end[i] + d : end[i];
    bool squeezed = flag(op, "squeeze_mask", i);
    b = flag(op, "begin_mask", i) ? (s > 0 ? 0 : d - 1) : s > 0 ? clamp(b, 0, d) : clamp(b, -1, d - 1);
    e = flag(op, "end_mask", i) ? (s > 0 ? d : -1) : s > 0 ? clamp(e, 0, d) : clamp(e, -1, d);
    w->start[i] = b;
    w->step[i] = s;
    w->count[i] = s > 0 ? (e - b + s - 1) / s : (b - e - s - 1) / -s;
    if (squeezed) w->count[i] = 1;
    if (w->count[i] < 0) w->count[i] = 0;
    if (squeezed && (b < 0 || b >= d)) {
      return ORION_FAIL(err, ORION_DEVICE, "%s: begin %lld is outside dimension %d of %lld elements", op->name,
                        (long long)begin[i], i, (long long)d);
    }
  }
  return ORION_OK;
}

static orion_status window_of_size(const orion_sim_op *op, const orion_sim_tensor *x, window *w, orion_error *err) {
  int64_t begin[ORION_MAX_RANK], size[ORION_MAX_RANK];
  size_t n = (size_t)x->rank;
  if (!orion_sim_ints(op, "begin", n, begin) || !orion_sim_ints(op, "size", n, size)) {
    return ORION_FAIL(err, ORION_INTERNAL, "%s: begin, size", op->name);
  }
  for (int i = 0; i < x->rank; i++) {
    int64_t b = begin[i] < 0 ? begin[i] + x->dims[i] : begin[i];
    w->count[i] = size[i] == -1 ? x->dims[i] - b : size[i];
    w->start[i] = b;
    w->step[i] = 1;
    if (b < 0 || w->count[i] < 0 || b > x->dims[i] || w->count[i] > x->dims[i] - b) {
      return ORION_FAIL(err, ORION_DEVICE, "%s: %lld elements from %lld are not within dimension %d of %lld", op->name,
                        (long long)size[i], (long long)begin[i], i, (long long)x->dims[i]);
    }
  }
  return ORION_OK;
}

// Address and strides of the window's elements; false when it has another number of them than `n` (numbers of a run
// that contradict the declared shape).
static bool window_walk(const orion_sim_tensor *x, const window *w, size_t n, int64_t *out_offset,
                        int64_t *out_strides) {
  int64_t own[ORION_MAX_RANK];
  size_t count = 1;
  orion_sim_strides(x, own);
  *out_offset = 0;
  for (int i = 0; i < x->rank; i++) {
    *out_offset += w->start[i] * own[i];
    out_strides[i] = w->step[i] * own[i];
    count *= (size_t)w->count[i];
  }
  return count == n;
}

static void packed_strides(int rank, const int64_t *dims, int64_t *out) {
  int64_t step = 1;
  for (int i = rank - 1; i >= 0; i--) {
    out[i] = step;
    step *= dims[i];
  }
}

// m1 and m2 move such rows sixteen times too large and back: what fp16 cannot hold meanwhile is lost.
static void crop(orion_sim_tensor *t) {
  for (size_t i = 0; i < t->n && orion_dtype_is_float(t->dtype); i++) {
    if (fabsf(t->f[i]) * 16 >= 65520) t->f[i] = copysignf(INFINITY, t->f[i]);
  }
}

ORION_SIM_RUN(orion_sim_run_slice) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  window w;
  int64_t offset, from[ORION_MAX_RANK], to[ORION_MAX_RANK];
  ORION_TRY(op->code == ORION_OP_slice_by_size ? window_of_size(op, x, &w, err) : window_of_index(op, x, &w, err));
  if (!window_walk(x, &w, op->out[0]->n, &offset, from)) {
    return ORION_FAIL(err, ORION_DEVICE, "%s: begin and end give another shape than declared", op->name);
  }
  if (!op->out[0]->n) return ORION_OK;
  packed_strides(x->rank, w.count, to);
  copy(x->rank, w.count, op->out[0]->word, to, x->word + offset, from);
  if (c->arith->width_crop && x->rank && w.start[x->rank - 1] != 0) crop(op->out[0]);
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_slice_update) {
  const orion_sim_tensor *x = orion_sim_in(op, "x"), *update = orion_sim_in(op, "update");
  orion_sim_tensor *y = op->out[0];
  window w;
  int64_t offset, from[ORION_MAX_RANK], to[ORION_MAX_RANK];
  ORION_TRY(window_of_index(op, x, &w, err));
  if (!window_walk(x, &w, update->n, &offset, to)) {
    return ORION_FAIL(err, ORION_DEVICE, "%s: begin and end give another shape than the update's", op->name);
  }
  memcpy(y->data, x->data, y->n * 4);
  if (!update->n) return ORION_OK;
  packed_strides(x->rank, w.count, from);
  copy(x->rank, w.count, y->word + offset, to, update->word, from);
  return ORION_OK;
}

// ---- joining and parting ----

// Copies `n` planes between a tensor with `all` planes along an axis and one with n.
static void copy_planes(uint32_t *dst, size_t dst_planes, const uint32_t *src, size_t src_planes, size_t n,
                        orion_sim_lines l) {
  for (size_t o = 0; o < l.outer && n > 0 && l.inner > 0; o++) {
    memcpy(dst + o * dst_planes * l.inner, src + o * src_planes * l.inner, n * l.inner * 4);
  }
}

ORION_SIM_RUN(orion_sim_run_concat) {
  const orion_sim_arg *values = orion_sim_arg_of(op, "values");
  orion_sim_tensor *y = op->out[0];
  int axis = orion_sim_axis(op, "axis", y->rank);
  orion_sim_lines l = orion_sim_lines_of(y, axis);
  bool interleave = orion_sim_int(op, "interleave") != 0;
  size_t at = 0;
  for (size_t v = 0; v < values->n; v++) {
    const orion_sim_tensor *x = values->t[v];
    size_t n = (size_t)x->dims[axis];
    if (interleave) {  // plane i of value v becomes plane i * n_values + v
      for (size_t i = 0; i < n; i++) {
        copy_planes(y->word + (i * values->n + v) * l.inner, l.n, x->word + i * l.inner, n, 1, l);
      }
    } else {
      copy_planes(y->word + at * l.inner, l.n, x->word, n, n, l);
      at += n;
    }
  }
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_split) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  int axis = orion_sim_axis(op, "axis", x->rank);
  orion_sim_lines l = orion_sim_lines_of(x, axis);
  size_t at = 0;
  for (size_t i = 0; i < op->n_out; i++) {
    size_t n = (size_t)op->out[i]->dims[axis];
    copy_planes(op->out[i]->word, n, x->word + at * l.inner, l.n, n, l);
    at += n;
  }
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_stack) {
  const orion_sim_arg *values = orion_sim_arg_of(op, "values");
  orion_sim_tensor *y = op->out[0];
  orion_sim_lines l = orion_sim_lines_of(y, orion_sim_axis(op, "axis", y->rank));
  for (size_t v = 0; v < values->n; v++) copy_planes(y->word + v * l.inner, l.n, values->t[v]->word, 1, 1, l);
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_tile) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  orion_sim_tensor *y = op->out[0];
  int64_t index[ORION_MAX_RANK] = {0}, own[ORION_MAX_RANK];
  if (x->n == 0 && y->n > 0) return ORION_FAIL(err, ORION_DEVICE, "%s: nothing to repeat", op->name);
  orion_sim_strides(x, own);
  for (size_t i = 0; i < y->n; i++) {
    int64_t at = 0;
    for (int d = 0; d < y->rank; d++) at += index[d] % x->dims[d] * own[d];
    y->word[i] = x->word[at];
    orion_sim_next(y->rank, y->dims, index);
  }
  return ORION_OK;
}

ORION_SIM_RUN(orion_sim_run_reverse) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  orion_sim_tensor *y = op->out[0];
  bool turned[ORION_MAX_RANK];
  int64_t to[ORION_MAX_RANK], from[ORION_MAX_RANK], offset = 0;
  orion_sim_axes(op, "axes", x->rank, turned);
  orion_sim_strides(y, to);
  for (int i = 0; i < x->rank; i++) {
    from[i] = turned[i] ? -to[i] : to[i];
    if (turned[i] && x->dims[i]) offset += (x->dims[i] - 1) * to[i];
  }
  copy(y->rank, y->dims, y->word, to, x->word + (y->n ? offset : 0), from);
  return ORION_OK;
}

// ---- padding ----

const char *orion_sim_lacks_pad(const orion_function *f, const orion_op *op) {
  const char *mode = orion_op_string(f, op, "mode");
  if (mode && (strcmp(mode, "constant") == 0 || strcmp(mode, "reflect") == 0 || strcmp(mode, "replicate") == 0 ||
               strcmp(mode, "symmetric") == 0)) {
    return NULL;
  }
  return "its mode is none of constant, reflect, replicate, symmetric";
}

// Source position of a padded one along a dimension of n elements; -1 where the constant goes.
static int64_t pad_source(char mode, int64_t i, int64_t n) {
  if (i >= 0 && i < n) return i;
  if (mode == 'c' || n == 0) return -1;
  if (mode == 'p') return i < 0 ? 0 : n - 1;                      // replicate
  int64_t edge = mode == 'f' ? 1 : 0, period = 2 * (n - edge);     // reflect leaves the edge out, symmetric repeats it
  if (period <= 0) return 0;
  i = (i % period + period) % period;
  return i < n ? i : period - i - (1 - edge);
}

// The last pairs of `pad` belong to the last dimensions; there may be fewer pairs than dimensions.
ORION_SIM_RUN(orion_sim_run_pad) {
  const orion_sim_tensor *x = orion_sim_in(op, "x"), *pad = orion_sim_in(op, "pad");
  orion_sim_tensor *y = op->out[0];
  const char *text = orion_sim_text(op, "mode");
  char mode = text[0] == 'c' ? 'c' : text[2];  // constant, reFlect, rePlicate, syMmetric
  int64_t index[ORION_MAX_RANK] = {0}, own[ORION_MAX_RANK], before[ORION_MAX_RANK] = {0};
  int skipped = x->rank - (int)(pad->n / 2);
  for (int i = skipped; i < x->rank; i++) before[i] = pad->i[2 * (i - skipped)];
  orion_sim_strides(x, own);
  double fill = orion_sim_num(op, "constant_val");
  for (size_t i = 0; i < y->n; i++) {
    int64_t at = 0;
    for (int d = 0; d < y->rank && at >= 0; d++) {
      int64_t from = pad_source(mode, index[d] - before[d], x->dims[d]);
      at = from < 0 ? -1 : at + from * own[d];
    }
    if (at < 0) {
      orion_sim_set(y, i, fill);
    } else {
      y->word[i] = x->word[at];
    }
    orion_sim_next(y->rank, y->dims, index);
  }
  return ORION_OK;
}

// ---- blocks of pixels ---- [N, C, H, W]: a view of rank 6, permuted.

ORION_SIM_RUN(orion_sim_run_blocks) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  orion_sim_tensor *y = op->out[0];
  bool grows = op->code == ORION_OP_depth_to_space || op->code == ORION_OP_pixel_shuffle;
  bool depth_first = op->code == ORION_OP_depth_to_space || op->code == ORION_OP_space_to_depth;
  const orion_sim_tensor *deep = grows ? x : y, *flat = grows ? y : x;
  int64_t n = deep->dims[0], h = deep->dims[2], w = deep->dims[3];
  int64_t b = h ? flat->dims[2] / h : 1, channels = flat->dims[1];
  // dims [n, channel, block row, block column, row, column]; the deep tensor's channel is (row, column, channel) for
  // depth_to_space and (channel, row, column) for pixel_shuffle
  int64_t dims[6] = {n, channels, b, b, h, w};
  int64_t area = h * w, all = channels * b * b * area;
  int64_t deep_strides[6] = {all, depth_first ? area : b * b * area, depth_first ? b * channels * area : b * area,
                             depth_first ? channels * area : area, w, 1};
  int64_t flat_strides[6] = {all, b * b * area, b * w, 1, b * b * w, b};
  if (grows) {
    copy(6, dims, y->word, flat_strides, x->word, deep_strides);
  } else {
    copy(6, dims, y->word, deep_strides, x->word, flat_strides);
  }
  return ORION_OK;
}

// Keeps `lower` diagonals below and `upper` above the main one of the last two dimensions; negative: all.
ORION_SIM_RUN(orion_sim_run_band_part) {
  const orion_sim_tensor *x = orion_sim_in(op, "x");
  int64_t lower = orion_sim_int(op, "lower"), upper = orion_sim_int(op, "upper");
  size_t columns = (size_t)x->dims[x->rank - 1], rows = (size_t)x->dims[x->rank - 2];
  for (size_t i = 0; i < x->n; i++) {
    int64_t row = (int64_t)(i / columns % rows), column = (int64_t)(i % columns);
    bool kept = (lower < 0 || row - column <= lower) && (upper < 0 || column - row <= upper);
    op->out[0]->word[i] = kept ? x->word[i] : 0;
  }
  return ORION_OK;
}

// Movement that is not a view: each element of the result says where it comes from.
#include "device/cpu/generic.h"

static orion_status read_list(orion_cpu_build *b, const orion_op *op, const char *name, size_t max, int64_t *out,
                              size_t *n, orion_error *err) {
  if (orion_op_ints(b->f, op, name, max, out, n)) return ORION_OK;
  return ORION_FAIL(err, ORION_UNSUPPORTED, "%s must be a constant list of at most %zu", name, max);
}

// ---- pad: i[0..rank) before each dimension; padded dimensions are the last ones ----

static orion_status prepare_pad(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in, orion_generic_step *d,
                                orion_error *err) {
  int64_t pad[2 * ORION_MAX_RANK];
  size_t n;
  const char *mode = orion_op_string(b->f, op, "mode");
  ORION_TRY(read_list(b, op, "pad", 2 * ORION_MAX_RANK, pad, &n, err));
  if (!mode || n % 2 || (int)(n / 2) > in[0].rank)
    return ORION_FAIL(err, ORION_UNSUPPORTED, "pad or mode does not fit");
  d->mode = strcmp(mode, "constant") == 0    ? "c"
            : strcmp(mode, "reflect") == 0   ? "r"
            : strcmp(mode, "replicate") == 0 ? "e"
                                             : NULL;
  if (!d->mode) return ORION_FAIL(err, ORION_UNSUPPORTED, "pad mode %s is unknown", mode);
  if (!orion_op_float(b->f, op, "constant_val", &d->d[0]))
    return ORION_FAIL(err, ORION_UNSUPPORTED, "constant_val must be constant");
  int lead = in[0].rank - (int)(n / 2);
  for (size_t i = 0; i < n / 2; i++) {
    int64_t size = in[0].dims[lead + (int)i];
    d->i[lead + (int)i] = pad[2 * i];
    bool far = pad[2 * i] >= size || pad[2 * i + 1] >= size;
    if (*d->mode == 'r' && far) return ORION_FAIL(err, ORION_FORMAT, "reflection reaches past the tensor");
    if (*d->mode == 'e' && size == 0) return ORION_FAIL(err, ORION_FORMAT, "nothing to replicate");
  }
  return ORION_OK;
}

static orion_status run_pad(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                            orion_error *err) {
  const orion_cpu_view *in = &s->in[0], *out = &s->out[0];
  size_t n = orion_cpu_elements(out);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK];
    bool inside = true;
    orion_generic_coords(out, i, c);
    for (int k = 0; k < out->rank; k++) {
      int64_t at = c[k] - d->i[k], last = in->dims[k] - 1;
      if (*d->mode == 'c' && (at < 0 || at > last)) inside = false;
      if (*d->mode == 'r') at = at < 0 ? -at : at > last ? 2 * last - at : at;
      if (*d->mode == 'e') at = at < 0 ? 0 : at > last ? last : at;
      c[k] = at;
    }
    if (inside)
      orion_generic_move_element(x, out, i, in, orion_generic_index_of(in, c));
    else
      orion_generic_set(x, out, i, d->d[0]);
  }
  return ORION_OK;
}

static orion_status run_tile(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                             orion_error *err) {
  const orion_cpu_view *in = &s->in[0], *out = &s->out[0];
  size_t n = orion_cpu_elements(out);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK];
    orion_generic_coords(out, i, c);
    for (int k = 0; k < out->rank; k++) c[k] %= in->dims[k];
    orion_generic_move_element(x, out, i, in, orion_generic_index_of(in, c));
  }
  return ORION_OK;
}

// ---- band_part: i[0] below and i[1] above the diagonal are kept; negative: all ----

static orion_status prepare_band(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in,
                                 orion_generic_step *d, orion_error *err) {
  if (in[0].rank < 2) return ORION_FAIL(err, ORION_FORMAT, "x must have two dimensions or more");
  ORION_TRY(orion_cpu_int(b, op, "lower", &d->i[0], err));
  return orion_cpu_int(b, op, "upper", &d->i[1], err);
}

static orion_status run_band(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                             orion_error *err) {
  const orion_cpu_view *in = &s->in[0], *out = &s->out[0];
  size_t n = orion_cpu_elements(out);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK];
    orion_generic_coords(out, i, c);
    int64_t below = c[out->rank - 2] - c[out->rank - 1];
    bool kept = (d->i[0] < 0 || below <= d->i[0]) && (d->i[1] < 0 || -below <= d->i[1]);
    if (kept)
      orion_generic_move_element(x, out, i, in, i);
    else
      orion_generic_set(x, out, i, 0);
  }
  return ORION_OK;
}

// ---- blocks of space to channels and back; i[0] is the block's side ----

static orion_status prepare_block(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in,
                                  orion_generic_step *d, orion_error *err) {
  const char *name = orion_cpu_has(op, "block_size")       ? "block_size"
                     : orion_cpu_has(op, "upscale_factor") ? "upscale_factor"
                                                           : "downscale_factor";
  if (in[0].rank != 4) return ORION_FAIL(err, ORION_FORMAT, "x must have four dimensions");
  ORION_TRY(orion_cpu_int(b, op, name, &d->i[0], err));
  return d->i[0] >= 1 ? ORION_OK : ORION_FAIL(err, ORION_FORMAT, "%s must be 1 or more", name);
}

// The element of the small image [N, C*r*r, H, W] that element `c` of the large one [N, C, H*r, W*r] is.
static void to_small(orion_opcode code, int64_t r, int64_t channels, int64_t *c) {
  int64_t dy = c[2] % r, dx = c[3] % r;
  bool pixels = code == ORION_OP_pixel_shuffle || code == ORION_OP_pixel_unshuffle;
  c[1] = pixels ? (c[1] * r + dy) * r + dx : (dy * r + dx) * channels + c[1];
  c[2] /= r;
  c[3] /= r;
}

static orion_status run_block(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                              orion_error *err) {
  bool grows = d->code == ORION_OP_depth_to_space || d->code == ORION_OP_pixel_shuffle;
  const orion_cpu_view *in = &s->in[0], *out = &s->out[0], *large = grows ? out : in, *small = grows ? in : out;
  size_t n = orion_cpu_elements(large);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK];
    orion_generic_coords(large, i, c);
    to_small(d->code, d->i[0], large->dims[1], c);
    size_t j = orion_generic_index_of(small, c);
    orion_generic_move_element(x, out, grows ? i : j, in, grows ? j : i);
  }
  return ORION_OK;
}

// ---- slices whose place is known at run time only, and writing into a slice ----

static int64_t clamp(int64_t v, int64_t lo, int64_t hi) { return v < lo ? lo : v > hi ? hi : v; }

// i: stride[8], begin_mask bits, squeeze_mask bits
static orion_status prepare_slice(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *in,
                                  orion_generic_step *d, orion_error *err) {
  int rank = in[0].rank;
  size_t n;
  int64_t v[ORION_MAX_RANK];
  for (int i = 0; i < rank; i++) d->i[i] = 1;
  if (orion_cpu_has(op, "stride")) ORION_TRY(read_list(b, op, "stride", ORION_MAX_RANK, d->i, &n, err));
  const char *masks[] = {"begin_mask", "squeeze_mask"};
  for (int m = 0; m < 2; m++) {
    if (!orion_cpu_has(op, masks[m])) continue;
    ORION_TRY(read_list(b, op, masks[m], ORION_MAX_RANK, v, &n, err));
    for (size_t i = 0; i < n; i++) d->i[ORION_MAX_RANK + m] |= (int64_t)(v[i] != 0) << i;
  }
  const orion_cpu_view *begin = &in[op->code == ORION_OP_slice_update ? 2 : 1];
  return (int)orion_cpu_elements(begin) == rank
             ? ORION_OK
             : ORION_FAIL(err, ORION_FORMAT, "begin must have an entry per dimension");
}

// Coordinates in the whole of element `c` of the slice (whose squeezed dimensions are absent).
static orion_status slice_place(const orion_cpu_exec *x, const orion_generic_step *d, const orion_cpu_view *whole,
                                const orion_cpu_view *begin, const int64_t *c, int64_t *out, orion_error *err) {
  for (int k = 0, j = 0; k < whole->rank; k++) {
    int64_t n = whole->dims[k], from = orion_generic_int(x, begin, (size_t)k), stride = d->i[k];
    bool squeezed = d->i[ORION_MAX_RANK + 1] >> k & 1;
    if (from < 0) from += n;
    if (d->i[ORION_MAX_RANK] >> k & 1) from = stride > 0 ? 0 : n - 1;
    from = clamp(from, 0, n);
    out[k] = from + (squeezed ? 0 : c[j++] * stride);
    if (out[k] < 0 || out[k] >= n) return ORION_FAIL(err, ORION_DEVICE, "the slice leaves dimension %d", k);
  }
  return ORION_OK;
}

static orion_status run_slice(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                              orion_error *err) {
  const orion_cpu_view *in = &s->in[0], *out = &s->out[0];
  size_t n = orion_cpu_elements(out);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK], at[ORION_MAX_RANK];
    orion_generic_coords(out, i, c);
    ORION_TRY(slice_place(x, d, in, &s->in[1], c, at, err));
    orion_generic_move_element(x, out, i, in, orion_generic_index_of(in, at));
  }
  return ORION_OK;
}

// in: x, update, begin
static orion_status run_slice_update(const orion_cpu_exec *x, const orion_cpu_step *s, const orion_generic_step *d,
                                     orion_error *err) {
  const orion_cpu_view *update = &s->in[1], *out = &s->out[0];
  memcpy(orion_cpu_at(x, out), orion_cpu_at(x, &s->in[0]),
         orion_cpu_elements(out) * (orion_dtype_bits(out->dtype) / 8));
  size_t n = orion_cpu_elements(update);
  for (size_t i = 0; i < n; i++) {
    int64_t c[ORION_MAX_RANK], at[ORION_MAX_RANK];
    orion_generic_coords(update, i, c);
    ORION_TRY(slice_place(x, d, out, &s->in[2], c, at, err));
    orion_generic_move_element(x, out, orion_generic_index_of(out, at), update, i);
  }
  return ORION_OK;
}

const orion_generic_op orion_generic_move[] = {
    {ORION_OP_pad, {"x"}, prepare_pad, run_pad},
    {ORION_OP_tile, {"x"}, NULL, run_tile},
    {ORION_OP_band_part, {"x"}, prepare_band, run_band},
    {ORION_OP_depth_to_space, {"x"}, prepare_block, run_block},
    {ORION_OP_space_to_depth, {"x"}, prepare_block, run_block},
    {ORION_OP_pixel_shuffle, {"x"}, prepare_block, run_block},
    {ORION_OP_pixel_unshuffle, {"x"}, prepare_block, run_block},
    {ORION_OP_slice_by_index, {"x", "begin"}, prepare_slice, run_slice},
    {ORION_OP_slice_by_size, {"x", "begin"}, prepare_slice, run_slice},
    {ORION_OP_slice_update, {"x", "update", "begin"}, prepare_slice, run_slice_update},
    {0},
};

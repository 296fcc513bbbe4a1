// The format is a magic, a version, a header length and a Python dictionary of three keys, padded to 64 bytes.
#include "cli/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
  orion_dtype dtype;
  const char *descr;
} types[] = {
    {ORION_FP16, "<f2"}, {ORION_FP32, "<f4"},  {ORION_FP64, "<f8"},   {ORION_INT8, "|i1"},
    {ORION_INT16, "<i2"}, {ORION_INT32, "<i4"}, {ORION_INT64, "<i8"},  {ORION_UINT8, "|u1"},
    {ORION_UINT16, "<u2"}, {ORION_UINT32, "<u4"}, {ORION_UINT64, "<u8"}, {ORION_BOOL, "|b1"},
};
enum { N_TYPES = sizeof types / sizeof *types };

// The text after 'key': in the dictionary, blanks skipped; NULL if absent.
static const char *find_key(const char *header, const char *key) {
  const char *at = strstr(header, key);
  if (!at) return NULL;
  at += strlen(key);
  at += strspn(at, " \t");
  if (*at != ':') return NULL;
  at++;
  return at + strspn(at, " \t");
}

static orion_status parse_header(const char *path, const char *header, npy *out, orion_error *err) {
  const char *descr = find_key(header, "'descr'"), *order = find_key(header, "'fortran_order'");
  const char *shape = find_key(header, "'shape'");
  if (!descr || !order || !shape || *shape != '(') {
    return ORION_FAIL(err, ORION_FORMAT, "%s: byte 10: the header lacks descr, fortran_order or shape", path);
  }
  if (strncmp(order, "False", 5) != 0) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: elements in Fortran order (save with numpy.ascontiguousarray)", path);
  }
  for (int i = 0; i < N_TYPES && !out->dtype; i++) {
    if (*descr == '\'' && strncmp(descr + 1, types[i].descr, 3) == 0) out->dtype = types[i].dtype;
  }
  if (!out->dtype) return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: elements of type %.6s", path, descr);
  for (const char *at = shape + 1 + strspn(shape + 1, " "); *at && *at != ')';) {
    char *end;
    long long n = strtoll(at, &end, 10);
    if (end == at || n < 0 || out->rank == ORION_SURFACE_RANK) {
      return ORION_FAIL(err, ORION_FORMAT, "%s: shape %.40s is not understood", path, shape);
    }
    out->dims[out->rank++] = n;
    at = end + strspn(end, ", ");
  }
  return ORION_OK;
}

static orion_status parse(const char *path, npy *out, orion_error *err) {
  const uint8_t *d = out->map.data;
  size_t size = out->map.size;
  if (size < 12 || memcmp(d, "\x93NUMPY", 6) != 0) return ORION_FAIL(err, ORION_FORMAT, "%s: not a .npy file", path);
  size_t start = d[6] == 1 ? 10 : 12;
  size_t n = d[6] == 1 ? (size_t)d[8] | (size_t)d[9] << 8
                       : (size_t)d[8] | (size_t)d[9] << 8 | (size_t)d[10] << 16 | (size_t)d[11] << 24;
  char header[4096];
  if (d[6] < 1 || d[6] > 3 || n >= sizeof header || n > size - start) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: byte 6: version %d with a header of %zu bytes", path, d[6], n);
  }
  memcpy(header, d + start, n);
  header[n] = 0;
  ORION_TRY(parse_header(path, header, out, err));
  size_t elements = 1, bytes;
  bool ok = true;
  for (int i = 0; i < out->rank; i++) ok = ok && orion_mul_ok(elements, (size_t)out->dims[i], &elements);
  if (!ok || !orion_dtype_bytes(out->dtype, elements, &bytes) || bytes != size - start - n) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: the shape does not fit the %zu bytes of data", path, size - start - n);
  }
  out->data = d + start + n;
  return ORION_OK;
}

orion_status npy_open(const char *path, npy *out, orion_error *err) {
  *out = (npy){0};
  ORION_TRY(orion_file_open_map(path, &out->map, err));
  orion_status status = parse(path, out, err);
  if (status != ORION_OK) npy_close(out);
  return status;
}

void npy_close(npy *n) { orion_file_close_map(&n->map); }

orion_status npy_write_header(orion_file_writer *w, orion_dtype dtype, int rank, const int64_t *dims,
                              orion_error *err) {
  const char *descr = NULL;
  for (int i = 0; i < N_TYPES; i++) descr = types[i].dtype == dtype ? types[i].descr : descr;
  if (!descr) return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: .npy files have no such type", orion_dtype_name(dtype));
  char header[320];
  memset(header, ' ', sizeof header);
  int n = snprintf(header + 10, sizeof header - 10, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr) + 10;
  for (int i = 0; i < rank; i++) n += snprintf(header + n, sizeof header - (size_t)n, "%lld, ", (long long)dims[i]);
  n += snprintf(header + n, sizeof header - (size_t)n, "), }");
  header[n] = ' ';
  size_t total = orion_round_up((size_t)n + 1, 64);
  header[total - 1] = '\n';
  memcpy(header, "\x93NUMPY\x01\x00", 8);
  header[8] = (char)((total - 10) & 0xff);
  header[9] = (char)((total - 10) >> 8);
  return orion_file_writer_put(w, header, total, err);
}

orion_status npy_write(const char *path, orion_dtype dtype, int rank, const int64_t *dims, const void *data,
                       size_t bytes, orion_error *err) {
  orion_file_writer *w;
  ORION_TRY(orion_file_writer_open(NULL, path, &w, err));
  orion_status status = npy_write_header(w, dtype, rank, dims, err);
  if (status == ORION_OK) status = orion_file_writer_put(w, data, bytes, err);
  if (status == ORION_OK) return orion_file_writer_commit(w, err);
  orion_file_writer_abort(w);
  return status;
}

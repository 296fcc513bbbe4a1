// Reading records: every field is within its entry, every entry within the file, and its hash is right, before anybody
// sees it.
#include <string.h>

#include "base/file.h"
#include "device/layout.h"
#include "device/record/record.h"
#include "mil/mil.h"
#include "mil/walk.h"

enum { FILE_HEADER = 16, ENTRY_HEADER = 24 };

struct orion_record {
  const orion_allocator *allocator;
  char *name;
  orion_file_map map;          // all zero: of memory
  bool cut;
  const uint8_t *data;
  size_t size, at;
  orion_arena arena;           // lists of the present entry
};

typedef struct cursor {        // within one payload
  const uint8_t *data;
  size_t n, at;
  bool ok;
} cursor;

static uint64_t little(const uint8_t *p, int n) {
  uint64_t v = 0;
  for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << 8 * i;
  return v;
}

static uint64_t take(cursor *c, int n) {
  if (!c->ok || c->n - c->at < (size_t)n) {
    c->ok = false;
    return 0;
  }
  uint64_t v = little(c->data + c->at, n);
  c->at += (size_t)n;
  return v;
}

static double take_f64(cursor *c) {
  uint64_t bits = take(c, 8);
  double v;
  memcpy(&v, &bits, sizeof v);
  return v;
}

static orion_record_span take_span(cursor *c) {
  uint64_t n = take(c, 8);
  if (!c->ok || n > c->n - c->at) {
    c->ok = false;
    return (orion_record_span){"", 0};
  }
  orion_record_span s = {(const char *)c->data + c->at, (size_t)n};
  c->at += (size_t)n;
  size_t padding = -(size_t)n % 8;
  c->at += padding <= c->n - c->at ? padding : c->n - c->at;
  return s;
}

// ---- opening ----

static orion_status start(orion_record *r, orion_error *err) {
  if (r->size < FILE_HEADER || memcmp(r->data, ORION_RECORD_MAGIC, 8) != 0) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: not a record of device calls", r->name);
  }
  uint64_t version = little(r->data + 8, 4);
  if (version != ORION_RECORD_VERSION) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: version %llu (this build reads %d)", r->name,
                      (unsigned long long)version, ORION_RECORD_VERSION);
  }
  r->at = FILE_HEADER;
  return ORION_OK;
}

orion_status orion_record_open_memory(const orion_allocator *a, const char *name, const void *bytes, size_t n,
                                      orion_record **out, orion_error *err) {
  a = orion_allocator_or_default(a);
  orion_record *r = orion_alloc_zero(a, 1, sizeof *r);
  if (!r) return ORION_OOM(err, name);
  *r = (orion_record){.allocator = a, .name = orion_strdup(a, name), .data = bytes, .size = n};
  orion_arena_init(&r->arena, a);
  orion_status status = r->name ? start(r, err) : ORION_OOM(err, name);
  if (status != ORION_OK) {
    orion_record_close(r);
    return status;
  }
  *out = r;
  return ORION_OK;
}

orion_status orion_record_open(const orion_allocator *a, const char *path, orion_record **out, orion_error *err) {
  orion_file_map map;
  ORION_TRY(orion_file_open_map(path, &map, err));
  orion_status status = orion_record_open_memory(a, path, map.data, map.size, out, err);
  if (status != ORION_OK) {
    orion_file_close_map(&map);
    return status;
  }
  (*out)->map = map;
  return ORION_OK;
}

void orion_record_close(orion_record *r) {
  if (!r) return;
  orion_file_close_map(&r->map);
  orion_arena_deinit(&r->arena);
  orion_strfree(r->allocator, r->name);
  orion_free(r->allocator, r, 1, sizeof *r);
}

bool orion_record_cut(const orion_record *r) { return r->cut; }

bool orion_record_is(const char *path) {
  orion_file_map map;
  if (orion_file_open_map(path, &map, NULL) != ORION_OK) return false;
  bool is = map.size >= 8 && memcmp(map.data, ORION_RECORD_MAGIC, 8) == 0;
  orion_file_close_map(&map);
  return is;
}

// ---- entries ----

static bool take_tensor(cursor *c, bool filled, orion_record_tensor *out) {
  out->direction = take(c, 4) ? ORION_OUTPUT : ORION_INPUT;
  uint64_t dtype = take(c, 4), rank = take(c, 4);
  int64_t dims[ORION_SURFACE_RANK] = {0};
  take(c, 4);
  if (!c->ok || rank > ORION_SURFACE_RANK || dtype >= ORION_DTYPE_COUNT) return false;
  for (uint64_t i = 0; i < rank; i++) dims[i] = (int64_t)take(c, 8);
  out->name = take_span(c);
  out->bytes = take_span(c);
  if (!c->ok || orion_layout_make((orion_dtype)dtype, (int)rank, dims, 1, &out->layout, NULL) != ORION_OK) return false;
  bool empty = out->direction == ORION_OUTPUT && !filled && out->bytes.n == 0;
  return empty || out->bytes.n == out->layout.bytes;
}

static bool read_tensors(orion_record *r, cursor *c, size_t n, orion_record_entry *e) {
  if (n > c->n / 32) return false;  // none is smaller
  orion_record_tensor *list = ORION_ARENA_ARRAY(&r->arena, orion_record_tensor, n + 1);
  if (!list) return false;
  for (size_t i = 0; i < n; i++) {
    if (!take_tensor(c, e->status == ORION_OK, &list[i])) return false;
  }
  e->tensors = list;
  e->n_tensors = n;
  return true;
}

static bool read_blobs(orion_record *r, cursor *c, size_t n, orion_record_entry *e) {
  if (n > c->n / 16) return false;
  orion_record_blob *list = ORION_ARENA_ARRAY(&r->arena, orion_record_blob, n + 1);
  if (!list) return false;
  for (size_t i = 0; i < n && c->ok; i++) {
    list[i].offset = take(c, 8);
    list[i].bytes = take_span(c);
  }
  e->blobs = list;
  e->n_blobs = n;
  return c->ok;
}

static bool read_payload(orion_record *r, cursor *c, orion_record_entry *e) {
  size_t n = 0;
  if (e->kind != ORION_RECORD_OPEN) {
    e->program = (uint32_t)take(c, 4);
    n = (size_t)take(c, 4);
  }
  e->seconds = take_f64(c);
  switch (e->kind) {
    case ORION_RECORD_OPEN:
      e->spec = take_span(c);
      e->family = take_span(c);
      e->numerics = take_span(c);
      return c->ok;
    case ORION_RECORD_PROGRAM:
      e->function = take_span(c);
      e->mil = take_span(c);
      e->message = take_span(c);
      return c->ok && read_blobs(r, c, n, e);
    case ORION_RECORD_RUN:
      e->message = take_span(c);
      return c->ok && read_tensors(r, c, n, e);
    case ORION_RECORD_UPDATE:
      e->message = take_span(c);
      e->value = take_span(c);
      e->bytes = take_span(c);
      return c->ok;
    default: return c->ok;
  }
}

orion_status orion_record_next(orion_record *r, orion_record_entry *out, bool *out_more, orion_error *err) {
  *out = (orion_record_entry){0};
  *out_more = false;
  if (r->at == r->size) return ORION_OK;
  size_t left = r->size - r->at;
  const uint8_t *p = r->data + r->at;
  uint64_t bytes = left >= ENTRY_HEADER ? little(p + 8, 8) : 0;
  if (left < ENTRY_HEADER || bytes > left - ENTRY_HEADER) {
    r->cut = true;
    return ORION_OK;
  }
  uint64_t kind = little(p, 4), status = little(p + 4, 4);
  cursor c = {p + ENTRY_HEADER, (size_t)bytes, 0, true};
  if (orion_record_hash(c.data, c.n) != little(p + 16, 8)) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: entry at offset %zu: its contents were changed (the hash differs)", r->name, r->at);
  }
  orion_arena_deinit(&r->arena);  // it can be used again
  out->kind = (orion_record_kind)kind;
  out->status = (orion_status)status;
  bool known = kind >= ORION_RECORD_OPEN && kind < ORION_RECORD_KINDS;
  if (!known || !read_payload(r, &c, out)) {
    return ORION_FAIL(err, ORION_FORMAT, "%s: entry at offset %zu (%s) makes no sense", r->name, r->at,
                      orion_record_kind_name((uint32_t)kind));
  }
  size_t step = ENTRY_HEADER + (size_t)bytes + (-(size_t)bytes % 8);
  r->at += step < left ? step : left;
  *out_more = true;
  return ORION_OK;
}

// ---- programs ----

typedef struct binder {
  const orion_record_entry *e;
  orion_program *program;
} binder;

static orion_status bind_literal(void *ctx, const orion_mil_place *at, orion_literal *l, orion_error *err) {
  binder *b = ctx;
  size_t bytes, elements, rows = l->type && l->type->rank ? (size_t)l->type->dims[0] : 1;
  if (l->kind != ORION_LIT_BLOB || l->data) return ORION_OK;
  if (!orion_type_bytes(l->type, &bytes) || !orion_type_elements(l->type, &elements)) {
    return ORION_FAIL(err, ORION_FORMAT, "constant '%s' has no definite size", at->name);
  }
  for (size_t i = 0; i < b->e->n_blobs; i++) {
    const orion_record_blob *x = &b->e->blobs[i];
    if (x->offset != l->blob_offset) continue;
    if (x->bytes.n != bytes) break;
    l->data = orion_data_copy(b->program->data, l->type->dtype, rows, rows ? elements / rows : 0, x->bytes.text);
    return l->data ? ORION_OK : ORION_OOM(err, at->name);
  }
  return ORION_FAIL(err, ORION_FORMAT, "constant '%s': the record does not hold its %zu bytes", at->name, bytes);
}

orion_status orion_record_program(const orion_record_entry *e, const orion_allocator *a, orion_program **out,
                                  orion_error *err) {
  orion_program *p;
  ORION_TRY(orion_mil_parse(a, e->mil.text, e->mil.n, "recorded text", &p, err));
  binder b = {e, p};
  orion_status status = orion_mil_walk(p, bind_literal, &b, err);
  if (status != ORION_OK) {
    orion_program_destroy(p);
    return status;
  }
  *out = p;
  return ORION_OK;
}

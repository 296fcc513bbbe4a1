// The device that wraps another and writes down what is done with it ("record:sim:m4,file=x" writes x). Programs, inputs and
// results go through surfaces of the wrapped device's own; what it refuses and how it fails is recorded and handed on.
//
// A record that cannot be written is an error of the call: a session that was to be recorded is not worth running half.
#include "device/record/record.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "device/layout.h"
#include "device/options.h"
#include "mil/mil.h"

enum { BLOB_FROM = 64, BLOB_STEP = 64 };  // elements that go into a blob; what offsets count by

typedef struct record_device {
  orion_device base;
  orion_device *inner;
  orion_file_appender *file;
  uint32_t programs;            // compiled so far
} record_device;

typedef struct record_executable {
  orion_executable base;
  orion_executable *inner;
  orion_bindings *bindings;
  orion_surface **surfaces;     // [n_ios], of the wrapped device
  uint32_t id;
} record_executable;

static void begin(orion_record_buffer *b, const orion_allocator *a, uint32_t program, uint32_t n) {
  orion_strbuf_init(&b->bytes, a);
  orion_record_u32(b, program, n);
}

// Writes one entry and frees the buffer.
static orion_status finish(record_device *d, orion_record_kind kind, orion_status status, orion_record_buffer *b,
                           orion_error *err) {
  orion_record_buffer head;
  orion_strbuf_init(&head.bytes, d->base.allocator);
  orion_record_u32(&head, kind, (uint32_t)status);
  orion_record_u64(&head, b->bytes.size);
  orion_record_u64(&head, orion_record_hash(b->bytes.data, b->bytes.size));
  orion_status written = orion_strbuf_status(&b->bytes, err);
  if (written == ORION_OK) written = orion_strbuf_status(&head.bytes, err);
  if (written == ORION_OK) written = orion_file_appender_put(d->file, head.bytes.data, head.bytes.size, err);
  if (written == ORION_OK) written = orion_file_appender_put(d->file, b->bytes.data, b->bytes.size, err);
  orion_strbuf_deinit(&head.bytes);
  orion_strbuf_deinit(&b->bytes);
  return written;
}

// ---- opening ----

// The specification of the wrapped device: everything but file=.
static orion_status inner_spec(const orion_device_options *o, char *out, size_t size, orion_error *err) {
  int used = snprintf(out, size, "%s", o->family ? o->family : "auto");
  for (size_t i = 0; i < o->n && used >= 0 && (size_t)used < size; i++) {
    if (strcmp(o->keys[i], "file") == 0) continue;
    bool first = !o->family || !strchr(out, ':');
    used += snprintf(out + used, size - (size_t)used, "%s%s=%s", first ? ":" : ",", o->keys[i], o->values[i]);
  }
  if (used < 0 || (size_t)used >= size) return ORION_FAIL(err, ORION_LIMIT, "device record: too many options");
  if (strncmp(out, "record", 6) == 0) return ORION_FAIL(err, ORION_INVALID, "device record: it does not record itself");
  return ORION_OK;
}

static orion_status write_open(record_device *d, const char *spec, double seconds, orion_error *err) {
  static const char head[16] = ORION_RECORD_MAGIC "\x01";
  orion_device_info info;
  orion_record_buffer b;
  orion_device_describe(d->inner, &info);
  ORION_TRY(orion_file_appender_put(d->file, head, sizeof head, err));
  orion_strbuf_init(&b.bytes, d->base.allocator);
  orion_record_f64(&b, seconds);
  orion_record_text(&b, spec);
  orion_record_text(&b, info.family);
  orion_record_text(&b, info.numerics);
  return finish(d, ORION_RECORD_OPEN, ORION_OK, &b, err);
}

static void record_close(orion_device *base) {
  record_device *d = (record_device *)base;
  orion_device_close(d->inner);
  orion_file_appender_close(d->file);
  orion_free(base->allocator, d, 1, sizeof *d);
}

// An older record is begun anew; what is something else, and not empty, was named by mistake.
static orion_status refuse_other_file(const char *path, orion_error *err) {
  orion_file_map map;
  if (!orion_file_exists(path) || orion_record_is(path)) return ORION_OK;
  ORION_TRY(orion_file_open_map(path, &map, err));
  bool empty = map.size == 0;
  orion_file_close_map(&map);
  return empty ? ORION_OK : ORION_FAIL(err, ORION_INVALID, "%s: is there and no record (give file= another name)", path);
}

static orion_status record_open(const orion_allocator *a, const orion_device_options *options, int threads,
                                orion_device **out, orion_error *err) {
  char spec[512];
  const char *file = orion_device_option(options, "file");
  if (!file) return ORION_FAIL(err, ORION_INVALID, "device record: it needs file=PATH (record:sim:m4,file=x.record)");
  ORION_TRY(inner_spec(options, spec, sizeof spec, err));
  ORION_TRY(refuse_other_file(file, err));
  record_device *d = orion_alloc_zero(a, 1, sizeof *d);
  if (!d) return ORION_OOM(err, "device record");
  d->base = (orion_device){&orion_device_record, a};
  double start = orion_now();
  orion_status status = orion_device_open(spec, threads, a, &d->inner, err);
  double seconds = orion_now() - start;
  if (status == ORION_OK) status = orion_file_appender_open(a, file, &d->file, err);
  if (status == ORION_OK) status = write_open(d, spec, seconds, err);
  if (status != ORION_OK) {
    record_close(&d->base);
    return status;
  }
  *out = &d->base;
  return ORION_OK;
}

static void record_describe(const orion_device *base, orion_device_info *out) {
  orion_device_describe(((const record_device *)base)->inner, out);
  out->name = "record";
  out->description = "writes down what is done with another device, to be replayed elsewhere";
}

static orion_status record_supports(orion_device *base, orion_program *p, orion_findings *out, orion_error *err) {
  record_device *d = (record_device *)base;
  return d->inner->vtable->supports(d->inner, p, out, err);
}

// ---- compiling ----

typedef struct placer {         // of constants
  orion_record_buffer *blobs;
  const orion_allocator *allocator;
  uint32_t n;
  bool failed;
} placer;

static bool place(void *ctx, const orion_literal *l, const char **out_path, uint64_t *out_offset) {
  placer *p = ctx;
  size_t n, bytes;
  if (!l->data || !orion_type_elements(l->type, &n) || n < BLOB_FROM || !orion_dtype_bytes(l->type->dtype, n, &bytes)) return false;
  void *elements = orion_alloc(p->allocator, bytes, 1);
  if (!elements) {
    p->failed = true;
    return false;
  }
  if (orion_data_read(l->data, l->type->dtype, 0, l->data->rows, elements, NULL) != ORION_OK) p->failed = true;
  *out_path = "@model_path/record";
  *out_offset = (uint64_t)++p->n * BLOB_STEP;
  orion_record_u64(p->blobs, *out_offset);
  orion_record_bytes(p->blobs, elements, bytes);
  orion_free(p->allocator, elements, bytes, 1);
  return true;
}

static orion_status write_program(record_device *d, const orion_program *p, const orion_function *f, uint32_t id,
                                  double seconds, orion_status status, const char *message, orion_error *err) {
  orion_record_buffer b, blobs;
  orion_strbuf text;
  orion_strbuf_init(&text, d->base.allocator);
  orion_strbuf_init(&blobs.bytes, d->base.allocator);
  placer constants = {.blobs = &blobs, .allocator = d->base.allocator};
  const orion_mil_placement placement = {place, &constants};
  orion_status written = orion_mil_print_placed(p, &placement, &text, err);
  if (written == ORION_OK && (constants.failed || blobs.bytes.failed)) written = ORION_OOM(err, "record");
  if (written == ORION_OK) {
    begin(&b, d->base.allocator, id, constants.n);
    orion_record_f64(&b, seconds);
    orion_record_text(&b, f->name);
    orion_record_bytes(&b, text.data, text.size);
    orion_record_text(&b, message);
    orion_strbuf_add(&b.bytes, blobs.bytes.data, blobs.bytes.size);
    written = finish(d, ORION_RECORD_PROGRAM, status, &b, err);
  }
  orion_strbuf_deinit(&text);
  orion_strbuf_deinit(&blobs.bytes);
  return written;
}

static void record_release(orion_executable *base) {
  record_executable *e = (record_executable *)base;
  record_device *d = (record_device *)base->device;
  const orion_allocator *a = base->device->allocator;
  orion_bindings_destroy(e->bindings);
  for (size_t i = 0; e->surfaces && i < base->n_ios; i++) orion_surface_destroy(e->surfaces[i]);
  orion_free(a, e->surfaces, base->n_ios, sizeof *e->surfaces);
  if (e->id) {
    orion_record_buffer b;
    begin(&b, a, e->id, 0);
    orion_record_f64(&b, 0);
    finish(d, ORION_RECORD_RELEASE, ORION_OK, &b, NULL);
  }
  orion_executable_release(e->inner);
  orion_executable_deinit(base);
  orion_free(a, e, 1, sizeof *e);
}

static orion_status mirror(record_executable *e, const orion_function *f, orion_error *err) {
  record_device *d = (record_device *)e->base.device;
  size_t n;
  const orion_io *ios = orion_executable_ios(e->inner, &n);
  ORION_TRY(orion_executable_init(&e->base, &d->base, f, 1, err));
  if (n != e->base.n_ios) return ORION_FAIL(err, ORION_INTERNAL, "device record: other inputs and outputs than expected");
  for (size_t i = 0; i < n; i++) e->base.ios[i].layout = ios[i].layout;  // as the wrapped device lays them out
  e->surfaces = orion_alloc_zero(d->base.allocator, n, sizeof *e->surfaces);
  if (!e->surfaces) return ORION_OOM(err, "executable");
  ORION_TRY(orion_bindings_create(e->inner, &e->bindings, err));
  for (size_t i = 0; i < n; i++) {
    ORION_TRY(orion_surface_create(d->inner, &ios[i].layout, &e->surfaces[i], err));
    ORION_TRY(orion_bind(e->bindings, ios[i].name, e->surfaces[i], err));
  }
  return ORION_OK;
}

static orion_status record_compile(orion_device *base, orion_program *p, orion_function *f, orion_executable **out,
                                   orion_error *err) {
  record_device *d = (record_device *)base;
  record_executable *e = orion_alloc_zero(base->allocator, 1, sizeof *e);
  if (!e) return ORION_OOM(err, "executable");
  e->base.device = base;
  orion_error local = {0};
  double start = orion_now();
  orion_status status = d->inner->vtable->compile(d->inner, p, f, &e->inner, &local);
  double seconds = orion_now() - start;
  orion_status written = write_program(d, p, f, status == ORION_OK ? ++d->programs : 0, seconds, status, local.message, err);
  if (status != ORION_OK) {
    orion_free(base->allocator, e, 1, sizeof *e);
    if (err) *err = local;
    return status;
  }
  e->id = d->programs;
  if (written == ORION_OK) written = mirror(e, f, err);
  if (written != ORION_OK) {
    record_release(&e->base);
    return written;
  }
  e->base.times = e->inner->times;
  *out = &e->base;
  return ORION_OK;
}

// ---- running ----

static orion_status write_tensor(orion_record_buffer *b, const orion_io *io, const orion_surface *s, bool filled,
                                 orion_error *err) {
  const orion_layout *l = &io->layout;
  orion_layout packed;
  ORION_TRY(orion_layout_make((orion_dtype)l->dtype, l->rank, l->dims, 1, &packed, err));
  orion_record_u32(b, io->direction == ORION_OUTPUT, (uint32_t)l->dtype);
  orion_record_u32(b, (uint32_t)l->rank, 0);
  for (int i = 0; i < l->rank; i++) orion_record_u64(b, (uint64_t)l->dims[i]);
  orion_record_text(b, io->name);
  if (!filled) {
    orion_record_u64(b, 0);
    return ORION_OK;
  }
  void *elements = orion_alloc(b->bytes.allocator, packed.bytes, 1);
  if (!elements) return ORION_OOM(err, "record");
  orion_layout_pack(l, s->memory, elements);
  orion_record_bytes(b, elements, packed.bytes);
  orion_free(b->bytes.allocator, elements, packed.bytes, 1);
  return ORION_OK;
}

static void copy_outputs(record_executable *e, orion_surface *const *surfaces) {
  for (size_t i = e->base.n_inputs; i < e->base.n_ios; i++) {
    memcpy(surfaces[i]->memory, orion_surface_lock(e->surfaces[i]), e->base.ios[i].layout.bytes);
    orion_surface_unlock(e->surfaces[i]);
  }
}

static orion_status record_run(orion_executable *base, orion_surface *const *surfaces, orion_error *err) {
  record_executable *e = (record_executable *)base;
  record_device *d = (record_device *)base->device;
  for (size_t i = 0; i < base->n_inputs; i++) {
    memcpy(orion_surface_lock(e->surfaces[i]), surfaces[i]->memory, base->ios[i].layout.bytes);
    orion_surface_unlock(e->surfaces[i]);
  }
  orion_error local = {0};
  double start = orion_now();
  orion_status status = orion_run(e->bindings, &local);
  double seconds = orion_now() - start;
  orion_record_buffer b;
  begin(&b, base->device->allocator, e->id, (uint32_t)base->n_ios);
  orion_record_f64(&b, seconds);
  orion_record_text(&b, local.message);
  orion_status written = ORION_OK;
  for (size_t i = 0; i < base->n_ios && written == ORION_OK; i++) {
    if (i == base->n_inputs && status == ORION_OK) copy_outputs(e, surfaces);  // an output may lie where an input did
    written = write_tensor(&b, &base->ios[i], surfaces[i], i < base->n_inputs || status == ORION_OK, err);
  }
  if (written != ORION_OK) {
    orion_strbuf_deinit(&b.bytes);
  } else {
    written = finish(d, ORION_RECORD_RUN, status, &b, err);
  }
  if (status != ORION_OK && err) *err = local;
  return status != ORION_OK ? status : written;
}

static orion_status record_update(orion_executable *base, const char *value, const void *bytes, size_t n,
                                  orion_error *err) {
  record_executable *e = (record_executable *)base;
  orion_error local = {0};
  double start = orion_now();
  orion_status status = orion_executable_update(e->inner, value, bytes, n, &local);
  orion_record_buffer b;
  begin(&b, base->device->allocator, e->id, 0);
  orion_record_f64(&b, orion_now() - start);
  orion_record_text(&b, local.message);
  orion_record_text(&b, value);
  orion_record_bytes(&b, bytes, n);
  orion_status written = finish((record_device *)base->device, ORION_RECORD_UPDATE, status, &b, err);
  if (status != ORION_OK && err) *err = local;
  return status != ORION_OK ? status : written;
}

static orion_status record_count(orion_device *base, bool on, orion_error *err) {
  return orion_device_count(((record_device *)base)->inner, on, err);
}

static const orion_tally *record_tallies(const orion_device *base, size_t *out_n) {
  return orion_device_tallies(((const record_device *)base)->inner, out_n);
}

static void record_usage(const orion_device *base, orion_device_usage *out) {
  orion_device_usage_get(((const record_device *)base)->inner, out);
}

static void record_on_exhausted(orion_device *base, orion_exhausted_fn fn, void *ctx) {
  orion_device_on_exhausted(((record_device *)base)->inner, fn, ctx);
}

const orion_device_vtable orion_device_record = {
    .name = "record",
    .open = record_open,
    .sums_in_place = true,
    .close = record_close,
    .describe = record_describe,
    .supports = record_supports,
    .compile = record_compile,
    .release = record_release,
    .run = record_run,
    .update = record_update,
    .count = record_count,
    .tallies = record_tallies,
    .usage = record_usage,
    .on_exhausted = record_on_exhausted,
};

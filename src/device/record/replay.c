// A record done again on another device, its outputs compared with those recorded.
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "device/layout.h"
#include "device/record/record.h"

typedef struct replayed {      // a program of the record
  orion_program *program;
  orion_executable *e;
  orion_bindings *bindings;
  orion_surface **surfaces;    // [n_ios]
  size_t n_ios;
} replayed;

typedef struct replayer {
  const orion_allocator *a;
  orion_device *device;
  replayed *programs;          // by id, from 1
  size_t n, cap;
  orion_replay_fn each;
  void *ctx;
  orion_replay_counts *counts;
} replayer;

static char *text_of(const orion_allocator *a, orion_record_span s) { return orion_strndup(a, s.text, s.n); }

static void forget(replayer *r, replayed *p) {
  orion_bindings_destroy(p->bindings);
  for (size_t i = 0; p->surfaces && i < p->n_ios; i++) orion_surface_destroy(p->surfaces[i]);
  orion_free(r->a, p->surfaces, p->n_ios, sizeof *p->surfaces);
  orion_executable_release(p->e);
  orion_program_destroy(p->program);
  *p = (replayed){0};
}

static orion_status bind_all(replayer *r, replayed *p, orion_error *err) {
  const orion_io *ios = orion_executable_ios(p->e, &p->n_ios);
  p->surfaces = orion_alloc_zero(r->a, p->n_ios, sizeof *p->surfaces);
  if (!p->surfaces) return ORION_OOM(err, "replay");
  ORION_TRY(orion_bindings_create(p->e, &p->bindings, err));
  for (size_t i = 0; i < p->n_ios; i++) {
    ORION_TRY(orion_surface_create(r->device, &ios[i].layout, &p->surfaces[i], err));
    ORION_TRY(orion_bind(p->bindings, ios[i].name, p->surfaces[i], err));
  }
  return ORION_OK;
}

static orion_status compile(replayer *r, const orion_record_entry *e, orion_error *err) {
  bool refused = e->status != ORION_OK || e->program == 0;
  if (!refused && e->program != r->n + 1) return ORION_FAIL(err, ORION_FORMAT, "replay: program %u out of order", e->program);
  replayed p = {0};
  char *function = text_of(r->a, e->function);
  if (!function) return ORION_OOM(err, "replay");
  orion_status status = orion_record_program(e, r->a, &p.program, err);
  if (status == ORION_OK) {
    status = orion_device_compile(r->device, p.program, &(orion_compile_options){.function = function}, &p.e, err);
  }
  orion_strfree(r->a, function);
  if (status == ORION_OK && !refused) status = bind_all(r, &p, err);
  if (status == ORION_OK && !refused && !ORION_GROW(r->a, &r->programs, &r->cap, r->n + 1)) status = ORION_OOM(err, "replay");
  if (status != ORION_OK || refused) {
    forget(r, &p);
    r->counts->refused += refused;
    if (!refused) orion_error_prefix(err, "replay: program %u", e->program);
    return refused && status != ORION_NO_MEMORY ? ORION_OK : status;
  }
  r->programs[r->n++] = p;
  r->counts->programs++;
  return ORION_OK;
}

static orion_status find_program(replayer *r, const orion_record_entry *e, replayed **out, orion_error *err) {
  if (e->program == 0 || e->program > r->n || !r->programs[e->program - 1].e) {
    return ORION_FAIL(err, ORION_FORMAT, "replay: a %s of program %u, which is not there", orion_record_kind_name(e->kind),
                      e->program);
  }
  *out = &r->programs[e->program - 1];
  return ORION_OK;
}

static orion_status find_io(const replayed *p, const orion_record_tensor *t, size_t *out, orion_error *err) {
  size_t n;
  const orion_io *ios = orion_executable_ios(p->e, &n);
  for (size_t i = 0; i < n; i++) {
    const orion_layout *l = &ios[i].layout;
    if (strlen(ios[i].name) != t->name.n || memcmp(ios[i].name, t->name.text, t->name.n) != 0) continue;
    bool same = ios[i].direction == t->direction && l->dtype == t->layout.dtype && l->rank == t->layout.rank;
    for (int d = 0; same && d < l->rank; d++) same = l->dims[d] == t->layout.dims[d];
    if (!same) break;
    *out = i;
    return ORION_OK;
  }
  return ORION_FAIL(err, ORION_FORMAT, "replay: '%.*s' is no such input or output of the program", (int)(t->name.n < 80 ? t->name.n : 80),
                    t->name.text);
}

static orion_status compare(replayer *r, const orion_record_entry *e, const orion_record_tensor *t, const char *name,
                            const orion_surface *s, orion_error *err) {
  orion_replay_tensor out = {.program = e->program, .run = r->counts->runs, .name = name};
  orion_dtype d = (orion_dtype)t->layout.dtype;
  size_t bits = orion_dtype_bits(d) / 8;
  out.elements = orion_layout_elements(&t->layout);
  void *now = orion_alloc(r->a, t->layout.bytes, 1);
  if (!now) return ORION_OOM(err, "replay");
  orion_layout_pack(&s->layout, s->memory, now);
  for (size_t i = 0; i < out.elements; i++) {
    if (memcmp((const char *)now + i * bits, t->bytes.text + i * bits, bits) == 0) continue;
    double want = orion_load_double(d, t->bytes.text, i), got = orion_load_double(d, now, i);
    out.differing += want != got;
    if (isfinite(want) && isfinite(got)) {
      if (fabs(want - got) > out.largest) out.largest = fabs(want - got);
    } else {
      out.nonfinite += isfinite(want) != isfinite(got);
    }
  }
  for (size_t i = 0; i < out.elements; i++) {
    double want = fabs(orion_load_double(d, t->bytes.text, i));
    if (isfinite(want) && want > out.scale) out.scale = want;
  }
  orion_free(r->a, now, t->layout.bytes, 1);
  return r->each ? r->each(r->ctx, &out, err) : ORION_OK;
}

static orion_status run(replayer *r, const orion_record_entry *e, orion_error *err) {
  replayed *p;
  size_t n, io;
  ORION_TRY(find_program(r, e, &p, err));
  const orion_io *ios = orion_executable_ios(p->e, &n);
  for (size_t i = 0; i < e->n_tensors; i++) {
    const orion_record_tensor *t = &e->tensors[i];
    if (t->direction != ORION_INPUT) continue;
    ORION_TRY(find_io(p, t, &io, err));
    orion_layout_unpack(&ios[io].layout, orion_surface_lock(p->surfaces[io]), t->bytes.text);
    orion_surface_unlock(p->surfaces[io]);
  }
  r->counts->runs++;
  r->counts->recorded_seconds += e->seconds;
  double start = orion_now();
  orion_status status = orion_run(p->bindings, err);
  r->counts->seconds += orion_now() - start;
  if (e->status != ORION_OK && status != ORION_NO_MEMORY) return ORION_OK;  // it failed then; nothing to compare
  if (status != ORION_OK) {
    orion_error_prefix(err, "replay: run %zu", r->counts->runs);
    return status;
  }
  for (size_t i = 0; i < e->n_tensors; i++) {
    const orion_record_tensor *t = &e->tensors[i];
    if (t->direction != ORION_OUTPUT) continue;
    ORION_TRY(find_io(p, t, &io, err));
    ORION_TRY(compare(r, e, t, ios[io].name, p->surfaces[io], err));
  }
  return ORION_OK;
}

static orion_status update(replayer *r, const orion_record_entry *e, orion_error *err) {
  replayed *p;
  ORION_TRY(find_program(r, e, &p, err));
  if (e->status != ORION_OK) return ORION_OK;  // it changed nothing then
  char *value = text_of(r->a, e->value);
  if (!value) return ORION_OOM(err, "replay");
  orion_status status = orion_executable_update(p->e, value, e->bytes.text, e->bytes.n, err);
  orion_strfree(r->a, value);
  r->counts->updates++;
  return status;
}

static orion_status step(replayer *r, const orion_record_entry *e, orion_error *err) {
  switch (e->kind) {
    case ORION_RECORD_PROGRAM: return compile(r, e, err);
    case ORION_RECORD_RUN: return run(r, e, err);
    case ORION_RECORD_UPDATE: return update(r, e, err);
    case ORION_RECORD_RELEASE:
      if (e->program && e->program <= r->n) forget(r, &r->programs[e->program - 1]);
      return ORION_OK;
    default: return ORION_OK;
  }
}

orion_status orion_record_replay(orion_record *record, orion_device *device, orion_replay_fn each, void *ctx,
                                 orion_replay_counts *out, orion_error *err) {
  *out = (orion_replay_counts){0};
  replayer r = {.a = device->allocator, .device = device, .each = each, .ctx = ctx, .counts = out};
  orion_record_entry e;
  bool more = true;
  orion_status status = orion_record_next(record, &e, &more, err);
  while (status == ORION_OK && more) {
    status = step(&r, &e, err);
    if (status == ORION_OK) status = orion_record_next(record, &e, &more, err);
  }
  out->cut = orion_record_cut(record);
  for (size_t i = 0; i < r.n; i++) forget(&r, &r.programs[i]);
  orion_free(r.a, r.programs, r.cap, sizeof *r.programs);
  return status;
}

// Functions of compiled programs: their inputs and outputs by name, requests that are built once for a set of surfaces and
// reused, runs.
#include <string.h>

#include "device/ane/ane.h"
#include "device/layout.h"

static orion_ane_device *device_of(const orion_executable *e) { return (orion_ane_device *)e->device; }

// ---- requests ----

static void drop(orion_ane_device *d, orion_ane_request *r) {
  if (r->object) d->route->free_request(d, r->object);
  *r = (orion_ane_request){0};
}

void orion_ane_drop_requests(orion_ane_device *d, orion_ane_executable *e, uint64_t serial) {
  for (int i = 0; i < ORION_ANE_REQUESTS; i++) {
    bool uses = !serial;
    for (size_t k = 0; k < e->base.n_ios && !uses; k++) uses = e->requests[i].serials[k] == serial;
    if (uses) drop(d, &e->requests[i]);
  }
}

static bool fits(const orion_ane_executable *e, const orion_ane_request *r, orion_surface *const *surfaces) {
  if (!r->object || r->generation != e->model->generation) return false;
  for (size_t i = 0; i < e->base.n_ios; i++) {
    if (r->serials[i] != ((const orion_ane_surface *)surfaces[i])->serial) return false;
  }
  return true;
}

// The request for these surfaces, made at their first run in the place of the one that was used least recently.
static orion_status find_request(orion_ane_device *d, orion_ane_executable *e, orion_surface *const *surfaces,
                                 void **out, orion_error *err) {
  orion_ane_request *oldest = &e->requests[0];
  for (int i = 0; i < ORION_ANE_REQUESTS; i++) {
    orion_ane_request *r = &e->requests[i];
    if (fits(e, r, surfaces)) {
      r->used = ++d->clock;
      *out = r->object;
      return ORION_OK;
    }
    if (r->used < oldest->used) oldest = r;
  }
  drop(d, oldest);
  ORION_TRY(d->route->make_request(d, e, surfaces, &oldest->object, err));
  for (size_t i = 0; i < e->base.n_ios; i++) oldest->serials[i] = ((const orion_ane_surface *)surfaces[i])->serial;
  oldest->generation = e->model->generation;
  oldest->used = ++d->clock;
  *out = oldest->object;
  return ORION_OK;
}

orion_status orion_ane_run(orion_executable *base, orion_surface *const *surfaces, orion_error *err) {
  orion_ane_executable *e = (orion_ane_executable *)base;
  orion_ane_device *d = device_of(base);
  void *request;
  ORION_TRY(orion_ane_model_ready(d, e->model, err));
  ORION_TRY(find_request(d, e, surfaces, &request, err));
  return d->route->evaluate(d, e, request, err);
}

// ---- making ----

void orion_ane_release(orion_executable *base) {
  orion_ane_executable *e = (orion_ane_executable *)base;
  orion_ane_device *d = device_of(base);
  orion_ane_drop_requests(d, e, 0);
  if (d->route->drop && e->model) d->route->drop(d, e);
  for (orion_ane_executable **at = &d->executables; *at; at = &(*at)->next) {
    if (*at != e) continue;
    *at = e->next;
    break;
  }
  orion_ane_model_release(d, e->model);
  orion_executable_deinit(base);
  orion_free(d->base.allocator, e, 1, sizeof *e);
}

// Surfaces lie as the compiled program wants them.
static orion_status take_layouts(orion_ane_executable *e, orion_error *err) {
  for (size_t i = 0; i < e->base.n_ios; i++) {
    orion_layout *l = &e->base.ios[i].layout;
    size_t bytes;
    if (!orion_mul_ok(orion_layout_rows(l), e->ports[i].row_bytes, &bytes)) {
      return ORION_FAIL(err, ORION_LIMIT, "ane: '%s': its size overflows", e->base.ios[i].name);
    }
    l->row_bytes = e->ports[i].row_bytes;
    l->bytes = bytes;
    ORION_TRY(orion_layout_check(l, err));
  }
  return ORION_OK;
}

// What the constants of a function take: the engine does not say.
static size_t weight_bytes(const orion_function *f) {
  size_t sum = 0, bytes;
  ORION_EACH_OP(f, id) {
    const orion_literal *l = f->ops[id].code == ORION_OP_const ? orion_op_attr(&f->ops[id], "val") : NULL;
    if (l && l->data && orion_dtype_bytes(l->data->dtype, orion_data_elements(l->data), &bytes)) sum += bytes;
  }
  return sum;
}

orion_status orion_ane_compile(orion_device *device, orion_program *p, orion_function *f, orion_executable **out,
                               orion_error *err) {
  orion_ane_device *d = (orion_ane_device *)device;
  orion_ane_executable *e = orion_alloc_zero(device->allocator, 1, sizeof *e);
  if (!e) return ORION_OOM(err, "executable");
  size_t row_align = d->row_align ? d->row_align : d->route->row_align;
  orion_status status = orion_executable_init(&e->base, device, f, row_align, err);
  e->next = d->executables;
  d->executables = e;
  if (status == ORION_OK && e->base.n_ios > ORION_ANE_MAX_PORTS) {
    status = ORION_FAIL(err, ORION_REFUSED, "ane: %zu inputs and outputs (at most %d)", e->base.n_ios, ORION_ANE_MAX_PORTS);
  }
  if (status == ORION_OK && !(e->function = orion_arena_strdup(&e->base.arena, f->name))) {
    status = ORION_OOM(err, "executable");
  }
  if (status == ORION_OK) status = orion_ane_model_obtain(d, p, &e->model, err);
  if (status == ORION_OK) status = d->route->describe(d, e, f->name, err);
  if (status == ORION_OK) status = take_layouts(e, err);
  if (status != ORION_OK) {
    orion_ane_release(&e->base);
    return status;
  }
  e->base.times.weight_bytes = e->base.times.memory_bytes = weight_bytes(f);
  *out = &e->base;
  return ORION_OK;
}

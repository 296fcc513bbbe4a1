#include "runtime/runner.h"

#include <stdio.h>
#include <string.h>

#include "device/device.h"
#include "device/layout.h"
#include "runtime/variant.h"

typedef struct compiled_part {
  orion_executable *executable;
  orion_bindings *bindings;
} compiled_part;

struct orion_runner {
  const orion_allocator *allocator;
  orion_device *device;
  orion_plan *plan;
  const orion_runner *like;  // owner of plan and executables; NULL: this one is
  orion_runner *beside;
  const orion_given_surface *given;  // while creating
  size_t n_given;
  compiled_part *parts;     // plan->n_parts of them
  orion_tensor *tensors;
  size_t n_tensors, cap_tensors;
};

static orion_tensor *find(const orion_runner *r, const orion_port *port, const orion_layout *layout) {
  for (size_t i = 0; r && i < r->n_tensors; i++) {
    orion_tensor *t = &r->tensors[i];
    if (t->arrangement != port->arrangement || t->first_col != port->first_col) continue;
    if (strcmp(t->logical, port->logical) == 0 && orion_layout_equal(&t->layout, layout)) return t;
  }
  return NULL;
}

static orion_status add_tensor(orion_runner *r, const orion_port *port, const orion_layout *layout,
                               orion_surface *shared, orion_error *err) {
  if (!ORION_GROW(r->allocator, &r->tensors, &r->cap_tensors, r->n_tensors + 1)) return ORION_OOM(err, "tensors");
  orion_tensor t = {.logical = port->logical, .arrangement = port->arrangement, .rows = port->rows, .cols = port->cols,
                    .heads = port->heads, .first_col = port->first_col, .layout = *layout};
  t.surface = shared;
  if (!shared) {
    ORION_TRY(orion_surface_create(r->device, layout, &t.surface, err));
    t.owned = true;
  }
  r->tensors[r->n_tensors++] = t;
  return ORION_OK;
}

// One output may carry two logical values (a result of the model that a later part also reads); both are one surface.
static orion_surface *bound_already(const orion_runner *r, const orion_part *part, size_t before, const orion_port *port,
                                    const orion_layout *layout) {
  for (size_t i = 0; i < before; i++) {
    const orion_port *other = &part->ports[i];
    if (other->input == port->input && strcmp(other->name, port->name) == 0) {
      orion_tensor *t = find(r, other, layout);
      return t ? t->surface : NULL;
    }
  }
  return NULL;
}

static orion_surface *given_surface(const orion_runner *r, const orion_port *port, const orion_layout *layout) {
  for (size_t i = 0; i < r->n_given; i++) {
    if (strcmp(r->given[i].logical, port->logical) != 0) continue;
    return orion_layout_equal(orion_surface_layout(r->given[i].surface), layout) ? r->given[i].surface : NULL;
  }
  return NULL;
}

static orion_status bind_port(orion_runner *r, size_t index, size_t port_index, orion_error *err) {
  const orion_part *part = &r->plan->parts[index];
  const orion_port *port = &part->ports[port_index];
  const orion_io *io = orion_executable_io(r->parts[index].executable, port->name);
  if (!io) return ORION_FAIL(err, ORION_INTERNAL, "plan: part %zu has no input or output %s", index, port->name);
  // Halves and floats are what orion_tensor_* read and write; ids go through the surface itself.
  if (io->layout.dtype != ORION_FP16 && io->layout.dtype != ORION_FP32 && io->layout.dtype != ORION_INT32) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "plan: %s is of type %s (fp16, fp32 and int32 can be exchanged)", port->logical,
                      orion_dtype_name((orion_dtype)io->layout.dtype));
  }
  orion_tensor *t = find(r, port, &io->layout);
  if (!t) {
    orion_surface *shared = bound_already(r, part, port_index, port, &io->layout);
    if (!shared) {
      const orion_tensor *theirs = find(r->beside, port, &io->layout);
      shared = theirs ? theirs->surface : given_surface(r, port, &io->layout);
    }
    ORION_TRY(add_tensor(r, port, &io->layout, shared, err));
    t = &r->tensors[r->n_tensors - 1];
  }
  return orion_bind(r->parts[index].bindings, port->name, t->surface, err);
}

static orion_status bind_part(orion_runner *r, size_t i, orion_error *err) {
  ORION_TRY(orion_bindings_create(r->parts[i].executable, &r->parts[i].bindings, err));
  for (size_t p = 0; p < r->plan->parts[i].n_ports; p++) ORION_TRY(bind_port(r, i, p, err));
  return ORION_OK;
}

static orion_status make_part(orion_runner *r, size_t i, orion_error *err) {
  if (r->like) {
    r->parts[i].executable = r->like->parts[i].executable;
    return bind_part(r, i, err);
  }
  orion_status status = orion_device_compile(r->device, r->plan->parts[i].program, NULL, &r->parts[i].executable, err);
  if (status != ORION_OK) {
    orion_error_prefix(err, "part %zu of %zu", i + 1, r->plan->n_parts);
    return status;
  }
  return bind_part(r, i, err);
}

// A runner of which only its parts and tensors are missing.
static orion_status create(const orion_runner *begun, orion_runner **out, orion_error *err) {
  orion_runner *r = orion_alloc_zero(begun->allocator, 1, sizeof *r);
  if (!r) {
    if (!begun->like) orion_plan_destroy(begun->plan);
    return ORION_OOM(err, "runner");
  }
  *r = *begun;
  r->parts = orion_alloc_zero(r->allocator, r->plan->n_parts, sizeof *r->parts);
  orion_status status = r->parts ? ORION_OK : ORION_OOM(err, "runner");
  for (size_t i = 0; status == ORION_OK && i < r->plan->n_parts; i++) status = make_part(r, i, err);
  if (status != ORION_OK) {
    orion_runner_destroy(r);
    return status;
  }
  r->given = NULL;
  r->n_given = 0;
  *out = r;
  return ORION_OK;
}

orion_status orion_runner_create(orion_device *device, orion_plan *plan, orion_runner *beside, orion_runner **out,
                                 orion_error *err) {
  return orion_runner_create_with(device, plan, beside, 0, NULL, out, err);
}

orion_status orion_runner_create_with(orion_device *device, orion_plan *plan, orion_runner *beside, size_t n_given,
                                      const orion_given_surface *given, orion_runner **out, orion_error *err) {
  const orion_runner begun = {.allocator = plan->allocator, .device = device, .plan = plan, .beside = beside,
                              .given = given, .n_given = n_given};
  return create(&begun, out, err);
}

orion_status orion_runner_create_like(orion_runner *like, orion_runner *beside, size_t n_given,
                                      const orion_given_surface *given, orion_runner **out, orion_error *err) {
  const orion_runner begun = {.allocator = like->allocator, .device = like->device, .plan = like->plan, .like = like,
                              .beside = beside, .given = given, .n_given = n_given};
  return create(&begun, out, err);
}

void orion_runner_destroy(orion_runner *r) {
  if (!r) return;
  for (size_t i = 0; r->parts && i < r->plan->n_parts; i++) {
    orion_bindings_destroy(r->parts[i].bindings);
    if (!r->like) orion_executable_release(r->parts[i].executable);
  }
  for (size_t i = 0; i < r->n_tensors; i++) {
    if (r->tensors[i].owned) orion_surface_destroy(r->tensors[i].surface);
  }
  orion_free(r->allocator, r->tensors, r->cap_tensors, sizeof *r->tensors);
  orion_free(r->allocator, r->parts, r->plan->n_parts, sizeof *r->parts);
  if (!r->like) orion_plan_destroy(r->plan);
  orion_free(r->allocator, r, 1, sizeof *r);
}

orion_status orion_runner_run(orion_runner *r, orion_error *err) {
  for (size_t i = 0; i < r->plan->n_parts; i++) ORION_TRY(orion_run(r->parts[i].bindings, err));
  return ORION_OK;
}

orion_status orion_runner_run_anew(orion_runner *r, orion_error *err) {
  for (size_t i = 0; i < r->plan->n_parts; i++) ORION_TRY(orion_run_anew(r->parts[i].bindings, err));
  return ORION_OK;
}

// ---- variants ----

struct orion_variant {
  const orion_allocator *allocator;
  orion_runner *runner;
  orion_bindings **parts;   // one a part of the plan
};

static orion_status bind_variant(orion_variant *v, size_t index, size_t n_given, const orion_given_surface *given,
                                 orion_error *err) {
  orion_runner *r = v->runner;
  const orion_part *part = &r->plan->parts[index];
  ORION_TRY(orion_bindings_create(r->parts[index].executable, &v->parts[index], err));
  for (size_t i = 0; i < part->n_ports; i++) {
    const orion_port *port = &part->ports[i];
    const orion_tensor *own = find(r, port, &orion_executable_io(r->parts[index].executable, port->name)->layout);
    orion_surface *surface = own->surface;
    for (size_t k = 0; k < n_given; k++) {
      if (strcmp(given[k].logical, port->logical) == 0) surface = given[k].surface;
    }
    ORION_TRY(orion_bind(v->parts[index], port->name, surface, err));
  }
  return ORION_OK;
}

orion_status orion_variant_create(orion_runner *r, size_t n_given, const orion_given_surface *given, orion_variant **out,
                                  orion_error *err) {
  orion_variant *v = orion_alloc_zero(r->allocator, 1, sizeof *v);
  if (!v) return ORION_OOM(err, "variant");
  v->allocator = r->allocator;
  v->runner = r;
  v->parts = orion_alloc_zero(r->allocator, r->plan->n_parts, sizeof *v->parts);
  orion_status status = v->parts ? ORION_OK : ORION_OOM(err, "variant");
  for (size_t i = 0; status == ORION_OK && i < r->plan->n_parts; i++) status = bind_variant(v, i, n_given, given, err);
  if (status == ORION_OK) {
    *out = v;
  } else {
    orion_variant_destroy(v);
  }
  return status;
}

void orion_variant_destroy(orion_variant *v) {
  if (!v) return;
  for (size_t i = 0; v->parts && i < v->runner->plan->n_parts; i++) orion_bindings_destroy(v->parts[i]);
  orion_free(v->allocator, v->parts, v->runner->plan->n_parts, sizeof *v->parts);
  orion_free(v->allocator, v, 1, sizeof *v);
}

orion_status orion_variant_run(orion_variant *v, orion_error *err) {
  for (size_t i = 0; i < v->runner->plan->n_parts; i++) ORION_TRY(orion_run(v->parts[i], err));
  return ORION_OK;
}

// ----

orion_status orion_runner_update(orion_runner *r, const char *value, const void *bytes, size_t n, orion_error *err) {
  bool found = false;
  for (size_t i = 0; i < r->plan->n_parts; i++) {
    const orion_function *f = r->plan->parts[i].program->functions[0];
    if (orion_function_find(f, value) == ORION_NONE) continue;
    ORION_TRY(orion_executable_update(r->parts[i].executable, value, bytes, n, err));
    found = true;
  }
  return found ? ORION_OK : ORION_FAIL(err, ORION_NOT_FOUND, "update: no part has a constant %s", value);
}

size_t orion_runner_parts(const orion_runner *r) { return r->plan->n_parts; }
const orion_plan *orion_runner_plan(const orion_runner *r) { return r->plan; }

// Bytes of all parts together.
static orion_run_times sizes_of(const orion_runner *r) {
  orion_run_times total = {0};
  for (size_t i = 0; i < r->plan->n_parts; i++) {
    orion_run_times times = {0};
    orion_executable_times(r->parts[i].executable, &times);
    total.weight_bytes += times.weight_bytes;
    total.memory_bytes += times.memory_bytes;
  }
  return total;
}

size_t orion_runner_weight_bytes(const orion_runner *r) { return sizes_of(r).weight_bytes; }
size_t orion_runner_memory(const orion_runner *r) { return sizes_of(r).memory_bytes; }

orion_tensor *orion_runner_tensor(const orion_runner *r, const char *logical) {
  for (size_t i = 0; i < r->n_tensors; i++) {
    if (strcmp(r->tensors[i].logical, logical) == 0) return &r->tensors[i];
  }
  return NULL;
}

orion_tensor *orion_runner_next(const orion_runner *r, const orion_tensor *t) {
  for (size_t i = (size_t)(t - r->tensors) + 1; i < r->n_tensors; i++) {
    if (strcmp(r->tensors[i].logical, t->logical) == 0) return &r->tensors[i];
  }
  return NULL;
}

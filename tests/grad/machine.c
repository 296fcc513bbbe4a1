// See machine.h.
#include "machine.h"

#include "device/layout.h"
#include "ir/infer.h"
#include "lower/lower.h"
#include "mil/mil.h"

void machine_open(machine *m, const char *device, orion_program *p, const char *function) {
  orion_error err = {0};
  orion_compile_options options = {.function = function};
  *m = (machine){0};
  assert_ok(orion_device_open(device, 2, NULL, &m->device, &err), &err);
  assert_ok(orion_device_compile(m->device, p, &options, &m->e, &err), &err);
  assert_ok(orion_bindings_create(m->e, &m->b, &err), &err);
  m->ios = orion_executable_ios(m->e, &m->n);
  m->surfaces = calloc(m->n + 1, sizeof *m->surfaces);
  for (size_t i = 0; i < m->n; i++) {
    assert_ok(orion_surface_create(m->device, &m->ios[i].layout, &m->surfaces[i], &err), &err);
    assert_ok(orion_bind(m->b, m->ios[i].name, m->surfaces[i], &err), &err);
  }
}

void machine_close(machine *m) {
  orion_bindings_destroy(m->b);
  for (size_t i = 0; i < m->n; i++) orion_surface_destroy(m->surfaces[i]);
  orion_executable_release(m->e);
  orion_device_close(m->device);
  free(m->surfaces);
}

static orion_surface *find(const machine *m, const char *name, const orion_io **out) {
  *out = NULL;
  for (size_t i = 0; i < m->n; i++) {
    if (strcmp(m->ios[i].name, name) != 0) continue;
    *out = &m->ios[i];
    return m->surfaces[i];
  }
  return NULL;
}

const orion_io *machine_io(const machine *m, const char *name) {
  const orion_io *io;
  find(m, name, &io);
  return io;
}

size_t machine_elements(const machine *m, const char *name) {
  const orion_io *io = machine_io(m, name);
  if (!io) fail_msg("there is no input or output %s", name);
  return orion_layout_elements(&io->layout);
}

void machine_set(machine *m, const char *name, const float *v) {
  const orion_io *io;
  orion_surface *s = find(m, name, &io);
  if (s) orion_layout_from_floats(&io->layout, orion_surface_lock(s), v), orion_surface_unlock(s);
}

void machine_set_ints(machine *m, const char *name, const int32_t *v) {
  const orion_io *io;
  orion_surface *s = find(m, name, &io);
  if (s) orion_layout_from_ints(&io->layout, orion_surface_lock(s), v), orion_surface_unlock(s);
}

void machine_run(machine *m) {
  orion_error err = {0};
  assert_ok(orion_run(m->b, &err), &err);
}

float *machine_get(const machine *m, const char *name) {
  const orion_io *io;
  size_t n = machine_elements(m, name);
  orion_surface *s = find(m, name, &io);
  float *v = calloc(n + 1, sizeof *v);
  orion_layout_to_floats(&io->layout, orion_surface_lock(s), v);
  orion_surface_unlock(s);
  return v;
}

orion_program *lowered(orion_program *graph) {
  orion_error err = {0};
  orion_plan *plan;
  orion_program *p;
  orion_lower_options options = {.target = orion_target_find("cpu")};
  assert_ok(orion_lower(graph, &options, &plan, &err), &err);
  assert_int_equal(plan->n_parts, 1);
  assert_ok(orion_program_clone(plan->parts[0].program, &p, &err), &err);
  orion_plan_destroy(plan);
  return p;
}

orion_program *parsed(const char *text) {
  orion_error err = {0};
  orion_program *p;
  if (orion_mil_parse(NULL, text, strlen(text), "case", &p, &err) != ORION_OK || orion_verify_ok(p, &err) != ORION_OK) {
    fail_msg("%s\n%s", err.message, text);
  }
  return p;
}

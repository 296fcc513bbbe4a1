// Runs one file of goldens (see make_goldens.py) on every device: each case is a test of its own on each of them.
#include <ctype.h>
#include <math.h>

#include "device/layout.h"
#include "ir/infer.h"
#include "mil/mil.h"
#include "orion/device.h"
#include "support/support.h"
#include "tolerances.h"

typedef struct column {  // numbers of an input or output
  const char *name;
  const char *text;
} column;

typedef struct golden {
  const char *name;
  const char *mil;
  column columns[16];
  int n;
} golden;

typedef struct run {
  const char *device;
  const golden *golden;
} run;

// ---- reading ---- the file is cut in place; lines that start with a mark end what came before.

static char *next_mark(char *p) {  // the next line that starts with "== " or "-- ", or NULL
  for (p = strchr(p, '\n'); p; p = strchr(p, '\n')) {
    p++;
    if (strncmp(p, "== ", 3) == 0 || strncmp(p, "-- ", 3) == 0) return p;
  }
  return NULL;
}

static golden *read_goldens(char *text, size_t *out_n) {
  size_t cap = 0, n = 0;
  golden *all = NULL;
  for (char *p = text; p;) {
    char *end = next_mark(p);
    if (end) end[-1] = 0;
    char *body = strchr(p, '\n');
    if (body) *body++ = 0;
    if (strncmp(p, "== ", 3) == 0) {
      if (n == cap) all = realloc(all, (cap = cap ? 2 * cap : 64) * sizeof *all);
      all[n++] = (golden){.name = p + 3};
    } else if (strcmp(p, "-- mil") == 0) {
      all[n - 1].mil = body;
    } else {
      golden *g = &all[n - 1];
      g->columns[g->n++] = (column){strchr(p + 3, ' ') + 1, body ? body : ""};
    }
    p = end;
  }
  *out_n = n;
  return all;
}

static double *read_numbers(const column *c, size_t n) {
  double *out = malloc((n + 1) * sizeof *out);
  const char *p = c->text;
  for (size_t i = 0; i < n; i++) {
    char *end;
    out[i] = strtod(p, &end);
    if (end == p) fail_msg("golden of %s has %zu numbers of %zu", c->name, i, n);
    p = end;
  }
  while (isspace((unsigned char)*p)) p++;
  if (*p) fail_msg("golden of %s has more than %zu numbers", c->name, n);
  return out;
}

// ---- comparing ----

static tolerance tolerance_of(const char *name) {
  size_t n = strcspn(name, ".");
  for (size_t i = 1; i < sizeof tolerances / sizeof *tolerances; i++) {
    if (strlen(tolerances[i].op) == n && strncmp(tolerances[i].op, name, n) == 0) return tolerances[i];
  }
  return tolerances[0];
}

static bool close_enough(const tolerance *t, orion_dtype d, double got, double want) {
  if (isnan(want)) return isnan(got);
  if (got == want) return true;
  if (!orion_dtype_is_float(d) || isinf(want) || isnan(got)) return false;
  bool half = d == ORION_FP16;
  double relative = half ? t->fp16_relative : t->fp32_relative, absolute = half ? t->fp16_absolute : t->fp32_absolute;
  return fabs(got - want) <= absolute + relative * fabs(want);
}

static double element(const orion_layout *l, const void *memory, size_t i) {
  size_t columns = orion_layout_columns(l);
  const char *row = (const char *)memory + i / columns * l->row_bytes;
  return orion_load_double((orion_dtype)l->dtype, row, i % columns);
}

static void compare(const golden *g, const orion_io *io, orion_surface *s, const column *c) {
  size_t n = orion_layout_elements(&io->layout);
  double *want = read_numbers(c, n);
  tolerance t = tolerance_of(g->name);
  const void *memory = orion_surface_lock(s);
  for (size_t i = 0; i < n; i++) {
    double got = element(&io->layout, memory, i);
    if (close_enough(&t, (orion_dtype)io->layout.dtype, got, want[i])) continue;
    fail_msg("%s: %s[%zu] is %.9g, expected %.9g", g->name, io->name, i, got, want[i]);
  }
  orion_surface_unlock(s);
  free(want);
}

static void fill(orion_surface *s, const column *c) {
  const orion_layout *l = orion_surface_layout(s);
  size_t n = orion_layout_elements(l), columns = orion_layout_columns(l);
  double *v = read_numbers(c, n);
  char *memory = orion_surface_lock(s);
  for (size_t i = 0; i < n; i++) {
    orion_store_double((orion_dtype)l->dtype, memory + i / columns * l->row_bytes, i % columns, v[i]);
  }
  orion_surface_unlock(s);
  free(v);
}

static const column *column_of(const golden *g, const char *name) {
  for (int i = 0; i < g->n; i++) {
    if (strcmp(g->columns[i].name, name) == 0) return &g->columns[i];
  }
  fail_msg("golden has no column %s", name);
  return NULL;
}

// ---- a case on a device ----

static void run_case(orion_device *device, orion_program *program, const golden *g) {
  orion_error err;
  orion_executable *e;
  orion_bindings *b;
  orion_surface *surfaces[32];
  size_t n;
  assert_ok(orion_device_compile(device, program, NULL, &e, &err), &err);
  assert_ok(orion_bindings_create(e, &b, &err), &err);
  const orion_io *ios = orion_executable_ios(e, &n);
  assert_in_range(n, 1, 32);
  for (size_t i = 0; i < n; i++) {
    assert_ok(orion_surface_create(device, &ios[i].layout, &surfaces[i], &err), &err);
    if (ios[i].direction == ORION_INPUT) fill(surfaces[i], column_of(g, ios[i].name));
    assert_ok(orion_bind(b, ios[i].name, surfaces[i], &err), &err);
  }
  assert_ok(orion_run(b, &err), &err);
  for (size_t i = 0; i < n; i++) {
    if (ios[i].direction == ORION_OUTPUT) compare(g, &ios[i], surfaces[i], column_of(g, ios[i].name));
  }
  orion_bindings_destroy(b);
  orion_executable_release(e);
  for (size_t i = 0; i < n; i++) orion_surface_destroy(surfaces[i]);
}

static void test_case(void **state) {
  const run *r = *state;
  orion_error err;
  orion_program *program;
  orion_device *device;
  orion_findings findings;
  assert_ok(orion_mil_parse(NULL, r->golden->mil, strlen(r->golden->mil), r->golden->name, &program, &err), &err);
  assert_ok(orion_verify_ok(program, &err), &err);  // a golden that is no sound program is a fault, not a lack
  assert_ok(orion_device_open(r->device, 2, NULL, &device, &err), &err);
  orion_findings_init(&findings, NULL);
  assert_ok(orion_device_supports(device, program, &findings, &err), &err);
  bool taken = !orion_findings_fatal(&findings);
  if (taken) {
    run_case(device, program, r->golden);
  } else {
    print_message("skipped: %s\n", findings.items[0].message);
  }
  orion_findings_deinit(&findings);
  orion_device_close(device);
  orion_program_destroy(program);
  if (!taken) skip();
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: test_conformance GOLDENS\n");
    return 2;
  }
  char *text = test_read_file(argv[1], NULL);
  size_t n, n_devices = 0, done = 0;
  golden *all = read_goldens(text, &n);
  const char *const *names = orion_device_names();
  while (names[n_devices]) n_devices++;
  struct CMUnitTest *tests = calloc(n * n_devices, sizeof *tests);
  run *runs = calloc(n * n_devices, sizeof *runs);
  char(*titles)[128] = calloc(n * n_devices, sizeof *titles);
  for (size_t d = 0; d < n_devices; d++) {
    if (strcmp(names[d], "null") == 0) continue;    // it takes nothing: test_contract.c
    if (strcmp(names[d], "record") == 0) continue;  // it computes nothing itself: likewise
    for (size_t i = 0; i < n; i++, done++) {
      runs[done] = (run){names[d], &all[i]};
      snprintf(titles[done], sizeof titles[done], "%s on %s", all[i].name, names[d]);
      tests[done] = (struct CMUnitTest){titles[done], test_case, NULL, NULL, &runs[done]};
    }
  }
  int failed = _cmocka_run_group_tests("conformance", tests, done, NULL, NULL);
  free(titles);
  free(runs);
  free(tests);
  free(all);
  free(text);
  return failed;
}

// The fixed cost of a program: one operation on 2,048 numbers, on any device, through the contract alone. What is left
// when the work is nothing is what every run pays.
#include "base/clock.h"
#include "bench/subject.h"
#include "mil/mil.h"

// The smallest shape that every chip family takes.
static const char text[] =
    "program(1.3)\n"
    "{\n"
    "  func main<ios18>(tensor<fp16, [1, 32, 1, 64]> x) {\n"
    "    tensor<fp16, [1, 32, 1, 64]> y = relu(x = x)[name = string(\"y\")];\n"
    "  } -> (y);\n"
    "}\n";

enum { MOST_SAMPLES = 1024 };

typedef struct dispatch {
  orion_device *device;
  orion_program *program;
  orion_executable *executable;
  orion_bindings *bindings;
  orion_surface *x, *y;
} dispatch;

static void unload(dispatch *d) {
  orion_bindings_destroy(d->bindings);
  orion_surface_destroy(d->x);
  orion_surface_destroy(d->y);
  orion_executable_release(d->executable);
  orion_program_destroy(d->program);
  *d = (dispatch){.device = d->device};
}

// Microseconds of the steps until a program can run.
typedef struct setup { double *parse, *compile, *bind; } setup;

static orion_status load(dispatch *d, const setup *out, int i, orion_error *err) {
  double t0 = orion_now();
  ORION_TRY(orion_mil_parse(NULL, text, sizeof text - 1, "dispatch.mil", &d->program, err));
  double t1 = orion_now();
  ORION_TRY(orion_device_compile(d->device, d->program, NULL, &d->executable, err));
  double t2 = orion_now();
  ORION_TRY(orion_bindings_create(d->executable, &d->bindings, err));
  const orion_io *x = orion_executable_io(d->executable, "x"), *y = orion_executable_io(d->executable, "y");
  if (!x || !y) return ORION_FAIL(err, ORION_DEVICE, "dispatch: the device lost an input or output");
  ORION_TRY(orion_surface_create(d->device, &x->layout, &d->x, err));
  ORION_TRY(orion_surface_create(d->device, &y->layout, &d->y, err));
  ORION_TRY(orion_bind(d->bindings, "x", d->x, err));
  ORION_TRY(orion_bind(d->bindings, "y", d->y, err));
  out->parse[i] = 1e6 * (t1 - t0);
  out->compile[i] = 1e6 * (t2 - t1);
  out->bind[i] = 1e6 * (orion_now() - t2);
  return ORION_OK;
}

// Runs are timed by the dozen, since a clock costs as much as a small run.
static orion_status measure_runs(dispatch *d, int repeat, double *out_run, double *out_lock, orion_error *err) {
  enum { DOZEN = 16 };
  for (int i = 0; i < DOZEN; i++) ORION_TRY(orion_run(d->bindings, err));
  for (int i = 0; i < repeat; i++) {
    double t0 = orion_now();
    for (int k = 0; k < DOZEN; k++) ORION_TRY(orion_run(d->bindings, err));
    double t1 = orion_now();
    for (int k = 0; k < DOZEN; k++) {
      orion_surface_lock(d->x);
      orion_surface_unlock(d->x);
    }
    out_run[i] = 1e6 * (t1 - t0) / DOZEN;
    out_lock[i] = 1e6 * (orion_now() - t1) / DOZEN;
  }
  return ORION_OK;
}

orion_status orion_bench_dispatch(const orion_bench_options *o, orion_bench_report *r, orion_error *err) {
  int repeat = o->repeat < MOST_SAMPLES ? o->repeat : MOST_SAMPLES;
  double *samples = orion_alloc(r->allocator, 5 * MOST_SAMPLES, sizeof *samples);
  if (!samples) return ORION_OOM(err, "samples");
  setup s = {samples, samples + MOST_SAMPLES, samples + 2 * MOST_SAMPLES};
  double *run = samples + 3 * MOST_SAMPLES, *lock = samples + 4 * MOST_SAMPLES;
  dispatch d = {0};
  orion_status status = orion_device_open(o->device, o->threads, NULL, &d.device, err);
  if (status == ORION_OK) orion_bench_note_device(r, d.device);
  for (int i = 0; i < repeat && status == ORION_OK; i++) {
    unload(&d);
    status = load(&d, &s, i, err);
  }
  if (status == ORION_OK) status = measure_runs(&d, repeat, run, lock, err);
  size_t n = (size_t)repeat;
  if (status == ORION_OK) status = orion_bench_add(r, "parse", "us", s.parse, n, err);
  if (status == ORION_OK) status = orion_bench_add(r, "compile", "us", s.compile, n, err);
  if (status == ORION_OK) status = orion_bench_add(r, "bind", "us", s.bind, n, err);
  if (status == ORION_OK) status = orion_bench_add(r, "lock", "us", lock, n, err);
  if (status == ORION_OK) status = orion_bench_add(r, "run", "us", run, n, err);
  unload(&d);
  orion_device_close(d.device);
  orion_free(r->allocator, samples, 5 * MOST_SAMPLES, sizeof *samples);
  return status;
}

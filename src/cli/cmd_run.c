// orion run: a program, its inputs from .npy files, its outputs to .npy files.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "cli/commands.h"
#include "cli/replay.h"
#include "cli/sim_report.h"
#include "cli/npy.h"
#include "device/layout.h"
#include "device/record/record.h"
#include "mil/bind.h"

static const cli_option options[] = {
    {"in", 0, CLI_TEXT, "NAME=FILE.npy", "an input", true},
    {"random-inputs", 0, CLI_INT, "SEED", "inputs not given: normal random numbers", false},
    {"out", 0, CLI_TEXT, "DIR", "write each output as DIR/NAME.npy", false},
    {"blobs", 0, CLI_TEXT, "DIR", "where @model_path is; default: beside the text", false},
    {"function", 0, CLI_TEXT, "NAME", "default: main, or the only one", false},
    {"repeat", 0, CLI_INT, "N", "run N times; the time is the median of the last five", false},
    {"tolerance", 0, CLI_NUMBER, "X", "of a record: fail where an output differs by more than X of its scale", false},
    CLI_SIM_REPORT_OPTION,
    {0},
};

#define MAX_IOS 256

typedef struct job {
  const cli_args *a;
  orion_program *program;
  orion_device *device;
  orion_executable *executable;
  orion_bindings *bindings;
  const orion_io *ios;
  size_t n_ios;
  orion_surface *surfaces[MAX_IOS];
  double ms;
} job;

static const char *given_input(const cli_args *a, const char *name) {
  size_t n = strlen(name);
  for (size_t i = 0;; i++) {
    const char *text = cli_nth(a, "in", i);
    if (!text) return NULL;
    if (strncmp(text, name, n) == 0 && text[n] == '=') return text + n + 1;
  }
}

// Every --in names an input of the program, each once.
static orion_status check_names(const job *j, orion_error *err) {
  for (size_t i = 0;; i++) {
    const char *text = cli_nth(j->a, "in", i);
    if (!text) return ORION_OK;
    const char *equals = strchr(text, '=');
    bool known = false;
    for (size_t k = 0; equals && k < i; k++) {
      if (strncmp(cli_nth(j->a, "in", k), text, (size_t)(equals + 1 - text)) == 0) {
        return CLI_USAGE(err, "--in: \"%s\": the input is given twice", text);
      }
    }
    for (size_t k = 0; equals && k < j->n_ios; k++) {
      const char *name = j->ios[k].name;
      known = known || (j->ios[k].direction == ORION_INPUT && strlen(name) == (size_t)(equals - text) &&
                        strncmp(name, text, strlen(name)) == 0);
    }
    if (!known) return CLI_USAGE(err, "--in: \"%s\": the program has no such input (want NAME=FILE.npy)", text);
  }
}

static orion_status load_input(const orion_io *io, const char *path, void *to, orion_error *err) {
  npy n;
  ORION_TRY(npy_open(path, &n, err));
  const orion_layout *l = &io->layout;
  bool same = n.rank == l->rank;
  for (int i = 0; same && i < n.rank; i++) same = n.dims[i] == l->dims[i];
  orion_status status = ORION_OK;
  char want[160];
  orion_layout_text(l, want, sizeof want);
  if (!same) {
    status = ORION_FAIL(err, ORION_FORMAT, "%s: its shape is not that of input %s (%s)", path, io->name, want);
  } else if (n.dtype == (orion_dtype)l->dtype) {
    orion_layout_unpack(l, to, n.data);
  } else if (n.dtype == ORION_FP32) {
    orion_layout_from_floats(l, to, n.data);
  } else if (n.dtype == ORION_INT32) {
    orion_layout_from_ints(l, to, n.data);
  } else {
    status = ORION_FAIL(err, ORION_FORMAT, "%s: elements of type %s for input %s (%s; fp32 is converted)", path,
                        orion_dtype_name(n.dtype), io->name, want);
  }
  npy_close(&n);
  return status;
}

// Normal numbers of deviation 1 (the sum of twelve uniform ones); integers 0 to 3.
static orion_status random_input(const orion_io *io, orion_rng *rng, void *to, orion_error *err) {
  size_t n = orion_layout_elements(&io->layout);
  float *values = orion_alloc(NULL, n, sizeof *values);
  if (!values) return ORION_OOM(err, io->name);
  bool real = orion_dtype_is_float((orion_dtype)io->layout.dtype);
  for (size_t i = 0; i < n; i++) {
    float sum = -6;
    for (int k = 0; k < 12 && real; k++) sum += orion_rng_float(rng);
    values[i] = real ? sum : (float)(orion_rng_u32(rng) % 4);
  }
  orion_layout_from_floats(&io->layout, to, values);
  orion_free(NULL, values, n, sizeof *values);
  return ORION_OK;
}

static orion_status fill_inputs(job *j, orion_error *err) {
  orion_rng rng;
  orion_rng_seed(&rng, (uint64_t)cli_int(j->a, "random-inputs", 0), 11);
  for (size_t i = 0; i < j->n_ios; i++) {
    const orion_io *io = &j->ios[i];
    ORION_TRY(orion_surface_create(j->device, &io->layout, &j->surfaces[i], err));
    ORION_TRY(orion_bind(j->bindings, io->name, j->surfaces[i], err));
    if (io->direction == ORION_OUTPUT) continue;
    const char *path = given_input(j->a, io->name);
    if (!path && !cli_flag(j->a, "random-inputs")) {
      return CLI_USAGE(err, "input %s is missing (--in %s=FILE.npy, or --random-inputs SEED)", io->name, io->name);
    }
    void *to = orion_surface_lock(j->surfaces[i]);
    orion_status status = path ? load_input(io, path, to, err) : random_input(io, &rng, to, err);
    orion_surface_unlock(j->surfaces[i]);
    if (status != ORION_OK) return status;
  }
  return ORION_OK;
}

static orion_status run_times(job *j, orion_error *err) {
  int64_t n = cli_int(j->a, "repeat", 1);
  if (n < 1 || n > 1000000) return CLI_USAGE(err, "--repeat: %lld is not within 1 to 1000000", (long long)n);
  double last[5] = {0};  // their middle is close enough to the median of all, for a glance
  for (int64_t i = 0; i < n; i++) {
    double start = orion_now();
    ORION_TRY(orion_run(j->bindings, err));
    last[i % 5] = 1e3 * (orion_now() - start);
  }
  int k = n < 5 ? (int)n : 5;
  for (int i = 1; i < k; i++) {
    for (int m = i; m > 0 && last[m] < last[m - 1]; m--) {
      double t = last[m];
      last[m] = last[m - 1];
      last[m - 1] = t;
    }
  }
  j->ms = last[k / 2];
  return ORION_OK;
}

static json_t *dims_json(const orion_layout *l) {
  json_t *dims = json_array();
  for (int i = 0; i < l->rank; i++) json_array_append_new(dims, json_integer(l->dims[i]));
  return dims;
}

static orion_status report_output(const job *j, size_t i, json_t *list, orion_error *err) {
  const orion_io *io = &j->ios[i];
  size_t n = orion_layout_elements(&io->layout), bytes;
  float *values = orion_alloc(NULL, n, sizeof *values);
  if (!values) return ORION_OOM(err, io->name);
  void *memory = orion_surface_lock(j->surfaces[i]);
  orion_layout_to_floats(&io->layout, memory, values);
  double low = INFINITY, high = -INFINITY, sum = 0;
  size_t bad = 0;
  for (size_t k = 0; k < n; k++) {
    double v = values[k];
    bad += !isfinite(v);
    low = v < low ? v : low;
    high = v > high ? v : high;
    sum += v;
  }
  const char *dir = cli_text(j->a, "out", NULL);
  orion_status status = ORION_OK;
  orion_dtype_bytes((orion_dtype)io->layout.dtype, n, &bytes);
  if (dir) {
    void *packed = orion_alloc(NULL, bytes, 1);
    char *name = NULL;
    if (packed) orion_layout_pack(&io->layout, memory, packed);
    status = packed ? cli_path(&name, err, "%s/%s.npy", dir, io->name) : ORION_OOM(err, io->name);
    if (status == ORION_OK) {
      status = npy_write(name, (orion_dtype)io->layout.dtype, io->layout.rank, io->layout.dims, packed, bytes, err);
    }
    orion_strfree(NULL, name);
    orion_free(NULL, packed, bytes, 1);
  }
  orion_surface_unlock(j->surfaces[i]);
  orion_free(NULL, values, n, sizeof *values);
  if (bad) cli_warn("output %s: %zu of %zu values are NaN or infinite", io->name, bad, n);
  char text[160];
  orion_layout_text(&io->layout, text, sizeof text);
  if (j->a->json) {
    json_t *object = json_pack("{s:s, s:s, s:o, s:I}", "name", io->name, "dtype", orion_dtype_name((orion_dtype)io->layout.dtype),
                               "shape", dims_json(&io->layout), "nonfinite", (json_int_t)bad);
    if (!bad && n) json_object_update_new(object, json_pack("{s:f, s:f, s:f}", "min", low, "max", high, "mean", sum / (double)n));
    json_array_append_new(list, object);
  } else {
    printf("%s: %s, %g to %g, mean %g\n", io->name, text, low, high, n ? sum / (double)n : 0);
  }
  return status;
}

static orion_status report(const job *j, orion_error *err) {
  const char *dir = cli_text(j->a, "out", NULL);
  if (dir) ORION_TRY(orion_dir_make(dir, err));
  json_t *list = json_array();
  orion_status status = ORION_OK;
  for (size_t i = 0; status == ORION_OK && i < j->n_ios; i++) {
    if (j->ios[i].direction == ORION_OUTPUT) status = report_output(j, i, list, err);
  }
  if (status != ORION_OK || !j->a->json) {
    json_decref(list);
    if (status == ORION_OK) printf("%.3f ms\n", j->ms);
    if (status == ORION_OK) cli_sim_report_end(j->a, j->device, NULL);
    return status;
  }
  orion_device_info info;
  orion_device_describe(j->device, &info);
  json_t *o = json_pack("{s:o, s:f, s:s}", "outputs", list, "run_ms", j->ms, "device", info.name);
  cli_sim_report_end(j->a, j->device, o);
  cli_print_json(o);
  return ORION_OK;
}

static orion_status run(const cli_args *a, orion_error *err) {
  static const char *const of_program[] = {"in", "random-inputs", "out", "blobs", "function", "repeat", "sim-report", NULL};
  static const char *const of_record[] = {"tolerance", NULL};
  if (orion_record_is(a->rest[0])) {
    ORION_TRY(cli_refuse(a, of_program, "is about a program, and the file is a record, which has its own inputs", err));
    return cli_replay(a, err);
  }
  ORION_TRY(cli_refuse(a, of_record, "is about a record, and the file is none", err));
  job j = {.a = a};
  orion_mil_open_options open = {.blobs = cli_text(a, "blobs", NULL)};
  orion_compile_options compile = {.function = cli_text(a, "function", NULL)};
  orion_status status = orion_mil_open(NULL, a->rest[0], &open, &j.program, err);
  if (status == ORION_OK) status = cli_open_device(a, &j.device, err);
  if (status == ORION_OK) status = cli_sim_report_start(a, j.device, err);
  if (status == ORION_OK) status = orion_device_compile(j.device, j.program, &compile, &j.executable, err);
  if (status == ORION_OK) status = orion_bindings_create(j.executable, &j.bindings, err);
  if (status == ORION_OK) {
    j.ios = orion_executable_ios(j.executable, &j.n_ios);
    if (j.n_ios > MAX_IOS) status = ORION_FAIL(err, ORION_LIMIT, "run: %zu inputs and outputs (at most %d)", j.n_ios, MAX_IOS);
  }
  if (status == ORION_OK) status = check_names(&j, err);
  if (status == ORION_OK) status = fill_inputs(&j, err);
  if (status == ORION_OK) status = run_times(&j, err);
  if (status == ORION_OK) status = report(&j, err);
  orion_bindings_destroy(j.bindings);
  for (size_t i = 0; i < MAX_IOS; i++) orion_surface_destroy(j.surfaces[i]);
  orion_executable_release(j.executable);
  orion_device_close(j.device);
  orion_program_destroy(j.program);
  return status;
}

const cli_command cli_command_run = {
    "run", "FILE.mil|DIR.mlmodelc|FILE.record", "Run a program, or what a record device wrote down, on a device.",
    "orion run model.mil --random-inputs 1 --device sim:ideal --out results", options, 1, 1, run};

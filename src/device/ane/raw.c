// Route A without help (device/raw.h): what a probe wants wrong goes to the framework wrong. Directories are made and left as
// the probe says, requests number surfaces as it says; only the objects of the framework are handled with care. Some of
// the mistakes end the process on a real machine, which is why probes make them in a process of their own.
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "device/ane/route_a.h"

typedef struct raw {
  orion_raw base;
  orion_id object;
  char id[ORION_ANE_ID_MAX], dir[ORION_ANE_PATH_MAX];
  bool second;            // loaded from another's directory
} raw;

static orion_ane_device *device_of(const raw *r) { return (orion_ane_device *)r->base.device; }

// ---- answers ----

static void answer_done(orion_answer *a, double start) {
  *a = (orion_answer){.symptom = ORION_SYMPTOM_NONE, .rule = ORION_RULES, .seconds = orion_now() - start};
}

static void answer_refused(const orion_ane_device *d, orion_answer *a, orion_symptom symptom, orion_ane_stage stage,
                           orion_cf error, double start) {
  orion_error err = {0};
  int64_t status = 0;
  answer_done(a, start);
  orion_ane_fail(&d->system, stage, "probe", error, &status, &err);
  a->symptom = symptom;
  a->status = (uint32_t)status;
  a->rule = orion_rule_of_status(symptom, a->status);
  snprintf(a->text, sizeof a->text, "%.*s", (int)sizeof a->text - 1, err.message);
}

// ---- files ----

// Nobody needs these files after a crash, so they are not flushed to the disk.
static orion_status write_below(const orion_ane_device *d, const char *dir, const char *name, const void *bytes, size_t n,
                                orion_error *err) {
  char path[ORION_ANE_PATH_MAX], parent[ORION_ANE_PATH_MAX];
  if (!orion_ane_below(path, sizeof path, dir, name) || strstr(name, "..")) {
    return ORION_FAIL(err, ORION_INVALID, "%s: not a name of a file", name);
  }
  memcpy(parent, path, sizeof parent);
  *strrchr(parent, '/') = 0;
  ORION_TRY(orion_dir_make(parent, err));
  orion_file_writer *w;
  ORION_TRY(orion_file_writer_open(d->base.allocator, path, &w, err));
  orion_file_writer_skip_flush(w);
  orion_status status = orion_file_writer_put(w, bytes, n, err);
  if (status == ORION_OK) return orion_file_writer_commit(w, err);
  orion_file_writer_abort(w);
  return status;
}

static orion_status write_files(const orion_ane_device *d, const char *dir, const orion_raw_file *files, size_t n,
                                orion_error *err) {
  for (size_t i = 0; i < n; i++) ORION_TRY(write_below(d, dir, files[i].path, files[i].bytes, files[i].n, err));
  return ORION_OK;
}

// ---- programs ----

static orion_status make_object(const orion_ane_device *d, const orion_raw_program *p, orion_id *out, char *out_id,
                                orion_error *err) {
  const orion_ane_system *s = &d->system;
  void *pool = s->f.objc_autoreleasePoolPush();
  orion_cf text = p->mistakes & ORION_RAW_TEXT_AS_STRING ? orion_cf_string(s, p->text) : orion_cf_bytes(s, p->text, p->n_text);
  bool none = p->mistakes & ORION_RAW_NO_DICTIONARY;
  orion_cf weights = none ? NULL : orion_ane_a_weights(s, p->files, p->n_files);
  orion_status status = text && (weights || none) ? orion_ane_a_object(s, text, weights, out, out_id, err)
                                                  : ORION_OOM(err, "ane: program");
  orion_cf_release(s, text);
  orion_cf_release(s, weights);
  s->f.objc_autoreleasePoolPop(pool);
  return status;
}

static orion_status place(const orion_ane_device *d, raw *r, const orion_raw_program *p, orion_error *err) {
  if (p->mistakes & ORION_RAW_NO_DIRECTORY) return ORION_OK;
  ORION_TRY(write_below(d, r->dir, "model.mil", p->text, p->n_text, err));
  return write_files(d, r->dir, p->files, p->n_files, err);
}

static bool compile_object(orion_ane_device *d, raw *r, orion_answer *a) {
  const orion_ane_system *s = &d->system;
  void *pool = s->f.objc_autoreleasePoolPush();
  double start = orion_now();
  orion_cf error = NULL;
  d->compiles++;
  bool done = s->m.compile.call(r->object, s->m.compile.sel, ORION_ANE_QOS, s->options, &error);
  if (done) answer_done(a, start);
  if (!done) answer_refused(d, a, ORION_SYMPTOM_COMPILE, ORION_ANE_COMPILE, error, start);
  s->f.objc_autoreleasePoolPop(pool);
  return done;
}

static bool load_object(orion_ane_device *d, raw *r, orion_answer *a) {
  const orion_ane_system *s = &d->system;
  void *pool = s->f.objc_autoreleasePoolPush();
  double start = orion_now();
  orion_cf error = NULL;
  bool done = s->m.load.call(r->object, s->m.load.sel, ORION_ANE_QOS, s->options, &error);
  if (done) answer_done(a, start);
  if (!done) answer_refused(d, a, ORION_SYMPTOM_LOAD, ORION_ANE_LOAD, error, start);
  s->f.objc_autoreleasePoolPop(pool);
  return done;
}

static void unload_object(orion_ane_device *d, raw *r) {
  const orion_ane_system *s = &d->system;
  void *pool = s->f.objc_autoreleasePoolPush();
  orion_cf error = NULL;
  s->m.unload.call(r->object, s->m.unload.sel, ORION_ANE_QOS, &error);
  s->f.objc_autoreleasePoolPop(pool);
}

static void destroy(raw *r, bool unload) {
  orion_ane_device *d = device_of(r);
  if (r->object && unload) unload_object(d, r);
  if (r->object) d->system.f.objc_release(r->object);
  if (!r->second) orion_ane_remove_tree(r->dir);
  orion_free(d->base.allocator, r, 1, sizeof *r);
}

// The object of a program; NULL in *out where the framework refused it, as `answer` says.
static orion_status begin(orion_device *device, const orion_raw_program *p, raw **out, orion_answer *answer, orion_error *err) {
  orion_ane_device *d = (orion_ane_device *)device;
  *out = NULL;
  if (d->route != &orion_ane_route_a) return ORION_FAIL(err, ORION_UNSUPPORTED, "ane: probes go by route a");
  raw *r = orion_alloc_zero(device->allocator, 1, sizeof *r);
  if (!r) return ORION_OOM(err, "ane: program");
  r->base.device = device;
  double start = orion_now();
  orion_error refusal;
  orion_status status = make_object(d, p, &r->object, r->id, &refusal);
  if (status == ORION_OK && !orion_ane_below(r->dir, sizeof r->dir, d->temporary, r->id)) {
    status = ORION_FAIL(&refusal, ORION_LIMIT, "%s: its path is too long", d->temporary);
  }
  if (status == ORION_OK) {
    *out = r;
    return ORION_OK;
  }
  r->second = true;  // it has no directory
  destroy(r, false);
  if (status != ORION_REFUSED) {
    if (err) *err = refusal;
    return status;
  }
  answer_done(answer, start);  // the framework gave no descriptor
  answer->symptom = ORION_SYMPTOM_COMPILE;
  snprintf(answer->text, sizeof answer->text, "%.*s", (int)sizeof answer->text - 1, refusal.message);
  return ORION_OK;
}

static orion_status raw_compile(orion_device *device, const orion_raw_program *p, orion_raw **out, orion_answer *answer,
                                orion_error *err) {
  orion_ane_device *d = (orion_ane_device *)device;
  raw *r;
  *out = NULL;
  ORION_TRY(begin(device, p, &r, answer, err));
  if (!r) return ORION_OK;
  orion_status status = place(d, r, p, err);
  orion_answer loaded;
  bool ok = status == ORION_OK && compile_object(d, r, answer);
  if (ok && !load_object(d, r, &loaded)) {
    *answer = loaded;
    ok = false;
  }
  if (ok) *out = &r->base;
  if (!ok) destroy(r, false);
  return status;
}

static orion_status raw_load(orion_device *device, const orion_raw_program *p, orion_raw **out, orion_answer *answer,
                             orion_error *err) {
  raw *r;
  *out = NULL;
  ORION_TRY(begin(device, p, &r, answer, err));
  if (!r) return ORION_OK;
  r->second = true;
  if (load_object((orion_ane_device *)device, r, answer)) {
    *out = &r->base;
  } else {
    destroy(r, false);
  }
  return ORION_OK;
}

static orion_status raw_identity(orion_device *device, const orion_raw_program *p, char *out, orion_error *err) {
  orion_ane_device *d = (orion_ane_device *)device;
  orion_id object = NULL;
  if (d->route != &orion_ane_route_a) return ORION_FAIL(err, ORION_UNSUPPORTED, "ane: probes go by route a");
  orion_status status = make_object(d, p, &object, out, err);
  if (object) d->system.f.objc_release(object);
  return status;
}

// ---- requests ----

static orion_cf surface_array(const orion_ane_system *s, orion_surface *const *surfaces, size_t n) {
  const void *objects[ORION_ANE_MAX_PORTS];
  for (size_t i = 0; i < n; i++) objects[i] = ((const orion_ane_surface *)surfaces[i])->object;
  return orion_cf_array(s, objects, n);
}

static orion_cf index_array(const orion_ane_system *s, size_t n) {
  const void *numbers[ORION_ANE_MAX_PORTS];
  size_t made = 0;
  while (made < n && (numbers[made] = orion_cf_integer(s, (int64_t)made))) made++;
  orion_cf array = made == n ? orion_cf_array(s, numbers, n) : NULL;
  for (size_t i = 0; i < made; i++) orion_cf_release(s, numbers[i]);
  return array;
}

static bool evaluate(orion_ane_device *d, raw *r, const orion_cf parts[5], orion_answer *a) {
  const orion_ane_system *s = &d->system;
  void *pool = s->f.objc_autoreleasePoolPush();
  orion_id request = s->m.request.call(s->m.request.owner, s->m.request.sel, parts[0], parts[1], parts[2], parts[3], NULL, NULL,
                                       parts[4]);
  double start = orion_now();
  orion_cf error = NULL;
  bool done = request && s->m.evaluate.call(r->object, s->m.evaluate.sel, ORION_ANE_QOS, s->options, request, &error);
  if (done) answer_done(a, start);
  if (!done) answer_refused(d, a, ORION_SYMPTOM_RUN, ORION_ANE_EVALUATE, error, start);
  s->f.objc_autoreleasePoolPop(pool);
  return done;
}

static orion_status raw_run(orion_raw *base, const orion_raw_request *q, orion_answer *answer, orion_error *err) {
  raw *r = (raw *)base;
  orion_ane_device *d = device_of(r);
  const orion_ane_system *s = &d->system;
  if (q->n_inputs > ORION_ANE_MAX_PORTS || q->n_outputs > ORION_ANE_MAX_PORTS) {
    return ORION_FAIL(err, ORION_LIMIT, "ane: a request of more than %d surfaces", ORION_ANE_MAX_PORTS);
  }
  orion_cf parts[5] = {surface_array(s, q->inputs, q->n_inputs), index_array(s, q->n_inputs),
                       surface_array(s, q->outputs, q->n_outputs), index_array(s, q->n_outputs), orion_cf_integer(s, 0)};
  bool ok = parts[0] && parts[1] && parts[2] && parts[3] && parts[4];
  if (ok) evaluate(d, r, parts, answer);
  for (int i = 0; i < 5; i++) orion_cf_release(s, parts[i]);
  return ok ? ORION_OK : ORION_OOM(err, "ane: request");
}

// ---- reloading ----

static orion_status read_below(const orion_ane_device *d, const char *dir, const char *name, char **out, size_t *out_n,
                               orion_error *err) {
  char path[ORION_ANE_PATH_MAX];
  if (!orion_ane_below(path, sizeof path, dir, name)) return ORION_FAIL(err, ORION_LIMIT, "%s: its path is too long", dir);
  return orion_file_read(d->base.allocator, path, SIZE_MAX / 4, out, out_n, err);
}

// Another object, of the same text and the new files; its directory inherits the compiled text.
static orion_status inherit(orion_ane_device *d, raw *r, const orion_raw_file *files, size_t n, orion_error *err) {
  char *text = NULL, *net = NULL;
  size_t n_text = 0, n_net = 0;
  raw fresh = {.base = r->base};
  orion_status status = read_below(d, r->dir, "model.mil", &text, &n_text, err);
  if (status == ORION_OK) status = read_below(d, r->dir, "net.plist", &net, &n_net, err);
  orion_raw_program p = {.text = text, .n_text = n_text, .files = files, .n_files = n};
  if (status == ORION_OK) status = make_object(d, &p, &fresh.object, fresh.id, err);
  if (status == ORION_OK && !orion_ane_below(fresh.dir, sizeof fresh.dir, d->temporary, fresh.id)) {
    status = ORION_FAIL(err, ORION_LIMIT, "%s: its path is too long", d->temporary);
  }
  if (status == ORION_OK) status = place(d, &fresh, &p, err);
  if (status == ORION_OK) status = write_below(d, fresh.dir, "net.plist", net, n_net, err);
  if (status == ORION_OK) status = write_below(d, fresh.dir, "data", files[0].bytes, files[0].n, err);
  if (text) orion_free(d->base.allocator, text, n_text + 1, 1);
  if (net) orion_free(d->base.allocator, net, n_net + 1, 1);
  if (status != ORION_OK) {
    if (fresh.object) d->system.f.objc_release(fresh.object);
    return status;
  }
  d->system.f.objc_release(r->object);
  if (strcmp(r->dir, fresh.dir) != 0) orion_ane_remove_tree(r->dir);
  *r = fresh;
  return ORION_OK;
}

static orion_status raw_reload(orion_raw *base, const orion_raw_file *files, size_t n, orion_raw_reload how,
                               orion_answer *answer, orion_error *err) {
  raw *r = (raw *)base;
  orion_ane_device *d = device_of(r);
  if (n == 0) return ORION_FAIL(err, ORION_INVALID, "ane: no files to reload with");
  unload_object(d, r);
  if (how == ORION_RELOAD_IDENTITY) {
    ORION_TRY(inherit(d, r, files, n, err));
  } else {
    ORION_TRY(write_files(d, r->dir, files, n, err));
    if (how == ORION_RELOAD_DATA) ORION_TRY(write_below(d, r->dir, "data", files[0].bytes, files[0].n, err));
  }
  load_object(d, r, answer);
  return ORION_OK;
}

static void raw_release(orion_raw *r, bool unload) { destroy((raw *)r, unload); }

static bool raw_keeps_time(const orion_device *d) { return !((const orion_ane_device *)d)->stand_in; }

const orion_raw_vtable orion_ane_raw = {
    .compile = raw_compile,
    .load = raw_load,
    .run = raw_run,
    .reload = raw_reload,
    .identity = raw_identity,
    .release = raw_release,
    .keeps_time = raw_keeps_time,
};

// Programs in this process. One that is here already is shared; one that an earlier process compiled is loaded from its
// directory; anything else is compiled, which the system allows a process only about a hundred times.
//
// Slots for loaded programs are few as well (about 127): when they are taken, the program that was used least recently is
// unloaded and comes back when it is run, in milliseconds and without compiling.
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "device/ane/ane.h"

enum { INSTANCES = 16, RETRY_MS = 100 };

// ---- loading ----

static orion_ane_model *least_used(const orion_ane_device *d, const orion_ane_model *but) {
  orion_ane_model *oldest = NULL;
  for (orion_ane_model *m = d->models; m; m = m->next) {
    if (m->loaded && m != but && (!oldest || m->used < oldest->used)) oldest = m;
  }
  return oldest;
}

static void unload(orion_ane_device *d, orion_ane_model *m) {
  if (!m->loaded) return;
  // Requests of a program that is gone keep their surfaces mapped.
  for (orion_ane_executable *e = d->executables; e; e = e->next) {
    if (e->model == m) orion_ane_drop_requests(d, e, 0);
  }
  d->route->unload(d, m);
  m->loaded = false;
  d->loaded--;
}

// Other processes, or the system itself, may hold slots too: the limit is ours, its refusal is the truth.
static bool out_of_slots(const orion_ane_device *d, const orion_error *err) {
  return strstr(err->message, d->route->no_slot) != NULL;
}

static void wait_ms(long ms) { nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL); }

static orion_status load(orion_ane_device *d, orion_ane_model *m, orion_error *err) {
  orion_error failure = {0};
  for (int attempt = 0;; attempt++) {
    orion_status status = d->route->load(d, m, &failure);
    if (status == ORION_OK) break;
    orion_ane_model *oldest = least_used(d, m);
    if (out_of_slots(d, &failure) && oldest) {
      unload(d, oldest);  // as often as it takes: each time there is one less
      attempt = -1;
    } else if (attempt == 0 && status == ORION_DEVICE) {
      wait_ms(RETRY_MS);  // right after a compile the slot is sometimes not free yet
    } else {
      if (err) *err = failure;
      return status;
    }
  }
  m->loaded = true;
  m->stale = false;
  m->generation++;
  d->loaded++;
  return ORION_OK;
}

orion_status orion_ane_model_ready(orion_ane_device *d, orion_ane_model *m, orion_error *err) {
  m->used = ++d->clock;
  if (m->stale) unload(d, m);
  if (m->loaded) return ORION_OK;
  while (d->loaded >= d->limits.loaded && least_used(d, m)) unload(d, least_used(d, m));
  return load(d, m, err);
}

// ---- compiling ----

static orion_status compile(orion_ane_device *d, orion_ane_model *m, orion_error *err) {
  if (d->compiles >= d->limits.compiles && d->exhausted) {
    d->exhausted(d->exhausted_ctx);  // may not come back
  }
  if (d->compiles >= d->limits.compiles) {
    return ORION_FAIL(err, ORION_LIMIT,
                      "ane: %d programs compiled in this process, and the system stops soon after (rule C05; save, and "
                      "start again: what is compiled stays compiled)", d->compiles);
  }
  d->compiles++;  // failing ones count as well
  ORION_TRY(d->route->compile(d, m, err));
  m->compiled = true;
  return ORION_OK;
}

void orion_ane_cache_key(const orion_ane_device *d, char *out, size_t size) {
  snprintf(out, size, "route %s, %s, build %s", d->route->name, d->chip, d->build);
}

// What is on disk may be of no use after all (a cache of the system's own was cleared): then it is compiled again.
static orion_status make_ready(orion_ane_device *d, orion_ane_model *m, bool on_disk, orion_error *err) {
  char key[256];
  orion_ane_cache_key(d, key, sizeof key);
  if (on_disk && orion_ane_model_ready(d, m, NULL) == ORION_OK) {
    m->compiled = true;
    return orion_ane_workdir_mark(d->base.allocator, &m->dir, m->content, key, err);  // used today
  }
  ORION_TRY(compile(d, m, err));
  ORION_TRY(orion_ane_model_ready(d, m, err));
  return orion_ane_workdir_mark(d->base.allocator, &m->dir, m->content, key, err);
}

// ---- identity ----

static orion_ane_model *find_content(const orion_ane_device *d, const char *content) {
  for (orion_ane_model *m = d->models; m; m = m->next) {
    if (!m->patched && strcmp(m->content, content) == 0) return m;
  }
  return NULL;
}

static bool has_id(const orion_ane_device *d, const char *id) {
  for (const orion_ane_model *m = d->models; m; m = m->next) {
    if (strcmp(m->id, id) == 0) return true;
  }
  return false;
}

// Gives the staged program its place. Two programs must not have one directory: where the identity is taken (a patched
// program, another process, or an identity that does not look at the weights) the text gets a mark of its own.
static orion_status settle(orion_ane_device *d, orion_ane_model *m, bool *out_on_disk, orion_error *err) {
  char key[256], to[ORION_ANE_PATH_MAX] = "";
  orion_ane_cache_key(d, key, sizeof key);
  for (int instance = 0; instance < INSTANCES; instance++) {
    if (instance) ORION_TRY(orion_ane_workdir_stage_again(d->base.allocator, &m->dir, instance, err));
    char id[ORION_ANE_ID_MAX];
    ORION_TRY(d->route->identify(d, m, m->dir.path, id, err));
    if (!orion_ane_below(to, sizeof to, d->temporary, id)) return ORION_FAIL(err, ORION_LIMIT, "%s: its path is too long", d->temporary);
    if (!has_id(d, id)) {
      orion_status status = orion_ane_workdir_claim(d->base.allocator, &m->dir, to, m->content, key, out_on_disk, err);
      if (status == ORION_OK) memcpy(m->id, id, sizeof id);
      if (status != ORION_REFUSED) return status;
    }
    d->route->forget(d, m);
  }
  return ORION_FAIL(err, ORION_LIMIT, "ane: %s: %d programs of this text at once", to, INSTANCES);
}

static void destroy(orion_ane_device *d, orion_ane_model *m) {
  unload(d, m);
  d->route->forget(d, m);
  orion_program_destroy(m->program);
  bool keep = d->keep && m->compiled && !m->patched;
  orion_ane_workdir_release(&m->dir, keep);
  if (keep) orion_ane_trim(d->temporary, d->keep);  // training by recompiling leaves a program for each update
  orion_free(d->base.allocator, m, 1, sizeof *m);
}

static orion_status create(orion_ane_device *d, orion_ane_workdir *staged, const char *content, orion_ane_model **out,
                           orion_error *err) {
  orion_ane_model *m = orion_alloc_zero(d->base.allocator, 1, sizeof *m);
  if (!m) {
    orion_ane_workdir_release(staged, false);
    return ORION_OOM(err, "ane: program");
  }
  m->dir = *staged;
  memcpy(m->content, content, sizeof m->content);
  bool on_disk = false;
  orion_status status = settle(d, m, &on_disk, err);
  if (status == ORION_OK) status = make_ready(d, m, on_disk, err);
  if (status != ORION_OK) {
    destroy(d, m);
    return status;
  }
  m->next = d->models;
  d->models = m;
  *out = m;
  return ORION_OK;
}

orion_status orion_ane_model_obtain(orion_ane_device *d, const orion_program *p, orion_ane_model **out,
                                    orion_error *err) {
  orion_ane_workdir staged;
  char content[ORION_ANE_ID_MAX];
  ORION_TRY(orion_ane_workdir_stage(d->base.allocator, p, d->temporary, &staged, content, err));
  orion_ane_model *m = find_content(d, content);
  if (m) {
    orion_ane_workdir_release(&staged, false);
    ORION_TRY(orion_ane_model_ready(d, m, err));
  } else {
    ORION_TRY(create(d, &staged, content, &m, err));
  }
  m->users++;
  *out = m;
  return ORION_OK;
}

void orion_ane_model_release(orion_ane_device *d, orion_ane_model *m) {
  if (!m || --m->users) return;
  for (orion_ane_model **at = &d->models; *at; at = &(*at)->next) {
    if (*at != m) continue;
    *at = m->next;
    break;
  }
  destroy(d, m);
}

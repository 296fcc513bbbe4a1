// A program's directory as the sim takes it: the text and all files beside it. The sim reads it as its own raw contract does
// (device/raw.h), so that rules of programs hold, or are switched off, in one way for both.
#include <dirent.h>

#include "base/file.h"
#include "device/sim/plan.h"
#include "source.h"

enum { MAX_FILES = 256, MAX_BYTES = 1 << 30 };

typedef struct source {
  char *text;
  size_t n_text;
  orion_raw_file files[MAX_FILES];
  size_t n;
} source;

static bool is_result(const char *name) {
  return strcmp(name, "model.mil") == 0 || strcmp(name, "net.plist") == 0 || strcmp(name, "data") == 0;
}

static bool add_file(source *s, const char *path, const char *name) {
  char *bytes;
  size_t n;
  if (s->n == MAX_FILES || orion_file_read(NULL, path, MAX_BYTES, &bytes, &n, NULL) != ORION_OK) return false;
  s->files[s->n++] = (orion_raw_file){strdup(name), bytes, n};
  return true;
}

// All files of `dir` under `root`, by their path below it.
static bool add_files(source *s, const char *root, const char *below) {
  char path[PATH], name[PATH];
  if (snprintf(path, sizeof path, "%s%s", root, below) >= PATH) return false;
  DIR *dir = opendir(path);
  bool ok = dir != NULL;
  for (struct dirent *e; ok && (e = readdir(dir));) {
    if (e->d_name[0] == '.' || (!*below && is_result(e->d_name))) continue;
    ok = (size_t)snprintf(name, sizeof name, "%s/%s", below, e->d_name) < sizeof name &&
         (size_t)snprintf(path, sizeof path, "%s%s", root, name) < sizeof path;
    if (ok) ok = orion_dir_exists(path) ? add_files(s, root, name) : add_file(s, path, name + 1);
  }
  if (dir) closedir(dir);
  return ok;
}

static void source_free(source *s) {
  for (size_t i = 0; i < s->n; i++) {
    free((void *)(uintptr_t)s->files[i].path);
    orion_free(NULL, (void *)(uintptr_t)s->files[i].bytes, s->files[i].n + 1, 1);
  }
  if (s->text) orion_free(NULL, s->text, s->n_text + 1, 1);
}

orion_program *source_open(orion_device *sim, const char *dir, orion_answer *answer) {
  static source s;  // large
  char path[PATH];
  orion_program *p = NULL;
  s = (source){0};
  *answer = (orion_answer){.symptom = ORION_SYMPTOM_COMPILE, .rule = ORION_RULES};
  bool ok = snprintf(path, sizeof path, "%s/model.mil", dir) < PATH &&
            orion_file_read(NULL, path, MAX_BYTES, &s.text, &s.n_text, NULL) == ORION_OK && add_files(&s, dir, "");
  if (ok) {
    orion_raw_program raw = {.text = s.text, .n_text = s.n_text, .files = s.files, .n_files = s.n};
    *answer = (orion_answer){.rule = ORION_RULES};
    if (orion_sim_read(sim, &raw, &p, answer, NULL) != ORION_OK) answer->symptom = ORION_SYMPTOM_COMPILE;
  }
  source_free(&s);
  return p;
}

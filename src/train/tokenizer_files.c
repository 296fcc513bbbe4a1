#include "train/tokenizer_files.h"

#include <stdio.h>

// The first rows are tokenizers by themselves, each a group of its own with its partners; the rest go with any.
enum { GROUPS = 5 };
static const struct {
  const char *name;
  int group;
} known[ORION_TOKENIZER_FILES] = {
    {"tokenizer.json", 0}, {"tokenizer.model", 1}, {"vocab.json", 2}, {"merges.txt", 2}, {"encoder.json", 3}, {"vocab.bpe", 3},
    {"tokenizer.bin", 4}, {"tokenizer_config.json", GROUPS}, {"special_tokens_map.json", GROUPS},
    {"generation_config.json", GROUPS}};

// The row of the table under which a single file goes.
static int row_of(const char *base) {
  for (int i = 0; i < ORION_TOKENIZER_FILES; i++) {
    if (known[i].group < GROUPS && strcmp(base, known[i].name) == 0) return i;
  }
  return orion_path_ends(base, ".bin") ? 6 : orion_path_ends(base, ".model") ? 1 : 0;
}

static orion_status add(orion_tokenizer_files *out, const char *path, const char *name, orion_error *err) {
  ORION_TRY(orion_file_open_map(path, &out->maps[out->n], err));
  out->names[out->n++] = name;
  return ORION_OK;
}

orion_status orion_tokenizer_files_open(const char *path, orion_tokenizer_files *out, orion_error *err) {
  const char *slash = strrchr(path, '/');
  bool single = orion_file_exists(path);
  int own = single ? row_of(slash ? slash + 1 : path) : -1;
  if (single) ORION_TRY(add(out, path, known[own].name, err));
  for (int i = 0; i < ORION_TOKENIZER_FILES; i++) {
    if (i == own || (single && known[i].group != GROUPS && known[i].group != known[own].group)) continue;
    char beside[4096];
    int dir = single ? slash ? (int)(slash - path) : 1 : (int)strlen(path);
    int n = snprintf(beside, sizeof beside, "%.*s/%s", dir, single && !slash ? "." : path, known[i].name);
    if (n < 0 || (size_t)n >= sizeof beside) return ORION_FAIL(err, ORION_INVALID, "%.100s: the path is too long", path);
    if (orion_file_exists(beside)) ORION_TRY(add(out, beside, known[i].name, err));
  }
  return ORION_OK;
}

void orion_tokenizer_files_close(orion_tokenizer_files *files) {
  for (size_t i = 0; i < files->n; i++) orion_file_close_map(&files->maps[i]);
  files->n = 0;
}

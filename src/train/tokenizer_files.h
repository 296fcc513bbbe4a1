// The files of a tokenizer, held open from the start of a run: they go into every checkpoint, and where they lie may be an
// earlier checkpoint, which is removed meanwhile. Inside the train room.
#ifndef ORION_TRAIN_TOKENIZER_FILES_H
#define ORION_TRAIN_TOKENIZER_FILES_H

#include "base/file.h"

#define ORION_TOKENIZER_FILES 10

typedef struct orion_tokenizer_files {
  size_t n;
  const char *names[ORION_TOKENIZER_FILES];  // static strings
  orion_file_map maps[ORION_TOKENIZER_FILES];
} orion_tokenizer_files;

// Of a directory, all files that a tokenizer may consist of; of a single file, that one under the name by which a directory
// is searched, and what belongs beside it. `out` is zeroed before; close it in any case.
orion_status orion_tokenizer_files_open(const char *path, orion_tokenizer_files *out, orion_error *err);
void orion_tokenizer_files_close(orion_tokenizer_files *files);

#endif

// From texts to programs with their weights, and back: files, .mlmodelc directories, blob files.
#ifndef ORION_MIL_BIND_H
#define ORION_MIL_BIND_H

#include "ir/infer.h"
#include "mil/mil.h"

typedef struct orion_mil_open_options {
  bool unbound;        // parse only: BLOBFILE literals keep `data` NULL
  const char *blobs;   // what @model_path stands for; NULL: the directory that the text is in
} orion_mil_open_options;

// Opens FILE.mil ("-": standard input), or a directory with a model.mil inside (DIR.mlmodelc). `options` may be NULL.
orion_status orion_mil_open(const orion_allocator *a, const char *path, const orion_mil_open_options *options,
                            orion_program **out, orion_error *err);

// Gives every BLOBFILE literal its data: maps each blob file once (the program's data store keeps it), finds the
// record, checks dtype and size against the literal's type. `file` names the text in messages.
orion_status orion_mil_bind(orion_program *p, const char *file, const char *dir, orion_error *err);

// What orion_mil_bind would say, for each literal of a program opened from `path`, as findings of rule "constant"
// (a blob file that does not open is reported once). The program stays as it is.
orion_status orion_mil_check_blobs(orion_program *p, const char *path, const char *blobs, bool fatal,
                                   orion_findings *out, orion_error *err);

typedef struct orion_mil_write_options {
  size_t inline_bytes;      // constants of at most so many bytes stay in the text; 0: 256
  uint64_t max_file_bytes;  // a blob file is not begun to be filled beyond; 0: 4 GiB - 1, which is what others can read
  const char *mil_name;     // NULL: "model.mil"
  const char *blob_name;    // NULL: "weights/weight.bin"; further files are "weights/weight_1.bin" and so on
} orion_mil_write_options;

// Writes a program as a directory: its text, and its constants in blob files. `options` may be NULL.
orion_status orion_mil_write_dir(const orion_program *p, const char *dir, const orion_mil_write_options *options,
                                 orion_error *err);

#endif

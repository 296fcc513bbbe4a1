/// MIL programs: reading, writing, and finding out what is wrong with them.
#ifndef ORION_PROGRAM_H
#define ORION_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "orion/alloc.h"
#include "orion/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct orion_program orion_program;

typedef struct orion_mil_open_options {
  bool unbound;        ///< read the text only: weights stay unread, the program cannot run
  const char *blobs;   ///< what @model_path stands for; NULL: the directory that the text is in
} orion_mil_open_options;

/// Opens FILE.mil ("-": standard input), or a directory with a model.mil inside (DIR.mlmodelc), with its weights.
/// `options` may be NULL. The caller destroys the program.
ORION_API orion_status orion_mil_open(const orion_allocator *a, const char *path, const orion_mil_open_options *options,
                                      orion_program **out, orion_error *err);
ORION_API void orion_program_destroy(orion_program *p);  ///< NULL is ignored

typedef struct orion_mil_write_options {
  size_t inline_bytes;      ///< constants of at most so many bytes stay in the text; 0: 256
  uint64_t max_file_bytes;  ///< a blob file is not begun to be filled beyond; 0: 4 GiB - 1, which is what others can read
  const char *mil_name;     ///< NULL: "model.mil"
  const char *blob_name;    ///< NULL: "weights/weight.bin"; further files are "weights/weight_1.bin" and so on
} orion_mil_write_options;

/// Writes a program as a directory: its text in canonical form, its constants in blob files. `options` may be NULL.
ORION_API orion_status orion_mil_write_dir(const orion_program *p, const char *dir,
                                           const orion_mil_write_options *options, orion_error *err);

/// One thing wrong with a program. Strings live as long as the list.
typedef struct orion_finding_info {
  const char *rule;         ///< "type", "shape", "name", "argument", "constant", or the id of a target's rule
  bool fatal;               ///< false: a warning
  uint32_t line, column;    ///< in the text, from 1; 0: nowhere in particular
  const char *value;        ///< tensor concerned, or NULL
  const char *message;
  const char *way_out;      ///< what to do about it, or NULL
} orion_finding_info;

typedef struct orion_findings orion_findings;
ORION_API orion_status orion_findings_create(const orion_allocator *a, orion_findings **out, orion_error *err);
ORION_API void orion_findings_destroy(orion_findings *list);  ///< NULL is ignored
ORION_API size_t orion_findings_count(const orion_findings *list);
ORION_API void orion_findings_get(const orion_findings *list, size_t index, orion_finding_info *out);

/// Appends everything that is wrong with the program itself, and, if that is nothing fatal, every limit of `target`
/// ("m1" to "m6", "cpu") that it breaks. What a device lacks: orion_device_supports.
ORION_API orion_status orion_program_check(orion_program *p, const char *target, orion_findings *list,
                                           orion_error *err);

#ifdef __cplusplus
}
#endif
#endif

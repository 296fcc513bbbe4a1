// From texts to programs with their weights, and back: files, .mlmodelc directories, blob files.
#ifndef ORION_MIL_BIND_H
#define ORION_MIL_BIND_H

#include "ir/infer.h"
#include "mil/mil.h"
#include "orion/program.h"

// Opening and writing whole programs: orion_mil_open, orion_mil_write_dir (orion/program.h).

// What orion_mil_open would say about blob files, for each literal of a program opened from `path`, as findings of rule
// "constant" (a blob file that does not open is reported once). The program stays as it is.
orion_status orion_mil_check_blobs(orion_program *p, const char *path, const char *blobs, bool fatal,
                                   orion_findings *out, orion_error *err);

#endif

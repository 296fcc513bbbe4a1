// Directories that programs are compiled in: DIR/model.mil, DIR/weights/..., and what the compiler leaves beside them.
//
// The private framework wants them at a place it decides (temporary directory / identity of the program), so several
// processes may want the same one. Each user holds a shared lock on DIR/orion.lock; who wants to change or remove a
// directory needs it alone. DIR/orion.key says whose content was compiled, for which build of the system and which chip:
// a directory with the right key needs no compiling. Directories that nobody holds and nobody will want are swept.
#ifndef ORION_DEVICE_ANE_WORKDIR_H
#define ORION_DEVICE_ANE_WORKDIR_H

#include "base/alloc.h"
#include "ir/ir.h"

#define ORION_ANE_PATH_MAX 1024
#define ORION_ANE_ID_MAX 256

bool orion_ane_below(char *out, size_t size, const char *dir, const char *name);  // "dir/name"; false: it does not fit
// Path of weight file `i` in such a directory, as orion_mil_write_dir calls it.
void orion_ane_weight_name(char *out, size_t size, size_t i);

typedef struct orion_ane_workdir {
  char path[ORION_ANE_PATH_MAX];  // "": none
  int lock;                       // descriptor of orion.lock; valid while path is not empty
} orion_ane_workdir;

// Writes a program into a fresh directory below `temporary`, held from its first moment. out_content: ORION_ANE_ID_MAX
// characters, a hash of all it consists of. _again puts a number into its text, which gives it another identity.
orion_status orion_ane_workdir_stage(const orion_allocator *a, const orion_program *p, const char *temporary,
                                     orion_ane_workdir *out, char *out_content, orion_error *err);
orion_status orion_ane_workdir_stage_again(const orion_allocator *a, const orion_ane_workdir *w, int instance,
                                           orion_error *err);

// Makes the staged directory the directory `to`, or uses what is there if it is of the same content: then that is what
// *w becomes. ORION_REFUSED: `to` is in use with another content. *out_compiled: `key` says it is compiled already.
orion_status orion_ane_workdir_claim(const orion_allocator *a, orion_ane_workdir *w, const char *to, const char *content,
                                     const char *key, bool *out_compiled, orion_error *err);
// Notes that the directory is compiled (key not NULL), or that it is not what its name says any more (NULL).
orion_status orion_ane_workdir_mark(const orion_allocator *a, const orion_ane_workdir *w, const char *content,
                                    const char *key, orion_error *err);
// Lets go of it; removes it unless `keep`, or another process holds it.
void orion_ane_workdir_release(orion_ane_workdir *w, bool keep);

// Removes directories of ours below `temporary` that nobody holds: all but those whose key is `key` and that were used
// within `days`.
void orion_ane_sweep(const orion_allocator *a, const char *temporary, const char *key, int days);
// Removes the directories that were used least recently until no more than `most` are left, or all others are held.
void orion_ane_trim(const char *temporary, int most);
void orion_ane_remove_tree(const char *path);

#endif

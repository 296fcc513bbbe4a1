// Files as the rest of Orion wants them: mapped for reading, written whole or not at all. Errors name the path: NOT_FOUND where
// it, or a directory on the way, does not exist or is of the wrong kind; LIMIT where it is too large; else IO.
#ifndef ORION_BASE_FILE_H
#define ORION_BASE_FILE_H

#include "base/alloc.h"

// A whole file mapped read-only. Empty files map to data = "" and size 0. The bytes may change or vanish if somebody
// truncates the file meanwhile; Orion treats inputs as stable while they are open.
typedef struct orion_file_map {
  const uint8_t *data;
  size_t size;
  uint64_t identity;  // a number for what is in the file now, another for another content; 0 where that cannot be told
} orion_file_map;

orion_status orion_file_open_map(const char *path, orion_file_map *out, orion_error *err);
void orion_file_close_map(orion_file_map *map);

// Reads a whole file of at most `max` bytes into a fresh terminated buffer (terminator not counted in *out_size); free
// with orion_free(a, data, size + 1, 1). "-" is standard input; pipes and terminals are read to their end.
orion_status orion_file_read(const orion_allocator *a, const char *path, size_t max, char **out_data, size_t *out_size,
                             orion_error *err);

// An atomic write: bytes go to a temporary file beside `path`; commit flushes it to the disk and renames it into
// place; abort (or a crash) leaves what stood there before. After a failed put, commit refuses and leaves it too. The new
// file has the old one's mode; a symbolic link is replaced, and what it points to stays. A device, a pipe or /dev/stdout is
// not replaced: it gets the bytes as they are put.
typedef struct orion_file_writer orion_file_writer;
orion_status orion_file_writer_open(const orion_allocator *a, const char *path, orion_file_writer **out,
                                    orion_error *err);
orion_status orion_file_writer_put(orion_file_writer *w, const void *bytes, size_t n, orion_error *err);
orion_status orion_file_writer_put_at(orion_file_writer *w, uint64_t offset, const void *bytes, size_t n,
                                      orion_error *err);
void orion_file_writer_skip_flush(orion_file_writer *w);  // a crash may then leave a damaged file in place: for caches
orion_status orion_file_writer_commit(orion_file_writer *w, orion_error *err);  // closes and frees in any case
void orion_file_writer_abort(orion_file_writer *w);                              // NULL is ignored

// All of the above for one buffer.
orion_status orion_file_write(const orion_allocator *a, const char *path, const void *bytes, size_t n,
                              orion_error *err);

// A file that grows: what was put is in the file, whole, when a put returns, whatever becomes of the process after. Starts
// empty; a put that fails is cut off again.
typedef struct orion_file_appender orion_file_appender;
orion_status orion_file_appender_open(const orion_allocator *a, const char *path, orion_file_appender **out,
                                      orion_error *err);
orion_status orion_file_appender_put(orion_file_appender *f, const void *bytes, size_t n, orion_error *err);
void orion_file_appender_close(orion_file_appender *f);  // NULL is ignored

bool orion_file_exists(const char *path);
bool orion_dir_exists(const char *path);
orion_status orion_dir_make(const char *path, orion_error *err);  // with its parents; existing is fine
bool orion_path_ends(const char *path, const char *end);          // "a.bin" with ".bin"
char *orion_path_join(const orion_allocator *a, const char *dir, const char *name);  // NULL when out of memory

#endif

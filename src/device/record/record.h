// Records: every call to a device in one file, to be studied and replayed elsewhere. Little endian, append-only:
//
//   file     "ORIONREC", u32 version, u32 0, entries
//   entry    u32 kind, u32 status, u64 bytes of the payload, u64 hash of the payload, payload, padding to 8 bytes
//
//   OPEN     f64 seconds, text: specification, family, numerics
//   PROGRAM  u32 id, u32 n, f64 seconds, text: function, MIL, error message; n blobs: u64 offset, u64 bytes, bytes. The
//            text's constants are BLOBFILEs whose offsets are those of the blobs. Id 0: it did not compile
//   RUN      u32 program, u32 n, f64 seconds, text: error message; n tensors: u32 direction, u32 dtype, u32 rank, u32 0,
//            i64 dims[rank], text: name, u64 bytes, packed elements. Outputs only where it succeeded
//   UPDATE   u32 program, u32 0, f64 seconds, text: error message, value; u64 bytes, bytes
//   RELEASE  u32 program, u32 0, f64 seconds
//
// A text is u64 bytes and the bytes; the next field begins at a multiple of 8. Each entry is in the file, whole, before the
// call that it tells of returns. A file that ends inside an entry is one whose process died: what came before counts.
#ifndef ORION_DEVICE_RECORD_RECORD_H
#define ORION_DEVICE_RECORD_RECORD_H

#include "base/strbuf.h"
#include "device/device.h"

#define ORION_RECORD_MAGIC "ORIONREC"
#define ORION_RECORD_VERSION 1

typedef enum orion_record_kind {
  ORION_RECORD_OPEN = 1, ORION_RECORD_PROGRAM, ORION_RECORD_RUN, ORION_RECORD_UPDATE, ORION_RECORD_RELEASE,
  ORION_RECORD_KINDS
} orion_record_kind;
const char *orion_record_kind_name(uint32_t kind);  // "program"; "?" if unknown

// ---- writing ----

typedef struct orion_record_buffer {  // one payload
  orion_strbuf bytes;
} orion_record_buffer;
void orion_record_u32(orion_record_buffer *b, uint32_t a, uint32_t c);  // two of them: fields keep multiples of 8
void orion_record_u64(orion_record_buffer *b, uint64_t v);
void orion_record_f64(orion_record_buffer *b, double v);
void orion_record_bytes(orion_record_buffer *b, const void *bytes, size_t n);  // u64 n, bytes, padding
void orion_record_text(orion_record_buffer *b, const char *text);              // NULL as ""
uint64_t orion_record_hash(const void *bytes, size_t n);

// ---- reading ----

typedef struct orion_record_span {   // into the file
  const char *text;                  // not terminated
  size_t n;
} orion_record_span;

typedef struct orion_record_tensor {
  orion_direction direction;
  orion_layout layout;               // packed
  orion_record_span name, bytes;     // layout.bytes of them; none for an output of a failed run
} orion_record_tensor;

typedef struct orion_record_blob {
  uint64_t offset;
  orion_record_span bytes;
} orion_record_blob;

typedef struct orion_record_entry {
  orion_record_kind kind;
  orion_status status;
  uint32_t program;
  double seconds;
  orion_record_span spec, family, numerics;     // OPEN
  orion_record_span function, mil, message;     // PROGRAM; message of all
  orion_record_span value, bytes;               // UPDATE
  size_t n_blobs, n_tensors;
  const orion_record_blob *blobs;               // until the next entry
  const orion_record_tensor *tensors;
} orion_record_entry;

typedef struct orion_record orion_record;
orion_status orion_record_open(const orion_allocator *a, const char *path, orion_record **out, orion_error *err);
orion_status orion_record_open_memory(const orion_allocator *a, const char *name, const void *bytes, size_t n,
                                      orion_record **out, orion_error *err);  // bytes outlive it
void orion_record_close(orion_record *r);  // NULL is ignored
// The next entry; *out_more false at the end. Whole entries are checked to the last field.
orion_status orion_record_next(orion_record *r, orion_record_entry *out, bool *out_more, orion_error *err);
bool orion_record_cut(const orion_record *r);  // at the end: did the file end inside an entry?
bool orion_record_is(const char *path);        // does the file begin as one?

// The program of an entry with its constants (copied). The caller destroys it.
orion_status orion_record_program(const orion_record_entry *e, const orion_allocator *a, orion_program **out,
                                  orion_error *err);

// ---- replaying ----

typedef struct orion_replay_tensor {  // one output of one run, recorded against run now
  uint32_t program;
  size_t run;                         // counted from 1
  const char *name;
  size_t elements, differing, nonfinite;  // not equal; infinite or NaN in one of the two only
  double largest, scale;              // largest difference of finite numbers; largest magnitude recorded
} orion_replay_tensor;
typedef orion_status (*orion_replay_fn)(void *ctx, const orion_replay_tensor *t, orion_error *err);

typedef struct orion_replay_counts {
  size_t programs, runs, updates, refused;  // refused: did not compile when recorded; tried all the same
  double recorded_seconds, seconds;         // of runs
  bool cut;
} orion_replay_counts;

// Does on `device` what the record says was done, and compares outputs. A program that compiled then and does not now, or a
// run that fails now, is an error.
orion_status orion_record_replay(orion_record *r, orion_device *device, orion_replay_fn each, void *ctx,
                                 orion_replay_counts *out, orion_error *err);

#endif

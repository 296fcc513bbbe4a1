// Blob files, version 2: the weights beside a MIL text. Little endian, everything at multiples of 64 bytes.
//
//   header   u32 count, u32 version = 2, 56 bytes of zero
//   tensor   record: u32 0xDEADBEEF, u32 dtype code, u64 size in bytes, u64 offset of the data in the file,
//                    u64 unused bits at the end of the data (elements narrower than a byte), 32 bytes of zero
//            data
//   ...      count times; the next record begins at the first multiple of 64 behind the data
//
// BLOBFILE(offset = ...) in a text is the offset of the record. Names and shapes are the text's.
#ifndef ORION_MIL_BLOB_H
#define ORION_MIL_BLOB_H

#include "ir/data.h"

uint32_t orion_blob_code(orion_dtype d);  // 0: blob files cannot hold the type
orion_dtype orion_blob_dtype(uint32_t code);  // ORION_DTYPE_NONE if unknown

// ---- reading ----

typedef struct orion_blob_tensor {
  uint64_t record;        // offset of its record
  uint64_t offset;        // of its data
  orion_dtype dtype;
  size_t size;            // bytes
  size_t elements;
  const uint8_t *bytes;   // size of them, as long as the file is open
} orion_blob_tensor;

typedef struct orion_blob_file orion_blob_file;

// Opens a file by mapping it, or memory that outlives the object (`name` for messages). All records are checked.
orion_status orion_blob_open(const orion_allocator *a, const char *path, orion_blob_file **out, orion_error *err);
orion_status orion_blob_open_memory(const orion_allocator *a, const char *name, const void *bytes, size_t n,
                                    orion_blob_file **out, orion_error *err);
void orion_blob_close(orion_blob_file *f);  // NULL is ignored

const orion_blob_tensor *orion_blob_tensors(const orion_blob_file *f, size_t *out_n);  // in the file's order
// The tensor whose record is at `record`: ORION_FORMAT if there is none.
orion_status orion_blob_find(const orion_blob_file *f, uint64_t record, orion_blob_tensor *out, orion_error *err);

// ---- writing ----

// An atomic write (base/file.h). Tensors are written as they are added, computed rows at a time; a node of orion_data
// added twice is stored once. Equal calls make equal bytes.
typedef struct orion_blob_writer orion_blob_writer;
orion_status orion_blob_writer_open(const orion_allocator *a, const char *path, orion_blob_writer **out,
                                    orion_error *err);
orion_status orion_blob_writer_add(orion_blob_writer *w, const orion_data *x, uint64_t *out_record, orion_error *err);
bool orion_blob_writer_find(const orion_blob_writer *w, const orion_data *x, uint64_t *out_record);  // added already?
uint64_t orion_blob_writer_size(const orion_blob_writer *w);  // bytes so far
orion_status orion_blob_writer_commit(orion_blob_writer *w, orion_error *err);  // frees in any case
void orion_blob_writer_abort(orion_blob_writer *w);                              // NULL is ignored

// Sizes and names that reader and writer share.
#define ORION_BLOB_ALIGN 64
#define ORION_BLOB_SENTINEL 0xDEADBEEFu
#define ORION_BLOB_VERSION 2

#endif

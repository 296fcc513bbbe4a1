// Inside the model room: how the readers of formats put a model together.
#ifndef ORION_MODEL_PARTS_H
#define ORION_MODEL_PARTS_H

#include "model/model.h"
#include "model/safetensors.h"

// Weight files up to this size are searched for NaN and infinity when they are opened. In larger ones that would cost a
// second reading; whoever packs their weights finds them then.
#define ORION_SCAN_BYTES (64u << 20)

// A model with a store, no weights yet. `dir` is copied.
orion_status orion_model_create(const orion_allocator *a, const orion_config *config, const char *path, const char *dir,
                                orion_model **out, orion_error *err);

// A second model over the same weights: those of `m` live as long as either.
orion_status orion_model_share(const orion_model *m, orion_model **out, orion_error *err);

// Fails with FORMAT, naming tensor and byte, if one of n elements is NaN or infinite.
orion_status orion_model_check_finite(const char *file, const char *tensor, uint64_t offset, orion_dtype dtype,
                                      const void *elements, size_t n, orion_error *err);

// The tensor as [rows, cols] of its file (vectors have cols 1), where it lies, or copied where it is not aligned: the format
// does not promise it, nearly every writer provides it. The file outlives the store. NULL when out of memory.
const orion_data *orion_stored_leaf(orion_data_store *store, const orion_stored_tensor *t);
// Fails, naming file, byte and tensor, unless it has this shape and a floating type. `who`: "config.json asks for".
orion_status orion_stored_check(const orion_safetensors *file, const orion_stored_tensor *t, int rank, const int64_t *dims,
                                const char *who, orion_error *err);

// llama2.c's version 0 file, from memory that outlives the model's store. `name` is for messages.
orion_status orion_llama2c_parse(const orion_allocator *a, const char *name, const char *dir, const void *bytes,
                                 size_t n, orion_model **out, orion_error *err);

// Offsets in orion_layer_weights in the order of that file, each field for all layers; wq and wk have their rows by neighbours.
enum { ORION_LLAMA2C_FIELDS = 9 };
extern const size_t orion_llama2c_fields[ORION_LLAMA2C_FIELDS];
bool orion_llama2c_rotated(size_t field);

// Fills a new model from the weight files of a Hugging Face directory.
orion_status orion_hf_load(orion_model *m, const char *dir, bool tied_stated, orion_error *err);

// The tensors of one quantised matrix: integers I8, or I32 where eight are packed into a word. `refused`: one that says
// what nobody here can do. All but the first may be NULL.
typedef struct orion_hf_quantised {
  const orion_safetensors *file;
  const orion_stored_tensor *integers, *scales, *shape, *refused;
} orion_hf_quantised;

// Rows part/parts (0, 0: all) of a matrix of integers [rows, cols], as the floats they stand for (hf_quantised.c).
orion_status orion_hf_integers(orion_model *m, const orion_hf_quantised *in, int64_t rows, int64_t cols, unsigned part,
                               unsigned parts, const orion_data **out, orion_error *err);

#endif

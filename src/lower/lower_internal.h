// Shared by the files of this room: the state of one lowering.
#ifndef ORION_LOWER_LOWER_INTERNAL_H
#define ORION_LOWER_LOWER_INTERNAL_H

#include "ir/builder.h"
#include "lower/lower.h"

#define ORION_MASKED (-1e4)  // added to a score: its weight underflows to zero in fp16 and fp32

typedef struct lowering {
  const orion_target *target;
  orion_function *from;      // the graph
  orion_program *program;    // result, before it is cut
  orion_function *to;
  orion_builder b;
  bool training;             // weights may be inputs, and constants keep their names and their form
  orion_ref *map;            // graph value -> ref in `to`; indexed by graph value id
  uint8_t *form;             // channels_form of each graph value (channels.h)
  orion_ref causal;          // the causal mask, one for all attentions, and how many positions it is for
  int64_t causal_tokens;
  orion_ref full_mask, full_mask_from;  // the same for cached and new positions (open_rows.c), and the mask it is made of
  orion_arena scratch;
  orion_port *ports;         // of the uncut program
  size_t n_ports, cap_ports;
} lowering;

// Opens the whole graph into l->to, in the layout of the cpu device (open_rows.c) or of the engine (open_channels.c).
orion_status orion_open_rows(lowering *l, orion_error *err);
orion_status orion_open_channels(lowering *l, orion_error *err);
// The composites that only training graphs have: the loss, and gradients (open_training.c). Fills l->map.
void orion_open_rows_training(lowering *l, const orion_op *op);

// Notes how the logical value `logical` lies in parameter or result `name`. Names are copied into l->scratch.
bool orion_lowering_port(lowering *l, const char *logical, const char *name, bool input, orion_arrangement arrangement,
                         int64_t rows, int64_t cols, int64_t heads, int64_t first_col);

// Puts int8 or int4 matrices with scales in the place of those of l->to: all of them, or with dtype NONE those only
// whose integers `keep` takes from the model (quantise.c).
orion_status orion_lowering_quantise(lowering *l, orion_dtype dtype, bool keep, orion_error *err);

// Cuts l->program into the parts of `plan` (partition.c), which takes the programs over.
orion_status orion_partition(lowering *l, orion_plan *plan, orion_error *err);

// The causal mask among T new positions, dims [.., T, T] of the given rank: 0 where they see each other, else
// ORION_MASKED. Made once.
orion_ref orion_lowering_causal(lowering *l, orion_dtype dtype, int64_t T, int rank);

// ---- helpers for opening ----

// Source op under translation: its argument as graph value, mapped ref, and dims [T, C].
static inline orion_ref mapped(const lowering *l, const orion_op *op, const char *arg) {
  orion_ref ref = orion_op_ref(op, arg);
  return ref == ORION_NONE ? ORION_NONE : l->map[ref];
}

#endif

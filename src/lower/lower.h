// From a model graph (composites, every value [T, C]) to programs that a target takes, and the map between the two.
//
//   graph -> open composites in the target's layout -> passes -> quantise -> cut into parts within the limits ->
//   name inputs and outputs
//
// cpu: one program, [T, C] row-major, `linear`, attention as scaled_dot_product_attention over [heads, T, n].
// ANE: fp16, [1, C, 1, T], linear layers as 1x1 convolutions, attention spelled out, norms scaled so that nothing
// overflows; as many layers in one program as its limits allow.
//
// The result says where each logical value of the graph (x, k_cache_3, logits, ...) lives: in which part, under which
// name, in which arrangement.
#ifndef ORION_LOWER_LOWER_H
#define ORION_LOWER_LOWER_H

#include "opt/opt.h"
#include "target/target.h"

// How a logical [T, C] value lies in a tensor: element (t, c), with head h = c / n and i = c % n.
typedef enum orion_arrangement {
  ORION_ROWS,           // [T, C]
  ORION_CHANNELS,       // [1, C, 1, T], or [1, 1, C, T], which lies alike
  ORION_HEADS,          // [1, H, T, n]
  ORION_OPAQUE,         // handed from part to part as it is; rows and cols are 0
} orion_arrangement;

typedef struct orion_port {
  const char *logical;            // name in the graph, or "link.NAME" for a value handed from one part to a later one
  const char *name;               // parameter or result of the part's function
  bool input;
  orion_arrangement arrangement;
  int64_t rows, cols;             // T, C of this port
  int64_t heads;                  // HEADS: H; else 1
  int64_t first_col;              // the port holds logical columns [first_col, first_col + cols)
} orion_port;

typedef struct orion_part {
  orion_program *program;         // one function, main
  orion_port *ports;
  size_t n_ports;
} orion_part;

typedef struct orion_plan {
  const orion_allocator *allocator;
  const orion_target *target;     // the caller's
  orion_arena arena;              // names, ports
  orion_part *parts;              // run in this order
  size_t n_parts;
} orion_plan;

typedef struct orion_lower_options {
  const orion_target *target;
  const orion_opt_options *passes;  // NULL: the target's pipeline
  orion_dtype quantise;             // ORION_INT8, ORION_INT4: matrices in it, with scales; NONE: as the graph has them
  bool keep_integers;               // matrices that the model holds as integers stay those, unless others are asked for
  const char *function;             // NULL: the first
  bool training;                    // for the engine: weights may be inputs, gradients are opened, constants come
                                    // through under their names and as they are (cpu does so anyway)
} orion_lower_options;

// `graph` is left as it is; the plan shares its constants and may outlive it. Inputs that nothing uses have no port.
// ORION_LIMIT if a single operation exceeds the target's limits, ORION_UNSUPPORTED for what lowering does not know.
orion_status orion_lower(orion_program *graph, const orion_lower_options *options, orion_plan **out, orion_error *err);
void orion_plan_destroy(orion_plan *plan);  // NULL is ignored

#endif

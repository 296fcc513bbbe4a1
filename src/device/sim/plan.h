// A compiled function of the sim: tensors, operations in order, constants, and the memory of all of them.
#ifndef ORION_DEVICE_SIM_PLAN_H
#define ORION_DEVICE_SIM_PLAN_H

#include "device/raw.h"
#include "device/sim/rules.h"
#include "device/sim/sim.h"
#include "device/sim/tally.h"

// The elements of one large constant, used by all executables of the device that have it. Nodes of data are one and the
// same wherever they are equal (ir/data.h), and live as long as an executable that keeps their store.
typedef struct orion_sim_shared {
  const orion_data *data;
  void *memory;
  size_t n;                      // words
  int users;
  struct orion_sim_shared *next;
} orion_sim_shared;

// All results of a function of one fp16 number (curves.c).
typedef struct orion_sim_curve {
  orion_opcode code;
  char mode;                     // of gelu
  struct orion_sim_curve *next;
  uint16_t result[65536];
} orion_sim_curve;

typedef struct orion_sim_device {
  orion_device base;
  orion_sim_rules rules;
  const orion_sim_arith *arith;  // own_arith
  orion_sim_arith own_arith;     // the family's, less what switched-off rules say
  orion_sim_shared *shared;
  orion_sim_curve *curves;
  orion_pool *pool;
  bool counting;
  orion_sim_tallies tallies;
  size_t row_align;              // of inputs and outputs, in bytes
  uint64_t identities[1024];     // of raw programs compiled before
  uint64_t identities_asked;
} orion_sim_device;

// A program of the raw contract: parsed, its files bound, checked by the rules that are played. *out stays NULL where the
// answer is no.
orion_status orion_sim_read(orion_device *d, const orion_raw_program *raw, orion_program **out, orion_answer *answer,
                            orion_error *err);

// A constant of the program. Those that only constexpr_* operations read have memory only while these are computed.
typedef struct orion_sim_constant {
  const char *name;
  const orion_data *data;        // lives in the retained store; NULL for a default of the op table
  double fallback;               // that default
  orion_sim_tensor *tensor;
  orion_sim_shared *shared;      // whose memory the tensor has, or NULL: its own
  bool kept;                     // read by a run
  bool folded;                   // read by a constexpr_* operation
  bool shaping;                  // decides shapes or axes: cannot change without compiling
  void *update;                  // tensor->n words that replaced `data` (folded constants only)
} orion_sim_constant;

typedef struct orion_sim_executable {
  orion_executable base;
  orion_sim_constant *constants;
  size_t n_constants;
  orion_sim_op *folds;           // constexpr_* operations
  size_t n_folds;
  orion_sim_op *ops;
  size_t n_ops;
  orion_sim_tensor **ios;        // tensors of base.ios
  bool *tapped;                  // by io: spoilt by C39 off
  double seconds;                // of a run, by the family's costs
  orion_sim_tensor **owned;      // results of folds: memory of their own
  size_t n_owned;
  void *arena;                   // all other tensors
  size_t arena_bytes;
  void *scratch;
  size_t scratch_bytes;
} orion_sim_executable;

orion_status orion_sim_plan(orion_sim_executable *e, orion_sim_device *d, orion_function *f, orion_error *err);
void orion_sim_unplan(orion_sim_executable *e);  // frees what plan made, also when it failed half way

// Gives the operation its results in a table, if it is one that gains by it.
orion_status orion_sim_curve_find(orion_sim_device *d, orion_sim_op *op, orion_error *err);
void orion_sim_curves_free(orion_sim_device *d);

// rules_bend.c: what switched-off rules of numbers change in the arithmetic, and in the results of a run.
void orion_sim_rules_bend(const orion_sim_rules *r, orion_sim_arith *a);
void orion_sim_rules_spoil(orion_sim_executable *e);

extern const orion_raw_vtable orion_sim_raw;  // raw.c

// constants.c: memory of constants, computing constexpr_* results from them, replacing their values.
orion_status orion_sim_constants_make(orion_sim_executable *e, orion_error *err);
void orion_sim_constants_free(orion_sim_executable *e);
orion_status orion_sim_constants_update(orion_sim_executable *e, const char *name, const void *bytes, size_t n,
                                        orion_error *err);

#endif

// Types of results from types of arguments, and the verifier that checks a whole program against them.
#ifndef ORION_IR_INFER_H
#define ORION_IR_INFER_H

#include "ir/ir.h"

#define ORION_MAX_RESULTS 64

// Types that the results of `op` must have, made in the function's program. *out_n <= ORION_MAX_RESULTS. For
// ORION_OP_OTHER and for ops whose result types depend on run-time values, the declared types are returned where the
// op has results already, else ORION_UNSUPPORTED. Errors say which argument is wrong and what was expected, without
// the place (callers add it). Unknown dimensions propagate as unknown. As Core ML from iOS 17 on, weights of convolutions,
// linear and matmul and parameters of normalisations may be of another floating type than the input: devices that want
// one type say so in `supports`.
orion_status orion_infer_op(orion_function *f, const orion_op *op, const orion_type **out_types, size_t *out_n,
                            orion_error *err);

// Problems of single arguments, which inference and the verifier share. Check i of orion_op_arg_checks(op) writes what is
// wrong and returns true, or returns false: an argument of the table that is missing or of the wrong kind, or one that the
// table does not know.
size_t orion_op_arg_checks(const orion_op *op);
bool orion_op_arg_problem(const orion_function *f, const orion_op *op, size_t i, char *out, size_t size);

// One thing wrong with a program.
typedef struct orion_finding {
  const char *rule;       // "type", "shape", "name", "argument", "constant", or the target's rule id
  bool fatal;             // false: a warning
  const char *function;   // names belong to the program
  orion_op_id op;         // ORION_NONE: the function as a whole
  orion_loc loc;
  const char *value;      // tensor concerned, or NULL
  const char *message;    // in the list's arena
  const char *way_out;    // may be NULL
} orion_finding;

struct orion_findings {
  orion_arena arena;
  orion_finding *items;
  size_t n, cap;
  bool failed;            // out of memory while adding
};

void orion_findings_init(orion_findings *l, const orion_allocator *a);
void orion_findings_deinit(orion_findings *l);
void orion_findings_add(orion_findings *l, const char *rule, bool fatal, const orion_function *f, orion_op_id op,
                        const char *value, const char *way_out, const char *format, ...) ORION_PRINTF(8, 9);
bool orion_findings_fatal(const orion_findings *l);

// Everything that must hold of any program: names unique and valid, values defined before use, required arguments
// present and known arguments only (of ops in the table), kinds of arguments, constants complete (element counts, bound
// data), declared types equal to inferred ones, outputs defined. All findings are collected. NO_MEMORY is the only error.
orion_status orion_verify(orion_program *p, orion_findings *out, orion_error *err);
// The first fatal finding as an error (ORION_FORMAT, "line L:C: op: message"), or ORION_OK. What passes call.
orion_status orion_verify_ok(orion_program *p, orion_error *err);

#endif

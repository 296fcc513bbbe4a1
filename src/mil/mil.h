// MIL text: reading what Core ML's compiler and other generators write, and writing what Core ML's compiler would.
//
// The printer's form is canonical: a text from Core ML's compiler comes out of parse and print byte for byte, any other
// spelling comes out in that form, and formatting twice changes nothing.
#ifndef ORION_MIL_MIL_H
#define ORION_MIL_MIL_H

#include "base/strbuf.h"
#include "ir/ir.h"

#define ORION_MIL_MAX_DEPTH 32      // nesting of types and of literals
#define ORION_MIL_MAX_ARGS 1024     // arguments, or attributes in brackets, of one operation

// Parses `n` bytes of text. `file` is what messages call it ("FILE:LINE:COL: expected ..., found ..."). Names that are
// used without being defined, names defined twice and wrong types parse: finding those is the verifier's
// (ir/infer.h). Fails with ORION_FORMAT for text that is no program, ORION_UNSUPPORTED for one of a version that Orion
// does not know. The caller destroys the program.
orion_status orion_mil_parse(const orion_allocator *a, const char *text, size_t n, const char *file,
                             orion_program **out, orion_error *err);

// Appends the program's text.
orion_status orion_mil_print(const orion_program *p, orion_strbuf *out, orion_error *err);

// The same, with tensor literals moved out of the text: where `place` returns true, BLOBFILE(path, offset) is printed
// in place of the elements (or of the literal's own BLOBFILE).
typedef struct orion_mil_placement {
  bool (*place)(void *ctx, const orion_literal *l, const char **out_path, uint64_t *out_offset);
  void *ctx;
} orion_mil_placement;
orion_status orion_mil_print_placed(const orion_program *p, const orion_mil_placement *placement, orion_strbuf *out,
                                    orion_error *err);

// A Graphviz digraph of the operations, constants left out.
orion_status orion_mil_print_dot(const orion_program *p, orion_strbuf *out, orion_error *err);

#endif

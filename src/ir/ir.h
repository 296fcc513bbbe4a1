// The IR: a MIL program held in memory. What Core ML's text says, this says, and nothing else.
//
//   program  version, attributes (buildInfo), functions
//   function name, opset ("ios18"), parameters, attributes, a list of operations, results ("-> (a, b)")
//   op       an opcode, named arguments (each one or several references), attributes in brackets, results
//   value    a name and a type; defined once, by a parameter or an operation
//   ref      a 32-bit handle of what an argument refers to: a value, or a literal written in place
//   literal  a typed constant: numbers, strings, list, tuple, dictionary, or a tensor whose elements are `orion_data`
//
// Operations of a function live in one array; their order is a doubly linked list through it, so that ids stay valid
// while passes insert and remove. Everything belongs to the program's arena and dies with it; what passes remove
// is only unlinked. Constant tensors refer to `orion_data` (data.h), which may be lazy and shared between programs.
//
// Not thread-safe while it changes; any number of threads may read.
#ifndef ORION_IR_IR_H
#define ORION_IR_IR_H

#include "base/arena.h"
#include "ir/data.h"
#include "ir/dtype.h"
#include "ir/opcode.h"
#include "orion/program.h"

#define ORION_MAX_RANK 8
#define ORION_DIM_UNKNOWN (-1)  // "?" in the text

// ---- types ----------------------------------------------------------------------------------------------------------

typedef enum orion_type_kind {
  ORION_TYPE_TENSOR,  // tensor<fp16, [1, 8, 1, 32]>; rank 0 included
  ORION_TYPE_LIST,    // list<T, 3> or list<T, ?>
  ORION_TYPE_TUPLE,   // tuple<T, U>
  ORION_TYPE_DICT,    // dict<K, V>
  ORION_TYPE_STATE,   // state<T>
} orion_type_kind;

// Immutable once made; compare with orion_type_equal, never by address.
typedef struct orion_type {
  orion_type_kind kind;
  orion_dtype dtype;             // TENSOR
  bool scalar;                   // TENSOR of rank 0 spelled as bare `fp16` (from program 1.3 on), not tensor<fp16, []>
  uint8_t rank;                  // TENSOR
  int64_t dims[ORION_MAX_RANK];  // TENSOR; ORION_DIM_UNKNOWN for "?"
  int64_t length;                // LIST: element count or ORION_DIM_UNKNOWN
  uint32_t n_parts;              // LIST 1, TUPLE n, DICT 2 (key, value), STATE 1
  const struct orion_type *const *parts;
} orion_type;

bool orion_type_equal(const orion_type *a, const orion_type *b);  // spelling (`scalar`) does not count
bool orion_type_agrees(const orion_type *a, const orion_type *b); // equal as far as known: unknown dimensions fit all
bool orion_type_is_tensor(const orion_type *t);
bool orion_type_is_static(const orion_type *t);                   // a tensor without unknown dimensions

typedef struct orion_text {  // a short text by value, for messages
  char text[192];
} orion_text;
orion_text orion_type_text(const orion_type *t);                    // "tensor<fp16, [1, 8]>"; lists and so on by kind
orion_text orion_shape_text(int rank, const int64_t *dims);         // "[1, ?, 8]"

// Elements and packed bytes of a static tensor; false when unknown or overflowing. Sub-byte types round bytes up.
bool orion_type_elements(const orion_type *t, size_t *out);
bool orion_type_bytes(const orion_type *t, size_t *out);

// ---- literals -------------------------------------------------------------------------------------------------------

typedef enum orion_literal_kind {
  ORION_LIT_DATA,     // numbers and bools: elements in `data`, row-major (a scalar is one element)
  ORION_LIT_STRINGS,  // a string or tensor of strings: `strings`
  ORION_LIT_BLOB,     // BLOBFILE(path, offset); `data` is NULL until the blob is bound (mil/bind.h)
  ORION_LIT_LIST,     // [a, b] of a list type: `items`
  ORION_LIT_TUPLE,    // (a, b): `items`
  ORION_LIT_DICT,     // {{k, v}, {k, v}}: `items` alternates keys and values
} orion_literal_kind;

typedef struct orion_literal {
  orion_literal_kind kind;
  const orion_type *type;
  const orion_data *data;        // DATA, bound BLOB
  const char *const *strings;    // STRINGS
  const char *blob_path;         // BLOB: as written, e.g. "@model_path/weights/weight.bin"
  uint64_t blob_offset;          // BLOB: address of the tensor's record in the file
  uint32_t n_items;              // STRINGS, LIST, TUPLE, DICT
  const struct orion_literal *const *items;
} orion_literal;

// ---- functions ------------------------------------------------------------------------------------------------------

typedef uint32_t orion_op_id;
typedef uint32_t orion_value_id;
typedef uint32_t orion_ref;  // value id, or literal index with the top bit set

#define ORION_NONE UINT32_MAX
#define ORION_REF_LITERAL 0x80000000u

static inline bool orion_ref_is_literal(orion_ref r) { return r != ORION_NONE && (r & ORION_REF_LITERAL); }

typedef struct orion_loc {  // where the text said it; line 0 = nowhere
  uint32_t line, column;    // from 1
} orion_loc;

typedef struct orion_arg {
  const char *name;     // "x"
  orion_ref *refs;      // 1 of them, or n when written as (a, b, c)
  uint32_t n_refs;
  bool tuple;           // written in parentheses
} orion_arg;

typedef struct orion_attr {
  const char *name;
  const orion_literal *value;
} orion_attr;

typedef struct orion_value {
  const char *name;        // unique in its function
  const orion_type *type;
  orion_op_id def;         // ORION_NONE for parameters
  uint32_t index;          // which result of `def`, or which parameter; ORION_NONE: used, but defined nowhere
} orion_value;

typedef struct orion_op {
  orion_opcode code;       // ORION_OP_OTHER for operations that the table lacks
  const char *spelling;    // operation name as text, always set
  orion_arg *args;         // sorted by name
  uint32_t n_args;
  orion_attr *attrs;       // sorted by name; "name" and, for const, "val"
  uint32_t n_attrs;
  orion_value_id *results;
  uint32_t n_results;
  orion_op_id prev, next;  // ORION_NONE at the ends
  bool linked;             // false once removed
  orion_loc loc;
} orion_op;

typedef struct orion_function {
  struct orion_program *program;
  const char *name;                          // "main"
  const char *opset;                         // "ios18"
  orion_attr *attrs;                         // e.g. FlexibleShapeInformation
  size_t n_attrs;
  orion_value_id *params;
  size_t n_params, cap_params;
  orion_value_id *outputs;
  size_t n_outputs, cap_outputs;
  orion_value *values;                       // indexed by orion_value_id
  size_t n_values, cap_values;
  orion_op *ops;                             // indexed by orion_op_id; NOT in order
  size_t n_ops, cap_ops;
  const orion_literal **literals;            // indexed by ref without the top bit
  size_t n_literals, cap_literals;
  orion_op_id first, last;
  orion_loc loc;
  struct orion_name_slot *names;             // hash table of values by name (names.c)
  size_t n_names, cap_names;
} orion_function;

struct orion_program {
  const orion_allocator *allocator;
  orion_arena arena;
  orion_data_store *data;                    // keeps the constants alive; shared, reference counted
  const char *version;                       // "1.3"
  bool bare_end;                             // the text ends without a line feed (some of Core ML's compilers)
  orion_attr *attrs;                         // buildInfo
  size_t n_attrs;
  orion_function **functions;
  size_t n_functions, cap_functions;
};

// ---- making and taking apart ----------------------------------------------------------------------------------------

// An empty program (version "1.3", the buildInfo that our printer writes). `data` NULL makes a store of its own; else
// the program shares it.
orion_status orion_program_create(const orion_allocator *a, orion_data_store *data, orion_program **out,
                                  orion_error *err);
orion_status orion_program_clone(const orion_program *p, orion_program **out, orion_error *err);  // shares constants
orion_function *orion_program_function(const orion_program *p, const char *name);  // NULL if absent
orion_status orion_program_add_function(orion_program *p, const char *name, const char *opset, orion_function **out,
                                        orion_error *err);

// Types live in the program's arena; NULL when out of memory. rank <= ORION_MAX_RANK.
const orion_type *orion_type_tensor(orion_program *p, orion_dtype dtype, int rank, const int64_t *dims);
const orion_type *orion_type_scalar(orion_program *p, orion_dtype dtype);
const orion_type *orion_type_composite(orion_program *p, orion_type_kind kind, int64_t length, uint32_t n_parts,
                                       const orion_type *const *parts);

// Literals, in the arena; NULL when out of memory. Numbers are converted to `type`'s dtype by the _ints/_floats forms.
const orion_literal *orion_literal_data(orion_program *p, const orion_type *type, const orion_data *data);
const orion_literal *orion_literal_ints(orion_program *p, const orion_type *type, size_t n, const int64_t *v);
const orion_literal *orion_literal_floats(orion_program *p, const orion_type *type, size_t n, const double *v);
const orion_literal *orion_literal_strings(orion_program *p, const orion_type *type, size_t n, const char *const *v);
const orion_literal *orion_literal_string(orion_program *p, const char *text);  // of type `string`
const orion_literal *orion_literal_blob(orion_program *p, const orion_type *type, const char *path, uint64_t offset);
const orion_literal *orion_literal_items(orion_program *p, orion_literal_kind kind, const orion_type *type, size_t n,
                                         const orion_literal *const *items);

// Values, parameters, operations. Ids, or ORION_NONE when out of memory. Names must be unique in the function; the
// caller sees to it with orion_function_find / orion_function_unique_name (the verifier checks).
orion_value_id orion_function_add_param(orion_function *f, const char *name, const orion_type *type);
orion_status orion_function_add_output(orion_function *f, orion_value_id value, orion_error *err);
// A name that a text uses before or without defining it, of type `?`. Parsers make them so that the program can be held
// and printed; the verifier refuses it, and nothing else need ever see one.
orion_value_id orion_function_add_undefined(orion_function *f, const char *name);
orion_ref orion_function_literal_ref(orion_function *f, const orion_literal *literal);
// By name, among parameters and results of linked operations; hashed. Rename values with orion_value_rename only.
orion_value_id orion_function_find(const orion_function *f, const char *name);
const char *orion_function_unique_name(orion_function *f, const char *stem);   // stem or stem_1, ...; in the arena
// Changes the value's name, and the `name` attribute of the operation if that is its only result. False: out of memory.
bool orion_value_rename(orion_function *f, orion_value_id v, const char *name);

typedef struct orion_op_spec {     // what orion_function_add_op copies
  orion_opcode code;
  const char *spelling;            // NULL: the table's name of `code`
  const orion_arg *args;           // any order; refs are copied
  size_t n_args;
  const orion_attr *attrs;         // any order
  size_t n_attrs;
  const char *const *result_names;
  const orion_type *const *result_types;
  size_t n_results;
  orion_op_id before;              // insert before this op; ORION_NONE: at the end
  orion_loc loc;
} orion_op_spec;
orion_op_id orion_function_add_op(orion_function *f, const orion_op_spec *spec);

// Appends a copy of `from`'s operation `id` to `to` (of another program, or the same): types, literals and names are
// copied. Arguments go through map_ref, or are looked up in `map` where it is NULL; results are entered into `map`, which
// is indexed by `from`'s value ids. False when out of memory or when an argument maps to ORION_NONE.
bool orion_copy_op(orion_function *to, const orion_function *from, orion_op_id id,
                   orion_ref (*map_ref)(void *ctx, orion_ref ref), void *ctx, orion_ref *map);

void orion_function_remove_op(orion_function *f, orion_op_id op);                         // unlinks; uses are the caller's
void orion_function_replace_uses(orion_function *f, orion_value_id from, orion_value_id to);  // in args and outputs
bool orion_op_set_arg(orion_function *f, orion_op_id op, const char *name, orion_ref ref);    // adds or replaces; false: OOM
bool orion_op_drop_arg(orion_function *f, orion_op_id op, const char *name);                  // false if absent

// for (orion_op_id i = f->first; i != ORION_NONE; i = f->ops[i].next)
#define ORION_EACH_OP(f, id) \
  for (orion_op_id id = (f)->first, next_of_##id; \
       id != ORION_NONE && (next_of_##id = (f)->ops[id].next, 1); id = next_of_##id)  // the body may remove `id`

// Number of uses of each value by linked ops and outputs; array of f->n_values, from the caller's arena. NULL: OOM.
uint32_t *orion_function_count_uses(const orion_function *f, orion_arena *scratch);

// ---- reading ops ----------------------------------------------------------------------------------------------------

const orion_arg *orion_op_arg(const orion_op *op, const char *name);          // NULL if absent
orion_ref orion_op_ref(const orion_op *op, const char *name);                 // its first ref, or ORION_NONE
const orion_type *orion_op_arg_type(const orion_function *f, const orion_op *op, const char *name);  // of its first ref,
                                                           // or of the attribute in brackets; NULL if absent
orion_value_id orion_op_value(const orion_op *op, const char *name);          // ORION_NONE if absent or a literal
// The operation that makes the argument; NULL: a parameter, a literal, absent.
const orion_op *orion_op_source(const orion_function *f, const orion_op *op, const char *name);
const orion_literal *orion_op_attr(const orion_op *op, const char *name);     // NULL if absent
const orion_type *orion_ref_type(const orion_function *f, orion_ref ref);     // of the value or literal; NULL for NONE
const orion_type *orion_value_type(const orion_function *f, orion_value_id v);
// The literal behind a ref: written in place, or the `val` of the const op that defines the value; else NULL.
const orion_literal *orion_ref_literal(const orion_function *f, orion_ref ref);
bool orion_ref_is_const(const orion_function *f, orion_ref ref);  // literal, const, or constexpr_* of such

// The constant given for an argument, be it an argument or (older constexpr_* ops) an attribute in brackets; or NULL.
const orion_literal *orion_op_const(const orion_function *f, const orion_op *op, const char *name);

// Small constants by value. False when the argument is absent, not constant, of another kind, or longer than `max`.
// Absent arguments with a default in the op table yield the default (orion_op_int, _float, _bool, _string).
bool orion_ref_float(const orion_function *f, orion_ref ref, double *out);      // one element
bool orion_op_int(const orion_function *f, const orion_op *op, const char *arg, int64_t *out);
bool orion_op_ints(const orion_function *f, const orion_op *op, const char *arg, size_t max, int64_t *out, size_t *n);
bool orion_op_float(const orion_function *f, const orion_op *op, const char *arg, double *out);
bool orion_op_bool(const orion_function *f, const orion_op *op, const char *arg, bool *out);
const char *orion_op_string(const orion_function *f, const orion_op *op, const char *arg);  // NULL if not constant

#endif

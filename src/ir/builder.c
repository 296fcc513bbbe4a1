// The builder: every call makes constants or one operation at the insertion point. Errors stick in the builder.
#include "ir/builder.h"

#include <stdarg.h>
#include <stdio.h>

#include "ir/infer.h"

void orion_builder_init(orion_builder *b, orion_function *f) {
  memset(b, 0, sizeof *b);
  b->f = f;
  b->before = ORION_NONE;
}

orion_status orion_builder_finish(orion_builder *b, orion_error *err) {
  if (b->status != ORION_OK && err) *err = b->error;
  return b->status;
}

orion_status orion_builder_fail(orion_builder *b, orion_status code, const char *format, ...) {
  if (b->status != ORION_OK) return b->status;
  char text[sizeof b->error.message];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  b->status = ORION_FAIL(&b->error, code, "%s", text);
  return b->status;
}

static orion_status out_of_memory(orion_builder *b) { return orion_builder_fail(b, ORION_NO_MEMORY, "program: out of memory"); }

// prefix + stem, unique; NULL after a failure.
static const char *fresh_name(orion_builder *b, const char *stem) {
  char text[256];
  snprintf(text, sizeof text, "%s%.180s", b->prefix, stem);
  const char *name = orion_function_unique_name(b->f, text);
  if (!name) out_of_memory(b);
  return name;
}

orion_value_id orion_build_param(orion_builder *b, const char *name, orion_dtype dtype, int rank, const int64_t *dims) {
  if (b->status != ORION_OK) return ORION_NONE;
  if (orion_function_find(b->f, name) != ORION_NONE) {
    orion_builder_fail(b, ORION_INVALID, "parameter %s: the name is taken", name);
    return ORION_NONE;
  }
  if (rank < 0 || rank > ORION_MAX_RANK) {
    orion_builder_fail(b, ORION_INVALID, "parameter %s: has rank %d (at most %d)", name, rank, ORION_MAX_RANK);
    return ORION_NONE;
  }
  orion_value_id v = orion_function_add_param(b->f, name, orion_type_tensor(b->f->program, dtype, rank, dims));
  if (v == ORION_NONE) out_of_memory(b);
  return v;
}

void orion_build_output(orion_builder *b, orion_value_id v, const char *name) {
  if (b->status != ORION_OK) return;
  if (v == ORION_NONE) {
    orion_builder_fail(b, ORION_INVALID, "output %s: there is no value to return", name);
    return;
  }
  orion_value_id taken = orion_function_find(b->f, name);
  if (taken != ORION_NONE && taken != v) {
    orion_builder_fail(b, ORION_INVALID, "output %s: the name is taken", name);
    return;
  }
  orion_error err;
  if (!orion_value_rename(b->f, v, name) || orion_function_add_output(b->f, v, &err) != ORION_OK) out_of_memory(b);
}

// ---- constants ------------------------------------------------------------------------------------------------------

static orion_ref add_const(orion_builder *b, const char *stem, const orion_literal *val) {
  if (b->status != ORION_OK) return ORION_NONE;
  if (!val) {
    out_of_memory(b);
    return ORION_NONE;
  }
  const char *name = fresh_name(b, stem ? stem : "c");
  if (!name) return ORION_NONE;
  orion_attr attrs[] = {{"name", orion_literal_string(b->f->program, name)}, {"val", val}};
  orion_op_spec spec = {.code = ORION_OP_const, .attrs = attrs, .n_attrs = 2, .result_names = &name,
                        .result_types = &val->type, .n_results = 1, .before = b->before};
  orion_op_id id = orion_function_add_op(b->f, &spec);
  if (id == ORION_NONE) {
    out_of_memory(b);
    return ORION_NONE;
  }
  return b->f->ops[id].results[0];
}

orion_ref orion_build_int(orion_builder *b, const char *stem, int64_t v) {
  if (b->status != ORION_OK) return ORION_NONE;
  return add_const(b, stem, orion_literal_ints(b->f->program, orion_type_scalar(b->f->program, ORION_INT32), 1, &v));
}

orion_ref orion_build_ints(orion_builder *b, const char *stem, size_t n, const int64_t *v) {
  if (b->status != ORION_OK) return ORION_NONE;
  int64_t dims[1] = {(int64_t)n};
  return add_const(b, stem, orion_literal_ints(b->f->program, orion_type_tensor(b->f->program, ORION_INT32, 1, dims), n, v));
}

orion_ref orion_build_bool(orion_builder *b, const char *stem, bool v) {
  if (b->status != ORION_OK) return ORION_NONE;
  int64_t number = v;
  return add_const(b, stem, orion_literal_ints(b->f->program, orion_type_scalar(b->f->program, ORION_BOOL), 1, &number));
}

orion_ref orion_build_string(orion_builder *b, const char *stem, const char *v) {
  if (b->status != ORION_OK) return ORION_NONE;
  return add_const(b, stem, orion_literal_string(b->f->program, v));
}

orion_ref orion_build_float(orion_builder *b, const char *stem, orion_dtype dtype, double v) {
  if (b->status != ORION_OK) return ORION_NONE;
  return add_const(b, stem, orion_literal_floats(b->f->program, orion_type_scalar(b->f->program, dtype), 1, &v));
}

orion_ref orion_build_weight(orion_builder *b, const char *stem, const orion_data *data, int rank, const int64_t *dims) {
  if (b->status != ORION_OK) return ORION_NONE;
  if (!data) {
    out_of_memory(b);
    return ORION_NONE;
  }
  const orion_type *type = orion_type_tensor(b->f->program, data->dtype, rank, dims);
  size_t n;
  if (type && (!orion_type_elements(type, &n) || n != orion_data_elements(data))) {
    orion_builder_fail(b, ORION_INVALID, "constant %s%s: %s does not hold %zu x %zu elements", b->prefix,
                       stem ? stem : "c", orion_type_text(type).text, data->rows, data->cols);
    return ORION_NONE;
  }
  return add_const(b, stem, orion_literal_data(b->f->program, type, data));
}

orion_ref orion_build_floats(orion_builder *b, const char *stem, orion_dtype dtype, int rank, const int64_t *dims,
                             const double *v) {
  if (b->status != ORION_OK) return ORION_NONE;
  const orion_type *type = orion_type_tensor(b->f->program, dtype, rank, dims);
  size_t n;
  if (!type || !orion_type_elements(type, &n)) {
    orion_builder_fail(b, type ? ORION_INVALID : ORION_NO_MEMORY, "constant %s: its shape is not usable", stem ? stem : "c");
    return ORION_NONE;
  }
  return add_const(b, stem, orion_literal_floats(b->f->program, type, n, v));
}

// ---- operations -----------------------------------------------------------------------------------------------------

enum { MAX_ARGS = 32 };

// A failed inference says the operation and the types it saw.
static void refuse(orion_builder *b, orion_opcode code, const char *name, const orion_error *err, orion_status status) {
  if (status == ORION_NO_MEMORY) {
    out_of_memory(b);
  } else {
    orion_builder_fail(b, ORION_INVALID, "%s %s: %s", orion_opcode_name(code), name, err->message);
  }
}

// The last step of all: types inferred, results named, the operation added. True when it was.
static bool add_op(orion_builder *b, const char *stem, orion_opcode code, const orion_arg *args, size_t n_args,
                   size_t want, orion_value_id *out) {
  orion_function *f = b->f;
  orion_op op = {.code = code, .spelling = orion_opcode_name(code), .args = (orion_arg *)args, .n_args = (uint32_t)n_args};
  const orion_type *types[ORION_MAX_RESULTS];
  const char *names[ORION_MAX_RESULTS];
  size_t n;
  orion_error err = {0};
  const char *name = fresh_name(b, stem ? stem : orion_opcode_name(code));
  if (!name) return false;
  orion_status status = orion_infer_op(f, &op, types, &n, &err);
  if (status != ORION_OK) {
    refuse(b, code, name, &err, status);
    return false;
  }
  if (n != want) {
    orion_builder_fail(b, ORION_INVALID, "%s %s: has %zu results (%zu were asked for)", op.spelling, name, n, want);
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    char text[256];
    snprintf(text, sizeof text, "%.200s_%zu", name, i);
    names[i] = n == 1 ? name : orion_function_unique_name(f, text);
    if (!names[i]) {
      out_of_memory(b);
      return false;
    }
  }
  orion_attr attr = {"name", orion_literal_string(f->program, name)};
  orion_op_spec spec = {.code = code, .args = args, .n_args = n_args, .attrs = &attr, .n_attrs = 1,
                        .result_names = names, .result_types = types, .n_results = n, .before = b->before};
  orion_op_id id = orion_function_add_op(f, &spec);
  if (id == ORION_NONE) {
    out_of_memory(b);
    return false;
  }
  for (size_t i = 0; i < n; i++) out[i] = f->ops[id].results[i];
  return true;
}

// Copies the arguments given; those with ref ORION_NONE are left out. A missing value that is required is found by
// inference. False after a failure.
static bool take_args(orion_builder *b, orion_opcode code, const orion_in *in, orion_arg *args, orion_ref *refs, size_t *n) {
  for (; in && in->name; in++) {
    if (in->ref == ORION_NONE) continue;
    if (*n == MAX_ARGS) {
      orion_builder_fail(b, ORION_INVALID, "%s: more than %d arguments", orion_opcode_name(code), MAX_ARGS);
      return false;
    }
    refs[*n] = in->ref;
    args[*n] = (orion_arg){in->name, &refs[*n], 1, false};
    ++*n;
  }
  return true;
}

bool orion_build_multi(orion_builder *b, const char *stem, orion_opcode code, const orion_in *in, size_t n_results,
                       orion_value_id *out) {
  orion_arg args[MAX_ARGS];
  orion_ref refs[MAX_ARGS];
  size_t n = 0;
  for (size_t i = 0; i < n_results; i++) out[i] = ORION_NONE;
  return b->status == ORION_OK && take_args(b, code, in, args, refs, &n) &&
         add_op(b, stem, code, args, n, n_results, out);
}

orion_value_id orion_build_op(orion_builder *b, const char *stem, orion_opcode code, const orion_in *in) {
  orion_value_id v;
  return orion_build_multi(b, stem, code, in, 1, &v) ? v : ORION_NONE;
}

orion_value_id orion_build_tuple_op(orion_builder *b, const char *stem, orion_opcode code, const char *tuple_name,
                                    size_t n, const orion_ref *refs, const orion_in *in) {
  orion_arg args[MAX_ARGS + 1];
  orion_ref singles[MAX_ARGS];
  size_t n_args = 0;
  orion_value_id v = ORION_NONE;
  if (b->status != ORION_OK || !take_args(b, code, in, args, singles, &n_args)) return ORION_NONE;
  for (size_t i = 0; i < n; i++) {
    if (refs[i] == ORION_NONE) {
      orion_builder_fail(b, ORION_INVALID, "%s: element %zu of %s is missing", orion_opcode_name(code), i, tuple_name);
      return ORION_NONE;
    }
  }
  args[n_args++] = (orion_arg){tuple_name, (orion_ref *)refs, (uint32_t)n, true};
  return add_op(b, stem, code, args, n_args, 1, &v) ? v : ORION_NONE;
}

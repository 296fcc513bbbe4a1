// Operations as one-line rows, for table-driven tests. A row is
//
//   op       "conv"
//   args     "x=fp16[1,3,8,8] weight=#fp16[4,3,3,3] strides=(2,2) pad_type='same' groups=1"
//   results  "fp16[1,4,4,4]", several with spaces between; or "!words" that the error must contain
//
// Arguments: fp16[1,?] a parameter of that type, #fp16[2,3] a constant of zeros, 5 int32, (1,2) an int32 vector, 'text',
// true, {1,0} a bool vector, 1.5 fp32, 1.5h fp16, a+b a tuple, state:fp16[2]. A leading @ writes it in brackets.
#ifndef TEST_IR_ROWS_H
#define TEST_IR_ROWS_H

#include "ir/infer.h"
#include "support/support.h"

static const orion_type *row_type(orion_program *p, const char **text) {
  char name[16];
  int rank = 0, n = 0;
  int64_t dims[16];
  while (isalnum((unsigned char)**text)) name[n++] = *(*text)++;
  orion_dtype d = orion_dtype_parse(name, (size_t)n);
  if (d == ORION_DTYPE_NONE || **text != '[') fail_msg("row: no type at '%s'", *text - n);
  ++*text;
  while (**text != ']') {
    if (**text == ',') ++*text;
    if (**text == '?') {
      dims[rank++] = ORION_DIM_UNKNOWN;
      ++*text;
    } else if (**text != ']') {
      dims[rank++] = strtoll(*text, (char **)text, 10);
    }
  }
  ++*text;
  return orion_type_tensor(p, d, rank, dims);
}

static const orion_literal *row_ints(orion_program *p, orion_dtype d, const char **text) {
  int64_t v[64], n = 0;
  char close = **text == '(' ? ')' : '}';
  for (++*text; **text != close;) {
    if (**text == ',') ++*text;
    v[n++] = strtoll(*text, (char **)text, 10);
  }
  ++*text;
  return orion_literal_ints(p, orion_type_tensor(p, d, 1, &n), (size_t)n, v);
}

// One literal, or NULL where the row means a parameter.
static const orion_literal *row_literal(orion_program *p, const char **text) {
  if (**text == '#') {
    ++*text;
    const orion_type *t = row_type(p, text);
    size_t n;
    assert_true(orion_type_elements(t, &n));
    size_t rows = t->rank ? (size_t)t->dims[0] : 1;
    void *bytes;
    return orion_literal_data(p, t, orion_data_new(p->data, t->dtype, rows, rows ? n / rows : 0, &bytes));
  }
  if (**text == '(') return row_ints(p, ORION_INT32, text);
  if (**text == '{') return row_ints(p, ORION_BOOL, text);
  if (**text == '\'') {
    char buffer[64];
    const char *end = strchr(*text + 1, '\'');
    snprintf(buffer, sizeof buffer, "%.*s", (int)(end - *text - 1), *text + 1);
    *text = end + 1;
    return orion_literal_string(p, buffer);
  }
  if (strncmp(*text, "true", 4) == 0 || strncmp(*text, "false", 5) == 0) {
    int64_t v = **text == 't';
    *text += v ? 4 : 5;
    return orion_literal_ints(p, orion_type_scalar(p, ORION_BOOL), 1, &v);
  }
  if (!isdigit((unsigned char)**text) && **text != '-') return NULL;
  const char *end = *text + strspn(*text, "-0123456789");
  if (*end != '.') {
    int64_t v = strtoll(*text, (char **)text, 10);
    return orion_literal_ints(p, orion_type_scalar(p, ORION_INT32), 1, &v);
  }
  double v = strtod(*text, (char **)text);
  orion_dtype d = **text == 'h' ? ORION_FP16 : ORION_FP32;
  if (**text == 'h') ++*text;
  return orion_literal_floats(p, orion_type_scalar(p, d), 1, &v);
}

static orion_ref row_ref(orion_function *f, const char **text) {
  orion_program *p = f->program;
  const orion_literal *l = row_literal(p, text);
  if (l) return orion_function_literal_ref(f, l);
  bool state = strncmp(*text, "state:", 6) == 0;
  if (state) *text += 6;
  const orion_type *t = row_type(p, text);
  if (state) t = orion_type_composite(p, ORION_TYPE_STATE, 0, 1, &t);
  const char *name = orion_function_unique_name(f, "p");
  return orion_function_add_param(f, name, t);
}

// Adds the operation of a row to the function, with the result types given (may be none).
static orion_op_id row_add(orion_function *f, const char *opcode, const char *text, size_t n_results,
                           const char *const *names, const orion_type *const *types) {
  orion_arg args[32];
  orion_ref refs[32][16];
  orion_attr attrs[32];
  size_t n_args = 0, n_attrs = 0;
  char arg_names[64][40];
  while (*text) {
    if (*text == ' ') {
      text++;
      continue;
    }
    bool bracket = *text == '@';
    if (bracket) text++;
    const char *equals = strchr(text, '=');
    char *name = arg_names[n_args + n_attrs];
    snprintf(name, 40, "%.*s", (int)(equals - text), text);
    text = equals + 1;
    if (bracket) {
      attrs[n_attrs++] = (orion_attr){name, row_literal(f->program, &text)};
      continue;
    }
    uint32_t n = 0;
    refs[n_args][n++] = row_ref(f, &text);
    while (*text == '+') {
      text++;
      refs[n_args][n++] = row_ref(f, &text);
    }
    args[n_args] = (orion_arg){name, refs[n_args], n, n > 1};
    n_args++;
  }
  orion_op_spec spec = {.code = orion_opcode_parse(opcode, strlen(opcode)), .spelling = opcode, .args = args,
                        .n_args = n_args, .attrs = attrs, .n_attrs = n_attrs, .result_names = names,
                        .result_types = types, .n_results = n_results, .before = ORION_NONE};
  orion_op_id id = orion_function_add_op(f, &spec);
  assert_int_not_equal(id, ORION_NONE);
  return id;
}

#endif

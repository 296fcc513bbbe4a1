// Literals: TYPE(VALUE), tensors as nested lists. Recursion is as deep as the literal, which the parser bounds.
#include "mil/number.h"
#include "mil/printer.h"

typedef struct element_printer {
  const orion_literal *literal;
  const void *bytes;               // elements of numeric tensors, packed
  size_t next;                     // element to print
  size_t extents[ORION_MAX_RANK];
} element_printer;

static orion_status print_value(orion_mil_printer *p, const orion_literal *l, orion_error *err);

static void print_string(orion_strbuf *out, const char *s) {
  orion_strbuf_addc(out, '"');
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    switch (c) {
      case '"': orion_strbuf_adds(out, "\\\""); break;
      case '\\': orion_strbuf_adds(out, "\\\\"); break;
      case '\n': orion_strbuf_adds(out, "\\n"); break;
      case '\r': orion_strbuf_adds(out, "\\r"); break;
      case '\t': orion_strbuf_adds(out, "\\t"); break;
      default:
        if (c < ' ' || c == 127) {
          orion_strbuf_addf(out, "\\x%02x", c);
        } else {
          orion_strbuf_addc(out, (char)c);
        }
    }
  }
  orion_strbuf_addc(out, '"');
}

static void print_elements(orion_mil_printer *p, element_printer *e, int axis) {
  const orion_type *t = e->literal->type;
  if (axis == t->rank) {
    if (t->dtype == ORION_STRING) {
      print_string(p->out, e->literal->strings[e->next++]);
      return;
    }
    char text[ORION_MIL_NUMBER_MAX];
    orion_strbuf_add(p->out, text, orion_mil_format_number(t->dtype, e->bytes, e->next++, text));
    return;
  }
  orion_strbuf_addc(p->out, '[');
  for (size_t i = 0; i < e->extents[axis]; i++) {
    if (i) orion_strbuf_adds(p->out, ", ");
    print_elements(p, e, axis + 1);
  }
  orion_strbuf_addc(p->out, ']');
}

// The extents of a literal's n elements; one unknown dimension is what the others leave.
static bool find_extents(const orion_type *t, size_t n, size_t *extents) {
  size_t product = 1;
  int unknown = -1;
  for (int i = 0; i < t->rank; i++) {
    if (t->dims[i] < 0) {
      if (unknown >= 0) return false;
      unknown = i;
      continue;
    }
    extents[i] = (size_t)t->dims[i];
    if (!orion_mul_ok(product, extents[i], &product)) return false;
  }
  if (unknown >= 0) {
    extents[unknown] = product ? n / product : 0;
    product *= extents[unknown];
  }
  return product == n;
}

static orion_status print_tensor(orion_mil_printer *p, const orion_literal *l, orion_error *err) {
  const orion_data *x = l->data;
  element_printer e = {.literal = l};
  size_t n = l->kind == ORION_LIT_STRINGS ? l->n_items : orion_data_elements(x);
  if (n == 0) {  // whatever the rank
    orion_strbuf_adds(p->out, "[]");
    return ORION_OK;
  }
  if (!find_extents(l->type, n, e.extents)) {
    return ORION_FAIL(err, ORION_INVALID, "literal: its type does not have %zu elements", n);
  }
  if (l->kind == ORION_LIT_STRINGS || (x->kind == ORION_DATA_BYTES && x->dtype == l->type->dtype)) {
    e.bytes = x ? x->bytes : NULL;
    print_elements(p, &e, 0);
    return ORION_OK;
  }
  size_t size;
  if (!orion_dtype_bytes(l->type->dtype, n, &size)) {
    return ORION_FAIL(err, ORION_INVALID, "literal: too large to print");
  }
  void *bytes = orion_alloc(p->out->allocator, size, 1);
  if (!bytes) return ORION_OOM(err, "literal");
  orion_status status = orion_data_read(x, l->type->dtype, 0, x->rows, bytes, err);
  e.bytes = bytes;
  if (status == ORION_OK) print_elements(p, &e, 0);
  orion_free(p->out->allocator, bytes, size, 1);
  return status;
}

static void print_blob(orion_mil_printer *p, const char *path, uint64_t offset) {
  orion_type string = {.kind = ORION_TYPE_TENSOR, .dtype = ORION_STRING, .scalar = true};
  orion_type uint64 = {.kind = ORION_TYPE_TENSOR, .dtype = ORION_UINT64, .scalar = true};
  orion_strbuf_adds(p->out, "BLOBFILE(path = ");
  orion_mil_print_type(p, &string);
  orion_strbuf_addc(p->out, '(');
  print_string(p->out, path);
  orion_strbuf_adds(p->out, "), offset = ");
  orion_mil_print_type(p, &uint64);
  orion_strbuf_addf(p->out, "(%llu))", (unsigned long long)offset);
}

static orion_status print_items(orion_mil_printer *p, const orion_literal *l, char open, char close, orion_error *err) {
  orion_strbuf_addc(p->out, open);
  for (uint32_t i = 0; i < l->n_items; i++) {
    if (i) orion_strbuf_adds(p->out, ", ");
    ORION_TRY(print_value(p, l->items[i], err));
  }
  orion_strbuf_addc(p->out, close);
  return ORION_OK;
}

static orion_status print_dict(orion_mil_printer *p, const orion_literal *l, orion_error *err) {
  orion_strbuf_addc(p->out, '{');
  for (uint32_t i = 0; i + 1 < l->n_items; i += 2) {
    orion_strbuf_adds(p->out, i ? ", {" : "{");
    ORION_TRY(print_value(p, l->items[i], err));
    orion_strbuf_adds(p->out, ", ");
    ORION_TRY(print_value(p, l->items[i + 1], err));
    orion_strbuf_addc(p->out, '}');
  }
  orion_strbuf_addc(p->out, '}');
  return ORION_OK;
}

static orion_status print_value(orion_mil_printer *p, const orion_literal *l, orion_error *err) {
  const char *path;
  uint64_t offset;
  bool tensor = l->kind == ORION_LIT_DATA || l->kind == ORION_LIT_BLOB;
  if (tensor && p->placement && p->placement->place(p->placement->ctx, l, &path, &offset)) {
    print_blob(p, path, offset);
    return ORION_OK;
  }
  switch (l->kind) {
    case ORION_LIT_BLOB: print_blob(p, l->blob_path, l->blob_offset); return ORION_OK;
    case ORION_LIT_LIST: return print_items(p, l, '[', ']', err);
    case ORION_LIT_TUPLE: return print_items(p, l, '(', ')', err);
    case ORION_LIT_DICT: return print_dict(p, l, err);
    default: return print_tensor(p, l, err);
  }
}

orion_status orion_mil_print_literal(orion_mil_printer *p, const orion_literal *l, orion_error *err) {
  orion_mil_print_type(p, l->type);
  orion_strbuf_addc(p->out, '(');
  ORION_TRY(print_value(p, l, err));
  orion_strbuf_addc(p->out, ')');
  return ORION_OK;
}

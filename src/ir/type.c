// Types and literals: immutable nodes in a program's arena.
#include <stdio.h>
#include <string.h>

#include "ir/ir.h"

bool orion_type_is_tensor(const orion_type *t) { return t && t->kind == ORION_TYPE_TENSOR; }

bool orion_type_equal(const orion_type *a, const orion_type *b) {
  if (a == b) return true;
  if (!a || !b || a->kind != b->kind) return false;
  if (a->kind == ORION_TYPE_TENSOR) {
    if (a->dtype != b->dtype || a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++) {
      if (a->dims[i] != b->dims[i]) return false;
    }
    return true;
  }
  if (a->n_parts != b->n_parts || (a->kind == ORION_TYPE_LIST && a->length != b->length)) return false;
  for (uint32_t i = 0; i < a->n_parts; i++) {
    if (!orion_type_equal(a->parts[i], b->parts[i])) return false;
  }
  return true;
}

bool orion_type_agrees(const orion_type *a, const orion_type *b) {
  if (!orion_type_is_tensor(a) || !orion_type_is_tensor(b)) return orion_type_equal(a, b);
  if (a->dtype != b->dtype || a->rank != b->rank) return false;
  for (int i = 0; i < a->rank; i++) {
    if (a->dims[i] >= 0 && b->dims[i] >= 0 && a->dims[i] != b->dims[i]) return false;
  }
  return true;
}

bool orion_type_is_static(const orion_type *t) {
  if (!orion_type_is_tensor(t)) return false;
  for (int i = 0; i < t->rank; i++) {
    if (t->dims[i] < 0) return false;
  }
  return true;
}

bool orion_type_elements(const orion_type *t, size_t *out) {
  if (!orion_type_is_static(t)) return false;
  size_t n = 1;
  for (int i = 0; i < t->rank; i++) {
    if (!orion_mul_ok(n, (size_t)t->dims[i], &n)) return false;
  }
  *out = n;
  return true;
}

bool orion_type_bytes(const orion_type *t, size_t *out) {
  size_t n;
  return orion_type_elements(t, &n) && orion_dtype_bytes(t->dtype, n, out);
}

const orion_type *orion_type_tensor(orion_program *p, orion_dtype dtype, int rank, const int64_t *dims) {
  if (rank < 0 || rank > ORION_MAX_RANK) return NULL;
  orion_type *t = ORION_ARENA_NEW(&p->arena, orion_type);
  if (!t) return NULL;
  t->kind = ORION_TYPE_TENSOR;
  t->dtype = dtype;
  t->rank = (uint8_t)rank;
  for (int i = 0; i < rank; i++) t->dims[i] = dims[i];
  return t;
}

const orion_type *orion_type_scalar(orion_program *p, orion_dtype dtype) {
  orion_type *t = ORION_ARENA_NEW(&p->arena, orion_type);
  if (!t) return NULL;
  t->kind = ORION_TYPE_TENSOR;
  t->dtype = dtype;
  t->scalar = true;
  return t;
}

const orion_type *orion_type_composite(orion_program *p, orion_type_kind kind, int64_t length, uint32_t n_parts,
                                       const orion_type *const *parts) {
  orion_type *t = ORION_ARENA_NEW(&p->arena, orion_type);
  if (!t) return NULL;
  t->kind = kind;
  t->length = length;
  t->n_parts = n_parts;
  t->parts = orion_arena_copy(&p->arena, parts, n_parts, sizeof *parts);
  return t->parts ? t : NULL;
}

// ---- as text ----

orion_text orion_shape_text(int rank, const int64_t *dims) {
  orion_text t;
  size_t n = 0;
  t.text[n++] = '[';
  for (int i = 0; i < rank && n < sizeof t.text - 32; i++) {
    const char *comma = i ? ", " : "";
    n += (size_t)(dims[i] < 0 ? snprintf(t.text + n, 32, "%s?", comma)
                              : snprintf(t.text + n, 32, "%s%lld", comma, (long long)dims[i]));
  }
  t.text[n++] = ']';
  t.text[n] = 0;
  return t;
}

orion_text orion_type_text(const orion_type *t) {
  static const char *const kinds[] = {"tensor", "list", "tuple", "dict", "state"};
  orion_text r;
  if (!t) {
    snprintf(r.text, sizeof r.text, "nothing");
  } else if (t->kind == ORION_TYPE_TENSOR && t->rank == 0) {
    snprintf(r.text, sizeof r.text, "%s", orion_dtype_name(t->dtype));
  } else if (t->kind == ORION_TYPE_TENSOR) {
    snprintf(r.text, sizeof r.text, "tensor<%s, %.150s>", orion_dtype_name(t->dtype),
             orion_shape_text(t->rank, t->dims).text);
  } else if (t->kind == ORION_TYPE_STATE && t->n_parts && t->parts[0]->kind == ORION_TYPE_TENSOR) {
    snprintf(r.text, sizeof r.text, "state<%.180s>", orion_type_text(t->parts[0]).text);
  } else {
    snprintf(r.text, sizeof r.text, "a %s", kinds[t->kind]);
  }
  return r;
}

// ---- literals ----

static orion_literal *new_literal(orion_program *p, orion_literal_kind kind, const orion_type *type) {
  if (!type) return NULL;
  orion_literal *l = ORION_ARENA_NEW(&p->arena, orion_literal);
  if (!l) return NULL;
  l->kind = kind;
  l->type = type;
  return l;
}

const orion_literal *orion_literal_data(orion_program *p, const orion_type *type, const orion_data *data) {
  if (!data) return NULL;
  orion_literal *l = new_literal(p, ORION_LIT_DATA, type);
  if (l) l->data = data;
  return l;
}

// rows x cols of a tensor with n elements, as data.h defines it.
static const orion_data *new_data(orion_program *p, const orion_type *type, size_t n, void **out) {
  size_t rows = type && type->rank ? (size_t)type->dims[0] : 1;
  if (!type || (rows && n % rows)) return NULL;
  return orion_data_new(p->data, type->dtype, rows, rows ? n / rows : 0, out);
}

const orion_literal *orion_literal_ints(orion_program *p, const orion_type *type, size_t n, const int64_t *v) {
  void *bytes;
  const orion_data *data = new_data(p, type, n, &bytes);
  if (!data) return NULL;
  for (size_t i = 0; i < n; i++) orion_store_int(type->dtype, bytes, i, v[i]);
  return orion_literal_data(p, type, data);
}

const orion_literal *orion_literal_floats(orion_program *p, const orion_type *type, size_t n, const double *v) {
  void *bytes;
  const orion_data *data = new_data(p, type, n, &bytes);
  if (!data) return NULL;
  for (size_t i = 0; i < n; i++) orion_store_double(type->dtype, bytes, i, v[i]);
  return orion_literal_data(p, type, data);
}

const orion_literal *orion_literal_strings(orion_program *p, const orion_type *type, size_t n, const char *const *v) {
  orion_literal *l = new_literal(p, ORION_LIT_STRINGS, type);
  if (!l || n > UINT32_MAX) return NULL;
  const char **copies = ORION_ARENA_ARRAY(&p->arena, const char *, n);
  if (!copies) return NULL;
  for (size_t i = 0; i < n; i++) {
    copies[i] = orion_arena_strdup(&p->arena, v[i]);
    if (!copies[i]) return NULL;
  }
  l->strings = copies;
  l->n_items = (uint32_t)n;
  return l;
}

const orion_literal *orion_literal_string(orion_program *p, const char *text) {
  return orion_literal_strings(p, orion_type_scalar(p, ORION_STRING), 1, &text);
}

const orion_literal *orion_literal_blob(orion_program *p, const orion_type *type, const char *path, uint64_t offset) {
  orion_literal *l = new_literal(p, ORION_LIT_BLOB, type);
  if (!l) return NULL;
  l->blob_path = orion_arena_strdup(&p->arena, path);
  l->blob_offset = offset;
  return l->blob_path ? l : NULL;
}

const orion_literal *orion_literal_items(orion_program *p, orion_literal_kind kind, const orion_type *type, size_t n,
                                         const orion_literal *const *items) {
  orion_literal *l = new_literal(p, kind, type);
  if (!l || n > UINT32_MAX) return NULL;
  l->items = orion_arena_copy(&p->arena, items, n, sizeof *items);
  l->n_items = (uint32_t)n;
  return l->items ? l : NULL;
}

// cse: operations that compute the same thing, and equal constants, become one: the first of them.
//
// Equal means: same operation, same arguments after earlier replacements (in either order for commutative operations),
// same attributes but for the name, same result types; constants by their content where they are small, by their data
// node where they are large. A hash table of what has been seen makes it one walk. Exact.
//
// Must not touch: operations with an effect or unknown to the table; a second output stays an operation of its own.
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "opt/passes.h"
#include "opt/rewrite.h"

enum { SMALL_BYTES = 4096 };  // as orion_data_equal

typedef struct slot {
  uint64_t hash;
  orion_op_id op;  // ORION_NONE: empty
} slot;

typedef struct table {
  slot *slots;
  size_t mask;
} table;

static uint64_t mix(uint64_t h, uint64_t v) {
  h = (h ^ v) * 0x9e3779b97f4a7c15u;
  return h ^ h >> 29;
}

static uint64_t hash_text(const char *s) { return XXH3_64bits(s, strlen(s)); }

// ---- literals -------------------------------------------------------------------------------------------------------

static uint64_t hash_literal(const orion_literal *l) {
  uint64_t h = mix(l->kind, l->n_items);
  size_t n;
  if (l->data) {
    bool small = l->data->kind == ORION_DATA_BYTES && orion_dtype_bytes(l->data->dtype, orion_data_elements(l->data), &n) &&
                 n <= SMALL_BYTES;
    h = mix(h, small ? XXH3_64bits(l->data->bytes, n) : (uintptr_t)l->data);
  }
  for (uint32_t i = 0; l->strings && i < l->n_items; i++) h = mix(h, hash_text(l->strings[i]));
  for (uint32_t i = 0; l->items && i < l->n_items; i++) h = mix(h, hash_literal(l->items[i]));
  return h;
}

// What the bytes of a tensor are is said by its type, so rows and columns may differ (one is [4, 1], one [1, 4]).
static bool same_data(const orion_data *a, const orion_data *b) {
  size_t n;
  if (a == b) return true;
  if (!a || !b || a->kind != ORION_DATA_BYTES || b->kind != ORION_DATA_BYTES || a->dtype != b->dtype ||
      orion_data_elements(a) != orion_data_elements(b) || !orion_dtype_bytes(a->dtype, orion_data_elements(a), &n)) {
    return false;
  }
  return n <= SMALL_BYTES && memcmp(a->bytes, b->bytes, n) == 0;
}

static bool same_literal(const orion_literal *a, const orion_literal *b) {
  if (a == b) return true;
  if (a->kind != b->kind || a->n_items != b->n_items || !orion_type_equal(a->type, b->type)) return false;
  if (a->kind == ORION_LIT_BLOB && (a->blob_offset != b->blob_offset || strcmp(a->blob_path, b->blob_path) != 0)) return false;
  if (!same_data(a->data, b->data)) return false;
  for (uint32_t i = 0; a->strings && i < a->n_items; i++) {
    if (strcmp(a->strings[i], b->strings[i]) != 0) return false;
  }
  for (uint32_t i = 0; a->items && i < a->n_items; i++) {
    if (!same_literal(a->items[i], b->items[i])) return false;
  }
  return true;
}

// ---- operations -----------------------------------------------------------------------------------------------------

static uint64_t hash_ref(const orion_function *f, orion_ref ref) {
  return orion_ref_is_literal(ref) ? hash_literal(orion_ref_literal(f, ref)) : mix(1, ref);
}

static bool same_ref(const orion_function *f, orion_ref a, orion_ref b) {
  if (a == b) return true;
  return orion_ref_is_literal(a) && orion_ref_is_literal(b) && same_literal(orion_ref_literal(f, a), orion_ref_literal(f, b));
}

static bool is_commutative(const orion_op *op) { return orion_opcode_info(op->code)->flags & ORION_F_COMMUTATIVE; }
static bool is_operand(const orion_arg *arg) { return strcmp(arg->name, "x") == 0 || strcmp(arg->name, "y") == 0; }

static uint64_t hash_op(const orion_function *f, const orion_op *op) {
  uint64_t h = mix(op->code, op->n_args);
  uint64_t operands = 0;  // of a commutative operation: summed, so that their order does not count
  for (uint32_t a = 0; a < op->n_args; a++) {
    const orion_arg *arg = &op->args[a];
    uint64_t one = 0;
    for (uint32_t i = 0; i < arg->n_refs; i++) one = mix(one, hash_ref(f, arg->refs[i]));
    if (is_commutative(op) && is_operand(arg)) {
      operands += one;
    } else {
      h = mix(mix(h, hash_text(arg->name)), one);
    }
  }
  for (uint32_t i = 0; i < op->n_attrs; i++) {
    if (strcmp(op->attrs[i].name, "name") != 0) h = mix(h, hash_literal(op->attrs[i].value));
  }
  return mix(h, operands);
}

static bool same_arg(const orion_function *f, const orion_arg *a, const orion_arg *b) {
  if (a->n_refs != b->n_refs || strcmp(a->name, b->name) != 0) return false;
  for (uint32_t i = 0; i < a->n_refs; i++) {
    if (!same_ref(f, a->refs[i], b->refs[i])) return false;
  }
  return true;
}

static bool same_args(const orion_function *f, const orion_op *a, const orion_op *b) {
  if (a->n_args != b->n_args) return false;
  if (is_commutative(a) && same_ref(f, orion_op_ref(a, "x"), orion_op_ref(b, "y")) &&
      same_ref(f, orion_op_ref(a, "y"), orion_op_ref(b, "x"))) {
    return true;
  }
  for (uint32_t i = 0; i < a->n_args; i++) {
    if (!same_arg(f, &a->args[i], &b->args[i])) return false;
  }
  return true;
}

static bool same_attrs(const orion_op *a, const orion_op *b) {
  if (a->n_attrs != b->n_attrs) return false;
  for (uint32_t i = 0; i < a->n_attrs; i++) {
    if (strcmp(a->attrs[i].name, b->attrs[i].name) != 0) return false;
    if (strcmp(a->attrs[i].name, "name") != 0 && !same_literal(a->attrs[i].value, b->attrs[i].value)) return false;
  }
  return true;
}

static bool same_op(const orion_function *f, const orion_op *a, const orion_op *b) {
  if (a->code != b->code || a->n_results != b->n_results) return false;
  for (uint32_t i = 0; i < a->n_results; i++) {
    if (!orion_type_equal(orion_value_type(f, a->results[i]), orion_value_type(f, b->results[i]))) return false;
  }
  return same_attrs(a, b) && same_args(f, a, b);
}

// ---- the pass -------------------------------------------------------------------------------------------------------

static bool start(orion_rewrite *r) {
  table *t = ORION_ARENA_NEW(&r->scratch, table);
  size_t cap = 64;
  while (cap < 2 * r->f->n_ops) cap *= 2;
  if (!t || !(t->slots = ORION_ARENA_ARRAY(&r->scratch, slot, cap))) return false;
  for (size_t i = 0; i < cap; i++) t->slots[i].op = ORION_NONE;
  t->mask = cap - 1;
  r->state = t;
  return true;
}

static void visit(orion_rewrite *r, orion_op_id id) {
  orion_function *f = r->f;
  table *t = r->state;
  const orion_op *op = &f->ops[id];
  if (op->code == ORION_OP_OTHER || orion_opcode_info(op->code)->flags & ORION_F_EFFECT) return;
  uint64_t hash = hash_op(f, op);
  size_t at = hash & t->mask;
  for (; t->slots[at].op != ORION_NONE; at = (at + 1) & t->mask) {
    const orion_op *first = &f->ops[t->slots[at].op];
    if (t->slots[at].hash != hash || !first->linked || !same_op(f, first, op)) continue;
    if (orion_rewrite_replace_all(r, id, first->results)) return;
  }
  t->slots[at] = (slot){hash, id};
}

static orion_status run(orion_pass_context *ctx, orion_program *p, orion_error *err) {
  return orion_rewrite_run(ctx, p, &(orion_visitor){start, visit}, err);
}

const orion_pass orion_pass_cse = {"cse", "computes equal things once, constants among them", run};

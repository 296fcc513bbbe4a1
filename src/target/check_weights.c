// Checks of a function's constants: how many bytes, in how many files.
#include <string.h>

#include "target/check.h"

static size_t add_saturating(size_t a, size_t b) { return orion_add_ok(a, b, &a) ? a : SIZE_MAX; }

static size_t literal_bytes(const orion_literal *l) {
  size_t n = 0;
  if (l->kind != ORION_LIT_DATA && l->kind != ORION_LIT_BLOB) return 0;
  return orion_type_bytes(l->type, &n) ? n : SIZE_MAX;  // unknown or overflowing: no engine takes it
}

void orion_check_weight_bytes(orion_checker *c) {
  size_t total = 0;
  ORION_EACH_OP(c->f, id) {
    const orion_op *op = &c->f->ops[id];
    for (uint32_t i = 0; i < op->n_attrs; i++) total = add_saturating(total, literal_bytes(op->attrs[i].value));
  }
  if (total <= c->t->max_weight_bytes) return;
  orion_check_report(c, "%zu bytes of constants; at most %zu in one program", total, c->t->max_weight_bytes);
}

static bool seen_before(const char *const *paths, size_t n, const char *path) {
  for (size_t i = 0; i < n; i++) {
    if (strcmp(paths[i], path) == 0) return true;
  }
  return false;
}

// Distinct blob files that the constants name; SIZE_MAX: out of memory.
static size_t count_files(orion_checker *c) {
  size_t files = 0, attrs = 0;
  ORION_EACH_OP(c->f, id) attrs += c->f->ops[id].n_attrs;
  orion_arena scratch;
  orion_arena_init(&scratch, c->p->allocator);
  const char **paths = ORION_ARENA_ARRAY(&scratch, const char *, attrs + 1);
  c->no_memory = c->no_memory || !paths;
  for (orion_op_id id = c->f->first; paths && id != ORION_NONE; id = c->f->ops[id].next) {
    const orion_op *op = &c->f->ops[id];
    for (uint32_t i = 0; i < op->n_attrs; i++) {
      const orion_literal *l = op->attrs[i].value;
      if (l->kind == ORION_LIT_BLOB && !seen_before(paths, files, l->blob_path)) paths[files++] = l->blob_path;
    }
  }
  orion_arena_deinit(&scratch);
  return files;
}

void orion_check_blob_files(orion_checker *c) {
  size_t files = count_files(c);
  if (files <= (size_t)c->t->max_blob_files) return;
  orion_check_report(c, "%zu weight files; at most %d in one program", files, c->t->max_blob_files);
}

static bool is_scalar_constant(const orion_checker *c, const orion_op *op, const char *arg) {
  const orion_type *type = orion_op_arg_type(c->f, op, arg);
  size_t n;
  return orion_type_is_tensor(type) && orion_type_elements(type, &n) && n == 1 && orion_op_const(c->f, op, arg);
}

void orion_check_scalar_slot(orion_checker *c) {
  if (count_files(c) != (size_t)c->t->max_blob_files) return;
  ORION_EACH_OP(c->f, id) {
    const orion_op *op = &c->f->ops[id];
    if (orion_opcode_info(op->code)->cls != ORION_CLASS_BINARY) continue;
    if (!is_scalar_constant(c, op, "x") && !is_scalar_constant(c, op, "y")) continue;
    c->id = id;
    orion_check_report(c, "a scalar operand beside %d weight files, which leave it no room", c->t->max_blob_files);
    c->id = ORION_NONE;
    return;
  }
}

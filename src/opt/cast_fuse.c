// cast_fuse: cast(cast(x: A -> B) -> C) becomes cast(x: A -> C), and x itself where C is A.
//
// Only if B holds every value of A: fp16 -> fp32 -> fp16 goes, fp32 -> fp16 -> fp32 rounds and stays. Exact.
// A cast behind a movement is taken to the movement's source when the source is a lossless cast too, so that
// cast(reshape(cast(x))) loses one cast; the movement must have no other use.
#include "opt/passes.h"
#include "opt/rewrite.h"

// Bits of precision and, for floats, what exponents are there. An integer type is held by a float with enough bits.
static int precision(orion_dtype d) {
  switch (d) {
    case ORION_FP16: return 11;
    case ORION_BF16: return 8;
    case ORION_FP32: return 24;
    case ORION_FP64: return 53;
    default: return (int)orion_dtype_bits(d) - (orion_dtype_class(d) == 'i');
  }
}

// Whether every value of `a` is a value of `b`.
static bool holds(orion_dtype b, orion_dtype a) {
  char from = orion_dtype_class(a), to = orion_dtype_class(b);
  if (a == b) return true;
  if (from == 's' || to == 's' || !from || !to) return false;
  if (from == 'b') return to != 'b';
  if (to == 'b') return false;
  if (from == 'f') {
    if (to != 'f') return false;
    return b == ORION_FP64 || (b == ORION_FP32 && (a == ORION_FP16 || a == ORION_BF16));
  }
  if (to == 'f') return precision(a) <= precision(b);
  if (from == 'i' && to == 'u') return false;
  return precision(a) <= precision(b);
}

static bool is_movement(orion_opcode code) {
  return code == ORION_OP_reshape || code == ORION_OP_transpose || code == ORION_OP_expand_dims ||
         code == ORION_OP_squeeze || code == ORION_OP_slice_by_size || code == ORION_OP_slice_by_index;
}

// The lossless cast that feeds `x`, directly or (out_move) through one movement without other use; or ORION_NONE.
static orion_op_id lossless_source(orion_rewrite *r, orion_value_id x, orion_op_id *out_move) {
  const orion_function *f = r->f;
  *out_move = ORION_NONE;
  orion_op_id def = f->values[x].def;
  if (def != ORION_NONE && is_movement(f->ops[def].code) && !r->values[x].output && orion_rewrite_uses(r, x) == 1) {
    orion_value_id source = orion_op_value(&f->ops[def], "x");
    if (source == ORION_NONE || orion_rewrite_uses(r, source) != 1) return ORION_NONE;
    *out_move = def;
    x = source;
  }
  def = orion_rewrite_def(r, x, ORION_OP_cast);
  if (def == ORION_NONE) return ORION_NONE;
  orion_value_id origin = orion_op_value(&f->ops[def], "x");
  if (origin == ORION_NONE) return ORION_NONE;
  const orion_type *from = orion_value_type(f, origin), *by = orion_value_type(f, x);
  return orion_type_is_tensor(from) && holds(by->dtype, from->dtype) ? def : ORION_NONE;
}

// Makes the movement work on the cast's source: same positions, other element type.
static bool move_source(orion_rewrite *r, orion_op_id move, orion_value_id origin) {
  orion_function *f = r->f;
  orion_value_id moved = f->ops[move].results[0];
  const orion_type *t = orion_value_type(f, moved);
  const orion_type *type = orion_type_tensor(f->program, orion_value_type(f, origin)->dtype, t->rank, t->dims);
  if (!type) {
    orion_rewrite_out_of_memory(r);
    return false;
  }
  f->values[moved].type = type;
  orion_rewrite_set_arg(r, move, "x", origin);
  return r->b.status == ORION_OK;
}

static void visit(orion_rewrite *r, orion_op_id id) {
  orion_function *f = r->f;
  if (f->ops[id].code != ORION_OP_cast) return;
  orion_value_id x = orion_op_value(&f->ops[id], "x");
  orion_op_id move, inner = x == ORION_NONE ? ORION_NONE : lossless_source(r, x, &move);
  if (inner == ORION_NONE) return;
  orion_value_id origin = orion_op_value(&f->ops[inner], "x");
  if (move != ORION_NONE) {
    if (!move_source(r, move, origin)) return;
    r->ctx->changes++;
    origin = x;  // now of the origin's type
  }
  orion_value_id result = f->ops[id].results[0];
  if (orion_value_type(f, origin)->dtype == orion_value_type(f, result)->dtype &&
      orion_rewrite_replace(r, id, origin)) {
    return;
  }
  if (origin != x) {
    orion_rewrite_set_arg(r, id, "x", origin);
    r->ctx->changes++;
  }
}

static orion_status run(orion_pass_context *ctx, orion_program *p, orion_error *err) {
  return orion_rewrite_run(ctx, p, &(orion_visitor){.visit = visit}, err);
}

const orion_pass orion_pass_cast_fuse = {"cast_fuse", "joins casts of casts where nothing is rounded between", run};

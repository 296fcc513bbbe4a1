#include "target/cost.h"

// Peak rates are of long chains of equal products; graphs of layers sustain about half (docs/limits.md's sources).
#define SUSTAINED 0.5
// On-chip memory beside main memory: banks of 16 bytes each clock. No public figure is sure; the choice between keeping and
// computing again hangs on it only for operations that read much to make little, and those are kept anyway.
#define ON_CHIP 8.0

static double elements(const orion_type *t) {
  double n = 1;
  if (!orion_type_is_tensor(t)) return 0;
  for (int i = 0; i < t->rank; i++) n *= t->dims[i] < 0 ? 1 : (double)t->dims[i];
  return n;
}

// Multiplications and additions of the products in an operation.
static double arithmetic(const orion_function *f, const orion_op *op) {
  const orion_type *y = orion_value_type(f, op->results[0]);
  switch (op->code) {
    case ORION_OP_linear:
    case ORION_OP_conv: {
      const orion_type *w = orion_ref_type(f, orion_op_ref(op, "weight"));
      return w && w->rank > 1 && w->dims[0] > 0 ? 2 * elements(y) * elements(w) / (double)w->dims[0] : 0;
    }
    case ORION_OP_matmul: {
      bool turned = false;
      const orion_type *x = orion_ref_type(f, orion_op_ref(op, "x"));
      orion_op_bool(f, op, "transpose_x", &turned);
      return x && x->rank > 1 ? 2 * elements(y) * (double)x->dims[x->rank - (turned ? 2 : 1)] : 0;
    }
    case ORION_OP_orion_attention: {  // scores and values over half of the positions, for each feature
      int64_t batch = 1;
      orion_op_int(f, op, "batch", &batch);
      return 4 * elements(y) * (double)y->dims[0] / (double)batch;
    }
    default: return 0;
  }
}

// Seconds that the engine spends on the operation: arithmetic at the rate that is sustained, and operands from and to the
// on-chip memory. Operations of model graphs ([T, C], composites) and of opened programs alike.
static double op_seconds(const orion_target *t, const orion_function *f, const orion_op *op) {
  double bytes = 2 * elements(orion_value_type(f, op->results[0]));
  for (uint32_t i = 0; i < op->n_args; i++) {
    for (uint32_t r = 0; r < op->args[i].n_refs; r++) bytes += 2 * elements(orion_ref_type(f, op->args[i].refs[r]));
  }
  if (t->fp16_tflops <= 0 || t->weight_gb_s <= 0) return 0;
  return arithmetic(f, op) / (SUSTAINED * 1e12 * t->fp16_tflops) + bytes / (ON_CHIP * 1e9 * t->weight_gb_s);
}

// Seconds to write `bytes` to memory by one program and to read them by another.
static double handover_seconds(const orion_target *t, size_t bytes) {
  return t->weight_gb_s > 0 ? 2 * (double)bytes / (1e9 * t->weight_gb_s) : 0;
}

bool orion_cost_recompute(void *ctx, const orion_function *f, const orion_op *op) {
  const orion_target *t = ctx;
  size_t bytes = 0;
  if (op->n_results != 1 || !orion_type_bytes(orion_value_type(f, op->results[0]), &bytes)) return false;
  return op_seconds(t, f, op) < handover_seconds(t, bytes);
}

// Seconds by the family's costs: each operation takes the longer of its arithmetic at peak rate and its weights at the
// rate they are read, a run the fixed cost besides. Coarse, and meant so: probes ask which of two programs is slower. A
// rule of speed that is switched off costs nothing, or, where it names a number, another number.
#include "device/sim/rules.h"

static double elements_of(const orion_type *t) {
  size_t n;
  return orion_type_is_tensor(t) && orion_type_is_static(t) && orion_type_elements(t, &n) ? (double)n : 0;
}

static double bytes_of(const orion_type *t) {
  return orion_type_is_tensor(t) ? elements_of(t) * (double)orion_dtype_bits(t->dtype) / 8 : 0;
}

typedef struct product {
  double flops, weight_bytes, widest;  // of the operands in bytes
  bool conv;
  int64_t depth;                       // input channels of a convolution
} product;

static product product_of(const orion_function *f, const orion_op *op) {
  bool conv = op->code == ORION_OP_conv, linear = op->code == ORION_OP_linear;
  orion_ref x = orion_op_ref(op, "x"), w = orion_op_ref(op, conv || linear ? "weight" : "y");
  const orion_type *tx = orion_ref_type(f, x), *tw = orion_ref_type(f, w), *ty = orion_value_type(f, op->results[0]);
  product p = {.conv = conv};
  if (!orion_type_is_tensor(tx) || !orion_type_is_tensor(tw) || tw->rank < 2 || tx->rank < 2) return p;
  double depth = conv ? elements_of(tw) / (double)(tw->dims[0] > 0 ? tw->dims[0] : 1) : (double)tw->dims[tw->rank - 1];
  bool turned = false;
  if (!conv && !linear) {
    orion_op_bool(f, op, "transpose_y", &turned);
    if (!turned) depth = (double)tw->dims[tw->rank - 2];
  }
  p.flops = 2 * depth * elements_of(ty);
  p.weight_bytes = orion_ref_is_const(f, w) ? bytes_of(tw) : 0;
  p.widest = bytes_of(tx) > bytes_of(tw) ? bytes_of(tx) : bytes_of(tw);
  p.depth = conv ? tw->dims[1] : 0;
  return p;
}

static double op_time(const orion_sim_rules *r, const orion_function *f, const orion_op *op) {
  const orion_target *t = r->target;
  double peak = t->fp16_tflops * 1e12 / (orion_sim_rules_off(r, ORION_RULE_X04) ? 4 : 1);
  double rate = t->weight_gb_s * 1e9 * (orion_sim_rules_off(r, ORION_RULE_X07) ? 4 : 1);
  if (op->code != ORION_OP_conv && op->code != ORION_OP_matmul && op->code != ORION_OP_linear) {
    return 2 * bytes_of(orion_value_type(f, op->results[0])) / (4 * t->weight_gb_s * 1e9);
  }
  product p = product_of(f, op);
  double work = p.flops / peak, read = p.weight_bytes / rate;
  if (!p.conv && orion_sim_rules_play(r, ORION_RULE_C17)) work *= t->conv_speedup;
  if (p.widest > (double)t->sram_bytes && orion_sim_rules_play(r, ORION_RULE_C28)) work /= 0.7;
  if (p.depth > t->split_conv_in && orion_sim_rules_play(r, ORION_RULE_L19)) {
    work *= 4;
    read *= 4;
  }
  return work > read ? work : read;
}

double orion_sim_rules_run_time(const orion_sim_rules *r, const orion_function *f) {
  if (!r->target) return 0;
  double total = orion_sim_rules_off(r, ORION_RULE_C29) ? 0 : r->target->dispatch_us * 1e-6;
  ORION_EACH_OP(f, id) {
    const orion_op *op = &f->ops[id];
    if (op->n_results && !orion_ref_is_const(f, op->results[0])) total += op_time(r, f, op);
  }
  return total;
}

// 10 ms and 4 ms for each MB of constants: 17 MB take 78, within what was measured (C33).
double orion_sim_rules_compile_time(const orion_sim_rules *r, const orion_function *f) {
  double bytes = 0;
  ORION_EACH_OP(f, id) {
    const orion_op *op = &f->ops[id];
    if (op->code == ORION_OP_const) bytes += bytes_of(orion_value_type(f, op->results[0]));
  }
  return 0.010 + bytes * 4e-9;
}

double orion_sim_rules_restart_time(const orion_sim_rules *r) {
  if (!r->target) return 0;
  return r->target->restart_ms * 1e-3 * (orion_sim_rules_off(r, ORION_RULE_C15) ? 20 : 1);
}

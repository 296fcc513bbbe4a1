// Rules of numbers that are switched off: the family's arithmetic with that property taken away, so that a probe of the
// property sees it gone.
//
//   C30  sums of products overflow like fp16, at 65,504
//   C37  functions are exact, rounded once
//   C44  elementwise results that lie in the middle are rounded to even
//   L11  slices of the last axis keep all magnitudes
//   C39  values that are both returned and used come out infinite
//   X18  the last bit of the first result changes from run to run
#include <math.h>

#include "device/sim/fixed.h"
#include "device/sim/plan.h"

static void wide_product(const orion_sim_product *p, size_t begin, size_t end) {
  orion_sim_arith_ideal.product(p, begin, end);
  for (size_t r = begin; r < end; r++) {
    for (size_t c = 0; c < p->n; c++) {
      float *y = &p->out[r * p->row_step + c * p->column_step];
      *y = orion_fixed_half((double)*y);
    }
  }
}

static float exact_unary(orion_opcode code, float x, float alpha, float beta) {
  return orion_fixed_half((double)orion_sim_arith_ideal.unary(code, x, alpha, beta));
}

static float exact_gelu(char mode, float x) { return orion_fixed_half((double)orion_sim_arith_ideal.gelu(mode, x)); }

static float even_binary(orion_opcode code, float x, float y) {
  return orion_half_to_float(orion_float_to_half(orion_sim_arith_ideal.binary(code, x, y)));
}

void orion_sim_rules_bend(const orion_sim_rules *r, orion_sim_arith *a) {
  if (orion_sim_rules_off(r, ORION_RULE_C30)) a->product = wide_product;
  if (orion_sim_rules_off(r, ORION_RULE_C37)) {
    a->unary = exact_unary;
    a->gelu = exact_gelu;
  }
  if (orion_sim_rules_off(r, ORION_RULE_C44)) {
    a->binary = even_binary;
    a->row = NULL;
  }
  if (orion_sim_rules_off(r, ORION_RULE_L11)) a->width_crop = false;
}

void orion_sim_rules_spoil(orion_sim_executable *e) {
  const orion_executable *base = &e->base;
  const orion_sim_rules *rules = &((const orion_sim_device *)base->device)->rules;
  for (size_t i = base->n_inputs; i < base->n_ios; i++) {
    if (!e->tapped[i] || !orion_dtype_is_float(e->ios[i]->dtype)) continue;
    for (size_t k = 0; k < e->ios[i]->n; k++) e->ios[i]->f[k] = INFINITY;
  }
  if (!orion_sim_rules_off(rules, ORION_RULE_X18) || base->n_inputs == base->n_ios || base->times.runs % 2 == 0) return;
  orion_sim_tensor *first = e->ios[base->n_inputs];
  if (first->n && orion_dtype_is_float(first->dtype)) {
    first->f[0] = orion_half_to_float((orion_half)(orion_float_to_half(first->f[0]) ^ 1));
  }
}

// Functions of one fp16 number have 65,536 results. Where a program applies one to many numbers, they are worked out
// once for the device, at compile, and looked up in runs: the same bits, ten times faster. Only functions without
// parameters (which an update could change) are kept so.
#include <string.h>

#include "base/half.h"
#include "device/sim/plan.h"

enum { FROM = 4096, HALVES = 65536, CHUNK = 256 };  // elements that make it worth while; results; looked up at once

static bool plain(orion_opcode code) {
  switch (code) {
    case ORION_OP_erf: case ORION_OP_exp: case ORION_OP_exp2: case ORION_OP_gelu: case ORION_OP_sigmoid:
    case ORION_OP_silu: case ORION_OP_sin: case ORION_OP_cos: case ORION_OP_softplus: case ORION_OP_softsign:
    case ORION_OP_sqrt: case ORION_OP_tanh:
      return true;
    default: return false;
  }
}

static char mode_of(const orion_sim_op *op) { return op->code == ORION_OP_gelu ? orion_sim_text(op, "mode")[0] : 0; }

orion_status orion_sim_curve_find(orion_sim_device *d, orion_sim_op *op, orion_error *err) {
  if (!op->arith->ane || !plain(op->code) || op->out[0]->n < FROM) return ORION_OK;
  char mode = mode_of(op);
  orion_sim_curve *c = d->curves;
  while (c && (c->code != op->code || c->mode != mode)) c = c->next;
  if (!c) {
    c = orion_alloc(d->base.allocator, 1, sizeof *c);
    if (!c) return ORION_OOM(err, "sim: functions");
    *c = (orion_sim_curve){.code = op->code, .mode = mode, .next = d->curves};
    for (uint32_t i = 0; i < HALVES; i++) {
      float x = orion_half_to_float((orion_half)i);
      float y = mode ? d->arith->gelu(mode, x) : d->arith->unary(op->code, x, 0, 0);
      c->result[i] = orion_float_to_half(y);
    }
    d->curves = c;
  }
  op->curve = c->result;
  return ORION_OK;
}

void orion_sim_curves_free(orion_sim_device *d) {
  while (d->curves) {
    orion_sim_curve *c = d->curves;
    d->curves = c->next;
    orion_free(d->base.allocator, c, 1, sizeof *c);
  }
}

void orion_sim_curve_apply(const uint16_t *curve, const float *x, float *y, size_t n) {
  for (size_t i = 0; i < n; i += CHUNK) {
    orion_half h[CHUNK];
    size_t m = n - i < CHUNK ? n - i : CHUNK;
    orion_floats_to_half(h, x + i, m);
    for (size_t e = 0; e < m; e++) h[e] = curve[h[e]];
    orion_half_to_floats(y + i, h, m);
  }
}

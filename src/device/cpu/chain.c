// Running elementwise chains. Operands that lie in memory as floats in a row are used where they are; others are
// converted into the worker's tiles first. The last instruction writes into the output where that is floats in a row.
#include "device/cpu/chain.h"

void orion_chain_span(const orion_cpu_exec *x, const orion_chain *c, size_t row, size_t col, size_t n,
                      const float *injected, float *scratch) {
  const float *reg[ORION_CHAIN_OPERANDS + ORION_CHAIN_TEMPS];
  int outer = c->rank - 1;
  for (int i = 0; i < c->n_operands; i++) {
    const orion_chain_operand *o = &c->operands[i];
    float *tile = scratch + (size_t)i * ORION_CPU_TILE;
    if (i == c->injected) {
      reg[i] = injected;
      continue;
    }
    int64_t stride = o->strides[outer];
    int64_t at = o->offset + orion_cpu_row_offset(outer, c->dims, o->strides, row) + (int64_t)col * stride;
    if (o->dtype == ORION_FP32 && stride == 1) {
      reg[i] = (const float *)x->base[o->buffer] + at;
    } else {
      orion_cpu_load(x->k, tile, o->dtype, x->base[o->buffer], at, stride, n);
      reg[i] = tile;
    }
  }
  const orion_chain_operand *out = &c->out;
  int64_t out_stride = out->strides[outer];
  int64_t out_at = out->offset + orion_cpu_row_offset(outer, c->dims, out->strides, row) + (int64_t)col * out_stride;
  bool direct = out->dtype == ORION_FP32 && out_stride == 1;
  float *direct_to = direct ? (float *)x->base[out->buffer] + out_at : NULL;
  for (int i = 0; i < c->n_instrs; i++) {
    const orion_chain_instr *in = &c->instrs[i];
    float *dst = direct && i == c->n_instrs - 1 ? direct_to : scratch + (size_t)in->dst * ORION_CPU_TILE;
    if (in->op == ORION_CHAIN_SELECT) {
      x->k->select(dst, reg[in->a], reg[in->b], reg[in->c], n);
    } else {
      x->k->map[in->op](dst, reg[in->a], reg[in->b], n, in->p, in->q);
    }
    reg[in->dst] = dst;
  }
  if (!direct || c->n_instrs == 0) {
    orion_cpu_store(x->k, out->dtype, x->base[out->buffer], out_at, out_stride, reg[c->result], n);
  }
}

typedef struct chain_run {
  const orion_cpu_exec *x;
  const orion_chain *c;
  size_t inner, tiles;  // length of a row, tiles in it
} chain_run;

static void run_tiles(void *ctx, size_t begin, size_t end, int worker) {
  const chain_run *r = ctx;
  float *scratch = orion_cpu_scratch(r->x, worker);
  for (size_t i = begin; i < end; i++) {
    size_t row = i / r->tiles, col = (i % r->tiles) * ORION_CPU_TILE;
    size_t n = r->inner - col < ORION_CPU_TILE ? r->inner - col : ORION_CPU_TILE;
    orion_chain_span(r->x, r->c, row, col, n, NULL, scratch);
  }
}

orion_status orion_chain_run(const orion_cpu_exec *x, const orion_cpu_step *s, orion_error *err) {
  const orion_chain *c = s->data;
  chain_run r = {.x = x, .c = c, .inner = (size_t)c->dims[c->rank - 1]};
  size_t rows = 1;
  for (int i = 0; i < c->rank - 1; i++) rows *= (size_t)c->dims[i];
  if (rows == 0 || r.inner == 0) return ORION_OK;
  r.tiles = (r.inner + ORION_CPU_TILE - 1) / ORION_CPU_TILE;
  size_t cost = (r.inner < ORION_CPU_TILE ? r.inner : ORION_CPU_TILE) * (size_t)(c->n_instrs + c->n_operands + 1) + 64;
  size_t grain = ORION_CPU_SERIAL / cost + 1;
  orion_cpu_for(x, rows * r.tiles, grain, rows * r.tiles * cost / 4, run_tiles, &r);
  return ORION_OK;
}

// ---- dimensions ----

static bool follows(const orion_chain_operand *o, int outer, int inner, const int64_t *dims) {
  return o->strides[outer] == o->strides[inner] * dims[inner];
}

static void drop_dim(orion_chain *c, int at) {
  for (int i = at; i + 1 < c->rank; i++) {
    c->dims[i] = c->dims[i + 1];
    for (int o = 0; o < c->n_operands; o++) c->operands[o].strides[i] = c->operands[o].strides[i + 1];
    c->out.strides[i] = c->out.strides[i + 1];
  }
  c->rank--;
}

static bool evenly(const orion_chain *c, int outer, int inner) {
  for (int o = 0; o < c->n_operands; o++) {
    if (o != c->injected && !follows(&c->operands[o], outer, inner, c->dims)) return false;
  }
  return follows(&c->out, outer, inner, c->dims);
}

void orion_chain_merge(orion_chain *c, int split) {
  for (int i = c->rank - 1; i >= 0; i--) {  // dimensions of one element, but one stays behind the border
    if (c->dims[i] != 1 || c->rank == 1 || (split > 0 && i >= split && c->rank - split == 1)) continue;
    drop_dim(c, i);
    if (i < split) split--;
  }
  for (int i = c->rank - 1; i > 0; i--) {
    if (i == split && split > 0) continue;
    if (!evenly(c, i - 1, i)) continue;
    c->dims[i] *= c->dims[i - 1];
    drop_dim(c, i - 1);
    if (i - 1 < split) split--;
  }
}

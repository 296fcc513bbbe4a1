// Building elementwise chains. An elementwise op whose result has one user waits, as one does whose users meet again
// (fuse_meet.c); the op that is finally emitted pulls in the waiting ops below it that have its shape, and so becomes the
// root of all that is computed tile by tile. One waiting matrix product may be pulled in too: the chain then runs on its
// finished tiles.
//
// Within a chain, values stay floats: results that MIL calls fp16 are rounded only when stored, or where the program
// says so by a cast.
#include "device/cpu/build.h"
#include "device/cpu/elementwise.h"

typedef struct chain_build {
  orion_cpu_build *b;
  orion_chain *c;
  const orion_type *shape;  // of the root
  orion_cpu_view ins[ORION_CHAIN_OPERANDS];
  uint32_t busy;        // temporaries in use
  orion_op_id product;  // pulled in, or ORION_NONE
  struct {
    orion_value_id value;
    uint8_t reg;
    uint32_t left;      // uses to come
  } shared[ORION_CHAIN_INSTRS];  // values of several users
  int n_shared;
} chain_build;

// Spreads a view over the chain's dimensions; false if it does not broadcast to them.
static bool spread(const orion_chain *c, const orion_cpu_view *v, orion_chain_operand *out) {
  *out = (orion_chain_operand){.buffer = v->buffer, .dtype = v->dtype, .offset = v->offset};
  int lead = c->rank - v->rank;
  for (int i = 0; i < v->rank; i++) {
    if (lead + i < 0) {
      if (v->dims[i] != 1) return false;
      continue;
    }
    if (v->dims[i] != c->dims[lead + i] && v->dims[i] != 1) return false;
    out->strides[lead + i] = v->dims[i] == 1 ? 0 : v->strides[i];
  }
  return true;
}

static orion_status add_operand(chain_build *cb, const orion_cpu_view *v, uint8_t *out, orion_error *err) {
  orion_chain *c = cb->c;
  for (int i = 0; i < c->n_operands; i++) {  // x * sigmoid(x) reads x once
    if (i != c->injected && memcmp(&cb->ins[i], v, sizeof *v) == 0) {
      *out = (uint8_t)i;
      return ORION_OK;
    }
  }
  if (c->n_operands == ORION_CHAIN_OPERANDS) return ORION_FAIL(err, ORION_INTERNAL, "too many operands in a chain");
  if (!spread(c, v, &c->operands[c->n_operands])) {
    return ORION_FAIL(err, ORION_FORMAT, "the shapes of the arguments do not broadcast to the result");
  }
  cb->ins[c->n_operands] = *v;
  *out = (uint8_t)c->n_operands++;
  return ORION_OK;
}

static bool is_temp(uint8_t reg) { return reg >= ORION_CHAIN_OPERANDS; }

static void release_reg(chain_build *cb, uint8_t reg) {
  if (!is_temp(reg)) return;
  for (int i = 0; i < cb->n_shared; i++) {
    if (cb->shared[i].reg == reg && cb->shared[i].left > 0 && --cb->shared[i].left > 0) return;
  }
  cb->busy &= ~(1u << (reg - ORION_CHAIN_OPERANDS));
}

static orion_status take_temp(chain_build *cb, uint8_t *out, orion_error *err) {
  for (uint8_t i = 0; i < ORION_CHAIN_TEMPS; i++) {
    if (cb->busy & 1u << i) continue;
    cb->busy |= 1u << i;
    if (i >= cb->c->n_temps) cb->c->n_temps = i + 1;
    *out = (uint8_t)(ORION_CHAIN_OPERANDS + i);  // renumbered behind the operands at the end
    return ORION_OK;
  }
  return ORION_FAIL(err, ORION_INTERNAL, "too many temporaries in a chain");
}

static orion_status add_instr(chain_build *cb, orion_chain_instr in, int n_read, uint8_t *out, orion_error *err) {
  orion_chain *c = cb->c;
  if (c->n_instrs == ORION_CHAIN_INSTRS) return ORION_FAIL(err, ORION_INTERNAL, "too many operations in a chain");
  release_reg(cb, in.a);  // kernels work in place
  if (n_read > 1) release_reg(cb, in.b);
  if (n_read > 2) release_reg(cb, in.c);
  ORION_TRY(take_temp(cb, &in.dst, err));
  c->instrs[c->n_instrs++] = in;
  *out = in.dst;
  return ORION_OK;
}

static orion_status gen_op(chain_build *cb, const orion_op *op, uint8_t *out, orion_error *err);

// A waiting value, made when it is met for the first time.
static orion_status gen_value(chain_build *cb, orion_value_id value, const orion_op *def, uint8_t *out, orion_error *err) {
  for (int i = 0; i < cb->n_shared; i++) {
    if (cb->shared[i].value != value) continue;
    *out = cb->shared[i].reg;
    return ORION_OK;
  }
  ORION_TRY(gen_op(cb, def, out, err));
  if (cb->b->uses[value] < 2) return ORION_OK;
  int at = cb->n_shared++;
  cb->shared[at].value = value;
  cb->shared[at].reg = *out;
  cb->shared[at].left = cb->b->uses[value];
  return ORION_OK;
}

// The register that holds a ref's elements: of a waiting op below, or of an operand in memory.
static orion_status gen_ref(chain_build *cb, orion_ref ref, uint8_t *out, orion_error *err) {
  orion_cpu_build *b = cb->b;
  if (!orion_ref_is_literal(ref)) {
    orion_cpu_value *v = &b->values[ref];
    const orion_value *value = &b->f->values[ref];
    if (v->state == ORION_CPU_PENDING && !v->lazy && orion_cpu_same_dims(value->type, cb->shape)) {
      const orion_op *def = &b->f->ops[value->def];
      if (orion_cpu_chainable(b, def)) return gen_value(cb, ref, def, out, err);
      if (orion_cpu_is_product(def->code) && cb->product == ORION_NONE && cb->c->n_operands < ORION_CHAIN_OPERANDS) {
        cb->product = value->def;
        cb->c->injected = cb->c->n_operands;
        *out = (uint8_t)cb->c->n_operands++;
        return ORION_OK;
      }
    }
  }
  orion_cpu_view view;
  ORION_TRY(orion_cpu_ref_view(b, ref, &view, err));
  return add_operand(cb, &view, out, err);
}

static orion_status gen_op(chain_build *cb, const orion_op *op, uint8_t *out, orion_error *err) {
  orion_cpu_elementwise e;
  if (!orion_cpu_elementwise_of(cb->b->f, op, &e)) return ORION_FAIL(err, ORION_INTERNAL, "not elementwise");
  uint8_t regs[3] = {0, 0, 0};
  for (int i = 0; i < e.n_refs; i++) ORION_TRY(gen_ref(cb, e.refs[i], &regs[i], err));
  *out = regs[0];
  for (int i = 0; i < e.n; i++) {
    orion_chain_instr in = {.op = e.steps[i].op,
                            .a = i == 0 ? regs[0] : *out,
                            .b = regs[1],
                            .c = regs[2],
                            .p = e.steps[i].p,
                            .q = e.steps[i].q};
    int reads = e.steps[i].reads;
    if (i > 0 && reads == 2) in.b = regs[e.steps[i].second];
    ORION_TRY(add_instr(cb, in, reads, out, err));
  }
  return ORION_OK;
}

static void renumber(orion_chain *c) {
  int shift = ORION_CHAIN_OPERANDS - c->n_operands;
  for (int i = 0; i < c->n_instrs; i++) {
    orion_chain_instr *in = &c->instrs[i];
    if (is_temp(in->dst)) in->dst = (uint8_t)(in->dst - shift);
    if (is_temp(in->a)) in->a = (uint8_t)(in->a - shift);
    if (is_temp(in->b)) in->b = (uint8_t)(in->b - shift);
    if (is_temp(in->c)) in->c = (uint8_t)(in->c - shift);
  }
  if (is_temp((uint8_t)c->result)) c->result -= shift;
}

static orion_status add_chain_step(chain_build *cb, const orion_cpu_view *out, orion_error *err) {
  orion_chain_merge(cb->c, 0);
  orion_cpu_step step = {.run = orion_chain_run,
                         .kind = ORION_CPU_MAP,
                         .n_in = (uint32_t)cb->c->n_operands,
                         .in = cb->ins,
                         .n_out = 1,
                         .out = out,
                         .data = cb->c,
                         .scratch = orion_chain_scratch(cb->c)};
  return orion_cpu_add_step(cb->b, &step, err);
}

// The chain at the end of the product it pulled in; or, where its columns cannot be walked evenly, after it.
static orion_status finish_product(chain_build *cb, const orion_cpu_view *out, orion_error *err) {
  orion_cpu_build *b = cb->b;
  const orion_op *product = &b->f->ops[cb->product];
  orion_chain *merged = orion_cpu_data(b, sizeof *merged);
  if (!merged) return ORION_OOM(err, "plan");
  *merged = *cb->c;
  int split = orion_cpu_product_split(b, product);
  orion_chain_merge(merged, split);
  int64_t columns = 1;
  for (int i = split; i < cb->c->rank; i++) columns *= cb->c->dims[i];
  if (merged->dims[merged->rank - 1] == columns) {
    orion_cpu_view ins[ORION_CHAIN_OPERANDS];
    size_t n = 0;
    for (int i = 0; i < cb->c->n_operands; i++) {
      if (i != cb->c->injected) ins[n++] = cb->ins[i];
    }
    orion_cpu_epilogue e = {.chain = merged, .ins = ins, .n_ins = n, .out = *out};
    return orion_cpu_emit_product(b, product, &e, err);
  }
  ORION_TRY(orion_cpu_force(b, product->results[0], NULL, err));
  int at = cb->c->injected;
  cb->ins[at] = b->values[product->results[0]].view;
  cb->c->injected = -1;
  if (!spread(cb->c, &cb->ins[at], &cb->c->operands[at])) return ORION_FAIL(err, ORION_INTERNAL, "product shape");
  return add_chain_step(cb, out, err);
}

orion_status orion_cpu_emit_chain(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *dest,
                                  orion_error *err) {
  const orion_type *t = orion_cpu_result_type(b, op, 0);
  chain_build cb = {.b = b, .shape = t, .product = ORION_NONE};
  memset(cb.ins, 0, sizeof cb.ins);
  cb.c = orion_cpu_data(b, sizeof *cb.c);
  if (!cb.c) return ORION_OOM(err, "plan");
  cb.c->injected = -1;
  cb.c->rank = t->rank ? t->rank : 1;
  cb.c->dims[0] = 1;
  for (int i = 0; i < t->rank; i++) cb.c->dims[i] = t->dims[i];
  uint8_t result;
  ORION_TRY(gen_op(&cb, op, &result, err));
  cb.c->result = result;
  renumber(cb.c);
  orion_cpu_view out;
  if (dest) {
    out = *dest;
    orion_cpu_alias(b, op, 0, &out);
  } else {
    ORION_TRY(orion_cpu_result(b, op, 0, &out, err));
  }
  if (!spread(cb.c, &out, &cb.c->out)) return ORION_FAIL(err, ORION_INTERNAL, "result shape");
  return cb.product == ORION_NONE ? add_chain_step(&cb, &out, err) : finish_product(&cb, &out, err);
}

// ---- waiting --------------------------------------------------------------------------------------------------------

bool orion_cpu_chainable(const orion_cpu_build *b, const orion_op *op) {
  orion_cpu_elementwise e;
  return op->n_results == 1 && orion_cpu_elementwise_of(b->f, op, &e);
}

bool orion_cpu_may_wait(const orion_cpu_build *b, const orion_op *op) {
  return b->fuse && op->n_results == 1 && b->uses[op->results[0]] == 1 && b->user[op->results[0]] != ORION_NONE;
}

// What is too much for one chain is emitted now, largest part first.
static orion_status limit_size(orion_cpu_build *b, const orion_op *op, const orion_cpu_elementwise *e,
                               orion_error *err) {
  while (!orion_cpu_chain_fits(b, op, &b->values[op->results[0]].instrs)) {
    unsigned largest = 0;
    orion_value_id biggest = ORION_NONE;
    for (int i = 0; i < e->n_refs; i++) {
      const orion_cpu_value *v = orion_ref_is_literal(e->refs[i]) ? NULL : &b->values[e->refs[i]];
      if (!v || v->state != ORION_CPU_PENDING || v->lazy || v->instrs <= largest) continue;
      largest = v->instrs;
      biggest = e->refs[i];
    }
    if (biggest == ORION_NONE) return ORION_OK;
    ORION_TRY(orion_cpu_force(b, biggest, NULL, err));
  }
  return ORION_OK;
}

// Reading halves where floats are wanted costs nothing: the conversion happens on the way into a tile.
static bool widening(const orion_cpu_build *b, const orion_op *op) {
  if (op->code != ORION_OP_cast || !b->fuse) return false;
  orion_dtype from = orion_ref_type(b->f, orion_op_ref(op, "x"))->dtype;
  orion_dtype to = orion_cpu_result_type(b, op, 0)->dtype;
  return to == ORION_FP32 && (from == ORION_FP16 || from == ORION_BF16) && !b->values[op->results[0]].io;
}

orion_status orion_cpu_emit_elementwise(orion_cpu_build *b, const orion_op *op, orion_error *err) {
  orion_cpu_elementwise e;
  orion_ref sum;
  const orion_op *product = orion_cpu_summed_product(b, op, &sum);
  if (product) return orion_cpu_emit_product_sum(b, product, op, sum, err);
  if (!orion_cpu_elementwise_of(b->f, op, &e)) return orion_cpu_emit_generic(b, op, err);
  orion_ref x = orion_op_ref(op, "x");
  bool waits = !orion_ref_is_literal(x) && x != ORION_NONE && b->values[x].state == ORION_CPU_PENDING;
  if (widening(b, op) && !(waits && !b->values[x].lazy)) {
    orion_cpu_view v;
    ORION_TRY(orion_cpu_ref_view(b, x, &v, err));
    orion_cpu_alias(b, op, 0, &v);
    return ORION_OK;
  }
  ORION_TRY(limit_size(b, op, &e, err));
  // bf16 is for keeping: no tile is rounded to it, and what waited would be kept in fp32 in its place.
  if (orion_cpu_result_type(b, op, 0)->dtype == ORION_BF16) return orion_cpu_emit_chain(b, op, NULL, err);
  if (orion_cpu_may_wait(b, op) || orion_cpu_users_meet(b, op)) {
    b->values[op->results[0]].state = ORION_CPU_PENDING;
    return ORION_OK;
  }
  return orion_cpu_emit_chain(b, op, NULL, err);
}

// A product alone, with a chain that only stores.
static orion_status force_product(orion_cpu_build *b, const orion_op *op, const orion_cpu_view *dest,
                                  orion_error *err) {
  const orion_type *t = orion_cpu_result_type(b, op, 0);
  orion_cpu_epilogue e = {0};
  if (dest) {
    e.out = *dest;
    orion_cpu_alias(b, op, 0, dest);
  } else {
    ORION_TRY(orion_cpu_result(b, op, 0, &e.out, err));
  }
  orion_chain *c = orion_cpu_data(b, sizeof *c);
  if (!c) return ORION_OOM(err, "plan");
  c->n_operands = 1;
  c->rank = t->rank ? t->rank : 1;
  c->dims[0] = 1;
  for (int i = 0; i < t->rank; i++) c->dims[i] = t->dims[i];
  if (!spread(c, &e.out, &c->out)) return ORION_FAIL(err, ORION_INTERNAL, "result shape");
  int split = orion_cpu_product_split(b, op);
  int64_t columns = 1;
  for (int i = split; i < c->rank; i++) columns *= c->dims[i];
  orion_chain_merge(c, split);
  e.chain = c;
  if (c->dims[c->rank - 1] == columns) return orion_cpu_emit_product(b, op, &e, err);
  // A destination that the columns cannot be written to in one go: by way of a packed result.
  orion_cpu_view to = e.out;
  b->values[op->results[0]].state = ORION_CPU_PENDING;
  ORION_TRY(force_product(b, op, NULL, err));
  ORION_TRY(orion_cpu_add_copy(b, &b->values[op->results[0]].view, &to, err));
  orion_cpu_alias(b, op, 0, &to);
  return ORION_OK;
}

orion_status orion_cpu_force(orion_cpu_build *b, orion_value_id v, const orion_cpu_view *dest, orion_error *err) {
  const orion_op *op = &b->f->ops[b->f->values[v].def];
  b->values[v].state = ORION_CPU_UNKNOWN;
  if (b->values[v].lazy) {
    b->values[v].lazy = false;
    if (op->code == ORION_OP_constexpr_blockwise_shift_scale) return orion_cpu_emit_generic(b, op, err);
    if (op->code != ORION_OP_cast) return orion_cpu_emit_view(b, op, err);
    if (widening(b, op)) return orion_cpu_emit_elementwise(b, op, err);
    return orion_cpu_chainable(b, op) ? orion_cpu_emit_chain(b, op, NULL, err) : orion_cpu_emit_generic(b, op, err);
  }
  if (orion_cpu_is_product(op->code)) return force_product(b, op, dest, err);
  return orion_cpu_emit_chain(b, op, dest, err);
}

// linear, matmul, einsum, attention. All products of matrices go through one function: rows of weights times a panel
// whose columns lie side by side, which is what the arithmetic takes. A matrix that lies the other way is turned
// over in scratch memory first; of two equals, the smaller one.
#include <math.h>
#include <string.h>

#include "device/sim/rules.h"
#include "device/sim/sim.h"
#include "device/sim/tally.h"

enum { ROWS_AT_ONCE = 32 };     // of a product, by one thread

typedef struct product_job {
  const orion_sim_arith *arith;
  orion_sim_product p;
} product_job;

static void product_rows(void *ctx, size_t begin, size_t end, int worker) {
  const product_job *j = ctx;
  j->arith->product(&j->p, begin, end);
}

static void run_product(const orion_sim_ctx *c, const orion_sim_product *p, size_t n_rows) {
  product_job j = {c->arith, *p};
  orion_parallel_for(c->pool, n_rows, n_rows < 2 * ROWS_AT_ONCE ? ROWS_AT_ONCE / 2 : ROWS_AT_ONCE, product_rows, &j);
  if (c->tally) orion_sim_tally_product(c->tally, p, n_rows);
}

typedef struct turn_job {
  const float *from;
  float *to;
  size_t rows, columns;
} turn_job;

static void turn_range(void *ctx, size_t begin, size_t end, int worker) {
  const turn_job *j = ctx;
  for (size_t r = begin; r < end; r++) {
    for (size_t c = 0; c < j->columns; c++) j->to[c * j->rows + r] = j->from[r * j->columns + c];
  }
}

// [rows, columns] -> [columns, rows]
static void turn(const orion_sim_ctx *c, const float *from, size_t rows, size_t columns, float *to) {
  turn_job j = {from, to, rows, columns};
  orion_parallel_for(c->pool, rows, 64, turn_range, &j);
}

// ---- linear ---- x [..., k], weight [n, k], bias [n] -> [..., n]

size_t orion_sim_scratch_linear(const orion_sim_op *op, int threads) {
  return orion_sim_in(op, "x")->n * sizeof(float);
}

ORION_SIM_RUN(orion_sim_run_linear) {
  const orion_sim_tensor *x = orion_sim_in(op, "x"), *w = orion_sim_in(op, "weight"), *bias = orion_sim_in(op, "bias");
  size_t n = (size_t)w->dims[0], k = (size_t)w->dims[1], m = k ? x->n / k : op->out[0]->n / (n ? n : 1);
  float *panel = c->scratch;  // x turned over: [k, m]
  turn(c, x->f, m, k, panel);
  orion_sim_product p = {.k = k, .n = m, .rows = w->f, .row_stride = k, .panel = panel, .ldx = m,
                         .out = op->out[0]->f, .row_step = 1, .column_step = n};
  if (bias && bias->n == n) {
    p.bias = bias->f;
    run_product(c, &p, n);
  } else {
    run_product(c, &p, n);
    for (size_t i = 0; bias && i < op->out[0]->n; i++) {
      op->out[0]->f[i] = c->arith->binary(ORION_OP_add, op->out[0]->f[i], bias->f[0]);
    }
  }
  return ORION_OK;
}

// ---- matmul ----

typedef struct matmul_shape {
  size_t m, k, n;
  bool turn_x, turn_y;          // x is [k, m], y is [n, k]
  int64_t x_batch[ORION_MAX_RANK], y_batch[ORION_MAX_RANK];  // strides over the result's batch dimensions
  int rank;                     // of the batch
  int64_t dims[ORION_MAX_RANK];
} matmul_shape;

static orion_sim_tensor batch_of(const orion_sim_tensor *t, int vector_rank) {  // the tensor without its matrix
  orion_sim_tensor b = *t;
  b.rank = t->rank > vector_rank ? t->rank - vector_rank : 0;
  return b;
}

// Rank 1 counts as a row on the left and as a column on the right.
static matmul_shape shape_of(const orion_sim_op *op) {
  const orion_sim_tensor *x = orion_sim_in(op, "x"), *y = orion_sim_in(op, "y"), *z = op->out[0];
  matmul_shape s = {.turn_x = orion_sim_int(op, "transpose_x") != 0 && x->rank > 1,
                    .turn_y = orion_sim_int(op, "transpose_y") != 0 && y->rank > 1};
  int64_t x0 = x->rank > 1 ? x->dims[x->rank - 2] : 1, x1 = x->dims[x->rank - 1];
  int64_t y0 = y->dims[y->rank > 1 ? y->rank - 2 : 0], y1 = y->rank > 1 ? y->dims[y->rank - 1] : 1;
  s.m = (size_t)(s.turn_x ? x1 : x0);
  s.k = (size_t)(s.turn_x ? x0 : x1);
  s.n = (size_t)(s.turn_y ? y0 : y1);
  s.rank = z->rank - (x->rank > 1) - (y->rank > 1);
  if (s.rank < 0) s.rank = 0;
  for (int i = 0; i < s.rank; i++) s.dims[i] = z->dims[i];
  orion_sim_tensor xb = batch_of(x, 2), yb = batch_of(y, 2);
  orion_sim_broadcast(&xb, s.rank, s.dims, s.x_batch);
  orion_sim_broadcast(&yb, s.rank, s.dims, s.y_batch);
  return s;
}

size_t orion_sim_scratch_matmul(const orion_sim_op *op, int threads) {
  matmul_shape s = shape_of(op);
  return (s.m * s.k + s.k * s.n) * sizeof(float);
}

// One pair of matrices. Rows of the product's left side must lie along k, the panel across it.
static void multiply(const orion_sim_ctx *c, const matmul_shape *s, const float *x, const float *y, float *out) {
  float *scratch = c->scratch;
  orion_sim_product p = {.k = s->k, .row_stride = s->k, .out = out};
  if (s->turn_y && s->turn_x) {  // y's rows times x as it lies
    p.rows = y;
    p.panel = x;
    p.n = s->m;
  } else if (s->turn_y) {        // both lie in rows: the smaller is turned into the panel
    bool small_x = s->m <= s->n;
    turn(c, small_x ? x : y, small_x ? s->m : s->n, s->k, scratch);
    p.rows = small_x ? y : x;
    p.panel = scratch;
    p.n = small_x ? s->m : s->n;
  } else {
    if (s->turn_x) turn(c, x, s->k, s->m, scratch);
    p.rows = s->turn_x ? scratch : x;
    p.panel = y;
    p.n = s->n;
  }
  p.ldx = p.n;
  bool rows_are_y = p.rows == y;
  p.row_step = rows_are_y ? 1 : s->n;
  p.column_step = rows_are_y ? s->n : 1;
  run_product(c, &p, rows_are_y ? s->n : s->m);
}

// Integers are multiplied exactly and summed in 64 bits; the result saturates.
static void multiply_ints(const matmul_shape *s, const int32_t *x, const int32_t *y, orion_sim_tensor *z, size_t at) {
  for (size_t i = 0; i < s->m; i++) {
    for (size_t j = 0; j < s->n; j++) {
      int64_t sum = 0;
      for (size_t k = 0; k < s->k; k++) {
        sum += (int64_t)x[s->turn_x ? k * s->m + i : i * s->k + k] * y[s->turn_y ? j * s->k + k : k * s->n + j];
      }
      orion_sim_set(z, at + i * s->n + j, (double)sum);
    }
  }
}

ORION_SIM_RUN(orion_sim_run_matmul) {
  const orion_sim_tensor *x = orion_sim_in(op, "x"), *y = orion_sim_in(op, "y");
  orion_sim_tensor *z = op->out[0];
  if (!z->n) return ORION_OK;
  matmul_shape s = shape_of(op);
  int64_t index[ORION_MAX_RANK] = {0};
  size_t done = 0;
  do {
    size_t xi = 0, yi = 0;
    for (int i = 0; i < s.rank; i++) {
      xi += (size_t)(index[i] * s.x_batch[i]) * s.m * s.k;
      yi += (size_t)(index[i] * s.y_batch[i]) * s.k * s.n;
    }
    if (orion_dtype_is_float(z->dtype)) {
      multiply(c, &s, x->f + xi, y->f + yi, z->f + done);
    } else {
      multiply_ints(&s, x->i + xi, y->i + yi, z, done);
    }
    done += s.m * s.n;
  } while (orion_sim_next(s.rank, s.dims, index));
  return ORION_OK;
}

// ---- einsum ---- two operands, letters only, explicit result: "abcd,adce->abce"

typedef struct equation {
  size_t n_x, n_y, n_z;
  const char *x, *y, *z;
} equation;

static bool letters(const char *s, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z'))) return false;
  }
  return n <= ORION_MAX_RANK;
}

static bool parse_equation(const char *text, equation *e) {
  const char *comma = strchr(text, ','), *arrow = strstr(text, "->");
  if (!comma || !arrow || arrow < comma) return false;
  *e = (equation){(size_t)(comma - text), (size_t)(arrow - comma - 1), strlen(arrow + 2), text, comma + 1, arrow + 2};
  return letters(e->x, e->n_x) && letters(e->y, e->n_y) && letters(e->z, e->n_z);
}

// That each letter has one size everywhere (or 1, which is broadcast).
static bool letters_agree(const equation *e, const orion_type *x, const orion_type *y) {
  int64_t size[256] = {0};
  for (size_t i = 0; i < e->n_x + e->n_y; i++) {
    unsigned char letter = (unsigned char)(i < e->n_x ? e->x[i] : e->y[i - e->n_x]);
    int64_t n = i < e->n_x ? x->dims[i] : y->dims[i - e->n_x];
    if (size[letter] > 1 && n != 1 && n != size[letter]) return false;
    if (n != 1 || size[letter] == 0) size[letter] = n;
  }
  return true;
}

const char *orion_sim_lacks_einsum(const orion_function *f, const orion_op *op) {
  const char *text = orion_op_string(f, op, "equation");
  const orion_arg *values = orion_op_arg(op, "values");
  equation e;
  if (!text || !parse_equation(text, &e)) return "only equations of two operands in letters, with a result";
  if (!values || values->n_refs != 2) return "only two operands";
  for (int i = 0; i < 2; i++) {
    const orion_type *t = orion_ref_type(f, values->refs[i]);
    if (!t || t->rank != (i ? e.n_y : e.n_x)) return "the equation has another rank than its operand";
    if (!orion_dtype_is_float(t->dtype)) return "only floating operands";
  }
  return letters_agree(&e, orion_ref_type(f, values->refs[0]), orion_ref_type(f, values->refs[1]))
             ? NULL
             : "a letter stands for two different sizes";
}

// Strides of a tensor along each distinct letter (a repeated letter walks the diagonal).
static void letter_strides(const orion_sim_tensor *t, const char *names, size_t n, const char *all, int n_all,
                           int64_t *dims, int64_t *out) {
  int64_t own[ORION_MAX_RANK];
  orion_sim_strides(t, own);
  for (int a = 0; a < n_all; a++) {
    out[a] = 0;
    for (size_t i = 0; i < n; i++) {
      if (names[i] != all[a]) continue;
      if (t->dims[i] != 1) out[a] += own[i];
      if (dims && t->dims[i] > dims[a]) dims[a] = t->dims[i];
    }
  }
}

ORION_SIM_RUN(orion_sim_run_einsum) {
  const orion_sim_arg *values = orion_sim_arg_of(op, "values");
  const orion_sim_tensor *x = values->t[0], *y = values->t[1];
  orion_sim_tensor *z = op->out[0];
  equation e;
  if (!parse_equation(orion_sim_text(op, "equation"), &e)) return ORION_FAIL(err, ORION_INTERNAL, "%s", op->name);
  enum { MOST = 2 * ORION_MAX_RANK };
  char all[MOST];  // the result's letters, then those summed over
  int n_all = 0, n_z = (int)e.n_z;
  memcpy(all, e.z, e.n_z);
  n_all = n_z;
  for (size_t i = 0; i < e.n_x + e.n_y; i++) {
    char letter = i < e.n_x ? e.x[i] : e.y[i - e.n_x];
    if (!memchr(all, letter, (size_t)n_all) && n_all < MOST) all[n_all++] = letter;
  }
  int64_t dims[MOST], xs[MOST], ys[MOST], outer[MOST] = {0};
  for (int i = 0; i < MOST; i++) dims[i] = 1;
  letter_strides(x, e.x, e.n_x, all, n_all, dims, xs);
  letter_strides(y, e.y, e.n_y, all, n_all, dims, ys);
  for (size_t o = 0; o < z->n; o++) {
    int64_t xo = 0, yo = 0, inner[MOST] = {0};
    for (int i = 0; i < n_z; i++) {
      xo += outer[i] * xs[i];
      yo += outer[i] * ys[i];
    }
    double sum = 0;
    do {
      int64_t xi = xo, yi = yo;
      for (int i = n_z; i < n_all; i++) {
        xi += inner[i - n_z] * xs[i];
        yi += inner[i - n_z] * ys[i];
      }
      sum += (double)x->f[xi] * (double)y->f[yi];
    } while (orion_sim_next(n_all - n_z, dims + n_z, inner));
    z->f[o] = (float)sum;
    orion_sim_next(n_z, dims, outer);
  }
  return ORION_OK;
}

// ---- attention ---- q [..., L, E], k [..., S, E], v [..., S, F], mask broadcast to [..., L, S] -> [..., L, F]

typedef struct attention {
  const orion_sim_tensor *q, *k, *v, *mask;
  orion_sim_tensor *z;
  size_t l, s, e, f;
  int64_t q_batch[ORION_MAX_RANK], k_batch[ORION_MAX_RANK], v_batch[ORION_MAX_RANK], mask_strides[ORION_MAX_RANK];
  double *scores;               // [workers, s]
} attention;

size_t orion_sim_scratch_sdpa(const orion_sim_op *op, int threads) {
  const orion_sim_tensor *k = orion_sim_in(op, "key");
  return (size_t)threads * (size_t)k->dims[k->rank - 2] * sizeof(double);
}

static double masked(const attention *a, double score, size_t at) {
  if (!a->mask) return score;
  if (orion_dtype_is_float(a->mask->dtype)) return score + (double)a->mask->f[at];
  return a->mask->i[at] ? score : -INFINITY;
}

// One query: scores, softmax over the keys, weighted sum of the values, all in double.
static void attend(const attention *a, const float *q, const float *k, const float *v, int64_t mask_at,
                   int64_t mask_step, double *scores, float *out) {
  double scale = 1 / sqrt((double)a->e), top = -INFINITY, total = 0;
  for (size_t s = 0; s < a->s; s++) {
    double dot = 0;
    for (size_t i = 0; i < a->e; i++) dot += (double)q[i] * (double)k[s * a->e + i];
    scores[s] = masked(a, dot * scale, (size_t)(mask_at + (int64_t)s * mask_step));
    if (scores[s] > top || isnan(scores[s])) top = scores[s];
  }
  for (size_t s = 0; s < a->s; s++) total += scores[s] = exp(scores[s] - top);
  for (size_t f = 0; f < a->f; f++) {
    double sum = 0;
    for (size_t s = 0; s < a->s; s++) sum += scores[s] * (double)v[s * a->f + f];
    out[f] = (float)(sum / total);
  }
}

static void attend_range(void *ctx, size_t begin, size_t end, int worker) {
  const attention *a = ctx;
  int batch_rank = a->z->rank - 2;
  for (size_t row = begin; row < end; row++) {
    size_t query = row % a->l, batch = row / a->l;
    int64_t qi = 0, ki = 0, vi = 0, mi = (int64_t)query * a->mask_strides[batch_rank];
    for (int i = batch_rank - 1; i >= 0; i--) {
      int64_t at = (int64_t)(batch % (size_t)a->z->dims[i]);
      batch /= (size_t)a->z->dims[i];
      qi += at * a->q_batch[i];
      ki += at * a->k_batch[i];
      vi += at * a->v_batch[i];
      mi += at * a->mask_strides[i];
    }
    attend(a, a->q->f + ((size_t)qi * a->l + query) * a->e, a->k->f + (size_t)ki * a->s * a->e,
           a->v->f + (size_t)vi * a->s * a->f, mi, a->mask_strides[batch_rank + 1],
           a->scores + (size_t)worker * a->s, a->z->f + row * a->f);
  }
}

ORION_SIM_RUN(orion_sim_run_sdpa) {
  attention a = {.q = orion_sim_in(op, "query"), .k = orion_sim_in(op, "key"), .v = orion_sim_in(op, "value"),
                 .mask = op->flaw == ORION_SIM_NO_MASK ? NULL : orion_sim_in(op, "attn_mask"), .z = op->out[0],
                 .scores = c->scratch};
  int rank = a.z->rank;
  a.l = (size_t)a.q->dims[a.q->rank - 2];
  a.e = (size_t)a.q->dims[a.q->rank - 1];
  a.s = (size_t)a.k->dims[a.k->rank - 2];
  a.f = (size_t)a.v->dims[a.v->rank - 1];
  orion_sim_tensor q = batch_of(a.q, 2), k = batch_of(a.k, 2), v = batch_of(a.v, 2);
  orion_sim_broadcast(&q, rank - 2, a.z->dims, a.q_batch);
  orion_sim_broadcast(&k, rank - 2, a.z->dims, a.k_batch);
  orion_sim_broadcast(&v, rank - 2, a.z->dims, a.v_batch);
  int64_t plane[ORION_MAX_RANK];
  memcpy(plane, a.z->dims, sizeof plane);
  plane[rank - 1] = (int64_t)a.s;
  if (a.mask) orion_sim_broadcast(a.mask, rank, plane, a.mask_strides);
  if (a.z->n) orion_parallel_for(c->pool, a.z->n / a.f, 1, attend_range, &a);
  return ORION_OK;
}

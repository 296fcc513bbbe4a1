// oneDNN (2.x) in bench/products: its matmul and its inner product, in fp32 and where the processor has it in bf16 with
// fp32 results. Weights known ahead are reordered ahead, into the layout that the primitive asks for; everything else is
// plain. Operands in bf16 are converted ahead too, which flatters it.
#include <dnnl.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "products.h"

enum { INNER = 1, BF16 = 2 };  // bits of a variant

typedef struct state {
  const work *w;
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  dnnl_primitive_t primitive;
  dnnl_memory_t a, *b, *c;     // b and c: for each copy
  int a_arg, b_arg, c_arg;
} state;

static void check(dnnl_status_t status, const char *what) {
  if (status != dnnl_success) products_fail("oneDNN", what);
}

static dnnl_memory_desc_t plain(size_t rows, size_t cols, size_t row, size_t col, dnnl_data_type_t type) {
  dnnl_memory_desc_t d;
  check(dnnl_memory_desc_init_by_strides(&d, 2, (dnnl_dims_t){(dnnl_dim_t)rows, (dnnl_dim_t)cols}, type,
                                         (dnnl_dims_t){(dnnl_dim_t)row, (dnnl_dim_t)col}), "descriptor");
  return d;
}

static dnnl_memory_desc_t any_layout(size_t rows, size_t cols, dnnl_data_type_t type) {
  dnnl_memory_desc_t d;
  check(dnnl_memory_desc_init_by_tag(&d, 2, (dnnl_dims_t){(dnnl_dim_t)rows, (dnnl_dim_t)cols}, type,
                                     dnnl_format_tag_any), "descriptor");
  return d;
}

static dnnl_memory_t memory_of(const state *s, const dnnl_memory_desc_t *d, const float *data) {
  dnnl_memory_t m;
  check(dnnl_memory_create(&m, d, s->engine, data ? (void *)(size_t)data : DNNL_MEMORY_ALLOCATE), "memory");
  return m;
}

// `data` as `from` has it, in the layout and type of `to`: the array itself where they are the same.
static dnnl_memory_t bring(const state *s, const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to,
                           const float *data) {
  dnnl_memory_t src = memory_of(s, from, data);
  if (dnnl_memory_desc_equal(from, to)) return src;
  dnnl_memory_t dst = memory_of(s, to, NULL);
  dnnl_primitive_desc_t desc;
  dnnl_primitive_t reorder;
  check(dnnl_reorder_primitive_desc_create(&desc, from, s->engine, to, s->engine, NULL), "reorder");
  check(dnnl_primitive_create(&reorder, desc), "reorder");
  dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, src}, {DNNL_ARG_TO, dst}};
  check(dnnl_primitive_execute(reorder, s->stream, 2, args), "reorder");
  check(dnnl_stream_wait(s->stream), "reorder");
  dnnl_primitive_destroy(reorder);
  dnnl_primitive_desc_destroy(desc);
  dnnl_memory_destroy(src);
  return dst;
}

// The primitive, and in what layout it wants B; false where oneDNN does not have it here.
static bool make_matmul(state *s, dnnl_data_type_t type, dnnl_memory_desc_t *a, dnnl_memory_desc_t *b,
                        dnnl_memory_desc_t *c, dnnl_primitive_desc_t *out) {
  const work *w = s->w;
  *a = plain(w->m, w->k, w->a_row, w->a_col, type);
  *b = w->kind == WORK_FORWARD ? any_layout(w->k, w->n, type) : plain(w->k, w->n, w->b_row, w->b_col, type);
  *c = plain(w->m, w->n, w->n, 1, dnnl_f32);
  dnnl_matmul_desc_t op;
  check(dnnl_matmul_desc_init(&op, a, b, NULL, c), "matmul");
  s->a_arg = DNNL_ARG_SRC;
  s->b_arg = DNNL_ARG_WEIGHTS;
  s->c_arg = DNNL_ARG_DST;
  if (dnnl_primitive_desc_create(out, &op, NULL, s->engine, NULL) != dnnl_success) return false;
  *b = *dnnl_primitive_desc_query_md(*out, dnnl_query_weights_md, 0);
  return true;
}

// Its gradients ask for the forward primitive that they belong to.
static bool make_inner(state *s, dnnl_data_type_t type, dnnl_memory_desc_t *a, dnnl_memory_desc_t *b,
                       dnnl_memory_desc_t *c, dnnl_primitive_desc_t *out) {
  const work *w = s->w;
  bool forward = w->kind == WORK_FORWARD || w->kind == WORK_Y;
  dnnl_memory_desc_t x = plain(w->T, w->K, w->K, 1, w->kind == WORK_DX ? dnnl_f32 : type);
  dnnl_memory_desc_t weights = plain(w->N, w->K, w->K, 1, w->kind == WORK_DW ? dnnl_f32 : type);
  if (w->kind == WORK_FORWARD) weights = any_layout(w->N, w->K, type);
  dnnl_memory_desc_t y = plain(w->T, w->N, w->N, 1, forward ? dnnl_f32 : type);
  dnnl_memory_desc_t hint_x = plain(w->T, w->K, w->K, 1, type), hint_w = plain(w->N, w->K, w->K, 1, type);
  dnnl_inner_product_desc_t op;
  dnnl_primitive_desc_t hint = NULL;
  dnnl_prop_kind_t purpose = w->kind == WORK_FORWARD ? dnnl_forward_inference : dnnl_forward_training;
  check(dnnl_inner_product_forward_desc_init(&op, purpose, forward ? &x : &hint_x, forward ? &weights : &hint_w, NULL,
                                             &y), "inner product");
  if (dnnl_primitive_desc_create(forward ? out : &hint, &op, NULL, s->engine, NULL) != dnnl_success) return false;
  bool made = true;
  if (w->kind == WORK_DX) {
    check(dnnl_inner_product_backward_data_desc_init(&op, &x, &weights, &y), "inner product");
    made = dnnl_primitive_desc_create(out, &op, NULL, s->engine, hint) == dnnl_success;
  } else if (w->kind == WORK_DW) {
    check(dnnl_inner_product_backward_weights_desc_init(&op, &x, &weights, NULL, &y), "inner product");
    made = dnnl_primitive_desc_create(out, &op, NULL, s->engine, hint) == dnnl_success;
  }
  if (hint) dnnl_primitive_desc_destroy(hint);
  if (!made) return false;
  if (w->kind == WORK_FORWARD) weights = *dnnl_primitive_desc_query_md(*out, dnnl_query_weights_md, 0);
  *a = forward ? x : y;
  *b = w->kind == WORK_DW ? x : weights;
  *c = forward ? y : w->kind == WORK_DX ? x : weights;
  s->a_arg = forward ? DNNL_ARG_SRC : DNNL_ARG_DIFF_DST;
  s->b_arg = w->kind == WORK_DW ? DNNL_ARG_SRC : DNNL_ARG_WEIGHTS;
  s->c_arg = forward ? DNNL_ARG_DST : w->kind == WORK_DX ? DNNL_ARG_DIFF_SRC : DNNL_ARG_DIFF_WEIGHTS;
  return true;
}

static bool begin(contestant *self, const work *w) {
  bool inner = self->variant & INNER;
  dnnl_data_type_t type = self->variant & BF16 ? dnnl_bf16 : dnnl_f32;
  state *s = calloc(1, sizeof *s);
  if (!s) products_fail("oneDNN", "out of memory");
  self->state = s;
  s->w = w;
  omp_set_num_threads(self->threads);
  check(dnnl_engine_create(&s->engine, dnnl_cpu, 0), "engine");
  check(dnnl_stream_create(&s->stream, s->engine, dnnl_stream_default_flags), "stream");
  dnnl_memory_desc_t a, b, c;
  dnnl_primitive_desc_t desc;
  if (!(inner ? make_inner : make_matmul)(s, type, &a, &b, &c, &desc)) return false;
  check(dnnl_primitive_create(&s->primitive, desc), "primitive");
  dnnl_primitive_desc_destroy(desc);
  // The weights of an inner product are [N,K], those of a matmul [K,N].
  bool turned = inner && w->kind != WORK_DX && w->kind != WORK_DW;
  dnnl_memory_desc_t plain_a = plain(w->m, w->k, w->a_row, w->a_col, dnnl_f32);
  if (inner && w->kind == WORK_DW) plain_a = plain(w->T, w->N, w->N, 1, dnnl_f32);
  dnnl_memory_desc_t plain_b = turned ? plain(w->n, w->k, w->b_col, w->b_row, dnnl_f32)
                                      : plain(w->k, w->n, w->b_row, w->b_col, dnnl_f32);
  s->a = bring(s, &plain_a, &a, w->a);
  s->b = calloc(w->copies, sizeof *s->b);
  s->c = calloc(w->copies, sizeof *s->c);
  if (!s->b || !s->c) products_fail("oneDNN", "out of memory");
  for (size_t i = 0; i < w->copies; i++) {
    s->b[i] = i && !w->b_step ? s->b[0] : bring(s, &plain_b, &b, w->b + i * w->b_step);
    s->c[i] = i && !w->c_step ? s->c[0] : memory_of(s, &c, w->c + i * w->c_step);
  }
  return true;
}

static void run(contestant *self, size_t copy) {
  state *s = self->state;
  dnnl_exec_arg_t args[] = {{s->a_arg, s->a}, {s->b_arg, s->b[copy]}, {s->c_arg, s->c[copy]}};
  check(dnnl_primitive_execute(s->primitive, s->stream, 3, args), "product");
  check(dnnl_stream_wait(s->stream), "product");
}

static const float *result(contestant *self, size_t copy) {
  const state *s = self->state;
  return s->w->c + copy * s->w->c_step;
}

static void end(contestant *self) {
  state *s = self->state;
  if (!s) return;
  for (size_t i = 0; s->b && s->c && i < s->w->copies; i++) {
    if (i == 0 || s->w->b_step) dnnl_memory_destroy(s->b[i]);
    if (i == 0 || s->w->c_step) dnnl_memory_destroy(s->c[i]);
  }
  if (s->a) dnnl_memory_destroy(s->a);
  if (s->primitive) dnnl_primitive_destroy(s->primitive);
  dnnl_stream_destroy(s->stream);
  dnnl_engine_destroy(s->engine);
  free(s->b);
  free(s->c);
  free(s);
  self->state = NULL;
}

static bool has_bf16(void) {
  const work w = {.kind = WORK_Y, .m = 64, .n = 64, .k = 64, .a_row = 64, .a_col = 1, .b_row = 1, .b_col = 64};
  state s = {.w = &w};
  dnnl_memory_desc_t a, b, c;
  dnnl_primitive_desc_t desc;
  check(dnnl_engine_create(&s.engine, dnnl_cpu, 0), "engine");
  bool has = make_matmul(&s, dnnl_bf16, &a, &b, &c, &desc);
  if (has) dnnl_primitive_desc_destroy(desc);
  dnnl_engine_destroy(s.engine);
  return has;
}

size_t onednn_contestants(contestant *out, int threads) {
  static const char *const names[] = {"oneDNN mm", "oneDNN ip", "bf16 mm", "bf16 ip"};
  int n = has_bf16() ? 4 : 2;
  for (int i = 0; i < n; i++) {
    out[i] = (contestant){.name = names[i], .half = (i & BF16) != 0, .peer = true, .begin = begin, .run = run,
                          .result = result, .end = end, .variant = i, .threads = threads};
  }
  return (size_t)n;
}

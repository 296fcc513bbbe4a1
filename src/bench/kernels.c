// The product kernels alone, at the shapes of a model's matrices: a few rows of activations are bound by reading the
// weights, many by multiplying (by matrix instructions where the level has them), and each is put beside that ceiling. Rows are
// packed into strips where programs do so, as part of what is measured.
// Weights for few rows are copied until they fill memory well beyond the caches, as a model's layers do.
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "bench/subject.h"

#define MANY 16              // rows from which arithmetic is the bound
#define MOST_SECONDS 1.0     // for one figure: large shapes get fewer samples, but three at least
enum { MOST_SHAPES = 16 };

typedef struct shape { int64_t rows, cols; } shape;  // of W

typedef struct product {
  const orion_kernels *k;
  orion_panels w;
  float *x, *y;
  size_t rows, panels;
  size_t data_size, x_size, y_size;
  bool many, fast;  // by linear_many, and how
  bool by_strips;   // else by linear_strips
  float *strips;
  uint8_t *scratch; // of each thread
  size_t strips_size, scratch_each, scratch_size;
} product;

static const char *type_name(orion_kernel_type type) { return type == ORION_KERNEL_F16 ? "fp16" : "fp32"; }

static float fraction(size_t i) { return (float)((i * 2654435761u >> 8) % 2001) / 1000.0f - 1.0f; }

static void run_linear(void *ctx, size_t begin, size_t end, int worker) {
  product *p = ctx;
  void *scratch = p->scratch + (size_t)worker * p->scratch_each;
  if (p->many) {
    p->k->linear_many(p->y, p->w.rows, p->x, p->w.cols, p->rows, &p->w, NULL, begin, end, p->fast, scratch);
  } else if (p->by_strips) {
    p->k->linear_strips(p->y, p->w.rows, p->strips, p->rows, 0, p->rows, &p->w, NULL, begin, end, scratch);
  } else {
    p->k->linear(p->y, p->w.rows, p->x, p->w.cols, p->rows, &p->w, NULL, begin, end);
  }
}

static void pack_rows(void *ctx, size_t begin, size_t end, int worker) {
  product *p = ctx;
  const size_t unit = ORION_STRIPS_UNIT, t1 = end * unit < p->rows ? end * unit : p->rows;
  p->k->pack_rows(p->strips, p->x, p->w.cols, p->rows, &p->w, begin * unit, t1);
}

static void run_product(orion_pool *pool, product *p, size_t grain) {
  if (p->by_strips) orion_parallel_for(pool, (p->rows + ORION_STRIPS_UNIT - 1) / ORION_STRIPS_UNIT, 2, pack_rows, p);
  orion_parallel_for(pool, p->panels, grain, run_linear, p);
}

static void destroy(product *p) {
  orion_free_aligned(NULL, (void *)(uintptr_t)p->w.data, p->data_size, ORION_ALIGN_CACHE);
  orion_free_aligned(NULL, p->scratch, p->scratch_size, ORION_ALIGN_CACHE);
  orion_free(NULL, p->strips, p->strips_size, sizeof *p->strips);
  orion_free(NULL, p->x, p->x_size, sizeof *p->x);
  orion_free(NULL, p->y, p->y_size, sizeof *p->y);
}

static orion_status create(const orion_kernels *k, orion_kernel_type type, shape s, size_t rows, size_t fill,
                           bool fast, size_t threads, product *p, orion_error *err) {
  size_t N = (size_t)s.rows, K = (size_t)s.cols, one = orion_panels_size(type, N, K), copies = 1;
  if (rows < MANY) copies += fill / one;
  *p = (product){.k = k, .rows = rows, .panels = orion_panel_count(N) * copies};
  p->data_size = one * copies;
  p->many = orion_many_pays(k, rows, N, K, fast);
  p->fast = fast;
  p->by_strips = !p->many && orion_strips_pay(type, rows, K);
  p->strips_size = p->by_strips ? orion_strips_size(rows, K) : 0;
  p->scratch_each = p->many ? ORION_MATMUL_MANY_SCRATCH : p->by_strips ? ORION_STRIPS_SCRATCH : 0;
  p->scratch_size = threads * p->scratch_each;
  p->x_size = rows * K;
  p->y_size = rows * p->panels * ORION_PANEL_ROWS;
  unsigned char *data = orion_alloc_aligned(NULL, p->data_size, ORION_ALIGN_CACHE);
  float *row = orion_alloc(NULL, K, sizeof *row);
  p->w = (orion_panels){.data = data, .type = type, .rows = p->panels * ORION_PANEL_ROWS, .cols = K};
  p->x = orion_alloc(NULL, p->x_size, sizeof *p->x);
  p->y = orion_alloc_zero(NULL, p->y_size, sizeof *p->y);
  if (p->scratch_size) p->scratch = orion_alloc_aligned(NULL, p->scratch_size, ORION_ALIGN_CACHE);
  if (p->by_strips) p->strips = orion_alloc(NULL, p->strips_size, sizeof *p->strips);
  bool ok = data && row && p->x && p->y && (p->scratch || !p->scratch_size) && (p->strips || !p->by_strips);
  for (size_t i = 0; ok && i < p->x_size; i++) p->x[i] = fraction(i);
  for (size_t n = 0; ok && n < N; n++) {
    for (size_t i = 0; i < K; i++) row[i] = fraction(n * K + i);
    k->pack(data, type, N, K, row, ORION_KERNEL_F32, K, 1, n, n + 1, 0, K);
  }
  for (size_t i = 1; ok && i < copies; i++) memcpy(data + i * one, data, one);
  orion_free(NULL, row, K, sizeof *row);
  if (ok) return ORION_OK;
  destroy(p);
  return ORION_OOM(err, "matrix to measure");
}

static orion_status measure_product(const orion_bench_options *o, orion_ceiling *c, orion_kernel_type type, shape s,
                                    size_t rows, double *samples, orion_bench_report *r, orion_error *err) {
  product p;
  size_t fill = o->quick ? (size_t)1 << 20 : (size_t)192 << 20;
  const size_t threads = (size_t)orion_pool_threads(orion_ceiling_pool(c));
  const bool fast = o->precision && strcmp(o->precision, "fast") == 0;
  ORION_TRY(create(orion_ceiling_kernels(c), type, s, rows, fill, fast, threads, &p, err));
  bool many = rows >= MANY;
  const orion_multiplier by = p.many ? orion_bench_multiplier(o, c, false) : ORION_MULTIPLY_ADD;
  size_t pieces = threads * 4, grain = orion_even_part(p.panels, (p.panels + pieces - 1) / pieces, ORION_STRIPS_PANELS), n = 0;
  double work = many ? 2.0 * (double)p.w.rows * (double)p.w.cols * (double)rows : (double)p.data_size;
  double ceiling = 0, start = orion_now();
  run_product(orion_ceiling_pool(c), &p, grain);
  for (int i = 0; i < o->repeat && (i < 3 || orion_now() - start < MOST_SECONDS); i++) {
    double peak = many ? orion_ceiling_multiply(c, by) : orion_ceiling_read(c, p.data_size);
    ceiling = peak > ceiling ? peak : ceiling;
    double begin = orion_now();
    run_product(orion_ceiling_pool(c), &p, grain);
    samples[n++] = work / (orion_now() - begin) * 1e-9;
  }
  destroy(&p);
  char name[64];
  snprintf(name, sizeof name, "%s %lldx%lld rows %zu", type_name(type), (long long)s.rows, (long long)s.cols, rows);
  ORION_TRY(orion_bench_add(r, name, many ? "GFLOP/s" : "GB/s", samples, n, err));
  orion_bench_set_ceiling(r, many ? orion_multiplier_name(by) : "plain_read", ceiling);
  return ORION_OK;
}

static void add_shape(shape *list, size_t *n, int64_t rows, int64_t cols) {
  for (size_t i = 0; i < *n; i++) {
    if (list[i].rows == rows && list[i].cols == cols) return;
  }
  list[(*n)++] = (shape){rows, cols};
}

static void add_model(shape *list, size_t *n, const orion_config *c) {
  add_shape(list, n, c->heads * c->head_dim, c->dim);
  add_shape(list, n, c->kv_heads * c->head_dim, c->dim);
  add_shape(list, n, c->dim, c->heads * c->head_dim);
  add_shape(list, n, c->hidden, c->dim);
  add_shape(list, n, c->dim, c->hidden);
  add_shape(list, n, c->vocab, c->dim);
}

static orion_status choose_shapes(const orion_bench_options *o, shape *out, size_t *out_n, orion_error *err) {
  *out_n = 0;
  if (o->model) {
    orion_model *model;
    ORION_TRY(orion_model_open(NULL, o->model, &model, err));
    add_model(out, out_n, &model->config);
    orion_model_close(model);
    return ORION_OK;
  }
  const orion_config gpt2 = {.vocab = 50257, .dim = 768, .hidden = 3072, .heads = 12, .kv_heads = 12, .head_dim = 64};
  const orion_config llama = {.vocab = 32000, .dim = 768, .hidden = 2048, .heads = 12, .kv_heads = 12, .head_dim = 64};
  add_model(out, out_n, &gpt2);
  add_model(out, out_n, &llama);
  return ORION_OK;
}

static orion_status measure_all(const orion_bench_options *o, orion_ceiling *c, const shape *shapes, size_t n_shapes,
                                double *samples, orion_bench_report *r, orion_error *err) {
  static const size_t rows[] = {1, 2, 4, 8, 16, 32, 512};
  size_t repeat = (size_t)o->repeat;
  for (size_t i = 0; i < repeat; i++) samples[i] = orion_ceiling_read(c, 0);
  ORION_TRY(orion_bench_add(r, "memory_read", "GB/s", samples, repeat, err));
  for (orion_multiplier m = ORION_MULTIPLY_ADD; m < ORION_MULTIPLIERS; m++) {
    if (!orion_ceiling_has(c, m)) continue;
    for (size_t i = 0; i < repeat; i++) samples[i] = orion_ceiling_multiply(c, m);
    ORION_TRY(orion_bench_add(r, orion_multiplier_name(m), m == ORION_MULTIPLY_INT8 ? "GOP/s" : "GFLOP/s", samples, repeat, err));
  }
  for (int type = ORION_KERNEL_F16; type >= ORION_KERNEL_F32; type--) {
    for (size_t s = 0; s < n_shapes; s++) {
      bool tall = shapes[s].rows > 16384;  // a classifier: prompts need one row of it
      for (size_t t = 0; t < sizeof rows / sizeof *rows && (rows[t] < MANY || !tall); t++) {
        if (o->quick && rows[t] > 32) break;
        ORION_TRY(measure_product(o, c, (orion_kernel_type)type, shapes[s], rows[t], samples, r, err));
      }
    }
  }
  return ORION_OK;
}

orion_status orion_bench_kernels(const orion_bench_options *o, orion_bench_report *r, orion_error *err) {
  shape shapes[MOST_SHAPES];
  size_t n;
  orion_device *device;
  orion_device_info info;
  orion_ceiling *ceiling = NULL;
  ORION_TRY(choose_shapes(o, shapes, &n, err));
  ORION_TRY(orion_device_open(o->device, o->threads, NULL, &device, err));
  orion_device_describe(device, &info);
  orion_bench_note_device(r, device);
  orion_status status = orion_bench_ceiling_of(o, device, &ceiling, err);
  if (status == ORION_OK && !ceiling) {
    status = ORION_FAIL(err, ORION_INVALID, "bench kernels: %s has none of its own (give --device cpu)", info.name);
  }
  orion_device_close(device);
  double *samples = orion_alloc(r->allocator, (size_t)o->repeat, sizeof *samples);
  if (status == ORION_OK && !samples) status = ORION_OOM(err, "samples");
  if (status == ORION_OK) status = measure_all(o, ceiling, shapes, n, samples, r, err);
  orion_free(r->allocator, samples, (size_t)o->repeat, sizeof *samples);
  orion_ceiling_destroy(ceiling);
  return status;
}

// 3x3 convolutions (stride 1) as m5 and m6 do them: Winograd's F(2,3) along the width. Two neighbouring outputs of a row
// come from four neighbouring inputs d and a row of the kernel g:
//
//   v0 = d0-d2   v1 = d1+d2   v2 = d2-d1   v3 = d1-d3               each rounded to fp16
//   u0 = g0      u1 = (g0+g1+g2)/2   u2 = (g0-g1+g2)/2   u3 = g2    each rounded to fp16, once
//   y0 = sum of v0*u0 + v1*u1 + v2*u2      y1 = sum of v1*u1 - v2*u2 - v3*u3
//
// over channels and the three rows of the kernel. The sums are not rounded on the way, so that each output is one
// multiply-accumulate over three times the terms, and the ordinary one does: y0 over the rows v0 v1 v2 of a panel, y1
// over v1 v2 v3 with u1, -u2, -u3. Outputs are computed a row at a time.
#include "device/sim/winograd.h"

#include "device/sim/fixed.h"

typedef struct job {
  const orion_sim_winograd *w;
  const orion_sim_ctx *c;
  const float *x;               // one sample
  float *y;
  int64_t row;                  // of the output
  size_t tiles;                 // pairs of outputs in a row, the last of which may be half
  size_t depth;                 // 9 * channels
  float *weights;               // [outs, 2, depth]: u of y0, u of y1
  float *panel;                 // [4, channels, 3, tiles]
} job;

static size_t tiles_of(int64_t width) { return (size_t)(width + 1) / 2; }

size_t orion_sim_winograd_scratch(size_t outs, size_t ins, int64_t width) {
  size_t weights, panel, bytes;
  if (!orion_mul_ok(outs, 18, &weights) || !orion_mul_ok(weights, ins, &weights) ||
      !orion_mul_ok(ins, 12 * tiles_of(width), &panel) || !orion_add_ok(weights, panel, &bytes) ||
      !orion_mul_ok(bytes, sizeof(float), &bytes)) {
    return SIZE_MAX;
  }
  return bytes;
}

static void weights_range(void *ctx, size_t begin, size_t end, int worker) {
  const job *j = ctx;
  size_t third = j->depth / 3;  // channels * 3 rows of the kernel
  for (size_t o = begin; o < end; o++) {
    const float *g = j->w->weight + o * j->depth;
    float *first = j->weights + o * 2 * j->depth, *second = first + j->depth;
    for (size_t i = 0; i < third; i++, g += 3) {
      double g0 = orion_fixed_operand(g[0]), g1 = orion_fixed_operand(g[1]), g2 = orion_fixed_operand(g[2]);
      float u1 = orion_fixed_half((g0 + g1 + g2) / 2), u2 = orion_fixed_half((g0 - g1 + g2) / 2);
      first[i] = g[0];
      first[third + i] = second[i] = u1;
      first[2 * third + i] = u2;
      second[third + i] = -u2;
      second[2 * third + i] = -g[2];
    }
  }
}

static float input_at(const float *row, int64_t i, int64_t n) {
  return i < 0 || i >= n ? 0 : orion_fixed_operand(row[i]);
}

// Rows of the panel: one channel and kernel row.
static void panel_range(void *ctx, size_t begin, size_t end, int worker) {
  const job *j = ctx;
  const orion_sim_winograd *w = j->w;
  size_t plane = w->ins * 3 * j->tiles;
  for (size_t i = begin; i < end; i++) {
    int64_t line = j->row + (int64_t)(i % 3) - w->top;
    bool inside = line >= 0 && line < w->in_height;
    const float *row = inside ? j->x + ((int64_t)(i / 3) * w->in_height + line) * w->in_width : NULL;
    float *v = j->panel + i * j->tiles;
    for (size_t t = 0; t < j->tiles; t++) {
      double d[4];
      for (int64_t e = 0; e < 4; e++) {
        d[e] = inside ? (double)input_at(row, 2 * (int64_t)t - w->left + e, w->in_width) : 0;
      }
      v[t] = orion_fixed_half(d[0] - d[2]);
      v[plane + t] = orion_fixed_half(d[1] + d[2]);
      v[2 * plane + t] = orion_fixed_half(d[2] - d[1]);
      v[3 * plane + t] = orion_fixed_half(d[1] - d[3]);
    }
  }
}

static void outputs_range(void *ctx, size_t begin, size_t end, int worker) {
  const job *j = ctx;
  const orion_sim_winograd *w = j->w;
  const float *later = j->panel + j->depth / 3 * j->tiles;  // from v1 on
  orion_sim_product p = {.k = j->depth, .n = j->tiles, .rows = j->weights, .row_stride = 2 * j->depth,
                         .panel = j->panel, .ldx = j->tiles, .bias = w->bias, .out = j->y + j->row * w->out_width,
                         .row_step = (size_t)(w->out_height * w->out_width), .column_step = 2};
  j->c->arith->product(&p, begin, end);
  p.rows += j->depth;
  p.panel = later;
  p.n = (size_t)w->out_width / 2;
  p.out++;
  j->c->arith->product(&p, begin, end);
}

void orion_sim_winograd_run(const orion_sim_ctx *c, const orion_sim_winograd *w, size_t samples, const float *x,
                            float *y) {
  job j = {.w = w, .c = c, .tiles = tiles_of(w->out_width), .depth = 9 * w->ins, .weights = c->scratch};
  j.panel = j.weights + w->outs * 2 * j.depth;
  orion_parallel_for(c->pool, w->outs, 8, weights_range, &j);
  for (size_t s = 0; s < samples; s++) {
    j.x = x + s * w->ins * (size_t)(w->in_height * w->in_width);
    j.y = y + s * w->outs * (size_t)(w->out_height * w->out_width);
    for (j.row = 0; j.row < w->out_height; j.row++) {
      orion_parallel_for(c->pool, 3 * w->ins, 16, panel_range, &j);
      orion_parallel_for(c->pool, w->outs, 16, outputs_range, &j);
    }
  }
}

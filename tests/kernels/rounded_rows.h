// Rounding of activations and products with what it leaves (round_rows, linear_rounded): against sums in fp64, and to the bit
// against the portable level. Part of test_kernels.c, whose arrays and checks it uses.

// What a rounded row should be by the words of kernels.h: compared with what the kernel wrote, and put in order.
static void check_rounded_row(const orion_kernels *level, const unsigned char *row, const float *x, const orion_panels *w, double *out) {
  size_t blocks = orion_rounded_blocks(w->cols, w->group), block = 0;
  for (size_t g = 0; g < w->cols; g += w->group) {
    for (size_t b = 0; b < w->group; b += ORION_ROUNDED_BLOCK, block++) {
      size_t n = w->group - b < ORION_ROUNDED_BLOCK ? w->group - b : ORION_ROUNDED_BLOCK;
      float scale, most = 0;
      int32_t excess, sum = 0;
      memcpy(&scale, row + blocks * ORION_ROUNDED_BLOCK + block * 4, 4);
      memcpy(&excess, row + blocks * (ORION_ROUNDED_BLOCK + 4) + block * 4, 4);
      for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(x[g + b + i]));
      CHECK(fabs((double)scale - (double)most / 127) <= (double)most * 0x1p-24 / 127 * 2, "scale %g of a block up to %g", scale, most);
      for (size_t i = 0; i < ORION_ROUNDED_BLOCK; i++) {
        size_t at = w->type == ORION_KERNEL_I4 ? i / 8 * 8 + i % 8 / 2 + i % 2 * 4 : i;
        int q = (int8_t)row[block * ORION_ROUNDED_BLOCK + at];
        double exact = i < n && most > 0 ? (double)x[g + b + i] * 127 / (double)most : 0.0;
        CHECK(q >= -127 && q <= 127 && fabs(q - exact) <= 0.5001 * (i < n), "%zu of a block of %zu: %d for %g", i, n, q, exact);
        sum += q;
        if (i < n) out[g + b + i] = q * (double)scale;
      }
      CHECK(excess == 8 * sum, "excess %d of a sum of %d", excess, sum);
    }
  }
}

static void rounded_one(const orion_kernels *level, orion_kernel_type type, size_t group, size_t T, size_t N, size_t K) {
  size_t xs = K + 3, ys = N + 5, groups = K / group, count = orion_panel_count(N), middle = count / 2;
  size_t row = orion_rounded_row_bytes(K, group);
  array x = random_floats((T - 1) * xs + K, -1.0f, 1.0f), bias = random_floats(N, -1.0f, 1.0f);
  array q = array_make(N * K), scale = array_make(N * groups * 2), rounded = array_make(T * row), again = array_make(T * row);
  array data = array_make(count * orion_quantised_panel_bytes(type, K, group));
  array packed_scale = array_make(orion_panel_scales(N, K, group) * 2);
  array y = array_make(((T - 1) * ys + N) * 4), one = array_make(N * 4), want = array_make(y.size);
  array scratch = array_make(ORION_ROUNDED_SCRATCH);
  double *exact = calloc(K, sizeof *exact);
  int range = type == ORION_KERNEL_I8 ? 256 : 16;  // -128 and -8 among them
  for (size_t i = 0; i < N * K; i++) q.data[i] = (unsigned char)((int)(noise() % (uint32_t)range) - range / 2);
  if (N > 2) memset(q.data, type == ORION_KERNEL_I8 ? 0x80 : 7, K);  // the sums that are largest
  if (N > 2) memset(q.data + K, type == ORION_KERNEL_I8 ? 0x7F : -8, K);
  for (size_t i = 0; i < K && N > 2; i++) floats(&x)[i] = 1.0f;
  for (size_t i = 0; i < N * groups; i++) halves(&scale)[i] = orion_float_to_half(uniform(0.001f, 0.01f));
  orion_panels w = {data.data, type, N, K, halves(&packed_scale), group};
  orion_panels_pack_quantised(&w, (const int8_t *)q.data, halves(&scale), 0, N);
  const float *b = K % 2 ? floats(&bias) : NULL;
  level->round_rows(rounded.data, floats(&x), xs, T, &w);
  level->linear_rounded(floats(&y), ys, rounded.data, T, &w, b, middle, count, scratch.data);
  level->linear_rounded(floats(&y), ys, rounded.data, T, &w, b, 0, middle, scratch.data);
  for (size_t t = 0; t < T; t++) {
    check_rounded_row(level, rounded.data + t * row, floats(&x) + t * xs, &w, exact);
    for (size_t n = 0; n < N; n++) {
      double sum = b ? (double)b[n] : 0.0, magnitude = b ? 1.0 : 0.0;
      for (size_t k = 0; k < K; k++) {
        double v = exact[k] * ((const int8_t *)q.data)[n * K + k] * (double)orion_half_to_float(halves(&scale)[n * groups + k / group]);
        sum += v;
        magnitude += fabs(v);
      }
      double got = (double)floats(&y)[t * ys + n];
      CHECK(fabs(got - sum) <= magnitude * 0x1p-21, "rounded int%d T %zu N %zu K %zu group %zu at %zu, %zu: %.9g, should be %.9g",
            type == ORION_KERNEL_I8 ? 8 : 4, T, N, K, group, t, n, got, sum);
    }
    if (t + 1 < T) CHECK(*(y.data + (t * ys + N) * 4) == 0xEE, "linear_rounded writes between rows");
    level->linear_rounded(floats(&one), N, rounded.data + t * row, 1, &w, b, 0, count, scratch.data);
    CHECK(memcmp(one.data, floats(&y) + t * ys, N * 4) == 0, "rounded T %zu N %zu K %zu: row %zu depends on the others", T, N, K, t);
  }
  memset(want.data, 0xEE, want.size);  // the same bits on every level, with or without a fused multiply-add
  levels[0].round_rows(again.data, floats(&x), xs, T, &w);
  levels[0].linear_rounded(floats(&want), ys, again.data, T, &w, b, 0, count, scratch.data);
  CHECK(memcmp(again.data, rounded.data, T * row) == 0, "rounded T %zu K %zu group %zu: other rows than portable", T, K, group);
  CHECK(memcmp(want.data, y.data, y.size) == 0, "rounded T %zu N %zu K %zu group %zu: other bits than portable", T, N, K, group);
  free(exact);
  array *all[] = {&x, &bias, &q, &scale, &rounded, &again, &data, &packed_scale, &y, &one, &want, &scratch};
  for (size_t i = 0; i < 12; i++) array_free(level, all[i]);
}

static void rounded(const orion_kernels *level) {
  static const size_t rows[] = {1, 2, 3, 4, 5, 9, 30}, widths[] = {1, 15, 16, 17, 48, 100};
  static const size_t depths[][2] = {{1, 1}, {31, 31}, {64, 32}, {86, 43}, {96, 16}, {257, 257}, {600, 600}, {512, 256}, {600, 60}};
  // Whole blocks and many rows: pieces of rows and of K, with a group's end at a piece's end, behind it and nowhere.
  static const size_t many[][4] = {{16, 33, 32, 32},    {17, 16, 160, 32},   {33, 48, 96, 96},      {145, 20, 224, 32},
                                   {16, 17, 1056, 32},  {32, 40, 1120, 160}, {18, 16, 2080, 2080}, {16, 16, 1280, 256}};
  for (size_t i = 0; i < sizeof many / sizeof *many; i++) {
    rounded_one(level, ORION_KERNEL_I8, many[i][3], many[i][0], many[i][1], many[i][2]);
    rounded_one(level, ORION_KERNEL_I4, many[i][3], many[i][0], many[i][1], many[i][2]);
  }
  for (size_t t = 0; t < 7; t++) {
    for (size_t n = t % 2; n < 6; n += 2) {
      for (size_t k = 0; k < 9; k++) {
        rounded_one(level, ORION_KERNEL_I8, depths[k][1], rows[t], widths[n], depths[k][0]);
        rounded_one(level, ORION_KERNEL_I4, depths[k][1], rows[t], widths[n], depths[k][0]);
      }
    }
  }
  // Blocks of nothing, of next to nothing, and of what is no number.
  static uint64_t scratch[ORION_ROUNDED_SCRATCH / 8];
  float x[96] = {0}, y[16];
  for (int i = 32; i < 64; i++) x[i] = 1e-42f;
  int8_t q[96];
  memset(q, 3, sizeof q);
  orion_half scale[3] = {0x3C00, 0x3C00, 0x3C00}, packed_scale[48];
  uint8_t data[96 * 16], row[3 * 40];
  orion_panels w = {data, ORION_KERNEL_I4, 1, 96, packed_scale, 32};
  orion_panels_pack_quantised(&w, q, scale, 0, 1);
  level->round_rows(row, x, 96, 1, &w);
  level->linear_rounded(y, 16, row, 1, &w, NULL, 0, 1, scratch);
  CHECK(y[0] == 0.0f, "zeros come to %g", y[0]);
  static const float bad[] = {NAN, INFINITY, -INFINITY};
  for (int i = 0; i < 3; i++) {
    x[70] = bad[i];
    level->round_rows(row, x, 96, 1, &w);
    level->linear_rounded(y, 16, row, 1, &w, NULL, 0, 1, scratch);
    CHECK(y[0] != y[0], "%g comes to %g", bad[i], y[0]);
  }
}

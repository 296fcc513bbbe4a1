// Products of many rows by matrix instructions (linear_many, matmul_many): where a level has them, against sums in fp64,
// and exactly where kernels.h says so; levels without many_exact are held to what `fast` promises. Part of test_kernels.c,
// whose arrays and checks it uses.

typedef struct many_case { size_t M, N, K; int flip; bool add; } many_case;

static orion_matrix many_left(const array *a, const many_case *c) {
  return (orion_matrix){floats(a), c->flip & 1 ? 1 : c->K, c->flip & 1 ? c->M : 1};
}
static orion_matrix many_right(const array *b, const many_case *c) {
  return (orion_matrix){floats(b), c->flip & 2 ? 1 : c->N, c->flip & 2 ? c->K : 1};
}
static void round_to_half(const array *a) {
  for (size_t i = 0; i < a->size / 4; i++) floats(a)[i] = orion_half_to_float(orion_float_to_half(floats(a)[i]));
}

// Whether C is A B, or that added to what it was.
static void many_check(const orion_kernels *level, const many_case *t, orion_matrix A, orion_matrix B, const array *c,
                       const array *before, size_t stride, bool fast) {
  for (size_t i = 0; i < t->M; i++) {
    for (size_t j = 0; j < stride && i * stride + j < c->size / 4; j++) {
      size_t at = i * stride + j;
      double old = (double)floats(before)[at], sum = t->add ? old : 0.0, magnitude = fabs(sum);
      if (j >= t->N) {
        CHECK(floats(c)[at] == floats(before)[at], "many %zu x %zu x %zu writes between rows", t->M, t->N, t->K);
        continue;
      }
      for (size_t k = 0; k < t->K; k++) {
        double v = (double)A.data[i * A.row + k * A.col] * (double)B.data[k * B.row + j * B.col];
        sum += v;
        magnitude += fabs(v);
      }
      CHECK(fabs((double)floats(c)[at] - sum) <= magnitude * (fast ? 0x1p-7 : 0x1p-21),
            "many %zu x %zu x %zu, flip %d, add %d, fast %d, at %zu, %zu: %a, should be %a", t->M, t->N, t->K, t->flip, t->add,
            fast, i, j, (double)floats(c)[at], sum);
    }
  }
}

// Sums of random numbers; whole, and cut in two each way.
static void many_sums(const orion_kernels *level, const many_case *t, bool halves_only, bool fast) {
  size_t stride = t->N + 2;
  array a = random_floats(t->M * t->K, -1.0f, 1.0f), b = random_floats(t->K * t->N, -1.0f, 1.0f);
  array c = random_floats((t->M - 1) * stride + t->N, -1.0f, 1.0f), cut = array_make(c.size), before = array_make(c.size);
  array scratch = array_make(ORION_MATMUL_MANY_SCRATCH);
  if (halves_only) round_to_half(&a), round_to_half(&b);
  memcpy(before.data, c.data, c.size);
  memcpy(cut.data, c.data, c.size);
  orion_matrix A = many_left(&a, t), B = many_right(&b, t);
  level->matmul_many(floats(&c), stride, A, B, t->M, t->N, t->K, t->add, fast, scratch.data);
  many_check(level, t, A, B, &c, &before, stride, fast);
  size_t m = t->M / 3, n = t->N / 3 * 2;
  for (int part = 0; part < 4; part++) {
    size_t i = part & 1 ? m : 0, j = part & 2 ? n : 0, rows = part & 1 ? t->M - m : m, cols = part & 2 ? t->N - n : n;
    orion_matrix left = {A.data + i * A.row, A.row, A.col}, right = {B.data + j * B.col, B.row, B.col};
    if (rows && cols)
      level->matmul_many(floats(&cut) + i * stride + j, stride, left, right, rows, cols, t->K, t->add, fast, scratch.data);
  }
  CHECK(memcmp(cut.data, c.data, c.size) == 0, "many %zu x %zu x %zu, fast %d: bits depend on the cut", t->M, t->N, t->K, fast);
  array *all[] = {&a, &b, &c, &cut, &before, &scratch};
  for (size_t i = 0; i < 6; i++) array_free(level, all[i]);
}

// One product for each element of C, so that nothing is summed: exact of halves, close of floats; fast is exact of bf16.
static void many_single(const orion_kernels *level) {
  many_case t = {40, 24, 70, 0, false};
  array a = random_floats(t.M * t.K, 1.0f, 2.0f), b = array_make(t.K * t.N * 4), c = array_make(t.M * t.N * 4);
  array scratch = array_make(ORION_MATMUL_MANY_SCRATCH);
  for (int kind = level->many_exact ? 0 : 2; kind < 3; kind++) {  // floats, halves, bf16 and fast
    memset(b.data, 0, b.size);
    for (size_t j = 0; j < t.N; j++) floats(&b)[(j * 7 % t.K) * t.N + j] = uniform(-0.01f, 0.01f);
    if (kind == 1) round_to_half(&a), round_to_half(&b);
    for (size_t i = 0; kind == 2 && i < a.size / 4; i++) floats(&a)[i] = orion_bf16_to_float(orion_float_to_bf16(floats(&a)[i]));
    for (size_t i = 0; kind == 2 && i < b.size / 4; i++) floats(&b)[i] = orion_bf16_to_float(orion_float_to_bf16(floats(&b)[i]));
    level->matmul_many(floats(&c), t.N, many_left(&a, &t), many_right(&b, &t), t.M, t.N, t.K, false, kind == 2, scratch.data);
    for (size_t i = 0; i < t.M; i++) {
      for (size_t j = 0; j < t.N; j++) {
        size_t k = j * 7 % t.K;
        double want = (double)floats(&a)[i * t.K + k] * (double)floats(&b)[k * t.N + j], got = (double)floats(&c)[i * t.N + j];
        CHECK(fabs(got - want) <= (kind ? 0.0 : fabs(want) * 0x1p-22), "one product, kind %d: %a, should be %a", kind, got, want);
      }
    }
  }
  array *all[] = {&a, &b, &c, &scratch};
  for (size_t i = 0; i < 4; i++) array_free(level, all[i]);
}

// An infinity, a NaN and (unless it is rounded to an infinity) the largest float where they are, nothing elsewhere.
static void many_not_finite(const orion_kernels *level, bool fast) {
  many_case t = {70, 50, 300, 0, false};
  array a = random_floats(t.M * t.K, -1.0f, 1.0f), b = random_floats(t.K * t.N, 0.5f, 1.0f), c = array_make(t.M * t.N * 4);
  array scratch = array_make(ORION_MATMUL_MANY_SCRATCH);
  floats(&a)[3 * t.K + 200] = INFINITY;
  floats(&a)[40 * t.K + 5] = NAN;
  floats(&b)[10 * t.N + 49] = -INFINITY;
  for (size_t k = 0; k < t.K; k++) {
    floats(&a)[65 * t.K + k] = k == 7 && !fast ? 0x1.fffffep127f : 0.0f;
  }
  level->matmul_many(floats(&c), t.N, many_left(&a, &t), many_right(&b, &t), t.M, t.N, t.K, false, fast, scratch.data);
  for (size_t i = 0; i < t.M; i++) {
    for (size_t j = 0; j < t.N; j++) {
      double want = 0.0;
      for (size_t k = 0; k < t.K; k++) want += (double)floats(&a)[i * t.K + k] * (double)floats(&b)[k * t.N + j];
      double got = (double)floats(&c)[i * t.N + j];
      double off = fmax(300.0, fabs(want)) * (fast ? 0x1p-7 : 0x1p-21);
      bool fine = want != want ? got != got : isinf(want) ? got == want : fabs(got - want) <= off;
      CHECK(fine, "not finite, fast %d, at %zu, %zu: %g, should be %g", fast, i, j, got, want);
    }
  }
  array *all[] = {&a, &b, &c, &scratch};
  for (size_t i = 0; i < 4; i++) array_free(level, all[i]);
}

// Packed weights give the bits of the plain matrix, then the bias.
static void many_linear(const orion_kernels *level, orion_kernel_type type, size_t T, size_t N, size_t K, bool fast) {
  size_t xs = K + 3, ys = N + 5, count = orion_panel_count(N), middle = count / 2;
  array x = random_floats((T - 1) * xs + K, -1.0f, 1.0f), values = random_floats(N * K, -1.0f, 1.0f), bias = random_floats(N, -1.0f, 1.0f);
  array exact = stored(type, &values), w = packed(level, type, &values, N, K, false), scratch = array_make(ORION_MATMUL_MANY_SCRATCH);
  array y = array_make(((T - 1) * ys + N) * 4), want = array_make(T * N * 4);
  orion_panels panels = {.data = w.data, .type = type, .rows = N, .cols = K};
  const float *b = K % 2 ? floats(&bias) : NULL;
  orion_matrix A = {floats(&x), xs, 1}, B = {floats(&values), 1, K};
  level->linear_many(floats(&y), ys, floats(&x), xs, T, &panels, b, middle, count, fast, scratch.data);
  level->linear_many(floats(&y), ys, floats(&x), xs, T, &panels, b, 0, middle, fast, scratch.data);
  level->matmul_many(floats(&want), N, A, B, T, N, K, false, fast, scratch.data);
  for (size_t t = 0; t < T; t++) {
    for (size_t n = 0; n < N; n++) {
      float should = floats(&want)[t * N + n] + (b ? b[n] : 0.0f);
      CHECK(same(floats(&y)[t * ys + n], should), "linear_many %zu x %zu x %zu type %d fast %d at %zu, %zu", T, N, K, type, fast,
            t, n);
    }
    if (t + 1 < T) CHECK(*(y.data + (t * ys + N) * 4) == 0xEE, "linear_many writes between rows");
  }
  array *all[] = {&x, &values, &bias, &exact, &w, &scratch, &y, &want};
  for (size_t i = 0; i < 8; i++) array_free(level, all[i]);
}

static void many_rows(const orion_kernels *level) {
  static const many_case cases[] = {
      {32, 32, 32, 0, false}, {33, 49, 70, 1, true}, {70, 17, 128, 2, false}, {16, 16, 1, 3, true},
      {1, 5, 300, 0, true},   {40, 530, 33, 0, false}, {65, 33, 257, 3, true}, {300, 24, 40, 2, true},
  };
  if (!level->matmul_many) return;
  for (int fast = level->many_exact ? 0 : 1; fast < 2; fast++) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
      many_sums(level, &cases[i], false, fast);
      many_sums(level, &cases[i], true, fast);
    }
    many_not_finite(level, fast);
    many_linear(level, ORION_KERNEL_F32, 40, 50, 129, fast);
    many_linear(level, ORION_KERNEL_F16, 40, 50, 130, fast);
  }
  many_single(level);
}

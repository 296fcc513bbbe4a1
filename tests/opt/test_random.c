// Random programs: with passes and without they compute the same. Arithmetic is on fp32 and small integers, where the
// passes under test claim exactness, so results are compared to the bit.
#include "base/rng.h"
#include "device/layout.h"
#include "ir/builder.h"
#include "mil/mil.h"
#include "opt/live.h"
#include "opt/opt.h"
#include "orion/device.h"
#include "support/support.h"

enum { ROWS = 4, COLS = 6, CELLS = ROWS * COLS, MAX_VALUES = 64 };

// Values all hold CELLS elements: [4, 6], [6, 4], [2, 2, 6], [24] or [1, 4, 1, 6].
static const struct {
  int rank;
  int64_t dims[4];
} shapes[] = {{2, {4, 6}}, {2, {6, 4}}, {3, {2, 2, 6}}, {1, {24}}, {4, {1, 4, 1, 6}}};

typedef struct maker {
  orion_rng rng;
  orion_builder b;
  orion_value_id values[MAX_VALUES];
  size_t n;
} maker;

static uint32_t below(maker *m, uint32_t n) { return orion_rng_u32(&m->rng) % n; }

static orion_value_id pick(maker *m) { return m->values[m->n - 1 - below(m, (uint32_t)(m->n < 6 ? m->n : 6))]; }

static orion_value_id reshaped(maker *m, orion_value_id x, const orion_type *t) {
  return ORION_BUILD(&m->b, "r", ORION_OP_reshape, {"x", x},
                     {"shape", orion_build_ints(&m->b, "shape", (size_t)t->rank, t->dims)});
}

static orion_value_id random_op(maker *m) {
  static const orion_opcode unary[] = {ORION_OP_relu, ORION_OP_abs, ORION_OP_square, ORION_OP_identity};
  static const orion_opcode binary[] = {ORION_OP_add, ORION_OP_sub, ORION_OP_mul, ORION_OP_maximum};
  static const double scalars[] = {0, 1, -1, 0.5, 2, -0.0};
  orion_builder *b = &m->b;
  orion_value_id x = pick(m), y = pick(m);
  const orion_type *t = orion_value_type(b->f, x);
  switch (below(m, 11)) {
    case 0: return ORION_BUILD(b, "u", unary[below(m, 4)], {"x", x});
    case 1: {
      orion_ref c = orion_build_float(b, "c", ORION_FP32, scalars[below(m, 6)]);
      return ORION_BUILD(b, "s", binary[below(m, 3)], {"x", x}, {"y", c});
    }
    case 2: case 3: return ORION_BUILD(b, "v", binary[below(m, 4)], {"x", x}, {"y", reshaped(m, y, t)});
    case 4: {
      uint32_t k = below(m, 5);
      return ORION_BUILD(b, "r", ORION_OP_reshape, {"x", x},
                         {"shape", orion_build_ints(b, "shape", (size_t)shapes[k].rank, shapes[k].dims)});
    }
    case 5: {
      int64_t perm[4] = {0, 1, 2, 3};
      for (int i = t->rank - 1; i > 0; i--) {
        uint32_t j = below(m, (uint32_t)i + 1);
        int64_t swap = perm[i];
        perm[i] = perm[j];
        perm[j] = swap;
      }
      return ORION_BUILD(b, "t", ORION_OP_transpose, {"x", x}, {"perm", orion_build_ints(b, "perm", (size_t)t->rank, perm)});
    }
    case 6: {  // there and back: fp16 rounds
      const char *type = below(m, 2) ? "fp16" : "fp32";
      orion_value_id narrow = ORION_BUILD(b, "n", ORION_OP_cast, {"x", x}, {"dtype", orion_build_string(b, "d", type)});
      return ORION_BUILD(b, "w", ORION_OP_cast, {"x", narrow}, {"dtype", orion_build_string(b, "d", "fp32")});
    }
    case 7: {  // halves, and together again in either order
      int64_t begin[4] = {0}, size[4];
      memcpy(size, t->dims, sizeof size);
      int axis = t->rank - 1;
      size[axis] /= 2;
      orion_ref parts[2];
      for (int i = 0; i < 2; i++) {
        begin[axis] = i * size[axis];
        parts[i] = ORION_BUILD(b, "h", ORION_OP_slice_by_size, {"x", x}, {"begin", orion_build_ints(b, "b", (size_t)t->rank, begin)},
                               {"size", orion_build_ints(b, "z", (size_t)t->rank, size)});
      }
      if (below(m, 2)) {
        orion_ref swap = parts[0];
        parts[0] = parts[1];
        parts[1] = swap;
      }
      const orion_in rest[] = {{"axis", orion_build_int(b, "axis", axis)}, {"interleave", orion_build_bool(b, "il", false)}, {0}};
      return orion_build_tuple_op(b, "c", ORION_OP_concat, "values", 2, parts, rest);
    }
    case 8: {  // linear layers with one input; weights of small integers, so that sums are exact
      orion_value_id rows = reshaped(m, x, orion_value_type(b->f, m->values[0]));
      double w[COLS * COLS], bias[COLS];
      for (int i = 0; i < COLS * COLS; i++) w[i] = (double)below(m, 3) - 1;
      for (int i = 0; i < COLS; i++) bias[i] = (double)below(m, 5) - 2;
      orion_ref weight = orion_build_floats(b, "w", ORION_FP32, 2, (int64_t[]){COLS, COLS}, w);
      orion_ref offset = orion_build_floats(b, "o", ORION_FP32, 1, (int64_t[]){COLS}, bias);
      return ORION_BUILD(b, "l", ORION_OP_linear, {"x", rows}, {"weight", weight}, {"bias", below(m, 2) ? offset : ORION_NONE});
    }
    case 9: {  // a constant tensor that folds
      double c[CELLS];
      for (int i = 0; i < CELLS; i++) c[i] = (double)below(m, 4);
      orion_value_id k = orion_build_floats(b, "k", ORION_FP32, t->rank, t->dims, c);
      orion_value_id twice = ORION_BUILD(b, "k2", ORION_OP_add, {"x", k}, {"y", k});
      return ORION_BUILD(b, "a", ORION_OP_mul, {"x", twice}, {"y", x});
    }
    default: return ORION_BUILD(b, "keep", ORION_OP_clip, {"x", x}, {"alpha", orion_build_float(b, "lo", ORION_FP32, -64)},
                                {"beta", orion_build_float(b, "hi", ORION_FP32, 64)});
  }
}

static orion_program *make(uint64_t seed) {
  orion_error err;
  orion_program *p;
  orion_function *f;
  maker m = {0};
  orion_rng_seed(&m.rng, seed, 1);
  assert_ok(orion_program_create(NULL, NULL, &p, &err), &err);
  assert_ok(orion_program_add_function(p, "main", "ios18", &f, &err), &err);
  orion_builder_init(&m.b, f);
  m.values[m.n++] = orion_build_param(&m.b, "x", ORION_FP32, 2, (int64_t[]){ROWS, COLS});
  m.values[m.n++] = orion_build_param(&m.b, "z", ORION_FP32, 2, (int64_t[]){COLS, ROWS});
  size_t n = 4 + below(&m, 20);
  while (m.n < n + 2) {
    orion_value_id v = random_op(&m);
    v = ORION_BUILD(&m.b, "small", ORION_OP_clip, {"x", v}, {"alpha", orion_build_float(&m.b, "lo", ORION_FP32, -256)},
                    {"beta", orion_build_float(&m.b, "hi", ORION_FP32, 256)});
    m.values[m.n++] = below(&m, 2) ? v : random_op(&m);
  }
  size_t outputs = 1 + below(&m, 4);
  for (size_t i = 0; i < outputs; i++) {
    char name[32];
    snprintf(name, sizeof name, "out%zu", i);
    orion_value_id v = pick(&m);
    if (f->values[v].def == ORION_NONE || strncmp(f->values[v].name, "out", 3) == 0) {
      v = ORION_BUILD(&m.b, "copy", ORION_OP_identity, {"x", v});
    }
    orion_build_output(&m.b, v, name);
  }
  assert_ok(orion_builder_finish(&m.b, &err), &err);
  assert_ok(orion_verify_ok(p, &err), &err);
  return p;
}

static char *print(const orion_program *p) {
  orion_strbuf b;
  orion_error err;
  orion_strbuf_init(&b, NULL);
  assert_ok(orion_mil_print(p, &b, &err), &err);
  char *text = strdup(orion_strbuf_text(&b));
  orion_strbuf_deinit(&b);
  return text;
}

// Runs the program; results of all outputs, one after another.
static size_t run(orion_device *d, orion_program *p, float *out) {
  orion_error err;
  orion_executable *e;
  orion_bindings *b;
  orion_surface *s[8];
  size_t n, at = 0;
  assert_ok(orion_device_compile(d, p, NULL, &e, &err), &err);
  assert_ok(orion_bindings_create(e, &b, &err), &err);
  const orion_io *ios = orion_executable_ios(e, &n);
  for (size_t i = 0; i < n; i++) {
    float x[CELLS];
    for (int k = 0; k < CELLS; k++) x[k] = (float)((k * 7 + (int)i * 5) % 11 - 5);
    x[3] = -0.0f;
    assert_ok(orion_surface_create(d, &ios[i].layout, &s[i], &err), &err);
    if (ios[i].direction == ORION_INPUT) orion_layout_from_floats(&ios[i].layout, orion_surface_lock(s[i]), x);
    assert_ok(orion_bind(b, ios[i].name, s[i], &err), &err);
  }
  assert_ok(orion_run(b, &err), &err);
  for (size_t k = 0; k < p->functions[0]->n_outputs; k++) {
    char name[32];
    snprintf(name, sizeof name, "out%zu", k);  // outputs keep their names
    for (size_t i = 0; i < n; i++) {
      if (strcmp(ios[i].name, name) != 0) continue;
      orion_layout_to_floats(&ios[i].layout, orion_surface_lock(s[i]), out + at);
      at += CELLS;
    }
  }
  orion_bindings_destroy(b);
  orion_executable_release(e);
  for (size_t i = 0; i < n; i++) orion_surface_destroy(s[i]);
  return at;
}

static void check(orion_device *d, uint64_t seed, const char *passes) {
  orion_error err;
  float off[4 * CELLS], on[4 * CELLS];
  orion_program *p = make(seed);
  const orion_opt_limits limits = {.ane = false, .sram_bytes = SIZE_MAX, .split_conv_in = INT64_MAX, .max_conv_out = INT64_MAX};
  const orion_opt_options options = {.passes = passes};
  char *before = print(p);
  size_t n = run(d, p, off);
  assert_ok(orion_optimize(p, &limits, &options, &err), &err);
  size_t m = run(d, p, on);
  char *after = print(p);
  assert_int_equal(n, m);
  for (size_t i = 0; i < n; i++) {
    if (memcmp(&off[i], &on[i], sizeof *on) == 0) continue;
    fail_msg("seed %d, %s: element %zu is %a, was %a\n%s\n%s", (int)seed, passes, i, on[i], off[i], before, after);
  }
  assert_ok(orion_optimize(p, &limits, &options, &err), &err);
  char *again = print(p);
  assert_string_equal(after, again);
  free(before);
  free(after);
  free(again);
  orion_program_destroy(p);
}

static void random_programs_compute_the_same(void **state) {
  orion_error err;
  orion_device *d;
  assert_ok(orion_device_open("sim:ideal", 1, NULL, &d, &err), &err);
  static const char exact[] = "identity,cast_fuse,cse,fold,scale_fold,reshape_merge,transpose_merge,join_conv,uniform_io,dce";
  for (uint64_t seed = 1; seed <= 90; seed++) {
    check(d, seed, exact);
    if (seed % 3) continue;
    char one[sizeof exact];
    snprintf(one, sizeof one, "%s", exact);
    for (char *save, *name = strtok_r(one, ",", &save); name; name = strtok_r(NULL, ",", &save)) check(d, seed, name);
  }
  orion_device_close(d);
}

// x 96 bytes, a 96 (x dead after), c: the constant 96 is read with it.
static void working_sets_are_what_is_alive(void **state) {
  static const char text[] =
      "program(1.3)\n{\n  func main<ios18>(tensor<fp32, [24]> x) {\n"
      "    tensor<int32, [2]> s = const()[name = string(\"s\"), val = tensor<int32, [2]>([4, 6])];\n"
      "    fp32 k = const()[name = string(\"k\"), val = fp32(2)];\n"
      "    tensor<fp32, [24]> a = relu(x = x)[name = string(\"a\")];\n"
      "    tensor<fp32, [4, 6]> r = reshape(shape = s, x = a)[name = string(\"r\")];\n"
      "    tensor<fp32, [4, 6]> m = mul(x = r, y = k)[name = string(\"m\")];\n"
      "    tensor<fp32, [4, 6]> y = add(x = m, y = r)[name = string(\"y\")];\n  } -> (y);\n}\n";
  orion_error err;
  orion_program *p;
  orion_live live;
  orion_arena scratch;
  assert_ok(orion_mil_parse(NULL, text, strlen(text), "t", &p, &err), &err);
  orion_arena_init(&scratch, NULL);
  assert_true(orion_live_analyse(p->functions[0], &scratch, &live));
  static const size_t want[] = {96 + 96, 96 + 8, 96 + 96 + 4, 96 + 96 + 96};
  assert_int_equal(live.n, 4);
  for (size_t i = 0; i < 4; i++) assert_int_equal(live.bytes[i], want[i]);
  assert_int_equal(live.peak, 288);
  assert_int_equal(live.peak_at, 3);
  orion_arena_deinit(&scratch);
  orion_program_destroy(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_programs_compute_the_same),
      cmocka_unit_test(working_sets_are_what_is_alive),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

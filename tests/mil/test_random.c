// Random programs: whatever the IR can hold prints, parses to an equal program, and prints alike. Literals keep every
// bit: NaN payloads, subnormals, negative zero, the ends of every integer type.
#include "base/rng.h"
#include "mil/mil.h"
#include "mil/number.h"
#include "support/support.h"

enum { N_PROGRAMS = 300 };

static uint64_t bits64(orion_rng *r) {
  uint64_t high = orion_rng_u32(r);
  return high << 32 | orion_rng_u32(r);
}

static uint32_t below(orion_rng *r, uint32_t n) { return orion_rng_u32(r) % n; }

static const orion_type *random_tensor_type(orion_program *p, orion_rng *r, bool unknown) {
  orion_dtype d = (orion_dtype)(1 + below(r, ORION_DTYPE_COUNT - 1));
  int rank = (int)below(r, 5);
  int64_t dims[ORION_MAX_RANK];
  for (int i = 0; i < rank; i++) dims[i] = below(r, 4);
  if (rank && unknown && below(r, 4) == 0) dims[below(r, (uint32_t)rank)] = ORION_DIM_UNKNOWN;
  return rank || below(r, 2) ? orion_type_tensor(p, d, rank, dims) : orion_type_scalar(p, d);
}

static const orion_type *random_type(orion_program *p, orion_rng *r, int depth) {
  uint32_t kind = depth > 3 ? 0 : below(r, 8);
  if (kind > 3) kind = 0;
  if (kind == 0) return random_tensor_type(p, r, false);
  const orion_type *parts[3];
  uint32_t n = kind == 1 ? 1 : kind == 3 ? 2 : below(r, 4);
  for (uint32_t i = 0; i < n; i++) parts[i] = random_type(p, r, depth + 1);
  return orion_type_composite(p, kind == 1 ? ORION_TYPE_LIST : kind == 2 ? ORION_TYPE_TUPLE : ORION_TYPE_DICT,
                              below(r, 2) ? ORION_DIM_UNKNOWN : (int64_t)below(r, 4), n, parts);
}

static const char *random_string(orion_rng *r, char out[16]) {
  uint32_t n = below(r, 15);
  for (uint32_t i = 0; i < n; i++) out[i] = (char)(1 + below(r, 255));
  out[n] = 0;
  return out;
}

static const orion_literal *random_tensor(orion_program *p, orion_rng *r, const orion_type *t) {
  size_t n;
  assert_true(orion_type_elements(t, &n));
  if (t->dtype == ORION_STRING) {
    char texts[256][16];
    const char *strings[256];
    for (size_t i = 0; i < n; i++) strings[i] = random_string(r, texts[i]);
    return orion_literal_strings(p, t, n, strings);
  }
  if (below(r, 8) == 0) return orion_literal_blob(p, t, "@model_path/w \"q\".bin", bits64(r));
  size_t rows = t->rank ? (size_t)t->dims[0] : 1, size;
  void *bytes;
  const orion_data *x = orion_data_new(p->data, t->dtype, rows, rows ? n / rows : 0, &bytes);
  assert_true(orion_dtype_bytes(t->dtype, n, &size));
  for (size_t i = 0; i < size; i++) ((uint8_t *)bytes)[i] = (uint8_t)orion_rng_u32(r);
  if (t->dtype == ORION_BOOL) {
    for (size_t i = 0; i < size; i++) ((uint8_t *)bytes)[i] &= 1;
  }
  // Bits behind the last element of a narrow type carry no meaning: zero, as the parser makes them.
  unsigned bits = orion_dtype_bits(t->dtype);
  if (bits < 8 && n * bits % 8) ((uint8_t *)bytes)[size - 1] &= (uint8_t)((1u << (n * bits % 8)) - 1);
  return orion_literal_data(p, t, x);
}

static const orion_literal *random_literal(orion_program *p, orion_rng *r, const orion_type *t) {
  if (t->kind == ORION_TYPE_TENSOR) return random_tensor(p, r, t);
  const orion_literal *items[8];
  uint32_t n = 0;
  uint32_t repeat = t->kind == ORION_TYPE_TUPLE  ? 1
                    : t->kind == ORION_TYPE_DICT ? below(r, 4)
                    : t->length < 0              ? below(r, 4)
                                                 : (uint32_t)t->length;
  for (uint32_t k = 0; k < repeat; k++) {
    for (uint32_t i = 0; i < t->n_parts; i++) items[n++] = random_literal(p, r, t->parts[i]);
  }
  orion_literal_kind kind = t->kind == ORION_TYPE_LIST    ? ORION_LIT_LIST
                            : t->kind == ORION_TYPE_TUPLE ? ORION_LIT_TUPLE
                                                          : ORION_LIT_DICT;
  return orion_literal_items(p, kind, t, n, items);
}

static orion_ref random_ref(orion_function *f, orion_rng *r) {
  if (f->n_values && below(r, 4)) return below(r, (uint32_t)f->n_values);
  return orion_function_literal_ref(f, random_literal(f->program, r, random_type(f->program, r, 0)));
}

static void add_random_op(orion_function *f, orion_rng *r, int number) {
  static const char *const arg_names[] = {"x", "y", "axis", "values"}, *const attr_names[] = {"name", "val", "a_b"};
  orion_arg args[4];
  orion_ref refs[4][3];
  orion_attr attrs[3];
  char names[3][24];
  const char *result_names[3];
  const orion_type *types[3];
  uint32_t n_args = below(r, 5), n_attrs = below(r, 4), n_results = below(r, 4);
  for (uint32_t i = 0; i < n_args; i++) {
    bool tuple = below(r, 3) == 0;
    args[i] = (orion_arg){arg_names[i], refs[i], tuple ? below(r, 4) : 1, tuple};
    for (uint32_t k = 0; k < args[i].n_refs; k++) refs[i][k] = random_ref(f, r);
  }
  for (uint32_t i = 0; i < n_attrs; i++) {
    attrs[i] = (orion_attr){attr_names[i], random_literal(f->program, r, random_type(f->program, r, 0))};
  }
  for (uint32_t i = 0; i < n_results; i++) {
    snprintf(names[i], sizeof names[i], "v%d_%u", number, i);
    result_names[i] = names[i];
    types[i] = random_tensor_type(f->program, r, true);
  }
  orion_opcode code = (orion_opcode)below(r, ORION_OP_COUNT);
  orion_op_spec spec = {.code = code, .spelling = code ? NULL : "strange_op", .args = args, .n_args = n_args,
                        .attrs = attrs, .n_attrs = n_attrs, .result_names = result_names, .result_types = types,
                        .n_results = n_results, .before = ORION_NONE};
  assert_int_not_equal(orion_function_add_op(f, &spec), ORION_NONE);
}

static orion_program *random_program(orion_rng *r) {
  static const char *const versions[] = {"1.0", "1.1", "1.2", "1.3"};
  orion_program *p;
  orion_error err;
  assert_ok(orion_program_create(NULL, NULL, &p, &err), &err);
  p->version = versions[below(r, 4)];
  p->bare_end = below(r, 2);
  if (below(r, 3) == 0) p->n_attrs = 0;
  for (uint32_t i = 0, n = 1 + below(r, 3); i < n; i++) {
    char name[16];
    snprintf(name, sizeof name, "f%u", i);
    orion_function *f;
    assert_ok(orion_program_add_function(p, name, "ios18", &f, &err), &err);
    for (uint32_t k = 0, params = below(r, 4); k < params; k++) {
      snprintf(name, sizeof name, "p%u", k);
      const orion_type *t = random_tensor_type(p, r, true);
      if (below(r, 4) == 0) t = orion_type_composite(p, ORION_TYPE_STATE, 0, 1, &t);
      assert_int_not_equal(orion_function_add_param(f, name, t), ORION_NONE);
    }
    for (int k = 0, ops = (int)below(r, 8); k < ops; k++) add_random_op(f, r, k);
    for (uint32_t k = 0; f->n_values && k < below(r, 4); k++) {
      assert_ok(orion_function_add_output(f, below(r, (uint32_t)f->n_values), &err), &err);
    }
  }
  return p;
}

static void assert_literals_equal(const orion_literal *a, const orion_literal *b) {
  assert_true(orion_type_equal(a->type, b->type));
  assert_int_equal(a->kind, b->kind);
  assert_int_equal(a->n_items, b->n_items);
  if (a->kind == ORION_LIT_BLOB) {
    assert_string_equal(a->blob_path, b->blob_path);
    assert_true(a->blob_offset == b->blob_offset);
  }
  if (a->data) {
    size_t size;
    assert_true(orion_dtype_bytes(a->type->dtype, orion_data_elements(a->data), &size));
    assert_int_equal(a->data->rows, b->data->rows);
    assert_memory_equal(a->data->bytes, b->data->bytes, size);
  }
  for (uint32_t i = 0; a->strings && i < a->n_items; i++) assert_string_equal(a->strings[i], b->strings[i]);
  for (uint32_t i = 0; a->items && i < a->n_items; i++) assert_literals_equal(a->items[i], b->items[i]);
}

static void assert_programs_equal(const orion_program *a, const orion_program *b) {
  assert_int_equal(a->n_functions, b->n_functions);
  for (size_t i = 0; i < a->n_functions; i++) {
    const orion_function *f = a->functions[i], *g = b->functions[i];
    assert_int_equal(f->n_ops, g->n_ops);
    assert_int_equal(f->n_values, g->n_values);
    assert_int_equal(f->n_params, g->n_params);
    assert_int_equal(f->n_outputs, g->n_outputs);
    assert_int_equal(f->n_literals, g->n_literals);
    for (size_t v = 0; v < f->n_values; v++) {
      assert_string_equal(f->values[v].name, g->values[v].name);
      assert_true(orion_type_equal(f->values[v].type, g->values[v].type));
    }
    for (size_t o = 0; o < f->n_ops; o++) {
      assert_int_equal(f->ops[o].code, g->ops[o].code);
      assert_int_equal(f->ops[o].n_args, g->ops[o].n_args);
      assert_int_equal(f->ops[o].n_attrs, g->ops[o].n_attrs);
      for (uint32_t k = 0; k < f->ops[o].n_attrs; k++) {
        assert_literals_equal(f->ops[o].attrs[k].value, g->ops[o].attrs[k].value);
      }
    }
  }
}

static void programs_survive_text(void **state) {
  orion_rng r;
  orion_rng_seed(&r, 20240607, 1);
  for (int i = 0; i < N_PROGRAMS; i++) {
    orion_program *p = random_program(&r), *q;
    orion_strbuf first, second;
    orion_error err;
    orion_strbuf_init(&first, NULL);
    orion_strbuf_init(&second, NULL);
    assert_ok(orion_mil_print(p, &first, &err), &err);
    assert_ok(orion_mil_parse(NULL, first.data, first.size, "random", &q, &err), &err);
    assert_programs_equal(p, q);
    assert_ok(orion_mil_print(q, &second, &err), &err);
    assert_string_equal(first.data, second.data);
    orion_strbuf_deinit(&first);
    orion_strbuf_deinit(&second);
    orion_program_destroy(p);
    orion_program_destroy(q);
  }
}

// Every 16-bit pattern, and 32- and 64-bit ones by the hundred thousand, through text and back; hexadecimal text is
// what the C library prints for the same number.
static void floats_survive_to_the_bit(void **state) {
  static const orion_dtype dtypes[] = {ORION_FP16, ORION_BF16, ORION_FP32, ORION_FP64};
  orion_rng r;
  orion_rng_seed(&r, 7, 1);
  for (int k = 0; k < 4; k++) {
    orion_dtype d = dtypes[k];
    unsigned bytes = orion_dtype_bits(d) / 8;
    for (uint32_t i = 0; i < (bytes == 2 ? 65536u : 100000u); i++) {
      uint64_t raw = bytes == 2 ? i : bits64(&r), back = 0;
      if (bytes == 4) raw &= UINT32_MAX;
      if (bytes > 2 && i % 16 == 0) raw &= bytes == 4 ? 0x807fffffu : 0x800fffffffffffffu;  // subnormals
      char text[ORION_MIL_NUMBER_MAX + 1], libc[64];
      size_t n = orion_mil_format_number(d, &raw, 0, text);
      text[n] = 0;
      char *payload = strchr(text, '(');
      if (payload) {
        assert_true(orion_mil_store_nan(d, text[0] == '-', strtoull(payload + 1, NULL, 16), &back, 0));
      } else {
        assert_int_equal(orion_mil_parse_number(d, text, n, &back, 0), ORION_MIL_NUMBER_OK);
      }
      if (memcmp(&raw, &back, bytes) != 0) fail_msg("%s %llx: %s", orion_dtype_name(d), (unsigned long long)raw, text);
      double v = orion_load_double(d, &raw, 0);
      if (v != v || (v < 0x1p-1022 && v > -0x1p-1022)) continue;  // libc spells NaN and its own subnormals otherwise
      snprintf(libc, sizeof libc, "%a", v);
      assert_string_equal(text, libc);
    }
  }
}

static void decimals_round_correctly(void **state) {
  static const struct {
    orion_dtype d;
    const char *text;
    uint64_t raw;
  } cases[] = {
      {ORION_FP16, "0.1", 0x2e66},        {ORION_FP16, "65504", 0x7bff},     {ORION_FP16, "65519.99", 0x7bff},
      {ORION_FP16, "5.9604644775390625e-8", 1}, {ORION_FP16, "2.98e-8", 0},  {ORION_FP16, "-0", 0x8000},
      {ORION_FP16, "1.00048828125", 0x3c00}, {ORION_FP16, "1.000488281250001", 0x3c01},
      {ORION_FP32, "0.1", 0x3dcccccd},    {ORION_FP32, "16777217", 0x4b800000}, {ORION_FP32, "1e-45", 1},
      {ORION_FP32, "+1", 0x3f800000},     {ORION_FP32, "0x1.fffffep+127", 0x7f7fffff},
      {ORION_FP32, "0X.8P1", 0x3f800000}, {ORION_FP64, "1e308", 0x7fe1ccf385ebc8a0}, {ORION_BF16, "1e5", 0x47c3},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint64_t raw = 0;
    assert_int_equal(orion_mil_parse_number(cases[i].d, cases[i].text, strlen(cases[i].text), &raw, 0),
                     ORION_MIL_NUMBER_OK);
    if (raw != cases[i].raw) fail_msg("%s: %llx", cases[i].text, (unsigned long long)raw);
  }
  static const char *const malformed[] = {"", "-", "0x", "0xp1", "0x1p", "0x1p+", "1e", "1e+", ".", "1.2.3", "0x1.2.3p0", "1f",
                                          "in", "infi", "nanx", "--1", "true"};
  for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
    uint64_t raw;
    if (orion_mil_parse_number(ORION_FP32, malformed[i], strlen(malformed[i]), &raw, 0) != ORION_MIL_NUMBER_MALFORMED) {
      fail_msg("'%s' passes", malformed[i]);
    }
  }
  uint64_t raw;
  assert_int_equal(orion_mil_parse_number(ORION_FP16, "65520", 5, &raw, 0), ORION_MIL_NUMBER_RANGE);
  assert_int_equal(orion_mil_parse_number(ORION_FP32, "1e39", 4, &raw, 0), ORION_MIL_NUMBER_RANGE);
  assert_int_equal(orion_mil_parse_number(ORION_FP64, "0x1p+99999999999999999999", 25, &raw, 0), ORION_MIL_NUMBER_RANGE);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(programs_survive_text),
      cmocka_unit_test(floats_survive_to_the_bit),
      cmocka_unit_test(decimals_round_correctly),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

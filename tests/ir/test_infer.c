// Type inference: one row an operation form, shapes worked out by hand.
#include <ctype.h>

#include "support/support.h"
#include "rows.h"

typedef struct row {
  const char *op, *args, *want;
} row;

static void describe(char *out, size_t size, const orion_type *const *types, size_t n) {
  size_t at = 0;
  out[0] = 0;
  for (size_t i = 0; i < n; i++) {
    at += (size_t)snprintf(out + at, size - at, "%s%s[", i ? " " : "", orion_dtype_name(types[i]->dtype));
    for (int d = 0; d < types[i]->rank; d++) {
      if (types[i]->dims[d] < 0) {
        at += (size_t)snprintf(out + at, size - at, "%s?", d ? "," : "");
      } else {
        at += (size_t)snprintf(out + at, size - at, "%s%lld", d ? "," : "", (long long)types[i]->dims[d]);
      }
    }
    at += (size_t)snprintf(out + at, size - at, "]");
  }
}

static void check_row(const row *r) {
  orion_error err = {0};
  orion_program *p;
  orion_function *f;
  assert_ok(orion_program_create(NULL, NULL, &p, &err), &err);
  assert_ok(orion_program_add_function(p, "main", "ios18", &f, &err), &err);
  orion_op_id id = row_add(f, r->op, r->args, 0, NULL, NULL);
  assert_int_not_equal(f->ops[id].code, ORION_OP_OTHER);
  const orion_type *types[ORION_MAX_RESULTS];
  size_t n = 0;
  orion_status status = orion_infer_op(f, &f->ops[id], types, &n, &err);
  char got[1024];
  if (status != ORION_OK) {
    snprintf(got, sizeof got, "!%.1000s", err.message);
  } else {
    describe(got, sizeof got, types, n);
  }
  bool same = r->want[0] == '!' && got[0] == '!' ? strstr(got, r->want + 1) != NULL : strcmp(got, r->want) == 0;
  if (!same) fail_msg("%s(%s)\n  is     %s\n  expect %s", r->op, r->args, got, r->want);
  orion_program_destroy(p);
}

static void check_rows(const row *rows, size_t n) {
  for (size_t i = 0; i < n; i++) check_row(&rows[i]);
}

static void test_elementwise_operations_broadcast(void **state) {
  static const row rows[] = {
      {"relu", "x=fp16[1,2,?]", "fp16[1,2,?]"},
      {"relu", "x=int32[2]", "!argument x"},
      {"add", "x=fp16[1,8,1,4] y=fp16[8,1,1]", "fp16[1,8,1,4]"},
      {"add", "x=fp16[2,1] y=fp16[1,3]", "fp16[2,3]"},
      {"add", "x=fp16[2,3] y=1.5h", "fp16[2,3]"},
      {"add", "x=fp16[?,3] y=fp16[4,3]", "fp16[4,3]"},
      {"add", "x=fp16[?,3] y=fp16[1,3]", "fp16[?,3]"},
      {"add", "x=fp16[2] y=fp16[3]", "!do not broadcast"},
      {"add", "x=fp16[2] y=fp32[2]", "!argument y"},
      {"add", "x=fp16[2]", "!argument y: missing"},
      {"add", "x=fp16[2] y=fp16[2] z=fp16[2]", "!argument z"},
      {"greater", "x=fp16[2,1] y=fp16[4]", "bool[2,4]"},
      {"select", "cond=bool[2,1] a=fp16[3] b=fp16[1]", "fp16[2,3]"},
      {"select", "cond=int32[2] a=fp16[2] b=fp16[2]", "!argument cond"},
      {"cast", "x=fp32[2,3] dtype='fp16'", "fp16[2,3]"},
      {"cast", "x=fp32[2,3] dtype='half'", "!dtype"},
  };
  check_rows(rows, sizeof rows / sizeof *rows);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_elementwise_operations_broadcast),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

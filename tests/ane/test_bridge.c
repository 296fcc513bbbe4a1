// The bridge to the Neural Engine, run against the stand-in: programs run, surfaces lie and are bound as the loaded program
// says, requests are built once, programs are shared, evicted and counted, and every refusal is told in our words.
#include "rig.h"

#define HEAD "program(1.3)\n{\n"

// d = a - b, s = a + b * 2, of rows of five columns: names in another order than declared, outputs too.
static const char two_and_two[] =
    HEAD "  func main<ios18>(tensor<fp16, [1, 4, 1, 5]> b, tensor<fp16, [1, 4, 1, 5]> a) {\n"
    "    fp16 two = const()[name = string(\"two\"), val = fp16(2)];\n"
    "    tensor<fp16, [1, 4, 1, 5]> s0 = mul(x = b, y = two)[name = string(\"s0\")];\n"
    "    tensor<fp16, [1, 4, 1, 5]> s = add(x = a, y = s0)[name = string(\"s\")];\n"
    "    tensor<fp16, [1, 4, 1, 5]> d = sub(x = a, y = b)[name = string(\"d\")];\n"
    "  } -> (s, d);\n}\n";

static void check_two_and_two(ride *x) {
  for (int round = 0; round < 2; round++) {
    ride_fill(x, "a", (float)(10 + round), 1);
    ride_fill(x, "b", 1, 0.5f);
    ride_run(x);
    for (size_t k = 0; k < 20; k++) {
      float a = (float)(10 + round) + (float)k, b = 1 + 0.5f * (float)k;
      assert_true(ride_get(x, "s", k) == a + 2 * b);
      assert_true(ride_get(x, "d", k) == a - b);
    }
  }
}

static const char *const routes[] = {"ane:route=a", "ane:route=b"};
enum { ROUTES = sizeof routes / sizeof *routes };

static void a_program_with_weights_runs(void **state) {
  for (int route = 0; route < ROUTES; route++) {
    rig r;
    ride x;
    rig_world(&r, NULL);
    rig_open(&r, routes[route]);
    orion_program *p = rig_conv(0.5);
    ride_open(&r, &x, p);
    orion_program_destroy(p);  // the program may be gone once it is compiled
    ride_fill(&x, "x", 1, 0);
    ride_run(&x);
    for (size_t k = 0; k < 32 * 32; k += 37) assert_true(ride_get(&x, "y", k) == 16);
    ride_close(&x);
    rig_end(&r);
  }
}

static void several_inputs_and_outputs_go_through_either_route(void **state) {
  for (int route = 0; route < ROUTES; route++) {
    rig r;
    ride x, again;
    rig_world(&r, NULL);
    rig_open(&r, routes[route]);
    orion_program *p = rig_parse(two_and_two);
    ride_open(&r, &x, p);
    check_two_and_two(&x);
    ride_open(&r, &again, p);  // the same program a second time: it is there already
    assert_int_equal(r.count("compiles"), 1);
    check_two_and_two(&again);
    check_two_and_two(&x);
    ride_close(&x);
    check_two_and_two(&again);
    ride_close(&again);
    orion_program_destroy(p);
    rig_end(&r);
  }
}

static void inputs_and_outputs_are_bound_by_name_in_every_order_of_symbols(void **state) {
  static const char *const worlds[] = {"order=sorted", "order=declared", "order=size", "binding=position,order=declared",
                                       "binding=position", "attributes=off"};
  for (size_t i = 0; i < sizeof worlds / sizeof *worlds; i++) {
    rig r;
    ride x;
    rig_world(&r, worlds[i]);
    rig_open(&r, "ane");
    orion_program *p = rig_parse(two_and_two);
    ride_open(&r, &x, p);
    orion_program_destroy(p);
    check_two_and_two(&x);
    ride_close(&x);
    rig_end(&r);
  }
}

static void surfaces_have_the_strides_that_the_program_reports(void **state) {
  static const struct { const char *world; size_t row; } rows[] = {{"rows=64", 64}, {"rows=128", 128}, {"rows=2", 10}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    rig r;
    ride x;
    rig_world(&r, rows[i].world);
    rig_open(&r, "ane");
    orion_program *p = rig_parse(two_and_two);
    ride_open(&r, &x, p);
    orion_program_destroy(p);
    for (size_t k = 0; k < x.n; k++) {
      assert_int_equal(x.ios[k].layout.row_bytes, rows[i].row);
      assert_int_equal(x.ios[k].layout.bytes, 4 * rows[i].row);
    }
    check_two_and_two(&x);
    ride_close(&x);
    rig_end(&r);
  }
}

static void a_request_is_built_once_for_a_set_of_surfaces(void **state) {
  rig r;
  ride x;
  rig_world(&r, NULL);
  rig_open(&r, "ane");
  orion_program *p = rig_conv(1);
  ride_open(&r, &x, p);
  orion_program_destroy(p);
  for (int i = 0; i < 5; i++) ride_run(&x);
  assert_int_equal(r.count("requests"), 1);
  // Another surface is another request; a surface that is gone takes its requests along.
  orion_error err;
  orion_surface *other;
  assert_ok(orion_surface_create(r.device, &x.ios[0].layout, &other, &err), &err);
  assert_ok(orion_bind(x.b, "x", other, &err), &err);
  ride_run(&x);
  assert_int_equal(r.count("requests"), 2);
  assert_ok(orion_bind(x.b, "x", x.surfaces[0], &err), &err);
  ride_run(&x);
  assert_int_equal(r.count("requests"), 2);
  long before = r.count("objects");
  orion_surface_destroy(other);
  assert_true(r.count("objects") < before - 2);  // the surface, its wrapper, and more
  ride_close(&x);
  rig_end(&r);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_program_with_weights_runs),
      cmocka_unit_test(several_inputs_and_outputs_go_through_either_route),
      cmocka_unit_test(inputs_and_outputs_are_bound_by_name_in_every_order_of_symbols),
      cmocka_unit_test(surfaces_have_the_strides_that_the_program_reports),
      cmocka_unit_test(a_request_is_built_once_for_a_set_of_surfaces),
  };
  return cmocka_run_group_tests_name("ane bridge", tests, NULL, NULL);
}

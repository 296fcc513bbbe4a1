// One program through the bridge on another processor: cross_run STAND-IN. Its calls have to be right by that processor's
// calling convention (arm64 passes the ninth argument of a request on the stack, and variadic ones differently). Prints "ok"
// when both routes give what the sim gives.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/layout.h"
#include "mil/mil.h"
#include "orion/device.h"

static const char text[] =
    "program(1.3)\n{\n  func main<ios18>(tensor<fp16, [1, 4, 1, 5]> b, tensor<fp16, [1, 4, 1, 5]> a) {\n"
    "    fp16 two = const()[name = string(\"two\"), val = fp16(2)];\n"
    "    tensor<fp16, [1, 4, 1, 5]> s0 = mul(x = b, y = two)[name = string(\"s0\")];\n"
    "    tensor<fp16, [1, 4, 1, 5]> s = add(x = a, y = s0)[name = string(\"s\")];\n"
    "    tensor<fp16, [1, 4, 1, 5]> d = sub(x = a, y = b)[name = string(\"d\")];\n"
    "  } -> (s, d);\n}\n";

enum { N = 20, IOS = 4 };

static orion_status run(const char *spec, float *out, orion_error *err) {
  orion_program *p = NULL;
  orion_device *d = NULL;
  orion_executable *e = NULL;
  orion_bindings *b = NULL;
  orion_surface *surfaces[IOS] = {NULL};
  size_t n = 0;
  orion_status status = orion_mil_parse(NULL, text, sizeof text - 1, "text", &p, err);
  if (status == ORION_OK) status = orion_device_open(spec, 1, NULL, &d, err);
  if (status == ORION_OK) status = orion_device_compile(d, p, NULL, &e, err);
  if (status == ORION_OK) status = orion_bindings_create(e, &b, err);
  const orion_io *ios = status == ORION_OK ? orion_executable_ios(e, &n) : NULL;
  for (size_t i = 0; i < n && status == ORION_OK; i++) {
    float v[N];
    for (int k = 0; k < N; k++) v[k] = (float)(i + 1) + (float)k * 0.5f;
    status = orion_surface_create(d, &ios[i].layout, &surfaces[i], err);
    if (status == ORION_OK) orion_layout_from_floats(&ios[i].layout, orion_surface_lock(surfaces[i]), v);
    if (status == ORION_OK) orion_surface_unlock(surfaces[i]);
    if (status == ORION_OK) status = orion_bind(b, ios[i].name, surfaces[i], err);
  }
  for (int round = 0; round < 3 && status == ORION_OK; round++) status = orion_run(b, err);
  for (size_t i = 2; i < n && status == ORION_OK; i++, out += N) {
    orion_layout_to_floats(&ios[i].layout, orion_surface_lock(surfaces[i]), out);
    orion_surface_unlock(surfaces[i]);
  }
  orion_bindings_destroy(b);
  for (int i = 0; i < IOS; i++) orion_surface_destroy(surfaces[i]);
  orion_executable_release(e);
  orion_device_close(d);
  orion_program_destroy(p);
  return status;
}

int main(int argc, char **argv) {
  static const char *const formats[] = {"sim:m4", "ane:framework=%s,route=a", "ane:framework=%s,route=b"};
  float want[2 * N], got[2 * N];
  for (int i = 0; i < 3; i++) {
    char spec[512];
    orion_error err;
    snprintf(spec, sizeof spec, formats[i], argc > 1 ? argv[1] : "");
    if (run(spec, i ? got : want, &err) != ORION_OK) {
      printf("%s: %s\n", spec, err.message);
      return 1;
    }
    if (i && memcmp(want, got, sizeof want) != 0) {
      printf("%s: not what the sim gives\n", spec);
      return 1;
    }
  }
  puts("ok");
  return 0;
}

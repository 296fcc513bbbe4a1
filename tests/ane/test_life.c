// What happens to programs over time: reloaded, evicted, kept on disk for the next process, swept, counted until the
// process must end, and patched where the world lets patched weights through.
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <utime.h>

#include "rig.h"

static void check_conv(ride *x, float want) {
  ride_fill(x, "x", 1, 0);
  ride_run(x);
  for (size_t k = 0; k < 32 * 32; k += 31) assert_true(ride_get(x, "y", k) == want);
}

static void open_conv(rig *r, ride *x, double value) {
  orion_program *p = rig_conv(value);
  ride_open(r, x, p);
  orion_program_destroy(p);
}

static orion_status try_conv(rig *r, double value, orion_error *err) {
  orion_executable *e;
  orion_program *p = rig_conv(value);
  orion_status status = orion_device_compile(r->device, p, NULL, &e, err);
  orion_program_destroy(p);
  if (status == ORION_OK) orion_executable_release(e);
  return status;
}

// Directories of programs in the temporary directory; *out one of them.
static int count_dirs(const rig *r, char *out) {
  int n = 0;
  DIR *dir = opendir(r->dir);
  for (struct dirent *e; (e = readdir(dir));) {
    if (e->d_name[0] == '.' || strncmp(e->d_name, "com.apple.aned", 14) == 0) continue;
    if (out) test_path(out, TEST_PATH_MAX, r->dir, e->d_name);
    n++;
  }
  closedir(dir);
  return n;
}

// ---- slots ----

static void programs_beyond_the_slots_take_turns(void **state) {
  static const char *const specs[] = {"ane:slots=3,route=a", "ane:slots=3,route=b", "ane:slots=100,route=a"};
  for (size_t i = 0; i < 3; i++) {  // the last: the system has fewer slots than we think
    rig r;
    ride rides[5];
    rig_world(&r, "slots=3,arithmetic=ideal");
    rig_open(&r, specs[i]);
    for (int k = 0; k < 5; k++) open_conv(&r, &rides[k], 0.25 * (k + 1));
    for (int round = 0; round < 2; round++) {
      for (int k = 0; k < 5; k++) check_conv(&rides[k], (float)(8 * (k + 1)));
    }
    assert_true(r.count("loaded") <= 3);
    assert_int_equal(r.count("compiles"), 5);  // coming back costs no compile
    orion_device_usage usage;
    orion_device_usage_get(r.device, &usage);
    assert_int_equal(usage.compiles, 5);
    assert_int_equal(usage.loaded, 3);
    for (int k = 0; k < 5; k++) ride_close(&rides[k]);
    rig_end(&r);
  }
}

static void a_load_that_fails_once_is_tried_again(void **state) {
  rig r;
  ride x;
  rig_world(&r, "transient=1,arithmetic=ideal");
  rig_open(&r, "ane");
  open_conv(&r, &x, 1);
  assert_int_equal(r.count("loads"), 2);
  check_conv(&x, 32);
  ride_close(&x);
  r.set("transient", "2");
  orion_error err;
  assert_error(try_conv(&r, 2, &err), ORION_DEVICE, &err, "loading failed: com.apple.appleneuralengine 6");
  rig_end(&r);
}

// ---- compiles ----

static void note(void *ctx) { ++*(int *)ctx; }

static void the_budget_of_compiles_is_kept_and_its_end_announced(void **state) {
  rig r;
  orion_error err;
  int called = 0;
  rig_world(&r, "arithmetic=ideal");
  rig_open(&r, "ane:compiles=3");
  orion_device_on_exhausted(r.device, note, &called);
  for (int k = 0; k < 3; k++) assert_ok(try_conv(&r, k + 1, &err), &err);
  assert_int_equal(called, 0);
  assert_error(try_conv(&r, 4, &err), ORION_LIMIT, &err, "3 programs compiled in this process");
  assert_int_equal(called, 1);
  assert_ok(try_conv(&r, 2, &err), &err);  // on disk: costs nothing
  assert_int_equal(r.count("compiles"), 3);
  // Beyond its own budget the system only fails; its words are passed on.
  rig_close(&r);
  r.set("compiles", "0");
  rig_open(&r, "ane");
  assert_error(try_conv(&r, 9, &err), ORION_REFUSED, &err, "ANECCompile() FAILED");
  rig_end(&r);
}

// ---- the disk ----

static void the_next_process_compiles_nothing(void **state) {
  rig r;
  ride x;
  orion_error err;
  rig_world(&r, "arithmetic=ideal");
  for (int process = 0; process < 2; process++) {
    rig_open(&r, "ane");
    open_conv(&r, &x, 0.5);
    check_conv(&x, 16);
    assert_int_equal(r.count("compiles"), process ? 0 : 1);
    ride_close(&x);
    rig_close(&r);
    r.reset();
    r.set("arithmetic", "ideal");
  }
  assert_int_equal(count_dirs(&r, NULL), 1);
  // Another build of the system: what is there is swept and compiled anew.
  r.set("build", "26B1");
  rig_open(&r, "ane");
  assert_int_equal(count_dirs(&r, NULL), 0);
  assert_ok(try_conv(&r, 0.5, &err), &err);
  assert_int_equal(r.count("compiles"), 1);
  rig_close(&r);
  // The system has forgotten what the directory says is compiled: it is compiled again.
  char command[TEST_PATH_MAX + 64];
  snprintf(command, sizeof command, "rm -r '%s'/com.apple.aned-26B1", r.dir);
  assert_int_equal(system(command), 0);
  rig_open(&r, "ane");
  assert_ok(try_conv(&r, 0.5, &err), &err);
  assert_int_equal(r.count("compiles"), 2);
  rig_close(&r);
  // cache=off leaves nothing.
  rig_open(&r, "ane:cache=off");
  assert_ok(try_conv(&r, 0.5, &err), &err);
  assert_int_equal(count_dirs(&r, NULL), 0);
  rig_end(&r);
}

static void leavings_are_swept_and_what_is_in_use_is_not(void **state) {
  rig r;
  ride x;
  char dir[TEST_PATH_MAX], path[TEST_PATH_MAX];
  rig_world(&r, "arithmetic=ideal");
  rig_open(&r, "ane");
  open_conv(&r, &x, 0.5);
  // Old as it is, it is in use: another device of the same temporary directory must leave it alone.
  assert_int_equal(count_dirs(&r, dir), 1);
  test_path(path, sizeof path, dir, "orion.key");
  assert_int_equal(utime(path, &(struct utimbuf){1000, 1000}), 0);
  orion_error err;
  orion_device *other;
  assert_ok(orion_device_open("ane:cache=off", 1, NULL, &other, &err), &err);
  orion_device_close(other);
  assert_int_equal(count_dirs(&r, NULL), 1);
  check_conv(&x, 16);
  ride_close(&x);
  rig_close(&r);
  assert_int_equal(count_dirs(&r, NULL), 1);
  rig_open(&r, "ane");  // now nobody holds it, and it is too old
  assert_int_equal(count_dirs(&r, NULL), 0);
  rig_end(&r);
}

static void no_more_programs_stay_on_disk_than_wanted(void **state) {
  rig r;
  ride x;
  orion_error err;
  rig_world(&r, "arithmetic=ideal");
  rig_open(&r, "ane:cache=2");
  open_conv(&r, &x, 0.5);
  for (int k = 0; k < 4; k++) assert_ok(try_conv(&r, k + 1, &err), &err);
  assert_int_equal(count_dirs(&r, NULL), 2);
  check_conv(&x, 16);  // what is in use stays
  ride_close(&x);
  assert_int_equal(count_dirs(&r, NULL), 2);
  rig_end(&r);
}

// Another process holds the same program while we come and go.
static void two_processes_share_a_directory(void **state) {
  rig r;
  ride x;
  rig_world(&r, "arithmetic=ideal");
  rig_open(&r, "ane:cache=off");
  open_conv(&r, &x, 0.5);
  orion_device *other;
  orion_executable *e;
  orion_error err;
  orion_program *p = rig_conv(0.5);
  assert_ok(orion_device_open("ane:cache=off", 1, NULL, &other, &err), &err);
  assert_ok(orion_device_compile(other, p, NULL, &e, &err), &err);
  assert_int_equal(count_dirs(&r, NULL), 1);
  orion_executable_release(e);
  orion_device_close(other);
  orion_program_destroy(p);
  assert_int_equal(count_dirs(&r, NULL), 1);
  check_conv(&x, 16);
  ride_close(&x);
  assert_int_equal(count_dirs(&r, NULL), 0);
  rig_end(&r);
}

// ---- identity ----

static void programs_that_differ_in_weights_alone_are_kept_apart(void **state) {
  static const char *const worlds[] = {"arithmetic=ideal,identity=all", "arithmetic=ideal,identity=names"};
  for (size_t i = 0; i < 2; i++) {
    rig r;
    ride one, two;
    rig_world(&r, worlds[i]);
    rig_open(&r, "ane");
    open_conv(&r, &one, 0.5);
    open_conv(&r, &two, 1);
    check_conv(&one, 16);
    check_conv(&two, 32);
    assert_int_equal(count_dirs(&r, NULL), 2);
    ride_close(&one);
    check_conv(&two, 32);
    ride_close(&two);
    rig_end(&r);
  }
}

// ---- patched weights ----

static orion_status patch(ride *x, double value, orion_error *err) {
  uint16_t bytes[32 * 32];
  for (size_t i = 0; i < 32 * 32; i++) orion_store_double(ORION_FP16, bytes, i, value);
  return orion_executable_update(x->e, "w", bytes, sizeof bytes, err);
}

static void patched_weights_take_effect_where_the_world_lets_them(void **state) {
  static const char *const worlds[] = {"arithmetic=ideal,reload=files", "arithmetic=ideal,reload=data"};
  for (size_t i = 0; i < 2; i++) {
    rig r;
    ride x, other;
    orion_error err;
    rig_world(&r, worlds[i]);
    rig_open(&r, "ane");
    open_conv(&r, &x, 0.5);
    check_conv(&x, 16);
    assert_ok(patch(&x, 2, &err), &err);
    check_conv(&x, 64);
    assert_ok(patch(&x, 3, &err), &err);
    check_conv(&x, 96);
    assert_int_equal(r.count("compiles"), 2);  // the program and the canary
    open_conv(&r, &other, 0.5);  // what the patched one once was: a program of its own
    check_conv(&other, 16);
    check_conv(&x, 96);
    assert_error(orion_executable_update(x.e, "w", "", 1, &err), ORION_INVALID, &err, "1 bytes for a constant of 2048");
    assert_error(orion_executable_update(x.e, "v", "", 1, &err), ORION_NOT_FOUND, &err, "no such constant");
    ride_close(&other);
    ride_close(&x);
    rig_close(&r);
    rig_open(&r, "ane");  // nobody takes the patched directory for what its name says
    open_conv(&r, &x, 0.5);
    check_conv(&x, 16);
    ride_close(&x);
    rig_end(&r);
  }
}

static void patched_weights_are_refused_where_they_stay_as_they_were(void **state) {
  static const char *const specs[] = {"ane:route=a", "ane:route=b"};
  static const char *const texts[] = {"patched weights do not reach the engine", "route b has no files to patch"};
  for (size_t i = 0; i < 2; i++) {
    rig r;
    ride x;
    orion_error err;
    rig_world(&r, "arithmetic=ideal");
    rig_open(&r, specs[i]);
    open_conv(&r, &x, 0.5);
    assert_error(patch(&x, 2, &err), ORION_UNSUPPORTED, &err, texts[i]);
    check_conv(&x, 16);
    ride_close(&x);
    rig_end(&r);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(programs_beyond_the_slots_take_turns),
      cmocka_unit_test(a_load_that_fails_once_is_tried_again),
      cmocka_unit_test(the_budget_of_compiles_is_kept_and_its_end_announced),
      cmocka_unit_test(the_next_process_compiles_nothing),
      cmocka_unit_test(leavings_are_swept_and_what_is_in_use_is_not),
      cmocka_unit_test(no_more_programs_stay_on_disk_than_wanted),
      cmocka_unit_test(two_processes_share_a_directory),
      cmocka_unit_test(programs_that_differ_in_weights_alone_are_kept_apart),
      cmocka_unit_test(patched_weights_take_effect_where_the_world_lets_them),
      cmocka_unit_test(patched_weights_are_refused_where_they_stay_as_they_were),
  };
  return cmocka_run_group_tests_name("ane life", tests, NULL, NULL);
}

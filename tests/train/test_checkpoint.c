// Checkpoints: what is written loads to the bit; a process killed at any file operation, or a full disk, leaves the newest
// complete one; damage is found and named.
//
// File operations of the library are this program's own functions, which count them and can die, or fail, at the n-th.
#include "small.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "train/checkpoint.h"
#include "train/checkpoint_hash.h"

static long countdown;   // operations until it happens; 0: never
static int fail_with;    // errno; 0: die
static long operations;

static bool happens(void) {
  operations++;
  return countdown && --countdown == 0;
}

ssize_t write(int fd, const void *bytes, size_t n) {
  if (fd > 2 && happens()) {
    if (n > 1) syscall(SYS_write, fd, bytes, n / 2);
    if (!fail_with) _exit(99);
    errno = fail_with;
    return -1;
  }
  return syscall(SYS_write, fd, bytes, n);
}

#define OPERATION(call)              \
  do {                               \
    if (happens()) {                 \
      if (!fail_with) _exit(99);     \
      errno = fail_with;             \
      return -1;                     \
    }                                \
    return (int)(call);              \
  } while (0)

int fsync(int fd) { OPERATION(fd * 0); }  // what a killed process wrote is there without it
int rename(const char *from, const char *to) { OPERATION(syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0)); }
int mkdir(const char *path, mode_t mode) { OPERATION(syscall(SYS_mkdirat, AT_FDCWD, path, mode)); }
int unlinkat(int fd, const char *path, int flags) { OPERATION(syscall(SYS_unlinkat, fd, path, flags)); }
int rmdir(const char *path) { OPERATION(syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR)); }

typedef struct fixture {
  char dir[TEST_PATH_MAX];
  small s;
} fixture;

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  test_temp_dir_create(f->dir, sizeof f->dir);
  small_open(&f->s, true, 1);
  countdown = 0;
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  countdown = 0;
  test_temp_dir_remove(f->dir);
  small_close(&f->s);
  free(f);
  return 0;
}

// Weights and moments that tell the step they belong to.
static void fill(orion_params *p, int64_t step) {
  for (size_t i = 0; i < p->n; i++) {
    orion_param *x = &p->list[i];
    uint64_t seed = (uint64_t)step * 1000 + i * 3;
    small_noise(x->value, x->n, seed);
    small_noise(x->m, x->n, seed + 1);
    small_noise(x->v, x->n, seed + 2);
  }
}

static orion_status save(fixture *f, int64_t step, int64_t keep, orion_error *err) {
  fill(f->s.params, step);
  json_t *state = json_pack("{s:I, s:f}", "step", (json_int_t)step, "third", 1.0 / 3);
  orion_status status = orion_checkpoint_write(f->s.params, f->dir, "step", step, state, NULL, keep, err);
  json_decref(state);
  return status;
}

// Loads the newest and checks it to the bit; returns its step.
static int64_t load(fixture *f, orion_strbuf *warnings) {
  char *path;
  json_t *state;
  orion_error err = {0};
  assert_ok(orion_checkpoint_find(NULL, f->dir, &path, &state, warnings, &err), &err);
  int64_t step = json_integer_value(json_object_get(state, "step"));
  assert_true(json_real_value(json_object_get(state, "third")) == 1.0 / 3);
  small want;
  small_open(&want, true, 2);
  fill(want.params, step);
  fill(f->s.params, 77);
  assert_ok(orion_checkpoint_load(f->s.params, path, &err), &err);
  for (size_t i = 0; i < want.params->n; i++) {
    const orion_param *a = &want.params->list[i], *b = &f->s.params->list[i];
    assert_memory_equal(a->value, b->value, a->n * sizeof(float));
    assert_memory_equal(a->m, b->m, a->n * sizeof(float));
    assert_memory_equal(a->v, b->v, a->n * sizeof(float));
  }
  small_close(&want);
  json_decref(state);
  orion_strfree(NULL, path);
  return step;
}

static int64_t load_quietly(fixture *f) {
  orion_strbuf warnings;
  orion_strbuf_init(&warnings, NULL);
  int64_t step = load(f, &warnings);
  orion_strbuf_deinit(&warnings);
  return step;
}

static void what_is_written_loads_to_the_bit(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  assert_ok(save(f, 5, 0, &err), &err);
  assert_ok(save(f, 12, 0, &err), &err);
  assert_int_equal(load_quietly(f), 12);
  assert_ok(save(f, 12, 0, &err), &err);  // the same step again
  assert_int_equal(load_quietly(f), 12);
}

static void only_the_newest_are_kept(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  for (int64_t step = 1; step <= 5; step++) assert_ok(save(f, step, 2, &err), &err);
  for (int64_t step = 1; step <= 5; step++) {
    char path[TEST_PATH_MAX], name[32];
    snprintf(name, sizeof name, "step-%08d", (int)step);
    test_path(path, sizeof path, f->dir, name);
    assert_int_equal(access(path, F_OK) == 0, step > 3);
  }
}

static void a_kill_at_any_operation_leaves_a_complete_one(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  assert_ok(save(f, 1, 1, &err), &err);
  operations = 0;
  assert_ok(save(f, 2, 1, &err), &err);
  long total = operations;
  assert_true(total > 20);
  int64_t newest = 2;
  for (long n = 1; n <= total + 2; n++) {
    int64_t step = newest + 1;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
      countdown = n;
      fail_with = 0;
      _exit(save(f, step, 1, &err) == ORION_OK ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 99 || WEXITSTATUS(status) == 0));
    int64_t found = load_quietly(f);
    assert_true(found == newest || found == step);
    if (WEXITSTATUS(status) == 0) assert_int_equal(found, step);
    newest = found;
  }
  assert_true(newest > 3);  // the last kills come after the new one is in place
}

static void a_full_disk_is_an_error_and_older_ones_stand(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  assert_ok(save(f, 1, 1, &err), &err);
  operations = 0;
  assert_ok(save(f, 2, 1, &err), &err);
  long total = operations;
  int errors = 0;
  int64_t newest = 2;
  for (long n = 1; n <= total; n += 2) {
    countdown = n;
    fail_with = ENOSPC;
    orion_status status = save(f, newest + 1, 1, &err);
    countdown = 0;
    bool saved = status == ORION_OK;  // only something old could not be removed
    if (!saved) {
      errors++;
      assert_error(status, ORION_IO, &err, "No space left on device");
      saved = !strstr(err.message, "is not saved, earlier ones stand");  // in place, but that could not be flushed
      if (saved) assert_non_null(strstr(err.message, "cannot flush"));
    }
    newest += saved;
    assert_int_equal(load_quietly(f), newest);
  }
  assert_true(errors > 10);
  assert_ok(save(f, newest + 1, 1, &err), &err);
  assert_int_equal(load_quietly(f), newest + 1);
}

static void damage(const char *dir, const char *step, const char *file, long offset, size_t cut) {
  char path[TEST_PATH_MAX], folder[TEST_PATH_MAX];
  test_path(folder, sizeof folder, dir, step);
  test_path(path, sizeof path, folder, file);
  size_t size;
  char *bytes = test_read_file(path, &size);
  if (offset >= 0) bytes[offset < (long)size ? offset : (long)size - 1] ^= 1;
  test_write_file(path, bytes, size - cut);
  free(bytes);
}

static void damaged_ones_are_passed_over_by_name(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  static const struct { const char *file; long offset; size_t cut; } cases[] = {
      {"model.safetensors", 5000, 0},  {"model.safetensors", -1, 1},   {"optimizer.safetensors", 9000, 0},
      {"optimizer.safetensors", -1, 4000}, {"config.json", 30, 0},     {"state.json", 0, 0}, {"state.json", -1, 30}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    assert_ok(save(f, 1, 0, &err), &err);
    assert_ok(save(f, 2, 0, &err), &err);
    damage(f->dir, "step-00000002", cases[k].file, cases[k].offset, cases[k].cut);
    orion_strbuf warnings;
    orion_strbuf_init(&warnings, NULL);
    assert_int_equal(load(f, &warnings), 1);
    assert_non_null(strstr(warnings.data, cases[k].file));
    assert_non_null(strstr(warnings.data, "step-00000002: passed over"));
    orion_strbuf_deinit(&warnings);
  }
}

static void a_directory_without_one_says_so(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  char *path;
  json_t *found;
  orion_strbuf warnings;
  orion_strbuf_init(&warnings, NULL);
  assert_error(orion_checkpoint_find(NULL, f->dir, &path, &found, &warnings, &err), ORION_NOT_FOUND, &err, "no complete");
  assert_error(orion_checkpoint_find(NULL, "no/such", &path, &found, &warnings, &err), ORION_NOT_FOUND, &err, "no/such");
  orion_strbuf_deinit(&warnings);
}

static void another_configuration_is_refused(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  assert_ok(save(f, 1, 0, &err), &err);
  small other;
  small_open(&other, false, 1);
  char path[TEST_PATH_MAX];
  test_path(path, sizeof path, f->dir, "step-00000001");
  assert_error(orion_checkpoint_load(other.params, path, &err), ORION_INVALID, &err, "not the configuration");
  small_close(&other);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(what_is_written_loads_to_the_bit, setup, teardown),
      cmocka_unit_test_setup_teardown(only_the_newest_are_kept, setup, teardown),
      cmocka_unit_test_setup_teardown(a_kill_at_any_operation_leaves_a_complete_one, setup, teardown),
      cmocka_unit_test_setup_teardown(a_full_disk_is_an_error_and_older_ones_stand, setup, teardown),
      cmocka_unit_test_setup_teardown(damaged_ones_are_passed_over_by_name, setup, teardown),
      cmocka_unit_test_setup_teardown(a_directory_without_one_says_so, setup, teardown),
      cmocka_unit_test_setup_teardown(another_configuration_is_refused, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

// Files: mapping, whole reads, and writes that leave either the old file or the new one.
#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/support.h"

typedef struct fixture {
  char dir[TEST_PATH_MAX - 100], path[TEST_PATH_MAX];
} fixture;

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  test_temp_dir_create(f->dir, sizeof f->dir);
  test_path(f->path, sizeof f->path, f->dir, "file");
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  test_temp_dir_remove(f->dir);
  free(f);
  return 0;
}

static void ignore_file(void *ctx, const char *path, const char *name) {
  (void)ctx;
  (void)path;
  (void)name;
}

static void assert_content(const char *path, const char *want) {
  size_t size;
  char *data = test_read_file(path, &size);
  assert_int_equal(size, strlen(want));
  assert_string_equal(data, want);
  free(data);
}

static void a_map_shows_the_bytes(void **state) {
  fixture *f = *state;
  orion_error err;
  orion_file_map map;
  test_write_file(f->path, "a\0b", 3);
  assert_ok(orion_file_open_map(f->path, &map, &err), &err);
  assert_int_equal(map.size, 3);
  assert_memory_equal(map.data, "a\0b", 3);
  orion_file_close_map(&map);
  assert_null(map.data);
  orion_file_close_map(&map);  // again: nothing to do
  test_write_file(f->path, "", 0);
  assert_ok(orion_file_open_map(f->path, &map, &err), &err);
  assert_non_null(map.data);
  assert_int_equal(map.size, 0);
  orion_file_close_map(&map);
}

static void what_cannot_be_opened_is_named(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  orion_file_map map;
  char *data;
  size_t size;
  assert_error(orion_file_open_map(f->path, &map, &err), ORION_NOT_FOUND, &err, f->path);
  assert_error(orion_file_open_map(f->dir, &map, &err), ORION_NOT_FOUND, &err, "not a regular file");
  assert_error(orion_file_read(NULL, f->path, 10, &data, &size, &err), ORION_NOT_FOUND, &err, f->path);
  char below[TEST_PATH_MAX + 8];
  test_write_file(f->path, "x", 1);
  snprintf(below, sizeof below, "%s/below", f->path);
  assert_error(orion_file_open_map(below, &map, &err), ORION_NOT_FOUND, &err, below);
  assert_int_equal(mkfifo(f->path, 0600), -1);
  unlink(f->path);
  assert_int_equal(mkfifo(f->path, 0600), 0);
  assert_error(orion_file_open_map(f->path, &map, &err), ORION_NOT_FOUND, &err, "not a regular file");  // and no hanging
}

static void pipes_are_read_to_their_end(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  char *data;
  size_t size;
  assert_int_equal(mkfifo(f->path, 0600), 0);
  pid_t child = fork();
  if (child == 0) {
    int fd = open(f->path, O_WRONLY);
    bool ok = fd >= 0 && write(fd, "one ", 4) == 4 && usleep(20000) == 0 && write(fd, "two", 3) == 3;
    _exit(!ok);
  }
  assert_ok(orion_file_read(NULL, f->path, 100, &data, &size, &err), &err);
  assert_string_equal(data, "one two");
  orion_free(NULL, data, size + 1, 1);
  int code;
  assert_int_equal(waitpid(child, &code, 0), child);
  assert_int_equal(code, 0);
  assert_error(orion_file_read(NULL, f->dir, 100, &data, &size, &err), ORION_NOT_FOUND, &err, "neither a regular file");
}

static void a_read_gives_everything_up_to_its_limit(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  size_t n = 300000, size;
  char *big = malloc(n), *data;
  for (size_t i = 0; i < n; i++) big[i] = (char)(i * 31);
  test_write_file(f->path, big, n);
  test_heap heap;
  test_heap_init(&heap);
  assert_ok(orion_file_read(&heap.allocator, f->path, n, &data, &size, &err), &err);
  assert_int_equal(size, n);
  assert_memory_equal(data, big, n);
  assert_int_equal(data[n], 0);
  orion_free(&heap.allocator, data, size + 1, 1);
  assert_error(orion_file_read(&heap.allocator, f->path, n - 1, &data, &size, &err), ORION_LIMIT, &err, f->path);
  test_write_file(f->path, "", 0);
  assert_ok(orion_file_read(&heap.allocator, f->path, 0, &data, &size, &err), &err);
  assert_int_equal(size, 0);
  assert_string_equal(data, "");
  orion_free(&heap.allocator, data, 1, 1);
  test_heap_deinit(&heap);
  free(big);
}

static void a_commit_replaces_the_file_at_once(void **state) {
  fixture *f = *state;
  orion_error err;
  orion_file_writer *w;
  test_write_file(f->path, "old", 3);
  assert_ok(orion_file_writer_open(NULL, f->path, &w, &err), &err);
  assert_ok(orion_file_writer_put(w, "hello ", 6, &err), &err);
  assert_ok(orion_file_writer_put(w, "world", 5, &err), &err);
  assert_ok(orion_file_writer_put_at(w, 0, "H", 1, &err), &err);
  assert_ok(orion_file_writer_put(w, "!", 1, &err), &err);  // put_at does not move the end
  assert_content(f->path, "old");
  assert_ok(orion_file_writer_commit(w, &err), &err);
  assert_content(f->path, "Hello world!");
  assert_int_equal(test_each_file(f->dir, ignore_file, NULL), 1);
  assert_ok(orion_file_write(NULL, f->path, "x", 1, &err), &err);
  assert_content(f->path, "x");
  assert_ok(orion_file_write(NULL, f->path, NULL, 0, &err), &err);
  assert_content(f->path, "");
}

static void an_abort_leaves_what_stood_there(void **state) {
  fixture *f = *state;
  orion_error err;
  orion_file_writer *w;
  test_write_file(f->path, "old", 3);
  assert_ok(orion_file_writer_open(NULL, f->path, &w, &err), &err);
  assert_ok(orion_file_writer_put(w, "new", 3, &err), &err);
  orion_file_writer_abort(w);
  assert_content(f->path, "old");
  assert_int_equal(test_each_file(f->dir, ignore_file, NULL), 1);
  orion_file_writer_abort(NULL);
}

static void a_failed_write_is_never_committed(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  orion_file_writer *w;
  test_write_file(f->path, "old", 3);
  assert_ok(orion_file_writer_open(NULL, f->path, &w, &err), &err);
  assert_ok(orion_file_writer_put(w, "new", 3, &err), &err);
  assert_error(orion_file_writer_put_at(w, UINT64_MAX, "x", 1, &err), ORION_IO, &err, f->path);  // no such offset
  assert_error(orion_file_writer_commit(w, &err), ORION_IO, &err, f->path);
  assert_content(f->path, "old");
  assert_int_equal(test_each_file(f->dir, ignore_file, NULL), 1);
}

static void a_rename_that_fails_cleans_up(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  orion_file_writer *w;
  assert_ok(orion_file_writer_open(NULL, f->path, &w, &err), &err);
  assert_int_equal(mkdir(f->path, 0700), 0);  // meanwhile; a folder cannot be replaced by a file
  assert_error(orion_file_writer_commit(w, &err), ORION_IO, &err, f->path);
  assert_true(orion_dir_exists(f->path));
  assert_int_equal(test_each_file(f->dir, ignore_file, NULL), 0);
  char missing[TEST_PATH_MAX];
  test_path(missing, sizeof missing, f->dir, "no/such");
  assert_error(orion_file_writer_open(NULL, missing, &w, &err), ORION_NOT_FOUND, &err, missing);
}

static void a_folder_is_refused_before_anything_is_written(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  orion_file_writer *w;
  assert_error(orion_file_writer_open(NULL, f->dir, &w, &err), ORION_IO, &err, "is a directory");
}

static void what_is_no_file_gets_the_bytes_and_stays(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  struct stat st;
  assert_int_equal(mkfifo(f->path, 0600), 0);
  pid_t child = fork();
  if (child == 0) {
    char got[8] = {0};
    int fd = open(f->path, O_RDONLY);
    bool ok = fd >= 0 && read(fd, got, sizeof got) == 5 && memcmp(got, "bytes", 5) == 0;
    _exit(!ok);
  }
  assert_ok(orion_file_write(NULL, f->path, "bytes", 5, &err), &err);
  int code;
  assert_int_equal(waitpid(child, &code, 0), child);
  assert_int_equal(code, 0);
  assert_int_equal(stat(f->path, &st), 0);
  assert_true(S_ISFIFO(st.st_mode));
  char link[TEST_PATH_MAX];
  test_path(link, sizeof link, f->dir, "link");  // as root a rename over /dev/null would succeed: only ever through a link
  assert_int_equal(symlink("/dev/null", link), 0);
  assert_ok(orion_file_write(NULL, link, "bytes", 5, &err), &err);
  assert_int_equal(lstat(link, &st), 0);
  assert_true(S_ISLNK(st.st_mode));
}

static void a_new_file_has_the_mode_of_the_old(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  struct stat st;
  test_write_file(f->path, "secret", 6);
  assert_int_equal(chmod(f->path, 0600), 0);
  assert_ok(orion_file_write(NULL, f->path, "new secret", 10, &err), &err);
  assert_int_equal(stat(f->path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  char link[TEST_PATH_MAX];
  test_path(link, sizeof link, f->dir, "link");
  assert_int_equal(symlink("file", link), 0);
  assert_ok(orion_file_write(NULL, link, "other", 5, &err), &err);
  assert_content(link, "other");
  assert_content(f->path, "new secret");  // a link into somebody's store: what is there is not ours to change
}

static void two_writers_of_one_file_do_not_mix(void **state) {
  fixture *f = *state;
  orion_error err;
  orion_file_writer *one, *two;
  assert_ok(orion_file_writer_open(NULL, f->path, &one, &err), &err);
  assert_ok(orion_file_writer_open(NULL, f->path, &two, &err), &err);
  assert_ok(orion_file_writer_put(one, "one", 3, &err), &err);
  assert_ok(orion_file_writer_put(two, "two is", 6, &err), &err);
  assert_ok(orion_file_writer_commit(one, &err), &err);
  assert_content(f->path, "one");
  assert_ok(orion_file_writer_put(two, " longer", 7, &err), &err);
  assert_ok(orion_file_writer_commit(two, &err), &err);
  assert_content(f->path, "two is longer");
  assert_int_equal(test_each_file(f->dir, ignore_file, NULL), 1);
}

static orion_status write_and_read(void *ctx, const orion_allocator *a, orion_error *err) {
  fixture *f = ctx;
  ORION_TRY(orion_file_write(a, f->path, "content", 7, err));
  char *data;
  size_t size;
  ORION_TRY(orion_file_read(a, f->path, 100, &data, &size, err));
  orion_free(a, data, size + 1, 1);
  char *joined = orion_path_join(a, f->dir, "x");
  if (!joined) return ORION_OOM(err, "path");
  orion_strfree(a, joined);
  return ORION_OK;
}

static void files_survive_every_failing_allocation(void **state) {
  fixture *f = *state;
  test_sweep_allocations(write_and_read, f, 0);
  assert_int_equal(test_each_file(f->dir, ignore_file, NULL), 1);
}

static void folders_are_made_with_their_parents(void **state) {
  fixture *f = *state;
  orion_error err = {0};
  char deep[TEST_PATH_MAX];
  test_path(deep, sizeof deep, f->dir, "a/b//c/");
  assert_false(orion_dir_exists(deep));
  assert_ok(orion_dir_make(deep, &err), &err);
  assert_ok(orion_dir_make(deep, &err), &err);
  assert_true(orion_dir_exists(deep));
  assert_false(orion_file_exists(deep));
  test_write_file(f->path, "", 0);
  assert_true(orion_file_exists(f->path));
  assert_false(orion_dir_exists(f->path));
  assert_error(orion_dir_make(f->path, &err), ORION_IO, &err, f->path);
  test_path(deep, sizeof deep, f->path, "below");
  assert_int_not_equal(orion_dir_make(deep, &err), ORION_OK);
  assert_error(orion_dir_make("", &err), ORION_INVALID, &err, "directory");
}

static void paths_join_with_one_slash(void **state) {
  (void)state;
  static const char *const cases[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}};
  for (size_t i = 0; i < 4; i++) {
    char *path = orion_path_join(NULL, cases[i][0], cases[i][1]);
    assert_string_equal(path, cases[i][2]);
    orion_strfree(NULL, path);
  }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      CASE(a_map_shows_the_bytes),
      CASE(what_cannot_be_opened_is_named),
      CASE(pipes_are_read_to_their_end),
      CASE(a_read_gives_everything_up_to_its_limit),
      CASE(a_commit_replaces_the_file_at_once),
      CASE(an_abort_leaves_what_stood_there),
      CASE(a_failed_write_is_never_committed),
      CASE(a_rename_that_fails_cleans_up),
      CASE(a_folder_is_refused_before_anything_is_written),
      CASE(what_is_no_file_gets_the_bytes_and_stays),
      CASE(a_new_file_has_the_mode_of_the_old),
      CASE(two_writers_of_one_file_do_not_mix),
      CASE(files_survive_every_failing_allocation),
      CASE(folders_are_made_with_their_parents),
      CASE(paths_join_with_one_slash),
  };
  return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}

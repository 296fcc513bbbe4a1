// The cache of packed weights: what was stored is found, and nothing else is believed: not damage at any place, not
// another key's contents under this name, not a file that others may write. It stays within its bound, the weight used
// longest ago going first. Keys tell constants apart, and files whose content changed.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/cpu/kernels/kernels.h"
#include "device/cpu/weight_cache.h"
#include "support/support.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define LAYOUT_SUM 0xe153e4568a445d0eu

enum { HEADER = 16384, BYTES = 600000 };

typedef struct fixture {
  char dir[TEST_PATH_MAX], path[TEST_PATH_MAX];  // path: of the file stored last
  orion_weight_cache *cache;
  uint8_t *contents;
} fixture;

static const orion_data_key KEY = {0x123456789abcdef0u, 0xfedcba9876543210u}, OTHER = {1, 2};

static void set_up(fixture *f, uint64_t limit) {
  char parent[TEST_PATH_MAX];
  test_temp_dir_create(parent, sizeof parent);
  test_path(f->dir, sizeof f->dir, parent, "deep/cache");
  orion_error err;
  assert_ok(orion_weight_cache_open(orion_allocator_or_default(NULL), f->dir, limit, &f->cache, &err), &err);
  f->contents = malloc(BYTES);
  for (size_t i = 0; i < BYTES; i++) f->contents[i] = (uint8_t)(i * 31 + i / 7919);
  test_path(f->path, sizeof f->path, f->dir, "fedcba9876543210123456789abcdef0.panels");
}

static void tear_down(fixture *f) {
  orion_weight_cache_close(f->cache);
  free(f->contents);
  f->dir[strlen(f->dir) - strlen("/deep/cache")] = 0;
  test_temp_dir_remove(f->dir);
}

static bool found(fixture *f, const orion_data_key *key, size_t bytes) {
  orion_cached_weight w;
  if (!orion_weight_cache_find(f->cache, key, bytes, NULL, &w)) return false;
  assert_int_equal((uintptr_t)w.bytes % 4096, 0);
  assert_memory_equal(w.bytes, f->contents, bytes);
  orion_weight_cache_release(&w);
  return true;
}

static bool store(fixture *f, const orion_data_key *key) {
  return orion_weight_cache_store(f->cache, key, f->contents, BYTES, NULL);
}

static void what_was_stored_is_found(void **state) {
  (void)state;
  fixture f;
  set_up(&f, 1 << 30);
  assert_false(found(&f, &KEY, BYTES));
  assert_true(store(&f, &KEY));
  assert_true(found(&f, &KEY, BYTES));
  assert_false(found(&f, &OTHER, BYTES));
  assert_true(store(&f, &KEY));  // again: replaced
  assert_true(found(&f, &KEY, BYTES));
  tear_down(&f);
}

static void flip(const char *path, off_t at) {
  int fd = open(path, O_RDWR);
  uint8_t byte;
  assert_int_equal(pread(fd, &byte, 1, at), 1);
  byte ^= 4;
  assert_int_equal(pwrite(fd, &byte, 1, at), 1);
  close(fd);
}

static void no_damage_is_believed(void **state) {
  (void)state;
  fixture f;
  set_up(&f, 1 << 30);
  static const off_t places[] = {0, 8, 16, 31, 32, 40, 48, HEADER, HEADER + 524287, HEADER + 524288, HEADER + BYTES - 1};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    assert_true(store(&f, &KEY));
    flip(f.path, places[i]);
    if (found(&f, &KEY, BYTES)) fail_msg("a flipped bit at %d was believed", (int)places[i]);
    assert_int_equal(access(f.path, F_OK), -1);  // thrown away, so that it is made anew
  }
  for (off_t cut = 0; cut <= HEADER + BYTES - 1; cut += 77777) {
    assert_true(store(&f, &KEY));
    assert_int_equal(truncate(f.path, cut), 0);
    assert_false(found(&f, &KEY, BYTES));
  }
  tear_down(&f);
}

static void foreign_files_are_not_believed(void **state) {
  (void)state;
  fixture f;
  set_up(&f, 1 << 30);
  char other[TEST_PATH_MAX];
  test_path(other, sizeof other, f.dir, "00000000000000020000000000000001.panels");
  assert_true(store(&f, &OTHER));
  assert_int_equal(rename(other, f.path), 0);  // whole, but of another key
  assert_false(found(&f, &KEY, BYTES));
  assert_true(store(&f, &KEY));
  assert_int_equal(chmod(f.path, 0666), 0);  // anybody may have written it
  assert_false(found(&f, &KEY, BYTES));
  assert_int_equal(chmod(f.path, 0600), 0);
  assert_false(found(&f, &KEY, BYTES - 1));  // another length
  assert_true(store(&f, &KEY));
  assert_int_equal(rename(f.path, other), 0);
  assert_int_equal(symlink(other, f.path), 0);
  assert_false(found(&f, &KEY, BYTES));
  assert_int_equal(unlink(f.path), 0);
  assert_int_equal(chmod(f.dir, 0777), 0);
  assert_false(store(&f, &KEY));  // a directory that anybody writes to
  tear_down(&f);
}

static void it_stays_within_its_bound(void **state) {
  (void)state;
  fixture f;
  set_up(&f, 3 * (HEADER + BYTES) + 1000);
  for (uint64_t i = 1; i <= 3; i++) {
    orion_data_key key = {i, i};
    assert_true(store(&f, &key));
    char name[64], path[TEST_PATH_MAX];
    snprintf(name, sizeof name, "%016llx%016llx.panels", (unsigned long long)i, (unsigned long long)i);
    test_path(path, sizeof path, f.dir, name);
    struct timespec times[2] = {{.tv_sec = 1000000 + (i == 2 ? 0 : (time_t)i)}, {.tv_sec = 1000000 + (i == 2 ? 0 : (time_t)i)}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
  }
  assert_true(store(&f, &KEY));
  orion_data_key second = {2, 2}, first = {1, 1};
  assert_false(found(&f, &second, BYTES));  // it was used longest ago
  assert_true(found(&f, &first, BYTES) && found(&f, &KEY, BYTES));
  tear_down(&f);
  set_up(&f, BYTES);
  assert_false(store(&f, &KEY));  // larger than all there is room for
  tear_down(&f);
}

static void without_a_cache_nothing_is_found_or_stored(void **state) {
  (void)state;
  orion_weight_cache *none = NULL;
  orion_error err;
  setenv("ORION_CACHE", "off", 1);  // as the environment of all tests says already
  assert_ok(orion_weight_cache_open(orion_allocator_or_default(NULL), NULL, 1, &none, &err), &err);
  assert_null(none);
  orion_cached_weight w;
  assert_false(orion_weight_cache_find(NULL, &KEY, 4, NULL, &w));
  assert_false(orion_weight_cache_store(NULL, &KEY, "abc", 4, NULL));
  fixture f;
  set_up(&f, 1 << 30);
  char deeper[TEST_PATH_MAX];
  orion_weight_cache *c;
  assert_true(store(&f, &KEY));
  test_path(deeper, sizeof deeper, f.path, "in-a-file");  // cannot be made
  assert_ok(orion_weight_cache_open(orion_allocator_or_default(NULL), deeper, 1 << 30, &c, &err), &err);
  assert_false(orion_weight_cache_store(c, &KEY, f.contents, BYTES, NULL));
  orion_weight_cache_close(c);
  tear_down(&f);
}

static orion_data_key key_of(const orion_data *x) {
  orion_data_key key;
  assert_true(orion_data_make_key(x, &key));
  return key;
}

static void assert_differ(const orion_data *x, const orion_data *y) {
  orion_data_key a = key_of(x), b = key_of(y);
  assert_memory_not_equal(&a, &b, sizeof a);
}

static void keys_tell_constants_apart_and_nothing_else(void **state) {
  (void)state;
  orion_error err;
  static float file[2][40000];  // "mapped" at two addresses, as two processes have it
  static const float twice[] = {2}, thrice[] = {3};
  orion_data_key keys[2];
  for (int i = 0; i < 2; i++) {
    orion_data_store *s;
    assert_ok(orion_data_store_create(NULL, &s, &err), &err);
    const orion_data *early = orion_data_borrow_mapped(s, ORION_FP32, 100, 200, file[i], "a");
    orion_data_key none;
    assert_false(orion_data_make_key(early, &none));  // a file that nothing is known of
    assert_ok(orion_data_store_map(s, file[i], sizeof file[i], 77, &err), &err);
    const orion_data *late = orion_data_borrow_mapped(s, ORION_FP32, 100, 200, file[i] + 20000, "b");
    assert_differ(early, late);
    assert_differ(early, orion_data_borrow_mapped(s, ORION_FP32, 200, 100, file[i], "a"));
    assert_differ(early, orion_data_cast(s, early, ORION_FP16));
    assert_differ(early, orion_data_transpose(s, early));
    assert_differ(orion_data_scale(s, early, 1, twice), orion_data_scale(s, early, 1, thrice));
    assert_differ(orion_data_join(s, 2, (const orion_data *[]){early, late}),
                  orion_data_join(s, 2, (const orion_data *[]){late, early}));
    const orion_data *scales, *q = orion_data_quantise(s, early, ORION_INT4, 20, &scales);
    assert_differ(q, scales);
    assert_differ(q, orion_data_quantise(s, early, ORION_INT4, 40, &scales));
    assert_differ(q, orion_data_quantise(s, early, ORION_INT8, 20, &scales));
    keys[i] = key_of(orion_data_scale(s, q, 1, twice));
    orion_data_store_release(s);
  }
  assert_memory_equal(&keys[0], &keys[1], sizeof keys[0]);
}

// Whoever changes the bytes that packing writes must raise ORION_PANEL_LAYOUT, and put the new sum here.
static void the_layout_is_the_one_that_its_number_stands_for(void **state) {
  (void)state;
  enum { N = 21, K = 40 };
  orion_kernels k;
  orion_kernels_init(&k, 0);
  float w[N * K];
  int8_t q[N * K];
  orion_half scale[N * 2];
  for (int i = 0; i < N * K; i++) w[i] = (float)(i % 97) / 8 - 6, q[i] = (int8_t)(i % 16 - 8);
  for (int i = 0; i < N * 2; i++) scale[i] = (orion_half)(0x3000 + i);
  static uint8_t memory[4][32 * K * 4 + 32 * 2 * 2];
  for (int t = 0; t < 2; t++) {
    k.pack(memory[t], t ? ORION_KERNEL_F16 : ORION_KERNEL_F32, N, K, w, ORION_KERNEL_F32, K, 1, 0, N, 0, K);
  }
  for (int t = 2; t < 4; t++) {
    orion_kernel_type type = t == 2 ? ORION_KERNEL_I8 : ORION_KERNEL_I4;
    size_t bytes = orion_panel_count(N) * orion_quantised_panel_bytes(type, K, 20);
    orion_panels to = {memory[t], type, N, K, (const orion_half *)(const void *)(memory[t] + bytes), 20};
    orion_panels_pack_quantised(&to, q, scale, 0, N);
  }
  assert_int_equal(ORION_PANEL_LAYOUT, 3);
  uint64_t sum = XXH3_64bits(memory, sizeof memory);
  if (sum != LAYOUT_SUM) fail_msg("panels of layout %d have the sum 0x%llx", ORION_PANEL_LAYOUT, (unsigned long long)sum);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_stored_is_found),
      cmocka_unit_test(no_damage_is_believed),
      cmocka_unit_test(foreign_files_are_not_believed),
      cmocka_unit_test(it_stays_within_its_bound),
      cmocka_unit_test(without_a_cache_nothing_is_found_or_stored),
      cmocka_unit_test(keys_tell_constants_apart_and_nothing_else),
      cmocka_unit_test(the_layout_is_the_one_that_its_number_stands_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

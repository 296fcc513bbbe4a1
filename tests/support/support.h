// What the tests of all rooms share: cmocka with its prerequisites, an allocator that checks its callers and fails on
// demand, the test data that is not part of the source, temporary directories, and readers for golden files.
// Helpers that return memory use the C library's heap (free() it); anything unexpected fails the running test.
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "orion/alloc.h"
#include "orion/status.h"

#define TEST_PATH_MAX 4096

// ---- memory ----

// An allocator over the C library's that
// - checks that free gets the size and alignment alloc was given, and a pointer that is alive,
// - surrounds each block with canaries (poisoned under ASan, so the first stray access is reported where it happens),
// - fills fresh memory with 0xA5 and freed memory with 0xDD,
// - counts, and fails the n-th call when asked to.
// A broken rule prints a line and aborts: it may be found on any thread. Usable from several threads at once.
typedef struct test_heap {
  orion_allocator allocator;  // pass &heap.allocator
  struct test_block *blocks;  // alive, newest first
  size_t calls;               // alloc calls so far, failed ones included
  size_t live_blocks;
  size_t live_bytes;
  size_t peak_bytes;
  size_t fail_at;             // this call (1 = the next after test_heap_fail_at) returns NULL; 0 = none
  bool fail_rest;             // and all calls after it
  void *mutex;
} test_heap;

void test_heap_init(test_heap *heap);
void test_heap_deinit(test_heap *heap);  // fails the test if a block is still alive

// The n-th alloc call from now on returns NULL (and, with `rest`, all later ones); n = 0 switches failing off.
void test_heap_fail_at(test_heap *heap, size_t n, bool rest);

// Sweeps an operation over allocation failures: first without one (must give ORION_OK), then with the n-th call failing
// for n = 1, 2, ... until it succeeds untouched, once with only that call failing and once with all from it on. Each
// failing run must give ORION_NO_MEMORY; no run may leak. With more than `max_runs` calls (0 = 2000), every k-th n is
// tried. `run` must free all it got before it returns, in both cases.
typedef orion_status (*test_sweep_fn)(void *ctx, const orion_allocator *allocator, orion_error *err);
void test_sweep_allocations(test_sweep_fn run, void *ctx, size_t max_runs);

// ---- data ----

// Path of a file or folder of the shared test data, e.g. "data/llama2c/tok512.bin": below $ORION_SHARED, else below
// `shared` beside the source tree. False when it is not there.
bool test_shared_path(char *out, size_t size, const char *relative);

// Fills the char array `out`, or skips the running test with a printed reason.
#define SKIP_WITHOUT_SHARED(out, relative)                                                  \
  do {                                                                                      \
    if (!test_shared_path((out), sizeof(out), (relative))) {                                \
      print_message("skipped: shared test data %s is missing (set ORION_SHARED)\n", (relative)); \
      skip();                                                                               \
    }                                                                                       \
  } while (0)

// Path of a file of the source tree, e.g. "tests/mil/golden/a.mil".
void test_source_path(char *out, size_t size, const char *relative);

json_t *test_json_load(const char *path);                       // json_decref() it
double *test_json_doubles(const json_t *value, size_t *out_n);  // numbers of nested arrays in reading order

// A little-endian .npy file of f2/f4/f8/i4/i8/u2/u4/u1/b1, C order.
typedef struct test_npy {
  int rank;
  size_t shape[8];
  size_t count;
  double *data;  // free() it
} test_npy;
void test_npy_load(test_npy *out, const char *path);

// ---- files ----

void test_temp_dir_create(char *out, size_t size);                // fresh, empty
void test_temp_dir_remove(const char *dir);                       // with all that is in it
char *test_read_file(const char *path, size_t *out_size);         // terminated; out_size may be NULL
void test_write_file(const char *path, const void *bytes, size_t n);
void test_path(char *out, size_t size, const char *dir, const char *name);  // "dir/name"

// Calls fn for every regular file directly in `dir`, sorted by name; returns how many (0 when there is no such folder).
typedef void (*test_file_fn)(void *ctx, const char *path, const char *name);
size_t test_each_file(const char *dir, test_file_fn fn, void *ctx);

// ---- errors ----

// Asserts that a call returned ORION_OK, showing the message if not.
#define assert_ok(status, err)                                                                             \
  do {                                                                                                     \
    orion_status test_status_ = (status);                                                                  \
    if (test_status_ != ORION_OK)                                                                          \
      fail_msg("%s: %s (%s:%d)", orion_status_name(test_status_), (err)->message, (err)->file, (err)->line); \
  } while (0)

// Asserts that a call failed with `code` and that the message contains `text`.
#define assert_error(status, want, err, text)                                                              \
  do {                                                                                                     \
    orion_status test_status_ = (status);                                                                  \
    if (test_status_ != (want))                                                                            \
      fail_msg("status is '%s', expected '%s' (%s)", orion_status_name(test_status_), orion_status_name(want), \
               test_status_ ? (err)->message : "");                                                        \
    if (!strstr((err)->message, (text))) fail_msg("message lacks '%s': %s", (text), (err)->message);       \
  } while (0)

#endif

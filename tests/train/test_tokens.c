// Token data: every window once an epoch, in an order that can be continued; every id checked; texts as the goldens say.
#include "support/support.h"

#include "train/permutation.h"
#include "train/tokens.h"

typedef struct fixture {
  char dir[TEST_PATH_MAX], a[TEST_PATH_MAX], b[TEST_PATH_MAX];
} fixture;

static void write_ids(const char *path, int width, size_t n, uint32_t first) {
  uint8_t *bytes = malloc(n * (size_t)width + 1);
  for (size_t i = 0; i < n; i++) {
    uint32_t id = first + (uint32_t)i;
    for (int k = 0; k < width; k++) bytes[i * (size_t)width + (size_t)k] = (uint8_t)(id >> 8 * k);
  }
  test_write_file(path, bytes, n * (size_t)width);
  free(bytes);
}

static int setup(void **state) {
  fixture *f = calloc(1, sizeof *f);
  test_temp_dir_create(f->dir, sizeof f->dir);
  test_path(f->a, sizeof f->a, f->dir, "a.bin");
  test_path(f->b, sizeof f->b, f->dir, "b.bin");
  write_ids(f->a, 2, 103, 0);
  write_ids(f->b, 2, 41, 1000);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture *f = *state;
  test_temp_dir_remove(f->dir);
  free(f);
  return 0;
}

static orion_tokens_options options_of(const char *const *paths, size_t n) {
  return (orion_tokens_options){.paths = paths, .n_paths = n, .vocab = 2000, .seq = 8, .shuffle = true, .separator = -1,
                                .seed = 5};
}

static void a_permutation_is_one(void **state) {
  (void)state;
  for (uint64_t n = 1; n < 300; n += n < 20 ? 1 : 37) {
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
      orion_permutation p;
      orion_permutation_init(&p, n, 42, epoch);
      bool seen[300] = {false};
      for (uint64_t i = 0; i < n; i++) {
        uint64_t x = orion_permutation_at(&p, i);
        assert_true(x < n);
        assert_false(seen[x]);
        seen[x] = true;
      }
    }
  }
}

static void orders_differ_by_seed_and_epoch(void **state) {
  (void)state;
  orion_permutation p[3];
  orion_permutation_init(&p[0], 1000, 1, 0);
  orion_permutation_init(&p[1], 1000, 1, 1);
  orion_permutation_init(&p[2], 1000, 2, 0);
  int same[3] = {0};
  for (uint64_t i = 0; i < 1000; i++) {
    same[0] += orion_permutation_at(&p[0], i) == i;
    same[1] += orion_permutation_at(&p[0], i) == orion_permutation_at(&p[1], i);
    same[2] += orion_permutation_at(&p[0], i) == orion_permutation_at(&p[2], i);
  }
  for (int k = 0; k < 3; k++) assert_in_range(same[k], 0, 12);  // by chance about one
}

static void every_window_once_an_epoch_and_every_id_a_target(void **state) {
  fixture *f = *state;
  const char *paths[] = {f->a, f->b};
  orion_tokens_options o = options_of(paths, 2);
  orion_tokens *t;
  orion_error err = {0};
  assert_ok(orion_tokens_open(NULL, &o, &t, &err), &err);
  assert_int_equal(orion_tokens_windows(t), 13 + 5);  // ceil(102/8) + ceil(40/8)
  assert_int_equal(orion_tokens_count(t), 144);
  orion_tokens_position at = {0, 0};
  for (int epoch = 0; epoch < 2; epoch++) {
    bool target[2000] = {false}, first[2000] = {false};
    for (int w = 0; w < 18; w++) {
      int32_t in[8], out[8];
      orion_tokens_next(t, &at, 1, in, out);
      assert_false(first[in[0]]);
      first[in[0]] = true;
      for (int i = 0; i < 8; i++) {
        assert_int_equal(out[i], in[i] + 1);  // within one file
        target[out[i]] = true;
      }
    }
    assert_int_equal(at.index, 18);
    for (int i = 1; i < 103; i++) assert_true(target[i]);
    for (int i = 1001; i < 1041; i++) assert_true(target[i]);
    assert_int_equal(at.epoch, epoch);
  }
  orion_tokens_close(t);
}

static void a_position_continues_across_epochs_and_batches(void **state) {
  fixture *f = *state;
  const char *paths[] = {f->a, f->b};
  orion_tokens_options o = options_of(paths, 2);
  orion_tokens *t, *again;
  orion_error err = {0};
  assert_ok(orion_tokens_open(NULL, &o, &t, &err), &err);
  assert_ok(orion_tokens_open(NULL, &o, &again, &err), &err);
  int32_t in[50][8], out[50][8];
  orion_tokens_position at = {0, 0};
  for (int i = 0; i < 50; i++) orion_tokens_next(t, &at, 1, in[i], out[i]);
  int32_t in2[50][8], out2[50][8];
  orion_tokens_position p = {0, 0};
  for (int i = 0; i < 50; i += 5) {
    orion_tokens_position saved = p;  // as a checkpoint would
    p = (orion_tokens_position){saved.epoch, saved.index};
    orion_tokens_next(again, &p, 5, in2[i], out2[i]);
  }
  assert_memory_equal(in, in2, sizeof in);
  assert_memory_equal(out, out2, sizeof out);
  assert_int_equal(orion_tokens_hash(t), orion_tokens_hash(again));
  orion_tokens_close(t);
  o.seed = 6;
  assert_ok(orion_tokens_open(NULL, &o, &t, &err), &err);
  assert_true(orion_tokens_hash(t) != orion_tokens_hash(again));
  orion_tokens_close(t);
  orion_tokens_close(again);
}

static void documents_begin_windows(void **state) {
  fixture *f = *state;
  uint16_t ids[60];
  for (int i = 0; i < 60; i++) ids[i] = (uint16_t)(10 + i);
  ids[0] = ids[11] = ids[13] = ids[40] = 1;  // begin tokens
  test_write_file(f->a, ids, sizeof ids);
  const char *paths[] = {f->a};
  orion_tokens_options o = options_of(paths, 1);
  o.documents = true;
  o.separator = 1;
  o.shuffle = false;
  orion_tokens *t;
  orion_error err = {0};
  assert_ok(orion_tokens_open(NULL, &o, &t, &err), &err);
  static const int begins[] = {0, 8, 11, 13, 21, 29, 37, 40, 48, 51};  // the last moved back to be whole
  assert_int_equal(orion_tokens_windows(t), 10);
  for (int w = 0; w < 10; w++) {
    int32_t window[9];
    orion_tokens_window(t, (uint64_t)w, window);
    for (int i = 0; i < 9; i++) assert_int_equal(window[i], ids[begins[w] + i]);
  }
  orion_tokens_close(t);
  o.separator = -1;
  assert_error(orion_tokens_open(NULL, &o, &t, &err), ORION_INVALID, &err, "no token that separates");
}

static void bad_files_are_refused_with_the_place(void **state) {
  fixture *f = *state;
  const char *paths[] = {f->a, f->b};
  orion_tokens_options o = options_of(paths, 2);
  orion_tokens *t;
  orion_error err = {0};
  o.vocab = 1030;
  assert_error(orion_tokens_open(NULL, &o, &t, &err), ORION_FORMAT, &err, "b.bin (byte 60): id 1030");
  o = options_of(paths, 2);
  o.seq = 41;
  assert_error(orion_tokens_open(NULL, &o, &t, &err), ORION_FORMAT, &err, "b.bin: 41 tokens, too few");
  o = options_of(paths, 1);
  test_write_file(f->a, "abc", 3);
  assert_error(orion_tokens_open(NULL, &o, &t, &err), ORION_FORMAT, &err, "a.bin: 3 bytes, not a whole number");
  test_write_file(f->a, "", 0);
  assert_error(orion_tokens_open(NULL, &o, &t, &err), ORION_FORMAT, &err, "0 tokens");
  uint32_t wide[20] = {[7] = UINT32_MAX};
  test_write_file(f->a, wide, sizeof wide);
  o.width = 4;
  assert_error(orion_tokens_open(NULL, &o, &t, &err), ORION_FORMAT, &err, "(byte 28): id 4294967295");
  const char *missing[] = {"no/such.bin"}, *text[] = {__FILE__};
  o = options_of(missing, 1);
  assert_error(orion_tokens_open(NULL, &o, &t, &err), ORION_NOT_FOUND, &err, "no/such.bin");
  o = options_of(text, 1);
  assert_error(orion_tokens_open(NULL, &o, &t, &err), ORION_INVALID, &err, "no tokenizer");
}

static void wide_ids_equal_narrow_ones(void **state) {
  fixture *f = *state;
  write_ids(f->b, 4, 103, 0);
  const char *narrow[] = {f->a}, *wide[] = {f->b};
  orion_tokens_options o = options_of(narrow, 1), p = options_of(wide, 1);
  p.width = 4;
  orion_tokens *t, *u;
  orion_error err = {0};
  assert_ok(orion_tokens_open(NULL, &o, &t, &err), &err);
  assert_ok(orion_tokens_open(NULL, &p, &u, &err), &err);
  for (uint64_t w = 0; w < orion_tokens_windows(t); w++) {
    int32_t a[9], b[9];
    orion_tokens_window(t, w, a);
    orion_tokens_window(u, w, b);
    assert_memory_equal(a, b, sizeof a);
  }
  orion_tokens_close(t);
  orion_tokens_close(u);
}

// The separator is GPT-2's end token and stays; the ids are tiktoken's.
static void a_text_gives_the_ids_of_the_golden(void **state) {
  fixture *f = *state;
  char text[TEST_PATH_MAX], golden[TEST_PATH_MAX], tokenizer[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(text, "data/tinystories/val.txt");
  SKIP_WITHOUT_SHARED(golden, "data/tinystories/gpt2bpe_val_u16.bin");
  SKIP_WITHOUT_SHARED(tokenizer, "data/tokenizers/gpt2");
  size_t size;
  char *whole = test_read_file(text, &size);
  char *cut = strstr(whole + 60000, "<|endoftext|>") + strlen("<|endoftext|>");  // a part will do
  test_path(f->a, sizeof f->a, f->dir, "part.txt");
  test_write_file(f->a, whole, (size_t)(cut - whole));
  free(whole);
  orion_tokenizer *k;
  orion_error err = {0};
  assert_ok(orion_tokenizer_open(NULL, tokenizer, NULL, &k, &err), &err);
  const char *texts[] = {f->a}, *ids[] = {golden};
  orion_tokens_options o = {.paths = texts, .n_paths = 1, .vocab = 50257, .seq = 64, .separator = -1, .tokenizer = k};
  orion_tokens *t, *u;
  assert_ok(orion_tokens_open(NULL, &o, &t, &err), &err);
  o.paths = ids;
  assert_ok(orion_tokens_open(NULL, &o, &u, &err), &err);
  assert_true(orion_tokens_windows(t) > 100);
  for (uint64_t w = 0; w + 1 < orion_tokens_windows(t); w++) {
    int32_t a[65], b[65];
    orion_tokens_window(t, w, a);
    orion_tokens_window(u, w, b);
    assert_memory_equal(a, b, sizeof a);
  }
  orion_tokens_close(t);
  orion_tokens_close(u);
  orion_tokenizer_close(k);
}

// SentencePiece does not know the separator: it goes, and each document begins with the begin token.
static void documents_of_a_text_begin_with_the_begin_token(void **state) {
  fixture *f = *state;
  char tokenizer[TEST_PATH_MAX];
  SKIP_WITHOUT_SHARED(tokenizer, "data/tokenizers/llama2/tokenizer.model");
  static const char text[] = "Once upon a time.<|endoftext|>\n The end.\n<|endoftext|>Again, and again";
  test_path(f->a, sizeof f->a, f->dir, "three.txt");
  test_write_file(f->a, text, sizeof text - 1);
  orion_tokenizer *k;
  orion_error err = {0};
  assert_ok(orion_tokenizer_open(NULL, tokenizer, NULL, &k, &err), &err);
  const char *paths[] = {f->a};
  orion_tokens_options o = {.paths = paths, .n_paths = 1, .vocab = 32000, .seq = 4, .separator = -1, .tokenizer = k};
  orion_tokens *t;
  assert_ok(orion_tokens_open(NULL, &o, &t, &err), &err);
  static const char again[] = "\xe2\x96\x81" "Again";
  const int32_t want[] = {1, 9038, 2501, 263, 931, 29889, 1, 450, 1095, 29889, 1,
                          orion_tokenizer_token_id(k, again, sizeof again - 1), 29892, 322, 1449};
  assert_int_equal(orion_tokens_count(t), sizeof want / sizeof *want);
  for (int w = 0; w < 3; w++) {
    int32_t ids[5];
    orion_tokens_window(t, (uint64_t)w, ids);
    assert_memory_equal(ids, want + 4 * w, sizeof ids);
  }
  orion_tokens_close(t);
  orion_tokenizer_close(k);
}

static orion_status open_and_close(void *ctx, const orion_allocator *a, orion_error *err) {
  orion_tokens *t = NULL;
  orion_tokens_options o = *(orion_tokens_options *)ctx;
  orion_status status = orion_tokens_open(a, &o, &t, err);
  orion_tokens_close(t);
  return status;
}

static void lack_of_memory_is_reported(void **state) {
  fixture *f = *state;
  const char *paths[] = {f->a, f->b};
  orion_tokens_options o = options_of(paths, 2);
  o.documents = true;
  o.separator = 7;
  test_sweep_allocations(open_and_close, &o, 0);
}

// Processes that share each batch see, together, what one process sees.
static void parts_of_several_processes_make_up_the_whole(void **state) {
  fixture *f = *state;
  const char *paths[] = {f->a, f->b};
  orion_tokens_options o = options_of(paths, 2);
  orion_tokens *t;
  orion_error err = {0};
  assert_ok(orion_tokens_open(NULL, &o, &t, &err), &err);
  const int64_t batch = 2, processes = 3, steps = 20;  // many epochs of 18 windows
  int32_t whole[6 * 8], part[2 * 8], targets[6 * 8];
  orion_tokens_position one = {0, 0}, own[3] = {{0, 0}};
  for (int64_t s = 0; s < steps; s++) {
    orion_tokens_next(t, &one, batch * processes, whole, targets);
    for (int64_t p = 0; p < processes; p++) {
      orion_tokens_skip(t, &own[p], p * batch);
      orion_tokens_next(t, &own[p], batch, part, targets);
      orion_tokens_skip(t, &own[p], (processes - 1 - p) * batch);
      assert_memory_equal(part, whole + p * batch * 8, sizeof part);
      assert_true(own[p].epoch == one.epoch && own[p].index == one.index);
    }
  }
  orion_tokens_position far = {0, 5};
  orion_tokens_skip(t, &far, 1000);
  assert_int_equal(far.epoch * orion_tokens_windows(t) + far.index, 1005);
  orion_tokens_close(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_permutation_is_one),
      cmocka_unit_test(orders_differ_by_seed_and_epoch),
      cmocka_unit_test_setup_teardown(every_window_once_an_epoch_and_every_id_a_target, setup, teardown),
      cmocka_unit_test_setup_teardown(a_position_continues_across_epochs_and_batches, setup, teardown),
      cmocka_unit_test_setup_teardown(parts_of_several_processes_make_up_the_whole, setup, teardown),
      cmocka_unit_test_setup_teardown(documents_begin_windows, setup, teardown),
      cmocka_unit_test_setup_teardown(bad_files_are_refused_with_the_place, setup, teardown),
      cmocka_unit_test_setup_teardown(wide_ids_equal_narrow_ones, setup, teardown),
      cmocka_unit_test_setup_teardown(a_text_gives_the_ids_of_the_golden, setup, teardown),
      cmocka_unit_test_setup_teardown(documents_of_a_text_begin_with_the_begin_token, setup, teardown),
      cmocka_unit_test_setup_teardown(lack_of_memory_is_reported, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

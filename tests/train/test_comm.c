// Several processes, played by threads: sums in one order, errors of one that end all, and training that equals one process
// with the batch of all. What mpirun adds is in tests/cli/test_processes.py.
#include "crew.h"

#include <math.h>

#include "base/rng.h"
#include "small.h"
#include "train/trainer.h"

enum { VOCAB = 40, SEQ = 8, LONG = (1 << 20) + 77 };

// ---- messages ----

typedef struct sums {
  int size;
  float *values[CREW_MAX];
  double numbers[CREW_MAX];
  bool any[CREW_MAX], none[CREW_MAX], same[CREW_MAX], other[CREW_MAX];
} sums;

static void fill(float *values, int rank) {
  orion_rng r;
  orion_rng_seed(&r, (uint64_t)rank + 1, 3);
  for (size_t i = 0; i < LONG; i++) values[i] = orion_rng_float(&r) - 0.5f;
}

static void sum_up(void *ctx, int rank, orion_comm *comm) {
  sums *s = ctx;
  fill(s->values[rank], rank);
  orion_comm_sum_floats(comm, s->values[rank], LONG);
  s->numbers[rank] = orion_comm_sum(comm, 1.0 / (rank + 1));
  s->any[rank] = orion_comm_any(comm, rank == s->size - 1);
  s->none[rank] = orion_comm_any(comm, false);
  s->same[rank] = orion_comm_same(comm, 17);
  s->other[rank] = orion_comm_same(comm, rank == s->size - 1 ? 17 : 18);
}

static void sums_are_made_in_one_order_and_are_the_same_in_all(void **state) {
  (void)state;
  for (int size = 3; size <= 5; size += 2) {
    sums s = {.size = size};
    double *want = calloc(LONG, sizeof *want);
    for (int i = 0; i < size; i++) {
      s.values[i] = malloc(LONG * sizeof(float));
      fill(s.values[i], i);
      for (size_t k = 0; k < LONG; k++) want[k] += (double)s.values[i][k];
    }
    crew_run(size, sum_up, &s);
    double total = 0;
    for (int i = 0; i < size; i++) total += 1.0 / (i + 1);
    for (int i = 0; i < size; i++) {
      for (size_t k = 0; k < LONG; k++) {
        if (s.values[i][k] != (float)want[k]) fail_msg("element %zu of process %d of %d", k, i, size);
      }
      assert_true(s.numbers[i] == total);
      assert_true(s.any[i] && !s.none[i] && s.same[i] && !s.other[i]);
      free(s.values[i]);
    }
    free(want);
  }
}

typedef struct failing {
  orion_status status[CREW_MAX], again[CREW_MAX];
  orion_error err[CREW_MAX];
  bool good[CREW_MAX];
} failing;

static void fail_in_two(void *ctx, int rank, orion_comm *comm) {
  failing *f = ctx;
  f->good[rank] = orion_comm_agree(comm, ORION_OK, &f->err[rank]) == ORION_OK && f->err[rank].code == ORION_OK;
  orion_status own = ORION_OK;
  if (rank > 0) own = ORION_FAIL(&f->err[rank], rank == 1 ? ORION_IO : ORION_LIMIT, "the disk of %d is full", rank);
  f->status[rank] = orion_comm_agree(comm, own, &f->err[rank]);
  f->again[rank] = orion_comm_agree(comm, f->status[rank], &f->err[rank]);  // nobody waits for anybody any more
}

static void an_error_of_one_ends_all_with_its_message(void **state) {
  (void)state;
  failing f = {0};
  crew_run(3, fail_in_two, &f);
  for (int i = 0; i < 3; i++) {
    assert_true(f.good[i]);
    assert_error(f.status[i], ORION_IO, &f.err[i], "process 1 of 3: the disk of 1 is full");
    assert_int_equal(f.again[i], ORION_IO);
  }
}

static void one_process_alone_needs_no_other(void **state) {
  (void)state;
  float values[3] = {1, 2, 3};
  orion_comm_sum_floats(NULL, values, 3);
  assert_true(values[2] == 3 && orion_comm_sum(NULL, 5) == 5 && orion_comm_any(NULL, true) && orion_comm_same(NULL, 1));
  assert_int_equal(orion_comm_agree(NULL, ORION_LIMIT, NULL), ORION_LIMIT);
  assert_int_equal(orion_comm_size(NULL), 1);
}

// ---- training ----

typedef struct run {
  char dir[TEST_PATH_MAX], data[TEST_PATH_MAX], out[TEST_PATH_MAX];
  const char *data_list[1];
  orion_model *model;
  orion_train_options o;
  int steps, overflow_in;       // the process whose loss scale makes its gradients overflow; -1: none
  int differs;                  // the process that has another seed; -1: none
  // of each process
  orion_status status[CREW_MAX];
  orion_error err[CREW_MAX];
  orion_train_metrics last[CREW_MAX];
  double evaluation[CREW_MAX];
  float *weights[CREW_MAX];     // and moments
  size_t n;
} run;

static int setup(void **state) {
  run *r = calloc(1, sizeof *r);
  orion_error err = {0};
  test_temp_dir_create(r->dir, sizeof r->dir);
  test_path(r->data, sizeof r->data, r->dir, "data.bin");
  test_path(r->out, sizeof r->out, r->dir, "run");
  uint16_t ids[600];
  float noise[600];
  small_noise(noise, 600, 1);
  for (size_t i = 0; i < 600; i++) ids[i] = (uint16_t)(noise[i] > 0.3f ? (noise[i] + 1) * 0.4999f * VOCAB : (float)(i % 7));
  test_write_file(r->data, ids, sizeof ids);
  r->data_list[0] = r->data;
  orion_config c = small_config(false);
  assert_ok(orion_model_random(NULL, &c, 5, &r->model, &err), &err);
  orion_train_options_init(&r->o);
  r->o.data = r->o.eval_data = r->data_list;
  r->o.n_data = r->o.n_eval_data = 1;
  r->o.seq = SEQ;
  r->o.steps = 12;
  r->o.warmup = 2;
  r->o.lr = 1e-2;
  r->o.min_lr = 1e-3;
  r->steps = 3;
  r->overflow_in = r->differs = -1;
  *state = r;
  return 0;
}

static void forget(run *r) {
  for (int i = 0; i < CREW_MAX; i++) {
    free(r->weights[i]);
    r->weights[i] = NULL;
  }
}

static int teardown(void **state) {
  run *r = *state;
  forget(r);
  orion_model_close(r->model);
  test_temp_dir_remove(r->dir);
  free(r);
  return 0;
}

static orion_status train(run *r, int rank, orion_comm *comm, orion_device **device, orion_trainer **t, orion_error *err) {
  orion_train_options o = r->o;
  o.comm = comm;
  if (rank == r->differs) o.seed++;
  ORION_TRY(orion_device_open("cpu", 1, NULL, device, err));
  ORION_TRY(orion_trainer_create(r->model, *device, NULL, &o, t, err));
  if (r->overflow_in >= 0) (*t)->scaler.scale = rank == r->overflow_in ? ORION_SCALER_MAX : 1024;
  for (int i = 0; i < r->steps; i++) ORION_TRY(orion_trainer_step(*t, &r->last[rank], err));
  ORION_TRY(orion_trainer_evaluate(*t, &r->evaluation[rank], err));
  ORION_TRY(orion_trainer_save(*t, r->out, 0, err));
  return ORION_OK;
}

static void work(void *ctx, int rank, orion_comm *comm) {
  run *r = ctx;
  orion_device *device = NULL;
  orion_trainer *t = NULL;
  r->err[rank] = (orion_error){0};
  r->status[rank] = orion_comm_agree(comm, train(r, rank, comm, &device, &t, &r->err[rank]), &r->err[rank]);
  if (t) {
    size_t n = r->n = t->params->elements, at = 0;
    float *out = r->weights[rank] = malloc(3 * n * sizeof *out);
    for (size_t i = 0; i < t->params->n; i++) {
      const orion_param *p = &t->params->list[i];
      memcpy(out + at, p->value, p->n * sizeof *out);
      memcpy(out + n + at, p->m, p->n * sizeof *out);
      memcpy(out + 2 * n + at, p->v, p->n * sizeof *out);
      at += p->n;
    }
  }
  orion_trainer_destroy(t);
  orion_device_close(device);
}

static void train_together(run *r, int size) {
  forget(r);
  crew_run(size, work, r);
  for (int i = 0; i < size; i++) {
    assert_ok(r->status[i], &r->err[i]);
    assert_memory_equal(r->weights[i], r->weights[0], 3 * r->n * sizeof(float));
    assert_true(r->last[i].loss == r->last[0].loss && r->last[i].skipped == r->last[0].skipped);
    assert_true(r->last[i].skipped || r->last[i].grad_norm == r->last[0].grad_norm);
    assert_true(r->last[i].tokens == r->last[0].tokens && r->evaluation[i] == r->evaluation[0]);
  }
}

// A copy of what the first process has, which the caller frees.
static float *keep(const run *r) {
  float *copy = malloc(3 * r->n * sizeof *copy);
  memcpy(copy, r->weights[0], 3 * r->n * sizeof *copy);
  return copy;
}

static void processes_equal_one_with_the_batch_of_all(void **state) {
  run *r = *state;
  for (int64_t accum = 1; accum <= 2; accum++) {
    r->o.accum = accum;
    r->o.batch = 12;
    train_together(r, 1);
    float *one = keep(r);
    orion_train_metrics m = r->last[0];
    double evaluation = r->evaluation[0];
    for (int size = 2; size <= 4; size += 2) {
      r->o.batch = 12 / size;
      train_together(r, size);
      double most = 0, error = 0;
      for (size_t i = 0; i < r->n; i++) {
        most = fmax(most, fabs((double)one[i]));
        error = fmax(error, fabs((double)r->weights[0][i] - (double)one[i]));
      }
      assert_true(error < 2e-5 * most);
      assert_true(fabs(r->last[0].loss - m.loss) < 1e-5 && fabs(r->last[0].grad_norm - m.grad_norm) < 1e-5 * m.grad_norm);
      assert_true(fabs(r->evaluation[0] - evaluation) < 1e-5);
      assert_int_equal(r->last[0].tokens, m.tokens);
      float *first = keep(r);
      train_together(r, size);
      assert_memory_equal(first, r->weights[0], 3 * r->n * sizeof(float));  // the same bits every time
      free(first);
    }
    free(one);
  }
}

static void an_overflow_in_one_skips_the_step_in_all(void **state) {
  run *r = *state;
  r->o.compute = "fp16";
  r->o.batch = 2;
  r->steps = 0;
  train_together(r, 2);
  float *untouched = keep(r);
  r->overflow_in = 1;
  r->steps = 1;
  train_together(r, 2);
  assert_memory_equal(r->weights[0], untouched, 3 * r->n * sizeof(float));
  for (int i = 0; i < 2; i++) {
    assert_true(r->last[i].skipped && r->last[i].step == 1);
  }
  free(untouched);
}

static void processes_that_differ_are_refused(void **state) {
  run *r = *state;
  r->o.batch = 2;
  r->differs = 2;
  crew_run(3, work, r);
  for (int i = 0; i < 3; i++) {
    assert_error(r->status[i], ORION_INVALID, &r->err[i], "the processes do not have the same weights, data and options");
  }
}

static void a_checkpoint_is_that_of_one_process(void **state) {
  run *r = *state;
  char path[TEST_PATH_MAX], checkpoint[TEST_PATH_MAX];
  r->o.batch = 3;
  train_together(r, 2);
  orion_train_options o;
  orion_train_saved *saved;
  orion_error err = {0};
  orion_train_options_init(&o);
  assert_ok(orion_train_options_read(r->out, &o, checkpoint, sizeof checkpoint, &saved, &err), &err);
  assert_int_equal(o.batch, 6);
  orion_train_options_free(saved);
  orion_device *device;
  orion_trainer *t;
  r->o.batch = 6;
  assert_ok(orion_device_open("cpu", 1, NULL, &device, &err), &err);
  assert_ok(orion_trainer_create(r->model, device, NULL, &r->o, &t, &err), &err);
  test_path(path, sizeof path, r->dir, "run");
  assert_ok(orion_trainer_resume(t, path, &err), &err);
  assert_int_equal(t->step, r->steps);
  assert_int_equal(t->position.epoch * orion_tokens_windows(t->data) + t->position.index, 6 * r->steps);
  size_t at = 0;
  for (size_t i = 0; i < t->params->n; i++) {
    assert_memory_equal(t->params->list[i].value, r->weights[0] + at, t->params->list[i].n * sizeof(float));
    at += t->params->list[i].n;
  }
  orion_trainer_destroy(t);
  orion_device_close(device);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sums_are_made_in_one_order_and_are_the_same_in_all),
      cmocka_unit_test(an_error_of_one_ends_all_with_its_message),
      cmocka_unit_test(one_process_alone_needs_no_other),
      CASE(processes_equal_one_with_the_batch_of_all),
      CASE(an_overflow_in_one_skips_the_step_in_all),
      CASE(processes_that_differ_are_refused),
      CASE(a_checkpoint_is_that_of_one_process),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

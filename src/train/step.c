#include "train/step.h"

#include <assert.h>
#include <math.h>

#include "base/half.h"
#include "device/layout.h"
#include "train/gradient_sums.h"
#include "train/layered.h"

// A weight's place in the program: its name there, its input where weights are inputs, its gradient's output, and the input
// that has the gradients before.
typedef struct port {
  const char *name, *gradient, *before;
  orion_tensor *input;       // NULL where it is a constant, or bound to the master itself
  orion_tensor *output;
  orion_surface *sum;        // where gradients are summed: what the program starts from, and its output
  orion_dtype dtype;         // of the constant
  float *converted;          // the gradient in fp32 and rows, where the surface has it otherwise; n of them
} port;

struct orion_step {
  const orion_allocator *allocator;
  orion_params *params;
  orion_layered *layered;    // in pieces: then nothing below is used
  orion_step_spec spec;
  orion_runner *runner;
  orion_tensor *tokens, *targets, *scale, *loss;
  port *ports;               // one a weight
  float **gradients;
  orion_half *halves;        // scratch for constants in fp16
  size_t cap_halves;
  orion_arena arena;
};

// ---- surfaces as rows ---- Where [rows, cols] of a weight lie in a surface in order, all is copying of rows.

typedef struct rows {
  size_t n, cols, pitch;     // pitch in bytes
} rows;

static bool plain_rows(const orion_tensor *t, size_t elements, rows *out) {
  const orion_layout *l = &t->layout;
  out->cols = l->rank ? (size_t)l->dims[l->rank - 1] : 1;
  out->n = out->cols ? elements / out->cols : 0;
  out->pitch = l->row_bytes;
  size_t total = 1;
  for (int i = 0; i < l->rank; i++) total *= (size_t)l->dims[i];
  return t->arrangement == ORION_ROWS && total == elements;
}

static void put_rows(orion_tensor *t, const rows *r, const void *from, orion_dtype dtype) {
  char *to = orion_surface_lock(t->surface);
  size_t width = orion_dtype_bits(dtype) / 8;
  for (size_t i = 0; i < r->n; i++) {
    const char *row = (const char *)from + i * r->cols * width;
    if ((orion_dtype)t->layout.dtype == dtype) {
      memcpy(to + i * r->pitch, row, r->cols * width);
    } else {
      orion_floats_to_half((orion_half *)(void *)(to + i * r->pitch), row, r->cols);
    }
  }
  orion_surface_unlock(t->surface);
}

static void get_rows(orion_tensor *t, const rows *r, float *out) {
  const char *from = orion_surface_lock(t->surface);
  for (size_t i = 0; i < r->n; i++) {
    if (t->layout.dtype == ORION_FP32) {
      memcpy(out + i * r->cols, from + i * r->pitch, r->cols * sizeof *out);
    } else {
      orion_half_to_floats(out + i * r->cols, from + i * r->pitch, r->cols);
    }
  }
  orion_surface_unlock(t->surface);
}

static void put_weight(orion_step *s, port *p, const orion_param *x) {
  rows r;
  if (plain_rows(p->input, x->n, &r)) {
    put_rows(p->input, &r, x->value, ORION_FP32);
    return;
  }
  for (orion_tensor *t = p->input; t; t = orion_runner_next(s->runner, t)) {
    for (size_t row = 0; row < x->rows; row++) {
      orion_tensor_put(t, (int64_t)row, x->value + row * x->cols + (size_t)t->first_col);
    }
  }
}

static void get_gradient(orion_step *s, port *p, const orion_param *x) {
  rows r;
  if (plain_rows(p->output, x->n, &r)) {
    get_rows(p->output, &r, p->converted);
    return;
  }
  for (orion_tensor *t = p->output; t; t = orion_runner_next(s->runner, t)) {
    for (size_t row = 0; row < x->rows; row++) {
      orion_tensor_get(t, (int64_t)row, p->converted + row * x->cols + (size_t)t->first_col);
    }
  }
}

// ---- making -----------------------------------------------------------------------------------------------------------

// Constants that will change must come through as they are. Passes that merge equal ones (all scales of a fresh model are),
// or compute with them, are left out; where weights are inputs, or a new program is made for new ones, all passes run.
static const char steady_passes[] = "cast_fuse,reshape_merge,transpose_merge,scatter_merge,dce";

static orion_status compile(orion_step *s, orion_device *device, const orion_target *target, orion_program *program,
                            orion_error *err) {
  const orion_opt_options steady = {.passes = steady_passes};
  orion_lower_options options = {.target = target, .passes = s->spec.constants_change ? &steady : NULL,
                                 .quantise = s->spec.quantise};
  orion_plan *plan;
  ORION_TRY(orion_lower(program, &options, &plan, err));
  size_t most = 3 * s->params->n, n = 0;
  orion_given_surface *given = orion_alloc(s->allocator, most, sizeof *given);
  if (!given) {
    orion_plan_destroy(plan);
    return ORION_OOM(err, "training step");
  }
  for (size_t i = 0; i < s->params->n; i++) {
    const port *p = &s->ports[i];
    if (s->spec.weights_as_inputs) given[n++] = (orion_given_surface){p->name, s->params->list[i].surface};
    if (!p->sum) continue;
    given[n++] = (orion_given_surface){p->before, p->sum};
    given[n++] = (orion_given_surface){p->gradient, p->sum};
  }
  orion_status status = orion_runner_create_with(device, plan, NULL, n, given, &s->runner, err);
  orion_free(s->allocator, given, most, sizeof *given);
  return status;
}

// Makes the program add its gradients up, in surfaces of the step's.
static orion_status add_sums(orion_step *s, orion_device *device, orion_program *program, const char *const *names,
                             orion_error *err) {
  if (!s->spec.sums || !s->spec.gradients) return ORION_OK;
  ORION_TRY(orion_gradient_sums(program, names, s->params->n, err));
  const orion_function *f = program->functions[0];
  for (size_t i = 0; i < s->params->n; i++) {
    const orion_type *t = orion_value_type(f, orion_function_find(f, s->ports[i].before));
    orion_layout layout;
    if (s->ports[i].sum) continue;  // of a program before, which took too much memory
    ORION_TRY(orion_layout_of_type(t, 1, &layout, err));
    ORION_TRY(orion_surface_create(device, &layout, &s->ports[i].sum, err));
  }
  return ORION_OK;
}

static orion_status name_ports(orion_step *s, const char *const *names, orion_error *err) {
  for (size_t i = 0; i < s->params->n; i++) {
    port *p = &s->ports[i];
    p->name = names[i];
    p->gradient = orion_gradient_name(&s->arena, names[i]);
    p->before = orion_gradient_sum_name(&s->arena, names[i]);
    if (!p->gradient || !p->before) return ORION_OOM(err, "training step");
  }
  return ORION_OK;
}

static orion_status find(const orion_step *s, const char *name, orion_tensor **out, orion_error *err) {
  *out = orion_runner_tensor(s->runner, name);
  return *out ? ORION_OK : ORION_FAIL(err, ORION_INTERNAL, "training step: the program has no value %s", name);
}

static orion_status find_ints(const orion_step *s, const char *name, orion_tensor **out, orion_error *err) {
  ORION_TRY(find(s, name, out, err));
  rows r;
  if ((*out)->layout.dtype == ORION_INT32 && plain_rows(*out, (size_t)(s->spec.batch * s->spec.seq), &r)) return ORION_OK;
  return ORION_FAIL(err, ORION_INTERNAL, "training step: %s is not int32 [batch, seq] in rows", name);
}

static orion_status find_weight(orion_step *s, size_t i, orion_error *err) {
  port *p = &s->ports[i];
  const orion_param *x = &s->params->list[i];
  if (s->spec.weights_as_inputs) {
    ORION_TRY(find(s, p->name, &p->input, err));
    if (p->input->surface == x->surface) p->input = NULL;
  }
  if (!s->spec.gradients) return ORION_OK;
  ORION_TRY(find(s, p->gradient, &p->output, err));
  rows r;
  const orion_layout *l = &p->output->layout;
  bool plain = l->dtype == ORION_FP32 && plain_rows(p->output, x->n, &r) && r.pitch == r.cols * sizeof(float);
  if (p->sum) {
    orion_tensor *before;
    ORION_TRY(find(s, p->before, &before, err));
    if (!plain || before->surface != p->sum || p->output->surface != p->sum) {
      return ORION_FAIL(err, ORION_UNSUPPORTED, "training step: the device lays %s out in its own way (train with one micro-batch "
                        "a step: --accum 1)", p->gradient);
    }
  }
  if (plain) {
    s->gradients[i] = orion_surface_lock(p->output->surface);
    orion_surface_unlock(p->output->surface);
  } else {
    p->converted = ORION_ARENA_ARRAY(&s->arena, float, x->n);
    if (!p->converted) return ORION_OOM(err, x->name);
    s->gradients[i] = p->converted;
  }
  return ORION_OK;
}

static orion_status find_all(orion_step *s, orion_error *err) {
  ORION_TRY(find_ints(s, "tokens", &s->tokens, err));
  ORION_TRY(find_ints(s, "targets", &s->targets, err));
  ORION_TRY(find(s, "loss", &s->loss, err));
  s->scale = orion_runner_tensor(s->runner, "loss_scale");
  for (size_t i = 0; i < s->params->n; i++) ORION_TRY(find_weight(s, i, err));
  return ORION_OK;
}

static orion_status make_program(orion_step *s, orion_device *device, const orion_target *target, const orion_step_source *source,
                                 const char **names, orion_error *err) {
  orion_program *program = NULL;
  ORION_TRY(source->make(source->ctx, s->params, &s->spec, &s->arena, &program, names, err));
  orion_status status = name_ports(s, names, err);
  if (status == ORION_OK) status = add_sums(s, device, program, names, err);
  if (status == ORION_OK) status = compile(s, device, target, program, err);
  orion_program_destroy(program);
  return status;
}

// With as little computed again as memory allows.
static orion_status make_within_memory(orion_step *s, orion_device *device, const orion_target *target,
                                       const orion_step_source *source, const char **names, orion_error *err) {
  const bool search = s->spec.recompute == ORION_RECOMPUTE_AUTO;
  if (search) s->spec.recompute = ORION_RECOMPUTE_NONE;
  for (;; s->spec.recompute++) {
    orion_status status = make_program(s, device, target, source, names, err);
    bool too_much = status == ORION_NO_MEMORY || (s->spec.memory && s->runner && orion_runner_memory(s->runner) > s->spec.memory);
    if (!search || !too_much || !s->spec.gradients || s->spec.recompute == ORION_RECOMPUTE_MOST) return status;
    orion_runner_destroy(s->runner);
    s->runner = NULL;
  }
}

orion_status orion_step_create(orion_params *params, orion_device *device, const orion_target *target,
                               const orion_step_source *source, const orion_step_spec *spec, orion_step **out,
                               orion_error *err) {
  const orion_allocator *a = params->allocator;
  orion_step *s = orion_alloc_zero(a, 1, sizeof *s);
  if (!s) return ORION_OOM(err, "training step");
  *s = (orion_step){.allocator = a, .params = params, .spec = *spec};
  orion_arena_init(&s->arena, a);
  if (target->ane) {
    orion_status made = orion_layered_create(params, device, target, spec, &s->layered, err);
    if (made == ORION_OK) {
      *out = s;
    } else {
      orion_step_destroy(s);
    }
    return made;
  }
  s->ports = ORION_ARENA_ARRAY(&s->arena, port, params->n);
  s->gradients = ORION_ARENA_ARRAY(&s->arena, float *, params->n);
  const char **names = ORION_ARENA_ARRAY(&s->arena, const char *, params->n);
  orion_status status = s->ports && s->gradients && names ? ORION_OK : ORION_OOM(err, "training step");
  if (status == ORION_OK) status = make_within_memory(s, device, target, source, names, err);
  if (status == ORION_OK) status = find_all(s, err);
  if (status == ORION_OK && spec->weights_as_inputs) status = orion_step_refresh(s, err);
  if (status != ORION_OK) {
    orion_step_destroy(s);
    return status;
  }
  *out = s;
  return ORION_OK;
}

void orion_step_destroy(orion_step *s) {
  if (!s) return;
  orion_layered_destroy(s->layered);
  orion_runner_destroy(s->runner);
  for (size_t i = 0; s->ports && i < s->params->n; i++) orion_surface_destroy(s->ports[i].sum);
  orion_free(s->allocator, s->halves, s->cap_halves, sizeof *s->halves);
  orion_arena_deinit(&s->arena);
  orion_free(s->allocator, s, 1, sizeof *s);
}

// ---- running ----------------------------------------------------------------------------------------------------------

static void put_scalar(orion_tensor *t, double value) {
  void *to = orion_surface_lock(t->surface);
  orion_store_double((orion_dtype)t->layout.dtype, to, 0, value);
  orion_surface_unlock(t->surface);
}

static orion_status run(orion_step *s, const int32_t *tokens, const int32_t *targets, double loss_scale, bool add,
                        double *out_loss, orion_error *err) {
  rows r;
  size_t n = (size_t)(s->spec.batch * s->spec.seq);
  plain_rows(s->tokens, n, &r);
  put_rows(s->tokens, &r, tokens, ORION_INT32);
  plain_rows(s->targets, n, &r);
  put_rows(s->targets, &r, targets, ORION_INT32);
  if (s->scale) put_scalar(s->scale, loss_scale);
  ORION_TRY((add ? orion_runner_run : orion_runner_run_anew)(s->runner, err));
  *out_loss = orion_load_double((orion_dtype)s->loss->layout.dtype, orion_surface_lock(s->loss->surface), 0);
  orion_surface_unlock(s->loss->surface);
  for (size_t i = 0; s->spec.gradients && i < s->params->n; i++) {
    if (s->ports[i].converted) get_gradient(s, &s->ports[i], &s->params->list[i]);
  }
  return ORION_OK;
}

orion_status orion_step_run(orion_step *s, const int32_t *tokens, const int32_t *targets, double loss_scale,
                            double *out_loss, orion_error *err) {
  if (s->layered) {
    orion_layered_pass pass = s->spec.gradients ? ORION_LAYERED_GRADIENTS : ORION_LAYERED_LOSS;
    return orion_layered_run(s->layered, tokens, targets, loss_scale, pass, out_loss, err);
  }
  return run(s, tokens, targets, loss_scale, false, out_loss, err);
}

orion_status orion_step_add(orion_step *s, const int32_t *tokens, const int32_t *targets, double loss_scale, double *out_loss,
                            orion_error *err) {
  assert(s->spec.sums && s->spec.gradients);
  if (!s->layered) return run(s, tokens, targets, loss_scale, true, out_loss, err);
  return orion_layered_run(s->layered, tokens, targets, loss_scale, ORION_LAYERED_SUMS, out_loss, err);
}

orion_status orion_step_loss(orion_step *s, const int32_t *tokens, const int32_t *targets, double *out_loss, orion_error *err) {
  if (!s->layered) return orion_step_run(s, tokens, targets, 1, out_loss, err);
  return orion_layered_run(s->layered, tokens, targets, 1, ORION_LAYERED_LOSS, out_loss, err);
}

bool orion_step_has_loss(const orion_step *s) { return s->layered != NULL; }
const char *orion_step_overflow(const orion_step *s) { return s->layered ? orion_layered_overflow(s->layered) : NULL; }

const float *const *orion_step_gradients(const orion_step *s) {
  return (const float *const *)(s->layered ? orion_layered_gradients(s->layered) : s->gradients);
}

float *orion_step_gradient(orion_step *s, size_t i) {
  return s->layered ? orion_layered_gradients(s->layered)[i] : s->gradients[i];
}

// ---- new weights --------------------------------------------------------------------------------------------------------

static orion_dtype constant_dtype(const orion_step *s, const char *name) {
  const orion_plan *plan = orion_runner_plan(s->runner);
  for (size_t i = 0; i < plan->n_parts; i++) {
    const orion_function *f = plan->parts[i].program->functions[0];
    orion_value_id v = orion_function_find(f, name);
    if (v != ORION_NONE) return orion_value_type(f, v)->dtype;
  }
  return ORION_DTYPE_NONE;
}

static orion_status update_constant(orion_step *s, port *p, const orion_param *x, orion_error *err) {
  if (!p->dtype) p->dtype = constant_dtype(s, p->name);
  if (p->dtype == ORION_FP32) return orion_runner_update(s->runner, p->name, x->value, x->n * sizeof(float), err);
  if (p->dtype != ORION_FP16) {
    return ORION_FAIL(err, ORION_NOT_FOUND, "update: the compiled program has no constant %s in fp32 or fp16", p->name);
  }
  if (!ORION_GROW(s->allocator, &s->halves, &s->cap_halves, x->n)) return ORION_OOM(err, "update");
  orion_floats_to_half(s->halves, x->value, x->n);
  return orion_runner_update(s->runner, p->name, s->halves, x->n * sizeof(orion_half), err);
}

orion_status orion_step_refresh(orion_step *s, orion_error *err) {
  if (s->layered) return orion_layered_refresh(s->layered, err);
  for (size_t i = 0; i < s->params->n; i++) {
    port *p = &s->ports[i];
    if (p->input) put_weight(s, p, &s->params->list[i]);
    if (!s->spec.weights_as_inputs) ORION_TRY(update_constant(s, p, &s->params->list[i], err));
  }
  return ORION_OK;
}

const orion_step_spec *orion_step_spec_of(const orion_step *s) { return &s->spec; }
size_t orion_step_parts(const orion_step *s) {
  return s->layered ? orion_layered_runs(s->layered) : orion_runner_parts(s->runner);
}
size_t orion_step_memory(const orion_step *s) { return s->layered ? 0 : orion_runner_memory(s->runner); }

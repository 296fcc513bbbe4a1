// The cpu device: runs any MIL program as fast as the machine allows. Opening chooses kernels and starts the threads;
// compiling makes a plan (build.c) and gives it memory and packed weights (exec.c, weights.c); running walks the plan.
//
// Options: isa=portable|avx2|avx512|amx|neon|native, threads=N, fusion=on|off, profile=on|off, cache=on|off (off; packed
// weights in the user's cache directory, see weight_cache.c), precision=exact|fast (fast: activations are rounded to
// integers before they meet quantised weights, see steps_linear.c, and both factors to bf16 where AMX or AVX512_BF16
// multiplies).
#include "device/cpu/cpu.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/cpu.h"

#define CACHE_BYTES (UINT64_C(8) << 30)  // that packed weights may take on disk
#define COPY_BYTES ((size_t)1 << 17)      // of new weights that several threads copy

static bool on_off(const char *text, bool *out) {
  *out = strcmp(text, "on") == 0;
  return *out || strcmp(text, "off") == 0;
}

static orion_status read_option(orion_cpu_device *d, const char *key, const char *value, int *threads, uint32_t *mask,
                                orion_error *err) {
  if (strcmp(key, "isa") == 0) {
    if (!orion_cpu_level(value, mask)) {
      return ORION_FAIL(err, ORION_INVALID, "cpu: isa=%s is unknown (portable, avx2, avx512, amx, neon or native)",
                        value);
    }
  } else if (strcmp(key, "threads") == 0) {
    char *end;
    long n = strtol(value, &end, 10);
    if (!*value || *end || n < 0 || n > 1024) {
      return ORION_FAIL(err, ORION_INVALID, "cpu: threads=%s is not a number from 0 to 1024", value);
    }
    *threads = (int)n;
  } else if (strcmp(key, "fusion") == 0 || strcmp(key, "profile") == 0 || strcmp(key, "cache") == 0) {
    bool on;
    if (!on_off(value, &on)) return ORION_FAIL(err, ORION_INVALID, "cpu: %s=%s (want on or off)", key, value);
    *(*key == 'f' ? &d->choices.fuse : *key == 'p' ? &d->profile : &d->cache) = on;
  } else if (strcmp(key, "precision") == 0) {
    return orion_cpu_set_precision(&d->base, value, err);
  } else {
    return ORION_FAIL(err, ORION_INVALID, "cpu: no option %s (isa, threads, fusion, profile, cache and precision are known)",
                      key);
  }
  return ORION_OK;
}

static void cpu_close(orion_device *device) {
  if (!device) return;
  orion_cpu_device *d = (orion_cpu_device *)device;
  orion_weight_cache_close(d->weights.cache);
  orion_pool_destroy(d->pool);
  orion_free(d->base.allocator, d, 1, sizeof *d);
}

orion_status orion_cpu_keep_weights(orion_device *device, orion_error *err) {
  orion_cpu_device *d = (orion_cpu_device *)device;
  if (device->vtable != &orion_device_cpu || d->weights.cache) return ORION_OK;
  return orion_weight_cache_open(device->allocator, NULL, CACHE_BYTES, &d->weights.cache, err);
}

orion_status orion_cpu_set_precision(orion_device *device, const char *precision, orion_error *err) {
  bool fast = strcmp(precision, "fast") == 0;
  if (!fast && strcmp(precision, "exact") != 0) {
    return ORION_FAIL(err, ORION_INVALID, "precision: %s is neither exact nor fast", precision);
  }
  if (device->vtable == &orion_device_cpu) {
    ((orion_cpu_device *)device)->choices.fast = fast;
  } else if (fast) {
    return ORION_FAIL(err, ORION_INVALID, "precision: only the cpu device can be fast (leave the option away)");
  }
  return ORION_OK;
}

static orion_status cpu_open(const orion_allocator *a, const orion_device_options *options, int threads,
                             orion_device **out, orion_error *err) {
  orion_cpu_device *d = orion_alloc_zero(a, 1, sizeof *d);
  if (!d) return ORION_OOM(err, "cpu");
  d->base.vtable = &orion_device_cpu;
  d->base.allocator = a;
  d->choices.fuse = true;
  uint32_t mask = UINT32_MAX;
  orion_status status = ORION_OK;
  if (options->family && !orion_cpu_level(options->family, &mask)) {
    status = ORION_FAIL(err, ORION_INVALID,
                        "cpu: no instruction set level '%s' (portable, avx2, avx512, amx, neon, native)", options->family);
  }
  for (size_t i = 0; status == ORION_OK && i < options->n; i++) {
    status = read_option(d, options->keys[i], options->values[i], &threads, &mask, err);
  }
  if (status == ORION_OK) status = orion_pool_create(a, threads, &d->pool, err);
  if (status != ORION_OK) {
    cpu_close(&d->base);
    return status;
  }
  orion_kernels_init(&d->k, orion_cpu_features() & mask);
  d->weights = (orion_cpu_weights){.allocator = a, .k = &d->k, .pool = d->pool};
  if (d->cache) status = orion_cpu_keep_weights(&d->base, err);
  if (status != ORION_OK) {
    cpu_close(&d->base);
    return status;
  }
  *out = &d->base;
  return ORION_OK;
}

static void cpu_describe(const orion_device *device, orion_device_info *out) {
  const orion_cpu_device *d = (const orion_cpu_device *)device;
  *out = (orion_device_info){
      .name = "cpu",
      .family = d->k.level,
      .numerics = "fp32 arithmetic and sums; fp16 where the program stores fp16",
      .description = "this machine's processor",
      .threads = orion_pool_threads(d->pool),
  };
}

// Plans need every dimension: the first value without one is named, and nothing else can be said of the function.
static bool all_dimensions_known(const orion_function *f, orion_findings *out) {
  for (size_t v = 0; v < f->n_values; v++) {
    const orion_value *value = &f->values[v];
    if (value->def != ORION_NONE && !f->ops[value->def].linked) continue;
    if (!orion_type_is_tensor(value->type) || orion_type_is_static(value->type)) continue;
    orion_findings_add(out, "shape", true, f, value->def, value->name, "give the program fixed shapes",
                       "the cpu device runs fixed shapes only, and a dimension of this value is unknown");
    return false;
  }
  return true;
}

static orion_status cpu_supports(orion_device *device, orion_program *p, orion_findings *out, orion_error *err) {
  orion_cpu_device *d = (orion_cpu_device *)device;
  for (size_t i = 0; i < p->n_functions; i++) {
    if (!all_dimensions_known(p->functions[i], out)) continue;
    orion_cpu_plan plan = {0};
    orion_status status = orion_cpu_build_plan(p->functions[i], &d->k, d->base.allocator, &d->choices, out, &plan, err);
    orion_cpu_plan_deinit(&plan);
    if (status != ORION_OK) return status;
  }
  return out->failed ? ORION_OOM(err, "findings") : ORION_OK;
}

static void cpu_release(orion_executable *base) {
  if (!base) return;
  orion_cpu_executable *e = (orion_cpu_executable *)base;
  orion_cpu_device *d = (orion_cpu_device *)base->device;
  const orion_allocator *a = d->base.allocator;
  orion_cpu_plan_unbind(d, &e->plan);
  orion_cpu_plan_deinit(&e->plan);
  for (orion_cpu_override *o = e->overrides; o;) {
    orion_cpu_override *next = o->next;
    orion_free_aligned(a, (void *)(uintptr_t)o->data.bytes, o->bytes + 1, ORION_ALIGN_CACHE);
    orion_free(a, o, 1, sizeof *o);
    o = next;
  }
  orion_program_destroy(e->program);
  orion_executable_deinit(base);
  orion_free(a, e, 1, sizeof *e);
}

static size_t memory_of(const orion_cpu_plan *p) {
  return p->memory_bytes + p->kept_bytes + p->scratch_bytes + p->weight_bytes + p->arena.total;
}

// A plan with memory for the executable's program as it stands.
static orion_status make_plan(orion_cpu_device *d, orion_cpu_executable *e, orion_cpu_plan *out, orion_error *err) {
  orion_status status = orion_cpu_build_plan(e->f, &d->k, d->base.allocator, &d->choices, NULL, out, err);
  if (status == ORION_OK) status = orion_cpu_plan_bind(d, out, err);
  if (status != ORION_OK) {
    orion_cpu_plan_unbind(d, out);
    orion_cpu_plan_deinit(out);
    return status;
  }
  e->base.times.weight_bytes = out->weight_bytes;
  e->base.times.memory_bytes = memory_of(out);
  return ORION_OK;
}

static orion_status cpu_compile(orion_device *device, orion_program *p, orion_function *f, orion_executable **out,
                                orion_error *err) {
  orion_cpu_device *d = (orion_cpu_device *)device;
  double begin = orion_now();
  orion_cpu_executable *e = orion_alloc_zero(device->allocator, 1, sizeof *e);
  if (!e) return ORION_OOM(err, "cpu executable");
  e->base.device = device;
  orion_status status = orion_executable_init(&e->base, device, f, 1, err);
  if (status == ORION_OK) status = orion_program_clone(p, &e->program, err);
  if (status == ORION_OK) {
    e->f = orion_program_function(e->program, f->name);
    status = make_plan(d, e, &e->plan, err);
  }
  if (status != ORION_OK) {
    cpu_release(&e->base);
    return status;
  }
  e->base.times.compile_seconds = orion_now() - begin;
  *out = &e->base;
  return ORION_OK;
}

static orion_status cpu_run(orion_executable *base, orion_surface *const *surfaces, orion_error *err) {
  orion_cpu_executable *e = (orion_cpu_executable *)base;
  return orion_cpu_plan_run((orion_cpu_device *)base->device, &e->plan, surfaces, NULL, err);
}

static orion_status cpu_run_anew(orion_executable *base, orion_surface *const *surfaces, const bool *zeros, orion_error *err) {
  orion_cpu_executable *e = (orion_cpu_executable *)base;
  return orion_cpu_plan_run((orion_cpu_device *)base->device, &e->plan, surfaces, zeros, err);
}

static orion_status new_plan(orion_cpu_device *d, orion_cpu_executable *e, orion_error *err) {
  orion_cpu_plan plan = {0};
  ORION_TRY(make_plan(d, e, &plan, err));
  orion_cpu_plan_unbind(d, &e->plan);
  orion_cpu_plan_deinit(&e->plan);
  e->plan = plan;
  return ORION_OK;
}

// ---- updates --------------------------------------------------------------------------------------------------------

static bool has_other_user(const orion_function *f, orion_op_id op, const orion_data *data) {
  ORION_EACH_OP(f, id) {
    if (id == op || f->ops[id].code != ORION_OP_const) continue;
    const orion_literal *l = orion_ref_literal(f, f->ops[id].results[0]);
    if (l && l->data == data) return true;
  }
  return false;
}

static bool packed_from(const orion_cpu_weight_key *key, const orion_data *data) {
  return key->data == data || key->scales == data;
}

// Steps that run once do so again if they read this constant.
static orion_status repeat_constants(orion_cpu_device *d, orion_cpu_plan *p, const orion_data *data, orion_error *err) {
  for (size_t i = 0; i < p->n_steps; i++) {
    for (uint32_t k = 0; p->steps[i].constant && k < p->steps[i].n_in; k++) {
      const orion_cpu_buffer *b = &p->buffers[p->steps[i].in[k].buffer];
      if (b->space == ORION_CPU_CONSTANT && packed_from(&p->keys[b->weight], data)) {
        return orion_cpu_plan_constants(d, p, err);
      }
    }
  }
  return ORION_OK;
}

static orion_cpu_weight_key with_data(orion_cpu_weight_key key, const orion_data *old, const orion_data *fresh) {
  if (key.data == old) key.data = fresh;
  if (key.scales == old) key.scales = fresh;
  return key;
}

// The plan's weights and those of `other` (NULL: none) change places.
static void swap_weights(orion_cpu_plan *p, orion_cpu_weight **other) {
  for (size_t i = 0; i < p->n_weights; i++) {
    orion_cpu_weight *mine = p->weights[i];
    if (!other[i]) continue;
    p->weights[i] = other[i];
    p->keys[i] = other[i]->key;
    other[i] = mine;
  }
  for (size_t i = 0; i < p->n_buffers; i++) {
    const orion_cpu_buffer *b = &p->buffers[i];
    if (b->space == ORION_CPU_CONSTANT) p->base[i] = p->weights[b->weight]->memory;
  }
}

// The plan as it is, with the weights packed from `fresh` in the place of those from `old`. Nothing has changed when it
// fails.
static orion_status exchange(orion_cpu_device *d, orion_cpu_plan *p, const orion_data *old, const orion_data *fresh,
                             orion_error *err) {
  orion_cpu_weight **other = orion_alloc_zero(p->allocator, p->n_weights + 1, sizeof *other);
  if (!other) return ORION_OOM(err, "update");
  orion_status status = ORION_OK;
  for (size_t i = 0; status == ORION_OK && i < p->n_weights; i++) {
    if (!packed_from(&p->keys[i], old)) continue;
    orion_cpu_weight_key key = with_data(p->keys[i], old, fresh);
    status = orion_cpu_weight_acquire(&d->weights, &key, &other[i], err);
    if (status != ORION_OK) other[i] = NULL;
  }
  if (status == ORION_OK) {
    swap_weights(p, other);
    status = repeat_constants(d, p, fresh, err);
    if (status != ORION_OK) {
      orion_error ignored;
      swap_weights(p, other);
      repeat_constants(d, p, old, &ignored);  // these ran before
    }
  }
  for (size_t i = 0; i < p->n_weights; i++) orion_cpu_weight_release(&d->weights, other[i]);
  orion_free(p->allocator, other, p->n_weights + 1, sizeof *other);
  return status;
}

typedef struct copying {
  uint8_t *to;
  const uint8_t *from;
} copying;

static void copy_piece(void *ctx, size_t begin, size_t end, int worker) {
  const copying *c = ctx;
  memcpy(c->to + begin, c->from + begin, end - begin);
}

// One thread alone does not fill the way to memory.
static void copy_bytes(orion_cpu_device *d, const void *to, const void *from, size_t n) {
  copying c = {(uint8_t *)(uintptr_t)to, from};
  orion_parallel_for(n < COPY_BYTES ? NULL : d->pool, n, COPY_BYTES / 2, copy_piece, &c);
}

// The first update of a constant gives the executable bytes of its own for it, and a new plan where the old one may have
// taken the value or shares it with another constant; later ones pack the same memory again.
static orion_status new_override(orion_cpu_executable *e, orion_op_id op, const orion_literal *old, const void *bytes,
                                 size_t n, orion_error *err) {
  orion_cpu_device *d = (orion_cpu_device *)e->base.device;
  const orion_allocator *a = d->base.allocator;
  orion_cpu_override *o = orion_alloc_zero(a, 1, sizeof *o);
  if (!o) return ORION_OOM(err, "update");
  void *copy = orion_alloc_aligned(a, n + 1, ORION_ALIGN_CACHE);
  if (!copy) {
    orion_free(a, o, 1, sizeof *o);
    return ORION_OOM(err, "update");
  }
  memcpy(copy, bytes, n);
  *o = (orion_cpu_override){.next = e->overrides, .op = op, .bytes = n};
  o->data = (orion_data){.kind = ORION_DATA_BYTES,
                         .dtype = old->type->dtype,
                         .rows = old->data->rows,
                         .cols = old->data->cols,
                         .bytes = copy,
                         .changes = true,
                         .origin = old->data->origin};
  e->overrides = o;
  orion_attr *val = NULL;
  const orion_op *c = &e->f->ops[op];
  for (uint32_t i = 0; i < c->n_attrs; i++) {
    if (strcmp(c->attrs[i].name, "val") == 0) val = &c->attrs[i];
  }
  const orion_literal *fresh = orion_literal_data(e->program, old->type, &o->data);
  orion_status status = fresh && val ? ORION_OK : ORION_OOM(err, "update");
  if (status == ORION_OK) {
    bool keep = !orion_cpu_taken_by_value(old) && !has_other_user(e->f, op, old->data);
    val->value = fresh;
    status = keep ? exchange(d, &e->plan, old->data, &o->data, err) : new_plan(d, e, err);
  }
  if (status != ORION_OK) {  // as before
    if (val) val->value = old;
    e->overrides = o->next;
    orion_free_aligned(a, copy, n + 1, ORION_ALIGN_CACHE);
    orion_free(a, o, 1, sizeof *o);
  }
  return status;
}

static orion_status cpu_update(orion_executable *base, const char *value, const void *bytes, size_t n,
                               orion_error *err) {
  orion_cpu_executable *e = (orion_cpu_executable *)base;
  orion_cpu_device *d = (orion_cpu_device *)base->device;
  orion_value_id v = orion_function_find(e->f, value);
  const orion_literal *old = v == ORION_NONE ? NULL : orion_ref_literal(e->f, v);
  if (!old || !old->data) return ORION_FAIL(err, ORION_NOT_FOUND, "update: no constant named %s", value);
  size_t want;
  if (!orion_type_bytes(old->type, &want) || want != n) {
    return ORION_FAIL(err, ORION_INVALID, "update: %s has %zu bytes, %zu given", value, want, n);
  }
  orion_op_id op = e->f->values[v].def;
  for (orion_cpu_override *o = e->overrides; o; o = o->next) {
    if (o->op != op) continue;
    copy_bytes(d, o->data.bytes, bytes, n);
    ORION_TRY(orion_cpu_weights_refresh(&d->weights, &o->data, err));
    return orion_cpu_taken_by_value(old) ? new_plan(d, e, err) : repeat_constants(d, &e->plan, &o->data, err);
  }
  return new_override(e, op, old, bytes, n, err);
}

const orion_device_vtable orion_device_cpu = {
    .name = "cpu",
    .open = cpu_open,
    .sums_in_place = true,
    .close = cpu_close,
    .describe = cpu_describe,
    .supports = cpu_supports,
    .compile = cpu_compile,
    .release = cpu_release,
    .run = cpu_run,
    .run_anew = cpu_run_anew,
    .update = cpu_update,
};

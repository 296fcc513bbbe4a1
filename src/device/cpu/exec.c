// Running a plan: memory bound once, then one loop over the steps.
#include "base/clock.h"
#include "device/cpu/cpu.h"

#define CLEAR_BYTES ((size_t)1 << 18)  // of one piece

orion_status orion_cpu_plan_bind(orion_cpu_device *d, orion_cpu_plan *p, orion_error *err) {
  const orion_allocator *a = d->base.allocator;
  p->allocator = a;
  p->base = orion_alloc_zero(a, p->n_buffers + 1, sizeof *p->base);
  p->zero = orion_alloc_zero(a, p->n_buffers + 1, sizeof *p->zero);
  p->memory = orion_alloc_aligned(a, p->memory_bytes + 1, ORION_ALIGN_CACHE);
  p->kept = orion_alloc_aligned(a, p->kept_bytes + 1, ORION_ALIGN_CACHE);
  size_t threads = (size_t)orion_pool_threads(d->pool);
  p->scratch_stride = orion_round_up(p->scratch_stride, 2 * ORION_ALIGN_CACHE) + 2 * ORION_ALIGN_CACHE;
  if (!orion_mul_ok(p->scratch_stride, threads, &p->scratch_bytes)) return ORION_OOM(err, "scratch");
  p->scratch = orion_alloc_aligned(a, p->scratch_bytes, ORION_ALIGN_CACHE);
  p->weights = orion_alloc_zero(a, p->n_weights + 1, sizeof *p->weights);
  p->seconds = orion_alloc_zero(a, p->n_steps + 1, sizeof *p->seconds);
  if (!p->base || !p->zero || !p->memory || !p->kept || !p->scratch || !p->weights || !p->seconds) return ORION_OOM(err, "plan");
  for (size_t i = 0; i < p->n_weights; i++) {
    ORION_TRY(orion_cpu_weight_acquire(&d->weights, &p->keys[i], &p->weights[i], err));
    p->n_weights_held = i + 1;
    p->weight_bytes += p->weights[i]->bytes;
  }
  for (size_t i = 0; i < p->n_buffers; i++) {
    const orion_cpu_buffer *b = &p->buffers[i];
    switch (b->space) {
      case ORION_CPU_ARENA:
        p->base[i] = p->memory + b->offset;
        break;
      case ORION_CPU_KEPT:
        p->base[i] = p->kept + b->offset;
        break;
      case ORION_CPU_CONSTANT:
        p->base[i] = p->weights[b->weight]->memory;
        break;
      case ORION_CPU_SURFACE:
        break;
    }
  }
  return orion_cpu_plan_constants(d, p, err);
}

void orion_cpu_plan_unbind(orion_cpu_device *d, orion_cpu_plan *p) {
  const orion_allocator *a = d->base.allocator;
  for (size_t i = 0; i < p->n_weights_held; i++) orion_cpu_weight_release(&d->weights, p->weights[i]);
  orion_free(a, p->weights, p->n_weights + 1, sizeof *p->weights);
  orion_free(a, p->seconds, p->n_steps + 1, sizeof *p->seconds);
  orion_free(a, p->base, p->n_buffers + 1, sizeof *p->base);
  orion_free(a, p->zero, p->n_buffers + 1, sizeof *p->zero);
  orion_free_aligned(a, p->memory, p->memory_bytes + 1, ORION_ALIGN_CACHE);
  orion_free_aligned(a, p->kept, p->kept_bytes + 1, ORION_ALIGN_CACHE);
  orion_free_aligned(a, p->scratch, p->scratch_bytes, ORION_ALIGN_CACHE);
  p->weights = NULL;
  p->seconds = NULL;
  p->base = NULL;
  p->zero = NULL;
  p->memory = p->kept = p->scratch = NULL;
  p->n_weights_held = 0;
}

static orion_status run_steps(orion_cpu_device *d, orion_cpu_plan *p, bool constant, orion_error *err) {
  orion_cpu_exec x = {
      .k = &d->k, .pool = d->pool, .base = p->base, .zero = p->zero, .scratch = p->scratch, .scratch_stride = p->scratch_stride};
  double before = d->profile ? orion_now() : 0;
  for (size_t i = 0; i < p->n_steps; i++) {
    const orion_cpu_step *s = &p->steps[i];
    if (s->constant != constant) continue;
    orion_status status = s->run(&x, s, err);
    if (status != ORION_OK) {
      orion_error_prefix(err, "cpu: %s", s->name);
      return status;
    }
    if (d->profile) {
      double now = orion_now();
      p->seconds[i] += now - before;
      if (!constant) d->seconds[s->kind] += now - before;
      before = now;
    }
  }
  return ORION_OK;
}

orion_status orion_cpu_plan_constants(orion_cpu_device *d, orion_cpu_plan *p, orion_error *err) {
  return run_steps(d, p, true, err);
}

static void clear_piece(void *memory, size_t begin, size_t end, int worker) {
  memset((uint8_t *)memory + begin, 0, end - begin);
}

// Inputs that are to be zeros: what all readers can be told need not be written.
static void begin_sums(orion_cpu_device *d, orion_cpu_plan *p, const bool *zeros) {
  for (size_t i = 0; i < p->n_surfaces; i++) {
    uint32_t buffer = p->surfaces[i];
    if (!zeros[i] || buffer == ORION_CPU_NO_BUFFER) continue;
    if (!p->buffers[buffer].read) p->zero[buffer] = true;
    else orion_parallel_for(d->pool, p->buffers[buffer].bytes, CLEAR_BYTES, clear_piece, p->base[buffer]);
  }
}

orion_status orion_cpu_plan_run(orion_cpu_device *d, orion_cpu_plan *p, orion_surface *const *surfaces, const bool *zeros,
                                orion_error *err) {
  for (size_t i = 0; i < p->n_surfaces; i++) {
    if (p->surfaces[i] != ORION_CPU_NO_BUFFER) p->base[p->surfaces[i]] = surfaces[i]->memory;
  }
  if (zeros) begin_sums(d, p, zeros);
  orion_status status = run_steps(d, p, false, err);
  if (zeros) memset(p->zero, 0, p->n_buffers * sizeof *p->zero);
  return status;
}

const char *orion_cpu_kind_name(orion_cpu_kind kind) {
  static const char *const names[ORION_CPU_KINDS] = {"map",  "linear", "conv", "matmul", "attention",
                                                     "rows", "reduce", "copy", "gather", "generic"};
  return names[kind];
}

void orion_cpu_profile_read(const orion_executable *e, orion_cpu_profile out[ORION_CPU_KINDS]) {
  const orion_cpu_plan *p = &((const orion_cpu_executable *)e)->plan;
  for (int i = 0; i < ORION_CPU_KINDS; i++) out[i] = (orion_cpu_profile){orion_cpu_kind_name((orion_cpu_kind)i), 0, 0};
  for (size_t i = 0; i < p->n_steps; i++) {
    if (p->steps[i].constant) continue;
    out[p->steps[i].kind].steps++;
    out[p->steps[i].kind].seconds += p->seconds[i];
  }
}

bool orion_cpu_profile_device(const orion_device *device, double out_seconds[ORION_CPU_KINDS]) {
  const orion_cpu_device *d = (const orion_cpu_device *)device;
  if (device->vtable != &orion_device_cpu || !d->profile) return false;
  memcpy(out_seconds, d->seconds, sizeof d->seconds);
  return true;
}

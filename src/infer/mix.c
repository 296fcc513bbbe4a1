// Mixes: adapters side by side in surfaces of their own.
//
// A slot has R rows. The adapters of a mix take rows one after another, alike in every projection; what is left is zeros.
// B carries alpha / rank, so the gate, [T, R], carries what is left to choose at every token: the scale of each adapter. Each
// program of the session gets a variant bound to the mix's surfaces when the mix is made (or when the program is, if that
// is later), so using a mix is storing a pointer.
#include "infer/mix.h"

#include <math.h>
#include <stdio.h>

#define LARGEST_HALF 65504.0

typedef struct mix_program {
  const orion_runner *runner;
  orion_variant *variant;
  orion_tensor gate;             // its surface is the mix's
  int64_t own_rows;              // rows of the gate from here on hold the mix's own scales
} mix_program;

struct orion_mix {
  const orion_allocator *allocator;
  orion_mixes *session;
  orion_mix *next;
  orion_arena arena;
  size_t n_parts;
  int64_t *first;                // row of each part; first[n_parts]: all
  double *scales;
  float *row;                    // scratch: one row of a gate
  orion_given_surface *surfaces; // A and B of all projections, then a place for the gate
  size_t n_surfaces;
  mix_program programs[ORION_MIX_PROGRAMS];
  size_t n_programs;
};

size_t orion_mix_parts(const orion_mix *mix) { return mix->n_parts; }

// ---- checks ---------------------------------------------------------------------------------------------------------

static bool same_shapes(const orion_config *a, const orion_config *b) {
  return a->family == b->family && a->layers == b->layers && a->dim == b->dim && a->hidden == b->hidden &&
         a->heads == b->heads && a->kv_heads == b->kv_heads && a->head_dim == b->head_dim && a->gated == b->gated;
}

static orion_status check_adapter(const orion_mixes *s, const orion_adapter *a, orion_error *err) {
  if (!same_shapes(s->config, &a->config)) {
    return ORION_FAIL(err, ORION_INVALID, "%s: was opened for a model of other shapes than the session's", a->path);
  }
  if (a->head) {
    return ORION_FAIL(err, ORION_UNSUPPORTED, "%s: brings a classifier of its own, which cannot be exchanged between tokens "
                      "(merge it: orion convert --merge-lora)", a->path);
  }
  if (a->targets & ~s->slots.targets) {
    char missing[32], have[32];
    orion_projection_text(a->targets & ~s->slots.targets, missing);
    orion_projection_text(s->slots.targets, have);
    return ORION_FAIL(err, ORION_INVALID, "%s: changes %s, for which the session has no slots (it has %s; see lora_targets)",
                      a->path, missing, have[0] ? have : "none");
  }
  return ORION_OK;
}

static orion_status check_parts(const orion_mixes *s, const orion_mix_part *parts, size_t n, orion_error *err) {
  int64_t rank = 0;
  for (size_t i = 0; i < n; i++) {
    ORION_TRY(check_adapter(s, parts[i].adapter, err));
    if (!isfinite(parts[i].scale)) return ORION_FAIL(err, ORION_INVALID, "%s: scale %g", parts[i].adapter->path, parts[i].scale);
    rank += parts[i].adapter->rank;
  }
  if (n == 0) return ORION_FAIL(err, ORION_INVALID, "mix: no adapter is given");
  if (rank <= s->slots.rank) return ORION_OK;
  return ORION_FAIL(err, ORION_LIMIT, "mix: %zu adapters of rank %lld together do not fit in slots of rank %lld (raise lora_rank)",
                    n, (long long)rank, (long long)s->slots.rank);
}

// ---- filling --------------------------------------------------------------------------------------------------------

static orion_status check_range(const orion_tensor *t, const orion_adapter *a, const float *row, orion_error *err) {
  if ((orion_dtype)t->layout.dtype != ORION_FP16) return ORION_OK;
  for (int64_t i = 0; i < t->cols; i++) {
    if (fabs((double)row[i]) > LARGEST_HALF) {
      return ORION_FAIL(err, ORION_NUMERIC, "%s: %s holds %g, which fp16 does not (a smaller alpha?)", a->path, t->logical,
                        (double)row[i]);
    }
  }
  return ORION_OK;
}

// Rows of A, or columns of B times alpha / rank, from row `first` of the slot on.
static orion_status put_half(orion_tensor *t, const orion_adapter *a, const orion_adapter_part *p, orion_lora_half half,
                             int64_t first, orion_error *err) {
  size_t rank = (size_t)p->rank, cols = (size_t)t->cols;
  const orion_data *x = half == ORION_LORA_A ? p->a : p->b;
  float *values = orion_alloc(a->allocator, rank * cols, sizeof *values), *row = orion_alloc(a->allocator, cols, sizeof *row);
  orion_status status = values && row ? orion_data_read(x, ORION_FP32, 0, x->rows, values, err) : ORION_OOM(err, a->path);
  for (size_t r = 0; status == ORION_OK && r < rank; r++) {
    for (size_t i = 0; i < cols; i++) {
      row[i] = half == ORION_LORA_A ? values[r * cols + i] : (float)(p->scale * (double)values[i * rank + r]);
    }
    status = check_range(t, a, row, err);
    if (status == ORION_OK) orion_tensor_put(t, first + (int64_t)r, row);
  }
  orion_free(a->allocator, row, cols, sizeof *row);
  orion_free(a->allocator, values, rank * cols, sizeof *values);
  return status;
}

static orion_status fill_slot(orion_mix *m, const orion_mix_part *parts, int layer, orion_projection p, orion_lora_half half,
                              orion_error *err) {
  char name[ORION_LORA_NAME];
  orion_lora_name(name, m->session->config->family, layer, p, half);
  for (size_t i = 0; i < m->n_surfaces; i++) {
    if (strcmp(m->surfaces[i].logical, name) == 0) return ORION_OK;  // a of a joint matrix: done with its first part
  }
  const orion_tensor *own = orion_runner_tensor(m->session->programs[0], name);
  if (!own) return ORION_FAIL(err, ORION_INTERNAL, "mix: the program has no input %s", name);
  orion_tensor t = *own;
  ORION_TRY(orion_surface_create(m->session->device, &t.layout, &t.surface, err));
  m->surfaces[m->n_surfaces++] = (orion_given_surface){own->logical, t.surface};
  for (size_t i = 0; i < m->n_parts; i++) {
    const orion_adapter_part *part = orion_adapter_at(parts[i].adapter, layer, p);
    if (part->a) ORION_TRY(put_half(&t, parts[i].adapter, part, half, m->first[i], err));
  }
  return ORION_OK;
}

static orion_status fill(orion_mix *m, const orion_mix_part *parts, size_t n, orion_error *err) {
  const orion_mixes *s = m->session;
  size_t slots = (size_t)s->config->layers * ORION_PROJECTIONS * 2 + 1;
  m->first = ORION_ARENA_ARRAY(&m->arena, int64_t, n + 1);
  m->scales = ORION_ARENA_ARRAY(&m->arena, double, n);
  m->row = ORION_ARENA_ARRAY(&m->arena, float, (size_t)s->slots.rank);
  m->surfaces = ORION_ARENA_ARRAY(&m->arena, orion_given_surface, slots);
  if (!m->first || !m->scales || !m->row || !m->surfaces) return ORION_OOM(err, "mix");
  m->n_parts = n;
  for (size_t i = 0; i < n; i++) {
    m->first[i + 1] = m->first[i] + parts[i].adapter->rank;
    m->scales[i] = parts[i].scale;
  }
  for (int layer = 0; layer < (int)s->config->layers; layer++) {
    for (int p = 0; p < ORION_PROJECTIONS; p++) {
      if (!(s->slots.targets >> p & 1)) continue;
      ORION_TRY(fill_slot(m, parts, layer, (orion_projection)p, ORION_LORA_A, err));
      ORION_TRY(fill_slot(m, parts, layer, (orion_projection)p, ORION_LORA_B, err));
    }
  }
  return ORION_OK;
}

// ---- programs -------------------------------------------------------------------------------------------------------

static orion_status add_program(orion_mix *m, orion_runner *program, orion_error *err) {
  const orion_tensor *own = orion_runner_tensor(program, ORION_LORA_GATE);
  if (!own) return ORION_FAIL(err, ORION_INTERNAL, "mix: the program has no gate");
  mix_program *p = &m->programs[m->n_programs];
  *p = (mix_program){.runner = program, .gate = *own, .own_rows = own->rows};
  p->gate.surface = NULL;
  ORION_TRY(orion_surface_create(m->session->device, &own->layout, &p->gate.surface, err));
  m->surfaces[m->n_surfaces] = (orion_given_surface){own->logical, p->gate.surface};
  orion_status status = orion_variant_create(program, m->n_surfaces + 1, m->surfaces, &p->variant, err);
  if (status == ORION_OK) {
    m->n_programs++;
  } else {
    orion_surface_destroy(p->gate.surface);
  }
  return status;
}

static void drop_last_program(orion_mix *m) {
  mix_program *p = &m->programs[--m->n_programs];
  orion_variant_destroy(p->variant);
  orion_surface_destroy(p->gate.surface);
}

orion_status orion_mixes_add(orion_mixes *s, orion_runner *program, orion_error *err) {
  if (s->slots.rank == 0) return ORION_OK;
  if (s->n_programs == ORION_MIX_PROGRAMS) return ORION_FAIL(err, ORION_INTERNAL, "mix: too many programs");
  for (orion_mix *m = s->list; m; m = m->next) {
    orion_status status = add_program(m, program, err);
    if (status == ORION_OK) continue;
    for (orion_mix *done = s->list; done != m; done = done->next) drop_last_program(done);
    return status;
  }
  s->programs[s->n_programs++] = program;
  return ORION_OK;
}

static void put_gate(orion_mix *m, orion_tensor *gate, int64_t row, const double *scales) {
  for (size_t i = 0; i < m->n_parts; i++) {
    for (int64_t r = m->first[i]; r < m->first[i + 1]; r++) m->row[r] = (float)scales[i];
  }
  orion_tensor_put(gate, row, m->row);
}

orion_status orion_mixes_run(orion_mixes *s, orion_runner *program, int64_t n, const double *scales, orion_error *err) {
  orion_mix *m = s->used;
  if (!m) return orion_runner_run(program, err);
  size_t k = 0;
  while (m->programs[k].runner != program) k++;  // orion_mixes_add has seen to it that it is there
  mix_program *p = &m->programs[k];
  for (int64_t row = 0; scales && row < n; row++) put_gate(m, &p->gate, row, scales + (size_t)row * m->n_parts);
  if (scales && p->own_rows < n) p->own_rows = n;
  for (int64_t row = 0; !scales && row < p->own_rows; row++) put_gate(m, &p->gate, row, m->scales);
  if (!scales) p->own_rows = 0;
  return orion_variant_run(p->variant, err);
}

// ---- what others call -----------------------------------------------------------------------------------------------

orion_status orion_mix_create(orion_session *session, const orion_mix_part *parts, size_t n, orion_mix **out,
                              orion_error *err) {
  orion_mixes *s = orion_session_mixes(session);
  ORION_TRY(check_parts(s, parts, n, err));
  orion_mix *m = orion_alloc_zero(s->allocator, 1, sizeof *m);
  if (!m) return ORION_OOM(err, "mix");
  m->allocator = s->allocator;
  m->session = s;
  orion_arena_init(&m->arena, s->allocator);
  orion_status status = fill(m, parts, n, err);
  for (size_t i = 0; status == ORION_OK && i < s->n_programs; i++) status = add_program(m, s->programs[i], err);
  m->next = s->list;
  s->list = m;
  if (status == ORION_OK) {
    *out = m;
  } else {
    orion_mix_destroy(m);
  }
  return status;
}

void orion_mix_destroy(orion_mix *m) {
  if (!m) return;
  orion_mix **at = &m->session->list;
  while (*at != m) at = &(*at)->next;
  *at = m->next;
  if (m->session->used == m) m->session->used = NULL;
  while (m->n_programs) drop_last_program(m);
  for (size_t i = 0; i < m->n_surfaces; i++) orion_surface_destroy(m->surfaces[i].surface);
  orion_arena_deinit(&m->arena);
  orion_free(m->allocator, m, 1, sizeof *m);
}

void orion_mix_scale(orion_mix *m, const double *scales) {
  memcpy(m->scales, scales, m->n_parts * sizeof *scales);
  for (size_t i = 0; i < m->n_programs; i++) m->programs[i].own_rows = m->programs[i].gate.rows;
}

void orion_session_use(orion_session *session, orion_mix *mix) { orion_session_mixes(session)->used = mix; }
orion_mix *orion_session_used(const orion_session *session) {
  return orion_session_mixes((orion_session *)(uintptr_t)session)->used;
}

// The proof that an update takes effect.
#include "base/rng.h"
#include "train/update.h"

enum { CANARY_BATCH = 1 };

// The smallest model with all that `config` has.
static orion_config small_config(const orion_config *config, int64_t seq) {
  orion_config c = *config;
  c.heads = 2;
  c.kv_heads = config->kv_heads < config->heads ? 1 : 2;
  c.head_dim = 16;
  c.dim = c.heads * c.head_dim;
  c.hidden = 48;
  c.layers = 1;
  c.vocab = 64;
  c.context = seq;
  c.bos = 0;
  c.n_eos = 0;
  return c;
}

// What a run gives: the loss, then all gradients.
static orion_status run(orion_step *s, const orion_params *p, float *out, orion_error *err) {
  const orion_step_spec *spec = orion_step_spec_of(s);
  int32_t ids[256];
  for (int32_t i = 0; i <= spec->seq; i++) ids[i] = (i * 7 + 3) % 64;
  double loss;
  ORION_TRY(orion_step_run(s, ids, ids + 1, 1, &loss, err));
  *out++ = (float)loss;
  for (size_t i = 0; i < p->n; i++) {
    memcpy(out, orion_step_gradients(s)[i], p->list[i].n * sizeof *out);
    out += p->list[i].n;
  }
  return ORION_OK;
}

// Overwrites the masters with those of another random model, lively enough that every gradient moves.
static void change_weights(orion_params *p, uint64_t seed) {
  orion_rng r;
  orion_rng_seed(&r, seed, 7);
  for (size_t i = 0; i < p->n; i++) {
    for (size_t k = 0; k < p->list[i].n; k++) {
      p->list[i].value[k] = (p->list[i].matrix ? 0 : 0.75f) + (orion_rng_float(&r) - 0.5f) * 0.5f;
    }
  }
}

typedef struct canary {
  const orion_allocator *allocator;
  orion_device *device;
  const orion_target *target;
  const orion_step_source *source;
  orion_step_spec spec;
  orion_lora_slots lora;   // what is trained; rank 0: all weights
  orion_model *model;
  orion_params *params, *fresh;
  orion_step *step;
  float *before, *after, *want;
  size_t n;                // of each
} canary;

static orion_status compile(canary *c, orion_params *params, orion_step **out, orion_error *err) {
  return orion_step_create(params, c->device, c->target, c->source, &c->spec, out, err);
}

static orion_status update(canary *c, orion_update_kind kind, orion_error *err) {
  if (kind != ORION_UPDATE_RECOMPILE) return orion_step_refresh(c->step, err);
  orion_step_destroy(c->step);
  c->step = NULL;
  return compile(c, c->params, &c->step, err);
}

static orion_status compare(const canary *c, orion_error *err) {
  if (memcmp(c->after, c->want, c->n * sizeof *c->after) != 0) {
    bool stale = memcmp(c->after, c->before, c->n * sizeof *c->after) == 0;
    return ORION_FAIL(err, ORION_REFUSED, "%s", stale ? "outputs stay as they were" : "outputs differ from a fresh compile's");
  }
  size_t at = 1;
  if (c->after[0] == c->before[0]) return ORION_FAIL(err, ORION_REFUSED, "the loss stays as it was");
  for (size_t i = 0; i < c->params->n; i++) {
    size_t bytes = c->params->list[i].n * sizeof *c->after;
    if (memcmp(c->after + at, c->before + at, bytes) == 0) {
      return ORION_FAIL(err, ORION_REFUSED, "the gradient of %s stays as it was", c->params->list[i].name);
    }
    at += c->params->list[i].n;
  }
  return ORION_OK;
}

static orion_status make_params(canary *c, orion_params **out, orion_error *err) {
  if (c->lora.rank == 0) return orion_params_create(c->model, c->device, out, err);
  return orion_params_create_lora(c->model, c->device, &c->lora, 1, NULL, 1, out, err);
}

static orion_status prove(canary *c, const orion_config *config, orion_update_kind kind, orion_error *err) {
  ORION_TRY(orion_model_random(c->allocator, config, 1, &c->model, err));
  ORION_TRY(make_params(c, &c->params, err));
  ORION_TRY(make_params(c, &c->fresh, err));
  c->n = c->params->elements + 1;
  c->before = orion_alloc_zero(c->allocator, c->n, sizeof *c->before);
  c->after = orion_alloc_zero(c->allocator, c->n, sizeof *c->after);
  c->want = orion_alloc_zero(c->allocator, c->n, sizeof *c->want);
  if (!c->before || !c->after || !c->want) return ORION_OOM(err, "update");
  // Fresh weights to begin with: ones and zeros are what a compiler might merge, or fold away.
  ORION_TRY(compile(c, c->params, &c->step, err));
  ORION_TRY(run(c->step, c->params, c->before, err));
  for (uint64_t seed = 2; seed <= 3; seed++) {  // twice: the first update of a constant may go another way than later ones
    change_weights(c->params, seed);
    ORION_TRY(update(c, kind, err));
    ORION_TRY(run(c->step, c->params, c->after, err));
    change_weights(c->fresh, seed);
    orion_step *step;
    ORION_TRY(compile(c, c->fresh, &step, err));
    orion_status status = run(step, c->fresh, c->want, err);
    orion_step_destroy(step);
    if (status != ORION_OK) return status;
    ORION_TRY(compare(c, err));
    memcpy(c->before, c->after, c->n * sizeof *c->after);
  }
  return ORION_OK;
}

orion_status orion_update_prove(const orion_config *config, const orion_lora_slots *lora, orion_device *device, const orion_target *target,
                                const orion_step_source *source, const orion_step_spec *like, orion_update_kind kind,
                                const orion_allocator *a, orion_error *err) {
  int64_t seq = target->width_multiple > 16 ? target->width_multiple : 16;
  orion_config small = small_config(config, seq);
  canary c = {.allocator = orion_allocator_or_default(a), .device = device, .target = target, .source = source,
              .lora = *lora};
  c.spec = (orion_step_spec){.batch = CANARY_BATCH, .seq = seq, .compute = like->compute, .weights = like->weights,
                             .weights_as_inputs = kind == ORION_UPDATE_INPUT,
                             .constants_change = kind == ORION_UPDATE_DELTA, .gradients = true, .quantise = like->quantise,
                             .recompute = like->recompute, .kept_as = like->kept_as};
  orion_status status = seq < 256 ? prove(&c, &small, kind, err) : ORION_FAIL(err, ORION_INTERNAL, "canary: too wide");
  orion_step_destroy(c.step);
  orion_free(c.allocator, c.before, c.n, sizeof *c.before);
  orion_free(c.allocator, c.after, c.n, sizeof *c.after);
  orion_free(c.allocator, c.want, c.n, sizeof *c.want);
  orion_params_destroy(c.fresh);
  orion_params_destroy(c.params);
  orion_model_close(c.model);
  return status;
}

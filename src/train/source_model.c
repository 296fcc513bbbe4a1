// The program of a step from the model's own graph: the graph for training, its gradient by rule.
#include "grad/grad.h"
#include "model/graph.h"
#include "train/trainer.h"

static orion_status name_weights(const orion_params *p, const orion_model *view, orion_arena *names, const char **out_names,
                                 orion_error *err) {
  orion_weight *list = ORION_ARENA_ARRAY(names, orion_weight, p->n);
  if (!list) return ORION_OOM(err, "weights");
  if (orion_model_weights(view, list, p->n) != p->n) return ORION_FAIL(err, ORION_INTERNAL, "weights: two counts of them");
  for (size_t i = 0; i < p->n; i++) out_names[i] = list[i].name;
  return ORION_OK;
}

// The gradient of `forward`, which is destroyed, by the weights of those names; or `forward` itself.
static orion_status differentiate(orion_program *forward, const orion_step_spec *spec, const char *const *names, size_t n,
                                  orion_program **out, orion_error *err) {
  *out = forward;
  if (!spec->gradients) return ORION_OK;
  const orion_grad_seed seed = {"loss", "loss_scale"};
  orion_grad_options options = {.seeds = &seed, .n_seeds = 1, .wrt = names, .n_wrt = n};
  orion_recompute_apply(spec->recompute, spec->kept_as, &options);
  orion_status status = orion_grad(forward, &options, out, NULL, err);
  orion_program_destroy(forward);
  return status;
}

// An adapter's two matrices are inputs, the model's weights constants; what would only make gradients of the latter is not
// built.
static orion_status make_lora(const orion_params *p, const orion_step_spec *spec, orion_program **out, const char **out_names,
                              orion_error *err) {
  orion_train_graph_spec graph = {.batch = spec->batch, .tokens = spec->seq, .compute = spec->compute,
                                  .weights = spec->weights, .lora = p->lora, .lora_scale = p->lora_scale};
  orion_program *forward = NULL;
  for (size_t i = 0; i < p->n; i++) out_names[i] = p->list[i].name;
  ORION_TRY(orion_model_train_graph(p->model, &graph, &forward, err));
  return differentiate(forward, spec, out_names, p->n, out, err);
}

static orion_status make(void *ctx, const orion_params *p, const orion_step_spec *spec, orion_arena *names,
                         orion_program **out, const char **out_names, orion_error *err) {
  if (p->adapter) return make_lora(p, spec, out, out_names, err);
  const orion_data **leaves = ORION_ARENA_ARRAY(names, const orion_data *, p->n);
  if (!leaves) return ORION_OOM(err, "weights");
  orion_model *view;
  ORION_TRY(orion_params_view(p, leaves, &view, err));
  orion_train_graph_spec graph = {.batch = spec->batch, .tokens = spec->seq, .compute = spec->compute,
                                  .weights = spec->weights, .inputs = spec->weights_as_inputs};
  orion_program *forward = NULL;
  orion_status status = name_weights(p, view, names, out_names, err);
  if (status == ORION_OK) status = orion_model_train_graph(view, &graph, &forward, err);
  orion_model_close(view);
  return status == ORION_OK ? differentiate(forward, spec, out_names, p->n, out, err) : status;
}

const orion_step_source orion_step_source_model = {make, NULL};

orion_status orion_trainer_create(const orion_model *model, orion_device *device, const orion_tokenizer *tokenizer,
                                  const orion_train_options *o, orion_trainer **out, orion_error *err) {
  return orion_trainer_create_with(model, device, tokenizer, o, &orion_step_source_model, out, err);
}

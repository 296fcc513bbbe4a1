// The graphs of training: the layers of graph.c between an embedding and a loss, as one program, or in pieces for targets that
// take neither the whole nor gathers.
#include "model/graph_impl.h"

// ---- the whole ------------------------------------------------------------------------------------------------------

static orion_value_id take_rows(graph *g, const char *stem, orion_ref table, orion_ref rows) {
  orion_value_id x = ORION_BUILD(&g->b, stem, ORION_OP_gather, {"x", table}, {"indices", rows},
                                 {"axis", orion_build_int(&g->b, "axis", 0)});
  return orion_graph_as_computed(g, stem, x, g->spec->weights);
}

// The position of each of the B*T tokens in its sequence.
static orion_ref position_of_each(graph *g) {
  int64_t n = g->batch * g->spec->tokens;
  void *bytes;
  const orion_data *data = orion_data_new(g->model->data, ORION_INT32, (size_t)n, 1, &bytes);
  for (int64_t i = 0; data && i < n; i++) ((int32_t *)bytes)[i] = (int32_t)(i % g->spec->tokens);
  return orion_build_weight(&g->b, "position", data, 1, &n);
}

// Rotary tables of every token, constants [B*T, head_dim/2].
static void rotary_tables(graph *g) {
  const orion_config *c = &g->model->config;
  int64_t T = g->spec->tokens, half = c->head_dim / 2, dims[2] = {g->batch * T, half};
  void *cosines, *sines;
  const orion_data *cos = orion_data_new(g->model->data, ORION_FP32, (size_t)dims[0], (size_t)half, &cosines);
  const orion_data *sin = orion_data_new(g->model->data, ORION_FP32, (size_t)dims[0], (size_t)half, &sines);
  for (int64_t i = 0; cos && sin && i < dims[0]; i++) {
    orion_config_rope(c, i % T, (float *)cosines + i * half, (float *)sines + i * half);
  }
  if (!cos || !sin) {
    orion_builder_fail(&g->b, ORION_NO_MEMORY, "rotary tables: out of memory");
    return;
  }
  g->cos = orion_graph_constant(g, "cos", cos, g->spec->compute, 2);
  g->sin = orion_graph_constant(g, "sin", sin, g->spec->compute, 2);
}

static void training(graph *g) {
  const orion_model *m = g->model;
  orion_builder *b = &g->b;
  int64_t n = g->batch * g->spec->tokens;
  orion_value_id tokens = orion_build_param(b, "tokens", ORION_INT32, 1, &n);
  orion_value_id targets = orion_build_param(b, "targets", ORION_INT32, 1, &n);
  orion_ref embedding = orion_graph_stored(g, WEIGHT(m, embedding), 2, g->spec->weights);
  orion_value_id x = take_rows(g, "embedded", embedding, tokens);
  if (m->positions) {
    orion_ref positions = orion_graph_stored(g, WEIGHT(m, positions), 2, g->spec->weights);
    x = ORION_BUILD(b, "x", ORION_OP_add, {"x", x}, {"y", take_rows(g, "placed", positions, position_of_each(g))});
  }
  if (m->config.rope) rotary_tables(g);
  orion_value_id h = orion_graph_norm(g, "h", orion_graph_layers(g, x), WEIGHT(m, norm), WEIGHT(m, norm_bias));
  orion_ref classifier = m->config.tied ? orion_graph_as_computed(g, "embedding", embedding, g->spec->weights)
                                        : orion_graph_matrix(g, WEIGHT(m, classifier));
  orion_value_id logits = ORION_BUILD(b, "logits", ORION_OP_linear, {"x", h}, {"weight", classifier});
  orion_build_output(b, ORION_BUILD(b, "loss", ORION_OP_orion_cross_entropy, {"logits", logits}, {"targets", targets}), "loss");
}

// ---- in pieces ------------------------------------------------------------------------------------------------------

static orion_value_id binary(graph *g, const char *stem, orion_opcode code, orion_ref x, orion_ref y) {
  return ORION_BUILD(&g->b, stem, code, {"x", x}, {"y", y});
}

static orion_value_id over_classes(graph *g, const char *stem, orion_opcode code, orion_ref x) {
  return ORION_BUILD(&g->b, stem, code, {"x", x}, {"axes", orion_build_ints(&g->b, "axes", 1, (int64_t[]){-1})},
                     {"keep_dims", orion_build_bool(&g->b, "keep", true)});
}

static orion_value_id product(graph *g, const char *stem, orion_ref x, orion_ref y, bool tx) {
  return ORION_BUILD(&g->b, stem, ORION_OP_matmul, {"x", x}, {"y", y}, {"transpose_x", orion_build_bool(&g->b, "tx", tx)},
                     {"transpose_y", orion_build_bool(&g->b, "ty", false)});
}

static orion_value_id unit_input(graph *g, const char *name, int64_t cols) {
  int64_t dims[2] = {g->batch * g->spec->tokens, cols};
  return orion_build_param(&g->b, name, g->spec->compute, 2, dims);
}

// |digit of the target - digit of the class|, [N, classes].
static orion_value_id digit_distance(graph *g, const char *input, bool high) {
  int64_t n = g->unit->classes;
  void *bytes;
  const orion_data *data = orion_data_new(g->model->data, g->spec->compute, (size_t)n, 1, &bytes);
  for (int64_t i = 0; data && i < n; i++) {
    int64_t digit = high ? i / ORION_CLASS_BASE : i % ORION_CLASS_BASE;
    orion_store_double(g->spec->compute, bytes, (size_t)i, (double)digit);
  }
  if (!data) {
    orion_builder_fail(&g->b, ORION_NO_MEMORY, "classes: out of memory");
    return ORION_NONE;
  }
  orion_ref digits = orion_build_weight(&g->b, high ? "high" : "low", data, 1, &n);
  orion_value_id apart = binary(g, high ? "high_apart" : "low_apart", ORION_OP_sub, unit_input(g, input, 1), digits);
  return ORION_BUILD(&g->b, high ? "high_off" : "low_off", ORION_OP_abs, {"x", apart});
}

// 1 at the target, else 0, without a comparison: max(0, 1 - distance of the digits).
static orion_value_id hot(graph *g) {
  orion_value_id high = digit_distance(g, "target_high", true), low = digit_distance(g, "target_low", false);
  orion_value_id off = binary(g, "off", ORION_OP_add, high, low);
  orion_value_id near = binary(g, "near", ORION_OP_sub, orion_build_float(&g->b, "one", g->spec->compute, 1), off);
  return ORION_BUILD(&g->b, "hot", ORION_OP_relu, {"x", near});
}

static orion_ref class_weights(graph *g) {
  const orion_unit_spec *u = g->unit;
  uint32_t *index = ORION_ARENA_ARRAY(&g->b.f->program->arena, uint32_t, (size_t)u->classes);
  for (int64_t i = 0; index && i < u->classes; i++) index[i] = (uint32_t)(u->first + i);
  const orion_data *all = g->model->classifier;
  const orion_data *some = index ? orion_data_take_rows(g->model->data, all, (size_t)u->classes, index) : NULL;
  if (some) return orion_graph_matrix(g, (named){"classifier", some});
  orion_builder_fail(&g->b, ORION_NO_MEMORY, "classes: out of memory");
  return ORION_NONE;
}

static void layer_unit(graph *g) {
  orion_value_id x = unit_input(g, "x", g->model->config.dim);
  if (g->model->config.rope) rotary_tables(g);
  orion_build_output(&g->b, orion_graph_layer(g, x, (int)g->unit->layer), "y");
}

static void norm_unit(graph *g) {
  const orion_model *m = g->model;
  orion_value_id x = unit_input(g, "x", m->config.dim);
  orion_build_output(&g->b, orion_graph_norm(g, "y", x, WEIGHT(m, norm), WEIGHT(m, norm_bias)), "y");
}

// exp(logit - peak) of each class.
static orion_value_id powers(graph *g, orion_ref logits, orion_ref peak) {
  return ORION_BUILD(&g->b, "e", ORION_OP_exp, {"x", binary(g, "z", ORION_OP_sub, logits, peak)});
}

static void loss_unit(graph *g) {
  orion_builder *b = &g->b;
  orion_value_id h = unit_input(g, "h", g->model->config.dim);
  orion_value_id logits = ORION_BUILD(b, "logits", ORION_OP_linear, {"x", h}, {"weight", class_weights(g)});
  orion_value_id max = over_classes(g, "max", ORION_OP_reduce_max, logits);
  orion_value_id sum = over_classes(g, "sum", ORION_OP_reduce_sum, powers(g, logits, max));
  orion_value_id picked = over_classes(g, "picked", ORION_OP_reduce_sum, binary(g, "at_target", ORION_OP_mul, logits, hot(g)));
  orion_build_output(b, max, "max");
  orion_build_output(b, sum, "sum");
  orion_build_output(b, picked, "picked");
}

static void loss_grad_unit(graph *g) {
  orion_builder *b = &g->b;
  int64_t dim = g->model->config.dim;
  orion_value_id h = unit_input(g, "h", dim), dh_in = unit_input(g, "dh_in", dim), peak = unit_input(g, "peak", 1);
  orion_value_id share = unit_input(g, "share", 1), weight = unit_input(g, "weight", 1);
  orion_ref classes = class_weights(g);
  orion_value_id logits = ORION_BUILD(b, "logits", ORION_OP_linear, {"x", h}, {"weight", classes});
  orion_value_id p = binary(g, "p", ORION_OP_mul, powers(g, logits, peak), share);
  orion_value_id d = binary(g, "d", ORION_OP_sub, p, binary(g, "target", ORION_OP_mul, hot(g), weight));
  orion_build_output(b, binary(g, "dh", ORION_OP_add, dh_in, product(g, "dh_part", d, classes, false)), "dh");
  orion_build_output(b, product(g, "d_classifier", d, h, true), "d_classifier");
}

// ---- from specifications ----

orion_status orion_model_train_graph(const orion_model *m, const orion_train_graph_spec *spec, orion_program **out,
                                     orion_error *err) {
  const orion_graph_spec shared = {
      .tokens = spec->tokens, .compute = spec->compute, .weights = spec->weights, .cache = spec->compute,
      .lora = spec->lora};
  ORION_TRY(orion_graph_check(&shared, err));
  if (spec->tokens > m->config.context) {
    return ORION_FAIL(err, ORION_INVALID, "graph: sequences of %lld tokens (want 1 to the model's context of %lld)",
                      (long long)spec->tokens, (long long)m->config.context);
  }
  if (spec->batch < 1 || spec->batch > (1 << 24) / spec->tokens) {
    return ORION_FAIL(err, ORION_INVALID, "graph: %lld sequences of %lld tokens at once (want 1 to %d)",
                      (long long)spec->batch, (long long)spec->tokens, (1 << 24) / (int)spec->tokens);
  }
  graph g = {.model = m, .spec = &shared, .batch = spec->batch, .training = true, .inputs = spec->inputs,
             .lora_scale = spec->lora_scale};
  return orion_graph_build(&g, training, out, err);
}

static orion_status check_unit(const orion_config *c, const orion_unit_spec *u, orion_error *err) {
  if (u->batch < 1 || u->tokens < 1 || u->batch > (1 << 24) / u->tokens) {
    return ORION_FAIL(err, ORION_INVALID, "graph: %lld sequences of %lld tokens at once", (long long)u->batch,
                      (long long)u->tokens);
  }
  bool loss = u->kind == ORION_UNIT_LOSS || u->kind == ORION_UNIT_LOSS_GRAD;
  bool classes = u->first >= 0 && u->classes > 0 && u->classes <= ORION_MAX_UNIT_CLASSES && u->first + u->classes <= c->vocab;
  if ((loss && !classes) || (u->kind == ORION_UNIT_LAYER && (u->layer < 0 || u->layer >= c->layers))) {
    return ORION_FAIL(err, ORION_INVALID, "graph: no such layer, or classes [%lld, %lld) of %lld", (long long)u->first,
                      (long long)(u->first + u->classes), (long long)c->vocab);
  }
  return ORION_OK;
}

orion_status orion_model_unit_graph(const orion_model *m, const orion_unit_spec *spec, orion_program **out,
                                    orion_error *err) {
  const orion_graph_spec shared = {
      .tokens = spec->tokens, .compute = spec->compute, .weights = spec->weights, .cache = spec->compute};
  ORION_TRY(orion_graph_check(&shared, err));
  ORION_TRY(check_unit(&m->config, spec, err));
  graph g = {.model = m, .spec = &shared, .batch = spec->batch, .training = true, .inputs = spec->inputs, .unit = spec};
  static void (*const units[])(graph *g) = {layer_unit, norm_unit, loss_unit, loss_grad_unit};
  return orion_graph_build(&g, units[spec->kind], out, err);
}

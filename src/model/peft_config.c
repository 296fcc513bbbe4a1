#include "model/peft_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/lora.h"

// ---- reading ----

static bool is_empty(const json_t *v) {
  if (!v || json_is_null(v) || json_is_false(v)) return true;
  if (json_is_array(v)) return json_array_size(v) == 0;
  return json_is_object(v) && json_object_size(v) == 0;
}

// Settings that change what an adapter is. Whoever writes them means more than W + scale * B A.
static void refuse_variants(orion_json_reader *r) {
  static const struct {
    const char *key, *why;
  } variants[] = {
      {"use_dora", "DoRA scales the base weights too; train without it, or merge it where it was made"},
      {"use_qalora", "QALoRA pools its inputs; train without it"},
      {"lora_bias", "a bias in B is no low-rank product; train without it"},
      {"layer_replication", "it makes a model of other layers"},
      {"trainable_token_indices", "it changes the embedding"},
      {"target_parameters", "it changes what is no projection"},
      {"megatron_config", "its tensors are cut for several machines"},
  };
  for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
    if (!is_empty(json_object_get(r->object, variants[i].key))) {
      orion_json_refuse(r, ORION_UNSUPPORTED, variants[i].key, variants[i].why);
    }
  }
  if (strcmp(orion_json_string(r, "bias", "none"), "none") != 0) {
    orion_json_refuse(r, ORION_UNSUPPORTED, "bias", "trained biases are no part of A and B; want \"none\"");
  }
  const json_t *start = orion_json_member(r, "init_lora_weights");
  static const char *const changes_base[] = {"pissa", "olora", "loftq", "corda"};
  for (size_t i = 0; json_is_string(start) && i < 4; i++) {
    if (strncmp(json_string_value(start), changes_base[i], strlen(changes_base[i])) == 0) {
      orion_json_refuse(r, ORION_UNSUPPORTED, "init_lora_weights", "such a start changes the base weights; have PEFT convert it");
    }
  }
}

// Only the classifier may be saved whole beside the adapter.
static void read_saved_modules(orion_json_reader *r, orion_peft_config *out) {
  const json_t *list = orion_json_member(r, "modules_to_save"), *item;
  size_t i;
  json_array_foreach(list, i, item) {
    if (json_is_string(item) && strcmp(json_string_value(item), "lm_head") == 0) {
      out->saves_head = true;
    } else {
      orion_json_refuse(r, ORION_UNSUPPORTED, "modules_to_save", "only lm_head can be saved whole beside an adapter");
    }
  }
  if (list && !json_is_array(list)) orion_json_refuse(r, ORION_FORMAT, "modules_to_save", "want a list of names");
}

// Keys are names, or regular expressions that only escape dots. Others would be read otherwise than they were meant.
static void check_pattern(orion_json_reader *r, const char *key, bool integers) {
  const json_t *patterns = orion_json_member(r, key);
  const char *name;
  json_t *value;
  if (patterns && !json_is_object(patterns)) orion_json_refuse(r, ORION_FORMAT, key, "want an object");
  json_object_foreach((json_t *)(uintptr_t)patterns, name, value) {
    double v = json_number_value(value);
    bool fits = integers ? json_is_integer(value) && v >= 1 && v <= ORION_LORA_MAX_RANK : json_is_number(value) && isfinite(v);
    if (!fits) orion_json_refuse(r, ORION_FORMAT, key, integers ? "want ranks from 1 to 4096" : "want numbers");
    if (strpbrk(name, "^$*+?()[]{}|")) orion_json_refuse(r, ORION_UNSUPPORTED, key, "want plain names of modules as keys");
  }
}

orion_status orion_peft_config_read(const char *text, size_t n, const char *name, orion_peft_config *out, orion_error *err) {
  *out = (orion_peft_config){0};
  ORION_TRY(orion_json_parse(text, n, name, &out->root, err));
  orion_json_reader r = {.object = out->root, .name = name, .path = "", .err = err};
  if (strcmp(orion_json_string(&r, "peft_type", NULL), "LORA") != 0) {
    orion_json_refuse(&r, ORION_UNSUPPORTED, "peft_type", "only \"LORA\" is known");
  }
  refuse_variants(&r);
  read_saved_modules(&r, out);
  out->rank = orion_json_int(&r, "r", ORION_JSON_REQUIRED, 1, ORION_LORA_MAX_RANK);
  out->alpha = orion_json_number(&r, "lora_alpha", 8, -1e9, 1e9);
  out->rslora = orion_json_bool(&r, "use_rslora", false);
  orion_json_bool(&r, "fan_in_fan_out", false);  // says how B A lies in the file of the model, which the model knows
  check_pattern(&r, "rank_pattern", true);
  check_pattern(&r, "alpha_pattern", false);
  if (r.status != ORION_OK) orion_peft_config_free(out);
  return r.status;
}

void orion_peft_config_free(orion_peft_config *c) {
  json_decref(c->root);
  c->root = NULL;
}

// Whether `key`, in which "\." is a dot, is `module` or its end after a dot.
static bool names_module(const char *key, const char *module) {
  size_t k = strlen(key), m = strlen(module);
  while (k > 0 && m > 0) {
    if (key[k - 1] == '\\') {  // before a dot that was compared already
      k--;
      continue;
    }
    if (key[--k] != module[--m]) return false;
  }
  while (k > 0 && key[k - 1] == '\\') k--;
  return k == 0 && (m == 0 || module[m - 1] == '.');
}

static const json_t *pattern_of(const orion_peft_config *c, const char *key, const char *module) {
  json_t *patterns = json_object_get(c->root, key), *value;
  const char *name;
  json_object_foreach(patterns, name, value) {
    if (names_module(name, module)) return value;
  }
  return NULL;
}

int64_t orion_peft_rank(const orion_peft_config *c, const char *module) {
  const json_t *v = pattern_of(c, "rank_pattern", module);
  return v ? json_integer_value(v) : c->rank;
}

double orion_peft_scale(const orion_peft_config *c, const char *module, int64_t rank) {
  const json_t *v = pattern_of(c, "alpha_pattern", module);
  double alpha = v ? json_number_value(v) : c->alpha;
  return alpha / (c->rslora ? sqrt((double)rank) : (double)rank);
}

// ---- writing ----

static bool add_target(json_t *targets, const char *name) {
  size_t i;
  json_t *item;
  json_array_foreach(targets, i, item) {
    if (strcmp(json_string_value(item), name) == 0) return true;
  }
  return json_array_append_new(targets, json_string(name)) == 0;
}

static json_t *config_json(const orion_peft_module *modules, size_t n, bool fan_in_fan_out, bool head) {
  json_t *targets = json_array(), *ranks = json_object(), *alphas = json_object();
  bool ok = targets && ranks && alphas;
  for (size_t i = 0; ok && i < n; i++) {
    const orion_peft_module *m = &modules[i];
    ok = add_target(targets, m->target);
    if (ok && m->rank != modules[0].rank) ok = json_object_set_new(ranks, m->name, json_integer(m->rank)) == 0;
    if (ok && m->alpha != modules[0].alpha) ok = json_object_set_new(alphas, m->name, json_real(m->alpha)) == 0;
  }
  if (!ok) {
    json_decref(targets);
    json_decref(ranks);
    json_decref(alphas);
    return NULL;
  }
  double alpha = modules[0].alpha;
  json_t *number = alpha == floor(alpha) ? json_integer((json_int_t)alpha) : json_real(alpha);  // PEFT expects an int there
  json_t *saved = head ? json_pack("[s]", "lm_head") : json_null();
  return json_pack("{s:s, s:s, s:n, s:I, s:o, s:f, s:s, s:b, s:o, s:o, s:o, s:o, s:b, s:b, s:b, s:b}", "peft_type", "LORA",
                   "task_type", "CAUSAL_LM", "base_model_name_or_path", "r", (json_int_t)modules[0].rank, "lora_alpha",
                   number, "lora_dropout", 0.0, "bias", "none", "fan_in_fan_out", fan_in_fan_out, "target_modules", targets,
                   "rank_pattern", ranks, "alpha_pattern", alphas, "modules_to_save", saved, "use_rslora", false, "use_dora",
                   false, "inference_mode", true, "init_lora_weights", true);
}

orion_status orion_peft_config_text(const orion_peft_module *modules, size_t n, bool fan_in_fan_out, bool head,
                                    orion_strbuf *out, orion_error *err) {
  json_t *root = n ? config_json(modules, n, fan_in_fan_out, head) : NULL;
  if (!root) return ORION_OOM(err, "adapter_config.json");
  orion_status status = orion_json_text(root, out, err);
  json_decref(root);
  return status;
}

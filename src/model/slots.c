// The tables. GPT-2 keeps its matrices as "Conv1D", [in, out], with Q, K and V side by side in one.
#include "model/slots.h"

#define DIM ORION_EXTENT_DIM
#define HIDDEN ORION_EXTENT_HIDDEN
#define Q ORION_EXTENT_Q
#define K ORION_EXTENT_K
#define HEAD ORION_EXTENT_HEAD
#define NONE ORION_EXTENT_NONE
#define LAYER(field) offsetof(orion_layer_weights, field), #field
#define MODEL(field) offsetof(orion_model, field), #field

static const orion_slot gpt2_layer[] = {
    {LAYER(norm1), "ln_1.weight", DIM, NONE, ORION_NEED_ALWAYS, ORION_START_ONES, false, 0, 0},
    {LAYER(norm1_bias), "ln_1.bias", DIM, NONE, ORION_NEED_ALWAYS, ORION_START_ZEROS, false, 0, 0},
    {LAYER(wq), "attn.c_attn.weight", Q, DIM, ORION_NEED_ALWAYS, ORION_START_NORMAL, true, 0, 3},
    {LAYER(wk), "attn.c_attn.weight", K, DIM, ORION_NEED_ALWAYS, ORION_START_NORMAL, true, 1, 3},
    {LAYER(wv), "attn.c_attn.weight", K, DIM, ORION_NEED_ALWAYS, ORION_START_NORMAL, true, 2, 3},
    {LAYER(bq), "attn.c_attn.bias", Q, NONE, ORION_NEED_QKV_BIAS, ORION_START_ZEROS, false, 0, 3},
    {LAYER(bk), "attn.c_attn.bias", K, NONE, ORION_NEED_QKV_BIAS, ORION_START_ZEROS, false, 1, 3},
    {LAYER(bv), "attn.c_attn.bias", K, NONE, ORION_NEED_QKV_BIAS, ORION_START_ZEROS, false, 2, 3},
    {LAYER(wo), "attn.c_proj.weight", DIM, Q, ORION_NEED_ALWAYS, ORION_START_RESIDUAL, true, 0, 0},
    {LAYER(bo), "attn.c_proj.bias", DIM, NONE, ORION_NEED_OUT_BIAS, ORION_START_ZEROS, false, 0, 0},
    {LAYER(norm2), "ln_2.weight", DIM, NONE, ORION_NEED_ALWAYS, ORION_START_ONES, false, 0, 0},
    {LAYER(norm2_bias), "ln_2.bias", DIM, NONE, ORION_NEED_ALWAYS, ORION_START_ZEROS, false, 0, 0},
    {LAYER(up), "mlp.c_fc.weight", HIDDEN, DIM, ORION_NEED_ALWAYS, ORION_START_NORMAL, true, 0, 0},
    {LAYER(up_bias), "mlp.c_fc.bias", HIDDEN, NONE, ORION_NEED_MLP_BIAS, ORION_START_ZEROS, false, 0, 0},
    {LAYER(down), "mlp.c_proj.weight", DIM, HIDDEN, ORION_NEED_ALWAYS, ORION_START_RESIDUAL, true, 0, 0},
    {LAYER(down_bias), "mlp.c_proj.bias", DIM, NONE, ORION_NEED_MLP_BIAS, ORION_START_ZEROS, false, 0, 0},
};

static const orion_slot llama_layer[] = {
    {LAYER(norm1), "input_layernorm.weight", DIM, NONE, ORION_NEED_ALWAYS, ORION_START_ONES, false, 0, 0},
    {LAYER(wq), "self_attn.q_proj.weight", Q, DIM, ORION_NEED_ALWAYS, ORION_START_NORMAL, false, 0, 0},
    {LAYER(wk), "self_attn.k_proj.weight", K, DIM, ORION_NEED_ALWAYS, ORION_START_NORMAL, false, 0, 0},
    {LAYER(wv), "self_attn.v_proj.weight", K, DIM, ORION_NEED_ALWAYS, ORION_START_NORMAL, false, 0, 0},
    {LAYER(bq), "self_attn.q_proj.bias", Q, NONE, ORION_NEED_QKV_BIAS, ORION_START_ZEROS, false, 0, 0},
    {LAYER(bk), "self_attn.k_proj.bias", K, NONE, ORION_NEED_QKV_BIAS, ORION_START_ZEROS, false, 0, 0},
    {LAYER(bv), "self_attn.v_proj.bias", K, NONE, ORION_NEED_QKV_BIAS, ORION_START_ZEROS, false, 0, 0},
    {LAYER(q_norm), "self_attn.q_norm.weight", HEAD, NONE, ORION_NEED_QK_NORM, ORION_START_ONES, false, 0, 0},
    {LAYER(k_norm), "self_attn.k_norm.weight", HEAD, NONE, ORION_NEED_QK_NORM, ORION_START_ONES, false, 0, 0},
    {LAYER(wo), "self_attn.o_proj.weight", DIM, Q, ORION_NEED_ALWAYS, ORION_START_RESIDUAL, false, 0, 0},
    {LAYER(bo), "self_attn.o_proj.bias", DIM, NONE, ORION_NEED_OUT_BIAS, ORION_START_ZEROS, false, 0, 0},
    {LAYER(norm2), "post_attention_layernorm.weight", DIM, NONE, ORION_NEED_ALWAYS, ORION_START_ONES, false, 0, 0},
    {LAYER(gate), "mlp.gate_proj.weight", HIDDEN, DIM, ORION_NEED_ALWAYS, ORION_START_NORMAL, false, 0, 0},
    {LAYER(gate_bias), "mlp.gate_proj.bias", HIDDEN, NONE, ORION_NEED_MLP_BIAS, ORION_START_ZEROS, false, 0, 0},
    {LAYER(up), "mlp.up_proj.weight", HIDDEN, DIM, ORION_NEED_ALWAYS, ORION_START_NORMAL, false, 0, 0},
    {LAYER(up_bias), "mlp.up_proj.bias", HIDDEN, NONE, ORION_NEED_MLP_BIAS, ORION_START_ZEROS, false, 0, 0},
    {LAYER(down), "mlp.down_proj.weight", DIM, HIDDEN, ORION_NEED_ALWAYS, ORION_START_RESIDUAL, false, 0, 0},
    {LAYER(down_bias), "mlp.down_proj.bias", DIM, NONE, ORION_NEED_MLP_BIAS, ORION_START_ZEROS, false, 0, 0},
};

static const orion_slot gpt2_model[] = {
    {MODEL(embedding), "wte.weight", ORION_EXTENT_VOCAB, DIM, ORION_NEED_ALWAYS, ORION_START_NORMAL, false, 0, 0},
    {MODEL(positions), "wpe.weight", ORION_EXTENT_CONTEXT, DIM, ORION_NEED_ALWAYS, ORION_START_NORMAL, false, 0, 0},
    {MODEL(norm), "ln_f.weight", DIM, NONE, ORION_NEED_ALWAYS, ORION_START_ONES, false, 0, 0},
    {MODEL(norm_bias), "ln_f.bias", DIM, NONE, ORION_NEED_ALWAYS, ORION_START_ZEROS, false, 0, 0},
};

static const orion_slot llama_model[] = {
    {MODEL(embedding), "embed_tokens.weight", ORION_EXTENT_VOCAB, DIM, ORION_NEED_ALWAYS, ORION_START_NORMAL, false, 0,
     0},
    {MODEL(norm), "norm.weight", DIM, NONE, ORION_NEED_ALWAYS, ORION_START_ONES, false, 0, 0},
};

const orion_slot orion_slot_classifier = {
    MODEL(classifier), "lm_head.weight", ORION_EXTENT_VOCAB, DIM, ORION_NEED_UNTIED, ORION_START_NORMAL, false, 0, 0};

#define TABLE(t) (*out_n = sizeof(t) / sizeof *(t), (t))

const orion_slot *orion_slots_layer(orion_family family, size_t *out_n) {
  return family == ORION_FAMILY_GPT2 ? TABLE(gpt2_layer) : TABLE(llama_layer);
}

const orion_slot *orion_slots_model(orion_family family, size_t *out_n) {
  return family == ORION_FAMILY_GPT2 ? TABLE(gpt2_model) : TABLE(llama_model);
}

int64_t orion_slot_extent(const orion_config *c, orion_extent e) {
  switch (e) {
    case ORION_EXTENT_NONE: return 1;
    case ORION_EXTENT_DIM: return c->dim;
    case ORION_EXTENT_HIDDEN: return c->hidden;
    case ORION_EXTENT_Q: return c->heads * c->head_dim;
    case ORION_EXTENT_K: return c->kv_heads * c->head_dim;
    case ORION_EXTENT_HEAD: return c->head_dim;
    case ORION_EXTENT_VOCAB: return c->vocab;
    case ORION_EXTENT_CONTEXT: return c->context;
  }
  return 0;
}

bool orion_slot_needed(const orion_config *c, const orion_slot *slot) {
  switch (slot->need) {
    case ORION_NEED_ALWAYS: return true;
    case ORION_NEED_QKV_BIAS: return c->qkv_bias;
    case ORION_NEED_OUT_BIAS: return c->out_bias;
    case ORION_NEED_MLP_BIAS: return c->mlp_bias;
    case ORION_NEED_QK_NORM: return c->qk_norm;
    case ORION_NEED_UNTIED: return !c->tied;
  }
  return false;
}

const orion_data **orion_slot_at(void *base, const orion_slot *slot) {
  return (const orion_data **)(void *)((char *)base + slot->field);
}

const char *orion_family_prefix(orion_family family) { return family == ORION_FAMILY_GPT2 ? "transformer." : "model."; }
const char *orion_family_layers(orion_family family) { return family == ORION_FAMILY_GPT2 ? "h." : "layers."; }

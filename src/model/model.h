// A model: its configuration, and its weights under the names that the families share.
//
// Weights stay where they are (the file is mapped); what differs between formats (GPT-2's [in, out] matrices, its joint
// QKV, llama2.c's interleaved rotary order, bf16) is noted as lazy data. Every matrix is [out, in] here, every vector
// [n], rotary order is "by halves" (Hugging Face).
#ifndef ORION_MODEL_MODEL_H
#define ORION_MODEL_MODEL_H

#include "ir/ir.h"
#include "orion/model.h"

typedef enum orion_family { ORION_FAMILY_GPT2, ORION_FAMILY_LLAMA } orion_family;
typedef enum orion_activation { ORION_ACT_GELU_TANH, ORION_ACT_GELU_ERF, ORION_ACT_SILU, ORION_ACT_RELU } orion_activation;

typedef struct orion_rope_scaling {  // Llama 3.1's: low frequencies divided by factor, high kept, between blended
  bool llama3;
  double linear;                     // plain position scaling: frequencies divided by this; 1 = none
  double factor, low_freq_factor, high_freq_factor;
  int64_t original_context;
} orion_rope_scaling;

typedef struct orion_config {
  orion_family family;
  char model_type[32];          // "gpt2", "llama", "qwen2", "qwen3", "mistral"...
  int64_t vocab, context;       // tokens; positions at most
  int64_t dim, hidden, layers, heads, kv_heads, head_dim;
  double norm_eps;
  bool rope;                    // else learned positions
  double rope_theta;
  orion_rope_scaling rope_scaling;
  bool tied;                    // classifier = embedding
  bool qkv_bias, out_bias, mlp_bias, qk_norm;
  bool gated;                   // SwiGLU-like: down(act(gate) * up); else down(act(up))
  orion_activation activation;
  int64_t bos, eos[8];          // token ids; -1 = none
  int n_eos;
} orion_config;

typedef struct orion_layer_weights {      // absent ones are NULL; Q = heads*head_dim, K = kv_heads*head_dim
  const orion_data *norm1, *norm1_bias;   // [dim], before attention
  const orion_data *wq, *bq, *wk, *bk, *wv, *bv, *wo, *bo;  // [Q,dim] [K,dim] [K,dim] [dim,Q]
  const orion_data *q_norm, *k_norm;      // [head_dim]
  const orion_data *norm2, *norm2_bias;   // [dim], before the feed-forward
  const orion_data *gate, *gate_bias, *up, *up_bias, *down, *down_bias;  // [hidden,dim] [hidden,dim] [dim,hidden]
} orion_layer_weights;

struct orion_model {
  const orion_allocator *allocator;
  orion_config config;
  orion_data_store *data;
  const orion_data *embedding;            // [vocab, dim]
  const orion_data *positions;            // [context, dim] or NULL
  orion_layer_weights *layers;            // config.layers of them
  const orion_data *norm, *norm_bias;     // final, [dim]
  const orion_data *classifier;           // [vocab, dim]; the embedding itself where tied
  uint64_t file_bytes;                    // size of the weight files
  char *path;                             // as given
  char *dir;                              // directory where a tokenizer may be found
};

// orion_model_open and orion_model_close: orion/model.h. Programs built from a model may outlive it: they share its data.

// What training changes, one entry a weight: embedding, learned positions, final norm, classifier where it is not tied,
// then the layers' in the order of orion_layer_weights' table.
typedef struct orion_weight {
  char name[32];                // in graphs: "embedding", "l3_wq": the field's name, after the layer where it is of one
  char tensor[96];              // of Hugging Face: "model.layers.3.self_attn.q_proj.weight"
  bool transposed;              // the tensor is [in, out]
  uint8_t part, parts;          // rows part/parts of it (of the weight as it is here); 0, 0: the whole
  int rank;                     // 1 or 2
  int64_t dims[2];
  const orion_data *const *at;  // where the model has it
} orion_weight;
// Fills at most `cap` entries; returns how many there are.
size_t orion_model_weights(const orion_model *m, orion_weight *out, size_t cap);

// config.json's text to a checked configuration. `name` is for messages.
orion_status orion_config_parse(const char *json, size_t n, const char *name, orion_config *out, orion_error *err);
uint64_t orion_config_parameters(const orion_config *c);  // number of weights

// Random weights as GPT-2 / Llama initialise (normal of std 0.02, residual projections scaled by 1/sqrt(2*layers)).
orion_status orion_model_random(const orion_allocator *a, const orion_config *config, uint64_t seed, orion_model **out,
                                orion_error *err);
// Writes model.safetensors and config.json into a directory, each atomically, under Hugging Face names. dtype: fp16, fp32,
// bf16, or int8 or int4 for the matrices (docs/quantisation.md).
orion_status orion_model_save(const orion_model *m, const char *dir, orion_dtype dtype, orion_error *err);
// The same as a llama2.c file, fp32, where that format can hold it; else UNSUPPORTED says what it cannot.
orion_status orion_model_save_llama2c(const orion_model *m, const char *path, orion_error *err);

// ORION_NUMERIC naming the first weight that is NaN or infinite once it is of type `dtype` (fp16 or fp32).
orion_status orion_model_check_weights(const orion_model *m, orion_dtype dtype, orion_error *err);

// Row `token` of the embedding plus, where positions are learned, row `position`; fp32 [dim]. Range-checked.
orion_status orion_model_embed(const orion_model *m, int64_t token, int64_t position, float *out, orion_error *err);
// Rotary cosines and sines of one position, fp32 [head_dim/2] each.
void orion_config_rope(const orion_config *c, int64_t position, float *out_cos, float *out_sin);

#endif

// A model with its tokenizer, a device and a session: what infer and eval start from.
#ifndef ORION_CLI_TEXT_MODEL_H
#define ORION_CLI_TEXT_MODEL_H

#include "cli/lora_args.h"
#include "model/model.h"
#include "orion/session.h"
#include "orion/tokenizer.h"

typedef struct text_model {
  orion_model *model;
  orion_tokenizer *tokenizer;   // NULL where none was found and none was asked for
  orion_token_encoder *encoder;
  orion_device *device;
  orion_session *session;
  lora_args lora;               // adapters asked for
  orion_mix *mix;               // in use; NULL: none
  double load_ms;
} text_model;

// Options that both commands have: -m, --tokenizer, --ctx, --weights, --precision, --target, --lora, --passes.
#define CLI_MODEL_OPTIONS                                                                                      \
  {"model", 'm', CLI_TEXT, "MODEL", "Hugging Face directory, or llama2.c FILE.bin", false},                    \
  {"tokenizer", 0, CLI_TEXT, "PATH", "tokenizer file or directory; default: beside the model", false},         \
  {"ctx", 0, CLI_INT, "N", "positions at most; default: what is needed, or the model's", false},                                  \
  {"weights", 0, CLI_TEXT, "T", "fp16 (default), fp32, int8 or int4", false},                               \
  {"precision", 0, CLI_TEXT, "P", "exact (default), or fast: int8 and int4 meet rounded activations", false}, \
  {"target", 0, CLI_TEXT, "T", "compile for cpu (default) or a chip family m1 to m6", false},                  \
  {"lora", 0, CLI_TEXT, "PATH[:SCALE]", "apply a PEFT adapter, SCALE times (default 1); several add up", true},    \
  {"passes", 0, CLI_TEXT, "LIST", "optimisation passes, comma-separated; \"\" for none", false}

// `positions`: no more will be used (0: not known), so where --ctx says nothing the session need not be longer.
orion_status text_model_open(const cli_args *a, bool need_tokenizer, int64_t positions, text_model *out, orion_error *err);
void text_model_close(text_model *t);
// Token ids of a prompt: begin token where the model expects one, special tokens by their spelling.
orion_status text_model_encode(text_model *t, const char *text, size_t size, const int32_t **out_ids, size_t *out_n,
                               orion_error *err);

#endif

// Inside the model room: what config.json means beyond the public structure.
#ifndef ORION_MODEL_CONFIG_H
#define ORION_MODEL_CONFIG_H

#include "base/strbuf.h"
#include "model/model.h"

// orion_config_parse, which also tells whether the file itself said if embedding and classifier are tied.
orion_status orion_config_read(const char *json, size_t n, const char *name, orion_config *out, bool *out_tied_stated,
                               orion_error *err);
// generation_config.json: the tokens that end a text, where it names some, replace config.json's.
orion_status orion_config_read_generation(const char *json, size_t n, const char *name, orion_config *c,
                                          orion_error *err);
// The text of a config.json that Hugging Face's transformers accept; `dtype` is what the weights are stored in. It is
// read back before it is handed out: a configuration that no family can express, or beyond the limits, is refused.
orion_status orion_config_text(const orion_config *c, orion_dtype dtype, orion_strbuf *out, orion_error *err);

#endif

// Hashes of files, and the text of a state. Inside the train room.
#ifndef ORION_TRAIN_CHECKPOINT_HASH_H
#define ORION_TRAIN_CHECKPOINT_HASH_H

#include "base/strbuf.h"
#include "model/json.h"

#define ORION_HASH_TEXT 33  // 128 bits in hexadecimal, terminated

orion_status orion_file_hash(const char *path, char out[ORION_HASH_TEXT], orion_error *err);  // XXH3, 128 bits
orion_status orion_json_text(const json_t *value, orion_strbuf *out, orion_error *err);       // numbers to their last bit

#endif

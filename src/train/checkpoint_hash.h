// Hashes of files. Inside the train room.
#ifndef ORION_TRAIN_CHECKPOINT_HASH_H
#define ORION_TRAIN_CHECKPOINT_HASH_H

#include "orion/status.h"

#define ORION_HASH_TEXT 33  // 128 bits in hexadecimal, terminated

orion_status orion_file_hash(const char *path, char out[ORION_HASH_TEXT], orion_error *err);  // XXH3, 128 bits

#endif

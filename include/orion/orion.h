/// All of liborion: models, tokenizers, programs, devices, sessions, training.
#ifndef ORION_ORION_H
#define ORION_ORION_H

#include "orion/adapter.h"
#include "orion/alloc.h"
#include "orion/device.h"
#include "orion/model.h"
#include "orion/program.h"
#include "orion/sampler.h"
#include "orion/session.h"
#include "orion/speculate.h"
#include "orion/status.h"
#include "orion/tokenizer.h"
#include "orion/train.h"

#endif

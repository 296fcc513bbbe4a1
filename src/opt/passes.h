// The passes, declared from their list.
#ifndef ORION_OPT_PASSES_H
#define ORION_OPT_PASSES_H

#include "opt/opt.h"

#define ORION_PASS(id) extern const orion_pass orion_pass_##id;
#include "opt/passes.inc"
#undef ORION_PASS

#endif

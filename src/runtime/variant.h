// The programs of a runner bound to other surfaces for some of their inputs. Making one binds everything; exchanging one for
// another is a pointer.
#ifndef ORION_RUNTIME_VARIANT_H
#define ORION_RUNTIME_VARIANT_H

#include "runtime/runner.h"

typedef struct orion_variant orion_variant;

// All inputs and outputs as in `r`, but for those given, whose layouts must be the same. The runner and the surfaces must
// live longer.
orion_status orion_variant_create(orion_runner *r, size_t n_given, const orion_given_surface *given, orion_variant **out,
                                  orion_error *err);
void orion_variant_destroy(orion_variant *v);  // NULL is ignored
orion_status orion_variant_run(orion_variant *v, orion_error *err);

#endif

// A compiled function with memory for all its inputs and outputs, which tests fill and read by name.
#ifndef TEST_GRAD_MACHINE_H
#define TEST_GRAD_MACHINE_H

#include "ir/ir.h"
#include "orion/device.h"
#include "support/support.h"

typedef struct machine {
  orion_device *device;
  orion_executable *e;
  orion_bindings *b;
  const orion_io *ios;
  orion_surface **surfaces;
  size_t n;
} machine;

// Fails the test when the device refuses the program. `function` NULL: main, or the only one.
void machine_open(machine *m, const char *device, orion_program *p, const char *function);
void machine_close(machine *m);
const orion_io *machine_io(const machine *m, const char *name);  // NULL if it has none
size_t machine_elements(const machine *m, const char *name);     // fails the test if it has none
void machine_set(machine *m, const char *name, const float *v);  // ignored where there is no such input
void machine_set_ints(machine *m, const char *name, const int32_t *v);
void machine_run(machine *m);
float *machine_get(const machine *m, const char *name);  // free() it

// The program after lowering for the cpu target: one part, which the caller destroys.
orion_program *lowered(orion_program *graph);
orion_program *parsed(const char *text);  // and verified

#endif

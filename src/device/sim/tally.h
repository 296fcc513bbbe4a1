// What happens to numbers, counted by operation and layer for those who ask (orion_device_count): overflow, products that
// vanish, results that underflow, arguments beyond a table. Counted after each operation from what it read and wrote, so
// that runs that nobody counts pay one test of a pointer for each operation.
#ifndef ORION_DEVICE_SIM_TALLY_H
#define ORION_DEVICE_SIM_TALLY_H

#include "device/device.h"

struct orion_sim_op;
struct orion_sim_product;

typedef struct orion_sim_tallies {
  orion_tally *rows;
  size_t n, cap;
  char (*layers)[16];           // of the rows
  size_t cap_layers;
} orion_sim_tallies;

// The row of an operation: its kind, and its layer as the names of our compiler have it ("l3_..."). SIZE_MAX: no memory.
size_t orion_sim_tally_row(orion_sim_tallies *t, const orion_allocator *a, const char *op, const char *value);
void orion_sim_tallies_free(orion_sim_tallies *t, const orion_allocator *a);

void orion_sim_tally_op(orion_tally *t, const struct orion_sim_op *op);
void orion_sim_tally_product(orion_tally *t, const struct orion_sim_product *p, size_t rows);

#endif

// A shuffled order of 0..n-1 that needs no memory: a Feistel network over the smallest even number of bits that holds n,
// followed from each index until it lands below n ("cycle walking"). Every index comes out exactly once, whatever the
// key, because every step of the network can be undone.
#ifndef ORION_TRAIN_PERMUTATION_H
#define ORION_TRAIN_PERMUTATION_H

#include <stdint.h>

typedef struct orion_permutation {
  uint64_t n;
  unsigned half;      // bits of each half
  uint64_t keys[6];   // of the rounds
} orion_permutation;

// Order number `epoch` of seed `seed`; any n from 1 to 2^62.
void orion_permutation_init(orion_permutation *p, uint64_t n, uint64_t seed, uint64_t epoch);
uint64_t orion_permutation_at(const orion_permutation *p, uint64_t index);  // index < n

#endif

#include "train/permutation.h"

enum { ROUNDS = sizeof(((orion_permutation *)0)->keys) / sizeof(uint64_t) };

// SplitMix64 (Steele, Lea and Flood 2014): a bijection of 64 bits that scatters well.
static uint64_t scatter(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

void orion_permutation_init(orion_permutation *p, uint64_t n, uint64_t seed, uint64_t epoch) {
  p->n = n;
  p->half = 1;
  while (p->half < 31 && n > (uint64_t)1 << 2 * p->half) p->half++;
  uint64_t key = scatter(scatter(seed) ^ epoch);
  for (int i = 0; i < ROUNDS; i++) p->keys[i] = key = scatter(key + (uint64_t)i);
}

static uint64_t once(const orion_permutation *p, uint64_t x) {
  uint64_t mask = ((uint64_t)1 << p->half) - 1, left = x >> p->half, right = x & mask;
  for (int i = 0; i < ROUNDS; i++) {
    uint64_t next = left ^ (scatter(right ^ p->keys[i]) & mask);
    left = right;
    right = next;
  }
  return left << p->half | right;
}

uint64_t orion_permutation_at(const orion_permutation *p, uint64_t index) {
  uint64_t x = index;
  do {
    x = once(p, x);  // fewer than four turns on average: n is more than a quarter of the domain
  } while (x >= p->n);
  return x;
}

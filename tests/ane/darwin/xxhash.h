#ifndef DARWIN_XXHASH_H
#define DARWIN_XXHASH_H
#include <stddef.h>
#include <stdint.h>
typedef struct XXH3_state_s XXH3_state_t;
typedef struct { uint64_t low64, high64; } XXH128_hash_t;
XXH3_state_t *XXH3_createState(void);
int XXH3_freeState(XXH3_state_t *);
int XXH3_128bits_reset(XXH3_state_t *);
int XXH3_128bits_update(XXH3_state_t *, const void *, size_t);
XXH128_hash_t XXH3_128bits_digest(const XXH3_state_t *);
#endif

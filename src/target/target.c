// The families as data, and the small questions asked of them.
#include "target/target.h"

#include <string.h>

#define MiB ((size_t)1 << 20)

// Columns as in target.h. Weights per program: 1.5 GB compiles, 3.4 GB does not. Surfaces: the driver's request holds 32
// inputs and 32 outputs. Programs: 127 load slots, about 119 compiles per process; 100 leaves room. Classifier: 62,080
// output channels work, 124,160 fail. Input channels: 32,000 are rejected, 17,408 known to work; axis limits by ane-guide.
static const orion_target targets[] = {
    {"m1", "H13", true, "1.3", "ios18", 16384, 65536, 17408, 4096, 61440, 5, 32, 1536 * MiB, 16, 32, 32, 100, 100,
     2 * MiB, 200, 12.0, 51, true},
    {"m2", "H14", true, "1.3", "ios18", 16384, 65536, 17408, 4096, 61440, 5, 32, 1536 * MiB, 16, 32, 32, 100, 100,
     2 * MiB, 150, 12.0, 60, true},
    {"m3", "H15", true, "1.3", "ios18", 16384, 65536, 17408, 4096, 61440, 5, 32, 1536 * MiB, 16, 32, 32, 100, 100,
     2 * MiB, 120, 16.8, 63, false},
    {"m4", "H16", true, "1.3", "ios18", 65536, 65536, 17408, 4096, 61440, 5, 32, 1536 * MiB, 16, 32, 32, 100, 100,
     2 * MiB, 95, 18.6, 64, false},
    {"m5", "H17", true, "1.3", "ios18", 65536, 65536, 17408, 4096, 61440, 5, 32, 1536 * MiB, 16, 32, 32, 100, 100,
     4 * MiB, 70, 19.6, 112, false},
    {"m6", "H18", true, "1.3", "ios18", 65536, 65536, 17408, 4096, 61440, 5, 32, 1536 * MiB, 16, 32, 32, 100, 100,
     2 * MiB, 130, 20.6, 130, false},
    {"cpu", "host", false, "1.3", "ios18", INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, ORION_MAX_RANK, 1,
     SIZE_MAX, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, SIZE_MAX, 0, 0, 0, false},
};

enum { N_TARGETS = sizeof targets / sizeof *targets };

const orion_target *orion_target_find(const char *name) {
  for (int i = 0; i < N_TARGETS; i++) {
    if (strcmp(targets[i].name, name) == 0) return &targets[i];
  }
  return NULL;
}

const char *const *orion_target_names(void) {
  static const char *const names[] = {"m1", "m2", "m3", "m4", "m5", "m6", "cpu", NULL};
  return names;
}

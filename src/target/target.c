// The families out of limits.inc, and the small questions asked of them.
#include "target/target.h"

#include <string.h>

// One target is one column of the table.
#define PICK_m1(m1, m2, m3, m4, m5, m6, cpu) m1
#define PICK_m2(m1, m2, m3, m4, m5, m6, cpu) m2
#define PICK_m3(m1, m2, m3, m4, m5, m6, cpu) m3
#define PICK_m4(m1, m2, m3, m4, m5, m6, cpu) m4
#define PICK_m5(m1, m2, m3, m4, m5, m6, cpu) m5
#define PICK_m6(m1, m2, m3, m4, m5, m6, cpu) m6
#define PICK_cpu(m1, m2, m3, m4, m5, m6, cpu) cpu
#define PICK(column, ...) PICK_(column, __VA_ARGS__)
#define PICK_(column, ...) PICK_##column(__VA_ARGS__)
#define ORION_LIMIT(name, kind, meaning, ...) .name = PICK(COLUMN, __VA_ARGS__),

static const orion_target targets[] = {
#define COLUMN m1
    {"m1", "H13", true, "1.3", "ios18",
#include "target/limits.inc"
    },
#undef COLUMN
#define COLUMN m2
    {"m2", "H14", true, "1.3", "ios18",
#include "target/limits.inc"
    },
#undef COLUMN
#define COLUMN m3
    {"m3", "H15", true, "1.3", "ios18",
#include "target/limits.inc"
    },
#undef COLUMN
#define COLUMN m4
    {"m4", "H16", true, "1.3", "ios18",
#include "target/limits.inc"
    },
#undef COLUMN
#define COLUMN m5
    {"m5", "H17", true, "1.3", "ios18",
#include "target/limits.inc"
    },
#undef COLUMN
#define COLUMN m6
    {"m6", "H18", true, "1.3", "ios18",
#include "target/limits.inc"
    },
#undef COLUMN
#define COLUMN cpu
    {"cpu", "host", false, "1.3", "ios18",
#include "target/limits.inc"
    },
#undef COLUMN
};
#undef ORION_LIMIT

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

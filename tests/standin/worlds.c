// Switches: each is a point on which what is known leaves room, with the answer that most sources give as default. Set by
// standin_set, or before the process starts by ORION_STANDIN="key=value,key=value".
//
//   chip        what _ANEDeviceInfo says; the sim plays its family
//   arithmetic  the sim's family, where it shall be another ("ideal")
//   order       of symbols: sorted (by name), declared, size (smallest first)
//   binding     of a request's surfaces: index (by the indices given), position (in the order of symbols)
//   attributes  on, off: whether a loaded model describes its symbols and strides
//   rows        bytes to a multiple of which rows are padded
//   surface     least bytes of a surface ("49152", "16384"), else run fails with 0x1d
//   uniform     on: all inputs must have one size, all outputs too
//   off         rules of the catalogue that do not hold, "C07+C09": the sim's, and those of requests and calls here
//   identity    all, names: whether a program's identity looks at the weights' bytes
//   reload      baked, files, data: where a load gets its weights from
//   compiles    budget of the process
//   slots       for loaded programs
//   transient   so many loads fail that would not a moment later
//   build       of the operating system
//   ane         no: a machine without one
//   missing     a class or selector that this system does not have
#include "standin.h"

typedef struct setting {
  const char *key, *standard;
  char value[256];
} setting;

static setting settings[] = {
    {"chip", "h16g", ""},     {"arithmetic", "", ""}, {"order", "sorted", ""}, {"binding", "index", ""},
    {"attributes", "on", ""}, {"rows", "64", ""},     {"surface", "0", ""},    {"uniform", "off", ""},
    {"identity", "all", ""},  {"reload", "baked", ""}, {"compiles", "119", ""}, {"slots", "127", ""},
    {"transient", "0", ""},   {"build", "25A123", ""}, {"ane", "yes", ""},      {"missing", "", ""},
    {"off", "", ""},
};
enum { N_SETTINGS = sizeof settings / sizeof *settings };

long counts[COUNTERS];
static bool ready;

static setting *find(const char *key, size_t n) {
  for (int i = 0; i < N_SETTINGS; i++) {
    if (strlen(settings[i].key) == n && strncmp(settings[i].key, key, n) == 0) return &settings[i];
  }
  fprintf(stderr, "stand-in: there is no switch %.*s\n", (int)n, key);
  abort();
}

static void put(const char *key, size_t n, const char *value, size_t length) {
  setting *s = find(key, n);
  snprintf(s->value, sizeof s->value, "%.*s", (int)length, value);
}

static void begin(void) {
  if (ready) return;
  ready = true;
  for (int i = 0; i < N_SETTINGS; i++) snprintf(settings[i].value, sizeof settings[i].value, "%s", settings[i].standard);
  for (const char *p = getenv("ORION_STANDIN"); p && *p;) {
    const char *equals = strchr(p, '=');
    size_t end = strcspn(p, ",");
    if (equals && equals < p + end) put(p, (size_t)(equals - p), equals + 1, (size_t)(p + end - equals - 1));
    p += end + (p[end] == ',');
  }
}

const char *world(const char *key) {
  begin();
  return find(key, strlen(key))->value;
}

bool world_is(const char *key, const char *value) { return strcmp(world(key), value) == 0; }
long world_number(const char *key) { return strtol(world(key), NULL, 10); }

bool rule_off(const char *id) {
  for (const char *p = world("off"); *p; p += p[strcspn(p, "+")] == '+' ? strcspn(p, "+") + 1 : strlen(p)) {
    if (strncmp(p, id, strlen(id)) == 0) return true;
  }
  return false;
}

void standin_set(const char *key, const char *value) {
  begin();
  put(key, strlen(key), value, strlen(value));
}

void standin_reset(void) {
  ready = false;
  begin();
  for (int i = 0; i < COUNTERS; i++) {
    if (i != COUNT_OBJECTS && i != COUNT_LOADED) counts[i] = 0;
  }
}

long standin_count(const char *name) {
  static const char *const names[COUNTERS] = {"objects", "compiles", "loads", "loaded", "evaluations", "requests", "unpooled",
                                              "locked", "leaked"};
  for (int i = 0; i < COUNTERS; i++) {
    if (strcmp(names[i], name) == 0) return counts[i];
  }
  return -1;
}

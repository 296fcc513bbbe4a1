// MIL text: whatever parses prints, and what was printed parses to the same text again; a copy prints alike.
#include "fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>

#include "mil/mil.h"

static void require(bool ok, const char *what, const orion_error *err) {
  if (ok) return;
  fprintf(stderr, "%s: %s\n", what, err->message);
  abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  orion_program *p, *q, *copy;
  orion_error err = {0};
  orion_strbuf first, second, third;
  if (orion_mil_parse(NULL, (const char *)data, size, "input", &p, &err) != ORION_OK) return 0;
  orion_strbuf_init(&first, NULL);
  orion_strbuf_init(&second, NULL);
  orion_strbuf_init(&third, NULL);
  require(orion_mil_print(p, &first, &err) == ORION_OK, "what was parsed does not print", &err);
  require(orion_mil_parse(NULL, first.data, first.size, "output", &q, &err) == ORION_OK,
          "what was printed does not parse", &err);
  require(orion_mil_print(q, &second, &err) == ORION_OK, "what was parsed again does not print", &err);
  require(first.size == second.size && memcmp(first.data, second.data, first.size) == 0, "unstable", &err);
  require(orion_program_clone(p, &copy, &err) == ORION_OK, "what was parsed cannot be copied", &err);
  require(orion_mil_print(copy, &third, &err) == ORION_OK, "a copy does not print", &err);
  require(first.size == third.size && memcmp(first.data, third.data, first.size) == 0, "a copy differs", &err);
  orion_strbuf_clear(&third);
  require(orion_mil_print_dot(p, &third, &err) == ORION_OK, "no picture", &err);
  orion_strbuf_deinit(&first);
  orion_strbuf_deinit(&second);
  orion_strbuf_deinit(&third);
  orion_program_destroy(p);
  orion_program_destroy(q);
  orion_program_destroy(copy);
  return 0;
}

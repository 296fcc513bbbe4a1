// What the files of the printer share.
#ifndef ORION_MIL_PRINTER_H
#define ORION_MIL_PRINTER_H

#include "mil/mil.h"

typedef struct orion_mil_printer {
  const orion_program *program;
  const orion_mil_placement *placement;  // or NULL
  orion_strbuf *out;
} orion_mil_printer;

// print.c
void orion_mil_print_type(orion_mil_printer *p, const orion_type *t);
// print_literal.c
orion_status orion_mil_print_literal(orion_mil_printer *p, const orion_literal *l, orion_error *err);

#endif

// The op table as data: ops.inc expanded into arrays.
#include "ir/opcode.h"

#include <string.h>

#define R(arg, kind) {#arg, ORION_ARG_##kind, true, NULL}
#define O(arg, kind) {#arg, ORION_ARG_##kind, false, NULL}
#define D(arg, kind, text) {#arg, ORION_ARG_##kind, false, text}
#define C ORION_F_COMMUTATIVE
#define E ORION_F_ELEMENTWISE
#define S ORION_F_EFFECT
#define G ORION_F_DIFF

#define ORION_OP(name, cls, rule, flags, ...) static const orion_arg_info args_##name[] = {__VA_ARGS__};
#include "ir/ops.inc"
#undef ORION_OP

static const orion_op_info infos[ORION_OP_COUNT] = {
    {"?", ORION_CLASS_MISC, 0, NULL, 0},
#define ORION_OP(name, cls, rule, flags, ...) \
  {#name, ORION_CLASS_##cls, (flags), args_##name, sizeof args_##name / sizeof *args_##name},
#include "ir/ops.inc"
#undef ORION_OP
};

const orion_op_info *orion_opcode_info(orion_opcode code) {
  return &infos[code < ORION_OP_COUNT ? code : ORION_OP_OTHER];
}

const char *orion_opcode_name(orion_opcode code) { return orion_opcode_info(code)->name; }

orion_opcode orion_opcode_parse(const char *name, size_t n) {
  for (int i = 1; i < ORION_OP_COUNT; i++) {
    if (strncmp(infos[i].name, name, n) == 0 && infos[i].name[n] == 0) return (orion_opcode)i;
  }
  return ORION_OP_OTHER;
}

const orion_arg_info *orion_opcode_arg(orion_opcode code, const char *arg) {
  const orion_op_info *info = orion_opcode_info(code);
  for (size_t i = 0; i < info->n_args; i++) {
    if (strcmp(info->args[i].name, arg) == 0) return &info->args[i];
  }
  return NULL;
}

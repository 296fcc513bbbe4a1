// Prints docs/ops.md from the op table. A test compares the committed page with what this prints; to renew it:
// build/dev/tests/ir/print_ops > docs/ops.md
#include <stdio.h>

#include "ir/opcode.h"

static const char *const classes[] = {
    "Constants", "Compressed weights", "Convolution", "Products of matrices", "Elementwise, one tensor",
    "Elementwise, two tensors", "Elementwise, three tensors", "Reductions", "Normalisations", "Shapes", "Movement",
    "Conversion", "Quantisation", "Pooling", "State", "Composites of Orion's graphs (lowering opens them)", "Others"};
static const char *const kinds[] = {"tensor", "float tensor", "tensor of the first's type", "int", "ints", "number",
                                    "bool", "bools", "string", "integers", "tensors", "constant", "state"};

int main(void) {
  printf("# Operations\n\nWhat the op table (`src/ir/ops.inc`) says, by class. Arguments are optional where a default or a "
         "question mark\nfollows. Flags: C commutative, E elementwise, S side effect, G has a gradient.\n");
  for (int cls = 0; cls <= ORION_CLASS_MISC; cls++) {
    bool titled = false;
    for (int code = 1; code < ORION_OP_COUNT; code++) {
      const orion_op_info *info = orion_opcode_info((orion_opcode)code);
      if ((int)info->cls != cls) continue;
      if (!titled) printf("\n## %s\n\n| operation | arguments | flags |\n|---|---|---|\n", classes[cls]);
      titled = true;
      printf("| `%s` |", info->name);
      for (size_t i = 0; i < info->n_args; i++) {
        const orion_arg_info *a = &info->args[i];
        printf("%s %s%s (%s%s%s)", i ? "," : "", a->name, a->required || a->fallback ? "" : "?", kinds[a->kind],
               a->fallback ? " = " : "", a->fallback ? a->fallback : "");
      }
      printf(" | %s%s%s%s |\n", info->flags & ORION_F_COMMUTATIVE ? "C" : "", info->flags & ORION_F_ELEMENTWISE ? "E" : "",
             info->flags & ORION_F_EFFECT ? "S" : "", info->flags & ORION_F_DIFF ? "G" : "");
    }
  }
  return 0;
}

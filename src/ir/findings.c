// Lists of findings: what is wrong with a program, and where. Texts live in the list's own arena, so that a list outlives
// the program.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ir/infer.h"

void orion_findings_init(orion_findings *l, const orion_allocator *a) {
  memset(l, 0, sizeof *l);
  orion_arena_init(&l->arena, a);
}

void orion_findings_deinit(orion_findings *l) {
  orion_free(l->arena.allocator, l->items, l->cap, sizeof *l->items);
  orion_arena_deinit(&l->arena);
  l->items = NULL;
  l->n = l->cap = 0;
}

// A copy of an optional string; says in *ok whether it could be made.
static const char *keep(orion_findings *l, const char *s, bool *ok) {
  if (!s) return NULL;
  const char *copy = orion_arena_strdup(&l->arena, s);
  *ok = *ok && copy;
  return copy;
}

void orion_findings_add(orion_findings *l, const char *rule, bool fatal, const orion_function *f, orion_op_id op,
                        const char *value, const char *way_out, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  for (unsigned char *c = (unsigned char *)text; *c; c++) {
    if (*c < 0x20 || *c == 0x7f) *c = ' ';  // names may come from a file
  }
  orion_finding item = {.fatal = fatal, .op = op};
  bool ok = !l->failed;
  if (f) item.loc = op != ORION_NONE ? f->ops[op].loc : f->loc;
  item.rule = keep(l, rule, &ok);
  item.function = keep(l, f ? f->name : NULL, &ok);
  item.value = keep(l, value, &ok);
  item.way_out = keep(l, way_out, &ok);
  item.message = keep(l, text, &ok);
  if (!ok || !ORION_GROW(l->arena.allocator, &l->items, &l->cap, l->n + 1)) {
    l->failed = true;
    return;
  }
  l->items[l->n++] = item;
}

bool orion_findings_fatal(const orion_findings *l) {
  for (size_t i = 0; i < l->n; i++) {
    if (l->items[i].fatal) return true;
  }
  return false;
}

// ---- the public face ----

orion_status orion_findings_create(const orion_allocator *a, orion_findings **out, orion_error *err) {
  orion_findings *l = orion_alloc(a, 1, sizeof *l);
  if (!l) return ORION_OOM(err, "findings");
  orion_findings_init(l, a);
  *out = l;
  return ORION_OK;
}

void orion_findings_destroy(orion_findings *l) {
  if (!l) return;
  const orion_allocator *a = l->arena.allocator;
  orion_findings_deinit(l);
  orion_free(a, l, 1, sizeof *l);
}

size_t orion_findings_count(const orion_findings *l) { return l->n; }

void orion_findings_get(const orion_findings *l, size_t index, orion_finding_info *out) {
  const orion_finding *f = &l->items[index];
  *out = (orion_finding_info){f->rule, f->fatal, f->loc.line, f->loc.column, f->value, f->message, f->way_out};
}

// The list of a model's weights, read off the tables that loading and saving walk.
#include <stdio.h>

#include "model/slots.h"

typedef struct list {
  const orion_model *model;
  orion_weight *out;
  size_t n, cap;
} list;

static void add_table(list *l, const char *graph_prefix, const char *prefix, const orion_slot *slots, size_t n,
                      const void *base) {
  const orion_config *c = &l->model->config;
  for (size_t i = 0; i < n; i++) {
    const orion_slot *s = &slots[i];
    if (!orion_slot_needed(c, s)) continue;
    if (l->n++ >= l->cap) continue;
    orion_weight *w = &l->out[l->n - 1];
    *w = (orion_weight){.transposed = s->conv1d,
                        .part = s->part,
                        .parts = s->parts,
                        .rank = s->cols == ORION_EXTENT_NONE ? 1 : 2,
                        .dims = {orion_slot_extent(c, s->rows), orion_slot_extent(c, s->cols)},
                        .at = orion_slot_at((void *)(uintptr_t)base, s)};
    snprintf(w->name, sizeof w->name, "%s%s", graph_prefix, s->key);
    snprintf(w->tensor, sizeof w->tensor, "%s%s", prefix, s->name);
  }
}

size_t orion_model_weights(const orion_model *m, orion_weight *out, size_t cap) {
  list l = {.model = m, .out = out, .cap = cap};
  orion_family family = m->config.family;
  size_t n;
  const orion_slot *slots = orion_slots_model(family, &n);
  add_table(&l, "", orion_family_prefix(family), slots, n, m);
  add_table(&l, "", "", &orion_slot_classifier, 1, m);
  slots = orion_slots_layer(family, &n);
  for (int64_t i = 0; i < m->config.layers; i++) {
    char graph_prefix[16], prefix[64];
    int layer = (int)i;
    snprintf(graph_prefix, sizeof graph_prefix, "l%d_", layer);
    snprintf(prefix, sizeof prefix, "%s%s%d.", orion_family_prefix(family), orion_family_layers(family), layer);
    add_table(&l, graph_prefix, prefix, slots, n, &m->layers[i]);
  }
  return l.n;
}

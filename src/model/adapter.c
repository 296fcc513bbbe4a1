// An adapter by itself: made, closed, described.
#include "model/adapter.h"

orion_status orion_adapter_create(const orion_allocator *allocator, const orion_config *c, const char *path,
                                  orion_adapter **out, orion_error *err) {
  allocator = orion_allocator_or_default(allocator);
  orion_adapter *a = orion_alloc_zero(allocator, 1, sizeof *a);
  if (!a) return ORION_OOM(err, path);
  a->allocator = allocator;
  a->config = *c;
  a->path = orion_strdup(allocator, path);
  a->parts = orion_alloc_zero(allocator, (size_t)c->layers * ORION_PROJECTIONS, sizeof *a->parts);
  orion_status status = a->path && a->parts ? ORION_OK : ORION_OOM(err, path);
  if (status == ORION_OK) status = orion_data_store_create(allocator, &a->data, err);
  if (status == ORION_OK) {
    *out = a;
  } else {
    orion_adapter_close(a);
  }
  return status;
}

void orion_adapter_close(orion_adapter *a) {
  if (!a) return;
  orion_data_store_release(a->data);
  orion_free(a->allocator, a->parts, (size_t)a->config.layers * ORION_PROJECTIONS, sizeof *a->parts);
  orion_strfree(a->allocator, a->path);
  orion_free(a->allocator, a, 1, sizeof *a);
}

void orion_adapter_describe(const orion_adapter *a, orion_adapter_info *out) {
  *out = (orion_adapter_info){.rank = a->rank, .file_bytes = a->file_bytes, .head = a->head != NULL};
  orion_projection_text(a->targets, out->targets);
  for (int64_t i = 0; i < a->config.layers * ORION_PROJECTIONS; i++) {
    const orion_adapter_part *p = &a->parts[i];
    if (!p->a) continue;
    bool shared = false;  // a of a joint matrix counts once
    for (int64_t k = 1; k <= i % ORION_PROJECTIONS; k++) shared = shared || p[-k].a == p->a;
    out->parameters += (shared ? 0 : orion_data_elements(p->a)) + orion_data_elements(p->b);
  }
}

// Places of buffers in the arena. Every buffer lives from the first step that touches it to the last; buffers are
// placed largest first, each at the lowest offset where it overlaps no placed buffer that lives at the same time. That
// is the usual greedy offset assignment: within a few percent of the largest live set for programs of layers in a row.
//
// Buffers written by constant steps and read by ordinary ones are kept: they lie in memory of their own.
#include "device/cpu/plan.h"

static int by_size(const orion_cpu_buffer *a, const orion_cpu_buffer *b) {
  if (a->bytes != b->bytes) return a->bytes > b->bytes ? -1 : 1;
  return a->first < b->first ? -1 : a->first > b->first;
}

// Merge sort: stable, no library state, scratch of the same length.
static void sort_by_size(const orion_cpu_buffer *buffers, uint32_t *order, uint32_t *tmp, size_t n) {
  for (size_t width = 1; width < n; width *= 2) {
    for (size_t lo = 0; lo < n; lo += 2 * width) {
      size_t mid = lo + width < n ? lo + width : n, hi = lo + 2 * width < n ? lo + 2 * width : n;
      for (size_t i = lo, j = mid, o = lo; o < hi; o++) {
        bool left = i < mid && (j >= hi || by_size(&buffers[order[i]], &buffers[order[j]]) <= 0);
        tmp[o] = left ? order[i++] : order[j++];
      }
    }
    memcpy(order, tmp, n * sizeof *order);
  }
}

// `placed` holds buffers in order of offset; returns the lowest free offset for b and where to insert it.
static size_t find_place(const orion_cpu_buffer *buffers, const uint32_t *placed, size_t n, const orion_cpu_buffer *b,
                         size_t bytes) {
  size_t at = 0;
  for (size_t i = 0; i < n; i++) {
    const orion_cpu_buffer *o = &buffers[placed[i]];
    if (o->last < b->first || b->last < o->first) continue;
    if (at + bytes <= o->offset) break;
    size_t end = o->offset + orion_round_up(o->bytes, ORION_ALIGN_CACHE);
    if (end > at) at = end;
  }
  return at;
}

orion_status orion_cpu_plan_memory(orion_cpu_plan *p, const orion_allocator *scratch, orion_error *err) {
  size_t n = p->n_buffers, m = 0, placed = 0;
  uint32_t *order = orion_alloc(scratch, n, 3 * sizeof *order);
  if (!order) return ORION_OOM(err, "memory plan");
  uint32_t *tmp = order + n, *by_offset = order + 2 * n;
  p->memory_bytes = p->kept_bytes = 0;
  for (uint32_t i = 0; i < n; i++) {
    orion_cpu_buffer *b = &p->buffers[i];
    if (b->space == ORION_CPU_KEPT) {
      b->offset = p->kept_bytes;
      p->kept_bytes += orion_round_up(b->bytes, ORION_ALIGN_CACHE);
    } else if (b->space == ORION_CPU_ARENA && b->first <= b->last) {
      order[m++] = i;
    }
  }
  sort_by_size(p->buffers, order, tmp, m);
  for (size_t i = 0; i < m; i++) {
    orion_cpu_buffer *b = &p->buffers[order[i]];
    size_t bytes = orion_round_up(b->bytes, ORION_ALIGN_CACHE);
    b->offset = find_place(p->buffers, by_offset, placed, b, bytes);
    if (b->offset + bytes > p->memory_bytes) p->memory_bytes = b->offset + bytes;
    size_t at = placed++;
    for (; at > 0 && p->buffers[by_offset[at - 1]].offset > b->offset; at--) by_offset[at] = by_offset[at - 1];
    by_offset[at] = order[i];
  }
  orion_free(scratch, order, n, 3 * sizeof *order);
  return ORION_OK;
}

// Quantised weights into panels: bytes moved, nothing computed, so one version for all levels.
#include <string.h>

#include "device/cpu/kernels/kernels.h"

// The `rows` (1..16) rows of one panel; q and scale are at its first row. Rows past them become zero.
static void pack_panel(const orion_panels *w, uint8_t *panel, orion_half *panel_scale, const int8_t *q,
                       const orion_half *scale, size_t rows) {
  size_t K = w->cols, group = w->group, groups = K / group, words = (group + 7) / 8;
  memset(panel, 0, orion_quantised_panel_bytes(w->type, K, group));
  memset(panel_scale, 0, groups * ORION_PANEL_ROWS * sizeof *panel_scale);
  for (size_t j = 0; j < rows; j++) {
    const int8_t *row = q + j * K;
    for (size_t g = 0; g < groups; g++) panel_scale[g * ORION_PANEL_ROWS + j] = scale[j * groups + g];
    if (w->type == ORION_KERNEL_I8) {
      for (size_t k = 0; k < K; k++) panel[k * ORION_PANEL_ROWS + j] = (uint8_t)row[k];
      continue;
    }
    for (size_t g = 0; g < groups; g++) {
      for (size_t i = 0; i < group; i += 8) {
        uint32_t word = 0;
        for (size_t b = 0; b < 8 && i + b < group; b++) word |= ((uint32_t)row[g * group + i + b] & 15) << (4 * b);
        memcpy(panel + ((g * words + i / 8) * ORION_PANEL_ROWS + j) * 4, &word, 4);
      }
    }
  }
}

void orion_panels_pack_quantised(const orion_panels *to, const int8_t *q, const orion_half *scale, size_t r0, size_t r1) {
  size_t groups = to->cols / to->group, bytes = orion_quantised_panel_bytes(to->type, to->cols, to->group);
  for (size_t r = r0; r < r1; r += ORION_PANEL_ROWS) {
    size_t p = r / ORION_PANEL_ROWS, rows = r1 - r < ORION_PANEL_ROWS ? r1 - r : ORION_PANEL_ROWS;
    pack_panel(to, (uint8_t *)(uintptr_t)to->data + p * bytes,
               (orion_half *)(uintptr_t)to->scale + p * groups * ORION_PANEL_ROWS, q + (r - r0) * to->cols,
               scale + (r - r0) * groups, rows);
  }
}

// Quantised weights into panels: bytes moved, nothing computed, so one version for all levels.
#include <string.h>

#include "device/cpu/kernels/kernels.h"

// Up to eight elements of four bits, or four of eight, as one word.
static uint32_t word_of(orion_kernel_type type, const int8_t *q, size_t n) {
  uint32_t word = 0;
  if (type == ORION_KERNEL_I8) {
    for (size_t i = 0; i < 4 && i < n; i++) word |= (uint32_t)(uint8_t)q[i] << (8 * i);
  } else {
    for (size_t i = 0; i < 8 && i < n; i++) word |= (uint32_t)(q[i] & 15) << (4 * i);
  }
  return word;
}

// The `rows` (1..16) rows of one panel; q and scale are at its first row. Rows past them get scales of zero.
static void pack_panel(const orion_panels *w, uint8_t *panel, orion_half *panel_scale, const int8_t *q,
                       const orion_half *scale, size_t rows) {
  size_t K = w->cols, groups = K / w->group, in_word = w->type == ORION_KERNEL_I8 ? 4 : 8;
  for (size_t g = 0; g < groups; g++) {
    for (size_t j = 0; j < ORION_PANEL_ROWS; j++) {
      panel_scale[g * ORION_PANEL_ROWS + j] = j < rows ? scale[j * groups + g] : 0;
    }
  }
  for (size_t g = 0; g < groups; g++) {
    for (size_t i = 0; i < w->group; i += in_word) {
      for (size_t j = 0; j < ORION_PANEL_ROWS; j++, panel += 4) {
        uint32_t word = j < rows ? word_of(w->type, q + j * K + g * w->group + i, w->group - i) : 0;
        memcpy(panel, &word, sizeof word);
      }
    }
  }
}

void orion_panels_pack_quantised(const orion_panels *to, const int8_t *q, const orion_half *scale, size_t r0,
                                 size_t r1) {
  size_t groups = to->cols / to->group, bytes = orion_quantised_panel_bytes(to->type, to->cols, to->group);
  for (size_t r = r0; r < r1; r += ORION_PANEL_ROWS) {
    size_t p = r / ORION_PANEL_ROWS, rows = r1 - r < ORION_PANEL_ROWS ? r1 - r : ORION_PANEL_ROWS;
    pack_panel(to, (uint8_t *)(uintptr_t)to->data + p * bytes,
               (orion_half *)(uintptr_t)to->scale + p * groups * ORION_PANEL_ROWS, q + (r - r0) * to->cols,
               scale + (r - r0) * groups, rows);
  }
}

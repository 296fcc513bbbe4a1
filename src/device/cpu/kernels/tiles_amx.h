// The tile registers of AMX, for the bodies that use them. HAVE_TILES is defined where the compiler knows them.
#ifndef ORION_DEVICE_CPU_KERNELS_TILES_AMX_H
#define ORION_DEVICE_CPU_KERNELS_TILES_AMX_H

#include "device/cpu/kernels/level.h"

#if defined(__has_include)
#if __has_include(<amxtileintrin.h>)
#define HAVE_TILES
#endif
#endif

#ifdef HAVE_TILES
#include <immintrin.h>

#define TILES __attribute__((target("amx-tile,amx-bf16,amx-int8")))

// gcc's intrinsics do not tell the compiler what memory the tiles read: before they do, it must have been written.
#define BARRIER() __asm__ volatile("" : : : "memory")

// Tiles 0 to 3 hold sums, 16 rows of 16; 4 and 5 the left factor, 16 rows of `depth` bytes; 6 and 7 the right one, rows of
// four bytes of each of 16 columns, depth / 4 of them.
TILES INLINE void configure_tiles(uint8_t depth) {
  struct {
    uint8_t palette, start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } config = {.palette = 1};
  for (int t = 0; t < 8; t++) {
    config.row_bytes[t] = t == 4 || t == 5 ? depth : 64;
    config.rows[t] = t < 6 ? 16 : depth / 4;
  }
  __asm__ volatile("" : : "r"(&config) : "memory");
  _tile_loadconfig(&config);
}

// For the ceilings: sums of zero, and all factors, configured for 64 bytes, alike.
TILES INLINE void fill_tiles(const void *factor) {
  BARRIER();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, factor, 64);
  _tile_loadd(5, factor, 64);
  _tile_loadd(6, factor, 64);
  _tile_loadd(7, factor, 64);
}

TILES INLINE void release_tiles(void) { _tile_release(); }

#endif
#endif

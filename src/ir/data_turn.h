// Transposing small tiles in cache, for data_read.c.
#ifndef ORION_IR_DATA_TURN_H
#define ORION_IR_DATA_TURN_H

#include <stddef.h>

#define ORION_TURN_TILE 64

// out[r][c] = tile[c][r] for r < rows, c < cols; elements of w bytes (1, 2, 4, 8). Rows of `tile` are ORION_TURN_TILE
// elements apart, those of `out` stride elements.
void orion_turn_tile(char *out, size_t stride, const char *tile, size_t rows, size_t cols, size_t w);

#endif

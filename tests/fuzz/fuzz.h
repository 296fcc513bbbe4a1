// What a fuzz target fuzz_NAME.c defines: takes any bytes, must neither crash nor leak nor hang; returns 0.
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif

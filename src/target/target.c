// The families as data, and the small questions asked of them.
#include "target/target.h"

#include <string.h>

#define MiB ((size_t)1 << 20)

// What the families have in common. Weights per program: 1.5 GB compiles, 3.4 GB does not. Surfaces: the driver's request
// holds 32 inputs and 32 outputs. Programs: 127 load slots, about 119 compiles per process; 100 leaves room. Classifier:
// 62,080 output channels work, 124,160 fail. Input channels: 32,000 are rejected, 17,408 known to work; axes by ane-guide.
#define ENGINE                                                                                                     \
  .ane = true, .version = "1.3", .opset = "ios18", .max_channels = 65536, .max_batch = 4096, .max_conv_in = 17408, \
  .split_conv_in = 4096, .max_conv_out = 61440, .max_rank = 5, .width_multiple = 32, .max_weight_bytes = 1536 * MiB, \
  .max_blob_files = 16, .max_inputs = 32, .max_outputs = 32, .max_programs = 100, .max_compiles = 100

static const orion_target targets[] = {
    {"m1", "H13", ENGINE, .max_axis = 16384, .sram_bytes = 2 * MiB, .dispatch_us = 200, .fp16_tflops = 12.0,
     .weight_gb_s = 51, .width_slice_hazard = true},
    {"m2", "H14", ENGINE, .max_axis = 16384, .sram_bytes = 2 * MiB, .dispatch_us = 150, .fp16_tflops = 12.0,
     .weight_gb_s = 60, .width_slice_hazard = true},
    {"m3", "H15", ENGINE, .max_axis = 16384, .sram_bytes = 2 * MiB, .dispatch_us = 120, .fp16_tflops = 16.8,
     .weight_gb_s = 63},
    {"m4", "H16", ENGINE, .max_axis = 65536, .sram_bytes = 2 * MiB, .dispatch_us = 95, .fp16_tflops = 18.6,
     .weight_gb_s = 64},
    {"m5", "H17", ENGINE, .max_axis = 65536, .sram_bytes = 4 * MiB, .dispatch_us = 70, .fp16_tflops = 19.6,
     .weight_gb_s = 112},
    {"m6", "H18", ENGINE, .max_axis = 65536, .sram_bytes = 2 * MiB, .dispatch_us = 130, .fp16_tflops = 20.6,
     .weight_gb_s = 130},
    {"cpu", "host", .version = "1.3", .opset = "ios18", .max_axis = INT64_MAX, .max_channels = INT64_MAX,
     .max_batch = INT64_MAX, .max_conv_in = INT64_MAX, .split_conv_in = INT64_MAX, .max_conv_out = INT64_MAX,
     .max_rank = ORION_MAX_RANK, .width_multiple = 1, .max_weight_bytes = SIZE_MAX, .max_blob_files = 1 << 20,
     .max_inputs = 1 << 20, .max_outputs = 1 << 20, .max_programs = 1 << 20, .max_compiles = 1 << 20,
     .sram_bytes = SIZE_MAX},
};

enum { N_TARGETS = sizeof targets / sizeof *targets };

const orion_target *orion_target_find(const char *name) {
  for (int i = 0; i < N_TARGETS; i++) {
    if (strcmp(targets[i].name, name) == 0) return &targets[i];
  }
  return NULL;
}

const char *const *orion_target_names(void) {
  static const char *const names[] = {"m1", "m2", "m3", "m4", "m5", "m6", "cpu", NULL};
  return names;
}

// What programs are compiled for: the Neural Engine of a chip family, or the cpu device. Plain data: limits with their
// sources, and a check of a program against them.
//
// Sources: ane-guide (arXiv 2606.22283) chapters 20-24 and appendices, the measurements of maderix/ANE, Orion's paper
// (arXiv 2603.06728) and others; where they contradict each other the safer figure is taken.
#ifndef ORION_TARGET_TARGET_H
#define ORION_TARGET_TARGET_H

#include "ir/infer.h"

typedef struct orion_target {
  const char *name;             // "m1".."m6", "cpu"
  const char *arch;             // "H13"...; "host"
  bool ane;                     // channel-first fp16 programs within the limits below; else [T, C] programs without limits
  const char *version, *opset;  // header of the programs: "1.3", "ios18"
  int64_t max_axis;             // width and height of a tensor
  int64_t max_channels;         // channels of a tensor
  int64_t max_batch;            // the dimensions before the channels
  int64_t max_conv_in;          // input channels of one convolution (wider ones are rejected)
  int64_t split_conv_in;        // input channels above which several narrower convolutions are faster
  int64_t max_conv_out;         // output channels of one convolution
  int max_rank;
  int64_t width_multiple;       // last axis of inputs and outputs: rows of 64 bytes, so 32 fp16 elements
  size_t max_weight_bytes;      // constants of one program
  int max_blob_files;           // weight files of one program
  int max_inputs, max_outputs;  // surfaces of one request
  int max_programs;             // loaded at once in a process
  int max_compiles;             // per process
  size_t sram_bytes;            // on-chip bound of one operand's working set
  double dispatch_us;           // fixed cost of one run
  double fp16_tflops;           // measured peak, for the cost model
  double weight_gb_s;           // measured weight streaming
  bool width_slice_hazard;      // a slice along the last axis with nonzero begin saturates above 4094
} orion_target;

const orion_target *orion_target_find(const char *name);  // NULL if unknown
const char *const *orion_target_names(void);              // NULL-terminated

// Every limit of `t` that the program breaks, appended to `out`. Types are taken as verified. For cpu: nothing.
orion_status orion_target_check(const orion_target *t, orion_program *p, orion_findings *out, orion_error *err);

#endif

// The AVX2 level (with FMA and F16C), compiled with its own flags: nothing here may run before the check for it.
#include "device/cpu/kernels/v16_avx2.h"

#include "device/cpu/kernels/body_convert.h"
#include "device/cpu/kernels/body_map.h"
#include "device/cpu/kernels/body_rows.h"
#include "device/cpu/kernels/body_lanes.h"
#include "device/cpu/kernels/body_product.h"
#include "device/cpu/kernels/body_quantised.h"
#include "device/cpu/kernels/body_rounded.h"
#include "device/cpu/kernels/body_strips.h"
#include "device/cpu/kernels/body_linear_strips.h"
#include "device/cpu/kernels/body_matmul.h"
#include "device/cpu/kernels/body_attention_weights.h"
#include "device/cpu/kernels/body_attention_few.h"
#include "device/cpu/kernels/body_attention.h"
#include "device/cpu/kernels/body_ceiling.h"
#include "device/cpu/kernels/body_install.h"

void orion_kernels_install_avx2(orion_kernels *k) { install_all(k); }

// The NEON level, which every aarch64 processor has.
#include "device/cpu/kernels/v16_neon.h"

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

void orion_kernels_install_neon(orion_kernels *k) { install_all(k); }

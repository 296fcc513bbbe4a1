// The AVX-512 level (F, BW, DQ, VL), compiled with its own flags: nothing here may run before the check for it. AVX512_BF16
// and AMX add their products of many rows to it.
#include "device/cpu/kernels/v16_avx512.h"

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
#include "device/cpu/kernels/body_vectors.h"
#include "device/cpu/kernels/body_planes.h"
#include "device/cpu/kernels/body_bf16.h"
#include "device/cpu/kernels/body_tiles.h"
#include "device/cpu/kernels/body_pairs.h"
#include "device/cpu/kernels/body_attention_weights.h"
#include "device/cpu/kernels/body_attention_few.h"
#include "device/cpu/kernels/body_attention.h"
#include "device/cpu/kernels/body_ceiling.h"
#include "device/cpu/kernels/body_install.h"

void orion_kernels_install_avx512(orion_kernels *k) { install_all(k); }
void orion_kernels_install_avx512_bf16(orion_kernels *k) { install_pairs(k); }
void orion_kernels_install_amx(orion_kernels *k) { install_tiles(k); }

/* NEON of aarch64: 24 sums of 4 lanes in the 32 registers. */
#if defined(__aarch64__) && defined(__GNUC__)
#include <arm_neon.h>

static int supported(void) { return 1; }

#define KERNELS edgel3_kernels_neon
#define NAME "neon"
#define SUPPORTED supported
#define TARGET
#define V float32x4_t
#define VL 4
#define LOAD vld1q_f32
#define LOADU vld1q_f32
#define STORE vst1q_f32
#define SET1 vdupq_n_f32
#define FMA(a, b, c) vfmaq_f32(c, a, b)
#define KEEP(v) __asm__("" : "+w"(v))
#define MAX vmaxq_f32
#define FIRST_ROWS 2
#define PART_ROWS 4
#define PART_COLS 12
#include "tile.h"
#endif

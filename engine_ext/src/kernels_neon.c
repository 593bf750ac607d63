/* NEON of aarch64: sums of 4 lanes in most of the 32 registers. */
#include "cpu.h"

#ifdef HAVE_NEON_LEVEL
#include <arm_neon.h>

#define KERNELS kernels_neon
#define LEVEL_NAME "neon"
#define TARGET
#define V float32x4_t
#define VL 4
#define LOAD vld1q_f32
#define LOADU vld1q_f32
#define STORE vst1q_f32
#define SET1 vdupq_n_f32
#define ADD vaddq_f32
#define SUB vsubq_f32
#define MUL vmulq_f32
#define DIV vdivq_f32
#define MAX vmaxq_f32
#define FMA(a, b, c) vfmaq_f32(c, a, b)
#define FNMA(a, b, c) vfmsq_f32(c, a, b)
#define POWER_OF_TWO(v) vreinterpretq_f32_s32(vshlq_n_s32(vreinterpretq_s32_f32(v), 23))
#define KEEP(v) __asm__("" : "+w"(v))
#define FIRST_ROWS 2
#define PART_ROWS 4
#define PART_COLS 12
#define MOST_TILES 8
#define EACH_COUNT(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8)
#define BY_ELEMENT
#include "kernels_body.h"
#endif

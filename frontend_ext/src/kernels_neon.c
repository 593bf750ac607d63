/* NEON of aarch64: two doubles. */
#include "kernels.h"

#ifdef HAVE_NEON_LEVEL
#include <arm_neon.h>

#define TARGET
#define KERNELS kernels_neon
#define LEVEL_NAME "neon"
typedef double vec __attribute__((vector_size(16), may_alias));
typedef uint64x2_t uvec;
#define LANES 2
#define OUTPUTS 8
#define FMA(a, b, c) vfmaq_f64(c, a, b)
#define FNMA(a, b, c) vfmsq_f64(c, a, b)
#define KEEP(a) __asm__("" : "+w"(a))
#define MAXIMUM(a, b) vmaxq_f64(a, b)
#define LOAD_AS_DOUBLES(from) vcvt_f64_f32(vld1_f32(from))
#define STORE_AS_FLOATS(to, value) vst1_f32(to, vcvt_f32_f64(value))

/* Eight samples of both frames, from sample at on: samples[i] holds sample at + i of both. */
INLINE TARGET void load_samples(const float *const *frames, int at, vec *samples)
{
    for (int half = 0; half < 8; half += 4) {
        float32x4_t a = vld1q_f32(frames[0] + at + half), b = vld1q_f32(frames[1] + at + half);
        float32x4_t low = vzip1q_f32(a, b), high = vzip2q_f32(a, b);
        samples[half] = vcvt_f64_f32(vget_low_f32(low));
        samples[half + 1] = vcvt_high_f64_f32(low);
        samples[half + 2] = vcvt_f64_f32(vget_low_f32(high));
        samples[half + 3] = vcvt_high_f64_f32(high);
    }
}

INLINE TARGET double sum_parts(const vec *parts)
{
    vec two = (parts[0] + parts[2]) + (parts[1] + parts[3]);
    return vaddvq_f64(two);
}
#define SUM_PARTS sum_parts

#include "kernels_body.h"
#endif

/* The level that every machine has: SSE2 on x86-64, NEON on aarch64, plain scalars elsewhere. */
#include "kernels.h"

#include <string.h>

#define TARGET
#define KERNELS kernels_baseline

#if defined(__GNUC__) || defined(__clang__)
typedef double vec __attribute__((vector_size(16)));
typedef float fvec __attribute__((vector_size(16)));
#define LANES 2
#define FLOAT_LANES 4
#else
typedef double vec;
typedef float fvec;
#define LANES 1
#define FLOAT_LANES 1
#endif

#ifdef __aarch64__
#include <arm_neon.h>
#define LEVEL_NAME "neon"
#define FMA(a, b, c) vfmaq_f64(c, a, b)
#define FNMA(a, b, c) vfmsq_f64(c, a, b)
#define FLOAT_FMA(a, b, c) vfmaq_f32(c, a, b)
#else
#define LEVEL_NAME "baseline"
#define FMA(a, b, c) ((a) * (b) + (c))
#define FNMA(a, b, c) ((c) - (a) * (b))
#define FLOAT_FMA(a, b, c) ((a) * (b) + (c))
#endif

/* Eight samples of every frame, from sample at on: samples[i] holds sample at + i of all frames. */
INLINE TARGET void load_samples(const float *const *frames, int at, vec *samples)
{
    double values[8][LANES];
    for (int i = 0; i < 8; i++)
        for (int lane = 0; lane < LANES; lane++)
            values[i][lane] = frames[lane][at + i];
    memcpy(samples, values, sizeof values);
}

#include "kernels_body.h"

/* The level that every machine has: the vectors of the compiler, or plain scalars where it has none. */
#include "kernels.h"

#include <string.h>

#define TARGET
#define KERNELS kernels_baseline

#if defined(__GNUC__) || defined(__clang__)
typedef double vec __attribute__((vector_size(16), may_alias));
typedef uint64_t uvec __attribute__((vector_size(16)));
#define LANES 2
#else
typedef double vec;
typedef uint64_t uvec;
#define LANES 1
#endif

#define OUTPUTS 4
#define KEEP(a) (void)0

#define LEVEL_NAME "baseline"
#define FMA(a, b, c) ((a) * (b) + (c))
#define FNMA(a, b, c) ((c) - (a) * (b))

/* Eight samples of every frame, from sample at on: samples[i] holds sample at + i of all frames. */
INLINE TARGET void load_samples(const float *const *frames, int at, vec *samples)
{
    double values[8][LANES];
    for (int i = 0; i < 8; i++)
        for (int lane = 0; lane < LANES; lane++)
            values[i][lane] = frames[lane][at + i];
    memcpy(samples, values, sizeof values);
}

INLINE vec maximum(vec a, vec b)
{
    double left[LANES], right[LANES];
    memcpy(left, &a, sizeof a);
    memcpy(right, &b, sizeof b);
    for (int lane = 0; lane < LANES; lane++)
        left[lane] = left[lane] > right[lane] ? left[lane] : right[lane];
    memcpy(&a, left, sizeof a);
    return a;
}
#define MAXIMUM maximum

INLINE vec load_as_doubles(const float *from)
{
    double values[LANES];
    vec value;
    for (int lane = 0; lane < LANES; lane++)
        values[lane] = from[lane];
    memcpy(&value, values, sizeof value);
    return value;
}
#define LOAD_AS_DOUBLES load_as_doubles

INLINE void store_as_floats(float *to, vec value)
{
    double values[LANES];
    memcpy(values, &value, sizeof value);
    for (int lane = 0; lane < LANES; lane++)
        to[lane] = (float)values[lane];
}
#define STORE_AS_FLOATS store_as_floats

INLINE double sum_parts(const vec *parts)
{
    double sums[8];
    memcpy(sums, parts, sizeof sums);
    for (int half = 4; half; half /= 2)
        for (int i = 0; i < half; i++)
            sums[i] += sums[i + half];
    return sums[0];
}
#define SUM_PARTS sum_parts

#include "kernels_body.h"

/* AVX2 with FMA: four doubles. */
#include "kernels.h"

#ifdef HAVE_X86_LEVELS
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))
#define KERNELS kernels_avx2
#define LEVEL_NAME "avx2"
typedef __m256d vec;
typedef uint64_t uvec __attribute__((vector_size(32)));
#define LANES 4
#define OUTPUTS 4
#define FMA(a, b, c) _mm256_fmadd_pd(a, b, c)
#define FNMA(a, b, c) _mm256_fnmadd_pd(a, b, c)
#define KEEP(a) __asm__("" : "+x"(a))
#define MAXIMUM(a, b) _mm256_max_pd(a, b)
#define LOAD_AS_DOUBLES(from) _mm256_cvtps_pd(_mm_loadu_ps(from))
#define STORE_AS_FLOATS(to, value) _mm_storeu_ps(to, _mm256_cvtpd_ps(value))

/* Eight samples of every frame, from sample at on: samples[i] holds sample at + i of all frames. */
INLINE TARGET void load_samples(const float *const *frames, int at, vec *samples)
{
    for (int half = 0; half < 8; half += 4) {
        __m128 a = _mm_loadu_ps(frames[0] + at + half), b = _mm_loadu_ps(frames[1] + at + half);
        __m128 c = _mm_loadu_ps(frames[2] + at + half), d = _mm_loadu_ps(frames[3] + at + half);
        _MM_TRANSPOSE4_PS(a, b, c, d);
        samples[half] = _mm256_cvtps_pd(a);
        samples[half + 1] = _mm256_cvtps_pd(b);
        samples[half + 2] = _mm256_cvtps_pd(c);
        samples[half + 3] = _mm256_cvtps_pd(d);
    }
}

INLINE TARGET double sum_parts(const vec *parts)
{
    vec four = parts[0] + parts[1];
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
#define SUM_PARTS sum_parts

#include "kernels_body.h"
#endif

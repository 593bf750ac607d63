/* AVX2 with FMA: four doubles, eight floats. */
#include "kernels.h"

#ifdef HAVE_X86_LEVELS
#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))
#define KERNELS kernels_avx2
#define LEVEL_NAME "avx2"
typedef __m256d vec;
typedef __m256 fvec;
typedef uint64_t uvec __attribute__((vector_size(32)));
#define LANES 4
#define FLOAT_LANES 8
#define FMA(a, b, c) _mm256_fmadd_pd(a, b, c)
#define FNMA(a, b, c) _mm256_fnmadd_pd(a, b, c)
#define FLOAT_FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#define KEEP(a) __asm__("" : "+x"(a))
#define MAXIMUM(a, b) _mm256_max_pd(a, b)
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

INLINE TARGET float sum_lanes(__m256 a)
{
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}
#define SUM_LANES sum_lanes

#include "kernels_body.h"
#endif

/* AVX-512: eight doubles. */
#include "kernels.h"

#ifdef HAVE_X86_LEVELS
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma")))
#define KERNELS kernels_avx512
#define LEVEL_NAME "avx512"
typedef __m512d vec;
typedef uint64_t uvec __attribute__((vector_size(64)));
#define LANES 8
#define OUTPUTS 8
#define FMA(a, b, c) _mm512_fmadd_pd(a, b, c)
#define FNMA(a, b, c) _mm512_fnmadd_pd(a, b, c)
#define KEEP(a) __asm__("" : "+v"(a))
#define MAXIMUM(a, b) _mm512_max_pd(a, b)
#define LOAD_AS_DOUBLES(from) _mm512_cvtps_pd(_mm256_loadu_ps(from))
#define STORE_AS_FLOATS(to, value) _mm256_storeu_ps(to, _mm512_cvtpd_ps(value))

/* Four samples of lanes l and l + 4, side by side. */
INLINE TARGET __m256 load_pair(const float *const *frames, int lane, int at)
{
    __m256 low = _mm256_castps128_ps256(_mm_loadu_ps(frames[lane] + at));
    return _mm256_insertf128_ps(low, _mm_loadu_ps(frames[lane + 4] + at), 1);
}

/* Eight samples of every frame, from sample at on: samples[i] holds sample at + i of all frames. */
INLINE TARGET void load_samples(const float *const *frames, int at, vec *samples)
{
    for (int half = 0; half < 8; half += 4) {
        __m256 a = load_pair(frames, 0, at + half), b = load_pair(frames, 1, at + half);
        __m256 c = load_pair(frames, 2, at + half), d = load_pair(frames, 3, at + half);
        __m256 ab = _mm256_unpacklo_ps(a, b), cd = _mm256_unpacklo_ps(c, d);
        __m256 AB = _mm256_unpackhi_ps(a, b), CD = _mm256_unpackhi_ps(c, d);
        samples[half] = _mm512_cvtps_pd(_mm256_shuffle_ps(ab, cd, 0x44));
        samples[half + 1] = _mm512_cvtps_pd(_mm256_shuffle_ps(ab, cd, 0xEE));
        samples[half + 2] = _mm512_cvtps_pd(_mm256_shuffle_ps(AB, CD, 0x44));
        samples[half + 3] = _mm512_cvtps_pd(_mm256_shuffle_ps(AB, CD, 0xEE));
    }
}

INLINE TARGET double sum_parts(const vec *parts)
{
    __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(parts[0]), _mm512_extractf64x4_pd(parts[0], 1));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}
#define SUM_PARTS sum_parts

#include "kernels_body.h"
#endif

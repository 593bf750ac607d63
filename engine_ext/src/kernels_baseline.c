/* For every processor and compiler: SSE2 where it is part of the architecture, else one lane in plain C. */
#if defined(__x86_64__) || defined(_M_X64)
#include <emmintrin.h>
#define V __m128
#define VL 4
#define LOAD _mm_load_ps
#define LOADU _mm_loadu_ps
#define STORE _mm_store_ps
#define SET1 _mm_set1_ps
#define ADD _mm_add_ps
#define SUB _mm_sub_ps
#define MUL _mm_mul_ps
#define DIV _mm_div_ps
#define MAX _mm_max_ps
#define POWER_OF_TWO(v) _mm_castsi128_ps(_mm_slli_epi32(_mm_castps_si128(v), 23))
#else
#include <stdint.h>
#include <string.h>

static inline float power_of_two(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits <<= 23;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#define V float
#define VL 1
#define LOAD(p) (*(p))
#define LOADU(p) (*(p))
#define STORE(p, v) (*(p) = (v))
#define SET1(x) (x)
#define ADD(a, b) ((a) + (b))
#define SUB(a, b) ((a) - (b))
#define MUL(a, b) ((a) * (b))
#define DIV(a, b) ((a) / (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define POWER_OF_TWO power_of_two
#endif

#define FMA(a, b, c) ADD(MUL(a, b), c)
#define FNMA(a, b, c) SUB(c, MUL(a, b))
#define KEEP(v) (void)(v)
#define KERNELS kernels_baseline
#define LEVEL_NAME "baseline"
#define TARGET
#define FIRST_ROWS 1
#define PART_ROWS 2
#define PART_COLS 6
#define MOST_TILES 6
#define EACH_COUNT(F) F(1) F(2) F(3) F(4) F(5) F(6)
#include "kernels_body.h"

/* AVX2 with FMA: 12 sums of 8 lanes in the 16 registers. */
#include "cpu.h"

#ifdef HAVE_X86_LEVELS
#include <immintrin.h>

#define KERNELS kernels_avx2
#define LEVEL_NAME "avx2"
#define TARGET __attribute__((target("avx2,fma")))
#define V __m256
#define VL 8
#define LOAD _mm256_load_ps
#define LOADU _mm256_loadu_ps
#define STORE _mm256_store_ps
#define SET1 _mm256_set1_ps
#define ADD _mm256_add_ps
#define SUB _mm256_sub_ps
#define MUL _mm256_mul_ps
#define DIV _mm256_div_ps
#define MAX _mm256_max_ps
#define FMA _mm256_fmadd_ps
#define FNMA _mm256_fnmadd_ps
#define POWER_OF_TWO(v) _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 23))
#define KEEP(v) __asm__("" : "+x"(v))
#define FIRST_ROWS 1
#define PART_ROWS 2
#define PART_COLS 6
#define MOST_TILES 6
#define EACH_COUNT(F) F(1) F(2) F(3) F(4) F(5) F(6)
#include "kernels_body.h"
#endif

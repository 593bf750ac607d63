/* AVX2 with FMA: 12 sums of 8 lanes in the 16 registers. */
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include "cpu.h"

#define KERNELS edgel3_kernels_avx2
#define NAME "avx2"
#define SUPPORTED cpu_has_avx2
#define TARGET __attribute__((target("avx2,fma")))
#define V __m256
#define VL 8
#define LOAD _mm256_load_ps
#define LOADU _mm256_loadu_ps
#define STORE _mm256_store_ps
#define SET1 _mm256_set1_ps
#define FMA _mm256_fmadd_ps
#define KEEP(v) __asm__("" : "+x"(v))
#define MAX _mm256_max_ps
#define FIRST_ROWS 1
#define PART_ROWS 2
#define PART_COLS 6
#include "tile.h"
#endif

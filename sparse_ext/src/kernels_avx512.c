/* AVX-512F: 24 sums of 16 lanes in the 32 registers. */
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

#include "cpu.h"

#define KERNELS edgel3_kernels_avx512
#define NAME "avx512"
#define SUPPORTED cpu_has_avx512
#define TARGET __attribute__((target("avx512f")))
#define V __m512
#define VL 16
#define LOAD _mm512_load_ps
#define LOADU _mm512_loadu_ps
#define STORE _mm512_store_ps
#define SET1 _mm512_set1_ps
#define FMA _mm512_fmadd_ps
#define KEEP(v) __asm__("" : "+v"(v))
#define MAX _mm512_max_ps
#define STREAM _mm512_stream_ps
#define STREAM_END _mm_sfence
#define FIRST_ROWS 2
#define PART_ROWS 4
#define PART_COLS 12
#include "tile.h"
#endif

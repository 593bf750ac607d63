/* AVX-512F: sums of 16 lanes in most of the 32 registers. */
#include "cpu.h"

#ifdef HAVE_X86_LEVELS
#include <immintrin.h>

#define KERNELS kernels_avx512
#define LEVEL_NAME "avx512"
#define TARGET __attribute__((target("avx512f")))
#define V __m512
#define VL 16
#define LOAD _mm512_load_ps
#define LOADU _mm512_loadu_ps
#define STORE _mm512_store_ps
#define SET1 _mm512_set1_ps
#define ADD _mm512_add_ps
#define SUB _mm512_sub_ps
#define MUL _mm512_mul_ps
#define DIV _mm512_div_ps
#define MAX _mm512_max_ps
#define FMA _mm512_fmadd_ps
#define FNMA _mm512_fnmadd_ps
#define POWER_OF_TWO(v) _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 23))
#define KEEP(v) __asm__("" : "+v"(v))
#define STREAM _mm512_stream_ps
#define STREAM_END _mm_sfence
#define FIRST_ROWS 2
#define PART_ROWS 4
#define PART_COLS 12
#define MOST_TILES 14
#define EACH_COUNT(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14)
#include "kernels_body.h"
#endif

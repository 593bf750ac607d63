/* For every processor and compiler: SSE2 where it is part of the architecture, else one lane in plain C. */
#if defined(__x86_64__) || defined(_M_X64)
#include <emmintrin.h>
#define V __m128
#define VL 4
#define LOAD _mm_load_ps
#define LOADU _mm_loadu_ps
#define STORE _mm_store_ps
#define SET1 _mm_set1_ps
#define FMA(a, b, c) _mm_add_ps(_mm_mul_ps(a, b), c)
#define MAX _mm_max_ps
#else
#define V float
#define VL 1
#define LOAD(p) (*(p))
#define LOADU(p) (*(p))
#define STORE(p, v) (*(p) = (v))
#define SET1(x) (x)
#define FMA(a, b, c) ((a) * (b) + (c))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif

static int supported(void) { return 1; }

#define KEEP(v) (void)(v)
#define KERNELS edgel3_kernels_baseline
#define NAME "baseline"
#define SUPPORTED supported
#define TARGET
#define FIRST_ROWS 1
#define PART_ROWS 2
#define PART_COLS 6
#include "tile.h"

/* The loops that every SIMD level has its own build of, and the tables they read.
 *
 * A kernel works on as many frames at once as the level has lanes of doubles, one frame to a lane, so a frame's
 * arithmetic never depends on its neighbours or on the lane it lies in.
 */
#ifndef EDGEL3_KERNELS_H
#define EDGEL3_KERNELS_H

#include "cpu.h"
#include "frontend.h"

#if defined(__GNUC__) || defined(__clang__)
#define INLINE __attribute__((always_inline)) static inline
#else
#define INLINE static __forceinline
#endif

/* Before a loop of few and constant turns, so that an array of vectors becomes registers. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 8")
#else
#define UNROLL
#endif

/* The real FFT of n_fft samples is a complex one of n_fft / 2 = radix * ROW points: a first pass of that radix,
 * then one FFT of ROW points for each of its outputs. A row's vectors are kept ROW_STRIDE complex numbers apart,
 * because a power of two would put all rows of the first pass in the same few cache sets. */
#define ROW 64
#define ROW_STRIDE (ROW + 1)
#define MAX_RADIX 16
#define MAX_LANES 8
#define MAX_OUTPUTS 8 /* of a resampler, whose sums are in registers together */

/* Work space of the decibels kernel, in doubles per lane: the rows, then the power spectrum. */
#define WORK_PER_LANE(radix) (2 * (radix) * ROW_STRIDE + (radix) * ROW + 1)

typedef struct {
    int n_mels;
    int radix;                  /* 8 or 16: n_fft / 2 / ROW */
    double floor;               /* under the power of a mel band */
    const double *taper;        /* n_fft: periodic Hann window */
    const double *first;        /* (ROW, radix - 1, re im): twiddles after the first pass */
    const double *second;       /* (8, 7, re im): twiddles within a row */
    const double *split;        /* (n_fft / 2, cos sin) of 2 pi k / n_fft */
    const int *band_first;      /* (n_mels,) first bin of a mel band */
    const int *band_length;     /* (n_mels,) its bins */
    const double *band_weights; /* the bands' weights, one after another */
} mel_tables;

/* Taps of the two wings of an output, reach each, in the order of the samples: at the table's entry before its position,
 * and what they grow by up to the next entry. */
typedef struct {
    const double *left, *left_slope, *right, *right_slope;
} tap_rows;

#define TAPS_MULTIPLE 8 /* of which reach is one; rows of taps are aligned to so many doubles */

/* An output of a resampler. */
typedef struct {
    double left_amount, right_amount; /* how far its position is on the way to the table's next entry */
    int left, right;                  /* rows */
    int at, to;
} located;

typedef struct {
    const char *name;
    int lanes; /* frames that decibels takes at once */

    /* frames: lanes pointers to n_fft samples each. work: aligned to MAX_LANES doubles, WORK_PER_LANE(radix) * lanes.
     * decibels[m * stride + lane] = 10 log10 of the magnitude of mel band m. */
    void (*decibels)(const mel_tables *tables, const float *const *frames, double *work, float *decibels,
                     int64_t stride);

    /* Brings the largest of n values to 0 and what lies more than range below it to -range. */
    void (*normalise)(float *values, int64_t n, float range);

    /* Makes count outputs of a resampler that have their rows of taps in common: samples[at] begins what an output
     * reads, reach samples for each wing, and outputs[to] takes it. */
    void (*interpolate)(const tap_rows *rows, int reach, const float *samples, const located *which, int count,
                        float *outputs);
} kernels;

extern const kernels kernels_baseline;
#ifdef HAVE_X86_LEVELS
extern const kernels kernels_avx2, kernels_avx512;
#endif
#ifdef HAVE_NEON_LEVEL
extern const kernels kernels_neon;
#endif

/* The level at an index of frontend_level_name. */
const kernels *frontend_level(int index);

#endif

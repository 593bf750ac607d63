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

/* The real FFT of n_fft samples is a complex one of n_fft / 2 = radix * ROW points: a first pass of that radix,
 * then one FFT of ROW points for each of its outputs. A row's vectors are kept ROW_STRIDE complex numbers apart,
 * because a power of two would put all rows of the first pass in the same few cache sets. */
#define ROW 64
#define ROW_STRIDE (ROW + 1)
#define MAX_RADIX 16
#define MAX_LANES 8

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

typedef struct {
    const char *name;
    int lanes; /* frames that decibels takes at once */

    /* frames: lanes pointers to n_fft samples each. work: aligned to MAX_LANES doubles, WORK_PER_LANE(radix) * lanes.
     * decibels[m * stride + lane] = 10 log10 of the magnitude of mel band m. */
    void (*decibels)(const mel_tables *tables, const float *const *frames, double *work, float *decibels,
                     int64_t stride);

    /* Brings the largest of n values to 0 and what lies more than range below it to -range. */
    void (*normalise)(float *values, int64_t n, float range);

    /* Sum of taps[i] * x[i]; n is a multiple of TAPS_MULTIPLE. */
    float (*dot)(const float *taps, const float *x, int n);

    /* dot of two rows of taps with each of four signals: dots (4, 2), bit by bit as dot gives them. */
    void (*dot_pairs)(const float *even, const float *odd, const float *const *x, int n, float *dots);

    /* taps[i] = base[i] + amount * slope[i]; n is a multiple of TAPS_MULTIPLE. */
    void (*blend)(const float *base, const float *slope, float amount, float *taps, int n);

    /* dot of the blended taps, without storing them. */
    float (*blend_dot)(const float *base, const float *slope, float amount, const float *x, int n);
} kernels;

#define TAPS_MULTIPLE 16

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

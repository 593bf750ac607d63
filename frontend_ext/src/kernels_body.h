/* The kernels, written once. The including file gives
 *   TARGET (attribute of every function), KERNELS (the table to define), LEVEL_NAME,
 *   vec of LANES doubles, uvec of LANES uint64_t,
 *   FMA = a * b + c, FNMA = c - a * b, MAXIMUM, LOAD_AS_DOUBLES, STORE_AS_FLOATS, load_samples,
 *   OUTPUTS = how many outputs of a resampler have their sums in registers together,
 *   SUM_PARTS = the sum of the eight doubles of an array of vectors: i and i + 4, then i and i + 2, then both,
 *   KEEP = makes a vec stay in a register (gcc would rather load it again for each use).
 */
#include <string.h>

/* Straight-line repetition: a loop over an array of vectors would keep the array in memory. */
#define EACH1TO7(F) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
#define EACH8(F) F(0) EACH1TO7(F)

typedef struct {
    vec re, im;
} cvec;

INLINE TARGET cvec add(cvec a, cvec b)
{
    return (cvec){a.re + b.re, a.im + b.im};
}

INLINE TARGET cvec sub(cvec a, cvec b)
{
    return (cvec){a.re - b.re, a.im - b.im};
}

INLINE TARGET vec broadcast(double value)
{
    return value - (vec){0};
}

/* a times re + i im */
INLINE TARGET cvec times(cvec a, double re, double im)
{
    vec c = broadcast(re), s = broadcast(im);
    return (cvec){FNMA(a.im, s, a.re * c), FMA(a.im, c, a.re * s)};
}

/* a - i b and a + i b */
INLINE TARGET cvec sub_i(cvec a, cvec b)
{
    return (cvec){a.re + b.im, a.im - b.re};
}

INLINE TARGET cvec add_i(cvec a, cvec b)
{
    return (cvec){a.re - b.im, a.im + b.re};
}

/* DFT of 4 points, in natural order. */
INLINE TARGET void dft4(cvec *z0, cvec *z1, cvec *z2, cvec *z3)
{
    cvec a = add(*z0, *z2), b = sub(*z0, *z2), c = add(*z1, *z3), d = sub(*z1, *z3);
    *z0 = add(a, c);
    *z1 = sub_i(b, d);
    *z2 = sub(a, c);
    *z3 = add_i(b, d);
}

/* (1 - i) / sqrt(2) and (-1 - i) / sqrt(2) times a */
INLINE TARGET cvec eighth(cvec a)
{
    const vec root = broadcast(0.70710678118654752440);
    return (cvec){root * (a.re + a.im), root * (a.im - a.re)};
}

INLINE TARGET cvec three_eighths(cvec a)
{
    const vec root = broadcast(0.70710678118654752440);
    return (cvec){root * (a.im - a.re), -(root * (a.re + a.im))};
}

INLINE TARGET cvec quarter(cvec a)
{
    return (cvec){a.im, -a.re};
}

/* DFT of 8 points: even outputs are the DFT of the halves' sum, odd ones of their turned difference.
 * Output 2 k ends in z[k], output 2 k + 1 in z[4 + k]. */
INLINE TARGET void dft8(cvec *z)
{
    cvec a0 = add(z[0], z[4]), a1 = add(z[1], z[5]), a2 = add(z[2], z[6]), a3 = add(z[3], z[7]);
    cvec b0 = sub(z[0], z[4]), b1 = sub(z[1], z[5]), b2 = sub(z[2], z[6]), b3 = sub(z[3], z[7]);
    z[0] = a0, z[1] = a1, z[2] = a2, z[3] = a3;
    z[4] = b0, z[5] = eighth(b1), z[6] = quarter(b2), z[7] = three_eighths(b3);
    dft4(z, z + 1, z + 2, z + 3);
    dft4(z + 4, z + 5, z + 6, z + 7);
}
#define SLOT8(output) ((output) % 2 * 4 + (output) / 2)

/* DFT of 16 points in the same way: output 2 k ends in z[SLOT8(k)], output 2 k + 1 in z[8 + SLOT8(k)]. */
INLINE TARGET void dft16(cvec *z)
{
    const double cosine = 0.92387953251128675613, sine = 0.38268343236508977173;
    cvec b[8];
#define HALVE(k) b[k] = sub(z[k], z[k + 8]), z[k] = add(z[k], z[k + 8]);
    EACH8(HALVE)
#undef HALVE
    z[8] = b[0];
    z[9] = times(b[1], cosine, -sine);
    z[10] = eighth(b[2]);
    z[11] = times(b[3], sine, -cosine);
    z[12] = quarter(b[4]);
    z[13] = times(b[5], -sine, -cosine);
    z[14] = three_eighths(b[6]);
    z[15] = times(b[7], -cosine, -sine);
    dft8(z);
    dft8(z + 8);
}
#define SLOT16(output) ((output) % 2 * 8 + SLOT8((output) / 2))

/* The work space is aligned to vectors, and vec may alias double. */
INLINE TARGET cvec load(const double *from)
{
    const vec *pair = (const vec *)from;
    return (cvec){pair[0], pair[1]};
}

INLINE TARGET void store(double *to, cvec z)
{
    vec *pair = (vec *)to;
    pair[0] = z.re;
    pair[1] = z.im;
}

#define POINT (2 * LANES) /* doubles of one complex number of all frames */

/* Takes the frames in, tapered, a pair of samples as one complex number; transforms across the rows. */
INLINE TARGET void first_pass(const mel_tables *tables, const float *const *frames, double *rows, int radix)
{
    vec samples[MAX_RADIX * 8];
    cvec z[MAX_RADIX];
    for (int q = 0; q < ROW; q += 4) {
        for (int m = 0; m < radix; m++) {
            int at = 2 * (q + ROW * m);
            load_samples(frames, at, samples + 8 * m);
#define TAPER(i) samples[8 * m + i] *= broadcast(tables->taper[at + i]);
            EACH8(TAPER)
#undef TAPER
        }
        for (int i = 0; i < 4; i++) {
            const double *turn = tables->first + (q + i) * (radix - 1) * 2;
            double *row = rows + (q + i) * POINT;
#define TAKE(m) z[m] = (cvec){samples[8 * (m) + 2 * i], samples[8 * (m) + 2 * i + 1]};
#define TAKE_HIGH(m) TAKE(8 + m)
#define GIVE(r) store(row + (r) * ROW_STRIDE * POINT, times(z[SLOT(r)], turn[2 * (r) - 2], turn[2 * (r) - 1]));
#define GIVE_HIGH(r) GIVE(8 + r)
            EACH8(TAKE)
            if (radix == 8) {
#define SLOT SLOT8
                dft8(z);
                EACH1TO7(GIVE)
#undef SLOT
            } else {
#define SLOT SLOT16
                EACH8(TAKE_HIGH)
                dft16(z);
                EACH1TO7(GIVE)
                EACH8(GIVE_HIGH)
#undef SLOT
            }
            store(row, z[0]);
#undef TAKE
#undef TAKE_HIGH
#undef GIVE
#undef GIVE_HIGH
        }
    }
}

/* FFT of the 64 points of a row, in place; output 8 k + r ends at position 8 r + k. */
INLINE TARGET void transform_row(const mel_tables *tables, double *row)
{
    cvec z[8];
    for (int q = 0; q < 8; q++) {
        const double *turn = tables->second + q * 14;
        double *at = row + q * POINT;
#define TAKE(m) z[m] = load(at + 8 * (m) * POINT);
#define GIVE(r) store(at + 8 * (r) * POINT, times(z[SLOT8(r)], turn[2 * (r) - 2], turn[2 * (r) - 1]));
        EACH8(TAKE)
        dft8(z);
        store(at, z[0]);
        EACH1TO7(GIVE)
#undef TAKE
#undef GIVE
    }
    for (int r = 0; r < 8; r++) {
        double *at = row + 8 * r * POINT;
#define TAKE(m) z[m] = load(at + (m) * POINT);
#define GIVE(k) store(at + (k) * POINT, z[SLOT8(k)]);
        EACH8(TAKE)
        dft8(z);
        EACH8(GIVE)
#undef TAKE
#undef GIVE
    }
}

/* Where transform_row leaves output i. */
INLINE TARGET const double *row_output(const double *row, unsigned i)
{
    return row + (8 * (i % 8) + i / 8) * POINT;
}

/* From outputs k and n_fft / 2 - k of the complex FFT, four times the power of the real FFT's bins of that name. */
INLINE TARGET void split_bins(const mel_tables *tables, const double *a_at, const double *b_at, int k, double *power)
{
    cvec a = load(a_at), b = load(b_at);
    vec cosine = broadcast(tables->split[2 * k]), sine = broadcast(tables->split[2 * k + 1]);
    vec even_re = a.re + b.re, even_im = a.im - b.im;       /* of the even samples' spectrum */
    vec turned_re = a.im + b.im, turned_im = a.re - b.re;   /* of the odd samples', before its twiddle */
    vec odd_re = FNMA(sine, turned_im, cosine * turned_re);
    vec odd_im = FMA(cosine, turned_im, sine * turned_re);  /* its negative */
    vec low_re = even_re + odd_re, low_im = even_im - odd_im;
    vec high_re = even_re - odd_re, high_im = even_im + odd_im;
    *(vec *)(power + k * LANES) = FMA(low_re, low_re, low_im * low_im);
    *(vec *)(power + (tables->radix * ROW - k) * LANES) = FMA(high_re, high_re, high_im * high_im);
}

/* Transforms row r and its mirror image, and turns both into power while they are in the cache. */
INLINE TARGET void power_of_rows(const mel_tables *tables, double *rows, int r, double *power)
{
    int radix = tables->radix, mirror = (radix - r) % radix;
    double *row = rows + r * ROW_STRIDE * POINT, *other = rows + mirror * ROW_STRIDE * POINT;
    transform_row(tables, row);
    if (other != row)
        transform_row(tables, other);
    if (r == 0) {
        cvec z = load(row);
        vec constant = z.re + z.im, nyquist = z.re - z.im;
        *(vec *)power = constant * constant * broadcast(4.0);
        *(vec *)(power + radix * ROW * LANES) = nyquist * nyquist * broadcast(4.0);
        for (int i = 1; i <= ROW / 2; i++)
            split_bins(tables, row_output(row, i), row_output(row, ROW - i), radix * i, power);
    } else {
        for (int i = 0; i < (other == row ? ROW / 2 : ROW); i++)
            split_bins(tables, row_output(row, i), row_output(other, ROW - 1 - i), radix * i + r, power);
    }
}

/* The power of each mel band, not below the floor: bands (n_mels, LANES). */
INLINE TARGET void mel_bands(const mel_tables *tables, const double *power, double *bands)
{
    const double *weights = tables->band_weights;
    for (int m = 0; m < tables->n_mels; m++) {
        const double *bin = power + tables->band_first[m] * LANES;
        vec sum = broadcast(0.0);
        for (int k = 0; k < tables->band_length[m]; k++)
            sum = FMA(*(const vec *)(bin + k * LANES), broadcast(*weights++), sum);
        *(vec *)(bands + m * LANES) = MAXIMUM(sum, broadcast(tables->floor));
    }
}

/* From n vectors of power, normal positive numbers, the magnitudes' 10 log10 = 5 log10 of the power, to 2e-8 dB. */
INLINE TARGET void power_to_decibels(const double *power, float *decibels, int n, int64_t stride)
{
    /* log2(1 + f) / f for 1 + f from sqrt(1/2) to sqrt(2): Chebyshev fit, even absolute error. */
    static const double series[9] = {1.44269488922413,   -0.721347382258337, 0.480921210888713,
                                     -0.360704899387673, 0.287669602666575,  -0.238826549553744,
                                     0.21760260817254,   -0.208521909352403, 0.122713087024121};
    const uvec one = (uvec){0} + 0x3FF0000000000000, root = (uvec){0} + 0x3FE6A09E667F3BCD; /* 1, sqrt(1/2) */
    const uvec large = (uvec){0} + 0x4330000000000000; /* 2^52: to its last bits an integer is added */
    for (int i = 0; i < n; i++) {
        uvec bits, biased;
        vec exponent, f, f2, f4, low, high;
        f = *(const vec *)(power + i * LANES);
        memcpy(&bits, &f, sizeof bits);
        biased = (bits + (one - root)) >> 52; /* exponent + 1023, for a mantissa that begins at sqrt(1/2) */
        bits -= (biased << 52) - one;
        biased += large;
        memcpy(&exponent, &biased, sizeof exponent);
        memcpy(&f, &bits, sizeof f);
        exponent -= broadcast(4503599627370496.0 + 1023.0);
        f -= broadcast(1.0);
        f2 = f * f;
        f4 = f2 * f2;
#define PAIR(k) FMA(f, broadcast(series[k + 1]), broadcast(series[k]))
        low = FMA(PAIR(2), f2, PAIR(0));
        high = FMA(f4, broadcast(series[8]), FMA(PAIR(6), f2, PAIR(4)));
#undef PAIR
        f = FMA(FMA(high, f4, low), f, exponent) * broadcast(1.5051499783199059761); /* 5 log10(2) */
        STORE_AS_FLOATS(decibels + i * stride, f);
    }
}

TARGET static void decibels_kernel(const mel_tables *tables, const float *const *frames, double *work, float *decibels,
                                   int64_t stride)
{
    double *power = work + tables->radix * ROW_STRIDE * POINT;
    if (tables->radix == 8)
        first_pass(tables, frames, work, 8);
    else
        first_pass(tables, frames, work, 16);
    for (int r = 0; r <= tables->radix / 2; r++)
        power_of_rows(tables, work, r, power);
    mel_bands(tables, power, work); /* the rows are done with */
    power_to_decibels(work, decibels, tables->n_mels, stride);
}

TARGET static void normalise_kernel(float *values, int64_t n, float range)
{
    float largest[16], peak;
    for (int lane = 0; lane < 16; lane++)
        largest[lane] = values[0];
    for (int64_t i = 0; i < n / 16 * 16; i += 16)
        for (int lane = 0; lane < 16; lane++)
            largest[lane] = values[i + lane] > largest[lane] ? values[i + lane] : largest[lane];
    for (int64_t i = n / 16 * 16; i < n; i++)
        largest[0] = values[i] > largest[0] ? values[i] : largest[0];
    peak = largest[0];
    for (int lane = 1; lane < 16; lane++)
        peak = largest[lane] > peak ? largest[lane] : peak;
    for (int64_t i = 0; i < n; i++) {
        float value = values[i] - peak;
        values[i] = value > -range ? value : -range;
    }
}

#define PARTS (TAPS_MULTIPLE / LANES) /* vectors that hold the partial sums of one output */

/* The products of one wing with the samples of count outputs, as partial sums of taps and of their slopes: whatever the
 * level, the first of eight takes taps 0, 8, 16 and so on. */
INLINE TARGET void sum_wing(const double *taps, const double *slope, int reach, const float *const *x, int count,
                            vec sums[][PARTS], vec growth[][PARTS])
{
    for (int part = 0; part < PARTS; part++) {
        vec sum[MAX_OUTPUTS] = {{0}}, more[MAX_OUTPUTS] = {{0}};
        for (int i = part * LANES; i < reach; i += TAPS_MULTIPLE) {
            vec tap = *(const vec *)(taps + i), rise = *(const vec *)(slope + i);
            UNROLL
            for (int k = 0; k < count; k++) {
                vec value = LOAD_AS_DOUBLES(x[k] + i);
                KEEP(value);
                sum[k] = FMA(tap, value, sum[k]);
                more[k] = FMA(rise, value, more[k]);
            }
        }
        UNROLL
        for (int k = 0; k < count; k++)
            sums[k][part] = sum[k], growth[k][part] = more[k];
    }
}

INLINE TARGET void interpolate_some(const tap_rows *rows, int reach, const float *samples, const located *which,
                                    float *outputs, int count)
{
    const float *left[MAX_OUTPUTS], *right[MAX_OUTPUTS];
    vec sums[2][MAX_OUTPUTS][PARTS], growth[2][MAX_OUTPUTS][PARTS];
    UNROLL
    for (int k = 0; k < count; k++) {
        left[k] = samples + which[k].at;
        right[k] = left[k] + reach;
    }
    sum_wing(rows->left, rows->left_slope, reach, left, count, sums[0], growth[0]);
    sum_wing(rows->right, rows->right_slope, reach, right, count, sums[1], growth[1]);
    for (int k = 0; k < count; k++) {
        vec left_amount = broadcast(which[k].left_amount), right_amount = broadcast(which[k].right_amount);
        vec total[PARTS];
        UNROLL
        for (int part = 0; part < PARTS; part++)
            total[part] = FMA(growth[0][k][part], left_amount, sums[0][k][part]) +
                          FMA(growth[1][k][part], right_amount, sums[1][k][part]);
        outputs[which[k].to] = (float)SUM_PARTS(total);
    }
}

TARGET static void interpolate_kernel(const tap_rows *rows, int reach, const float *samples, const located *which,
                                      int count, float *outputs)
{
    for (; count >= OUTPUTS; count -= OUTPUTS, which += OUTPUTS)
        interpolate_some(rows, reach, samples, which, outputs, OUTPUTS);
    for (; count >= 4; count -= 4, which += 4)
        interpolate_some(rows, reach, samples, which, outputs, 4);
    for (; count >= 2; count -= 2, which += 2)
        interpolate_some(rows, reach, samples, which, outputs, 2);
    if (count)
        interpolate_some(rows, reach, samples, which, outputs, 1);
}

const kernels KERNELS = {LEVEL_NAME, LANES, decibels_kernel, normalise_kernel, interpolate_kernel};

/* The kernels, written once. The including file gives
 *   TARGET (attribute of every function), KERNELS (the table to define), LEVEL_NAME,
 *   vec of LANES doubles, fvec of FLOAT_LANES floats, FMA = a * b + c, FNMA = c - a * b, FLOAT_FMA, load_samples.
 */
#include <string.h>

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

/* DFT of 8 points, in natural order: even outputs are the DFT of the halves' sum, odd ones of their turned difference. */
INLINE TARGET void dft8(cvec *z0, cvec *z1, cvec *z2, cvec *z3, cvec *z4, cvec *z5, cvec *z6, cvec *z7)
{
    const vec root = broadcast(0.70710678118654752440);
    cvec a0 = add(*z0, *z4), a1 = add(*z1, *z5), a2 = add(*z2, *z6), a3 = add(*z3, *z7);
    cvec b0 = sub(*z0, *z4), b1 = sub(*z1, *z5), b2 = sub(*z2, *z6), b3 = sub(*z3, *z7);
    b1 = (cvec){root * (b1.re + b1.im), root * (b1.im - b1.re)};
    b2 = (cvec){b2.im, -b2.re};
    b3 = (cvec){root * (b3.im - b3.re), -(root * (b3.re + b3.im))};
    dft4(&a0, &a1, &a2, &a3);
    dft4(&b0, &b1, &b2, &b3);
    *z0 = a0, *z2 = a1, *z4 = a2, *z6 = a3;
    *z1 = b0, *z3 = b1, *z5 = b2, *z7 = b3;
}

/* DFT of 16 points: output 2 k in z[k], output 2 k + 1 in z[8 + k]. */
INLINE TARGET void dft16(cvec *z)
{
    const double cosine = 0.92387953251128675613, sine = 0.38268343236508977173, root = 0.70710678118654752440;
    const double turns[8][2] = {{1, 0},  {cosine, -sine}, {root, -root},   {sine, -cosine},
                                {0, -1}, {-sine, -cosine}, {-root, -root}, {-cosine, -sine}};
    for (int k = 0; k < 8; k++) {
        cvec sum = add(z[k], z[k + 8]), difference = sub(z[k], z[k + 8]);
        z[k] = sum;
        z[k + 8] = times(difference, turns[k][0], turns[k][1]);
    }
    dft8(z, z + 1, z + 2, z + 3, z + 4, z + 5, z + 6, z + 7);
    dft8(z + 8, z + 9, z + 10, z + 11, z + 12, z + 13, z + 14, z + 15);
}

INLINE TARGET cvec load(const double *from)
{
    cvec z;
    memcpy(&z, from, sizeof z);
    return z;
}

INLINE TARGET void store(double *to, cvec z)
{
    memcpy(to, &z, sizeof z);
}

#define POINT (2 * LANES) /* doubles of one complex number of all frames */

/* Takes the frames in, tapered, a pair of samples as one complex number; transforms across the rows. */
INLINE TARGET void first_pass(const mel_tables *tables, const float *const *frames, double *rows, int radix)
{
    vec samples[MAX_RADIX * 8];
    for (int q = 0; q < ROW; q += 4) {
        for (int m = 0; m < radix; m++) {
            int at = 2 * (q + ROW * m);
            load_samples(frames, at, samples + 8 * m);
            for (int i = 0; i < 8; i++)
                samples[8 * m + i] *= broadcast(tables->taper[at + i]);
        }
        for (int i = 0; i < 4; i++) {
            const double *turn = tables->first + (q + i) * (radix - 1) * 2;
            double *row = rows + (q + i) * POINT;
            cvec z[MAX_RADIX];
            for (int m = 0; m < radix; m++)
                z[m] = (cvec){samples[8 * m + 2 * i], samples[8 * m + 2 * i + 1]};
            if (radix == 8)
                dft8(z, z + 1, z + 2, z + 3, z + 4, z + 5, z + 6, z + 7);
            else
                dft16(z);
            store(row, z[0]);
            for (int r = 1; r < radix; r++) {
                cvec value = radix == 8 ? z[r] : z[r % 2 * 8 + r / 2];
                store(row + r * ROW_STRIDE * POINT, times(value, turn[2 * r - 2], turn[2 * r - 1]));
            }
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
        for (int m = 0; m < 8; m++)
            z[m] = load(at + 8 * m * POINT);
        dft8(z, z + 1, z + 2, z + 3, z + 4, z + 5, z + 6, z + 7);
        store(at, z[0]);
        for (int r = 1; r < 8; r++)
            store(at + 8 * r * POINT, times(z[r], turn[2 * r - 2], turn[2 * r - 1]));
    }
    for (int r = 0; r < 8; r++) {
        double *at = row + 8 * r * POINT;
        for (int m = 0; m < 8; m++)
            z[m] = load(at + m * POINT);
        dft8(z, z + 1, z + 2, z + 3, z + 4, z + 5, z + 6, z + 7);
        for (int m = 0; m < 8; m++)
            store(at + m * POINT, z[m]);
    }
}

/* Where transform_row leaves output i. */
INLINE TARGET const double *row_output(const double *row, int i)
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
    vec low = FMA(low_re, low_re, low_im * low_im), high = FMA(high_re, high_re, high_im * high_im);
    memcpy(power + k * LANES, &low, sizeof low);
    memcpy(power + (tables->radix * ROW - k) * LANES, &high, sizeof high);
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
        constant *= constant * 4.0;
        nyquist *= nyquist * 4.0;
        memcpy(power, &constant, sizeof constant);
        memcpy(power + radix * ROW * LANES, &nyquist, sizeof nyquist);
        for (int i = 1; i <= ROW / 2; i++)
            split_bins(tables, row_output(row, i), row_output(row, ROW - i), radix * i, power);
    } else {
        for (int i = 0; i < (other == row ? ROW / 2 : ROW); i++)
            split_bins(tables, row_output(row, i), row_output(other, ROW - 1 - i), radix * i + r, power);
    }
}

/* 10 log10 of the square root of what is not below floor > 0, to 2e-8 dB. */
INLINE TARGET void store_decibels(vec power, double floor, float *decibels)
{
    /* log2(1 + f) / f for 1 + f from sqrt(1/2) to sqrt(2): Chebyshev fit, even absolute error. */
    static const double series[9] = {1.44269488922413,   -0.721347382258337, 0.480921210888713,
                                     -0.360704899387673, 0.287669602666575,  -0.238826549553744,
                                     0.21760260817254,   -0.208521909352403, 0.122713087024121};
    const uint64_t root = 0x3FE6A09E667F3BCD; /* sqrt(1/2) */
    const uint64_t one = 0x3FF0000000000000, large = 0x4330000000000000; /* 1, 2^52 */
    double values[LANES], exponents[LANES];
    vec exponent, f, sum = broadcast(series[8]);

    memcpy(values, &power, sizeof values);
    for (int lane = 0; lane < LANES; lane++) {
        uint64_t bits, whole;
        values[lane] = values[lane] > floor ? values[lane] : floor;
        memcpy(&bits, &values[lane], sizeof bits);
        whole = (bits + (one - root)) >> 52; /* exponent + 1023, of a mantissa from sqrt(1/2) on */
        bits -= (whole << 52) - one;
        memcpy(&values[lane], &bits, sizeof bits);
        whole |= large;
        memcpy(&exponents[lane], &whole, sizeof whole);
    }
    memcpy(&f, values, sizeof f);
    memcpy(&exponent, exponents, sizeof exponent);
    f -= broadcast(1.0);
    exponent -= broadcast(4503599627370496.0 + 1023.0);
    for (int i = 7; i >= 0; i--)
        sum = FMA(sum, f, broadcast(series[i]));
    f = FMA(sum, f, exponent) * broadcast(1.5051499783199059761); /* 5 log10(2) */
    memcpy(values, &f, sizeof values);
    for (int lane = 0; lane < LANES; lane++)
        decibels[lane] = (float)values[lane];
}

TARGET static void decibels_kernel(const mel_tables *tables, const float *const *frames, double *work, float *decibels)
{
    double *power = work + tables->radix * ROW_STRIDE * POINT;
    const double *weights = tables->band_weights;
    if (tables->radix == 8)
        first_pass(tables, frames, work, 8);
    else
        first_pass(tables, frames, work, 16);
    for (int r = 0; r <= tables->radix / 2; r++)
        power_of_rows(tables, work, r, power);
    for (int m = 0; m < tables->n_mels; m++) {
        const double *bin = power + tables->band_first[m] * LANES;
        vec sum = broadcast(0.0);
        for (int k = 0; k < tables->band_length[m]; k++) {
            vec value;
            memcpy(&value, bin + k * LANES, sizeof value);
            sum = FMA(value, broadcast(*weights++), sum);
        }
        store_decibels(sum, tables->floor, decibels + m * LANES);
    }
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

INLINE TARGET fvec load_floats(const float *from)
{
    fvec value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE TARGET fvec blended(const float *base, const float *slope, float amount, int i)
{
    return FLOAT_FMA(load_floats(slope + i), amount - (fvec){0}, load_floats(base + i));
}

INLINE TARGET float sum_lanes(fvec sum)
{
    float lanes[FLOAT_LANES];
    memcpy(lanes, &sum, sizeof lanes);
    for (int half = FLOAT_LANES / 2; half; half /= 2)
        for (int lane = 0; lane < half; lane++)
            lanes[lane] += lanes[lane + half];
    return lanes[0];
}

TARGET static float dot_kernel(const float *taps, const float *x, int n)
{
    fvec sum = {0}, other = {0};
    int i = 0;
    for (; i + 2 * FLOAT_LANES <= n; i += 2 * FLOAT_LANES) {
        sum = FLOAT_FMA(load_floats(taps + i), load_floats(x + i), sum);
        other = FLOAT_FMA(load_floats(taps + i + FLOAT_LANES), load_floats(x + i + FLOAT_LANES), other);
    }
    for (; i < n; i += FLOAT_LANES)
        sum = FLOAT_FMA(load_floats(taps + i), load_floats(x + i), sum);
    return sum_lanes(sum + other);
}

TARGET static void blend_kernel(const float *base, const float *slope, float amount, float *taps, int n)
{
    for (int i = 0; i < n; i += FLOAT_LANES) {
        fvec value = blended(base, slope, amount, i);
        memcpy(taps + i, &value, sizeof value);
    }
}

TARGET static float blend_dot_kernel(const float *base, const float *slope, float amount, const float *x, int n)
{
    fvec sum = {0};
    for (int i = 0; i < n; i += FLOAT_LANES)
        sum = FLOAT_FMA(blended(base, slope, amount, i), load_floats(x + i), sum);
    return sum_lanes(sum);
}

const kernels KERNELS = {LEVEL_NAME,  LANES,        decibels_kernel, normalise_kernel,
                         dot_kernel, blend_kernel, blend_dot_kernel};

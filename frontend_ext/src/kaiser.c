/* The filter of resampy 0.2.2's kaiser_best: a Kaiser-windowed sinc, tabulated and interpolated linearly. */
#include "resample.h"

#include <math.h>
#include <stdlib.h>

#define PI 3.14159265358979323846
#define ZERO_CROSSINGS 64
#define TABLE_LAST (ZERO_CROSSINGS * TABLE_STEPS)
#define KAISER_BETA 14.769656459379492
#define ROLLOFF 0.9475937167399596
#define PHASE_BYTES (2 << 20) /* the most that the rows of all phases may take, so that they stay in the cache */

/* Modified Bessel function of the first kind, order 0, by its power series. */
static double bessel_i0(double x)
{
    double sum = 1.0, term = 1.0;
    for (int k = 1; term > 1e-18 * sum; k++) {
        term *= (x / (2.0 * k)) * (x / (2.0 * k));
        sum += term;
    }
    return sum;
}

static double *half_filter(double scale)
{
    double *table = malloc(sizeof(double) * (TABLE_LAST + 1));
    if (!table)
        return NULL;
    for (int i = 0; i <= TABLE_LAST; i++) {
        double position = (double)i / TABLE_LAST, x = PI * ROLLOFF * i / TABLE_STEPS;
        double taper = bessel_i0(KAISER_BETA * sqrt(1.0 - position * position)) / bessel_i0(KAISER_BETA);
        table[i] = scale * ROLLOFF * taper * (i ? sin(x) / x : 1.0);
    }
    return table;
}

/* Lays the table out so that the taps of one offset are neighbours: the left wing in the order of its samples,
 * nearest last, and the right wing nearest first. */
static void fill_rows(kaiser_filter *filter, const double *table)
{
    int step = filter->step, reach = filter->reach;
    for (int offset = 0; offset <= step; offset++) {
        size_t row = (size_t)offset * reach;
        for (int i = 0; i < (TABLE_LAST + 1 - offset) / step; i++) {
            int at = offset + i * step;
            float value = (float)table[at];
            float slope = at < TABLE_LAST ? (float)(table[at + 1] - table[at]) : 0.0f;
            filter->left[row + reach - 1 - i] = filter->right[row + i] = value;
            filter->left_slope[row + reach - 1 - i] = filter->right_slope[row + i] = slope;
        }
    }
}

kaiser_filter *kaiser_filter_create(double ratio, int64_t phases, int level)
{
    kaiser_filter *filter = calloc(1, sizeof *filter);
    double *table;
    size_t size;
    if (!filter)
        return NULL;
    filter->kernels = frontend_level(level);
    filter->ratio = ratio;
    filter->scale = ratio < 1.0 ? ratio : 1.0;
    filter->step = (int)(filter->scale * TABLE_STEPS); /* truncated, as published */
    filter->reach = (TABLE_LAST + 1) / filter->step;
    filter->reach = (filter->reach + TAPS_MULTIPLE - 1) / TAPS_MULTIPLE * TAPS_MULTIPLE;
    filter->slack = ((int)(1.0 / ratio) + 2 + TAPS_MULTIPLE - 1) / TAPS_MULTIPLE * TAPS_MULTIPLE;
    if (phases < PHASE_BYTES / 2 / (int64_t)sizeof(float) / (2 * filter->reach + filter->slack))
        filter->phases = (int)(phases % 2 ? 2 * phases : phases);
    size = (size_t)(filter->step + 1) * filter->reach;
    table = half_filter(filter->scale);
    filter->rows = calloc(4 * size, sizeof(float));
    if (!table || !filter->rows) {
        free(table);
        kaiser_filter_free(filter);
        return NULL;
    }
    filter->left = filter->rows;
    filter->left_slope = filter->rows + size;
    filter->right = filter->rows + 2 * size;
    filter->right_slope = filter->rows + 3 * size;
    fill_rows(filter, table);
    free(table);
    return filter;
}

void kaiser_filter_free(kaiser_filter *filter)
{
    if (!filter)
        return;
    free(filter->rows);
    free(filter);
}

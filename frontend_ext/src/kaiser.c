/* The filter of resampy 0.2.2's kaiser_best: a Kaiser-windowed sinc, tabulated and interpolated linearly. */
#include "resample.h"

#include <math.h>
#include <stdlib.h>

#define PI 3.14159265358979323846
#define ZERO_CROSSINGS 64
#define TABLE_LAST (ZERO_CROSSINGS * TABLE_STEPS)
#define KAISER_BETA 14.769656459379492
#define ROLLOFF 0.9475937167399596
#define MAX_RATIO 512.0

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

/* Lays the table out so that the taps of one row are neighbours: the left wing in the order of its samples, nearest
 * last, and the right wing nearest first. */
static void fill_rows(kaiser_filter *filter, const double *table)
{
    int step = filter->step, reach = filter->reach;
    for (int offset = 0; offset <= step; offset++) {
        size_t row = (size_t)offset * reach;
        for (int i = 0; i < (TABLE_LAST + 1 - offset) / step; i++) {
            int at = offset + i * step;
            double slope = at < TABLE_LAST ? table[at + 1] - table[at] : 0.0;
            filter->left[row + reach - 1 - i] = filter->right[row + i] = table[at];
            filter->left_slope[row + reach - 1 - i] = filter->right_slope[row + i] = slope;
        }
    }
}

int kaiser_filter_create(kaiser_filter **to, double ratio, int level)
{
    const size_t alignment = sizeof(double) * TAPS_MULTIPLE;
    kaiser_filter *filter;
    double *table;
    size_t size;
    *to = NULL;
    if (!(ratio >= 1.0 / TABLE_STEPS && ratio <= MAX_RATIO) || !frontend_level(level))
        return FRONTEND_BAD_SIZE;
    filter = calloc(1, sizeof *filter);
    if (!filter)
        return FRONTEND_NO_MEMORY;
    filter->kernels = frontend_level(level);
    filter->ratio = ratio;
    filter->scale = ratio < 1.0 ? ratio : 1.0;
    filter->step = (int)(filter->scale * TABLE_STEPS); /* truncated, as published */
    filter->reach = (TABLE_LAST + 1) / filter->step;
    filter->reach = (filter->reach + TAPS_MULTIPLE - 1) / TAPS_MULTIPLE * TAPS_MULTIPLE;
    size = (size_t)(filter->step + 1) * filter->reach;
    table = half_filter(filter->scale);
    filter->memory = calloc(1, 4 * size * sizeof(double) + alignment);
    if (!table || !filter->memory) {
        free(table);
        kaiser_filter_free(filter);
        return FRONTEND_NO_MEMORY;
    }
    filter->left = (double *)((char *)filter->memory + (alignment - (uintptr_t)filter->memory % alignment));
    filter->left_slope = filter->left + size;
    filter->right = filter->left + 2 * size;
    filter->right_slope = filter->left + 3 * size;
    fill_rows(filter, table);
    free(table);
    *to = filter;
    return 0;
}

int kaiser_filter_reach(const kaiser_filter *filter)
{
    return filter->reach;
}

void kaiser_filter_free(kaiser_filter *filter)
{
    if (!filter)
        return;
    free(filter->memory);
    free(filter);
}

/* kaiser_best, block by block. */
#include "resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 16384          /* input samples taken at a time */
#define SAME_FRACTION 1e-7   /* input samples; what an output moves by then is below its float32 rounding */

struct resampler {
    const kaiser_filter *filter;
    double time;       /* of the next output, in input samples: the running sum that resampy keeps, errors included */
    int64_t produced;  /* outputs so far */
    int64_t received;  /* inputs so far */
    int64_t origin;    /* input index of buffer[0] */
    int64_t filled;    /* samples in buffer */
    float *buffer;     /* 2 * reach + CHUNK */
    float *phase_taps; /* (phases + 1, 2 * reach); the last row is phase 0 approached from below */
    double *phase_fraction; /* (phases + 1,): the fraction that a row was made for, -1 before */
};

resampler *resampler_create(const kaiser_filter *filter)
{
    resampler *state = calloc(1, sizeof *state);
    size_t reach = (size_t)filter->reach, rows = (size_t)filter->phases + 1;
    if (!state)
        return NULL;
    state->filter = filter;
    state->origin = -(int64_t)reach;
    state->filled = (int64_t)reach;
    state->buffer = calloc(2 * reach + CHUNK, sizeof(float));
    state->phase_taps = malloc(sizeof(float) * rows * 2 * reach);
    state->phase_fraction = malloc(sizeof(double) * rows);
    if (!state->buffer || !state->phase_taps || !state->phase_fraction) {
        resampler_free(state);
        return NULL;
    }
    for (size_t row = 0; row < rows; row++)
        state->phase_fraction[row] = -1.0;
    return state;
}

void resampler_free(resampler *state)
{
    if (!state)
        return;
    free(state->buffer);
    free(state->phase_taps);
    free(state->phase_fraction);
    free(state);
}

/* A position in the table: a row, and how far it is on the way to the next one. */
typedef struct {
    size_t row;
    float amount;
} position;

static position locate(const kaiser_filter *filter, double distance)
{
    double index = distance * TABLE_STEPS;
    int offset = (int)index;
    return (position){(size_t)offset * filter->reach, (float)(index - offset)};
}

/* The output a fraction of an input sample after x[reach - 1]. */
static float interpolate(resampler *state, double fraction, const float *x)
{
    const kaiser_filter *filter = state->filter;
    const kernels *kernels = filter->kernels;
    int reach = filter->reach, phase = (int)(fraction * filter->phases + 0.5);
    double distance = filter->scale * fraction;
    float *taps = state->phase_taps + (size_t)phase * 2 * reach;
    position left, right;

    if (filter->phases && fabs(fraction - state->phase_fraction[phase]) <= SAME_FRACTION)
        return kernels->dot(taps, x, 2 * reach);
    left = locate(filter, distance);
    right = locate(filter, filter->scale - distance);
    if (!filter->phases)
        return kernels->blend_dot(filter->left + left.row, filter->left_slope + left.row, left.amount, x, reach) +
               kernels->blend_dot(filter->right + right.row, filter->right_slope + right.row, right.amount, x + reach,
                                  reach);
    kernels->blend(filter->left + left.row, filter->left_slope + left.row, left.amount, taps, reach);
    kernels->blend(filter->right + right.row, filter->right_slope + right.row, right.amount, taps + reach, reach);
    state->phase_fraction[phase] = fraction;
    return kernels->dot(taps, x, 2 * reach);
}

/* Writes the outputs whose samples are all in the buffer, up to a total. */
static int64_t drain(resampler *state, int64_t total, float *output)
{
    const kaiser_filter *filter = state->filter;
    const double increment = 1.0 / filter->ratio;
    int64_t written = 0, last = state->origin + state->filled - filter->reach - 1;
    for (; state->produced < total; state->produced++) {
        int64_t n = (int64_t)state->time;
        if (n > last)
            break;
        output[written++] =
            interpolate(state, state->time - (double)n, state->buffer + (n - filter->reach + 1 - state->origin));
        state->time += increment;
    }
    return written;
}

/* Drops what no output needs any more, then appends samples, zeros where block is NULL; returns how many. */
static int64_t feed(resampler *state, const float *block, int64_t length)
{
    int64_t capacity = 2 * state->filter->reach + CHUNK;
    int64_t unneeded = (int64_t)state->time - state->filter->reach + 1 - state->origin;
    float *end;
    unneeded = unneeded < state->filled ? unneeded : state->filled;
    state->filled -= unneeded;
    state->origin += unneeded;
    memmove(state->buffer, state->buffer + unneeded, sizeof(float) * (size_t)state->filled);
    length = length < capacity - state->filled ? length : capacity - state->filled;
    end = state->buffer + state->filled;
    if (block)
        memcpy(end, block, sizeof(float) * (size_t)length);
    else
        memset(end, 0, sizeof(float) * (size_t)length);
    state->filled += length;
    return length;
}

int64_t resampler_process(resampler *state, const float *block, int64_t length, int last, float *output)
{
    int64_t written = 0, total;
    for (int64_t done = 0; done < length;) {
        int64_t taken = feed(state, block + done, length - done);
        done += taken;
        state->received += taken;
        written += drain(state, (int64_t)((double)state->received * state->filter->ratio), output + written);
    }
    if (!last)
        return written;
    total = (int64_t)((double)state->received * state->filter->ratio);
    while (state->produced < total) {
        feed(state, NULL, CHUNK);
        written += drain(state, total, output + written);
    }
    return written;
}

/* kaiser_best, block by block. */
#include "resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 8192         /* input samples taken at a time */
#define BLOCK 8192         /* outputs located at a time, then made phase by phase */
#define SAME_FRACTION 1e-7 /* input samples; what an output changes by then is below its float32 rounding */

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
    double fraction[BLOCK]; /* how far an output lies after the input sample before it */
    int at[BLOCK];          /* where in the buffer an output's samples begin */
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

/* Finds the next outputs whose samples are all in the buffer; returns how many. */
static int locate_outputs(resampler *state, int64_t most)
{
    const kaiser_filter *filter = state->filter;
    const double increment = 1.0 / filter->ratio;
    int64_t last = state->origin + state->filled - filter->reach - 1;
    int count = 0;
    for (; count < most && count < BLOCK; count++) {
        int64_t n = (int64_t)state->time;
        if (n > last)
            break;
        state->at[count] = (int)(n - filter->reach + 1 - state->origin);
        state->fraction[count] = state->time - (double)n;
        state->time += increment;
    }
    state->produced += count;
    return count;
}

/* An output with taps of its own. */
static float direct(const resampler *state, int output)
{
    const kaiser_filter *filter = state->filter;
    const kernels *kernels = filter->kernels;
    const float *x = state->buffer + state->at[output];
    double distance = filter->scale * state->fraction[output];
    position left = locate(filter, distance), right = locate(filter, filter->scale - distance);
    return kernels->blend_dot(filter->left + left.row, filter->left_slope + left.row, left.amount, x, filter->reach) +
           kernels->blend_dot(filter->right + right.row, filter->right_slope + right.row, right.amount,
                              x + filter->reach, filter->reach);
}

static int phase_of(const resampler *state, int output)
{
    return (int)(state->fraction[output] * state->filter->phases + 0.5);
}

/* Whether the row of a phase serves an output: the running sum of the time drifts, and rows are made anew as it does. */
static int serves(const resampler *state, int phase, int output)
{
    return phase_of(state, output) == phase &&
           fabs(state->fraction[output] - state->phase_fraction[phase]) <= SAME_FRACTION;
}

static float *taps_for(resampler *state, int output)
{
    const kaiser_filter *filter = state->filter;
    int reach = filter->reach, phase = phase_of(state, output);
    float *taps = state->phase_taps + (size_t)phase * 2 * reach;
    if (!serves(state, phase, output)) {
        double distance = filter->scale * state->fraction[output];
        position left = locate(filter, distance), right = locate(filter, filter->scale - distance);
        filter->kernels->blend(filter->left + left.row, filter->left_slope + left.row, left.amount, taps, reach);
        filter->kernels->blend(filter->right + right.row, filter->right_slope + right.row, right.amount, taps + reach,
                               reach);
        state->phase_fraction[phase] = state->fraction[output];
    }
    return taps;
}

/* Makes outputs first, first + phases, ...: as a rule all with the same taps, which then are read for four at a time. */
static void make_phase(resampler *state, int first, int count, float *output)
{
    const kernels *kernels = state->filter->kernels;
    int stride = state->filter->phases, taps_length = 2 * state->filter->reach;
    for (int j = first; j < count;) {
        const float *taps = taps_for(state, j), *x[4];
        int phase = phase_of(state, j), together = 0;
        for (int k = j; together < 4 && k < count && serves(state, phase, k); k += stride)
            x[together++] = state->buffer + state->at[k];
        if (together == 4) {
            float dots[4];
            kernels->dot4(taps, x, taps_length, dots);
            for (int k = 0; k < 4; k++, j += stride)
                output[j] = dots[k];
        } else {
            output[j] = kernels->dot(taps, x[0], taps_length);
            j += stride;
        }
    }
}

/* Writes the outputs whose samples are all in the buffer, up to a total. */
static int64_t drain(resampler *state, int64_t total, float *output)
{
    int64_t written = 0;
    for (;;) {
        int count = locate_outputs(state, total - state->produced), phases = state->filter->phases;
        if (!count)
            return written;
        for (int first = 0; first < phases && first < count; first++)
            make_phase(state, first, count, output + written);
        for (int j = 0; !phases && j < count; j++)
            output[written + j] = direct(state, j);
        written += count;
    }
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

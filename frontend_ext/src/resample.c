/* resampy 0.2.2's kaiser_best, block by block. */
#include "frontend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PI 3.14159265358979323846
#define ZERO_CROSSINGS 64
#define TABLE_STEPS 512 /* table entries per zero crossing */
#define TABLE_LAST (ZERO_CROSSINGS * TABLE_STEPS)
#define KAISER_BETA 14.769656459379492
#define ROLLOFF 0.9475937167399596
#define CHUNK 16384 /* input samples taken at a time */

struct resampler {
    double ratio;
    double scale;
    double time;      /* of the next output, in input samples: the running sum that resampy keeps */
    int64_t produced; /* outputs so far */
    int64_t received; /* inputs so far */
    int64_t origin;   /* input index of buffer[0] */
    int64_t filled;   /* samples in buffer */
    int step;         /* table entries per input sample */
    int reach;        /* input samples that one output needs on each side */
    double *table;    /* TABLE_LAST + 1 */
    float *buffer;    /* 2 * reach + CHUNK */
};

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

static double half_filter(int i)
{
    double position = (double)i / TABLE_LAST, x = PI * ROLLOFF * i / TABLE_STEPS;
    double taper = bessel_i0(KAISER_BETA * sqrt(1.0 - position * position)) / bessel_i0(KAISER_BETA);
    return ROLLOFF * taper * (i ? sin(x) / x : 1.0);
}

resampler *resampler_create(double ratio)
{
    resampler *state = calloc(1, sizeof *state);
    if (!state)
        return NULL;
    state->ratio = ratio;
    state->scale = ratio < 1.0 ? ratio : 1.0;
    state->step = (int)(state->scale * TABLE_STEPS);
    state->reach = (TABLE_LAST + 1) / state->step;
    state->origin = -state->reach;
    state->filled = state->reach;
    state->table = malloc(sizeof(double) * (TABLE_LAST + 1));
    state->buffer = calloc(2 * (size_t)state->reach + CHUNK, sizeof(float));
    if (!state->table || !state->buffer) {
        resampler_free(state);
        return NULL;
    }
    for (int i = 0; i <= TABLE_LAST; i++)
        state->table[i] = state->scale * half_filter(i);
    return state;
}

void resampler_free(resampler *state)
{
    if (!state)
        return;
    free(state->table);
    free(state->buffer);
    free(state);
}

/* One wing: sum of x[0], x[direction], ... weighted from distance (in input samples, already scaled) outwards. */
static double wing(const resampler *state, double distance, const float *x, int direction)
{
    double index = distance * TABLE_STEPS, sum = 0.0;
    int offset = (int)index, taps = (TABLE_LAST + 1 - offset) / state->step;
    double eta = index - offset;
    for (int i = 0; i < taps; i++) {
        const double *h = state->table + offset + i * state->step;
        double slope = h == state->table + TABLE_LAST ? 0.0 : h[1] - h[0];
        sum += (h[0] + eta * slope) * x[i * direction];
    }
    return sum;
}

/* Writes the outputs whose samples are all in the buffer, up to the given total. */
static int64_t drain(resampler *state, int64_t total, float *output)
{
    int64_t written = 0, end = state->origin + state->filled;
    for (; state->produced < total; state->produced++) {
        int64_t n = (int64_t)state->time;
        if (n + 1 + state->reach > end)
            break;
        const float *x = state->buffer + (n - state->origin);
        double left = state->scale * (state->time - (double)n);
        output[written++] =
            (float)(wing(state, left, x, -1) + wing(state, state->scale - left, x + 1, 1));
        state->time += 1.0 / state->ratio;
    }
    return written;
}

/* Appends up to CHUNK samples, or zeros where block is NULL, after dropping what no output needs any more. */
static void feed(resampler *state, const float *block, int64_t length)
{
    int64_t keep_from = (int64_t)state->time - state->reach + 1 - state->origin;
    if (keep_from > state->filled)
        keep_from = state->filled;
    state->filled -= keep_from;
    state->origin += keep_from;
    memmove(state->buffer, state->buffer + keep_from, sizeof(float) * (size_t)state->filled);
    if (block)
        memcpy(state->buffer + state->filled, block, sizeof(float) * (size_t)length);
    else
        memset(state->buffer + state->filled, 0, sizeof(float) * (size_t)length);
    state->filled += length;
}

int64_t resampler_process(resampler *state, const float *block, int64_t length, int last, float *output)
{
    int64_t written = 0;
    for (int64_t done = 0; done < length;) {
        int64_t piece = length - done < CHUNK ? length - done : CHUNK;
        feed(state, block + done, piece);
        done += piece;
        state->received += piece;
        written += drain(state, INT64_MAX, output + written);
    }
    if (last) {
        int64_t total = (int64_t)((double)state->received * state->ratio);
        while (state->produced < total) {
            feed(state, NULL, state->reach < CHUNK ? state->reach : CHUNK);
            written += drain(state, total, output + written);
        }
    }
    return written;
}

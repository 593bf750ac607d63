/* kaiser_best, block by block. */
#include "resample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 8192         /* input samples taken at a time */
#define BLOCK 8192         /* outputs located at a time, then made phase by phase */
#define SAME_FRACTION 1e-7 /* input samples; what an output changes by then is below its float32 rounding */

/* Where a ratio is worth it, the outputs 2 k and 2 k + 1 read the same samples, those of the even one, and the odd one's
 * taps are shifted instead; that makes two outputs of every load. It is so for every output, in whatever company it is
 * made, so that blocks do not show in the result. */
struct resampler {
    const kaiser_filter *filter;
    double time;       /* of the next output, in input samples: the running sum that resampy keeps, errors included */
    int64_t produced;  /* outputs located so far */
    int64_t received;  /* inputs so far */
    int64_t origin;    /* input index of buffer[0] */
    int64_t filled;    /* samples in buffer */
    int64_t even_from; /* input index where the samples of the last even output begin */
    float *buffer;     /* 2 * reach + CHUNK + slack */
    float *rows;       /* (phases, 2 * reach + slack): the taps of a phase, shifted */
    struct made_for {
        double fraction; /* -1 before */
        int shift;
    } *row_made_for;        /* (phases,) */
    double fraction[BLOCK]; /* how far a located output lies after the input sample before it */
    int at[BLOCK];          /* where in the buffer its samples begin, or its even neighbour's */
    int shift[BLOCK];       /* by how much its own begin later */
};

resampler *resampler_create(const kaiser_filter *filter)
{
    resampler *state = calloc(1, sizeof *state);
    size_t reach = (size_t)filter->reach, slack = (size_t)filter->slack, phases = (size_t)filter->phases;
    if (!state)
        return NULL;
    state->filter = filter;
    state->origin = -(int64_t)reach;
    state->filled = (int64_t)reach;
    state->buffer = calloc(2 * reach + CHUNK + slack, sizeof(float));
    state->rows = malloc(sizeof(float) * (phases * (2 * reach + slack) + 1));
    state->row_made_for = malloc(sizeof(struct made_for) * (phases + 1));
    if (!state->buffer || !state->rows || !state->row_made_for) {
        resampler_free(state);
        return NULL;
    }
    for (size_t phase = 0; phase < phases; phase++)
        state->row_made_for[phase].fraction = -1.0;
    return state;
}

void resampler_free(resampler *state)
{
    if (!state)
        return;
    free(state->buffer);
    free(state->rows);
    free(state->row_made_for);
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
        if (!filter->phases || (state->produced + count) % 2 == 0)
            state->even_from = n - filter->reach + 1;
        state->at[count] = (int)(state->even_from - state->origin);
        state->shift[count] = (int)(n - filter->reach + 1 - state->even_from);
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

/* Whether a row holds the taps of an output: the running sum of the time drifts, and rows are made anew as it does. */
static int serves(const resampler *state, int phase, int output)
{
    const struct made_for *row = state->row_made_for + phase;
    return row->shift == state->shift[output] && fabs(row->fraction - state->fraction[output]) <= SAME_FRACTION;
}

static const float *taps_for(resampler *state, int phase, int output)
{
    const kaiser_filter *filter = state->filter;
    int reach = filter->reach, length = 2 * reach + filter->slack;
    float *row = state->rows + (size_t)phase * length, *taps = row + state->shift[output];
    if (!serves(state, phase, output)) {
        double distance = filter->scale * state->fraction[output];
        position left = locate(filter, distance), right = locate(filter, filter->scale - distance);
        memset(row, 0, sizeof(float) * (size_t)length);
        filter->kernels->blend(filter->left + left.row, filter->left_slope + left.row, left.amount, taps, reach);
        filter->kernels->blend(filter->right + right.row, filter->right_slope + right.row, right.amount, taps + reach,
                               reach);
        state->row_made_for[phase] = (struct made_for){state->fraction[output], state->shift[output]};
    }
    return row;
}

static float single(resampler *state, int phase, int output)
{
    const kaiser_filter *filter = state->filter;
    const float *taps = taps_for(state, phase, output);
    return filter->kernels->dot(taps, state->buffer + state->at[output], 2 * filter->reach + filter->slack);
}

/* Makes an even output and its neighbour, and those that follow with the same taps, four pairs at a time. */
static void make_pairs(resampler *state, int phase, int first, int count, float *output)
{
    const kaiser_filter *filter = state->filter;
    int stride = filter->phases, length = 2 * filter->reach + filter->slack;
    for (int j = first; j < count;) {
        const float *x[4], *even = taps_for(state, phase, j);
        const float *odd = j + 1 < count ? taps_for(state, phase + 1, j + 1) : NULL;
        float dots[8];
        int together = 0;
        for (int k = j; together < 4 && k + 1 < count && serves(state, phase, k) && serves(state, phase + 1, k + 1);
             k += stride)
            x[together++] = state->buffer + state->at[k];
        if (together == 4) {
            filter->kernels->dot_pairs(even, odd, x, length, dots);
            for (int k = 0; k < 4; k++, j += stride)
                memcpy(output + j, dots + 2 * k, 2 * sizeof(float));
        } else {
            output[j] = single(state, phase, j);
            if (odd)
                output[j + 1] = single(state, phase + 1, j + 1);
            j += stride;
        }
    }
}

/* Makes the located outputs, the first of which is number from of all. */
static void make(resampler *state, int64_t from, int count, float *output)
{
    int phases = state->filter->phases, lone = from % 2 != 0;
    for (int j = 0; !phases && j < count; j++)
        output[j] = direct(state, j);
    if (!phases)
        return;
    if (lone)
        output[0] = single(state, (int)(from % phases), 0);
    for (int j = lone; j < count && j < lone + phases; j += 2)
        make_pairs(state, (int)((from + j) % phases), j, count, output);
}

/* Writes the outputs whose samples are all in the buffer, up to a total. */
static int64_t drain(resampler *state, int64_t total, float *output)
{
    int64_t written = 0;
    for (;;) {
        int64_t from = state->produced;
        int count = locate_outputs(state, total - from);
        if (!count)
            return written;
        make(state, from, count, output + written);
        written += count;
    }
}

/* Drops what no output needs any more, then appends samples, zeros where block is NULL; returns how many. */
static int64_t feed(resampler *state, const float *block, int64_t length)
{
    int64_t capacity = 2 * state->filter->reach + CHUNK;
    int64_t needed_from = (int64_t)state->time - state->filter->reach + 1, unneeded;
    float *end;
    if (state->filter->phases && state->produced % 2)
        needed_from = state->even_from; /* the next output is odd */
    unneeded = needed_from - state->origin;
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

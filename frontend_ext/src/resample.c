/* kaiser_best, block by block.
 *
 * Every output interpolates its taps between two entries of the filter's table, in double precision throughout, and is
 * rounded once. Those that were located together and read the same rows of taps are made together, whatever the ratio.
 */
#include "resample.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK 8192 /* input samples taken at a time */
#define BLOCK 4096 /* outputs located at a time */
#define MAX_TIME 0x1p53 /* input samples, up to which doubles count them */

struct resampler {
    const kaiser_filter *filter;
    double time;      /* of the next output, in input samples: the running sum that resampy keeps, errors included */
    int64_t produced; /* outputs located so far */
    int64_t received; /* inputs so far */
    int64_t origin;   /* input index of buffer[0] */
    int64_t filled;   /* samples in buffer */
    float *buffer;    /* 2 * reach + CHUNK */
    located outputs[BLOCK], sorted[BLOCK];
};

int resampler_create(resampler **to, const kaiser_filter *filter, double time, int64_t produced)
{
    resampler *state;
    int64_t reach = filter->reach;
    *to = NULL;
    if (!(time >= 0.0 && time <= MAX_TIME) || produced < 0)
        return FRONTEND_BAD_SIZE;
    state = calloc(1, sizeof *state);
    if (!state)
        return FRONTEND_NO_MEMORY;
    state->filter = filter;
    state->time = time;
    state->produced = produced;
    state->origin = (int64_t)time - reach;
    state->filled = state->origin < 0 ? -state->origin : 0; /* zeros in front of the signal */
    state->received = state->origin + state->filled;
    state->buffer = calloc(2 * (size_t)reach + CHUNK, sizeof(float));
    if (!state->buffer) {
        resampler_free(state);
        return FRONTEND_NO_MEMORY;
    }
    *to = state;
    return 0;
}

int64_t resampler_received(const resampler *state)
{
    return state->received;
}

void resampler_free(resampler *state)
{
    if (!state)
        return;
    free(state->buffer);
    free(state);
}

/* Finds the next outputs whose samples are all in the buffer; returns how many. */
static int locate(resampler *state, int64_t most)
{
    const kaiser_filter *filter = state->filter;
    const double increment = 1.0 / filter->ratio;
    int64_t last = state->origin + state->filled - filter->reach - 1;
    int count = 0;
    for (; count < most && count < BLOCK; count++) {
        int64_t n = (int64_t)state->time;
        double left, right;
        located *output = state->outputs + count;
        if (n > last)
            break;
        left = filter->scale * (state->time - (double)n);
        right = (filter->scale - left) * TABLE_STEPS;
        left *= TABLE_STEPS;
        output->left = (int)left;
        output->right = (int)right;
        output->left_amount = left - output->left;
        output->right_amount = right - output->right;
        output->at = (int)(n - filter->reach + 1 - state->origin);
        output->to = count;
        state->time += increment;
    }
    state->produced += count;
    return count;
}

/* Sorts the located outputs by their rows; a left row goes with one of two right rows, neighbours. */
static void sort(resampler *state, int count)
{
    int places[2 * (TABLE_STEPS + 1) + 1] = {0};
#define KEY(output) (2 * (output).left + (output).right % 2)
    for (int k = 0; k < count; k++)
        places[KEY(state->outputs[k]) + 1]++;
    for (int key = 0; key < 2 * (TABLE_STEPS + 1); key++)
        places[key + 1] += places[key];
    for (int k = 0; k < count; k++)
        state->sorted[places[KEY(state->outputs[k])]++] = state->outputs[k];
#undef KEY
}

static void make(resampler *state, int count, float *output)
{
    const kaiser_filter *filter = state->filter;
    sort(state, count);
    for (int from = 0, to; from < count; from = to) {
        const located *first = state->sorted + from;
        size_t left = (size_t)first->left * filter->reach, right = (size_t)first->right * filter->reach;
        tap_rows rows = {filter->left + left, filter->left_slope + left, filter->right + right,
                         filter->right_slope + right};
        for (to = from + 1; to < count; to++)
            if (state->sorted[to].left != first->left || state->sorted[to].right != first->right)
                break;
        filter->kernels->interpolate(&rows, filter->reach, state->buffer, first, to - from, output);
    }
}

/* Writes the outputs whose samples are all in the buffer, up to a total. */
static int64_t drain(resampler *state, int64_t total, float *output)
{
    int64_t written = 0;
    for (int count; (count = locate(state, total - state->produced)) != 0; written += count)
        make(state, count, output + written);
    return written;
}

/* Drops what no output needs any more, then appends samples, zeros where block is NULL; returns how many. */
static int64_t feed(resampler *state, const float *block, int64_t length)
{
    int64_t capacity = 2 * state->filter->reach + CHUNK;
    int64_t unneeded = (int64_t)state->time - state->filter->reach + 1 - state->origin;
    unneeded = unneeded < state->filled ? unneeded : state->filled;
    state->filled -= unneeded;
    state->origin += unneeded;
    memmove(state->buffer, state->buffer + unneeded, sizeof(float) * (size_t)state->filled);
    length = length < capacity - state->filled ? length : capacity - state->filled;
    if (block)
        memcpy(state->buffer + state->filled, block, sizeof(float) * (size_t)length);
    else
        memset(state->buffer + state->filled, 0, sizeof(float) * (size_t)length);
    state->filled += length;
    return length;
}

/* How many outputs there are of so many inputs. */
static int64_t outputs_of(const resampler *state, int64_t received)
{
    return (int64_t)((double)received * state->filter->ratio);
}

int64_t resampler_process(resampler *state, const float *block, int64_t length, int last, float *output, int64_t room)
{
    int64_t written = 0, total;
    if (length < 0 || outputs_of(state, state->received + length) - state->produced > room)
        return FRONTEND_BAD_SIZE;
    for (int64_t done = 0; done < length;) {
        int64_t taken = feed(state, block + done, length - done);
        done += taken;
        state->received += taken;
        written += drain(state, outputs_of(state, state->received), output + written);
    }
    if (!last)
        return written;
    total = outputs_of(state, state->received);
    while (state->produced < total) {
        feed(state, NULL, CHUNK);
        written += drain(state, total, output + written);
    }
    return written;
}

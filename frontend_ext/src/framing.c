/* From windows to frames and back: which samples a frame reads, where its column goes, what windows share.
 *
 * Padding is index arithmetic: a frame that lies wholly within the signal and its window is read where it is, and only
 * one that sticks out is copied, with its zeros, into a row of its own.
 */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const mel_plan *plan;
    const mel_request *request;
    float *images;
    double *work;               /* of the kernel, aligned */
    float *padded;              /* (lanes, n_fft): frames that stick out */
    float *decibels;            /* (n_mels, lanes) */
    const float *frames[MAX_LANES];
    float *columns[MAX_LANES];  /* where band 0 of a frame goes */
    int pending;                /* frames waiting for the kernel */
    int64_t finished;           /* windows normalised */
} batch;

static float *image_of(const batch *b, int64_t window)
{
    return b->images + window * b->plan->spec.n_mels * b->plan->spec.n_frames;
}

/* Points a lane at the samples of frame t of a window. */
static void add_frame(batch *b, int64_t window, int t)
{
    const mel_spec *spec = &b->plan->spec;
    const mel_request *request = b->request;
    int64_t window_from = (request->start + window) * request->hop_length - request->lead;
    int64_t from = window_from + (int64_t)t * spec->hop_length - spec->pad_left, to = from + spec->n_fft;
    int64_t least = window_from > 0 ? window_from : 0, most = window_from + spec->window_length;
    most = most < request->length ? most : request->length;
    if (from >= least && to <= most) {
        b->frames[b->pending] = request->audio + from;
    } else {
        float *row = b->padded + (int64_t)b->pending * spec->n_fft;
        int64_t first = from > least ? from : least, last = to < most ? to : most;
        memset(row, 0, sizeof(float) * spec->n_fft);
        if (first < last)
            memcpy(row + (first - from), request->audio + first, sizeof(float) * (size_t)(last - first));
        b->frames[b->pending] = row;
    }
    b->columns[b->pending++] = image_of(b, window) + t;
}

/* Runs the kernel on the waiting frames: straight into the image where they are neighbours there. */
static void flush(batch *b)
{
    const mel_plan *plan = b->plan;
    int lanes = plan->kernels->lanes, n_frames = plan->spec.n_frames;
    if (b->pending == lanes && b->columns[lanes - 1] == b->columns[0] + lanes - 1) {
        plan->kernels->decibels(&plan->tables, b->frames, b->work, b->columns[0], n_frames);
    } else {
        for (int lane = b->pending; lane < lanes; lane++)
            b->frames[lane] = b->frames[0];
        plan->kernels->decibels(&plan->tables, b->frames, b->work, b->decibels, lanes);
        for (int lane = 0; lane < b->pending; lane++)
            for (int m = 0; m < plan->spec.n_mels; m++)
                b->columns[lane][(int64_t)m * n_frames] = b->decibels[m * lanes + lane];
    }
    b->pending = 0;
}

/* Normalises the windows before the given one, after handing on the frames that the next window shares. */
static void finish(batch *b, int64_t until, int shared_from, int shared_to, int step)
{
    const mel_spec *spec = &b->plan->spec;
    for (; b->finished < until; b->finished++) {
        float *image = image_of(b, b->finished);
        if (shared_to > shared_from && b->finished + 1 < b->request->count) {
            float *next = image_of(b, b->finished + 1);
            for (int m = 0; m < spec->n_mels; m++)
                memcpy(next + m * spec->n_frames + shared_from, image + m * spec->n_frames + shared_from + step,
                       sizeof(float) * (size_t)(shared_to - shared_from));
        }
        b->plan->kernels->normalise(image, (int64_t)spec->n_mels * spec->n_frames, (float)spec->top_db);
    }
}

/* Whether the images have room, and no sample's index overflows. */
static int fits(const mel_spec *spec, const mel_request *request, int64_t room)
{
    return request->length >= 1 && request->lead >= 0 && request->hop_length >= 1 && request->start >= 0 &&
           request->count >= 0 && request->start <= INT64_MAX / 4 / request->hop_length - request->count &&
           request->count <= room / spec->n_mels / spec->n_frames;
}

int mel_run(const mel_plan *plan, const mel_request *request, float *images, int64_t room)
{
    const mel_spec *spec = &plan->spec;
    int lanes = plan->kernels->lanes, step = 0;
    int shared_from = 0, shared_to = 0; /* frames of a window that the one before has too, step frames later */
    size_t work = sizeof(double) * WORK_PER_LANE(plan->tables.radix) * lanes;
    size_t alignment = sizeof(double) * MAX_LANES;
    batch b = {.plan = plan, .request = request, .images = images};
    char *memory;
    if (!fits(spec, request, room))
        return FRONTEND_BAD_SIZE;
    memory = malloc(alignment + work + sizeof(float) * lanes * ((size_t)spec->n_fft + spec->n_mels));
    if (!memory)
        return FRONTEND_NO_MEMORY;
    b.work = (double *)(memory + (alignment - (uintptr_t)memory % alignment));
    b.padded = (float *)((char *)b.work + work);
    b.decibels = b.padded + (size_t)lanes * spec->n_fft;

    if (request->hop_length % spec->hop_length == 0 && request->hop_length / spec->hop_length < spec->n_frames) {
        step = (int)(request->hop_length / spec->hop_length);
        shared_from = (spec->pad_left + spec->hop_length - 1) / spec->hop_length;
        shared_to = (spec->window_length - spec->n_fft + spec->pad_left) / spec->hop_length + 1 - step;
    }
    for (int64_t window = 0; window < request->count; window++)
        for (int t = 0; t < spec->n_frames; t++) {
            if (window && t >= shared_from && t < shared_to)
                continue;
            add_frame(&b, window, t);
            if (b.pending == lanes) {
                flush(&b);
                finish(&b, window, shared_from, shared_to, step);
            }
        }
    if (b.pending)
        flush(&b);
    finish(&b, request->count, shared_from, shared_to, step);
    free(memory);
    return 0;
}

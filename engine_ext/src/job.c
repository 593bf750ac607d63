/* A batch of windows as steps of independent items, which any number of threads take one by one: each from its own range
 * of the items, which is the same part of the image in every step and so is in its caches, then from the others'. Of
 * windows that are small, each thread takes whole ones as long as there is one for every thread.
 *
 * An item is computed the same way whoever takes it, so results do not depend on the threads. A thread waits only for
 * items that another thread has already taken: helpers that never come are not missed.
 */
#include <string.h>

#include "compiler.h"
#include "network.h"

typedef struct {
    counter count;
    char own_cache_line[64 - sizeof(counter)];
} line_counter;

struct workspace {
    const network *net;
    size_t group, threads;
    float *memory; /* maps of `group` windows that all threads share; of one more for each thread; scratch of each */
};

struct job {
    const network *net;
    const workspace *space;
    const float *images;
    float *out;
    size_t n;
    size_t alone;        /* so many windows, the first ones, are computed by one thread each */
    counter workers;     /* threads that have come; each has its part of the workspace */
    counter alone_taken; /* windows that one thread took */
    line_counter *taken; /* [n][steps][threads]: items of each range that are taken */
    line_counter *done;  /* [n][steps] */
};

static size_t own_windows(const network *net, size_t threads)
{
    return net->small ? threads : 0;
}

workspace *workspace_create(const network *net, size_t group, size_t threads)
{
    workspace *space = malloc(sizeof *space);
    if (!space)
        return NULL;
    const size_t maps = (group + own_windows(net, threads)) * net->map_floats;
    float *memory = aligned_new((maps + threads * net->scratch_floats) * sizeof(float));
    if (!memory) {
        free(space);
        return NULL;
    }
    memset(memory, 0, maps * sizeof(float)); /* borders of maps are read, and never written */
    *space = (workspace){net, group, threads, memory};
    return space;
}

void workspace_free(workspace *space)
{
    if (!space)
        return;
    aligned_delete(space->memory);
    free(space);
}

job *job_create(const network *net, workspace *space, const float *images, float *out, size_t n)
{
    job *work = malloc(sizeof *work);
    line_counter *counters = calloc(n * net->steps * (space->threads + 1) + 1, sizeof *counters);
    if (!work || !counters) {
        free(work);
        free(counters);
        return NULL;
    }
    const size_t alone = net->small ? n / space->threads * space->threads : 0;
    *work = (job){net, space, images, out, n, alone, 0, 0, counters, counters + n * net->steps * space->threads};
    return work;
}

void job_free(job *work)
{
    if (!work)
        return;
    free(work->taken);
    free(work);
}

/* Where a window is computed, in one of the places for maps. */
static window window_at(const job *work, size_t number, size_t place, size_t worker)
{
    const network *net = work->net;
    const size_t places = work->space->group + own_windows(net, work->space->threads);
    float *scratch = work->space->memory + places * net->map_floats;
    return (window){work->images + number * net->image_floats, work->space->memory + place * net->map_floats,
                    scratch + worker * net->scratch_floats, work->out + number * net->out_floats};
}

enum { MOST_CHUNKS = 8 }; /* into which an item is cut: each prepares its input anew */

/* What there is to do in a step. The items are shared evenly; those that are left over, and the small ones, are cut by
 * output channels. */
typedef struct {
    uint32_t whole, cut, chunks; /* items that are computed at once, and those that are cut in so many chunks */
} division;

static division divide(const step *s, size_t threads)
{
    if (!s->divisible)
        return (division){s->items, 0, 1};
    const uint32_t whole = (uint32_t)((s->items - s->small) / threads * threads);
    return (division){whole, s->items - whole, threads < MOST_CHUNKS ? (uint32_t)threads : MOST_CHUNKS};
}

/* Take part in a step of a window until all its items are taken. A range has whole items first, then chunks. */
static void take_items(const job *work, size_t number, uint32_t at, size_t worker, const window *where)
{
    const network *net = work->net;
    const size_t threads = work->space->threads;
    const division parts = divide(&net->step[at], threads);
    const size_t all_chunks = (size_t)parts.cut * parts.chunks;
    for (size_t k = 0; k < threads; ++k) {
        const size_t range = (worker + k) % threads;
        const size_t item = parts.whole * range / threads, items = parts.whole * (range + 1) / threads - item;
        const size_t chunk = all_chunks * range / threads, chunks = all_chunks * (range + 1) / threads - chunk;
        counter *taken = &work->taken[(number * net->steps + at) * threads + range].count;
        for (size_t i; (i = (size_t)counter_increment(taken)) < items + chunks;) {
            const size_t c = chunk + i - items;
            if (i < items)
                net->compute(net, at, (uint32_t)(item + i), 0, 1, where);
            else
                net->compute(net, at, (uint32_t)(parts.whole + c / parts.chunks), (uint32_t)(c % parts.chunks),
                             parts.chunks, where);
            counter_increment(&work->done[number * net->steps + at].count);
        }
    }
}

static void wait_for(const job *work, size_t number, uint32_t at)
{
    const division parts = divide(&work->net->step[at], work->space->threads);
    const size_t items = parts.whole + (size_t)parts.cut * parts.chunks;
    while ((size_t)counter_read(&work->done[number * work->net->steps + at].count) < items)
        YIELD();
}

/* Take whole windows. The last step, of one item, is what others wait for. */
static void take_windows(job *work, size_t worker)
{
    const network *net = work->net;
    for (size_t number; (number = (size_t)counter_increment(&work->alone_taken)) < work->alone;) {
        const window where = window_at(work, number, work->space->group + worker, worker);
        for (uint32_t at = 0; at < net->steps; ++at)
            for (uint32_t item = 0; item < net->step[at].items; ++item)
                net->compute(net, at, item, 0, 1, &where);
        counter_increment(&work->done[number * net->steps + net->steps - 1].count);
    }
}

void job_work(job *work)
{
    const size_t worker = (size_t)counter_increment(&work->workers), group = work->space->group;
    const uint32_t last = work->net->steps - 1;
    take_windows(work, worker);
    for (size_t first = work->alone; first < work->n; first += group)
        for (uint32_t at = 0; at <= last; ++at)
            /* The windows take turns, so that threads rarely wait: a step is finished while they compute another window. */
            for (size_t number = first; number < first + group && number < work->n; ++number) {
                if (at)
                    wait_for(work, number, at - 1);
                else if (number >= work->alone + group)
                    wait_for(work, number - group, last);
                const window where = window_at(work, number, number % group, worker);
                take_items(work, number, at, worker, &where);
            }
    for (size_t number = 0; number < work->n; ++number)
        wait_for(work, number, last);
}

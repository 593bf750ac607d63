/* A batch of windows as steps of independent items, which any number of threads take one by one: each from its own
   range of the items, which is the same part of the image in every step and so is in its caches, then from the others'.

   An item is computed the same way whoever takes it, so results do not depend on the threads. A thread waits only for
   items that another thread has already taken: helpers that never come are not missed. */
#include <string.h>

#include "compiler.h"
#include "layers.h"

enum { STEPS = EDGEL3_STAGES + 2 }; /* images to strips, the stages, maxima to embeddings */

typedef struct {
  edgel3_counter count;
  char own_cache_line[64 - sizeof(edgel3_counter)];
} line_counter;

struct edgel3_job {
  const edgel3_network *network;
  const float *images;
  float *out;
  size_t n, group, threads;
  float *planes[2], *scratch;
  edgel3_counter workers; /* threads that have come; each has its part of the scratch */
  line_counter *taken;    /* [n][STEPS][threads]: items of each range that are taken */
  line_counter *done;     /* [n][STEPS] */
};

edgel3_job *edgel3_job_new(const edgel3_network *network, const float *images, float *out, size_t n, size_t group,
                           size_t threads, void *workspace) {
  edgel3_job *job = malloc(sizeof *job);
  line_counter *counters = calloc(n * STEPS * (threads + 1) + 1, sizeof *counters);
  if (!job || !counters) {
    free(job);
    free(counters);
    return NULL;
  }
  float *first = workspace, *second = first + group * network->plane_floats[0];
  float *scratch = second + group * network->plane_floats[1];
  line_counter *done = counters + n * STEPS * threads;
  *job = (edgel3_job){network, images, out, n, group, threads, {first, second}, scratch, 0, counters, done};
  return job;
}

void edgel3_job_free(edgel3_job *job) {
  if (!job) return;
  free(job->taken);
  free(job);
}

/* Row `row` of all strips of an image, with the input BatchNorm applied. */
static void to_strips(const edgel3_network *network, const float *image, float *plane, size_t row) {
  const size_t rows = EDGEL3_MELS / EDGEL3_LANES;
  float *to = plane + row * EDGEL3_FRAMES * EDGEL3_LANES;
  for (size_t strip = 0; strip < EDGEL3_LANES; ++strip) {
    const float *from = image + (strip * rows + row) * EDGEL3_FRAMES;
    for (size_t column = 0; column < EDGEL3_FRAMES; ++column)
      to[column * EDGEL3_LANES + strip] = from[column] * network->scale + network->shift;
  }
}

static void to_embedding(const edgel3_stage *s, const float *maxima, float *out) {
  const size_t tiles = (size_t)s->row_tiles * s->col_tiles;
  for (size_t o = 0; o < s->cout; ++o) {
    float largest = maxima[o * EDGEL3_LANES];
    for (size_t tile = 0; tile < tiles; ++tile)
      for (size_t strip = 0; strip < EDGEL3_LANES; ++strip) {
        const float value = maxima[(tile * s->cout + o) * EDGEL3_LANES + strip];
        if (value > largest) largest = value;
      }
    out[o] = largest;
  }
}

enum { MOST_CHUNKS = 8 }; /* into which a tile is cut: each packs it anew */

/* What there is to do in a step. The tiles of a stage are shared evenly; those that are left over, and those at the end
   of a row that are half as wide, are cut by output channels. */
typedef struct {
  size_t whole, cut, chunks; /* items that are computed at once, and those that are cut in so many chunks */
} division;

static division division_of(const edgel3_job *job, size_t step) {
  if (step == 0) return (division){EDGEL3_MELS / EDGEL3_LANES, 0, 1};
  if (step == STEPS - 1) return (division){1, 0, 1};
  const edgel3_stage *s = &job->network->stage[step - 1];
  const size_t tiles = (size_t)s->row_tiles * s->col_tiles, narrow = s->narrow ? s->row_tiles : 0;
  const size_t whole = (tiles - narrow) / job->threads * job->threads;
  return (division){whole, tiles - whole, job->threads < MOST_CHUNKS ? job->threads : MOST_CHUNKS};
}

/* Chunk `chunk` of `chunks` of item `item` of a step of a window. */
static void compute(const edgel3_job *job, size_t window, size_t step, size_t item, size_t chunk, size_t chunks,
                    float *scratch) {
  const size_t slot = window % job->group;
  const edgel3_network *network = job->network;
  float *planes[2] = {job->planes[0] + slot * network->plane_floats[0],
                      job->planes[1] + slot * network->plane_floats[1]};
  if (step == 0) {
    to_strips(network, job->images + window * EDGEL3_MELS * EDGEL3_FRAMES, planes[0], item);
  } else if (step == STEPS - 1) {
    const edgel3_stage *last = &network->stage[EDGEL3_STAGES - 1];
    to_embedding(last, planes[EDGEL3_STAGES % 2], job->out + window * last->cout);
  } else {
    const edgel3_stage *s = &network->stage[step - 1];
    const uint32_t tile = (uint32_t)item;
    network->kernels->tile(s, tile % s->row_tiles, tile / s->row_tiles, (uint32_t)chunk, (uint32_t)chunks,
                           planes[(step - 1) % 2], planes[step % 2], scratch);
  }
}

/* Take part in a step of a window until all its items are taken. A range has whole items first, then chunks. */
static void take_items(const edgel3_job *job, size_t window, size_t step, size_t worker, float *scratch) {
  const division work = division_of(job, step);
  const size_t threads = job->threads, all_chunks = work.cut * work.chunks;
  for (size_t k = 0; k < threads; ++k) {
    const size_t range = (worker + k) % threads;
    const size_t item = work.whole * range / threads, items = work.whole * (range + 1) / threads - item;
    const size_t chunk = all_chunks * range / threads, chunks = all_chunks * (range + 1) / threads - chunk;
    edgel3_counter *taken = &job->taken[(window * STEPS + step) * threads + range].count;
    for (size_t i; (i = (size_t)counter_increment(taken)) < items + chunks;) {
      const size_t c = chunk + i - items;
      if (i < items)
        compute(job, window, step, item + i, 0, 1, scratch);
      else
        compute(job, window, step, work.whole + c / work.chunks, c % work.chunks, work.chunks, scratch);
      counter_increment(&job->done[window * STEPS + step].count);
    }
  }
}

static void wait_for(const edgel3_job *job, size_t window, size_t step) {
  const division work = division_of(job, step);
  const size_t items = work.whole + work.cut * work.chunks;
  while ((size_t)counter_read(&job->done[window * STEPS + step].count) < items) YIELD();
}

void edgel3_job_work(edgel3_job *job) {
  const size_t worker = (size_t)counter_increment(&job->workers);
  float *scratch = job->scratch + worker * job->network->scratch_floats;
  for (size_t first = 0; first < job->n; first += job->group)
    for (size_t step = 0; step < STEPS; ++step)
      /* The windows take turns, so that threads rarely wait: a step is finished while they compute another window. */
      for (size_t window = first; window < first + job->group && window < job->n; ++window) {
        if (step)
          wait_for(job, window, step - 1);
        else if (window >= job->group)
          wait_for(job, window - job->group, STEPS - 1);
        take_items(job, window, step, worker, scratch);
      }
  for (size_t window = 0; window < job->n; ++window) wait_for(job, window, STEPS - 1);
}

/* From the packed convolutions to what the kernels read: geometry of the stages, taps by blocks of input channels. */
#include <string.h>
#if !defined(_WIN32)
#include <unistd.h>
#endif

#include "compiler.h"
#include "layers.h"

/* Bytes of the level-1 cache. */
static size_t level1_bytes(void) {
  long level1 = 0;
#if defined(_SC_LEVEL1_DCACHE_SIZE)
  level1 = sysconf(_SC_LEVEL1_DCACHE_SIZE);
#endif
  return level1 > 0 ? (size_t)level1 : 32 * 1024;
}

static const edgel3_kernels *const KERNELS[] = {
    &edgel3_kernels_baseline,
#if defined(__x86_64__) && defined(__GNUC__)
    &edgel3_kernels_avx2,
    &edgel3_kernels_avx512,
#elif defined(__aarch64__) && defined(__GNUC__)
    &edgel3_kernels_neon,
#endif
};
enum { N_KERNELS = sizeof KERNELS / sizeof *KERNELS };

const char *const *edgel3_levels(void) {
  static const char *names[N_KERNELS + 1];
  size_t n = 0;
  for (size_t i = 0; i < N_KERNELS; ++i)
    if (KERNELS[i]->supported()) names[n++] = KERNELS[i]->name;
  return names;
}

static const edgel3_kernels *find_kernels(const char *level) {
  for (size_t i = 0; i < N_KERNELS; ++i)
    if (KERNELS[i]->supported() && strcmp(KERNELS[i]->name, level) == 0) return KERNELS[i];
  return NULL;
}

/* Below this density, loops over shapes cost more than the loads that they save (measured). */
static const double LEAST_DENSITY_OF_SHAPES = 0.13;

static size_t channel_vectors(const edgel3_stage *s) { return (size_t)(s->tile_rows + 2) * (s->tile_cols + 2); }

static const enum edgel3_output OUTPUT[EDGEL3_STAGES] = {
    EDGEL3_RELU_POOL, EDGEL3_RELU_LARGE, EDGEL3_RELU_POOL, EDGEL3_RELU, EDGEL3_RELU_POOL, EDGEL3_RELU, EDGEL3_MAXIMUM};

static void set_geometry(edgel3_stage *s, uint32_t stage, uint32_t weights, uint32_t lanes) {
  /* Stages 0, 2, 4 pool; each pooling halves the plane, odd columns are dropped. */
  const uint32_t halvings = (stage + 1) / 2;
  s->rows = (EDGEL3_MELS / EDGEL3_LANES) >> halvings;
  s->cols = EDGEL3_FRAMES >> halvings;
  s->output = OUTPUT[stage];
  s->out_rows = s->output == EDGEL3_RELU_POOL ? s->rows / 2 : s->rows;
  s->out_cols = s->output == EDGEL3_RELU_POOL ? s->cols / 2 : s->cols;
  s->tile_rows = s->rows < 4 ? 2 : 4;
  s->tile_cols = s->rows < 4 ? 12 : 6;
  s->row_tiles = s->rows / s->tile_rows;
  const uint32_t needed = s->output == EDGEL3_RELU_POOL ? 2 * s->out_cols : s->cols;
  s->col_tiles = (needed + s->tile_cols - 1) / s->tile_cols;
  s->narrow = s->col_tiles * s->tile_cols - needed >= s->tile_cols / 2;
  /* A block of packed input has to stay in the level-1 cache, with the sums that stream through, while all output
     channels are computed. Where lists are short, fewer and longer ones are worth some misses (measured). */
  const double channels = level1_bytes() / 6.0 * 5.0 / (double)(channel_vectors(s) * lanes * sizeof(float));
  const uint32_t most = (uint32_t)(channels * weights / s->cout / s->cin < 6 ? channels * 1.44 : channels);
  s->blocks = (s->cin + most - 1) / most;
  s->block = (s->cin + s->blocks - 1) / s->blocks;
}

/* Bytes from the start of a packed block to where a tap begins to read. */
static uint32_t offset_of(const edgel3_stage *s, uint32_t index, uint32_t lanes) {
  const uint32_t channel = index / 9 % s->block, row = index % 9 / 3, column = index % 3;
  const size_t vector = channel * channel_vectors(s) + row * (s->tile_cols + 2) + column;
  return (uint32_t)(vector * lanes * sizeof(float));
}

/* Write those of the weights from `begin` to `end`, all of one input channel, that form `shape` and are not used yet;
   return the end of what is written. */
static edgel3_tap *take_shape(edgel3_tap *to, const edgel3_stage *s, const edgel3_convolution *from, uint32_t begin,
                              uint32_t end, const edgel3_shape *shape, char *used, uint32_t lanes) {
  uint32_t at[9]; /* the weight at each place of the kernel; `end` where there is none */
  for (int place = 0; place < 9; ++place) at[place] = end;
  for (uint32_t i = begin; i < end; ++i)
    if (!used[i]) at[from->index[i] % 9] = i;
  for (int place = 0; place < 9; ++place) {
    int places[EDGEL3_MOST_TAPS], found = 0;
    for (int k = 0; k < shape->taps; ++k) {
      const int row = place / 3 + shape->row[k], column = place % 3 + shape->column[k];
      places[k] = row * 3 + column;
      found += row < 3 && column < 3 && at[places[k]] < end;
    }
    if (found < shape->taps) continue;
    for (int k = 0; k < shape->taps; ++k) {
      const uint32_t i = at[places[k]];
      *to++ = (edgel3_tap){offset_of(s, from->index[i], lanes), from->weight[i]};
      used[i] = 1;
      at[places[k]] = end;
    }
  }
  return to;
}

/* Write the list of the weights from `begin` to `end`, of one output channel and one block, shape by shape. */
static edgel3_tap *set_list(edgel3_list *list, edgel3_tap *to, const edgel3_stage *s, const edgel3_convolution *from,
                            uint32_t begin, uint32_t end, char *used, uint32_t lanes) {
  for (int k = s->shapes ? 0 : EDGEL3_SHAPES - 1; k < EDGEL3_SHAPES; ++k) {
    const edgel3_tap *before = to;
    for (uint32_t i = begin, next; i < end; i = next) {
      for (next = i; next < end && from->index[next] / 9 == from->index[i] / 9;) ++next;
      to = take_shape(to, s, from, i, next, &EDGEL3_SHAPE[k], used, lanes);
    }
    list->groups[k] = (uint16_t)((to - before) / EDGEL3_SHAPE[k].taps);
  }
  return to;
}

/* Sort the taps by blocks of input channels; within a block, by output channel. */
static int set_taps(edgel3_stage *s, const edgel3_convolution *from, const edgel3_kernels *kernels) {
  const uint32_t lists = s->blocks * s->cout;
  const uint32_t weights = from->indptr[from->cout];
  s->shapes = weights >= LEAST_DENSITY_OF_SHAPES * 9 * from->cin * from->cout;
  s->list = calloc(lists, sizeof *s->list);
  s->start = malloc(lists * sizeof *s->start);
  s->taps = malloc((weights + 1) * sizeof *s->taps);
  s->bias = malloc(s->cout * sizeof *s->bias);
  uint32_t *at = malloc(s->cout * sizeof *at); /* how far the packed weights of each output channel are taken */
  char *used = calloc(weights + 1, 1);
  const int failed = !s->list || !s->start || !s->taps || !s->bias || !at || !used;
  if (!failed) {
    memcpy(s->bias, from->bias, s->cout * sizeof *s->bias);
    memcpy(at, from->indptr, s->cout * sizeof *at);
    edgel3_tap *to = s->taps;
    for (uint32_t i = 0; i < lists; ++i) {
      const uint32_t block = i / s->cout, o = i % s->cout, begin = at[o];
      while (at[o] < from->indptr[o + 1] && from->index[at[o]] / 9 / s->block == block) ++at[o];
      s->start[i] = (uint32_t)(to - s->taps);
      to = set_list(&s->list[i], to, s, from, begin, at[o], used, kernels->lanes);
    }
  }
  free(at);
  free(used);
  return failed;
}

static int set_first(edgel3_network *network, const edgel3_convolution *from) {
  network->first = calloc(10 * (size_t)from->cout, sizeof *network->first);
  if (!network->first) return -1;
  for (uint32_t o = 0; o < from->cout; ++o)
    for (uint32_t i = from->indptr[o]; i < from->indptr[o + 1]; ++i)
      network->first[9 * o + from->index[i]] = from->weight[i];
  memcpy(network->first + 9 * (size_t)from->cout, from->bias, from->cout * sizeof *from->bias);
  return 0;
}

static size_t output_floats(const edgel3_stage *s) {
  const size_t pixels = s->output == EDGEL3_MAXIMUM ? (size_t)s->row_tiles * s->col_tiles : s->out_rows * s->out_cols;
  return pixels * s->cout * EDGEL3_LANES;
}

edgel3_network *edgel3_network_new(const edgel3_convolution layers[EDGEL3_LAYERS], float scale, float shift,
                                   const char *level) {
  const edgel3_kernels *kernels = find_kernels(level);
  edgel3_network *network = kernels ? calloc(1, sizeof *network) : NULL;
  if (!network) return NULL;
  network->kernels = kernels;
  network->scale = scale;
  network->shift = shift;
  network->plane_floats[0] = EDGEL3_MELS * EDGEL3_FRAMES;
  int failed = set_first(network, &layers[0]);
  for (uint32_t k = 0; k < EDGEL3_STAGES && !failed; ++k) {
    edgel3_stage *s = &network->stage[k];
    const edgel3_convolution *from = &layers[k + 1];
    s->cin = from->cin;
    s->cout = from->cout;
    s->first = k == 0 ? network->first : NULL;
    set_geometry(s, k, from->indptr[from->cout], kernels->lanes);
    failed = set_taps(s, from, kernels);
    const size_t packed = EDGEL3_LANES * s->block * channel_vectors(s);
    const size_t sums = (size_t)EDGEL3_LANES * s->tile_rows * s->tile_cols * s->cout;
    if (packed + sums > network->scratch_floats) network->scratch_floats = packed + sums;
    size_t *plane = &network->plane_floats[(k + 1) % 2];
    if (output_floats(s) > *plane) *plane = output_floats(s);
    network->bytes += from->indptr[from->cout] * sizeof(edgel3_tap);
  }
  if (!failed) return network;
  edgel3_network_free(network);
  return NULL;
}

void edgel3_network_free(edgel3_network *network) {
  if (!network) return;
  for (uint32_t k = 0; k < EDGEL3_STAGES; ++k) {
    free(network->stage[k].taps);
    free(network->stage[k].list);
    free(network->stage[k].start);
    free(network->stage[k].bias);
  }
  free(network->first);
  free(network);
}

size_t edgel3_network_bytes(const edgel3_network *network) { return network->bytes; }

size_t edgel3_workspace_bytes(const edgel3_network *network, size_t windows, size_t threads) {
  const size_t planes = network->plane_floats[0] + network->plane_floats[1];
  return (windows * planes + threads * network->scratch_floats) * sizeof(float);
}

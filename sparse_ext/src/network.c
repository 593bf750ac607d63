/* From the packed convolutions to what the kernels read: geometry of the stages, taps by blocks of input channels. */
#include <string.h>
#if !defined(_WIN32)
#include <unistd.h>
#endif

#include "compiler.h"
#include "layers.h"

/* Bytes of packed input that a block of input channels may take: with the sums that stream through, it has to stay in
   the level-1 cache while all output channels are computed. */
static size_t block_bytes(void) {
  long level1 = 0;
#if defined(_SC_LEVEL1_DCACHE_SIZE)
  level1 = sysconf(_SC_LEVEL1_DCACHE_SIZE);
#endif
  return (size_t)(level1 > 0 ? level1 : 32 * 1024) / 6 * 5;
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

/* Below this share of weights in pairs, a second loop costs more than the loads that pairs save (measured). */
static const double LEAST_PAIR_SHARE = 0.4;

static size_t channel_vectors(const edgel3_stage *s) { return (size_t)(s->tile_rows + 2) * (s->tile_cols + 2); }

static void set_geometry(edgel3_stage *s, uint32_t stage, uint32_t lanes) {
  /* Stages 0, 2, 4 pool; each pooling halves the plane, odd columns are dropped. */
  const uint32_t halvings = (stage + 1) / 2;
  s->rows = (EDGEL3_MELS / EDGEL3_LANES) >> halvings;
  s->cols = EDGEL3_FRAMES >> halvings;
  s->output = stage == EDGEL3_STAGES - 1 ? EDGEL3_MAXIMUM : stage % 2 ? EDGEL3_RELU : EDGEL3_RELU_POOL;
  s->out_rows = s->output == EDGEL3_RELU_POOL ? s->rows / 2 : s->rows;
  s->out_cols = s->output == EDGEL3_RELU_POOL ? s->cols / 2 : s->cols;
  s->tile_rows = s->rows < 4 ? 2 : 4;
  s->tile_cols = s->rows < 4 ? 12 : 6;
  s->row_tiles = s->rows / s->tile_rows;
  const uint32_t needed = s->output == EDGEL3_RELU_POOL ? 2 * s->out_cols : s->cols;
  s->col_tiles = (needed + s->tile_cols - 1) / s->tile_cols;
  s->narrow = s->col_tiles * s->tile_cols - needed >= s->tile_cols / 2;
  s->block = (uint32_t)(block_bytes() / (channel_vectors(s) * lanes * sizeof(float)));
  if (s->block > s->cin) s->block = s->cin;
  s->blocks = (s->cin + s->block - 1) / s->block;
}

static edgel3_tap tap_of(const edgel3_stage *s, const edgel3_convolution *from, uint32_t i, uint32_t lanes) {
  const uint32_t channel = from->index[i] / 9 % s->block, row = from->index[i] % 9 / 3, column = from->index[i] % 3;
  const size_t vector = channel * channel_vectors(s) + row * (s->tile_cols + 2) + column;
  return (edgel3_tap){(uint32_t)(vector * lanes * sizeof(float)), from->weight[i]};
}

/* Whether entry i and the next, if there is one before `end`, are neighbours in a row of a kernel. */
static int is_pair(const edgel3_convolution *from, uint32_t i, uint32_t end) {
  return i + 1 < end && from->index[i + 1] == from->index[i] + 1 && from->index[i] % 3 != 2;
}

/* Share of the weights that are in pairs. */
static double pair_share(const edgel3_convolution *from) {
  uint32_t in_pairs = 0;
  for (uint32_t o = 0; o < from->cout; ++o)
    for (uint32_t i = from->indptr[o]; i < from->indptr[o + 1]; ++i)
      if (is_pair(from, i, from->indptr[o + 1])) in_pairs += 2, ++i;
  return (double)in_pairs / (from->indptr[from->cout] + 1.0);
}

/* Sort the taps by blocks of input channels; within a block, by output channel: first pairs, then single ones. */
static int set_taps(edgel3_stage *s, const edgel3_convolution *from, const edgel3_kernels *kernels) {
  const size_t lists = (size_t)s->blocks * s->cout;
  const int pairs = kernels->pairs && pair_share(from) >= LEAST_PAIR_SHARE;
  s->list = malloc((lists + 1) * sizeof *s->list);
  s->taps = malloc((from->indptr[from->cout] + 1) * sizeof *s->taps);
  s->bias = malloc(s->cout * sizeof *s->bias);
  uint32_t *at = malloc(s->cout * sizeof *at); /* how far the packed weights of each output channel are taken */
  if (!s->list || !s->taps || !s->bias || !at) {
    free(at);
    return -1;
  }
  memcpy(s->bias, from->bias, s->cout * sizeof *s->bias);
  memcpy(at, from->indptr, s->cout * sizeof *at);
  uint32_t taken = 0;
  for (uint32_t b = 0; b < s->blocks; ++b)
    for (uint32_t o = 0; o < s->cout; ++o) {
      uint32_t end = at[o];
      while (end < from->indptr[o + 1] && from->index[end] / 9 / s->block == b) ++end;
      s->list[(size_t)b * s->cout + o].start = taken;
      for (uint32_t i = at[o]; pairs && i < end; ++i)
        if (is_pair(from, i, end)) {
          s->taps[taken++] = tap_of(s, from, i, kernels->lanes);
          s->taps[taken++] = tap_of(s, from, ++i, kernels->lanes);
        }
      s->list[(size_t)b * s->cout + o].single = taken;
      for (uint32_t i = at[o]; i < end; ++i)
        if (pairs && is_pair(from, i, end))
          ++i;
        else
          s->taps[taken++] = tap_of(s, from, i, kernels->lanes);
      at[o] = end;
    }
  s->list[lists].start = taken;
  free(at);
  return 0;
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
    set_geometry(s, k, kernels->lanes);
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

/* The kernels of one SIMD level: included by kernels_*.c, which define
     KERNELS, NAME, TARGET, SUPPORTED     the table, the level's name, the function attribute, the run-time check
     V, VL, LOAD, LOADU, STORE, SET1, FMA, MAX    vector type, its lanes and operations (FMA(a, b, c) = a * b + c)
     KEEP                                 optional: taps in pairs pay; makes a pixel stay in a register for both
     PART_ROWS, PART_COLS                 for tiles 4x6 and 2x12, the part whose sums fit the registers

   Scratch of a tile: input [lane group][channel of the block][row][column][VL] with a border of one pixel, and sums
   [lane group][output channel][row][column][VL]. */
#include "compiler.h"
#include "layers.h"

enum { GROUPS = EDGEL3_LANES / VL };
#define INLINE ALWAYS_INLINE TARGET

/* Columns [x, x + n) of strip row y of `channels` planes. Both may lie outside the plane: there a pixel is zero, except
   that the rows above and below a strip are those of the neighbouring strips. */
INLINE void pack_rows(float *to, size_t to_next, const float *plane, uint32_t channels, int rows, int cols, int y, int x,
                      const int n, int group) {
  const int moved = y < 0 ? -1 : y >= rows ? 1 : 0;
  const int outside = y < 0 && group == 0 ? 0 : y >= rows && group == GROUPS - 1 ? VL - 1 : -1;
  const int first = x < 0 ? -x : 0, last = cols - x < n ? cols - x : n;
  const float *from = plane + ((ptrdiff_t)(y - moved * rows) * cols + x) * EDGEL3_LANES + group * VL + moved;
  for (uint32_t c = 0; c < channels; ++c, to += to_next, from += (size_t)rows * cols * EDGEL3_LANES) {
    if (first == 0 && last == n) {
      UNROLL
      for (int i = 0; i < n; ++i) STORE(to + i * VL, LOADU(from + i * EDGEL3_LANES));
    } else {
      for (int i = 0; i < n; ++i)
        STORE(to + i * VL, i >= first && i < last ? LOADU(from + i * EDGEL3_LANES) : SET1(0.0f));
    }
    if (outside >= 0)
      for (int i = 0; i < n; ++i) to[i * VL + outside] = 0.0f;
  }
}

/* Channels [channel, channel + n) of the tile at (y, x), with its border. */
INLINE void pack_block(float *to, const edgel3_stage *s, const float *in, uint32_t channel, uint32_t n, int y, int x,
                       const int tile_rows, const int tile_cols) {
  const int rows = (int)s->rows, cols = (int)s->cols, row_floats = (tile_cols + 2) * VL;
  const size_t channel_floats = (size_t)(tile_rows + 2) * row_floats;
  in += (size_t)channel * rows * cols * EDGEL3_LANES;
  for (int group = 0; group < GROUPS; ++group, to += n * channel_floats)
    for (int r = 0; r < tile_rows + 2; ++r)
      pack_rows(to + r * row_floats, channel_floats, in, n, rows, cols, y - 1 + r, x - 1, tile_cols + 2, group);
}

/* Make zero what lies outside the image, in a packed tile of rows x cols pixels whose first is (y, x). */
INLINE void clear_outside(float *to, const edgel3_stage *s, int y, int x, int rows, int cols, int group) {
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < cols; ++c, to += VL) {
      if (x + c < 0 || x + c >= (int)s->cols) STORE(to, SET1(0.0f));
      if (y + r < 0 && group == 0) to[0] = 0.0f;
      if (y + r >= (int)s->rows && group == GROUPS - 1) to[VL - 1] = 0.0f;
    }
}

/* As pack_block, where the channels are those of convolution 1: computed from the image, for tiles 4x6. */
TARGET static void first_block(float *to, const edgel3_stage *s, const float *in, uint32_t channel, uint32_t n, int y,
                               int x) {
  enum { ROWS = 6, COLS = 8, IN_COLS = COLS + 2 };
  const int rows = (int)s->rows, cols = (int)s->cols;
  const int outside = y == 0 || y + ROWS - 2 >= rows || x == 0 || x + COLS - 2 >= cols;
  ALIGNED64 float image[(ROWS + 2) * IN_COLS * VL];
  for (int group = 0; group < GROUPS; ++group) {
    for (int r = 0; r < ROWS + 2; ++r)
      pack_rows(image + r * IN_COLS * VL, 0, in, 1, rows, cols, y - 2 + r, x - 2, IN_COLS, group);
    for (uint32_t o = channel; o < channel + n; ++o, to += ROWS * COLS * VL) {
      const float *kernel = s->first + 9 * o, bias = s->first[9 * s->cin + o];
      V weight[9];
      UNROLL
      for (int i = 0; i < 9; ++i) weight[i] = SET1(kernel[i]);
      for (int r = 0; r < ROWS; r += FIRST_ROWS) {
        FORGET(image);
        V sum[FIRST_ROWS][COLS];
        UNROLL
        for (int i = 0; i < FIRST_ROWS * COLS; ++i) sum[i / COLS][i % COLS] = SET1(bias);
        UNROLL
        for (int i = 0; i < FIRST_ROWS + 2; ++i)
          UNROLL
          for (int j = 0; j < IN_COLS; ++j) {
            const V pixel = LOAD(image + ((r + i) * IN_COLS + j) * VL);
            UNROLL
            for (int row = 0; row < FIRST_ROWS; ++row)
              UNROLL
              for (int k = 0; k < 3; ++k)
                if (i - row >= 0 && i - row < 3 && j - k >= 0 && j - k < COLS)
                  sum[row][j - k] = FMA(weight[(i - row) * 3 + k], pixel, sum[row][j - k]);
          }
        UNROLL
        for (int i = 0; i < FIRST_ROWS * COLS; ++i)
          STORE(to + (r * COLS + i) * VL, MAX(sum[i / COLS][i % COLS], SET1(0.0f)));
      }
      if (outside) clear_outside(to, s, y - 1, x - 1, ROWS, COLS, group);
    }
  }
}

/* For each pixel of a part of a tile, without a loop in the compiled code. */
#define EACH_PIXEL                         \
  UNROLL                                   \
  for (int r = 0; r < part_rows; ++r)      \
    UNROLL                                 \
    for (int c = 0; c < part_cols; ++c)

/* Where a part of a tile stands in the output plane of its stage. */
typedef struct {
  float *at;       /* its first pixel */
  int cols;        /* that lie inside the plane */
  int row_floats;
} part_output;

/* Add the products of one output channel's taps to the sums of a part of a tile, which stay in registers: from `tap` to
   `single` two taps at a time, whose pixels are neighbours, so that each pixel is loaded once. Then keep the sums for the next
   block of input channels; or, if they are complete, bring them to the output plane. */
INLINE void accumulate(float *sums, const float *packed, const edgel3_tap *tap, const edgel3_tap *single,
                       const edgel3_tap *end, const float *bias, const int part_rows, const int part_cols,
                       const int tile_cols, const int output, const part_output to) {
  V sum[4][12];
  EACH_PIXEL sum[r][c] = bias ? SET1(*bias) : LOAD(sums + (r * tile_cols + c) * VL);
  if (output == EDGEL3_RELU) EACH_PIXEL if (c < to.cols) PREFETCH(to.at + r * to.row_floats + c * EDGEL3_LANES);
#ifdef KEEP
  for (; tap < single; tap += 2) {
    const float *from = (const float *)((const char *)packed + tap->offset);
    HIDE(from);
    const V left = SET1(tap[0].weight), right = SET1(tap[1].weight);
    UNROLL
    for (int r = 0; r < part_rows; ++r)
      UNROLL
      for (int c = 0; c <= part_cols; ++c) {
        V pixel = LOAD(from + (r * (tile_cols + 2) + c) * VL);
        KEEP(pixel);
        if (c < part_cols) sum[r][c] = FMA(left, pixel, sum[r][c]);
        if (c > 0) sum[r][c - 1] = FMA(right, pixel, sum[r][c - 1]);
      }
  }
#endif
  for (; tap < end; ++tap) {
    const float *from = (const float *)((const char *)packed + tap->offset);
    HIDE(from);
    const V weight = SET1(tap->weight);
    EACH_PIXEL sum[r][c] = FMA(weight, LOAD(from + (r * (tile_cols + 2) + c) * VL), sum[r][c]);
  }
  const V zero = SET1(0.0f);
  if (output == EDGEL3_RELU) {
    EACH_PIXEL if (c < to.cols) STORE(to.at + r * to.row_floats + c * EDGEL3_LANES, MAX(sum[r][c], zero));
  } else if (output == EDGEL3_RELU_POOL) {
    UNROLL
    for (int r = 0; r < part_rows; r += 2)
      UNROLL
      for (int c = 0; c + 1 < part_cols; c += 2)
        if (c / 2 < to.cols)
          STORE(to.at + r / 2 * to.row_floats + c / 2 * EDGEL3_LANES,
                MAX(MAX(MAX(sum[r][c], sum[r][c + 1]), MAX(sum[r + 1][c], sum[r + 1][c + 1])), zero));
  } else {
    EACH_PIXEL STORE(sums + (r * tile_cols + c) * VL, sum[r][c]);
  }
}

INLINE part_output output_of(const edgel3_stage *s, float *out, uint32_t o, int y, int x, int group) {
  const int shrink = s->output == EDGEL3_RELU_POOL ? 2 : 1, out_cols = (int)s->out_cols;
  float *plane = out + (size_t)o * s->out_rows * out_cols * EDGEL3_LANES + group * VL;
  return (part_output){plane + (y / shrink * out_cols + x / shrink) * EDGEL3_LANES, out_cols - x / shrink,
                       out_cols * EDGEL3_LANES};
}

/* The maximum of the finished sums of a tile, all of whose pixels are inside the plane: `out` is [tile of the
   stage][output channel][strip]. */
INLINE void finish_maximum(const edgel3_stage *s, float *out, const float *sums, uint32_t o, uint32_t tile, int group,
                           const int pixels) {
  V largest = LOAD(sums);
  for (int i = 1; i < pixels; ++i) largest = MAX(largest, LOAD(sums + i * VL));
  STORE(out + ((size_t)tile * s->cout + o) * EDGEL3_LANES + group * VL, largest);
}

INLINE void tile_of(const edgel3_stage *s, uint32_t row_tile, uint32_t col_tile, uint32_t chunk, uint32_t chunks,
                    const float *in, float *out, float *scratch, const int tile_rows, const int tile_cols,
                    const int cols, const int part_rows, const int part_cols) {
  const int y = (int)row_tile * tile_rows, x = (int)col_tile * tile_cols;
  const size_t channel_floats = (size_t)(tile_rows + 2) * (tile_cols + 2) * VL;
  const uint32_t begin = s->cout * chunk / chunks, end = s->cout * (chunk + 1) / chunks;
  float *all_sums = scratch + GROUPS * s->block * channel_floats;
  for (uint32_t b = 0; b < s->blocks; ++b) {
    const uint32_t channel = b * s->block, n = s->cin - channel < s->block ? s->cin - channel : s->block;
    const uint32_t *start = s->start + (size_t)b * s->cout;
    const enum edgel3_output output = b + 1 < s->blocks ? EDGEL3_MAXIMUM : s->output; /* MAXIMUM: keep sums */
    float *sums = all_sums;
    if (s->first)
      first_block(scratch, s, in, channel, n, y, x);
    else
      pack_block(scratch, s, in, channel, n, y, x, tile_rows, tile_cols);
    for (int group = 0; group < GROUPS; ++group) {
      const float *packed = scratch + group * n * channel_floats;
      for (uint32_t o = begin; o < end; ++o, sums += tile_rows * tile_cols * VL) {
        const edgel3_tap *tap = s->taps + start[o], *last = s->taps + start[o + 1];
        const edgel3_tap *single = s->taps + s->single[(size_t)b * s->cout + o];
        const float *bias = b ? NULL : s->bias + o;
        for (int r = 0; r < tile_rows; r += part_rows)
          for (int c = 0; c < cols; c += part_cols) {
            float *part = sums + (r * tile_cols + c) * VL;
            const float *from = packed + (r * (tile_cols + 2) + c) * VL;
            const part_output to = output_of(s, out, o, y + r, x + c, group);
            if (output == EDGEL3_RELU)
              accumulate(part, from, tap, single, last, bias, part_rows, part_cols, tile_cols, EDGEL3_RELU, to);
            else if (output == EDGEL3_RELU_POOL)
              accumulate(part, from, tap, single, last, bias, part_rows, part_cols, tile_cols, EDGEL3_RELU_POOL, to);
            else
              accumulate(part, from, tap, single, last, bias, part_rows, part_cols, tile_cols, EDGEL3_MAXIMUM, to);
          }
        if (b + 1 == s->blocks && output == EDGEL3_MAXIMUM)
          finish_maximum(s, out, sums, o, row_tile * s->col_tiles + col_tile, group, tile_rows * tile_cols);
      }
    }
  }
}

TARGET static void tile(const edgel3_stage *s, uint32_t row_tile, uint32_t col_tile, uint32_t chunk, uint32_t chunks,
                        const float *in, float *out, float *scratch) {
  if (s->tile_rows == 2)
    tile_of(s, row_tile, col_tile, chunk, chunks, in, out, scratch, 2, 12, 12, 2, PART_COLS);
  else if (s->narrow && col_tile + 1 == s->col_tiles)
    tile_of(s, row_tile, col_tile, chunk, chunks, in, out, scratch, 4, 6, 3, 4, 3);
  else
    tile_of(s, row_tile, col_tile, chunk, chunks, in, out, scratch, 4, 6, 6, PART_ROWS, 6);
}

#ifdef KEEP
enum { PAIRS = 1 };
#else
enum { PAIRS = 0 };
#endif

const edgel3_kernels KERNELS = {NAME, SUPPORTED, VL, PAIRS, tile};

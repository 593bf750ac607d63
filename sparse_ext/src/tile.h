/* The kernels of one SIMD level: included by kernels_*.c, which define
     KERNELS, NAME, TARGET, SUPPORTED     the table, the level's name, the function attribute, the run-time check
     V, VL, LOAD, LOADU, STORE, SET1, FMA, MAX    vector type, its lanes and operations (FMA(a, b, c) = a * b + c)
     PART_ROWS, PART_COLS                 for tiles 4x6 and 2x12, the part whose sums fit the registers

   Scratch of a tile: input [lane group][channel of the block][row][column][VL] with a border of one pixel, and sums
   [lane group][part of the tile][output channel][row][column][VL]. */
#include "compiler.h"
#include "layers.h"

enum { GROUPS = EDGEL3_LANES / VL };
#define INLINE ALWAYS_INLINE TARGET

/* Columns [x, x + n) of strip row y. Both may lie outside the plane: there a pixel is zero, except that the rows above
   and below a strip are those of the neighbouring strips. */
INLINE void pack_row(float *to, const float *plane, int rows, int cols, int y, int x, int n, int group) {
  const int moved = y < 0 ? -1 : y >= rows ? 1 : 0;
  const int outside = y < 0 && group == 0 ? 0 : y >= rows && group == GROUPS - 1 ? VL - 1 : -1;
  const float *from = plane + ((ptrdiff_t)(y - moved * rows) * cols + x) * EDGEL3_LANES + group * VL + moved;
  const int first = x < 0 ? -x : 0, last = cols - x < n ? cols - x : n;
  for (int i = 0; i < first; ++i) STORE(to + i * VL, SET1(0.0f));
  for (int i = first; i < last; ++i) STORE(to + i * VL, LOADU(from + i * EDGEL3_LANES));
  for (int i = last; i < n; ++i) STORE(to + i * VL, SET1(0.0f));
  if (outside >= 0)
    for (int i = first; i < last; ++i) to[i * VL + outside] = 0.0f;
}

/* Channels [channel, channel + n) of the tile at (y, x), with its border. */
INLINE void pack_block(float *to, const edgel3_stage *s, const float *in, uint32_t channel, uint32_t n, int y, int x,
                       int tile_rows, int tile_cols) {
  const size_t plane = (size_t)s->rows * s->cols * EDGEL3_LANES;
  for (int group = 0; group < GROUPS; ++group)
    for (uint32_t c = 0; c < n; ++c)
      for (int r = 0; r < tile_rows + 2; ++r, to += (tile_cols + 2) * VL)
        pack_row(to, in + (channel + c) * plane, (int)s->rows, (int)s->cols, y - 1 + r, x - 1, tile_cols + 2, group);
}

/* The same, where the channels are those of convolution 1, computed from its input image. */
TARGET static void first_block(float *to, const edgel3_stage *s, const float *in, uint32_t channel, uint32_t n, int y,
                               int x) {
  enum { ROWS = 6, COLS = 8, IN_COLS = COLS + 2 };
  const int rows = (int)s->rows, cols = (int)s->cols;
  const float *bias = s->first + 9 * s->cin;
  ALIGNED64 float image[(ROWS + 2) * IN_COLS * VL];
  for (int group = 0; group < GROUPS; ++group) {
    for (int r = 0; r < ROWS + 2; ++r)
      pack_row(image + r * IN_COLS * VL, in, rows, cols, y - 2 + r, x - 2, IN_COLS, group);
    for (uint32_t c = channel; c < channel + n; ++c)
      for (int r = 0; r < ROWS; ++r, to += COLS * VL) {
        V sum[COLS];
        for (int i = 0; i < COLS; ++i) sum[i] = SET1(bias[c]);
        for (int tap = 0; tap < 9; ++tap) {
          const float *from = image + ((r + tap / 3) * IN_COLS + tap % 3) * VL;
          const V weight = SET1(s->first[9 * c + tap]);
          for (int i = 0; i < COLS; ++i) sum[i] = FMA(weight, LOAD(from + i * VL), sum[i]);
        }
        for (int i = 0; i < COLS; ++i) {
          const int inside = x - 1 + i >= 0 && x - 1 + i < cols;
          STORE(to + i * VL, inside ? MAX(sum[i], SET1(0.0f)) : SET1(0.0f));
        }
        const int outside = y - 1 + r < 0 && group == 0                      ? 0
                            : y - 1 + r >= rows && group == GROUPS - 1 ? VL - 1
                                                                             : -1;
        if (outside >= 0)
          for (int i = 0; i < COLS; ++i) to[i * VL + outside] = 0.0f;
      }
  }
}

/* Add the products of one output channel's taps to the sums of part_rows x part_cols pixels, held in registers. */
INLINE void accumulate(float *sums, const float *packed, const edgel3_tap *tap, const edgel3_tap *end,
                       const float *bias, const int part_rows, const int part_cols, const int stride) {
  V sum[4][12];
  UNROLL
  for (int r = 0; r < part_rows; ++r)
  UNROLL
    for (int c = 0; c < part_cols; ++c) sum[r][c] = bias ? SET1(*bias) : LOAD(sums + (r * part_cols + c) * VL);
  for (; tap < end; ++tap) {
    const float *from = (const float *)((const char *)packed + tap->offset);
    const V weight = SET1(tap->weight);
  UNROLL
    for (int r = 0; r < part_rows; ++r)
  UNROLL
      for (int c = 0; c < part_cols; ++c) sum[r][c] = FMA(weight, LOAD(from + (r * stride + c) * VL), sum[r][c]);
  }
  UNROLL
  for (int r = 0; r < part_rows; ++r)
  UNROLL
    for (int c = 0; c < part_cols; ++c) STORE(sums + (r * part_cols + c) * VL, sum[r][c]);
}

/* Bring the finished sums of output channel `o` to the output plane; pixels right of the plane are dropped. */
INLINE void finish(const edgel3_stage *s, float *out, const float *sums, uint32_t o, int y, int x, int group,
                   int part_rows, int part_cols) {
  const V zero = SET1(0.0f);
  const int out_cols = (int)s->out_cols;
  float *plane = out + (size_t)o * s->out_rows * out_cols * EDGEL3_LANES + group * VL;
  if (s->output == EDGEL3_RELU) {
    const int cols = out_cols - x < part_cols ? out_cols - x : part_cols;
    for (int r = 0; r < part_rows; ++r)
      for (int c = 0; c < cols; ++c)
        STORE(plane + ((y + r) * out_cols + x + c) * EDGEL3_LANES, MAX(LOAD(sums + (r * part_cols + c) * VL), zero));
  } else {
    const int cols = out_cols - x / 2 < part_cols / 2 ? out_cols - x / 2 : part_cols / 2;
    for (int r = 0; r < part_rows; r += 2)
      for (int c = 0; c < cols; ++c) {
        const float *from = sums + (r * part_cols + 2 * c) * VL;
        const V upper = MAX(LOAD(from), LOAD(from + VL));
        const V lower = MAX(LOAD(from + part_cols * VL), LOAD(from + (part_cols + 1) * VL));
        STORE(plane + ((y + r) / 2 * out_cols + x / 2 + c) * EDGEL3_LANES, MAX(MAX(upper, lower), zero));
      }
  }
}

/* The largest of the pixels inside the plane, for EDGEL3_MAXIMUM: out is [tile of the stage][output channel][strip]. */
INLINE void maximum(float *to, const float *sums, int inside, int first, int part_rows, int part_cols) {
  V largest = first ? LOAD(sums) : LOAD(to);
  for (int r = 0; r < part_rows; ++r)
    for (int c = 0; c < inside; ++c) largest = MAX(largest, LOAD(sums + (r * part_cols + c) * VL));
  STORE(to, largest);
}

INLINE void tile_of(const edgel3_stage *s, uint32_t row_tile, uint32_t col_tile, uint32_t chunk, const float *in,
                    float *out, float *scratch, const int tile_rows, const int tile_cols, const int part_rows,
                    const int part_cols) {
  const int y = (int)row_tile * tile_rows, x = (int)col_tile * tile_cols, stride = tile_cols + 2;
  const int channel_floats = (tile_rows + 2) * stride * VL, part_floats = part_rows * part_cols * VL;
  const uint32_t begin = s->cout * chunk / s->chunks, end = s->cout * (chunk + 1) / s->chunks;
  float *all_sums = scratch + (size_t)GROUPS * s->block * channel_floats;
  for (uint32_t b = 0; b < s->blocks; ++b) {
    const uint32_t channel = b * s->block, n = s->cin - channel < s->block ? s->cin - channel : s->block;
    const uint32_t *start = s->start + (size_t)b * s->cout;
    float *sums = all_sums;
    if (s->first)
      first_block(scratch, s, in, channel, n, y, x);
    else
      pack_block(scratch, s, in, channel, n, y, x, tile_rows, tile_cols);
    for (int group = 0; group < GROUPS; ++group)
      for (int r = 0; r < tile_rows; r += part_rows)
        for (int c = 0; c < tile_cols; c += part_cols) {
          const float *packed = scratch + (size_t)group * n * channel_floats + (r * stride + c) * VL;
          for (uint32_t o = begin; o < end; ++o, sums += part_floats) {
            accumulate(sums, packed, s->taps + start[o], s->taps + start[o + 1], b ? NULL : s->bias + o, part_rows,
                       part_cols, stride);
            if (b + 1 < s->blocks) continue;
            if (s->output == EDGEL3_MAXIMUM) {
              const size_t tile = row_tile * s->col_tiles + col_tile;
              const int inside = (int)s->cols - x - c < part_cols ? (int)s->cols - x - c : part_cols;
              maximum(out + (tile * s->cout + o) * EDGEL3_LANES + group * VL, sums, inside, r == 0 && c == 0, part_rows,
                      part_cols);
            } else {
              finish(s, out, sums, o, y + r, x + c, group, part_rows, part_cols);
            }
          }
        }
  }
}

TARGET static void tile(const edgel3_stage *s, uint32_t row_tile, uint32_t col_tile, uint32_t chunk, const float *in,
                        float *out, float *scratch) {
  if (s->tile_rows == 4)
    tile_of(s, row_tile, col_tile, chunk, in, out, scratch, 4, 6, PART_ROWS, 6);
  else
    tile_of(s, row_tile, col_tile, chunk, in, out, scratch, 2, 12, 2, PART_COLS);
}

const edgel3_kernels KERNELS = {NAME, SUPPORTED, VL, tile};

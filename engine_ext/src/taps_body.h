/* Convolutions by lists of taps: a part of kernels_body.h.
 *
 * Scratch of a tile: input [lane group][channel of the block][row][column][VL] with a border of one pixel, and sums
 * [lane group][output channel][row][column][VL].
 */
enum { GROUPS = STRIPS / VL };
#ifdef STREAM
enum { STREAMS = 1 };
#else
enum { STREAMS = 0 };
#define STREAM STORE
#define STREAM_END() (void)0
#endif

/* Columns [x, x + n) of strip row y of `channels` planes. Both may lie outside the plane: there a pixel is zero, except
 * that the rows above and below a strip are those of the neighbouring strips. */
INLINE void pack_rows(float *to, size_t to_next, const float *plane, uint32_t channels, int rows, int cols, int y,
                      int x, const int n, int group)
{
    const int moved = y < 0 ? -1 : y >= rows ? 1 : 0;
    const int outside = y < 0 && group == 0 ? 0 : y >= rows && group == GROUPS - 1 ? VL - 1 : -1;
    const int first = x < 0 ? -x : 0, last = cols - x < n ? cols - x : n;
    const float *from = plane + ((ptrdiff_t)(y - moved * rows) * cols + x) * STRIPS + group * VL + moved;
    for (uint32_t c = 0; c < channels; ++c, to += to_next, from += (size_t)rows * cols * STRIPS) {
        if (first == 0 && last == n) {
            UNROLL
            for (int i = 0; i < n; i++)
                STORE(to + i * VL, LOADU(from + i * STRIPS));
        } else {
            for (int i = 0; i < n; i++)
                STORE(to + i * VL, i >= first && i < last ? LOADU(from + i * STRIPS) : SET1(0.0f));
        }
        if (outside >= 0)
            for (int i = 0; i < n; i++)
                to[i * VL + outside] = 0.0f;
    }
}

/* Channels [channel, channel + n) of the tile at (y, x), with its border. */
INLINE void pack_block(float *to, const tap_stage *s, const float *in, uint32_t channel, uint32_t n, int y, int x,
                       const int tile_rows, const int tile_cols)
{
    const int rows = (int)s->rows, cols = (int)s->cols, row_floats = (tile_cols + 2) * VL;
    const size_t channel_floats = (size_t)(tile_rows + 2) * row_floats;
    in += (size_t)channel * rows * cols * STRIPS;
    for (int r = 0; r < tile_rows + 2; r++)
        for (int group = 0; group < GROUPS; group++)
            pack_rows(to + group * n * channel_floats + r * row_floats, channel_floats, in, n, rows, cols, y - 1 + r,
                      x - 1, tile_cols + 2, group);
}

/* Make zero what lies outside the image, in a packed tile of rows x cols pixels whose first is (y, x): at most one row
 * above and one below. */
INLINE void clear_outside(float *to, const tap_stage *s, int y, int x, int rows, int cols, int group)
{
    for (int c = 0; c < cols; c++) {
        if (x + c < 0 || x + c >= (int)s->cols)
            for (int r = 0; r < rows; r++)
                STORE(to + (r * cols + c) * VL, SET1(0.0f));
        if (y < 0 && group == 0)
            to[c * VL] = 0.0f;
        if (y + rows > (int)s->rows && group == GROUPS - 1)
            to[((rows - 1) * cols + c) * VL + VL - 1] = 0.0f;
    }
}

/* As pack_block, where the channels are those of convolution 1: computed from the image, for tiles 4x6. */
TARGET static void first_block(float *to, const tap_stage *s, const float *in, uint32_t channel, uint32_t n, int y,
                               int x)
{
    enum { ROWS = 6, COLS = 8, IN_COLS = COLS + 2 };
    const int rows = (int)s->rows, cols = (int)s->cols;
    const int outside = y == 0 || y + ROWS - 2 >= rows || x == 0 || x + COLS - 2 >= cols;
    ALIGNED64 float image[(ROWS + 2) * IN_COLS * VL];
    for (int group = 0; group < GROUPS; group++) {
        for (int r = 0; r < ROWS + 2; r++)
            pack_rows(image + r * IN_COLS * VL, 0, in, 1, rows, cols, y - 2 + r, x - 2, IN_COLS, group);
        for (uint32_t o = channel; o < channel + n; ++o, to += ROWS * COLS * VL) {
            const float *kernel = s->first + 9 * o, bias = s->first[9 * s->cin + o];
            V weight[9];
            UNROLL
            for (int i = 0; i < 9; i++)
                weight[i] = SET1(kernel[i]);
            for (int r = 0; r < ROWS; r += FIRST_ROWS) {
                FORGET(image);
                V sum[FIRST_ROWS][COLS];
                UNROLL
                for (int i = 0; i < FIRST_ROWS * COLS; i++)
                    sum[i / COLS][i % COLS] = SET1(bias);
                UNROLL
                for (int i = 0; i < FIRST_ROWS + 2; i++)
                    UNROLL
                for (int j = 0; j < IN_COLS; j++) {
                    const V pixel = LOAD(image + ((r + i) * IN_COLS + j) * VL);
                    UNROLL
                    for (int row = 0; row < FIRST_ROWS; row++)
                        UNROLL
                    for (int k = 0; k < 3; k++)
                        if (i - row >= 0 && i - row < 3 && j - k >= 0 && j - k < COLS)
                            sum[row][j - k] = FMA(weight[(i - row) * 3 + k], pixel, sum[row][j - k]);
                }
                UNROLL
                for (int i = 0; i < FIRST_ROWS * COLS; i++)
                    STORE(to + (r * COLS + i) * VL, MAX(sum[i / COLS][i % COLS], SET1(0.0f)));
            }
            if (outside)
                clear_outside(to, s, y - 1, x - 1, ROWS, COLS, group);
        }
    }
}

/* For each pixel of a part of a tile, without a loop in the compiled code. */
#define EACH_PIXEL                      \
    UNROLL                              \
    for (int r = 0; r < part_rows; r++) \
        UNROLL                          \
    for (int c = 0; c < part_cols; c++)

/* Add the products of `groups` groups of taps of one shape to the sums of a part of a tile. Return the tap behind. */
INLINE const tap *add_shape(V sum[4][12], const float *packed, const tap *tap, uint32_t groups, const tap_shape shape,
                            const int part_rows, const int part_cols, const int tile_cols)
{
    for (; groups; --groups, tap += shape.taps) {
        const float *from = (const float *)((const char *)packed + tap->offset);
        HIDE(from);
        V weight[MOST_TAPS];
        UNROLL
        for (int k = 0; k < shape.taps; k++)
            weight[k] = SET1(tap[k].weight);
        UNROLL
        for (int r = 0; r < part_rows + 2; r++)
            UNROLL
        for (int c = 0; c < part_cols + 2; c++) {
#define USES(k)                                                                                     \
    (k < shape.taps && r >= shape.row[k] && r < shape.row[k] + part_rows && c >= shape.column[k] && \
     c < shape.column[k] + part_cols)
            const int uses = USES(0) + USES(1) + USES(2);
            if (!uses)
                continue;
            V pixel = LOAD(from + (r * (tile_cols + 2) + c) * VL);
            if (uses > 1)
                KEEP(pixel);
            UNROLL
            for (int k = 0; k < MOST_TAPS; k++)
                if (USES(k)) {
                    V *to = &sum[r - shape.row[k]][c - shape.column[k]];
                    *to = FMA(weight[k], pixel, *to);
                }
#undef USES
        }
    }
    return tap;
}

/* What a block of input channels adds to the output channels of a tile. */
typedef struct {
    const tap_list *list; /* of the first output channel */
    const tap *taps;
    int shapes;        /* whether there are others than single taps */
    uint32_t channels; /* output channels */
    const float *bias; /* of the first output channel; NULL if there are sums already */
    const float *packed;
    float *sums;
    float *out;                   /* the tile's first pixel in the plane of the first output channel */
    size_t plane_floats;          /* of an output plane */
    int out_cols, out_row_floats; /* columns from `out` to the end of a row; floats of a row */
    const float *next, *next_end; /* rows of the next block's input, which are to be brought to the level-2 cache */
    size_t next_row_floats;
} block_work;

/* Add the products of one output channel's taps to the sums of a part of a tile, which stay in registers. Then keep the
 * sums for the next block of input channels; or, if they are complete, bring those of the first `cols` columns to `to`
 * in the output plane. Return the tap behind the list. */
INLINE const tap *accumulate(const block_work *work, const tap_list *list, const tap *tap, const float *bias,
                             const float *packed, float *sums, float *to, const int cols, const int part_rows,
                             const int part_cols, const int tile_cols, const int output)
{
    const int row_floats = work->out_row_floats;
    V sum[4][12];
    EACH_PIXEL sum[r][c] = bias ? SET1(*bias) : LOAD(sums + (r * tile_cols + c) * VL);
    if (output == TAPS_RELU || (output == TAPS_RELU_LARGE && !STREAMS))
        EACH_PIXEL if (c < cols) PREFETCH(to + r * row_floats + c * STRIPS);
    if (work->shapes)
        UNROLL
    for (int k = 0; k < TAP_SHAPES - 1; k++)
        tap = add_shape(sum, packed, tap, list->groups[k], TAP_SHAPE[k], part_rows, part_cols, tile_cols);
    tap = add_shape(sum, packed, tap, list->groups[TAP_SHAPES - 1], TAP_SHAPE[TAP_SHAPES - 1], part_rows, part_cols,
                    tile_cols);
    const V zero = SET1(0.0f);
    if (output == TAPS_RELU) {
        EACH_PIXEL if (c < cols) STORE(to + r * row_floats + c * STRIPS, MAX(sum[r][c], zero));
    } else if (output == TAPS_RELU_LARGE) {
        EACH_PIXEL if (c < cols) STREAM(to + r * row_floats + c * STRIPS, MAX(sum[r][c], zero));
    } else if (output == TAPS_RELU_POOL) {
        UNROLL
        for (int r = 0; r < part_rows; r += 2)
            UNROLL
        for (int c = 0; c + 1 < part_cols; c += 2)
            if (c / 2 < cols)
                STORE(to + r / 2 * row_floats + c / 2 * STRIPS,
                      MAX(MAX(MAX(sum[r][c], sum[r][c + 1]), MAX(sum[r + 1][c], sum[r + 1][c + 1])), zero));
    } else {
        EACH_PIXEL STORE(sums + (r * tile_cols + c) * VL, sum[r][c]);
    }
    return tap;
}

INLINE void run(const block_work *work, const int tile_rows, const int tile_cols, const int cols, const int part_rows,
                const int part_cols, const int output)
{
    const int shrink = output == TAPS_RELU_POOL ? 2 : 1;
    const tap *taps = work->taps;
    const float *bias = work->bias, *ahead = work->next;
    float *sums = work->sums, *out = work->out;
    for (const tap_list *list = work->list, *last = list + work->channels; list < last; list++) {
        const tap *next = taps;
        for (int r = 0; r < tile_rows; r += part_rows)
            for (int c = 0; c < cols; c += part_cols)
                next = accumulate(work, list, taps, bias, work->packed + (r * (tile_cols + 2) + c) * VL,
                                  sums + (r * tile_cols + c) * VL,
                                  out + r / shrink * work->out_row_floats + c / shrink * STRIPS,
                                  work->out_cols - c / shrink, part_rows, part_cols, tile_cols, output);
        taps = next;
        if (bias)
            ++bias;
        sums += tile_rows * tile_cols * VL;
        out += work->plane_floats;
        for (int i = 0; i < 2 && ahead < work->next_end; ++i, ahead += work->next_row_floats)
            UNROLL
        for (int c = 0; c < tile_cols + 2; c++)
            PREFETCH_LEVEL2(ahead + c * STRIPS);
    }
}

/* A function of its own for each case: in one for all, compilers run out of registers for addresses. */
typedef void (*run_function)(const block_work *work);
#define RUN(name, tile_rows, tile_cols, cols, part_rows, part_cols, output)  \
    TARGET NOINLINE static void name(const block_work *work)                 \
    {                                                                        \
        run(work, tile_rows, tile_cols, cols, part_rows, part_cols, output); \
    }
RUN(keep_2x12, 2, 12, 12, 2, PART_COLS, TAPS_MAXIMUM)
RUN(relu_2x12, 2, 12, 12, 2, PART_COLS, TAPS_RELU)
RUN(keep_4x6, 4, 6, 6, PART_ROWS, 6, TAPS_MAXIMUM)
RUN(relu_4x6, 4, 6, 6, PART_ROWS, 6, TAPS_RELU)
RUN(large_4x6, 4, 6, 6, PART_ROWS, 6, TAPS_RELU_LARGE)
RUN(pool_4x6, 4, 6, 6, PART_ROWS, 6, TAPS_RELU_POOL)
RUN(keep_4x3, 4, 6, 3, 4, 3, TAPS_MAXIMUM)
RUN(relu_4x3, 4, 6, 3, 4, 3, TAPS_RELU)
RUN(large_4x3, 4, 6, 3, 4, 3, TAPS_RELU_LARGE)
RUN(pool_4x3, 4, 6, 3, 4, 3, TAPS_RELU_POOL)
static const run_function RUN_2X12[TAPS_OUTPUTS] = {relu_2x12, NULL, NULL, keep_2x12};
static const run_function RUN_4X6[TAPS_OUTPUTS] = {relu_4x6, large_4x6, pool_4x6, keep_4x6};
static const run_function RUN_4X3[TAPS_OUTPUTS] = {relu_4x3, large_4x3, pool_4x3, keep_4x3};

/* The maximum of the finished sums of a tile, all of whose pixels are inside the plane: `out` is [tile of the
 * stage][output channel][strip]. */
INLINE void finish_maximum(const tap_stage *s, float *out, const float *sums, uint32_t o, uint32_t tile, int group,
                           const int pixels)
{
    V largest = LOAD(sums);
    for (int i = 1; i < pixels; i++)
        largest = MAX(largest, LOAD(sums + i * VL));
    STORE(out + ((size_t)tile * s->cout + o) * STRIPS + group * VL, largest);
}

INLINE void tile_of(const tap_stage *s, uint32_t row_tile, uint32_t col_tile, uint32_t chunk, uint32_t chunks,
                    const float *in, float *out, float *scratch, const int tile_rows, const int tile_cols,
                    const run_function *functions)
{
    const int y = (int)row_tile * tile_rows, x = (int)col_tile * tile_cols;
    const int shrink = s->output == TAPS_RELU_POOL ? 2 : 1, out_cols = (int)s->out_cols;
    const size_t channel_floats = (size_t)(tile_rows + 2) * (tile_cols + 2) * VL;
    const size_t sums_floats = (size_t)tile_rows * tile_cols * VL;
    const size_t row_floats = (size_t)s->cols * STRIPS;
    const uint32_t begin = s->cout * chunk / chunks, end = s->cout * (chunk + 1) / chunks;
    float *sums = scratch + GROUPS * s->block * channel_floats;
    block_work work = {.shapes = s->shapes,
                       .channels = end - begin,
                       .plane_floats = (size_t)s->out_rows * out_cols * STRIPS,
                       .out_cols = out_cols - x / shrink,
                       .out_row_floats = out_cols * STRIPS,
                       .next_row_floats = row_floats};
    float *maxima = out;
    out += begin * work.plane_floats + (y / shrink * out_cols + x / shrink) * STRIPS;
    for (uint32_t b = 0; b < s->blocks; b++) {
        const uint32_t channel = b * s->block, n = s->cin - channel < s->block ? s->cin - channel : s->block;
        if (s->first)
            first_block(scratch, s, in, channel, n, y, x);
        else
            pack_block(scratch, s, in, channel, n, y, x, tile_rows, tile_cols);
        if (b + 1 < s->blocks && !s->first) {
            const uint32_t left = s->cin - channel - n;
            work.next = in + (channel + n) * s->rows * row_floats + (x - 1) * STRIPS;
            work.next_end = work.next + (left < s->block ? left : s->block) * s->rows * row_floats;
        }
        work.list = s->list + (size_t)b * s->cout + begin;
        work.taps = s->taps + s->start[(size_t)b * s->cout + begin];
        work.bias = b ? NULL : s->bias + begin;
        for (int group = 0; group < GROUPS; group++) {
            work.packed = scratch + group * n * channel_floats;
            work.sums = sums + group * (end - begin) * sums_floats;
            work.out = out + group * VL;
            functions[b + 1 < s->blocks ? TAPS_MAXIMUM : s->output](&work);
            work.next = work.next_end;
        }
    }
    if (s->output == TAPS_MAXIMUM)
        for (int group = 0; group < GROUPS; group++)
            for (uint32_t o = begin; o < end; ++o, sums += sums_floats)
                finish_maximum(s, maxima, sums, o, row_tile * s->col_tiles + col_tile, group, tile_rows * tile_cols);
    if (s->output == TAPS_RELU_LARGE)
        STREAM_END();
}

TARGET static void tile(const tap_stage *s, uint32_t row_tile, uint32_t col_tile, uint32_t chunk, uint32_t chunks,
                        const float *in, float *out, float *scratch)
{
    if (s->tile_rows == 2)
        tile_of(s, row_tile, col_tile, chunk, chunks, in, out, scratch, 2, 12, RUN_2X12);
    else
        tile_of(s, row_tile, col_tile, chunk, chunks, in, out, scratch, 4, 6,
                s->narrow && col_tile + 1 == s->col_tiles ? RUN_4X3 : RUN_4X6);
}

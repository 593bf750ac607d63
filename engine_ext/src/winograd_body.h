/* Convolutions by Winograd's minimal filtering: a part of kernels_body.h. winograd.h says how the arrays lie.
 *
 * Source of the transforms: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, with the points
 * 0, 1, -1 and infinity for lines of 2 outputs, besides 2 and -2 for 4, and besides 1/2 and -1/2 for 6.
 */
enum { PLANE, POOLED, MAXIMUM }; /* what becomes of a convolution's outputs */

/* x sigmoid(x) = x / (1 + exp(-x)), with exp(y) = 2^n exp(r), n a whole number and |r| <= ln(2) / 2, where the Taylor
 * series is right to 5e-9 after r^7. */
INLINE V silu(V x)
{
    const V round = SET1(12582912.0f); /* 1.5 * 2^23: added and taken off again, it leaves a whole number */
    x = MAX(x, SET1(-87.0f));          /* below, the result is next to nothing, and exp(-x) overflows */
    const V y = MAX(SUB(SET1(0.0f), x), SET1(-87.0f));
    const V n = SUB(FMA(y, SET1(1.44269504f), round), round);
    const V r = FNMA(n, SET1(-2.12194440e-4f), FNMA(n, SET1(0.693359375f), y)); /* ln(2) in two parts, one exact */
    V series = SET1(1.0f / 5040);
    series = FMA(series, r, SET1(1.0f / 720));
    series = FMA(series, r, SET1(1.0f / 120));
    series = FMA(series, r, SET1(1.0f / 24));
    series = FMA(series, r, SET1(1.0f / 6));
    series = FMA(series, r, SET1(0.5f));
    series = FMA(series, r, SET1(1.0f));
    series = FMA(series, r, SET1(1.0f));
    return DIV(x, FMA(series, POWER_OF_TWO(ADD(n, SET1(8388608.0f + 127.0f))), SET1(1.0f)));
}

/* Where the outputs of a convolution go in one vector of channels, and what follows them. */
typedef struct {
    int mode, silu;
    V least;           /* 0 for ReLU, -INFINITY for none */
    const float *skip; /* at the map's first pixel, or NULL */
    float *out;        /* at the map's first pixel, or the maximum so far, where the strides are 0 */
    size_t skip_row, skip_pixel, out_row, out_pixel;
} ending;

/* The ending for channels [channel, channel + VL), of a strip if they end in its maxima. */
INLINE ending ending_of(const winograd_layer *layer, float *maps, uint32_t strip, uint32_t channel)
{
    const map_place *out = &layer->out, *skip = &layer->skip;
    return (ending){.mode = layer->last ? MAXIMUM : layer->pool ? POOLED : PLANE,
                    .silu = layer->activation == ENGINE_SILU,
                    .least = SET1(layer->activation == ENGINE_RELU ? 0.0f : -INFINITY),
                    .skip = layer->has_skip ? maps + skip->offset + skip->row + skip->pixel + channel : NULL,
                    .out = maps + out->offset + out->row + out->pixel + strip * out->strip + channel,
                    .skip_row = skip->row,
                    .skip_pixel = skip->pixel,
                    .out_row = out->row,
                    .out_pixel = out->pixel};
}

/* Finish a block of rows x cols outputs, of which `next` are in a row and the first is (y, x), whatever follows. */
TARGET NOINLINE static void finish(float *block, int next, uint32_t y, uint32_t x, int rows, int cols, const ending *to)
{
#define AT(r, c) (block + ((r) * next + (c)) * VL)
    const float *skip = to->skip ? to->skip + y * to->skip_row + x * to->skip_pixel : NULL;
    const uint32_t shrink = to->mode == POOLED ? 2 : 1;
    float *out = to->out + y / shrink * to->out_row + x / shrink * to->out_pixel;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            V value = LOAD(AT(r, c));
            if (skip)
                value = ADD(value, LOAD(skip + r * to->skip_row + c * to->skip_pixel));
            value = to->silu ? silu(value) : MAX(value, to->least);
            if (to->mode == PLANE)
                STORE(out + r * to->out_row + c * to->out_pixel, value);
            else if (to->mode == MAXIMUM)
                STORE(out, MAX(LOAD(out), value));
            else
                STORE(AT(r, c), value);
        }
    if (to->mode == POOLED)
        for (int r = 0; r + 1 < rows; r += 2)
            for (int c = 0; c + 1 < cols; c += 2)
                STORE(out + r / 2 * to->out_row + c / 2 * to->out_pixel,
                      MAX(MAX(LOAD(AT(r, c)), LOAD(AT(r, c + 1))), MAX(LOAD(AT(r + 1, c)), LOAD(AT(r + 1, c + 1)))));
#undef AT
}

INLINE int inside(uint32_t size, uint32_t at, uint32_t block)
{
    return (int)(size - at < block ? size - at : block);
}

/* The first convolution, of one channel: each pixel is loaded once for all the sums of a block that it is a part of. */
INLINE void first_of(const winograd_layer *layer, float *maps, uint32_t begin, uint32_t end, const int mode)
{
    enum { COLS = PART_ROWS }; /* as many sums as there are registers for beside the kernel */
    const int plain = layer->activation != ENGINE_SILU && !layer->has_skip;
    for (uint32_t vector = 0; vector < layer->vectors; vector++) {
        const V bias = LOAD(layer->bias + vector * VL);
        V weight[9];
        UNROLL
        for (int i = 0; i < 9; i++)
            weight[i] = LOAD(layer->weight + (i * layer->vectors + vector) * VL);
        const ending to = ending_of(layer, maps, 0, vector * VL);
        const uint32_t shrink = mode == POOLED ? 2 : 1;
        for (uint32_t y = 2 * begin; y < 2 * end && y < layer->rows; y += 2) {
            float *out = to.out + y / shrink * to.out_row;
            for (uint32_t x = 0; x < layer->cols; x += COLS, out += COLS / shrink * to.out_pixel) {
                const float *from = maps + layer->in.offset + y * layer->in.row + x;
                V sum[2 * COLS];
                UNROLL
                for (int i = 0; i < 2 * COLS; i++)
                    sum[i] = bias;
                UNROLL
                for (int i = 0; i < 4; i++)
                    UNROLL
                for (int j = 0; j < COLS + 2; j++) {
                    const V pixel = SET1(from[i * layer->in.row + j]);
                    UNROLL
                    for (int r = 0; r < 2; r++)
                        UNROLL
                    for (int k = 0; k < 3; k++)
                        if (i - r >= 0 && i - r < 3 && j - k >= 0 && j - k < COLS)
                            sum[r * COLS + j - k] = FMA(weight[(i - r) * 3 + k], pixel, sum[r * COLS + j - k]);
                }
                const int rows = inside(layer->rows, y, 2), cols = inside(layer->cols, x, COLS);
                if (!plain || rows < 2 || cols < COLS) {
                    ALIGNED64 float block[2 * COLS * VL];
                    UNROLL
                    for (int i = 0; i < 2 * COLS; i++)
                        STORE(block + i * VL, sum[i]);
                    finish(block, COLS, y, x, rows, cols, &to);
                } else if (mode == POOLED) {
                    UNROLL
                    for (int c = 0; c < COLS; c += 2)
                        STORE(out + c / 2 * to.out_pixel,
                              MAX(MAX(MAX(sum[c], sum[c + 1]), MAX(sum[COLS + c], sum[COLS + c + 1])), to.least));
                } else {
                    UNROLL
                    for (int i = 0; i < 2 * COLS; i++)
                        STORE(out + i / COLS * to.out_row + i % COLS * to.out_pixel, MAX(sum[i], to.least));
                }
            }
        }
    }
}

TARGET static void first(const winograd_layer *layer, float *maps, uint32_t begin, uint32_t end)
{
    if (layer->pool)
        first_of(layer, maps, begin, end, POOLED);
    else
        first_of(layer, maps, begin, end, PLANE);
}

/* One line of inputs for `size` outputs. */
INLINE void input_line(const V *d, V *to, const int size)
{
    if (size == 2) {
        to[0] = SUB(d[0], d[2]);
        to[1] = ADD(d[1], d[2]);
        to[2] = SUB(d[2], d[1]);
        to[3] = SUB(d[1], d[3]);
    } else if (size == 4) {
        const V two = SET1(2.0f), four = SET1(4.0f);
        const V a = FNMA(four, d[2], d[4]), b = FNMA(four, d[1], d[3]);
        const V c = SUB(d[4], d[2]), e = SUB(d[3], d[1]);
        to[0] = FMA(four, SUB(d[0], d[2]), c);
        to[1] = ADD(a, b);
        to[2] = SUB(a, b);
        to[3] = FMA(two, e, c);
        to[4] = FNMA(two, e, c);
        to[5] = FNMA(four, e, SUB(d[5], d[3]));
    } else {
        const V two = SET1(2.0f), half = SET1(0.5f), quarter = SET1(0.25f), some = SET1(4.25f), more = SET1(5.25f);
        const V between = SET1(3.75f);
        const V s = SUB(d[4], d[2]), r = SUB(d[3], d[1]);
        const V a = FNMA(some, d[4], ADD(d[2], d[6])), b = FNMA(some, d[3], ADD(d[1], d[5]));
        const V c = FNMA(quarter, s, SUB(d[6], d[4])), e = FNMA(quarter, r, SUB(d[5], d[3]));
        const V f = FNMA(between, s, c), g = FNMA(between, r, e);
        to[0] = FMA(more, s, SUB(d[0], d[6]));
        to[1] = ADD(a, b);
        to[2] = SUB(a, b);
        to[3] = FMA(two, e, c);
        to[4] = FNMA(two, e, c);
        to[5] = FMA(half, g, f);
        to[6] = FNMA(half, g, f);
        to[7] = FNMA(more, SUB(d[5], d[3]), SUB(d[7], d[1]));
    }
}

/* One line of `size` outputs from their sums. */
INLINE void output_line(const V *m, V *to, const int size)
{
    if (size == 2) {
        to[0] = ADD(m[0], ADD(m[1], m[2]));
        to[1] = SUB(m[1], ADD(m[2], m[3]));
        return;
    }
    const V a = ADD(m[1], m[2]), b = SUB(m[1], m[2]), c = ADD(m[3], m[4]), d = SUB(m[3], m[4]);
    if (size == 4) {
        to[0] = ADD(m[0], ADD(a, c));
        to[1] = FMA(SET1(2.0f), d, b);
        to[2] = FMA(SET1(4.0f), c, a);
        to[3] = FMA(SET1(8.0f), d, ADD(b, m[5]));
    } else {
        const V e = ADD(m[5], m[6]), f = SUB(m[5], m[6]);
        to[0] = ADD(ADD(m[0], a), ADD(c, e));
        to[1] = FMA(SET1(2.0f), d, FMA(SET1(1 / 2.0f), f, b));
        to[2] = FMA(SET1(4.0f), c, FMA(SET1(1 / 4.0f), e, a));
        to[3] = FMA(SET1(8.0f), d, FMA(SET1(1 / 8.0f), f, b));
        to[4] = FMA(SET1(16.0f), c, FMA(SET1(1 / 16.0f), e, a));
        to[5] = FMA(SET1(32.0f), d, FMA(SET1(1 / 32.0f), f, ADD(b, m[7])));
    }
}

/* Every third of up to eight places, `next` floats from one to the next: with all of them, compilers run out of registers. */
#define THIRDS(pointer, name, first, next)                                  \
    pointer name[] = {first, (first) + 3 * (next), (first) + 6 * (next)};   \
    HIDE(name[1]);                                                          \
    HIDE(name[2]);

/* How lines of tiles lie: floats from one value of a line to the next, from a line to the next one of the same tile, from
 * a tile to the next. */
typedef struct {
    size_t value, line, tile;
} steps;

/* Transform so many lines, rows or columns, of so many tiles: from where to where. */
typedef void (*lines_function)(const float *from, const steps *in, float *to, const steps *out, uint32_t lines,
                               uint32_t tiles);
#define LINES(name, transform, size, given, made)                                                                   \
    TARGET NOINLINE static void name(const float *from, const steps *in, float *to, const steps *out, uint32_t lines, \
                                     uint32_t tiles)                                                                \
    {                                                                                                               \
        const size_t in_value = in->value, in_tile = in->tile, out_value = out->value, out_tile = out->tile;        \
        for (uint32_t line = 0; line < lines; line++) {                                                             \
            const float *get = from + line * in->line;                                                              \
            float *put = to + line * out->line;                                                                     \
            for (uint32_t left = tiles; left; left--, get += in_tile, put += out_tile) {                            \
                V values[given], results[made];                                                                     \
                THIRDS(const float *, from_, get, in_value)                                                         \
                THIRDS(float *, to_, put, out_value)                                                                \
                UNROLL                                                                                              \
                for (int i = 0; i < (given); i++)                                                                   \
                    values[i] = LOAD(from_[i / 3] + i % 3 * in_value);                                              \
                transform(values, results, size);                                                                   \
                UNROLL                                                                                              \
                for (int i = 0; i < (made); i++)                                                                    \
                    STORE(to_[i / 3] + i % 3 * out_value, results[i]);                                                         \
            }                                                                                                       \
        }                                                                                                           \
    }
LINES(input_2, input_line, 2, 4, 4)
LINES(input_4, input_line, 4, 6, 6)
LINES(input_6, input_line, 6, 8, 8)
LINES(output_2, output_line, 2, 4, 2)
LINES(output_4, output_line, 4, 6, 4)
LINES(output_6, output_line, 6, 8, 6)

/* The outputs of a tile whose columns have been transformed back to `rows` rows, or the maxima of two by two of them; at
 * least `to->least`. */
INLINE void plain_rows(const float *from, uint32_t rows, float *out, const ending *to, const int size, const int mode)
{
    const int turn = mode == POOLED ? 2 : 1;
    const V least = to->least;
    for (uint32_t r = 0; r < rows; r += turn, out += to->out_row) {
        V line[MOST_OUTPUTS + 2], made[2][MOST_OUTPUTS];
        UNROLL
        for (int k = 0; k < turn; k++, from += (size + 2) * VL) {
            UNROLL
            for (int i = 0; i < size + 2; i++)
                line[i] = LOAD(from + i * VL);
            output_line(line, made[k], size);
        }
        const size_t pixel = to->out_pixel;
        THIRDS(float *, to_, out, pixel)
        UNROLL
        for (int c = 0; c < size; c += turn) {
            V value = made[0][c];
            if (mode == POOLED)
                value = MAX(MAX(value, made[0][c + 1]), MAX(made[1][c], made[1][c + 1]));
            STORE(to_[c / turn / 3] + c / turn % 3 * pixel, MAX(value, least));
        }
    }
}
typedef void (*rows_function)(const float *from, uint32_t rows, float *out, const ending *to);
#define ROWS(name, size, mode)                                                                       \
    TARGET NOINLINE static void name(const float *from, uint32_t rows, float *out, const ending *to) \
    {                                                                                                \
        plain_rows(from, rows, out, to, size, mode);                                                 \
    }
ROWS(plane_2, 2, PLANE)
ROWS(plane_4, 4, PLANE)
ROWS(plane_6, 6, PLANE)
ROWS(pooled_2, 2, POOLED)
ROWS(pooled_4, 4, POOLED)
ROWS(pooled_6, 6, POOLED)
static const rows_function ROWS_OF[2][4] = {{NULL, plane_2, plane_4, plane_6}, {NULL, pooled_2, pooled_4, pooled_6}};
static const lines_function INPUT_OF[] = {NULL, input_2, input_4, input_6}; /* by half the size */
static const lines_function OUTPUT_OF[] = {NULL, output_2, output_4, output_6};

/* Tiles that follow one another in a row of tiles, at most RUN. */
enum { RUN = 6 };
INLINE uint32_t run_length(const winograd_layer *layer, uint32_t tile, uint32_t end)
{
    const uint32_t row = layer->tile_cols - tile % layer->tile_cols, left = end - tile;
    const uint32_t run = row < left ? row : left;
    return run < RUN ? run : RUN;
}

/* Transform the inputs of tiles [first, end). Neighbours share pixels: the columns of a run are transformed together. */
INLINE void input_strip(const winograd_layer *layer, const float *maps, uint32_t first, uint32_t end, float *to)
{
    enum { MOST_PIXELS = RUN * MOST_OUTPUTS + 2 };
    ALIGNED64 float columns[(MOST_OUTPUTS + 2) * MOST_PIXELS * VL];
    const lines_function down = INPUT_OF[layer->height / 2], across = INPUT_OF[layer->width / 2];
    const uint32_t rows = layer->height + 2, cols = layer->width + 2;
    const map_place *in = &layer->in;
    const steps map = {in->row, 0, in->pixel}, to_columns = {MOST_PIXELS * VL, 0, VL};
    const steps from_columns = {VL, MOST_PIXELS * VL, layer->width * VL};
    const steps positions = {layer->in_position, cols * layer->in_position, VL};
    for (uint32_t tile = first, run; tile < end; tile += run, to += run * VL) {
        const uint32_t y = tile / layer->tile_cols * layer->height, x = tile % layer->tile_cols * layer->width;
        run = run_length(layer, tile, end);
        for (uint32_t vector = 0; vector < layer->in_vectors; vector++) {
            down(maps + in->offset + y * in->row + x * in->pixel + vector * VL, &map, columns, &to_columns, 1,
                 run * layer->width + 2);
            across(columns, &from_columns, to + vector * (end - first) * VL, &positions, rows, run);
        }
    }
}

/* Transform the sums of tiles [first, end) back, for vectors of channels [vector, last_vector). */
INLINE void output_strip(const winograd_layer *layer, const float *sums, float *maps, uint32_t strip, uint32_t first,
                         uint32_t end, uint32_t vector, uint32_t last_vector)
{
    ALIGNED64 float half[MOST_OUTPUTS * (MOST_OUTPUTS + 2) * VL], block[MOST_OUTPUTS * MOST_OUTPUTS * VL];
    const uint32_t height = layer->height, width = layer->width, shrink = layer->pool ? 2 : 1;
    const lines_function down = OUTPUT_OF[height / 2];
    const rows_function plane = ROWS_OF[0][width / 2], plain = ROWS_OF[layer->pool][width / 2];
    const int special = layer->last || layer->has_skip || layer->activation == ENGINE_SILU;
    const steps positions = {(width + 2) * layer->position, 0, layer->position}, to_half = {(width + 2) * VL, 0, VL};
    for (; vector < last_vector; vector++) {
        const ending to = ending_of(layer, maps, strip, vector * VL);
        const ending to_block = {.least = special ? SET1(-INFINITY) : to.least, .out_row = width * VL, .out_pixel = VL};
        for (uint32_t tile = first; tile < end; tile++, sums += VL) {
            const uint32_t y = tile / layer->tile_cols * height, x = tile % layer->tile_cols * width;
            const uint32_t rows = inside(layer->rows, y, height), cols = inside(layer->cols, x, width);
            float *out = to.out + y / shrink * to.out_row + x / shrink * to.out_pixel;
            down(sums, &positions, half, &to_half, 1, width + 2);
            if (special) {
                plane(half, height, block, &to_block);
                finish(block, width, y, x, rows, cols, &to);
            } else if (rows < height || cols < width) {
                plain(half, height, block, &to_block);
                for (uint32_t r = 0; r < rows / shrink; r++)
                    for (uint32_t c = 0; c < cols / shrink; c++)
                        STORE(out + r * to.out_row + c * to.out_pixel, LOAD(block + (r * width + c) * VL));
            } else {
                plain(half, height, out, &to);
            }
        }
    }
}

/* What a kernel multiplies in one position, for some tiles and one or two vectors of filters. */
typedef struct {
    const float *in; /* [channel vector][tile][lane] */
    float *out;      /* [filter vector][tile][lane] */
    size_t next;     /* floats from one vector to the next of both */
    const float *weight;
    const float *start; /* what is added to the products of each filter */
    uint32_t channel_vectors;
    const float *ahead; /* weights that are asked for, so many floats for each channel */
    size_t ahead_step;
} product;

INLINE void multiply(const product *of, const int tiles, const int width)
{
    V sum[MOST_TILES][2];
    UNROLL
    for (int t = 0; t < tiles; t++)
        UNROLL
    for (int k = 0; k < width; k++)
        sum[t][k] = LOAD(of->start + k * VL);
    const float *in = of->in, *weight = of->weight, *ahead = of->ahead;
    const size_t next = of->next, ahead_step = of->ahead_step;
    for (uint32_t left = of->channel_vectors; left; left--, in += next) {
#ifdef BY_ELEMENT
        V pixels[MOST_TILES];
        UNROLL
        for (int t = 0; t < tiles; t++)
            pixels[t] = LOAD(in + t * VL);
#define PIXEL(t, lane) SET1(pixels[t][lane])
        UNROLL
#else
#define PIXEL(t, lane) SET1(in[(t) * VL + (lane)])
        NO_UNROLL
#endif
        for (int lane = 0; lane < VL; lane++, weight += width * VL, ahead += ahead_step) {
            V filter[2];
            UNROLL
            for (int k = 0; k < width; k++)
                filter[k] = LOAD(weight + k * VL);
            UNROLL
            for (int k = 0; k < width * VL; k += 16)
                PREFETCH_WEIGHT(ahead + k);
            UNROLL
            for (int t = 0; t < tiles; t++) {
                const V pixel = PIXEL(t, lane);
                UNROLL
                for (int k = 0; k < width; k++)
                    sum[t][k] = FMA(pixel, filter[k], sum[t][k]);
            }
        }
#undef PIXEL
    }
    UNROLL
    for (int t = 0; t < tiles; t++)
        UNROLL
    for (int k = 0; k < width; k++)
        STORE(of->out + k * next + t * VL, sum[t][k]);
}

typedef void (*multiply_function)(const product *of);
#define MULTIPLY(tiles, width)                                               \
    TARGET NOINLINE static void multiply_##tiles##_##width(const product *of) \
    {                                                                        \
        multiply(of, tiles, width);                                          \
    }
#define MULTIPLY_1(tiles) MULTIPLY(tiles, 1)
#define MULTIPLY_2(tiles) MULTIPLY(tiles, 2)
EACH_COUNT(MULTIPLY_1)
EACH_COUNT(MULTIPLY_2)
#define NAME_1(tiles) multiply_##tiles##_1,
#define NAME_2(tiles) multiply_##tiles##_2,
static const multiply_function MULTIPLY_1_OF[] = {NULL, EACH_COUNT(NAME_1)};
static const multiply_function MULTIPLY_2_OF[] = {NULL, EACH_COUNT(NAME_2)};

/* All products of a strip of `tiles` tiles: position by position, block of filters by block, tiles in parts that are as
 * equal as can be, each of which asks for its share of the next block's weights: all are too many for the caches. The bias
 * is added in the position of the point 1, whose sums are a part of all outputs. */
INLINE void multiply_strip(const winograd_layer *layer, const float *in, float *sums, uint32_t tiles, uint32_t begin,
                           uint32_t end)
{
    static const ALIGNED64 float ZEROS[2 * VL];
    const uint32_t positions = (layer->height + 2) * (layer->width + 2), of_ones = layer->width + 3;
    const uint32_t parts = (tiles + MOST_TILES - 1) / MOST_TILES, channels = layer->in_vectors * VL;
    product of = {.next = (size_t)tiles * VL, .channel_vectors = layer->in_vectors};
    for (uint32_t p = 0; p < positions; p++, in += layer->in_position, sums += layer->position)
        for (uint32_t vector = begin; vector < end; vector += 2) {
            const uint32_t width = end - vector == 1 ? 1 : 2;
            const multiply_function *functions = width == 1 ? MULTIPLY_1_OF : MULTIPLY_2_OF;
            const size_t block = (size_t)width * VL * channels;
            of.weight = layer->weight + ((size_t)p * layer->vectors + vector) * VL * channels;
            of.start = p == of_ones ? layer->bias + vector * VL : ZEROS;
            of.ahead = of.weight + block;
            of.ahead_step = (width * VL + parts - 1) / parts;
            for (uint32_t part = 0, tile = 0, count; part < parts; part++, tile += count) {
                count = tiles / parts + (part < tiles % parts);
                of.in = in + tile * VL;
                of.out = sums + ((vector - begin) * tiles + tile) * VL;
                functions[count](&of);
                of.ahead += of.ahead_step * channels;
            }
        }
}

TARGET static void strip(const winograd_layer *layer, float *maps, uint32_t number, uint32_t begin, uint32_t end,
                         float *scratch)
{
    const uint32_t first = number * layer->strip, all = layer->tile_rows * layer->tile_cols;
    const uint32_t tiles = all - first < layer->strip ? all - first : layer->strip;
    float *sums = scratch + (layer->height + 2) * (layer->width + 2) * layer->in_position;
    input_strip(layer, maps, first, first + tiles, scratch);
    multiply_strip(layer, scratch, sums, tiles, begin, end);
    if (layer->last)
        for (uint32_t vector = begin; vector < end; vector++)
            STORE(maps + layer->out.offset + number * layer->out.strip + vector * VL, SET1(-INFINITY));
    output_strip(layer, sums, maps, number, first, first + tiles, begin, end);
}

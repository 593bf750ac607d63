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
    const float *skip; /* at the first pixel, or NULL */
    float *out;        /* at the first pixel, or the maximum so far */
    size_t skip_row, skip_pixel, out_row, out_pixel;
} ending;

/* The ending for channels [channel, channel + VL) of a block whose first pixel is (y, x). */
INLINE ending ending_at(const winograd_layer *layer, float *maps, uint32_t channel, uint32_t y, uint32_t x)
{
    const uint32_t shrink = layer->pool ? 2 : 1;
    const map_place *out = &layer->out, *skip = &layer->skip;
    ending to = {.mode = layer->last ? MAXIMUM : layer->pool ? POOLED : PLANE,
                 .silu = layer->activation == ENGINE_SILU,
                 .least = SET1(layer->activation == ENGINE_RELU ? 0.0f : -INFINITY),
                 .out_row = out->row,
                 .out_pixel = out->pixel,
                 .skip_row = skip->row,
                 .skip_pixel = skip->pixel};
    to.out = maps + out->offset + (y / shrink + 1) * out->row + (x / shrink + 1) * out->pixel + channel;
    if (layer->has_skip)
        to.skip = maps + skip->offset + (y + 1) * skip->row + (x + 1) * skip->pixel + channel;
    return to;
}

/* Finish a block of rows x cols outputs, of which `next` are in a row, whatever follows. */
TARGET NOINLINE static void finish(float *block, int next, int rows, int cols, const ending *to)
{
#define AT(r, c) (block + ((r) * next + (c)) * VL)
#define OUT(r, c) (to->out + (r) * to->out_row + (c) * to->out_pixel)
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            V value = LOAD(AT(r, c));
            if (to->skip)
                value = ADD(value, LOAD(to->skip + r * to->skip_row + c * to->skip_pixel));
            value = to->silu ? silu(value) : MAX(value, to->least);
            if (to->mode == PLANE)
                STORE(OUT(r, c), value);
            else if (to->mode == MAXIMUM)
                STORE(to->out, MAX(LOAD(to->out), value));
            else
                STORE(AT(r, c), value);
        }
    if (to->mode == POOLED)
        for (int r = 0; r + 1 < rows; r += 2)
            for (int c = 0; c + 1 < cols; c += 2)
                STORE(OUT(r / 2, c / 2), MAX(MAX(LOAD(AT(r, c)), LOAD(AT(r, c + 1))),
                                             MAX(LOAD(AT(r + 1, c)), LOAD(AT(r + 1, c + 1)))));
#undef AT
#undef OUT
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
        for (uint32_t y = 2 * begin; y < 2 * end && y < layer->rows; y += 2) {
            ending to = ending_at(layer, maps, vector * VL, y, 0);
            for (uint32_t x = 0; x < layer->cols; x += COLS) {
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
                    finish(block, COLS, rows, cols, &to);
                } else if (mode == POOLED) {
                    UNROLL
                    for (int c = 0; c < COLS; c += 2)
                        STORE(to.out + c / 2 * to.out_pixel,
                              MAX(MAX(MAX(sum[c], sum[c + 1]), MAX(sum[COLS + c], sum[COLS + c + 1])), to.least));
                } else {
                    UNROLL
                    for (int i = 0; i < 2 * COLS; i++)
                        STORE(to.out + i / COLS * to.out_row + i % COLS * to.out_pixel, MAX(sum[i], to.least));
                }
                to.out += (mode == POOLED ? COLS / 2 : COLS) * to.out_pixel;
                to.skip = to.skip ? to.skip + COLS * to.skip_pixel : NULL;
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
        const V two = SET1(2.0f), half = SET1(0.5f), four = SET1(4.0f), quarter = SET1(0.25f), five = SET1(5.0f);
        const V some = SET1(4.25f), more = SET1(5.25f), less = SET1(1.25f);
        const V a = FNMA(some, d[4], ADD(d[2], d[6])), b = FNMA(some, d[3], ADD(d[1], d[5]));
        const V c = FMA(quarter, d[2], FNMA(less, d[4], d[6])), e = FMA(quarter, d[1], FNMA(less, d[3], d[5]));
        const V f = FMA(four, d[2], FNMA(five, d[4], d[6])), g = FMA(four, d[1], FNMA(five, d[3], d[5]));
        to[0] = FMA(more, SUB(d[4], d[2]), SUB(d[0], d[6]));
        to[1] = ADD(a, b);
        to[2] = SUB(a, b);
        to[3] = FMA(two, e, c);
        to[4] = FNMA(two, e, c);
        to[5] = FMA(half, g, f);
        to[6] = FNMA(half, g, f);
        to[7] = FMA(more, SUB(d[3], d[5]), SUB(d[7], d[1]));
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

/* Transform `count` lines of tiles, rows or columns: from one value of a line to the next are so many floats, and from one
 * line to the next. */
typedef void (*lines_function)(const float *from, size_t from_value, size_t from_line, float *to, size_t to_value,
                               size_t to_line, uint32_t count);
#define LINES(name, line, size, in, out)                                                                            \
    TARGET NOINLINE static void name(const float *from, size_t from_value, size_t from_line, float *to,             \
                                     size_t to_value, size_t to_line, uint32_t count)                               \
    {                                                                                                               \
        V given[in], made[out];                                                                                     \
        for (; count; count--, from += from_line, to += to_line) {                                                  \
            UNROLL                                                                                                  \
            for (int i = 0; i < (in); i++)                                                                          \
                given[i] = LOAD(from + i * from_value);                                                             \
            line(given, made, size);                                                                                \
            UNROLL                                                                                                  \
            for (int i = 0; i < (out); i++)                                                                         \
                STORE(to + i * to_value, made[i]);                                                                  \
        }                                                                                                           \
    }
LINES(input_2, input_line, 2, 4, 4)
LINES(input_4, input_line, 4, 6, 6)
LINES(input_6, input_line, 6, 8, 8)
LINES(output_2, output_line, 2, 4, 2)
LINES(output_4, output_line, 4, 6, 4)
LINES(output_6, output_line, 6, 8, 6)

/* The outputs of a tile whose columns have been transformed back to `rows` rows, or the maxima of two by two of them. */
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
        UNROLL
        for (int c = 0; c < size; c += turn) {
            V value = made[0][c];
            if (mode == POOLED)
                value = MAX(MAX(value, made[0][c + 1]), MAX(made[1][c], made[1][c + 1]));
            STORE(out + c / turn * to->out_pixel, MAX(value, least));
        }
    }
}
typedef void (*rows_function)(const float *from, uint32_t rows, const ending *to);
#define ROWS(name, size, mode)                                                           \
    TARGET NOINLINE static void name(const float *from, uint32_t rows, const ending *to) \
    {                                                                                    \
        plain_rows(from, rows, to->out, to, size, mode);                                 \
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

/* Transform the inputs of tiles [first, first + tiles). Neighbours share pixels: the columns of a few tiles are transformed
 * together, then the rows of each. */
INLINE void input_strip(const winograd_layer *layer, const float *maps, uint32_t first, uint32_t tiles, float *to)
{
    enum { RUN = 8, MOST_PIXELS = RUN * MOST_OUTPUTS + 2 };
    ALIGNED64 float columns[(MOST_OUTPUTS + 2) * MOST_PIXELS * VL];
    const lines_function down = INPUT_OF[layer->height / 2], across = INPUT_OF[layer->width / 2];
    const uint32_t rows = layer->height + 2, cols = layer->width + 2;
    const map_place *in = &layer->in;
    for (uint32_t vector = 0; vector < layer->in_vectors; vector++)
        for (uint32_t tile = first, run; tile < first + tiles; tile += run) {
            const uint32_t y = tile / layer->tile_cols * layer->height, col = tile % layer->tile_cols;
            run = layer->tile_cols - col < RUN ? layer->tile_cols - col : RUN;
            run = first + tiles - tile < run ? first + tiles - tile : run;
            down(maps + in->offset + y * in->row + col * layer->width * in->pixel + vector * VL, in->row, in->pixel,
                 columns, MOST_PIXELS * VL, VL, run * layer->width + 2);
            for (uint32_t k = 0; k < run; k++, to += VL)
                across(columns + k * layer->width * VL, VL, MOST_PIXELS * VL, to, layer->in_position,
                       cols * layer->in_position, rows);
        }
}

/* Transform the sums of tiles [first, first + tiles) back, for vectors of channels [begin, end). */
INLINE void output_strip(const winograd_layer *layer, const float *sums, float *maps, uint32_t strip, uint32_t first,
                         uint32_t tiles, uint32_t begin, uint32_t end)
{
    ALIGNED64 float half[MOST_OUTPUTS * (MOST_OUTPUTS + 2) * VL], block[MOST_OUTPUTS * MOST_OUTPUTS * VL];
    const uint32_t height = layer->height, width = layer->width;
    const lines_function down = OUTPUT_OF[height / 2];
    const rows_function plane = ROWS_OF[0][width / 2], plain = ROWS_OF[layer->pool][width / 2];
    const int special = layer->last || layer->has_skip || layer->activation == ENGINE_SILU;
    const ending to_block = {.least = SET1(-INFINITY), .out = block, .out_row = width * VL, .out_pixel = VL};
    for (uint32_t vector = begin; vector < end; vector++)
        for (uint32_t tile = first; tile < first + tiles; tile++, sums += VL) {
            const uint32_t y = tile / layer->tile_cols * height, x = tile % layer->tile_cols * width;
            const int rows = inside(layer->rows, y, height), cols = inside(layer->cols, x, width);
            down(sums, (width + 2) * layer->position, layer->position, half, (width + 2) * VL, VL, width + 2);
            ending to = ending_at(layer, maps, vector * VL, y, x);
            if (layer->last)
                to.out = maps + layer->out.offset + (strip * layer->vectors + vector) * VL;
            if (special || rows < (int)height || cols < (int)width) {
                plane(half, height, &to_block);
                finish(block, width, rows, cols, &to);
            } else {
                plain(half, height, &to);
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
    input_strip(layer, maps, first, tiles, scratch);
    multiply_strip(layer, scratch, sums, tiles, begin, end);
    if (layer->last)
        for (uint32_t vector = begin; vector < end; vector++)
            STORE(maps + layer->out.offset + (number * layer->vectors + vector) * VL, SET1(-INFINITY));
    output_strip(layer, sums, maps, number, first, tiles, begin, end);
}

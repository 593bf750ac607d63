/* Convolutions by Winograd's minimal filtering: a part of kernels_body.h. winograd.h says how the arrays lie.
 *
 * Source of the transforms: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, with the points
 * 0, 1, -1 and infinity for tiles of 2 x 2 outputs, and 2 and -2 besides for 4 x 4.
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

/* What follows a convolution in one vector of channels, and where it goes. */
typedef struct {
    V bias, least; /* least: 0 for ReLU, -INFINITY for none */
    int silu;
    const float *skip; /* at the first pixel, or NULL */
    float *out;        /* at the first pixel, or the maximum so far */
    size_t skip_row, skip_pixel, out_row, out_pixel;
} ending;

#define OUT(r, c) (to->out + (r) * to->out_row + (c) * to->out_pixel)
#define MAX4(y, r, c)                                      \
    MAX(MAX(y[(r) * cols + (c)], y[(r) * cols + (c) + 1]), \
        MAX(y[((r) + 1) * cols + (c)], y[((r) + 1) * cols + (c) + 1]))

/* Finish a block of sums, `cols` in a row, of which only the first few rows and columns may be inside the map, whatever
 * follows. */
TARGET NOINLINE static void finish_any(V *y, int cols, int inside_rows, int inside_cols, const ending *to, int mode)
{
    for (int r = 0; r < inside_rows; r++)
        for (int c = 0; c < inside_cols; c++) {
            V value = ADD(y[r * cols + c], to->bias);
            if (to->skip)
                value = ADD(value, LOAD(to->skip + r * to->skip_row + c * to->skip_pixel));
            value = to->silu ? silu(value) : MAX(value, to->least);
            if (mode == PLANE)
                STORE(OUT(r, c), value);
            else if (mode == MAXIMUM)
                STORE(to->out, MAX(LOAD(to->out), value));
            else
                y[r * cols + c] = value;
        }
    if (mode == POOLED)
        for (int r = 0; r + 1 < inside_rows; r += 2)
            for (int c = 0; c + 1 < inside_cols; c += 2)
                STORE(OUT(r / 2, c / 2), MAX4(y, r, c));
}

/* Finish a block of rows x cols sums. The bias and ReLU do not change which value is the largest. */
INLINE void finish(const V *y, const int rows, const int cols, int inside_rows, int inside_cols, const ending *to,
                   const int mode)
{
    if (inside_rows < rows || inside_cols < cols || to->silu || to->skip) {
        V copy[16]; /* so that the compiler keeps y in registers otherwise */
        UNROLL
        for (int i = 0; i < rows * cols; i++)
            copy[i] = y[i];
        finish_any(copy, cols, inside_rows, inside_cols, to, mode);
    } else if (mode == PLANE) {
        UNROLL
        for (int r = 0; r < rows; r++)
            UNROLL
        for (int c = 0; c < cols; c++)
            STORE(OUT(r, c), MAX(ADD(y[r * cols + c], to->bias), to->least));
    } else if (mode == POOLED) {
        UNROLL
        for (int r = 0; r < rows; r += 2)
            UNROLL
        for (int c = 0; c < cols; c += 2)
            STORE(OUT(r / 2, c / 2), MAX(ADD(MAX4(y, r, c), to->bias), to->least));
    } else {
        V largest = y[0];
        UNROLL
        for (int i = 1; i < rows * cols; i++)
            largest = MAX(largest, y[i]);
        STORE(to->out, MAX(LOAD(to->out), MAX(ADD(largest, to->bias), to->least)));
    }
}
#undef OUT
#undef MAX4

/* The ending for channels [channel, channel + VL) of a block whose first pixel is (y, x). */
INLINE ending ending_at(const winograd_layer *layer, float *maps, uint32_t channel, uint32_t y, uint32_t x)
{
    const uint32_t shrink = layer->pool ? 2 : 1;
    const map_place *out = &layer->out, *skip = &layer->skip;
    ending to = {.bias = LOAD(layer->bias + channel),
                 .least = SET1(layer->activation == ENGINE_RELU ? 0.0f : -INFINITY),
                 .silu = layer->activation == ENGINE_SILU,
                 .out_row = out->row,
                 .out_pixel = out->pixel,
                 .skip_row = skip->row,
                 .skip_pixel = skip->pixel};
    to.out = maps + out->offset + (y / shrink + 1) * out->row + (x / shrink + 1) * out->pixel + channel;
    if (layer->has_skip)
        to.skip = maps + skip->offset + (y + 1) * skip->row + (x + 1) * skip->pixel + channel;
    return to;
}

INLINE int inside(uint32_t size, uint32_t at, const int block)
{
    return size - at < (uint32_t)block ? (int)(size - at) : block;
}

/* The first convolution, of one channel: each pixel is loaded once for all the sums of a block that it is a part of. */
INLINE void first_of(const winograd_layer *layer, float *maps, uint32_t begin, uint32_t end, const int mode)
{
    enum { COLS = PART_ROWS }; /* as many sums as there are registers for beside the kernel */
    for (uint32_t vector = 0; vector < layer->vectors; vector++) {
        V weight[9];
        UNROLL
        for (int i = 0; i < 9; i++)
            weight[i] = LOAD(layer->weight + (i * layer->vectors + vector) * VL);
        for (uint32_t y = 2 * begin; y < 2 * end && y < layer->rows; y += 2)
            for (uint32_t x = 0; x < layer->cols; x += COLS) {
                const float *from = maps + layer->in.offset + y * layer->in.row + x;
                V sum[2 * COLS];
                UNROLL
                for (int i = 0; i < 2 * COLS; i++)
                    sum[i] = SET1(0.0f);
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
                const ending to = ending_at(layer, maps, vector * VL, y, x);
                finish(sum, 2, COLS, inside(layer->rows, y, 2), inside(layer->cols, x, COLS), &to, mode);
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

/* One line of a tile's inputs, from d[0], d[next], ... */
INLINE void input_line(const V *d, const int next, V *to, const int size)
{
    if (size == 2) {
        to[0] = SUB(d[0], d[2 * next]);
        to[1] = ADD(d[next], d[2 * next]);
        to[2] = SUB(d[2 * next], d[next]);
        to[3] = SUB(d[next], d[3 * next]);
    } else {
        const V four = SET1(4.0f), five = SET1(5.0f);
        const V a = FNMA(four, d[2 * next], d[4 * next]), b = FNMA(four, d[next], d[3 * next]);
        const V c = SUB(d[4 * next], d[2 * next]), e = SUB(d[3 * next], d[next]);
        to[0] = FMA(four, d[0], FNMA(five, d[2 * next], d[4 * next]));
        to[1] = ADD(a, b);
        to[2] = SUB(a, b);
        to[3] = FMA(SET1(2.0f), e, c);
        to[4] = FNMA(SET1(2.0f), e, c);
        to[5] = FMA(four, d[next], FNMA(five, d[3 * next], d[5 * next]));
    }
}

/* One line of a tile's outputs, from m[0], m[next], ... */
INLINE void output_line(const V *m, const int next, V *to, const int size)
{
    if (size == 2) {
        to[0] = ADD(m[0], ADD(m[next], m[2 * next]));
        to[1] = SUB(m[next], ADD(m[2 * next], m[3 * next]));
    } else {
        const V a = ADD(m[next], m[2 * next]), b = SUB(m[next], m[2 * next]);
        const V c = ADD(m[3 * next], m[4 * next]), d = SUB(m[3 * next], m[4 * next]);
        to[0] = ADD(m[0], ADD(a, c));
        to[1] = FMA(SET1(2.0f), d, b);
        to[2] = FMA(SET1(4.0f), c, a);
        to[3] = FMA(SET1(8.0f), d, ADD(b, m[5 * next]));
    }
}

/* Transform one tile, whose first pixel is at `from`, to [position][channel vector]: floats from one position to the next,
 * and from one channel vector to the next. */
INLINE void input_tile(const winograd_layer *layer, const float *from, float *to, size_t next, const int size)
{
    const int n = size + 2;
    const size_t row = layer->in.row, pixel = layer->in.pixel, position = layer->in_position;
    for (uint32_t vector = 0; vector < layer->in_vectors; vector++, from += VL, to += next) {
        V columns[36], line[6];
        UNROLL
        for (int j = 0; j < n; j++) {
            UNROLL
            for (int i = 0; i < n; i++)
                line[i] = LOAD(from + i * row + j * pixel);
            input_line(line, 1, columns + j * n, size);
        }
        UNROLL
        for (int i = 0; i < n; i++) {
            input_line(columns + i, n, line, size);
            UNROLL
            for (int j = 0; j < n; j++)
                STORE(to + (i * n + j) * position, line[j]);
        }
    }
}

/* Transform the sums of one tile back, whose first output is (y, x), for vectors of channels [begin, end). */
INLINE void output_tile(const winograd_layer *layer, const float *sums, size_t next, float *maps, uint32_t strip,
                        uint32_t y, uint32_t x, uint32_t begin, uint32_t end, const int size, const int mode)
{
    const int n = size + 2;
    const int rows = inside(layer->rows, y, size), cols = inside(layer->cols, x, size);
    for (uint32_t vector = begin; vector < end; vector++, sums += next) {
        V columns[24], line[6], out[16];
        UNROLL
        for (int j = 0; j < n; j++) {
            UNROLL
            for (int i = 0; i < n; i++)
                line[i] = LOAD(sums + (i * n + j) * layer->position);
            output_line(line, 1, columns + j * size, size);
        }
        UNROLL
        for (int i = 0; i < size; i++)
            output_line(columns + i, size, out + i * size, size);
        ending to = ending_at(layer, maps, vector * VL, y, x);
        if (mode == MAXIMUM)
            to.out = maps + layer->out.offset + (strip * layer->vectors + vector) * VL;
        finish(out, size, size, rows, cols, &to, mode);
    }
}

typedef void (*input_function)(const winograd_layer *layer, const float *from, float *to, size_t next);
#define INPUT(name, size)                                                                                    \
    TARGET NOINLINE static void name(const winograd_layer *layer, const float *from, float *to, size_t next) \
    {                                                                                                        \
        input_tile(layer, from, to, next, size);                                                             \
    }
INPUT(input_2, 2)
INPUT(input_4, 4)

typedef void (*output_function)(const winograd_layer *layer, const float *sums, size_t next, float *maps,
                                uint32_t strip, uint32_t y, uint32_t x, uint32_t begin, uint32_t end);
#define OUTPUT(name, size, mode)                                                                               \
    TARGET NOINLINE static void name(const winograd_layer *layer, const float *sums, size_t next, float *maps, \
                                     uint32_t strip, uint32_t y, uint32_t x, uint32_t begin, uint32_t end)     \
    {                                                                                                          \
        output_tile(layer, sums, next, maps, strip, y, x, begin, end, size, mode);                             \
    }
OUTPUT(plane_2, 2, PLANE)
OUTPUT(pooled_2, 2, POOLED)
OUTPUT(maximum_2, 2, MAXIMUM)
OUTPUT(plane_4, 4, PLANE)
OUTPUT(pooled_4, 4, POOLED)
OUTPUT(maximum_4, 4, MAXIMUM)

/* The products of `tiles` tiles with `width` vectors of filters, in one position: `in` is [channel vector][tile][lane],
 * `in_next` floats from one channel vector to the next, `out` [filter vector][tile][lane] likewise. Weights `ahead` floats
 * further on are asked for. */
INLINE void multiply(const float *in, size_t in_next, const float *weight, float *out, size_t out_next,
                     uint32_t channel_vectors, size_t ahead, const int tiles, const int width)
{
    V sum[MOST_TILES][2];
    UNROLL
    for (int t = 0; t < tiles; t++)
        UNROLL
    for (int k = 0; k < width; k++)
        sum[t][k] = SET1(0.0f);
    for (; channel_vectors; channel_vectors--, in += in_next) {
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
        for (int lane = 0; lane < VL; lane++, weight += width * VL) {
            V filter[2];
            UNROLL
            for (int k = 0; k < width; k++)
                filter[k] = LOAD(weight + k * VL);
            UNROLL
            for (int k = 0; k < width * VL; k += 16)
                PREFETCH_WEIGHT(weight + ahead + k);
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
        STORE(out + k * out_next + t * VL, sum[t][k]);
}

typedef void (*multiply_function)(const float *in, size_t in_next, const float *weight, float *out, size_t out_next,
                                  uint32_t channel_vectors, size_t ahead);
#define MULTIPLY(tiles, width)                                                                                    \
    TARGET NOINLINE static void multiply_##tiles##_##width(const float *in, size_t in_next, const float *weight,  \
                                                           float *out, size_t out_next, uint32_t channel_vectors, \
                                                           size_t ahead)                                          \
    {                                                                                                             \
        multiply(in, in_next, weight, out, out_next, channel_vectors, ahead, tiles, width);                       \
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
 * equal as can be. Only the first part brings the weights, which are too many for the caches, from memory. */
INLINE void multiply_strip(const winograd_layer *layer, const float *in, float *sums, uint32_t tiles, uint32_t begin,
                           uint32_t end)
{
    enum { AHEAD = 512 };
    const int positions = (int)((layer->size + 2) * (layer->size + 2));
    const uint32_t parts = (tiles + MOST_TILES - 1) / MOST_TILES, channels = layer->in_vectors * VL;
    const size_t next = (size_t)tiles * VL;
    for (int p = 0; p < positions; p++, in += layer->in_position, sums += layer->position)
        for (uint32_t vector = begin; vector < end; vector += 2) {
            const float *weight = layer->weight + ((size_t)p * layer->vectors + vector) * VL * channels;
            const multiply_function *functions = end - vector == 1 ? MULTIPLY_1_OF : MULTIPLY_2_OF;
            for (uint32_t part = 0, tile = 0, count; part < parts; part++, tile += count) {
                count = tiles / parts + (part < tiles % parts);
                functions[count](in + tile * VL, next, weight, sums + ((vector - begin) * tiles + tile) * VL, next,
                                 layer->in_vectors, part ? 0 : AHEAD);
            }
        }
}

TARGET static void strip(const winograd_layer *layer, float *maps, uint32_t number, uint32_t begin, uint32_t end,
                         float *scratch)
{
    static const output_function OUTPUTS[2][3] = {{plane_2, pooled_2, maximum_2}, {plane_4, pooled_4, maximum_4}};
    const int large = layer->size == 4;
    const input_function input = large ? input_4 : input_2;
    const output_function output = OUTPUTS[large][layer->last ? MAXIMUM : layer->pool ? POOLED : PLANE];
    const uint32_t from = number * layer->strip, all = layer->tile_rows * layer->tile_cols;
    const uint32_t tiles = all - from < layer->strip ? all - from : layer->strip, m = layer->size;
    const size_t next = (size_t)tiles * VL;
    const map_place *in = &layer->in;
    float *sums = scratch + (size_t)(m + 2) * (m + 2) * layer->in_position;
    for (uint32_t t = 0; t < tiles; t++) {
        const uint32_t y = (from + t) / layer->tile_cols * m, x = (from + t) % layer->tile_cols * m;
        input(layer, maps + in->offset + y * in->row + x * in->pixel, scratch + t * VL, next);
    }
    multiply_strip(layer, scratch, sums, tiles, begin, end);
    if (layer->last)
        for (uint32_t vector = begin; vector < end; vector++)
            STORE(maps + layer->out.offset + (number * layer->vectors + vector) * VL, SET1(-INFINITY));
    for (uint32_t t = 0; t < tiles; t++) {
        const uint32_t y = (from + t) / layer->tile_cols * m, x = (from + t) % layer->tile_cols * m;
        output(layer, sums + t * VL, next, maps, number, y, x, begin, end);
    }
}

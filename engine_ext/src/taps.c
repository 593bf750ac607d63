/* From an architecture to what the kernels of taps read: geometry of the stages, taps by blocks of input channels. */
#include <math.h>
#include <string.h>
#if !defined(_WIN32)
#include <unistd.h>
#endif

#include "compiler.h"
#include "network.h"

struct taps_network {
    uint32_t stages;        /* passes over the image: the first two layers are one */
    uint32_t rows, cols;    /* of the image, in strip rows and columns */
    float scale, shift;     /* of the image */
    float least;            /* of an embedding: 0, or -INFINITY where no ReLU ends the network */
    float *first;           /* weights [channels][9], then bias [channels], of the first layer */
    size_t plane_floats[2]; /* of one window: output of the even stages and input image; of the odd stages */
    tap_stage stage[];
};

/* Bytes of the level-1 cache. */
static size_t level1_bytes(void)
{
    long level1 = 0;
#if defined(_SC_LEVEL1_DCACHE_SIZE)
    level1 = sysconf(_SC_LEVEL1_DCACHE_SIZE);
#endif
    return level1 > 0 ? (size_t)level1 : 32 * 1024;
}

/* Below this density, loops over shapes cost more than the loads that they save (measured). */
static const double LEAST_DENSITY_OF_SHAPES = 0.13;
/* Planes of more bytes are written past the caches (measured: 6.5 MB had better be, 3.2 MB not). */
static const size_t LARGE_BYTES = 4 << 20;

static size_t channel_vectors(const tap_stage *s)
{
    return (size_t)(s->tile_rows + 2) * (s->tile_cols + 2);
}

static size_t output_floats(const tap_stage *s)
{
    const size_t pixels = s->output == TAPS_MAXIMUM ? (size_t)s->row_tiles * s->col_tiles : s->out_rows * s->out_cols;
    return pixels * s->cout * STRIPS;
}

static uint32_t count_weights(const layer *from)
{
    const size_t places = (size_t)from->out_channels * from->in_channels * 9;
    uint32_t weights = 0;
    for (size_t i = 0; i < places; ++i)
        weights += from->weight[i] != 0;
    return weights;
}

/* The tiles of a stage whose input has rows x cols pixels in strips; ENGINE_BAD_SIZE if tiles do not fill it. */
static int set_geometry(tap_stage *s, const layer *from, uint32_t rows, uint32_t cols, int last, uint32_t lanes)
{
    s->rows = rows;
    s->cols = cols;
    s->out_rows = from->pool ? rows / 2 : rows;
    s->out_cols = from->pool ? cols / 2 : cols;
    s->tile_rows = rows < 4 ? 2 : 4;
    s->tile_cols = rows < 4 ? 12 : 6;
    s->row_tiles = rows / s->tile_rows;
    s->output = last ? TAPS_MAXIMUM : from->pool ? TAPS_RELU_POOL : TAPS_RELU;
    if (s->output == TAPS_RELU && output_floats(s) * sizeof(float) > LARGE_BYTES)
        s->output = TAPS_RELU_LARGE;
    const uint32_t needed = from->pool ? 2 * s->out_cols : cols;
    s->col_tiles = (needed + s->tile_cols - 1) / s->tile_cols;
    s->narrow = s->tile_rows == 4 && s->col_tiles * s->tile_cols - needed >= s->tile_cols / 2;
    if (rows % s->tile_rows || rows == 0 || needed == 0)
        return ENGINE_BAD_SIZE;
    if (s->tile_rows == 2 && (s->output == TAPS_RELU_POOL || s->output == TAPS_RELU_LARGE))
        return ENGINE_BAD_SIZE; /* there are no kernels for it */
    if (last && cols % s->tile_cols)
        return ENGINE_BAD_SIZE; /* what lies outside would count among the maxima */
    /* A block of packed input has to stay in the level-1 cache, with the sums that stream through, while all output
     * channels are computed. Where lists are short, fewer and longer ones are worth some misses (measured). */
    const double channels = level1_bytes() / 6.0 * 5.0 / (double)(channel_vectors(s) * lanes * sizeof(float));
    const double weights = (double)count_weights(from) / from->out_channels / from->in_channels;
    const uint32_t most = (uint32_t)(channels * weights < 6 ? channels * 1.44 : channels);
    s->blocks = (s->cin + most - 1) / most;
    s->block = (s->cin + s->blocks - 1) / s->blocks;
    return 0;
}

/* Write those of the weights of a kernel that form `shape` and are `left`, a bit for each place of the kernel; return the
 * end of what is written. `offset` is where the input channel begins in the packed block. */
static tap *take_shape(tap *to, const tap_stage *s, const float *kernel, uint16_t *left, const tap_shape *shape,
                       size_t offset, uint32_t lanes)
{
    for (int place = 0; place < 9; ++place) {
        int mask = 0, inside = 1;
        for (int k = 0; k < shape->taps; ++k) {
            const int row = place / 3 + shape->row[k], column = place % 3 + shape->column[k];
            inside = inside && row < 3 && column < 3;
            mask |= 1 << (row * 3 + column);
        }
        if (!inside || (*left & mask) != mask)
            continue;
        *left &= (uint16_t)~mask;
        for (int k = 0; k < shape->taps; ++k) {
            const uint32_t row = place / 3 + shape->row[k], column = place % 3 + shape->column[k];
            const size_t vector = offset + row * (s->tile_cols + 2) + column;
            *to++ = (tap){(uint32_t)(vector * lanes * sizeof(float)), kernel[row * 3 + column]};
        }
    }
    return to;
}

/* Write the list of one output channel for the input channels [begin, end), shape by shape. */
static tap *set_list(tap_list *list, tap *to, const tap_stage *s, const float *weight, uint32_t begin, uint32_t end,
                     uint16_t *left, uint32_t lanes)
{
    for (uint32_t i = begin; i < end; ++i) {
        left[i] = 0;
        for (int place = 0; place < 9; ++place)
            left[i] |= (uint16_t)((weight[i * 9 + place] != 0) << place);
    }
    for (int k = s->shapes ? 0 : TAP_SHAPES - 1; k < TAP_SHAPES; ++k) {
        const tap *before = to;
        for (uint32_t i = begin; i < end; ++i)
            if (left[i])
                to = take_shape(to, s, weight + i * 9, &left[i], &TAP_SHAPE[k], (i - begin) * channel_vectors(s), lanes);
        list->groups[k] = (uint16_t)((to - before) / TAP_SHAPE[k].taps);
    }
    return to;
}

/* Sort the taps by blocks of input channels; within a block, by output channel. */
static int set_taps(tap_stage *s, const layer *from, uint32_t lanes, size_t *bytes)
{
    const uint32_t lists = s->blocks * s->cout, weights = count_weights(from);
    s->shapes = weights >= LEAST_DENSITY_OF_SHAPES * 9 * from->in_channels * from->out_channels;
    s->list = calloc(lists, sizeof *s->list);
    s->start = malloc(lists * sizeof *s->start);
    s->taps = malloc((weights + 1) * sizeof *s->taps);
    s->bias = malloc(s->cout * sizeof *s->bias);
    uint16_t *left = malloc(s->cin * sizeof *left);
    const int failed = !s->list || !s->start || !s->taps || !s->bias || !left;
    if (!failed) {
        memcpy(s->bias, from->bias, s->cout * sizeof *s->bias);
        tap *to = s->taps;
        for (uint32_t i = 0; i < lists; ++i) {
            const uint32_t begin = i / s->cout * s->block;
            const uint32_t end = begin + s->block < s->cin ? begin + s->block : s->cin;
            s->start[i] = (uint32_t)(to - s->taps);
            to = set_list(&s->list[i], to, s, from->weight + (size_t)(i % s->cout) * s->cin * 9, begin, end, left, lanes);
        }
        *bytes += weights * sizeof(tap);
    }
    free(left);
    return failed ? ENGINE_NO_MEMORY : 0;
}

/* Row `row` of all strips of an image, with the input BatchNorm applied. */
static void to_strips(const taps_network *taps, const float *image, float *plane, uint32_t row)
{
    float *to = plane + (size_t)row * taps->cols * STRIPS;
    for (uint32_t strip = 0; strip < STRIPS; ++strip) {
        const float *from = image + (size_t)(strip * taps->rows + row) * taps->cols;
        for (uint32_t column = 0; column < taps->cols; ++column)
            to[column * STRIPS + strip] = from[column] * taps->scale + taps->shift;
    }
}

static void to_embedding(const tap_stage *s, float least, const float *maxima, float *out)
{
    const size_t tiles = (size_t)s->row_tiles * s->col_tiles;
    for (size_t o = 0; o < s->cout; ++o) {
        float largest = least;
        for (size_t tile = 0; tile < tiles; ++tile)
            for (size_t strip = 0; strip < STRIPS; ++strip) {
                const float value = maxima[(tile * s->cout + o) * STRIPS + strip];
                if (value > largest)
                    largest = value;
            }
        out[o] = largest;
    }
}

/* Step 0 cuts the image in strips, the last one makes the embedding of the maxima, those between are the stages. */
static void compute(const network *net, uint32_t at, uint32_t item, uint32_t chunk, uint32_t chunks,
                    const window *where)
{
    const taps_network *taps = net->taps;
    float *planes[2] = {where->maps, where->maps + taps->plane_floats[0]};
    if (at == 0) {
        to_strips(taps, where->image, planes[0], item);
    } else if (at == taps->stages + 1) {
        to_embedding(&taps->stage[taps->stages - 1], taps->least, planes[taps->stages % 2], where->out);
    } else {
        const tap_stage *s = &taps->stage[at - 1];
        net->level->tile(s, item % s->row_tiles, item / s->row_tiles, chunk, chunks, planes[(at - 1) % 2],
                         planes[at % 2], where->scratch);
    }
}

static int runnable(const architecture *from)
{
    if (from->rows % STRIPS || from->layers < 3 || from->layer[0].pool)
        return 0;
    for (uint32_t k = 0; k < from->layers; ++k) {
        const layer *l = &from->layer[k];
        const int last = k + 1 == from->layers;
        if (l->skip || l->activation == ENGINE_SILU || (l->activation == ENGINE_LINEAR && !last) || (last && l->pool))
            return 0;
    }
    return 1;
}

static int set_first(taps_network *taps, const layer *from)
{
    const size_t weights = 9 * (size_t)from->out_channels;
    taps->first = malloc((weights + from->out_channels) * sizeof *taps->first);
    if (!taps->first)
        return ENGINE_NO_MEMORY;
    memcpy(taps->first, from->weight, weights * sizeof *taps->first);
    memcpy(taps->first + weights, from->bias, from->out_channels * sizeof *taps->first);
    return 0;
}

int taps_create(network *net, const architecture *from)
{
    if (!runnable(from))
        return ENGINE_BAD_SIZE;
    const uint32_t stages = from->layers - 1, lanes = net->level->lanes;
    taps_network *taps = net->taps = calloc(1, sizeof *taps + stages * sizeof *taps->stage);
    net->steps = stages + 2;
    net->step = calloc(net->steps, sizeof *net->step);
    if (!taps || !net->step)
        return ENGINE_NO_MEMORY;
    net->compute = compute;
    taps->stages = stages;
    taps->rows = from->rows / STRIPS;
    taps->cols = from->cols;
    taps->scale = from->scale;
    taps->shift = from->shift;
    taps->least = from->layer[stages].activation == ENGINE_RELU ? 0 : -INFINITY;
    taps->plane_floats[0] = (size_t)from->rows * from->cols;
    net->step[0] = (step){.items = taps->rows};
    net->step[stages + 1] = (step){.items = 1};
    int status = set_first(taps, &from->layer[0]);
    uint32_t rows = taps->rows, cols = taps->cols;
    for (uint32_t k = 0; k < stages && !status; ++k) {
        tap_stage *s = &taps->stage[k];
        const layer *l = &from->layer[k + 1];
        s->cin = l->in_channels;
        s->cout = l->out_channels;
        s->first = k == 0 ? taps->first : NULL;
        status = set_geometry(s, l, rows, cols, k + 1 == stages, lanes);
        if (!status && k == 0 && s->tile_rows != 4)
            status = ENGINE_BAD_SIZE; /* the first two layers are computed together in tiles 4x6 alone */
        if (!status)
            status = set_taps(s, l, lanes, &net->bytes);
        net->step[k + 1] = (step){s->row_tiles * s->col_tiles, s->narrow ? s->row_tiles : 0, 1};
        rows = s->out_rows;
        cols = s->out_cols;
        const size_t packed = STRIPS * s->block * channel_vectors(s);
        const size_t sums = (size_t)STRIPS * s->tile_rows * s->tile_cols * s->cout;
        if (packed + sums > net->scratch_floats)
            net->scratch_floats = packed + sums;
        size_t *plane = &taps->plane_floats[(k + 1) % 2];
        if (!status && output_floats(s) > *plane)
            *plane = output_floats(s);
    }
    net->map_floats = taps->plane_floats[0] + taps->plane_floats[1];
    return status;
}

void taps_free(taps_network *taps)
{
    if (!taps)
        return;
    for (uint32_t k = 0; k < taps->stages; ++k) {
        free(taps->stage[k].taps);
        free(taps->stage[k].list);
        free(taps->stage[k].start);
        free(taps->stage[k].bias);
    }
    free(taps->first);
    free(taps);
}

/* From an architecture to what the kernels of Winograd's method read: maps, tiles, strips, transformed weights. */
#include <string.h>
#if !defined(_WIN32)
#include <unistd.h>
#endif

#include "compiler.h"
#include "network.h"

enum {
    WEIGHT_TILES = 3,    /* tiles whose multiply-adds take as long as to bring the weights from memory */
    FIRST_PAIRS = 4,     /* pairs of rows of the first convolution that are an item */
    FIRST_BLOCK = 4,     /* rows and columns that a block of the first convolution has at most */
    LINE = 16            /* floats of a cache line */
};
/* A window whose maps take no more is computed by one thread, where there is a window for each. */
static const size_t SMALL_BYTES = 4 << 20;

struct winograd_network {
    uint32_t layers;
    uint32_t rows, cols; /* of the image */
    uint32_t outputs;    /* channels of the last layer */
    float scale, shift;  /* of the image */
    winograd_layer layer[];
};

/* Bytes of the level-2 cache. */
static size_t level2_bytes(void)
{
    long level2 = 0;
#if defined(_SC_LEVEL2_CACHE_SIZE)
    level2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
    return level2 > 0 ? (size_t)level2 : 512 * 1024;
}

static uint32_t divide_up(uint32_t a, uint32_t b)
{
    return (a + b - 1) / b;
}

/* A power of two between the same positions of two arrays would put all of them in the same few cache sets. */
static size_t odd_lines(size_t floats)
{
    const size_t lines = (floats + LINE - 1) / LINE;
    return (lines | 1) * LINE;
}

/* The size of tiles with the least to do: a multiply-add for each position and channel of each tile, and to bring the
 * weights. */
static void set_size(winograd_layer *l)
{
    size_t least = SIZE_MAX;
    for (uint32_t height = 2; height <= MOST_OUTPUTS; height += 2)
        for (uint32_t width = 2; width <= MOST_OUTPUTS; width += 2) {
            const size_t tiles = (size_t)divide_up(l->rows, height) * divide_up(l->cols, width);
            const size_t work = (height + 2) * (width + 2) * (tiles + WEIGHT_TILES);
            if (work < least) {
                least = work;
                l->height = height;
                l->width = width;
            }
        }
}

/* Tiles, and how many of them make a strip. Transformed inputs and sums of a strip should stay in the level-2 cache while
 * they are needed; but every strip brings all weights anew, so that it has at least as many tiles as make that the lesser
 * evil. */
static void set_tiles(winograd_layer *l, uint32_t lanes)
{
    set_size(l);
    l->tile_rows = divide_up(l->rows, l->height);
    l->tile_cols = divide_up(l->cols, l->width);
    const size_t positions = (l->height + 2) * (l->width + 2), all = (size_t)l->tile_rows * l->tile_cols;
    const size_t channels = (size_t)l->in_vectors * lanes, outputs = (size_t)l->vectors * lanes;
    size_t most = level2_bytes() / 2 / (positions * (channels + outputs) * sizeof(float));
    const size_t least = channels * outputs / (2 * (channels + outputs));
    most = most < least ? least : most;
    most = most < 1 ? 1 : most;
    l->strips = (uint32_t)((all + most - 1) / most);
    l->strip = (uint32_t)((all + l->strips - 1) / l->strips);
    l->in_position = odd_lines(l->strip * channels);
    l->position = odd_lines(l->strip * outputs);
}

/* Matrices G of the transforms of a kernel: columns of weights to positions. Source as of winograd_body.h. */
static const double G2[4][3] = {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}};
static const double G4[6][3] = {{1 / 4., 0, 0},
                                {-1 / 6., -1 / 6., -1 / 6.},
                                {-1 / 6., 1 / 6., -1 / 6.},
                                {1 / 24., 1 / 12., 1 / 6.},
                                {1 / 24., -1 / 12., 1 / 6.},
                                {0, 0, 1}};
static const double G6[8][3] = {{1, 0, 0},
                                {-2 / 9., -2 / 9., -2 / 9.},
                                {-2 / 9., 2 / 9., -2 / 9.},
                                {1 / 90., 1 / 45., 2 / 45.},
                                {1 / 90., -1 / 45., 2 / 45.},
                                {32 / 45., 16 / 45., 8 / 45.},
                                {32 / 45., -16 / 45., 8 / 45.},
                                {0, 0, 1}};
static const double (*const G_OF[])[3] = {NULL, G2, G4, G6}; /* by half the size of a tile */

enum { MOST_WIDTH = 32 }; /* lanes of two vectors */

/* Transform the kernels of one input channel and `count` output channels, in double, and write `count` neighbours to each
 * position. The channels are the inner loops, which compilers turn into vectors. */
static void transform(float *to, size_t position, const float *kernel, size_t next, uint32_t count,
                      const winograd_layer *l)
{
    const double (*down)[3] = G_OF[l->height / 2], (*across)[3] = G_OF[l->width / 2];
    double from[9][MOST_WIDTH], rows[3][MOST_WIDTH];
    for (uint32_t o = 0; o < count; o++)
        for (int place = 0; place < 9; place++)
            from[place][o] = kernel[o * next + place];
    for (uint32_t i = 0; i < l->height + 2; i++) {
        for (int k = 0; k < 3; k++)
            for (uint32_t o = 0; o < count; o++)
                rows[k][o] = down[i][0] * from[k][o] + down[i][1] * from[3 + k][o] + down[i][2] * from[6 + k][o];
        for (uint32_t j = 0; j < l->width + 2; j++, to += position)
            for (uint32_t o = 0; o < count; o++)
                to[o] = (float)(rows[0][o] * across[j][0] + rows[1][o] * across[j][1] + rows[2][o] * across[j][2]);
    }
}

/* Weights to [position][block of two filter vectors][channel][2][lane]; the last block has one vector where their number
 * is odd. What fills up the channels stays zero. */
static int set_weights(winograd_layer *l, const layer *from, uint32_t lanes, size_t *bytes)
{
    const size_t outputs = (size_t)l->vectors * lanes;
    const size_t channels = (size_t)l->in_vectors * lanes; /* 0 for the first layer, of one channel */
    const size_t positions = channels ? (size_t)(l->height + 2) * (l->width + 2) : 9;
    const size_t floats = positions * (channels ? channels : 1) * outputs;
    l->weight = aligned_new(floats * sizeof(float));
    l->bias = aligned_new(outputs * sizeof(float));
    if (!l->weight || !l->bias)
        return ENGINE_NO_MEMORY;
    memset(l->weight, 0, floats * sizeof(float));
    memset(l->bias, 0, outputs * sizeof(float));
    memcpy(l->bias, from->bias, from->out_channels * sizeof(float));
    *bytes += floats * sizeof(float);
    if (!channels)
        for (uint32_t o = 0; o < from->out_channels; o++)
            for (int place = 0; place < 9; place++)
                l->weight[place * outputs + o] = from->weight[o * 9 + place];
    else
        for (uint32_t first = 0; first < from->out_channels; first += 2 * lanes) {
            const uint32_t width = lanes * (l->vectors - first / lanes < 2 ? 1 : 2), left = from->out_channels - first;
            float *to = l->weight + first * channels;
            for (uint32_t i = 0; i < from->in_channels; i++)
                transform(to + (size_t)i * width, channels * outputs,
                          from->weight + ((size_t)first * from->in_channels + i) * 9, (size_t)from->in_channels * 9,
                          left < width ? left : width, l);
        }
    return 0;
}

/* Reserve a map of rows x cols pixels with its border, which reaches as far as the tiles of a reader do. */
static map_place reserve(size_t *floats, uint32_t rows, uint32_t cols, size_t channels, const winograd_layer *reader)
{
    const uint32_t tiled_rows = reader->tile_rows * reader->height, tiled_cols = reader->tile_cols * reader->width;
    const size_t height = (rows < tiled_rows ? tiled_rows : rows) + 2, width = (cols < tiled_cols ? tiled_cols : cols) + 2;
    const map_place place = {*floats, width * channels, channels, 0};
    *floats += odd_lines(height * place.row);
    return place;
}

static void to_image(const winograd_network *net, const float *image, float *maps)
{
    const map_place *place = &net->layer[0].in;
    for (uint32_t y = 0; y < net->rows; y++, image += net->cols) {
        float *to = maps + place->offset + (y + 1) * place->row + 1;
        for (uint32_t x = 0; x < net->cols; x++)
            to[x] = image[x] * net->scale + net->shift;
    }
}

/* The largest of the strips' maxima. */
static void to_embedding(const winograd_layer *last, uint32_t outputs, const float *maps, float *out)
{
    const float *maxima = maps + last->out.offset;
    const size_t channels = last->out.strip;
    for (uint32_t o = 0; o < outputs; o++) {
        float largest = maxima[o];
        for (uint32_t strip = 1; strip < last->strips; strip++)
            largest = maxima[strip * channels + o] > largest ? maxima[strip * channels + o] : largest;
        out[o] = largest;
    }
}

/* Step 0 fills in the image, the last one makes the embedding of the maxima, those between are the layers. */
static void compute(const network *net, uint32_t at, uint32_t item, uint32_t chunk, uint32_t chunks,
                    const window *where)
{
    const winograd_network *winograd = net->winograd;
    const winograd_layer *l = &winograd->layer[at - 1];
    if (at == 0) {
        to_image(winograd, where->image, where->maps);
    } else if (at == 1) {
        const uint32_t begin = item * FIRST_PAIRS, pairs = divide_up(l->rows, 2);
        net->level->first(l, where->maps, begin, begin + FIRST_PAIRS < pairs ? begin + FIRST_PAIRS : pairs);
    } else if (at <= winograd->layers) {
        const uint32_t blocks = divide_up(l->vectors, 2), end = blocks * (chunk + 1) / chunks * 2;
        const uint32_t begin = blocks * chunk / chunks * 2;
        if (begin < end)
            net->level->strip(l, where->maps, item, begin, end < l->vectors ? end : l->vectors, where->scratch);
    } else {
        to_embedding(l - 1, winograd->outputs, where->maps, where->out);
    }
}

/* Sizes of the layers, their steps, and the places of their maps; each map has a place of its own, so that its border
 * stays zero. */
static void set_geometry(network *net, const architecture *from)
{
    winograd_network *winograd = net->winograd;
    const uint32_t lanes = net->level->lanes;
    uint32_t rows = from->rows, cols = from->cols;
    for (uint32_t k = 0; k < winograd->layers; k++) {
        winograd_layer *l = &winograd->layer[k];
        const layer *shape = &from->layer[k];
        l->pool = shape->pool;
        l->last = k + 1 == winograd->layers;
        l->activation = shape->activation;
        l->has_skip = shape->skip != 0;
        l->rows = l->pool ? rows / 2 * 2 : rows;
        l->cols = l->pool ? cols / 2 * 2 : cols;
        l->vectors = divide_up(shape->out_channels, lanes);
        l->in_vectors = k ? winograd->layer[k - 1].vectors : 0;
        if (k == 0) {
            l->height = l->width = FIRST_BLOCK;
            l->tile_rows = divide_up(l->rows, FIRST_BLOCK);
            l->tile_cols = divide_up(l->cols, FIRST_BLOCK);
            net->step[1] = (step){.items = divide_up(divide_up(l->rows, 2), FIRST_PAIRS)};
        } else {
            set_tiles(l, lanes);
            const size_t positions = (l->height + 2) * (l->width + 2), scratch = positions * (l->in_position + l->position);
            net->scratch_floats = net->scratch_floats < scratch ? scratch : net->scratch_floats;
            net->step[k + 1] = (step){.items = l->strips, .divisible = 1};
        }
        rows = l->pool ? rows / 2 : rows;
        cols = l->pool ? cols / 2 : cols;
    }
    net->step[0] = net->step[winograd->layers + 1] = (step){.items = 1};
    winograd->layer[0].in = reserve(&net->map_floats, from->rows, from->cols, 1, &winograd->layer[0]);
    for (uint32_t k = 0; k < winograd->layers; k++) {
        winograd_layer *l = &winograd->layer[k];
        const uint32_t shrink = l->pool ? 2 : 1;
        const size_t channels = (size_t)l->vectors * lanes;
        if (l->last) {
            l->out = (map_place){net->map_floats, 0, 0, channels};
            net->map_floats += odd_lines(l->strips * channels);
        } else {
            l[1].in = l->out = reserve(&net->map_floats, l->rows / shrink, l->cols / shrink, channels, l + 1);
        }
        if (l->has_skip)
            l->skip = winograd->layer[k - from->layer[k].skip].out;
    }
}

int winograd_create(network *net, const architecture *from)
{
    winograd_network *winograd = net->winograd = calloc(1, sizeof *winograd + from->layers * sizeof *winograd->layer);
    net->steps = from->layers + 2;
    net->step = calloc(net->steps, sizeof *net->step);
    if (!winograd || !net->step)
        return ENGINE_NO_MEMORY;
    net->compute = compute;
    winograd->layers = from->layers;
    winograd->rows = from->rows;
    winograd->cols = from->cols;
    winograd->scale = from->scale;
    winograd->shift = from->shift;
    winograd->outputs = from->layer[from->layers - 1].out_channels;
    set_geometry(net, from);
    net->small = net->map_floats * sizeof(float) <= SMALL_BYTES;
    for (uint32_t k = 0; k < winograd->layers; k++)
        if (set_weights(&winograd->layer[k], &from->layer[k], net->level->lanes, &net->bytes))
            return ENGINE_NO_MEMORY;
    return 0;
}

void winograd_free(winograd_network *winograd)
{
    if (!winograd)
        return;
    for (uint32_t k = 0; k < winograd->layers; k++) {
        aligned_delete(winograd->layer[k].weight);
        aligned_delete(winograd->layer[k].bias);
    }
    free(winograd);
}

/* Convolutions by lists of non-zero weights: what the packing and the kernels share; not for callers.
 *
 * Planes are stored in strips: the rows of an image are cut into STRIPS strips of equal height, and a plane is
 * [strip row][column][strip], 64-byte aligned. A vector holds the same pixel of neighbouring strips, so that every tap of
 * a 3x3 kernel is an aligned load; only the rows that touch another strip need the strips moved by one.
 */
#ifndef EDGEL3_TAPS_H
#define EDGEL3_TAPS_H

#include "engine.h"

enum { STRIPS = 16 };

typedef struct {
    uint32_t offset; /* bytes into a packed block of input channels */
    float weight;
} tap;

/* Taps of one input channel and one output channel that run together, so that a pixel is loaded once for all of them:
 * where in the kernel each lies, from the first. The last shape takes what the others leave. */
enum { TAP_SHAPES = 4, MOST_TAPS = 3 };
typedef struct {
    int taps, row[MOST_TAPS], column[MOST_TAPS];
} tap_shape;
static const tap_shape TAP_SHAPE[TAP_SHAPES] = {
    {3, {0, 0, 0}, {0, 1, 2}}, {2, {0, 0}, {0, 1}}, {2, {0, 1}, {0, 0}}, {1, {0}, {0}}};

/* The taps of one output channel in one block of input channels: groups of each shape. */
typedef struct {
    uint16_t groups[TAP_SHAPES];
} tap_list;

enum tap_output {
    TAPS_RELU,       /* planes of the same size */
    TAPS_RELU_LARGE, /* the same, but together they are larger than the caches */
    TAPS_RELU_POOL,  /* 2x2 maxima */
    TAPS_MAXIMUM,    /* no ReLU yet; one vector per tile and channel: the maximum over the tile */
    TAPS_OUTPUTS
};

/* One pass over the image: a sparse convolution and what follows it. */
typedef struct {
    uint32_t cin, cout;
    uint32_t rows, cols;           /* of the input plane, in strip rows and columns */
    uint32_t out_rows, out_cols;   /* of the output plane */
    uint32_t tile_rows, tile_cols; /* pixels of a tile */
    uint32_t row_tiles, col_tiles;
    int narrow;     /* of the last tile of a row, at most the left half is inside the plane */
    uint32_t block; /* input channels that are packed at a time */
    uint32_t blocks;
    int shapes; /* whether there are others than single taps */
    enum tap_output output;
    tap *taps;          /* of block 0: output channel 0, 1, ...; of block 1: ... */
    tap_list *list;     /* [blocks][cout] */
    uint32_t *start;    /* [blocks][cout] into taps: where each list begins */
    float *bias;        /* [cout] */
    const float *first; /* [cin][9] + [cin]: convolution 1, computed while packing; or NULL */
} tap_stage;

typedef struct taps_network taps_network;

#endif

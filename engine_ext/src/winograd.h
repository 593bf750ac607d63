/* Convolutions by Winograd's minimal filtering: what the packing and the kernels share; not for callers.
 *
 * A map is stored by pixels, [row][column][channel], its channels filled up with zeros to whole vectors. Around it lies
 * a border of zeros, one pixel wide above and to the left, and below and to the right as wide as whole tiles need, so
 * that reading asks for no bounds; only pixels of the map are ever written.
 *
 * A tile of outputs takes two more rows and columns of inputs. Each of those `positions` is a matrix product of its own:
 * transformed input [channel vector][tile][lane], weights [block of two filter vectors][channel][2][lane] (the last block
 * has one where their number is odd), sums [filter vector][tile][lane].
 */
#ifndef EDGEL3_WINOGRAD_H
#define EDGEL3_WINOGRAD_H

#include "engine.h"

enum { MOST_OUTPUTS = 6 }; /* of a tile, in a row or a column */

/* A map in the memory of a window: floats to the first pixel of its border, of a row, of a pixel. Of the last layer, the
 * maxima of each strip: floats to the first, of a strip. */
typedef struct {
    size_t offset, row, pixel, strip;
} map_place;

typedef struct {
    uint32_t rows, cols;           /* of the map that the convolution computes; an odd one is cut where pooling follows */
    uint32_t in_vectors, vectors;  /* of the channels */
    uint32_t height, width;        /* of a tile of outputs: 2, 4 or 6; of the first layer, what its blocks fit in */
    uint32_t tile_rows, tile_cols; /* tiles of the map */
    uint32_t strip, strips;        /* tiles that are computed together; how many such strips there are */
    size_t in_position, position;  /* floats of a position's transformed input and sums */
    int activation, pool, last;
    int has_skip;
    map_place in, out, skip;
    float *weight;           /* [position][in channels * channels]; of the first layer [9][channels] */
    float *bias;             /* [channels], zero where they were filled up */
} winograd_layer;

typedef struct winograd_network winograd_network;

#endif

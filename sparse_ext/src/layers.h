/* What the network, the job and the kernels share; not for callers. */
#ifndef EDGEL3_LAYERS_H
#define EDGEL3_LAYERS_H

#include "sparse.h"

typedef struct {
  uint32_t offset;  /* bytes into a packed block of input channels */
  float weight;
} edgel3_tap;

/* Taps of one input channel and one output channel that run together, so that a pixel is loaded once for all of them:
   where in the kernel each lies, from the first. The last shape takes what the others leave. */
enum { EDGEL3_SHAPES = 4, EDGEL3_MOST_TAPS = 3 };
typedef struct {
  int taps, row[EDGEL3_MOST_TAPS], column[EDGEL3_MOST_TAPS];
} edgel3_shape;
static const edgel3_shape EDGEL3_SHAPE[EDGEL3_SHAPES] = {
    {3, {0, 0, 0}, {0, 1, 2}}, {2, {0, 0}, {0, 1}}, {2, {0, 1}, {0, 0}}, {1, {0}, {0}}};

/* The taps of one output channel in one block of input channels: groups of each shape. */
typedef struct {
  uint16_t groups[EDGEL3_SHAPES];
} edgel3_list;

enum edgel3_output {
  EDGEL3_RELU,       /* planes of the same size */
  EDGEL3_RELU_LARGE, /* the same, but together they are larger than the caches */
  EDGEL3_RELU_POOL,  /* 2x2 maxima */
  EDGEL3_MAXIMUM,    /* no ReLU; one vector per tile and channel: the maximum over the tile */
  EDGEL3_OUTPUTS
};

/* One pass over the image: a sparse convolution and what follows it. */
typedef struct {
  uint32_t cin, cout;
  uint32_t rows, cols;              /* of the input plane, in strip rows and columns */
  uint32_t out_rows, out_cols;      /* of the output plane */
  uint32_t tile_rows, tile_cols;    /* pixels of a tile */
  uint32_t row_tiles, col_tiles;
  int narrow;                       /* of the last tile of a row, at most the left half is inside the plane */
  uint32_t block;                   /* input channels that are packed at a time */
  uint32_t blocks;
  int shapes;                       /* whether there are others than single taps */
  enum edgel3_output output;
  edgel3_tap *taps;                 /* of block 0: output channel 0, 1, ...; of block 1: ... */
  edgel3_list *list;                /* [blocks][cout] */
  uint32_t *start;                  /* [blocks][cout] into taps: where each list begins */
  float *bias;                      /* [cout] */
  const float *first;               /* [cin][9] + [cin]: convolution 1, computed while packing; or NULL */
} edgel3_stage;

/* The kernels of one SIMD level. */
typedef struct {
  const char *name;
  int (*supported)(void);
  uint32_t lanes;                   /* of one vector */
  /* Compute one tile, part `chunk` of `chunks` of the output channels. `scratch` holds
     scratch_floats floats. */
  void (*tile)(const edgel3_stage *stage, uint32_t row_tile, uint32_t col_tile, uint32_t chunk, uint32_t chunks,
               const float *in, float *out, float *scratch);
} edgel3_kernels;

struct edgel3_network {
  const edgel3_kernels *kernels;
  float scale, shift;
  edgel3_stage stage[EDGEL3_STAGES];
  float *first;                     /* weights [cout][9], then bias [cout], of convolution 1 */
  size_t scratch_floats;            /* of one thread */
  size_t plane_floats[2];           /* of one window: output of the even stages and input image; of the odd stages */
  size_t bytes;
};

extern const edgel3_kernels edgel3_kernels_baseline, edgel3_kernels_avx2, edgel3_kernels_avx512, edgel3_kernels_neon;

#endif

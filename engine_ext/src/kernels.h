/* The loops that every SIMD level has its own build of. */
#ifndef EDGEL3_KERNELS_H
#define EDGEL3_KERNELS_H

#include "cpu.h"
#include "engine.h"
#include "taps.h"
#include "winograd.h"

typedef struct {
    const char *name;
    uint32_t lanes; /* floats of one vector */

    /* By lists of taps: one tile, chunk `chunk` of `chunks` of its output channels. */
    void (*tile)(const tap_stage *stage, uint32_t row_tile, uint32_t col_tile, uint32_t chunk, uint32_t chunks,
                 const float *in, float *out, float *scratch);

    /* The first convolution of a dense network, from an image of one channel: pairs of rows [begin, end). */
    void (*first)(const winograd_layer *layer, float *maps, uint32_t begin, uint32_t end);

    /* Any other: one strip of tiles, vectors of output channels [begin, end), where begin is even. */
    void (*strip)(const winograd_layer *layer, float *maps, uint32_t strip, uint32_t begin, uint32_t end,
                  float *scratch);
} kernels;

extern const kernels kernels_baseline;
#ifdef HAVE_X86_LEVELS
extern const kernels kernels_avx2, kernels_avx512;
#endif
#ifdef HAVE_NEON_LEVEL
extern const kernels kernels_neon;
#endif

/* The level at an index of engine_level_name. */
const kernels *engine_level(int index);

#endif

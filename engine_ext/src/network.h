/* What the scheduler knows of a network, whatever the method: steps of independent items; not for callers. */
#ifndef EDGEL3_NETWORK_H
#define EDGEL3_NETWORK_H

#include "kernels.h"

/* A step has to be finished before the next one begins. Its items can be computed in any order, by any thread. */
typedef struct {
    uint32_t items;
    uint32_t small;   /* the last so many of them are about half the work of the others */
    int divisible;    /* whether an item can be cut in chunks of output channels */
} step;

/* Where one window is computed. */
typedef struct {
    const float *image;
    float *maps;    /* map_floats */
    float *scratch; /* scratch_floats, of the thread */
    float *out;
} window;

struct network {
    const kernels *level;
    size_t image_floats, out_floats;
    size_t map_floats;     /* of one window */
    size_t scratch_floats; /* of one thread */
    int small;             /* a window is so little work and memory that a thread had better compute it alone */
    size_t bytes;          /* of the weights */
    uint32_t steps;
    step *step;
    /* Chunk `chunk` of `chunks` of an item. What is computed does not depend on the number of chunks. */
    void (*compute)(const network *net, uint32_t step, uint32_t item, uint32_t chunk, uint32_t chunks,
                    const window *where);
    taps_network *taps; /* one of these */
    winograd_network *winograd;
};

/* Each makes its part of a network; 0, ENGINE_NO_MEMORY or ENGINE_BAD_SIZE. */
int taps_create(network *net, const architecture *from);
void taps_free(taps_network *taps);
int winograd_create(network *net, const architecture *from);
void winograd_free(winograd_network *winograd);

#endif

/* Networks of 3x3 convolutions on images, in C: by lists of non-zero weights, or by Winograd's minimal filtering.
 *
 * Nothing here touches Python; the caller owns every array. What a network is comes as numbers at run time: any count of
 * 'same' convolutions after one another from one channel on, each with an activation, perhaps the output of an earlier
 * one added before it, perhaps 2x2 max-pooling after it; then the maximum of each channel.
 */
#ifndef EDGEL3_ENGINE_H
#define EDGEL3_ENGINE_H

#include <stddef.h>
#include <stdint.h>

enum { ENGINE_NO_MEMORY = -1, ENGINE_BAD_SIZE = -2 }; /* what calls that can fail return in place of 0 */

enum { ENGINE_LINEAR, ENGINE_RELU, ENGINE_SILU };

typedef struct {
    uint32_t in_channels, out_channels;
    const float *weight; /* [out_channels][in_channels][3][3] */
    const float *bias;   /* [out_channels] */
    int activation;
    uint32_t skip; /* adds the output of the layer so many places back before the activation; 0: nothing */
    int pool;      /* 2x2 max-pooling after the activation; the last of an odd number of rows or columns is dropped */
} layer;

typedef struct {
    uint32_t rows, cols; /* of an image */
    float scale, shift;  /* image * scale + shift is what the first layer takes */
    uint32_t layers;
    const layer *layer;
} architecture;

enum {
    ENGINE_TAPS,    /* skips the weights that are zero: for pruned networks of images that can be cut in strips */
    ENGINE_WINOGRAD /* for any */
};

typedef struct network network;

/* Copies the weights into the form that the kernels of a level read; level is an index of engine_level_name.
 * ENGINE_BAD_SIZE where the method cannot run such a network. */
int network_create(network **to, const architecture *from, int method, int level);
void network_free(network *net);
size_t network_bytes(const network *net); /* of the packed weights */

/* Memory of one job at a time: the maps of the windows that are computed at once by so many threads. NULL where memory
 * runs out. */
typedef struct workspace workspace;
workspace *workspace_create(const network *net, size_t group, size_t threads);
void workspace_free(workspace *space);

/* A job embeds n images [n][rows][cols] into out [n][channels of the last layer]. NULL where memory runs out. */
typedef struct job job;
job *job_create(const network *net, workspace *space, const float *images, float *out, size_t n);
void job_free(job *work);

/* Up to as many threads as the workspace is for may call this on one job; it returns when all work is done. A thread
 * that comes late finds nothing left and touches neither images, out nor workspace. */
void job_work(job *work);

/* Names of the SIMD levels that this machine has, from the slowest to the fastest; NULL after the last. */
const char *engine_level_name(int index);

#endif

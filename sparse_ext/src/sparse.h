/* Sparse inference of the network of spec.NETWORKS["sparse"] on log-mel images.

   Planes are stored in strips: the rows of an image are cut into EDGEL3_LANES strips of equal height, and a plane is
   [strip row][column][strip], float32, 64-byte aligned. A vector holds the same pixel of neighbouring strips, so that
   every tap of a 3x3 kernel is an aligned load; only the rows that touch another strip need the strips moved by one. */
#ifndef EDGEL3_SPARSE_H
#define EDGEL3_SPARSE_H

#include <stddef.h>
#include <stdint.h>

enum {
  EDGEL3_LANES = 16,    /* strips of an image */
  EDGEL3_LAYERS = 8,    /* convolutions */
  EDGEL3_STAGES = 7,    /* passes over the image: convolutions 1 and 2 are one */
  EDGEL3_MELS = 256,    /* rows of an image */
  EDGEL3_FRAMES = 199   /* columns of an image */
};

/* A convolution as it is packed: the non-zero weights of each output channel, in rising order of index. */
typedef struct {
  uint32_t cin, cout;
  const uint32_t *indptr;  /* [cout + 1], into index and weight */
  const uint32_t *index;   /* input channel * 9 + row * 3 + column of the kernel */
  const float *weight;
  const float *bias;       /* [cout] */
} edgel3_convolution;

typedef struct edgel3_network edgel3_network;
typedef struct edgel3_job edgel3_job;

/* Names of the SIMD levels that this build and this processor have, best last, then NULL. */
const char *const *edgel3_levels(void);

/* Copy `layers` into the form that the kernels of `level` read; NULL if memory ran out or the level is unknown. */
edgel3_network *edgel3_network_new(const edgel3_convolution layers[EDGEL3_LAYERS], float scale, float shift,
                                   const char *level);
void edgel3_network_free(edgel3_network *network);
size_t edgel3_network_bytes(const edgel3_network *network);

/* Bytes of the planes of `windows` windows that are computed at a time by `threads` threads. */
size_t edgel3_workspace_bytes(const edgel3_network *network, size_t windows, size_t threads);

/* A job embeds `n` images [n][EDGEL3_MELS][EDGEL3_FRAMES] into out [n][cout of the last convolution], `group` at a
   time, in `workspace` (64-byte aligned, of at least as many windows and threads), cut for `threads` threads. NULL if
   memory ran out. */
edgel3_job *edgel3_job_new(const edgel3_network *network, const float *images, float *out, size_t n, size_t group,
                           size_t threads, void *workspace);
void edgel3_job_free(edgel3_job *job);

/* Up to `threads` threads may call this on one job; it returns when all work is done. A thread that comes late finds
   nothing left and touches neither images, out nor workspace. */
void edgel3_job_work(edgel3_job *job);

#endif

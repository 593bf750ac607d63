/* What a filter holds: shared by its design (kaiser.c) and its use (resample.c). */
#ifndef EDGEL3_RESAMPLE_H
#define EDGEL3_RESAMPLE_H

#include "kernels.h"

#define TABLE_STEPS 512 /* table entries per zero crossing */

struct kaiser_filter {
    const kernels *kernels;
    double ratio; /* new rate / old rate */
    double scale; /* min(1, ratio) */
    int step;     /* table entries per input sample */
    int reach;    /* input samples that an output reads on each side, a multiple of TAPS_MULTIPLE */
    int slack;    /* by how much the taps of an odd output may be shifted against its even neighbour's samples */
    int phases;   /* after how many outputs, an even number, the same taps come again; 0 where that is not worth it */
    float *rows;  /* the memory of the four arrays below: (step + 1, reach) each */
    float *left, *left_slope, *right, *right_slope;
};

#endif

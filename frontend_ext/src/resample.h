/* What a filter holds: shared by its design (kaiser.c) and its use (resample.c). */
#ifndef EDGEL3_RESAMPLE_H
#define EDGEL3_RESAMPLE_H

#include "kernels.h"

#define TABLE_STEPS 512 /* table entries per zero crossing */

struct kaiser_filter {
    const kernels *kernels;
    double ratio;   /* new rate / old rate */
    double scale;   /* min(1, ratio) */
    int step;       /* table entries per input sample; rows are numbered from 0 to step */
    int reach;      /* input samples that an output reads on each side, a multiple of TAPS_MULTIPLE */
    double *memory; /* of the four arrays below: (step + 1, reach) each */
    double *left, *left_slope, *right, *right_slope;
};

#endif

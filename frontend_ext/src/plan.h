/* What a plan holds: shared by its construction (plan.c) and its use (framing.c). */
#ifndef EDGEL3_PLAN_H
#define EDGEL3_PLAN_H

#include "kernels.h"

struct mel_plan {
    mel_spec spec;
    const kernels *kernels;
    mel_tables tables; /* views of the arrays below, which the plan owns */
    double *taper, *first, *second, *split, *band_weights;
    int *band_first, *band_length;
};

#endif

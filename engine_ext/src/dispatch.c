/* Which SIMD levels this machine has. */
#include "kernels.h"

const kernels *engine_level(int index)
{
    const kernels *levels[3] = {&kernels_baseline};
    int count = 1;
#ifdef HAVE_X86_LEVELS
    if (cpu_has_avx2())
        levels[count++] = &kernels_avx2;
    if (cpu_has_avx512())
        levels[count++] = &kernels_avx512;
#endif
#ifdef HAVE_NEON_LEVEL
    levels[count++] = &kernels_neon;
#endif
    return index >= 0 && index < count ? levels[index] : NULL;
}

const char *engine_level_name(int index)
{
    const kernels *level = engine_level(index);
    return level ? level->name : NULL;
}

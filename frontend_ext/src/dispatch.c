/* Which SIMD levels this machine has. */
#include "kernels.h"

const kernels *frontend_level(int index)
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

const char *frontend_level_name(int index)
{
    const kernels *level = frontend_level(index);
    return level ? level->name : NULL;
}

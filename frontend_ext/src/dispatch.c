/* Which SIMD levels this machine has. */
#include "kernels.h"

#ifdef HAVE_X86_LEVELS
static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

const kernels *frontend_level(int index)
{
    const kernels *levels[3] = {&kernels_baseline};
    int count = 1;
#ifdef HAVE_X86_LEVELS
    if (has_avx2())
        levels[count++] = &kernels_avx2;
    if (has_avx512())
        levels[count++] = &kernels_avx512;
#endif
    return index >= 0 && index < count ? levels[index] : NULL;
}

const char *frontend_level_name(int index)
{
    const kernels *level = frontend_level(index);
    return level ? level->name : NULL;
}

/* Which SIMD levels this machine has.
 *
 * CPUID is asked directly: __builtin_cpu_supports says no to everything in builds by zig, whose run-time library never
 * fills in the model it reads. A virtual machine takes microseconds to answer, so ask once, not per call.
 */
#include "kernels.h"

#ifdef HAVE_X86_LEVELS
#include <cpuid.h>

/* Bits of CPUID leaf 1 ECX, leaf 7 EBX, and of the register XCR0: state that the operating system saves. */
#define FMA_BIT (1u << 12)
#define OSXSAVE_BIT (1u << 27)
#define AVX_BIT (1u << 28)
#define AVX2_BIT (1u << 5)
#define AVX512_BITS (1u << 16 | 1u << 17 | 1u << 31) /* F, DQ, VL */
#define YMM_STATE 0x06u
#define ZMM_STATE 0xE6u

/* 0 for the baseline alone, 1 with AVX2 and FMA, 2 with AVX-512 too. */
static int best_level(void)
{
    unsigned eax, ebx, ecx, edx, state;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & (FMA_BIT | OSXSAVE_BIT | AVX_BIT)) !=
                                                       (FMA_BIT | OSXSAVE_BIT | AVX_BIT))
        return 0;
    __asm__("xgetbv" : "=a"(state), "=d"(edx) : "c"(0));
    if ((state & YMM_STATE) != YMM_STATE || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(ebx & AVX2_BIT))
        return 0;
    return (state & ZMM_STATE) == ZMM_STATE && (ebx & AVX512_BITS) == AVX512_BITS ? 2 : 1;
}
#endif

const kernels *frontend_level(int index)
{
#ifdef HAVE_X86_LEVELS
    static const kernels *const levels[] = {&kernels_baseline, &kernels_avx2, &kernels_avx512};
    return index >= 0 && index <= best_level() ? levels[index] : NULL;
#else
    return index == 0 ? &kernels_baseline : NULL;
#endif
}

const char *frontend_level_name(int index)
{
    const kernels *level = frontend_level(index);
    return level ? level->name : NULL;
}

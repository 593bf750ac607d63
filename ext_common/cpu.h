/* Which SIMD levels there are, and the manner of the two extensions, NAME = frontend and engine:
 *
 * - NAME_ext/_NAME.pyx holds memory, releases the GIL and makes one call; _NAME_c.pxd declares src/NAME.h, which has all
 *   that is called. A call that can fail returns a status: 0, NAME_NO_MEMORY or NAME_BAD_SIZE, which the .pyx raises.
 *   C checks the sizes that it was built for itself, where an object is made: never by assert.
 * - The loops stand once, in kernels_body.h, which kernels_baseline.c, _avx2.c, _avx512.c and _neon.c include after they
 *   defined their vectors. Each gives a table `const kernels kernels_LEVEL`; kernels.h has the type. dispatch.c has
 *   NAME_level(index), the tables that this machine can run from the slowest to the fastest, and NAME_level_name(index).
 * - A type is called what it is (mel_plan), its functions type_verb (mel_plan_create, mel_plan_free), any other NAME_...;
 *   macros and enum values are UPPER_CASE. No other prefix: nothing is exported. Guards of headers are EDGEL3_FILE_H.
 * - 4 spaces, 120 columns, a function's brace on its own line, 'if (' with braces where it is not a single statement.
 */
#ifndef EDGEL3_CPU_H
#define EDGEL3_CPU_H

#include "cpu_registers.h"

/* The levels beyond kernels_baseline that this compiler can build. */
#if defined(__GNUC__) || defined(__clang__)
#if defined(__x86_64__)
#define HAVE_X86_LEVELS
#elif defined(__aarch64__)
#define HAVE_NEON_LEVEL
#endif
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define CPU_BIT(registers, name) ((registers)[CPU_##name / 32] >> CPU_##name % 32 & 1)
enum { /* 32 * register + bit, of leaf 1 and of leaf 7 */
    CPU_FMA = 64 + 12,
    CPU_OSXSAVE = 64 + 27,
    CPU_AVX2 = 32 + 5,
    CPU_AVX512F = 32 + 16,
    CPU_AVX512DQ = 32 + 17,
    CPU_AVX512VL = 32 + 31,
    CPU_SAVES_YMM = 0x06, /* of XCR0: the registers that the operating system saves */
    CPU_SAVES_ZMM = 0xE6,
};

/* AVX2 and FMA, by the processor and by the operating system. */
static inline int cpu_has_avx2(void)
{
    unsigned one[4], seven[4];
    cpu_leaf(1, one);
    cpu_leaf(7, seven);
    return CPU_BIT(one, OSXSAVE) && (cpu_xcr0() & CPU_SAVES_YMM) == CPU_SAVES_YMM && CPU_BIT(one, FMA) &&
           CPU_BIT(seven, AVX2);
}

/* AVX-512 F, DQ and VL, with AVX2 and FMA. */
static inline int cpu_has_avx512(void)
{
    unsigned seven[4];
    cpu_leaf(7, seven);
    return cpu_has_avx2() && (cpu_xcr0() & CPU_SAVES_ZMM) == CPU_SAVES_ZMM && CPU_BIT(seven, AVX512F) &&
           CPU_BIT(seven, AVX512DQ) && CPU_BIT(seven, AVX512VL);
}
#endif

#endif

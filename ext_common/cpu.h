/* Which vector instructions an x86-64 processor has and its operating system saves, by CPUID and XGETBV.
 *
 * Not by __builtin_cpu_supports: MSVC has no such thing, and the compiler of the released wheels (zig's clang) links a
 * stub of it that always says no.
 */
#ifndef EDGEL3_CPU_H
#define EDGEL3_CPU_H

#if defined(__x86_64__) || defined(_M_X64)
#ifdef _MSC_VER
#include <intrin.h>
#else
#include <cpuid.h>
#endif

/* Registers EAX, EBX, ECX, EDX of a leaf; zeros where the processor does not have it. */
static inline void cpu_leaf(unsigned leaf, unsigned registers[4])
{
#ifdef _MSC_VER
    int values[4];
    __cpuid(values, 0);
    if ((unsigned)values[0] < leaf)
        values[0] = values[1] = values[2] = values[3] = 0;
    else
        __cpuidex(values, (int)leaf, 0);
    for (int i = 0; i < 4; i++)
        registers[i] = (unsigned)values[i];
#else
    registers[0] = registers[1] = registers[2] = registers[3] = 0;
    __get_cpuid_count(leaf, 0, &registers[0], &registers[1], &registers[2], &registers[3]);
#endif
}

/* Whether the operating system saves all the registers of the states in mask (bits of XCR0). */
static inline int cpu_saves(unsigned mask)
{
    unsigned registers[4], low;
    cpu_leaf(1, registers);
    if (!(registers[2] >> 27 & 1)) /* OSXSAVE */
        return 0;
#ifdef _MSC_VER
    low = (unsigned)_xgetbv(0);
#else
    unsigned high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
#endif
    return (low & mask) == mask;
}

/* AVX2 and FMA. */
static inline int cpu_has_avx2(void)
{
    unsigned one[4], seven[4];
    cpu_leaf(1, one);
    cpu_leaf(7, seven);
    return cpu_saves(0x06) && one[2] >> 12 & 1 && seven[1] >> 5 & 1;
}

/* AVX-512 F, DQ and VL, with AVX2 and FMA. */
static inline int cpu_has_avx512(void)
{
    unsigned seven[4];
    cpu_leaf(7, seven);
    return cpu_has_avx2() && cpu_saves(0xE6) && seven[1] >> 16 & 1 && seven[1] >> 17 & 1 && seven[1] >> 31 & 1;
}
#endif

#endif

/* What an x86-64 processor says about itself.
 *
 * Not by __builtin_cpu_supports: MSVC has no such thing, and the compiler of the released wheels (zig's clang) links a
 * stub of it that always says no.
 */
#ifndef EDGEL3_CPU_REGISTERS_H
#define EDGEL3_CPU_REGISTERS_H

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

/* XCR0: which registers the operating system saves. Faults unless leaf 1 has OSXSAVE. */
static inline unsigned cpu_xcr0(void)
{
#ifdef _MSC_VER
    return (unsigned)_xgetbv(0);
#else
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
#endif
}
#endif

#endif

/* What differs between compilers: inlining, alignment, loop unrolling, atomic counters, aligned memory. */
#ifndef EDGEL3_COMPILER_H
#define EDGEL3_COMPILER_H

#include <stddef.h>
#include <stdlib.h>

#if defined(_MSC_VER)
#include <intrin.h>
#include <malloc.h>
#define ALWAYS_INLINE static __forceinline
#define NOINLINE __declspec(noinline)
#define ALIGNED64 __declspec(align(64))
#else
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define ALIGNED64 __attribute__((aligned(64)))
#endif

/* Keeps the sum of a base and an offset in one register: an indexed address costs a fused operation its fusion. */
#if defined(__GNUC__)
#define FORGET(array) __asm__("" : "+m"(array)) /* values loaded from it are not kept, which would spill registers */
#define HIDE(pointer) __asm__("" : "+r"(pointer))
#else
#define FORGET(array) (void)(array)
#define HIDE(pointer) (void)(pointer)
#endif

/* Asks for a line that is going to be written; for a line that is going to be read later. */
#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address, 1)
#define PREFETCH_LEVEL2(address) __builtin_prefetch(address, 0, 2)
#define PREFETCH_WEIGHT(address) __builtin_prefetch(address, 0, 3)
#else
#define PREFETCH(address) (void)(address)
#define PREFETCH_LEVEL2(address) (void)(address)
#define PREFETCH_WEIGHT(address) (void)(address)
#define PREFETCH_WEIGHT(address) (void)(address)
#endif

#if defined(__SANITIZE_ADDRESS__)
#define UNROLL /* compilers would instrument the unrolled loops for many minutes */
#elif defined(__clang__)
#define UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 16")
#else
#define UNROLL
#endif

/* Keeps a loop of a known number of turns a loop. */
#if defined(__clang__)
#define NO_UNROLL _Pragma("nounroll")
#elif defined(__GNUC__)
#define NO_UNROLL _Pragma("GCC unroll 1")
#else
#define NO_UNROLL
#endif

#if defined(_WIN32)
#include <windows.h>
#define YIELD() SwitchToThread()
#else
#include <sched.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#define YIELD() sched_yield()
#endif

typedef volatile long counter;

#if defined(_MSC_VER)
static inline long counter_increment(counter *counter)
{
    return _InterlockedIncrement(counter) - 1;
}
static inline long counter_read(counter *counter)
{
    return _InterlockedExchangeAdd(counter, 0);
}
#else
static inline long counter_increment(counter *counter)
{
    return __atomic_fetch_add(counter, 1, __ATOMIC_ACQ_REL);
}
static inline long counter_read(counter *counter)
{
    return __atomic_load_n(counter, __ATOMIC_ACQUIRE);
}
#endif

static inline void *aligned_new(size_t bytes)
{
#if defined(_WIN32)
    return _aligned_malloc(bytes, 64);
#else
    const size_t huge_page = (size_t)2 << 20;
    void *memory = NULL;
    if (posix_memalign(&memory, bytes < huge_page ? 64 : huge_page, bytes))
        return NULL;
#if defined(__linux__)
    if (bytes >= huge_page)
        madvise(memory, bytes, MADV_HUGEPAGE); /* tiles touch many pages; without it, still right */
#endif
    return memory;
#endif
}

static inline void aligned_delete(void *memory)
{
#if defined(_WIN32)
    _aligned_free(memory);
#else
    free(memory);
#endif
}

#endif

/* What differs between compilers: inlining, alignment, loop unrolling, atomic counters, aligned memory. */
#ifndef EDGEL3_COMPILER_H
#define EDGEL3_COMPILER_H

#include <stddef.h>
#include <stdlib.h>

#if defined(_MSC_VER)
#include <intrin.h>
#include <malloc.h>
#define ALWAYS_INLINE static __forceinline
#define ALIGNED64 __declspec(align(64))
#else
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define ALIGNED64 __attribute__((aligned(64)))
#endif

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 16")
#else
#define UNROLL
#endif

#if defined(_WIN32)
#include <windows.h>
#define YIELD() SwitchToThread()
#else
#include <sched.h>
#define YIELD() sched_yield()
#endif

typedef volatile long edgel3_counter;

#if defined(_MSC_VER)
static inline long counter_increment(edgel3_counter *counter) { return _InterlockedIncrement(counter) - 1; }
static inline long counter_read(edgel3_counter *counter) { return _InterlockedExchangeAdd(counter, 0); }
#else
static inline long counter_increment(edgel3_counter *counter) {
  return __atomic_fetch_add(counter, 1, __ATOMIC_ACQ_REL);
}
static inline long counter_read(edgel3_counter *counter) { return __atomic_load_n(counter, __ATOMIC_ACQUIRE); }
#endif

static inline void *aligned_new(size_t bytes) {
#if defined(_WIN32)
  return _aligned_malloc(bytes, 64);
#else
  void *memory = NULL;
  return posix_memalign(&memory, 64, bytes) ? NULL : memory;
#endif
}

static inline void aligned_delete(void *memory) {
#if defined(_WIN32)
  _aligned_free(memory);
#else
  free(memory);
#endif
}

#endif

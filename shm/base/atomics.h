/* SPDX-License-Identifier: Apache-2.0 */
/* C11 atomics with the order in the name. Every access to memory that two threads or processes share goes through these,
 * so that the interleaving tests can replace them: with MR_ATOMICS_SHIM each becomes a call into the test's scheduler,
 * which may switch threads or stop a "process" at any of them. */
#ifndef MR_BASE_ATOMICS_H
#define MR_BASE_ATOMICS_H

#include <stdatomic.h>
#include <stdint.h>

#ifdef MR_ATOMICS_SHIM
void mr_shim_step(const void *address, char kind); /* 'l' before a load, 's' before a store, 'r' before a read-modify-write, 'f' fence */
#else
#define mr_shim_step(address, kind) ((void)0)
#endif

#define mr_load_relaxed(p)  (mr_shim_step((const void *)(uintptr_t)(p), 'l'), atomic_load_explicit((p), memory_order_relaxed))
#define mr_load_acquire(p)  (mr_shim_step((const void *)(uintptr_t)(p), 'l'), atomic_load_explicit((p), memory_order_acquire))
#define mr_store_relaxed(p, v) (mr_shim_step((const void *)(uintptr_t)(p), 's'), atomic_store_explicit((p), (v), memory_order_relaxed))
#define mr_store_release(p, v) (mr_shim_step((const void *)(uintptr_t)(p), 's'), atomic_store_explicit((p), (v), memory_order_release))
#define mr_fetch_add_relaxed(p, v) \
    (mr_shim_step((const void *)(uintptr_t)(p), 'r'), atomic_fetch_add_explicit((p), (v), memory_order_relaxed))
#define mr_exchange_acq_rel(p, v) \
    (mr_shim_step((const void *)(uintptr_t)(p), 'r'), atomic_exchange_explicit((p), (v), memory_order_acq_rel))
#define mr_compare_exchange(p, expected, desired) /* acq_rel on success, acquire on failure; strong */ \
    (mr_shim_step((const void *)(uintptr_t)(p), 'r'), \
     atomic_compare_exchange_strong_explicit((p), (expected), (desired), memory_order_acq_rel, memory_order_acquire))
#define mr_fence_seq_cst() (mr_shim_step(NULL, 'f'), atomic_thread_fence(memory_order_seq_cst))

/** Tell the core that this is a spin loop. */
static inline void mr_cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/** Ask for a cache line that is about to be read. A hint; any address. (Of a function that is nothing else GCC drops the builtin as without effect.) */
static inline void mr_prefetch_read(const void *address)
{
#if defined(__x86_64__)
    __asm__ __volatile__("prefetcht0 %0" : : "m"(*(const char *)address));
#else
    __builtin_prefetch(address);
#endif
}

/** Ask for a cache line that is about to be written, so that the stores do not wait for it one after the other. A hint; any address. */
static inline void mr_prefetch_write(const void *address)
{
#if defined(__x86_64__)
    __asm__ __volatile__("prefetchw %0" : : "m"(*(const char *)address)); /* the builtin asks for it shared unless built for newer processors */
#else
    __builtin_prefetch(address, 1);
#endif
}

#endif

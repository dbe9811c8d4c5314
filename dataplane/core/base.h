/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What every core header stands on: fixed-width types, byte order, reads of shared words.
 *
 * The core is compiled three times: by clang for the BPF target, by g++ under the DPDK headers, and by g++ for tests,
 * `lbctl explain` and fuzzing. It includes <linux/types.h> and nothing else, and calls nothing but what
 * dataplane/core/access.h says the including engine supplies. */
#ifndef FL_BASE_H
#define FL_BASE_H

#include <linux/types.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#define FL_INLINE static __always_inline

#define fl_likely(x) __builtin_expect(!!(x), 1)
#define fl_unlikely(x) __builtin_expect(!!(x), 0)

#ifdef __cplusplus
#define FL_ASSERT(condition, text) static_assert(condition, text)
#else
#define FL_ASSERT(condition, text) _Static_assert(condition, text)
#endif

/* The tables are shared between a program and userspace of one machine; words such as the next hop's pack bytes so
 * that a little-endian store of them is already in network order. */
FL_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "Fairlead supports little-endian machines only");

#define fl_htons(x) ((__be16)__builtin_bswap16((__u16)(x)))
#define fl_ntohs(x) ((__u16)__builtin_bswap16((__u16)(x)))
#define fl_htonl(x) ((__be32)__builtin_bswap32((__u32)(x)))
#define fl_ntohl(x) ((__u32)__builtin_bswap32((__u32)(x)))

/* A word that another thread may store while we read it (DESIGN section 4, "Publishing").
 * fl_read_once: the value alone matters. fl_compare_exchange: true when the word
 * was `from`, and is `to` now. fl_read_id: the value is used as an index, and what it names was written
 * before it; the address dependency orders the two reads on every machine that Linux runs on, and "consume" (which
 * compilers strengthen to acquire; free on x86-64) tells ThreadSanitizer so. clang 14's BPF backend has no
 * __atomic_load_n, so there both are volatile loads.
 * fl_exchange_in_turn, fl_read_in_turn, fl_write_in_turn: of two words, where whoever changes the first looks at the
 * second afterwards (dataplane/core/pins.h, "Dirty bytes"). In BPF they are the plain ones: an atomic instruction that
 * returns what was there is a full barrier in the kernel's memory model, and its JITs make it one (x86-64: a locked
 * instruction; arm64: CASAL, or a loop with STLXR and DMB ISH behind it), so loads and stores after it stay after it. */
#ifdef __bpf__
#define fl_read_once(p) (*(const volatile __typeof__(*(p)) *)(p))
#define fl_read_id(p) fl_read_once(p)
#define fl_write_once(p, v) (*(volatile __typeof__(*(p)) *)(p) = (v))
#define fl_compare_exchange(p, from, to) (__sync_val_compare_and_swap((p), (from), (to)) == (from))
#define fl_exchange_in_turn(p, from, to) fl_compare_exchange(p, from, to)
#define fl_read_in_turn(p) fl_read_once(p)
#define fl_write_in_turn(p, v) fl_write_once(p, v)
#else
#define fl_read_once(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define fl_read_id(p) __atomic_load_n((p), __ATOMIC_CONSUME)
#define fl_write_once(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define fl_compare_exchange(p, from, to) fl_compare_exchange_word((p), (from), (to), __ATOMIC_RELAXED)
#define fl_exchange_in_turn(p, from, to) fl_compare_exchange_word((p), (from), (to), __ATOMIC_SEQ_CST)
#define fl_read_in_turn(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define fl_write_in_turn(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
FL_INLINE int fl_compare_exchange_word(__u64 *at, __u64 from, __u64 to, int order) {
    return __atomic_compare_exchange_n(at, &from, to, 0, order, __ATOMIC_RELAXED);
}
#endif

/* Hides from the compiler where a number came from, so that it masks or compares it once more, where the verifier sees. */
#define fl_opaque(x) __asm__ volatile("" : "+r"(x))

/* Makes the verifier forget what it knows of the 32-bit x, so that ways to one place in a program become one: by an
 * exclusive or with what it does not know, and back. Costs two instructions in BPF, and nothing elsewhere. */
#ifdef __bpf__
#define fl_forget(x, unknown)                \
    do {                                     \
        __u32 fl_unknown = (__u32)(unknown); \
        fl_opaque(fl_unknown);               \
        (x) ^= fl_unknown;                   \
        fl_opaque(x);                        \
        (x) ^= fl_unknown;                   \
    } while (0)
#else
#define fl_forget(x, unknown) ((void)(unknown))
#endif

/* Fetches the line that p points to, ahead of its use; NULL is harmless. */
#ifndef __bpf__
#define fl_prefetch(p) __builtin_prefetch(p)
#endif

/* Keeps clang from merging or reordering packet accesses in a way the verifier cannot follow. */
#define fl_barrier() __asm__ volatile("" ::: "memory")

#endif

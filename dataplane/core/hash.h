/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The keyed hash of a flow: H chooses the slot, a second mix of H the pin's bucket and signature.
 *
 * What it must withstand: somebody outside, who does not know the 128-bit key, and who wants many flows in one slot
 * (to aim load at one backend) or two flows with one H (to make them share a pin).
 *
 * Construction, with K expanded from the key by SipHash-2-4 (Aumasson and Bernstein, 2012):
 *   1. NH (Black, Halevi, Krawczyk, Krovetz, Rogaway: "UMAC", CRYPTO '99, section 3): the flow as 32-bit words w[i], in
 *      pairs, S = sum over i of (w[2i] + K[2i] mod 2^32) * (w[2i+1] + K[2i+1] mod 2^32) mod 2^64. Their Theorem 3.1: for
 *      two different flows that are chosen without the key, Pr[S = S'] <= 2^-32, whatever the flows are. A plain
 *      multiply-and-xor mix has no such bound: an odd multiplier carries a difference in bit 63 through untouched, so
 *      pairs exist that collide under every key (tests/unit/dataplane/core/hash_test.cpp crafts them).
 *   2. Two rounds of multiply-shift with secret odd multipliers (Dietzfelbinger et al., J. Algorithms 25, 1997: two
 *      different 64-bit values agree in the top k bits of the product with probability at most 2^(1-k)). The fold
 *      between them lets every bit of S reach every bit of H.
 * So for flows chosen without seeing anything: Pr[same slot of 2^k] <= 2^-32 + 2^(1-k), the bound of a random function
 * but for a factor of two. What it is not: a PRF. Someone who could read many H in full could solve for the key; the
 * network sees at most which backend answered, a few bits of H behind two secret multiplications. SipHash-1-3 in
 * this place costs about 8 ns a packet more (BPF has no rotate), a quarter of the whole path. The key is never logged,
 * and a new one is a restart. */
#ifndef FL_HASH_H
#define FL_HASH_H

#include "dataplane/core/access.h"

FL_INLINE __u64 fl_hash_finish(const struct fl_meta *meta, __u64 sum) {
    __u64 h = (sum ^ (sum >> 32)) * meta->hash_multipliers[0];
    h = (h ^ (h >> 32)) * meta->hash_multipliers[1];
    return h ^ (h >> 32);
}

FL_INLINE __u64 fl_nh_pair(const struct fl_meta *meta, __u32 i, __u32 a, __u32 b) {
    return (__u64)(__u32)(a + meta->hash_addends[2 * i]) * (__u32)(b + meta->hash_addends[2 * i + 1]);
}

/* ports: source port in the low half, destination in the high, both as they lie in the packet. */
FL_INLINE __u64 fl_hash_flow4(const struct fl_meta *meta, __be32 source, __be32 destination, __u32 ports,
                              __u32 protocol) {
    return fl_hash_finish(meta, fl_nh_pair(meta, 0, source, ports) + fl_nh_pair(meta, 1, destination, protocol));
}

FL_INLINE __u64 fl_hash_flow6(const struct fl_meta *meta, const __be32 source[4], const __be32 destination[4],
                              __u32 ports, __u32 protocol) {
    return fl_hash_finish(meta, fl_nh_pair(meta, 0, source[0], source[1]) + fl_nh_pair(meta, 1, source[2], source[3]) +
                                    fl_nh_pair(meta, 2, destination[0], destination[1]) +
                                    fl_nh_pair(meta, 3, destination[2], destination[3]) +
                                    fl_nh_pair(meta, 4, ports, protocol));
}

/* Affinity "client-ip": the client's address alone. */
FL_INLINE __u64 fl_hash_client4(const struct fl_meta *meta, __be32 source) {
    return fl_hash_finish(meta, fl_nh_pair(meta, 0, source, 0));
}

FL_INLINE __u64 fl_hash_client6(const struct fl_meta *meta, const __be32 source[4]) {
    return fl_hash_finish(meta, fl_nh_pair(meta, 0, source[0], source[1]) + fl_nh_pair(meta, 1, source[2], source[3]));
}

#ifndef __bpf__
FL_INLINE __u64 fl_rotate(__u64 x, int bits) { return (x << bits) | (x >> (64 - bits)); }

FL_INLINE void fl_sip_round(__u64 v[4]) {
    v[0] += v[1], v[1] = fl_rotate(v[1], 13) ^ v[0], v[0] = fl_rotate(v[0], 32);
    v[2] += v[3], v[3] = fl_rotate(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = fl_rotate(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = fl_rotate(v[1], 17) ^ v[2], v[2] = fl_rotate(v[2], 32);
}

/* SipHash-2-4 of one 64-bit word (8 bytes, little-endian). */
FL_INLINE __u64 fl_siphash_word(const __u64 key[2], __u64 word) {
    __u64 v[4] = {key[0] ^ 0x736f6d6570736575ULL, key[1] ^ 0x646f72616e646f6dULL, key[0] ^ 0x6c7967656e657261ULL,
                  key[1] ^ 0x7465646279746573ULL};
    const __u64 blocks[2] = {word, 8ULL << 56};
    for (int i = 0; i < 2; i++) {
        v[3] ^= blocks[i];
        fl_sip_round(v), fl_sip_round(v);
        v[0] ^= blocks[i];
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++) fl_sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Fills the hash fields of `meta` from the 128-bit key. A zero addend would leave a one-word hash constant in its
 * partner, so the expansion never yields one. Equal keys give equal fields on every machine. */
FL_INLINE void fl_hash_expand(struct fl_meta *meta, const __u64 key[2]) {
    for (__u32 i = 0; i < FL_HASH_ADDENDS; i++) {
        __u32 addend = (__u32)fl_siphash_word(key, i);
        meta->hash_addends[i] = addend ? addend : 1;
    }
    for (__u32 i = 0; i < 2; i++) meta->hash_multipliers[i] = fl_siphash_word(key, 0x100 + i) | 1;
    meta->hash_key_id = (__u32)fl_siphash_word(key, 0x200);
}
#endif

#endif

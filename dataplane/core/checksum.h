/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The Internet checksum (RFC 1071) over headers of fixed size, and its incremental update (RFC 1624 equation 3). */
#ifndef FL_CHECKSUM_H
#define FL_CHECKSUM_H

#include "dataplane/core/wire.h"

/* Folds a sum of 16- and 32-bit words in network order to 16 bits, and complements it. Each half of a word added to the other,
 * with the carry: that is the upper half of the word added to itself turned round. */
FL_INLINE __be16 fl_checksum_fold(__u64 sum) {
    __u32 half;
    sum += sum << 32 | sum >> 32;
    half = (__u32)(sum >> 32);
    half += half << 16 | half >> 16;
    return (__be16) ~(half >> 16);
}

/* Sum of `words` 32-bit words; `words` is a constant at every call, so the loop unrolls. */
FL_INLINE __u64 fl_checksum_words(const void *at, int words) {
    __u64 sum = 0;
    for (int i = 0; i < words; i++) sum += fl_load32((const __u8 *)at + 4 * i);
    return sum;
}

/* `checksum` after a 16-bit word that it covers changed from `from` to `to`. */
FL_INLINE __be16 fl_checksum_update(__be16 checksum, __be16 from, __be16 to) {
    return fl_checksum_fold((__u64)(__u16)~checksum + (__u16)~from + to);
}

/* The pseudo-header of RFC 8200 section 8.1 (addresses, upper-layer length, next header). */
FL_INLINE __u64 fl_checksum_pseudo6(const struct fl_ipv6 *ip, __u16 length, __u8 next) {
    return fl_checksum_words(ip->source, 8) + fl_htonl(length) + fl_htonl(next);
}

#endif

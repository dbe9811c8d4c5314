/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The two indexes: VIP by address, service by {VIP id, port, protocol}. A bucket is one line of eight words
 * {fingerprint 32, id 32}; the record is compared in full, so a false fingerprint costs a load and nothing else.
 * Their keys are the operator's, not the network's, and a scan ends after eight words whatever is asked for, so this
 * hash needs no secret; the seed lets the builder get out of a bucket that is full. */
#ifndef FL_INDEX_H
#define FL_INDEX_H

#include "dataplane/core/access.h"
#include "dataplane/core/wire.h"

/* Low 32 bits choose the bucket, high 32 are the fingerprint. A product's high half depends on all bits of both
 * factors' low halves, its low bits on few: so the key is folded before (an IPv4 address fills the high half of its
 * word, and its last byte, which varies most, comes first in memory), and the product after. The multipliers are odd with
 * well-mixed bits (the fractional parts of the golden ratio and of the square root of 3). Whatever does not depend on
 * the index word is computed while that is still being loaded. */
FL_INLINE __u64 fl_index_hash(__u64 high, __u64 low, __u32 seed) {
    __u64 h = (high * 0x9e3779b97f4a7c15ULL) ^ low;
    h = (h ^ (h >> 32) ^ seed) * 0xbb67ae8584caa73bULL;
    return h ^ (h >> 32);
}

FL_INLINE __u64 fl_index_hash_vip(const union fl_address *address, __u32 seed) {
    return fl_index_hash(address->halves[0], address->halves[1], seed);
}

/* A service's key as it lies in the first eight bytes of its record. */
FL_INLINE __u64 fl_service_key(__u32 vip, __be16 port, __u8 protocol) {
    return (__u64)vip | ((__u64)port << 32) | ((__u64)protocol << 48);
}

/* Hashed by the VIP's address, not by its id: so the look-up of the service does not wait for that of the VIP, and the
 * two buckets are fetched at once. */
FL_INLINE __u64 fl_index_hash_service(const union fl_address *vip, __be16 port, __u8 protocol, __u32 seed) {
    return fl_index_hash(vip->halves[0], vip->halves[1] ^ (((__u64)port << 8) | protocol), seed);
}

/* Id of the VIP with this address, or 0. */
FL_INLINE __u32 fl_find_vip(struct fl_engine *e, const struct fl_meta *meta, const union fl_address *address,
                            const struct fl_vip **found) {
    __u64 index = fl_read_id(&meta->vip_index);
    __u64 h = fl_index_hash_vip(address, FL_INDEX_SEED(index));
    const struct fl_index_bucket *bucket = fl_at_vip_index(e, FL_INDEX_BASE(index) + ((__u32)h & FL_INDEX_MASK(index)));
    if (!bucket) return 0;
    for (__u32 i = 0; i < FL_BUCKET_WORDS; i++) {
        __u64 word = fl_read_id(&bucket->words[i]);
        if ((__u32)(word >> 32) != (__u32)(h >> 32) || !(__u32)word) continue;
        const struct fl_vip *vip = fl_at_vips(e, (__u32)word);
        if (vip && vip->address.halves[1] == address->halves[1] && vip->address.halves[0] == address->halves[0]) {
            *found = vip;
            return (__u32)word;
        }
    }
    return 0;
}

/* Id of the service listed for exactly this {VIP, port, protocol}, or 0. Port 0 asks for "any". `address` is the VIP's. */
FL_INLINE __u32 fl_find_service_exact(struct fl_engine *e, const struct fl_meta *meta, const union fl_address *address,
                                      __u32 vip, __be16 port, __u8 protocol, const struct fl_service **found) {
    __u64 index = fl_read_id(&meta->service_index);
    __u64 key = fl_service_key(vip, port, protocol);
    __u64 h = fl_index_hash_service(address, port, protocol, FL_INDEX_SEED(index));
    const struct fl_index_bucket *bucket =
        fl_at_service_index(e, FL_INDEX_BASE(index) + ((__u32)h & FL_INDEX_MASK(index)));
    if (!bucket) return 0;
    for (__u32 i = 0; i < FL_BUCKET_WORDS; i++) {
        __u64 word = fl_read_id(&bucket->words[i]);
        if ((__u32)(word >> 32) != (__u32)(h >> 32) || !(__u32)word) continue;
        const struct fl_service *service = fl_at_services(e, (__u32)word);
        if (service && fl_load64(service) == key) {
            *found = service;
            return (__u32)word;
        }
    }
    return 0;
}

/* The exact port first, then "any" (DESIGN section 5 step 4). */
FL_INLINE __u32 fl_find_service(struct fl_engine *e, const struct fl_meta *meta, const union fl_address *address,
                                __u32 vip, __be16 port, __u8 protocol, const struct fl_service **found) {
    __u32 id = fl_find_service_exact(e, meta, address, vip, port, protocol, found);
    if (fl_likely(id)) return id;
    return fl_find_service_exact(e, meta, address, vip, 0, protocol, found);
}

#endif

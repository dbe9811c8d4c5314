/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The memory of first fragments (DESIGN section 4, "fragments"; RFC 791 section 3.2, RFC 8200 section 4.5). A later
 * fragment has no ports. What is remembered of a first one is its ports and protocol alone: with them, a later one is
 * decided about by the same steps, and ends where the first did.
 *
 * A key word is {signature 32 (high), ports 32}; beside it stands {protocol 32 (high), time 32}. A writer stores 0, then the time, then the
 * key, and a reader takes the ports out of the word that it compared: so no mixture of two entries is ever believed. Two
 * writers of one place leave one of the two, whole, perhaps with the other's time, which is as young. Bounded: a new
 * entry takes a free or outdated place of its bucket, else the oldest. */
#ifndef FL_FRAGMENTS_H
#define FL_FRAGMENTS_H

#include "dataplane/core/hash.h"
#include "dataplane/core/parse.h"

#define FL_FRAGMENT_SHIFT 32  /* units of 4.29 s */
#define FL_FRAGMENT_UNITS 2u  /* an entry lives 8.6 to 12.9 s; hosts give up after 15 to 60 (RFC 791, RFC 8200) */
#define FL_FRAGMENT_LANE 0x66 /* makes this hash one of its own: no protocol in a flow's place has this pairing */

/* Hash of {source, destination, id, and in IPv4 the protocol}; never 0 in its high half. */
FL_INLINE __u64 fl_fragment_hash(const struct fl_meta *meta, const struct fl_ip *ip) {
    const __u32 protocol = FL_FRAGMENT_LANE << 8 | (ip->family == 4 ? ip->protocol : 0);
    const __u64 hash = ip->family == 4
                           ? fl_hash_flow4(meta, ip->source.words[3], ip->destination.words[3], ip->id, protocol)
                           : fl_hash_flow6(meta, ip->source.words, ip->destination.words, ip->id, protocol);
    return hash >> 32 ? hash : hash | 1ULL << 32;
}

FL_INLINE __u32 fl_fragment_time(struct fl_engine *e) { return (__u32)(fl_now_coarse_ns(e) >> FL_FRAGMENT_SHIFT); }

/* One that another CPU wrote after `now` was read is not old. */
FL_INLINE __u32 fl_fragment_age(__u32 now, __u64 time) {
    const __u32 age = now - (__u32)time;
    return age == ~0u ? 0 : age;
}

FL_INLINE struct fl_fragment_bucket *fl_fragment_bucket_of(struct fl_engine *e, const struct fl_meta *meta,
                                                           __u64 hash) {
    return fl_at_fragments(e, (__u32)hash & (meta->limits.fragments / FL_BUCKET_WORDS - 1));
}

/* Gives a later fragment the ports and the protocol of its first (in IPv6 its own header may name an extension). False:
 * none came by, or too long ago. */
FL_INLINE int fl_find_fragment(struct fl_engine *e, const struct fl_meta *meta, struct fl_ip *ip) {
    const __u64 hash = fl_fragment_hash(meta, ip);
    const struct fl_fragment_bucket *bucket = fl_fragment_bucket_of(e, meta, hash);
    const __u32 now = fl_fragment_time(e);
    if (!bucket) return 0;
    for (__u32 i = 0; i < FL_BUCKET_WORDS; i++) {
        const __u64 key = fl_read_once(&bucket->keys[i]);
        const __u64 time = fl_read_once(&bucket->times[i]);
        if (key >> 32 != hash >> 32 || fl_fragment_age(now, time) > FL_FRAGMENT_UNITS) continue;
        ip->ports = (__u32)key;
        ip->protocol = (__u8)(time >> 32);
        return 1;
    }
    return 0;
}

FL_INLINE void fl_remember_fragment(struct fl_engine *e, const struct fl_meta *meta, const struct fl_decision *d) {
    const __u64 hash = d->fragment_hash;
    struct fl_fragment_bucket *bucket = fl_fragment_bucket_of(e, meta, hash);
    const __u32 now = fl_fragment_time(e);
    __u32 place = 0, oldest = 0;
    if (!bucket) return;
    for (__u32 i = 0; i < FL_BUCKET_WORDS; i++) {
        const __u64 key = fl_read_once(&bucket->keys[i]);
        const __u32 age = fl_fragment_age(now, fl_read_once(&bucket->times[i]));
        if (key >> 32 == hash >> 32) {
            place = i;
            break;
        }
        if (!key || age > oldest) {
            place = i;
            oldest = key ? age : ~0u;
        }
    }
    place &= FL_BUCKET_WORDS - 1;
    fl_write_once(&bucket->keys[place], 0);
    fl_write_once(&bucket->times[place], (__u64)d->protocol << 32 | now);
    fl_write_once(&bucket->keys[place], (hash >> 32 << 32) | d->ports);
}

#endif

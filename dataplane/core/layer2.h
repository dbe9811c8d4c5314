/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The front of a frame that leaves: Ethernet header and VLAN tags (IEEE 802.1Q, 802.1ad). */
#ifndef FL_LAYER2_H
#define FL_LAYER2_H

#include "dataplane/core/parse.h"

/* Parses the frame, whose tags the decision keeps. Returns the family of the IP packet in it, 0 for anything else. */
FL_INLINE __u8 fl_take_frame(struct fl_engine *e, const struct fl_packet *p, struct fl_scratch *s,
                             struct fl_decision *d) {
    fl_parse_frame(e, p, s);
    d->tags = s->frame.tags;
    d->tag[0] = s->frame.tag[0];
    d->tag[1] = s->frame.tag[1];
    if (s->frame.type == fl_htons(FL_ETHERTYPE_IPV4)) return 4;
    return s->frame.type == fl_htons(FL_ETHERTYPE_IPV6) ? 6 : 0;
}

FL_INLINE __u32 fl_l3_out(const struct fl_decision *d) {
    return (__u32)(sizeof(struct fl_eth) + d->tags * sizeof(struct fl_vlan));
}

/* Writes the front of the frame, which holds an IP header or what is as long: d->tags tags, then `type` (host order). False
 * when it is too short after all. */
FL_INLINE int fl_write_layer2(const struct fl_packet *p, const struct fl_decision *d, __u64 destination, __u64 source,
                              __u16 type) {
    struct fl_eth *eth = (struct fl_eth *)p->data;
    __u8 *at = (__u8 *)(eth + 1) - sizeof(__be16);
    if (!fl_still_inside(p, eth, sizeof(*eth) + FL_VLAN_TAGS * sizeof(struct fl_vlan))) return 0;
    fl_eth_store(eth, destination, source, fl_htons(type));
    if (fl_unlikely(d->tags)) {
        fl_store32(at, d->tag[0]);
        at += sizeof(struct fl_vlan);
        if (d->tags > 1) {
            fl_store32(at, d->tag[1]);
            at += sizeof(struct fl_vlan);
        }
        *(fl_half *)at = fl_htons(type);
    }
    return 1;
}

#endif

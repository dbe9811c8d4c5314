/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the core decides about a packet, before a byte of it is changed: decide, then act. No pointers stand here, so that
 * a decision may lie in a table, or wait for the rest of its burst. */
#ifndef FL_DECISION_H
#define FL_DECISION_H

#include "dataplane/core/reasons.h"
#include "dataplane/core/wire.h"

enum fl_action {
    FL_ACTION_PASS,    /* to the host, untouched; `reason` counts it */
    FL_ACTION_DROP,    /* `reason` counts it */
    FL_ACTION_FORWARD, /* rewrite for `forward`, transmit by `port`; service and backend count it */
    FL_ACTION_LOCAL,   /* to this host, which is the backend; service and backend count it; `unwrap` bytes come off */
    FL_ACTION_ANSWER,  /* turn it into the answer that `reason` names, and transmit it where it came from */
    FL_ACTION_UNWRAP,  /* take `unwrap` bytes of outer headers off, then to the host; `reason` counts it */
    FL_ACTION_HAND     /* to lb-dpdk, as it came; `reason` counts it */
};

/* How a packet's backend was found, in a slot that is not settled. */
enum fl_pinned { FL_PINNED_NOT, FL_PINNED_FOLLOWED, FL_PINNED_NEW, FL_PINNED_PREVIOUS };

#define FL_VLAN_TAGS 2 /* 802.1ad outer and 802.1Q inner */

struct fl_decision {
    __u8 action;
    __u8 reason;
    __u8 forward; /* enum fl_forward */
    __u8 family;  /* of the packet; of what is inside, where something is to be unwrapped */
    __u8 syn;
    __u8 outer;              /* family of the tunnel's header; 0 = no tunnel */
    __u8 chosen;             /* backend_index names a backend */
    __u8 ecn;                /* of an unwrapped packet: what its ECN field becomes */
    __u8 tags;               /* VLAN tags that the frame leaves with */
    __u8 protocol;           /* of the connection, where the packet is an ICMP error about one */
    __u8 pinned;             /* enum fl_pinned */
    __u8 remember;           /* a first fragment: its later ones follow it once it is steered */
    __u16 l3;                /* offset of the IP header in the frame received; of the outer one, where there is one */
    __u16 l4;                /* offset of what follows the IP header, its options and extension headers */
    __u16 unwrap;            /* bytes of outer headers to take off */
    __u16 port;              /* to transmit by */
    __u16 mtu;               /* of a packet that is too big: what would fit, bytes of IP */
    __u8 exception;          /* lb-dpdk can do better than what `action` says */
    __u32 length;            /* of the IP packet */
    __u32 frame;             /* bytes received */
    __u32 tag[FL_VLAN_TAGS]; /* of the frame that leaves, outermost first, as the four bytes lie on the wire */
    __u32 ports;             /* source low, destination high, as in the packet */
    __u64 destination_mac;   /* fl_mac_word */
    __u64 source_mac;
    __u64 hash;
    __u64 fragment_hash; /* fragments.h; where `remember` says so */
    /* How it came about: counters use the first two, `lbctl explain` all. */
    __u32 service, backend_index;
    __u32 vip, pool, slot, slot_word;
};

/* What an engine does with the packet afterwards. */
enum fl_verdict { FL_VERDICT_PASS, FL_VERDICT_DROP, FL_VERDICT_TRANSMIT, FL_VERDICT_EXCEPTION };

FL_INLINE void fl_drop(struct fl_decision *d, enum fl_reason reason) {
    d->action = FL_ACTION_DROP;
    d->reason = (__u8)reason;
}

FL_INLINE void fl_pass(struct fl_decision *d, enum fl_reason reason) {
    d->action = FL_ACTION_PASS;
    d->reason = (__u8)reason;
}

/* What is known before a byte is read. */
FL_INLINE void fl_begin(struct fl_decision *d, __u32 frame) {
    *d = (struct fl_decision){};
    fl_pass(d, FL_REASON_NOT_VIP);
    d->frame = frame;
}

#endif

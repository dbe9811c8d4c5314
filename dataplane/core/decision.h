/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the core decides about a packet, before a byte of it is changed: decide, then act. */
#ifndef FL_DECISION_H
#define FL_DECISION_H

#include "dataplane/core/access.h"
#include "dataplane/core/wire.h"

enum fl_action {
    FL_ACTION_PASS,    /* to the host, untouched; `reason` counts it */
    FL_ACTION_DROP,    /* `reason` counts it */
    FL_ACTION_FORWARD, /* rewrite for `forward`, transmit by `port`; service and backend count it */
    FL_ACTION_LOCAL,   /* to this host, which is the backend; service and backend count it; `unwrap` bytes come off */
    FL_ACTION_ANSWER,  /* turn it into the answer that `reason` names, and transmit it where it came from */
    FL_ACTION_UNWRAP   /* take `unwrap` bytes of outer header off, then to the host; `reason` counts it */
};

/* The headers of a packet as far as steering needs them. L3 lies at a fixed offset, behind the Ethernet header. */
struct fl_flow {
    __u8 family; /* 4 or 6 */
    __u8 protocol;
    __u8 tcp_flags; /* 0 for UDP */
    __u8 ttl;
    __u8 error;   /* an ICMP error: protocol and ports are those of the connection that it is about */
    __u32 ports;  /* source low, destination high, as in the packet */
    __u32 length; /* of the IP packet */
    __u32 frame;  /* bytes received */
};

struct fl_decision {
    __u8 action;
    __u8 reason;
    __u8 forward; /* enum fl_forward */
    __u8 family;  /* of the packet; of what is inside, where something is to be unwrapped */
    __u8 syn;
    __u8 outer;   /* family of the tunnel's header; 0 = no tunnel */
    __u8 unwrap;  /* bytes of outer IP header to take off */
    __u8 ecn;     /* of an unwrapped packet: what its ECN field becomes */
    __u16 port;   /* to transmit by */
    __u16 mtu;    /* of a packet that is too big: what would fit, bytes of IP */
    __u32 length; /* of the IP packet */
    __u32 frame;
    __u64 destination_mac; /* fl_mac_word */
    __u64 source_mac;
    __u64 hash;
    const struct fl_meta *meta;
    const struct fl_backend *backend;
    /* How it came about: counters use the first two, `lbctl explain` all. */
    __u32 service, backend_index;
    __u32 vip, pool, slot, slot_word;
};

/* What an engine does with the packet afterwards. */
enum fl_verdict { FL_VERDICT_PASS, FL_VERDICT_DROP, FL_VERDICT_TRANSMIT };

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every way a packet's life can end other than being forwarded to a backend: one list yields the enum, the printed
 * name, the metric label and the help text. X(symbol, class, "name", "help").
 * Classes: PASSED = given to the host untouched; ANSWERED = we replied; DROPPED; HANDED = given by the XDP program to
 * lb-dpdk, where it ends once more. */
#ifndef FL_REASONS_H
#define FL_REASONS_H

#include "dataplane/core/base.h"

#define FL_REASON_LIST(X)                                                                                             \
    X(NOT_VIP, PASSED, "not_vip", "not for a VIP")                                                                    \
    X(LOCAL_VIP, PASSED, "local_vip", "for a VIP of this node's own, on a port that no service lists")                \
    X(OTHER_VLAN, PASSED, "other_vlan", "to a VIP's address, but on a VLAN that the VIP is not on: somebody else's")  \
    X(TOO_BIG_PASSED, PASSED, "too_big_passed",                                                                       \
      "IPv4 without DF, too big for its backend: given to the host (too_big = \"pass\")")                             \
    X(DECAPSULATED, PASSED, "decapsulated", "unwrapped for this node's own VIP")                                      \
    X(ARP, ANSWERED, "arp", "ARP request for a VIP")                                                                  \
    X(ND, ANSWERED, "nd", "neighbour solicitation for a VIP")                                                         \
    X(ECHO, ANSWERED, "echo", "ICMP or ICMPv6 echo request to a VIP")                                                 \
    X(RESET, ANSWERED, "reset", "TCP reset: no service on that port, or no backend left")                             \
    X(UNREACHABLE, ANSWERED, "unreachable", "ICMP port unreachable: no service on that port, or no backend left")     \
    X(FRAG_NEEDED, ANSWERED, "frag_needed",                                                                           \
      "ICMP fragmentation needed or ICMPv6 packet too big, with the MTU that fits")                                   \
    X(MALFORMED, DROPPED, "malformed", "for a VIP, but shorter than its headers say")                                 \
    X(STANDBY, DROPPED, "standby", "needs an answer that only the active node gives")                                 \
    X(UNLISTED, DROPPED, "unlisted", "for a VIP, on a port or protocol that no service lists")                        \
    X(ALL_DOWN, DROPPED, "all_down", "the pool has no eligible backend")                                              \
    X(RESTEER, DROPPED, "resteer", "already steered by a peer, and no local backend here")                            \
    X(NO_NEIGHBOUR, DROPPED, "no_neighbour", "the next hop's MAC address is not known")                               \
    X(NO_PORT, DROPPED, "no_port", "the next hop's interface is not one of ours")                                     \
    X(TTL_EXPIRED, DROPPED, "ttl_expired", "TTL or hop limit would reach zero")                                       \
    X(TOO_BIG, DROPPED, "too_big",                                                                                    \
      "larger than the next hop's MTU once encapsulated, and to be fragmented on the way")                            \
    X(SUPERFRAME, DROPPED, "superframe",                                                                              \
      "larger than its interface's MTU: merged by TSO of the sender beside us, GRO or LRO, and too big for the next " \
      "hop")                                                                                                          \
    X(CHECKSUM_OFFLOAD, DROPPED, "checksum_offload",                                                                  \
      "TCP SYN whose checksum its sender left to an offload: switch tx off on the veth or tap peer (ethtool -K PEER " \
      "tx off)")                                                                                                      \
    X(NO_HEADROOM, DROPPED, "no_headroom", "the driver left no room to encapsulate")                                  \
    X(ANSWER_LIMITED, DROPPED, "answer_limited", "an answer was due, but the rate limit of answers was reached")      \
    X(NOT_ANSWERABLE, DROPPED, "not_answerable",                                                                      \
      "refused without an answer: a reset, an ICMP error, or from an impossible source")                              \
    X(DECAP_REFUSED, DROPPED, "decap_refused", "encapsulated to a VIP by a source that is not configured")            \
    X(DECAP_ECN, DROPPED, "decap_ecn", "congestion marked on a tunnel whose packet cannot carry the mark (RFC 6040)") \
    X(NO_TUNNEL, DROPPED, "no_tunnel", "the backend is behind a tunnel for which this node has no address")           \
    X(FRAGMENT_ORPHAN, DROPPED, "fragment_orphan",                                                                    \
      "a later fragment whose first has not come by: its ports are not known")                                        \
    X(EXTENSION_CHAIN, DROPPED, "extension_chain",                                                                    \
      "for a VIP, with more IPv6 extension headers than are looked through")                                          \
    X(SOURCE_ROUTE, DROPPED, "source_route", "for a VIP, source-routed (RFC 7126, RFC 5095)")                         \
    X(ICMP, DROPPED, "icmp", "ICMP for a VIP that is neither echo nor an error about one of its connections")         \
    X(INTERNAL, DROPPED, "internal", "a table entry that a packet led to does not exist: a defect, please report")    \
    X(EXCEPTION, HANDED, "exception", "given to lb-dpdk, which can do what the XDP program cannot")

enum fl_reason {
#define FL_X(symbol, class, name, help) FL_REASON_##symbol,
    FL_REASON_LIST(FL_X)
#undef FL_X
        FL_REASON_COUNT
};

enum fl_reason_class { FL_CLASS_PASSED, FL_CLASS_ANSWERED, FL_CLASS_DROPPED, FL_CLASS_HANDED };

/* Counter indexes reserved for reasons, so that a new reason does not move the services' counters. */
#define FL_REASONS_RESERVED 64

/* What happens beside a packet's end: counted in the last places of those, packets alone. */
#define FL_EVENT_LIST(X)                                                                                              \
    X(PIN_INSERTED, "pin_inserted", "a connection of a slot in transition was pinned to its backend")                 \
    X(PIN_EVICTED, "pin_evicted", "a pin on probation gave way to a newer one")                                       \
    X(PIN_RECLAIMED, "pin_reclaimed", "an expired pin gave way to a newer one")                                       \
    X(PIN_FULL, "pin_full", "a pin found no place: the connection went to the slot's previous backend, where one is") \
    X(PREVIOUS, "previous", "a packet went to its slot's previous backend")                                           \
    X(EXCEPTION_LIMITED, "exception_limited",                                                                         \
      "lb-dpdk would have got a packet, but the rate limit of exceptions was reached")                                \
    X(FRAGMENT_HELD, "fragment_held", "a later fragment came before its first, and was held for it")                  \
    X(FRAGMENT_RELEASED, "fragment_released", "a fragment that was held went its first one's way")                    \
    X(FRAGMENTED, "fragmented", "IPv4 without DF that did not fit its way was sent on in fragments")                  \
    X(UNSENT, "unsent", "a packet was to be transmitted, and its port took no more")

#define FL_EVENTS_AT 48
enum fl_event {
    FL_EVENT_FIRST = FL_EVENTS_AT - 1,
#define FL_X(symbol, name, help) FL_EVENT_##symbol,
    FL_EVENT_LIST(FL_X)
#undef FL_X
        FL_EVENT_END
};
FL_ASSERT((int)FL_REASON_COUNT <= FL_EVENTS_AT && (int)FL_EVENT_END <= FL_REASONS_RESERVED,
          "raise FL_REASONS_RESERVED and FL_ABI");

#endif

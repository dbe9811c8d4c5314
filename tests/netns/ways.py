# SPDX-License-Identifier: Apache-2.0
"""Every way of forwarding, as parameters of tests: how packets get to a backend, over which family, inside which."""

from dataclasses import dataclass

import pytest

from lab import CHECK, VIP4, VIP6, pool_tables

# VIPs whose tunnel is of the other family, so that all pairs of a forwarding mode share one lab.
CROSS_VIP4, CROSS_VIP6 = "192.0.2.20", "2001:db8::20"
HEADER = {4: 20, 6: 40}
GUE_PORT = 6080  # IANA
GUE_HEADER = 8  # UDP's alone: variant 1 has none of its own (draft-ietf-intarea-gue section 4)
SERVICES = ({}, {"name": "upload", "ports": [8080]}, {"name": "dns", "ports": [53], "protocol": "udp"})


@dataclass(frozen=True)
class Way:
    """`family`: that of the VIP; `outer`: that of the packets that carry it to the backend."""

    forward: str
    family: int
    outer: int

    @property
    def name(self):
        pair = f"v{self.family}" if self.forward == "l2dsr" else f"{self.family}in{self.outer}"
        return f"{self.forward}-{pair}"

    @property
    def vip(self):
        if self.family == self.outer:
            return VIP4 if self.family == 4 else VIP6
        return CROSS_VIP4 if self.family == 4 else CROSS_VIP6

    @property
    def overhead(self):
        """Bytes that the way takes from the path's MTU."""
        return {"l2dsr": 0, "ipip": HEADER[self.outer], "gue": HEADER[self.outer] + GUE_HEADER}[self.forward]

    def pool(self, lab, more=None, **pool):
        """The way's own pool of Master and Slave, and its services; names of both carry the way's. `more`: dicts laid
        over the backends by name."""
        backends = [{"name": name, "address": lab.nodes[name].address(self.outer), **(more or {}).get(name, {})}
                    for name in ("master", "slave")]
        named = [{**service, "vip": self.vip, "name": f"{service.get('name', 'web')}-{self.name}"}
                 for service in SERVICES]
        return pool_tables({"name": self.name, "forward": self.forward, "checks": [CHECK], **pool}, backends, named)


L2DSR = [Way("l2dsr", family, family) for family in (4, 6)]
PAIRS = [(4, 4), (6, 6), (4, 6), (6, 4)]
IPIP = [Way("ipip", *pair) for pair in PAIRS]
GUE = [Way("gue", *pair) for pair in PAIRS]
OF_FORWARD = {"l2dsr": L2DSR, "ipip": IPIP, "gue": GUE}


def every_way():
    """Parameters for `way`."""
    return [pytest.param(way, id=way.name) for way in L2DSR + IPIP + GUE]

# SPDX-License-Identifier: Apache-2.0
"""A flood of first SYNs with forged sources, from the namespace that it runs in, until SIGTERM; then prints how many.

    syn_flood.py INTERFACE OWN_MAC MAC VIP PORT --rate SYNS_A_SECOND
"""

import argparse
import ipaddress
import random
import signal
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import frames  # noqa: E402

# RFC 2544's, which nobody here has a route to: what the backends answer goes nowhere.
SOURCES = ipaddress.ip_network("198.18.0.0/15")
DISTINCT = 8192
BURST_S = 0.02


def flood_frames(options, seed=5):
    """Frames of as many connections."""
    chance = random.Random(seed)
    own, other = (bytes.fromhex(mac.replace(":", "")) for mac in (options.own_mac, options.mac))
    for _ in range(DISTINCT):
        source = str(SOURCES[chance.randrange(SOURCES.num_addresses)])
        packet = frames.tcp_packet(source, chance.randrange(1024, 65536), options.vip, options.port, frames.SYN)
        yield frames.ethernet(other, own, frames.ETHERTYPE[4], packet)


def main():
    parser = argparse.ArgumentParser()
    for name in ("interface", "own_mac", "mac", "vip"):
        parser.add_argument(name)
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=int, required=True)
    options = parser.parse_args()
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    ready, sent = list(flood_frames(options)), 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as cable:
        cable.bind((options.interface, 0))
        print("ready", flush=True)
        begin = time.monotonic()
        while not ended:
            due = int((time.monotonic() - begin) * options.rate)
            # After a pause it does not catch up: a flood in one go would only fill queues.
            sent = max(sent, due - options.rate)
            for number in range(sent, due):
                cable.send(ready[number % DISTINCT])
            sent = due
            time.sleep(BURST_S)
    print(sent)


if __name__ == "__main__":
    main()

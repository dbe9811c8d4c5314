# SPDX-License-Identifier: Apache-2.0
"""A packet socket on one interface of the current network namespace: sends whole frames, and sees those that pass."""

import select
import socket
import struct
import time
from collections.abc import Callable

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_AUXDATA, PACKET_VNET_HDR = 8, 15
SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35
PACKET_OUTGOING = 4
VLAN_VALID, VLAN_TPID_VALID = 1 << 4, 1 << 6
BUFFER_BYTES = 32 << 20  # a whole transfer of a test waits here until it is looked at
GSO_TCP = {4: 1, 6: 4}  # struct virtio_net_hdr, gso_type
NEEDS_CHECKSUM = 1


class Cable:
    """`sees`: "in", what arrives at the interface (after its XDP program), "out", what it sends, or "both"; never what
    this object has sent itself."""

    def __init__(self, interface: str, sees: str = "in") -> None:
        self._sees = {"in": (False,), "out": (True,), "both": (False, True)}[sees]
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        self._socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.bind((interface, 0))
        self._socket.setblocking(False)
        # Receives nothing (protocol 0): what it sends begins with a struct virtio_net_hdr.
        self._superframes = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._superframes.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self._superframes.bind((interface, 0))

    def __enter__(self) -> "Cable":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()
        self._superframes.close()

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def send_superframe(self, frame: bytes, family: int, header: int, segment: int) -> None:
        """Sends TCP segments as one frame, as a sender with TSO hands them to its card: `header` bytes of headers, then
        data to be cut into pieces of `segment` bytes. The checksum field must hold the sum over the pseudo-header."""
        start = header - 20  # of a TCP header without options, whose checksum is 16 bytes further on
        vnet = struct.pack("<BBHHHH", NEEDS_CHECKSUM, GSO_TCP[family], header, segment, start, 16)
        self._superframes.send(vnet + frame)

    def drain(self) -> None:
        while self._receive() is not None:
            pass

    def expect(self, matches: Callable[[bytes], bool], limit_s: float = 10.0) -> bytes | None:
        """The first frame that matches, or None when the time is over."""
        deadline = time.monotonic() + limit_s
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                break
            frame, _ = self._receive() or (b"", 0)
            if frame and matches(frame):
                return frame
        return None

    def seen(self, matches: Callable[[bytes], bool] = lambda _: True) -> list[bytes]:
        """The matching frames of all that have passed since the last look."""
        return [frame for frame, _ in self.timed() if matches(frame)]

    def timed(self) -> list[tuple[bytes, float]]:
        """The frames that have passed since the last look, and when, in seconds of the system's clock."""
        frames = []
        while (received := self._receive()) is not None:
            if received[0]:
                frames.append(received)
        return frames

    def _receive(self) -> tuple[bytes, float] | None:
        """The next frame and its time; an empty one for one that goes the other way, None when there is none."""
        try:
            frame, ancillary, _, address = self._socket.recvmsg(1 << 17, 128)
        except BlockingIOError:
            return None
        if (address[2] == PACKET_OUTGOING) not in self._sees:
            return b"", 0
        return with_tag(frame, ancillary), time_of(ancillary)


def time_of(ancillary) -> float:
    seconds, nanoseconds = next(struct.unpack("@qq", data) for level, kind, data in ancillary
                                if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS))
    return seconds + nanoseconds / 1e9


def with_tag(frame: bytes, ancillary) -> bytes:
    """The kernel takes the outermost VLAN tag off before anybody sees the frame, and says so beside it."""
    for level, kind, data in ancillary:
        if level == SOL_PACKET and kind == PACKET_AUXDATA:
            status, *_, control, tpid = struct.unpack("@IIIHHHH", data[:20])
            if status & VLAN_VALID:
                tpid = tpid if status & VLAN_TPID_VALID else 0x8100
                return frame[:12] + struct.pack("!HH", tpid, control) + frame[12:]
    return frame

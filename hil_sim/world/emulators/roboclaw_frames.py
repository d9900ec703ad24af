"""Packet serial as a RoboClaw board hears and speaks it: bytes in, packets out, packets in, bytes out.

From the user manual's pages on packet serial and its commands. A write brings data and a CRC-16 over all of itself; a
read is address and command alone. More than 10 ms between two bytes of a packet discard it. The boards of a line all
hear all bytes, so the packets of others have to be passed over: by their lengths, which are the same for every board.
What the manual does not settle, and is assumed here: a command that the board does not know makes it deaf until the
next 10 ms of silence, and a packet with a wrong CRC is passed over whole.
"""

from __future__ import annotations

from binascii import crc_hqx
from dataclasses import dataclass
from typing import NamedTuple

GAP_S = 0.010
_TICK_S = 1e-9

# command -> bytes of data (without address, command and CRC)
WRITES: dict[int, int] = {
    0: 1, 1: 1, 4: 1, 5: 1, 6: 1, 7: 1, 14: 1, 20: 0, 22: 4, 23: 4, 28: 16, 29: 16, 32: 2, 33: 2, 34: 4,
    35: 4, 36: 4, 37: 8, 38: 8, 39: 8, 40: 12, 41: 9, 42: 9, 43: 17, 44: 13, 45: 13, 46: 21, 50: 16, 51: 25,
    52: 6, 53: 6, 54: 12, 57: 4, 58: 4, 65: 17, 66: 17, 67: 33, 94: 4, 133: 8, 134: 8,
}  # fmt: skip
READS = frozenset(
    {15, 16, 17, 18, 19, 21, 24, 25, 30, 31, 47, 48, 49, 55, 56, 59, 60, 78, 79, 82, 83, 90, 95, 135, 136}
)


def crc(data: bytes) -> int:
    """The manual's CRC-16: polynomial 0x1021, most significant bit first, begun with 0."""
    return crc_hqx(data, 0)


def reply_frame(address: int, command: int, data: bytes) -> bytes:
    """A read's answer: data and the CRC over what was heard and what is said."""
    return data + crc(bytes((address, command)) + data).to_bytes(2, "big")


class Packet(NamedTuple):
    """A packet that the line has brought whole."""

    address: int
    command: int
    data: bytes


@dataclass(slots=True)
class LineCounters:
    """What a line has heard. `gaps`: packets broken by more than 10 ms; `noise`: bytes that begin no packet."""

    packets: int = 0
    bad_crc: int = 0
    gaps: int = 0
    unknown: int = 0
    noise: int = 0
    answered: int = 0
    foreign: int = 0


class PacketReader:
    """Cuts what a line brings into packets."""

    def __init__(self, counters: LineCounters) -> None:
        self._counters = counters
        self._held = bytearray()
        self._deaf = False

    def feed(self, data: bytes, gap_s: float) -> list[Packet]:
        """`data`, `gap_s` after the byte before it -> the packets that it completes."""
        if gap_s > GAP_S + _TICK_S:
            self._counters.gaps += bool(self._held)
            self._held.clear()
            self._deaf = False
        if self._deaf:
            return []
        self._held += data
        packets = []
        while (packet := self._take()) is not None:
            packets.append(packet)
        return packets

    def _take(self) -> Packet | None:
        held, counters = self._held, self._counters
        while len(held) >= 2:
            address, command = held[0], held[1]
            if not 0x80 <= address <= 0x87:
                counters.noise += 1
                del held[0]
                continue
            if command in READS:
                del held[:2]
                counters.packets += 1
                return Packet(address, command, b"")
            if command not in WRITES:
                counters.unknown += 1
                held.clear()
                self._deaf = True
                return None
            size = WRITES[command] + 4
            if len(held) < size:
                return None
            whole = bytes(held[:size])
            del held[:size]
            if crc(whole):  # over its own CRC: 0
                counters.bad_crc += 1
                continue
            counters.packets += 1
            return Packet(address, command, whole[2:-2])
        return None

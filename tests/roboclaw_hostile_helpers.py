"""Ways in which a motor board's answer can be wrong: a line of boards that answers as a test says, and the table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from roboclaw_helpers import crc

from firmware_bridge.errors import TransportError
from firmware_bridge.links.roboclaw import RoboClawLink
from firmware_bridge.transport import Transport

READ_BYTES = {15: 1, 24: 2, 25: 2, 82: 2, 49: 4, 48: 4, 90: 4, 59: 4, 78: 8, 79: 8}
WRITE_BYTES = {14: 1, 37: 8, 54: 12}
LATE_S = 0.1  # after the deadline of 0.05 s and the pause behind it

Sent = list[tuple[float, bytes]]
Fault = Callable[[bytes, bytes], Sent]
"""(request, good reply) -> [(seconds late, bytes)]."""


class FakeLine(Transport):
    """Boards that number the questions they hear: each answer says which question it answers, so that none can pass for
    another. `twist`: what becomes of the next answer, or None. A late answer holds up what its board says next."""

    def __init__(self, link: RoboClawLink) -> None:
        super().__init__("fake:wheels", link, 10 / 115200)
        self.heard: list[bytes] = []
        self.answers: dict[tuple[int, int], bytes] = {}  # the newest good one, by address and command
        self.written: dict[tuple[int, int], bytes] = {}
        self._last_s: dict[int, float] = {}  # a board says one thing after the other
        self.twist: Callable[[bytes, bytes], Sent | None] = lambda request, reply: None
        link.attach(self)

    def _send(self, data: bytes) -> None:
        self.heard.append(data)
        address, command = data[0], data[1]
        if command in WRITE_BYTES:
            assert len(data) == WRITE_BYTES[command] + 4 and crc(data[:-2]) == data[-2:]
            self.written[address, command] = data[2:-2]
            reply = b"\xff"
        else:
            assert len(data) == 2, data.hex(" ")
            size = READ_BYTES[command]
            body = (len(self.heard) * 0x0101 & (1 << 8 * size) - 1).to_bytes(size, "big")
            self.answers[address, command] = body
            reply = body + crc(data + body)
        twisted = self.twist(data, reply)
        loop = asyncio.get_running_loop()
        for late_s, raw in [(0.0, reply)] if twisted is None else twisted:
            at_s = max(loop.time() + 0.002 + late_s, self._last_s.get(address, 0.0))
            self._last_s[address] = at_s
            loop.call_at(at_s, self._come, raw)

    def _come(self, raw: bytes) -> None:
        if raw and self._open:
            self._receiver.data_received(raw)

    def _waiting_bytes(self) -> int:
        return 0

    def _release(self) -> None:
        pass

    def lose(self) -> None:
        self._finish(TransportError("fake:wheels is gone"))


def _of(change: Callable[[bytes], bytes]) -> Fault:
    """The good data with the CRC of another request."""

    def fault(request: bytes, reply: bytes) -> Sent:
        body = reply[:-2] if len(reply) > 1 else b"\x00"
        return [(0.0, body + crc(change(request[:2]) + body))]

    return fault


BOTH, READ, WRITE = ("read", "write"), ("read",), ("write",)

# name: (the kinds of question, does the good answer come as well and first, what is sent)
FAULTS: dict[str, tuple[tuple[str, ...], bool, Fault]] = {
    "silent": (BOTH, False, lambda q, r: []),
    "late": (BOTH, False, lambda q, r: [(LATE_S, r)]),
    "late twice": (BOTH, False, lambda q, r: [(LATE_S, r), (LATE_S + 0.03, r)]),
    "twice at once": (BOTH, True, lambda q, r: [(0.0, r + r)]),
    "twice in the gap": (BOTH, True, lambda q, r: [(0.0, r), (0.001, r)]),
    "twice, late": (BOTH, True, lambda q, r: [(0.0, r), (0.009, r)]),
    "of another board": (BOTH, False, _of(lambda q: bytes((q[0] ^ 1, q[1])))),
    "of another command": (BOTH, False, _of(lambda q: bytes((q[0], q[1] ^ 2)))),
    "CRC of the data alone": (BOTH, False, _of(lambda q: b"")),
    "bad CRC": (READ, False, lambda q, r: [(0.0, r[:-1] + bytes((r[-1] ^ 1,)))]),
    "bad data, old CRC": (READ, False, lambda q, r: [(0.0, bytes((r[0] ^ 0x10,)) + r[1:])]),
    "too short, good CRC": (READ, False, lambda q, r: [(0.0, r[1:-2] + crc(q + r[1:-2]))]),
    "too long, good CRC": (READ, False, lambda q, r: [(0.0, r[:-2] + b"\x07" + crc(q + r[:-2] + b"\x07"))]),
    "an acknowledgement": (READ, False, lambda q, r: [(0.0, b"\xff")]),
    "half": (READ, False, lambda q, r: [(0.0, r[: len(r) // 2])]),
    "half now, half late": (READ, False, lambda q, r: [(0.0, r[: len(r) // 2]), (LATE_S, r[len(r) // 2 :])]),
    "in single bytes": (BOTH, True, lambda q, r: [(0.001 * i, r[i : i + 1]) for i in range(len(r))]),
    "the request itself": (BOTH, False, lambda q, r: [(0.0, q)]),
    "the request itself first": (BOTH, False, lambda q, r: [(0.0, q + r)]),
    "garbage": (BOTH, False, lambda q, r: [(0.0, bytes(range(200, 230)))]),
    "noise first": (BOTH, False, lambda q, r: [(0.0, b"\x00\x93" + r)]),
    "an acknowledgement first": (READ, False, lambda q, r: [(0.0, b"\xff" + r)]),
    "no acknowledgement": (WRITE, False, lambda q, r: [(0.0, b"\x00")]),
    "one bit of it": (WRITE, False, lambda q, r: [(0.0, b"\xfe")]),
    "data instead": (WRITE, False, lambda q, r: [(0.0, b"\x00\x78" + crc(q[:2] + b"\x00\x78"))]),
}

CASES = [(kind, name) for name, (kinds, _, _) in FAULTS.items() for kind in kinds]

"""Ways in which a Modbus device's answer can be wrong: one table, walked for every framing and question."""

from __future__ import annotations

from collections.abc import Callable

from modbus_link_helpers import FakeSlave

Sent = list[tuple[float, bytes]]
Fault = Callable[[FakeSlave, int, bytes, bytes], Sent]
"""(slave, unit, request PDU, good reply frame) -> [(seconds late, bytes)]."""

LATE_S = 0.45  # after the deadline of 0.3 s, within the late window of another 0.3 s
RTU, TCP = ("rtu",), ("tcp",)
BOTH = ("rtu", "tcp")


def _pdu(slave: FakeSlave, reply: bytes) -> bytes:
    return reply[1:-2] if slave.link.is_rtu else reply[7:]


def _other(change: Callable[[int, bytes, bytes], tuple[int, bytes]]) -> Fault:
    """A well-framed reply of another content: `change(unit, request, reply PDU) -> unit, PDU`."""

    def fault(slave: FakeSlave, unit: int, request: bytes, reply: bytes) -> Sent:
        return [(0.0, slave.frame(*change(unit, request, _pdu(slave, reply)), reply[:2]))]

    return fault


def _more(pdu: bytes) -> bytes:
    """One register too many in a reply to a read; one register more written in an echo."""
    if pdu[0] in (3, 4):
        return bytes((pdu[0], pdu[1] + 2)) + pdu[2:] + b"\x00\x63"
    return pdu[:-1] + bytes((pdu[-1] ^ 3,))


def _fewer(pdu: bytes) -> bytes:
    return bytes((pdu[0], max(0, pdu[1] - 2))) + pdu[2:-2] if pdu[0] in (3, 4) else pdu[:3]


def _elsewhere(pdu: bytes) -> bytes:
    """An echo of another address; a read names none in its reply, so it lies about its byte count instead."""
    return pdu[:1] + bytes((pdu[1] ^ 1,)) + pdu[2:]


# name: (framings in which it can be, does the good answer come as well, what is sent)
FAULTS: dict[str, tuple[tuple[str, ...], bool, Fault]] = {
    "silent": (BOTH, False, lambda s, u, q, r: []),
    "late": (BOTH, False, lambda s, u, q, r: [(LATE_S, r)]),
    "late twice": (BOTH, False, lambda s, u, q, r: [(LATE_S, r), (LATE_S + 0.1, r)]),
    "twice at once": (BOTH, True, lambda s, u, q, r: [(0.0, r + r)]),
    "twice in the gap": (BOTH, True, lambda s, u, q, r: [(0.0, r), (0.001, r)]),
    "wrong unit": (BOTH, False, _other(lambda u, q, p: (u + 8, p))),
    "wrong function": (BOTH, False, _other(lambda u, q, p: (u, bytes((p[0] ^ 7,)) + p[1:]))),
    "too many": (BOTH, False, _other(lambda u, q, p: (u, _more(p)))),
    "too few": (BOTH, False, _other(lambda u, q, p: (u, _fewer(p)))),
    "wrong echo or count": (BOTH, False, _other(lambda u, q, p: (u, _elsewhere(p)))),
    "the request itself": (BOTH, False, _other(lambda u, q, p: (u, q if q[0] != 6 else q[:2] + b"\x7f" + q[3:]))),
    "exception of another function": (BOTH, False, _other(lambda u, q, p: (u, bytes((q[0] ^ 7 | 0x80, 2))))),
    "half a frame": (BOTH, False, lambda s, u, q, r: [(0.0, r[: len(r) // 2])]),
    "half now, half late": (BOTH, False, lambda s, u, q, r: [(0.0, r[: len(r) // 2]), (LATE_S, r[len(r) // 2 :])]),
    "in single bytes": (BOTH, True, lambda s, u, q, r: [(0.002 * i, r[i : i + 1]) for i in range(len(r))]),
    "garbage": (BOTH, False, lambda s, u, q, r: [(0.0, bytes(range(200, 230)))]),
    "noise first": (RTU, True, lambda s, u, q, r: [(0.0, b"\x00\xff\x93\x81" + r)]),
    "a frame of another first": (RTU, True, lambda s, u, q, r: [(0.0, s.frame(u + 8, b"\x03\x02\x00\x63") + r)]),
    "bad CRC": (RTU, False, lambda s, u, q, r: [(0.0, r[:-1] + bytes((r[-1] ^ 1,)))]),
    "bad data, old CRC": (RTU, False, lambda s, u, q, r: [(0.0, r[:-3] + bytes((r[-3] ^ 0x10,)) + r[-2:])]),
    "of another transaction": (TCP, False, lambda s, u, q, r: [(0.0, r[:1] + bytes((r[1] ^ 0x55,)) + r[2:])]),
    "of another transaction first": (TCP, True, lambda s, u, q, r: [(0.0, r[:1] + bytes((r[1] ^ 0x55,)) + r[2:] + r)]),
    "no protocol of ours": (TCP, False, lambda s, u, q, r: [(0.0, r[:2] + b"\x00\x07" + r[4:])]),
    "length too long": (TCP, False, lambda s, u, q, r: [(0.0, r[:5] + bytes((r[5] + 3,)) + r[6:])]),
    "length too short": (TCP, False, lambda s, u, q, r: [(0.0, r[:5] + bytes((r[5] - 1,)) + r[6:])]),
    "endless length": (TCP, False, lambda s, u, q, r: [(0.0, r[:4] + b"\xff\xff" + r[6:])]),
}  # fmt: skip

CASES = [(framing, name) for name, (framings, _, _) in FAULTS.items() for framing in framings]

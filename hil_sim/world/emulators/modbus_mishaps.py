"""What goes wrong with the requests of Modbus units, as a schedule of faults has it: the one place where a slave asks.

A unit whose name the schedule never touches is answered without a look at it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from hil_sim.world.emulators.modbus_pdu import (
    DEVICE_BUSY,
    DEVICE_FAILURE,
    READ_COILS,
    READ_INPUT,
    WRITE_COILS,
    WRITE_REGISTERS,
    WRITING,
    ModbusDevice,
    answer,
)
from hil_sim.world.faults.schedule import Fault, Faults

WAITING_MAX = 64
STALE_KEPT = 256  # different requests whose first answer is held fast
_BLOCKS = frozenset({WRITE_COILS, WRITE_REGISTERS})
_READING = frozenset(range(READ_COILS, READ_INPUT + 1))
_SUITS = {"wrong_echo": WRITING, "ignored_write": WRITING, "wrong_count": _READING | _BLOCKS, "stale": _READING}
"""The functions that a kind can do something to; any where it is not named."""


class Reply(NamedTuple):
    """An answer and what becomes of it on its way out. `pdu` empty: silence."""

    pdu: bytes
    unit: int
    late_s: float = 0.0
    times: int = 1
    before: bytes = b""
    cut_to: int | None = None  # bytes of the frame that are sent
    spoils_crc: bool = False
    transaction_step: int = 0

    def framed(self, frame: bytes) -> bytes:
        """What goes on the line in the place of a whole frame."""
        if self.spoils_crc:
            frame = frame[:-1] + bytes((frame[-1] ^ 0xFF,))
        if self.cut_to is not None:
            frame = frame[: max(1, min(self.cut_to, len(frame) - 1))]
        return self.before + frame


class Mishaps:
    """Of the units of one slave. `points`: unit -> the device's name, which is its point."""

    def __init__(self, faults: Faults | None = None, points: Mapping[int, str] | None = None) -> None:
        self.points = dict(points or {})
        self._faults = faults or Faults()
        self._struck = {unit: point for unit, point in self.points.items() if self._faults.touches(point)}
        self._waiting: dict[str, deque[Fault]] = {point: deque(maxlen=WAITING_MAX) for point in self._struck.values()}
        self._busy: dict[str, tuple[Fault, int]] = {}
        self._seen: dict[tuple[int, bytes], bytes] = {}  # unit and read -> how it was answered, while nothing is stale
        self._restarted: set[Fault] = set()

    def serve(self, unit: int, device: ModbusDevice, pdu: bytes, t_s: float) -> Reply:
        """What `device` answers to the request `pdu` at `t_s`, and how it is sent."""
        point = self._struck.get(unit)
        fault = self._due(point, pdu[0], t_s) if point is not None else None
        if fault is None:
            reply = answer(device, pdu, t_s)
            if point is not None and pdu[0] in _READING and (len(self._seen) < STALE_KEPT or (unit, pdu) in self._seen):
                self._seen[unit, pdu] = reply
            return Reply(reply, unit)
        if fault.kind == "stale":
            return Reply(self._seen.setdefault((unit, pdu), answer(device, pdu, t_s)), unit)
        if fault.kind == "reboot":
            self._restart(fault, device, t_s)
            return Reply(b"", unit)
        if fault.kind in _UNHEARD:
            return Reply(_unheard(fault, pdu), unit)
        return _struck(fault, Reply(answer(device, pdu, t_s), unit), pdu)

    def _due(self, point: str, function: int, t_s: float) -> Fault | None:
        """What strikes this request: a window's fault if it suits, else the first of those that wait for one."""
        fault = self._faults.event(point, t_s)
        if fault is not None and fault.kind == "busy" and fault.nth is not None:
            self._busy[point] = fault, int(fault.arg("times", 2))
        busy, left = self._busy.get(point, (None, 0))
        if busy is not None and left > 0:
            self._busy[point] = busy, left - 1
            return busy
        if fault is not None and fault.nth is None:
            return fault if _suits(fault, function) else None
        waiting = self._waiting[point]
        if fault is not None:
            waiting.append(fault)
        for waits in waiting:
            if _suits(waits, function):
                waiting.remove(waits)
                return waits
        return None

    def _restart(self, fault: Fault, device: ModbusDevice, t_s: float) -> None:
        if fault not in self._restarted:
            self._restarted.add(fault)
            device.power_cycle(t_s)
            device.silent_until_s = t_s + float(fault.arg("off_s", 1.0))


_UNHEARD = frozenset({"exception", "busy", "unit_dead", "ignored_write"})


def _suits(fault: Fault, function: int) -> bool:
    functions = _SUITS.get(fault.kind)
    return functions is None or function in functions


def _unheard(fault: Fault, pdu: bytes) -> bytes:
    """The answer to a request that is not carried out."""
    if fault.kind == "unit_dead":
        return b""
    if fault.kind == "ignored_write":
        return pdu[:5] if pdu[0] in _BLOCKS else pdu
    code = DEVICE_BUSY if fault.kind == "busy" else int(fault.arg("code", DEVICE_FAILURE))
    return bytes((pdu[0] | 0x80, code & 0xFF))


def _struck(fault: Fault, reply: Reply, request: bytes) -> Reply:
    """What becomes of the answer to a request that was carried out."""
    kind, pdu = fault.kind, reply.pdu
    if kind == "no_reply" or not pdu:
        return reply._replace(pdu=b"")
    if kind == "late_reply":
        return reply._replace(late_s=float(fault.arg("delay_s", 0.5)))
    if kind == "double_reply":
        return reply._replace(times=2)
    if kind == "wrong_unit":
        return reply._replace(unit=reply.unit % 247 + 1)
    if kind == "wrong_function":
        return reply._replace(pdu=bytes((pdu[0] ^ 0x07,)) + pdu[1:])
    if kind == "wrong_count":
        return reply._replace(pdu=_miscounted(pdu))
    if kind == "wrong_echo":
        return reply._replace(pdu=_misplaced(pdu))
    if kind == "bad_crc":
        return reply._replace(spoils_crc=True)
    if kind == "short_reply":
        return reply._replace(cut_to=int(fault.arg("bytes", 3)))
    if kind == "noise_first":
        return reply._replace(before=bytes.fromhex(str(fault.arg("hex", "00ff"))))
    if kind == "wrong_transaction":
        return reply._replace(transaction_step=1)
    raise ValueError(f"'{kind}' at {fault.point} is no fault of a Modbus unit (request {request.hex()})")


def _miscounted(pdu: bytes) -> bytes:
    if pdu[0] & 0x80:
        return pdu
    if pdu[0] in _BLOCKS:
        count = (int.from_bytes(pdu[3:5], "big") + 1) & 0xFFFF
        return pdu[:3] + count.to_bytes(2, "big")
    data = pdu[2:-2] if len(pdu) > 4 else pdu[2:] * 2  # one register too few, of a single one twice as much
    return bytes((pdu[0], len(data) & 0xFF)) + data


def _misplaced(pdu: bytes) -> bytes:
    if pdu[0] & 0x80:
        return pdu
    address = (int.from_bytes(pdu[1:3], "big") + 1) & 0xFFFF
    return pdu[:1] + address.to_bytes(2, "big") + pdu[3:]

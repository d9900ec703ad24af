"""Modbus frames: what to send, and whether what came back answers it. Bytes in, bytes out; no clock, no I/O.

PDUs and the CRC come from pymodbus. Finding a reply among noise is ours: pymodbus' RTU framer drops a good frame that
follows a noise byte over 0x80, and takes a reply with another function or length for an answer.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from pymodbus.framer import FramerRTU
from pymodbus.pdu import ModbusPDU, ReadHoldingRegistersRequest
from pymodbus.pdu.register_message import (
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

from firmware_bridge.errors import FrameError, Mismatch

EXCEPTION_NAMES = {
    1: "the function is not supported",
    2: "there is no such register",
    3: "the request's structure or count is refused",
    4: "the device refuses this value or cannot do it now",
    5: "acknowledged, still working",
    6: "the device is busy",
    8: "the request came damaged and was not executed",
    10: "the gateway has no path to the unit",
    11: "the unit behind the gateway does not answer",
}
DAMAGED_REQUEST = 8  # Leadshine drives answer a bad checksum with it; others keep silent, as they should
DEVICE_BUSY = 6  # it has not begun: the request may be sent again, whatever it was
_READS: dict[int, type[ModbusPDU]] = {3: ReadHoldingRegistersRequest, 4: ReadInputRegistersRequest}
_CRC = functools.lru_cache(maxsize=1024)(FramerRTU.compute_CRC)  # a device at rest says the same again and again
READ_WORDS_MAX = 125
WRITE_WORDS_MAX = 123
UNITS_MAX = 247
_WORDS = [struct.Struct(f">{count}H") for count in range(READ_WORDS_MAX + 1)]
_MBAP = struct.Struct(">HHHB")


@dataclass(frozen=True, slots=True, eq=False)  # told apart by identity, which is what finds its frame at once
class Question:
    """One request and what its answer must look like. `reply_size`: bytes of the normal reply's PDU."""

    unit: int
    function: int
    pdu: bytes
    reply_size: int
    what: str
    echo: bytes | None = None  # writes: the PDU that must come back


@functools.lru_cache(maxsize=1024)  # a poll plan asks the same questions all day
def ask_read(unit: int, function: int, address: int, count: int) -> Question:
    """Read `count` registers (function 3 holding, 4 input) from the PDU address (0-based)."""
    if function not in _READS:
        raise ValueError(f"function {function} reads no registers; 3 and 4 do")
    _check_range(unit, address, count, READ_WORDS_MAX, broadcast=False)
    pdu = bytes((function,)) + _READS[function](address=address, count=count).encode()
    return Question(unit, function, pdu, 2 + 2 * count, f"FC{function:02d} {count} from {address}")


def ask_write(unit: int, address: int, values: Sequence[int], function: int | None = None) -> Question:
    """Write registers from the PDU address: function 6 for one value unless 16 is asked for, 16 for several."""
    function = function if function is not None else 6 if len(values) == 1 else 16
    _check_range(unit, address, len(values), 1 if function == 6 else WRITE_WORDS_MAX, broadcast=True)
    if any(not 0 <= value <= 0xFFFF for value in values):
        raise ValueError(f"register values {list(values)} do not fit 16 bits")
    if function == 6:
        pdu = b"\x06" + WriteSingleRegisterRequest(address=address, registers=list(values)).encode()
        return Question(unit, 6, pdu, 5, f"FC06 {values[0]} to {address}", echo=pdu)
    if function != 16:
        raise ValueError(f"function {function} writes no registers; 6 and 16 do")
    pdu = b"\x10" + WriteMultipleRegistersRequest(address=address, registers=list(values)).encode()
    return Question(unit, 16, pdu, 5, f"FC16 {len(values)} to {address}", echo=pdu[:5])


def _check_range(unit: int, address: int, count: int, count_max: int, *, broadcast: bool) -> None:
    if not (0 if broadcast else 1) <= unit <= UNITS_MAX:
        raise ValueError(f"unit {unit} is none: units go from 1 to {UNITS_MAX}")
    if not 1 <= count <= count_max:
        raise ValueError(f"{count} registers in one request: 1 to {count_max} are allowed")
    if address < 0 or address + count > 0x10000:
        raise ValueError(f"registers {address} to {address + count - 1} pass the end of the table (65535)")


@functools.lru_cache(maxsize=1024)
def frame_rtu(question: Question) -> bytes:
    """The request on a serial line: unit, PDU, CRC (low byte first)."""
    frame = bytes((question.unit,)) + question.pdu
    return frame + _CRC(frame).to_bytes(2, "big")


def frame_tcp(question: Question, transaction: int) -> bytes:
    """The request on TCP: MBAP header, PDU."""
    return _MBAP.pack(transaction, 0, len(question.pdu) + 1, question.unit) + question.pdu


def registers_of(question: Question, pdu: bytes) -> list[int]:
    """The registers in a checked reply to a read."""
    return list(_WORDS[(question.reply_size - 2) // 2].unpack_from(pdu, 2))


def why_wrong(question: Question, pdu: bytes) -> str | None:
    """What is wrong with a reply PDU as an answer to `question`; None if it is the normal answer to it."""
    if not pdu:
        return "an empty reply"
    if pdu[0] != question.function:
        return f"a reply to function {pdu[0] & 0x7F}"
    if question.echo is not None:
        return None if pdu == question.echo else f"an echo of something else ({pdu.hex(' ')})"
    if question.function in _READS and (len(pdu) < 2 or pdu[1] != question.reply_size - 2):
        return f"a reply of {pdu[1] if len(pdu) > 1 else 0} bytes where {question.reply_size - 2} were asked for"
    if len(pdu) != question.reply_size:
        return f"a reply of {len(pdu)} bytes where {question.reply_size} belong"
    return None


class Found(Enum):
    """What a deframer found: nothing yet, the normal reply, or the device's refusal."""

    NOTHING = 0
    REPLY = 1
    EXCEPTION = 2


@dataclass(slots=True)
class Oddities:
    """What came beside the answer while it was awaited; `last` is the newest oddity in words."""

    noise_bytes: int = 0
    late: int = 0
    last: str = ""


class RtuDeframer:
    """Finds the reply to one question in a serial stream: the frame's length is known, so noise before it and frames of
    others are stepped over, and only a frame with the right unit, function, length, content and CRC counts."""

    KEEP_BYTES = 1024  # more than four frames of the longest kind: what lies further back is noise

    def __init__(self) -> None:
        self.rest = bytearray()

    def feed(self, question: Question, data: bytes, odd: Oddities) -> tuple[Found, bytes]:
        """Add `data`; the reply's PDU if it is complete. Bytes behind it stay in `rest`."""
        buffer = self.rest
        size = question.reply_size + 3
        if not buffer and len(data) == size and data[0] == question.unit and data[1] == question.function:
            pdu = data[1:-2]  # nearly always: the reply, whole and by itself
            if _CRC(data[:-2]) == int.from_bytes(data[-2:], "big") and why_wrong(question, pdu) is None:
                return Found.REPLY, pdu
        buffer += data
        if len(buffer) > self.KEEP_BYTES:
            del buffer[: -self.KEEP_BYTES]
        start = buffer.find(question.unit)
        while start >= 0 and len(buffer) - start >= 5:
            function = buffer[start + 1]
            if function == question.function and _crc_good(buffer, start, size):
                pdu = bytes(buffer[start + 1 : start + size - 2])
                wrong = why_wrong(question, pdu)
                if wrong is None:
                    odd.noise_bytes += start
                    del buffer[: start + size]
                    return Found.REPLY, pdu
                odd.last = wrong
            elif function == question.function | 0x80 and _crc_good(buffer, start, 5):
                pdu = bytes(buffer[start + 1 : start + 3])
                odd.noise_bytes += start
                del buffer[: start + 5]
                return Found.EXCEPTION, pdu
            start = buffer.find(question.unit, start + 1)
        return Found.NOTHING, b""

    def describe(self, question: Question, odd: Oddities) -> str:
        """What the bytes that were no answer look like, for the error's sentence; "" if no good frame is among them."""
        for length in range(4, min(len(self.rest), 256) + 1):
            if _crc_good(self.rest, 0, length):
                if self.rest[0] != question.unit:
                    return f"a frame of unit {self.rest[0]}"
                return why_wrong(question, bytes(self.rest[1 : length - 2])) or odd.last
        return odd.last


def _crc_good(buffer: bytearray, start: int, size: int) -> bool:
    if len(buffer) - start < size:
        return False
    end = start + size - 2
    return _CRC(bytes(buffer[start:end])) == int.from_bytes(buffer[end : end + 2], "big")


class TcpDeframer:
    """Cuts MBAP frames from a TCP stream and keeps those of the asked transaction.

    A device that breaks off a frame and then sends an older answer would have the second read as the rest of the first.
    So a piece that begins, in the midst of a frame, as an answer that is still owed does, ends the frame as broken.
    """

    OWED_MAX = 64

    def __init__(self) -> None:
        self.rest = bytearray()
        self._owed: dict[int, None] = {}  # transactions that were given up and may still be answered, oldest first

    def give_up(self, transaction: int) -> None:
        """The answer to this transaction is not waited for any more; it may come all the same."""
        self._owed[transaction] = None
        if len(self._owed) > self.OWED_MAX:
            del self._owed[next(iter(self._owed))]

    def feed(self, question: Question, transaction: int, data: bytes, odd: Oddities) -> tuple[Found, bytes]:
        """Add `data`; the reply's PDU if it is complete. FrameError: the stream is out of frame. Mismatch: the reply to
        this very transaction does not answer the question."""
        self._take(data)
        while (frame := self._next()) is not None:
            number, unit, pdu = frame
            if number != transaction:
                odd.late += 1
                continue
            if unit != question.unit:
                raise Mismatch(f"a reply of unit {unit}")
            if len(pdu) == 2 and pdu[0] == question.function | 0x80:
                return Found.EXCEPTION, pdu
            wrong = why_wrong(question, pdu)
            if wrong is not None:
                raise Mismatch(wrong)
            return Found.REPLY, pdu
        return Found.NOTHING, b""

    def skip(self, data: bytes) -> int:
        """Bytes that nobody waits for: the number of whole frames among them. FrameError as in feed."""
        self._take(data)
        frames = 0
        while self._next() is not None:
            frames += 1
        return frames

    def _take(self, data: bytes) -> None:
        if self.rest and self._owed and len(data) >= 4 and data[2:4] == b"\x00\x00":
            number = int.from_bytes(data[:2], "big")
            if number in self._owed:
                seen = bytes(self.rest[:12]).hex(" ")
                self.rest.clear()
                raise FrameError(f"a frame that broke off ({seen}) and an answer to an older request behind it")
        self.rest += data

    def _next(self) -> tuple[int, int, bytes] | None:
        buffer = self.rest
        if len(buffer) < 8:
            return None
        number, protocol, length, unit = _MBAP.unpack_from(buffer)
        if protocol != 0 or not 2 <= length <= 254:
            seen = bytes(buffer[:12]).hex(" ")
            buffer.clear()
            raise FrameError(f"bytes that are no Modbus TCP frame ({seen})")
        if len(buffer) < 6 + length:
            return None
        pdu = bytes(buffer[7 : 6 + length])
        del buffer[: 6 + length]
        self._owed.pop(number, None)
        return number, unit, pdu

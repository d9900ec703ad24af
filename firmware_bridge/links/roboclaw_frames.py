"""RoboClaw packet serial, the framing alone: bytes in, bytes out.

A write is address, command, data and a CRC-16 (polynomial 0x1021, initial value 0, most significant bit first,
big-endian) over all of it; its answer is the single byte 0xFF. A read is address and command alone, without a CRC; its
answer is data and a CRC-16 over the address and command that were SENT and the data. So a read that the line damaged
into another one is answered with a CRC that does not fit. (RoboClaw user manual, packet serial and its commands.)
"""

from __future__ import annotations

import binascii
import struct
from functools import lru_cache
from typing import NamedTuple

from firmware_bridge.errors import FrameError

ADDRESSES = range(0x80, 0x88)
ACK = 0xFF
TEXT_BYTES_MAX = 48
_CRC_BYTES = 2
_ACKNOWLEDGED, _TEXT = -1, -2  # replies whose size is no count of data bytes

RELATIVE = frozenset({41, 42, 43, 44, 45, 46, 51})
"""Commands that move by a distance: sent twice they move twice."""


def crc16(data: bytes, start: int = 0) -> int:
    """CRC-16 with polynomial 0x1021, not reflected, continuing from `start` (0 for a whole packet)."""
    return binascii.crc_hqx(data, start)


class Question(NamedTuple):
    """One request and the shape of its reply. Made by ask_read, ask_text and ask_write."""

    address: int
    command: int
    data: bytes
    reply: int
    is_write: bool
    """Whether a mere 0xFF is the answer."""

    @property
    def what(self) -> str:
        """For sentences."""
        return f"command {self.command}"

    @property
    def reply_bytes(self) -> int:
        """How many bytes the longest reply has."""
        if self.is_write:
            return 1
        return (TEXT_BYTES_MAX if self.reply == _TEXT else self.reply) + _CRC_BYTES


@lru_cache(maxsize=512)  # the same few are asked many times a second
def ask_read(address: int, command: int, size: int) -> Question:
    """A read whose reply has `size` data bytes."""
    if not 1 <= size <= 64:
        raise ValueError(f"a read brings 1 to 64 bytes, not {size}")
    return _question(address, command, b"", size)


def ask_text(address: int, command: int) -> Question:
    """A read whose reply is a line of text that ends with line feed and NUL (the firmware version)."""
    return _question(address, command, b"", _TEXT)


def ask_write(address: int, command: int, data: bytes = b"") -> Question:
    """A write, whose reply is an acknowledgement."""
    if len(data) > 64:
        raise ValueError(f"no command takes {len(data)} bytes of data")
    return _question(address, command, data, _ACKNOWLEDGED)


def _question(address: int, command: int, data: bytes, reply: int) -> Question:
    if address not in ADDRESSES or not 0 <= command <= 255:
        raise ValueError(f"addresses are 128 to 135 and commands 0 to 255; got {address} and {command}")
    return Question(address, command, data, reply, reply == _ACKNOWLEDGED)


def frame(question: Question) -> bytes:
    """What goes out on the wire."""
    body = bytes((question.address, question.command)) + question.data
    return body + struct.pack(">H", crc16(body)) if question.is_write else body


class Deframer:
    """Collects the reply to one question. `rest` is what has come and is not used; clear it before each question."""

    def __init__(self) -> None:
        self.rest = bytearray()

    def feed(self, question: Question, data: bytes) -> bytes | None:
        """The reply's data (empty for an acknowledgement) once it is whole, else None. FrameError: it is damaged."""
        rest = self.rest
        rest += data
        if question.reply == _ACKNOWLEDGED:
            if not rest:
                return None
            if rest[0] != ACK:
                raise FrameError(f"{bytes(rest[:8]).hex(' ')} instead of ff")
            del rest[0]
            return b""
        size = question.reply
        if size == _TEXT:
            size = rest.find(0, 0, TEXT_BYTES_MAX) + 1
            if not size:
                if len(rest) >= TEXT_BYTES_MAX:
                    raise FrameError(f"{len(rest)} bytes of text without an end")
                return None
        if len(rest) < size + _CRC_BYTES:
            return None
        body = bytes(rest[:size])
        seen = int.from_bytes(rest[size : size + _CRC_BYTES], "big")
        if seen != crc16(body, crc16(bytes((question.address, question.command)))):
            raise FrameError(f"{bytes(rest[:16]).hex(' ')} with a wrong CRC")
        del rest[: size + _CRC_BYTES]
        return body

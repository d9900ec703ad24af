"""Grbl 1.1h's serial side without time: real-time bytes, the receive ring, and what is kept of a line.

Written from Grbl's `serial.c`, `protocol.c` and `interface.md` (facts, page hosts 1b). Real-time bytes are picked out
as they are received, wherever they stand (within a word, within a comment); they take no room and get no `ok`. Other
bytes above 0x7F never reach the ring.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import inf

STATUS, HOLD, START, RESET, DOOR, JOG_CANCEL = 0x3F, 0x21, 0x7E, 0x18, 0x84, 0x85
FEED_OVERRIDES = {0x90: None, 0x91: 10, 0x92: -10, 0x93: 1, 0x94: -1}  # None: back to 100 %
RAPID_OVERRIDES = {0x95: 100, 0x96: 50, 0x97: 25}
SPINDLE_OVERRIDES = {0x99: None, 0x9A: 10, 0x9B: -10, 0x9C: 1, 0x9D: -1}
SPINDLE_STOP, FLOOD_TOGGLE, MIST_TOGGLE = 0x9E, 0xA0, 0xA1

UART_BYTES = 2  # what the receiver itself holds
MAX_LINE = 79  # LINE_BUFFER_SIZE less the terminating zero
_PICKED = re.compile(rb"[\x18!?~\x80-\xff]")
_LINE_END = re.compile(rb"[\r\n]")
_COMMENTED = re.compile(rb"[();]")
_UPPER = bytes(b - 32 if 0x61 <= b <= 0x7A else b for b in range(256))
_THROWN_AWAY = bytes(range(0x21)) + b"/"  # white space, control characters, and the block delete sign


def pick_realtime(data: bytes) -> tuple[bytes, list[tuple[int, int]]]:
    """What the receive interrupt makes of `data`: the bytes for the ring, and (bytes of the ring before it, code) for
    each real-time byte. Codes that mean nothing are among them: the caller drops what it does not know.
    """
    if not _PICKED.search(data):
        return data, []
    kept = bytearray()
    codes: list[tuple[int, int]] = []
    for byte in data:
        if byte > 0x7F or byte in (RESET, STATUS, HOLD, START):
            codes.append((len(kept), byte))
        else:
            kept.append(byte)
    return bytes(kept), codes


class Ears:
    """The receiver while interrupts are off: it holds two bytes itself, the others are overrun and lost."""

    def __init__(self, byte_s: float) -> None:
        """`byte_s`: seconds that a byte takes on the line."""
        self.missed = 0
        self._byte_s = byte_s
        self._since_s = self._until_s = -inf
        self._held = 0

    def deafen(self, now_s: float, seconds: float) -> None:
        """Interrupts are off from `now_s` on."""
        self._since_s, self._until_s, self._held = now_s, now_s + seconds, 0

    def heard(self, data: bytes, now_s: float) -> bytes:
        """What is left of bytes whose last one has arrived at `now_s`, one after the other at the line's pace."""
        first_s = now_s - (len(data) - 1) * self._byte_s
        if first_s >= self._until_s:
            return data
        kept = bytearray()
        for i, byte in enumerate(data):
            if self._since_s < first_s + i * self._byte_s < self._until_s:
                self._held += 1
                if self._held > UART_BYTES:
                    self.missed += 1
                    continue
            kept.append(byte)
        return bytes(kept)


class ReceiveRing:
    """Bytes received and not yet read; the ones that find no room are lost without a word, and counted."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.lost = 0
        self._held = b""

    def __len__(self) -> int:
        return len(self._held)

    @property
    def free(self) -> int:
        """Bytes that still fit: the second number of `Bf:`."""
        return self.size - len(self._held)

    def put(self, data: bytes) -> None:
        """Bytes from the receive interrupt."""
        over = len(self._held) + len(data) - self.size
        if over > 0:
            self.lost += over
            data = data[: len(data) - over]
        self._held += data

    def take(self) -> bytes:
        """All bytes held, which the main loop now reads."""
        held, self._held = self._held, b""
        return held

    def give_back(self, data: bytes) -> None:
        """Bytes that the main loop has not read after all: what follows the end of a line."""
        self._held = data + self._held

    def clear(self) -> None:
        """Forget them all."""
        self._held = b""


@dataclass(frozen=True, slots=True)
class Line:
    """A whole line as the main loop sees it: upper case, without blanks and comments; too long: not to be executed."""

    text: str
    too_long: bool = False


class LineReader:
    """Bytes from the ring to lines. CR and LF each end a line, so CR LF ends two. Keeps an unfinished line."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the unfinished line."""
        self._kept = b""
        self._too_long = False
        self._comment = 0  # the byte that opened it: `(` or `;`

    def read(self, data: bytes) -> tuple[Line | None, bytes]:
        """(a line, bytes after its end), or (None, b"") when `data` ends no line: then all of it was taken in."""
        end = _LINE_END.search(data)
        if end is None:
            self._filter(data)
            return None, b""
        self._filter(data[: end.start()])
        line = Line(self._kept.decode("ascii"), self._too_long)
        self.clear()
        return line, data[end.end() :]

    def _filter(self, data: bytes) -> None:
        if not self._comment and not self._too_long and not _COMMENTED.search(data):
            self._keep(data.translate(_UPPER, _THROWN_AWAY))
            return
        for byte in data:
            if self._comment or self._too_long:
                if byte == 0x29 and self._comment == 0x28:  # a parenthesis closes only its own kind
                    self._comment = 0
            elif byte in (0x28, 0x3B):
                self._comment = byte
            else:
                self._keep(bytes((byte,)).translate(_UPPER, _THROWN_AWAY))

    def _keep(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > MAX_LINE:
            self._kept = self._kept[:MAX_LINE]
            self._too_long = True

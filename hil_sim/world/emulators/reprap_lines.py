"""RepRapFirmware's serial lines without time or motion: line numbers, XOR or CRC-16, and what becomes of a bad line.

Written from the firmware's behaviour (Duet3D `GCodes/GCodeBuffer/StringParser.cpp`, `Storage/CRC16.cpp`, 3.4 and
later):

* `N<digits> <code>*<check>`: the check covers every byte from `N` up to the first `*` outside quotes and braces. One to
  three digits are the XOR of those bytes; exactly five digits (leading zeros written) are their CRC-16: polynomial
  0x1021, initial value 0, most significant bit first, nothing reflected or inverted at the end. Any other number of
  digits is a bad check.
* A `*` counts only after a line number; without one it is text. Behind `;` nothing counts, a check neither.
* **A line whose check is bad is dropped without a word: no error, no resend, no ok.** Releases before 3.4 knew XOR
  alone and answered `rs  Checksum error on line <n>`; no release can ask for the line again.
* Line numbers are not compared with anything: a line sent twice is executed twice.
* A UART that was overrun leaves 0x7F in the stream; the line that holds it is dropped.
* CR, LF and NUL each end a line; an empty one is nothing. A whole-line comment is taken and not answered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LINE = 256  # MaxGCodeLength; one of it ends the text
OVERRUN = 0x7F
_RAW_LIMIT = 4 * MAX_LINE
_NUMBERED = re.compile(rb"[ \t]*([Nn])(\d*)")
_COMMAND = re.compile(r"[GMT]\d+(?:\.\d+)?")
_WORD = re.compile(r"([A-Z])\s*([-+]?(?:\d+\.?\d*|\.\d+))?")
_TAKES_TEXT = frozenset(("M117", "M118", "M23", "M28", "M30", "M32", "M98"))


def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        crc = byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        rows.append(crc & 0xFFFF)
    return tuple(rows)


_TABLE = _table()


def crc16(data: bytes) -> int:
    """CRC-16 of a line, 0..65535."""
    crc = 0
    for byte in data:
        crc = (crc << 8) & 0xFFFF ^ _TABLE[crc >> 8 ^ byte]
    return crc


def xor8(data: bytes) -> int:
    """The weak check, 0..255."""
    value = 0
    for byte in data:
        value ^= byte
    return value


@dataclass(frozen=True, slots=True)
class Line:
    """A line that ended. `number` None: it had none. `is_bad`: its check was wrong, missing or too weak; `code` is then
    of no use. `is_long`: more text than the firmware holds."""

    number: int | None
    code: str
    is_bad: bool = False
    is_long: bool = False


@dataclass(frozen=True, slots=True)
class Words:
    """One command of a line: `code` such as "G1" ("" when it is none), its text, and the words behind it."""

    code: str
    text: str
    values: dict[str, float | None]

    def number(self, letter: str) -> float | None:
        """The letter's number, None when the letter is absent or bare."""
        return self.values.get(letter)

    def seen(self, letter: str) -> bool:
        """Whether the letter stands in the command."""
        return letter in self.values

    def quoted(self, letter: str) -> str:
        """The text in quotes behind a letter, "" when there is none."""
        match = re.search(letter + r'\s*"([^"]*)"', self.text)
        return match[1] if match else ""


def read_line(raw: bytes, *, needs_check: bool, needs_crc: bool) -> Line | None:
    """A line without its end; None when there is nothing in it to act upon or to refuse."""
    numbered = _NUMBERED.match(raw)
    number = int(numbered[2] or b"0") if numbered else None
    begin = numbered.start(1) if numbered else 0
    at = numbered.end() if numbered else 0
    while at < len(raw) and raw[at] in b" \t":
        at += 1
    if raw[at : at + 1] == b";":
        return None
    end, check = _end_of_code(raw, at, has_number=number is not None)
    if OVERRUN in raw[:end]:
        return None
    text = raw[at:end]
    if not text:
        return None
    if check is None:
        is_bad = needs_check or needs_crc
    elif len(check) == 5:
        is_bad = int(check) != crc16(raw[begin:end])
    else:
        is_bad = not 1 <= len(check) <= 3 or needs_crc or int(check) != xor8(raw[begin:end])
    return Line(number, text[: MAX_LINE - 1].decode("latin-1").strip(), is_bad, len(text) >= MAX_LINE)


def _end_of_code(raw: bytes, at: int, *, has_number: bool) -> tuple[int, bytes | None]:
    """Where the code ends, and the digits behind its `*` (None: no check)."""
    is_quoted, braces = False, 0
    for i in range(at, len(raw)):
        byte = raw[i]
        if is_quoted:
            is_quoted = byte != 0x22
        elif byte == 0x22:
            is_quoted = True
        elif byte == 0x7B:
            braces += 1
        elif byte == 0x7D:
            braces = max(0, braces - 1)
        elif byte == 0x3B:
            return i, None
        elif byte == 0x2A and has_number and not braces:
            digits = re.match(rb"\d*", raw[i + 1 :])
            return i, digits[0] if digits else b""
    return len(raw), None


def split_commands(code: str) -> list[Words]:
    """The commands of a line: several may stand on one, each up to the next G, M or T."""
    text = _upper_outside_quotes(code)
    plain = re.sub(r'"[^"]*"?', lambda match: " " * len(match[0]), text)
    starts = [match.start() for match in _COMMAND.finditer(plain)]
    if not starts or starts[0] != 0:
        return [Words("", code, {})]
    commands = []
    for i, start in enumerate(starts):
        match = _COMMAND.match(text, start)
        assert match is not None
        letter, digits = match[0][0], match[0][1:]
        name = letter + str(int(digits)) if digits.isdigit() else match[0]
        if name in _TAKES_TEXT:
            commands.append(Words(name, code[start:], _words(plain[match.end() :])))
            break
        end = starts[i + 1] if i + 1 < len(starts) else len(text)
        commands.append(Words(name, code[start:end].strip(), _words(plain[match.end() : end])))
    return commands


def _words(plain: str) -> dict[str, float | None]:
    return {letter: float(value) if value else None for letter, value in _WORD.findall(plain)}


def _upper_outside_quotes(code: str) -> str:
    return "".join(part if i % 2 else part.upper() for i, part in enumerate(re.split(r'("[^"]*"?)', code)))


class LineReader:
    """Bytes to raw lines, one at a time: the firmware reads none while a command is in work."""

    def __init__(self) -> None:
        self._head = b""

    def split(self, data: bytes) -> tuple[bytes, bytes] | None:
        """(line without its end, bytes after it), or None when `data` ends no line: then all of it was taken in."""
        match = re.search(rb"[\r\n\0]", data)
        if match is None:
            if len(self._head) < _RAW_LIMIT:
                self._head = (self._head + data)[:_RAW_LIMIT]
            return None
        line, self._head = self._head + data[: match.start()], b""
        return line, data[match.end() :]

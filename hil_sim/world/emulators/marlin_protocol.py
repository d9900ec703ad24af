"""Marlin's serial dialect without time or motion: lines, line numbers, checksums, words, and the texts it answers with.

Written from the facts on Marlin's `queue.cpp` and `parser.cpp`; every odd corner here (a cut line, a number after M110,
a NUL) is what the firmware does with it, not what a host would wish.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MAX_COMMAND = 96  # MAX_CMD_SIZE: one byte of it is the terminating NUL
_RAW_LIMIT = 1024  # of a line without end: beyond this nothing could still reach its first 95 characters

STR_ERROR = "Error:"
LINE_NUMBER_WRONG = "Line Number is not Last Line Number+1, Last Line: "
CHECKSUM_WRONG = "checksum mismatch, Last Line: "
CHECKSUM_ABSENT = "No Checksum with line number, Last Line: "
NUMBER_ABSENT = "No Line Number with checksum, Last Line: "  # older forks alone, and without a Resend
KILLED = b"Error:Printer halted. kill() called!\n"

# What a streaming host sends nearly always: words in this order, nothing to strip. Anything else takes the slow road.
_G01 = re.compile(
    rb"(?:N(-?\d{1,9}) )?G([01])"
    rb"(?: X(-?\d+\.?\d*))?(?: Y(-?\d+\.?\d*))?(?: Z(-?\d+\.?\d*))?"
    rb"(?: F(\d+\.?\d*))?(?: S(\d+\.?\d*))? ?(?:\*(\d{1,3}))?"
).fullmatch
_new_tuple = tuple.__new__  # all that a NamedTuple's own constructor does, without its call
_NEEDS_CARE = re.compile(rb"[;\\\x08\x00]")
_LONG = re.compile(rb"[ \t]*([-+]?\d+)")
_LINE_NUMBER = re.compile(rb"N([-+]?\d+) *")
_WORD = re.compile(r"([A-Z])\s*([-+]?(?:\d+\.?\d*|\.\d+))?")
_NONE: Sequence[str] = ()
_EMERGENCY = re.compile(rb"(?:^|[\r\n])[ ]*(?:N[-\d ]*)?M(108|112|410|876 *S\d)[^\r\n]*[\r\n]")


def clean(raw: bytes) -> bytes:
    """What Marlin keeps of a line (without its end): no comment, escapes undone, rubbed-out characters gone, 95
    bytes at most.
    """
    if len(raw) < MAX_COMMAND and not _NEEDS_CARE.search(raw):
        return raw
    kept = bytearray()
    escaped = False
    for byte in raw:
        if escaped:
            escaped = False
        elif byte == 0x5C:  # backslash: store whatever comes next
            escaped = True
            continue
        elif byte == 0x3B:  # semicolon: the rest is comment
            break
        if byte == 0x08:
            del kept[-1:]
            continue
        kept.append(byte)
        if len(kept) >= MAX_COMMAND - 1:
            break
    return bytes(kept).split(b"\0", 1)[0] if b"\0" in kept else bytes(kept)


def xor_checksum(data: bytes) -> int:
    """XOR of all bytes, folded as one long integer (a line has at most 95 bytes)."""
    n = int.from_bytes(data, "little")
    if len(data) > 32:
        n ^= n >> 512
        n ^= n >> 256
    n ^= n >> 128
    n ^= n >> 64
    n &= 0xFFFFFFFFFFFFFFFF  # what is left is quicker as a small number
    n ^= n >> 32
    n ^= n >> 16
    return (n ^ n >> 8) & 0xFF


def strtol(text: bytes) -> int:
    """C's strtol, base 10: leading blanks and sign, 0 where there is no number."""
    match = _LONG.match(text)
    return int(match[1]) if match else 0


class Command(NamedTuple):
    """A line that passed the checks. `number` is the text after N (None without); `linear`: the words of a
    G0/G1 in canonical form (N, 0 or 1, X, Y, Z, F, S, checksum), each None when absent."""

    text: bytes
    number: bytes | None
    linear: tuple[bytes | None, ...] | None


class LineChecker:
    """Line number and checksum rules of one serial port; `last_n` is the last accepted number.

    numbers_with_checksums: the rule of older forks, that a checksum must not come without a line number.
    """

    def __init__(self, numbers_with_checksums: bool = False) -> None:
        self.last_n = 0
        self._numbers_with_checksums = numbers_with_checksums

    def admit(self, raw: bytes) -> Command | str | None:
        """A line as received: the command to queue, the error text (without number) that Marlin prints, or None if
        empty.

        Number first, then checksum; `last_n` moves only when both pass. A line without a leading N is not checked at
        all.
        """
        match = _G01(raw)
        if match and len(raw) < MAX_COMMAND:
            groups = match.groups()
            number, checksum = groups[0], groups[7]
            if number is not None:
                n = int(number)
                if n != self.last_n + 1:
                    return LINE_NUMBER_WRONG
                if checksum is None:
                    return CHECKSUM_ABSENT
                if int(checksum) != xor_checksum(raw[: match.start(8) - 1]):
                    return CHECKSUM_WRONG
                self.last_n = n
            elif checksum is not None and self._numbers_with_checksums:
                return NUMBER_ABSENT
            return _new_tuple(Command, (raw, number, groups))
        line = clean(raw)
        if not line:
            return None
        line = line.lstrip(b" ")
        if not line.startswith(b"N"):
            if self._numbers_with_checksums and b"*" in line:
                return NUMBER_ABSENT
            return Command(line, None, None)
        at = 0
        is_m110 = b"M110" in line
        if is_m110:
            second = line.find(b"N", 4)  # the N after the command word, if there is one, is the number that counts
            at = second if second >= 0 else 0
        n = strtol(line[at + 1 :])
        if n != self.last_n + 1 and not is_m110:
            return LINE_NUMBER_WRONG
        star = line.rfind(b"*")
        if star < 0:
            return CHECKSUM_ABSENT
        if strtol(line[star + 1 :]) != xor_checksum(line[:star]):
            return CHECKSUM_WRONG
        self.last_n = n
        number = _LINE_NUMBER.match(line)
        return Command(line, number[1] if number else b"", None)


@dataclass(frozen=True, slots=True)
class Words:
    """A parsed command: code such as "M110" ("" when there is none), its text as echoed, and its words.

    `values` maps a letter to its number, or to None when it stands without one; of repeated letters the last counts.
    """

    code: str
    text: str
    tail: str
    values: dict[str, float | None]

    def number(self, letter: str, default: float | None = None) -> float | None:
        """The letter's number, `default` when the letter is absent or bare."""
        value = self.values.get(letter)
        return default if value is None else value

    def seen(self, letter: str) -> bool:
        """Whether the letter stands in the command, with or without a number."""
        return letter in self.values


def parse(line: bytes) -> Words:
    """Split a command into code and words. Line number and `*checksum` are stripped first. Marlin reads upper case
    only.
    """
    line = line.lstrip(b" ")
    if line.startswith(b"N") and (match := _LINE_NUMBER.match(line)):
        line = line[match.end() :]
    text = line.split(b"*", 1)[0].rstrip(b" ").decode("latin-1")
    match_code = re.match(r"([GMTP])\s*(\d+)(\.\d+)?\s*", text, re.ASCII)
    if not match_code:
        return Words("", text, "", {})
    tail = text[match_code.end() :]
    code = f"{match_code[1]}{int(match_code[2])}{match_code[3] or ''}"
    values = {letter: float(value) if value else None for letter, value in _WORD.findall(tail)}
    return Words(code, text, tail, values)


class LineAssembler:
    """Bytes to raw lines. Keeps the beginning of a line whose end has not come (Marlin's `serial_line_buffer`)."""

    def __init__(self) -> None:
        self.head = b""  # the unfinished line

    def split(self, data: bytes) -> tuple[bytes, bytes] | None:
        """(line without its end, bytes after it), or None when `data` ends no line: then all of it was taken in."""
        line, end, rest = data.partition(b"\n")
        if not end:
            if len(self.head) < _RAW_LIMIT:
                self.head = (self.head + data)[:_RAW_LIMIT]
            return None
        if self.head:
            line = self.head + line
            self.head = b""
        return line, rest

    def clear(self) -> None:
        """Forget the unfinished line."""
        self.head = b""


class EmergencyScanner:
    """Marlin's EMERGENCY_PARSER: spots M108, M112, M410 and M876 S at the start of a line as its bytes arrive, before
    any queue.
    """

    def __init__(self) -> None:
        self._tail = b"\n"

    def scan(self, data: bytes) -> Sequence[str]:
        """Commands whose line ended within `data`."""
        if b"M" not in data and len(self._tail) == 1 and data[-1:] == b"\n":
            self._tail = b"\n"  # whole lines without an M: by far the most frequent delivery
            return _NONE
        window = self._tail + data
        end = max(window.rfind(b"\n"), window.rfind(b"\r"))
        # The unfinished line is all that must be kept; its first characters alone decide.
        self._tail = window[max(end, 0) :][: 2 * MAX_COMMAND]
        if b"M" not in window:
            return _NONE
        found = []
        at = 0
        while match := _EMERGENCY.search(window, at):
            found.append("M" + match[1].decode().replace(" ", ""))
            at = match.end() - 1  # this line's end is the next line's start
        return found

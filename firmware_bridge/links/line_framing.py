"""RepRap line framing: bytes in, bytes out, no clock and no I/O.

A sent line is `N<number> <command>*<checksum>`; the checksum is the XOR of every byte before the last `*`, in decimal.
The XOR is weak (8 bit), so every line has a newline in front of it too: two newlines must be lost before two lines can
merge, one with the end of a line and one with the beginning of the next, so that a line whose end is lost is ended by
the next one. The empty line between them costs the firmware nothing (it gives no ok).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

LINE_BYTES_MAX = 96
"""Marlin's MAX_CMD_SIZE: longer lines are cut in silence, so they are refused here."""

REPLY_BYTES_MAX = 4096
"""A reply line longer than this is noise."""

_SENDABLE = bytes(set(range(0x20, 0x7F)) - set(b"*;\\"))  # printable ASCII without checksum, comment, escape
_BODY = re.compile(rb"N(-?\d+) ?(.*)", re.DOTALL)
_UNPRINTABLE = bytes([*range(32), *range(127, 256)])
_OK_ADVANCED = re.compile(rb"ok N(\d+) P(\d+) B(\d+)\r?").fullmatch  # what ADVANCED_OK answers to nearly every line
_OK_FIELD = re.compile(r" ([NPB])(-?\d+)(?= |$)")
_UNNUMBERED_OK = re.compile(r"ok P\d{1,4} B\d{1,4}", re.ASCII)
_TEMPERATURE = re.compile(r"(?:^|\s)([TBCP]\d?):\s*(-?\d+(?:\.\d+)?)\s*/\s*(-?\d+(?:\.\d+)?)")
_SWITCH = re.compile(r"([xyz]_(?:min|max)):\s*(TRIGGERED|open)$", re.IGNORECASE)
_AXIS = re.compile(r"(?:^|\s)([XYZE]):\s*(-?\d+(?:\.\d+)?)")


def xor_checksum(data: bytes) -> int:
    """The XOR of all bytes of `data` (0..255), folded as one big number: several times faster than a byte loop."""
    folded = int.from_bytes(data, "little")
    half = 1 << max((len(data) - 1).bit_length(), 0) + 2  # bits in half of the next power of two of bytes
    while half >= 8:
        folded ^= folded >> half
        half >>= 1
    return folded & 0xFF


def frame_line(number: int, line: bytes, *, guard: bool = True) -> bytes:
    """`line` with number and checksum, ready for the wire; with `guard` a newline in front of it ends whatever was."""
    body = b"N%d %b" % (number, line)
    folded = int.from_bytes(body, "little")  # at most 128 bytes: see LINE_BYTES_MAX; unrolled, this runs for every line
    if len(body) > 32:
        folded ^= folded >> 512
        folded ^= folded >> 256
    folded ^= folded >> 128
    folded ^= folded >> 64
    folded &= 0xFFFFFFFFFFFFFFFF  # what is left is quicker as a small number
    folded ^= folded >> 32
    folded ^= folded >> 16
    folded ^= folded >> 8
    return b"\n%b*%d\n" % (body, folded & 0xFF) if guard else b"%b*%d\n" % (body, folded & 0xFF)


def unframe_line(framed: bytes) -> tuple[int, bytes]:
    """Number and command of one framed line (line ends stripped). ValueError if the checksum is absent or wrong."""
    body, star, checksum = framed.strip(b"\r\n").rpartition(b"*")
    if not star:
        raise ValueError(f"{framed!r} has no checksum")
    if checksum != b"%d" % xor_checksum(body):
        raise ValueError(f"{framed!r}: the checksum should be {xor_checksum(body)}")
    match = _BODY.fullmatch(body)
    if match is None:
        raise ValueError(f"{framed!r} has no line number")
    return int(match[1]), match[2]


def unsendable(line: bytes) -> str | None:
    """Why `line` (a bare command) must not be sent, as the end of a sentence; None if it may."""
    if line.translate(None, _SENDABLE) or not line or not 0x40 <= line[0] <= 0x5A:  # begins with @ or A to Z
        if not line.strip():
            return "it is empty, and firmware gives no ok for an empty line"
        return "it holds bytes that no G-code line may hold (line ends, '*', ';', '\\', lower-case start or non-ASCII)"
    if len(line) > LINE_BYTES_MAX - 16:
        return f"it is {len(line)} bytes long; with number and checksum the firmware would cut it at {LINE_BYTES_MAX}"
    return None


class LineSplitter:
    """Collects bytes, gives whole lines without their ends. Noise without line ends cannot grow beyond a bound."""

    def __init__(self) -> None:
        self._rest = b""
        self.overlong = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, in order; carriage returns are left to the caller's strip."""
        if self._rest:
            data = self._rest + data
        lines = data.split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > REPLY_BYTES_MAX:
            self._rest = b""
            self.overlong += 1
        return lines

    def clear(self) -> None:
        """Forget a partial line."""
        self._rest = b""


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """An `ok` line: N, P and B of ADVANCED_OK where the build gives them, and whether temperatures follow it."""

    number: int | None = None
    planner_free: int | None = None
    commands_free: int | None = None
    has_temperature: bool = False


@dataclass(frozen=True, slots=True)
class Resend:
    """A `Resend: n` (or `rs n`) line."""

    number: int


def clean(line: bytes) -> str:
    """A reply line as text: everything outside printable ASCII dropped, ends stripped."""
    return line.translate(None, _UNPRINTABLE).decode("ascii").strip()


def parse_numbered_ok(line: bytes) -> tuple[int, int, int] | None:
    """N, P and B of a raw line that is nothing but a whole `ok N12 P15 B3`; None for any other, which may be an ok."""
    match = _OK_ADVANCED(line)
    if match is None:
        return None
    number, planner_free, commands_free = map(int, match.groups())
    return number, planner_free, commands_free


def parse_ok(text: str) -> Acknowledge | None:
    """The acknowledgement in a clean line; None if the line is none (`o`, `okay`, `ok*`, ... are damaged: no ok)."""
    if text == "ok":
        return Acknowledge()
    if not text.startswith("ok "):
        return None
    if _TEMPERATURE.search(text):
        return Acknowledge(has_temperature=True)
    fields = {key: int(value) for key, value in _OK_FIELD.findall(text)}
    return Acknowledge(fields.get("N"), fields.get("P"), fields.get("B")) if fields else None


def is_unnumbered_ok(text: str) -> bool:
    """Whether this is, byte for byte, how ADVANCED_OK answers a line without a number: `ok P15 B3`."""
    return _UNNUMBERED_OK.fullmatch(text) is not None


def parse_resend(text: str) -> Resend | None:
    """The resend request in a clean line, or None."""
    for prefix in ("Resend:", "rs "):
        if text.startswith(prefix):
            digits = text[len(prefix) :].strip().removeprefix("N").removeprefix(":")
            if digits.isdigit() and len(digits) <= 9:
                return Resend(int(digits))
    return None


def parse_temperatures(text: str) -> dict[str, tuple[float, float]]:
    """`T:21.3 /0.0 B:20 /0` -> {"T": (21.3, 0.0), "B": (20.0, 0.0)}: name -> (degC now, degC wanted)."""
    return {name: (float(now), float(wanted)) for name, now, wanted in _TEMPERATURE.findall(text)}


def parse_position(text: str) -> dict[str, float]:
    """`X:20.00 Y:0.00 Z:0.00 E:0.00 Count X:1600` -> {"X": 20.0, ...} in mm (planned position); {} if it is none."""
    return {axis: float(value) for axis, value in _AXIS.findall(text.partition("Count")[0])}


def parse_end_switches(lines: Iterable[str]) -> dict[str, bool]:
    """M119's reply lines -> {"x_min": True, ...}: which switches are closed; only what the lines say."""
    found = (_SWITCH.match(line.strip()) for line in lines)
    return {match[1].lower(): match[2].upper() == "TRIGGERED" for match in found if match}


@dataclass
class Identity:
    """What M115 told: fields such as FIRMWARE_NAME and MACHINE_TYPE, and capabilities (absent means no)."""

    fields: dict[str, str] = field(default_factory=dict)
    capabilities: dict[str, bool] = field(default_factory=dict)


def parse_identity(lines: list[str]) -> Identity:
    """M115's reply lines -> Identity. Values may hold blanks; keys are words in capitals before a colon."""
    identity = Identity()
    for line in lines:
        if line.startswith("Cap:"):
            name, _, value = line[4:].partition(":")
            identity.capabilities[name] = value.strip() == "1"
        elif "FIRMWARE_NAME:" in line:
            parts = re.split(r"(?:^|\s)([A-Z][A-Z_]+):", line)
            identity.fields.update(dict(zip(parts[1::2], (value.strip() for value in parts[2::2]))))
    return identity

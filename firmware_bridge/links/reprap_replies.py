"""What a RepRapFirmware board says, line by line. No I/O and no clock; everything here may be damaged or noise.

Every line that the host sends ends with `M118 S"<token>"`, so that the board says the token once it has done what
stands before it. A token is `k`, the line's number and a letter that checks it: no flipped bit makes one of another.

Sources: Duet3D GCodes.cpp (`HandleReply`), GCodes2.cpp, EndstopsManager.cpp; the G-code dictionary on M114, M119, M201,
M409.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

NUMBER_MAX = 99_999
POSITION_DIGITS_MM = 0.001

_TOKEN = re.compile(r"k(\d{1,5})([A-Z])")
_MACHINE = re.compile(r"Machine (-?\d+\.\d+) (-?\d+\.\d+) (-?\d+\.\d+)(?= |$)")
_ACCELERATION = re.compile(r"([XYZ]): (\d+(?:\.\d+)?)(?=,|$)")
_SWITCH = r"(at min stop|at max stop|not stopped|no endstop)"
_SWITCHES = re.compile(rf"Endstops - X: {_SWITCH}, Y: {_SWITCH}, ")
_FIELD = re.compile(r"(?:^|\s)([A-Z][A-Z_]+): ")
_VERSION = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Token:
    """A line was done: its number."""

    number: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """An `Error: ` or `Warning: ` line, as text."""

    text: str


@dataclass(frozen=True, slots=True)
class Restarted:
    """The boot's banner: what the board was told before is gone."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The board is in emergency stop."""


@dataclass(frozen=True, slots=True)
class Text:
    """Any other line."""

    text: str


Reply = Token | Trouble | Restarted | Stopped | Text


def token(number: int) -> str:
    """What the board is asked to say behind line `number`."""
    return f"k{number}{_check_letter(number)}"


def _check_letter(number: int) -> str:
    return chr(ord("A") + number * 7 % 26)  # no difference of one digit's flipped bit is a multiple of 26


def parse_reply(text: str) -> Reply | None:
    """One clean line; None for an empty one and for a plain `ok`, which proves nothing."""
    if not text or text == "ok":
        return None
    if (found := _TOKEN.fullmatch(text)) is not None and found[2] == _check_letter(int(found[1])):
        return Token(int(found[1]))
    if text.startswith(("Error: ", "Warning: ")):
        return Trouble(text)
    if text.startswith("RepRapFirmware") and text.endswith("is up and running."):
        return Restarted()
    if text.startswith("Emergency Stop!"):
        return Stopped()
    return Text(text)


@dataclass(frozen=True)
class Answer:
    """What came between a line and its token. `troubles`: errors and warnings, oldest first."""

    lines: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


def machine_position(answer: Answer) -> tuple[float, float, float] | None:
    """The planned place in the machine's frame, mm, from M114's newest line; None where none can be read."""
    for line in reversed(answer.lines):
        if line.startswith("X:") and (found := _MACHINE.search(line)) is not None:
            return float(found[1]), float(found[2]), float(found[3])
    return None


def end_switches(answer: Answer) -> tuple[str, str] | None:
    """What M119's newest line says of X and Y: `at min stop`, `at max stop`, `not stopped` or `no endstop`; None where
    it cannot be read. No flipped bit makes one of these of another."""
    for line in reversed(answer.lines):
        if (found := _SWITCHES.match(line)) is not None:
            return found[1], found[2]
    return None


def accelerations(answer: Answer) -> dict[str, float] | None:
    """M201's largest accelerations by axis, mm/s2; None where they cannot be read."""
    for line in reversed(answer.lines):
        if line.startswith("Accelerations (mm/sec^2): "):
            found = {axis: float(value) for axis, value in _ACCELERATION.findall(line.partition(": ")[2])}
            if {"X", "Y"} <= found.keys() and min(found.values()) > 0:
                return found
    return None


def model_value(answer: Answer, key: str) -> Any:
    """M409's value at `key` of the object model. ValueError where the answer is damaged or of another key."""
    for line in reversed(answer.lines):
        if not line.startswith("{"):
            continue
        try:
            whole = json.loads(line)
        except ValueError:
            continue
        if isinstance(whole, dict) and whole.get("key") == key and "result" in whole:
            return whole["result"]
    raise ValueError(f"no value of {key} came")


def identity_fields(answer: Answer) -> dict[str, str]:
    """M115's fields, `FIRMWARE_NAME` and so on; empty where none came."""
    for line in reversed(answer.lines):
        if "FIRMWARE_NAME:" in line:
            parts = _FIELD.split(line)
            return dict(zip(parts[1::2], (value.strip() for value in parts[2::2])))
    return {}


def version(fields: dict[str, str]) -> tuple[int, int] | None:
    """Major and minor number of the firmware; None where they cannot be read."""
    found = _VERSION.match(fields.get("FIRMWARE_VERSION", ""))
    return (int(found[1]), int(found[2])) if found else None

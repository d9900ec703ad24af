"""What an argument of a kind of fault may be: its type, its range, its default. Pure, and said once, in the catalogue.

    {"delay_s": number("how late, s", 0.1, 0, 3600)}

A schedule is held to it where it is read (`check_faults`), an editor by the JSON Schema of scenario files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

Value = float | int | str

BYTES_MAX = 65_536
"""The most that one fault puts in or takes away: more than any buffer here holds."""

WAIT_S_MAX = 86_400.0
"""The longest that a fault's own argument lets anything wait: a day; what is meant to last is a window."""

SHOWN_CHARS = 40


@dataclass(frozen=True, slots=True)
class Arg:
    """An argument: what it means, and what it may be.

    default: what holds where it is left out; None: what `left_out` says. least, most: of a number, both ends in; of hex
    the least and most bytes. words: all that a word may be. A whole number may be given where a number is asked for;
    truth values are neither.
    """

    meaning: str
    type: Literal["number", "whole", "word", "hex", "point"]
    default: Value | None = None
    least: float | int = 0
    most: float | int = 0
    words: tuple[str, ...] = ()
    left_out: str = ""

    @property
    def domain(self) -> str:
        """What it may be, in words."""
        match self.type:
            case "number":
                return f"a number from {self.least:g} to {self.most:g}"
            case "whole":
                return f"a whole number from {self.least} to {self.most}"
            case "word":
                return f"one of {', '.join(self.words)}"
            case "hex":
                return f"{self.least} to {self.most} bytes in hex, two digits each"
            case "point":
                return "the name of a point"

    @property
    def usual(self) -> str:
        """What holds where it is left out, in words."""
        return self.left_out if self.default is None else str(self.default)

    def accepts(self, value: object) -> bool:
        """Whether it may be this."""
        match self.type:
            case "number" | "whole":
                is_number = isinstance(value, int if self.type == "whole" else int | float)
                return is_number and not isinstance(value, bool) and self._spans(value)  # type: ignore[arg-type]
            case "word":
                return value in self.words
            case "hex":
                return isinstance(value, str) and len(value) <= 4 * self.most and self._spans(_bytes_in(value))
            case "point":
                return isinstance(value, str) and bool(value)

    def _spans(self, value: float) -> bool:
        return not (isinstance(value, float) and not math.isfinite(value)) and self.least <= value <= self.most

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for programs: what does not apply to its type is left out."""
        row: dict[str, Any] = {"meaning": self.meaning, "type": self.type, "default": self.default}
        if self.type in ("number", "whole", "hex"):
            row |= {"least": self.least, "most": self.most}
        return (
            row
            | ({"words": list(self.words)} if self.words else {})
            | ({"left_out": self.left_out} if self.left_out else {})
        )

    def schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        row: dict[str, Any] = {"description": f"{self.meaning} ({self.usual})"}
        match self.type:
            case "number" | "whole":
                row |= {"type": "integer" if self.type == "whole" else "number"}
                row |= {"minimum": self.least, "maximum": self.most}
            case "word":
                row |= {"enum": list(self.words)}
            case "hex":
                pattern = f"^(\\s*[0-9a-fA-F]{{2}}){{{self.least},{self.most}}}\\s*$"
                row |= {"type": "string", "pattern": pattern}
            case "point":
                row |= {"type": "string", "minLength": 1}
        return row | ({} if self.default is None else {"default": self.default})


def number(meaning: str, default: float | None, least: float, most: float, *, left_out: str = "") -> Arg:
    """A number with its unit in its meaning."""
    return Arg(meaning, "number", default, least, most, left_out=left_out)


def share(meaning: str, default: float) -> Arg:
    """A part of a whole, 0 to 1."""
    return number(f"{meaning}, 0 to 1", default, 0.0, 1.0)


def whole(meaning: str, default: int | None, least: int, most: int, *, left_out: str = "") -> Arg:
    """A whole number."""
    return Arg(meaning, "whole", default, least, most, left_out=left_out)


def word(meaning: str, default: str, *others: str) -> Arg:
    """One of a few words."""
    return Arg(meaning, "word", default, words=(default, *others))


def hex_bytes(meaning: str, default: str, most: int = 4096) -> Arg:
    """Bytes that are written in hex: at least one."""
    return Arg(meaning, "hex", default, 1, most)


def other_point(meaning: str, left_out: str) -> Arg:
    """The name of a point of the world, which alone knows whether it is there."""
    return Arg(meaning, "point", left_out=left_out)


def seed() -> Arg:
    """What random numbers begin with."""
    return whole("what its random numbers begin with", 0, 0, 2**53)


def back_after(meaning: str, default: float) -> Arg:
    """When something comes back."""
    return number(f"{meaning}, s; negative: never", default, -1.0, WAIT_S_MAX)


def wait(meaning: str, default: float, least: float = 0.0) -> Arg:
    """A pause or a delay, s."""
    return number(f"{meaning}, s", default, least, WAIT_S_MAX)


def _bytes_in(text: str) -> int:
    """How many bytes hex digits stand for; 0 for what is no hex."""
    try:
        return len(bytes.fromhex(text))
    except ValueError:
        return 0

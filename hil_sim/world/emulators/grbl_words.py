"""A line of G-code to words, as Grbl's parser reads it: numbers, modal groups, and the errors that need no state.

Facts from Grbl's `gcode.c`, `nuts_bolts.c` and its error list (page hosts 1b). The checks come word by word, from left
to right, so that of several mistakes in a line the leftmost decides the number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from hil_sim.world.emulators.grbl_settings import BAD_NUMBER, NEGATIVE_VALUE, GrblError

NO_LETTER = 1
UNSUPPORTED, GROUP_VIOLATION, NO_FEED, NOT_INTEGER, AXIS_CONFLICT = 20, 21, 22, 23, 24
REPEATED, TOOL_TOO_LARGE = 25, 38

_NUMBER = re.compile(r"([-+]?)(\d*)(?:\.(\d*))?")
_DIGITS_KEPT = 8  # of a number's digits; later ones only count as powers of ten
_LARGEST = 3.4e38  # of a 32-bit float


class AxisUse(Enum):
    """Which command of a block uses its axis words."""

    NONE = "none"
    NON_MODAL = "non-modal"
    MOTION = "motion"
    TOOL_LENGTH = "tool length"


class Group(IntEnum):
    """Modal groups: one command of each may stand in a block."""

    NON_MODAL = 0
    MOTION = 1
    PLANE = 2
    DISTANCE = 3
    ARC_DISTANCE = 4
    FEED_MODE = 5
    UNITS = 6
    CUTTER = 7
    TOOL_LENGTH = 8
    COORDINATES = 12
    CONTROL = 13
    STOPPING = 104
    SPINDLE = 107
    COOLANT = 108


# (code, hundredths) -> group. What is not here is refused: by error 23 where `_WHOLE` knows the code, else by 20.
_G_COMMANDS: dict[tuple[int, int], Group] = {
    **{(code, 0): Group.NON_MODAL for code in (4, 10, 28, 30, 53, 92)},
    **{(code, 10): Group.NON_MODAL for code in (28, 30, 92)},
    **{(code, 0): Group.MOTION for code in (0, 1, 2, 3, 80)},
    **{(38, part): Group.MOTION for part in (20, 30, 40, 50)},
    **{(code, 0): Group.PLANE for code in (17, 18, 19)},
    **{(code, 0): Group.DISTANCE for code in (90, 91)},
    (91, 10): Group.ARC_DISTANCE,
    **{(code, 0): Group.FEED_MODE for code in (93, 94)},
    **{(code, 0): Group.UNITS for code in (20, 21)},
    (40, 0): Group.CUTTER,
    (43, 10): Group.TOOL_LENGTH,
    (49, 0): Group.TOOL_LENGTH,
    **{(code, 0): Group.COORDINATES for code in range(54, 60)},
    (61, 0): Group.CONTROL,
}
_WHOLE = {0, 1, 2, 3, 4, 10, 17, 18, 19, 20, 21, 40, 53, 54, 55, 56, 57, 58, 59, 80, 93, 94}
_M_COMMANDS: dict[int, Group] = {
    **dict.fromkeys((0, 1, 2, 30), Group.STOPPING),
    **dict.fromkeys((3, 4, 5), Group.SPINDLE),
    **dict.fromkeys((7, 8, 9), Group.COOLANT),
}
_VALUES = "FIJKLNPRSTXYZ"
_NEVER_NEGATIVE = "FNPTS"


@dataclass(slots=True)
class Words:
    """The words of one block. `commands`: per modal group (code, hundredths); `values`: per letter its number."""

    commands: dict[Group, tuple[int, int]] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    axis_use: AxisUse = AxisUse.NONE

    def whole(self, letter: str) -> int:
        """A value as the 8-bit integer that the parser keeps of L and T."""
        return int(self.values.get(letter, 0.0)) & 0xFF


def read_number(text: str, at: int) -> tuple[float, int] | None:
    """The number at `at` and where it ends, or None when no digit stands there. No exponents, eight digits count."""
    match = _NUMBER.match(text, at)
    assert match is not None  # every part of it may be empty
    whole, fraction = match[2], match[3] or ""
    digits = whole + fraction
    if not digits:
        return None
    exponent = len(whole) - min(len(digits), _DIGITS_KEPT)
    value = float(int(digits[:_DIGITS_KEPT])) * 10.0**exponent
    value = min(value, _LARGEST)
    return (-value if match[1] == "-" else value), match.end()


def read_words(text: str, *, mist: bool) -> Words:
    """All words of a block without blanks. `mist`: M7 is compiled in.

    Raises:
        GrblError: 1 no letter, 2 no number, 4 negative, 20 to 25 and 38 as Grbl's error list says.
    """
    words = Words()
    for letter, value in _pairs(text):
        whole = int(value) & 0xFF
        part = round(100.0 * (value - whole)) & 0xFFFF if abs(value) < 1e6 else 0xFFFF
        if letter == "G":
            _take_g(words, whole, part)
        elif letter == "M":
            if part:
                raise GrblError(NOT_INTEGER)
            group = _M_COMMANDS.get(whole)
            if group is None or (whole == 7 and not mist):
                raise GrblError(UNSUPPORTED)
            _take(words, group, whole, 0)
        else:
            if letter not in _VALUES:
                raise GrblError(UNSUPPORTED)
            if letter == "T" and value > 255:
                raise GrblError(TOOL_TOO_LARGE)
            if letter in words.values:
                raise GrblError(REPEATED)
            if value < 0.0 and letter in _NEVER_NEGATIVE:
                raise GrblError(NEGATIVE_VALUE)
            words.values[letter] = value
    return words


def _pairs(text: str) -> Iterator[tuple[str, float]]:
    at = 0
    while at < len(text):
        letter = text[at]
        if not "A" <= letter <= "Z":
            raise GrblError(NO_LETTER)
        number = read_number(text, at + 1)
        if number is None:
            raise GrblError(BAD_NUMBER)
        value, at = number
        yield letter, value


def _take_g(words: Words, whole: int, part: int) -> None:
    """A G word. That two commands want the axis words is seen before whether the command exists in this form."""
    use = None
    if (whole in (10, 28, 30, 92) and part == 0) or whole == 10:
        use = AxisUse.NON_MODAL if part == 0 else None
    elif whole in (0, 1, 2, 3, 38):
        use = AxisUse.MOTION
    elif whole in (43, 49):
        use = AxisUse.TOOL_LENGTH
    if use is not None:
        if words.axis_use is not AxisUse.NONE:
            raise GrblError(AXIS_CONFLICT)
        words.axis_use = use
    if whole == 49:
        part = 0  # the firmware does not look at what follows the point here
    group = _G_COMMANDS.get((whole, part))
    if group is None:
        raise GrblError(NOT_INTEGER if whole in _WHOLE and part else UNSUPPORTED)
    _take(words, group, whole, part)


def _take(words: Words, group: Group, whole: int, part: int) -> None:
    if group in words.commands:
        raise GrblError(GROUP_VIOLATION)
    words.commands[group] = (whole, part)

"""A plan's absolute G-code, told to Grbl so that no damaged byte can heal itself. No I/O and no clock.

Grbl has no checksum: a line that a flipped bit has turned into another valid line is carried out. So the plan is not
sent as it stands. Two rules make what went wrong stay wrong until somebody looks:

* *Relative closure.* After a first absolute move every move is relative (G91): a changed digit, sign or axis, a lost
  decimal point, a line that was refused, dropped or doubled moves every later point by the same amount, and the place
  where the machine comes to rest tells of it. Absolute lines would make it good again with the next line.
* *Modes are said once.* Motion word, feed and power are sent only where they change, so a wrong one lasts. Behind each
  change, before the next one and every 32 lines stands a question, `$G`, whose answer must be the state that the plan
  is in. It is read right behind the line it asks about, mostly many blocks before that line is carried out.

And every line has a line number: two lines of which the newline between was lost repeat the word N, and Grbl refuses
a line that repeats a word (error:25). Where the build reports `Ln` the number also tells which block runs.

No spaces are sent: Grbl drops them, and one that turns into '(' or '0' is not dropped.
"""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass, replace

from firmware_bridge.links.grbl_lines import LINE_BYTES_MAX, ParserState

NUMBERS = 999
"""N goes round: it must differ among the lines under way, and short lines are less likely to be hit."""

QUESTION_EVERY_LINES = 32

_WORDS = re.compile(rb"(?:[A-Z]-?\d{1,7}(?:\.\d{1,6})? *)+")
_WORD = re.compile(rb"([A-Z])(-?\d+(?:\.\d+)?)")
_AXES = "XYZ"
_MODES = {b"G21", b"G90", b"G94", b"G17", b"G54", b"G21 G90 G94", b"M9"}
_PLACE_MM_MAX = 5000.0


class Kind(enum.Enum):
    """What a planned line asks for."""

    MODE = "mode"  # what the driver works in anyway: nothing to send
    MOVE = "move"
    BEAM = "beam"  # M3, M4, M5: only at rest
    WAIT = "wait"  # G4: the host counts the time


@dataclass(frozen=True, slots=True)
class Planned:
    """One line of the plan. `target_um`: axis -> absolute place; None fields are not said."""

    kind: Kind
    motion: str | None = None
    target_um: tuple[tuple[int, int], ...] = ()
    feed_mm_min: float | None = None
    power_s: float | None = None
    spindle: str = ""
    wait_s: float = 0.0


def parse_planned(line: bytes) -> Planned:
    """Read one line in the exporter's Grbl words. ValueError with the end of a sentence for any other."""
    if line in _MODES:
        return Planned(Kind.MODE)
    if len(line) > LINE_BYTES_MAX:
        raise ValueError(f"it is {len(line)} bytes long, and Grbl's lines have {LINE_BYTES_MAX} at most")
    if _WORDS.fullmatch(line) is None:
        raise ValueError("it holds more than capital letters with plain numbers")
    words: dict[str, bytes] = {}
    commands: list[str] = []
    for letter, digits in _WORD.findall(line):
        if letter in b"GM":
            commands.append(f"{letter.decode()}{digits.decode()}")
        elif letter.decode() in words:
            raise ValueError(f"the word {letter.decode()} is repeated in it")
        else:
            words[letter.decode()] = digits
    if len(commands) > 1:
        raise ValueError(f"it holds {' and '.join(commands)}, and one command a line is what is streamed")
    command = commands[0] if commands else None
    if command == "G4":
        return Planned(Kind.WAIT, wait_s=_only(words, "P")["P"])
    if command in ("M3", "M4", "M5"):
        return Planned(Kind.BEAM, spindle=command, power_s=_only(words, "S", needed=False).get("S"))
    if command not in ("G0", "G1", None):
        raise ValueError(f"{command} is no command that is streamed: G0, G1, G4, M3, M4 and M5 are")
    values = _only(words, "XYZFS", needed=False)
    target = tuple((_AXES.index(axis), _micrometres(values[axis])) for axis in _AXES if axis in values)
    return Planned(Kind.MOVE, command, target, values.get("F"), values.get("S"))


def _only(words: dict[str, bytes], allowed: str, *, needed: bool = True) -> dict[str, float]:
    for letter in words:
        if letter not in allowed:
            raise ValueError(f"the word {letter} has no place in it")
    values = {letter: float(digits) for letter, digits in words.items()}
    if needed and set(values) != set(allowed):
        raise ValueError(f"it lacks the word {allowed}")
    for letter, value in values.items():
        if value < 0 and letter not in _AXES:
            raise ValueError(f"{letter} is negative in it")
    return values


def _micrometres(place_mm: float) -> int:
    if abs(place_mm) > _PLACE_MM_MAX:
        raise ValueError(f"{place_mm:g} mm is beyond any machine")
    return round(place_mm * 1000.0)


@dataclass(frozen=True, slots=True)
class Block:
    """One straight move that the planner holds: from where to where, in um of the work frame.

    `feed_mm_min`: as programmed, None where the machine goes as fast as it may. `power_s`: 0 where the beam is dark.
    """

    number: int
    start_um: tuple[int, int, int]
    end_um: tuple[int, int, int]
    feed_mm_min: float | None
    power_s: float


@dataclass(frozen=True, slots=True)
class Told:
    """A move as it is sent. `says_modes`: it changes what the parser takes for granted. `block`: None if it is none."""

    line: bytes
    says_modes: bool
    block: Block | None


class Program:
    """What the parser was told so far: its modes and its place. `state` is what `$G` must answer."""

    def __init__(self) -> None:
        self.state = ParserState()
        self.place_um = (0, 0, 0)
        self.number = 0
        self.lines_unasked = 0  # since the last question
        self._motion = "G0"  # the plan's own modal motion word
        self._is_anchored = False

    def rest_at(self, place_um: tuple[int, int, int]) -> None:
        """The machine was seen to stand here: the next move is absolute."""
        self.place_um = place_um
        self._is_anchored = False

    def changes_modes(self, move: Planned) -> bool:
        """Whether sending `move` now would change the parser's modes: ask before."""
        state = self.state
        return (
            (move.motion or self._motion) != state.motion
            or (move.feed_mm_min is not None and move.feed_mm_min != state.feed_mm_min)
            or (move.power_s is not None and move.power_s != state.power_s)
            or (state.distance == "G91") is not self._is_anchored
        )

    @property
    def wants_question(self) -> bool:
        """Whether a question is due for the number of lines."""
        return self.lines_unasked >= QUESTION_EVERY_LINES

    def asked(self) -> None:
        """A question was sent."""
        self.lines_unasked = 0

    def tell(self, move: Planned) -> Told:
        """The line that makes `move` from here; the parser is taken to have read it."""
        state, start = self.state, self.place_um
        self.number = self.number % NUMBERS + 1
        parts = [f"N{self.number}"]
        motion = self._motion = move.motion or self._motion
        distance = "G91" if self._is_anchored else "G90"
        feed = state.feed_mm_min if move.feed_mm_min is None else move.feed_mm_min
        power = state.power_s if move.power_s is None else move.power_s
        if distance != state.distance:
            parts.append(distance)
        if motion != state.motion:
            parts.append(motion)
        end = list(start)
        for axis, place_um in move.target_um:
            end[axis] = place_um
            if not self._is_anchored:
                parts.append(_AXES[axis] + millimetres(place_um))
            elif place_um != start[axis]:
                parts.append(_AXES[axis] + millimetres(place_um - start[axis]))
        if feed != state.feed_mm_min:
            parts.append("F" + plain(feed))
        if power != state.power_s:
            parts.append("S" + plain(power))
        now = replace(state, motion=motion, distance=distance, feed_mm_min=feed, power_s=power)
        says_modes = now != state
        self._is_anchored = self._is_anchored or bool(move.target_um)
        self.state, self.place_um = now, (end[0], end[1], end[2])
        self.lines_unasked += 1
        block = None
        if self.place_um != start:
            is_dark = motion == "G0" or now.spindle == "M5"
            block = Block(
                self.number, start, self.place_um, feed if motion == "G1" else None, 0.0 if is_dark else power
            )
        return Told("".join(parts).encode() + b"\n", says_modes, block)

    def tell_beam(self, beam: Planned) -> bytes:
        """The line that changes the spindle state, only at rest; it also leaves the mode in which a beam lights."""
        self.number = self.number % NUMBERS + 1
        power = self.state.power_s if beam.power_s is None else beam.power_s
        line = f"N{self.number}G0{beam.spindle}S{plain(power)}\n"
        self.state = replace(self.state, motion="G0", spindle=beam.spindle, power_s=power)
        return line.encode()

    def tell_start(self) -> bytes:
        """The line that sets every mode which a stream relies on."""
        self.number = self.number % NUMBERS + 1
        self.state = replace(
            self.state, motion="G0", offset="G54", plane="G17", units="G21", distance="G90", feed_mode="G94",
            program="", spindle="M5", coolant="M9",
        )  # fmt: skip
        self._motion = "G0"
        return f"N{self.number}G0G17G21G54G90G94M5M9\n".encode()


def differences(told: ParserState, due: ParserState) -> str:
    """What the parser says against what it was told, as words; "" where they agree.

    Feed and power are printed without decimals, so half a unit is not seen.
    """
    found = [
        f"{getattr(told, name) or 'no stop'} instead of {getattr(due, name) or 'no stop'}"
        for name in ("motion", "offset", "plane", "units", "distance", "feed_mode", "program", "spindle", "coolant")
        if getattr(told, name) != getattr(due, name)
    ]
    if abs(told.feed_mm_min - due.feed_mm_min) > 0.51:
        found.append(f"F{told.feed_mm_min:g} instead of F{due.feed_mm_min:g}")
    if abs(told.power_s - due.power_s) > 0.51:
        found.append(f"S{told.power_s:g} instead of S{due.power_s:g}")
    return ", ".join(found)


def is_damaged(text: str, due: ParserState) -> bool:
    """Whether a line that is no state at all is `due` as the controller prints it, but for one damaged place.

    The other places then agree. What the damaged one hid could only be another mode if the line that set it had been
    damaged in the very same place.
    """
    modes = f"{due.motion} {due.offset} {due.plane} {due.units} {due.distance} {due.feed_mode}"
    program = f" {due.program}" if due.program else ""
    for dot in ("", "."):  # builds differ
        feed, power = round(due.feed_mm_min), round(due.power_s)
        whole = f"[GC:{modes}{program} {due.spindle} {due.coolant} T0 F{feed}{dot} S{power}{dot}]"
        same_start = next((i for i, (a, b) in enumerate(zip(text, whole)) if a != b), min(len(text), len(whole)))
        rest, whole_rest = text[same_start:], whole[same_start:]
        same_end = 0
        while same_end < min(len(rest), len(whole_rest)) and rest[-1 - same_end] == whole_rest[-1 - same_end]:
            same_end += 1
        if max(len(rest), len(whole_rest)) - same_end <= 1:
            return True
    return False


PWM_TOP = 255
"""An 8-bit pulse width; 1 is the least that is not off (gnea/grbl, spindle_control.c and cpu_map.h of the Uno)."""


def power_error(power_s: float, s_max: float) -> float:
    """How far, as a share of it, the beam that the controller puts out for S lies off what S asks for ($31 is 0)."""
    if power_s <= 0:
        return 0.0
    if power_s >= s_max:
        return s_max / power_s - 1.0
    level = math.floor(power_s * (PWM_TOP - 1) / s_max) + 1
    return level / PWM_TOP * s_max / power_s - 1.0


def millimetres(place_um: int) -> str:
    """Micrometres as millimetres, without idle zeros."""
    sign, size = ("-", -place_um) if place_um < 0 else ("", place_um)
    whole, rest = divmod(size, 1000)
    return f"{sign}{whole}.{rest:03d}".rstrip("0").rstrip(".")


def plain(value: float) -> str:
    """A feed or a power, three decimals at most and no idle zeros."""
    return f"{value:.3f}".rstrip("0").rstrip(".")

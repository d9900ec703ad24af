"""A plan's lines as RepRapFirmware is told them: several moves in a line, each line in a frame of its own. No I/O.

The firmware drops a damaged line without a word and compares no numbers, so a line that is sent again because its
answer is missing may be carried out twice. It must not be, and therefore lines alternate between two workplaces: G54,
whose zero is the machine's, and G55, whose X lies so far off that the same words lead beyond the machine's limits. A
line of moves ends by choosing the other workplace. Carried out a second time it stands in the wrong one, each of its
moves is refused (`target position outside machine limits`; in laser mode nothing is clipped), and choosing the other
workplace again changes nothing: the bit of an alternating-bit protocol, kept by the board.

Power: the firmware scales S by the speed over the one that a move *reaches*, not the one that was asked for, so a move
too short for its speed would get too much energy. Such a move is told the speed that it surely reaches, and S in
proportion: energy for each mm, and the course of the power along it, are then what was planned.

Sources: Duet3D StringParser.cpp (`SetFinished`: several commands a line), GCodes.cpp (`DoStraightMove`), GCodes2.cpp
(G10 L2, G54 to G59.3: no standstill), DDA.cpp (`ManageLaserPower`); Duet's G-code dictionary.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from firmware_bridge.links.reprap_crc16 import FRAME_BYTES_MAX, LINE_BYTES_MAX

ROOM_BYTES = LINE_BYTES_MAX - FRAME_BYTES_MAX - len(' G55 M118 S"k99999A"')
"""For the moves of a line. A single move always fits."""

CLOSE_MM = 0.002
"""Two places nearer than this cannot be told apart by M114's three digits."""

_JUMP = re.compile(rb"G0 X(-?\d+\.?\d*) Y(-?\d+\.?\d*)(?: F\d+\.?\d*)?(?: S0)?")
_EXPOSE = re.compile(rb"G1 X(-?\d+\.?\d*) Y(-?\d+\.?\d*) F(\d+\.?\d*) S(\d+\.?\d*)")
_DWELL = re.compile(rb"G4 P(\d{1,7})")
_BEAM_OFF = re.compile(rb"M[34] I(?: S0)?|M5(?: I)?")


@dataclass(frozen=True, slots=True)
class Step:
    """A move in the plane. `feed_mm_min` None: a dark jump, as fast as the axes go."""

    x_mm: float
    y_mm: float
    feed_mm_min: float | None = None
    power_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Any line that is no move: `command` may be carried out twice without harm. `takes_s`: beyond the moves before it.
    `is_sync`: it waits for those."""

    command: bytes
    takes_s: float
    is_sync: bool


Planned = Step | Pause


def parse_planned(line: bytes) -> Planned:
    """One line of the slicer's Marlin program. ValueError for any line that such a program does not hold.

    `M4 I S0` and `M5 I` become M5: power stands in each G1. `G0` loses its feed: in laser mode it is dark, and as fast
    as the axes may.
    """
    if (found := _JUMP.fullmatch(line)) is not None:
        return Step(_place(found[1]), _place(found[2]))
    if (found := _EXPOSE.fullmatch(line)) is not None:
        feed_mm_min = float(found[3])
        if feed_mm_min <= 0:
            raise ValueError("its feed is 0")
        return Step(_place(found[1]), _place(found[2]), feed_mm_min, float(found[4]))
    if _BEAM_OFF.fullmatch(line) is not None:
        return Pause(b"M5", 0.0, False)
    if (found := _DWELL.fullmatch(line)) is not None:
        return Pause(b"G4 P%d" % int(found[1]), int(found[1]) / 1000.0, True)
    if line == b"M400":
        return Pause(b"M400", 0.0, True)
    raise ValueError("it is no line of a layer's program (G0 X Y, G1 X Y F S, G4 P, M4 I S0, M5 I, M400)")


def _place(digits: bytes) -> float:
    value = float(digits)
    if abs(value) > 10_000.0:
        raise ValueError(f"{value:g} mm is beyond any machine")
    return round(value, 3)


def at_reached_speed(step: Step, length_mm: float, acceleration_mm_s2: float) -> Step:
    """`step` at a speed that a move of this length reaches even from rest to rest, its S in proportion."""
    if step.feed_mm_min is None or length_mm <= 0:
        return step
    reached_mm_min = 60.0 * math.sqrt(acceleration_mm_s2 * length_mm)
    if reached_mm_min >= step.feed_mm_min:
        return step
    feed_mm_min = max(math.floor(reached_mm_min * 1000.0) / 1000.0, 0.001)
    return Step(step.x_mm, step.y_mm, feed_mm_min, step.power_s * feed_mm_min / step.feed_mm_min)


def duration_s(step: Step, length_mm: float, acceleration_mm_s2: float, rapid_mm_s: float) -> float:
    """Longest time that the move can take: from rest to rest."""
    speed_mm_s = min(rapid_mm_s, step.feed_mm_min / 60.0 if step.feed_mm_min is not None else rapid_mm_s)
    if length_mm * acceleration_mm_s2 < speed_mm_s * speed_mm_s:
        return 2.0 * math.sqrt(length_mm / acceleration_mm_s2)
    return length_mm / speed_mm_s + speed_mm_s / acceleration_mm_s2


@dataclass(frozen=True, slots=True)
class Batch:
    """The moves of one line: how many steps it takes along, and their words."""

    count: int
    words: bytes


def pack(steps: Sequence[Step], start_mm: tuple[float, float], shift_mm: float, moves_max: int) -> Batch:
    """As many of `steps` as one line holds, at most `moves_max`, from `start_mm` on; at least the first.

    It ends in another place than it begins, so that M114 tells whether it was carried out; a single step may end where
    it begins, for then it is nothing. `shift_mm`: what the workplace that the line stands in wants added to X.
    """
    best, words, told = Batch(0, b""), b"", None
    for count, step in enumerate(steps[:moves_max], start=1):
        place = f"X{plain(step.x_mm + shift_mm)}Y{plain(step.y_mm)}"
        if step.feed_mm_min is None:
            words += f" G0{place}".encode()
        else:
            feed = "" if step.feed_mm_min == told else f"F{plain(step.feed_mm_min)}"
            words += f" G1{place}{feed}S{plain(step.power_s)}".encode()
            told = step.feed_mm_min
        if len(words) > ROOM_BYTES:
            break
        if count == 1 or _differ(start_mm, (step.x_mm, step.y_mm)):
            best = Batch(count, words)
    return best


def _differ(a_mm: tuple[float, float], b_mm: tuple[float, float]) -> bool:
    return max(abs(a_mm[0] - b_mm[0]), abs(a_mm[1] - b_mm[1])) > CLOSE_MM


def plain(value: float) -> str:
    """Three decimals at most, and no idle zeros."""
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text

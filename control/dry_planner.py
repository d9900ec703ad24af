"""Did the motion controller ever run dry? How long a layer took, against how long its motion needs.

A controller whose next line comes late stands still with the last power on, and nothing in its answers says so: each
line is taken, each is executed, the position is right. What it cannot hide is the time: that of the whole, if it waited
for long (`stood_s`), and when each line was taken, if it waited at all (`late_line_s`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slicer.envelope import Envelope
from slicer.motion_time import chain_times_s

_DWELL = re.compile(rb"G4 P(\d+)$")
_MOVE = re.compile(rb"G[01] X(-?[\d.]+) Y(-?[\d.]+)(?: F([\d.]+))?")

LATE_S = 0.1  # the way to the controller and back, and the first lines, before it can look ahead
LATE_SHARE = 0.002  # of the whole: rounding of speeds and corners


def motion_time_s(lines: Sequence[bytes], start_mm: tuple[float, float], envelope: Envelope) -> float:
    """Seconds that G0, G1 and G4 lines need from rest at `start_mm` (x, y) to rest, if none of them comes late."""
    return float(line_times_s(lines, start_mm, envelope).sum())


def line_times_s(lines: Sequence[bytes], start_mm: tuple[float, float], envelope: Envelope) -> NDArray[np.float64]:
    """The same of each line: (len(lines),) f8, 0 for one that moves nothing."""
    times_s = np.zeros(len(lines))
    points_mm: list[tuple[float, float]] = [start_mm]
    speeds_mm_s: list[float] = []
    moves: list[int] = []  # the lines of this chain
    speed_mm_s = envelope.speed_mm_s_max
    for number, line in enumerate(lines):
        dwell = _DWELL.match(line)
        if dwell is not None:  # it stands still before, and then as long as it is told
            times_s[moves] = _chain_s(points_mm, speeds_mm_s, envelope)
            times_s[number] = float(dwell[1]) / 1000.0
            points_mm, speeds_mm_s, moves = [points_mm[-1]], [], []
        move = _MOVE.match(line)
        if move is None:
            continue
        speed_mm_s = float(move[3]) / 60.0 if move[3] else speed_mm_s
        end_mm = (float(move[1]), float(move[2]))
        if end_mm != points_mm[-1]:
            points_mm.append(end_mm)
            speeds_mm_s.append(speed_mm_s)
            moves.append(number)
    times_s[moves] = _chain_s(points_mm, speeds_mm_s, envelope)
    return times_s


def _chain_s(points_mm: list[tuple[float, float]], speeds_mm_s: list[float], envelope: Envelope) -> NDArray[np.float64]:
    if not speeds_mm_s:
        return np.zeros(0)
    return chain_times_s(np.array(points_mm), np.array(speeds_mm_s), envelope)


def stood_s(took_s: float, lines: Sequence[bytes], start_mm: tuple[float, float], envelope: Envelope) -> float:
    """How long the controller must have stood within `took_s`; 0.0 where that is within what is usual."""
    needed_s = motion_time_s(lines, start_mm, envelope)
    over_s = took_s - needed_s
    return over_s if over_s > LATE_S + LATE_SHARE * needed_s else 0.0


def late_line_s(
    sent_s: Sequence[float],
    taken_s: Sequence[float],
    lines: Sequence[bytes],
    start_mm: tuple[float, float],
    envelope: Envelope,
) -> float:
    """How long the controller may have waited for any one move behind another, at most; 0.0: it never did.

    A move that was known to be taken before those in front of it can have been carried out, had all of them begun as
    soon as they were sent, was in time. Moves behind a line that moves nothing begin anew: the controller may have
    brought everything to rest for it.

    Args:
        sent_s, taken_s: when each line was handed to the wire at the earliest, and when it was known to be taken.
        lines, start_mm, envelope: as of `motion_time_s`.
    """
    worst_s, ends_s, moved_s, is_chained = 0.0, -math.inf, 0.0, False
    for sent, taken, needs_s in zip(sent_s, taken_s, line_times_s(lines, start_mm, envelope).tolist(), strict=True):
        if needs_s == 0.0:
            is_chained = False
            continue
        if is_chained:
            worst_s = max(worst_s, taken - (ends_s - LATE_SHARE * moved_s))
        ends_s, moved_s, is_chained = max(ends_s, sent) + needs_s, moved_s + needs_s, True
    return worst_s

"""Did the motion controller ever run dry? How long a layer took, against how long its motion needs.

A controller whose next line comes late stands still with the last power on, and nothing in its answers says so: each
line is taken, each is executed, the position is right. What it cannot hide is the time.
"""

from __future__ import annotations

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

"""How long a machine will really need for a scan path, with its accelerations and corners."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slicer.envelope import Envelope
from slicer.kernels.motion import chain_moves, empty_scratch, move_times
from slicer.scan import ScanPath


@dataclass(frozen=True)
class PathTime:
    """Seconds of one layer's path: with the beam on, jumping with the beam off, and both."""

    beam_on_s: float
    jumping_s: float

    @property
    def total_s(self) -> float:
        return self.beam_on_s + self.jumping_s


def path_time(path: ScanPath, envelope: Envelope, jump_speed_mm_s: float | None = None) -> PathTime:
    """Motion time of one layer, from rest at the first vector's start to rest at the last one's end.

    Every move is taken to be known ahead; a controller that holds 16 blocks needs the same unless the line starves
    it. Jumps without a speed of their own go as fast as the gantry may. Recoating, heating and the way to the first
    vector are not part of a path and are not counted.
    """
    if not len(path):
        return PathTime(0.0, 0.0)
    points_mm, cruise_mm_s, is_vector = empty_scratch(len(path))
    jump = envelope.speed_mm_s_max if jump_speed_mm_s is None else jump_speed_mm_s
    n = chain_moves(path.vectors_mm, path.speed_mm_s, jump, points_mm, cruise_mm_s, is_vector)
    times_s = chain_times_s(points_mm[: n + 1], cruise_mm_s[:n], envelope)
    on = is_vector[:n] == 1
    return PathTime(float(times_s[on].sum()), float(times_s[~on].sum()))


def chain_times_s(
    points_mm: NDArray[np.float64], cruise_mm_s: NDArray[np.float64], envelope: Envelope
) -> NDArray[np.float64]:
    """Seconds of each move of a chain of corners, (n + 1, 2) f8, at wanted speeds (n,) f8, from rest to rest."""
    n = len(cruise_mm_s)
    assert points_mm.shape == (n + 1, 2), f"points_mm is {points_mm.shape}, not ({n + 1}, 2)"
    times_s = np.empty(n)
    cruise = np.minimum(cruise_mm_s, envelope.speed_mm_s_max)
    move_times(
        np.ascontiguousarray(points_mm, np.float64),
        cruise,
        envelope.acceleration_mm_s2,
        envelope.junction_deviation_mm,
        times_s,
        np.empty(n + 1),
    )
    return times_s

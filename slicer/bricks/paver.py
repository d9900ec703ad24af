"""The paving tile of the PAVER project: a hollow triangle that one melt track draws without crossing itself.

A track of 45 mm around a tile of 250 mm is published (Gines-Palomares et al. 2023, doi 10.1038/s41598-023-42008-1); the
wave by which the sides lock is ours.
"""

from __future__ import annotations

import math

import numpy as np

from slicer.bricks.measures import (
    CHORD_TOLERANCE,
    BrickError,
    Measure,
    check_chord,
    check_measures,
    clearance,
    edge,
)
from slicer.bricks.solids import Floats, Pose, Triangles, ladder, loft, pose
from slicer.mesh import Mesh

PAVER = (
    edge("side_mm", 250.0, "side of the triangle that the tile takes in the paving"),
    edge("track_mm", 45.0, "width of the ring: one melt track"),
    edge("height_mm", 15.0, "thickness of the tile"),
    Measure("lock_mm", 4.0, 0.0, 500.0, "height of the wave in each side; 0 makes the sides straight"),
    clearance(2.0, "joint to each neighbour; every outer side stands back by half of it"),
    CHORD_TOLERANCE,
)

WAVE_TOP = 3 * math.sqrt(3) / 4
"""Greatest value of sin x (1 - cos x), at x = 120 deg."""


def paver(
    *,
    side_mm: float,
    track_mm: float,
    height_mm: float,
    lock_mm: float,
    clearance_mm: float,
    chord_tolerance_mm: float,
    name: str = "paver",
) -> Mesh:
    """A triangular ring whose sides carry one wave each, opposite over their two halves.

    Turned by half a turn about the middle of a side the tile fits itself, so one tile paves the plane. The wave,
    lock (4 / 3 sqrt 3) sin x (1 - cos x) over the hole's length, begins and ends straight and flat, and the hole
    follows it. With side s (its half clearance taken away on each side) and track w the hole's side is s - 2 sqrt(3) w
    and the area sqrt(3)/4 (s^2 - hole^2), less 3 d (l - hole) where l is the wave's length and d half the clearance.

    Raises:
        BrickError: a measure out of range, a track that leaves no hole, or a wave too high for the side.
    """
    check_measures(
        name,
        PAVER,
        {
            "side_mm": side_mm,
            "track_mm": track_mm,
            "height_mm": height_mm,
            "lock_mm": lock_mm,
            "clearance_mm": clearance_mm,
            "chord_tolerance_mm": chord_tolerance_mm,
        },
    )
    check_chord(name, chord_tolerance_mm, clearance_mm)
    back = clearance_mm / 2
    hole_mm = side_mm - 2 * math.sqrt(3) * (track_mm + back)
    if hole_mm < track_mm / 4:
        raise BrickError(
            f"brick {name}: a track of {track_mm:g} mm leaves no hole in a triangle of {side_mm:g} mm; narrow the track"
            f" to {side_mm / (2 * math.sqrt(3) + 0.25) - back:.3g} mm or less, or widen the side"
        )
    if lock_mm > min(hole_mm / 8, track_mm / 4):
        raise BrickError(
            f"brick {name}: a wave of {lock_mm:g} mm is too high for sides of {side_mm:g} mm with a track of"
            f" {track_mm:g} mm; set lock_mm to {min(hole_mm / 8, track_mm / 4):.3g} or less"
        )
    along, wave, outward = _wave(hole_mm, lock_mm, chord_tolerance_mm)
    if lock_mm and clearance_mm * _sharpest_per_mm(hole_mm, lock_mm) > 1.0:
        raise BrickError(
            f"brick {name}: the wave bends too sharply for a clearance of {clearance_mm:g} mm; lower lock_mm or"
            " clearance_mm"
        )
    # one side, its middle over the triangle's centre: x along it, y outwards
    inner_y = side_mm / (2 * math.sqrt(3)) - back - track_mm
    outer = np.column_stack([along, inner_y + track_mm + back + wave]) - back * outward
    corner = (-0.5 * (side_mm - clearance_mm * math.sqrt(3)), inner_y + track_mm)
    inner = np.column_stack([along, inner_y + wave])
    rings = [_thrice(np.concatenate([outer[::-1], [corner]]), 120.0), _thrice(inner[:-1], -120.0)]
    return loft(rings, rings, _cap(len(along)), height_mm, name)


def paver_neighbours(*, side_mm: float, **_measures: float) -> dict[str, Pose]:
    """The three tiles beside this one, each turned by half a turn about the middle of a common side."""
    reach = side_mm / math.sqrt(3)
    names = {90.0: "behind", 210.0: "left", 330.0: "right"}
    return {
        name: pose(180, (reach * math.cos(math.radians(at)), reach * math.sin(math.radians(at)), 0))
        for at, name in names.items()
    }


def _wave(length_mm: float, lock_mm: float, chord_tolerance_mm: float) -> tuple[Floats, Floats, Floats]:
    """A wave along a side: x (odd about 0), height (odd about 0) and unit normal (n, 2) pointing outwards."""
    bend = _sharpest_per_mm(length_mm, lock_mm)
    steps = max(2 * math.ceil(length_mm * math.sqrt(bend / (8 * chord_tolerance_mm)) / 2), 2)
    along = length_mm * (np.arange(steps + 1) - steps / 2) / steps
    angle = 2 * np.pi * along / length_mm + np.pi
    rate = lock_mm / WAVE_TOP * 2 * np.pi / length_mm
    slope = rate * (np.cos(angle) - np.cos(2 * angle))
    height = lock_mm / WAVE_TOP * np.sin(angle) * (1 - np.cos(angle))
    height, slope = 0.5 * (height - height[::-1]), 0.5 * (slope + slope[::-1])
    outward = np.column_stack([-slope, np.ones_like(slope)]) / np.hypot(slope, 1.0)[:, None]
    return along, height, outward


def _sharpest_per_mm(length_mm: float, lock_mm: float) -> float:
    """A bound of the wave's second derivative, 1/mm: |2 sin 2x - sin x| is under 2.75."""
    return 2.75 * lock_mm / WAVE_TOP * (2 * math.pi / length_mm) ** 2


def _thrice(side: Floats, turn_deg: float) -> Floats:
    """A ring of one side and its two turned copies, walked in the sense of the turn."""
    return np.concatenate([side @ pose(turn)[:2, :2].T for turn in (0.0, turn_deg, 2 * turn_deg)])


def _cap(points: int) -> Triangles:
    """Triangles between the outer ring (three sides of `points` corners and the triangle's corner) and the hole.

    The hole's ring runs the other way round, and each of its corners ends one side and begins the next.
    """
    outside, inside = 3 * (points + 1), 3 * (points - 1)
    cap: list[Triangles] = []
    for side in range(3):
        outer = side * (points + 1) + np.arange(points)
        inner = outside + (-side * (points - 1) + np.arange(points)[::-1]) % inside
        tip, after = outer[-1] + 1, (outer[-1] + 2) % outside
        cap += [ladder(inner, outer), np.array([(outer[-1], tip, inner[-1]), (tip, after, inner[-1])])]
    return np.concatenate(cap)

"""Offsets of closed loops: beam compensation and contours, by Clipper2 (through manifold3d)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

import manifold3d
import numpy as np
from numpy.typing import NDArray

from slicer.errors import ScanError
from slicer.kernels import cutting

Loops = tuple[NDArray[np.float64], NDArray[np.int64]]
"""(p, 2) f8 points and (l + 1,) i8 loop starts, outer loops counter-clockwise, holes clockwise."""

ARC_PART = 0.02
"""How far a chord may stay behind the arc around a corner, as a part of the offset ..."""

ARC_MAX_MM = 0.02
"""... and never farther than this."""


class Outline(Protocol):
    """Anything with loops, such as a Layer."""

    @property
    def points_mm(self) -> NDArray[np.float64]: ...
    @property
    def loop_starts(self) -> NDArray[np.int64]: ...


def offset_loops(outline: Outline | Loops, distance_mm: float) -> Loops:
    """Move an outline outward (positive distance) or inward (negative), in mm, with round corners.

    Every point of the result is |distance| from the outline, so a beam of that radius whose centre runs along an inward
    offset just touches the outline. What is narrower than twice the distance vanishes. Overlapping bodies become one.
    """
    return next(offset_each(outline, [distance_mm]))


def offset_each(
    outline: Outline | Loops, distances_mm: list[float], hole_distances_mm: list[float] | None = None
) -> Iterator[Loops]:
    """`offset_loops` for several distances from one outline, which is prepared only once.

    `hole_distances_mm`: by how much the borders of holes are moved instead, one for each distance (a positive one moves
    them towards the hole's middle).
    """
    points, starts = outline if isinstance(outline, tuple) else (outline.points_mm, outline.loop_starts)
    if not all(math.isfinite(distance) for distance in distances_mm):
        raise ScanError(f"An outline cannot be moved by {distances_mm} mm; offsets must be finite.")
    if not np.isfinite(points).all():
        raise ScanError("The outline has a coordinate that is no number; check the mesh it was cut from.")
    # Clipper counts in fixed steps of 1e-8 mm: near the origin it keeps them whatever the place of the part.
    centre = 0.5 * (points.min(axis=0) + points.max(axis=0)) if len(points) else np.zeros(2)
    near = points - centre
    section = manifold3d.CrossSection([near[a:b] for a, b in pairwise(starts)], manifold3d.FillRule.Positive)
    if hole_distances_mm is not None:
        rings = section.to_polygons()  # bodies that overlap are one now, and holes run clockwise
        for distance, of_holes in zip(distances_mm, hole_distances_mm, strict=True):
            moved_rings = [ring for one in rings for ring in _moved_ring(one, distance, of_holes)]
            yield _loops(manifold3d.CrossSection(moved_rings, manifold3d.FillRule.Positive).to_polygons(), centre)
        return
    for distance in distances_mm:
        yield _loops(_moved(section, distance).to_polygons(), centre)


def thinned(loops: Loops, tolerance_mm: float) -> Loops:
    """The loops without the points that lie within a tolerance of the straight lines between the others."""
    points, starts = loops
    if len(points) == 0:
        return loops
    out, out_starts = np.empty_like(points), np.empty_like(starts)
    count = cutting.thin_loops(points, starts, float(tolerance_mm), out, out_starts)
    return out[: out_starts[count]].copy(), out_starts[: count + 1].copy()


def _moved(section: manifold3d.CrossSection, distance_mm: float) -> manifold3d.CrossSection:
    if distance_mm == 0.0:
        return section
    return section.offset(distance_mm, manifold3d.JoinType.Round, 2.0, _arc_segments(abs(distance_mm)))


def _moved_ring(ring: NDArray[np.float64], distance_mm: float, of_holes_mm: float) -> list[NDArray[np.float64]]:
    """One loop moved by itself: an outer one by the first distance, a hole (clockwise) by the second."""
    x, y = ring.T
    if float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) > 0.0:
        return _moved(manifold3d.CrossSection([ring], manifold3d.FillRule.Positive), distance_mm).to_polygons()
    hole = manifold3d.CrossSection([ring[::-1]], manifold3d.FillRule.Positive)
    return [moved[::-1] for moved in _moved(hole, -of_holes_mm).to_polygons()]


def _arc_segments(radius_mm: float) -> int:
    """Chords that a full turn of this radius is cut into, so that none stays behind the arc by more than allowed."""
    behind = min(ARC_PART * radius_mm, ARC_MAX_MM)
    chords = math.pi / math.acos(1.0 - behind / radius_mm)
    return 4 * math.ceil(min(chords, 720.0) / 4.0)


def _loops(polygons: list[NDArray[np.float64]], centre: NDArray[np.float64]) -> Loops:
    starts = np.zeros(len(polygons) + 1, np.int64)
    if not polygons:
        return np.zeros((0, 2)), starts
    np.cumsum([len(polygon) for polygon in polygons], out=starts[1:])
    return np.concatenate(polygons) + centre, starts

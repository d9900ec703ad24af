"""Offsets of closed loops: beam compensation and contours.

Our own kernel does the work (`slicer.kernels.offsetting`) and checks itself; an outline that it cannot answer for is
left to Clipper2 (through manifold3d). `tally` counts both.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from slicer.errors import ScanError
from slicer.kernels import cutting, offsetting, resolving

Loops = tuple[NDArray[np.float64], NDArray[np.int64]]
"""(p, 2) f8 points and (l + 1,) i8 loop starts, outer loops counter-clockwise, holes clockwise."""

ARC_PART = 0.02
"""How far a chord may stay behind the arc around a corner, as a part of the offset ..."""

ARC_MAX_MM = 0.02
"""... and never farther than this."""


RULES = {"positive": resolving.POSITIVE, "non_zero": resolving.NON_ZERO, "even_odd": resolving.EVEN_ODD}
"""What is inside, by the number of times that loops wind around it counter-clockwise."""


CHORDS_MAX = 720
"""Chords that a full turn is cut into at most, whatever its radius."""


class Outline(Protocol):
    """Anything with loops, such as a Layer."""

    @property
    def points_mm(self) -> NDArray[np.float64]: ...
    @property
    def loop_starts(self) -> NDArray[np.int64]: ...


@dataclass
class Tally:
    """How many offsets were made in this process, and how many of them Clipper2 had to make."""

    made: int = 0
    fell_back: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def count(self, made: int, fell_back: int) -> None:
        """Add to both numbers; from any thread."""
        with self._lock:
            self.made += made
            self.fell_back += fell_back


tally = Tally()


def offset_loops(outline: Outline | Loops, distance_mm: float) -> Loops:
    """Move an outline outward (positive distance) or inward (negative), in mm, with round corners.

    Every point of the result is |distance| from the outline, so a beam of that radius whose centre runs along an inward
    offset just touches the outline. What is narrower than twice the distance vanishes. Overlapping bodies become one.
    """
    return next(offset_each(outline, [distance_mm]))


def offset_each(
    outline: Outline | Loops, distances_mm: Sequence[float], hole_distances_mm: Sequence[float] | None = None
) -> Iterator[Loops]:
    """`offset_loops` for several distances from one outline, which is prepared only once.

    Args:
        outline: loops with the inside to the left; where they overlap they are united first.
        distances_mm: how far the outer loops move, each for one result; positive makes more material.
        hole_distances_mm: how far the loops of holes move then (positive makes more material, the hole smaller), where
            holes need another compensation than outer loops; as far as those if None.

    Raises:
        ScanError: a distance or a coordinate is no finite number, or there are not as many of one as of the other.
    """
    points, starts = outline if isinstance(outline, tuple) else (outline.points_mm, outline.loop_starts)
    holes_mm = distances_mm if hole_distances_mm is None else hole_distances_mm
    if len(holes_mm) != len(distances_mm):
        raise ScanError(f"{len(distances_mm)} offsets of outer loops need as many of holes, not {len(holes_mm)}.")
    if len(distances_mm) == 0:
        return
    moves, chords, behind = _moves(tuple(map(float, distances_mm)), tuple(map(float, holes_mm)))
    if len(points) == 0:
        yield from ((np.zeros((0, 2)), np.zeros(1, np.int64)) for _ in distances_mm)
        return
    states, parts, loop_starts, moved = offsetting.offset_outline(
        np.ascontiguousarray(points, np.float64), np.ascontiguousarray(starts, np.int64), moves, chords, behind
    )
    if states[0] == resolving.NO_NUMBER:
        raise ScanError("The outline has a coordinate that is no number; check the mesh it was cut from.")
    tally.count(len(states), int(np.count_nonzero(states == resolving.FAILED)))
    for i, state in enumerate(states):
        if state == resolving.FAILED:
            yield clipper_offset((points, starts), *moves[i])
        else:
            own = loop_starts[parts[i, 0] : parts[i, 1] + 1]
            yield moved[own[0] : own[-1]], own - own[0]


def resolve_loops(loops: Loops, rule: str = "positive") -> Loops:
    """The border of what a rule of `RULES` calls inside: loops that do not cross, with the inside to the left."""
    points, starts = loops
    centre = 0.5 * (points.min(axis=0) + points.max(axis=0)) if len(points) else np.zeros(2)
    state, found, begins, _, _ = resolving.resolve(points - centre, np.ascontiguousarray(starts), RULES[rule])
    tally.count(1, int(state == resolving.FAILED))
    if state != resolving.FAILED:
        return found + centre, begins
    import manifold3d

    fill = {"positive": "Positive", "non_zero": "NonZero", "even_odd": "EvenOdd"}[rule]
    near = points - centre
    section = manifold3d.CrossSection([near[a:b] for a, b in pairwise(starts)], getattr(manifold3d.FillRule, fill))
    return _loops(section.to_polygons(), centre)


def clipper_offset(loops: Loops, distance_mm: float, hole_distance_mm: float) -> Loops:
    """The same offset by Clipper2: the answer where our kernel has none, and the oracle in the tests."""
    import manifold3d

    points, starts = loops
    # Clipper counts in fixed steps of 1e-8 mm: near the origin it keeps them whatever the place of the part.
    centre = 0.5 * (points.min(axis=0) + points.max(axis=0)) if len(points) else np.zeros(2)
    near = points - centre
    section = manifold3d.CrossSection([near[a:b] for a, b in pairwise(starts)], manifold3d.FillRule.Positive)

    def moved(part: manifold3d.CrossSection, distance: float) -> manifold3d.CrossSection:
        return part.offset(distance, manifold3d.JoinType.Round, 2.0, _arc(abs(distance))[0]) if distance else part

    if hole_distance_mm == distance_mm:
        return _loops(moved(section, distance_mm).to_polygons(), centre)
    rings = section.to_polygons()
    outer = [ring for ring in rings if _area(ring) > 0.0]
    holes = [ring[::-1] for ring in rings if _area(ring) <= 0.0]
    grown = moved(manifold3d.CrossSection(outer), distance_mm).to_polygons()
    grown += [ring[::-1] for ring in moved(manifold3d.CrossSection(holes), -hole_distance_mm).to_polygons()]
    return _loops(manifold3d.CrossSection(grown, manifold3d.FillRule.Positive).to_polygons(), centre)


def thinned(loops: Loops, tolerance_mm: float) -> Loops:
    """The loops without the points that lie within a tolerance of the straight lines between the others."""
    points, starts = loops
    if len(points) == 0:
        return loops
    out, out_starts = np.empty_like(points), np.empty_like(starts)
    count = cutting.thin_loops(points, starts, float(tolerance_mm), out, out_starts)
    return out[: out_starts[count]].copy(), out_starts[: count + 1].copy()


@lru_cache(maxsize=256)
def _moves(
    distances_mm: tuple[float, ...], holes_mm: tuple[float, ...]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """What the kernel asks for: (k, 2) moves of outer loops and holes, chords of their arcs, and what those miss."""
    pairs = list(zip(distances_mm, holes_mm, strict=True))
    if not all(math.isfinite(distance) for pair in pairs for distance in pair):
        raise ScanError(f"An outline cannot be moved by {[*distances_mm, *holes_mm]} mm; offsets must be finite.")
    arcs = [_arc(abs(distance)) for pair in pairs for distance in pair]
    chords, behind = (np.array(column).reshape(-1, 2) for column in zip(*arcs, strict=True))
    return np.array(pairs, np.float64).reshape(-1, 2), chords, behind


def _arc(radius_mm: float) -> tuple[int, float]:
    """Chords that a full turn of this radius is cut into, and how far one may stay behind the arc, mm."""
    if radius_mm == 0.0:
        return 4, 0.0
    behind = min(ARC_PART * radius_mm, ARC_MAX_MM)
    chords = math.pi / max(math.acos(1.0 - behind / radius_mm), math.pi / CHORDS_MAX)
    return 4 * math.ceil(chords / 4.0), behind


def _area(ring: NDArray[np.float64]) -> float:
    x, y = (ring - ring[0]).T
    return 0.5 * float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


def _loops(polygons: list[NDArray[np.float64]], centre: NDArray[np.float64]) -> Loops:
    starts = np.zeros(len(polygons) + 1, np.int64)
    if not polygons:
        return np.zeros((0, 2)), starts
    np.cumsum([len(polygon) for polygon in polygons], out=starts[1:])
    return np.concatenate(polygons) + centre, starts

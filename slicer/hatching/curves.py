"""Hatches along curves: rings, a spiral, Hilbert's curve."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from slicer.cores import core_vectors
from slicer.errors import ScanError
from slicer.hatching.settings import Hatched, HatchSettings, check_extent
from slicer.kernels import curving
from slicer.offsets import Loops, offset_each, thinned
from slicer.regions import EMPTY

BEHIND_PART = 0.02
"""How far a chord of a curve may stay behind its arc, in spacings."""

RINGS_MAX = 20_000
CHORDS_MAX = 20_000_000
CELLS_MAX = 16_000_000


def concentric(
    points_mm: NDArray[np.float64], loop_starts: NDArray[np.int64], angle_rad: float, settings: HatchSettings
) -> Hatched:
    """Fill loops with rings one spacing apart, from the outline inward; every pocket to its core before the next.

    The first ring runs half a spacing inside the loops (`phase` moves it inward by that part of a spacing). It begins
    at its outermost point in the direction of the angle, so that the seam goes round with the angle from layer to
    layer; every other ring begins where it is nearest to the end of the one before it.

    Args:
        points_mm: (p, 2) f8 corners; loop_starts: (l + 1,) i8; loops that do not overlap, holes as loops of their own.
        angle_rad: where the first ring begins, counter-clockwise from x.

    Returns:
        The vectors; a tile is a ring, and behind all rings each core: where the strips of both sides leave less than a
        spacing between them, a line runs in its middle. Each stands for a strip one spacing wide with itself in the
        middle; along cores these share up to a spacing of width, and leave nothing.

    Raises:
        ScanError: the rings are so close that they cannot be counted, or the angle is none.
    """
    return _rings(points_mm, loop_starts, angle_rad, settings, False)


def concentric_outward(
    points_mm: NDArray[np.float64], loop_starts: NDArray[np.int64], angle_rad: float, settings: HatchSettings
) -> Hatched:
    """The rings of `concentric` in the opposite order, from each core outward to the outline."""
    return _rings(points_mm, loop_starts, angle_rad, settings, True)


def spiral(
    points_mm: NDArray[np.float64], loop_starts: NDArray[np.int64], angle_rad: float, settings: HatchSettings
) -> Hatched:
    """Fill loops with one spiral of Archimedes about the middle of their extent, from inside out, cut at the loops.

    It is drawn with as many chords a turn as keep it within `BEHIND_PART` spacings of the arc at its outer end, so the
    chords about the middle are very short. In a loop that the spiral leaves nowhere (a disc) it is one unbroken chain.

    Args as `concentric`; the spiral begins in the direction of the angle, and `phase` moves it outward in spacings.

    Returns:
        The vectors; a tile is an unbroken chain.

    Raises:
        ScanError: the turns are so close that they cannot be counted, or the angle is none.
    """
    if len(points_mm) == 0:
        return Hatched.empty()
    extent = check_extent(points_mm, angle_rad, settings.spacing_mm)
    turned = points_mm @ [[math.cos(angle_rad), -math.sin(angle_rad)], [math.sin(angle_rad), math.cos(angle_rad)]]
    radius = 0.5 * float(np.hypot(*np.ptp(turned, axis=0)))
    behind = min(BEHIND_PART * settings.spacing_mm / max(radius, settings.spacing_mm), 0.5)
    rays = max(math.ceil(math.pi / math.acos(1.0 - behind)), 16)
    if not (radius / settings.spacing_mm + 1.0) * rays < CHORDS_MAX:
        raise ScanError(
            f"A spiral with {settings.spacing_mm:g} mm between its turns needs over {CHORDS_MAX} chords across "
            f"{extent:.6g} mm; make the spacing wider."
        )
    vectors, chain = spiral_chains(points_mm, loop_starts, angle_rad, settings, rays)
    return Hatched.numbered(vectors, chain)


def spiral_chains(
    points_mm: NDArray[np.float64], loop_starts: NDArray[np.int64], angle_rad: float, settings: HatchSettings, rays: int
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """`spiral` with a given number of chords a turn: (n, 4) f8 vectors and (n,) i4 chains."""
    spacing, angle, phase = float(settings.spacing_mm), float(angle_rad), float(settings.phase)
    u, v, chord, part = curving.spiral_crossings(points_mm, loop_starts, spacing, angle, phase, rays)
    along = np.lexsort((part, chord))
    chord, part = chord[along], part[along]
    if len(chord) % 2:  # outside all loops it ends outside, so it began inside
        chord, part = np.append(np.int64(0), chord), np.append(0.0, part)
    vectors, chain = curving.spiral_vectors(u, v, chord, part, spacing, angle, phase, rays, settings.shortest_mm)
    return vectors, chain


def hilbert(
    points_mm: NDArray[np.float64], loop_starts: NDArray[np.int64], angle_rad: float, settings: HatchSettings
) -> Hatched:
    """Fill loops with Hilbert's curve on square cells of one spacing, cut at the loops.

    Short strokes in both directions: neighbours in the plane are exposed at nearly the same time, and no direction is
    preferred. A cell has one spacing of curve, so length times spacing is the area but for the cells on the outline.

    Args as `concentric`; the cells lie along the angle, and `phase` moves them in spacings along both axes.

    Returns:
        The vectors; a tile is an unbroken chain.

    Raises:
        ScanError: the cells are so small that they cannot be counted, or the angle is none.
    """
    if len(points_mm) == 0:
        return Hatched.empty()
    extent = check_extent(points_mm, angle_rad, settings.spacing_mm)
    if not (extent / settings.spacing_mm + 2.0) ** 2 < CELLS_MAX:
        raise ScanError(
            f"Cells of {settings.spacing_mm:g} mm need over {CELLS_MAX} of them across {extent:.6g} mm; "
            "make the spacing wider."
        )
    vectors, chain = curving.hilbert_vectors(
        points_mm, loop_starts, float(settings.spacing_mm), float(angle_rad), float(settings.phase),
        settings.shortest_mm,
    )  # fmt: skip
    return Hatched.numbered(vectors, chain)


def rings_of(points_mm: NDArray[np.float64], loop_starts: NDArray[np.int64], settings: HatchSettings) -> list[Loops]:
    """The loops of each ring inward, to the last that there is; without what is too small for a beam to draw, so that
    a ring may be without loops."""
    spacing = settings.spacing_mm
    extent = float(np.ptp(points_mm, axis=0).min())
    if not 0.5 * extent / spacing < RINGS_MAX:
        raise ScanError(
            f"Rings {spacing:g} mm apart are over {RINGS_MAX} across {extent:.6g} mm; make the spacing wider."
        )
    first = _first_ring(settings.phase)
    distances = [-(first + k) * spacing for k in range(math.floor(0.5 * extent / spacing) + 2)]
    rings = []
    for loops in offset_each((points_mm, loop_starts), distances):
        if len(loops[0]) == 0:
            break
        rings.append(thinned(loops, min(BEHIND_PART, 0.5 * first) * spacing))
    return rings


def _rings(
    points: NDArray[np.float64], starts: NDArray[np.int64], angle: float, settings: HatchSettings, outward: bool
) -> Hatched:
    if len(points) == 0:
        return Hatched.empty()
    check_extent(points, angle, settings.spacing_mm)
    rings = rings_of(points, starts, settings)
    vectors, ring = np.zeros((0, 4)), np.zeros(0, np.int32)
    if any(len(loops[0]) for loops in rings):
        corners = np.concatenate([loops[0] for loops in rings])
        lengths = np.concatenate([np.diff(loops[1]) for loops in rings])
        level = np.repeat(np.arange(len(rings)), [len(loops[1]) - 1 for loops in rings])
        ring_starts = np.concatenate([[0], np.cumsum(lengths)])
        cos, sin = math.cos(angle), math.sin(angle)
        order = curving.ring_order(corners, ring_starts, level, cos, sin)
        vectors, ring = curving.trace_rings(corners, ring_starts, order[::-1].copy() if outward else order, cos, sin)
    cores = _cores(points, starts, rings, settings)
    if cores:
        core = np.repeat(np.arange(len(cores), dtype=np.int32) + int(ring.max(initial=-1)) + 1, [len(c) for c in cores])
        vectors, ring = np.concatenate([vectors, *cores]), np.concatenate([ring, core])
    return Hatched.numbered(vectors, ring)


def _cores(
    points: NDArray[np.float64], starts: NDArray[np.int64], rings: list[Loops], settings: HatchSettings
) -> list[NDArray[np.float64]]:
    """Vectors along the middle of what rings leave: (n, 4) f8 for each core, level by level."""
    spacing = settings.spacing_mm
    first = _first_ring(settings.phase)
    borders = [-max((first + k - 0.5) * spacing, 0.0) for k in range(len(rings) + 1)]
    cores = []
    for border, ring in zip(offset_each((points, starts), borders), [*rings, EMPTY], strict=True):
        if not len(border[0]):
            break
        cores += core_vectors(border, ring, spacing)
    return cores


def _first_ring(phase: float) -> float:
    """How far inside the outline the first ring runs, in spacings: over 0, so that no ring is the outline itself."""
    return 0.5 + phase - math.ceil(phase - 0.5)

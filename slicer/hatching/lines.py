"""Straight hatches: one line after the other across the whole layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slicer.hatching.settings import Hatched, HatchSettings, check_extent
from slicer.kernels import filling


def meander(
    points_mm: NDArray[np.float64], loop_starts: NDArray[np.int64], angle_rad: float, settings: HatchSettings
) -> Hatched:
    """Fill loops with parallel vectors, one line there and the next line back.

    The lines are one set for the whole layer, centred on the extent of all its loops at phase 0, so a hole parts a line
    in two and shifts none of them.

    Args:
        points_mm: (p, 2) f8 corners; loop_starts: (l + 1,) i8; loops that do not overlap, holes as loops of their own.
        angle_rad: of the first line, counter-clockwise from x.

    Returns:
        The vectors, all of tile 0. Their length times the spacing is the filled area.

    Raises:
        ScanError: the spacing is so small that the lines cannot be counted, or the angle is none.
    """
    return _lines(points_mm, loop_starts, angle_rad, settings, True)


def one_way(
    points_mm: NDArray[np.float64], loop_starts: NDArray[np.int64], angle_rad: float, settings: HatchSettings
) -> Hatched:
    """`meander`, but every vector runs in the direction of the angle, so that every line cools alike."""
    return _lines(points_mm, loop_starts, angle_rad, settings, False)


def line_phase(points_mm: NDArray[np.float64], spacing_mm: float, angle_rad: float) -> float:
    """Where the lines of a hatch through these points lie at phase 0, across themselves from the origin, in spacings.

    Two hatches lie on the same lines when the second's phase is the difference between the first's and its own.
    """
    across = points_mm[:, 1] * np.cos(angle_rad) - points_mm[:, 0] * np.sin(angle_rad)
    low, high = float(across.min()), float(across.max())
    lines = max(1.0, np.floor((high - low) / spacing_mm + 0.5))
    return float((0.5 * (low + high) / spacing_mm - 0.5 * (lines - 1.0)) % 1.0)


def _lines(
    points: NDArray[np.float64], starts: NDArray[np.int64], angle: float, settings: HatchSettings, turning: bool
) -> Hatched:
    if len(points) == 0:
        return Hatched.empty()
    check_extent(points, angle, settings.spacing_mm)
    vectors = filling.parallel_vectors(
        points, starts, float(settings.spacing_mm), float(angle), float(settings.phase), settings.shortest_mm, turning
    )
    return Hatched(vectors, np.array([0, len(vectors)])) if len(vectors) else Hatched.empty()

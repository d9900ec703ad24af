"""Straight hatches."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from slicer.errors import ScanError
from slicer.kernels import filling

SHORTEST_PART = 0.1
"""Vectors up to this part of the spacing are left out: they lie in the tips of corners, under the contour's beam."""

LINES_MAX = 1_000_000


def meander(
    points_mm: NDArray[np.float64],
    loop_starts: NDArray[np.int64],
    spacing_mm: float,
    angle_rad: float,
    phase: float = 0.0,
) -> NDArray[np.float64]:
    """Fill loops with parallel vectors, one line there and the next line back.

    Args:
        points_mm: (p, 2) f8 corners; loop_starts: (l + 1,) i8; loops that do not overlap, holes as loops of their own.
        spacing_mm: between neighbouring lines.
        angle_rad: of the first line, counter-clockwise from x.
        phase: shift across the lines, in spacings; at 0 they lie centred on the extent of the loops.

    Returns:
        (n, 4) f8, start and end of each vector in exposure order. Their length times the spacing is the filled area.

    Raises:
        ScanError: the spacing is no distance, or is so small that the lines cannot be counted.
    """
    if not (math.isfinite(spacing_mm) and spacing_mm > 0.0 and math.isfinite(angle_rad) and math.isfinite(phase)):
        raise ScanError(
            f"A hatch needs a positive spacing and a finite angle, not {spacing_mm:g} mm at {angle_rad:g} rad."
        )
    if len(points_mm) == 0:
        return np.zeros((0, 4))
    extent = float(np.hypot(*np.ptp(points_mm, axis=0)))
    if not extent / spacing_mm < LINES_MAX:
        raise ScanError(
            f"A hatch spacing of {spacing_mm:g} mm needs over {LINES_MAX} lines across {extent:.6g} mm; make it wider."
        )
    return filling.parallel_vectors(
        points_mm, loop_starts, float(spacing_mm), float(angle_rad), float(phase), SHORTEST_PART * spacing_mm
    )

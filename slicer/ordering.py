"""The order in which loops are exposed, and where each begins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slicer.kernels import sequencing


def trace_loops(
    points_mm: NDArray[np.float64], loop_starts: NDArray[np.int64], from_mm: tuple[float, float]
) -> NDArray[np.float64]:
    """Closed loops as (p, 4) f8 vectors, each loop begun at its corner nearest to where the beam then is.

    The loops keep their directions; the nearest loop comes next (a greedy choice, not the shortest tour).
    """
    if len(points_mm) == 0:
        return np.zeros((0, 4))
    return sequencing.trace_nearest(points_mm, loop_starts, float(from_mm[0]), float(from_mm[1]))

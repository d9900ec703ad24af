"""Layers: a mesh cut at the middle of each layer, as closed oriented loops."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Layer:
    """The outline of one layer, cut at the middle of its height.

    Attributes:
        index: 0 for the lowest layer.
        z_mm: top of the layer.
        thickness_mm: height of the layer.
        points_mm: (p, 2) f8, corners of all loops; a loop closes from its last point to its first.
        loop_starts: (l + 1,) i8, loop i is `points_mm[loop_starts[i]:loop_starts[i + 1]]`; outer loops run
            counter-clockwise, holes clockwise.
    """

    index: int
    z_mm: float
    thickness_mm: float
    points_mm: NDArray[np.float64]
    loop_starts: NDArray[np.int64]

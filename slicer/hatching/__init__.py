"""Hatch strategies by name: each fills loops with vectors, (points, loop starts, spacing, angle) -> (n, 4) f8."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from slicer.hatching.lines import meander

Hatch = Callable[[NDArray[np.float64], NDArray[np.int64], float, float], NDArray[np.float64]]

HATCHES: dict[str, Hatch] = {"meander": meander}

"""Cores: what lies between two strips too narrow for another track, and gets a line in its middle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from slicer.middle_lines import vectors_within
from slicer.offsets import Loops, offset_loops
from slicer.thin_walls import narrow_places

CORE_PART = 0.1
"""A core narrower than this part of the spacing lies under the strips of its neighbours but for rounding."""

SHORTEST_PART = 0.01
"""Of the spacing: shorter pieces of line are rounding."""


def core_vectors(
    border: Loops, inner: Loops, spacing_mm: float, drawn_mm: NDArray[np.float64] | None = None
) -> list[NDArray[np.float64]]:
    """A line for each core that lies between a border and the next track inside it.

    Args:
        border: where the strips of the tracks outside end; inner: the next track, half a spacing farther in, where
            there is one.
        drawn_mm: (n, 4) f8 vectors that may fill a core already; a line is led only where they leave something.

    Returns:
        (n, 4) f8 vectors of each line.
    """
    opened = offset_loops(inner, 0.5 * spacing_mm) if len(inner[0]) else inner
    lines = narrow_places(border, opened, spacing_mm, spacing_mm, drawn_mm)
    wide = [line for line, width_mm in lines if width_mm > CORE_PART * spacing_mm]
    cores = [vectors_within(line, border, SHORTEST_PART * spacing_mm) for line in wide]
    return [core for core in cores if len(core)]

"""What every hatch strategy is told, and what it returns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from slicer.errors import ScanError
from slicer.kernels import filling

SHORTEST_PART = 0.1
"""Vectors up to this part of the spacing are left out: they lie in the tips of corners, under the contour's beam."""

LINES_MAX = 1_000_000


@dataclass(frozen=True)
class HatchSettings:
    """How loops are filled.

    Attributes:
        spacing_mm: between neighbouring tracks.
        tile_mm: width of a stripe, side of a square island, flat-to-flat width of a hexagon.
        tile_overlap_mm: how far neighbouring tiles run into each other; each grows by half of it to every side.
        phase: shift of the tracks across themselves in spacings, and of the grid of tiles in tiles.
        room: how many vectors come before the hatch, for which a hatch of millions should leave room in front of its
            own; one of few need not.

    Raises:
        ScanError: a length or the phase is none, or the tiles overlap by more than they are wide.
    """

    spacing_mm: float
    tile_mm: float = 5.0
    tile_overlap_mm: float = 0.0
    phase: float = 0.0
    room: int = 0

    def __post_init__(self) -> None:
        for name in ("spacing_mm", "tile_mm"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise ScanError(f"A hatch needs a positive {name.removesuffix('_mm')}, not {name} = {value:g}.")
        if not 0.0 <= self.tile_overlap_mm < self.tile_mm:
            raise ScanError(
                f"tile_overlap_mm is {self.tile_overlap_mm:g}; tiles of {self.tile_mm:g} mm may overlap by "
                "0 mm or more, and by less than their width."
            )
        if not math.isfinite(self.phase):
            raise ScanError(f"The phase of a hatch is {self.phase:g}; give a finite number of spacings.")

    @property
    def shortest_mm(self) -> float:
        """Vectors up to this length are left out where a track is cut (at the outline, at a tile's border)."""
        return SHORTEST_PART * self.spacing_mm


@dataclass(frozen=True, eq=False)
class Hatched:
    """The vectors that fill a layer.

    Attributes:
        vectors_mm: (n, 4) f8, x and y of the start, x and y of the end, in exposure order.
        tile_starts: (t + 1,) i8, where the vectors of each stripe, island, ring or unbroken chain begin, and how many
            there are; none is empty.
        room: how many rows in front of `vectors_mm`, in the array that it is a view of, nobody uses.
    """

    vectors_mm: NDArray[np.float64]
    tile_starts: NDArray[np.int64]
    room: int = 0

    def __post_init__(self) -> None:
        n = len(self.vectors_mm)
        assert self.vectors_mm.shape == (n, 4), f"vectors_mm is {self.vectors_mm.shape}, not (n, 4)"
        assert self.tile_starts[0] == 0 and self.tile_starts[-1] == n, f"the tiles do not hold {n} vectors"

    def __len__(self) -> int:
        return len(self.vectors_mm)

    @staticmethod
    def empty() -> Hatched:
        """No vector, of no tile."""
        return Hatched(np.zeros((0, 4)), np.zeros(1, np.int64))

    @staticmethod
    def numbered(vectors_mm: NDArray[np.float64], tile: NDArray[np.int32]) -> Hatched:
        """Vectors with the number of the tile that each lies in: those of a tile stand together."""
        if len(tile) == 0:
            return Hatched.empty()
        starts = 1 + np.flatnonzero(np.diff(tile))
        return Hatched(vectors_mm, np.concatenate([[0], starts, [len(tile)]]).astype(np.int64))

    @cached_property
    def tile(self) -> NDArray[np.int32]:
        """(n,) i4, which tile each vector lies in; the numbers rise from 0 without a gap."""
        return np.repeat(np.arange(len(self.tile_starts) - 1, dtype=np.int32), np.diff(self.tile_starts))


Hatch = Callable[[NDArray[np.float64], NDArray[np.int64], float, HatchSettings], Hatched]
"""(points_mm (p, 2) f8, loop_starts (l + 1,) i8, angle_rad, settings) -> Hatched; loops do not overlap, a hole is a
loop of its own and runs clockwise."""


def check_extent(points_mm: NDArray[np.float64], angle_rad: float, spacing_mm: float) -> float:
    """The diagonal of the points' box, mm, when tracks at this spacing across it can be counted.

    Raises:
        ScanError: a coordinate or the angle is not finite, or the spacing is far too small for the part.
    """
    if not math.isfinite(angle_rad):
        raise ScanError(f"A hatch needs a finite angle, not {angle_rad:g} rad.")
    extent = float(filling.diagonal(points_mm))
    if math.isnan(extent):
        raise ScanError("The outline has a coordinate that is no number; check the mesh it was cut from.")
    if not extent / spacing_mm < LINES_MAX:
        raise ScanError(
            f"A hatch spacing of {spacing_mm:g} mm needs over {LINES_MAX} lines across {extent:.6g} mm; make it wider."
        )
    return extent

"""A lattice of samples over a layer: where its rows run, how fine it is, and what it may be wrong by."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slicer.energy import Floats
from slicer.errors import SlicerError
from slicer.kernels import coverage
from slicer.layers import Layer
from slicer.scan import ScanPath

SAMPLES_A_SPOT = 64
"""Samples across the spot, where the layer is small enough for that many."""

SAMPLES_MAX = 2**18
"""Samples of one layer; a larger one is sampled more coarsely, and its report says how."""

MAP_CELLS = 96
"""Cells of an energy map along its longer side."""

MAP_SAMPLES = 4
"""Samples inside the outline from which on a cell of the map has a value."""

DIRECTIONS = 360
"""Directions, evenly over a half turn, that rows of samples may run in."""


class QualityError(SlicerError):
    """A report cannot be made with these numbers."""


@dataclass(frozen=True, eq=False, slots=True)
class EnergyMap:
    """What the beam gives to a layer: mean energy per area in square cells, each vector's spread evenly over all that
    its spot passes over.

    Attributes:
        x_mm, y_mm: the corner of the first cell; cell_mm: side of a cell.
        j_mm2: (rows, columns) f4, row 0 at the lowest y; NaN where a cell is (nearly) outside the outline.
    """

    x_mm: float
    y_mm: float
    cell_mm: float
    j_mm2: NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class Sampling:
    """The lattice of samples over one layer: a frame turned against its edges, with its middle in the layer's."""

    pixel_mm: float
    angle_rad: float
    square: float  # mean square of what edges err by, as `_row_direction` gives it
    centre_mm: Floats
    points: Floats  # the outline and the vectors in the lattice's frame
    starts: NDArray[np.int64]
    vectors: Floats
    row_x: Floats
    row_y: Floats
    y_0: float
    marks: NDArray[np.uint8]
    map_x_mm: float
    map_y_mm: float
    map_cell_mm: float
    map_shape: tuple[int, int]

    @classmethod
    def of(
        cls,
        layer: Layer,
        path: ScanPath,
        spots: Floats,
        widths: Floats,
        window_mm: tuple[float, float, float, float] | None,
        samples_max: int,
    ) -> Sampling:
        ends = np.concatenate([layer.points_mm, path.vectors_mm.reshape(-1, 2)])
        if not np.isfinite(ends).all():
            raise QualityError(f"Layer {layer.index} has a coordinate that is no number; slice the part again.")
        low, high = box(ends)
        centre = 0.5 * (low + high)
        angle, square = _row_direction(layer, path, widths)
        cos, sin = math.cos(angle), math.sin(angle)
        x, y = ends[:, 0] - centre[0], ends[:, 1] - centre[1]
        turned = np.stack([x * cos + y * sin, y * cos - x * sin], axis=1)
        reach = 0.5 * max(float(spots.max()), float(widths.max())) if len(spots) else 0.0
        corner, opposite = box(turned)
        corner, span = corner - reach, opposite - corner + 2.0 * reach
        finest = (float(spots.min()) if len(spots) else float(span.max()) / 256.0) / SAMPLES_A_SPOT
        pixel = max(finest, math.sqrt(float(span[0] * span[1]) / samples_max), float(span.max()) / samples_max)
        rows, columns = (math.ceil(float(side) / pixel) + 1 for side in span[::-1])
        row_x, row_y = np.empty(rows), np.empty(rows)
        coverage.place_rows(float(corner[0]) - pixel, float(corner[1]), pixel, row_x, row_y)
        p = len(layer.points_mm)
        if window_mm is None:
            window_mm = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
        x_mm, y_mm, width_mm, height_mm = window_mm
        cell = max(width_mm, height_mm, 1e-6) / MAP_CELLS
        return cls(
            pixel, angle, square, centre, np.ascontiguousarray(turned[:p]), layer.loop_starts,
            np.ascontiguousarray(turned[p:]).reshape(-1, 4), row_x, row_y, float(corner[1]),
            np.zeros((rows, columns + 2), np.uint8), x_mm, y_mm, cell,
            (max(1, math.ceil(height_mm / cell - 1e-9)), max(1, math.ceil(width_mm / cell - 1e-9))),
        )  # fmt: skip

    def swept(
        self, spots: Floats, widths: Floats, joules_mm2: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], EnergyMap]:
        """Run the kernels: the counts of samples, and the energy map; `marks` keeps the bare samples."""
        rows, columns = self.marks.shape[0], self.marks.shape[1] - 1
        tracks = np.zeros((rows, columns), np.uint16)
        received = np.zeros((rows, columns), np.float32)
        coverage.mark_outline(self.points, self.starts, self.y_0, self.pixel_mm, self.row_x, self.row_y, self.marks)
        coverage.sweep_tracks(
            self.vectors, spots, widths, joules_mm2, self.y_0, self.pixel_mm, self.row_x, self.row_y,
            self.marks, tracks, received,
        )  # fmt: skip
        counts = np.empty(coverage.COUNTS, np.int64)
        sums = np.empty((*self.map_shape, 2))
        coverage.tally(
            self.marks, tracks, received, self.row_x, self.row_y, self.pixel_mm,
            math.cos(self.angle_rad), math.sin(self.angle_rad),
            self.map_x_mm - float(self.centre_mm[0]), self.map_y_mm - float(self.centre_mm[1]), self.map_cell_mm,
            counts, sums,
        )  # fmt: skip
        few = min(MAP_SAMPLES, 0.25 * (self.map_cell_mm / self.pixel_mm) ** 2)
        known = (sums[..., 1] > 0) & (sums[..., 1] >= few)
        j_mm2 = np.full(self.map_shape, np.nan, np.float32)
        j_mm2[known] = sums[known, 0] / sums[known, 1]
        return counts, EnergyMap(self.map_x_mm, self.map_y_mm, self.map_cell_mm, j_mm2)

    def error_mm2(self, changes: int) -> float:
        """What an area may be wrong by, from the changes between neighbouring samples of a row.

        Every change is an edge that a row crosses somewhere within a pixel, at a height that is drawn within a pixel
        too: an area of deviation 0.29 pixel^2 x sqrt(square) each. Six deviations are told, not three: hatches repeat,
        so crossings are not quite independent.
        """
        return 6.0 * 0.29 * self.pixel_mm**2 * math.sqrt(self.square * max(changes, 1))

    def bare_places(self, uncovered: int, reach: int) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
        """(places, 7) f8 as `measure_places` says, in the part's frame; the queue of samples and where places end."""
        queue, ends = np.empty(uncovered, np.int64), np.empty(uncovered, np.int64)
        places = coverage.gather_bare(self.marks, reach, queue, ends)
        out = np.empty((places, 7))
        coverage.measure_places(
            queue, ends, places, self.marks.shape[1] - 1, self.row_x, self.row_y, self.pixel_mm,
            math.cos(self.angle_rad), math.sin(self.angle_rad), out,
        )  # fmt: skip
        out[:, 1:] += np.tile(self.centre_mm, 3)
        return out, queue, ends[:places]

    def samples_at(self, indices: NDArray[np.int64]) -> Floats:
        """(n, 2) f8, where samples of the queue lie in the lattice's frame."""
        j, k = np.divmod(indices, self.marks.shape[1] - 1)
        return np.stack([self.row_x[j] + k * self.pixel_mm, self.row_y[j]], axis=1)


def _row_direction(layer: Layer, path: ScanPath, widths: Floats) -> tuple[float, float]:
    """The direction for rows of samples, rad, and the mean square of what edges err by for it (1: all square to it).

    An edge that lies along the rows is hit or missed as a whole; one at an angle errs by 1 / sin(angle) times what one
    across the rows does, and rows cross it sin(angle) times as often. So the rows run where the sum of length / sin
    over all edges is least: the outline's, the tracks' sides and their ends.
    """
    sides = np.concatenate([loop - np.roll(loop, 1, axis=0) for loop in layer.loops()] or [np.zeros((0, 2))])
    vectors = path.vectors_mm[:, 2:] - path.vectors_mm[:, :2]
    ends = np.stack([-vectors[:, 1], vectors[:, 0]], axis=1)  # of the tracks, square to their vectors
    x, y = np.concatenate([sides, vectors, ends]).T
    lengths = np.concatenate([np.hypot(*sides.T), path.lengths_mm, widths])
    of_bin = np.floor(np.arctan2(y, x) * (DIRECTIONS / math.pi)).astype(np.int64) % DIRECTIONS
    edges_mm = np.bincount(of_bin, lengths, minlength=DIRECTIONS)
    sines, errors = _sines()
    sums = errors @ edges_mm
    best = int(sums.argmin())
    crossed = float(sines[best] @ edges_mm)
    return (best + 0.5) * math.pi / DIRECTIONS, float(sums[best]) / crossed if crossed > 0.0 else 1.0


@functools.cache
def _sines() -> tuple[Floats, Floats]:
    """The sines of the angles between any two of the directions, never quite 0, and one over them."""
    between = (np.arange(DIRECTIONS)[:, None] - np.arange(DIRECTIONS)[None]) * (math.pi / DIRECTIONS)
    sines = np.maximum(np.abs(np.sin(between)), 0.5 * math.pi / DIRECTIONS)
    return sines, 1.0 / sines


def box(points: Floats) -> tuple[Floats, Floats]:
    """The lower and the upper corner around points, (n, 2) f8; column by column, which is much faster than by rows."""
    x, y = points[:, 0], points[:, 1]
    return np.array([x.min(), y.min()]), np.array([x.max(), y.max()])

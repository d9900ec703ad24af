"""What a height map says of the ground: how steep, how rough, how high its steps, and the same ground in coarser cells.

Each cell is judged by the plane through it and its eight neighbours (least squares). A cell on the map's rim, or beside
one without data, has no such plane: it is NaN, and whoever plans treats it as unknown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from control.rover.ground.dem import Dem

Grid = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Terrain:
    """A map and what it says of each cell; grids (rows, columns) f4, NaN where nothing can be said.

    Args:
        slope_deg: the steeper of the plane through 3 x 3 cells and of the differences across the cell.
        roughness_m: root mean square of what the 3 x 3 heights leave over that plane.
        step_m: how far the ground, going on from the cell to a neighbour, leaves the line through the cell and the
            neighbour behind it; no more than the height between the two.
    """

    dem: Dem
    slope_deg: Grid
    roughness_m: Grid
    step_m: Grid


def analyse(dem: Dem) -> Terrain:
    """Slope, roughness and steps of every cell."""
    slope, rough, step = (np.full(dem.shape, np.nan, np.float32) for _ in range(3))
    _analyse(np.ascontiguousarray(dem.heights_m, dtype=np.float32), dem.cell_m, slope, rough, step)
    return Terrain(dem, slope, rough, step)


@njit(cache=True)
def _analyse(heights: Grid, cell_m: float, slope: Grid, rough: Grid, step: Grid) -> None:  # pragma: no cover
    """Fill the three grids but for their rims."""
    rows, columns = heights.shape
    degrees = 180.0 / math.pi
    for i in range(1, rows - 1):
        for j in range(1, columns - 1):
            total = right = up = 0.0
            for a in range(-1, 2):
                for b in range(-1, 2):
                    h = heights[i + a, j + b]
                    total += h
                    right += b * h
                    up += a * h
            if not math.isfinite(total):
                continue
            mean, right, up = total / 9.0, right / 6.0, up / 6.0  # the plane: mean + right b + up a
            squares = 0.0
            highest = 0.0
            for a in range(-1, 2):
                for b in range(-1, 2):
                    left = heights[i + a, j + b] - mean - right * b - up * a
                    squares += left * left
                    ahead = heights[i + a, j + b] - heights[i, j]
                    behind = heights[i, j] - heights[i - a, j - b]
                    highest = max(highest, min(abs(ahead - behind), max(abs(ahead), abs(behind))))
            across = 0.5 * (heights[i, j + 1] - heights[i, j - 1])
            along = 0.5 * (heights[i + 1, j] - heights[i - 1, j])
            steepest = max(math.hypot(right, up), math.hypot(across, along))
            slope[i, j] = math.atan(steepest / cell_m) * degrees
            rough[i, j] = math.sqrt(squares / 9.0)
            step[i, j] = highest


def pyramid(dem: Dem, levels: int) -> list[Dem]:
    """The map and `levels` coarser ones, each of twice the cell: means of 2 x 2 cells, of those that hold data.

    A last odd row or column is left out. The list ends early where a map would have fewer than 2 x 2 cells.
    """
    maps = [dem]
    for _ in range(levels):
        fine = maps[-1]
        rows, columns = fine.shape[0] // 2, fine.shape[1] // 2
        if rows < 2 or columns < 2:
            break
        squares = fine.heights_m[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).astype(np.float64)
        known = np.isfinite(squares)
        count = known.sum(axis=(1, 3))
        total = np.where(known, squares, 0.0).sum(axis=(1, 3))
        mean = np.divide(total, count, out=np.full((rows, columns), np.nan), where=count > 0)
        half = fine.cell_m / 2
        maps.append(
            replace(
                fine,
                heights_m=mean.astype(np.float32),
                x_m=fine.x_m + half,
                y_m=fine.y_m + half,
                cell_m=2 * fine.cell_m,
            )
        )
    return maps


def level_for(dem: Dem, cells_max: int) -> Dem:
    """The finest level of the map's pyramid with no more than so many cells."""
    coarser = dem
    while coarser.shape[0] * coarser.shape[1] > cells_max and min(coarser.shape) >= 4:
        coarser = pyramid(coarser, 1)[-1]
    return coarser

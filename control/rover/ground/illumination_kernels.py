"""The sweep behind the horizon map, and the sums behind lit and comms shares: arrays in, arrays out."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

STEP_DEG = 0.0025
"""Horizons are kept as so many degrees a count (int16): +-81.9 deg."""
UNKNOWN = -32768


@njit(cache=True)
def _angle_deg(slope: float) -> float:  # pragma: no cover
    """The arc tangent within 0.0006 deg (Abramowitz and Stegun 4.4.47 up to 45 deg), in a third of its time."""
    if abs(slope) > 1.0:
        return math.degrees(math.atan(slope))
    x = slope * slope
    return (
        57.29577951308232 * slope * (0.9998660 + x * (-0.3302995 + x * (0.1801410 + x * (-0.0851330 + x * 0.0208351))))
    )


@njit(cache=True, parallel=True)
def sweep(
    heights: NDArray[np.float32],
    p: int,
    q: int,
    cell_m: float,
    radius_m: float,
    workers: int,
    horizon: NDArray[np.int16],
) -> None:  # pragma: no cover
    """The horizon of every cell in the direction of q columns up and p rows up (0 <= p <= q, no common factor).

    Every cell's ray passes through the centres of cells q columns apart; between them heights are interpolated at each
    column. There are q families of parallel rays. Along each, from its far end, the upper hull of what lies ahead is
    kept; a cell's horizon is its tangent to that hull. With s^2 / 2R taken off the heights, curved ground becomes
    straight: the tangent's slope is then too low by s / R.

    heights (rows, columns) f4, NaN unknown; horizon (rows, columns) i2 is written.
    """
    rows, columns = heights.shape
    step_m = cell_m * math.sqrt(1.0 + (p / q) ** 2)
    one_part = 1.0 / q
    bend = 0.5 / radius_m
    lines = rows * q + p * (columns - 1)  # lines start at i = (n - p (columns - 1)) / q in column 0
    for worker in prange(workers):
        along = np.empty(columns)  # the hull: places and heights, the nearest on top
        height = np.empty(columns)
        for n in range(worker, lines, workers):
            first = n - p * (columns - 1)  # i * q in column 0
            low, high = 0, columns - 1
            if p > 0:
                low = max(0, -(first // p))  # the first column with i >= 0
                high = min(columns - 1, ((rows - 1) * q - first) // p)
            depth = 0
            i, part = (first + p * (high + 1)) // q, (first + p * (high + 1)) % q
            for j in range(high, low - 1, -1):
                part -= p
                if part < 0:
                    part += q
                    i -= 1
                z = float(heights[i, j])
                if part > 0:
                    z += (heights[i + 1, j] - z) * (part * one_part)
                if not math.isfinite(z):
                    if part == 0:
                        horizon[i, j] = UNKNOWN
                    continue
                s = j * step_m
                flat = z - s * s * bend
                while depth > 1 and (height[depth - 2] - flat) * (along[depth - 1] - s) >= (
                    height[depth - 1] - flat
                ) * (along[depth - 2] - s):
                    depth -= 1
                if part == 0:
                    slope = -math.sqrt(4.0 * bend * max(z, 0.0))  # beyond the map: the sphere itself
                    if depth > 0:
                        slope = max(slope, (height[depth - 1] - flat) / (along[depth - 1] - s) + 2.0 * bend * s)
                    horizon[i, j] = round(_angle_deg(slope) / STEP_DEG)
                along[depth], height[depth] = s, flat
                depth += 1


@njit(cache=True)
def disc_share(over_deg: float, radius_deg: float) -> float:  # pragma: no cover
    """Share of a disc that stands over a level edge, its middle so many degrees over it."""
    x = over_deg / radius_deg
    if x >= 1.0:
        return 1.0
    if x <= -1.0:
        return 0.0
    return 0.5 + (x * math.sqrt(1.0 - x * x) + math.asin(x)) / math.pi


@njit(cache=True)
def add_share(
    before: NDArray[np.int16],
    after: NDArray[np.int16],
    weight: float,
    elevation_deg: float,
    up_row_deg: float,
    up_column_deg: float,
    radius_deg: float,
    total: NDArray[np.float32],
) -> None:  # pragma: no cover
    """Add to each cell's total the share of a disc over its horizon, which lies between two azimuths' horizons.

    elevation_deg: of the disc's middle over the middle of the map; it rises by `up_row_deg` and `up_column_deg` a cell.
    """
    rows, columns = total.shape
    for i in range(rows):
        for j in range(columns):
            if before[i, j] == UNKNOWN or after[i, j] == UNKNOWN:
                total[i, j] = np.nan
                continue
            edge = ((1.0 - weight) * before[i, j] + weight * after[i, j]) * STEP_DEG
            own = elevation_deg + up_row_deg * (i - 0.5 * (rows - 1)) + up_column_deg * (j - 0.5 * (columns - 1))
            total[i, j] += disc_share(own - edge, radius_deg)

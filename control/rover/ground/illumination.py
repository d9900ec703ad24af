"""What the ground hides: the horizon all around every cell, and from it when Sun and Earth can be seen.

Horizons are exact for a map whose heights are interpolated along each ray at every column (or row) it crosses. That
needs rays that pass through cell centres again and again, so the azimuths are those of small whole steps (5 columns and
1 row, 3 and 1, ...): 40 of them, 7 to 11 degrees apart. Between two the horizon is interpolated: a rim of a crater that
stands between two directions is smoothed, and a cell beside it may be lit or dark for some hours too long (on a tile in
steps of 8 m the interpolated horizon of one cell in ten is off by more than 0.4 deg); means over months hardly feel it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from control.rover.ground.dem import MOON_RADIUS_M, Dem
from control.rover.ground.ephemeris import SUN_RADIUS_DEG, earth_direction, map_azimuth_rad, sun_direction
from control.rover.ground.illumination_kernels import STEP_DEG, UNKNOWN, add_share, sweep

EARTH_SEEN_DEG = 1e-3  # the Earth is seen or not: no disc to speak of
OCTANT = ((1, 0), (5, 1), (3, 1), (2, 1), (4, 3), (1, 1))  # columns and rows of one step
WORKERS = 8
Grid = NDArray[np.float32]


def _directions() -> list[tuple[int, int]]:
    """Steps (columns, rows) all around, by azimuth."""
    found = set()
    for a, b in OCTANT:
        for across, up in ((a, b), (b, a)):
            found |= {(across * x, up * y) for x in (1, -1) for y in (1, -1)}
    return sorted(found, key=lambda step: math.atan2(step[1], step[0]) % (2 * math.pi))


DIRECTIONS = _directions()


@dataclass(frozen=True, eq=False)
class HorizonMap:
    """Horizons of a map: `azimuths_rad` (n,) ccw from the map's +x, ascending from 0; `counts` (n, rows, columns) i2 in
    units of STEP_DEG, UNKNOWN where the map has no data.
    """

    dem: Dem
    azimuths_rad: NDArray[np.float64]
    counts: NDArray[np.int16]

    def elevation_deg(self, azimuth_rad: float) -> Grid:
        """The horizon of every cell in a direction, (rows, columns) f4; NaN where it is not known."""
        before, after, weight = self._between(azimuth_rad)
        low, high = self.counts[before].astype(np.float32), self.counts[after].astype(np.float32)
        edge = ((1 - weight) * low + weight * high) * STEP_DEG
        edge[(low == UNKNOWN) | (high == UNKNOWN)] = np.nan
        return np.asarray(edge, dtype=np.float32)

    def shares(self, azimuth_rad: float, elevation_deg: float, radius_deg: float, total: Grid) -> None:
        """Add to `total` what each cell sees of a disc that stands there as seen from the middle of the map."""
        before, after, weight = self._between(azimuth_rad)
        a_cell = math.degrees(self.dem.cell_m / MOON_RADIUS_M)  # nearer to the Sun, it stands higher
        add_share(
            self.counts[before],
            self.counts[after],
            weight,
            elevation_deg,
            a_cell * math.sin(azimuth_rad),
            a_cell * math.cos(azimuth_rad),
            radius_deg,
            total,
        )

    def _between(self, azimuth_rad: float) -> tuple[int, int, float]:
        """The azimuths on either side of a direction, and how near it is to the second, 0 to 1."""
        azimuth = azimuth_rad % (2 * math.pi)
        after = int(np.searchsorted(self.azimuths_rad, azimuth, side="right"))
        before = after - 1
        low = self.azimuths_rad[before]
        high = self.azimuths_rad[after] if after < len(self.azimuths_rad) else 2 * math.pi
        return before, after % len(self.azimuths_rad), float((azimuth - low) / (high - low))


def horizon_map(dem: Dem, *, progress: Callable[[float], None] | None = None) -> HorizonMap:
    """The horizons of a map in 40 directions. What lies beyond the map is taken for the smooth sphere at height 0.

    The Moon's curvature is taken off; lengths are the projection's own at the middle of the map. 80 bytes a cell.
    """
    rows, columns = dem.shape
    counts = np.empty((len(DIRECTIONS), rows, columns), np.int16)
    cell_m = dem.cell_m / _scale(dem)
    for n, (across, up) in enumerate(DIRECTIONS):
        counts[n] = _looking(dem.heights_m, across, up, cell_m)
        if progress is not None:
            progress((n + 1) / len(DIRECTIONS))
    return HorizonMap(dem, np.array([math.atan2(up, across) % (2 * math.pi) for across, up in DIRECTIONS]), counts)


def _looking(heights_m: Grid, across: int, up: int, cell_m: float) -> NDArray[np.int16]:
    """The horizons in one direction: the map is turned until the direction is up the columns, and back."""
    steep = abs(up) > abs(across)

    def turned(grid: NDArray) -> NDArray:
        grid = grid[:: -1 if up < 0 else 1, :: -1 if across < 0 else 1]
        return grid.T if steep else grid

    seen = np.ascontiguousarray(turned(heights_m), dtype=np.float32)
    horizon = np.empty(seen.shape, np.int16)
    p, q = sorted((abs(across), abs(up)))
    sweep(seen, p, q, cell_m, MOON_RADIUS_M, WORKERS, horizon)
    horizon = horizon.T if steep else horizon
    return horizon[:: -1 if up < 0 else 1, :: -1 if across < 0 else 1]


def _scale(dem: Dem) -> float:
    """Metres on the map for one on the ground, at its middle."""
    if dem.crs.kind != "polar_stereographic":
        return 1.0
    lat_deg, _ = dem.lat_lon_deg(*_middle(dem))
    return 2.0 / (1.0 + math.sin(math.radians(abs(lat_deg))))


def _middle(dem: Dem) -> tuple[float, float]:
    x0, y0, x1, y1 = dem.extent_m
    return (x0 + x1) / 2, (y0 + y1) / 2


# ---- light and radio


def lit_share(horizon: HorizonMap, t_s: float) -> Grid:
    """Share of the Sun's disc that each cell sees at one time (Unix seconds), 0 to 1, (rows, columns) f4.

    DemError for a map in a local frame: it does not know where the Sun is.
    """
    return _seen(horizon, [t_s], sun_direction, SUN_RADIUS_DEG, 0.0)


def lit_fraction(horizon: HorizonMap, times_s: ArrayLike) -> Grid:
    """The mean of `lit_share` over times (n,): which share of them a cell is lit, (rows, columns) f4."""
    times = np.atleast_1d(np.asarray(times_s, dtype=np.float64))
    return _seen(horizon, times, sun_direction, SUN_RADIUS_DEG, 0.0) / np.float32(len(times))


def comms_mask(horizon: HorizonMap, t_s: float, *, above_deg: float = 2.0) -> NDArray[np.bool_]:
    """Cells that see the Earth's middle at least so far over their horizon at one time, (rows, columns) bool."""
    return np.asarray(_seen(horizon, [t_s], earth_direction, EARTH_SEEN_DEG, above_deg) > 0.5)


def comms_fraction(horizon: HorizonMap, times_s: ArrayLike, *, above_deg: float = 2.0) -> Grid:
    """Share of the times at which each cell sees the Earth so far over its horizon, (rows, columns) f4."""
    times = np.atleast_1d(np.asarray(times_s, dtype=np.float64))
    return _seen(horizon, times, earth_direction, EARTH_SEEN_DEG, above_deg) / np.float32(len(times))


def _seen(
    horizon: HorizonMap,
    times_s: Iterable[float],
    direction: Callable[..., tuple[NDArray[np.float64], NDArray[np.float64]]],
    radius_deg: float,
    above_deg: float,
) -> Grid:
    """The sum over times of what each cell sees of a body."""
    dem = horizon.dem
    middle = _middle(dem)
    lat_deg, lon_deg = dem.lat_lon_deg(*middle)
    azimuths_deg, elevations_deg = direction(np.asarray(list(times_s)), lat_deg, lon_deg)
    total = np.zeros(dem.shape, np.float32)
    for azimuth, elevation in zip(map_azimuth_rad(dem.north_rad(*middle), azimuths_deg), elevations_deg, strict=True):
        horizon.shares(float(azimuth), float(elevation) - above_deg, radius_deg, total)
    return total

"""The ground as it is: a height map, and below its resolution seeded craters and rocks that no map shows.

Frames as everywhere: cell (i, j) centre at (x_m + j cell_m, y_m + i cell_m), metres. The map between its cell centres
is bilinear; each crater adds a bowl with a rim, each rock a cap. Craters and rocks are found through a grid of buckets,
so that one height costs the same wherever it is asked.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil_sim.world.plant.rover_kernels import ground_heights

Floats = NDArray[np.float64]
BUCKET_M = 4.0
FEATURES_MAX = 200_000


@dataclass(frozen=True)
class DetailSettings:
    """How much there is below the map's resolution; 0 features per m2 leaves it as the map has it.

    Craters: radii between `crater_m` follow a power law (twice as large, four times as rare); they are worn, as small
    ones are: at most 0.08 of their diameter deep, walls under 21 deg (fresh large ones would be 0.2). Rocks: radii
    between `rock_m` likewise; they stand out by half a radius to a whole one, and never by more than
    `rock_height_max_m`.
    """

    craters_per_m2: float = 0.01
    crater_m: tuple[float, float] = (0.4, 2.5)
    rocks_per_m2: float = 0.02
    rock_m: tuple[float, float] = (0.03, 0.25)
    rock_height_max_m: float = 0.06


@dataclass(frozen=True)
class GroundArrays:
    """What the kernels take: the map and its features in buckets. Features: x, y, radius, height (rock) or -depth."""

    heights_m: NDArray[np.float32]
    x_m: float
    y_m: float
    cell_m: float
    features: Floats
    bucket_start: NDArray[np.int64]
    bucket_items: NDArray[np.int64]
    buckets: tuple[int, int]


class Ground:
    """The truth under the wheels."""

    def __init__(
        self,
        heights_m: NDArray[np.float32],
        x_m: float,
        y_m: float,
        cell_m: float,
        *,
        seed: int = 0,
        details: DetailSettings | None = None,
    ) -> None:
        """`heights_m`: (rows, columns) f4 without gaps under the wheels. ValueError for a map that cannot be."""
        if heights_m.ndim != 2 or min(heights_m.shape) < 2 or not (math.isfinite(cell_m) and cell_m > 0):
            raise ValueError(f"a ground of {heights_m.shape} cells of {cell_m!r} m cannot be")
        heights = np.ascontiguousarray(heights_m, dtype=np.float32)
        rows, columns = heights.shape
        self.extent_m = (x_m, y_m, x_m + (columns - 1) * cell_m, y_m + (rows - 1) * cell_m)
        features = np.empty((0, 4)) if details is None else _features(self.extent_m, seed, details)
        self.arrays = _bucketed(heights, x_m, y_m, cell_m, features, self.extent_m)

    def heights(self, x_m: Floats, y_m: Floats) -> Floats:
        """Heights (n,) at places (n,); NaN off the map."""
        a = self.arrays
        out = np.empty(len(x_m))
        ground_heights(
            np.asarray(x_m, np.float64), np.asarray(y_m, np.float64), a.heights_m, a.x_m, a.y_m, a.cell_m, a.features,
            a.bucket_start, a.bucket_items, a.buckets[0], a.buckets[1], BUCKET_M, out,
        )  # fmt: skip
        return out

    def height(self, x_m: float, y_m: float) -> float:
        """The height at one place."""
        return float(self.heights(np.array([x_m]), np.array([y_m]))[0])

    def sampled(self, cell_m: float) -> NDArray[np.float32]:
        """What an orbiter would map with cells of that size: means over 3 x 3 points in each."""
        x0, y0, x1, y1 = self.extent_m
        columns, rows = math.floor((x1 - x0) / cell_m) + 1, math.floor((y1 - y0) / cell_m) + 1
        total = np.zeros((rows, columns))
        count = np.zeros((rows, columns))
        for dx in (-cell_m / 3, 0.0, cell_m / 3):
            for dy in (-cell_m / 3, 0.0, cell_m / 3):
                gx, gy = np.meshgrid(x0 + dx + cell_m * np.arange(columns), y0 + dy + cell_m * np.arange(rows))
                part = self.heights(gx.ravel(), gy.ravel()).reshape(rows, columns)
                known = np.isfinite(part)
                total[known] += part[known]
                count += known
        return (total / np.maximum(count, 1)).astype(np.float32)


def generated_heights(seed: int, size_m: float, cell_m: float, *, relief_m: float = 2.5) -> NDArray[np.float32]:
    """A smooth landscape (rows, columns) f4: midpoint-like noise with a spectrum that falls as the cube of frequency.

    `relief_m`: standard deviation of its heights.
    """
    n = max(8, round(size_m / cell_m))
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None, :])
    frequency[0, 0] = np.inf
    amplitude = np.where(frequency * n < 1.5, (1.5 / n) ** -1.5, frequency**-1.5) * np.exp(-((frequency / 0.12) ** 2))
    noise = rng.normal(size=(n, n // 2 + 1)) + 1j * rng.normal(size=(n, n // 2 + 1))
    heights = np.fft.irfft2(noise * amplitude, s=(n, n))
    return (heights / heights.std() * relief_m).astype(np.float32)


def _features(extent_m: tuple[float, float, float, float], seed: int, details: DetailSettings) -> Floats:
    """Craters and rocks over the map, from the seed."""
    x0, y0, x1, y1 = extent_m
    area_m2 = (x1 - x0) * (y1 - y0)
    rows: list[tuple[float, float, float, float]] = []
    for per_m2, (small, large), is_rock in (
        (details.craters_per_m2, details.crater_m, False),
        (details.rocks_per_m2, details.rock_m, True),
    ):
        rng = random.Random(f"{seed}:{'rocks' if is_rock else 'craters'}")
        count = round(area_m2 * per_m2)
        if count > FEATURES_MAX:
            raise ValueError(f"{count} craters or rocks on {area_m2:.0f} m2 are too many: take a smaller map")
        for _ in range(count):
            share = rng.random()  # number over radius r goes as r^-2
            radius = small / math.sqrt(1 - share * (1 - (small / large) ** 2))
            if is_rock:
                size = min(radius * rng.uniform(0.5, 1.0), details.rock_height_max_m)
            else:
                size = -2 * radius * 0.08 * rng.uniform(0.1, 1.0) ** 2
            rows.append((rng.uniform(x0, x1), rng.uniform(y0, y1), radius, size))
    return np.array(rows).reshape(-1, 4)


def _bucketed(
    heights: NDArray[np.float32],
    x_m: float,
    y_m: float,
    cell_m: float,
    features: Floats,
    extent_m: tuple[float, float, float, float],
) -> GroundArrays:
    """Each feature in every bucket that it reaches into."""
    x0, y0, x1, y1 = extent_m
    columns, rows = max(1, math.ceil((x1 - x0) / BUCKET_M)), max(1, math.ceil((y1 - y0) / BUCKET_M))
    places: list[list[int]] = [[] for _ in range(rows * columns)]
    for n, (fx, fy, radius, size) in enumerate(features):
        reach = radius * (2.0 if size < 0 else 1.0)
        for i in range(
            max(0, int((fy - reach - y0) // BUCKET_M)), min(rows - 1, int((fy + reach - y0) // BUCKET_M)) + 1
        ):
            for j in range(
                max(0, int((fx - reach - x0) // BUCKET_M)), min(columns - 1, int((fx + reach - x0) // BUCKET_M)) + 1
            ):
                places[i * columns + j].append(n)
    start = np.zeros(rows * columns + 1, dtype=np.int64)
    start[1:] = np.cumsum([len(place) for place in places])
    items = np.array([n for place in places for n in place], dtype=np.int64)
    return GroundArrays(heights, x_m, y_m, cell_m, features, start, items, (rows, columns))

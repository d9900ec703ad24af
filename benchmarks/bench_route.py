"""Ways over 4.19 M cells of real terrain: the exact cost-to-go of every cell.

    python benchmarks/bench_route.py

The map is the crop of 2048 x 2048 cells of 5 m of the LOLA tile "peak near Shackleton". It comes in steps of 8.1 m, so
its heights are smoothed first (Gaussian, sigma 3 cells); cost 1 + (slope / 8 deg)^2, a soft wall from 15 deg, blocked
over 20 deg. From corner to corner, one thread, best of five. pyastar2d and scikit-image find their path on the same map
in the same run where they are installed; pyastar2d prices diagonal steps as straight ones, and both cut corners.
"""

from __future__ import annotations

import importlib.util
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from control.rover.ground.dem import read_dem
from control.rover.route.kernels import cost_to_go, is_open

BAR_MS = 270.0
SIDE, RUNS = 2048, 5


def terrain_cost(side: int = SIDE) -> np.ndarray:
    """The tile's first `side` rows and columns as cost (side, side) f4."""
    here = Path(__file__).resolve().parent.parent
    data = Path(os.environ.get("MOONKILN_DATA", here.parent / "shared" / "data"))
    dem = read_dem(data / "terrain" / "peak_near_shackleton_lola_5mpp_8bit.png")
    heights = cv2.GaussianBlur(dem.heights_m[:side, :side], (0, 0), 3.0)
    along_y, along_x = np.gradient(heights.astype(np.float64), dem.cell_m)
    slope = np.degrees(np.arctan(np.hypot(along_x, along_y)))
    cost = 1.0 + (slope / 8.0) ** 2 + np.maximum(slope - 15.0, 0.0) ** 2
    cost[slope > 20.0] = np.inf
    return cost.astype(np.float32)


def open_corner(cost: np.ndarray, i: int, j: int, step: int) -> tuple[int, int]:
    """The first open cell from a corner inwards along the diagonal."""
    while not is_open(cost, (i, j)):
        i, j = i + step, j + step
    return i, j


def best_ms(work: Callable[[], Any], runs: int = RUNS) -> float:
    """Wall time of the quickest of some runs, ms."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def peers(cost: np.ndarray, start: tuple[int, int], goal: tuple[int, int]) -> dict[str, float | None]:
    """Milliseconds of others for one path on the same map; None where they are not installed."""
    found: dict[str, float | None] = {"pyastar2d_ms": None, "scikit_image_ms": None}
    if importlib.util.find_spec("pyastar2d"):
        import pyastar2d

        found["pyastar2d_ms"] = round(best_ms(lambda: pyastar2d.astar_path(cost, start, goal, True), 2), 1)
    if importlib.util.find_spec("skimage"):
        from skimage.graph import MCP_Geometric

        prices = np.where(np.isfinite(cost), cost, -1.0)
        found["scikit_image_ms"] = round(best_ms(lambda: MCP_Geometric(prices).find_costs([goal], [start]), 1), 1)
    return found


def run() -> dict[str, Any]:
    """The figures of the field, and the peers'."""
    cost = terrain_cost()
    start, goal = open_corner(cost, 0, 0, 1), open_corner(cost, SIDE - 1, SIDE - 1, -1)
    field_ms = best_ms(lambda: cost_to_go(cost, goal))
    return {
        "bench": "route",
        "field_ms": round(field_ms, 1),
        "cells_per_s": round(cost.size / field_ms * 1e3),
        "blocked_share": round(float(np.isinf(cost).mean()), 4),
        **peers(cost, start, goal),
        "load_average": round(os.getloadavg()[0], 2),
        "bar": f"field <= {BAR_MS:g} ms",
        "passed": field_ms <= BAR_MS,
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))

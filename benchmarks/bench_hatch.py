"""How many hatch vectors a second one core lays at 0.1 mm, beside what it can store, and what tiles cost a whole part.

    python benchmarks/bench_hatch.py

The kernel alone fills a rectangle and a plate with 84 holes, 250 x 150 mm, at 67 degrees: 0.1 MB that stay in a cache.
A strip of 100 m x 15 mm makes a million vectors, 32 MB that do not. In the same run a kernel that only stores numbers
in an array of the same size says how fast each could be. Then frame2 (see bench_slice.py) is filled
whole, STL to ScanPaths, by meander, stripes, islands and hexagons of 5 mm: layer after layer as a job is written, and
once more with all paths kept, which for the nine times as many vectors of tiles is mostly the system finding memory.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator

import bench_slice
import numpy as np
from numba import njit
from numpy.typing import NDArray

from slicer.fill import fill_layer
from slicer.kernels import filling
from slicer.layers import cut_layers
from slicer.scan import KIND_HATCH, ScanPath
from slicer.strategy import Strategy

BAR_VECTORS_PER_S = 50e6
BAR_TILES = 1.5
SPACING_MM = 0.1
ANGLE = math.radians(67.0)
RUNS = 5
TILED = ("stripes", "islands", "hexagons")

Loops = tuple[NDArray[np.float64], NDArray[np.int64]]


def rectangle() -> Loops:
    """250 x 150 mm."""
    return np.array([(0.0, 0.0), (250.0, 0.0), (250.0, 150.0), (0.0, 150.0)]), np.array([0, 4])


def strip() -> Loops:
    """100 m x 15 mm."""
    return np.array([(0.0, 0.0), (1e5, 0.0), (1e5, 15.0), (0.0, 15.0)]), np.array([0, 4])


def plate() -> Loops:
    """The rectangle with 12 x 7 holes of 12 mm, 64 corners each."""
    turn = np.linspace(0.0, -2.0 * np.pi, 64, endpoint=False)
    hole = 6.0 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    rings = [
        rectangle()[0],
        *(hole + np.array([15.0 + 20.0 * i, 12.0 + 21.0 * j]) for i in range(12) for j in range(7)),
    ]
    return np.concatenate(rings), np.cumsum([0, *map(len, rings)])


@njit(nogil=True)
def _store(out: NDArray[np.float64]) -> None:
    for i in range(len(out)):
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = i, 1.0, 2.0, 3.0


def _seconds(what: Callable[[], object], least_s: float = 0.4) -> float:
    """The best time of one call, of as many as fit."""
    what()
    best, until = math.inf, time.perf_counter() + least_s
    while time.perf_counter() < until:
        started = time.perf_counter()
        what()
        best = min(best, time.perf_counter() - started)
    return best


def _kernel(name: str, outline: Loops) -> dict[str, float]:
    def hatch() -> NDArray[np.float64]:
        vectors: NDArray[np.float64] = filling.parallel_vectors(*outline, SPACING_MM, ANGLE, 0.0, 0.01, True)
        return vectors

    vectors = hatch()
    hatch_s, store_s = _seconds(hatch), _seconds(lambda: _store(vectors))
    return {
        f"{name}_vectors": len(vectors),
        f"{name}_vectors_per_s": round(len(vectors) / hatch_s),
        f"{name}_store_gb_per_s": round(vectors.nbytes / store_s / 1e9, 1),
        f"{name}_part_of_store": round(store_s / hatch_s, 4),
    }


def _parts() -> dict[str, float]:
    """CPU seconds of frame2 by each hatch (median of RUNS, taken in turns), and what the tiles cost against meander."""
    mesh, parameters = bench_slice.frame2(), bench_slice.Parameters()

    def plan(hatch: str) -> Iterator[ScanPath]:
        for layer in cut_layers(mesh, 0.082):
            yield fill_layer(layer, parameters, strategy=Strategy(hatch=hatch))

    hatches = ("meander", *TILED)
    result: dict[str, float] = {
        f"{hatch}_vectors": sum(int((path.kind == KIND_HATCH).sum()) for path in plan(hatch)) for hatch in hatches
    }
    for name, keep in (("", 0), ("_kept", None)):
        cpu_s: dict[str, list[float]] = {hatch: [] for hatch in hatches}
        for _ in range(RUNS):
            for hatch in hatches:
                started = time.process_time()
                paths = deque(plan(hatch), maxlen=keep)
                cpu_s[hatch].append(time.process_time() - started)
                del paths
        middle = {hatch: sorted(times)[RUNS // 2] for hatch, times in cpu_s.items()}
        result |= {f"{hatch}{name}_cpu_s": round(middle[hatch], 3) for hatch in hatches}
        result |= {f"{hatch}{name}_times_meander": round(middle[hatch] / middle["meander"], 3) for hatch in TILED}
    return result


def run() -> dict[str, object]:
    """The kernel's figures, and those of whole parts."""
    result: dict[str, object] = {"bench": "hatch", "load_average": os.getloadavg()[0]}
    rates = []
    for name, outline in (("rectangle", rectangle()), ("plate", plate()), ("strip", strip())):
        figures = _kernel(name, outline)
        result |= figures
        if name != "strip":  # no layer is 100 m long: what is kept of it is mostly the system finding memory
            rates.append(figures[f"{name}_vectors_per_s"])
    result["vectors_per_s"] = min(rates)
    parts = _parts()
    result |= parts
    result["bar"] = f"vectors_per_s >= {BAR_VECTORS_PER_S:g}, stripes and islands <= {BAR_TILES} times meander"
    result["passed"] = min(rates) >= BAR_VECTORS_PER_S and all(
        parts[f"{hatch}_times_meander"] <= BAR_TILES for hatch in ("stripes", "islands")
    )
    return result


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))

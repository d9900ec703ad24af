"""Order the vectors of one layer five ways: how fast, and what each order comes to.

    python benchmarks/bench_order.py

Speed: a plate of 200 x 200 mm with 400 holes, hatched at 67 degrees: 1e5 vectors for `nearest` (bar 1 s), 2e4 for
`return_time` (bar 2 s), return times of the same layer. One thread, so the bars are CPU time; the median of five warm
runs.

Worth: on a plate of 100 x 60 mm with six holes, 0.5 mm hatch, 500 mm/s, meander, islands and stripes of 5 mm: jumps,
waits and total time, the least and the 5 % return time between vectors nearer than 1.2 mm to each other (1 s is asked
of `return_time`), and the rank by the linear heat model. Times are length / speed and jump / jump speed.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slicer.hatching import HATCHES, Hatched, HatchSettings
from slicer.ordering import ORDERS, Order, Ordered, OrderSettings, jump_length_mm
from slicer.scan import KIND_HATCH, ScanPath
from slicer.thermal import HeatModel, peak_rise_rank, return_times

NEAREST_BAR_S, RETURN_BAR_S = 1.0, 2.0
RUNS = 5
ORIGIN = (0.0, 0.0)
SPEED_MM_S, JUMP_SPEED_MM_S, POWER_W = 500.0, 2000.0, 100.0


def plate(width_mm: float, depth_mm: float, across: int, up: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(points, loop starts) of a plate with rows of round holes."""
    rings = [np.array([(0.0, 0.0), (width_mm, 0.0), (width_mm, depth_mm), (0.0, depth_mm)])]
    turn = -np.linspace(0.0, 2.0 * math.pi, 24, endpoint=False)
    radius = 0.3 * min(width_mm / across, depth_mm / up)
    for j in range(up):
        for i in range(across):
            middle = ((i + 0.5) * width_mm / across, (j + 0.5) * depth_mm / up)
            rings.append(np.c_[np.cos(turn), np.sin(turn)] * radius + middle)
    return np.concatenate(rings), np.cumsum([0, *map(len, rings)])


def median_s(work: Callable[[], object]) -> tuple[float, float]:
    """The medians of `RUNS` warm runs: wall and CPU."""
    work()
    walls, cpus = [], []
    for _ in range(RUNS):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return round(sorted(walls)[RUNS // 2], 3), round(sorted(cpus)[RUNS // 2], 3)


def path_of(hatch: Hatched, found: Ordered, speed_mm_s: float) -> ScanPath:
    """The path that an order makes."""
    n = len(found.index)
    return ScanPath(
        found.vectors_of(hatch), np.full(n, KIND_HATCH, np.uint8), np.full(n, POWER_W), np.full(n, speed_mm_s),
        wait_s=found.wait_s,
    )  # fmt: skip


def worth(hatch: Hatched, order: Order, settings: OrderSettings, model: HeatModel) -> dict[str, float]:
    """What an order comes to."""
    found = order(hatch, SPEED_MM_S, JUMP_SPEED_MM_S, ORIGIN, settings)
    path = path_of(hatch, found, SPEED_MM_S)
    jumps_mm = jump_length_mm(path.vectors_mm, ORIGIN)
    returns_s = return_times(path, settings.return_radius_mm, JUMP_SPEED_MM_S)
    again = returns_s[np.isfinite(returns_s)]
    return {
        "jumps_mm": round(jumps_mm),
        "wait_s": round(float(found.wait_s.sum()), 3),
        "total_s": round(path.exposure_time_s + jumps_mm / JUMP_SPEED_MM_S + float(found.wait_s.sum()), 2),
        "return_least_s": round(float(again.min()), 4),
        "return_5_percent_s": round(float(np.percentile(again, 5)), 4),
        "rank_k": round(peak_rise_rank(path, model, JUMP_SPEED_MM_S)),
    }


def orders_of(hatch: Hatched, settings: OrderSettings, model: HeatModel) -> dict[str, dict[str, float]]:
    """What every order comes to, and tiles in a random order beside them."""

    def at_random(hatch: Hatched, *_: Any) -> Ordered:
        tiles = np.random.default_rng(1).permutation(int(hatch.tile.max()) + 1)
        index = np.argsort(tiles[hatch.tile], kind="stable")
        return Ordered(index, np.zeros(len(index), np.bool_), np.zeros(len(index)))

    named = dict(ORDERS) | ({"tiles_at_random": at_random} if hatch.tile.max() > 0 else {})
    return {name: worth(hatch, order, settings, model) for name, order in named.items()}


def tile_gaps(across: int, up: int) -> dict[str, list[int]]:
    """How many tiles later a tile's neighbour is exposed, in five orders of a grid of tiles.

    Of pairs that share a border or a corner, and then of pairs with up to one tile between them: the least, and what 19
    of 20 pairs reach. Of a random order the median of 21.
    """
    tiles = np.arange(across * up)
    column, row = tiles % across, tiles // across
    lines = np.c_[column + 0.1, row + 0.5, column + 0.9, row + 0.5]
    farthest = ORDERS["farthest"](
        Hatched.numbered(lines, tiles.astype(np.int32)), 1.0, 1.0, ORIGIN, OrderSettings()
    ).index
    random = np.random.default_rng(1)

    def gaps(order: NDArray[np.integer]) -> list[int]:
        when = np.argsort(order).reshape(up, across)
        found = []
        for steps in (1, 2):
            every = [
                np.abs(
                    when[j:, max(i, 0) : across + min(i, 0)] - when[: up - j, max(-i, 0) : across - max(i, 0)]
                ).ravel()
                for j in range(min(steps, up - 1) + 1)
                for i in range(-steps, steps + 1)
                if j > 0 or i > 0
            ]
            found += [int(np.concatenate(every).min()), int(np.percentile(np.concatenate(every), 5))]
        return found

    return {
        "row_by_row": gaps(tiles),
        "every_other": gaps(np.argsort((column + row) % 2, kind="stable")),
        "every_fourth": gaps(np.argsort(column % 2 + 2 * (row % 2), kind="stable")),
        "at_random": np.median([gaps(random.permutation(len(tiles))) for _ in range(21)], axis=0).astype(int).tolist(),
        "farthest": gaps(farthest),
    }


def run() -> dict[str, Any]:
    """Seconds per layer, and what the orders come to."""
    large = HATCHES["meander"](*plate(200.0, 200.0, 20, 20), math.radians(67), HatchSettings(0.0264))
    middle = HATCHES["meander"](*plate(200.0, 200.0, 20, 20), math.radians(67), HatchSettings(0.132))
    numbers = OrderSettings(0.0, 1.0, 0.5)
    nearest_s, nearest_cpu_s = median_s(lambda: ORDERS["nearest"](large, SPEED_MM_S, JUMP_SPEED_MM_S, ORIGIN, numbers))
    return_s, return_cpu_s = median_s(
        lambda: ORDERS["return_time"](middle, SPEED_MM_S, JUMP_SPEED_MM_S, ORIGIN, numbers)
    )
    sweep_s, sweep_cpu_s = median_s(lambda: ORDERS["sweep"](large, SPEED_MM_S, JUMP_SPEED_MM_S, ORIGIN, numbers))
    path = path_of(middle, ORDERS["as_hatched"](middle, SPEED_MM_S, JUMP_SPEED_MM_S, ORIGIN, numbers), SPEED_MM_S)
    times_s, times_cpu_s = median_s(lambda: return_times(path, 0.5, JUMP_SPEED_MM_S))
    outline = plate(100.0, 60.0, 3, 2)
    asked, model = OrderSettings(0.0, 1.0, 1.2), HeatModel(sigma_mm=0.25)
    return {
        "bench": "order",
        "nearest_s": nearest_s,
        "nearest_cpu_s": nearest_cpu_s,
        "nearest_vectors": len(large.vectors_mm),
        "sweep_s": sweep_s,
        "sweep_cpu_s": sweep_cpu_s,
        "return_time_s": return_s,
        "return_time_cpu_s": return_cpu_s,
        "return_time_vectors": len(middle.vectors_mm),
        "return_times_s": times_s,
        "return_times_cpu_s": times_cpu_s,
        "meander": orders_of(HATCHES["meander"](*outline, math.radians(67), HatchSettings(0.5)), asked, model),
        "islands": orders_of(HATCHES["islands"](*outline, math.radians(67), HatchSettings(0.5)), asked, model),
        "stripes": orders_of(HATCHES["stripes"](*outline, math.radians(67), HatchSettings(0.5)), asked, model),
        "tiles_20_x_13": tile_gaps(20, 13),
        "stripes_40": tile_gaps(40, 1),
        "bar": f"nearest_cpu_s <= {NEAREST_BAR_S} for 1e5 vectors, return_time_cpu_s <= {RETURN_BAR_S} for 2e4",
        "passed": nearest_cpu_s <= NEAREST_BAR_S and return_cpu_s <= RETURN_BAR_S,
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))

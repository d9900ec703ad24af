"""The longest scenarios of two maps in MovingAI's manner: a dungeon of 512 x 512, a city of 1024 x 1024.

    python benchmarks/bench_grid.py

The collection itself is not shipped: maps and scenarios are generated from a seed (tests/grid_maps.py), optima are a
plain heap Dijkstra's. Bar: within 0.01 of every optimum; 3 ms a query over the 50 longest of the dungeon. One
thread, best of three each. pyastar2d answers the same queries in the same run where it is installed (it cuts corners).
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from bench_route import best_ms

from control.rover.route.kernels import astar

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

BAR_MS, BAR_OFF = 3.0, 0.01


def run() -> dict[str, Any]:
    """Milliseconds a query and the largest distance from an optimum."""
    from grid_maps import city, rooms, tasks_on

    found: dict[str, Any] = {"bench": "grid", "load_average": round(os.getloadavg()[0], 2)}
    worst = 0.0
    for name, cost, goals in (("dungeon", rooms(1), 5), ("city", city(1), 2)):
        tasks = sorted(tasks_on(cost, name, 2, goals, 25), key=lambda task: task.optimum)[-50:]
        worst = max(worst, *(abs(astar(cost, t.start, t.goal)[1] - t.optimum) for t in tasks))
        times = [best_ms(lambda t=t, cost=cost: astar(cost, t.start, t.goal), 3) for t in tasks]  # type: ignore[misc]
        found |= {f"{name}_ms": round(float(np.mean(times)), 2), f"{name}_longest": round(tasks[-1].optimum, 1)}
        if importlib.util.find_spec("pyastar2d"):
            import pyastar2d

            theirs = [best_ms(lambda t=t, c=cost: pyastar2d.astar_path(c, t.start, t.goal, True), 3) for t in tasks]  # type: ignore[misc]
            found[f"{name}_pyastar2d_ms"] = round(float(np.mean(theirs)), 2)
    return {
        **found,
        "off_optimum": worst,
        "bar": f"dungeon <= {BAR_MS:g} ms a query; within {BAR_OFF:g} of every optimum",
        "passed": bool(found["dungeon_ms"] <= BAR_MS and worst <= BAR_OFF),
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))

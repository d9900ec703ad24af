"""Simulated seconds per CPU second of the whole bench with its bed solved: `bench_virtual_time` with cells of 3 mm.

    python benchmarks/bench_virtual_bed.py

The same host, world, load and counts; the bed of 250 x 150 mm is solved in cells of 3 x 3 x 2 mm, not 10 x 10 x 2.
"""

from __future__ import annotations

import json
from typing import Any

from bench_virtual_time import ROUNDS, run_at

EXPOSURE_S = 100.0
CELL_XY_MM = 3.0
BAR = 50.0


def run(exposure_s: float = EXPOSURE_S, rounds: int = ROUNDS) -> dict[str, Any]:
    """The figures of the middle one of `rounds` runs."""
    return {**run_at(exposure_s, rounds, bar=BAR, cell_xy_mm=CELL_XY_MM), "bench": "virtual_bed"}


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))

"""One path in a corridor over real terrain: 4.19 M cells, and the whole tile of 10.24 M.

    python benchmarks/bench_corridor.py

The maps are those of `bench_route`, one thread, best of five, both diagonals: the slower and the dearer of the two is
told. Bars: 60 ms and 0.5 % over the exact cost on the crop, 200 ms and 1 % on the whole tile. pyastar2d and
scikit-image find their path on the crop, along its last diagonal.
"""

from __future__ import annotations

import json
import os
from typing import Any

from bench_route import SIDE, best_ms, open_corner, peers, terrain_cost

from control.rover.route.kernels import corridor_astar, cost_to_go

BARS = {"crop": (60.0, 0.005), "tile": (200.0, 0.01)}
TILE_SIDE = 3200


def run() -> dict[str, Any]:
    """Milliseconds and how much dearer than the exact way, for both maps."""
    found: dict[str, Any] = {"bench": "corridor", "load_average": round(os.getloadavg()[0], 2), "passed": True}
    for name, side in (("crop", SIDE), ("tile", TILE_SIDE)):
        cost = terrain_cost(side)
        last, ms, dearer = side - 1, 0.0, 0.0
        for start, goal in (
            (open_corner(cost, 0, 0, 1), open_corner(cost, last, last, -1)),
            (
                _turned(open_corner(cost[:, ::-1], 0, 0, 1), last),
                _turned(open_corner(cost[:, ::-1], last, last, -1), last),
            ),
        ):
            exact = float(cost_to_go(cost, goal)[start])
            dearer = max(dearer, corridor_astar(cost, start, goal)[1] / exact - 1.0)
            ms = max(ms, best_ms(lambda c=cost, s=start, g=goal: corridor_astar(c, s, g)))  # type: ignore[misc]
        found |= {f"{name}_ms": round(ms, 1), f"{name}_dearer_share": round(dearer, 6)}
        found["passed"] &= bool(ms <= BARS[name][0] and dearer <= BARS[name][1])
        if name == "crop":
            found |= peers(cost, start, goal)
    found["bar"] = "; ".join(f"{name} <= {ms:g} ms and {share:.1%} dearer" for name, (ms, share) in BARS.items())
    return found


def _turned(cell: tuple[int, int], last: int) -> tuple[int, int]:
    return cell[0], last - cell[1]


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))

"""The demonstration's route: over real lunar heights where they are at hand, else over generated ones."""

from __future__ import annotations

import os
from pathlib import Path

from control.host import PlanRequest, Route, plan_request, write_map
from hil_sim.world.plant.terrain import generated_heights

REPOSITORY = Path(__file__).resolve().parents[2]
REAL_PATCH = Path("terrain") / "peak_near_shackleton_exact_100x100_5mpp.csv"
REAL_START_M, REAL_HEADING = (22100.0, -12400.0), (0.80, 0.60)
SEED, SIDE_M, CELL_M = 8, 400.0, 4.0


def plan_demo(folder: Path, length_m: float) -> Route:
    """Plan about `length_m` as the crow flies, and leave `route.json` (and a generated map) in a folder."""
    map_path = real_patch()
    if map_path is not None:
        start, (along_x, along_y) = REAL_START_M, REAL_HEADING
    else:
        map_path = folder / "hills.npz"
        write_map(generated_heights(SEED, SIDE_M, CELL_M, relief_m=6.0), CELL_M, "hills", map_path)
        start, (along_x, along_y) = (100.0, 100.0), (0.8, 0.6)
    goal = start[0] + length_m * along_x, start[1] + length_m * along_y
    return plan_request(PlanRequest(map_path, start, goal), folder / "route.json")


def real_patch() -> Path | None:
    """The measured heights of the shared data folder (`MOONKILN_DATA`, or `../shared/data`), if they are there."""
    data = Path(os.environ.get("MOONKILN_DATA", REPOSITORY.parent / "shared" / "data"))
    path = data / REAL_PATCH
    return path if path.is_file() else None

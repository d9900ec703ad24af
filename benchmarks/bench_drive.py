"""Simulated seconds per CPU second of a drive: the whole rover host and its whole world on one virtual loop.

    python benchmarks/bench_drive.py

The open-source rover drives 30 m of a winding lane over generated hills: commands at 10 Hz to five motor boards, the
inertial unit at 50 Hz, the tracker's lines, the power unit, estimate, guard, telemetry, and the plant under it all. CPU
time of this process; the best of several drives counts, the rest is what else the machine did. It has no bar.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

from control.host import GroundMap, Status
from control.rover.route.route_file import MapRef, Predicted, Route, write_route
from hil_sim.harness.drive_runner import DriveScenario, run_drive
from hil_sim.world.plant.terrain import generated_heights

LENGTH_M, WARM_M = 30.0, 1.0
SPEED_M_S = 0.1
ROUNDS = 3


def lane(path: Path, length_m: float) -> Path:
    """A sine lane of that length along x, from (60, 100) m, written to `path`."""
    points = [(60.0 + 0.5 * k, 100.0 + 2.0 * math.sin(k / 12.0)) for k in range(round(length_m / 0.5) + 1)]
    route = Route(
        name="lane",
        map=MapRef("hills.npz", "0" * 64, "local", 0.0, 0.0, 2.0, 100, 100),
        start_m=points[0],
        goal_m=points[-1],
        waypoints=points,
        speeds_m_s=[SPEED_M_S] * len(points),
        corridor_m=1.5,
        predicted=Predicted(length_m, length_m / SPEED_M_S, 1.0),
    )
    write_route(route, path)
    return path


def drive(folder: Path, length_m: float) -> tuple[float, float]:
    """(simulated s, CPU s) of one drive, the building of its world included."""
    hills = GroundMap(generated_heights(3, 200.0, 2.0, relief_m=0.8), 0.0, 0.0, 2.0)
    folder.mkdir()
    route = lane(folder / "route.json", length_m)
    began_s = time.process_time()
    result = run_drive(DriveScenario(seed=1), route, folder / "run", ground=hills)
    cpu_s = time.process_time() - began_s
    assert result.outcome is not None and result.outcome.status is Status.DONE, result.outcome
    return result.sim_s, cpu_s


def run(length_m: float = LENGTH_M, rounds: int = ROUNDS) -> dict[str, Any]:
    """The best of `rounds` drives, after a short one that loads the kernels."""
    with tempfile.TemporaryDirectory() as name:
        drive(Path(name) / "warm", WARM_M)
        costs = [drive(Path(name) / str(k), length_m) for k in range(rounds)]
    rates = [sim_s / cpu_s for sim_s, cpu_s in costs]
    return {
        "bench": "drive",
        "sim_s_per_cpu_s": round(max(rates), 1),
        "cpu_ms_per_sim_s": round(1000.0 / max(rates), 2),
        "rates": [round(rate, 1) for rate in rates],
        "sim_s": round(costs[0][0], 1),
        "length_m": length_m,
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))

"""Many rovers on many grounds: do they keep to their path, and do they stop when a wire is cut? One seed, one drive.

`--rover-seeds N` says how many, `--rover-first N` from which on, `--rover-length M` how long the drives are, and
`--rover-out FILE` where a line is left for each: test, seed, digest of the true track, figures. A drive that fails is
repeated alone by its seed: `pytest -m soak tests/test_rover_soak.py -k path --rover-first 17 --rover-seeds 1`.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rover_drive_helpers import HILLS, lane

from control.host import PlanRequest, Status, ground_of, plan_request
from control.rover.ground.dem import read_dem
from control.rover.route.planner import RouteError
from control.rover.route.route_file import write_route
from hil_sim.harness.drive_runner import DriveResult, DriveScenario, made_ground, run_drive
from hil_sim.harness.oracle import Verdict
from hil_sim.world.plant.rover import OSR, RoverPlant
from hil_sim.world.plant.soil import SoilParams, draw_soil
from hil_sim.world.plant.terrain import Ground

pytestmark = pytest.mark.soak

ROLL_MAX_DEG = 15.0  # the soil's side strength is 16.5 deg
TILT_MAX_DEG = 20.0  # rolled and pitched at once it slides, whoever steers; the guard slows it at 18, turns back at 24
DRIFT_MAX_DEG = 10.0  # aside, across the steepest roll; Yutu-2's 0.45 deg for each degree of roll are 6.8 deg at most
SPEED_M_S = 0.1  # of a drive: twice what is planned on a slope, so that the motors' sag shows too


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        first, count = (int(metafunc.config.getoption(name)) for name in ("--rover-first", "--rover-seeds"))
        metafunc.parametrize("seed", range(first, first + count))


def real_way(folder: Path, shared_data: Path, seed: int, length_m: float) -> tuple[Path, float, float]:
    """A way over the measured 500 m patch, up to 10 deg steep, from near a corner of the seed's choice, cut; and its
    steepest climb and largest roll on the ground as it is, deg.

    The map does not show what lies below its cells. A way that rolls the rover there by more than the soil holds
    sideways is drawn anew, as it would slide off whoever steers it; and so is one that is too steep for its guard.
    """
    rng = random.Random(f"{seed}:way")
    dem_path = shared_data / "terrain" / "peak_near_shackleton_exact_100x100_5mpp.csv"
    x0, y0, x1, y1 = read_dem(dem_path).extent_m
    path = folder / "route.json"
    for _ in range(100):
        near, far = (rng.uniform(20, 60), rng.uniform(20, 60)), (rng.uniform(20, 60), rng.uniform(20, 60))
        ends = [(x0 + near[0], y0 + near[1]), (x1 - far[0], y1 - far[1])]
        if rng.random() < 0.5:
            ends = [(x0 + x1 - x, y) for x, y in ends]
        if rng.random() < 0.5:
            ends.reverse()
        try:
            route = plan_request(PlanRequest(dem_path, ends[0], ends[1], slope_max_deg=10.0), path)
        except RouteError:  # it began or ended on a steeper slope
            continue
        s = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(route.waypoints_m, axis=0).T))))
        kept = max(2, int(np.searchsorted(s, length_m)))
        route = msgspec.structs.replace(
            route,
            waypoints=route.waypoints[:kept],
            speeds_m_s=[SPEED_M_S] * kept,
            goal_m=route.waypoints[kept - 1],
        )
        write_route(route, path)
        climb_deg, roll_deg, tilt_deg = tilts_deg(
            np.array(route.waypoints), made_ground(ground_of(route, folder), DriveScenario(seed=seed))
        )
        if roll_deg <= ROLL_MAX_DEG and tilt_deg <= TILT_MAX_DEG:
            return path, climb_deg, roll_deg
    raise AssertionError("no way in 100 draws")


def tilts_deg(way_m: np.ndarray, ground: Ground) -> tuple[float, float, float]:
    """The steepest climb, the largest roll and the largest tilt that a rover's wheels meet on a way, deg, on the ground
    as it is."""
    s = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(way_m, axis=0).T))))
    at = np.arange(0.0, s[-1], 0.05)
    x, y = np.interp(at, s, way_m[:, 0]), np.interp(at, s, way_m[:, 1])
    heading = np.arctan2(np.gradient(y), np.gradient(x))
    ahead_m, left_m = OSR.wheels["fl"]

    def height(forward: float, left: float) -> np.ndarray:
        dx = forward * ahead_m * np.cos(heading) - left * left_m * np.sin(heading)
        dy = forward * ahead_m * np.sin(heading) + left * left_m * np.cos(heading)
        return ground.heights(x + dx, y + dy)

    front, rear = (height(f, 1) + height(f, -1) for f in (1, -1))
    left, right = (height(1, side) + height(0, side) + height(-1, side) for side in (1, -1))
    climb, roll = np.arctan((front - rear) / (4 * ahead_m)), np.arctan((left - right) / (6 * left_m))
    tilt = np.arccos(np.cos(climb) * np.cos(roll))
    climb_deg, roll_deg, tilt_deg = (float(np.degrees(np.nanmax(angle))) for angle in (climb, np.abs(roll), tilt))
    return climb_deg, roll_deg, tilt_deg


def drift_deg(soil: SoilParams, roll_deg: float) -> float:
    """How far aside a rover moves in that soil across a slope (see `SoilParams.side_slip`)."""
    push = math.tan(math.radians(roll_deg)) / math.tan(math.radians(soil.side_strength_deg))
    return math.degrees(math.atan(-soil.side_slip * math.log(1.0 - push)))


def drivable(seed: int, slope_deg: float, roll_deg: float) -> SoilParams:
    """A soil of the seed in which the rover slips by at most 60 % up that slope and drifts little across that roll
    (many of the Moon's are softer)."""
    n = np.arange(-20.0, 21.0)
    slope = Ground((np.tan(np.radians(slope_deg)) * np.tile(n, (41, 1))).astype(np.float32), -20.0, -20.0, 1.0)
    for draw in range(1000):
        soil = draw_soil(random.Random(f"{seed}:{draw}:soil"))
        if drift_deg(soil, roll_deg) > DRIFT_MAX_DEG:
            continue
        plant = RoverPlant(OSR, slope, soil, (-10.0, 0.0, 0.0))
        for name in plant.body.wheels:
            plant.motor(name).set_speed(0.0, 0.1 / plant.body.wheel.radius_m, 5.0)
        plant.advance_to(10.0)
        if plant.slip(10.0) <= 0.6:
            return soil
    raise AssertionError("no such soil in 1000")


def leave_a_line(config: pytest.Config, test: str, seed: int, result: DriveResult) -> None:
    """One row of `--rover-out`."""
    out = config.getoption("--rover-out")
    if not out:
        return
    track, j = result.truth.track, result.judgement
    digest = hashlib.sha256(track.t_s.tobytes() + track.x_m.tobytes() + track.y_m.tobytes()).hexdigest()[:16]
    with open(out, "a", encoding="ascii") as file:
        file.write(
            f"{test},{seed},{digest},{j.verdict.value},{result.sim_s:.1f},{100 * j.cross_track_rms_m:.2f},"
            f"{100 * j.cross_track_max_m:.2f},{float(track.slip.max()):.2f}\n"
        )


def test_a_path_is_kept_under_slip(tmp_path: Path, seed: int, pytestconfig: pytest.Config, shared_data: Path) -> None:
    length_m = float(pytestconfig.getoption("--rover-length"))
    route, climb_deg, roll_deg = real_way(tmp_path, shared_data, seed, length_m)
    soil = drivable(seed, max(10.0, climb_deg), roll_deg)
    result = run_drive(DriveScenario(seed=seed, soil=soil), route, tmp_path / "run")
    leave_a_line(pytestconfig, "path", seed, result)
    assert result.outcome is not None and result.outcome.status is Status.DONE, result.outcome
    assert result.verdict is Verdict.EXACT, result.judgement.reasons
    assert result.judgement.cross_track_rms_m <= 0.03
    assert result.judgement.cross_track_max_m <= 0.12


@pytest.mark.parametrize("wire", ["wheels", "imu", "tracker", "power", "all"])
def test_a_cut_wire_stops_the_rover_in_time(tmp_path: Path, seed: int, wire: str, pytestconfig: pytest.Config) -> None:
    """All wires at once: what a rover's boards hear of a host that was killed."""
    cut_s = random.Random(f"{seed}:{wire}").uniform(5.0, 40.0)
    wires = ["wheels", "imu", "tracker", "power"] if wire == "all" else [wire]

    async def cut(world) -> None:
        await asyncio.sleep(cut_s)
        for name in wires:
            world.wire(name).hang_up(back_after_s=2.0)

    result = run_drive(
        DriveScenario(seed=seed), lane(tmp_path / "r.json", 6.0), tmp_path / "run", ground=HILLS, meddle=cut
    )
    leave_a_line(pytestconfig, f"cut-{wire}", seed, result)
    track = result.truth.track
    step_m = np.hypot(np.diff(track.x_m), np.diff(track.y_m))
    after = track.t_s[1:] >= cut_s
    limit_s = 1.0 if "wheels" in wires else 6.0  # what only informs is missed when it is stale
    assert step_m[track.t_s[1:] > cut_s + limit_s].sum() < 1e-6, "it moved on, or again when the wire was back"
    assert step_m[after].sum() < (0.15 if "wheels" in wires else 0.15 + 0.1 * limit_s)
    assert result.outcome is not None and result.outcome.status is not Status.DONE
    assert result.verdict is Verdict.DETECTED, result.judgement.reasons

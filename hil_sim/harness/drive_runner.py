"""A rover's host and its world on one loop, and the oracle's word on what came of it: the twin of `runner`."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from control.host import DriveOutcome, GroundMap, Route, drive_host, ground_of, read_route, rover_file, rover_name
from hil_sim.harness.drive_oracle import DriveJudgement, Track, judge_drive
from hil_sim.harness.oracle import Verdict
from hil_sim.virtual_time import VirtualLoop, run_virtual
from hil_sim.world.build_rover import RoverTruth, RoverWorld, build_rover_world
from hil_sim.world.faults.schedule import FaultSchedule
from hil_sim.world.plant.soil import NOMINAL, SoilParams, draw_soil
from hil_sim.world.plant.terrain import DetailSettings, Ground
from hil_sim.world.scene_rover import SceneTag
from slicer.whole_file import whole_file

Host = Callable[[Path, Path, Path], Awaitable[DriveOutcome]]
MACHINE_NAME, TRUTH_NAME = "machine.toml", "truth.npz"
AFTER_S = 3.0  # how long the rover is still watched when its host is through


@dataclass(frozen=True)
class DriveScenario:
    """What is simulated and what goes wrong. `soil`: "nominal", "random" (drawn from the seed), or one; `details`:
    craters and rocks.
    """

    machine: str = "osr"
    world: str | None = None
    seed: int = 0
    soil: str | SoilParams = "nominal"
    details: bool = True
    faults: FaultSchedule = field(default_factory=FaultSchedule)
    sim_s_max: float = 7 * 86400.0

    def twin(self) -> str:
        """The emulated rover: the one named, or the shipped one of the machine file's name."""
        return self.world or rover_name(self.machine)

    def soil_params(self) -> SoilParams:
        """The soil under the wheels."""
        if isinstance(self.soil, SoilParams):
            return self.soil
        return NOMINAL if self.soil == "nominal" else draw_soil(random.Random(f"{self.seed}:soil"))


@dataclass(frozen=True)
class DriveResult:
    """What a simulated drive left: the host's word, the truth, the verdict, and what it cost."""

    outcome: DriveOutcome | None
    truth: RoverTruth
    judgement: DriveJudgement
    run_dir: Path
    sim_s: float

    @property
    def verdict(self) -> Verdict:
        """The oracle's verdict."""
        return self.judgement.verdict


def run_drive(
    scenario: DriveScenario,
    route_path: Path,
    run_dir: Path,
    *,
    host: Host = drive_host,
    pace: float | None = None,
    ground: GroundMap | None = None,
    meddle: Callable[[RoverWorld], Awaitable[None]] | None = None,
) -> DriveResult:
    """Drive a route in a scenario's world, in virtual time (paced: held back to `pace` times real time).

    `ground` stands in for the route's own map; `meddle` runs beside the host and may do to the world what it likes.

    Raises:
        MoonkilnError: the host refused the route or the machine before anything ran.
        hil_sim.virtual_time.SimError: everybody waited for what could not come.
    """
    return run_virtual(
        lambda loop: simulate_drive(loop, scenario, route_path, run_dir, host, ground, meddle),
        seed=scenario.seed,
        pace=pace,
    )


async def simulate_drive(
    loop: VirtualLoop,
    scenario: DriveScenario,
    route_path: Path,
    run_dir: Path,
    host: Host,
    ground: GroundMap | None,
    meddle: Callable[[RoverWorld], Awaitable[None]] | None,
) -> DriveResult:
    """The same on a loop that runs already."""
    route = read_route(route_path)
    world = await build_rover_world(
        scenario.twin(),
        made_ground(ground or ground_of(route, route_path.parent), scenario),
        pose=start_pose(route),
        soil=scenario.soil_params(),
        faults=scenario.faults,
        seed=scenario.seed,
        tags=site_tags(route),
    )
    meddler = None if meddle is None else loop.create_task(_await(meddle(world)), name="meddler")
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        machine_toml = run_dir / MACHINE_NAME
        machine_toml.write_text(rover_file(scenario.machine, world.urls), encoding="utf-8")
        outcome: DriveOutcome | None = None
        try:
            async with asyncio.timeout(scenario.sim_s_max):
                outcome = await host(route_path, machine_toml, run_dir)
        except TimeoutError:
            pass  # the oracle finds no outcome
        ended_s = loop.time()
        await asyncio.sleep(AFTER_S)
        truth = world.finish()
    finally:
        if meddler is not None:
            meddler.cancel()
        world.close()
    judgement = judge(route, truth, outcome, ended_s, ground or ground_of(route, route_path.parent))
    write_track(truth, run_dir, judgement)
    return DriveResult(outcome, truth, judgement, run_dir, loop.time())


def made_ground(ground: GroundMap, scenario: DriveScenario) -> Ground:
    """The truth under the wheels: the map, and below its resolution what the seed says."""
    details = DetailSettings() if scenario.details else None
    return Ground(ground.heights_m, ground.x_m, ground.y_m, ground.cell_m, seed=scenario.seed, details=details)


def site_tags(route: Route) -> tuple[SceneTag, ...]:
    """The route's tags as they truly stand: where the route says."""
    return tuple(
        SceneTag(tag.tag_id, tag.x_m, tag.y_m, tag.z_m, math.radians(tag.facing_deg), tag.side_m) for tag in route.tags
    )


def start_pose(route: Route) -> tuple[float, float, float]:
    """Where a route begins, and the direction of its first metre."""
    points = route.waypoints_m
    ahead = points[min(2, len(points) - 1)]
    return float(points[0, 0]), float(points[0, 1]), math.atan2(ahead[1] - points[0, 1], ahead[0] - points[0, 0])


def judge(
    route: Route, truth: RoverTruth, outcome: DriveOutcome | None, ended_s: float, ground: GroundMap
) -> DriveJudgement:
    """The oracle's word, with the map's slopes as it works them out itself."""
    too_steep = slopes_deg(ground.heights_m, ground.cell_m) > route.slope_max_deg
    rows, columns = too_steep.shape

    def is_blocked(x_m: float, y_m: float) -> bool:
        i, j = round((y_m - ground.y_m) / ground.cell_m), round((x_m - ground.x_m) / ground.cell_m)
        return not (0 <= i < rows and 0 <= j < columns) or bool(too_steep[i, j])

    t = truth.track
    track = Track(t.t_s, t.x_m, t.y_m, t.roll_rad, t.pitch_rad, t.tipped_at_s)
    return judge_drive(route.waypoints_m, track, outcome, ended_s, is_blocked)


def slopes_deg(heights_m: NDArray[np.float32], cell_m: float) -> NDArray[np.float64]:
    """Slope of each cell by central differences, deg."""
    along_y, along_x = np.gradient(heights_m.astype(np.float64), cell_m)
    return np.degrees(np.arctan(np.hypot(along_x, along_y)))


def write_track(truth: RoverTruth, folder: Path, judgement: DriveJudgement | None = None) -> None:
    """Leave the true track, and the verdict where there is one, in a folder: `truth.npz`."""
    t = truth.track
    columns = (t.t_s, t.x_m, t.y_m, t.z_m, t.roll_rad, t.pitch_rad, t.yaw_rad, t.slip, t.power_w)
    said = {} if judgement is None else {"verdict": judgement.verdict.value, "reasons": list(judgement.reasons)}
    with whole_file(folder / TRUTH_NAME) as file:
        np.savez_compressed(file, track=np.column_stack(columns), judgement=np.array(json.dumps(said)))


async def _await(work: Awaitable[None]) -> None:
    await work

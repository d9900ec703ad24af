"""A rover's host and its world on one loop, and the oracle's word on what came of it: the twin of `runner`."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from control.clock import run_start_ns
from control.host import (
    DriveOutcome,
    GroundMap,
    Route,
    drive_host,
    ground_of,
    read_drive_outcome,
    read_route,
    rover_file,
    rover_name,
)
from hil_sim.harness.belief import Starts, outcome_signals, telemetry
from hil_sim.harness.digest import Chunk, Digest, RunDigest
from hil_sim.harness.drive_oracle import DriveJudgement, Track, judge_drive
from hil_sim.harness.expectations import Expect, Expectation, FaredRun, judge_expectations, signals_of
from hil_sim.harness.host_process import HostStory, is_struck, run_hosts, simulated
from hil_sim.harness.hung import HostBound
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.outcome_file import kept_word, with_doubts
from hil_sim.harness.scenario import Mode, Scenario, ScenarioError, refuse_untold, time_of
from hil_sim.harness.truth_signals import rover_signals
from hil_sim.harness.wheels_heard import WheelsHeard
from hil_sim.harness.wire_loop import run_on_wire, standing
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build_rover import RoverTruth, RoverWorld, build_rover_world, load_rover_spec
from hil_sim.world.faults import Fault
from hil_sim.world.faults.process import POINTS as HOST_POINTS
from hil_sim.world.faults.schedule import FaultSchedule
from hil_sim.world.plant.soil import NOMINAL, SoilParams, draw_soil
from hil_sim.world.plant.terrain import DetailSettings, Ground
from hil_sim.world.safety import ROVER_SAFETY, RoverSafetySpec
from hil_sim.world.scene_rover import SceneTag
from hil_sim.world.wiring import Lay
from slicer.whole_file import whole_file

Host = Callable[[Path, Path, Path], Awaitable[DriveOutcome]]
Meddle = Callable[[RoverWorld], Awaitable[None]]
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
    expect: Expect = field(default_factory=Expect)
    mode: Mode = "virtual"
    pace: float | None = None

    @classmethod
    def of(cls, scenario: Scenario) -> DriveScenario:
        """A scenario file's drive. Raises ScenarioError: it is a printer's, or its random faults were not drawn."""
        scenario.refuse_undrawn()
        if scenario.drive is None:
            raise ScenarioError(f"scenario {scenario.name} is a printer's: it has no [drive], and takes a job")
        return cls(
            machine=scenario.machine,
            world=scenario.world,
            seed=scenario.seed,
            soil=scenario.drive.soil,
            details=scenario.drive.details,
            faults=scenario.schedule(),
            sim_s_max=min(scenario.sim_s_max, cls.sim_s_max),
            expect=scenario.expect,
            mode=scenario.mode,
            pace=scenario.pace,
        )

    def twin(self) -> str:
        """The emulated rover: the one named, or the shipped one of the machine file's name."""
        return self.world or rover_name(self.machine)

    def soil_params(self) -> SoilParams:
        """The soil under the wheels."""
        if isinstance(self.soil, SoilParams):
            return self.soil
        return NOMINAL if self.soil == "nominal" else draw_soil(random.Random(f"{self.seed}:soil"))


@dataclass(frozen=True)
class DriveResult(FaredRun):
    """What a simulated drive left: the host's word, the truth, the verdict, and what it cost.

    ended_s: loop time at which the host was through; the rover was watched a little longer. The others as in
    `runner.RunResult`.
    """

    outcome: DriveOutcome | None
    truth: RoverTruth
    judgement: DriveJudgement
    run_dir: Path
    sim_s: float
    digest: Digest
    ended_s: float = 0.0
    timers: int = 0
    struck: tuple[tuple[float, Fault], ...] = ()
    shown: frozenset[Fault] = frozenset()
    events: Mapping[str, int] = field(default_factory=dict)
    log: tuple[Chunk, ...] = ()
    expectations: list[Expectation] = field(default_factory=list)
    late_s: float = 0.0
    urls: Mapping[str, str] = field(default_factory=dict)
    """Both as `runner.RunResult` has them."""


def run_drive(
    scenario: DriveScenario,
    route_path: Path,
    run_dir: Path,
    *,
    host: Host = drive_host,
    mode: Mode | None = None,
    pace: float | None = None,
    ground: GroundMap | None = None,
    meddle: Meddle | None = None,
    tie_shuffle: bool = False,
    heard: RunDigest | None = None,
) -> DriveResult:
    """Drive a route in a scenario's world. `mode` and `pace` as `runner.run_scenario` has them.

    `ground` stands in for the route's own map; `meddle` runs beside the host and may do to the world what it likes;
    `tie_shuffle` and `heard` as in `runner.run_scenario`.

    Raises:
        ScenarioError: this scenario cannot be run in this mode.
        MoonkilnError: the host refused the route or the machine before anything ran.
        hil_sim.virtual_time.SimError: everybody waited for what could not come.
    """
    mode, held_to = time_of(scenario.mode, scenario.pace, mode, pace)
    if mode == "wire":
        return run_on_wire(
            lambda loop: simulate_drive(
                loop, scenario, route_path, run_dir, host, ground, meddle, lay="wire", heard=heard
            )
        )
    return run_virtual(
        lambda loop: simulate_drive(loop, scenario, route_path, run_dir, host, ground, meddle, heard=heard),
        seed=scenario.seed,
        pace=held_to,
        tie_shuffle=tie_shuffle,
    )


async def simulate_drive(
    loop: asyncio.AbstractEventLoop,
    scenario: DriveScenario,
    route_path: Path,
    run_dir: Path,
    host: Host,
    ground: GroundMap | None,
    meddle: Meddle | None,
    *,
    lay: Lay = "virtual",
    heard: RunDigest | None = None,
) -> DriveResult:
    """The same on a loop that runs already. `lay="wire"` lays real ptys in `run_dir`, on a stock loop."""
    heard = heard or RunDigest()
    wheels = WheelsHeard(load_rover_spec(scenario.twin()).devices.wheels.wire, heard.tap)
    route = read_route(route_path)
    heights = ground or ground_of(route, route_path.parent)
    run_dir.mkdir(parents=True, exist_ok=True)
    with standing(loop):
        world = await build_rover_world(
            scenario.twin(),
            made_ground(heights, scenario),
            pose=start_pose(route),
            soil=scenario.soil_params(),
            faults=scenario.faults,
            seed=scenario.seed,
            tags=site_tags(route),
            host_points=HOST_POINTS,
            lay=lay,
            directory=run_dir.resolve(),
            tap=wheels.tap,
        )
    start_ns = run_start_ns()  # before anything in the run sets the clock
    meddler = None if meddle is None else loop.create_task(_await(meddle(world)), name="meddler")
    try:
        machine_toml = run_dir / MACHINE_NAME
        machine_text = rover_file(scenario.machine, world.urls)
        refuse_untold(scenario.expect, machine_text)
        machine_toml.write_text(machine_text, encoding="utf-8")
        outcome: DriveOutcome | None = None
        hung: str | None = None
        story = HostStory()
        try:
            late = f"the host had not ended after {scenario.sim_s_max:g} simulated seconds"
            async with HostBound().around(scenario.sim_s_max, late):
                if is_struck(world.faults):  # a drive is not resumed: nobody follows a host that dies
                    where = route_path, machine_toml, run_dir
                    outcome = await run_hosts(simulated(loop), world.faults, host, None, where, story=story)
                else:
                    outcome = await host(route_path, machine_toml, run_dir)
        except TimeoutError as error:
            hung = str(error)
        # What follows a death is the rover's own doing, and must be a stop.
        ended_s = story.died_at_s[-1] if story.died_at_s else loop.time()
        await asyncio.sleep(AFTER_S)
        truth = world.finish()
    finally:
        if meddler is not None:
            meddler.cancel()
        world.close()
    outcome, doubts = kept_word(run_dir, outcome, read_drive_outcome)
    judgement = judge(route, truth, outcome, ended_s, heights, world.spec.safety, wheels.unheard_s(truth.end_s))
    judgement = with_doubts(judgement, doubts, has_left=outcome is not None)
    if story.died_at_s and judgement.verdict is Verdict.HANG:
        judgement = replace(judgement, verdict=Verdict.DETECTED, reasons=(*story.said, "the rover stands"))
    if hung is not None:
        judgement = replace(judgement, reasons=(hung, *judgement.reasons))
    write_track(truth, run_dir, judgement)
    told = telemetry(run_dir, Starts(story.began or [(0.0, start_ns)]), signals_of(scenario.expect))
    signals = {
        **rover_signals(truth),
        **told.signals,
        **outcome_signals(outcome, judgement.verdict.value, ended_s, truth.end_s),
    }
    fared = judge_expectations(scenario.expect, signals, truth.end_s, told.fieldless)
    strikes = world.faults.strikes
    t = truth.track
    rows = np.column_stack((t.t_s, t.x_m, t.y_m, t.z_m, t.roll_rad, t.pitch_rad, t.yaw_rad, t.slip, t.power_w))
    digest = heard.close(
        [rows.tolist(), t.tipped_at_s, truth.end_s, truth.energy_wh, truth.charge],
        [(t_s, fault.to_dict()) for t_s, _, fault in strikes],
        outcome,
        hidden=(str(run_dir), str(route_path.parent)),
    )
    return DriveResult(
        outcome,
        truth,
        judgement,
        run_dir,
        loop.time(),
        digest,
        ended_s,
        getattr(loop, "fired", 0),
        tuple((t_s, fault) for t_s, _, fault in strikes),
        frozenset(world.faults.shown),
        world.faults.counts,
        tuple(heard.log or ()),
        fared,
        getattr(loop, "late_s_max", 0.0),
        world.urls,
    )


def places_of(twin: str) -> tuple[list[str], list[str]]:
    """An emulated rover's points, where faults can strike, and the names of its devices."""

    async def ask(loop: VirtualLoop) -> tuple[list[str], list[str]]:
        flat = Ground(np.zeros((9, 9), np.float32), -4.0, -4.0, 1.0)
        world = await build_rover_world(twin, flat, pose=(0.0, 0.0, 0.0))
        try:
            return world.points, list(world.models)
        finally:
            world.close()

    return run_virtual(ask)


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
    route: Route,
    truth: RoverTruth,
    outcome: DriveOutcome | None,
    ended_s: float,
    ground: GroundMap,
    limits: RoverSafetySpec = ROVER_SAFETY,
    unheard_s: Sequence[tuple[float, float]] = (),
) -> DriveJudgement:
    """The oracle's word, with the map's slopes as it works them out itself."""
    too_steep = slopes_deg(ground.heights_m, ground.cell_m) > route.slope_max_deg
    rows, columns = too_steep.shape

    def is_blocked(x_m: float, y_m: float) -> bool:
        i, j = round((y_m - ground.y_m) / ground.cell_m), round((x_m - ground.x_m) / ground.cell_m)
        return not (0 <= i < rows and 0 <= j < columns) or bool(too_steep[i, j])

    t = truth.track
    track = Track(t.t_s, t.x_m, t.y_m, t.roll_rad, t.pitch_rad, t.winding_c, float(t.yaw_rad[-1]), t.tipped_at_s)
    return judge_drive(route.waypoints_m, track, outcome, ended_s, is_blocked, limits, unheard_s)


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

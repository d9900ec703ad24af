"""Host, world and faults on one loop, and the oracle's word on what came of it.

A user's own host is any callable that keeps the contract `await host(job, machine_toml, run_dir) -> Outcome`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from control.clock import run_start_ns
from control.host import Outcome, machine_file, machine_name, print_host, read_outcome
from hil_sim.harness.belief import Starts, outcome_signals, telemetry
from hil_sim.harness.digest import Chunk, Digest, RunDigest
from hil_sim.harness.expectations import Expectation, FaredRun, judge_expectations, signals_of
from hil_sim.harness.host_process import Host, HostStory, is_struck, resume_here, run_hosts, simulated
from hil_sim.harness.hung import HostBound, given_up_when_still
from hil_sim.harness.invariants import breaches, watched
from hil_sim.harness.oracle import Judgement, Verdict, judge
from hil_sim.harness.outcome_file import kept_word, with_doubts
from hil_sim.harness.scenario import Mode, Scenario, ScenarioError, refuse_untold, time_of
from hil_sim.harness.trace import Breach, Record, close_truth
from hil_sim.harness.truth_signals import printer_signals
from hil_sim.harness.wire_loop import run_on_wire, standing
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import RUN_START_EPOCH_NS
from hil_sim.world.build import World, build_world
from hil_sim.world.faults import Fault
from hil_sim.world.faults.process import POINTS as HOST_POINTS
from hil_sim.world.machine_spec import BedSettings, load_machine_spec
from hil_sim.world.wiring import Lay
from slicer.job import Job

Meddle = Callable[[World], Awaitable[None]]
MACHINE_NAME = "machine.toml"
HEIGHT_MARGIN_MM = 2.0
AFTER_S = 3.0  # how long the machine is still watched when its host is through


@dataclass(frozen=True)
class RunResult(FaredRun):
    """What a simulated run left: the host's word, the truth, the verdict, and what it cost.

    timers: how many fired, in virtual time; 0 on the wire.
    digest: of every delivered chunk, the truth, the strikes and the outcome. struck: (loop time, fault), of a window
    its first moment only. events: how many chunks, strokes, ... each point had that asks for faults. log: every
    delivered chunk, if it was to be kept.
    """

    outcome: Outcome | None
    record: Record
    judgement: Judgement
    run_dir: Path
    sim_s: float
    timers: int
    digest: Digest
    struck: tuple[tuple[float, Fault], ...] = ()
    shown: frozenset[Fault] = frozenset()
    """See `world.faults.schedule.Faults`."""
    events: Mapping[str, int] = field(default_factory=dict)
    layers: int = 0
    log: tuple[Chunk, ...] = ()
    expectations: list[Expectation] = field(default_factory=list)
    host_writes: Mapping[str, int] = field(default_factory=dict)
    """How often the hosts wrote, by point; empty where no fault could strike a host's computer and nobody counted."""
    urls: Mapping[str, str] = field(default_factory=dict)
    """Where each wire was laid."""
    starts: Starts = field(default_factory=lambda: Starts.alone(RUN_START_EPOCH_NS))
    """What the labels of the hosts' telemetry mean."""
    late_s: float = 0.0
    """By how much the loop's timers were late at most, on the wire: how far the computer was from real time."""


def run_scenario(
    scenario: Scenario,
    job_path: Path,
    run_dir: Path,
    *,
    host: Host = print_host,
    mode: Mode | None = None,
    pace: float | None = None,
    resume: Host | None = resume_here,
    tie_shuffle: bool = False,
    heard: RunDigest | None = None,
) -> RunResult:
    """Run a host against a scenario's world.

    Args:
        mode: virtual time, the same held back to `pace` times real time, or real time on ptys and TCP that are laid in
            `run_dir`. None: paced if there is a `pace`, else the scenario's own.
        pace: of paced time; None: the scenario's, else 1.
        resume: called in place of `host` after each death that the schedule lets another host follow; None: none can.
        tie_shuffle: draw the order of timers of one instant from the scenario's seed.
        heard: takes the run's chunks; None: one that keeps no log.

    Raises:
        ScenarioError: this scenario cannot be run in this mode.
        MoonkilnError: the host refused the job or the machine before anything ran.
        hil_sim.virtual_time.SimError: everybody waited for what could not come.
    """
    mode, held_to = time_of(scenario.mode, scenario.pace, mode, pace)
    options: dict[str, Any] = {"resume": resume, "heard": heard, "still_s_max": scenario.still_bound_s(mode)}
    if mode == "wire":
        return run_on_wire(lambda loop: simulate(loop, scenario, job_path, run_dir, host, lay="wire", **options))
    return run_virtual(
        lambda loop: simulate(loop, scenario, job_path, run_dir, host, **options),
        seed=scenario.seed,
        pace=held_to,
        tie_shuffle=tie_shuffle,
    )


async def simulate(
    loop: asyncio.AbstractEventLoop,
    scenario: Scenario,
    job_path: Path,
    run_dir: Path,
    host: Host,
    *,
    lay: Lay = "virtual",
    meddle: Meddle | None = None,
    resume: Host | None = resume_here,
    heard: RunDigest | None = None,
    still_s_max: float | None = None,
) -> RunResult:
    """The same on a loop that runs already.

    `lay="wire"` lays real ptys and TCP in `run_dir`, on a stock loop. `meddle(world)` runs beside the host, from before
    it until the world is closed, and may do to the world what it likes. A host's TimeoutError says why it hung; one
    whose machine does nothing for `still_s_max` has.
    `sim_s` of the answer is what the host took; the world is watched a little longer.
    """
    heard = heard or RunDigest()
    scenario.refuse_undrawn()
    if scenario.drive is not None:
        raise ScenarioError(f"scenario {scenario.name} is a rover's: it takes a route, and prints nothing")
    with Job.open(job_path) as job:
        twin = twin_of(scenario.machine, scenario.world)
        settings = bed_settings(scenario, twin, job)
        run_dir.mkdir(parents=True, exist_ok=True)
        with standing(loop):
            world = await build_world(
                twin,
                lay=lay,
                directory=run_dir.resolve(),
                settings=settings,
                faults=scenario.schedule(),
                seed=scenario.seed,
                host_points=HOST_POINTS,
                tap=heard.tap,
            )
        start_ns = run_start_ns()  # before anything in the run sets the clock
        meddler = None if meddle is None else asyncio.ensure_future(meddle(world))
        story = HostStory()
        try:
            machine_toml = run_dir / MACHINE_NAME
            machine_text = machine_file(scenario.machine, world.urls)
            refuse_untold(scenario.expect, machine_text)
            machine_toml.write_text(machine_text, encoding="utf-8")
            outcome: Outcome | None = None
            hung: str | None = None
            late = f"the host had not ended after {scenario.sim_s_max:g} simulated seconds"
            bound = HostBound()

            def doings() -> Any:
                return world.doings(loop.time())

            try:
                async with bound.around(scenario.sim_s_max, late):
                    with given_up_when_still(doings, bound.give_up, still_s_max):
                        where = job_path, machine_toml, run_dir
                        if is_struck(world.faults):
                            outcome = await run_hosts(simulated(loop), world.faults, host, resume, where, story=story)
                        else:
                            outcome = await host(*where)
            except TimeoutError as error:
                hung = str(error)
            ended_s, died = loop.time(), outcome is None
            await asyncio.sleep(AFTER_S)

            def watch(end_s: float) -> list[Breach]:
                return breaches(watched(world, job, ended_s=ended_s, host_died=died, end_s=end_s))

            record = await close_truth(world, run_dir, start_ns, watch)
        finally:
            if meddler is not None:
                meddler.cancel()
            world.close()
        outcome, doubts = kept_word(run_dir, outcome, read_outcome)
        judgement = with_doubts(judge(job, record, outcome, ended_s=ended_s), doubts, has_left=outcome is not None)
    if story.said:
        judgement = replace(judgement, reasons=(*story.said, *judgement.reasons))
    if hung is not None:
        verdict = judgement.verdict if judgement.verdict is Verdict.UNSAFE else Verdict.HANG
        judgement = replace(judgement, verdict=verdict, reasons=(hung, *judgement.reasons))
    wanted, end_s = signals_of(scenario.expect), record.end.end_s
    starts = Starts(story.began or [(0.0, start_ns)])
    told = telemetry(run_dir, starts, wanted)
    signals = {
        **printer_signals(world, end_s, wanted),
        **told.signals,
        **outcome_signals(outcome, judgement.verdict.value, ended_s, end_s),
    }
    fared = judge_expectations(scenario.expect, signals, end_s, told.fieldless)
    writes = {point: count for point in HOST_POINTS if (count := world.faults.events_of(point))}
    digest = heard.close(
        msgspec.structs.replace(record, faults=[]), record.faults, outcome, hidden=(str(run_dir), str(job_path))
    )
    return RunResult(
        outcome,
        record,
        judgement,
        run_dir,
        ended_s,
        getattr(loop, "fired", 0),
        digest,
        struck=tuple((t_s, fault) for t_s, _, fault in world.faults.strikes),
        shown=frozenset(world.faults.shown),
        events=world.faults.counts,
        layers=world.faults.layers,
        expectations=fared,
        host_writes=writes,
        log=tuple(heard.log or ()),
        urls=world.urls,
        starts=starts,
        late_s=getattr(loop, "late_s_max", 0.0),
    )


def twin_of(machine: str, world: str | None = None) -> str:
    """The emulated twin of a host's machine file: the one named, or the shipped one of the same name."""
    return world or machine_name(machine)


def bed_settings(scenario: Scenario, twin: str | Path, job: Job | None) -> BedSettings:
    """The bed of a scenario's `twin_of`, fitted to the job's recipe and height where the scenario says so."""
    given = scenario.bed or load_machine_spec(twin).bed
    settings = msgspec.structs.replace(given, cell_xy_mm=scenario.cell_xy_mm) if scenario.bed is None else given
    if job is None or not scenario.fit_bed_to_job:
        return settings
    recipe = job.recipe
    layer_mm = min(job.manifest.thickness_mm)
    return msgspec.structs.replace(
        settings,
        spot_mm=recipe.spot_mm,
        absorptivity=recipe.absorptivity,
        atmosphere="vacuum" if recipe.atmosphere == "vacuum" else "air",
        cell_z_mm=max(layer_mm, 0.25),
        max_height_mm=max(job.manifest.z_mm) + HEIGHT_MARGIN_MM,
    )

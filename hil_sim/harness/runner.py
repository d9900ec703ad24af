"""Host, world and faults on one loop, and the oracle's word on what came of it.

A user's own host is any callable that keeps the contract `await host(job, machine_toml, run_dir) -> Outcome`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from control.host import Outcome, machine_file, machine_name, print_host
from hil_sim.harness.oracle import Judgement, Verdict, judge
from hil_sim.harness.scenario import Scenario
from hil_sim.harness.trace import Record, close_truth
from hil_sim.virtual_time import VirtualLoop, run_virtual
from hil_sim.world.build import BedSettings, build_world, load_machine_spec
from slicer.job import Job

Host = Callable[[Path, Path, Path], Awaitable[Outcome]]
MACHINE_NAME = "machine.toml"
HEIGHT_MARGIN_MM = 2.0


@dataclass(frozen=True)
class RunResult:
    """What a simulated run left: the host's word, the truth, the verdict, and what it cost."""

    outcome: Outcome | None
    record: Record
    judgement: Judgement
    run_dir: Path
    sim_s: float
    timers: int

    @property
    def verdict(self) -> Verdict:
        """The oracle's verdict."""
        return self.judgement.verdict


def run_scenario(
    scenario: Scenario, job_path: Path, run_dir: Path, *, host: Host = print_host, pace: float | None = None
) -> RunResult:
    """Run a host against a scenario's world, in virtual time (paced: held back to `pace` times real time).

    Raises:
        MoonkilnError: the host refused the job or the machine before anything ran.
        hil_sim.virtual_time.SimError: everybody waited for what could not come.
    """
    held_to = pace or (scenario.pace if scenario.mode == "paced" else None)
    return run_virtual(lambda loop: simulate(loop, scenario, job_path, run_dir, host), seed=scenario.seed, pace=held_to)


async def simulate(loop: VirtualLoop, scenario: Scenario, job_path: Path, run_dir: Path, host: Host) -> RunResult:
    """The same on a loop that runs already."""
    with Job.open(job_path) as job:
        settings = bed_settings(scenario, job)
        world = await build_world(
            twin_of(scenario.machine, scenario.world),
            lay="virtual",
            settings=settings,
            faults=scenario.schedule(),
            seed=scenario.seed,
        )
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            machine_toml = run_dir / MACHINE_NAME
            machine_toml.write_text(machine_file(scenario.machine, world.urls), encoding="utf-8")
            outcome: Outcome | None = None
            hung = False
            try:
                async with asyncio.timeout(scenario.sim_s_max):
                    outcome = await host(job_path, machine_toml, run_dir)
            except TimeoutError:
                hung = True
            record = await close_truth(world, run_dir, loop.epoch_ns)
        finally:
            world.close()
        judgement = judge(job, record, outcome)
    if hung:
        reason = f"the host had not ended after {scenario.sim_s_max:g} simulated seconds"
        judgement = replace(judgement, verdict=Verdict.HANG, reasons=(reason, *judgement.reasons))
    return RunResult(outcome, record, judgement, run_dir, loop.time(), loop.fired)


def twin_of(machine: str, world: str | None = None) -> str:
    """The emulated twin of a host's machine file: the one named, or the shipped one of the same name."""
    return world or machine_name(machine)


def bed_settings(scenario: Scenario, job: Job | None) -> BedSettings:
    """The bed for a scenario, fitted to the job's recipe and height where the scenario says so."""
    given = scenario.bed or load_machine_spec(twin_of(scenario.machine, scenario.world)).bed
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

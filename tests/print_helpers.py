"""A whole print in virtual time with somebody at the machine: what tests do to a world while a host works on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control.host import Outcome, machine_file, print_host
from control.operator import Operator
from control.run_teller import Progress
from hil_sim.harness.matching import Plan, match_blocks
from hil_sim.harness.oracle import Judgement, Verdict, judge
from hil_sim.harness.runner import bed_settings
from hil_sim.harness.scenario import Scenario
from hil_sim.harness.trace import Record, close_truth
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build import World, build_world
from hil_sim.world.emulators.beam_head import SHUTTER
from hil_sim.world.emulators.eurotherm3200 import WORKING_SP
from hil_sim.world.wiring import MACHINES
from slicer.job import Job

CELL_MM = 10.0  # coarse: these tests ask about control, not about heat
SAFE_C = 20.0  # the heater's local set-point
SIM_S_MAX = 3600.0
SETTLED_S = 0.3  # the heater's controller works every quarter of a second


class Bystander:
    """Somebody beside the running machine: sees the truth, and can do things to it."""

    def __init__(self, loop: VirtualLoop, world: World, operator: Operator) -> None:
        self.loop = loop
        self.world = world
        self.operator = operator
        self.said: list[str] = []
        self.notes: dict[str, Any] = {}

    def progress(self, progress: Progress) -> None:
        self.said.append(progress.doing)

    async def until(self, ready: Callable[[], bool], every_s: float = 0.02) -> None:
        """Wait until `ready()`."""
        while not ready():
            await asyncio.sleep(every_s)

    async def until_doing(self, words: str) -> None:
        """Wait until the host says that it does something."""
        await self.until(lambda: any(words in said for said in self.said))

    async def until_blocks(self, count: int) -> None:
        """Wait until that many vectors have truly been exposed."""

        def done() -> bool:
            self.world.optics.settle(self.loop.time())
            return len(self.world.optics.executed) >= count

        await self.until(done)

    @property
    def beam_w(self) -> float:
        """What the head would emit at full S, now, in truth."""
        return self.world.beam_head.capability_w


@dataclass(frozen=True)
class End:
    """How the machine stood, in truth, when its host had ended."""

    time_s: float
    beam_w: float
    armed: bool
    shutter_open: bool
    moving: tuple[str, ...]
    heat_to_c: float
    """What the heater's controller heats to."""
    chunks: dict[str, int]
    """What came to each wire's device."""

    @classmethod
    def of(cls, world: World, now_s: float) -> End:
        world.beam_head.settle(now_s)
        moving = [name for name in ("blade", "piston") if getattr(world, name).moving(now_s)]
        here, there = world.gantry.position_at(now_s), world.gantry.position_at(now_s + 1.0)
        return cls(
            now_s,
            world.beam_head.capability_w,
            world.beam_head.armed,
            bool(world.beam_head.read_holding(SHUTTER, 1, now_s)[0]),
            tuple(moving + ["gantry"] * (here != there)),
            world.heater.read_holding(WORKING_SP, 1, now_s)[0] / 10,
            {name: world.wire(name).to_device.chunks for name in world.urls},
        )


Script = Callable[[Bystander], Awaitable[None]]
Host = Callable[[Path, Path, Path, Operator, Callable[[Progress], None]], Awaitable[Outcome]]


@dataclass
class Printed:
    """What a run left: the host's word or its error, the truth, the verdict."""

    outcome: Outcome | None
    error: BaseException | None
    record: Record
    judgement: Judgement
    run_dir: Path
    end: End
    bystander: Bystander

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

    def assert_safe(self, *, but: tuple[str, ...] = ()) -> None:
        """Nothing emits, moves or heats. `but`: "heater" or "gantry" where the host could not reach it."""
        assert self.end.beam_w == 0.0 and not self.end.armed and not self.end.shutter_open, self.end
        assert set(self.end.moving) <= set(but), self.end
        assert "heater" in but or self.end.heat_to_c <= SAFE_C, self.end
        assert self.verdict not in (Verdict.SILENT, Verdict.UNSAFE, Verdict.HANG), self.judgement

    def matched(self, job_path: Path) -> tuple[Plan, list[list[float]]]:
        """The plan, and for each of its blocks the energies with which it was truly executed."""
        with Job.open(job_path) as job:
            plan = Plan.of(job)
        return plan, match_blocks(plan, self.record.blocks).energies_j


def print_virtual(
    job_path: Path,
    run_dir: Path,
    script: Script | None = None,
    *,
    faults: tuple[dict[str, Any], ...] = (),
    machine: Callable[[str], str] = lambda text: text,
    dry_run: bool = False,
    host: Host | None = None,
    seed: int = 0,
    bench: str = "bench",
    world_machine: Callable[[str], str] | None = None,
) -> Printed:
    """Print a job on an emulated bench; `script` runs beside the host, and must have come to its end.

    Args:
        faults: as in a scenario file.
        machine: changes the text of the host's machine file.
        bench: the machine's name.
        world_machine: changes the text of the emulated machine's file.
        host: another host than `print_host`, called with job, machine file, run folder, operator, progress.
    """
    scenario = Scenario(
        schema_version=1, name="test", machine=bench, cell_xy_mm=CELL_MM, faults=list(faults), seed=seed
    )

    async def usual(job: Path, machine_toml: Path, folder: Path, operator: Operator, progress: Any) -> Outcome:
        return await print_host(job, machine_toml, folder, dry_run=dry_run, operator=operator, progress=progress)

    async def main(loop: VirtualLoop) -> Printed:
        with Job.open(job_path) as job:
            run_dir.mkdir(parents=True, exist_ok=True)
            twin: str | Path = bench
            if world_machine is not None:
                twin = run_dir / "world.toml"
                twin.write_text(world_machine((MACHINES / f"{bench}.toml").read_text(encoding="utf-8")), "utf-8")
            world = await build_world(
                twin, settings=bed_settings(scenario, twin, job), faults=scenario.schedule(), seed=seed
            )
            bystander = Bystander(loop, world, Operator())
            outcome, error = None, None
            try:
                toml = run_dir / "machine.toml"
                toml.write_text(machine(machine_file(bench, world.urls)), encoding="utf-8")
                acting = asyncio.ensure_future(script(bystander)) if script else None
                try:
                    async with asyncio.timeout(SIM_S_MAX):
                        outcome = await (host or usual)(job_path, toml, run_dir, bystander.operator, bystander.progress)
                except Exception as raised:
                    error = raised
                await asyncio.sleep(SETTLED_S)
                record = await close_truth(world, run_dir, loop.epoch_ns)
                end = End.of(world, loop.time())
                if acting is not None and not acting.done():
                    acting.cancel()
                    raise AssertionError(f"the run ended before the script did: {outcome} {error!r}")
                if acting is not None:
                    acting.result()
            finally:
                world.close()
            judgement = judge(job, record, outcome, dry_run_asked=dry_run)
        return Printed(outcome, error, record, judgement, run_dir, end, bystander)

    return run_virtual(main, seed=seed)

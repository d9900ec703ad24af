"""Runs whose host's computer fails: a job, faults at the host's points, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_helpers import RECIPE

from control.config import load_envelope
from control.inspection import Inspector
from control.journal import Journal
from control.outcome import Status
from hil_sim.harness.matching import ENERGY_SHARE, Plan, match_blocks
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.runner import RunResult, run_scenario
from hil_sim.harness.scenario import Scenario
from hil_sim.world.build import World
from hil_sim.world.scene import jpeg
from slicer.bricks import rectangular, write_stl
from slicer.job import Job
from slicer.plan import plan_job
from slicer.recipe import load_recipe
from vision.inspect_bed import LayerInspection

CELL_MM = 10.0  # coarse: these tests ask about the journal, not about heat
WINDOW_BLOCKS = 16 + 4 + 16  # planned in the machine, queued in it, and one journalled group: decision 5
PICTURE = jpeg(np.zeros((48, 64, 3), np.uint8))
NEVER = {"kind": "eio", "point": "host.journal", "at_event": 10**9}  # a host that is simulated as a process, unharmed


def small_job(folder: Path, layers: int, *, sparse: bool = False) -> Path:
    """A 5 x 8 mm plate whose layers take a few groups of lines and little time; `sparse`: one group."""
    write_stl(rectangular(5.0, 8.0, 0.5 * layers), folder / "small.stl")
    recipe = load_recipe(RECIPE, {"hatch_spacing_mm": "1.2" if sparse else "0.5"})
    manifest = plan_job(folder / "small.stl", recipe, load_envelope("bench"), folder / "small.kiln")
    assert manifest.layer_count == layers and manifest.vector_count >= (7 if sparse else 16) * layers
    return folder / "small.kiln"


def blindfold(patch: pytest.MonkeyPatch) -> None:
    """Every look at the bed is well, and costs nothing: pictures are most of a small layer's time."""
    fine = LayerInspection("powder", "ok", "not looked at", 24.0, 1.0, 0.0, iou=1.0, missing_mm2=0.0, excess_mm2=0.0)

    async def look(_self: Inspector, _jpeg: bytes, _layer: Any) -> LayerInspection:
        return fine

    patch.setattr(Inspector, "powder", look)
    patch.setattr(Inspector, "exposed", look)
    patch.setattr(World, "_shoot", lambda _self, _t_s: lambda: PICTURE)


@dataclass(frozen=True)
class Ended:
    """A run that has ended, and what it said."""

    result: RunResult
    job: Path

    @property
    def told(self) -> str:
        r = self.result
        return f"{r.verdict} {r.judgement.reasons[:8]} {r.outcome and (r.outcome.status, r.outcome.reason)}"

    def events(self) -> list[str]:
        """The story that the journal tells."""
        journal = Journal.open(self.result.run_dir / "run.sqlite")
        try:
            return [text for _, _, _, text in journal.events()]
        finally:
            journal.close()

    def assert_whole(self, deaths: int = 1) -> None:
        """Done, every vector exposed with its energy, and none twice beyond what so many deaths may cost."""
        result = self.result
        assert result.outcome is not None and result.outcome.status is Status.DONE, self.told
        assert result.verdict in (Verdict.EXACT, Verdict.DEGRADED), self.told
        with Job.open(self.job) as job:
            plan = Plan.of(job)
        energies = match_blocks(plan, result.record.blocks).energies_j
        for number, times in enumerate(energies):
            want = plan.energy_j[number]
            assert any(abs(e - want) <= ENERGY_SHARE * want for e in times), f"vector {number}: {times} J of {want} J"
        assert sum(len(times) > 1 for times in energies) <= WINDOW_BLOCKS * deaths, self.told

    def assert_safe(self) -> None:
        """Nothing emits, nobody was lied to."""
        assert not self.result.record.end.beam_live, self.told
        assert self.result.verdict.is_good, self.told


def run_faulty(job: Path, run_dir: Path, *faults: dict[str, Any], **settings: Any) -> Ended:
    """Print `job` in virtual time under faults."""
    scenario = Scenario(schema_version=1, name="process", cell_xy_mm=CELL_MM, faults=list(faults))
    return Ended(run_scenario(scenario, job, run_dir, **settings), job)


def crash(at_event: int, point: str = "host.journal", **args: Any) -> dict[str, Any]:
    """A host that dies at its n-th write."""
    return {"kind": "crash", "point": point, "at_event": at_event, "args": args}

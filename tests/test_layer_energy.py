"""Does the run notice when a layer's energy, read back from the head, is not the plan's?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from bench_helpers import RECIPE
from print_helpers import Bystander, print_virtual

from control.config import load_envelope
from control.host import Status
from control.layer_energy import counted_beyond_plan_j
from control.watch import MachineTripped
from hil_sim.harness.oracle import Verdict
from slicer.bricks import rectangular, write_stl
from slicer.plan import plan_job
from slicer.recipe import load_recipe
from slicer.scan import KIND_HATCH, ScanPath

SLOW = {"scan_speed_mm_s": "5", "contour_speed_mm_s": "5", "power_w": "20", "contour_power_w": "20"}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer that takes half a minute, so that the head's polls say something about its energy."""
    folder = tmp_path_factory.mktemp("slow")
    write_stl(rectangular(10.0, 10.0, 0.5), folder / "plate.stl")
    plan_job(folder / "plate.stl", load_recipe(RECIPE, SLOW), load_envelope("bench"), folder / "plate.kiln")
    return folder / "plate.kiln"


def test_a_sound_beam_closes_its_energy(job: Path, tmp_path: Path) -> None:
    assert print_virtual(job, tmp_path).verdict is Verdict.EXACT


@pytest.mark.parametrize(("planned_j", "counted_j", "is_short"), [
    (100.0, 99.6, False), (100.0, 99.2, True),  # 0.5 % of a layer
    (20.0, 19.8, False), (20.0, 19.6, True),  # and never less than three tenths, in which the head counts
])  # fmt: skip
def test_a_layer_may_be_short_by_its_share_or_by_what_the_head_cannot_count(
    planned_j: float, counted_j: float, is_short: bool
) -> None:
    vector_mm, kind = np.array([[0.0, 0.0, 10.0, 0.0]]), np.array([KIND_HATCH], np.uint8)
    line = ScanPath(vector_mm, kind, np.array([planned_j / 10.0]), np.array([1.0]))
    if is_short:
        with pytest.raises(MachineTripped, match="the source is weak"):
            counted_beyond_plan_j(0, line, 1, counted_j, 0.0, 0.005)
    else:
        assert counted_beyond_plan_j(0, line, 1, counted_j, 0.0, 0.005) == 0.0


def test_a_beam_of_half_the_power_is_never_called_done(job: Path, tmp_path: Path) -> None:
    async def weaken(b: Bystander) -> None:
        """A fibre that is half broken: the head takes its set-point and gives half of it."""
        head, whole = b.world.head, b.world.head.set_emission_capability
        head.set_emission_capability = lambda t_s, watts: whole(t_s, watts / 2)  # type: ignore[method-assign]
        await asyncio.sleep(0)

    weak = print_virtual(job, tmp_path, weaken)
    assert weak.outcome.status is Status.STOPPED
    assert "its plan asks for" in weak.outcome.reason and "the source is weak" in weak.outcome.reason
    assert weak.verdict is Verdict.DETECTED

"""Is a source that fails in the middle of a layer found in the middle of it, and a sound one never?"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_helpers import RECIPE
from print_helpers import print_virtual

from control.config import load_envelope
from control.dry_planner import line_times_s, motion_time_s
from control.host import Status
from control.light_watch import LOOKS, LightWatch
from control.machine import Machine
from hil_sim.harness.oracle import Verdict
from slicer.bricks import rectangular, write_stl
from slicer.exporters.gcode import layer_program
from slicer.job import Job
from slicer.plan import plan_job
from slicer.recipe import load_recipe

HELD = 16


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer of 130 lines and about a minute."""
    folder = tmp_path_factory.mktemp("long")
    write_stl(rectangular(20.0, 30.0, 0.5), folder / "plate.stl")
    recipe = load_recipe(RECIPE, {"hatch_spacing_mm": "0.45"})
    plan_job(folder / "plate.stl", recipe, load_envelope("bench"), folder / "plate.kiln")
    return folder / "plate.kiln"


def watch(job_path: Path, *, dark_at_rest: bool) -> tuple[LightWatch, np.ndarray, np.ndarray, float]:
    """A watch, what light and time each number of lines takes, and the power."""
    with Job.open(job_path) as job:
        envelope, layer = job.envelope, job.layer(0)
    program = layer_program(layer, envelope)
    path = layer.path
    each = np.append(path.power_w * path.lengths_mm / path.speed_mm_s, 0.0)[program.block_of_line]
    times = line_times_s(program.lines, (0.0, 0.0), envelope)
    made = LightWatch(
        program, path, (0.0, 0.0), envelope, energy_share_max=0.005, held_lines=HELD, dark_at_rest=dark_at_rest
    )
    return made, np.concatenate([[0], np.cumsum(each)]), np.concatenate([[0], np.cumsum(times)]), program.power_set_w


@pytest.mark.parametrize("dark_at_rest", [True, False])
@pytest.mark.parametrize("held", [0, 5, HELD])
def test_light_by_plan_is_never_wrong(job: Path, dark_at_rest: bool, held: int) -> None:
    made, light_j, times_s, _ = watch(job, dark_at_rest=dark_at_rest)
    for done in range(len(light_j)):
        taken = min(done + held, len(light_j) - 1)
        assert made.look(float(light_j[done]), float(times_s[done]), taken, taken) == ""


def test_a_motion_that_stood_with_its_beam_on_is_another_s_matter(job: Path) -> None:
    made, light_j, times_s, power_w = watch(job, dark_at_rest=False)
    for done in range(40, len(light_j)):
        assert made.look(float(light_j[done]) + 9.0 * power_w, float(times_s[done]) + 9.0, done, done) == ""
    dark, light_j, times_s, power_w = watch(job, dark_at_rest=True)
    said = [dark.look(float(light_j[n]) + 9.0 * power_w, float(times_s[n]) + 9.0, n, n) for n in (50, 51)]
    assert said[0] == "" and "at most" in said[1]


@pytest.mark.parametrize(("share", "word"), [(0.0, "at least"), (0.6, "at least"), (1.9, "at most")])
def test_too_little_and_too_much_are_found_before_the_end(job: Path, share: float, word: str) -> None:
    made, light_j, times_s, _ = watch(job, dark_at_rest=False)
    for done in range(len(light_j)):
        taken = min(done + HELD, len(light_j) - 1)
        said = made.look(float(light_j[done]) * share, float(times_s[done]), taken, taken)
        if said:
            assert word in said and done < 0.6 * len(light_j), done
            return
    raise AssertionError("never found")


def test_one_damaged_count_is_no_reason_to_stop(job: Path) -> None:
    made, light_j, times_s, _ = watch(job, dark_at_rest=False)
    said = []
    for done in range(len(light_j)):
        counted_j = 1e6 if done % LOOKS else float(light_j[done])
        said.append(made.look(counted_j, float(times_s[done]), done, done))
    assert not any(said)


def test_the_times_of_lines_are_the_time_of_all(job: Path) -> None:
    with Job.open(job) as opened:
        envelope = opened.envelope
        lines = layer_program(opened.layer(0), envelope).lines
    times_s = line_times_s([*lines, b"G4 P250", b"G0 X1 Y1"], (3.0, 4.0), envelope)
    assert len(times_s) == len(lines) + 2 and times_s[-2] == 0.25 and (times_s >= 0.0).all()
    assert times_s.sum() == pytest.approx(motion_time_s([*lines, b"G4 P250", b"G0 X1 Y1"], (3.0, 4.0), envelope))


FAILING: list[tuple[dict[str, Any], str]] = [
    ({"kind": "beam_dead"}, "at least"),
    ({"kind": "beam_weak", "args": {"fraction": 0.5}}, "at least"),
    ({"kind": "beam_stuck_on", "args": {"watts": 100}}, "at most"),
]


@pytest.mark.parametrize("begins_later_s", [0.0, 0.05, 0.1])
def test_a_sound_layer_is_done_however_its_lines_fall_between_the_polls(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins_later_s: float
) -> None:
    """Its hatch lines take as long as two looks at the head lie apart: each look sees the same moment of a line."""
    arm_and_fire = Machine.arm_and_fire

    async def later(machine: Machine, power_w: float) -> None:
        await asyncio.sleep(begins_later_s)
        await arm_and_fire(machine, power_w)

    monkeypatch.setattr(Machine, "arm_and_fire", later)
    done = print_virtual(job, tmp_path)
    assert done.verdict is Verdict.EXACT, done.judgement


@pytest.fixture(scope="module")
def clean_s(job: Path, tmp_path_factory: pytest.TempPathFactory) -> float:
    """When a run without a fault has ended."""
    clean = print_virtual(job, tmp_path_factory.mktemp("clean"))
    assert clean.verdict is Verdict.EXACT, clean.judgement
    return clean.end.time_s


@pytest.mark.parametrize(("fault", "word"), FAILING)
def test_a_source_that_fails_in_mid_layer_stops_the_layer(
    job: Path, tmp_path: Path, clean_s: float, fault: dict[str, Any], word: str
) -> None:
    anchor = {"point": "beam.source", "at_layer": 0, "after_s": 12.0, "for_s": 1e4}
    end = print_virtual(job, tmp_path, faults=({**anchor, **fault},))
    assert end.outcome is not None and end.outcome.status is Status.STOPPED, end.outcome
    assert "by now" in end.outcome.reason and word in end.outcome.reason, end.outcome.reason
    assert end.verdict is Verdict.DETECTED, end.judgement
    assert end.end.time_s < clean_s - 15.0, "it was found at the layer's end"

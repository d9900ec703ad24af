"""Does a print on the bench with a Grbl board end as on the one with Marlin? Driver and emulated board, whole hosts."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest
from bench_helpers import RECIPE
from print_helpers import Bystander, Script, print_virtual

from control.assembly import open_motion
from control.config import load_envelope, load_machine
from control.host import Status
from control.machine import Machine
from control.operator import Intent
from firmware_bridge.errors import NotReady
from firmware_bridge.links.grbl_program import power_error
from hil_sim.harness.oracle import Verdict
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.grbl_settings import Settings
from hil_sim.world.emulators.grbl_spindle import Spindle
from hil_sim.world.machine_spec import load_machine_spec
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.wire import lay_virtual
from slicer.bricks import rectangular, write_stl
from slicer.plan import plan_job
from slicer.recipe import load_recipe

MACHINE = "bench_grbl"


def plate(folder: Path, **words: str) -> Path:
    """One layer of 10 x 20 mm with more vectors than the board holds."""
    write_stl(rectangular(10.0, 20.0, 0.5), folder / "plate.stl")
    recipe = load_recipe(RECIPE, {"hatch_spacing_mm": "0.45", **words})
    plan_job(folder / "plate.stl", recipe, load_envelope(MACHINE), folder / "plate.kiln")
    return folder / "plate.kiln"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plate(tmp_path_factory.mktemp("job"))


def test_a_part_is_exposed_exactly_as_planned(job: Path, tmp_path: Path) -> None:
    printed = print_virtual(job, tmp_path / "run", bench=MACHINE)
    assert printed.verdict is Verdict.EXACT, printed.judgement
    assert printed.outcome is not None and printed.outcome.declared == []
    plan, energies = printed.matched(job)
    assert [len(times) for times in energies] == [1] * len(plan.energy_j)
    printed.assert_safe()


def test_a_board_that_every_opening_resets_is_homed_and_prints(job: Path, tmp_path: Path) -> None:
    async def wired_to_dtr(b: Bystander) -> None:
        board = b.world.motion_board
        board.build = dataclasses.replace(board.build, reset_on_open=True)  # type: ignore[arg-type, assignment]
        await b.until_blocks(1)
        assert board.resets == 2  # by the opening, and by the host

    printed = print_virtual(job, tmp_path / "run", wired_to_dtr, bench=MACHINE)
    assert printed.verdict is Verdict.EXACT, printed.judgement


def test_lines_that_come_late_leave_the_beam_dark_and_need_no_owning_up(job: Path, tmp_path: Path) -> None:
    """M4 in laser mode: whoever waits for lines is dark. On Marlin the same would be declared."""
    marks: dict[str, int] = {}

    async def look(b: Bystander) -> None:
        await b.until_blocks(12)
        marks["chunks"] = b.world.wire("motion").to_device.chunks

    print_virtual(job, tmp_path / "look", look, bench=MACHINE)
    late = {"kind": "delay", "point": "motion.to_device", "at_chunk": marks["chunks"] + 1, "args": {"delay_s": 3.5}}
    printed = print_virtual(job, tmp_path / "run", bench=MACHINE, faults=(late,))
    assert [strike.kind for strike in printed.record.faults] == ["delay"]
    assert printed.verdict is Verdict.EXACT, printed.judgement
    assert printed.outcome is not None and printed.outcome.declared == []


def test_a_locked_board_is_safe_and_says_that_it_is_lost_until_it_is_homed() -> None:
    async def main(_: VirtualLoop) -> None:
        board = load_machine_spec(MACHINE).devices.motion.board(Gantry(start_mm=(9.0, 9.0, 9.0)), 115200)
        await lay_virtual("motion", board, baud=115200)
        async with open_motion(load_machine(MACHINE).with_urls({"motion": "sim:motion?baud=115200"})) as motion:
            assert motion.has_lost_place
            await motion.safe()
            with pytest.raises(NotReady, match="home it"):
                motion.take_as_homed()
            await motion.home()
            assert not motion.has_lost_place
            await motion.safe()
            assert await motion.position() == (1.0, 1.0, 1.0)
            assert await motion.approach(12.0, 7.5) == (12.0, 7.5, 1.0)

    run_virtual(main)


def test_what_a_dead_host_left_comes_to_its_end_before_the_line_is_taken_over() -> None:
    """The board's build, with one block less than the stock one's, is not known yet."""

    async def main(_: VirtualLoop) -> None:
        board = load_machine_spec(MACHINE).devices.motion.board(Gantry(start_mm=(9.0, 9.0, 9.0)), 115200)
        await lay_virtual("motion", board, baud=115200)
        config = load_machine(MACHINE).with_urls({"motion": "sim:motion?baud=115200"})
        async with open_motion(config) as motion:
            await motion.home()
            await motion.jog(20.0, 20.0, 0.0, speed_mm_s=50.0)
            motion.link.receiver.write(b"G1 X40 F600\nX50\nX60\nX7")
            await asyncio.sleep(0.2)
        async with open_motion(config) as motion:
            assert await motion.position() == (60.0, 21.0, 1.0) and not motion.has_lost_place

    run_virtual(main)


async def _reset_the_board(b: Bystander) -> None:
    await b.until_blocks(12)
    b.world.motion_board.reset()


async def _stop(b: Bystander) -> None:
    await b.until_blocks(12)
    b.operator.ask(Intent.STOP, "stop of the test")


@pytest.mark.parametrize(
    ("script", "status", "reason"),
    [
        (_reset_the_board, Status.FAILED, "restarted in the middle"),
        (_stop, Status.STOPPED, "stop of the test"),
    ],
)
def test_what_breaks_a_print_off_leaves_it_safe(
    script: Script, status: Status, reason: str, job: Path, tmp_path: Path
) -> None:
    printed = print_virtual(job, tmp_path / "run", script, bench=MACHINE)
    assert printed.outcome is not None and printed.outcome.status is status, printed.outcome
    assert reason in printed.outcome.reason
    printed.assert_safe()


def test_a_pause_is_declared_and_the_print_goes_on(job: Path, tmp_path: Path) -> None:
    async def pause(b: Bystander) -> None:
        await b.until_blocks(12)
        b.operator.ask(Intent.PAUSE)
        await asyncio.sleep(20.0)
        b.operator.ask(Intent.RESUME)

    printed = print_virtual(job, tmp_path / "run", pause, bench=MACHINE)
    assert printed.verdict is Verdict.DEGRADED, printed.judgement
    assert printed.outcome is not None and [d.kind for d in printed.outcome.declared] == ["interrupted"]


def test_a_power_that_the_output_cannot_give_is_refused_before_the_beam_is_armed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def arm(machine: Machine, power_w: float) -> None:
        raise AssertionError(f"the beam was armed with {power_w:g} W")

    monkeypatch.setattr(Machine, "arm_and_fire", arm)
    coarse = next(s for s in range(200, 400) if abs(power_error(s, 1000)) > 0.008)
    job = plate(tmp_path, contours="1", contour_power_w=f"{coarse / 10}", contour_speed_mm_s="20")
    printed = print_virtual(job, tmp_path / "run", bench=MACHINE)
    assert printed.outcome is not None and printed.outcome.status is Status.FAILED, printed.outcome
    assert f"S{coarse} of 1000 would come out" in printed.outcome.reason
    assert printed.record.blocks == []
    printed.assert_safe()


def test_the_driver_and_the_board_agree_on_every_step_of_the_output() -> None:
    settings = Settings({30: 1000, 31: 0, 32: 1})
    spindle = Spindle(Gantry())
    for s in range(1, 1001):
        assert power_error(s, 1000) == pytest.approx(spindle.fraction(s, settings) * 1000 / s - 1.0, abs=1e-12), s

"""A Marlin board that was built without EMERGENCY_PARSER: refused, or accepted and told of as it is."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from bench_helpers import RECIPE
from print_helpers import Bystander, Printed, Script, print_virtual

from control.config import load_envelope, load_machine
from control.host import Status
from control.journal import Journal
from control.operator import Intent
from control.print_run import QUEUED_STOP
from control.stop_bounds import stop_bounds
from hil_sim.world.emulators.eurotherm3200 import MODE, STANDBY
from slicer.bricks import rectangular, write_stl
from slicer.plan import plan_job
from slicer.recipe import load_recipe

BEAM_S = stop_bounds(load_machine("bench"))["beam"].seconds
HEATER_S = stop_bounds(load_machine("bench"))["heater"].seconds
STEP_S = 0.0005


def plate(folder: Path, x_mm: float, y_mm: float, **settings: str) -> Path:
    """One layer of more vectors than the board holds."""
    write_stl(rectangular(x_mm, y_mm, 0.5), folder / "plate.stl")
    plan_job(folder / "plate.stl", load_recipe(RECIPE, settings), load_envelope("bench"), folder / "plate.kiln")
    return folder / "plate.kiln"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Begins with a contour of 2 s a side."""
    return plate(tmp_path_factory.mktemp("job"), 100.0, 10.0, hatch_spacing_mm="0.45")


def without_parser(text: str) -> str:
    """The emulated machine's file, its board built without the option and with a queue that two lines fill."""
    changed = text.replace("reset_on_open =", "emergency_parser = false\ncommand_buffer = 2\nreset_on_open =")
    assert changed != text
    return changed


def accepting(text: str) -> str:
    """The host's machine file with the key that accepts such a board."""
    changed = text.replace('kind = "marlin"\n', 'kind = "marlin"\nemergency_parser = false\n')
    assert changed != text
    return changed


def warnings_of(done: Printed) -> list[str]:
    """What the journal warns of."""
    journal = Journal.open(done.run_dir / "run.sqlite")
    try:
        return [text for _, _, level, text in journal.events() if level == "warning"]
    finally:
        journal.close()


def stop_in_a_vector(seen: dict[str, float]) -> Script:
    """Stop while the first vector runs and the board's queue is full. `seen`: s until the beam was dark and
    the heater's output off, and how far the gantry went in the dark within a second, mm."""

    async def script(b: Bystander) -> None:
        await b.until(lambda: b.world.motion_board.planner_free == 0)
        await b.until(lambda: b.beam_w > 0.0)
        began_s = b.loop.time()
        await b.until(lambda: b.loop.time() > began_s + 0.5)
        asked_s = b.loop.time()
        b.operator.ask(Intent.STOP, "the test")
        await b.until(lambda: b.beam_w == 0.0, STEP_S)
        seen["dark_s"] = b.loop.time() - asked_s
        dark_mm = b.world.gantry.position_at(b.loop.time())
        await b.until(lambda: b.world.heater.read_holding(MODE, 1, b.loop.time())[0] == STANDBY, STEP_S)
        seen["heat_safe_s"] = b.loop.time() - asked_s
        await b.until(lambda: b.loop.time() > asked_s + 1.0)
        seen["went_mm"] = math.dist(dark_mm, b.world.gantry.position_at(b.loop.time()))

    return script


def test_it_is_refused_with_what_it_means_and_what_to_do(job: Path, tmp_path: Path) -> None:
    done = print_virtual(job, tmp_path, world_machine=without_parser)
    assert done.outcome is not None and (done.outcome.status, done.outcome.exit_code) == (Status.FAILED, 3)
    assert done.outcome.reason == (
        "motion: the board's M115 does not say Cap:EMERGENCY_PARSER:1. On such a board a stop waits until its queue"
        " frees, up to 16 planned moves. Build its firmware with EMERGENCY_PARSER, or accept that: emergency_parser ="
        " false in the machine file's [devices.motion]."
    )
    assert done.record.blocks == []
    done.assert_safe()


def test_a_board_that_has_it_needs_no_key_and_is_not_warned_of(job: Path, tmp_path: Path) -> None:
    seen: dict[str, float] = {}
    done = print_virtual(job, tmp_path, stop_in_a_vector(seen))
    assert done.outcome is not None and done.outcome.reason == "operator: the test"
    assert seen["went_mm"] < 1.0 and QUEUED_STOP not in warnings_of(done)
    done.assert_safe()


def test_accepted_it_prints_and_the_journal_says_how_it_stops(job: Path, tmp_path: Path) -> None:
    done = print_virtual(job, tmp_path, machine=accepting, world_machine=without_parser)
    assert done.outcome is not None and done.outcome.status is Status.DONE
    assert warnings_of(done).count(QUEUED_STOP) == 1
    done.assert_safe()


def test_a_stop_puts_the_beam_out_at_once_and_tells_that_the_motion_went_on(job: Path, tmp_path: Path) -> None:
    seen: dict[str, float] = {}
    done = print_virtual(job, tmp_path, stop_in_a_vector(seen), machine=accepting, world_machine=without_parser)
    assert seen["dark_s"] <= BEAM_S + STEP_S and seen["heat_safe_s"] <= HEATER_S + STEP_S and seen["went_mm"] > 30.0
    assert done.outcome is not None and (done.outcome.status, done.outcome.exit_code) == (Status.STOPPED, 130)
    said = done.outcome.reason
    assert said.startswith("operator: the test; motion went on for up to ")
    assert said.endswith(" s after the stop, which its board hears in its turn")
    done.assert_safe()


def test_a_motion_that_hears_nothing_in_time_is_not_said_to_be_halted(tmp_path: Path) -> None:
    """Vectors of 35 s: the stop and M112 wait behind the first one."""
    seen: dict[str, float] = {}
    slow = plate(tmp_path, 140.0, 140.0, scan_speed_mm_s="4", contours="0")
    done = print_virtual(
        slow, tmp_path / "run", stop_in_a_vector(seen), machine=accepting, world_machine=without_parser
    )
    assert seen["dark_s"] <= BEAM_S + STEP_S and seen["heat_safe_s"] <= HEATER_S + STEP_S
    assert done.end.moving == ("gantry",)
    assert done.outcome is not None and (done.outcome.status, done.outcome.exit_code) == (Status.STOPPED, 4)
    assert "motion did not come to rest within 20 s of the stop; M112 was sent and nobody confirmed it" in (
        done.outcome.reason
    )
    assert done.outcome.reason.endswith("but motion could not be made safe: look at the machine")
    done.assert_safe(but=("gantry",))

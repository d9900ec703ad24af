"""Does the smallest host own up to how a program ended, and to whether the machine is safe?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from control.host import Status, StreamEnd, stream_host
from control.machine_file import ConfigError
from hil_sim.harness.motion_subject import MotionSubject
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.subjects import Run
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.faults import Fault, FaultSchedule
from hil_sim.world.machine_spec import MarlinSpec, load_machine_spec
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.wire import lay_virtual

PROGRAM, MOVES = MotionSubject(vectors=12).program()
LINES, ENDS_MM = tuple(PROGRAM), MOVES[-1].end_mm


def streamed(
    *faults: Fault, lines: Sequence[bytes] = LINES, ends_mm: tuple[float, float] = ENDS_MM, machine: str = "bench"
) -> tuple[StreamEnd, Gantry]:
    motion = load_machine_spec(machine).devices.motion

    async def main(loop: VirtualLoop) -> tuple[StreamEnd, Gantry]:
        gantry = Gantry(start_mm=motion.start_mm)
        wire = await lay_virtual("motion", motion.board(gantry, 115200), baud=115200, faults=FaultSchedule(faults))
        return await stream_host(lines, machine, ends_mm=ends_mm, urls={"motion": wire.url}), gantry

    return run_virtual(main)


@pytest.mark.parametrize("machine", ["bench", "bench_grbl"])
def test_a_program_is_streamed_and_its_end_is_where_it_should_be(machine: str) -> None:
    end, gantry = streamed(machine=machine)
    assert end.status is Status.DONE and end.is_safe and end.stood_s == 0.0, end
    assert end.lines_taken == len(LINES) and end.position_mm is not None
    assert max(abs(at - due) for at, due in zip(gantry.rest_mm, ENDS_MM)) < 0.01


def test_a_position_that_does_not_close_is_an_error() -> None:
    end, _ = streamed(ends_mm=(ENDS_MM[0] + 1.0, ENDS_MM[1]))
    assert end.status is Status.FAILED and "the controller stands at" in end.reason and end.is_safe


def test_a_line_that_is_lost_for_good_leaves_a_machine_that_is_not_called_safe() -> None:
    cut = Fault("disconnect", "motion.to_device", at_chunk=10, args={"back_after_s": -1.0})
    end, _ = streamed(cut)
    assert end.status is Status.FAILED and not end.is_safe
    assert "has hung up" in end.reason and "Nor was it made safe" in end.reason


def test_a_port_that_is_absent_is_told_and_nothing_was_reached() -> None:
    async def main(loop: VirtualLoop) -> StreamEnd:
        return await stream_host(LINES, "bench", ends_mm=ENDS_MM, urls={"motion": "sim:nowhere"})

    end = run_virtual(main)
    assert end.status is Status.FAILED and end.is_safe and end.began_s is None and "sim:nowhere" in end.reason


def test_a_machine_file_that_cannot_be_used_is_refused() -> None:
    async def main(loop: VirtualLoop) -> StreamEnd:
        return await stream_host(LINES, "no_such_machine", ends_mm=(0.0, 0.0))

    with pytest.raises(ConfigError, match="no machine named"):
        run_virtual(main)


def late(at_chunk: int, delay_s: float = 3.0) -> Run:
    fault = Fault("delay", "motion.to_device", at_chunk=at_chunk, args={"delay_s": delay_s})
    return MotionSubject().run(FaultSchedule((fault,)), 0)


def test_a_controller_that_ran_dry_is_owned_up_to() -> None:
    assert late(28).verdict is Verdict.DEGRADED and "owns up to" in late(28).reasons[0]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("stall", "motion.to_host", at_s=4.86, for_s=2.24),
        Fault("stall", "motion.to_host", at_s=6.05, for_s=2.48),
        Fault("overrun", "motion.to_host", at_s=4.37, for_s=2.19),
        Fault("stall", "motion.to_device", at_s=6.32, for_s=2.49),
    ],
    ids=["5674", "7015", "11570", "14292"],
)
def test_a_controller_that_ran_dry_for_less_than_is_usual_is_owned_up_to(fault: Fault) -> None:
    """Seeds of a campaign: the beam stood for 0.02 to 0.07 s, too short for the time of the whole program to show."""
    run = MotionSubject().run(FaultSchedule((fault,)), 0)
    assert run.verdict is Verdict.DEGRADED and "the beam stood" in run.reasons[-1]


def test_what_is_done_otherwise_and_not_told_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control.stream_host.stood_s", lambda *measured: 0.0)
    monkeypatch.setattr("control.stream_host.late_line_s", lambda *measured: 0.0)
    assert late(28).verdict is Verdict.SILENT and "the beam stood" in late(28).reasons[0]


@pytest.mark.parametrize("gone", [1, 5])
def test_a_move_that_is_left_out_is_silent(gone: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host is given a program that lacks a line, and cannot know."""
    whole = MotionSubject.program

    def shorter(self: MotionSubject) -> tuple[list[bytes], list[object]]:
        lines, moves = whole(self)
        return [*lines[: 1 + gone], *lines[2 + gone :]], moves  # type: ignore[return-value]

    monkeypatch.setattr(MotionSubject, "program", shorter)
    run = MotionSubject(vectors=12).run(FaultSchedule(), 0)
    assert run.verdict is Verdict.SILENT and run.reasons[0] == "11 moves were made of 12"


def test_another_power_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = MotionSubject.program

    def weaker(self: MotionSubject) -> tuple[list[bytes], list[object]]:
        lines, moves = whole(self)
        return [line.replace(b"S425", b"S415") for line in lines], moves  # type: ignore[return-value]

    monkeypatch.setattr(MotionSubject, "program", weaker)
    run = MotionSubject(vectors=12).run(FaultSchedule(), 0)
    assert run.verdict is Verdict.SILENT and "J/mm" in run.reasons[0]


def test_a_host_that_calls_a_moving_machine_safe_is_unsafe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its wait for the end of the motion answers at once, and nobody asks where the machine stands."""

    async def at_once(self: object, **more: object) -> None:
        return

    monkeypatch.setattr("firmware_bridge.devices.motion.MotionController.wait_idle", at_once)
    monkeypatch.setattr("control.stream_host._check_closed", lambda *seen: None)
    monkeypatch.setattr("hil_sim.harness.motion_subject.FOOTER", ())
    run = MotionSubject(vectors=12).run(FaultSchedule(), 0)
    assert run.verdict is Verdict.UNSAFE and "moves on" in run.reasons[0]


def test_lines_behind_a_restart_that_nobody_asked_for_do_not_run_on_a_machine_that_was_said_to_be_safe() -> None:
    """Noise holds a reset byte; lines that were on their way then come to a board that would carry them out."""
    noise = Fault("garbage", "motion.to_device", at_chunk=21, args={"bytes": 26})
    run = MotionSubject(machine="bench_grbl").run(FaultSchedule((noise,)), 117)
    assert run.verdict is Verdict.DETECTED and "has restarted in the middle" in run.reasons[0], run.reasons


def test_a_beam_that_is_left_burning_by_a_cut_off_host_is_taken_away_by_the_heads_watchdog() -> None:
    run = cut_in_mid_move()
    assert run.verdict is Verdict.DETECTED and "until the head's watchdog struck" in run.reasons[1], run.reasons


def test_a_beam_that_burns_on_for_longer_than_the_heads_watchdog_allows_is_unsafe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its host is gone, and says that it could not make the machine safe: true, and no excuse."""
    monkeypatch.setattr("hil_sim.harness.fed_head.FedHead.starve", lambda self: None)
    run = cut_in_mid_move()
    assert run.verdict is Verdict.UNSAFE and "after the host had died" in run.reasons[0], run.reasons


def test_a_beam_that_stands_for_longer_than_any_board_allows_is_unsafe_whatever_the_host_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Marlin whose laser timeout was left out of its build."""
    whole = MarlinSpec.board

    def without_timeout(self: MarlinSpec, gantry: Gantry, baud: int | None) -> MarlinEmulator:
        return MarlinEmulator(gantry, replace(whole(self, gantry, baud).build, laser_timeout_s=60.0))

    monkeypatch.setattr(MarlinSpec, "board", without_timeout)
    run = late(28, 6.0)
    assert run.verdict is Verdict.UNSAFE and "the beam stood at" in run.reasons[0], run.reasons


def cut_in_mid_move() -> Run:
    cut = Fault("disconnect", "motion.to_device", at_chunk=36, args={"back_after_s": -1.0})
    return MotionSubject().run(FaultSchedule((cut,)), 0)

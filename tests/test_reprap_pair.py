"""Does a print on the bench with a RepRapFirmware board end as on the one with Marlin? Driver and emulated board, whole
hosts."""

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
from control.operator import Intent
from firmware_bridge.errors import DeviceHalted, NotReady, Rejected, WrongModel
from hil_sim.harness.oracle import Verdict
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.reprap import RepRapEmulator
from hil_sim.world.machine_spec import load_machine_spec
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.wire import lay_virtual
from slicer.bricks import rectangular, write_stl
from slicer.plan import plan_job
from slicer.recipe import load_recipe

MACHINE = "bench_rrf"


def plate(folder: Path) -> Path:
    """One layer of 10 x 20 mm with more vectors than a few lines hold; the shortest never reach their 50 mm/s."""
    write_stl(rectangular(10.0, 20.0, 0.5), folder / "plate.stl")
    recipe = load_recipe(RECIPE, {"hatch_spacing_mm": "0.45"})
    plan_job(folder / "plate.stl", recipe, load_envelope(MACHINE), folder / "plate.kiln")
    return folder / "plate.kiln"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plate(tmp_path_factory.mktemp("job"))


def a_board(**build: object) -> RepRapEmulator:
    spec = load_machine_spec(MACHINE).devices.motion
    usual = spec.board(Gantry(), 115200).build
    return RepRapEmulator(Gantry(start_mm=(9.0, 9.0, 9.0)), dataclasses.replace(usual, **build))


def config():
    return load_machine(MACHINE).with_urls({"motion": "sim:motion?baud=115200"})


# ---- whole prints


def test_a_part_is_exposed_exactly_as_planned(job: Path, tmp_path: Path) -> None:
    printed = print_virtual(job, tmp_path / "run", bench=MACHINE)
    assert printed.verdict is Verdict.EXACT, printed.judgement
    assert printed.outcome is not None and printed.outcome.declared == []
    plan, energies = printed.matched(job)
    assert [len(times) for times in energies] == [1] * len(plan.energy_j)
    printed.assert_safe()


def test_a_board_that_every_opening_resets_is_homed_and_prints(job: Path, tmp_path: Path) -> None:
    async def resetting(b: Bystander) -> None:
        board = b.world.motion_board
        board.build = dataclasses.replace(board.build, reset_on_open=True)  # type: ignore[arg-type, assignment]
        await b.until_blocks(1)
        assert board.resets == 1

    printed = print_virtual(job, tmp_path / "run", resetting, bench=MACHINE)
    assert printed.verdict is Verdict.EXACT, printed.judgement


def test_a_noisy_line_changes_nothing_of_a_print(job: Path, tmp_path: Path) -> None:
    """Every fifteenth chunk to the board is struck, and every fifteenth answer."""
    faults = tuple(
        {"kind": kind, "point": f"motion.to_{side}", "at_chunk": 40 + 15 * i + j * 3, "args": args}
        for j, (kind, args) in enumerate((("drop", {}), ("flip", {"byte": 7, "bit": 2}), ("duplicate", {})))
        for side in ("device", "host")
        for i in range(4)
    )
    printed = print_virtual(job, tmp_path / "run", bench=MACHINE, faults=faults)
    assert len(printed.record.faults) == len(faults)
    assert printed.verdict is Verdict.EXACT, printed.judgement
    assert printed.outcome is not None and printed.outcome.declared == []


async def _reset_the_board(b: Bystander) -> None:
    await b.until_blocks(12)
    b.world.motion_board.reset()


async def _reset_it_while_nothing_is_streamed(b: Bystander) -> None:
    while not b.world.laid:
        await asyncio.sleep(0.1)
    b.world.motion_board.reset()


async def _stop(b: Bystander) -> None:
    await b.until_blocks(12)
    b.operator.ask(Intent.STOP, "stop of the test")


@pytest.mark.parametrize(
    ("script", "status", "reason"),
    [
        (_reset_the_board, Status.FAILED, "restarted in the middle"),
        (_reset_it_while_nothing_is_streamed, Status.FAILED, "restarted in the middle"),
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


# ---- the board alone


def test_a_board_that_was_not_homed_says_so_until_it_is() -> None:
    async def main(_: VirtualLoop) -> None:
        await lay_virtual("motion", a_board(), baud=115200)
        async with open_motion(config()) as motion:
            assert motion.has_lost_place
            await motion.safe()
            with pytest.raises(NotReady, match="home it"):
                motion.take_as_homed()
            with pytest.raises(NotReady, match="home it"):
                await motion.jog(1.0, 0.0, 0.0, speed_mm_s=10.0)
            await motion.home()
            assert not motion.has_lost_place and await motion.position() == (0.0, 0.0, 0.0)
            assert await motion.jog(10.0, 2.5, 0.0, speed_mm_s=50.0) == (10.0, 2.5, 0.0)
            assert await motion.approach(12.0, 7.5) == (12.0, 7.5, 0.0)
            with pytest.raises(Rejected, match="from 0 to 250"):
                await motion.jog(-13.0, 0.0, 0.0, speed_mm_s=50.0)
        async with open_motion(config()) as motion:
            assert not motion.has_lost_place  # the line was taken over, and the board has not forgotten

    run_virtual(main)


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        ({"needs_crc": False}, Rejected, "with no check and with weak check.*M575 P0 S4"),
        ({"needs_crc": False, "needs_check": True}, Rejected, "with weak check"),
        ({"version": "3.3"}, WrongModel, "knows no CRC"),
        ({"size_mm": (200.0, 150.0, 100.0)}, Rejected, "x goes from 0 to 200 mm .M208."),
    ],
)
def test_a_board_that_must_not_be_given_a_beam_is_refused(build: dict, error: type[Exception], words: str) -> None:
    async def main(_: VirtualLoop) -> None:
        await lay_virtual("motion", a_board(**build), baud=115200)
        with pytest.raises(error, match=words):
            async with open_motion(config()):
                pass

    run_virtual(main)


def test_a_board_in_emergency_stop_is_refused_until_it_is_reset() -> None:
    async def main(_: VirtualLoop) -> None:
        board = a_board()
        await lay_virtual("motion", board, baud=115200)
        async with open_motion(config()) as motion:
            motion.stop()
            await asyncio.sleep(0.1)
            assert board.machine.is_stopped
        with pytest.raises(DeviceHalted, match="M999"):
            async with open_motion(config()):
                pass
        board.reset()
        async with open_motion(config()) as motion:
            assert motion.has_lost_place

    run_virtual(main)


def test_a_quick_stop_stands_within_its_bound_and_the_board_comes_back_unhomed() -> None:
    """Moves of 2 s each fill the ring: the line in work waits for one of them to end."""

    class Notes:
        async def ahead(self, first: int, last: int) -> None: ...

        def acked(self, index: int) -> None: ...

    async def main(loop: VirtualLoop) -> None:
        board = a_board()
        await lay_virtual("motion", board, baud=115200)
        async with open_motion(config()) as motion:
            await motion.home()
            lines = [b"G1 X%d Y%d F1200 S500" % (10 + i % 2 * 40, 10 + i % 80) for i in range(200)]
            streaming = asyncio.ensure_future(motion.stream(lines, Notes()))
            await asyncio.sleep(20.0)
            assert board.planner_free == 0
            began_s, bound_s = loop.time(), motion.link.stop_bound_s
            await motion.quick_stop()
            took_s = loop.time() - began_s
            here = board.gantry.position_at(loop.time())
            assert 0.2 < took_s < bound_s < 5.0
            with pytest.raises(DeviceHalted):
                await streaming
            await asyncio.sleep(5.0)
            assert board.gantry.position_at(loop.time()) == here and board.resets == 1
        async with open_motion(config()) as motion:
            assert motion.has_lost_place

    run_virtual(main)

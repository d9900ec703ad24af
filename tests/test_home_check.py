"""Are lost steps found by the end switches, by what truly closed, and is metal never met on the way to them?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from job_helpers import write_small_job
from print_helpers import print_virtual

from control.build_model import time_model
from control.config import load_machine
from control.host import JOURNAL_NAME, Outcome, Status, _host, print_host
from control.journal import Journal
from control.operator import Operator
from firmware_bridge.devices.motion import MotionController
from firmware_bridge.devices.motion_reprap import RepRapMotionController
from firmware_bridge.links.line_framing import parse_end_switches
from firmware_bridge.links.marlin import MarlinLink
from firmware_bridge.links.reprap import RepRapLink
from hil_sim.harness.oracle import Verdict
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.emulators.reprap import RepRapEmulator
from hil_sim.world.emulators.reprap_machine import RepRapBuild
from hil_sim.world.machine_spec import load_machine_spec
from hil_sim.world.plant.gantry import Gantry, Run
from hil_sim.world.wire import lay_virtual

FRAME = ((-3.0, -3.0, 0.0), (250.0, 150.0, 100.0))
STOOD = (80.0, 50.0, 0.0)
BOARDS = pytest.mark.parametrize("kind", ["marlin", "reprap"])
BENCHES = pytest.mark.parametrize("bench", ["bench", "bench_rrf"])


def a_board(kind: str, gantry: Gantry) -> Any:
    if kind == "marlin":
        return MarlinEmulator(gantry, MarlinBuild(size_mm=FRAME[1]))
    return RepRapEmulator(gantry, RepRapBuild(size_mm=FRAME[1], needs_crc=True))


async def opened(kind: str, url: str) -> Any:
    if kind == "marlin":
        return MotionController(await MarlinLink.open(url))
    return RepRapMotionController(await RepRapLink.open(url))


def limits_hold(board: Any) -> bool:
    """Whether ordinary moves are kept within the limits, and pass their end switches."""
    if isinstance(board, MarlinEmulator):
        return board.firmware.soft_stops and not board.firmware.switches_watched
    return board.machine.limits_axes


def checked(
    kind: str, axis: int = 0, lost_mm: float = 0.0, switch_mm: float = 0.0, margin_mm: float = 0.5
) -> tuple[str, Any]:
    """What a check says of a gantry that has lost so much, and the plant behind it."""

    async def main(loop: VirtualLoop) -> tuple[str, Any]:
        gantry = Gantry(start_mm=(60.0, 40.0, 0.0), frame_mm=FRAME, switches_mm=(0.0, 0.0, 0.0))
        board = a_board(kind, gantry)
        wire = await lay_virtual("motion", board, baud=115200)
        motion = await opened(kind, wire.url)
        try:
            await motion.identify()
            await motion.home()
            await motion.approach(*STOOD[:2])
            if lost_mm:
                gantry.lose_steps(loop.time(), axis, lost_mm)
            gantry.switch_mm[axis] = switch_mm
            since_s = loop.time()
            said = await motion.check_place(margin_mm)
            notes = {
                "crashes": gantry.crashes, "at": gantry.position_at(loop.time()), "knows": motion._knows_its_place(),
                "limits hold": limits_hold(board), "lit": any(_is_lit(entry, since_s) for entry in gantry.history),
            }  # fmt: skip
            await motion.home()
            notes["again"] = await motion.check_place(margin_mm) if switch_mm == 0.0 else ""
            return said, notes
        finally:
            motion.link.close()

    return run_virtual(main)


def _is_lit(entry: Any, since_s: float) -> bool:
    fraction = entry.move.s_fraction if isinstance(entry, Run) else entry.s_fraction
    return entry.t0_s >= since_s and fraction > 0.0


@BOARDS
def test_a_gantry_that_lost_nothing_stands_where_it_stood(kind: str) -> None:
    said, notes = checked(kind)
    assert said == "" and notes["at"] == pytest.approx(STOOD, abs=0.01)
    assert notes["knows"] and notes["limits hold"] and notes["crashes"] == 0 and not notes["lit"]


@BOARDS
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("lost_mm", [-60.0, -4.0, -0.6, 0.6, 4.0, 40.0])
def test_what_was_lost_is_found_and_metal_is_not_met(kind: str, axis: int, lost_mm: float) -> None:
    said, notes = checked(kind, axis, lost_mm)
    assert said == (
        f"the end switch of {'xy'[axis]} is closed 0.5 mm in front of its place"
        if lost_mm < 0
        else f"the end switch of {'xy'[axis]} is open 0.5 mm behind its place"
    )
    assert notes["crashes"] == 0 and not notes["knows"] and notes["again"] == ""
    assert notes["limits hold"] and not notes["lit"]


@BOARDS
@pytest.mark.parametrize(("axis", "lost_mm"), [(0, -83.0), (0, 165.0), (1, -53.0), (1, 95.0)])
def test_metal_is_not_met_however_much_was_lost(kind: str, axis: int, lost_mm: float) -> None:
    """From the frame's one end to its other."""
    said, notes = checked(kind, axis, lost_mm)
    assert f"the end switch of {'xy'[axis]} is" in said and notes["crashes"] == 0 and notes["again"] == ""


@BENCHES
@pytest.mark.parametrize("at_mm", [(30.0, 20.0), (100.0, 5.0), (200.0, 140.0)])
def test_a_look_takes_as_long_as_the_estimate_says(bench: str, at_mm: tuple[float, float]) -> None:
    async def main(loop: VirtualLoop) -> float:
        spec, config = load_machine_spec(bench).devices.motion, load_machine(bench)
        wire = await lay_virtual("motion", spec.board(spec.gantry(), 115200), baud=115200)
        motion = await opened(config.devices.motion.kind, wire.url)
        await motion.identify()
        await motion.home()
        await motion.approach(*at_mm)
        began_s = loop.time()
        assert await motion.check_place(config.devices.motion.home_check_mm) == ""
        motion.link.close()
        return loop.time() - began_s

    check = time_model(load_machine(bench)).check
    assert check is not None
    assert check.time_s(at_mm) == pytest.approx(run_virtual(main), abs=0.06)


@BOARDS
@pytest.mark.parametrize("lost_mm", [-0.4, 0.4])
def test_less_than_the_margin_is_not_seen(kind: str, lost_mm: float) -> None:
    assert checked(kind, 0, lost_mm)[0] == ""
    assert checked(kind, 0, lost_mm, margin_mm=0.3)[0]


@BOARDS
def test_a_switch_that_shifts_after_homing_is_found_as_well(kind: str) -> None:
    assert "x is open" in checked(kind, 0, switch_mm=-2.0)[0]
    assert "y is closed" in checked(kind, 1, switch_mm=2.0)[0]


def test_end_switches_are_read_from_what_the_board_says() -> None:
    lines = ["Reporting endstop status", "x_min: TRIGGERED", "y_min: open", "z_max: open ", "filament: open", "x_min 1"]
    assert parse_end_switches(lines) == {"x_min": True, "y_min": False, "z_max": False}


def every(layers: int) -> Any:
    """Machine file with the check so often."""
    return lambda text: text.replace("home_check_layers = 1 ", f"home_check_layers = {layers} ")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_job(tmp_path_factory.mktemp("small") / "small.kiln", 3)


STRUCK: list[dict[str, Any]] = [
    {"kind": "missed_steps", "args": {"mm": 1.0, "axis": "x"}},
    {"kind": "missed_steps", "args": {"mm": -1.0, "axis": "y"}},
    {"kind": "stall_axis", "args": {"axis": "x"}, "for_s": 8.0},
    {"kind": "stall_axis", "args": {"axis": "y"}, "for_s": 3600.0},
]


@BENCHES
@pytest.mark.parametrize("fault", STRUCK)
def test_a_layer_behind_lost_steps_is_not_claimed(job: Path, tmp_path: Path, bench: str, fault: dict[str, Any]) -> None:
    faults = ({"point": "motion.axis", "at_layer": 1, "for_s": 3600.0, **fault},)
    end = print_virtual(job, tmp_path, faults=faults, bench=bench)
    assert end.outcome is not None and end.outcome.status is Status.STOPPED, end.outcome
    assert "layer 1 may lie elsewhere than planned" in end.outcome.reason, end.outcome.reason
    assert [layer.committed for layer in end.outcome.layers] == [True, False]
    assert end.verdict is Verdict.DETECTED, end.judgement
    assert end.end.beam_w == 0.0


@BENCHES
def test_with_a_check_now_and_then_the_layers_since_the_last_are_named(job: Path, tmp_path: Path, bench: str) -> None:
    faults = ({"kind": "missed_steps", "point": "motion.axis", "at_layer": 1, "for_s": 99.0},)
    end = print_virtual(job, tmp_path, faults=faults, machine=every(10), bench=bench)
    assert end.outcome is not None and end.verdict is Verdict.DETECTED, end.judgement
    assert "layers 0 to 2 may lie elsewhere" in end.outcome.reason, end.outcome.reason
    assert not any(layer.committed for layer in end.outcome.layers), "what was claimed is taken back"


def test_a_run_whose_layers_were_taken_back_is_not_resumed(job: Path, tmp_path: Path) -> None:
    async def twice(part: Path, machine: Path, folder: Path, operator: Operator, progress: Any) -> Outcome:
        await print_host(part, machine, folder, operator=operator, progress=progress)
        journal = Journal.open(folder / JOURNAL_NAME)
        try:
            return await _host(load_machine(folder / "machine.toml"), journal, folder, Operator(), False, None)
        finally:
            journal.close()

    faults = ({"kind": "missed_steps", "point": "motion.axis", "at_layer": 1, "for_s": 99.0},)
    end = print_virtual(job, tmp_path, faults=faults, machine=every(10), host=twice)
    assert end.outcome is not None and end.outcome.status is Status.FAILED
    assert "layers 0 to 1 of this run may lie elsewhere than planned" in end.outcome.reason, end.outcome.reason


@BENCHES
def test_without_a_fault_the_checked_print_is_exact(job: Path, tmp_path: Path, bench: str) -> None:
    end = print_virtual(job, tmp_path, bench=bench)
    assert end.verdict is Verdict.EXACT, end.judgement
    assert end.outcome is not None and max(end.outcome.position_mm or ()) > 10.0, "it goes back to its layer's end"

"""Does a whole print end as it should, whatever happens to it? Control on the emulated bench, in virtual time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_helpers import RECIPE
from print_helpers import Bystander, Printed, Script, print_virtual

from control.config import load_envelope
from control.errors import MoonkilnError
from control.host import Outcome, Status, read_outcome
from control.inspection import Inspector
from control.journal import Journal, JournalError, LayerPhase
from control.journal_file import JournalFile
from control.operator import Intent
from control.resume_point import line_ends_mm
from hil_sim.harness.matching import ENERGY_SHARE
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.trace import read_truth
from slicer.bricks import rectangular, write_stl
from slicer.exporters.gcode import layer_program
from slicer.job import Job
from slicer.plan import plan_job
from slicer.recipe import load_recipe

HALF_WAY = 12  # blocks: with more to come in their layer than the motion board holds


def plate(folder: Path, layers: int) -> Path:
    """A 10 x 20 mm plate, hatched so finely that no layer fits into the motion board whole."""
    write_stl(rectangular(10.0, 20.0, 0.5 * layers), folder / "plate.stl")
    recipe = load_recipe(RECIPE, {"hatch_spacing_mm": "0.45"})
    manifest = plan_job(folder / "plate.stl", recipe, load_envelope("bench"), folder / "plate.kiln")
    assert manifest.layer_count == layers and manifest.vector_count > 40 * layers
    return folder / "plate.kiln"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer: most questions need no more."""
    return plate(tmp_path_factory.mktemp("one"), 1)


@pytest.fixture(scope="module")
def two_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers."""
    return plate(tmp_path_factory.mktemp("two"), 2)


@pytest.fixture(scope="module")
def plain(two_layers: Path, tmp_path_factory: pytest.TempPathFactory) -> Printed:
    """A run in which nothing happens."""
    return print_virtual(two_layers, tmp_path_factory.mktemp("plain"), seed=7)


# ---- nothing happens


def test_the_part_is_exposed_exactly_as_planned(plain: Printed, two_layers: Path) -> None:
    assert plain.verdict is Verdict.EXACT, plain.judgement
    plan, energies = plain.matched(two_layers)
    assert [len(times) for times in energies] == [1] * len(plan.energy_j)
    assert np.array([times[0] for times in energies]) == pytest.approx(plan.energy_j, rel=ENERGY_SHARE)
    plain.assert_safe()


def test_the_outcome_says_what_was_done_and_is_the_one_on_disk(plain: Printed, two_layers: Path) -> None:
    outcome = plain.outcome
    assert outcome is not None and outcome == read_outcome(plain.run_dir)
    plan, _ = plain.matched(two_layers)
    assert (outcome.status, outcome.exit_code, outcome.declared, outcome.dry_run) == (Status.DONE, 0, [], False)
    assert [layer.committed for layer in outcome.layers] == [True, True]
    assert [layer.blocks_claimed for layer in outcome.layers] == np.bincount(plan.layer).tolist()
    assert outcome.totals.energy_j == pytest.approx(float(plan.energy_j.sum()))
    assert outcome.totals.sessions == 1 and outcome.totals.polls > 100
    with Job.open(two_layers) as opened:
        ends_mm = line_ends_mm(layer_program(opened.layer(1), opened.envelope))[-1]
    assert outcome.position_mm is not None
    assert outcome.position_mm[:2] == pytest.approx(ends_mm, abs=0.01)


def test_the_run_folder_holds_the_whole_run(plain: Printed) -> None:
    names = {path.name for path in plain.run_dir.iterdir()}
    assert {"part.kiln", "machine.toml", "run.sqlite", "outcome.json", "telemetry.mcap"} <= names
    assert not [name for name in names if name.endswith(".part")]
    assert "run.sqlite-wal" not in names, "the journal was not closed"
    journal = Journal.open(plain.run_dir / "run.sqlite")
    assert [record.phase for record in journal.layers()] == [LayerPhase.COMMITTED] * 2
    journal.close()


def test_the_same_seed_gives_the_same_run_byte_for_byte(plain: Printed, two_layers: Path, tmp_path: Path) -> None:
    again = print_virtual(two_layers, tmp_path, seed=7)
    for name in ("truth.mcap", "outcome.json", "telemetry.mcap"):
        assert (tmp_path / name).read_bytes() == (plain.run_dir / name).read_bytes(), name
    assert again.end == plain.end


def test_each_layer_is_coated_once_at_its_own_depth(plain: Printed) -> None:
    depths = sorted({round(strip.plane_drop_mm, 3) for strip in plain.record.powder if strip.plane_drop_mm > 0})
    assert depths == [0.5, 1.0]


# ---- powder


def test_a_short_feed_is_seen_spread_again_and_declared(two_layers: Path, tmp_path: Path) -> None:
    short = {"kind": "short_feed", "point": "recoater.feed", "at_event": 1, "args": {"fraction": 0.4}}
    done = print_virtual(two_layers, tmp_path, faults=(short,))
    assert done.outcome is not None and done.outcome.status is Status.DONE
    assert [(d.kind, d.layer) for d in done.outcome.declared] == [("recoated", 1)]
    assert done.verdict is Verdict.DEGRADED
    done.assert_safe()


def test_powder_that_stays_thin_stops_the_run_before_its_layer_is_exposed(two_layers: Path, tmp_path: Path) -> None:
    short = {"kind": "short_feed", "point": "recoater.feed", "at_event": 1, "count": 99, "args": {"fraction": 0.05}}
    once = "recoat_tries_max = 1"
    stopped = print_virtual(
        two_layers, tmp_path, faults=(short,), machine=lambda text: text.replace("recoat_tries_max = 3", once)
    )
    assert stopped.outcome is not None
    assert (stopped.outcome.status, stopped.outcome.exit_code) == (Status.STOPPED, 4)
    assert "fill the hopper" in stopped.outcome.reason
    assert [layer.committed for layer in stopped.outcome.layers] == [True, False]
    plan, energies = stopped.matched(two_layers)
    assert not any(any(times) for times, layer in zip(energies, plan.layer) if layer == 1), "it went on without powder"
    stopped.assert_safe()


# ---- the operator


def at_half_way(act: Callable[[Bystander], None]) -> Script:
    """Do something to the machine in the middle of the first layer, and note when."""

    async def script(b: Bystander) -> None:
        await b.until_blocks(HALF_WAY)
        assert b.beam_w > 0
        b.notes["acted_s"] = b.loop.time()
        act(b)
        await b.until(lambda: b.beam_w == 0.0, every_s=0.001)
        b.notes["dark_s"] = b.loop.time()

    return script


def when(words: str, *intents: Intent, after_s: float = 0.3, apart_s: float = 30.0) -> Script:
    """Ask for `intents`, one after the other, once the host says that it does something."""

    async def script(b: Bystander) -> None:
        await b.until_doing(words)
        await asyncio.sleep(after_s)
        for intent in intents:
            b.operator.ask(intent, "the test")
            if intent is not intents[-1]:
                await asyncio.sleep(apart_s)

    return script


def test_a_pause_within_a_layer_is_declared_and_costs_no_energy(job: Path, tmp_path: Path) -> None:
    async def script(b: Bystander) -> None:
        await b.until_blocks(HALF_WAY)
        b.operator.ask(Intent.PAUSE)
        await b.until(lambda: not b.world.beam_head.armed)
        b.notes["dark_s"] = b.loop.time()
        await asyncio.sleep(120.0)
        assert not b.world.beam_head.armed
        b.world.optics.settle(b.loop.time())
        b.notes["executed"] = len(b.world.optics.executed)
        b.notes["heat_to_c"] = b.world.heater.read_holding(5, 1, b.loop.time())[0] / 10
        b.operator.ask(Intent.RESUME)

    done = print_virtual(job, tmp_path, script)
    assert done.outcome is not None and done.outcome.status is Status.DONE
    (declared,) = done.outcome.declared
    plan, energies = done.matched(job)
    assert (declared.kind, declared.layer) == ("interrupted", 0)
    assert declared.first_block == done.bystander.notes["executed"] < np.bincount(plan.layer)[0]
    assert [len(times) for times in energies] == [1] * len(plan.energy_j), "nothing was exposed twice or left out"
    assert np.array([times[0] for times in energies]) == pytest.approx(plan.energy_j, rel=ENERGY_SHARE)
    assert done.verdict is Verdict.DEGRADED, done.judgement
    assert done.bystander.notes["heat_to_c"] == 24.0, "a paused machine keeps its heat"
    done.assert_safe()


@pytest.mark.parametrize("words", ["bringing up", "homing", "recoating"])
def test_a_pause_between_exposures_changes_nothing(job: Path, tmp_path: Path, words: str) -> None:
    done = print_virtual(job, tmp_path, when(words, Intent.PAUSE, Intent.RESUME))
    assert done.verdict is Verdict.EXACT, done.judgement
    assert done.outcome is not None and done.outcome.declared == []


@pytest.mark.parametrize(
    "script",
    [at_half_way(lambda b: b.operator.ask(Intent.CANCEL)), when("exposing", Intent.PAUSE, Intent.CANCEL)],
    ids=["at once", "while paused"],
)
def test_a_cancelled_run_is_given_up_safely(job: Path, tmp_path: Path, script: Script) -> None:
    given_up = print_virtual(job, tmp_path, script)
    assert given_up.outcome is not None
    assert (given_up.outcome.status, given_up.outcome.exit_code) == (Status.CANCELLED, 130)
    assert given_up.verdict is Verdict.DETECTED
    given_up.assert_safe()


def test_the_boards_own_buttons_pause_and_resume_a_run(job: Path, tmp_path: Path) -> None:
    async def script(b: Bystander) -> None:
        board = b.world.motion_board.firmware
        await b.until_blocks(HALF_WAY)
        board.say("//action:pause")
        await b.until(lambda: not b.world.beam_head.armed)
        await asyncio.sleep(60.0)
        assert not b.world.beam_head.armed
        board.say("//action:notification Nothing")
        board.say("//action:resume")

    done = print_virtual(job, tmp_path, script)
    assert done.outcome is not None and done.outcome.status is Status.DONE
    assert [d.kind for d in done.outcome.declared] == ["interrupted"] and done.verdict is Verdict.DEGRADED


def test_the_boards_own_cancel_gives_a_run_up(job: Path, tmp_path: Path) -> None:
    given_up = print_virtual(job, tmp_path, at_half_way(lambda b: b.world.motion_board.firmware.say("//action:cancel")))
    assert given_up.outcome is not None and given_up.outcome.status is Status.CANCELLED
    given_up.assert_safe()


def test_a_stop_within_a_layer_darkens_the_beam_at_once(job: Path, tmp_path: Path) -> None:
    stopped = print_virtual(job, tmp_path, at_half_way(lambda b: b.operator.ask(Intent.STOP, "the red button")))
    notes = stopped.bystander.notes
    assert notes["dark_s"] - notes["acted_s"] < 0.05, "the beam outlived the stop"
    assert stopped.outcome is not None
    assert (stopped.outcome.status, stopped.outcome.exit_code) == (Status.STOPPED, 130)
    assert "the red button" in stopped.outcome.reason
    assert stopped.verdict is Verdict.DETECTED
    assert stopped.end.time_s - notes["acted_s"] < 30.0
    stopped.assert_safe()


@pytest.mark.parametrize(
    ("words", "after_s"),
    [
        ("bringing up", 0.0),
        ("bringing up", 0.3),
        ("homing", 0.3),
        ("heating", 0.0),
        ("recoating", 0.3),
        ("exposing", 0.0),
    ],
)
def test_a_stop_is_obeyed_whatever_the_host_does(job: Path, tmp_path: Path, words: str, after_s: float) -> None:
    stopped = print_virtual(job, tmp_path, when(words, Intent.STOP, after_s=after_s))
    assert stopped.outcome is not None
    assert (stopped.outcome.status, stopped.outcome.exit_code) == (Status.STOPPED, 130), stopped.outcome.reason
    stopped.assert_safe()


@pytest.mark.parametrize("after_s", [0.05, 5.0])
def test_a_stop_ends_a_pause(job: Path, tmp_path: Path, after_s: float) -> None:
    stopped = print_virtual(job, tmp_path, when("recoating", Intent.PAUSE, Intent.STOP, apart_s=after_s))
    assert stopped.outcome is not None and stopped.outcome.exit_code == 130
    stopped.assert_safe()


# ---- a dry run


def test_a_dry_run_moves_through_the_job_and_never_arms_the_head(job: Path, tmp_path: Path) -> None:
    armed: list[float] = []

    async def script(b: Bystander) -> None:
        arm = b.world.beam_head._write_token

        def noted(value: int, t_s: float) -> None:
            arm(value, t_s)
            if b.world.beam_head.armed:
                armed.append(t_s)

        b.world.beam_head._write_token = noted  # type: ignore[method-assign]

    dry = print_virtual(job, tmp_path, script, dry_run=True)
    assert dry.outcome is not None and dry.outcome.dry_run
    assert (dry.outcome.status, dry.outcome.exit_code) == (Status.DONE, 0)
    assert dry.record.end.beam_energy_j == 0.0 and not armed
    assert [strip for strip in dry.record.powder if strip.plane_drop_mm > 0] == []
    plan, energies = dry.matched(job)
    assert len(energies) == len(plan.energy_j) and not any(map(any, energies))
    assert len(dry.record.blocks) == len(plan.energy_j), "it did not move through the whole job"
    assert dry.verdict is Verdict.EXACT, dry.judgement
    dry.assert_safe()


# ---- the machine fails


def hang_up(wire: str) -> Callable[[Bystander], None]:
    return lambda b: b.world.wire(wire).hang_up()


FAILURES: dict[str, tuple[Callable[[Bystander], None], Status, int, str]] = {
    "the door opens": (
        lambda b: b.world.beam_head.set_interlock(b.loop.time(), False),
        Status.STOPPED,
        4,
        "interlock circuit is open",
    ),
    "the head fails": (
        lambda b: b.world.beam_head.set_fault(b.loop.time(), True),
        Status.STOPPED,
        4,
        "reports a fault",
    ),
    "the thermocouple breaks": (
        lambda b: b.world.heater.set_sensor_break(b.loop.time(), True),
        Status.STOPPED,
        4,
        "temperature sensor is broken",
    ),
    "the piston's drive fails": (
        lambda b: b.world.drives["piston"].fail(b.loop.time()),
        Status.STOPPED,
        4,
        "the drive reports a fault",
    ),
    "the motion board is killed": (
        lambda b: b.world.motion_board._emergency("M112"),
        Status.FAILED,
        3,
        "halted",
    ),
    "the motion board is reset": (lambda b: b.world.motion_board.reset(), Status.FAILED, 3, "restarted"),
    "motion's cable is pulled": (hang_up("motion"), Status.FAILED, 3, "sim:motion was lost"),
    "the beam's cable is pulled": (hang_up("beam"), Status.STOPPED, 4, "sim:beam was lost"),
    "bus0's cable is pulled": (hang_up("bus0"), Status.STOPPED, 4, "sim:bus0 was lost"),
    "bus1's cable is pulled": (hang_up("bus1"), Status.STOPPED, 4, "sim:bus1 was lost"),
}


@pytest.mark.parametrize("what", FAILURES)
def test_a_machine_that_fails_within_a_layer_ends_safe_with_its_reason(job: Path, tmp_path: Path, what: str) -> None:
    act, status, exit_code, words = FAILURES[what]
    failed = print_virtual(job, tmp_path, at_half_way(act))
    outcome = failed.outcome
    assert outcome is not None and outcome == read_outcome(tmp_path)
    assert (outcome.status, outcome.exit_code) == (status, exit_code), outcome.reason
    assert words in outcome.reason
    assert failed.verdict is Verdict.DETECTED
    failed.assert_safe(
        but={"bus0's cable is pulled": ("heater",), "motion's cable is pulled": ("gantry",)}.get(what, ())
    )
    notes = failed.bystander.notes
    if "bus" not in what and "drive" not in what and "thermo" not in what:
        assert notes["dark_s"] - notes["acted_s"] < 1.1, "the beam outlived its watchdog"


def test_without_a_camera_no_layer_is_exposed_unseen(two_layers: Path, tmp_path: Path) -> None:
    failed = print_virtual(two_layers, tmp_path, at_half_way(hang_up("camera")))
    assert failed.outcome is not None
    assert (failed.outcome.status, failed.outcome.exit_code) == (Status.FAILED, 3)
    assert "sim:camera" in failed.outcome.reason
    assert [layer.committed for layer in failed.outcome.layers] == [True, False], (
        "the picture afterwards is for the record"
    )
    failed.assert_safe()


def test_a_drive_that_fails_while_it_moves_ends_the_run(two_layers: Path, tmp_path: Path) -> None:
    async def script(b: Bystander) -> None:
        await b.until_doing("layer 2: recoating")
        await b.until(lambda: b.world.blade.moving(b.loop.time()))
        b.world.drives["recoater"].fail(b.loop.time())

    failed = print_virtual(two_layers, tmp_path, script)
    assert failed.outcome is not None
    assert failed.outcome.status in (Status.FAILED, Status.STOPPED) and failed.outcome.exit_code in (3, 4)
    assert "recoater: the drive reports a fault" in failed.outcome.reason
    assert [layer.committed for layer in failed.outcome.layers] == [True, False]
    failed.assert_safe()


def test_a_machine_that_cannot_be_made_safe_is_not_called_done(job: Path, tmp_path: Path) -> None:
    async def script(b: Bystander) -> None:
        await b.until_doing("layer 1 committed")
        b.world.wire("bus0").hang_up()

    ended = print_virtual(job, tmp_path, script)
    assert ended.outcome is not None and all(layer.committed for layer in ended.outcome.layers)
    assert ended.outcome.status is not Status.DONE and ended.outcome.exit_code == 4
    assert "heater" in ended.outcome.reason
    ended.assert_safe(but=("heater",))


# ---- a machine that is not well from the beginning


def test_an_open_door_refuses_the_run_before_anything_moves(job: Path, tmp_path: Path) -> None:
    async def script(b: Bystander) -> None:
        b.world.beam_head.set_interlock(b.loop.time(), False)

    refused = print_virtual(job, tmp_path, script)
    assert refused.outcome is not None and refused.outcome.exit_code == 4
    assert "interlock circuit is open" in refused.outcome.reason
    assert not refused.record.blocks and not refused.record.powder
    refused.assert_safe()


def test_devices_whose_units_are_swapped_are_told_apart(job: Path, tmp_path: Path) -> None:
    def swap(text: str) -> str:
        heater, meter = text.index("[devices.heater]"), text.index("[devices.meter]")
        recoater = text.index("[devices.recoater]")
        swapped = text[heater:meter].replace("unit = 1", "unit = 2") + text[meter:recoater].replace(
            "unit = 2", "unit = 1"
        )
        return text[:heater] + swapped + text[recoater:]

    refused = print_virtual(job, tmp_path, machine=swap)
    assert refused.outcome is not None
    assert (refused.outcome.status, refused.outcome.exit_code) == (Status.FAILED, 3)
    assert "heater" in refused.outcome.reason and not refused.record.blocks
    refused.assert_safe()


def test_a_machine_that_does_not_cover_the_job_refuses_it_before_anything_is_opened(job: Path, tmp_path: Path) -> None:
    small = lambda text: text.replace("x_mm = 250.0", "x_mm = 200.0").replace("s_max = 1000", "s_max = 255")  # noqa: E731
    refused = print_virtual(job, tmp_path, machine=small)
    assert isinstance(refused.error, MoonkilnError) and refused.error.exit_code == 1
    assert "planned for a plate width of 250 mm, this machine has 200" in str(refused.error)
    assert "S1000" in str(refused.error)
    assert not (tmp_path / "run.sqlite").exists()
    assert set(refused.end.chunks.values()) == {0}, "a wire was spoken to"
    refused.assert_safe()


# ---- the wire lies


WIRE_FAULTS = [
    (kind, f"motion.{way}", chunk, args)
    for way in ("to_device", "to_host")
    for kind, args in [
        ("drop", {}),
        ("flip", {"byte": 9, "bit": 2}),
        ("duplicate", {}),
        ("delay", {"delay_s": 3.0}),
        ("insert", {"hex": "0a4e310a"}),
        ("disconnect", {"back_after_s": 0.5}),
    ]
    for chunk in (40,)
]


@pytest.mark.parametrize(("kind", "point", "chunk", "args"), WIRE_FAULTS)
def test_a_fault_on_the_motion_wire_is_mended_or_stops_the_run(
    job: Path, tmp_path: Path, kind: str, point: str, chunk: int, args: dict[str, Any]
) -> None:
    fault = {"kind": kind, "point": point, "at_chunk": chunk, "args": args}
    ended = print_virtual(job, tmp_path, faults=(fault,))
    assert [(strike.point, strike.kind) for strike in ended.record.faults] == [(point, kind)]
    assert ended.outcome is not None
    if ended.outcome.status is Status.DONE:
        assert ended.verdict in (Verdict.EXACT, Verdict.DEGRADED), ended.judgement
    else:
        assert ended.verdict is Verdict.DETECTED and ended.outcome.exit_code in (3, 4), ended.judgement
    ended.assert_safe(but=("gantry",) if kind == "disconnect" else ())


@pytest.mark.parametrize("wire", ["beam", "bus0", "bus1"])
@pytest.mark.parametrize("way", ["to_device", "to_host"])
def test_a_lost_frame_on_a_device_wire_does_no_harm(job: Path, tmp_path: Path, wire: str, way: str) -> None:
    fault = {"kind": "drop", "point": f"{wire}.{way}", "at_chunk": 60}
    ended = print_virtual(job, tmp_path, faults=(fault,))
    assert len(ended.record.faults) == 1 and ended.outcome is not None
    assert ended.verdict in (Verdict.EXACT, Verdict.DETECTED), ended.judgement
    ended.assert_safe()


# ---- the host fails


def test_a_fault_of_our_own_leaves_the_machine_safe_and_is_told(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_args: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Inspector, "powder", broken)
    failed = print_virtual(job, tmp_path)
    assert isinstance(failed.error, ZeroDivisionError)
    assert failed.outcome is None and read_outcome(tmp_path).status is Status.FAILED
    assert "fault of moonkiln itself: ZeroDivisionError: a bug" in read_outcome(tmp_path).reason
    assert read_outcome(tmp_path).not_safe, "what making safe came to was lost with the run"
    failed.assert_safe()


def test_a_port_that_is_not_there_leaves_on_what_was_on_and_is_owned_up_to(job: Path, tmp_path: Path) -> None:
    """As a resume that finds a bus unplugged: what the last session left on, nobody has switched off."""
    failed = print_virtual(job, tmp_path, machine=lambda text: text.replace('"sim:bus1', '"sim:nowhere'))
    assert failed.outcome is not None and failed.outcome.status is Status.FAILED, failed.error
    assert "sim:nowhere" in failed.outcome.reason
    (owned,) = failed.outcome.not_safe
    assert "may be on still" in owned


def test_a_fault_of_our_own_beside_the_run_trips_the_machine(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_poll(b: Bystander) -> None:
        async def broken(_device: object) -> None:
            raise ZeroDivisionError("a bug")

        from firmware_bridge.devices.instrument import Instrument

        monkeypatch.setattr(Instrument, "poll", broken)

    failed = print_virtual(job, tmp_path, at_half_way(break_poll))
    assert failed.outcome is not None and failed.outcome.exit_code == 4
    assert "poller-bus0 failed: a bug" in failed.outcome.reason
    failed.assert_safe()


def test_a_full_disk_under_the_journal_stops_the_run_and_keeps_the_journal(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[JournalFile] = []
    begin = JournalFile.begin_session

    def remember(file: JournalFile) -> None:
        opened.append(file)
        begin(file)

    monkeypatch.setattr(JournalFile, "begin_session", remember)

    async def script(b: Bystander) -> None:
        await b.until_blocks(HALF_WAY)
        opened[0]._db.execute(
            "create temp trigger full before insert on main.sent begin"
            " select raise(abort, 'database or disk is full'); end"
        )

    failed = print_virtual(job, tmp_path, script)
    assert failed.outcome is not None
    assert (failed.outcome.status, failed.outcome.exit_code) == (Status.FAILED, 2)
    assert "disk is full" in failed.outcome.reason
    failed.assert_safe()
    db = sqlite3.connect(tmp_path / "run.sqlite")
    assert db.execute("pragma integrity_check").fetchone() == ("ok",)
    db.close()


def test_an_outcome_that_does_not_fit_the_disk_is_a_sentence(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: Outcome, run_dir: Path) -> None:
        raise JournalError(f"cannot write {run_dir}: No space left on device")

    monkeypatch.setattr(Outcome, "write", full)
    failed = print_virtual(job, tmp_path)
    assert failed.outcome is None and "No space left" in str(failed.error)
    failed.assert_safe()
    assert len(read_truth(tmp_path).blocks) == failed.judgement.blocks_planned

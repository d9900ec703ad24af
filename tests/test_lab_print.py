"""Does a printer with conveyor, supply and pyranometer use them when it should, and never else? Whole hosts on
`bench_lab`, in virtual time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench_helpers import RECIPE
from print_helpers import Bystander, Printed, print_virtual

from control.config import load_envelope
from control.host import Status
from control.operator import Intent
from control.report import write_report
from control.report_telemetry import read_telemetry
from firmware_bridge.devices.supply import BenchSupply
from hil_sim.harness.oracle import Verdict
from hil_sim.world.emulators.delta_ms300 import Fault as DriveFault
from slicer.bricks import rectangular, write_stl
from slicer.plan import plan_job
from slicer.recipe import load_recipe

MACHINE = "bench_lab"
LOOK_EVERY_S = 0.05
HALF_WAY = 12
TIMED_OUT = DriveFault.TIMEOUT  # as a drive shows whose host went away


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer, hatched so finely that it does not fit into the motion board whole."""
    folder = tmp_path_factory.mktemp("job")
    write_stl(rectangular(10.0, 20.0, 0.5), folder / "plate.stl")
    recipe = load_recipe(RECIPE, {"hatch_spacing_mm": "0.45"})
    plan_job(folder / "plate.stl", recipe, load_envelope(MACHINE), folder / "plate.kiln")
    return folder / "plate.kiln"


@dataclass
class Look:
    """How things truly stood at one moment."""

    time_s: float
    armed: bool
    fires: bool
    supply_on: bool
    conveyor_hz: float
    blade_moves: bool


async def watch(b: Bystander) -> None:
    """Look all the while; the looks are in `b.notes`."""
    looks: list[Look] = b.notes.setdefault("looks", [])
    lab, head = b.world.lab, b.world.beam_head
    assert lab.drive is not None and lab.supply is not None
    while True:
        now_s = b.loop.time()
        looks.append(
            Look(
                now_s,
                head.armed,
                head.capability_w > 0.0,
                lab.supply.stage.output.amps > 0.0,
                lab.drive.motor.frequency_hz(now_s),
                b.world.blade.moving(now_s),
            )
        )
        await asyncio.sleep(LOOK_EVERY_S)


def watched(then: Callable[[Bystander], Any]) -> Callable[[Bystander], Any]:
    """A script with somebody looking all the while, also after it has ended."""

    async def script(b: Bystander) -> None:
        b.notes["watch"] = asyncio.ensure_future(watch(b))
        await then(b)

    return script


async def nothing(_: Bystander) -> None:
    pass


def looks_of(printed: Printed) -> list[Look]:
    looks: list[Look] = printed.bystander.notes["looks"]
    return looks


@pytest.fixture(scope="module")
def plain(job: Path, tmp_path_factory: pytest.TempPathFactory) -> Printed:
    return print_virtual(job, tmp_path_factory.mktemp("plain"), watched(nothing), bench=MACHINE)


def assert_lab_is_safe(printed: Printed) -> None:
    """The output off and the screw stopped, or stopping: its ramp is ten seconds as delivered."""
    lab = printed.bystander.world.lab
    assert lab.drive is not None and lab.supply is not None
    assert lab.supply.stage.output.amps == 0.0
    end_s = printed.end.time_s
    assert lab.drive.motor.frequency_hz(end_s + 10.0) == 0.0


def signals_of(printed: Printed) -> dict[str, Any]:
    return read_telemetry([printed.run_dir / "telemetry.mcap"], lambda _: False).signals


# ---- nothing happens


def test_the_part_is_exact_and_all_is_off_afterwards(plain: Printed) -> None:
    assert plain.verdict is Verdict.EXACT, plain.judgement
    plain.assert_safe()
    assert_lab_is_safe(plain)


def test_the_supply_is_on_when_the_beam_fires_and_never_where_nothing_is_armed(plain: Printed) -> None:
    looks = looks_of(plain)
    assert any(look.fires for look in looks)
    assert all(look.supply_on for look in looks if look.fires)
    on = [look.time_s for look in looks if look.supply_on]
    armed = [look.time_s for look in looks if look.armed]
    assert armed[0] <= on[0], "it was switched on before the head was armed"
    assert on[-1] - armed[-1] < 0.15, "it stayed on after the head was disarmed, until somebody noticed"
    assert plain.outcome is not None and plain.outcome.status is Status.DONE


def test_the_conveyor_turns_while_the_blade_spreads_and_stands_while_the_beam_is_armed(plain: Printed) -> None:
    looks = looks_of(plain)
    spreading = [look for look in looks if look.blade_moves and look.conveyor_hz > 0.0]
    assert len(spreading) > 50, "the blade's strokes take over two seconds each"
    first = next(look for look in looks if look.conveyor_hz > 0.0)
    assert not any(look.armed for look in looks if look.time_s <= first.time_s)
    assert any(look.armed for look in looks)
    assert not any(look.conveyor_hz > 0.0 for look in looks if look.armed), "its ramp reaches into the light"


def test_the_hopper_gives_what_the_layer_took_and_gets_what_the_screw_brought(plain: Printed) -> None:
    world = plain.bystander.world
    hopper, drive = world.lab.hopper, world.lab.drive
    assert hopper is not None and drive is not None
    took_mm3 = 250.0 * 150.0 * 0.5
    brought_mm3 = 2500.0 * drive.motor.revolutions(plain.end.time_s)
    assert brought_mm3 > 2.0 * took_mm3
    assert hopper.level_mm3(plain.end.time_s) == min(150000.0 - took_mm3 + brought_mm3, 200000.0)


def test_telemetry_has_their_signals(plain: Printed) -> None:
    signals = signals_of(plain)
    assert {"conveyor", "supply", "pyranometer"} <= set(signals)
    irradiance = signals["pyranometer"].values["irradiance_w_m2"]
    assert irradiance and max(irradiance) == pytest.approx(950.0, abs=1.0)
    assert max(signals["supply"].values["output_a"]) == pytest.approx(1.2, abs=0.01)
    assert max(signals["conveyor"].values["output_hz"]) > 5.0


def test_the_report_draws_them(plain: Printed, tmp_path: Path) -> None:
    page = write_report(plain.run_dir, output=tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(f"{title} over time" in page for title in ("Irradiance", "Supply", "Conveyor"))


# ---- the supply's current is watched


@pytest.mark.parametrize(
    ("kind", "words"),
    [("open_load", r"its load takes 0 A, under 0\.5 A"), ("short_load", r"takes all of the 2 A|over-current")],
)
def test_a_load_that_fails_while_the_beam_fires_stops_the_machine(
    job: Path, tmp_path: Path, kind: str, words: str
) -> None:
    marks: dict[str, float] = {}

    async def look(b: Bystander) -> None:
        await b.until_blocks(HALF_WAY)
        marks["time_s"] = b.loop.time()

    print_virtual(job, tmp_path / "look", look, bench=MACHINE)
    fault = {"kind": kind, "point": "supply.load", "at_s": marks["time_s"], "for_s": 1e4}
    printed = print_virtual(job, tmp_path / "run", watched(nothing), bench=MACHINE, faults=(fault,))
    assert printed.outcome is not None and printed.outcome.status is Status.STOPPED
    assert "supply" in printed.outcome.reason
    assert re.search(words, printed.outcome.reason), printed.outcome.reason
    dark_s = next(x.time_s for x in looks_of(printed) if x.time_s > marks["time_s"] and not x.fires)
    assert dark_s - marks["time_s"] < 2.0
    printed.assert_safe()
    assert_lab_is_safe(printed)


def test_a_load_that_is_not_there_is_found_before_the_beam_fires(job: Path, tmp_path: Path) -> None:
    fault = {"kind": "open_load", "point": "supply.load", "at_s": 0.0, "for_s": 1e4}
    printed = print_virtual(job, tmp_path / "run", watched(nothing), bench=MACHINE, faults=(fault,))
    assert printed.outcome is not None and "supply: its load takes 0 A" in printed.outcome.reason
    assert not any(look.fires for look in looks_of(printed))
    printed.assert_safe()


def test_a_stop_darkens_the_beam_before_the_supply_goes_off(job: Path, tmp_path: Path) -> None:
    async def stop(b: Bystander) -> None:
        await b.until_blocks(HALF_WAY)
        b.operator.ask(Intent.STOP, "stop of the test")
        b.notes["time_s"] = b.loop.time()

    printed = print_virtual(job, tmp_path / "run", watched(stop), bench=MACHINE)
    after = [look for look in looks_of(printed) if look.time_s > printed.bystander.notes["time_s"]]
    assert not any(look.fires and not look.supply_on for look in after)
    off = [look.time_s for look in after if not look.supply_on]
    assert off and off[0] - printed.bystander.notes["time_s"] < 1.0
    printed.assert_safe()


@pytest.mark.parametrize("wire", ["psu", "bus2"])
def test_a_lab_device_that_falls_silent_stops_the_machine(job: Path, tmp_path: Path, wire: str) -> None:
    async def cut(b: Bystander) -> None:
        await b.until_blocks(HALF_WAY)
        b.world.wire(wire).hang_up()
        b.notes["time_s"] = b.loop.time()

    printed = print_virtual(job, tmp_path / "run", watched(cut), bench=MACHINE)
    assert printed.outcome is not None and printed.outcome.status is Status.STOPPED, printed.outcome
    assert ("supply" if wire == "psu" else "conveyor") in printed.outcome.reason
    cut_s = printed.bystander.notes["time_s"]
    dark_s = next(look.time_s for look in looks_of(printed) if look.time_s > cut_s and not look.fires)
    assert dark_s - cut_s < 3.0
    if wire == "psu":  # what nobody can switch off goes on, and is owned up to
        assert printed.record.end.supply_w > 0.0 and "supply" in printed.outcome.not_safe
    printed.assert_safe()


def test_a_host_that_stops_and_leaves_the_supply_on_is_told(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing_done(_supply: BenchSupply) -> None:
        pass

    async def stop(b: Bystander) -> None:
        await b.until_blocks(HALF_WAY)
        monkeypatch.setattr(BenchSupply, "switch_off", nothing_done)
        b.operator.ask(Intent.STOP, "stop of the test")

    printed = print_virtual(job, tmp_path / "run", stop, bench=MACHINE)
    assert printed.outcome is not None and not printed.outcome.not_safe
    assert printed.verdict is Verdict.SILENT, printed.judgement
    assert "the supply delivered" in " ".join(printed.judgement.reasons)


# ---- the conveyor


def test_a_screw_that_jams_stops_the_machine(job: Path, tmp_path: Path) -> None:
    async def jam(b: Bystander) -> None:
        drive = b.world.lab.drive
        assert drive is not None
        await b.until(lambda: drive.motor.frequency_hz(b.loop.time()) > 1.0)
        drive.load_changed(b.loop.time(), 3.0)
        b.notes["time_s"] = b.loop.time()

    printed = print_virtual(job, tmp_path / "run", watched(jam), bench=MACHINE)
    assert printed.outcome is not None and printed.outcome.status is Status.STOPPED
    assert "conveyor: its drive reports fault 3" in printed.outcome.reason
    assert printed.end.time_s - printed.bystander.notes["time_s"] < 30.0
    printed.assert_safe()


def test_a_stop_during_the_stroke_stops_the_screw_too(job: Path, tmp_path: Path) -> None:
    async def stop(b: Bystander) -> None:
        drive = b.world.lab.drive
        assert drive is not None
        await b.until(lambda: drive.motor.frequency_hz(b.loop.time()) > 1.0)
        b.operator.ask(Intent.STOP, "stop of the test")

    printed = print_virtual(job, tmp_path / "run", watched(stop), bench=MACHINE)
    assert printed.outcome is not None and "stop of the test" in printed.outcome.reason
    printed.assert_safe()
    assert_lab_is_safe(printed)


def test_a_drive_that_tripped_when_the_last_host_went_is_reset_and_told_of(job: Path, tmp_path: Path) -> None:
    async def tripped(b: Bystander) -> None:
        drive = b.world.lab.drive
        assert drive is not None
        drive._fault = TIMED_OUT

    printed = print_virtual(job, tmp_path / "run", tripped, bench=MACHINE)
    assert printed.verdict is Verdict.EXACT, printed.outcome
    events = read_telemetry([printed.run_dir / "telemetry.mcap"], lambda _: False).events
    assert any("the drive had tripped (fault 58)" in event.text for event in events)


def test_an_empty_hopper_that_nobody_fills_is_a_thin_layer(job: Path, tmp_path: Path) -> None:
    """The powder comes by the screw alone: one that turns backwards brings none."""

    async def steal(b: Bystander) -> None:
        hopper = b.world.lab.hopper
        assert hopper is not None
        hopper._level_mm3 = 0.0
        hopper._brought_mm3 = lambda _t_s: 0.0
        hopper._seen_mm3 = 0.0

    printed = print_virtual(job, tmp_path / "run", steal, bench=MACHINE)
    assert printed.outcome is not None and printed.outcome.status is Status.STOPPED
    assert "still thin" in printed.outcome.reason


# ---- the Sun


def shaded(job: Path, tmp_path: Path, for_s: float, machine: Callable[[str], str] = lambda text: text) -> Printed:
    marks: dict[str, float] = {}

    async def look(b: Bystander) -> None:
        await b.until_blocks(HALF_WAY)
        marks["time_s"] = b.loop.time()

    print_virtual(job, tmp_path / "look", look, bench=MACHINE)
    shade = {"kind": "shade", "point": "sun.light", "at_s": marks["time_s"], "for_s": for_s, "args": {"share": 0.3}}
    printed = print_virtual(job, tmp_path / "run", watched(nothing), bench=MACHINE, faults=(shade,), machine=machine)
    printed.bystander.notes["shade_s"] = marks["time_s"]
    return printed


def test_a_cloud_breaks_the_exposure_off_which_goes_on_in_the_light(job: Path, tmp_path: Path) -> None:
    printed = shaded(job, tmp_path, 60.0)
    assert printed.outcome is not None and printed.outcome.status is Status.DONE, printed.outcome
    assert [d.kind for d in printed.outcome.declared] == ["interrupted"]
    assert printed.verdict is Verdict.DEGRADED, printed.judgement
    shade_s = printed.bystander.notes["shade_s"]
    dark = [look for look in looks_of(printed) if shade_s + 8.0 < look.time_s < shade_s + 60.0]
    assert dark and not any(look.armed or look.supply_on for look in dark)
    assert any(look.fires for look in looks_of(printed) if look.time_s > shade_s + 60.0)


def test_a_cloud_that_stays_ends_the_run_with_a_sentence(job: Path, tmp_path: Path) -> None:
    printed = shaded(job, tmp_path, 1e5, lambda text: text.replace("wait_s_max = 1800.0", "wait_s_max = 20.0"))
    assert printed.outcome is not None and printed.outcome.status is Status.STOPPED
    assert "after waiting 20 s the irradiance is 285 W/m2, under the 630 W/m2" in printed.outcome.reason
    printed.assert_safe()


def test_without_a_floor_the_irradiance_is_only_recorded(job: Path, tmp_path: Path) -> None:
    def no_floor(text: str) -> str:
        return text.replace("irradiance_min_w_m2 = 600.0", "").replace("wait_s_max = 1800.0", "")

    printed = shaded(job, tmp_path, 1e5, no_floor)
    assert printed.verdict is Verdict.EXACT, printed.outcome
    lowest = min(signals_of(printed)["pyranometer"].values["irradiance_w_m2"])
    assert lowest == pytest.approx(285.0, abs=5.0)

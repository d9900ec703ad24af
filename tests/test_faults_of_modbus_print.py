"""What does a whole print make of Modbus units and sensors that fail: exact, or stopped in time with the reason?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from print_helpers import Bystander, Printed, print_virtual
from test_print_virtual import plate

from control.host import Status
from control.operator import Intent
from hil_sim.harness.oracle import Verdict
from hil_sim.world.faults import KINDS

IN_LAYER = {"at_layer": 0, "after_s": 8.0, "for_s": 1e4}  # the layer is exposed from 7 s to 18 s behind its powder
STOP_S = 4.0  # what making safe may take behind the trip, with a unit that is silent
EXACT = "every layer is committed"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer."""
    return plate(tmp_path_factory.mktemp("one"), 1)


def printed(job: Path, folder: Path, kind: str, point: str, **how: Any) -> Printed:
    return print_virtual(job, folder, faults=({"kind": kind, "point": point, **how},))


def assert_ends_well(done: Printed, words: str) -> None:
    """Its verdict is good, its words hold `words`, and a run that stopped did so within the kind's bound."""
    (struck_s, _, fault), *_ = done.bystander.world.faults.strikes
    assert done.outcome is not None and done.verdict.is_good, done.judgement
    assert words in done.outcome.reason, done.outcome.reason
    if words == EXACT and done.outcome.status is Status.DONE:
        assert done.verdict is Verdict.EXACT
        return
    bound_s = KINDS[fault.kind].bound_s
    assert bound_s is not None
    assert struck_s <= done.end.time_s <= struck_s + bound_s + STOP_S
    assert done.end.beam_w == 0.0 and not done.end.shutter_open and not done.end.moving


@pytest.mark.parametrize(
    ("kind", "point", "how", "words"),
    [
        ("no_reply", "beam", {"at_request": 34}, EXACT),
        ("late_reply", "heater", {"at_request": 60}, EXACT),
        ("double_reply", "recoater", {"at_request": 60, "count": 6}, EXACT),
        ("wrong_unit", "meter", {"at_request": 8}, EXACT),
        ("wrong_transaction", "beam", {"at_request": 34}, EXACT),
        ("bad_crc", "piston", {"at_request": 40}, EXACT),
        ("noise_first", "heater", {"at_request": 60, "count": 6}, EXACT),
        ("busy", "recoater", {"at_request": 60}, EXACT),
        ("busy", "beam", {"at_request": 120}, EXACT),
        ("unit_dead", "beam", {**IN_LAYER}, "beam: it could not be fed"),
        ("unit_dead", "heater", {**IN_LAYER}, "heater: failed 3 times in a row"),
        ("unit_dead", "meter", {**IN_LAYER}, "meter: failed 3 times in a row"),
        ("ignored_write", "beam", {"at_request": 30}, "power_w reads back as 0 W"),
        ("ignored_write", "beam", {**IN_LAYER}, "its watchdog tripped"),
        ("ignored_write", "recoater", {"at_request": 60}, "stands still elsewhere"),
        ("ignored_write", "heater", {**IN_LAYER}, "it heats to 0.0 degC and was told 24.0"),
        ("reboot", "beam", {**IN_LAYER}, "beam: it could not be fed"),
        ("reboot", "recoater", {"at_request": 60}, "stands still elsewhere"),
        ("reboot", "piston", {**IN_LAYER}, "piston: failed 3 times in a row"),
        (
            "reboot",
            "piston",
            {**IN_LAYER, "for_s": 1.05, "args": {"off_s": 0.1}},
            "it stands at 0.000 mm and arrived at 0.500",
        ),
        ("reboot", "heater", {"at_request": 50, "args": {"off_s": 0.1}}, "it heats to 0.0 degC and was told 24.0"),
        ("stale", "beam", {"at_request": 36, "count": 6}, "reads back as 0 W"),
        ("stale", "recoater", {"at_request": 60, "count": 200}, EXACT),
        ("stale", "recoater", {"at_s": 7.0, "for_s": 1e4}, "did not arrive in time"),
    ],
)
def test_a_print_ends_well_and_says_why(
    job: Path, tmp_path: Path, kind: str, point: str, how: dict[str, Any], words: str
) -> None:
    assert_ends_well(printed(job, tmp_path, kind, point, **how), words)


@pytest.mark.parametrize(
    ("kind", "point", "how", "words"),
    [
        ("spike", "heater.temp", IN_LAYER, "which no bed does"),
        ("bias", "heater.temp", IN_LAYER, "which no bed does"),
        ("noise_on", "heater.temp", IN_LAYER, "which no bed does"),
        ("spike", "beam.emission", IN_LAYER, "is set to 100.0 W"),
        ("bias", "beam.emission", {"at_s": 4.0, "for_s": 1e4}, "it emits 5.0 W while the machine is ready"),
        ("stuck", "recoater.position", {"at_s": 8.0, "for_s": 1e4}, "stands still elsewhere"),
        ("lag", "recoater.position", {"at_s": 8.0, "for_s": 1e4}, "stands still elsewhere"),
        ("swapped", "recoater.position", {**IN_LAYER, "args": {"with": "piston.position"}}, "it stands at 0.500 mm"),
        ("drift", "piston.position", IN_LAYER, "its encoder fails"),
        ("saturated", "piston.position", IN_LAYER, "its encoder fails"),
        ("quantised", "piston.position", {"at_s": 1.0, "for_s": 1e4}, "it reads 0.000 mm"),
        ("spike", "meter.power", IN_LAYER | {"for_s": 3.0}, EXACT),
    ],
)
def test_a_print_with_a_failing_sensor_ends_well(
    job: Path, tmp_path: Path, kind: str, point: str, how: dict[str, Any], words: str
) -> None:
    assert_ends_well(printed(job, tmp_path, kind, point, **how), words)


def test_a_blade_that_acknowledges_a_stop_and_goes_on_is_owned_up_to(job: Path, tmp_path: Path) -> None:
    async def stop_in_the_stroke(b: Bystander) -> None:
        await b.until_doing("recoating")
        await b.until(lambda: b.world.blade.moving(b.loop.time()))
        b.world.drives["recoater"]._halt = lambda _t_s: None  # type: ignore[method-assign]
        b.operator.ask(Intent.STOP, "stop of the test")

    done = print_virtual(job, tmp_path, stop_in_the_stroke)
    assert done.outcome is not None and done.outcome.status is Status.STOPPED
    assert "recoater could not be made safe" in done.outcome.reason, done.outcome.reason
    assert done.outcome.not_safe == ["recoater"]
    done.assert_safe(but=("blade",))

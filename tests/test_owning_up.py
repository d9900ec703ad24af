"""Does a host that leaves something on, or may, say so: in its status, its reason and `not_safe`?"""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest
from crash_helpers import NEVER, Ended, run_faulty

from control.host import NOT_METERED
from control.journal import Journal, JournalError, LayerRecord
from control.machine import Machine
from control.outcome import Outcome, Status, Totals
from firmware_bridge.devices.bed_heater import BedHeater
from firmware_bridge.errors import Unverified
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.runner import run_scenario
from hil_sim.harness.scenario import Scenario
from hil_sim.harness.small_job import small_job
from hil_sim.world.machine_spec import BedSettings

DONE = Outcome(
    status=Status.DONE,
    reason="every layer is committed",
    exit_code=0,
    declared=[],
    layers=[],
    totals=Totals(0, 0, 0.0, 0, 0, 0.0, 1),
    position_mm=None,
)
HEATER_SAID = "heater could not be made safe: look at the machine"


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_job(tmp_path_factory.mktemp("plate"))


def outcome_of(ended: Ended) -> Outcome:
    assert ended.result.outcome is not None, ended.told
    return ended.result.outcome


def test_a_run_with_nothing_left_on_keeps_its_word() -> None:
    assert DONE.owning_up([]) is DONE


def test_a_run_with_something_left_on_is_not_done() -> None:
    said = DONE.owning_up(["heater", "beam"], "55 W are drawn")
    assert said.status is Status.STOPPED and said.exit_code == 4
    assert said.not_safe == ["heater", "beam", "55 W are drawn"]
    assert said.reason == (
        "every layer is committed, but heater and beam could not be made safe: look at the machine, and 55 W are drawn"
    )


def test_a_run_that_failed_keeps_its_code() -> None:
    failed = msgspec.structs.replace(DONE, status=Status.FAILED, exit_code=3)
    assert (failed.owning_up(["heater"]).status, failed.owning_up(["heater"]).exit_code) == (Status.FAILED, 3)


def test_what_was_said_is_not_said_again() -> None:
    once = DONE.owning_up(["heater"])
    assert once.owning_up(["heater"]) is once


def test_a_source_that_a_host_has_seen_shining_is_owned_up_to_whatever_a_meter_shows(
    plate: Path, tmp_path: Path
) -> None:
    """Behind a closed shutter nobody sees it, and this meter shows a machine that draws what it should at rest."""
    at_rest = {"kind": "spike", "point": "meter.power", "at_s": 3.0, "for_s": 1e6, "args": {"value": 45.0}}
    shorted = {"kind": "beam_stuck_on", "point": "beam.source", "at_s": 4.0, "for_s": 1e6, "args": {"watts": 50.0}}
    ended = run_faulty(plate, tmp_path / "run", at_rest, shorted)
    outcome = outcome_of(ended)
    assert ended.result.verdict is Verdict.DETECTED and outcome.status is Status.STOPPED, ended.told
    assert outcome.reason.startswith("beam: ") and "its source is stuck on, cut its power, but beam" in outcome.reason
    assert outcome.not_safe == ["beam"]


def test_what_the_last_order_could_not_switch_off_is_told(
    plate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On its way out of a finished run the host makes all safe once more; that may fail where the first did not."""
    shut_down, safe = Machine.shut_down, BedHeater.safe

    async def lost(_self: BedHeater) -> None:
        raise Unverified("heater: it does not answer.")

    async def shut_down_with_a_lost_heater(self: Machine) -> None:
        monkeypatch.setattr(BedHeater, "safe", lost)
        try:
            await shut_down(self)
        finally:
            monkeypatch.setattr(BedHeater, "safe", safe)

    monkeypatch.setattr(Machine, "shut_down", shut_down_with_a_lost_heater)
    outcome = outcome_of(run_faulty(plate, tmp_path / "run", NEVER))
    assert (outcome.status, outcome.exit_code, outcome.not_safe) == (Status.STOPPED, 4, ["heater"])
    assert outcome.reason.endswith(HEATER_SAID)


def test_a_journal_that_is_gone_at_the_end_takes_nobody_for_unreached(
    plate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, asked = Journal.layers, itertools.count()

    def gone(journal: Journal) -> list[LayerRecord]:
        if next(asked):  # the first is how the run begins
            raise JournalError("the journal cannot be read")
        return layers(journal)

    monkeypatch.setattr(Journal, "layers", gone)
    outcome = outcome_of(run_faulty(plate, tmp_path / "run", NEVER))
    assert outcome.status is Status.FAILED and not outcome.layers and outcome.totals.layers == 0
    assert outcome.reason == f"the journal cannot be read, but {NOT_METERED}" and outcome.not_safe == [NOT_METERED]


def test_a_bed_in_the_frost_is_left_cold_until_the_print_heats_it(plate: Path, tmp_path: Path) -> None:
    """Brought up, its controller holds no set-point: any that it takes would be warmer than the bed."""
    frost = BedSettings(ambient_temp_c=-30.0, cell_xy_mm=10.0)
    scenario = Scenario(schema_version=1, name="frost", cell_xy_mm=10.0, bed=frost)
    assert run_scenario(scenario, plate, tmp_path / "run").verdict is Verdict.EXACT


def test_what_was_on_before_is_found_before_anything_is_heated(plate: Path, tmp_path: Path) -> None:
    welded = {"kind": "heater_stuck_on", "point": "heater.output", "at_s": 0.0, "for_s": 1000.0}
    ended = run_faulty(plate, tmp_path / "run", welded)
    outcome = outcome_of(ended)
    assert ended.result.verdict is Verdict.DETECTED and outcome.exit_code == 4, ended.told
    assert "W are drawn" in outcome.reason, ended.told
    assert outcome.reason.count("W are drawn") == 1 and outcome.not_safe, "said twice, or not"
    assert outcome.totals.duration_s < 20.0 and not outcome.layers, "it heated"

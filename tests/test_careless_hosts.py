"""Hosts that each leave out one thing which our own host does: does the oracle tell what came of it?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from crash_helpers import Ended, blindfold, run_faulty, small_job

from control import print_run
from control.journal import Journal
from control.machine import Machine
from control.outcome import Outcome
from firmware_bridge.devices import bed_heater
from firmware_bridge.devices.bed_heater import BedHeater
from hil_sim.harness.oracle import Verdict

LAYERS = 2
THIN = {"kind": "short_feed", "point": "recoater.feed", "at_event": 1, "args": {"fraction": 0.2}}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_job(tmp_path_factory.mktemp("job"), LAYERS)


async def no_meter(*_: Any) -> str:
    return ""


def reasons(ended: Ended, verdict: Verdict) -> str:
    assert ended.result.verdict is verdict, ended.told
    return "; ".join(ended.result.judgement.reasons)


def test_who_looks_at_no_powder_has_burnt_what_was_not_there(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blindfold(monkeypatch)
    assert "powder less than 40% full" in reasons(run_faulty(job, tmp_path / "run", THIN), Verdict.SILENT)


def test_who_spreads_again_and_does_not_say_so_is_told(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare = Journal.declare

    async def forgetful(journal: Journal, declaration: Any) -> None:
        if declaration.kind != "recoated":
            await declare(journal, declaration)

    monkeypatch.setattr(Journal, "declare", forgetful)
    assert "passes of the blade" in reasons(run_faulty(job, tmp_path / "run", THIN), Verdict.SILENT)


def test_who_leaves_the_heater_on_is_told(job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_safe = Machine.make_safe

    async def nothing() -> None:
        pass

    async def warm(machine: Machine) -> list[str]:
        monkeypatch.setattr(machine.devices.heater, "safe", nothing)
        return await make_safe(machine)

    monkeypatch.setattr(Machine, "make_safe", warm)
    assert "W are drawn" in reasons(run_faulty(job, tmp_path / "metered"), Verdict.DETECTED)
    monkeypatch.setattr(print_run, "still_draws", no_meter)
    assert "W of its heater when all was over" in reasons(run_faulty(job, tmp_path / "run"), Verdict.SILENT)


SHORTED = {"kind": "short_circuit", "point": "heater.temp", "at_s": 20.0, "for_s": 1000.0}


def test_a_heater_that_is_off_stays_off_when_its_thermocouple_shows_less_than_its_own_set_point(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told to use a local set-point of 20 degC alone, the controller heats while it is shown its terminals' 19.4."""
    ended = run_faulty(job, tmp_path / "run", SHORTED)
    assert ended.result.verdict is Verdict.EXACT and ended.result.record.end.heater_w == 0.0, ended.told

    async def local_only(heater: BedHeater) -> None:
        await heater._access.write_and_verify("remote", 0, urgent=True)

    monkeypatch.setattr(BedHeater, "safe", local_only)
    monkeypatch.setattr(bed_heater, "SAFE_TEMP_C", 20.0)
    assert "W of its heater when all was over" in reasons(run_faulty(job, tmp_path / "local", SHORTED), Verdict.SILENT)


def test_a_heater_that_wakes_up_behind_a_run_asks_for_nothing_whatever_its_thermocouple_shows(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its standby is forgotten where the power comes back, and no host is there to see it."""
    sound = run_faulty(job, tmp_path / "sound", SHORTED)
    assert sound.result.outcome is not None
    blink: dict[str, Any] = {"kind": "outage", "point": "power.feeder", "for_s": 0.3}
    blink["at_s"] = sound.result.outcome.totals.duration_s + 0.5
    woken = run_faulty(job, tmp_path / "run", SHORTED, blink)
    assert "outage" in {each.kind for each in woken.result.record.faults}, woken.told
    assert woken.result.record.end.heater_w == 0.0, woken.told

    monkeypatch.setattr(bed_heater, "SAFE_TEMP_C", 20.0)
    warm = run_faulty(job, tmp_path / "warm", SHORTED, blink)
    assert warm.result.record.end.heater_w > 0.0, "nothing that was there to heat"


def test_who_leaves_no_file_has_left_no_outcome(job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outcome, "write", lambda outcome, run_dir: None)
    assert "outcome.json is not there" in reasons(run_faulty(job, tmp_path / "run"), Verdict.DETECTED)


def test_a_file_that_says_something_else_than_the_host_is_told(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Outcome.write

    def other(outcome: Outcome, run_dir: Path) -> None:
        write(msgspec.structs.replace(outcome, reason="all is well"), run_dir)

    monkeypatch.setattr(Outcome, "write", other)
    assert "is not what it returned" in reasons(run_faulty(job, tmp_path / "run"), Verdict.SILENT)

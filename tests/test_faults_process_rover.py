"""A rover whose host's computer fails: does it stop by itself, and does nobody hear a false word?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rover_drive_helpers import HILLS, lane

from control.rover.outcome import DriveOutcome
from hil_sim.harness.drive_runner import DriveResult, DriveScenario, run_drive
from hil_sim.harness.oracle import Verdict
from hil_sim.world.faults import Fault, FaultSchedule

STILL_M = 0.005  # what the simulated wheels settle by


def drive(folder: Path, *faults: Fault, length_m: float = 6.0) -> DriveResult:
    scenario = DriveScenario(seed=1, details=False, faults=FaultSchedule(faults))
    return run_drive(scenario, lane(folder / "r.json", length_m), folder / "run", ground=HILLS)


def status(result: DriveResult) -> Any:
    assert isinstance(result.outcome, DriveOutcome), result.judgement
    return result.outcome.status.value


def moved_after_m(result: DriveResult, t_s: float) -> float:
    """How far the rover went after a moment of loop time, in truth."""
    track = result.truth.track
    x_m, y_m = np.asarray(track.x_m), np.asarray(track.y_m)
    late = np.asarray(track.t_s) >= t_s
    return float(np.hypot(np.diff(x_m[late]), np.diff(y_m[late])).sum())


@pytest.mark.parametrize("at_s", [8.0, 20.0])
def test_a_rover_whose_host_dies_stops_by_itself(tmp_path: Path, at_s: float) -> None:
    result = drive(tmp_path, Fault("crash", "host", at_s=at_s, for_s=0.1), length_m=12.0)
    assert result.outcome is None and result.verdict.is_good, result.judgement
    assert moved_after_m(result, 0.0) > 0.1, "it was to be driving"
    assert moved_after_m(result, at_s + 1.5) < STILL_M


def test_a_rover_whose_host_is_held_up_stands_meanwhile(tmp_path: Path) -> None:
    result = drive(tmp_path, Fault("loop_blocked", "host", at_s=10.0, for_s=20.0))
    assert result.verdict.is_good, result.judgement
    track = result.truth.track
    held = (np.asarray(track.t_s) > 11.5) & (np.asarray(track.t_s) < 29.5)
    assert np.hypot(np.ptp(np.asarray(track.x_m)[held]), np.ptp(np.asarray(track.y_m)[held])) < STILL_M


def test_a_full_disk_costs_a_drive_its_record_alone(tmp_path: Path) -> None:
    result = drive(tmp_path, Fault("enospc", "host.files", at_s=5.0, for_s=1e6))
    assert status(result) == "done" and result.verdict is Verdict.EXACT, result.judgement


def test_a_drive_under_a_wrong_clock_is_the_same_drive(tmp_path: Path) -> None:
    for name in ("plain", "jump"):
        (tmp_path / name).mkdir()
    plain = drive(tmp_path / "plain", Fault("eio", "host.files", at_event=10**9))
    result = drive(tmp_path / "jump", Fault("clock_jump", "host", at_s=5.0, for_s=1e6))
    assert np.array_equal(result.truth.track.x_m, plain.truth.track.x_m)
    assert result.outcome == plain.outcome

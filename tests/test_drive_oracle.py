"""Does the oracle of a drive see a rover that leaned too far, and a host that says what is not so?"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from control.host import DriveOutcome, Status
from control.rover.outcome import DriveTotals
from hil_sim.harness.drive_oracle import DriveJudgement, Track, judge_drive
from hil_sim.harness.oracle import Verdict
from hil_sim.world.build_rover import load_rover_spec
from hil_sim.world.safety import RoverSafetySpec

WAY_M = np.array([[0.0, 0.0], [5.0, 0.0]])


def judged(lean_deg: float, tilt_deg_max: float = 30.0, winding_c: float = 20.0) -> DriveJudgement:
    """Five metres driven with a lean half way, and a motor as warm there, by a host that died at the end."""
    t_s = np.arange(0.0, 50.0, 0.1)
    x_m = np.minimum(t_s * 0.125, 5.0)
    lean = np.where((t_s > 20.0) & (t_s < 20.35), math.radians(lean_deg), 0.0)
    level, warm = np.zeros_like(x_m), np.where(lean > 0.0, winding_c, 20.0)
    track = Track(t_s, x_m, level, lean, level, warm, 0.0, None)
    limits = RoverSafetySpec(tilt_deg_max=tilt_deg_max)
    return judge_drive(WAY_M, track, None, 45.0, lambda x, y: False, limits)


def test_a_lean_over_the_limit_is_unsafe_and_says_when() -> None:
    judgement = judged(31.0)
    assert judgement.verdict is Verdict.UNSAFE
    assert any("leaned over 30 deg at 20.1 s, 31.0 deg at most" in reason for reason in judgement.reasons)


def test_a_lean_within_the_limit_is_none_of_its_business() -> None:
    assert judged(29.0).verdict is Verdict.HANG
    assert judged(31.0, tilt_deg_max=35.0).verdict is Verdict.HANG


@pytest.mark.parametrize(("winding_c", "verdict"), [(124.0, Verdict.HANG), (126.0, Verdict.UNSAFE)])
def test_a_burnt_motor_is_unsafe(winding_c: float, verdict: Verdict) -> None:
    assert judged(1.0, winding_c=winding_c).verdict is verdict


def test_a_motor_whose_warmth_is_no_number_is_none_that_was_cool() -> None:
    assert judged(1.0, winding_c=math.nan).verdict is Verdict.UNSAFE


@pytest.mark.parametrize("rover", ["osr", "polar"])
def test_each_rover_has_a_limit(rover: str) -> None:
    assert 10.0 < load_rover_spec(rover).safety.tilt_deg_max < 40.0


def on_track(x_m: np.ndarray, roll_rad: np.ndarray, blocked_x_m: float = math.inf) -> DriveJudgement:
    """Driven by a host that died at the end; one cell's width around `blocked_x_m` may not be entered."""
    t_s = 0.1 * np.arange(len(x_m))
    cold, level = np.full_like(x_m, 20.0), np.zeros_like(x_m)
    track = Track(t_s, x_m, level, roll_rad, level, cold, 0.0, None)
    return judge_drive(WAY_M, track, None, t_s[-1], lambda x, y: abs(x - blocked_x_m) < 0.04)


@pytest.mark.parametrize("row", [0, 23, 49])
def test_a_blocked_cell_is_seen_in_whichever_row_it_was_entered(row: int) -> None:
    x_m = np.linspace(0.0, 5.0, 50)
    judgement = on_track(x_m, np.zeros(50), blocked_x_m=float(x_m[row]))
    assert judgement.verdict is Verdict.UNSAFE and any("blocked ground" in reason for reason in judgement.reasons)


def test_a_row_that_is_no_number_hides_no_lean_and_is_unsafe_itself() -> None:
    roll = np.zeros(50)
    roll[30] = math.nan
    assert on_track(np.linspace(0.0, 5.0, 50), roll).verdict is Verdict.UNSAFE
    roll[10:20] = math.radians(60.0)
    leaned = on_track(np.linspace(0.0, 5.0, 50), roll)
    assert any("leaned over 30 deg at 1.0 s, 60.0 deg at most" in reason for reason in leaned.reasons)
    assert leaned.tilt_max_deg == pytest.approx(60.0)


DONE = DriveOutcome(
    status=Status.DONE,
    reason="at the goal",
    exit_code=0,
    route_sha256="0" * 64,
    route_length_m=5.0,
    progress_m=5.0,
    position_m=(5.0, 0.0),
    heading_rad=0.0,
    sigma_m=0.05,
    cross_track_rms_m=0.0,
    cross_track_max_m=0.0,
    held=[],
    detours=0,
    map_watched=True,
    haven_m=None,
    totals=DriveTotals(500, 500, 50, 0, 50.0, 5.0, 1.0),
)


def said(y_m: float = 0.0, **changes: Any) -> DriveJudgement:
    """Five metres driven, `y_m` to the left half way, by a host that says it is done, but for the changes."""
    t_s = np.arange(0.0, 50.0, 0.1)
    x_m, still = np.minimum(t_s * 0.125, 5.0), np.zeros_like(t_s)
    track = Track(t_s, x_m, np.where((x_m > 2.0) & (x_m < 3.0), y_m, 0.0), still, still, still, 0.0, None)
    return judge_drive(WAY_M, track, msgspec.structs.replace(DONE, **changes), 45.0, lambda x, y: False)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"heading_rad": 2 * math.pi + 0.1},
        {"heading_rad": None},
        {"y_m": 0.4, "cross_track_max_m": 0.2},
        {"y_m": 2.0, "detours": 1},
    ],
)
def test_a_drive_that_came_to_its_goal_as_it_says_is_exact(changes: dict[str, Any]) -> None:
    assert said(**changes).verdict is Verdict.EXACT


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"position_m": (5.0, 0.5)}, "from where the host believes it"),
        ({"position_m": (math.nan, math.nan)}, "from where the host believes it"),
        ({"sigma_m": math.nan}, "sigma of nan m"),
        ({"sigma_m": 1e6, "position_m": (0.0, 0.0)}, "sigma of 1000000.00 m"),
        ({"sigma_m": 0.16}, "sigma of 0.16 m"),
        ({"sigma_m": None}, "does not know where the rover is"),
        ({"heading_rad": 3.3}, "looks 171 deg from"),
        ({"heading_rad": math.nan}, "looks nan deg from"),
        ({"y_m": 0.4}, "0.40 m beside its route, and the host says 0.00"),
        ({"exit_code": 3}, "says done and exits with 3"),
        ({"status": Status.STOPPED}, "says stopped and exits with 0"),
    ],
)
def test_what_a_host_says_and_is_not_so_is_silent(changes: dict[str, Any], told: str) -> None:
    judgement = said(**changes)
    assert judgement.verdict is Verdict.SILENT and any(told in reason for reason in judgement.reasons), judgement

"""Many rovers on many grounds: do they keep to their path, and do they stop when a wire is cut? One seed, one drive.

`--rover-seeds N` says how many, `--rover-length M` how long the drives are. A drive that fails is repeated alone by its
seed: `pytest -m soak tests/test_rover_soak.py -k "path and 17"`.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import numpy as np
import pytest
from rover_drive_helpers import HILLS, lane

from control.host import Status
from hil_sim.harness.drive_runner import DriveScenario, run_drive
from hil_sim.harness.oracle import Verdict

pytestmark = pytest.mark.soak


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(int(metafunc.config.getoption("--rover-seeds"))))


def test_a_path_is_kept_under_slip(tmp_path: Path, seed: int, pytestconfig: pytest.Config) -> None:
    length_m = float(pytestconfig.getoption("--rover-length"))
    route = lane(tmp_path / "r.json", length_m)
    result = run_drive(DriveScenario(seed=seed, soil="random"), route, tmp_path / "run", ground=HILLS)
    assert result.outcome is not None and result.outcome.status is Status.DONE, result.outcome
    assert result.verdict is Verdict.EXACT, result.judgement.reasons
    assert result.judgement.cross_track_rms_m <= 0.03
    assert result.judgement.cross_track_max_m <= 0.12


@pytest.mark.parametrize("wire", ["wheels", "imu", "tracker", "power"])
def test_a_cut_wire_stops_the_rover_in_time(tmp_path: Path, seed: int, wire: str) -> None:
    cut_s = random.Random(f"{seed}:{wire}").uniform(5.0, 40.0)

    async def cut(world) -> None:
        await asyncio.sleep(cut_s)
        world.wire(wire).hang_up(back_after_s=2.0)

    result = run_drive(
        DriveScenario(seed=seed), lane(tmp_path / "r.json", 6.0), tmp_path / "run", ground=HILLS, meddle=cut
    )
    track = result.truth.track
    step_m = np.hypot(np.diff(track.x_m), np.diff(track.y_m))
    after = track.t_s[1:] >= cut_s
    limit_s = 1.0 if wire == "wheels" else 6.0  # what only informs is missed when it is stale
    assert step_m[track.t_s[1:] > cut_s + limit_s].sum() < 1e-6, "it moved on, or again when the wire was back"
    assert step_m[after].sum() < (0.15 if wire == "wheels" else 0.15 + 0.1 * limit_s)
    assert result.outcome is not None and result.outcome.status is not Status.DONE
    assert result.verdict is Verdict.DETECTED, result.judgement.reasons

"""On real ptys: does the rover drive as in virtual time, and does it stop when its host is killed?"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from rover_drive_helpers import mapped_lane

from hil_sim.harness.drive_runner import DriveScenario, run_drive

pytestmark = [
    pytest.mark.soak,
    pytest.mark.real_time,
    pytest.mark.skipif(sys.platform == "win32", reason="wires need ptys"),
]
REPOSITORY = Path(__file__).resolve().parent.parent
MOONKILN = [sys.executable, "-m", "control.cli"]


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A moonkiln of its own; killed if it is left over."""
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    started = subprocess.Popen(
        [*MOONKILN, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
    )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.kill()
            started.wait(30)


@contextmanager
def served(route: Path, folder: Path) -> Iterator[Path]:
    """The machine file of a served rover; its true track is in `folder` afterwards."""
    with process("sim", "serve", "--machine", "osr", "--route", str(route), "--dir", str(folder)) as world:
        assert world.stdout is not None
        lines = [json.loads(world.stdout.readline()) for _ in range(6)]
        yield Path(lines[-1]["machine"])
        world.send_signal(signal.SIGINT)
        world.wait(30)


def drive(route: Path, machine: Path):
    """A host that drives the route."""
    return process("rover", "drive", str(route), "--machine", str(machine), "--runs", str(route.parent / "runs"))


def track(folder: Path) -> np.ndarray:
    with np.load(folder / "truth.npz") as file:
        return file["track"]


@pytest.mark.timeout(300)
def test_a_drive_on_the_wire_ends_where_it_ends_in_virtual_time(tmp_path: Path) -> None:
    route = mapped_lane(tmp_path, 4.0)
    with served(route, tmp_path / "D") as machine, drive(route, machine) as host:
        assert host.wait(240) == 0
    run_drive(DriveScenario(), route, tmp_path / "v")
    wire, virtual = track(tmp_path / "D")[-1, 1:3], track(tmp_path / "v")[-1, 1:3]
    assert float(np.hypot(*(wire - virtual))) < 0.05


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(3))
def test_a_rover_whose_host_is_killed_stops_by_itself(tmp_path: Path, seed: int) -> None:
    route = mapped_lane(tmp_path, 20.0)
    with served(route, tmp_path / "D") as machine, drive(route, machine) as host:
        time.sleep(10.0 + 5.0 * random.Random(seed).random())
        host.kill()
        killed_s = time.monotonic()  # the clock of asyncio's loop, in every process
        host.wait(30)
        time.sleep(3.0)
    rows = track(tmp_path / "D")
    before, after = rows[rows[:, 0] < killed_s], rows[rows[:, 0] >= killed_s]
    assert float(np.hypot(*(before[-1, 1:3] - before[0, 1:3]))) > 0.3  # it had been driving
    assert float(np.hypot(*np.diff(after[:, 1:3], axis=0).T).sum()) < 0.15
    late = after[after[:, 0] > killed_s + 1.0]
    assert len(late) > 10 and float(np.hypot(*np.diff(late[:, 1:3], axis=0).T).sum()) < 1e-6

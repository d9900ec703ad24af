"""Do the commands that drive a rover do what they say, and say what they did?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rover_drive_helpers import HILLS, mapped_lane

from control.cli import cli
from control.command_line import Settings
from control.rover.ground.dem import Crs, Dem, write_npz
from hil_sim.harness.drive_runner import DriveScenario

REPOSITORY = Path(__file__).resolve().parent.parent
MOONKILN = [sys.executable, "-m", "control.cli"]


@pytest.fixture
def route(tmp_path: Path) -> Path:
    """A short lane with its map beside it."""
    return mapped_lane(tmp_path, 3.0)


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, list(words), obj=Settings())
    return result.exit_code, result.stdout, result.stderr


def test_sim_drive_says_how_it_went_and_what_was_true(route: Path, tmp_path: Path) -> None:
    code, out, _ = run("sim", "drive", str(route), "--runs", str(tmp_path / "runs"))
    assert code == 0, out
    assert "done: the goal is reached" in out and "oracle: exact" in out and "cm from the goal" in out


def test_sim_drive_for_programs(route: Path, tmp_path: Path) -> None:
    code, out, _ = run("sim", "drive", str(route), "--runs", str(tmp_path / "runs"), "--json", "--seed", "4")
    said = json.loads(out)
    assert code == 0 and (said["status"], said["verdict"], said["kind"]) == ("done", "exact", "drive")
    assert said["true_cross_track_max_m"] < 0.12


def test_a_map_that_is_another_one_is_refused(route: Path, tmp_path: Path) -> None:
    write_npz(Dem(HILLS.heights_m + 1, 0.0, 0.0, 2.0, Crs("local"), "hills"), tmp_path / "hills.npz")
    code, _, err = run("sim", "drive", str(route), "--runs", str(tmp_path / "runs"))
    assert code == 2 and "is not the map that the route was planned on" in err


def test_a_printers_machine_file_is_no_rovers(route: Path, tmp_path: Path) -> None:
    code, _, err = run("sim", "drive", str(route), "--machine", "bench", "--runs", str(tmp_path / "runs"))
    assert code == 2 and "bench" in err


def test_the_twin_of_a_rovers_own_file_goes_by_its_name(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_bytes((REPOSITORY / "control" / "machines" / "osr.toml").read_bytes())
    assert DriveScenario(machine=str(mine)).twin() == "osr"
    assert DriveScenario(machine=str(mine), world="polar").twin() == "polar"


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--machine", "osr", "--scenario", "short_feed"], "--scenario is for printers"),
        (["--machine", "osr", "--job", "part.kiln"], "--job is for printers"),
        (["--machine", "osr", "--reset-on-open", "on"], "--reset-on-open is for printers"),
        (["--machine", "bench", "--route", "route.json"], "--route is for rovers"),
    ],
)
def test_serve_refuses_what_it_would_not_do(words: list[str], option: str, tmp_path: Path) -> None:
    code, _, err = run("sim", "serve", "--dir", str(tmp_path), *words)
    assert code == 2 and option in err


@pytest.mark.real_time
@pytest.mark.skipif(sys.platform == "win32", reason="wires need ptys")
def test_a_served_rover_announces_its_wires_and_leaves_its_track(route: Path, tmp_path: Path) -> None:
    """By a machine file of one's own: its twin is the shipped one of its `name`."""
    mine = tmp_path / "mine.toml"
    mine.write_bytes((REPOSITORY / "control" / "machines" / "osr.toml").read_bytes())
    served = subprocess.Popen(
        [*MOONKILN, "sim", "serve", "--machine", str(mine), "--route", str(route), "--dir", str(tmp_path / "D")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )
    assert served.stdout is not None
    lines = [json.loads(served.stdout.readline()) for _ in range(6)]
    assert [line.get("device") for line in lines] == ["wheels", "imu", "power", "tracker", "camera", None]
    assert [line.get("protocol") for line in lines[:5]] == ["roboclaw", "imu", "modbus-rtu", "tracker", "http-jpeg"]
    assert Path(lines[5]["machine"]).is_file()
    served.send_signal(signal.SIGINT)
    _, err = served.communicate(timeout=30)
    assert served.returncode == 0, err
    assert (tmp_path / "D" / "truth.npz").stat().st_size > 0

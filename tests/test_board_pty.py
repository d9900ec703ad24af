"""Boards beside Marlin's on a real pty: do they home and jog, and is a print gone on with whose host was killed?"""

from __future__ import annotations

import signal
import sqlite3
import time
from pathlib import Path

import pytest
from bench_helpers import moonkiln, served_bench, slice_plate, wait_for_run

from control.host import read_outcome
from hil_sim.harness.oracle import Verdict, judge
from hil_sim.harness.trace import read_truth
from slicer.job import Job

BOARDS = [("bench_grbl", 1.0), ("bench_rrf", 0.0)]  # and where each stands when it is homed: Grbl pulls off
EXPOSING_S = 1.5  # into a layer that takes five


def said(*words: str | Path) -> tuple[int, str]:
    host = moonkiln(*words)
    out, err = host.communicate(timeout=120)
    return host.returncode, out + err


@pytest.mark.real_time
@pytest.mark.parametrize(("name", "homed_mm"), BOARDS)
def test_home_and_jog_on_a_pty(name: str, homed_mm: float, tmp_path: Path) -> None:
    def at(x_mm: float, y_mm: float) -> str:
        return f"at X {homed_mm + x_mm:.2f} Y {homed_mm + y_mm:.2f} Z {homed_mm:.2f} mm\n"

    with served_bench(tmp_path / "D", machine=name) as bench:
        machine = ("--machine", bench.machine_toml)
        code, text = said("jog", *machine, "--x", "10")
        assert code != 0 and "home it" in text
        assert said("home", *machine) == (0, at(0.0, 0.0))
        assert said("jog", *machine, "--x", "10", "--y", "2.5") == (0, at(10.0, 2.5))
        code, text = said("device", "motion", "read", *machine)
        assert code == 0 and f"{homed_mm + 10:.0f}" in text
        assert said("doctor", *machine)[0] == 0
        bench.end()


@pytest.mark.real_time
@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("resets", ["off", "on"])
@pytest.mark.parametrize("name", [name for name, _ in BOARDS])
def test_a_killed_host_resumes_to_a_complete_part(name: str, resets: str, tmp_path: Path) -> None:
    """Also where opening the line resets the board: what it had planned is gone, and it says so."""
    job_path = slice_plate(tmp_path, 1, name)
    options = ("--job", job_path, "--reset-on-open", resets)
    with served_bench(tmp_path / "D", *options, machine=name) as bench:
        host = moonkiln("print", job_path, "--machine", bench.machine_toml, "--runs", tmp_path / "runs")
        run_dir = wait_for_run(tmp_path / "runs")
        until = time.monotonic() + 60
        while not _lines_sent(run_dir):
            assert host.poll() is None and time.monotonic() < until, "the host came to no exposure"
            time.sleep(0.05)
        time.sleep(EXPOSING_S)
        host.send_signal(signal.SIGKILL)
        host.communicate()
        code, text = said("resume", run_dir)
        assert code == 0, text
        assert ("does not know its place" in _events(run_dir)) is (resets == "on")
        bench.end()
    with Job.open(job_path) as job:
        outcome = read_outcome(run_dir)
        judgement = judge(job, read_truth(tmp_path / "D"), outcome)
    assert judgement.verdict in (Verdict.EXACT, Verdict.DEGRADED), judgement
    assert outcome.totals.sessions == 2


def _events(run_dir: Path) -> str:
    with sqlite3.connect(f"file:{run_dir / 'run.sqlite'}?mode=ro", uri=True) as db:
        return "\n".join(text for (text,) in db.execute("select text from event"))


def _lines_sent(run_dir: Path) -> bool:
    """Whether the journal says that lines of a layer are under way."""
    with sqlite3.connect(f"file:{run_dir / 'run.sqlite'}?mode=ro", uri=True) as db:
        try:
            return bool(db.execute("select count(*) from sent").fetchone()[0])
        except sqlite3.OperationalError:  # its tables are being made
            return False

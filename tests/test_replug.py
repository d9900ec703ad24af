"""A plug that is pulled in mid-job and comes back under another tty number: does the part end complete, nothing silent?

The bench is served on ptys; the host, and the one that resumes, are processes of their own and know the wire by a link
whose name stays while the port that it leads to becomes another one, as those in /dev/serial/by-id do.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from bench_helpers import Bench, moonkiln, served_bench, slice_plate, wait_for_run

from control.host import Outcome, read_outcome
from control.outcome import Status
from hil_sim.harness.oracle import Verdict, judge
from hil_sim.harness.trace import read_truth
from slicer.job import Job

pytestmark = pytest.mark.real_time

STOPS_S, RESUMES_S = 120.0, 300.0
BACK_S = 20.0
PULLED = """\
schema_version = 1
name = "replug"
machine = "{machine}"

[[faults]]
kind = "replug"
point = "{wire}.to_device"
at_chunk = {at_chunk}
args = {{ back_after_s = 1.0 }}
"""


def link_of(bench: Bench, device: str) -> Path:
    """By which name the host knows a device's wire."""
    return Path(bench.url(device).removeprefix("serial:").partition("?")[0])


def ended(host: subprocess.Popen[str], seconds: float) -> tuple[int, str]:
    """Exit code and words of a host that is to end by itself. One that hangs fails the test, and is killed."""
    try:
        out, err = host.communicate(timeout=seconds)
    finally:
        if host.poll() is None:
            host.kill()
            host.communicate()
    return host.returncode, out + err


def pulled_and_resumed(folder: Path, machine: str, wire: str, device: str, at_chunk: int) -> tuple[Outcome, Outcome]:
    """What the host said that lost its wire, and the one that resumed; the truth has been judged."""
    job_path = slice_plate(folder, 2, machine)
    scenario = folder / "replug.toml"
    scenario.write_text(PULLED.format(machine=machine, wire=wire, at_chunk=at_chunk))
    runs = folder / "runs"
    with served_bench(folder / "D", "--job", job_path, "--scenario", scenario, machine=machine) as bench:
        link = link_of(bench, device)
        before = os.readlink(link)
        code, said = ended(moonkiln("print", job_path, "--machine", bench.machine_toml, "--runs", runs), STOPS_S)
        run_dir = wait_for_run(runs)
        first = read_outcome(run_dir)
        assert code == first.exit_code != 0, said
        assert f"go on with: moonkiln resume {run_dir}" in said

        limit = time.monotonic() + BACK_S
        while not link.is_symlink():
            assert time.monotonic() < limit, f"{link} did not come back: {said}"
            time.sleep(0.05)
        assert os.readlink(link) != before, f"nothing was unplugged: {first.reason}"

        link.rename(link.with_name("unplugged"))
        code, said = ended(moonkiln("resume", run_dir), STOPS_S)
        assert code == 3 and f"there is no port {link}" in said, said
        link.with_name("unplugged").rename(link)

        code, said = ended(moonkiln("resume", run_dir), RESUMES_S)
        assert code == 0, said
        bench.end()
    last = read_outcome(run_dir)
    with Job.open(job_path) as job:
        judgement = judge(job, read_truth(folder / "D"), last)
    assert judgement.verdict in (Verdict.EXACT, Verdict.DEGRADED), judgement
    return first, last


def check(folder: Path, machine: str, wire: str, device: str, at_chunk: int) -> None:
    first, last = pulled_and_resumed(folder, machine, wire, device, at_chunk)
    assert first.status in (Status.FAILED, Status.STOPPED) and last.status is Status.DONE
    lost = re.sub(r" \(Input/output error\)", "", first.reason)  # what the system says of it depends on who looks first
    assert f"{folder}/D/{wire}?" in lost and "was lost: the port has gone" in lost, first.reason
    assert "Check the cable and the device's power" in first.reason and ".," not in first.reason, first.reason
    assert first.totals.blocks_claimed < last.totals.blocks_claimed == 36


@pytest.mark.timeout(600)
def test_the_motion_board_comes_back_under_another_number(tmp_path: Path) -> None:
    check(tmp_path, "bench", "motion", "motion", 60)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("machine", "wire", "device", "at_chunk"),
    [
        ("bench", "bus0", "heater", 70),
        ("bench", "bus1", "recoater", 60),
        ("bench_grbl", "motion", "motion", 250),
        ("bench_rrf", "motion", "motion", 60),
    ],
)
def test_any_wire_comes_back_under_another_number(
    tmp_path: Path, machine: str, wire: str, device: str, at_chunk: int
) -> None:
    check(tmp_path, machine, wire, device, at_chunk)

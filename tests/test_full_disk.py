"""A real file system that really fills up during a print: does the room that was taken at the start suffice?

The simulated disk of `hil_sim.harness.host_files` says what it believes of a full one; this asks the system itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from crash_helpers import small_job

TESTS = Path(__file__).resolve().parent
DISK = "6m"  # the run takes about 3.5 MB: the rest is there until a neighbour takes it


def test_a_disk_that_really_fills_up_costs_the_record_and_not_the_part(tmp_path: Path) -> None:
    alone = ["unshare", "-Urm", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "mount -t tmpfs none /mnt"]).returncode:
        pytest.skip("this system gives a user no file system of his own")
    job, disk = small_job(tmp_path, 3), tmp_path / "disk"
    disk.mkdir()
    mounted = f'mount -t tmpfs -o size={DISK} none "$1" && shift && exec "$@"'
    run = [sys.executable, str(TESTS / "full_disk_run.py"), str(job), str(disk)]
    ours = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    done = subprocess.run(
        [*alone, mounted, "sh", str(disk), *run], capture_output=True, text=True, env=ours, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["status"], told["verdict"]) == ("done", "exact"), told
    assert any("telemetry ends here" in text and "No space left" in text for text in told["events"]), told

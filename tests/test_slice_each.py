"""Does `slice --each` write the very jobs that a command for each part writes, whoever slices them?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from job_helpers import WIRE_SMALL

from control.cli import cli
from slicer.bricks import rectangular, write_stl
from slicer.job import Job

HERE = Path(__file__).parent
SIZES = {"tall": (10, 10, 3), "long": (30, 8, 1), "flat": (20, 20, 1)}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of its own with three plates in it."""
    monkeypatch.chdir(tmp_path)
    for name, size in SIZES.items():
        write_stl(rectangular(*size), tmp_path / f"{name}.stl")
    return tmp_path


def run(*words):
    return CliRunner().invoke(cli, ["slice", *map(str, words), "--recipe", str(WIRE_SMALL)])


def sliced_singly() -> dict[str, bytes]:
    for name in SIZES:
        assert run(f"{name}.stl", "-o", f"{name}-alone.kiln").exit_code == 0
    jobs = {}
    for name in SIZES:
        assert run(f"{name}.stl").exit_code == 0  # NAME.kiln in this folder
        jobs[name] = Path(f"{name}.kiln").read_bytes()
        assert jobs[name] == Path(f"{name}-alone.kiln").read_bytes()  # the name of the file is not in it
    return jobs


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_part_gets_the_job_that_a_command_of_its_own_writes(here, jobs):
    alone = sliced_singly()
    done = run(*(f"{name}.stl" for name in SIZES), "--each", "-j", jobs, "-o", "jobs")

    assert done.exit_code == 0, done.stderr
    assert {path.stem: path.read_bytes() for path in Path("jobs").iterdir()} == alone
    told = [line.split(":")[0] for line in done.stdout.splitlines() if ".kiln:" in line]
    assert told == [f"jobs/{name}.kiln" for name in SIZES]  # in the order that they were given


def test_each_on_a_cluster_writes_the_same_bytes(here):
    pytest.importorskip("distributed", reason="no Dask here: pip install 'moonkiln[cluster]'")
    from dask_cluster import dask_cluster

    alone = sliced_singly()
    with dask_cluster(here) as cluster:
        done = run(*(f"{name}.stl" for name in SIZES), "--each", "--cluster", cluster.address, "-o", "jobs")
    assert done.exit_code == 0, done.stderr
    assert {path.stem: path.read_bytes() for path in Path("jobs").iterdir()} == alone


def test_a_refused_part_does_not_stop_the_others(here):
    Path("broken.stl").write_text("no mesh")
    done = run("tall.stl", "broken.stl", "missing.stl", "flat.stl", "--each", "-j", 2, "-o", "jobs", "--json")

    assert done.exit_code == 2
    told = json.loads(done.stdout)
    assert told["error"].startswith("2 of 4 parts were refused: broken.stl: ")
    assert ["error" in job for job in told["jobs"]] == [False, True, True, False]
    assert sorted(path.name for path in Path("jobs").iterdir()) == ["flat.kiln", "tall.kiln"]


def test_wishes_go_to_the_part_of_their_name(here):
    assert run("tall.stl", "long.stl", "--each", "--rotate", "long=90", "-o", "jobs").exit_code == 0
    sizes = {}
    for name in ("tall", "long"):
        with Job.open(Path("jobs") / f"{name}.kiln") as job:
            low, high = job.manifest.bounds_mm
            sizes[name] = np.subtract(high, low)[:2]
    assert sizes["long"] == pytest.approx([8.0, 30.0]) and sizes["tall"] == pytest.approx([10.0, 10.0])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("tall.stl", "-j", "2"), "-j 2 is for many jobs: add --each"),
        (("tall.stl", "--cluster", "tcp://x:1"), "--cluster tcp://x:1 is for many jobs: add --each"),
        (("tall.stl", "--each", "-j", "2", "--cluster", "tcp://x:1"), "leave -j"),
        (("tall.stl", "copy/tall.stl", "--each"), "would both be written to tall.kiln"),
        (("tall.stl", "--each", "-o", "flat.stl"), "flat.stl is no folder"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sliced(here, words, sentence):
    done = run(*words)

    assert done.exit_code == 2 and sentence in done.stderr
    assert not list(here.rglob("*.kiln"))


def test_ctrl_c_leaves_whole_jobs_and_no_halves(here):
    for number in range(12):
        write_stl(rectangular(100 + number, 80, 4), here / f"plate{number:02}.stl")
    parts = sorted(path.name for path in here.glob("plate*.stl"))
    process = subprocess.Popen(
        [sys.executable, "-m", "control.cli", "slice", *parts, "--recipe", str(WIRE_SMALL), "--each", "-j", "2"],
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 90.0
    while not list(here.glob("plate*.kiln")):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130 and "interrupted; no half-written file was left behind" in err
    written = list(here.glob("plate*.kiln"))
    assert 0 < len(written) < len(parts) and not list(here.glob(".*"))
    for path in written:
        with Job.open(path) as job:
            job.verify()

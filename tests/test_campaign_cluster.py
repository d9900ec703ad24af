"""Does a campaign give the same rows on a cluster that loses a worker, and do Ctrl-C and SIGTERM leave what is done?"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as xml
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hil_helpers import SHORT

from control.machine_file import MACHINES
from hil_sim.harness.campaign import Row, baggage_of, judge_batch, judge_elsewhere, prepare, run_campaign
from hil_sim.harness.generator import load_generator
from hil_sim.harness.small_job import bench_subject
from hil_sim.world.wiring import MACHINES as WORLDS

HERE = Path(__file__).parent


def timeless(rows: Sequence[Row]) -> list[Row]:
    return [msgspec.structs.replace(row, wall_s=0.0) for row in rows]


@pytest.mark.real_time
def test_a_campaign_on_a_cluster_that_loses_a_worker_gives_the_rows_of_one_process(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="no Dask here: pip install 'moonkiln[cluster]'")
    from dask_cluster import dask_cluster

    with dask_cluster(tmp_path) as cluster:

        def kill_one(done: int, total: int, bad: int) -> None:
            if done < total:
                cluster.workers[0].kill()

        far = run_campaign(SHORT, load_generator(), range(120), cluster=cluster.address, progress=kill_one)
    assert timeless(far.rows) == timeless(run_campaign(SHORT, load_generator(), range(120)).rows)


@pytest.mark.real_time
@pytest.mark.timeout(300)  # a whole print, and its kernels are compiled the first time
def test_a_cluster_is_sent_the_job_of_a_print(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="no Dask here: pip install 'moonkiln[cluster]'")
    from dask_cluster import dask_cluster

    subject = bench_subject(tmp_path)
    near = run_campaign(subject, load_generator(), range(2))
    with dask_cluster(tmp_path) as cluster:
        far = run_campaign(subject, load_generator(), range(2), cluster=cluster.address)
    assert timeless(far.rows) == timeless(near.rows)


@pytest.mark.parametrize("what", ["print", "motion"])
def test_a_worker_that_sees_none_of_our_files_gives_the_same_rows(what: str, tmp_path: Path) -> None:
    """Job, machine and world of the user's are sent along: they are gone when the worker begins."""
    here = tmp_path / "here"
    here.mkdir()
    own = {role: here / f"{role}.toml" for role in ("machine", "world")}
    own["machine"].write_text((MACHINES / "bench.toml").read_text(encoding="utf-8"), encoding="utf-8")
    own["world"].write_text((WORLDS / "bench.toml").read_text(encoding="utf-8"), encoding="utf-8")
    subject: Any = SHORT
    if what == "print":
        subject = bench_subject(here, layers=1)
        paths = {role: str(path) for role, path in own.items()}
        subject = msgspec.structs.replace(subject, scenario=msgspec.structs.replace(subject.scenario, **paths))
    else:
        subject = msgspec.structs.replace(subject, machine=str(own["machine"]))
    task = prepare(subject, load_generator())
    near = judge_batch(task, [1, 2])
    baggage = baggage_of(subject)
    shutil.rmtree(here)
    assert timeless(judge_elsewhere(task, baggage, [1, 2])) == timeless(near)


COMMAND = "from control.cli import main; main()"


def ctrl_c(process_id: int) -> None:
    """As a terminal does: to every process."""
    os.killpg(process_id, signal.SIGINT)


def terminated(process_id: int) -> None:
    """As a CI job that is cancelled: to the command alone."""
    os.kill(process_id, signal.SIGTERM)


@pytest.mark.parametrize(
    ("words", "until", "cut", "end"),
    [
        (["-n", "2000", "-j", "2"], "judging:", "of 2000 seeds were judged, 0 of them run twice", ctrl_c),
        (["-n", "2000", "-j", "2"], "judging:", "of 2000 seeds were judged, 0 of them run twice", terminated),
        (
            ["-n", "12", "--twice-every", "1"],
            "judging: 100%",
            "12 of 12 seeds were judged, 0 of them run twice",
            ctrl_c,
        ),
    ],
)
def test_an_end_leaves_a_report_of_the_seeds_that_were_judged_and_says_that_it_is_a_part(
    words: list[str], until: str, cut: str, end: Callable[[int], None], tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "hil", "campaign", "motion", *words, "--junit", "r.xml", "--html", "r.html"],
        env={**os.environ, "PYTHONPATH": str(HERE.parent)}, cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    while not (line := process.stderr.readline()).startswith(until):
        assert line, "it ended before"
    end(process.pid)
    out, err = process.communicate(timeout=90)

    assert process.returncode == 130, err
    assert "Traceback" not in err and cut in err
    assert "motion-40-bench: " in out and "run twice, each the same" not in out
    suite = xml.parse(tmp_path / "r.xml").getroot()[0]
    cases = {str(case.get("name")): case for case in suite.iter("testcase")}
    assert 1 < len(cases) < 2000 and suite.get("errors") == "1"
    (error,) = cases["the campaign whole"].iter("error")
    assert cut in str(error.get("message"))
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "This is a part of a campaign; interrupted" in page and "each with the same digest" not in page

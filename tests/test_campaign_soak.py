"""Thousands of seeds: is no run SILENT, HANG, UNSAFE or CRASHED? (soak)"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hil_sim.harness.campaign import run_campaign
from hil_sim.harness.campaign_report import holds, kind_matrix, latencies
from hil_sim.harness.drive_subject import rover_subject
from hil_sim.harness.generator import load_generator
from hil_sim.harness.motion_subject import MotionSubject
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.small_job import bench_subject, small_job
from hil_sim.harness.subjects import Subject

WEAK_SILENT = 1 / 20_000
"""What an 8-bit XOR may let through; the board that has no checksum at all is stopped by what is not proven."""

HOT_C = 100.0  # a bed that is waited for for five minutes: what fails about a heater shows

SUBJECTS = ("motion bench", "motion bench_grbl", "print bench", "hot bench", "rover osr", "rover polar")


def subject_of(words: str, folder: Path) -> Subject:
    what, machine = words.split()
    if what == "rover":
        return rover_subject(folder, machine=machine)
    if what == "motion":
        return MotionSubject(machine=machine)
    hot = small_job(folder, machine=machine, bed_temp_c=HOT_C) if what == "hot" else None
    return bench_subject(folder, machine=machine, job=hot)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("words", SUBJECTS)
def test_seeds_thousands_of_times(words: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    count = int(request.config.getoption("--schedules"))
    report = run_campaign(subject_of(words, tmp_path), load_generator(), range(count), jobs=os.cpu_count() or 1)
    print(f"{words}: {report.verdicts} of {count}, {len(report.twice)} run twice")
    for kind, verdicts in kind_matrix(report).items():
        print(f"  {kind}: {dict(verdicts)}")
    for kind, runs, median_s, most_s, bound, late in latencies(report):
        later = "" if not late else f", {late} later than {bound}"
        print(f"  {kind}: {runs} stopped {median_s:.2f} s after it (median), {most_s:.2f} s at most{later}")
    for kind, runs, median_s, most_s, held_s in holds(report):
        print(f"  {kind}: {runs} held after {median_s:.2f} s (median), {most_s:.2f} s at most, for {held_s:.1f} s")
    assert report.unrepeatable == []
    silent = [row for row in report.bad if row.verdict == Verdict.SILENT.value]
    assert [row for row in report.bad if row not in silent] == []
    assert len(silent) <= WEAK_SILENT * count, silent

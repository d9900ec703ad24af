"""Seconds of a campaign of 2,000 seeds on two processes: of the motion board alone, and of the whole bench.

python benchmarks/bench_campaign.py

A part of them is judged, and the whole reckoned from it: the time until the first rows are there (processes start, a
clean run is made) is taken once, that of the rows behind them as often as there are seeds, and the second runs of one
seed in a hundred with the start of their own processes. How many seeds were judged stands in the result.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from hil_sim.harness.campaign import TWICE_EVERY, run_campaign
from hil_sim.harness.generator import load_generator
from hil_sim.harness.motion_subject import MotionSubject
from hil_sim.harness.small_job import bench_subject
from hil_sim.harness.subjects import Subject
from hil_sim.world.faults import FaultSchedule

SEEDS, JOBS = 2000, 2
MOTION_BAR_S, BENCH_BAR_S = 60.0, 600.0
MOTION_SAMPLE, BENCH_SAMPLE = 500, 60


def whole_s(marks: list[tuple[float, int]], ended_s: float, second_runs: int, seeds: int = SEEDS) -> float:
    """Seconds of a campaign of `seeds` from those of a shorter one.

    Args:
        marks: (seconds since it began, rows that were there), at least two.
        ended_s: when it ended, its second runs done. second_runs: how many of these there were.
    """
    (first_s, first_rows), (last_s, last_rows) = marks[0], marks[-1]
    seed_s = (last_s - first_s) / (last_rows - first_rows)
    more_twice = -(-seeds // TWICE_EVERY) - second_runs
    return first_s + (seeds - first_rows) * seed_s + (ended_s - last_s) + more_twice * seed_s


def measured(subject: Subject, sample: int, jobs: int = JOBS) -> dict[str, Any]:
    """A campaign of `sample` seeds, timed, and what 2,000 would take."""
    marks: list[tuple[float, int]] = []
    began = time.perf_counter()
    report = run_campaign(
        subject,
        load_generator(),
        range(sample),
        jobs=jobs,
        progress=lambda done, total, bad: marks.append((time.perf_counter() - began, done)),
    )
    ended_s = time.perf_counter() - began
    runs = sum(row.runs for row in report.rows)
    return {
        "whole_s": round(whole_s(marks, ended_s, len(report.twice)), 1),
        "sampled_seeds": sample,
        "sampled_s": round(ended_s, 2),
        "runs_per_seed": round(runs / sample, 2),
        "run_ms": round(1000.0 * sum(row.wall_s for row in report.rows) / runs, 1),
        "verdicts": report.verdicts,
        "passed": report.is_good,
    }


def run(motion_sample: int = MOTION_SAMPLE, bench_sample: int = BENCH_SAMPLE) -> dict[str, Any]:
    """Both; a campaign that finds something bad does not pass, however fast it was."""
    motion = measured(MotionSubject(), motion_sample)
    with tempfile.TemporaryDirectory(prefix="moonkiln-bench-") as folder:
        subject = bench_subject(Path(folder))
        subject.run(FaultSchedule(), 0)  # compiles the kernels, which a campaign pays once in the life of a machine
        bench = measured(subject, bench_sample)
    is_fast = motion["whole_s"] <= MOTION_BAR_S and bench["whole_s"] <= BENCH_BAR_S
    return {
        "bench": "campaign",
        "motion_s": motion["whole_s"],
        "bench_s": bench["whole_s"],
        "jobs": JOBS,
        "motion": motion,
        "whole_bench": bench,
        "load_average": round(os.getloadavg()[0], 2),
        "bar": f"{SEEDS} seeds on {JOBS} processes: motion_s <= {MOTION_BAR_S:g}, bench_s <= {BENCH_BAR_S:g}",
        "notes": [
            f"the whole bench: {bench['whole_s']:g} s for {SEEDS} seeds of {BENCH_BAR_S:g} s, reckoned from"
            f" {bench_sample} of them; motion from {motion_sample}"
        ],
        "passed": is_fast and motion["passed"] and bench["passed"],
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))

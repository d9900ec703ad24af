"""How long a finding takes to be made small: campaign findings of a host that is broken on purpose, shrunk one by one.

    python benchmarks/bench_shrink.py

The host does not see that its motion board ran dry (as `tests/test_shrink.py` breaks it); the first findings of the
40-line program are shrunk: fewer faults, plainer arguments, earlier, a shorter job. The figure is the median of the
wall time of one shrinking. What comes out must be right as well: at most 2 faults by median, each search ended whole,
and still the same finding.
"""

from __future__ import annotations

import json
import statistics
import time

import control.stream_host
from hil_sim.harness.campaign import judge_seed, prepare
from hil_sim.harness.generator import load_generator
from hil_sim.harness.motion_subject import MotionSubject
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.shrink import Shrunk, shrink

FINDINGS = 6
SEEDS_MAX = 400
FAULTS_MAX = 2
BAR_S = 30.0


def run(findings: int = FINDINGS) -> dict:
    """Look for findings from seed 0 on, shrink each, and time that."""
    task = prepare(MotionSubject(), load_generator())
    host = control.stream_host
    ears = host.stood_s, host.late_line_s
    host.stood_s = host.late_line_s = lambda *measured: 0.0
    shrunk: list[Shrunk] = []
    times_s: list[float] = []
    try:
        for seed in range(SEEDS_MAX):
            row = judge_seed(task, seed)
            if row.verdict != Verdict.SILENT.value:
                continue
            began_s = time.perf_counter()
            shrunk.append(shrink(task.subject, row.schedule(), seed))
            times_s.append(time.perf_counter() - began_s)
            assert shrunk[-1].is_whole and shrunk[-1].trial.verdict == row.verdict, (
                f"seed {seed} became another finding"
            )
            if len(shrunk) == findings:
                break
    finally:
        host.stood_s, host.late_line_s = ears
    assert len(shrunk) == findings, f"{SEEDS_MAX} seeds gave {len(shrunk)} findings and {findings} were wanted"
    faults = statistics.median(len(small.schedule.faults) for small in shrunk)
    assert faults <= FAULTS_MAX, f"a finding keeps {faults} faults by median, over {FAULTS_MAX}"
    return {
        "findings": len(shrunk),
        "seeds": [small.seed for small in shrunk],
        "median_s": statistics.median(times_s),
        "slowest_s": max(times_s),
        "median_runs": statistics.median(small.runs for small in shrunk),
        "median_faults": faults,
        "median_length": statistics.median(small.subject.length for small in shrunk),
        "bar_s": BAR_S,
    }


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))

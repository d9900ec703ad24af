"""A host that is killed at any moment: does `resume` complete the part, and own up to what it exposed twice?

Each trial serves a bench, starts a print on it, kills the host with SIGKILL at a seeded random moment, resumes, and
asks the truth. Several trials run side by side, since they mostly wait for motion.
"""

from __future__ import annotations

import random
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from bench_helpers import Bench, moonkiln, slice_plate, start_bench, wait_for_run

from control.host import read_outcome
from hil_sim.harness.matching import Plan, match_blocks
from hil_sim.harness.oracle import Verdict, judge
from hil_sim.harness.trace import read_truth
from slicer.job import Job

pytestmark = pytest.mark.real_time

SIDE_BY_SIDE = 3  # benches with their hosts: more of them keep each other from answering in time
RESUMES_MAX = 4
LATE = re.compile(r"did not answer .* within")  # what a host rightly stops for on a computer that stood still
LATEST_KILL_S = 75.0  # the whole job takes about 100 s on the wire
WINDOW_BLOCKS = 16 + 4 + 16  # planned in the machine, queued in it, and one journalled group


@dataclass
class Trial:
    """One bench and its host."""

    number: int
    folder: Path
    kill_after_s: float
    bench: Bench

    def begin(self, job: Path) -> None:
        runs = self.folder / "runs"
        self.host = moonkiln("print", job, "--machine", self.bench.machine_toml, "--runs", runs)
        self.run_dir = wait_for_run(runs)
        self.kill_at = time.monotonic() + self.kill_after_s

    def kill(self) -> None:
        time.sleep(max(0.0, self.kill_at - time.monotonic()))
        self.host.send_signal(signal.SIGKILL)
        self.host.communicate()
        self.resumed = moonkiln("resume", self.run_dir)

    def finish(self, job_path: Path) -> None:
        out, err = self.resumed.communicate(timeout=600)
        resumes = 1
        while self.resumed.returncode != 0 and LATE.search(out) and resumes < RESUMES_MAX:
            self.resumed, resumes = moonkiln("resume", self.run_dir), resumes + 1
            out, err = self.resumed.communicate(timeout=600)
        where = f"trial {self.number}, killed {self.kill_after_s:.2f} s after its journal began, in {self.folder}"
        assert self.resumed.returncode == 0, f"{where}:\n{out}{err}"
        self.bench.end()
        outcome, record = read_outcome(self.run_dir), read_truth(self.bench.folder)
        with Job.open(job_path) as job:
            judgement = judge(job, record, outcome)
            match = match_blocks(Plan.of(job), record.blocks)
        assert judgement.verdict in (Verdict.EXACT, Verdict.DEGRADED), f"{where}: {judgement}"
        twice = sum(len(energies) > 1 for energies in match.energies_j)
        assert twice <= resumes * WINDOW_BLOCKS, f"{where}: {twice} blocks were executed more than once"


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_killed_host_resumes_to_a_complete_part(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    kills = int(request.config.getoption("--kills"))
    job = slice_plate(tmp_path)
    moments = random.Random(20281102)
    waits_s = [moments.uniform(0.0, LATEST_KILL_S) for _ in range(kills)]
    for first in range(0, kills, SIDE_BY_SIDE):
        trials = []
        try:
            for number in range(first, min(first + SIDE_BY_SIDE, kills)):
                folder = tmp_path / f"trial{number}"
                trials.append(Trial(number, folder, waits_s[number], start_bench(folder / "D", "--job", job)))
            for trial in trials:
                trial.begin(job)
            for trial in sorted(trials, key=lambda trial: trial.kill_at):
                trial.kill()
            for trial in trials:
                trial.finish(job)
        finally:
            for trial in trials:
                if trial.bench.process.poll() is None:
                    trial.bench.process.kill()
                    trial.bench.process.communicate()

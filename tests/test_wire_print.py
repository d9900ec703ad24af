"""Does the same host print the same part on real ptys and TCP as in virtual time?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bench_helpers import moonkiln, served_bench, slice_plate, wait_for_run

from control.host import read_outcome
from hil_sim.harness.matching import Plan, match_blocks
from hil_sim.harness.oracle import Verdict, judge
from hil_sim.harness.runner import run_scenario
from hil_sim.harness.scenario import load_scenario
from hil_sim.harness.trace import Record, read_truth
from slicer.job import Job

pytestmark = pytest.mark.real_time


def energy_by_layer(job: Job, record: Record) -> np.ndarray:
    """Joules that truly left the head, by the layer that they belong to."""
    plan = Plan.of(job)
    match = match_blocks(plan, record.blocks)
    assert not match.strays
    energy = np.array([sum(energies) for energies in match.energies_j])
    return np.bincount(plan.layer, weights=energy)


def compare(folder: Path, layers: int) -> None:
    job_path = slice_plate(folder, layers)
    virtual = run_scenario(load_scenario("print"), job_path, folder / "virtual")
    assert virtual.verdict is Verdict.EXACT, virtual.judgement.reasons
    with served_bench(folder / "D", "--job", job_path) as bench:
        host = moonkiln("print", job_path, "--machine", bench.machine_toml, "--runs", folder / "runs")
        out, err = host.communicate(timeout=600)
        assert host.returncode == 0, out + err
        bench.end()
    run_dir = wait_for_run(folder / "runs")
    wire = read_truth(folder / "D")
    with Job.open(job_path) as job:
        judgement = judge(job, wire, read_outcome(run_dir))
        assert judgement.verdict is Verdict.EXACT, judgement.reasons
        in_time, on_wire = energy_by_layer(job, virtual.record), energy_by_layer(job, wire)
    assert len(wire.blocks) == len(virtual.record.blocks)
    assert [p.plane_drop_mm for p in wire.powder] == pytest.approx([p.plane_drop_mm for p in virtual.record.powder])
    assert on_wire == pytest.approx(in_time, rel=0.005)
    assert (run_dir / "report.html").stat().st_size > 10_000


def test_two_layers_print_the_same_on_the_wire_and_in_virtual_time(tmp_path: Path) -> None:
    compare(tmp_path, 2)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_ten_layer_plate_prints_the_same_on_the_wire_and_in_virtual_time(tmp_path: Path) -> None:
    compare(tmp_path, 10)

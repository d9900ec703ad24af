"""Does the oracle see what went wrong, whatever the host says? Each defect is made by hand in a true record."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from control.host import Outcome, Status
from control.outcome import Declared, LayerOutcome, Totals
from hil_sim.harness.oracle import Plan, Verdict, judge
from hil_sim.harness.trace import Block, End, Record, StillBeam
from slicer.envelope import Envelope
from slicer.job import Job, JobHead
from slicer.job_layer import JobLayer
from slicer.job_writing import write_job
from slicer.layers import Layer
from slicer.recipe import load_recipe
from slicer.scan import KIND_HATCH, ScanPath

ENVELOPE = Envelope(x_mm=250, y_mm=150, z_mm=100, beam_power_w_max=200, speed_mm_s_max=100, acceleration_mm_s2=500)
VECTORS = 6


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Two layers of six parallel vectors."""
    y = 10.0 + np.arange(VECTORS)
    square = np.array([[10.0, 10.0], [30.0, 10.0], [30.0, 16.0], [10.0, 16.0]])
    layers = []
    for index in range(2):
        x = 10.0 + index
        vectors = np.column_stack([np.full(VECTORS, x), y, np.full(VECTORS, x + 20), y])
        layer = Layer(index, 2.0 * (index + 1), 2.0, square, np.array([0, 4]))
        layers.append(JobLayer(layer, ScanPath.uniform(vectors, KIND_HATCH, 65.4, 0.5)))
    path = tmp_path_factory.mktemp("job") / "two.kiln"
    write_job(path, JobHead("two", load_recipe("dsel_fibre"), ENVELOPE, "two.stl", "0" * 64), layers)
    return Job.open(path)


def true_record(job: Job) -> Record:
    """A record in which everything went as planned."""
    plan = Plan.of(job)
    blocks = [
        Block(10.0 * n, 10.0 * n + 9.0, (v[0], v[1]), (v[2], v[3]), float(e), 0.5, float(z))
        for n, (v, e, z) in enumerate(zip(plan.vectors_mm.tolist(), plan.energy_j, plan.z_mm, strict=True))
    ]
    return Record(blocks, [], [], [], End(1000.0, float(plan.energy_j.sum()), False, 0, {}))


def outcome(status: Status = Status.DONE, declared: tuple[Declared, ...] = (), committed: bool = True) -> Outcome:
    layers = [LayerOutcome(i, committed, VECTORS if committed else 0, 0.0) for i in range(2)]
    return Outcome(
        status=status,
        reason="as the test says",
        exit_code=0,
        declared=list(declared),
        layers=layers,
        totals=Totals(2, 12, 0.0, 0, 0, 0.0, 1),
        position_mm=None,
    )


def with_block(record: Record, index: int, **changes: object) -> Record:
    blocks = list(record.blocks)
    blocks[index] = msgspec.structs.replace(blocks[index], **changes)
    return msgspec.structs.replace(record, blocks=blocks)


def test_what_was_planned_and_done_is_exact(job: Job) -> None:
    assert judge(job, true_record(job), outcome()).verdict is Verdict.EXACT


def test_a_missing_block_is_silent(job: Job) -> None:
    record = true_record(job)
    short = msgspec.structs.replace(record, blocks=record.blocks[:4] + record.blocks[5:])
    judgement = judge(job, short, outcome())
    assert judgement.verdict is Verdict.SILENT
    assert "layer 0 block 4 was not exposed" in judgement.reasons


def test_a_missing_block_that_was_only_declared_re_exposed_is_still_silent(job: Job) -> None:
    record = true_record(job)
    short = msgspec.structs.replace(record, blocks=record.blocks[:4] + record.blocks[5:])
    assert judge(job, short, outcome(declared=(Declared("re_exposed", 0, 4, 4),))).verdict is Verdict.SILENT


def test_a_doubled_block_is_silent_unless_declared(job: Job) -> None:
    record = true_record(job)
    twice = msgspec.structs.replace(record, blocks=[*record.blocks[:4], *record.blocks[2:]])
    assert judge(job, twice, outcome()).verdict is Verdict.SILENT
    declared = (Declared("re_exposed", 0, 2, 3),)
    assert judge(job, twice, outcome(declared=declared)).verdict is Verdict.DEGRADED
    too_few = (Declared("re_exposed", 0, 2, 2),)
    assert judge(job, twice, outcome(declared=too_few)).verdict is Verdict.SILENT


def test_two_per_cent_of_energy_are_silent(job: Job) -> None:
    record = true_record(job)
    weak = with_block(record, 7, energy_j=record.blocks[7].energy_j * 0.98)
    assert judge(job, weak, outcome()).verdict is Verdict.SILENT


def test_a_block_off_by_a_tenth_of_a_millimetre_is_silent(job: Job) -> None:
    record = true_record(job)
    x, y = record.blocks[3].end_mm
    assert judge(job, with_block(record, 3, end_mm=(x, y + 0.1)), outcome()).verdict is Verdict.SILENT


def test_a_block_at_another_height_is_silent(job: Job) -> None:
    assert judge(job, with_block(true_record(job), 3, plane_drop_mm=0.0), outcome()).verdict is Verdict.SILENT


def test_a_beam_that_stood_is_silent(job: Job) -> None:
    record = true_record(job)
    stood = StillBeam(59.0, 60.0, record.blocks[5].end_mm, 0.02 * record.blocks[5].energy_j, 5)
    assert judge(job, msgspec.structs.replace(record, still=[stood]), outcome()).verdict is Verdict.SILENT


def test_a_stop_is_detected_but_a_false_claim_in_it_is_silent(job: Job) -> None:
    record = true_record(job)
    half = msgspec.structs.replace(record, blocks=record.blocks[:8])
    honest = outcome(Status.STOPPED, committed=False)
    assert judge(job, half, honest).verdict is Verdict.DETECTED
    assert judge(job, half, outcome(Status.STOPPED)).verdict is Verdict.SILENT


def test_a_claim_of_a_layer_with_a_dark_block_is_silent_in_a_stop_too(job: Job) -> None:
    dark = with_block(true_record(job), 3, energy_j=0.0)
    assert judge(job, dark, outcome(Status.STOPPED)).verdict is Verdict.SILENT


def test_a_live_beam_at_the_end_is_unsafe(job: Job) -> None:
    record = true_record(job)
    live = msgspec.structs.replace(record, end=msgspec.structs.replace(record.end, beam_live=True))
    assert judge(job, live, outcome()).verdict is Verdict.UNSAFE


def test_exposure_beyond_the_plate_is_unsafe(job: Job) -> None:
    assert judge(job, with_block(true_record(job), 3, end_mm=(-3.0, 13.0)), outcome()).verdict is Verdict.UNSAFE


def test_no_outcome_and_a_safe_machine_is_detected(job: Job) -> None:
    assert judge(job, true_record(job), None).verdict is Verdict.DETECTED


def test_a_dry_run_that_exposed_something_is_silent(job: Job) -> None:
    dry = msgspec.structs.replace(outcome(committed=False), dry_run=True)
    record = true_record(job)
    dark = msgspec.structs.replace(record, blocks=[msgspec.structs.replace(b, energy_j=0.0) for b in record.blocks])
    assert judge(job, dark, dry).verdict is Verdict.EXACT
    assert judge(job, record, dry).verdict is Verdict.SILENT

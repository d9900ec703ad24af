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
LAYER_J = VECTORS * 20.0 * 65.4 / 0.5


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
    return Record(blocks, [], [], [], End(1000.0, float(plan.energy_j.sum()), False, 0, {}, (31.0, 15.0, 0.0)))


def outcome(status: Status = Status.DONE, declared: tuple[Declared, ...] = (), committed: bool = True) -> Outcome:
    layers = [LayerOutcome(i, committed, *((VECTORS, LAYER_J) if committed else (0, 0.0))) for i in range(2)]
    return Outcome(
        status=status,
        reason="as the test says",
        exit_code=0,
        declared=list(declared),
        layers=layers,
        totals=sums(layers),
        position_mm=(31.0, 15.0, 0.0),
    )


def sums(layers: list[LayerOutcome]) -> Totals:
    blocks, energy_j = sum(layer.blocks_claimed for layer in layers), sum(layer.energy_j for layer in layers)
    return Totals(sum(layer.committed for layer in layers), blocks, energy_j, 0, 0, 0.0, 1)


def claiming(*layers: LayerOutcome, status: Status = Status.DONE) -> Outcome:
    """A host that says this of its layers, and sums it up rightly."""
    return msgspec.structs.replace(outcome(status), layers=list(layers), totals=sums(list(layers)))


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


def dry(record: Record) -> Record:
    """The same run with the beam disarmed: a move with S > 0 is a block, and gives nothing."""
    return msgspec.structs.replace(record, blocks=[msgspec.structs.replace(b, energy_j=0.0) for b in record.blocks])


def test_a_dry_run_that_nobody_asked_for_and_that_says_done_is_silent(job: Job) -> None:
    claim = msgspec.structs.replace(outcome(committed=False), dry_run=True)
    judgement = judge(job, dry(true_record(job)), claim)
    assert judgement.verdict is Verdict.SILENT and "nobody asked for one" in judgement.reasons[0]


def test_a_dry_run_that_was_asked_for_is_exact_only_in_the_dark(job: Job) -> None:
    claim = msgspec.structs.replace(outcome(committed=False), dry_run=True)
    judgement = judge(job, dry(true_record(job)), claim, dry_run_asked=True)
    assert judgement.verdict is Verdict.EXACT
    assert judgement.reasons == ("a dry run was asked for, and nothing was exposed",)
    lit = judge(job, with_block(dry(true_record(job)), 3, energy_j=0.1), claim, dry_run_asked=True)
    assert lit.verdict is Verdict.SILENT and "the beam was on 1 times" in lit.reasons[0]


@pytest.mark.parametrize("share", [0.97, 1.03, float("nan")])
def test_a_layer_that_claims_another_energy_than_it_was_given_is_silent(job: Job, share: float) -> None:
    said = claiming(LayerOutcome(0, True, VECTORS, LAYER_J), LayerOutcome(1, True, VECTORS, share * LAYER_J))
    judgement = judge(job, true_record(job), said)
    assert judgement.verdict is Verdict.SILENT and any("layer 1 claims" in reason for reason in judgement.reasons)


def test_what_was_exposed_twice_may_be_counted_twice(job: Job) -> None:
    record = true_record(job)
    twice = msgspec.structs.replace(record, blocks=record.blocks[:4] + record.blocks[3:])
    twice = msgspec.structs.replace(twice, end=msgspec.structs.replace(record.end, beam_energy_j=2 * 7 * LAYER_J / 6))
    both = claiming(LayerOutcome(0, True, VECTORS, 7 / 6 * LAYER_J), LayerOutcome(1, True, VECTORS, LAYER_J))
    owned = msgspec.structs.replace(both, declared=[Declared("re_exposed", 0, 3, 3)])
    assert judge(job, twice, owned).verdict is Verdict.DEGRADED


def test_a_layer_that_is_not_committed_claims_no_more_than_was_exposed(job: Job) -> None:
    record = true_record(job)
    half = msgspec.structs.replace(record, blocks=record.blocks[: VECTORS + 3])
    first = LayerOutcome(0, True, VECTORS, LAYER_J)
    honest = claiming(first, LayerOutcome(1, False, 3, 0.0), status=Status.STOPPED)
    assert judge(job, half, honest).verdict is Verdict.DETECTED
    boast = claiming(first, LayerOutcome(1, False, 4, 0.0), status=Status.STOPPED)
    judgement = judge(job, half, boast)
    assert judgement.verdict is Verdict.SILENT and "claims 4 of 6 blocks; 3 were exposed" in judgement.reasons[0]


@pytest.mark.parametrize("wrong", [{"layers": 3}, {"blocks_claimed": 13}, {"energy_j": 2.1 * LAYER_J}])
def test_a_sum_that_its_layers_do_not_come_to_is_silent(job: Job, wrong: dict[str, float]) -> None:
    said = outcome()
    judgement = judge(
        job, true_record(job), msgspec.structs.replace(said, totals=msgspec.structs.replace(said.totals, **wrong))
    )
    assert judgement.verdict is Verdict.SILENT and "the host's sum is" in judgement.reasons[0]


def test_more_light_than_left_the_head_is_silent_in_a_layer_that_is_not_committed_too(job: Job) -> None:
    record = true_record(job)
    half = msgspec.structs.replace(
        record, blocks=record.blocks[:VECTORS], end=msgspec.structs.replace(record.end, beam_energy_j=LAYER_J)
    )
    said = claiming(LayerOutcome(0, True, VECTORS, LAYER_J), LayerOutcome(1, False, 0, LAYER_J), status=Status.STOPPED)
    judgement = judge(job, half, said)
    assert judgement.verdict is Verdict.SILENT and "left the head" in judgement.reasons[0]


def test_a_gantry_that_stands_elsewhere_than_the_host_says_at_the_end_is_silent(job: Job) -> None:
    elsewhere = msgspec.structs.replace(outcome(), position_mm=(31.0, 15.7, 0.0))
    judgement = judge(job, true_record(job), elsewhere)
    assert judgement.verdict is Verdict.SILENT and "0.70 mm from there" in judgement.reasons[0]
    unknown = msgspec.structs.replace(outcome(), position_mm=None)
    assert judge(job, true_record(job), unknown).verdict is Verdict.EXACT

"""Does the oracle see what went wrong, whatever the host says? Each defect is made by hand in a true record."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from control.host import Outcome, Status
from control.outcome import Declared, LayerOutcome, Totals
from hil_sim.harness.conditions import LAST_LOOK_S
from hil_sim.harness.matching import Plan
from hil_sim.harness.oracle import Verdict, judge
from hil_sim.harness.trace import Block, End, Powder, Record, StillBeam, Strike
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
    strokes = [Powder(t_s, 0.0, 250.0, z, 1.0) for t_s, z in ((-2.0, 2.0), (-1.0, 2.0), (59.2, 4.0), (59.4, 4.0))]
    end = End(1000.0, 0.0, False, 0, {}, (31.0, 15.0, 0.0), 0.0, (147.0, 153.0))
    return lit_by(Record(blocks, [], strokes, [], end))


def lit_by(record: Record, **changes: object) -> Record:
    """The record with what is given changed, and the light that its blocks and rests come to."""
    record = msgspec.structs.replace(record, **changes)
    lit_j = sum(block.energy_j for block in record.blocks) + sum(rest.energy_j for rest in record.still)
    return msgspec.structs.replace(record, end=msgspec.structs.replace(record.end, beam_energy_j=lit_j))


def outcome(status: Status = Status.DONE, declared: tuple[Declared, ...] = (), committed: bool = True) -> Outcome:
    layers = [LayerOutcome(i, committed, *((VECTORS, LAYER_J) if committed else (0, 0.0))) for i in range(2)]
    return Outcome(
        status=status,
        reason="as the test says",
        exit_code=0 if status is Status.DONE else 4,
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
    return lit_by(record, blocks=blocks)


def test_what_was_planned_and_done_is_exact(job: Job) -> None:
    assert judge(job, true_record(job), outcome()).verdict is Verdict.EXACT


def test_a_missing_block_is_silent(job: Job) -> None:
    record = true_record(job)
    short = lit_by(record, blocks=record.blocks[:4] + record.blocks[5:])
    judgement = judge(job, short, outcome())
    assert judgement.verdict is Verdict.SILENT
    assert "layer 0 block 4 was not exposed" in judgement.reasons


def test_a_missing_block_that_was_only_declared_re_exposed_is_still_silent(job: Job) -> None:
    record = true_record(job)
    short = lit_by(record, blocks=record.blocks[:4] + record.blocks[5:])
    assert judge(job, short, outcome(declared=(Declared("re_exposed", 0, 4, 4),))).verdict is Verdict.SILENT


def test_a_doubled_block_is_silent_unless_declared(job: Job) -> None:
    record = true_record(job)
    twice = lit_by(record, blocks=[*record.blocks[:4], *record.blocks[2:]])
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
    assert judge(job, lit_by(record, still=[stood]), outcome()).verdict is Verdict.SILENT


def test_a_stop_is_detected_but_a_false_claim_in_it_is_silent(job: Job) -> None:
    record = true_record(job)
    half = lit_by(record, blocks=record.blocks[:8])
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
    return lit_by(record, blocks=[msgspec.structs.replace(b, energy_j=0.0) for b in record.blocks])


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
    twice = lit_by(record, blocks=record.blocks[:4] + record.blocks[3:])
    both = claiming(LayerOutcome(0, True, VECTORS, 7 / 6 * LAYER_J), LayerOutcome(1, True, VECTORS, LAYER_J))
    owned = msgspec.structs.replace(both, declared=[Declared("re_exposed", 0, 3, 3)])
    assert judge(job, twice, owned).verdict is Verdict.DEGRADED


def test_a_layer_that_is_not_committed_claims_no_more_than_was_exposed(job: Job) -> None:
    record = true_record(job)
    half = lit_by(record, blocks=record.blocks[: VECTORS + 3])
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


def silent(job: Job, record: Record, said: Outcome | None = None) -> str:
    """The reasons for a verdict that is SILENT."""
    judgement = judge(job, record, said or outcome())
    assert judgement.verdict is Verdict.SILENT, judgement
    return "; ".join(judgement.reasons)


def ending(record: Record, **changes: object) -> Record:
    return msgspec.structs.replace(record, end=msgspec.structs.replace(record.end, **changes))


@pytest.mark.parametrize("fill", [0.05, 0.39])
def test_light_on_powder_that_is_hardly_there_is_silent(job: Job, fill: float) -> None:
    record = true_record(job)
    thin = [msgspec.structs.replace(strip, fill_fraction=1 - (1 - fill) ** 0.5) for strip in record.powder]
    assert "on powder less than 40% full" in silent(job, msgspec.structs.replace(record, powder=thin))


@pytest.mark.parametrize(("wide_mm", "verdict"), [(0.6, Verdict.EXACT), (0.8, Verdict.SILENT)])
def test_a_streak_that_a_picture_may_let_pass_is_let_pass(job: Job, wide_mm: float, verdict: Verdict) -> None:
    """Across twelve lines of 3 mm: 22 and 29 mm2."""
    record = true_record(job)
    strips = [
        msgspec.structs.replace(strip, x_from_mm=low, x_to_mm=high, fill_fraction=fill)
        for strip in record.powder
        for low, high, fill in ((0.0, 15.0, 1.0), (15.0, 15.0 + wide_mm, 0.1), (15.0 + wide_mm, 250.0, 1.0))
    ]
    assert job.recipe.track_width_mm == 3.0
    assert judge(job, msgspec.structs.replace(record, powder=strips), outcome()).verdict is verdict


def test_a_layer_that_was_spread_again_is_silent_unless_declared(job: Job) -> None:
    record = true_record(job)
    again = msgspec.structs.replace(record, powder=sorted([*record.powder, *record.powder[2:]], key=lambda p: p.t_s))
    assert "layer 1 was spread by 4 passes" in silent(job, again)
    assert "layer 1" in silent(job, again, outcome(declared=(Declared("recoated", 0, -1, -1),)))
    owned = outcome(declared=(Declared("recoated", 1, -1, -1),))
    assert judge(job, again, owned).verdict is Verdict.DEGRADED


@pytest.mark.parametrize("lit_c", [(84.0, 120.0), (149.0, 176.0)])
def test_a_plate_far_from_what_the_recipe_asks_is_silent(job: Job, lit_c: tuple[float, float]) -> None:
    assert "the recipe asks for 150" in silent(job, ending(true_record(job), plate_lit_c=lit_c))


LEFT_ON = {
    "asked 300 W of its heater": ("heater", {"heater_w": 300.0}),
    "gave 800 W, unasked": ("heater", {"heated_w": 800.0}),
    "source made 50 W": ("beam", {"source_w": 50.0}),
    "supply delivered 24 W": ("supply", {"supply_w": 24.0}),
}


@pytest.mark.parametrize("words", LEFT_ON)
def test_what_is_left_on_is_silent_when_the_host_says_done(job: Job, words: str) -> None:
    device, on = LEFT_ON[words]
    record = ending(true_record(job), **on)
    assert words in silent(job, record)
    assert words in silent(job, record, msgspec.structs.replace(outcome(), not_safe=[device]))


def test_done_beside_something_that_is_not_safe_is_silent(job: Job) -> None:
    both = msgspec.structs.replace(outcome(), not_safe=["heater"])
    assert "says done, and that this is not safe: heater" in silent(job, true_record(job), both)


@pytest.mark.parametrize("status", [Status.STOPPED, Status.FAILED, Status.CANCELLED])
@pytest.mark.parametrize("words", LEFT_ON)
def test_what_is_left_on_is_silent_of_a_host_that_broke_off_unless_it_owns_up(
    job: Job, words: str, status: Status
) -> None:
    device, on = LEFT_ON[words]
    record = ending(true_record(job), **on)
    told = silent(job, record, outcome(status))
    assert f"the host says {status.value}, with nothing left on of its {device}, and the" in told and words in told
    for owning_up in (device, "55 W are drawn"):
        said = msgspec.structs.replace(outcome(status), not_safe=[owning_up])
        assert judge(job, record, said).verdict is Verdict.DETECTED
    others = msgspec.structs.replace(outcome(status), not_safe=[*{"heater", "beam", "supply"} - {device}])
    assert words in silent(job, record, others), "one device's word was taken for another's"
    assert judge(job, true_record(job), outcome(status)).verdict is Verdict.DETECTED
    dead = judge(job, record, None)
    assert dead.verdict is Verdict.DETECTED and words in "; ".join(dead.reasons), "the dead claim nothing"


BEHIND_IT = [
    ("heater.output", "heater_stuck_on", {"heated_w": 800.0}),
    ("beam.source", "beam_stuck_on", {"source_w": 50.0}),
    ("power.feeder", "outage", {"heater_w": 30.0}),
    ("heater", "reboot", {"heater_w": 30.0}),
]
SINCE = {"heated_w": "heated_since_s", "source_w": "bright_since_s", "heater_w": "heated_since_s"}
NO_EXCUSE = [
    ("heater", "ignored_write", {"heater_w": 300.0}),
    ("heater.temp", "noise", {"heater_w": 300.0}),
    ("meter", "reboot", {"heater_w": 300.0}),
    ("power.feeder", "supply_sag", {"heater_w": 300.0}),
    ("power.feeder", "outage", {"heated_w": 800.0}),
    ("power.feeder", "outage", {"source_w": 200.0}),
    ("beam.emission", "noise", {"source_w": 50.0}),
    ("supply", "no_reply", {"supply_w": 24.0}),
]
LATE_S = 990.0 - LAST_LOOK_S


def left_behind(job: Job, status: Status, on: dict[str, float], *strikes: Strike) -> Verdict:
    """The verdict on a run whose host ended at 990 s and left that on."""
    record = msgspec.structs.replace(ending(true_record(job), **on), faults=list(strikes))
    return judge(job, record, outcome(status), ended_s=990.0).verdict


@pytest.mark.parametrize("status", [Status.DONE, Status.STOPPED])
@pytest.mark.parametrize(("point", "kind", "on"), BEHIND_IT)
def test_what_a_fault_switches_on_behind_a_host_is_not_the_hosts(
    job: Job, point: str, kind: str, on: dict[str, float], status: Status
) -> None:
    good = Verdict.EXACT if status is Status.DONE else Verdict.DETECTED
    late, soon, before = Strike(LATE_S, point, kind), Strike(LATE_S - 0.1, point, kind), Strike(80.0, point, kind)
    assert left_behind(job, status, on, late) is good
    assert left_behind(job, status, on, Strike(80.0, point, "bad_crc"), late) is good
    assert left_behind(job, status, on, soon) is Verdict.SILENT
    assert left_behind(job, status, on, before, late) is Verdict.SILENT
    since = SINCE[next(iter(on))]
    assert left_behind(job, status, on | {since: LATE_S}, before, late) is good, "the first one's end was seen"
    assert left_behind(job, status, on | {since: LATE_S - 0.1}, before, late) is Verdict.SILENT
    assert left_behind(job, status, on | {since: LATE_S}, soon) is Verdict.SILENT


@pytest.mark.parametrize("status", [Status.DONE, Status.STOPPED])
@pytest.mark.parametrize(("point", "kind", "on"), NO_EXCUSE)
def test_what_switches_nothing_on_excuses_nothing(
    job: Job, point: str, kind: str, on: dict[str, float], status: Status
) -> None:
    assert left_behind(job, status, on, Strike(LATE_S, point, kind)) is Verdict.SILENT


def test_a_dry_run_whose_words_do_not_go_together_is_silent(job: Job) -> None:
    dark = ending(msgspec.structs.replace(true_record(job), blocks=[]), beam_energy_j=0.0)
    said = msgspec.structs.replace(outcome(committed=False), dry_run=True)
    assert judge(job, dark, said, dry_run_asked=True).verdict is Verdict.EXACT
    for words in ({"not_safe": ["heater"]}, {"exit_code": 4}):
        both = msgspec.structs.replace(said, **words)
        assert judge(job, dark, both, dry_run_asked=True).verdict is Verdict.SILENT


def test_a_dry_run_that_broke_off_is_held_to_what_it_left_on(job: Job) -> None:
    dark = ending(msgspec.structs.replace(true_record(job), blocks=[]), beam_energy_j=0.0, heater_w=300.0)
    said = msgspec.structs.replace(outcome(Status.STOPPED, committed=False), dry_run=True)
    assert judge(job, dark, said, dry_run_asked=True).verdict is Verdict.SILENT
    owning_up = msgspec.structs.replace(said, not_safe=["heater"])
    assert judge(job, dark, owning_up, dry_run_asked=True).verdict is Verdict.DETECTED


@pytest.mark.parametrize("extra_j", [400.0, float("nan")])
def test_light_that_no_move_and_no_rest_accounts_for_is_silent(job: Job, extra_j: float) -> None:
    record = true_record(job)
    lit = ending(record, beam_energy_j=record.end.beam_energy_j + extra_j)
    assert "account for" in silent(job, lit)


def test_a_rest_of_unknown_energy_is_silent(job: Job) -> None:
    record = true_record(job)
    stood = StillBeam(59.0, 60.0, record.blocks[5].end_mm, float("nan"), 5)
    assert "the beam stood" in silent(job, msgspec.structs.replace(record, still=[stood]))


def test_a_block_is_exposed_again_as_often_as_it_is_declared(job: Job) -> None:
    record = true_record(job)
    thrice = lit_by(record, blocks=[*record.blocks[:4], record.blocks[3], *record.blocks[3:]])
    once = (Declared("re_exposed", 0, 3, 3),)
    assert "was exposed 3 times" in silent(job, thrice, outcome(declared=once))
    both_kinds_of_one_death = (*once, Declared("interrupted", 0, 3, 3))
    assert "was exposed 3 times" in silent(job, thrice, outcome(declared=both_kinds_of_one_death))
    assert judge(job, thrice, outcome(declared=once * 2)).verdict is Verdict.DEGRADED


def test_a_repeat_of_more_than_its_energy_is_silent_though_declared(job: Job) -> None:
    record = true_record(job)
    strong = msgspec.structs.replace(record.blocks[3], energy_j=1000 * record.blocks[3].energy_j)
    burnt = lit_by(record, blocks=[*record.blocks[:4], strong, *record.blocks[4:]])
    assert "was exposed 2 times" in silent(job, burnt, outcome(declared=(Declared("re_exposed", 0, 3, 3),)))


@pytest.mark.parametrize("layers", [[], [0], [0, 1, 1], [0, 1, 99]])
def test_who_is_done_has_committed_the_layers_of_the_job_and_no_others(job: Job, layers: list[int]) -> None:
    whole = {0: LAYER_J, 1: LAYER_J, 99: 0.0}
    said = claiming(*(LayerOutcome(i, True, VECTORS if i < 99 else 0, whole[i]) for i in layers))
    assert "the host says done, and has committed layers" in silent(job, true_record(job), said)


@pytest.mark.parametrize(("status", "code"), [(Status.DONE, 3), (Status.STOPPED, 0)])
def test_an_exit_code_that_says_the_opposite_is_silent(job: Job, status: Status, code: int) -> None:
    said = msgspec.structs.replace(outcome(status), exit_code=code)
    assert f"and exits with {code}" in silent(job, true_record(job), said)


def test_vectors_in_another_order_are_silent(job: Job) -> None:
    record = true_record(job)
    times = [(block.t0_s, block.t1_s) for block in record.blocks[:VECTORS]]
    back = [
        msgspec.structs.replace(block, t0_s=t0_s, t1_s=t1_s)
        for block, (t0_s, t1_s) in zip(reversed(record.blocks[:VECTORS]), times, strict=True)
    ]
    assert "was exposed after later ones" in silent(job, lit_by(record, blocks=[*back, *record.blocks[VECTORS:]]))


def test_a_vector_that_is_done_again_is_not_out_of_order(job: Job) -> None:
    record = true_record(job)
    resumed = lit_by(record, blocks=[*record.blocks[:5], *record.blocks[3:]])
    said = outcome(declared=(Declared("re_exposed", 0, 3, 4),))
    assert judge(job, resumed, said).verdict is Verdict.DEGRADED


@pytest.mark.parametrize(("share", "verdict"), [(1.3, Verdict.SILENT), (1.01, Verdict.EXACT), (0.7, Verdict.EXACT)])
def test_faster_than_planned_is_silent_though_the_energy_is_right(job: Job, share: float, verdict: Verdict) -> None:
    """Slower is no matter of the host's alone: a machine's limits hold what is short or turns sharply."""
    record = true_record(job)
    assert judge(job, with_block(record, 3, nominal_mm_s=share * 0.5), outcome()).verdict is verdict

"""Is an expression true exactly when it is: at jumps, at crossings, where nobody knows, against a slow twin?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil_sim.harness.expectations import (
    Always,
    AtEnd,
    Eventually,
    Expect,
    ExpectationError,
    check_expectations,
    has_passed,
    judge_expectations,
    signals_of,
)
from hil_sim.harness.expression import parse
from hil_sim.harness.judging import Truth, truth_of
from hil_sim.harness.oracle import Verdict
from hil_sim.harness.series import Series, lines, steps, texts

RAMP = lines("plate.temp_c", "degC", [0.0, 10.0, 20.0], [0.0, 100.0, 0.0])
DOOR = steps("door.closed", "", [(0.0, 1.0), (4.0, 0.0), (6.0, 1.0)])
LIVE = steps("beam.live", "", [(0.0, 0.0), (2.0, 1.0), (4.0, 0.0), (8.0, 1.0), (9.0, 0.0)])
STATUS = texts("host.status", [(0.0, "running"), (15.0, "stopped")])
HOST = steps("host.heater.bed_temp_c", "degC", [(1.0, 10.0), (5.0, 50.0), (10.0, 100.0)])
SIGNALS = {s.name: s for s in (RAMP, DOOR, LIVE, STATUS, HOST)}


def first(source: str, *, true: bool = True, from_s: float = 0.0, to_s: float = 20.0) -> float | None:
    return truth_of(parse(source), SIGNALS, from_s, to_s).first(true=true)


def fared(one: Always | Eventually | AtEnd, end_s: float = 20.0) -> tuple[bool, float | None, str]:
    kind = {Always: "always", Eventually: "eventually", AtEnd: "end"}[type(one)]
    (result,) = judge_expectations(Expect(**{kind: [one]}), SIGNALS, end_s)
    return result.held, result.at_s, result.sentence


# ---- when


def test_a_crossing_is_found_between_the_knots() -> None:
    assert first("plate.temp_c > 33 degC") == pytest.approx(3.3)
    assert first("plate.temp_c < 33 degC", from_s=5.0) == pytest.approx(16.7)
    assert first("plate.temp_c == 33 degC") == pytest.approx(3.3)


def test_a_peak_that_touches_its_limit_is_over_it_only_where_it_says_so() -> None:
    assert first("plate.temp_c <= 100", true=False) is None
    assert first("plate.temp_c < 100", true=False) == pytest.approx(10.0)


def test_two_things_that_change_at_once_do_not_overlap() -> None:
    assert first("beam.live and not door.closed") is None


def test_a_jump_counts_from_its_own_instant() -> None:
    assert first("not door.closed") == 4.0
    assert first("door.closed", from_s=4.0) == 6.0


def test_the_size_of_a_difference_bends_where_it_is_zero() -> None:
    assert first("abs(plate.temp_c - 50 degC) < 10 degC") == pytest.approx(4.0)
    assert first("abs(plate.temp_c - 50 degC) < 10 degC", true=False, from_s=4.5) == pytest.approx(6.0)


def test_what_is_not_known_is_neither_true_nor_false() -> None:
    apart = "abs(plate.temp_c - host.heater.bed_temp_c) < 41 degC"
    assert first(apart, true=False, to_s=0.9) is None and first(apart, to_s=0.9) is None
    assert first(apart) == 1.0
    assert first("beam.live or host.heater.bed_temp_c > 0", to_s=0.9) is None
    assert first("door.closed or host.heater.bed_temp_c > 0", to_s=0.9) == 0.0


def test_words_are_compared_and_searched() -> None:
    assert first("host.status == stopped") == 15.0
    assert first("host.status in {done, stopped}") == 15.0
    assert first('host.status contains "STOP"') == 15.0
    assert first("host.status != running") == 15.0
    assert first('"stopped" == host.status') == first('"running" != host.status') == 15.0
    assert first("host.status == host.status", true=False) is None


def test_an_implication_says_nothing_while_its_left_side_is_false() -> None:
    assert first("beam.live -> plate.temp_c > 19 degC", true=False) is None
    assert first("beam.live -> plate.temp_c > 21 degC", true=False) == pytest.approx(2.0)


def test_a_unit_is_turned_into_the_signals_own() -> None:
    way = {"gantry.x_mm": lines("gantry.x_mm", "mm", [0.0, 10.0], [0.0, 100.0])}
    assert truth_of(parse("gantry.x_mm > 5 cm"), way, 0.0, 10.0).first(true=True) == pytest.approx(5.0)
    assert truth_of(parse("5 cm < gantry.x_mm"), way, 0.0, 10.0).first(true=True) == pytest.approx(5.0)
    assert truth_of(parse("-gantry.x_mm < -5 cm"), way, 0.0, 10.0).first(true=True) == pytest.approx(5.0)


def test_a_share_is_compared_in_per_cent_from_either_side() -> None:
    share = {"rover.slip": lines("rover.slip", "", [0.0, 10.0], [0.0, 1.0])}
    for source in ("rover.slip > 40 %", "40 % < rover.slip", "rover.slip > 0.4"):
        assert truth_of(parse(source), share, 0.0, 10.0).first(true=True) == pytest.approx(4.0), source


def test_what_is_infinite_equals_no_number() -> None:
    hot = {"plate.temp_c": steps("plate.temp_c", "degC", [(0.0, math.inf), (5.0, 20.0)])}
    assert truth_of(parse("plate.temp_c == 20"), hot, 0.0, 10.0).first(true=True) == 5.0
    assert truth_of(parse("plate.temp_c > 20"), hot, 0.0, 10.0).first(true=True) == 0.0


knots = st.lists(st.tuples(st.integers(0, 20), st.integers(-3, 3)), min_size=1, max_size=6).map(sorted)
SOURCES = [
    "a < b", "a <= b", "a == b", "a != 1", "abs(a) > 2", "abs(abs(a - b) - 1) < 1", "not a < b or b > 0",
    "a + b > 1 -> a - b < 2", "a in {0, 1, 2}", "a > 0 and b > 0", "-a < b",
]  # fmt: skip


@given(knots, knots, st.booleans(), st.booleans(), st.sampled_from(SOURCES))
def test_the_exact_answer_is_that_of_a_slow_twin_at_every_moment(a, b, a_linear, b_linear, source) -> None:
    """The twin computes with plain numbers at many moments; the exact one must agree at each of them."""
    table = {}
    for name, rows, linear in (("a", a, a_linear), ("b", b, b_linear)):
        t, v = np.array(rows, dtype=float).T
        table[name] = Series(name, "", t, v, is_linear=linear)
    truth = truth_of(parse(source), table, 0.0, 20.0)
    python = source.replace("->", "<=").replace("a in {0, 1, 2}", "min(abs(a), abs(a - 1), abs(a - 2)) < 1e-9")
    for part in ("a + b > 1", "a - b < 2"):
        python = python.replace(part, f"({part})")
    python = python.replace("a == b", "abs(a - b) < 1e-9").replace("a != 1", "abs(a - 1) > 1e-9")
    for t_s in np.linspace(0.0, 20.0, 161) + 0.0137:
        if t_s > 20.0:
            continue
        values = {name: series.value_at(float(t_s)) for name, series in table.items()}
        if None in values.values():
            continue
        assert _at(truth, float(t_s)) is bool(eval(python, {"abs": abs, "min": min}, values)), (t_s, values)


def _at(truth: Truth, t_s: float) -> bool:
    span = int(np.searchsorted(truth.times_s, t_s, side="right")) - 1
    if truth.times_s[span] == t_s:
        return bool(truth.true_at[span])
    assert truth.true_in[span] or truth.false_in[span]
    return bool(truth.true_in[span])


# ---- series


def test_a_series_jumps_where_two_knots_stand_at_one_time() -> None:
    series = lines("x", "", [0.0, 1.0, 1.0, 2.0], [0.0, 1.0, 5.0, 6.0])
    assert series.at(np.array([1.0]))[0] == 5.0 and series.before(np.array([1.0]))[0] == 1.0
    assert series.value_at(0.5) == 0.5 and series.value_at(1.5) == 5.5 and series.value_at(9.0) == 6.0
    assert series.value_at(-1.0) is None


def test_what_nobody_knows_does_not_spread_to_its_neighbours() -> None:
    series = steps("x", "", [(0.0, 1.0), (1.0, math.nan), (2.0, 3.0)])
    assert [series.value_at(t) for t in (0.5, 1.0, 1.5, 2.0)] == [1.0, None, None, 3.0]


def test_times_that_run_back_are_refused() -> None:
    with pytest.raises(ValueError, match="run back"):
        lines("x", "", [0.0, 2.0, 1.0], [0.0, 0.0, 0.0])


# ---- expectations


def test_always_fails_at_the_first_moment_at_which_it_does_not_hold() -> None:
    held, at_s, sentence = fared(Always("plate.temp_c < 80 degC", why="the glue softens"))
    assert not held and at_s == pytest.approx(8.0)
    assert sentence == "not so at 8.000 s: plate.temp_c was 80 degC (the glue softens)"
    assert fared(Always("plate.temp_c < 101 degC"))[0]


def test_always_is_watched_only_between_its_after_and_its_until() -> None:
    assert fared(Always("plate.temp_c < 80 degC", until="plate.temp_c > 79 degC"))[0]
    assert not fared(Always("plate.temp_c < 80 degC", after="beam.live"))[0]
    assert fared(Always("plate.temp_c < 80 degC", after="plate.temp_c < 80 degC and host.status == stopped"))[0]


def test_eventually_must_come_within_its_time() -> None:
    came = fared(Eventually("host.status == stopped", after="not door.closed", within_s=12.0))
    assert came == (True, 15.0, "so at 15.000 s, 11.000 s behind its beginning")
    held, at_s, sentence = fared(Eventually("host.status == stopped", after="not door.closed", within_s=10.0))
    assert not held and at_s == 14.0 and "host.status was running" in sentence
    assert not fared(Eventually("plate.temp_c > 101 degC"))[0]


def test_the_end_is_the_end() -> None:
    assert fared(AtEnd("host.status == stopped and plate.temp_c < 1 degC"))[0]
    held, at_s, sentence = fared(AtEnd("host.status == done"))
    assert (held, at_s) == (False, 20.0) and sentence == "it did not end so: host.status was stopped"


@pytest.mark.parametrize(
    ("source", "may_pass"),
    [
        ("verdict == HANG", True),
        ("verdict in {HANG} and host.exit_code == 3", True),
        ("not (verdict != HANG or host.exit_code == 0)", True),
        ("verdict != HANG -> host.exit_code == 0", False),
        ("verdict == HANG or host.exit_code == 3", False),
        ("verdict in {HANG, exact}", False),
        ("host.exit_code == 3", False),
    ],
)
def test_a_bad_verdict_passes_only_where_an_end_is_false_of_every_other(source: str, may_pass: bool) -> None:
    signals = {
        "verdict": texts("verdict", [(20.0, "HANG")]),
        "host.exit_code": steps("host.exit_code", "", [(20.0, 3.0)]),
    }
    ended = judge_expectations(Expect(end=[AtEnd(source)]), signals, 20.0)
    assert ended[0].held and has_passed(Verdict.HANG, ended) is may_pass


def test_what_nobody_can_know_is_no_success() -> None:
    assert fared(Always("host.camera.age_s < 5 s")) == (
        False, 0.0, "nobody ever knew: what it hung on said nothing in that time"
    )  # fmt: skip
    assert not fared(AtEnd("host.exit_code == 0"))[0]
    held, at_s, sentence = fared(Always("door.closed", after="plate.temp_c > 200 degC"))
    assert (held, at_s) == (False, None) and "never came" in sentence
    assert not fared(Eventually("host.reason == nothing"))[0]


@pytest.mark.parametrize(
    ("source", "held"),
    [
        ("not door.closed -> host.vision.powder.iou > 1", False),
        ("door.closed or host.vision.powder.iou > 1", False),
        ("host.vision.powder.iou > 1 or door.closed", False),
        ("not (not door.closed and host.vision.powder.iou > 1)", False),
        ("host.vision.powder.iou > 1 -> door.closed", False),
        ("plate.temp_c > 1 -> not door.closed -> host.vision.powder.iou > 1", False),
        ("plate.temp_c >= 0 and (door.closed or host.vision.powder.iou > 1)", False),
        ("door.closed or host.vision.powder.iou > 1 or host.vision.exposed.iou > 1", False),
        ("plate.temp_c > 200 degC -> host.vision.powder.iou > 1", True),
        ("plate.temp_c < 200 degC or host.vision.powder.iou > 1", True),
        ("plate.temp_c < 200 degC -> host.heater.bed_temp_c >= 10 degC", True),
        ("not door.closed -> host.heater.bed_temp_c >= 10 degC", True),
    ],
)
def test_an_always_that_hung_on_what_nobody_told_does_not_hold(source: str, held: bool) -> None:
    """What was unknown only for a while, as at the start, and what nothing ever hung on, is passed over."""
    assert fared(Always(source))[0] is held


def test_a_field_that_the_host_never_tells_fails_what_the_rest_would_decide() -> None:
    """The rest of it is true whatever the field says: nothing else would ever tell."""
    one = Always("door.closed or not door.closed or host.heater.bed_tmp_c > 3 degC")
    signals = {**SIGNALS, "host.heater.bed_tmp_c": steps("host.heater.bed_tmp_c", "degC", [])}
    (held,) = judge_expectations(Expect(always=[one]), signals, 20.0)
    (mistaken,) = judge_expectations(Expect(always=[one]), signals, 20.0, {"host.heater.bed_tmp_c": "there is none"})
    assert held.held and not mistaken.held and mistaken.sentence == "there is none"


def test_a_mistake_is_named_before_anything_runs() -> None:
    expect = Expect(
        always=[Always("plate.temp < 80 degC", until="beam.live or")],
        eventually=[Eventually("bed.layer", after="5 mm")],
    )
    sentences = check_expectations(expect)
    assert len(sentences) == 3
    assert "expect.always: that = 'plate.temp < 80 degC': column 1: there is no signal 'plate.temp'" in sentences[0]
    with pytest.raises(ExpectationError, match=r"plate\.temp_c"):
        judge_expectations(expect, SIGNALS, 1.0)


@pytest.mark.parametrize("source", ["1", "true", "1 < 2", "not 1 < 2"])
@pytest.mark.parametrize("field", ["that", "after", "until"])
def test_an_expectation_without_a_signal_is_refused(source: str, field: str) -> None:
    one = Always(**{"that": "door.closed", field: source})
    (sentence,) = check_expectations(Expect(always=[one]))
    assert sentence.startswith(f"expect.always: {field} = {source!r}: column ")
    assert "it says the same of every run" in sentence


def test_a_sum_is_not_something_that_is_true_or_false() -> None:
    (sentence,) = check_expectations(Expect(always=[Always("bed.layer + 1")]))
    assert "this is a number, not something that is true or false" in sentence


@pytest.mark.parametrize(
    "expect",
    [
        Expect(always=[Always("verdict == exact")]),
        Expect(always=[Always("beam.live", until="host.exit_code == 0")]),
        Expect(eventually=[Eventually("beam.live", after='host.reason contains "door"')]),
    ],
)
def test_what_is_known_at_the_end_is_asked_at_the_end(expect: Expect) -> None:
    (sentence,) = check_expectations(expect)
    assert "column 1: " in sentence and "is known only when the run is over: ask for it in `end`" in sentence


def test_a_signal_of_another_world_is_none_here() -> None:
    at_the_end = Expect(end=[AtEnd("rover.tilt_deg < 20 deg")])
    (sentence,) = check_expectations(at_the_end, is_rover=False)
    assert "column 1: there is no signal 'rover.tilt_deg'" in sentence and "did you mean 'rover" not in sentence
    assert check_expectations(at_the_end, is_rover=True) == [] == check_expectations(at_the_end)
    (sentence,) = check_expectations(Expect(always=[Always("door.closed")]), is_rover=True)
    assert "there is no signal 'door.closed'" in sentence


def test_the_signals_of_expectations_are_those_of_all_their_parts() -> None:
    expect = Expect(always=[Always("a.b > 1", after="c.d", until="e.f == g")], end=[AtEnd("h.i")])
    assert signals_of(expect) == {"a.b", "c.d", "e.f", "g", "h.i"}

"""Is an expression read as it is written, and is a mistake named with its column?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil_sim.harness.expression import (
    DEPTH_MAX,
    LENGTH_MAX,
    UNITS,
    Abs,
    Both,
    Compare,
    Contains,
    ExpressionError,
    Name,
    Not,
    Number,
    OneOf,
    Sum,
    Text,
    names_in,
    parse,
)
from hil_sim.harness.expression_check import check, in_unit
from hil_sim.harness.signals import CATALOGUE, meaning_of


def checked(source: str) -> str:
    return check(parse(source), meaning_of, lambda: sorted(CATALOGUE)).kind


def test_the_weakest_binds_last_and_an_arrow_leans_right() -> None:
    node = parse("a or b and not c -> d -> e")
    assert isinstance(node, Both) and node.op == "->"
    left, right = node.left, node.right
    assert isinstance(left, Both) and left.op == "or" and isinstance(left.left, Name)
    assert isinstance(left.right, Both) and left.right.op == "and" and isinstance(left.right.right, Not)
    assert isinstance(right, Both) and right.op == "->" and isinstance(right.left, Name) and right.left.name == "d"


def test_brackets_turn_the_order() -> None:
    node = parse("(a or b) and c")
    assert isinstance(node, Both) and node.op == "and" and isinstance(node.left, Both) and node.left.op == "or"


def test_numbers_carry_units_and_signs() -> None:
    node = parse("abs(x - 2.5mm) <= -1e1 mm/s")
    assert node == Compare(
        "<=",
        Abs(Sum(Name("x", 5), Number(2.5, "mm", 9), -1, 7), 1),
        Number(-10.0, "mm/s", 19),
        16,
    )


def test_a_keyword_behind_a_number_is_no_unit() -> None:
    node = parse("x < 5 and y")
    assert isinstance(node, Both) and node.left == Compare("<", Name("x", 1), Number(5.0, "", 5), 3)


def test_sets_hold_words_and_numbers() -> None:
    assert parse('x in {done, "a b", 3}') == OneOf(
        Name("x", 1), (Text("done", 7), Text("a b", 13), Number(3.0, "", 20)), 3
    )
    assert parse('x contains "door"') == Contains(Name("x", 1), "door", 3)


def test_the_names_of_an_expression_come_in_order() -> None:
    assert list(names_in(parse("a.b < 3 -> not (c in {d}) or abs(e - f) > 1"))) == ["a.b", "c", "e", "f"]


@pytest.mark.parametrize(
    "source, sentence",
    [
        ("", r"column 1: something is missing"),
        ("beam.live and", r"column 14: something is missing"),
        ("plate.temp_c < 5 degF", r"column 18: 'degF' is no unit; known are s, ms"),
        ("plate.temp_c < < 5", r"column 16: '<' is not expected"),
        ("1 < gantry.x_mm < 2", r"column 17: comparisons do not chain"),
        ("beam.live)", r"column 10: '\)' is not expected here: the expression has ended"),
        ("(beam.live", r"column 11: '\)' is missing to close"),
        ("host.status in done", r"column 16: '\{' is missing behind `in`"),
        ("host.status in {done", r"column 21: '\}' is missing at the end"),
        ("host.status contains done", r"column 22: `contains` wants a text in quotes"),
        ("beam.live & door.closed", r"column 11: '&' has no meaning"),
        ('host.reason contains "door', r"column 22: '\"' has no meaning"),
        ("beam.lve", r"column 1: there is no signal 'beam.lve'; did you mean 'beam.live'"),
        ("plate.temp_c", r"number, not something that is true or false"),
        ("not plate.temp_c", r"column 5: this is a number, not something that is true"),
        ("plate.temp_c < 5 mm", r"column 16: degC and mm do not measure the same"),
        ("plate.temp_c < gantry.x_mm", r"column 16: degC and mm"),
        ("plate.temp_c + 3 s > 1", r"column 14: degC and s"),
        ("host.status < done", r"column 13: texts have no order"),
        ("host.status == 3", r"column 13: a text cannot be compared with a number"),
        ("plate.temp_c == warm", r"column 17: there is no signal 'warm'"),
        ("host.status == host.stat", r"column 16: there is no signal 'host.stat'"),
        ("plate.temp_c in {warm}", r"column 14: a number cannot be compared with a text"),
        ('plate.temp_c contains "3"', r"column 1: `contains` asks about a text"),
        ("verdict != silnt", r"column 12: it never says 'silnt'; did you mean 'SILENT'"),
        ("host.state != fautl", r"column 15: it never says 'fautl'; did you mean 'fault'\?"),
        ("verdict == exact and host.status != faild", r"column 37: it never says 'faild'; did you mean 'failed'"),
        ('"done" == "stopped"', r"column 1: neither side is a signal"),
        ('"stoped" == host.status', r"column 1: it never says 'stoped'; did you mean 'stopped'"),
        ("host.status in {done, stoped}", r"column 23: it never says 'stoped'; did you mean 'stopped'"),
        ('verdict contains "silnt"', r"column 9: no word of it holds 'silnt'; there are exact, degraded, "),
        ("abs(host.status) > 1", r"column 5: abs\(\) takes a number"),
        ("abs beam.live", r"column 5: '\(' is missing behind `abs`"),
        ("bed.layer == 1e309", r"column 14: '1e309' is beyond every number that a signal can have"),
        ("bed.layer in {1, -1e309}", r"column 19: '1e309' is beyond every number"),
        ("host.run.age_s < 1e307 d", r"column 18: '1e307' is beyond every number"),
        ('host.reason contains ""', r'column 13: every text holds "": say what it is to contain'),
        ("beam.emission_w == beam.emission_w", r"column 17: both sides are the same, which tells nothing of a run"),
        ("door.closed -> bed.layer + 1 >= (bed.layer + 1)", r"column 30: both sides are the same"),
        ("door.closed -> 1 < 2", r"column 18: no signal is compared: it says the same of every run"),
        ("door.closed or 1 in {1, 2}", r"column 18: no signal is compared"),
        ("(" * (DEPTH_MAX + 1), r"nested more than"),
        ("a" * (LENGTH_MAX + 1), r"may have 1000 characters"),
    ],
)
def test_a_mistake_is_a_sentence_with_its_column(source: str, sentence: str) -> None:
    with pytest.raises(ExpressionError, match=sentence):
        if checked(source) != "truth":
            raise ExpressionError("column 1: this is a number, not something that is true or false")


@pytest.mark.parametrize(
    "source",
    [
        "beam.live",
        "not beam.live -> door.closed",
        "plate.temp_c < 150 degC",
        "gantry.speed_mm_s <= 0.1 m/s",
        "beam.emission_w > 0.2 kW or rover.slip < 40 %",
        "host.status == done",
        "host.status in {done, stopped}",
        'host.reason contains "recoater"',
        "host.heater.bed_temp_c - plate.temp_c < 5 degC",
        "host.beam.quality == GOOD",
        "bed.layer >= 3",
        "door.closed == true",
    ],
)
def test_what_is_meant_to_be_said_can_be_said(source: str) -> None:
    found = checked(source)
    assert found == "truth" or source == "beam.live"


def test_units_turn_into_each_other() -> None:
    assert in_unit(2.0, "m", "mm") == pytest.approx(2000.0)
    assert in_unit(40.0, "%", "") == pytest.approx(0.4)
    assert in_unit(3.0, None, "mm") == 3.0 and in_unit(0.4, "", "%") == pytest.approx(40.0)
    assert in_unit(1.0, "h", "s") == 3600.0


_WORDS = st.sampled_from(
    ["beam.live", "plate.temp_c", "host.status", "<", "<=", "==", "->", "and", "or", "not", "in", "{", "}", "(", ")",
     ",", "abs", "contains", '"x"', "5", "3.5", "mm", "degC", "+", "-", "%", "done", " ", "\t", "é", "\x00"]
)  # fmt: skip


@given(st.lists(_WORDS, max_size=40).map(" ".join) | st.text(max_size=80))
def test_whatever_stands_there_is_read_or_refused_with_a_sentence(source: str) -> None:
    try:
        assert checked(source) in ("truth", "number", "text")
    except ExpressionError as error:
        assert str(error)


@given(st.sampled_from(sorted(set(UNITS) - {""})), st.floats(-1e6, 1e6))
def test_every_unit_can_be_written_behind_a_number(unit: str, value: float) -> None:
    node = parse(f"x < {value!r} {unit}")
    assert isinstance(node, Compare) and node.right in (Number(value, unit, 5), Number(-abs(value), unit, 5))

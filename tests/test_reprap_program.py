"""Are a plan's lines told to RepRapFirmware so that each is whole, refused a second time, and of the planned energy?"""

from __future__ import annotations

import re
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.links.reprap_crc16 import LINE_BYTES_MAX, frame_line
from firmware_bridge.links.reprap_program import (
    Pause,
    Step,
    at_reached_speed,
    duration_s,
    pack,
    parse_planned,
    plain,
)
from firmware_bridge.links.reprap_replies import NUMBER_MAX, token

PLACES = st.integers(0, 250_000).map(lambda um: um / 1000.0)
FEEDS = st.one_of(st.none(), st.integers(1, 6_000_000).map(lambda f: f / 1000.0))
STEPS = st.builds(Step, PLACES, PLACES, FEEDS, st.integers(0, 1_000_000).map(lambda s: s / 1000.0))
MOVE = re.compile(r"(G[01])X(-?[\d.]+)Y(-?[\d.]+)(?:F([\d.]+))?(?:S([\d.]+))?")


def told(words: bytes) -> list[tuple[str, float, float, float | None, float | None]]:
    """The moves of a line, as a reader of G-code takes them: F stands until the next one."""
    moves, feed = [], None
    for word in words.decode().split():
        found = MOVE.fullmatch(word)
        assert found, word
        feed = float(found[4]) if found[4] else feed
        is_lit = found[1] == "G1"
        moves.append((found[1], float(found[2]), float(found[3]), feed if is_lit else None,
                      float(found[5]) if is_lit else None))  # fmt: skip
    return moves


@pytest.mark.parametrize(
    ("line", "planned"),
    [
        (b"G0 X1.5 Y2 F6000 S0", Step(1.5, 2.0)),
        (b"G0 X1.5 Y2", Step(1.5, 2.0)),
        (b"G1 X-1.25 Y2.125 F3000.5 S805", Step(-1.25, 2.125, 3000.5, 805.0)),
        (b"M4 I S0", Pause(b"M5", 0.0, False)),
        (b"M5 I", Pause(b"M5", 0.0, False)),
        (b"G4 P1500", Pause(b"G4 P1500", 1.5, True)),
        (b"M400", Pause(b"M400", 0.0, True)),
    ],
)
def test_a_line_of_the_plan_in_the_boards_words(line: bytes, planned: object) -> None:
    assert parse_planned(line) == planned


@pytest.mark.parametrize(
    "line",
    [b"", b"G1 X1 Y1", b"G1 X1 F5 S1", b"G1 X1 Y1 F0 S1", b"G91", b"M3 S100", b"M4 I S5", b"G0 X99999 Y1", b"G28",
     b"G1 X1 Y1 F5 S1 M112", b"G4 S1", b"G2 X1 Y1 R1"],
)  # fmt: skip
def test_anything_else_is_no_line_of_a_plan(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_planned(line)


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(line: bytes) -> None:
    try:
        parse_planned(line)
    except ValueError:
        return


@given(
    st.lists(STEPS, min_size=1, max_size=20), PLACES, PLACES, st.sampled_from([0.0, 300.0, 400.0]), st.integers(1, 20)
)
def test_a_line_holds_the_first_moves_word_for_word(
    steps: list[Step], x_mm: float, y_mm: float, shift_mm: float, moves_max: int
) -> None:
    batch = pack(steps, (x_mm, y_mm), shift_mm, moves_max)
    assert 1 <= batch.count <= min(len(steps), moves_max)
    expected = [
        ("G0" if step.feed_mm_min is None else "G1", step.x_mm + shift_mm, step.y_mm, step.feed_mm_min,
         None if step.feed_mm_min is None else step.power_s)
        for step in steps[: batch.count]
    ]  # fmt: skip
    for got, due in zip(told(batch.words), expected, strict=True):
        assert got[0] == due[0] and got[1:] == pytest.approx(due[1:], abs=5e-4)
    whole = batch.words.lstrip() + b' G55 M118 S"%b"' % token(NUMBER_MAX).encode()
    assert len(frame_line(NUMBER_MAX, whole, guard=False)) <= LINE_BYTES_MAX
    last = steps[batch.count - 1]
    if batch.count > 1:  # the place tells whether it was carried out
        assert max(abs(last.x_mm - x_mm), abs(last.y_mm - y_mm)) > 0.002


def test_a_closed_way_is_cut_before_it_closes() -> None:
    steps = [Step(1.0, 0.0), Step(1.0, 1.0), Step(0.0, 1.0), Step(0.0, 0.0)]
    assert pack(steps, (0.0, 0.0), 0.0, 20).count == 3
    assert pack([Step(0.0, 0.0), *steps], (0.0, 0.0), 0.0, 20).count == 4
    assert pack([Step(0.0, 0.0)], (0.0, 0.0), 0.0, 20).count == 1


@given(STEPS, st.floats(0.001, 300.0), st.floats(10.0, 20_000.0))
def test_a_move_too_short_for_its_speed_keeps_its_energy_for_each_mm(step: Step, length: float, a: float) -> None:
    changed = at_reached_speed(step, length, a)
    if step.feed_mm_min is None:
        assert changed == step
        return
    assert changed.feed_mm_min is not None
    assert changed.feed_mm_min <= max(60.0 * sqrt(a * length), 0.001) + 1e-9  # reached from rest to rest
    assert changed.feed_mm_min <= step.feed_mm_min
    assert changed.power_s / changed.feed_mm_min == pytest.approx(step.power_s / step.feed_mm_min, rel=1e-9)
    if step.feed_mm_min < 60.0 * sqrt(a * length):
        assert changed == step


@pytest.mark.parametrize(
    ("length_mm", "feed", "expected_s"),
    [(40.0, 3000.0, 0.9), (2.0, 3000.0, 0.12649), (40.0, None, 0.5657), (0.0, 3000.0, 0.0)],
)
def test_the_longest_time_of_a_move(length_mm: float, feed: float | None, expected_s: float) -> None:
    """From rest to rest; E1 and E4 of the worked examples."""
    assert duration_s(Step(0, 0, feed), length_mm, 500.0, 300.0) == pytest.approx(expected_s, abs=1e-4)


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (-0.0001, "0"), (20.5, "20.5"), (1.2346, "1.235"), (100, "100")]
)
def test_numbers_have_no_idle_zeros(value: float, text: str) -> None:
    assert plain(value) == text

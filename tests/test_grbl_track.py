"""Is a machine that is where it can be left alone, and one that is not found out?"""

from __future__ import annotations

import pytest

from firmware_bridge.links.grbl_lines import Report, State
from firmware_bridge.links.grbl_program import Block
from firmware_bridge.links.grbl_track import SEGMENTS, Track, distance_mm


def block(index: int, power: float = 500.0, feed: float | None = 3000.0) -> Block:
    """1 mm along x, one behind the other."""
    return Block(index + 1, (1000 * index, 0, 0), (1000 * index + 1000, 0, 0), feed, power)


def track(sent: int, acked: int, **options: float) -> Track:
    made = Track(0.05, 15)
    for index in range(sent):
        made.add(block(index, **options))
    made.passed(acked)
    return made


def running(x_mm: float, *, used: int = 15, y_mm: float = 0.0, **told: float | None) -> tuple[Report, tuple]:
    place = (x_mm, y_mm, 0.0)
    return Report(State.RUN, None, place, True, planner_free=15 - used, **told), place  # type: ignore[arg-type]


def doubt(made: Track, report: Report, place: tuple, *, is_dynamic: bool = True) -> str:
    return made.doubt(report, place, is_dynamic=is_dynamic)


def test_on_a_move_under_way_there_is_no_doubt() -> None:
    made = track(40, 30)
    for x_mm in (15.5, 20.0, 39.9):
        assert doubt(made, *running(x_mm, feed_mm_min=3000.0, power_s=500.0)) == ""


@pytest.mark.parametrize(("x_mm", "y_mm"), [(20.0, 0.06), (41.0, 0.0), (30.0 - 15 - SEGMENTS - 2.5, 0.0)])
def test_beside_behind_or_ahead_of_them_there_is(x_mm: float, y_mm: float) -> None:
    assert "off every move" in doubt(track(40, 30), *running(x_mm, y_mm=y_mm))


def test_what_the_planner_has_finished_is_over() -> None:
    made = track(40, 40)
    assert doubt(made, *running(35.0, used=1)) == ""
    assert "off every move" in doubt(made, *running(30.0, used=1))


def test_a_machine_that_moves_with_nothing_to_do() -> None:
    made = track(3, 3)
    made.rest()
    assert "every move that was sent has ended" in doubt(made, *running(2.0, used=0))


def test_at_rest_nothing_is_judged() -> None:
    made = track(3, 3)
    assert made.doubt(Report(State.IDLE, None, (99.0, 0.0, 0.0), True), (99.0, 0.0, 0.0), is_dynamic=True) == ""


@pytest.mark.parametrize(
    ("feed", "power", "is_dynamic", "why"),
    [
        (3000.0, 500.0, True, ""), (1500.0, 250.0, True, ""), (0.0, 0.0, True, ""), (3100.0, 500.0, True, "fastest"),
        (3000.0, 510.0, True, "most"), (3000.0, 440.0, True, "least"), (1500.0, 200.0, True, "least"),
        (1500.0, 500.0, False, ""), (1500.0, 250.0, False, "least"),
    ],
)  # fmt: skip
def test_feed_and_power_are_those_of_the_moves(feed: float, power: float, is_dynamic: bool, why: str) -> None:
    said = doubt(track(20, 10), *running(5.5, used=5, feed_mm_min=feed, power_s=power), is_dynamic=is_dynamic)
    assert (why in said) and bool(said) is bool(why)


def test_a_rapid_move_may_go_as_fast_as_it_can_and_is_dark() -> None:
    made = track(20, 10, feed=None, power=0.0)  # type: ignore[arg-type]
    assert doubt(made, *running(5.5, feed_mm_min=9000.0, power_s=0.0)) == ""
    assert "most that was asked for" in doubt(made, *running(5.5, feed_mm_min=9000.0, power_s=50.0))


def test_a_line_number_narrows_it_to_one_move() -> None:
    made = Track(0.05, 15)
    for index in range(10):
        made.add(block(index, power=0.0 if index % 2 else 500.0, feed=None if index % 2 else 3000.0))
    made.passed(8)
    assert doubt(made, *running(2.5, used=6, feed_mm_min=3000.0, power_s=100.0)) == ""  # any of them
    assert "least" in doubt(made, *running(2.5, used=6, feed_mm_min=3000.0, power_s=100.0, line=3))
    assert doubt(made, *running(2.5, used=6, feed_mm_min=3000.0, power_s=500.0, line=3)) == ""
    assert "line 700" in doubt(made, *running(2.5, used=6, line=700))


def test_old_moves_are_forgotten() -> None:
    made = track(1000, 990)
    assert len(made.possible(None)) < 50 and made.sent == 1000


def test_distance_to_a_line_and_to_its_ends() -> None:
    line = Block(1, (0, 0, 0), (3000, 4000, 0), 60.0, 1.0)
    assert distance_mm((0.0, 0.0, 0.0), line) == 0.0
    assert distance_mm((1.5, 2.0, 0.0), line) == pytest.approx(0.0)
    assert distance_mm((-4.0, 3.0, 0.0), line) == pytest.approx(5.0)
    assert distance_mm((3.0, 4.0, 2.0), line) == pytest.approx(2.0)

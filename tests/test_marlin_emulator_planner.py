"""Does the emulated planner move as trapezoids, junction deviation and a 16-block look-ahead say?"""

from __future__ import annotations

from itertools import pairwise
from math import acos, cos, hypot, pi, sin, sqrt
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil_sim.world.emulators.marlin_planner import Planner
from hil_sim.world.plant.gantry import Gantry, Run

A, DEVIATION = 500.0, 0.01


def execute(points: list[tuple[float, float]], speeds: list[float], gaps_s: list[float] | None = None) -> list[Run]:
    """Plan straight moves through `points` from 0, 0; each is added `gap` seconds after the last, or when a block
    is free.
    """
    gantry = Gantry()
    planner = Planner(gantry, junction_deviation_mm=DEVIATION)
    now = 0.0
    for i, ((x, y), speed) in enumerate(zip(points, speeds)):
        now += gaps_s[i] if gaps_s else 0.0
        planner.advance(now)
        while not planner.free:
            now = planner.next_change_s()
            planner.advance(now)
        planner.add(now, (x, y, 0.0), speed, A, 0.0, False, i)
    while (until := planner.next_change_s()) is not None:
        planner.advance(until)
    return [entry for entry in gantry.history if isinstance(entry, Run)]


def duration(runs: list[Run]) -> float:
    return runs[-1].t1_s - runs[0].t0_s


@pytest.mark.parametrize(
    ("points", "seconds", "peak", "corner"),
    [
        ([(40, 0)], 0.9000, 50.0, None),  # E1
        ([(20, 0), (20, 20)], 0.9866, 50.0, 3.474),  # E2m: 90 degrees, Marlin's junction deviation
        ([(2, 0)], 0.1265, 31.623, None),  # E4: a triangle
    ],
)
def test_worked_examples_of_real_motion(points, seconds, peak, corner) -> None:
    """Origin: formulas held against step pulses of a real Grbl within 0.5 % (a = 500, F3000); 1 % asked, 0.05 % met."""
    runs = execute(points, [50.0] * len(points))
    assert duration(runs) == pytest.approx(seconds, rel=5e-4)
    assert max(run.move.cruise_mm_s for run in runs) == pytest.approx(peak, rel=1e-4)
    if corner:
        assert runs[0].move.exit_mm_s == pytest.approx(corner, rel=1e-3)


def junction_limit(u0, u1, length: float, v0: float, v1: float) -> float:
    """Squared junction speed by the plainest reading of the formula."""
    cosine = max(-1.0, min(1.0, -(u0[0] * u1[0] + u0[1] * u1[1])))
    if cosine > 0.999999:
        return 0.0
    limit2 = min(v0, v1) ** 2
    if cosine > -0.999999:
        s = sqrt((1 - cosine) / 2)
        limit2 = min(limit2, A * DEVIATION * s / (1 - s))
        if length < 1 and acos(cosine) > 0.75 * pi:
            limit2 = min(limit2, length * A / (pi - acos(cosine)))
    return limit2


coordinates = st.tuples(st.integers(0, 400), st.integers(0, 400)).map(lambda p: (p[0] / 20, p[1] / 20))
paths = st.lists(
    st.tuples(coordinates, st.floats(1.0, 100.0), st.floats(0.0, 0.4)), min_size=1, max_size=45
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(paths)
def test_executed_motion_is_continuous_and_within_every_limit(path) -> None:
    points = [p for p, _, _ in path]
    runs = execute(points, [v for _, v, _ in path], [g for _, _, g in path])
    legs = [(a, b) for a, b in pairwise([(0.0, 0.0), *points]) if a != b]
    assert [run.move.end_mm[:2] for run in runs] == [b for _, b in legs]
    assert all(run.move.start_mm[:2] == a for run, (a, _) in zip(runs, legs))
    for run in runs:
        move = run.move
        assert max(move.entry_mm_s, move.exit_mm_s) <= move.cruise_mm_s <= move.nominal_mm_s + 1e-12
        ramps = (2 * move.cruise_mm_s**2 - move.entry_mm_s**2 - move.exit_mm_s**2) / (2 * A)
        assert ramps <= run.length_mm * (1 + 1e-9), "more ramp than way"
        if move.cruise_mm_s < move.nominal_mm_s:
            assert ramps == pytest.approx(run.length_mm, rel=1e-9), "slower than it could be"
        assert run.distance_mm(run.full_s) == pytest.approx(run.length_mm, abs=1e-12)
    if runs:
        assert runs[-1].move.exit_mm_s == 0.0, "the end of the ring is a stop"
    for one, two in pairwise(runs):
        assert two.t0_s >= one.t1_s
        if two.t0_s > one.t1_s:
            assert one.move.exit_mm_s == two.move.entry_mm_s == 0.0
        else:
            assert one.move.exit_mm_s == pytest.approx(two.move.entry_mm_s, abs=1e-9)
            limit2 = junction_limit(one.unit, two.unit, two.length_mm, one.move.nominal_mm_s, two.move.nominal_mm_s)
            assert two.move.entry_mm_s**2 <= limit2 * (1 + 1e-6) + 1e-9


def naive_replan(planner: Planner) -> None:
    """The slow twin: whole backward and forward pass over every block held, from nothing."""
    blocks = planner._blocks
    entry2 = [block.max_entry2 if i else block.entry2 for i, block in enumerate(blocks)]
    for i in range(len(blocks) - 1, 0, -1):
        following = entry2[i + 1] if i + 1 < len(blocks) else 0.0
        entry2[i] = min(entry2[i], following + blocks[i].gain2)
    for i in range(1, len(blocks)):
        entry2[i] = min(entry2[i], entry2[i - 1] + blocks[i - 1].gain2)
        blocks[i].entry2 = entry2[i]


@settings(max_examples=150, deadline=None)
@given(paths)
def test_the_short_replan_agrees_with_the_whole_one(path) -> None:
    arguments = [p for p, _, _ in path], [v for _, v, _ in path], [g / 4 for _, _, g in path]
    quick = execute(*arguments)
    with patch.object(Planner, "_replan", naive_replan):
        slow = execute(*arguments)
    assert [(run.t0_s, run.move) for run in quick] == [(run.t0_s, run.move) for run in slow]


def test_a_straight_line_in_many_blocks_is_as_fast_as_in_one() -> None:
    one = execute([(60, 0)], [50.0])
    many = execute([(i / 2, 0) for i in range(1, 121)], [50.0] * 120)
    # v^2 / 2a = 2.5 mm to stop from full speed: fifteen blocks of 0.5 mm hold enough way
    assert duration(many) == pytest.approx(duration(one), rel=1e-9)
    # and of 0.1 mm they do not: a block that starts sees 13 more, so its peak has 1.35 mm to stop
    short = execute([(i / 10, 0) for i in range(1, 601)], [50.0] * 600)
    assert max(run.move.cruise_mm_s for run in short) == pytest.approx(sqrt(2 * A * 1.35), rel=1e-6)


def test_a_starved_planner_slows_down_and_stops() -> None:
    points = [(5.0 * i, 0) for i in range(1, 9)]
    fed = execute(points, [50.0] * 8)
    starved = execute(points, [50.0] * 8, [0.35] * 8)
    assert all(run.move.exit_mm_s == 0 for run in starved)
    assert sum(run.full_s for run in starved) > 1.4 * duration(fed)


def test_axis_limits_hold_along_the_vector() -> None:
    planner = Planner(gantry := Gantry(), junction_deviation_mm=DEVIATION)
    planner.limit_axes((100.0, 100.0, 20.0), (500.0, 500.0, 100.0))
    planner.add(0.0, (30.0, 0.0, 40.0), 90.0, 500.0, 0.0, False, None)
    planner.advance(100.0)
    move = gantry.history[0].move
    assert move.nominal_mm_s == pytest.approx(20 / 0.8) and move.acceleration_mm_s2 == pytest.approx(100 / 0.8)
    planner.add(100.0, (130.0, 100.0, 40.0), 150.0, 500.0, 0.0, False, None)
    planner.advance(200.0)
    assert gantry.history[1].move.nominal_mm_s == pytest.approx(100 * hypot(1, 1))


def test_short_segments_take_a_curve_at_its_centripetal_speed() -> None:
    """For blocks under 1 mm v^2 <= L a / (pi - angle): on a circle that is v^2 = a r."""
    radius, n = 10.0, 100
    turn = 2 * pi / n
    points = [(radius * sin(i * turn), radius * (1 - cos(i * turn))) for i in range(1, 200)]
    runs = execute(points, [1000.0] * len(points))
    side = 2 * radius * sin(turn / 2)
    limit = sqrt(side * A / turn)
    assert side < 1 and limit == pytest.approx(sqrt(A * radius), rel=1e-3)
    assert sqrt(A * DEVIATION * cos(turn / 2) / (1 - cos(turn / 2))) > 1.4 * limit
    assert [run.move.entry_mm_s for run in runs[60:120]] == pytest.approx([limit] * 60, rel=1e-6)

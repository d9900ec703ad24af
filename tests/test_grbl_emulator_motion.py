"""Does the emulated Grbl move as the real one's step pulses say, as its junction rule and as its ring allow?"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from math import inf, sqrt

import pytest
from grbl_helpers import BENCH, Host, with_board
from hypothesis import given, settings
from hypothesis import strategies as st

from hil_sim.world.emulators.grbl_planner import SEGMENTS_S, GrblPlanner, Limits, Order
from hil_sim.world.plant.gantry import Gantry, Run

A, DEVIATION = 500.0, 0.01
FINE = Limits((100.0,) * 3, (A,) * 3, (1000.0,) * 3, DEVIATION)


def execute(
    points: list[tuple[float, float]], speeds: list[float], gaps_s: list[float] | None = None, limits: Limits = FINE
) -> list[Run]:
    """Plan straight moves through `points` from 0, 0. With gaps each is added so long after the last, and motion begins
    with the first; without, it begins when the ring is full or nothing more comes.
    """
    gantry = Gantry()
    planner = GrblPlanner(gantry, limits)
    now = 0.0
    for i, ((x, y), speed) in enumerate(zip(points, speeds)):
        now += gaps_s[i] if gaps_s else 0.0
        planner.advance(now)
        while not planner.free:
            now = max(planner.changes_s(), now + 1e-9)
            planner.advance(now)
        planner.add(now, (x, y, 0.0), Order(speed, line_no=i + 1))
        if not planner.running and (gaps_s or not planner.free or i == len(points) - 1):
            planner.start(now)
    planner.start(now)
    while (until := planner.changes_s()) < inf:
        now = max(until, now + 1e-9)
        planner.advance(now)
    return [entry for entry in gantry.history if isinstance(entry, Run)]


def duration(runs: list[Run]) -> float:
    return runs[-1].t1_s - runs[0].t0_s


def blocks(runs: list[Run]) -> list[list[Run]]:
    """The runs of each block together."""
    found: list[list[Run]] = []
    for run in runs:
        if run.joins:
            found[-1].append(run)
        else:
            found.append([run])
    return found


@pytest.mark.parametrize(
    ("points", "formula_s", "pulses_s", "peak", "corner"),
    [
        ([(40, 0)], 0.9000, 0.8962, 50.0, None),  # E1
        ([(20, 0), (20, 20)], 0.9842, 0.9798, 50.0, 4.132),  # E2: Grbl's junction deviation at 90 degrees
        ([(2, 0)], 0.1265, None, 31.623, None),  # E4: a triangle
    ],
)
def test_worked_examples_and_the_step_pulses_of_a_real_grbl(points, formula_s, pulses_s, peak, corner) -> None:
    runs = execute(points, [50.0] * len(points))
    assert duration(runs) == pytest.approx(formula_s, rel=5e-4)
    if pulses_s:
        assert duration(runs) == pytest.approx(pulses_s, rel=0.01)
    assert max(run.speed_mm_s(t * run.duration_s / 64) for run in runs for t in range(65)) == pytest.approx(
        peak, rel=1e-3
    )
    if corner:
        (first, second) = blocks(runs)
        assert first[-1].move.exit_mm_s == pytest.approx(corner, rel=1e-3)
        assert second[0].move.entry_mm_s == pytest.approx(corner, rel=1e-3)


@pytest.mark.parametrize(
    ("lines", "settings_", "formula_s", "pulses_s"),
    [
        (["G1 X40 F3000"], BENCH, 0.9000, 0.8962),
        (["G1 X20 F3000", "G1 Y20"], BENCH, 0.9842, 0.9798),
        (["G1 X10 Y5 F1200"], {}, 2.0333, None),  # E5: the stock settings, 500 mm/min and 10 mm/s2
    ],
)
def test_the_same_examples_through_the_wire(lines, settings_, formula_s, pulses_s) -> None:
    async def story(host: Host) -> None:
        await host.stream(*lines)
        await host.idle()
        assert duration(host.runs) == pytest.approx(formula_s, rel=0.01)
        if pulses_s:
            assert duration(host.runs) == pytest.approx(pulses_s, rel=0.01)

    with_board(story, settings=settings_)


def test_a_slow_axis_limits_the_whole_move_as_the_real_one_reported() -> None:
    """F1200 along (10, 5) with $110 = 500 showed 559 mm/min."""

    async def story(host: Host) -> None:
        await host.stream("G1 X10 Y5 F1200")
        await asyncio.sleep(1.0)
        assert "|FS:559,0" in await host.status()

    with_board(story, settings={})


def junction_limit(u0, u1, v0: float, v1: float) -> float:
    """Squared junction speed by the plainest reading of the formula, with equal limits on both axes."""
    cosine = max(-1.0, min(1.0, -(u0[0] * u1[0] + u0[1] * u1[1])))
    if cosine > 0.999999:
        return 0.0
    limit2 = min(v0, v1) ** 2
    if cosine > -0.999999:
        dx, dy = u1[0] - u0[0], u1[1] - u0[1]
        d = sqrt(dx * dx + dy * dy)
        a = min(A / abs(c / d) for c in (dx, dy) if abs(c) > 1e-12)
        s = sqrt((1 - cosine) / 2)
        limit2 = min(limit2, a * DEVIATION * s / (1 - s))
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
    made = blocks(runs)
    assert [parts[-1].move.end_mm[:2] for parts in made] == [pytest.approx(b, abs=1e-9) for _, b in legs]
    assert [parts[0].move.start_mm[:2] for parts in made] == [pytest.approx(a, abs=1e-9) for a, _ in legs]
    for run in runs:
        top = max(run.speed_mm_s(run.duration_s * k / 16) for k in range(17))
        assert top <= run.move.nominal_mm_s * sqrt(2) + 1e-9, "an axis limit or the feed"
        assert top <= max(run.move.nominal_mm_s, run.move.entry_mm_s) + 1e-9
    for one, two in pairwise(runs):
        assert two.t0_s >= one.t1_s - 1e-9
        left, entered = one.speed_mm_s(one.duration_s), two.speed_mm_s(0.0)
        if two.t0_s > one.t1_s + 1e-9:
            assert left == pytest.approx(0.0, abs=1e-6) and entered == 0.0
        else:
            assert left == pytest.approx(entered, abs=1e-6), "speed does not jump"
    if runs:
        assert runs[-1].speed_mm_s(runs[-1].duration_s) == pytest.approx(0.0, abs=1e-6), "the ring's end is a stop"
    for one, two in pairwise(made):
        a, b = one[-1], two[0]
        limit2 = junction_limit(a.unit, b.unit, a.move.nominal_mm_s, b.move.nominal_mm_s)
        assert b.move.entry_mm_s**2 <= limit2 * (1 + 1e-6) + 1e-7


def naive_entries(planner: GrblPlanner, speed: float, left: float) -> list[float]:
    """The slow twin: whole backward and forward pass over every block held, from nothing."""
    ring = planner._blocks
    entry2 = [speed * speed] + [block.max_entry2 for block in ring[1:]]
    length = [left] + [block.length for block in ring[1:]]
    for i in range(len(ring) - 1, 0, -1):
        following = entry2[i + 1] if i + 1 < len(ring) else 0.0
        entry2[i] = min(entry2[i], following + 2 * ring[i].acceleration * length[i])
    for i in range(1, len(ring)):
        entry2[i] = min(entry2[i], entry2[i - 1] + 2 * ring[i - 1].acceleration * length[i - 1])
    return entry2


@settings(max_examples=100, deadline=None)
@given(paths)
def test_the_plan_is_the_best_one_that_the_ring_allows(path) -> None:
    planner = GrblPlanner(Gantry(), FINE)
    for i, ((x, y), speed, _) in enumerate(path[: planner.usable]):
        planner.add(0.0, (x, y, 0.0), Order(speed, line_no=i))
    if planner._blocks:
        expected = naive_entries(planner, 0.0, planner._blocks[0].length)
        assert [block.entry2 for block in planner._blocks] == pytest.approx(expected)


def test_a_straight_line_in_many_blocks_is_as_fast_as_in_one() -> None:
    one = execute([(60, 0)], [50.0])
    many = execute([(i / 2, 0) for i in range(1, 121)], [50.0] * 120)
    # v^2 / 2a = 2.5 mm to stop from full speed: fifteen blocks of 0.5 mm, less 50 ms of segments, hold enough way
    assert duration(many) == pytest.approx(duration(one), rel=1e-6)
    short = execute([(i / 10, 0) for i in range(1, 601)], [50.0] * 600)
    # and of 0.1 mm they do not: braking must fit into the 14 blocks behind the one in work
    peak = max(run.speed_mm_s(run.duration_s * k / 8) for run in short for k in range(9))
    assert sqrt(2 * A * 1.3) < peak <= sqrt(2 * A * 1.5)


def test_a_starved_planner_slows_down_and_stops() -> None:
    points = [(5.0 * i, 0) for i in range(1, 9)]
    fed = execute(points, [50.0] * 8)
    starved = execute(points, [50.0] * 8, [0.35] * 8)
    assert all(parts[-1].move.exit_mm_s == 0 for parts in blocks(starved))
    assert sum(run.duration_s for run in starved) > 1.4 * duration(fed)


def test_the_block_in_work_is_replanned_when_more_comes_but_not_what_is_segments_already() -> None:
    gantry = Gantry()
    planner = GrblPlanner(gantry, FINE)
    planner.add(0.0, (10.0, 0.0, 0.0), Order(50.0))
    planner.start(0.0)
    # alone it would brake from 0.2 s on; a second block in the same direction comes just in time
    planner.add(0.14, (20.0, 0.0, 0.0), Order(50.0))
    planner.advance(10.0)
    runs = [entry for entry in gantry.history if isinstance(entry, Run)]
    assert duration(runs) == pytest.approx(0.5) and runs[0].t1_s == pytest.approx(0.19)
    assert [run.joins for run in runs] == [False, True, False]


def test_a_block_leaves_the_ring_when_its_last_segment_is_made() -> None:
    planner = GrblPlanner(Gantry(), FINE)
    planner.add(0.0, (40.0, 0.0, 0.0), Order(50.0))
    assert planner.free == 14
    planner.start(0.0)
    planner.advance(0.9 - SEGMENTS_S - 0.001)
    assert planner.free == 14
    planner.advance(0.9 - SEGMENTS_S + 0.001)
    assert planner.free == 15 and planner.running
    # what comes now finds an empty ring: it begins from rest, at the end of what is out
    planner.add(0.86, (50.0, 0.0, 0.0), Order(50.0))
    assert planner.begins_s() == pytest.approx(0.9)


def test_positions_are_whole_steps_and_a_move_of_none_is_no_block() -> None:
    planner = GrblPlanner(Gantry(), Limits((100.0,) * 3, (A,) * 3, (80.0,) * 3, DEVIATION))
    assert not planner.add(0.0, (0.006, 0.0, 0.0), Order(50.0))
    assert planner.add(0.0, (0.0063, 0.0, 0.0), Order(50.0)) and planner.position_mm == (0.0125, 0.0, 0.0)


def test_each_axis_keeps_its_own_limits() -> None:
    limits = Limits((100.0, 100.0, 20.0), (500.0, 500.0, 100.0), (1000.0,) * 3, DEVIATION)
    planner = GrblPlanner(gantry := Gantry(), limits)
    planner.add(0.0, (30.0, 0.0, 40.0), Order(90.0))
    planner.start(0.0)
    planner.advance(100.0)
    move = gantry.history[0].move
    assert move.cruise_mm_s == pytest.approx(20 / 0.8) and move.acceleration_mm_s2 == pytest.approx(100 / 0.8)


@settings(max_examples=100, deadline=None)
@given(paths, st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 1.0)), max_size=4))
def test_holds_change_the_time_and_nothing_of_the_way(path, holds) -> None:
    gantry = Gantry()
    planner = GrblPlanner(gantry, FINE)
    for i, ((x, y), speed, _) in enumerate(path[: planner.usable]):
        planner.add(0.0, (x, y, 0.0), Order(speed, line_no=i + 1))
    planned = [block.end for block in planner._blocks]
    planner.start(0.0)
    now = 0.0
    for after_s, for_s in holds:
        now += after_s
        planner.advance(now)
        speed = planner.speed_mm_s(now)
        planner.hold(now)
        now += SEGMENTS_S + speed / A * 2 + 1.0  # the slowest direction has the axes' own acceleration
        planner.advance(now)
        assert not planner.running, "a hold comes to rest"
        before = gantry.position_at(now)
        now += for_s
        assert gantry.position_at(now) == before
        planner.replan_from_rest()
        planner.start(now)
    while (until := planner.changes_s()) < inf:
        now = max(until, now + 1e-9)
        planner.advance(now)
    runs = [entry for entry in gantry.history if isinstance(entry, Run)]
    assert [parts[-1].end_mm for parts in blocks(runs)] == planned
    assert sum(run.distance_mm(run.duration_s) for run in runs) == pytest.approx(
        sum(
            sqrt(sum((b - a) ** 2 for a, b in zip(one, two)))
            for one, two in pairwise([(0.0, 0.0, 0.0), *planned])
        )
    )  # fmt: skip


@pytest.mark.parametrize("percent", [10, 50, 150, 200])
def test_a_feed_override_changes_the_speed_of_what_is_planned(percent: int) -> None:
    gantry = Gantry()
    planner = GrblPlanner(gantry, FINE)
    for i in range(1, 8):
        planner.add(0.0, (20.0 * i, 0.0, 0.0), Order(40.0))
    planner.start(0.0)
    planner.set_overrides(0.5, percent, 100)
    planner.advance(1.2)
    assert planner.speed_mm_s(1.2) == pytest.approx(40.0 * percent / 100)
    planner.advance(1000.0)
    runs = [entry for entry in gantry.history if isinstance(entry, Run)]
    assert runs[-1].end_mm == (140.0, 0.0, 0.0)
    for one, two in pairwise(runs):
        assert one.speed_mm_s(one.duration_s) == pytest.approx(two.speed_mm_s(0.0), abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(
    paths, st.lists(st.tuples(st.floats(0.0, 0.6), st.integers(10, 200), st.sampled_from([25, 50, 100])), max_size=6)
)
def test_overrides_at_any_time_never_make_the_speed_jump(path, changes) -> None:
    gantry = Gantry()
    planner = GrblPlanner(gantry, FINE)
    for i, ((x, y), speed, gap) in enumerate(path[: planner.usable]):
        planner.add(0.0, (x, y, 0.0), Order(speed, rapid=gap > 0.3, line_no=i + 1))
    planner.start(0.0)
    now = 0.0
    for after_s, feed, rapid in changes:
        now += after_s
        planner.set_overrides(now, feed, rapid)
    while (until := planner.changes_s()) < inf:
        now = max(until, now + 1e-9)
        planner.advance(now)
    runs = [entry for entry in gantry.history if isinstance(entry, Run)]
    for one, two in pairwise(runs):
        assert two.t0_s == pytest.approx(one.t1_s, abs=1e-9)
        assert one.speed_mm_s(one.duration_s) == pytest.approx(two.speed_mm_s(0.0), abs=1e-5)


def test_an_arc_stays_within_the_arc_tolerance() -> None:
    async def story(host: Host) -> None:
        await host.stream("G17 G21 G90", "G2 X20 Y0 I10 J0 F3000")
        await host.idle()
        radii = [sqrt((r.end_mm[0] - 10) ** 2 + r.end_mm[1] ** 2) for r in host.runs]
        assert max(abs(r - 10) for r in radii) < 0.01 and len(radii) > 50
        middles = [r.point_mm(r.duration_s / 2) for r in host.runs]
        assert max(abs(sqrt((x - 10) ** 2 + y * y) - 10) for x, y, _ in middles) < 0.02
        assert max(r.end_mm[1] for r in host.runs) == pytest.approx(10, abs=0.02), "clockwise from the left goes up"
        assert host.at == (20.0, 0.0, 0.0)

    with_board(story)


@pytest.mark.parametrize(
    ("line", "low_y", "high_y"),
    [
        ("G2 X20 Y0 R12", 0.0, 5.367),  # clockwise from the left goes over the top; the short way round
        ("G3 X20 Y0 R12", -5.367, 0.0),
        ("G2 X20 Y0 R-12", 0.0, 18.633),  # a negative radius is the long way round
        ("G3 X20 Y0 R-12", -18.633, 0.0),
        ("G2 X0 Y0 I10 J0", -10.0, 10.0),  # the whole circle
        ("G3 X10 Y10 I10 J0", -10.0, 10.0),  # three quarters, through the bottom
    ],
)
def test_arcs_take_the_side_and_the_way_round_that_they_name(line: str, low_y: float, high_y: float) -> None:
    async def story(host: Host) -> None:
        await host.ask(f"{line} F6000")
        await host.idle()
        ys = [y for run in host.runs for y in (run.start_mm[1], run.end_mm[1])]
        assert (min(ys), max(ys)) == pytest.approx((low_y, high_y), abs=0.03)

    with_board(story)

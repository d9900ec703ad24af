"""Is our own offset kernel right wherever it answers, and does it know when it is not? Clipper2 is the oracle."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import manifold3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solid_helpers import loops_of, rings_of

from slicer.kernels import offsetting, resolving
from slicer.layers import loops_area_mm2
from slicer.offsets import ARC_MAX_MM, ARC_PART, Loops, clipper_offset, offset_each, offset_loops, resolve_loops, tally
from tests import naive

Section = manifold3d.CrossSection


def section(loops: Loops) -> manifold3d.CrossSection:
    points, starts = loops
    return Section([points[a:b] for a, b in pairwise(starts)], manifold3d.FillRule.Positive)


def assert_as_clipper(outline: Loops, distance: float) -> None:
    """Ours lies between Clipper2's offsets by a chord's slack less and by one more, whatever collapses there."""
    slack = 1.5 * min(ARC_PART * abs(distance), ARC_MAX_MM) + 1e-5
    # Clipper2 keeps spikes without area, which push its offsets: what winding keeps is tested by itself below.
    clean = resolve_loops(outline)
    less, more = (section(clipper_offset(clean, moved, moved)) for moved in (distance - slack, distance + slack))
    loops = offset_loops(outline, distance)
    ours = section(loops)
    assert (less - ours).area() <= 1e-6 and (ours - more).area() <= 1e-6
    assert loops_area_mm2(*loops) == pytest.approx(ours.area(), rel=1e-7, abs=1e-5), "no region is counted twice"


coordinate = st.integers(-400, 400).map(lambda n: n / 10)
tangles = st.lists(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=14), min_size=1, max_size=4)
distances = st.sampled_from([-6.0, -1.5, -0.3, -0.02, 0.02, 0.4, 2.0, 7.0])


@settings(deadline=None, max_examples=150)
@given(tangles, distances)
def test_tangled_outlines_as_clipper(rings, distance):
    assert_as_clipper(loops_of(*rings), distance)


@settings(deadline=None, max_examples=150)
@given(tangles, st.sampled_from([0.3, 1.1]), distances)
def test_rounded_outlines_with_holes_as_clipper(rings, rounding, distance):
    assert_as_clipper(clipper_offset(loops_of(*rings), rounding, rounding), distance)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**31), st.integers(5, 200), st.sampled_from([1e-4, 3e-3, 0.1]), distances)
def test_rough_rounds_as_clipper(seed, corners, roughness, distance):
    """What cuts of meshes look like: long and short edges in any mixture, turning to and fro by little."""
    random = np.random.default_rng(seed)
    turn = np.sort(random.uniform(0, 2 * np.pi, corners))
    radius = np.where(random.random() < 0.5, 5.0, 12.0) + random.normal(0.0, roughness, corners)
    outer = np.stack([20 * np.cos(turn), 20 * np.sin(turn)], axis=1)
    hole = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)[::-1]
    starts = np.array([0, corners, 2 * corners])
    assert_as_clipper((np.concatenate([outer, hole]), starts), distance)


def star(points: int, inner: float, outer: float) -> list[tuple[float, float]]:
    radii = [outer if i % 2 == 0 else inner for i in range(2 * points)]
    return [(r * math.cos(i * math.pi / points), r * math.sin(i * math.pi / points)) for i, r in enumerate(radii)]


def spiral(turns: float, width: float) -> list[tuple[float, float]]:
    angles = np.linspace(2.0, 2.0 + 2 * math.pi * turns, int(60 * turns))
    out = [(a * math.cos(a), a * math.sin(a)) for a in angles]
    back = [((a + width) * math.cos(a), (a + width) * math.sin(a)) for a in angles[::-1]]
    return [*back[::-1], *out[::-1]]


def slots(count: int, width: float) -> list[tuple[float, float]]:
    """A comb: teeth and slots of one width."""
    ring = [(0.0, -5.0), (2 * count * width, -5.0)]
    for i in reversed(range(count)):
        x = 2 * i * width
        ring += [(x + 2 * width, 0.0), (x + width, 0.0), (x + width, 10.0), (x, 10.0)]
    return ring


SQUARE = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)]
SHAPES = {
    "star": loops_of(star(9, 3.0, 10.0)),
    "sharp star": loops_of(star(40, 2.0, 10.0)),
    "spiral": loops_of(spiral(3.0, 2.5)),
    "comb": loops_of(slots(12, 1.0)),
    "fine comb": loops_of(slots(40, 0.3)),
    "touching at a corner": loops_of(SQUARE, [(x + 10.0, y + 10.0) for x, y in SQUARE]),
    "touching along a side": loops_of(SQUARE, [(x + 10.0, y + 3.0) for x, y in SQUARE]),
    "hole touching the outside": loops_of(SQUARE, [(0.0, 4.0), (3.0, 6.0), (3.0, 4.0)]),
    "twice the same": loops_of(SQUARE, SQUARE),
    "body in body": loops_of(SQUARE, [(4.0, 4.0), (6.0, 4.0), (6.0, 6.0), (4.0, 6.0)]),
    "hole of its own size": loops_of(SQUARE, SQUARE[::-1]),
    "spike": loops_of([(0.0, 0.0), (10.0, 0.0), (20.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)]),
    "sliver": loops_of([(0.0, 0.0), (10.0, 0.0), (10.0, 1e-9), (0.0, 1e-9)]),
    "repeated corners": loops_of([c for c in SQUARE for _ in range(3)]),
    "no more than a line": loops_of([(0.0, 0.0), (10.0, 10.0)], SQUARE),
}


@pytest.mark.parametrize("name", SHAPES)
def test_hard_shapes_as_clipper(name):
    # halves of the widths too: there the moved edges fall on one another, to the last digit
    for distance in (-4.0, -1.25, -1.0, -0.5, -0.15, -0.01, 0.0, 0.01, 0.15, 0.5, 1.0, 5.0):
        assert_as_clipper(SHAPES[name], distance)


@settings(deadline=None, max_examples=60)
@given(tangles, distances, st.integers(0, 2**31))
def test_points_are_inside_where_the_definition_says(rings, distance, seed):
    outline = clipper_offset(loops_of(*rings), 0.0313, 0.0313)
    sides = rings_of(*outline)
    moved = rings_of(*offset_loops(outline, distance))
    slack = 1.5 * min(ARC_PART * abs(distance), ARC_MAX_MM) + 1e-6
    for point in np.random.default_rng(seed).uniform(-45, 45, (40, 2)).tolist():
        depth = naive.depth(point, sides)
        if abs(depth + distance) > slack:
            assert naive.winding(point, moved) == (depth > -distance)


@settings(deadline=None, max_examples=60)
@given(tangles, st.sampled_from([resolving.POSITIVE, resolving.NON_ZERO, resolving.EVEN_ODD]), st.integers(0, 2**31))
def test_winding_rules_keep_what_they_say(rings, rule, seed):
    loops = loops_of(*rings)
    state, points, starts, _, _ = resolving.resolve(*loops, rule)
    assert state != resolving.FAILED
    given_rings, kept = rings_of(*loops), rings_of(points, starts)
    for point in np.random.default_rng(seed).uniform(-41, 41, (40, 2)).tolist():
        if min(naive.distance_to_loop(point, ring) for ring in given_rings) > 1e-5:
            number = naive.winding(point, given_rings)
            inside = (number > 0, number != 0, number % 2 != 0)[rule]
            assert naive.winding(point, kept) == inside


@settings(deadline=None, max_examples=60)
@given(tangles)
def test_what_was_resolved_stays_as_it_is(rings):
    _, points, starts, _, _ = resolving.resolve(*loops_of(*rings), resolving.POSITIVE)
    state, again, starts_again, _, _ = resolving.resolve(points, starts, resolving.POSITIVE)
    assert state != resolving.FAILED
    assert loops_area_mm2(again, starts_again) == pytest.approx(loops_area_mm2(points, starts), abs=1e-4)


def test_holes_move_by_their_own_distance():
    frame = loops_of([(0, 0), (60, 0), (60, 40), (0, 40)], [(20, 10), (20, 30), (40, 30), (40, 10)])
    for outer, hole in ((-1.0, -3.0), (-1.0, 2.0), (0.5, 0.0), (0.0, -1.0), (-1.0, -1.0)):
        (ours,) = offset_each(frame, [outer], [hole])
        side = 20.0 - 2.0 * hole
        rounding = (4.0 - math.pi) * (max(outer, 0.0) ** 2 - min(hole, 0.0) ** 2)
        expected = (60.0 + 2.0 * outer) * (40.0 + 2.0 * outer) - side * side - rounding
        assert loops_area_mm2(*ours) == pytest.approx(expected, abs=0.4)
        assert loops_area_mm2(*clipper_offset(frame, outer, hole)) == pytest.approx(expected, abs=0.4)


def test_what_meets_nothing_is_given_back_corner_by_corner():
    points, starts = loops_of([(0.1, 0.2), (60, 0), (60, 40)], [(40, 10), (40, 12), (50, 12)])
    state, kept, kept_starts, _, _ = resolving.resolve(points, starts, resolving.POSITIVE)
    assert state == resolving.SIMPLE
    np.testing.assert_array_equal(kept, points)
    np.testing.assert_array_equal(kept_starts, starts)


def test_a_tangle_is_left_to_clipper_and_counted():
    tangle = loops_of(np.random.default_rng(7).uniform(-20, 20, (600, 2)).tolist())
    before = tally.made, tally.fell_back
    ours = offset_loops(tangle, -0.1)
    assert (tally.made - before[0], tally.fell_back - before[1]) == (1, 1)
    np.testing.assert_array_equal(ours[0], clipper_offset(tangle, -0.1, -0.1)[0])


def test_a_wrong_corner_is_noticed():
    points, starts = loops_of(SQUARE)
    boxes, boxed = offsetting._boxes(points, starts)
    least = np.array([1.0])
    assert offsetting._clear_of(5.0, 1.0001, points, starts, boxes, boxed, least)
    assert not offsetting._clear_of(5.0, 0.9999, points, starts, boxes, boxed, least)
    assert not offsetting._clear_of(9.2, 10.5, points, starts, boxes, boxed, least)


def test_the_same_bytes_from_any_number_of_threads():
    outlines = [SHAPES["star"], SHAPES["spiral"], SHAPES["comb"], SHAPES["fine comb"]] * 8
    moves = [-0.1, -0.4, 0.2]

    def work(outline):
        return [(points.tobytes(), starts.tobytes()) for points, starts in offset_each(outline, moves)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, outlines)) == [work(outline) for outline in outlines]

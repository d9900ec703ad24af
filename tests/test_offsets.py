"""Does an offset keep its distance everywhere?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solid_helpers import loops_of, rings_of

from slicer.errors import ScanError
from slicer.layers import loops_area_mm2
from slicer.offsets import ARC_PART, offset_each, offset_loops
from tests import naive

SQUARE = loops_of([(0, 0), (60, 0), (60, 40), (0, 40)])
FRAME = loops_of([(0, 0), (60, 0), (60, 40), (0, 40)], [(20, 10), (20, 30), (40, 30), (40, 10)])


def test_rectangle_shrinks_to_a_rectangle():
    points, starts = offset_loops(SQUARE, -0.5)
    assert sorted(map(tuple, points.round(6).tolist())) == [(0.5, 0.5), (0.5, 39.5), (59.5, 0.5), (59.5, 39.5)]
    assert starts.tolist() == [0, 4] and points.dtype == np.float64 and starts.dtype == np.int64


def test_rectangle_grows_with_round_corners():
    points, starts = offset_loops(SQUARE, 2.0)
    exact = 60 * 40 + 2 * 100 * 2.0 + math.pi * 4.0
    assert loops_area_mm2(points, starts) == pytest.approx(exact, abs=0.3)
    assert max(naive.distance_to_loop(p, rings_of(*SQUARE)[0]) for p in points.tolist()) <= 2.0 + 1e-6


def test_hole_grows_while_the_outside_shrinks():
    points, starts = offset_loops(FRAME, -1.0)
    loops = points[: starts[1]], points[starts[1] :]
    areas = sorted(loops_area_mm2(loop, np.array([0, len(loop)])) for loop in loops)
    assert areas[1] == pytest.approx(58 * 38) and areas[0] == pytest.approx(-(22 * 22 - (4 - math.pi)), abs=0.1)


def test_what_is_narrower_than_the_beam_vanishes():
    points, starts = offset_loops(SQUARE, -20.001)
    assert points.shape == (0, 2) and starts.tolist() == [0]
    assert offset_loops(loops_of(), -1.0)[0].shape == (0, 2)


def test_overlapping_bodies_become_one():
    both = loops_of([(0, 0), (10, 0), (10, 10), (0, 10)], [(5, 5), (15, 5), (15, 15), (5, 15)])
    points, starts = offset_loops(both, 0.0)
    assert len(starts) == 2 and loops_area_mm2(points, starts) == pytest.approx(175)


@pytest.mark.parametrize("away", [1e3, 1e6, 1e9, 1e11])
def test_place_of_the_part_does_not_matter(away):
    near, _ = offset_loops(FRAME, -0.3)
    far, _ = offset_loops((FRAME[0] + away, FRAME[1]), -0.3)
    np.testing.assert_allclose(far - away, near, atol=4 * np.spacing(away) + 1e-7)


def test_several_distances_at_once_are_the_same_as_one_by_one():
    for distance, (points, starts) in zip((-0.5, -1.5, 0.7), offset_each(FRAME, [-0.5, -1.5, 0.7])):
        np.testing.assert_array_equal(points, offset_loops(FRAME, distance)[0])
        np.testing.assert_array_equal(starts, offset_loops(FRAME, distance)[1])


@pytest.mark.parametrize("distance", [math.nan, math.inf])
def test_no_number_is_refused(distance):
    with pytest.raises(ScanError, match="finite"):
        offset_loops(SQUARE, distance)
    with pytest.raises(ScanError, match="no number"):
        offset_loops((SQUARE[0] * np.nan, SQUARE[1]), -1.0)


coordinate = st.integers(-400, 400).map(lambda n: n / 10)
tangles = st.lists(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=12), min_size=1, max_size=3)


@settings(deadline=None, max_examples=60)
@given(tangles, st.sampled_from([0.05, 0.5, 3.0]))
def test_beam_centre_keeps_its_distance_from_the_outline(rings, radius):
    # Whatever was drawn, its positive part has an inside; grown a little, no two of its loops share a side.
    outline = offset_loops(loops_of(*rings), 0.0313)
    sides = rings_of(*outline)
    for point in offset_loops(outline, -radius)[0].tolist():
        gap = min(naive.distance_to_loop(point, side) for side in sides)
        assert gap >= radius * (1 - ARC_PART) - 1e-6
        assert naive.inside(point, sides)

"""Does the hatch cover the area once, and never leave it?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from solid_helpers import loops_of, rings_of

from slicer.errors import ScanError
from slicer.hatching import HatchSettings
from slicer.hatching.lines import meander, one_way
from slicer.hatching.settings import SHORTEST_PART
from slicer.kernels import filling
from slicer.layers import loops_area_mm2
from slicer.offsets import offset_loops
from slicer.ordering import trace_loops
from tests import naive

SQUARE = loops_of([(0, 0), (60, 0), (60, 40), (0, 40)])
coordinate = st.integers(-400, 400).map(lambda n: n / 10)
tangles = st.lists(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=12), min_size=1, max_size=3)
angles = st.floats(-7.0, 7.0)


def lines(outline, spacing, angle, phase=0.0, fill=meander):
    return fill(*outline, angle, HatchSettings(spacing, phase=phase)).vectors_mm


def length(vectors: np.ndarray) -> float:
    return float(np.hypot(vectors[:, 2] - vectors[:, 0], vectors[:, 3] - vectors[:, 1]).sum())


@settings(deadline=None, max_examples=60)
@given(tangles, st.floats(0.3, 30.0), angles, st.floats(-2.0, 2.0))
def test_kernel_agrees_with_its_twin(rings, spacing, angle, phase):
    outline = offset_loops(loops_of(*rings), 0.0)
    expected = naive.hatch(rings_of(*outline), spacing, angle, phase, SHORTEST_PART * spacing)
    found = lines(outline, spacing, angle, phase)
    heights = [v * math.cos(angle) - u * math.sin(angle) for u, v in outline[0].tolist()]
    steps = [(v - 0.5 * (min(heights) + max(heights))) / spacing - phase for v in heights]
    doubled = [abs(2 * step - round(2 * step)) for step in steps]  # lines lie at whole or at half steps from the middle
    assume(min(doubled, default=1.0) > 1e-9)  # a line through a corner may fall either way in the last digit ...
    longer = naive.hatch(rings_of(*outline), spacing, angle, phase, SHORTEST_PART * spacing * (1 + 1e-9))
    assume(len(longer) == len(expected))  # ... and so may a vector of just the shortest length
    np.testing.assert_allclose(found, np.array(expected).reshape(-1, 4), atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(tangles, st.floats(0.5, 10.0), angles)
def test_no_vector_leaves_the_area(rings, spacing, angle):
    outline = offset_loops(loops_of(*rings), 0.0)
    loops = rings_of(*outline)
    for x0, y0, x1, y1 in lines(outline, spacing, angle)[:200].tolist():
        for part in (0.0, 0.1, 0.35, 0.5, 0.77, 1.0):
            point = (x0 + part * (x1 - x0), y0 + part * (y1 - y0))
            assert naive.inside(point, loops) or min(naive.distance_to_loop(point, loop) for loop in loops) < 1e-6


@settings(deadline=None, max_examples=60)
@given(tangles, angles)
def test_length_times_spacing_is_the_area(rings, angle):
    outline = offset_loops(loops_of(*rings), 0.0)
    area = loops_area_mm2(*outline)
    spacing = 0.02
    # a side that runs along the lines is met by one line more or less: half a spacing of its length at most
    rough = (
        0.5
        * spacing
        * sum(
            math.dist(p, q)
            for ring in rings_of(*outline)
            for p, q in zip(ring, [*ring[1:], ring[0]])
            if abs(math.sin(math.atan2(q[1] - p[1], q[0] - p[0]) - angle)) * math.dist(p, q) < 2 * spacing
        )
    )
    every = filling.parallel_vectors(*outline, spacing, angle, 0.0, 0.0, True)  # in a sliver, all vectors may be short
    assert length(every) * spacing == pytest.approx(area, rel=1e-3, abs=rough + 0.01)


@pytest.mark.parametrize("angle", [0.0, math.pi / 2, math.radians(67), -1.0, 40.0])
@pytest.mark.parametrize("spacing", [0.1, 0.25, 1.0])
def test_rectangle_is_covered(angle, spacing):
    vectors = lines(SQUARE, spacing, angle)
    assert length(vectors) * spacing == pytest.approx(2400.0, rel=1e-3)


def test_lines_lie_centred_and_half_a_spacing_inside():
    vectors = lines(SQUARE, 1.0, 0.0)
    np.testing.assert_allclose(vectors[:, 1], np.arange(40) + 0.5)
    assert (vectors[0::2, 0] == 0.0).all() and (vectors[1::2, 0] == 60.0).all(), "one line there, the next back"
    shifted = lines(SQUARE, 1.0, 0.0, 0.25)
    np.testing.assert_allclose(shifted[:, 1], np.arange(40) + 0.75)


@pytest.mark.parametrize(
    ("phase", "first", "last"), [(-0.4, 0.3, 40.3), (0.0, 0.7, 39.7), (0.4, 0.1, 40.1), (1.4, 0.1, 40.1)]
)
def test_shifted_lines_reach_both_ends(phase, first, last):
    heights = lines(loops_of([(0, 0), (60, 0), (60, 40.4), (0, 40.4)]), 1.0, 0.0, phase)[:, 1]
    np.testing.assert_allclose(heights, np.arange(first, last + 0.5))


def test_strip_narrower_than_the_spacing_keeps_one_line():
    vectors = lines(loops_of([(0, 0), (30, 0), (30, 0.2), (0, 0.2)]), 1.0, 0.0)
    np.testing.assert_allclose(vectors, [[0, 0.1, 30, 0.1]])


def test_hole_parts_a_line_in_two_and_both_run_the_same_way():
    frame = loops_of([(0, 0), (9, 0), (9, 9), (0, 9)], [(3, 3), (3, 6), (6, 6), (6, 3)])
    vectors = lines(frame, 3.0, 0.0)
    np.testing.assert_allclose(vectors, [[0, 1.5, 9, 1.5], [9, 4.5, 6, 4.5], [3, 4.5, 0, 4.5], [0, 7.5, 9, 7.5]])


def test_comb_of_many_teeth_takes_the_long_sort():
    teeth = 200
    corners = [(2.0 * teeth, -1.0), (0.0, -1.0), (0.0, 0.0)]
    for x in range(0, 2 * teeth, 2):
        corners += [(x, 5.0), (x + 1.0, 5.0), (x + 1.0, 0.0), (x + 2.0, 0.0)]
    ring = loops_of(corners[::-1])
    vectors = lines(ring, 0.5, 0.0)
    assert length(vectors) * 0.5 == pytest.approx(abs(loops_area_mm2(*ring)), rel=1e-9)
    np.testing.assert_allclose(vectors, naive.hatch(rings_of(*ring), 0.5, 0.0, 0.0, 0.05))


@pytest.mark.parametrize(
    ("spacing", "angle", "says"),
    [(0.0, 0.0, "positive spacing"), (math.nan, 0.0, "positive spacing"), (1.0, math.inf, "finite angle"),
     (1e-6, 0.0, "make it wider")],
)  # fmt: skip
def test_impossible_hatch_is_a_sentence(spacing, angle, says):
    with pytest.raises(ScanError, match=says):
        lines(SQUARE, spacing, angle)


@settings(deadline=None, max_examples=30)
@given(tangles, st.floats(0.3, 30.0), angles)
def test_one_way_is_the_meander_with_every_vector_along_the_angle(rings, spacing, angle):
    outline = offset_loops(loops_of(*rings), 0.0)
    found, there_and_back = (lines(outline, spacing, angle, fill=fill) for fill in (one_way, meander))
    along = (found[:, 2:] - found[:, :2]) @ [math.cos(angle), math.sin(angle)]
    assert (along > 0.0).all() and len(found) == len(there_and_back)
    backwards = (there_and_back[:, 2:] - there_and_back[:, :2]) @ [math.cos(angle), math.sin(angle)] < 0.0
    forwards = np.where(backwards[:, None], there_and_back[:, [2, 3, 0, 1]], there_and_back)
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, forwards.tolist()))


def test_lines_keep_their_phase_across_holes_and_between_parts():
    parts = loops_of(
        [(0, 0), (30, 0), (30, 30), (0, 30)], [(7.13, 3.3), (7.13, 21.9), (19.2, 21.9), (19.2, 3.3)],
        [(41.7, 3.21), (55, 11.4), (44.4, 27.77)],
    )  # fmt: skip
    for phase in (0.0, 0.3):
        angle = math.radians(67)
        vectors = lines(parts, 0.25, angle, phase)
        across = (vectors[:, 1::2] * math.cos(angle) - vectors[:, 0::2] * math.sin(angle)) / 0.25
        steps = (across - across[0, 0]).ravel()
        assert len(set(steps.round())) > 100
        np.testing.assert_allclose(steps, steps.round(), atol=1e-9)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("corner", [0, 1, 3])
def test_coordinate_that_is_no_number_is_a_sentence(bad, corner):
    for axis in (0, 1):
        points = SQUARE[0].copy()
        points[corner, axis] = bad
        with pytest.raises(ScanError, match="no number"):
            lines((points, SQUARE[1]), 1.0, 0.0)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([meander, one_way]), st.floats(-3.0, 3.0), st.floats(-1.0, 1.0))
def test_numbers_turn_with_the_part(fill, turn, angle):
    corners, starts = loops_of([(1.3, 2.1), (40.7, 5.5), (33.1, 29.9), (8.8, 31.2)], [(15, 11), (15, 20), (23, 20)])
    there = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    found = lines((corners, starts), 0.777, angle, 0.217, fill)
    turned = lines((corners @ there, starts), 0.777, angle + turn, 0.217, fill)
    np.testing.assert_allclose((found.reshape(-1, 2) @ there).reshape(-1, 4), turned, atol=1e-9)


@settings(deadline=None)
@given(tangles, coordinate, coordinate)
def test_loops_are_traced_nearest_first(rings, x, y):
    points, starts = loops_of(*rings)
    found = trace_loops(points, starts, (x, y))
    expected = naive.trace_nearest(rings_of(points, starts), x, y)
    np.testing.assert_array_equal(found, np.array(expected))

"""Do rings, spiral and Hilbert's curve fill the loops, stay inside them and run on unbroken where they can?"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from solid_helpers import loops_of, rings_of

from slicer.errors import ScanError
from slicer.hatching import HatchSettings, curves
from slicer.hatching.curves import concentric, concentric_outward, hilbert, spiral
from slicer.kernels import curving
from slicer.layers import loops_area_mm2
from slicer.offsets import offset_loops
from tests import naive

CURVES = [concentric, concentric_outward, spiral, hilbert]
coordinate = st.integers(-100, 100).map(lambda n: n / 10)
tangles = st.lists(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=8), min_size=1, max_size=3)
angles = st.floats(-7.0, 7.0)


def length(vectors: np.ndarray) -> float:
    return float(np.hypot(vectors[:, 2] - vectors[:, 0], vectors[:, 3] - vectors[:, 1]).sum())


def perimeter(rings) -> float:
    return sum(math.dist(p, q) for ring in rings for p, q in zip(ring, [*ring[1:], ring[0]]))


def box(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def disc(radius: float, corners: int = 200) -> list[tuple[float, float]]:
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return [(radius * math.cos(t), radius * math.sin(t)) for t in turn]


def check_against(twin, found, others):
    """Compare with a twin where no last digit decides: all its neighbours have as many vectors in the same chains."""
    for other in others:
        assume([chain for chain, _ in other] == [chain for chain, _ in twin])
    assert found.tile.tolist() == [chain for chain, _ in twin]
    np.testing.assert_allclose(found.vectors_mm, np.array([v for _, v in twin]).reshape(-1, 4), atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(tangles, st.floats(0.6, 4.0), angles, st.floats(-1.0, 1.0), st.integers(16, 40))
def test_spiral_agrees_with_its_twin(rings, spacing, angle, phase, rays):
    outline = offset_loops(loops_of(*rings), 0.0)
    assume(len(outline[0]) > 0)
    sides, short = rings_of(*outline), 0.1 * spacing
    twin = naive.spiral(sides, spacing, angle, phase, short, rays)
    others = [
        naive.spiral(sides, spacing, angle, phase + more, short * (1 + longer), rays)
        for more, longer in ((1e-8, 0.0), (-1e-8, 0.0), (0.0, 1e-6))
    ]
    vectors, chain = curves.spiral_chains(*outline, angle, HatchSettings(spacing, phase=phase), rays)
    check_against(twin, curves.Hatched.numbered(vectors, chain), others)


@settings(deadline=None, max_examples=30)
@given(tangles, st.floats(1.0, 6.0), angles, st.floats(-1.0, 1.0))
def test_hilbert_agrees_with_its_twin(rings, spacing, angle, phase):
    outline = offset_loops(loops_of(*rings), 0.0)
    assume(len(outline[0]) > 0)
    sides, short = rings_of(*outline), 0.1 * spacing
    twin = naive.hilbert(sides, spacing, angle, phase, short)
    others = [
        naive.hilbert(sides, spacing, angle + turn, phase + more, short * (1 + longer))
        for turn, more, longer in ((0.0, 1e-8, 0.0), (0.0, -1e-8, 0.0), (1e-9, 0.0, 0.0), (0.0, 0.0, 1e-6))
    ]
    check_against(twin, hilbert(*outline, angle, HatchSettings(spacing, phase=phase)), others)


@settings(deadline=None, max_examples=30)
@given(tangles, st.floats(0.4, 3.0), angles)
def test_rings_come_in_the_order_of_their_twin(rings, spacing, angle):
    outline = offset_loops(loops_of(*rings), 0.0)
    assume(len(outline[0]) > 0)
    loops = [rings_of(*ring) for ring in curves.rings_of(*outline, HatchSettings(spacing))]
    every = [ring for ones in loops for ring in ones]
    assume(every)
    level = np.repeat(np.arange(len(loops)), [len(ones) for ones in loops])
    direction = (math.cos(angle), math.sin(angle))
    expected = naive.ring_order(every, level, direction)
    assert curving.ring_order(*loops_of(*every), level, *direction).tolist() == expected
    found = concentric(*outline, angle, HatchSettings(spacing))
    assert [int((found.tile == i).sum()) for i in range(len(every))] == [len(every[ring]) for ring in expected]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(CURVES), tangles, st.floats(0.5, 4.0), angles, st.sampled_from([0.0, 0.5, 0.3, -0.45, 7.7]))
def test_no_vector_leaves_the_area(curve, rings, spacing, angle, phase):
    outline = offset_loops(loops_of(*rings), 0.0)
    loops = rings_of(*outline)
    vectors = curve(*outline, angle, HatchSettings(spacing, phase=phase)).vectors_mm
    for x0, y0, x1, y1 in vectors[:: 1 + len(vectors) // 100].tolist():
        for part in (0.0, 0.1, 0.5, 0.77, 1.0):
            point = (x0 + part * (x1 - x0), y0 + part * (y1 - y0))
            assert naive.inside(point, loops) or min(naive.distance_to_loop(point, loop) for loop in loops) < 1e-9


@settings(deadline=None, max_examples=50)
@given(st.sampled_from([spiral, hilbert]), tangles, angles, st.floats(-1.0, 1.0))
def test_length_times_spacing_is_the_area_but_for_the_outline(curve, rings, angle, phase):
    """Each cell (each bit of a turn) stands for a spacing squared: only those on the outline are in doubt."""
    outline = offset_loops(loops_of(*rings), 0.0)
    assume(len(outline[0]) > 0)
    spacing = 0.05
    found = curve(*outline, angle, HatchSettings(spacing, phase=phase))
    # cells on the outline: at most 4 / sqrt(2) a spacing of it and 4 a loop; on average they are right by half
    doubt = spacing * (perimeter(rings_of(*outline)) + 4 * spacing * (len(outline[1]) - 1)) + 4 * spacing**2
    assert length(found.vectors_mm) * spacing == pytest.approx(loops_area_mm2(*outline), rel=1e-3, abs=doubt)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([concentric, concentric_outward]), tangles, angles)
def test_rings_hold_the_area_but_for_their_changes_of_length(curve, rings, angle):
    """The area is the integral of the rings' length over depth; a midpoint sum misses half a step of its changes."""
    outline = offset_loops(loops_of(*rings), 0.0)
    assume(len(outline[0]) > 0)
    spacing = 0.2
    found = curve(*outline, angle, HatchSettings(spacing))
    lengths = [perimeter(rings_of(*offset_loops(outline, -depth))) for depth in np.arange(0.0, 15.0, 0.25 * spacing)]
    doubt = 0.5 * spacing * sum(abs(b - a) for a, b in pairwise([*lengths, 0.0]))
    assert length(found.vectors_mm) * spacing == pytest.approx(loops_area_mm2(*outline), rel=5e-3, abs=doubt)


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("angle", [0.0, math.radians(67), -1.0])
def test_large_plate_is_covered(curve, angle):
    plate = loops_of(box(3, 5, 63, 45), box(20, 20, 40, 30)[::-1])
    found = curve(*plate, angle, HatchSettings(0.1))
    assert length(found.vectors_mm) * 0.1 == pytest.approx(60 * 40 - 20 * 10, rel=2e-3)


def test_rings_of_a_square_lie_one_spacing_apart_and_begin_at_one_corner():
    found = concentric(*loops_of(box(0, 0, 10, 10)), math.radians(40), HatchSettings(1.0))
    assert found.tile.tolist() == [ring for ring in range(5) for _ in range(4)]
    assert found.vectors_mm.min(axis=1)[::4].tolist() == pytest.approx([0.5, 1.5, 2.5, 3.5, 4.5])
    np.testing.assert_allclose(found.vectors_mm[::4, :2], [[9.5 - k, 9.5 - k] for k in range(5)], atol=1e-6)
    np.testing.assert_array_equal(found.vectors_mm[3::4, 2:], found.vectors_mm[::4, :2])
    outward = concentric_outward(*loops_of(box(0, 0, 10, 10)), math.radians(40), HatchSettings(1.0))
    np.testing.assert_allclose(outward.vectors_mm[::4, :2], [[5.5 + k, 5.5 + k] for k in range(5)], atol=1e-6)


def test_rings_finish_a_pocket_before_the_next():
    """A dumbbell: its two ends fall apart on the way inward."""
    bar = loops_of(
        [(0, 0), (10, 0), (10, 4), (20, 4), (20, 0), (30, 0), (30, 10), (20, 10), (20, 6), (10, 6), (10, 10), (0, 10)]
    )
    found = concentric(*bar, 0.0, HatchSettings(0.8))
    last = sum(len(loops[1]) - 1 for loops in curves.rings_of(*bar, HatchSettings(0.8))) - 1  # cores stand behind
    right = [bool(found.vectors_mm[found.tile == ring][0, 0] > 15.0) for ring in range(2, last + 1)]
    assert sum(a != b for a, b in pairwise(right)) == 1


@pytest.mark.parametrize("way", [concentric, concentric_outward])
def test_a_core_narrower_than_a_spacing_gets_a_line_in_its_middle(way):
    """Three rings of 1 mm take 6 mm of a bar of 6.6 mm; what is left is a strip of 0.6 mm."""
    found = way(*loops_of(box(0, 0, 20, 6.6)), 0.3, HatchSettings(1.0))
    core = found.vectors_mm[found.tile == found.tile.max()]
    assert len(core) == 1 and core[0, 1::2] == pytest.approx(3.3, abs=0.02)
    assert length(core) == pytest.approx(20 - 6 - 0.6, abs=1.1)


def test_spiral_through_a_disc_is_one_chain_with_turns_one_spacing_apart():
    found = spiral(*loops_of(disc(10.0)), 0.4, HatchSettings(0.5))
    inner = found.vectors_mm[found.tile == 0]
    np.testing.assert_allclose(inner[1:, :2], inner[:-1, 2:], atol=1e-12)
    assert length(inner) > 0.95 * length(found.vectors_mm)
    turn, radius = np.unwrap(np.arctan2(inner[1:, 1], inner[1:, 0])), np.hypot(inner[1:, 0], inner[1:, 1])
    assert np.polyfit(turn / (2 * math.pi), radius, 1)[0] == pytest.approx(0.5, rel=1e-2)
    assert turn[0] == pytest.approx(0.4, abs=0.2)


def test_hilbert_through_its_own_square_is_one_chain_that_visits_every_cell():
    found = hilbert(*loops_of(box(0, 0, 14.0, 14.0)), 0.0, HatchSettings(1.0))
    assert length(found.vectors_mm) * 1.0 == pytest.approx(14.0 * 14.0, rel=0.06)
    cells = set()
    for x0, y0, x1, y1 in found.vectors_mm:
        steps = round(max(abs(x1 - x0), abs(y1 - y0)))
        assert min(abs(x1 - x0), abs(y1 - y0)) == 0.0 and steps <= 3
        cells |= {
            (int(x0 + (x1 - x0) * i / max(steps, 1)), int(y0 + (y1 - y0) * i / max(steps, 1))) for i in range(steps + 1)
        }
    assert {(i, j) for i in range(14) for j in range(14)} <= cells


@pytest.mark.parametrize("curve", [spiral, hilbert])
def test_a_chain_is_unbroken_and_the_next_begins_elsewhere(curve):
    plate = loops_of(box(-13, -11, 17, 9), box(-3, -4, 8, 3)[::-1])
    found = curve(*plate, 0.3, HatchSettings(0.7))
    gap = np.hypot(*(found.vectors_mm[1:, :2] - found.vectors_mm[:-1, 2:]).T)
    same = np.diff(found.tile) == 0
    assert gap[same].max() < 1e-9 < gap[~same].min() and set(np.diff(found.tile)) == {0, 1}


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(CURVES), st.floats(-3.0, 3.0), st.floats(-1.0, 1.0))
def test_numbers_turn_with_the_part(curve, turn, angle):
    part = loops_of([(1.3, 2.1), (20.7, 5.5), (17.1, 19.9), (4.8, 21.2)], box(9.2, 9.1, 12.7, 13.3)[::-1])
    there = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    chosen = HatchSettings(0.777, phase=0.217)
    found, turned = curve(*part, angle, chosen), curve(part[0] @ there, part[1], angle + turn, chosen)
    rounded = 1e-9 if curve in (spiral, hilbert) else 2e-6  # offsets count in steps of 1e-8 mm along x and y
    if curve in (spiral, hilbert):
        assert found.tile.tolist() == turned.tile.tolist()
        at = (found.vectors_mm.reshape(-1, 2) @ there).reshape(-1, 4)
        np.testing.assert_allclose(at, turned.vectors_mm, atol=rounded)
    else:
        rings = sum(len(loops[1]) - 1 for loops in curves.rings_of(*part, chosen))
        of_rings, of_turned = (
            fill.vectors_mm[fill.tile < rings] for fill in (found, turned)
        )  # a core may end elsewhere
        assert length(of_rings) == pytest.approx(length(of_turned), rel=1e-4)
        assert rings == sum(len(loops[1]) - 1 for loops in curves.rings_of(part[0] @ there, part[1], chosen))
        assert length(found.vectors_mm) == pytest.approx(length(turned.vectors_mm), rel=0.02)


@pytest.mark.parametrize("curve", CURVES)
def test_impossible_curves_are_a_sentence(curve):
    with pytest.raises(ScanError, match="wider"):
        curve(*loops_of(box(0, 0, 60, 40)), 0.0, HatchSettings(1e-4))
    with pytest.raises(ScanError, match="finite angle"):
        curve(*loops_of(box(0, 0, 60, 40)), math.nan, HatchSettings(1.0))
    assert len(curve(*loops_of(), 0.0, HatchSettings(1.0))) == 0


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("side", [0.01, 5.02])  # the first ring of the second is smaller than a beam can draw
def test_a_part_no_wider_than_the_spacing_is_no_fault(curve, side):
    assert len(curve(*loops_of(box(0, 0, side, side)), 0.3, HatchSettings(5.0))) <= 20


@pytest.mark.parametrize(("width", "length"), [(0.9, 18.0), (0.81, 18.0), (0.7, 18.0), (1.7, 9.0)])
def test_rings_leave_no_bar_where_they_vanish(width, length):
    """A ring that is too thin to draw is none: a line runs in the middle of what it would have surrounded."""
    bar = loops_of([(0, 0), (length, 0), (length, width), (0, width)])
    hatched = concentric(*bar, 0.3, HatchSettings(0.8))
    along = np.ptp(hatched.vectors_mm[:, 0::2])
    assert along > length - width - 0.1 and np.abs(hatched.vectors_mm[:, 1::2] - width / 2).max() < width / 2


def test_the_middle_of_a_disc_is_exposed():
    turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    for radius in np.linspace(2.0, 3.0, 11):
        hatched = concentric(
            *loops_of(list(zip(radius * np.cos(turn), radius * np.sin(turn)))), 0.0, HatchSettings(0.5)
        )
        assert np.hypot(*hatched.vectors_mm[:, :2].T).min() < 0.5

"""Are the return times of a path those of every pair, and can any path be made to keep one?"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solid_helpers import Parameters, box
from test_ordering import ORIGIN, hatched, islands, lines

from slicer.errors import ScanError
from slicer.fill import fill_layer
from slicer.layers import cut_layers
from slicer.ordering import ORDERS, OrderSettings
from slicer.scan import KIND_CONTOUR, KIND_HATCH, ScanPath
from slicer.thermal import return_time_histogram, return_times, with_return_time
from tests import naive

JUMP_SPEED = 400.0
coordinate = st.integers(-150, 150).map(lambda n: n / 10)
corners = st.lists(st.tuples(coordinate, coordinate), min_size=2, max_size=12)


@st.composite
def paths(draw: st.DrawFn) -> ScanPath:
    """Chains and single vectors, some with a wait, at speeds of their own."""
    chains = draw(st.lists(corners, min_size=1, max_size=4))
    if draw(st.booleans()):
        chains[0].append(chains[0][0])
    vectors = np.array([[*a, *b] for chain in chains for a, b in pairwise(chain)], np.float64)
    n = len(vectors)
    waits = draw(st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.5]), min_size=n, max_size=n))
    speeds = draw(st.lists(st.sampled_from([20.0, 50.0]), min_size=n, max_size=n))
    return replace(
        ScanPath.uniform(vectors, KIND_HATCH, 100.0, 50.0), wait_s=np.array(waits), speed_mm_s=np.array(speeds)
    )


def judged(path: ScanPath, radius: float) -> np.ndarray:
    return naive.return_times(path.vectors_mm, path.wait_s, path.speed_mm_s, JUMP_SPEED, path.vectors_mm[0, :2], radius)


@settings(deadline=None, max_examples=150)
@given(paths(), st.floats(0.1, 20.0))
def test_return_times_are_those_of_every_pair(path, radius):
    np.testing.assert_allclose(return_times(path, radius, JUMP_SPEED), judged(path, radius), atol=1e-9)


@settings(deadline=None, max_examples=150)
@given(paths(), st.floats(0.1, 20.0), st.floats(0.0, 4.0))
def test_any_path_can_be_made_to_keep_a_return_time(path, radius, return_time_s):
    held = with_return_time(path, return_time_s, radius, JUMP_SPEED)
    assert judged(held, radius).min() >= return_time_s - 1e-9
    assert (held.wait_s >= path.wait_s).all(), "waits that the path has stay"
    assert np.array_equal(held.vectors_mm, path.vectors_mm)


def test_no_wait_is_longer_than_it_must_be():
    path = ScanPath.uniform(lines(8), KIND_HATCH, 100.0, 50.0)
    held = with_return_time(path, 1.0, 1.5, JUMP_SPEED)
    found = return_times(held, 1.5, JUMP_SPEED)[1:]
    assert (found >= 1.0).all() and (found < 1.001).all(), "waits are whole milliseconds"
    assert with_return_time(held, 1.0, 1.5, JUMP_SPEED).wait_s.tolist() == held.wait_s.tolist()


def test_layer_with_contours_keeps_it_and_orders_make_it_cheap():
    layer = cut_layers(box(24.0, 16.0, 1.0), 1.0)[0]
    path = fill_layer(layer, Parameters(hatch_rotation_deg=0.0))
    hatch = path.of_kind(KIND_HATCH)
    found = ORDERS["return_time"](hatched(hatch.vectors_mm), 50.0, JUMP_SPEED, ORIGIN, OrderSettings(0.0, 2.0, 0.5))
    interleaved = replace(hatch, vectors_mm=found.vectors_of(hatched(hatch.vectors_mm)), wait_s=found.wait_s)
    laid = with_return_time(path, 2.0, 0.5, JUMP_SPEED)
    better = with_return_time(ScanPath.concat([path.of_kind(KIND_CONTOUR), interleaved]), 2.0, 0.5, JUMP_SPEED)
    for held in (laid, better):
        assert judged(held, 0.5).min() >= 2.0 - 1e-9
    assert better.wait_s.sum() < 0.05 * laid.wait_s.sum()


def test_meander_is_back_at_once_and_the_order_is_not():
    hatch = hatched(lines(40))
    speed = np.full(40, 50.0)
    meander = ScanPath.uniform(hatch.vectors_mm, KIND_HATCH, 100.0, 50.0)
    assert return_times(meander, 1.5, JUMP_SPEED)[1:].max() == pytest.approx(1.0 / JUMP_SPEED)
    found = ORDERS["return_time"](hatch, 50.0, JUMP_SPEED, ORIGIN, OrderSettings(0.0, 1.0, 1.5))
    path = ScanPath(found.vectors_of(hatch), meander.kind, meander.power_w, speed, wait_s=found.wait_s)
    assert return_times(path, 1.5, JUMP_SPEED).min() >= 1.0 - 1e-9


def test_ring_closes_freely_only_if_it_was_run_from_its_beginning():
    """Its last side ends a millimetre from its second. A wait before the second cuts the run."""
    ring = [(0.0, 0.0), (1.0, 0.0), (20.0, 10.0), (0.0, 10.0), (0.0, 0.0)]
    path = ScanPath.uniform(np.array([[*a, *b] for a, b in pairwise(ring)]), KIND_CONTOUR, 100.0, 50.0)
    assert return_times(path, 3.0, JUMP_SPEED).tolist() == [math.inf] * 4
    paused = replace(path, wait_s=np.array([0.0, 0.5, 0.0, 0.0]))
    assert return_times(paused, 3.0, JUMP_SPEED).tolist() == pytest.approx([math.inf, 0.5, math.inf, 20.0 / 50.0])


def test_heads_work_side_by_side():
    """Two lines a millimetre apart, exposed by two heads at once: one is still at it when the other begins."""
    two = ScanPath.uniform(lines(2), KIND_HATCH, 100.0, 50.0)
    assert return_times(two, 1.5, JUMP_SPEED)[1] == pytest.approx(1.0 / JUMP_SPEED)
    split = replace(two, beam=np.array([0, 1], np.uint8))
    assert return_times(split, 1.5, JUMP_SPEED).tolist() == [math.inf, pytest.approx(-0.2)]
    late = replace(split, wait_s=np.array([0.0, 0.7]))
    assert return_times(late, 1.5, JUMP_SPEED)[1] == pytest.approx(0.5)
    with pytest.raises(ScanError, match="one head"):
        with_return_time(split, 1.0, 1.5, JUMP_SPEED)


def test_heads_may_stand_mixed_in_a_path():
    hatch = islands(4, 4)
    path = ScanPath.uniform(hatch.vectors_mm, KIND_HATCH, 100.0, 50.0)
    path = replace(path, beam=(hatch.tile % 2).astype(np.uint8))
    sorted_by_head = np.argsort(path.beam, kind="stable")
    apart = ScanPath(*(getattr(path, column.name)[sorted_by_head] for column in fields(ScanPath)))
    found = return_times(path, 1.0, JUMP_SPEED)
    assert found[sorted_by_head].tolist() == return_times(apart, 1.0, JUMP_SPEED).tolist()


def test_histogram_holds_all_of_the_length():
    returns_s = np.array([math.inf, -1.0, 1e-9, 0.02, 5.0, 1e6])
    lengths = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    found = return_time_histogram(returns_s, lengths, bins=20)
    assert found.first_mm == 1.0 and found.length_mm.sum() == 62.0 and found.least_s == -1.0
    assert found.length_mm[0] == 6.0 and found.length_mm[-1] == 32.0
    at = int(np.searchsorted(found.edges_s, 5.0)) - 1
    assert found.length_mm[at] == 16.0
    nothing = return_time_histogram(np.zeros(0), np.zeros(0))
    assert nothing.least_s == math.inf and nothing.length_mm.sum() == 0.0


def test_empty_path_has_no_return_times():
    assert return_times(ScanPath.empty(), 1.0, 1.0).shape == (0,)
    assert len(with_return_time(ScanPath.empty(), 1.0, 1.0, 1.0)) == 0


@pytest.mark.parametrize(
    ("radius", "jump_speed", "says"), [(0.0, 1.0, "radius_mm is 0"), (1.0, math.nan, "jump_speed")]
)
def test_impossible_numbers_are_a_sentence(radius, jump_speed, says):
    path = ScanPath.uniform(lines(3), KIND_HATCH, 100.0, 50.0)
    with pytest.raises(ScanError, match=says):
        return_times(path, radius, jump_speed)
    with pytest.raises(ScanError, match=says):
        with_return_time(path, 1.0, radius, jump_speed)
    with pytest.raises(ScanError, match="return_time_s is -1"):
        with_return_time(path, -1.0, 1.0, 1.0)

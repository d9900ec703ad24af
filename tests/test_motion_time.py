"""Is the build time what a look-ahead controller needs? Worked examples, a slow twin, and what must always hold."""

from __future__ import annotations

from itertools import pairwise

import naive
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from job_helpers import BENCH, square_layer

from slicer.motion_time import chain_times_s, path_time
from slicer.scan import ScanPath


def seconds(corners, speed=50.0):
    return chain_times_s(np.array(corners, float), np.full(len(corners) - 1, float(speed)), BENCH).sum()


@pytest.mark.parametrize(
    ("corners", "expected_s"),
    [
        ([(0, 0), (40, 0)], 0.9000),  # E1: a trapezoid; a real Grbl's step pulses gave 0.8962 s
        ([(0, 0), (20, 0), (20, 20)], 0.9866),  # E2m: a 90 degree corner at 3.474 mm/s by Marlin's junction deviation
        ([(0, 0), (2, 0)], 0.1265),  # E4: a triangle, peak 31.6 mm/s
    ],
)
def test_worked_examples_at_500_mm_s2_and_50_mm_s(corners, expected_s):
    assert seconds(corners) == pytest.approx(expected_s, abs=5e-5)


def test_a_straight_line_in_pieces_takes_as_long_as_in_one():
    assert seconds([(0, 0), (7, 0), (7.3, 0), (40, 0)]) == pytest.approx(seconds([(0, 0), (40, 0)]), rel=1e-9)


def test_a_move_without_length_changes_nothing():
    assert seconds([(0, 0), (20, 0), (20, 0), (20, 20)]) == pytest.approx(seconds([(0, 0), (20, 0), (20, 20)]))


def test_a_reversal_stops_at_the_turn():
    assert seconds([(0, 0), (20, 0), (0, 0)]) == pytest.approx(2 * seconds([(0, 0), (20, 0)]))


def test_speeds_over_the_gantry_s_limit_are_held_to_it():
    assert seconds([(0, 0), (200, 0)], 500.0) == pytest.approx(seconds([(0, 0), (200, 0)], BENCH.speed_mm_s_max))


coordinate = st.floats(0, 100, allow_nan=False).map(lambda v: round(v, 2))
corner_lists = st.lists(st.tuples(coordinate, coordinate), min_size=2, max_size=25)


@given(corner_lists, st.integers(0, 2**31))
def test_kernel_and_slow_twin_agree(corners, seed):
    cruise = np.random.default_rng(seed).uniform(0.5, 100.0, len(corners) - 1)
    found = chain_times_s(np.array(corners), cruise, BENCH)
    slow = naive.motion_seconds(corners, cruise.tolist(), BENCH.acceleration_mm_s2, BENCH.junction_deviation_mm)
    np.testing.assert_allclose(found, slow, rtol=1e-6, atol=1e-9)


step = st.tuples(st.sampled_from([0.02, 0.2, 0.9, 1.1, 6.0]), st.sampled_from([-50.0, -10.0, 0.0, 1.0, 30.0, 170.0]))


@example([(6.0, 0.0)] * 3 + [(0.9, 3.0)] + [(6.0, 0.0)] * 3, 100.0)  # fast into a short move that turns a little
@given(st.lists(step, min_size=2, max_size=40), st.sampled_from([5.0, 50.0, 100.0]))
def test_kernel_and_slow_twin_agree_on_fine_curves(steps, cruise):
    """Short moves that turn little are where the look-ahead and the small-segment rule decide."""
    headings = np.radians(np.cumsum([turn for _, turn in steps]))
    lengths = np.array([length for length, _ in steps])
    moves = np.stack([lengths * np.cos(headings), lengths * np.sin(headings)], axis=1)
    corners = np.concatenate([np.zeros((1, 2)), np.cumsum(moves, axis=0)])
    found = chain_times_s(corners, np.full(len(steps), cruise), BENCH)
    slow = naive.motion_seconds(corners.tolist(), [cruise] * len(steps), 500.0, 0.01)
    np.testing.assert_allclose(found, slow, rtol=1e-6)


@given(corner_lists)
def test_no_chain_is_faster_than_its_speeds_allow(corners):
    length = sum(np.hypot(*(np.subtract(b, a))) for a, b in pairwise(corners))
    assert seconds(corners) >= length / 50.0 - 1e-9


def test_a_path_is_its_vectors_and_the_jumps_between_them():
    path = square_layer(0).path
    moves = naive.scan_moves(path.vectors_mm.tolist(), path.speed_mm_s.tolist(), 100.0)
    corners = [moves[0][0], *(end for _, end, _, _ in moves)]
    slow = np.array(naive.motion_seconds(corners, [speed for _, _, speed, _ in moves], 500.0, 0.01))
    on = np.array([is_vector for *_, is_vector in moves])
    time = path_time(path, BENCH, 100.0)
    assert 0 < (~on).sum() < len(moves)
    assert time.beam_on_s == pytest.approx(slow[on].sum())
    assert time.jumping_s == pytest.approx(slow[~on].sum())
    assert time.total_s > path.exposure_time_s


def test_an_empty_path_takes_no_time():
    assert path_time(ScanPath.empty(), BENCH).total_s == 0.0

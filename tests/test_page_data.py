"""When does each vector begin and end, and do the page's lists and roundings hold what they say?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_helpers import BENCH, square_layer

from slicer.motion_time import path_time
from slicer.page_data import BACK_LEAST_S, BACK_STEPS, NEVER, PageView, pack_layer, vector_times_s
from slicer.scan import KIND_HATCH, ScanPath

places = st.integers(0, 20).map(float)


@given(st.lists(st.tuples(places, places, places, places), min_size=1, max_size=12))
def test_the_times_add_up_to_the_layers(corners):
    vectors = np.array([v for v in corners if v[:2] != v[2:]]).reshape(-1, 4)
    path = ScanPath.uniform(vectors, KIND_HATCH, 100.0, 50.0)
    begin_s, end_s = vector_times_s(path, BENCH, 80.0)
    time = path_time(path, BENCH, 80.0)
    assert (end_s - begin_s).sum() == pytest.approx(time.beam_on_s, rel=1e-9, abs=1e-12)
    assert end_s.max(initial=0.0) == pytest.approx(time.total_s, rel=1e-9, abs=1e-12)
    assert (np.diff(begin_s) > 0).all() and (begin_s[1:] >= end_s[:-1] - 1e-12).all()


def waiting(gap_mm: float, *wait_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Times of two vectors of 10 mm, 50 mm/s and 500 mm/s2 with a jump of `gap_mm` between, after these waits."""
    vectors = np.array([[0.0, 0, 10, 0], [10, gap_mm, 0, gap_mm]])
    path = replace(ScanPath.uniform(vectors, KIND_HATCH, 100.0, 50.0), wait_s=np.array(wait_s))
    times = vector_times_s(path, BENCH, 50.0)
    assert times[1].max() == pytest.approx(path_time(path, BENCH, 50.0).total_s, abs=0.21), "but for rests"
    return times


def test_a_wait_holds_the_beam_before_its_vector():
    begin_s, end_s = waiting(10.0, 1.0, 3.0)
    np.testing.assert_allclose(end_s - begin_s, 0.3, atol=0.01)
    assert begin_s[0] == pytest.approx(1.0, abs=0.11), "a controller may gather moves for 0.1 s"
    assert begin_s[1] - end_s[0] == pytest.approx(0.3 + 3.0, abs=0.11), "jump, wait"


def test_without_waits_the_beam_jumps_at_once():
    begin_s, end_s = waiting(10.0, 0.0, 0.0)
    assert begin_s[0] == 0.0 and begin_s[1] - end_s[0] < 0.31


def test_heads_begin_together():
    path = ScanPath.uniform(np.array([[0.0, 0, 10, 0], [50, 0, 60, 0], [10, 0, 20, 0]]), KIND_HATCH, 100.0, 50.0)
    begin_s, end_s = vector_times_s(replace(path, beam=np.array([0, 1, 0], np.uint8)), BENCH)
    np.testing.assert_allclose(begin_s[:2], 0.0)
    assert end_s[1] == pytest.approx(0.3) and begin_s[2] == end_s[0]


def packed(path, back_s=None):
    layer = replace(square_layer(0), path=path)
    back_s = np.ones(len(path)) if back_s is None else back_s
    return pack_layer(layer, PageView(0.0, 0.0, 65.535), vector_times_s(path, BENCH), back_s)


def test_few_powers_are_kept_as_they_are():
    path = square_layer(0).path
    assert packed(path)["powers_w"] == [80.0, 100.0]


def test_many_powers_become_even_levels():
    n = 1000
    vectors = np.stack([np.arange(n) * 0.06, np.zeros(n), np.arange(n) * 0.06 + 0.05, np.zeros(n)], axis=1)
    path = replace(ScanPath.uniform(vectors, KIND_HATCH, 100.0, 50.0), power_w=np.linspace(50.0, 101.0, n))
    levels = packed(path)["powers_w"]
    assert len(levels) == 256 and levels[0] == 50.0 and levels[-1] == 101.0
    np.testing.assert_allclose(np.diff(levels), 0.2)


def test_return_times_beyond_the_page_s_decades_stay_at_their_ends():
    import base64

    path = square_layer(0).path
    back_s = np.array([np.inf, 0.0, -1.0, 1e-4, 1.0, 1e300, 10.0])
    found = packed(path, back_s)
    n, p = found["vectors"], found["points"]
    at = 8 * n + 4 * p + 4 * (found["loops"] + 1) + 4 * n + 2 * n
    codes = np.frombuffer(base64.b64decode(found["data"]), "<u2", n, at)
    decade = round(-np.log10(BACK_LEAST_S)) * BACK_STEPS
    assert codes.tolist() == [NEVER, 0, 0, 0, decade, NEVER - 1, decade + BACK_STEPS]

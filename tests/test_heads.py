"""Is a plate split among heads without a gap, with equal work, and with seams that overlap as asked?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solid_helpers import Parameters, box

from slicer.errors import ScanError
from slicer.fill import fill_layer
from slicer.heads import Head, seams_mm, split_among, times_s
from slicer.layers import cut_layers
from slicer.scan import KIND_HATCH, ScanPath

PATH = fill_layer(cut_layers(box(60, 40, 2), 2.0)[0], Parameters())
WHOLE = [Head(-10.0, 70.0)] * 2

vectors = st.lists(
    st.tuples(*[st.floats(0, 60)] * 4).filter(lambda v: np.hypot(v[2] - v[0], v[3] - v[1]) > 0.01),
    min_size=1,
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(vectors, st.integers(1, 5), st.floats(0, 1), st.integers(0, 9))
def test_nothing_is_lost_and_seams_are_exposed_twice_over_their_width(rows, count, stitch, layer):
    path = ScanPath.uniform(np.array(rows), KIND_HATCH, 50.0, 10.0)
    heads = [Head(-10.0, 70.0)] * count
    split = split_among(path, heads, stitch, layer)
    seams = seams_mm(path, heads, stitch, layer)
    twice = 0.0
    for x0, y0, x1, y1 in rows:
        slant = np.hypot(x1 - x0, y1 - y0) / abs(x1 - x0) if x1 != x0 else 0.0
        for seam in seams:
            low, high = sorted((x0, x1))
            if low < seam < high:
                twice += slant * (min(seam + stitch / 2, high) - max(seam - stitch / 2, low))
    assert split.length_mm == pytest.approx(path.length_mm + twice, rel=1e-6, abs=1e-6)
    assert (np.diff(split.beam.astype(int)) >= 0).all() and split.beam.max() < count
    edges = [-np.inf, *seams, np.inf]
    for x0, _, x1, _ in split.vectors_mm[split.beam == 0]:
        assert max(x0, x1) <= edges[1] + stitch / 2 + 1e-9


@pytest.mark.parametrize("count", [2, 3, 4])
def test_all_heads_are_busy_for_the_same_time(count):
    split = split_among(PATH, [Head(-10.0, 70.0)] * count)
    assert times_s(split) == pytest.approx(np.full(count, PATH.exposure_time_s / count), rel=1e-3)


def test_a_seam_stays_where_both_heads_reach():
    seams = seams_mm(PATH, [Head(0.0, 20.0), Head(15.0, 60.0)])
    assert seams == [pytest.approx(20.0)], "the left head takes all it can"
    assert times_s(split_among(PATH, [Head(0.0, 20.0), Head(15.0, 60.0)]))[0] < 0.35 * PATH.exposure_time_s


def test_seams_do_not_stand_above_each_other():
    seams = [seams_mm(PATH, WHOLE, 0.5, layer)[0] for layer in range(8)]
    assert len({round(seam, 6) for seam in seams}) == 8 and max(seams) - min(seams) <= 1.0 + 1e-9


def test_one_head_keeps_the_path():
    split = split_among(PATH, [Head(0.0, 60.0)])
    np.testing.assert_array_equal(split.vectors_mm, PATH.vectors_mm)


@pytest.mark.parametrize(
    ("heads", "stitch", "sentence"),
    [
        ([], 0.0, "not 0"),
        ([Head(0, 20), Head(30, 60)], 0.0, "side by side"),
        ([Head(0, 31), Head(30, 60)], 2.0, "2 mm in common"),
        ([Head(0, 20), Head(10, 50)], 0.0, "place the part under them"),
        (WHOLE, float("nan"), "A stitch is 0 mm or more"),
    ],
)
def test_heads_that_cannot_do_it_are_refused(heads, stitch, sentence):
    with pytest.raises(ScanError, match=sentence):
        split_among(PATH, heads, stitch)

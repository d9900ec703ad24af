"""Does the quick check of a layer refuse exactly what the slow one refuses?"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from export_helpers import golden_layers, job_layers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from job_helpers import BENCH

from slicer.exporters.source import check
from slicer.job import JobError, check_layer
from slicer.scan import ScanPath

BAD = [np.nan, np.inf, -np.inf, -1.0, 0.0, -0.0004, -0.0006, 1e300, 250.0004, 250.0006, 150.0006, 201.0, 99.0, 255.0]


def refusal(checking, *args):
    try:
        checking(*args)
    except JobError as error:
        return str(error)
    return None


@settings(deadline=None, max_examples=200)
@given(job_layers(1), st.sampled_from([f.name for f in fields(ScanPath)]), st.sampled_from(BAD), st.data())
def test_both_refuse_the_same_in_the_same_words(layers, name, value, data):
    layer = layers[0]
    assume(len(layer.path))
    column = getattr(layer.path, name).copy()
    if column.dtype == np.uint8:
        value = 255 if not 0 <= value <= 255 else int(value)
    at = data.draw(st.integers(0, column.size - 1))
    column.reshape(-1)[at] = value
    spoiled = replace(layer, path=replace(layer.path, **{name: column}))
    slow = refusal(check_layer, spoiled, BENCH, "layer 0")
    assert refusal(check, spoiled, BENCH) == slow


def test_it_tells_how_far_the_vectors_reach():
    layer = golden_layers()[0]
    ends = layer.path.vectors_mm.reshape(-1, 2)
    np.testing.assert_array_equal(check(layer, BENCH), [*ends.min(axis=0), *ends.max(axis=0)])
    assert np.isinf(check(replace(layer, path=ScanPath.empty()), BENCH)).all()


def test_what_is_not_of_the_path_is_checked_as_well():
    layer = golden_layers()[0]
    with pytest.raises(JobError, match=r"a top at z 100\.5 mm"):
        check(replace(layer, layer=replace(layer.layer, z_mm=100.5)), BENCH)

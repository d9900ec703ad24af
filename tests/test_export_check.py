"""Does the quick check of a layer refuse exactly what the slow one refuses?"""

from __future__ import annotations

from dataclasses import fields, replace

import cli_reader
import numpy as np
import pytest
from export_helpers import golden_layers, job_layers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from job_helpers import BENCH, write_small_job

from slicer import job_layer
from slicer.exporters.common_layer import write_cli
from slicer.exporters.source import Source
from slicer.job import Job
from slicer.job_layer import JobError, check_layer
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
    told = refusal(check_layer, spoiled, BENCH, "layer 0")
    everything_mm = np.zeros(4)
    assert (told is None) == job_layer._fits(spoiled.path, BENCH, everything_mm)
    finite = np.isfinite(column).all()
    assert finite or "not a finite number" in told
    if finite:  # the slow check says the same, or the quick one would have raised an AssertionError
        assert refusal(job_layer._say_what_is_wrong, spoiled.path, BENCH, "layer 0") == told


def test_it_tells_how_far_the_vectors_reach():
    layer = golden_layers()[0]
    ends = layer.path.vectors_mm.reshape(-1, 2)
    np.testing.assert_array_equal(check_layer(layer, BENCH, ""), [*ends.min(axis=0), *ends.max(axis=0)])
    assert np.isinf(check_layer(replace(layer, path=ScanPath.empty()), BENCH, "")).all()


def test_what_is_not_of_the_path_is_checked_as_well():
    layer = golden_layers()[0]
    with pytest.raises(JobError, match=r"a top at z 100\.5 mm"):
        check_layer(replace(layer, layer=replace(layer.layer, z_mm=100.5)), BENCH, "")


@pytest.mark.parametrize("workers", [1, 3])
def test_a_job_is_read_in_order_by_any_number_of_threads(workers, tmp_path, monkeypatch):
    monkeypatch.setattr("slicer.exporters.source.workers_here", lambda: workers)
    monkeypatch.setattr("slicer.exporters.common_layer.workers_here", lambda: workers)
    write_small_job(tmp_path / "square.kiln", layers=30)
    done = []
    with Job.open(tmp_path / "square.kiln") as opened:
        source = Source.of_job(opened, lambda *progress: done.append(progress), workers)
        write_cli(source, tmp_path / "a.cli")
        write_cli(Source.of_job(opened, workers=1), tmp_path / "b.cli")
    assert done == [(number, 30) for number in range(1, 31)]
    assert (tmp_path / "a.cli").read_bytes() == (tmp_path / "b.cli").read_bytes()
    assert [z for z, _ in cli_reader.read((tmp_path / "a.cli").read_bytes()).layers] == pytest.approx(
        [0.5 * number for number in range(1, 31)]
    )


def test_a_damaged_layer_stops_an_export_and_leaves_nothing(tmp_path):
    path = write_small_job(tmp_path / "square.kiln", layers=30)
    data = bytearray(path.read_bytes())
    at = data.index(np.float64(51.0).tobytes(), len(data) // 2)
    data[at] ^= 1
    path.write_bytes(data)
    with Job.open(path) as opened, pytest.raises(JobError, match="damaged in layers/"):
        write_cli(Source.of_job(opened, workers=3), tmp_path / "a.cli")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["square.kiln"]

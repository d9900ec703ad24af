"""Does a mesh become the right job, on the grid a machine is told, or a sentence?"""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest
from job_helpers import BENCH, wire_small

from slicer.bricks import demo_brick, rectangular, write_stl
from slicer.envelope import Envelope
from slicer.errors import MeshError
from slicer.job import Job, JobError
from slicer.layers import net_area_mm2
from slicer.plan import on_machine_grid, plan_job
from slicer.recipe import RecipeError, load_recipe
from slicer.scan import KIND_CONTOUR, KIND_HATCH, ScanPath


@pytest.fixture
def plate(tmp_path):
    write_stl(rectangular(20, 10, 5), tmp_path / "plate.stl")
    return tmp_path / "plate.stl"


def test_the_wire_job_is_ten_layers_of_about_five_seconds_in_the_middle_of_the_plate(plate, tmp_path):
    steps, reports = [], []
    manifest = plan_job(
        plate,
        wire_small(),
        BENCH,
        tmp_path / "plate.kiln",
        progress=lambda done, total: steps.append((done, total)),
        on_report=reports.append,
    )
    assert manifest.layer_count == 10 and steps == [(n, 10) for n in range(1, 11)]
    assert manifest.bounds_mm == [[115, 70, 0], [135, 80, 5]]
    assert manifest.mesh_sha256 == hashlib.sha256(plate.read_bytes()).hexdigest()
    assert reports[0].triangles == 12
    assert 4.0 < manifest.build_time_s / 10 < 9.0
    with Job.open(tmp_path / "plate.kiln") as job:
        job.verify()
        for index in range(10):
            layer = job.layer(index)
            assert net_area_mm2(layer.layer) == pytest.approx(200)
            drawn = np.round(layer.path.vectors_mm * 1000)
            np.testing.assert_allclose(layer.path.vectors_mm * 1000, drawn, atol=1e-7)
            assert set(layer.path.kind) == {KIND_CONTOUR, KIND_HATCH}


def test_the_demo_brick_is_eight_layers_of_dsel_fibre(tmp_path):
    write_stl(demo_brick(), tmp_path / "brick.stl")
    manifest = plan_job(tmp_path / "brick.stl", load_recipe("dsel_fibre"), BENCH, tmp_path / "brick.kiln")
    assert manifest.layer_count == 8 and manifest.thickness_mm == [2.0] * 8
    assert manifest.energy_j == pytest.approx(65.4 * manifest.length_mm / 0.5)


def test_the_same_mesh_and_recipe_give_the_same_file(plate, tmp_path):
    for name in ("a.kiln", "b.kiln"):
        plan_job(plate, wire_small(), BENCH, tmp_path / name)
    assert (tmp_path / "a.kiln").read_bytes() == (tmp_path / "b.kiln").read_bytes()


def test_paver_is_refused_on_the_bench_and_is_one_closed_track_on_a_strong_machine(tmp_path):
    write_stl(rectangular(200, 200, 30), tmp_path / "tile.stl")
    with pytest.raises(RecipeError, match=r"2990 W.*gives 200 W at most"):
        plan_job(tmp_path / "tile.stl", load_recipe("paver_co2"), BENCH, tmp_path / "tile.kiln")
    strong = Envelope(400, 400, 100, 3000, 100, 500)
    manifest = plan_job(tmp_path / "tile.stl", load_recipe("paver_co2"), strong, tmp_path / "tile.kiln")
    assert manifest.layer_count == 2
    with Job.open(tmp_path / "tile.kiln") as job:
        path = job.layer(0).path
    assert set(path.kind) == {KIND_CONTOUR} and path.jump_length_mm == 0
    np.testing.assert_array_equal(path.vectors_mm[0, :2], path.vectors_mm[-1, 2:])
    assert path.length_mm == pytest.approx(4 * 155, rel=1e-3)


def test_a_part_beyond_the_envelope_is_named_by_axis_and_leaves_nothing(tmp_path):
    write_stl(rectangular(260, 10, 5), tmp_path / "long.stl")
    with pytest.raises(MeshError, match="x"):
        plan_job(tmp_path / "long.stl", wire_small(), BENCH, tmp_path / "long.kiln")
    assert os.listdir(tmp_path) == ["long.stl"]


def test_a_part_smaller_than_the_spot_is_refused(tmp_path):
    write_stl(rectangular(0.4, 0.4, 5), tmp_path / "pin.stl")
    with pytest.raises(JobError, match="nothing to expose"):
        plan_job(tmp_path / "pin.stl", wire_small(), BENCH, tmp_path / "pin.kiln")
    assert os.listdir(tmp_path) == ["pin.stl"]


def test_the_machine_grid_drops_only_what_cannot_be_told():
    vectors = np.array([[0, 0, 1.00049, 0], [1, 0, 1.0003, 0.0004], [1, 0, 1, 0.0006]])
    path = on_machine_grid(ScanPath.uniform(vectors, KIND_HATCH, 10.0, 5.0))
    np.testing.assert_allclose(path.vectors_mm, [[0, 0, 1.0, 0], [1, 0, 1, 0.001]])

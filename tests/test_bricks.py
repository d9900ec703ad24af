"""Are the bricks closed, of the stated measures, and do they lock with the stated play?"""

from __future__ import annotations

import manifold3d
import numpy as np
import pytest

from slicer.bricks import BrickError, demo_brick, mortise_tenon, rectangular, write_stl
from slicer.layers import cut_layers
from slicer.mesh import judge, read_mesh

TENON = {"tenon_length_mm": 20.0, "tenon_width_mm": 12.0, "tenon_height_mm": 4.0, "clearance_mm": 0.5}


def solid(mesh):
    return manifold3d.Manifold(manifold3d.Mesh64(mesh.vertices_mm, mesh.faces.astype(np.uint64)))


def overlap_mm3(mesh, shift_mm):
    return (solid(mesh) ^ solid(mesh).translate(shift_mm)).volume()


def test_the_demo_brick_has_the_agreed_measures():
    brick = demo_brick()
    np.testing.assert_allclose(brick.bounds_mm, [[-30, -20, 0], [30, 20, 16]])
    _, report = judge(brick)
    assert (report.open_edges, report.non_manifold_edges, report.flipped_faces, report.bodies) == (0, 0, 0, 1)
    assert report.volume_mm3 == pytest.approx(60 * 40 * 12 + 20 * 12 * 4 - 21 * 13 * 4.5)
    assert len(cut_layers(brick, 2.0)) == 8


def test_two_demo_bricks_stack_without_touching_but_on_their_faces():
    assert overlap_mm3(demo_brick(), (0, 0, 12)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("direction", [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)])
def test_the_play_is_half_a_millimetre_to_each_side(direction):
    within, beyond = np.multiply(direction, 0.499), np.multiply(direction, 0.52)
    assert overlap_mm3(demo_brick(), (*within[:2], 12)) == pytest.approx(0, abs=1e-6)
    assert overlap_mm3(demo_brick(), (*beyond[:2], 12)) > 0.5


def test_the_tenon_does_not_reach_the_mortise_s_roof():
    tall = {**TENON, "tenon_height_mm": 4.0}
    brick = mortise_tenon(60, 40, 12, **tall)
    heights = np.unique(brick.vertices_mm[:, 2].round(6))
    np.testing.assert_allclose(heights, [0, 4.5, 12, 16])


def test_a_draft_narrows_tenon_and_mortise_alike():
    brick = mortise_tenon(60, 40, 12, **TENON, draft_deg=5)
    _, report = judge(brick)
    assert (report.open_edges, report.non_manifold_edges, report.bodies) == (0, 0, 1)
    top = brick.vertices_mm[np.isclose(brick.vertices_mm[:, 2], 16)]
    assert np.ptp(top[:, 0]) == pytest.approx(20 - 2 * 4 * np.tan(np.radians(5)))
    assert overlap_mm3(brick, (0, 0, 12)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("measures", "sentence"),
    [
        ({"tenon_length_mm": 60.0}, "does not fit"),
        ({"tenon_height_mm": 11.6}, "does not fit"),
        ({"tenon_width_mm": float("nan")}, "tenon_width_mm is nan"),
        ({"tenon_width_mm": -1.0}, "must be at least 0.1"),
        ({"clearance_mm": -0.1}, "clearance"),
        ({"tenon_height_mm": 11.0, "tenon_width_mm": 2.0, "draft_deg": 10.0}, "closes the tenon"),
        ({"draft_deg": 50.0}, "under 45"),
    ],
)
def test_contradicting_measures_are_refused(measures, sentence):
    with pytest.raises(BrickError, match=sentence):
        mortise_tenon(60.0, 40.0, 12.0, **{**TENON, **measures})


def test_a_written_brick_reads_back_whole(tmp_path):
    write_stl(demo_brick(), tmp_path / "brick.stl")
    mesh, report = read_mesh(tmp_path / "brick.stl")
    assert (tmp_path / "brick.stl").stat().st_size == 84 + 50 * report.triangles
    assert report.open_edges == 0 and report.volume_mm3 == pytest.approx(28531.5)
    np.testing.assert_allclose(mesh.bounds_mm, demo_brick().bounds_mm)


def test_a_rectangular_brick_is_its_box():
    _, report = judge(rectangular(200, 100, 30))
    assert report.volume_mm3 == pytest.approx(600_000) and report.triangles == 12

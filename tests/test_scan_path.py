"""Does a filled layer put the right energy in the right place, in the right order?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from unittest.mock import patch

import manifold3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solid_helpers import Parameters, box, loops_of, mesh_of, rings_of

from slicer import scan
from slicer.errors import ScanError
from slicer.fill import FillParameters, fill, fill_layer, fill_layers, track_distances_mm
from slicer.layers import Layer, cut_layers, loops_area_mm2, net_area_mm2
from slicer.mesh import read_mesh
from slicer.offsets import offset_loops
from slicer.scan import KIND_CONTOUR, KIND_HATCH, Run, ScanPath
from slicer.strategy import Strategy
from tests import naive

BRICK = cut_layers(box(60, 40, 12), 2.0)


def brick_with_holes() -> list[Layer]:
    solid = manifold3d.Manifold.cube((80, 50, 20))
    for x, radius in ((15, 8), (40, 12), (65, 5)):
        solid -= manifold3d.Manifold.cylinder(30, radius, radius * 0.6, 48).translate((x, 25, -5))
    return cut_layers(mesh_of(solid), 1.0)


def test_sums_of_a_path():
    path = ScanPath(
        np.array([[0.0, 0, 3, 4], [3, 4, 3, 14], [0, 14, 0, 12]]),
        np.array([1, 0, 0], np.uint8),
        np.array([10.0, 20.0, 30.0]),
        np.array([5.0, 2.0, 1.0]),
    )
    assert len(path) == 3 and path.length_mm == 17.0 and path.jump_length_mm == 3.0
    assert path.exposure_time_s == pytest.approx(1 + 5 + 2) and path.energy_j == pytest.approx(10 + 100 + 60)
    twice = ScanPath.concat([path, ScanPath.empty(), path])
    assert twice.length_mm == 34.0 and twice.jump_length_mm == pytest.approx(6.0 + 12.0)
    assert twice.of_kind(KIND_CONTOUR).length_mm == 10.0
    assert ScanPath.concat([]).length_mm == ScanPath.empty().energy_j == ScanPath.empty().jump_length_mm == 0.0


def test_contours_run_first_then_the_hatch_inside_them():
    p: FillParameters = Parameters(contours=2)
    path = fill_layer(BRICK[0], p)
    assert (np.diff(path.kind.astype(int)) <= 0).all(), "contours, then hatch"
    outline = path.of_kind(KIND_CONTOUR)
    assert len(outline) == 8 and (outline.power_w == 80.0).all() and (outline.speed_mm_s == 40.0).all()
    assert sorted(set(outline.vectors_mm[:4, 0].round(9))) == [0.2, 59.8], "half a spot inside the outline"
    assert sorted(set(outline.vectors_mm[4:, 0].round(9))) == [0.4, 59.6], "one spacing farther in"
    np.testing.assert_array_equal(outline.vectors_mm[:3, 2:], outline.vectors_mm[1:4, :2])
    np.testing.assert_array_equal(outline.vectors_mm[3, 2:], outline.vectors_mm[0, :2])
    hatch = path.of_kind(KIND_HATCH)
    assert (hatch.power_w == 100.0).all() and (hatch.speed_mm_s == 50.0).all()
    assert hatch.vectors_mm[:, 0::2].min() == pytest.approx(0.5, abs=1e-6)


def test_strips_of_all_tracks_cover_the_layer_once():
    p = Parameters(spot_mm=0.2, hatch_spacing_mm=0.2, contours=3)
    for layer in brick_with_holes():
        covered = fill_layer(layer, p).length_mm * 0.2
        assert covered == pytest.approx(net_area_mm2(layer), rel=1e-3)


@pytest.mark.parametrize("contours", [0, 1, 2])
@pytest.mark.parametrize("spacing", [0.1, 0.25])
def test_hatch_length_times_spacing_is_the_area_of_generated_parts(contours, spacing):
    p = Parameters(spot_mm=0.5, hatch_spacing_mm=spacing, contours=contours)
    layers = brick_with_holes()
    inner = -track_distances_mm(p)[1]
    area = sum(loops_area_mm2(*offset_loops(layer, inner)) for layer in layers)
    length = sum(path.of_kind(KIND_HATCH).length_mm for _, path in fill_layers(layers, p))
    assert length * spacing == pytest.approx(area, rel=1e-3)


def test_hatch_of_the_real_frame_is_what_three_other_slicers_measured(shared_data):
    """frame2: PySLM 36.565 km, CuraEngine 36.562 km, PrusaSlicer 36.566 km at 0.1 mm, 500 layers."""
    mesh, _ = read_mesh(shared_data / "meshes" / "pyslm_frameGuide.stl")
    mesh = replace(mesh, vertices_mm=mesh.vertices_mm * [2.0, 2.0, 1.0])
    p = Parameters(spot_mm=0.1, hatch_spacing_mm=0.1, contours=2)
    layers = cut_layers(mesh, 0.082)
    assert len(layers) == 500
    inner = -track_distances_mm(p)[1]
    length = [path.of_kind(KIND_HATCH).length_mm for _, path in fill_layers(layers, p)]
    area = [loops_area_mm2(*offset_loops(layer, inner)) for layer in layers]
    assert sum(length) * 0.1 == pytest.approx(sum(area), rel=1e-4)
    assert np.array(length) * 0.1 == pytest.approx(np.array(area), rel=1e-3)
    assert sum(length) / 1e6 == pytest.approx(36.562, rel=6e-3)


def test_hatch_turns_from_layer_to_layer():
    for layer in BRICK:
        vectors = fill_layer(layer, Parameters()).of_kind(KIND_HATCH).vectors_mm
        angle = np.degrees(np.arctan2(vectors[:, 3] - vectors[:, 1], vectors[:, 2] - vectors[:, 0]))
        turned = (angle - 67.0 * layer.index) % 180.0
        assert np.minimum(turned, 180.0 - turned).max() < 1e-6


def test_without_hatch_there_is_one_closed_centre_line():
    p = Parameters(spot_mm=30.0, hatch_spacing_mm=None, contours=1)
    path = fill_layer(cut_layers(box(250, 200, 15), 15.0)[0], p)
    assert (path.kind == KIND_CONTOUR).all() and path.length_mm == pytest.approx(2 * (220 + 170))
    assert path.jump_length_mm == 0.0 and (path.vectors_mm[0, :2] == path.vectors_mm[-1, 2:]).all()


def test_what_is_narrower_than_half_the_spot_has_no_track_but_is_told_of():
    filled = fill(BRICK[0], Parameters(spot_mm=81.0))
    (place,) = filled.narrow
    assert len(filled.path) == 0 and not place.tracked and place.width_mm == pytest.approx(40.0, rel=0.1)
    assert len(fill_layer(Layer(0, 1.0, 1.0, *loops_of()), Parameters())) == 0


def test_contours_begin_at_the_corner_nearest_to_the_beam():
    layer = Layer(0, 1.0, 1.0, *loops_of([(50, 0), (60, 0), (60, 10), (50, 10)], [(5, 0), (15, 0), (15, 10), (5, 10)]))
    path = fill_layer(layer, Parameters(hatch_spacing_mm=None, spot_mm=1.0))
    assert path.vectors_mm[0, :2].tolist() == [5.5, 0.5] and path.vectors_mm[4, :2].tolist() == [50.5, 0.5]


def test_contour_of_a_fine_outline_has_no_more_corners_than_a_beam_can_draw():
    turn = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    circle = np.stack([20 + 10 * np.cos(turn), 20 + 10 * np.sin(turn)], axis=1)
    path = fill_layer(Layer(0, 1.0, 1.0, circle, np.array([0, 20_000])), Parameters(hatch_spacing_mm=None))
    away = np.hypot(path.vectors_mm[:, 0] - 20, path.vectors_mm[:, 1] - 20)
    assert len(path) < 200 and np.abs(away - 9.8).max() < 1e-3
    assert path.length_mm == pytest.approx(2 * np.pi * 9.8, rel=1e-3)


def test_same_layer_gives_the_same_bytes():
    first, second = (fill_layer(brick_with_holes()[3], Parameters()) for _ in range(2))
    assert first.vectors_mm.tobytes() == second.vectors_mm.tobytes()


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=3, max_size=8), min_size=1, max_size=3
    ),
    st.floats(0.5, 8.0), st.floats(0.5, 5.0), st.integers(0, 3), st.integers(0, 50),
)  # fmt: skip
def test_the_beam_never_leaves_the_part(rings, spot, spacing, contours, index):
    outline = offset_loops(loops_of(*[[(x / 3, y / 3) for x, y in ring] for ring in rings]), 0.0313)
    sides = rings_of(*outline)
    p = Parameters(spot_mm=spot, hatch_spacing_mm=spacing, contours=contours)
    path = fill_layer(Layer(index, 1.0, 1.0, *outline), p, None, Strategy(thin_walls="report"))
    for x0, y0, x1, y1 in path.vectors_mm[:: max(1, len(path) // 60)].tolist():
        for part in (0.0, 0.3, 0.5, 1.0):
            point = (x0 + part * (x1 - x0), y0 + part * (y1 - y0))
            assert naive.inside(point, sides)
            assert min(naive.distance_to_loop(point, side) for side in sides) > 0.95 * 0.5 * spot - 1e-6


@dataclass(frozen=True)
class Plate:
    x_mm: float = 60.0
    y_mm: float = 40.0


def test_vector_off_the_plate_is_refused():
    assert len(fill_layer(BRICK[0], Parameters(), Plate())) > 0
    with pytest.raises(ScanError, match="Layer 1 is exposed from y = "):
        fill_layer(BRICK[1], Parameters(), Plate(y_mm=39.0))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"spot_mm": 0.0}, "spot_mm"),
        ({"power_w": math.nan}, "power_w"),
        ({"scan_speed_mm_s": math.inf}, "scan_speed_mm_s"),
        ({"contour_power_w": -1.0}, "contour_power_w"),
        ({"hatch_spacing_mm": 0.0}, "hatch_spacing_mm"),
        ({"hatch_rotation_deg": math.nan}, "hatch_rotation_deg"),
        ({"contours": -1}, "contours"),
    ],
)
def test_parameter_out_of_range_is_named(change, says):
    with pytest.raises(ScanError, match=says):
        fill_layer(BRICK[0], replace(Parameters(), **change))


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 4), st.sampled_from([20.0, 100.0])), max_size=4),
    st.sampled_from([100, scan.SHARED_MAX]),
)
def test_runs_make_the_path_that_their_vectors_one_by_one_make(runs, shared_max):
    whole = np.arange(4.0 * sum(count for count, _, _ in runs)).reshape(-1, 4)
    parts = np.split(whole, np.cumsum([count for count, _, _ in runs])[:-1]) if runs else []
    made = [Run(part, kind, power, 2 * power) for part, (_, kind, power) in zip(parts, runs)]
    with patch.object(scan, "SHARED_MAX", shared_max):
        path = ScanPath.of_runs(made)
    assert path.vectors_mm.tolist() == whole.tolist()
    assert path.kind.tolist() == [kind for count, kind, _ in runs for _ in range(count)]
    assert path.power_w.tolist() == [power for count, _, power in runs for _ in range(count)]
    assert path.speed_mm_s.tolist() == [2 * power for count, _, power in runs for _ in range(count)]
    assert not path.focus_mm.any() and not path.wait_s.any() and not path.beam.any()


def test_columns_that_paths_share_cannot_be_written_to():
    path = ScanPath.uniform(np.zeros((3, 4)), 0, 100.0, 50.0)
    with pytest.raises(ValueError, match="read-only"):
        path.power_w[0] = 1.0


def test_vectors_are_put_in_the_room_before_the_hatch_and_nowhere_else():
    array = np.arange(40.0).reshape(10, 4).copy()
    contour = np.full((3, 4), -1.0)
    joined = ScanPath.of_runs([Run(contour, 1, 100.0, 50.0), Run(array[3:], 0, 100.0, 50.0, room=3)])
    assert np.shares_memory(joined.vectors_mm, array) and joined.vectors_mm[:3].tolist() == contour.tolist()

    array = np.arange(40.0).reshape(10, 4).copy()
    for room in (0, 2):  # none, or not as much as is needed
        apart = ScanPath.of_runs([Run(contour, 1, 100.0, 50.0), Run(array[3:], 0, 100.0, 50.0, room=room)])
        assert apart.vectors_mm.tolist() == joined.vectors_mm.tolist()
        assert array.tolist() == np.arange(40.0).reshape(10, 4).tolist()

"""Do the choices of a strategy do to a layer what they say?"""

from __future__ import annotations

import manifold3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solid_helpers import Parameters, box, loops_of, mesh_of

from slicer import regions
from slicer.fill import fill, fill_layer, track_distances_mm
from slicer.hatching import HATCHES
from slicer.layers import Layer, cut_layers, loops_area_mm2, net_area_mm2
from slicer.offsets import offset_each, offset_loops
from slicer.ordering import ORDERS
from slicer.scan import KIND_CONTOUR, KIND_DOWN_SKIN, KIND_HATCH, KIND_THIN, KIND_UP_SKIN
from slicer.skins import Neighbours, overhangs, skin_regions
from slicer.strategy import HATCH_NAMES, ORDER_NAMES, Strategy

PLATE_WITH_HOLE = mesh_of(
    manifold3d.Manifold.cube((30, 20, 4)) - manifold3d.Manifold.cylinder(10, 5, 5, 64).translate((15, 10, -1))
)
STEPPED = cut_layers(
    mesh_of(manifold3d.Manifold.cube((30, 20, 5)) + manifold3d.Manifold.cube((40, 10, 3)).translate((0, 5, 5))), 1.0
)
"""Layers 0 to 4: 30 x 20; 5 to 7: 40 x 10, which hangs 10 mm over powder and leaves two strips open below it."""


def layer_of(*rings) -> Layer:
    return Layer(0, 1.0, 1.0, *loops_of(*rings))


def area_of(path, kind, spacing_mm=0.2):
    return path.of_kind(kind).length_mm * spacing_mm


def filled(index, **strategy):
    chosen = Strategy(**strategy)
    return fill_layer(STEPPED[index], Parameters(), None, chosen, Neighbours.of(STEPPED, index, chosen.skin_layers))


def test_without_neighbours_or_skins_all_is_hatch():
    assert set(filled(4).kind) == set(filled(4, skin_layers=0).kind) == {KIND_HATCH, KIND_CONTOUR}


def test_what_is_open_above_is_up_skin():
    path = filled(4, skin_layers=1)
    assert area_of(path, KIND_UP_SKIN) == pytest.approx(2 * 4.7 * 29.4, rel=0.01)
    assert area_of(path, KIND_HATCH) == pytest.approx(10 * 29.4, rel=0.01)
    y = path.of_kind(KIND_UP_SKIN).vectors_mm[:, 1::2]
    assert ((y < 5.01) | (y > 14.99)).all()
    assert KIND_UP_SKIN not in filled(3, skin_layers=1).kind and KIND_UP_SKIN in filled(3, skin_layers=2).kind


def test_the_top_is_up_skin_and_the_bottom_lies_on_the_plate():
    assert set(filled(7, skin_layers=1).kind) == {KIND_CONTOUR, KIND_UP_SKIN}
    assert KIND_DOWN_SKIN not in filled(0, skin_layers=2).kind


def test_what_hangs_over_powder_is_down_skin_with_its_own_power_and_speed():
    path = filled(5, skin_layers=1, down_skin_power_w=70.0, down_skin_speed_mm_s=33.0)
    down = path.of_kind(KIND_DOWN_SKIN)
    assert area_of(path, KIND_DOWN_SKIN) == pytest.approx(9.7 * 9.4, rel=0.01)
    assert down.vectors_mm[:, 0::2].min() > 29.99
    assert (down.power_w == 70.0).all() and (down.speed_mm_s == 33.0).all()
    assert (path.of_kind(KIND_HATCH).power_w == 100.0).all()


def test_lines_go_on_from_hatch_to_skin():
    """One set of lines at 0.2 mm: across their direction every vector of every kind lies on it."""
    path = filled(5, skin_layers=1)
    lines = path.chosen(path.kind != KIND_CONTOUR).vectors_mm
    angle = np.radians(67.0 * 5)
    across = lines[:, 1] * np.cos(angle) - lines[:, 0] * np.sin(angle)
    phase = (across / 0.2) % 1.0
    assert np.abs((phase - phase[0] + 0.5) % 1.0 - 0.5).max() < 1e-6
    assert {KIND_HATCH, KIND_DOWN_SKIN} < set(path.kind)


rectangles = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(4, 30), st.integers(4, 30))


@settings(max_examples=40, deadline=None)
@given(rectangles, rectangles, rectangles, st.booleans())
def test_core_and_skins_are_the_whole_and_overlap_nowhere(inside, above, below, open_above):
    inside, above, below = (
        loops_of([(x, y), (x + w, y), (x + w, y + h), (x, y + h)]) for x, y, w, h in (inside, above, below)
    )
    parts = skin_regions(inside, Neighbours((above,), (below,), open_above), 0.5)
    areas = [loops_area_mm2(*part) for part in parts]
    assert sum(areas) == pytest.approx(loops_area_mm2(*inside), abs=1e-3)
    for i, part in enumerate(parts):
        for other in parts[i + 1 :]:
            assert loops_area_mm2(*regions.intersection(part, other)) < 1e-3


def test_holes_may_be_compensated_otherwise_than_outer_loops():
    layer = cut_layers(PLATE_WITH_HOLE, 1.0)[0]
    path = fill_layer(layer, Parameters(), None, Strategy(compensation_mm=0.3, hole_compensation_mm=0.1))
    contour = path.of_kind(KIND_CONTOUR).vectors_mm[:, :2]
    from_hole = np.hypot(*(contour - (15, 10)).T)
    at_hole = from_hole < 7
    assert from_hole[at_hole] == pytest.approx(5.1, abs=0.02)
    assert contour[~at_hole][:, 0].min() == pytest.approx(0.3) and contour[~at_hole][:, 1].max() == pytest.approx(19.7)


def test_an_island_in_a_hole_stays_when_holes_are_moved_by_themselves():
    square = [(0, 0), (20, 0), (20, 20), (0, 20)]
    hole, island = [(4, 4), (4, 16), (16, 16), (16, 4)], [(7, 7), (13, 7), (13, 13), (7, 13)]
    (moved,) = offset_each(loops_of(square, hole, island), [-1.0], [-0.5])
    assert loops_area_mm2(*moved) == pytest.approx(18**2 - (13**2 - (4 - np.pi) * 0.25) + 4**2, abs=0.05)


def test_the_outermost_contour_runs_where_the_compensation_says():
    assert track_distances_mm(Parameters(contours=2), Strategy(compensation_mm=0.0))[0] == [0.0, 0.2]
    assert track_distances_mm(Parameters(), Strategy(hatch_overlap_mm=0.05))[1] == pytest.approx(0.25)


def test_contours_may_come_last():
    path = fill_layer(STEPPED[0], Parameters(), None, Strategy(contour_order="last"))
    assert (np.diff(path.kind.astype(int)) >= 0).all() and path.kind[-1] == KIND_CONTOUR


def test_focus_is_shifted_for_hatch_and_contour_apart():
    path = fill_layer(STEPPED[0], Parameters(), None, Strategy(focus_mm=2.0, contour_focus_mm=-1.0))
    assert set(path.of_kind(KIND_HATCH).focus_mm) == {2.0} and set(path.of_kind(KIND_CONTOUR).focus_mm) == {-1.0}


def test_a_thin_fin_is_tracked_and_told_of():
    fin = layer_of([(0, 0), (20, 0), (20, 4.85), (30, 4.85), (30, 5.15), (20, 5.15), (20, 10), (0, 10)])
    got = fill(fin, Parameters())
    (place,) = got.narrow
    assert place.tracked and place.width_mm == pytest.approx(0.3) and 20 < place.at_mm[0] < 30
    thin = got.path.of_kind(KIND_THIN)
    assert thin.length_mm == pytest.approx(place.length_mm) and thin.vectors_mm[:, 1::2] == pytest.approx(5.0)
    told = fill(fin, Parameters(), None, Strategy(thin_walls="report"))
    assert not told.narrow[0].tracked and KIND_THIN not in told.path.kind


@pytest.mark.parametrize("name", sorted(HATCHES))
def test_every_hatch_fills_a_layer_with_its_area(name):
    """Hatches that go round in rings or along a curve keep their area less exactly than lines do."""
    path = fill_layer(STEPPED[0], Parameters(), None, Strategy(hatch=name, tile_mm=3.0))
    inner = -track_distances_mm(Parameters())[1]
    area = loops_area_mm2(*offset_loops(STEPPED[0], inner))
    assert area_of(path, KIND_HATCH) == pytest.approx(area, rel=0.03)


def test_names_of_a_strategy_are_those_that_there_are():
    assert set(HATCH_NAMES) == set(HATCHES) and set(ORDER_NAMES) == set(ORDERS)


@pytest.mark.parametrize("name", sorted(ORDERS))
def test_every_order_exposes_the_same_vectors(name):
    strategy = Strategy(order=name, hatch="islands", return_time_s=0.5, return_radius_mm=0.5)
    plain = fill_layer(STEPPED[0], Parameters(hatch_spacing_mm=0.5), None, Strategy(hatch="islands"))
    path = fill_layer(STEPPED[0], Parameters(hatch_spacing_mm=0.5), None, strategy)

    def undirected(vectors):
        ends = np.sort(vectors.round(6).view("f8,f8").reshape(-1, 2), axis=1)
        return sorted(map(tuple, ends.view("f8").reshape(-1, 4).tolist()))

    assert undirected(path.vectors_mm) == undirected(plain.vectors_mm)


def test_overhangs_are_told_with_their_place():
    (one,) = overhangs(STEPPED, 1.0)
    assert one.layer == 5 and one.area_mm2 == pytest.approx(9 * 10, rel=0.02) and one.at_mm[0] > 30
    assert overhangs(STEPPED, 11.0) == [] and overhangs(cut_layers(box(9, 9, 3), 1.0), 0.01) == []


def test_the_books_of_a_layer_balance():
    """Tracks, each as wide as the spacing, cover the layer but for its rounded corners."""
    p = Parameters(spot_mm=0.2, contours=2)
    for layer in cut_layers(PLATE_WITH_HOLE, 1.0):
        assert fill_layer(layer, p).length_mm * 0.2 == pytest.approx(net_area_mm2(layer), rel=2e-3)

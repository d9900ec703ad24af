"""Is every cut closed, oriented and in the right place, whatever the mesh does at the planes?"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import manifold3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solid_helpers import box, joined, mesh_of, rings_of

from slicer.errors import MeshError
from slicer.kernels import cutting
from slicer.layers import THINNING_MM, Layer, cut_layers, cut_planes, loops_area_mm2, net_area_mm2
from slicer.mesh import Mesh, read_mesh
from tests import naive

Solid = manifold3d.Manifold


@st.composite
def solids(draw) -> manifold3d.Manifold:
    """Boxes, balls and cylinders, turned, joined and cut out of one another."""
    size = st.floats(2.0, 20.0)
    place = st.floats(-8.0, 8.0)
    whole = Solid.cube((draw(size), draw(size), draw(size)))
    for _ in range(draw(st.integers(0, 4))):
        shape = draw(st.sampled_from(["cube", "ball", "tube"]))
        if shape == "cube":
            other = Solid.cube((draw(size), draw(size), draw(size)))
        elif shape == "ball":
            other = Solid.sphere(draw(size) / 2, 16)
        else:
            other = Solid.cylinder(draw(size), draw(size) / 3, -1.0, 12)
        if draw(st.booleans()):
            other = other.rotate((draw(st.integers(0, 359)), draw(st.integers(0, 359)), 0.0))
        other = other.translate((draw(place), draw(place), draw(place)))
        cut = whole - other if draw(st.booleans()) else whole + other
        whole = whole if cut.volume() < 1.0 else cut
    return whole


@settings(deadline=None, max_examples=60)
@given(solids(), st.integers(1, 25))
def test_areas_are_those_of_an_independent_slicer(solid, count):
    mesh = mesh_of(solid)
    bottom, top = mesh.bounds_mm[:, 2]
    planes = bottom + (np.arange(count) + 0.5) * (top - bottom) / count
    for z, (points, starts) in zip(planes, cut_planes(mesh, planes)):
        # on a facet, which is level only to its last digit, a cut shows what is below it, above it, or part of each
        areas = [solid.slice(float(z) + beside).area() for beside in (-1e-7, 1e-7)]
        perimeter = sum(math.dist(p, q) for ring in rings_of(points, starts) for p, q in pairwise([*ring, ring[0]]))
        slack = 1e-3 + THINNING_MM * perimeter
        assert min(areas) - slack <= loops_area_mm2(points, starts) <= max(areas) + slack


@settings(deadline=None, max_examples=30)
@given(solids(), st.integers(0, 2**31), st.floats(0.1, 0.9))
def test_walk_agrees_with_its_twin_in_any_order_of_triangles(solid, seed, part):
    mesh = mesh_of(solid)
    random = np.random.default_rng(seed)
    mesh = replace(mesh, faces=random.permutation(np.roll(mesh.faces, int(random.integers(3)), axis=1)))
    bottom, top = mesh.bounds_mm[:, 2]
    z = float(bottom + part * (top - bottom))
    points, starts = cut_planes(mesh, [z])[0]
    segments = naive.cut_segments(mesh.vertices_mm, mesh.faces, z)
    area = sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in segments) / 2
    length = sum(math.dist(p, q) for p, q in segments)
    assert loops_area_mm2(points, starts) == pytest.approx(area, abs=1e-6 + 2 * THINNING_MM * length)
    rings = rings_of(points, starts)
    for ring in rings:
        for corner in ring:
            assert min(math.dist(corner, end) for segment in segments for end in segment) < 1e-9
    for start, _ in segments:
        assert min((naive.distance_to_loop(start, ring) for ring in rings), default=0.0) < 2 * THINNING_MM


@pytest.mark.parametrize("height", [0.0, 1.0, 2.0, 2.5, 3.0])
def test_planes_through_corners_and_facets_close(height):
    """Half-open rule: a plane on a facet belongs to what is above it."""
    stepped = Solid.cube((6, 6, 1))
    stepped += Solid.cube((4, 4, 1)).translate((1, 1, 1)) + Solid.cube((2, 2, 1)).translate((2, 2, 2))
    points, starts = cut_planes(mesh_of(stepped), [height])[0]
    # cut at z: vertices at z count as above, so the area is that just below z
    expected = {0.0: 0.0, 1.0: 36.0, 2.0: 16.0, 2.5: 4.0, 3.0: 4.0}[height]
    assert loops_area_mm2(points, starts) == pytest.approx(expected)


def test_outer_loops_run_counter_clockwise_and_holes_clockwise():
    tube = Solid.cylinder(10, 8, 8, 64) - Solid.cylinder(12, 5, 5, 64).translate((0, 0, -1))
    pin = Solid.cylinder(10, 2, 2, 64)
    layer = cut_layers(mesh_of(tube + pin), 1.0)[4]
    areas = sorted(loops_area_mm2(ring, np.array([0, len(ring)])) for ring in layer.loops())
    assert len(areas) == 3 and areas[0] < 0 < areas[1] < areas[2]
    assert net_area_mm2(layer) == pytest.approx((64 - 25 + 4) * 32 * math.sin(math.pi / 32), rel=1e-4)


def test_walls_are_thinned_to_their_corners():
    layers = cut_layers(box(60, 40, 12), 2.0)
    assert [layer.points_mm.tolist() for layer in layers] == [[[0, 0], [60, 0], [60, 40], [0, 40]]] * 6


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=3, max_size=40),
    st.sampled_from([1e-4, 1e-2, 0.5]),
)
def test_thinning_moves_the_outline_by_no_more_than_its_tolerance(raw, tolerance):
    points = np.empty((len(raw), 2))
    kept = cutting.thin_loop(np.array(raw), len(raw), tolerance, points, 0)
    loop = [(float(x), float(y)) for x, y in points[:kept]]
    if kept:
        assert all(corner in raw for corner in loop) and len(loop) >= 3
        assert max(naive.distance_to_loop(corner, loop) for corner in raw) <= tolerance * (1 + 1e-6) + 1e-9


@pytest.mark.parametrize("sense", [1, -1])
def test_thinning_does_not_creep_along_a_fine_circle(sense):
    turn = sense * np.linspace(0, 2 * np.pi, 200_000, endpoint=False)  # 0.3 um steps: each looks straight by itself
    raw = 10.0 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    points = np.empty_like(raw)
    kept = cutting.thin_loop(raw, len(raw), 1e-4, points, 0)
    sides = np.roll(points[:kept], -1, axis=0) - points[:kept]
    sagitta = 10.0 - np.sqrt(100.0 - (np.hypot(sides[:, 0], sides[:, 1]) / 2) ** 2)
    assert 300 < kept < 3000 and sagitta.max() <= 1e-4


@pytest.mark.parametrize(
    ("height", "thickness", "count"), [(10, 2, 5), (10, 3, 3), (11, 2, 5), (11.1, 2, 6), (1.1, 2, 1)]
)
def test_last_layer_is_made_when_its_middle_is_inside(height, thickness, count):
    layers = cut_layers(box(5, 5, height, (0, 0, 7)), thickness)
    assert [layer.index for layer in layers] == list(range(count))
    assert [layer.z_mm for layer in layers] == pytest.approx([7 + (i + 1) * thickness for i in range(count)])
    assert all(net_area_mm2(layer) == pytest.approx(25) for layer in layers)


def test_gap_between_bodies_is_an_empty_layer():
    layers = cut_layers(joined(box(5, 5, 2), box(5, 5, 2, (0, 0, 6))), 1.0)
    assert [len(layer.loop_starts) - 1 for layer in layers] == [1, 1, 0, 0, 0, 0, 1, 1]
    assert net_area_mm2(layers[3]) == 0.0 and layers[3].points_mm.shape == (0, 2)


@pytest.mark.parametrize("away", [1e4, 1e6, 1e8])
def test_far_from_the_origin_nothing_is_lost(away):
    ball = mesh_of(Solid.sphere(10, 64))
    near = cut_layers(ball, 1.0)
    far = cut_layers(replace(ball, vertices_mm=ball.vertices_mm + np.array([away, -away, away])), 1.0)
    for a, b in zip(near, far, strict=True):
        assert net_area_mm2(b) == pytest.approx(net_area_mm2(a), rel=1e-6, abs=1e-12 * away * 100)


@pytest.mark.parametrize(
    ("thickness", "says"),
    [
        (0.0, "positive thickness"),
        (math.nan, "positive thickness"),
        (-1.0, "positive thickness"),
        (30.0, "less than half a layer"),
        (1e-9, "more than 200000 layers"),
    ],
)
def test_impossible_thickness_is_a_sentence(thickness, says):
    with pytest.raises(MeshError, match=says):
        cut_layers(box(10, 10, 10), thickness)


def test_gap_in_the_surface_is_refused_where_it_is_and_never_closed():
    ball = mesh_of(Solid.sphere(10, 24))
    highest = int(np.argmax(ball.vertices_mm[ball.faces, 2].mean(axis=1)))
    torn = replace(ball, faces=np.delete(ball.faces, highest, axis=0))
    with pytest.raises(MeshError, match="not closed") as caught:
        cut_layers(torn, 0.1)
    assert "z = 9." in str(caught.value)
    lid = box(10, 10, 10)
    open_top = replace(lid, faces=lid.faces[~(lid.vertices_mm[lid.faces, 2] == 10.0).all(axis=1)])
    layers = cut_layers(open_top, 1.0)
    assert all(net_area_mm2(layer) == pytest.approx(100) for layer in layers), "no cut meets that gap"


def test_slices_of_a_real_part_add_up_to_its_volume(shared_data):
    for name, unit, rel in (("pyslm_frameGuide.stl", "mm", 5e-4), ("trimesh_featuretype.stl", "inch", 5e-4)):
        mesh, report = read_mesh(shared_data / "meshes" / name, unit=unit)
        thickness = float(np.ptp(mesh.bounds_mm[:, 2])) / 500
        layers = cut_layers(mesh, thickness)
        assert sum(map(net_area_mm2, layers)) * thickness == pytest.approx(report.volume_mm3, rel=rel)


def test_area_of_no_loops_is_zero():
    assert net_area_mm2(Layer(0, 1.0, 1.0, np.zeros((0, 2)), np.zeros(1, np.int64))) == 0.0


def test_bodies_that_overlap_are_one_outline_and_others_stay_two():
    layer = cut_layers(joined(box(10, 10, 4), box(10, 10, 4, (5, 5, 0))), 1.0)[1]
    assert len(layer.loops()) == 1 and net_area_mm2(layer) == pytest.approx(175)
    apart = cut_layers(joined(box(10, 10, 4), box(10, 10, 4, (50, 0, 0))), 1.0)[1]
    assert len(apart.loops()) == 2 and net_area_mm2(apart) == pytest.approx(200)


def test_pin_modelled_in_its_hole_leaves_no_slivers():
    plate = Solid.cube((40, 40, 4)) - Solid.cylinder(6, 8, 8, 64).translate((20, 20, -1))
    pin = Solid.cylinder(4, 8, 8, 60).translate((20, 20, 0))  # other facets: in some places inside, in some outside
    layer = cut_layers(joined(mesh_of(plate), mesh_of(pin)), 1.0)[1]
    smallest = min(abs(loops_area_mm2(loop, np.array([0, len(loop)]))) for loop in layer.loops())
    assert smallest > 0.01 and net_area_mm2(layer) == pytest.approx(1600, abs=0.5)


def overlapping(second_inside_out: bool) -> Mesh:
    """Two boxes of 100 mm2 that share 25 mm2, the second one's surface turned outside in if wished."""
    second = box(10, 10, 4, (5, 5, 0))
    if second_inside_out:
        second = replace(second, faces=second.faces[:, ::-1])
    return joined(box(10, 10, 4), second)


@pytest.mark.parametrize(
    ("rule", "alike", "inside_out"),
    [("positive", 175.0, 75.0), ("non_zero", 175.0, 150.0), ("even_odd", 150.0, 150.0)],
)
def test_rules_say_what_is_inside_where_bodies_overlap(rule, alike, inside_out):
    # what is shared has winding number 2 if they are alike, and 0 if the second is inside out
    for turned, area in ((False, alike), (True, inside_out)):
        layer = cut_layers(overlapping(turned), 1.0, rule)[2]
        assert net_area_mm2(layer) == pytest.approx(area, rel=1e-6)
        sides = rings_of(layer.points_mm, layer.loop_starts)
        for point in ([2.5, 2.5], [7.5, 7.5], [12.5, 12.5]):
            winding = (point[0] < 10) + (point[0] > 5) * (-1 if turned else 1)
            inside = {"positive": winding > 0, "non_zero": winding != 0, "even_odd": winding % 2 != 0}[rule]
            assert naive.winding(point, sides) == inside


@pytest.mark.parametrize(("rule", "middle"), [("positive", True), ("non_zero", True), ("even_odd", False)])
def test_rules_hold_for_a_shell_that_crosses_itself(rule, middle):
    """A prism over a pentagram, one loop: its middle is wound around twice."""
    turn = np.arange(5) * 2 * (2 * np.pi / 5)
    ring = 10.0 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    vertices = np.concatenate([np.column_stack([ring, np.full(5, z)]) for z in (0.0, 2.0)])
    sides = [t for i in range(5) for t in ((i, (i + 1) % 5, (i + 1) % 5 + 5), (i, (i + 1) % 5 + 5, i + 5))]
    lids = [t for i in range(1, 4) for t in ((0, i + 1, i), (5, 5 + i, 6 + i))]
    star = Mesh(vertices, np.array(sides + lids, np.int32), "star")
    inner = 10.0 * math.cos(2 * math.pi / 5) / math.cos(math.pi / 5)  # radius of the pentagon in the middle
    pentagon = 2.5 * math.sin(2 * math.pi / 5) * inner**2
    points = 5 * 10.0 * inner * math.sin(math.pi / 5)  # the whole star, as ten triangles
    layer = cut_layers(star, 1.0, rule)[0]
    assert net_area_mm2(layer) == pytest.approx(points if middle else points - pentagon, rel=1e-6)
    assert naive.winding((0.1, 0.2), rings_of(layer.points_mm, layer.loop_starts)) == middle


def test_a_body_within_a_body_is_one_with_it_or_a_hole_in_it():
    nested = joined(box(10, 10, 4), box(4, 4, 4, (3, 3, 0)))
    assert [len(layer.loops()) for layer in cut_layers(nested, 2.0)] == [1, 1]
    assert net_area_mm2(cut_layers(nested, 2.0, "even_odd")[0]) == pytest.approx(84.0)


def test_a_rule_that_is_none_is_a_sentence():
    with pytest.raises(MeshError, match="even_odd"):
        cut_layers(box(5, 5, 5), 1.0, "odd_even")


@settings(deadline=None, max_examples=15)
@given(solids(), st.integers(1, 40))
def test_layers_are_the_same_bytes_from_any_number_of_threads(solid, count):
    mesh = mesh_of(solid)
    thickness = float(np.ptp(mesh.bounds_mm[:, 2])) / count
    layers = [cut_layers(mesh, thickness, threads=threads) for threads in (1, 2, 5)]
    for others in layers[1:]:
        for one, other in zip(layers[0], others, strict=True):
            assert one.points_mm.tobytes() == other.points_mm.tobytes()
            assert one.loop_starts.tobytes() == other.loop_starts.tobytes()


def test_the_gap_that_is_told_of_does_not_depend_on_the_threads():
    ball = mesh_of(Solid.sphere(10, 24))
    torn = replace(ball, faces=np.delete(ball.faces, [3, 40, len(ball.faces) - 5], axis=0))
    told = set()
    for threads in (1, 2, 7):
        with pytest.raises(MeshError, match="not closed") as caught:
            cut_layers(torn, 0.1, threads=threads)
        told.add(str(caught.value))
    assert len(told) == 1


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=60))
def test_pairs_of_half_edges_share_their_corners(triangles):
    faces = np.array([t for t in triangles if len(set(t)) == 3] or [(0, 1, 2)], np.int32)
    pair, *counts = cutting.pair_edges(faces)
    assert tuple(counts[:2]) == naive.edge_census(faces)[:2]
    flat = faces.reshape(-1)
    for h, other in enumerate(pair):
        if other >= 0:
            ends = {flat[h], flat[3 * (h // 3) + (h % 3 + 1) % 3]}
            assert pair[other] == h and ends == {flat[other], flat[3 * (other // 3) + (other % 3 + 1) % 3]}
        else:  # nobody is left whom it could be paired with
            ends = {flat[h], flat[3 * (h // 3) + (h % 3 + 1) % 3]}
            alone = [g for g in np.flatnonzero(pair < 0) if {flat[g], flat[3 * (g // 3) + (g % 3 + 1) % 3]} == ends]
            assert alone == [h]


def test_a_fan_around_one_corner_is_paired():
    """More edges at a corner than are sorted by insertion."""
    rim = np.arange(1, 401)
    faces = np.stack([np.zeros(400, np.int64), rim, np.roll(rim, -1)], axis=1)[::-1].astype(np.int32)
    pair, opened, crowded, clashing = cutting.pair_edges(faces)
    assert (opened, crowded, clashing) == (400, 0, 0)
    assert np.count_nonzero(pair >= 0) == 800

"""Is a torn surface stitched where it may be and nowhere else, and is every fault told with its place?"""

from __future__ import annotations

from dataclasses import replace

import manifold3d
import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from solid_helpers import box, joined, mesh_of

from slicer import mesh_stitching
from slicer.errors import MeshError
from slicer.kernels import cutting, judging, mending
from slicer.layers import cut_layers, net_area_mm2
from slicer.mesh import Mesh, judge
from tests import naive

Solid = manifold3d.Manifold
BALL = mesh_of(Solid.sphere(10.0, 32))
VOLUME = judge(BALL)[1].volume_mm3


def soup(corners: np.ndarray, name: str = "part") -> Mesh:
    """Triangles, (m, 3, 3), with corners of their own."""
    return Mesh(corners.reshape(-1, 3).copy(), np.arange(corners.size // 3, dtype=np.int32).reshape(-1, 3), name)


def torn_ball(apart) -> Mesh:
    """A ball whose upper half has been moved."""
    corners = BALL.vertices_mm[BALL.faces]
    upper = corners[:, :, 2].mean(axis=1) > 0
    corners[upper] += apart
    return soup(corners)


# ---- gaps


def test_gap_within_the_tolerance_is_closed_and_told():
    mesh, report = judge(torn_ball((0.03, 0.02, 0.01)), gap_mm=0.05)
    assert report.is_closed and report.gaps_closed == 64 and report.bodies == 1
    assert report.volume_mm3 == pytest.approx(VOLUME, rel=2e-3)
    assert report.sentences() == ["64 open edges lay within 0.039 mm of others and were closed."]
    assert 0.0374 < report.gap_mm < 2 * 0.0374, "the least of doubled reaches over what the halves are apart"
    assert cutting.pair_edges(mesh.faces)[3] == 0


def test_gap_wider_than_the_tolerance_stays_open_and_is_placed():
    _, report = judge(torn_ball((0.0, 0.0, 0.2)), gap_mm=0.1)
    assert report.open_edges == 64 and report.gaps_closed == 0 and report.border_count == 2
    for border, z in zip(report.borders, (0.0, 0.2)):
        assert border.edges == 32 and border.length_mm == pytest.approx(62.73, abs=0.01)
        assert border.centre_mm == pytest.approx((0, 0, z), abs=1e-9) and border.z_mm == pytest.approx((z, z))
    assert report.sentences() == [
        "The surface is not closed: 64 edges have a triangle on one side only. The borders: 62.73 mm about "
        "(0.00, 0.00, 0.00), z 0.00 to 0.00; 62.73 mm about (0.00, 0.00, 0.20), z 0.20 to 0.20 (mm)."
    ]


def test_nothing_is_closed_unasked():
    assert judge(torn_ball((0.0, 0.0, 0.01)))[1].open_edges == 64


def test_a_closed_gap_is_told_of_and_a_closed_surface_left_alone():
    mesh, report = judge(torn_ball((0.03, 0.02, 0.01)), gap_mm=0.05)
    assert report.gaps_closed == 64 and report.is_closed
    again, report = judge(mesh, gap_mm=0.05)
    assert report.gaps_closed == 0 and len(again.faces) == len(mesh.faces)


def raised_top(apart: float) -> Mesh:
    """A box of 20 x 20 x 4 mm, the second half of its triangles raised: the rim between them goes up and down."""
    corners = box(20, 20, 4).vertices_mm[box(20, 20, 4).faces]
    corners[6:, :, 2] += apart
    return soup(corners)


@pytest.mark.parametrize("gap_mm", [0.05, 0.5, 5.0, 10.0])
def test_a_wide_reach_closes_a_narrow_gap_as_a_narrow_one_does(gap_mm):
    """5 mm is more than the box is tall: joined at once, floor and ceiling would be one."""
    _, report = judge(raised_top(0.03), gap_mm=gap_mm)
    assert report.is_closed and report.volume_mm3 == pytest.approx(1600, rel=0.01) and report.triangles == 12
    assert 0.03 < report.gap_mm < 0.06 and report.gap_triangles_lost == 0


def test_each_gap_is_closed_by_its_own_reach():
    """A ball torn by 0.01 mm beside one torn by 0.4 mm: the first keeps all its triangles."""
    wide = torn_ball((0.0, 0.0, 0.4))
    both = joined(torn_ball((0.0, 0.0, 0.01)), replace(wide, vertices_mm=wide.vertices_mm + np.array([40.0, 0, 0])))
    _, report = judge(both, gap_mm=5.0)
    assert report.is_closed and report.bodies == 2 and 0.4 < report.gap_mm < 0.8
    assert report.gap_triangles_lost == 0 and report.triangles == 2 * len(BALL.faces)


def test_a_hole_that_no_reach_closes_does_not_widen_what_is_closed_beside_it():
    """The ball lacks a cap that is wider than the gap; its tear is closed by the reach that does it, and no corner
    of the hole's rim moves."""
    torn = torn_ball((0.0, 0.0, 0.01))
    low = torn.vertices_mm[torn.faces][:, :, 2].max(axis=1) < -8.0
    _, report = judge(replace(torn, faces=torn.faces[~low]), gap_mm=3.0)
    assert report.border_count == 1 and report.gaps_closed == 64 and 0.01 < report.gap_mm < 0.02
    assert report.gap_triangles_lost == 0


def test_what_went_with_a_gap_is_told():
    mesh = box(20, 20, 4)
    wall = int(np.argmax(mesh.vertices_mm[mesh.faces, 0].min(axis=1)))
    _, report = judge(replace(mesh, faces=np.delete(mesh.faces, wall, axis=0)), gap_mm=5.0)
    assert report.is_closed and report.gap_triangles_lost == 1 and report.gap_volume_part < -0.05
    told = report.sentences()[-1]
    assert told == f"With these gaps 1 triangle went and the volume changed by {report.gap_volume_part:+.2%}."
    turned = replace(mesh, faces=np.delete(mesh.faces, wall, axis=0)[:, ::-1])
    assert judge(turned, gap_mm=5.0)[1].gap_volume_part == pytest.approx(report.gap_volume_part)
    assert judge(torn_ball((0.0, 0.0, 0.005)), gap_mm=0.05)[1].sentences()[1:] == []


@pytest.mark.parametrize("gap", [-0.1, float("nan"), float("inf"), 11.0])
def test_a_gap_that_is_none_is_a_sentence(gap):
    with pytest.raises(MeshError, match="gap to close cannot be"):
        judge(BALL, gap_mm=gap)


def without_lid(solid: manifold3d.Manifold, z: float) -> Mesh:
    """The surface of a solid, its facets at one height left out."""
    mesh = mesh_of(solid)
    return replace(mesh, faces=mesh.faces[~np.isclose(mesh.vertices_mm[mesh.faces, 2], z).all(axis=1)])


def test_halves_of_different_facets_are_stitched():
    """The rims meet in no corner but a few: every edge is split at the other's corners."""
    upper, lower = (Solid.cylinder(10, 8, 8, sides).translate((0, 0, z)) for sides, z in ((40, 10), (24, 0)))
    torn = joined(without_lid(upper, 10.0), without_lid(lower, 10.0))
    assert judge(torn)[1].open_edges == 64
    mesh, report = judge(torn, gap_mm=0.1)
    assert report.is_closed and report.edges_split > 0
    assert report.volume_mm3 == pytest.approx(upper.volume() + lower.volume(), rel=5e-3)
    for layer in cut_layers(mesh, 1.0):
        assert net_area_mm2(layer) == pytest.approx(np.pi * 64, rel=0.015)


def test_edges_shorter_than_the_gap_are_not_what_is_joined():
    """A rim of 0.03 mm steps, torn by 0.05 mm: its corners are nearer to each other than to the other side."""
    lower, upper = Solid.cylinder(1, 1, 1, 200), Solid.cylinder(1, 1, 1, 200).translate((0, 0, 1.05))
    torn = joined(without_lid(lower, 1.0), without_lid(upper, 1.05))
    assert judge(torn)[1].open_edges == 400
    _, report = judge(torn, gap_mm=0.055)
    assert report.is_closed and report.triangles == len(torn.faces)


def test_a_thin_triangle_with_an_open_edge_is_kept_and_told():
    sliver = Mesh(np.array([[20.0, 0, 0], [30, 0, 0], [25, 0, 0.05]]), np.array([[0, 1, 2]], np.int32), "sliver")
    _, report = judge(joined(box(10, 10, 10), sliver), gap_mm=0.1)
    assert report.triangles == 13 and report.open_edges == 3


def split_top(mesh: Mesh) -> np.ndarray:
    """The triangles of a box, those of its top cut in four: corners in the middle of whole edges."""
    corners = mesh.vertices_mm[mesh.faces]
    top = (corners[:, :, 2] == corners[:, :, 2].max()).all(axis=1)
    pieces = []
    for a, b, c in corners[top]:
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        pieces += [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.concatenate([corners[~top], np.array(pieces)])


def test_t_junctions_are_closed_unasked():
    mesh, report = judge(soup(split_top(box(10, 10, 10))))
    assert report.is_closed and report.edges_split == 4 and report.volume_mm3 == pytest.approx(1000)
    assert "4 edges split at corners that lay on them" in report.sentences()[0]
    assert all(net_area_mm2(layer) == pytest.approx(100) for layer in cut_layers(mesh, 1.0))


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, 11), max_size=8), st.integers(0, 2**31))
def test_triangles_split_at_random_corners_close_again(which, seed):
    random = np.random.default_rng(seed)
    corners = list(box(10, 7, 5).vertices_mm[box(10, 7, 5).faces])
    for t in which:  # split one edge of a triangle, not its neighbour's
        t %= len(corners)
        a, b, c = np.roll(corners.pop(t), int(random.integers(3)), axis=0)
        middle = a + random.uniform(0.2, 0.8) * (b - a)
        corners += [np.array([a, middle, c]), np.array([middle, b, c])]
    _, report = judge(soup(np.array(corners)))
    assert report.is_closed and report.volume_mm3 == pytest.approx(350, rel=1e-5)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**31), st.sampled_from([1e-4, 1e-3, 1e-2]))
def test_corners_that_each_moved_a_little_are_stitched(seed, jitter):
    corners = BALL.vertices_mm[BALL.faces]
    corners = corners + np.random.default_rng(seed).uniform(-jitter / 4, jitter / 4, corners.shape)
    _, report = judge(soup(corners), gap_mm=jitter)
    assert report.is_closed and report.volume_mm3 == pytest.approx(VOLUME, rel=1e-2)


def test_a_soup_too_large_to_search_is_refused_only_when_asked(monkeypatch):
    monkeypatch.setattr(mesh_stitching, "SWEEP_STEPS_MAX", 10)
    assert judge(torn_ball((0.0, 0.0, 0.01)))[1].open_edges == 64
    with pytest.raises(MeshError, match="64 open edges, too many to look for gaps"):
        judge(torn_ball((0.0, 0.0, 0.01)), gap_mm=0.05)


# ---- duplicates


@pytest.mark.parametrize("seed", range(6))
def test_repeated_triangles_are_dropped_whichever_way_they_face(seed):
    random = np.random.default_rng(seed)
    again = BALL.faces[random.integers(0, len(BALL.faces), 60)]
    again[::2] = again[::2, ::-1]
    faces = random.permutation(np.concatenate([BALL.faces, again]))
    mesh, report = judge(replace(BALL, faces=faces))
    assert report.duplicates_dropped == 60 and report.is_closed and report.non_manifold_edges == 0
    assert report.triangles == len(BALL.faces) and report.volume_mm3 == pytest.approx(VOLUME)
    assert "60 triangles that were there twice were dropped." in report.sentences()
    assert sum(map(net_area_mm2, cut_layers(mesh, 0.1))) * 0.1 == pytest.approx(VOLUME, rel=1e-3)


@pytest.mark.parametrize("copies", [(False,), (True,), (True, False), (False, False), (True, True)])
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_part_that_is_there_more_than_once_is_there_once(copies, shuffled):
    """Programs that show both sides of a face write each triangle twice, once either way round."""
    inverted = replace(BALL, faces=BALL.faces[:, ::-1])
    mesh = joined(BALL, *(inverted if turned else BALL for turned in copies))
    if shuffled:
        mesh = replace(mesh, faces=np.random.default_rng(0).permutation(mesh.faces))
    _, report = judge(mesh)
    assert report.duplicates_dropped == len(copies) * len(BALL.faces) and report.is_closed
    assert report.volume_mm3 == pytest.approx(VOLUME)


@pytest.mark.parametrize("turned", [False, True])
def test_walls_between_bodies_that_touch_are_no_duplicates(turned):
    first = box(10, 10, 10)  # and its mirror image, so that the wall's triangles are the same twice
    second = replace(first, vertices_mm=first.vertices_mm * (-1, 1, 1) + (20, 0, 0), faces=first.faces[:, ::-1])
    if turned:
        second = replace(second, faces=second.faces[:, ::-1])
    mesh, report = judge(joined(first, second))
    assert report.duplicates_dropped == 0 and report.is_closed and report.non_manifold_edges == 5
    assert report.volume_mm3 == pytest.approx(2000) and report.bodies == 2
    assert all(net_area_mm2(layer) == pytest.approx(200) for layer in cut_layers(mesh, 1.0))


@pytest.mark.parametrize("heights", [(3, 4, 5), (3, 3, 4), (3, 4, 4), (2, 2, 2), (1, 2, 3, 4), (5, 5, 3, 3)])
def test_bodies_that_stand_in_each_other_share_floors_and_keep_their_own(heights):
    mesh, report = judge(joined(*(box(3, 3, height) for height in heights)))
    assert report.is_closed and cutting.pair_edges(mesh.faces)[3] == 0
    assert [net_area_mm2(layer) for layer in cut_layers(mesh, 0.5)] == pytest.approx([9.0] * (2 * max(heights)))


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(*[st.integers(0, 2)] * 3, *[st.integers(1, 2)] * 3), min_size=2, max_size=4, unique=True),
    st.integers(0, 2**31),
)
def test_blocks_that_touch_with_turned_triangles_have_the_area_of_their_union_or_are_told(blocks, seed):
    random = np.random.default_rng(seed)
    parts = []
    for x, y, z, dx, dy, dz in blocks:
        part = box(dx, dy, dz, (x, y, z))
        chosen = random.permutation(12) < random.integers(0, 5)
        parts.append(replace(part, faces=np.where(chosen[:, None], part.faces[:, ::-1], part.faces)))
    mesh, report = judge(joined(*parts))
    if not report.is_closed:
        assert "mm about (" in report.sentences()[0]
        return
    event("closed")
    union = sum((Solid.cube((dx, dy, dz)).translate((x, y, z)) for x, y, z, dx, dy, dz in blocks), Solid())
    for layer in cut_layers(mesh, 0.5):
        assert net_area_mm2(layer) == pytest.approx(union.slice(layer.z_mm - 0.25).area(), abs=1e-2)


def test_a_repeated_triangle_does_not_hide_the_hole_beside_it():
    faces = BALL.faces[1:]
    beside = np.isin(faces, BALL.faces[0]).sum(axis=1) == 2
    _, report = judge(replace(BALL, faces=np.concatenate([faces, faces[beside]])))
    assert report.duplicates_dropped == 3 and report.open_edges == 3


# ---- places


def test_places_of_holes_edges_and_turned_triangles_are_told():
    cube = box(10, 10, 10, (100, 0, 0))
    hole = int(np.argmax(cube.vertices_mm[cube.faces, 2].mean(axis=1)))
    _, report = judge(joined(replace(cube, faces=np.delete(cube.faces, hole, axis=0)), BALL))
    assert report.border_count == 1 and report.borders[0].edges == 3 and report.borders[0].z_mm == (10.0, 10.0)
    assert report.borders[0].centre_mm == pytest.approx(tuple(cube.vertices_mm[cube.faces[hole]].mean(axis=0)))

    _, report = judge(joined(box(10, 10, 10), box(10, 10, 10, (10, 10, 0))))
    assert report.non_manifold_mm == ((10.0, 10.0, 5.0),)
    assert "bodies touch there (at (10.00, 10.00, 5.00), mm)" in report.sentences()[0]

    chosen = BALL.vertices_mm[BALL.faces][:, :, 0].min(axis=1) > 9.0
    _, report = judge(replace(BALL, faces=np.where(chosen[:, None], BALL.faces[:, ::-1], BALL.faces)))
    assert [patch.triangles for patch in report.flipped] == [int(chosen.sum())]
    assert report.flipped[0].centre_mm[0] > 9.0 and "were turned (at (9." in report.sentences()[0]


def test_one_of_a_thing_is_not_told_as_several():
    block = box(10, 10, 10)
    flipped = replace(block, faces=np.where(np.arange(12)[:, None] == 3, block.faces[:, ::-1], block.faces))
    assert judge(flipped)[1].sentences()[0].startswith("1 triangle faced the wrong way and was turned (at ")
    _, report = judge(joined(block, box(10, 10, 10, (10, 10, 0))))
    assert report.sentences()[0].startswith("More than two triangles meet at 1 edge: ")
    _, report = judge(replace(BALL, faces=np.concatenate([BALL.faces, BALL.faces[:1]])))
    assert report.sentences() == ["1 triangle that was there twice was dropped."]


def test_bodies_that_were_inside_out_are_counted_and_placed():
    blocks = [box(10, 10, 10, (20.0 * i, 0, 0)) for i in range(9)]
    inverted = [replace(block, faces=block.faces[:, ::-1]) for block in blocks]
    _, report = judge(joined(*blocks[:2], inverted[2]))
    assert report.bodies_inside_out == 1 and report.inside_out_mm == ((45.0, 5.0, 5.0),)
    assert report.sentences() == ["1 of 3 bodies was inside out and was turned (at (45.00, 5.00, 5.00), mm)."]
    _, report = judge(joined(*inverted[:6], box(200, 10, 10, (0, 20, 0))))
    assert (
        report.bodies_inside_out == 6 and len(report.inside_out_mm) == 5 and " and 1 more, mm)" in report.sentences()[0]
    )
    _, report = judge(joined(*inverted))
    assert report.bodies_inside_out == 9 and report.sentences() == [
        "The part was inside out; its triangles were turned."
    ]


@pytest.mark.parametrize("lost", [0, 7, 100, 400])
def test_the_hole_of_an_inverted_part_is_told_where_it_is(lost):
    faces = np.delete(BALL.faces, lost, axis=0)
    upright, inverted = judge(replace(BALL, faces=faces))[1], judge(replace(BALL, faces=faces[:, ::-1]))[1]
    assert inverted.inside_out and inverted.open_edges == upright.open_edges == 3
    assert inverted.borders[0].centre_mm == pytest.approx(upright.borders[0].centre_mm)
    assert upright.borders[0].centre_mm == pytest.approx(tuple(BALL.vertices_mm[BALL.faces[lost]].mean(axis=0)))


def test_turned_triangles_are_counted_where_bodies_touch():
    first = box(10, 10, 10)
    second = box(10, 10, 10, (10, 10, 0))
    chosen = np.isin(np.arange(12), (1, 5, 6))
    _, report = judge(
        joined(first, replace(second, faces=np.where(chosen[:, None], second.faces[:, ::-1], second.faces)))
    )
    assert report.is_closed and report.flipped_faces == 3 and sum(patch.triangles for patch in report.flipped) == 3
    assert all(patch.centre_mm[0] >= 10.0 for patch in report.flipped)


def test_a_mesh_without_triangles_is_a_sentence():
    with pytest.raises(MeshError, match="holds no triangle"):
        judge(replace(BALL, faces=BALL.faces[:0]))


def test_only_the_longest_borders_are_named_and_all_are_counted():
    random = np.random.default_rng(1)
    balls = [
        replace(BALL, vertices_mm=BALL.vertices_mm + np.array([30.0 * i, 0, 0]), faces=BALL.faces[1:]) for i in range(8)
    ]
    bigger = replace(balls[3], faces=np.delete(balls[3].faces, random.integers(0, 900, 1), axis=0))
    _, report = judge(joined(*balls[:3], bigger, *balls[4:]))
    assert report.border_count >= 8 and len(report.borders) == 5
    lengths = [border.length_mm for border in report.borders]
    assert lengths == sorted(lengths, reverse=True) and f"longest of {report.border_count}" in report.sentences()[0]


# ---- kernels beside their twins

COORDINATE = st.integers(0, 6).map(float)
POINTS = st.lists(st.tuples(*[COORDINATE] * 3), min_size=2, max_size=14)


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_components_agree_with_their_twin(graph):
    count, edges = graph
    a, b = np.array(edges, np.int64).reshape(-1, 2).T
    label = np.empty(count, np.int64)
    pieces = mending.label_components(a, b, label)
    assert label.tolist() == naive.components(edges, count) and pieces == label.max() + 1


def swept(points) -> tuple[np.ndarray, np.ndarray]:
    points = np.array(points)
    along = points @ np.array(mending.SWEEP)
    order = np.argsort(along, kind="stable")
    return points[order], along[order]


@given(POINTS, st.data(), st.sampled_from([0.3, 1.0, 2.5]))
def test_welding_agrees_with_its_twin(points, data, step):
    vertices = np.array(points)
    n = len(points)
    corner = st.integers(0, n - 1)
    faces = np.array(data.draw(st.lists(st.tuples(corner, corner, corner), min_size=1, max_size=9)), np.int32)
    low = vertices.min(axis=0)
    key, first, number = np.empty(n, np.int64), np.empty(n, np.int32), np.full(n, -1, np.int32)
    table = np.full(32, -1, np.int32)
    corners, cells = mending.weld(vertices, faces, low, step, np.zeros(n, np.bool_), key, first, table, number)
    used = set(faces.reshape(-1).tolist())
    expected = naive.grid_cells(points, used, low, step)
    assert (corners, cells) == (len(used), len(expected))
    assert first[:cells].tolist() == [cell[0] for cell in expected]
    assert [number[v] for v in range(n)] == [
        next((k for k, cell in enumerate(expected) if v in cell), -1) for v in range(n)
    ]


@given(POINTS, st.sampled_from([0.5, 1.0, 1.8, 3.0]))
def test_near_pairs_and_their_merging_agree_with_their_twins(points, reach):
    points, along = swept(points)
    room = len(points) ** 2
    first, second, distance = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room)
    count = mending.near_pairs(points, along, reach, first, second, distance)
    pairs = list(zip(first[:count].tolist(), second[:count].tolist()))
    assert set(pairs) == naive.near_pairs(points.tolist(), reach) and len(set(pairs)) == count
    order = np.argsort(distance[:count], kind="stable")
    parent = np.empty(len(points), np.int64)
    merged = mending.merge_pairs(points, first[order], second[order], reach, parent)
    assert parent.tolist() == naive.merged_points(points.tolist(), [pairs[i] for i in order], reach)
    assert merged == np.count_nonzero(parent != np.arange(len(points)))


@given(POINTS, st.data(), st.sampled_from([0.01, 0.4, 1.0]))
def test_corners_on_edges_agree_with_their_twin(points, data, reach):
    points, along = swept(points)
    end = st.integers(0, len(points) - 1)
    edges = data.draw(st.lists(st.tuples(end, end), min_size=1, max_size=6))
    tail, head = np.array(edges, np.int64).T.copy()
    room = len(points) * len(edges)
    edge, corner, place = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room)
    count = mending.corners_on_edges(points, along, tail, head, reach, edge, corner, place)
    assert set(zip(edge[:count].tolist(), corner[:count].tolist())) == naive.corners_on_edges(points, edges, reach)


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3, *[st.integers(0, 3)] * 3), min_size=1, max_size=12), st.data())
def test_enclosed_boxes_agree_with_their_twin(boxes, data):
    low = np.array(boxes, float)[:, :3]
    high = low + np.array(boxes, float)[:, 3:]
    asked = np.array(data.draw(st.lists(st.integers(0, len(boxes) - 1), max_size=6)), np.int64)
    enclosed = np.empty(len(asked), np.bool_)
    size = (high - low).sum(axis=1)
    order = np.argsort(-size, kind="stable")
    judging.mark_enclosed(low, high, size, order, asked, 1000, enclosed)
    assert enclosed.tolist() == naive.enclosed_boxes(list(zip(low.tolist(), high.tolist())), asked.tolist())
    judging.mark_enclosed(low, high, size, order, asked, 0, enclosed)
    assert enclosed[1:].all(), "beyond its bound every body counts as enclosed"


@given(POINTS.filter(lambda points: len(points) > 3), st.data())
def test_measures_agree_with_their_twins(points, data):
    vertices = np.array(points)
    corner = st.integers(0, len(points) - 1)
    faces = np.array(data.draw(st.lists(st.tuples(corner, corner, corner), min_size=1, max_size=9)), np.int32)
    used = vertices[faces].reshape(-1, 3)
    assert Mesh(vertices, faces, "x").bounds_mm.tolist() == [used.min(axis=0).tolist(), used.max(axis=0).tolist()]
    volume = np.empty(1)
    judging.body_volumes(vertices, faces, np.zeros(3), np.zeros(len(faces), np.int32), volume)
    assert volume[0] == pytest.approx(naive.tetrahedra_volume(vertices, faces.tolist()), abs=1e-9)
    flat = np.empty(len(faces), np.bool_)
    count = judging.mark_flat(vertices, faces, 1e-8, flat)
    area = np.linalg.norm(np.cross(*(vertices[faces[:, k]] - vertices[faces[:, 0]] for k in (1, 2))), axis=1)
    assert flat.tolist() == (area < 1e-9).tolist() and count == flat.sum()

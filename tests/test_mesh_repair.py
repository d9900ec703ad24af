"""Is a surface welded, wound and judged rightly, and placed where it fits?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import manifold3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from solid_helpers import box, joined, mesh_of

from slicer.errors import MeshError
from slicer.kernels import cutting
from slicer.mesh import Mesh, judge, place_on_plate
from tests import naive

BALL = mesh_of(manifold3d.Manifold.sphere(10.0, 24))


def soup(mesh: Mesh, jitter: float = 0.0, seed: int = 0) -> Mesh:
    """Every triangle with corners of its own, each moved a little."""
    corners = mesh.vertices_mm[mesh.faces].reshape(-1, 3)
    corners = corners + np.random.default_rng(seed).uniform(-jitter, jitter, corners.shape)
    return Mesh(corners, np.arange(len(corners), dtype=np.int32).reshape(-1, 3), mesh.name)


@pytest.mark.parametrize("jitter", [0.0, 1e-9, 1e-7])
def test_weld_joins_what_is_one_corner(jitter):
    mesh, report = judge(soup(BALL, jitter))
    assert report.open_edges == 0 and len(mesh.vertices_mm) == len(BALL.vertices_mm)
    assert report.welded_vertices == 3 * len(BALL.faces) - len(BALL.vertices_mm)


@given(st.sets(st.integers(0, len(BALL.faces) - 1)))
def test_any_flipped_triangles_are_turned_back(flipped):
    faces = BALL.faces.copy()
    chosen = sorted(flipped)
    faces[chosen] = faces[chosen][:, ::-1]
    mesh, report = judge(replace(BALL, faces=faces))
    assert report.volume_mm3 == pytest.approx(judge(BALL)[1].volume_mm3)
    assert report.flipped_faces == len(flipped) and report.inside_out == (2 * len(flipped) > len(faces))
    assert cutting.pair_edges(mesh.faces)[3] == 0


def test_inside_out_part_is_turned_and_said():
    _, report = judge(replace(BALL, faces=BALL.faces[:, ::-1].copy()))
    assert report.inside_out and report.volume_mm3 > 0 and "inside out" in " ".join(report.sentences())


@pytest.mark.parametrize("whole_file_inverted", [False, True])
def test_cavity_stays_a_cavity(whole_file_inverted):
    hollow = joined(box(20, 20, 20), replace(b := box(6, 6, 6, (5, 5, 5)), faces=b.faces[:, ::-1]))
    if whole_file_inverted:
        hollow = replace(hollow, faces=hollow.faces[:, ::-1])
    _, report = judge(hollow)
    assert report.bodies == 2 and report.volume_mm3 == pytest.approx(8000 - 216)
    assert report.inside_out == whole_file_inverted


def test_one_body_of_two_inside_out_is_turned():
    second = box(10, 10, 10, (30, 0, 0))
    _, report = judge(joined(box(20, 20, 20), replace(second, faces=second.faces[:, ::-1])))
    assert report.volume_mm3 == pytest.approx(9000) and report.inside_out and report.flipped_faces == 12


def test_hole_is_reported_with_its_edges():
    _, report = judge(replace(BALL, faces=BALL.faces[1:]))
    assert report.open_edges == 3 and not report.is_closed and "3 edges" in report.sentences()[0]


def test_two_cubes_on_one_edge_are_non_manifold_and_closed():
    _, report = judge(joined(box(10, 10, 10), box(10, 10, 10, (10, 10, 0))))
    assert report.non_manifold_edges == 1 and report.is_closed and report.volume_mm3 == pytest.approx(2000)


def test_moebius_strip_has_no_inside():
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    rims = [
        np.stack(
            [
                (10 + s * np.cos(turn / 2)) * np.cos(turn),
                (10 + s * np.cos(turn / 2)) * np.sin(turn),
                s * np.sin(turn / 2),
            ],
            axis=1,
        )
        for s in (-2.0, 2.0)
    ]
    faces = []
    for i in range(24):
        j = (i + 1) % 24
        low, high = (j, j + 24) if j else (24, 0)
        faces += [[i, low, i + 24], [i + 24, low, high]]
    _, report = judge(Mesh(np.concatenate(rims), np.array(faces, np.int32), "strip"))
    assert report.one_sided and not report.is_closed and any("no inside" in told for told in report.sentences())


def test_flat_triangles_are_dropped_unless_they_close_the_surface():
    cube = box(10, 10, 10)
    corner = cube.vertices_mm[0]
    loose = Mesh(corner + np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), np.array([[0, 1, 2]], np.int32), "sliver")
    _, report = judge(joined(cube, loose))
    assert report.degenerate_dropped == 1 and report.triangles == 12 and report.is_closed

    tail, head = (int(v) for v in cube.faces[0, :2])
    middle = len(cube.vertices_mm)
    vertices = np.concatenate([cube.vertices_mm, [0.5 * (cube.vertices_mm[tail] + cube.vertices_mm[head])]])
    third = int(cube.faces[0, 2])  # one side of an edge split, the other not: only a flat triangle closes the slit
    faces = np.concatenate(
        [cube.faces[1:], [[tail, middle, third], [middle, head, third], [tail, head, middle]]]
    ).astype(np.int32)
    _, report = judge(Mesh(vertices, faces, "slit"))
    assert report.is_closed and report.triangles == 14 and report.volume_mm3 == pytest.approx(1000)


@given(st.lists(st.tuples(*[st.integers(0, 7)] * 3).filter(lambda f: len(set(f)) == 3), min_size=1, max_size=25))
def test_pairing_and_winding_agree_with_their_twins(faces):
    faces = np.array(faces, np.int32)
    pair, *counts = cutting.pair_edges(faces)
    assert tuple(counts) == naive.edge_census(faces)
    half = np.arange(len(pair))
    met = pair >= 0
    assert (pair[pair[met]] == half[met]).all() and (pair != half).all()
    ends = [frozenset((int(faces[h // 3, h % 3]), int(faces[h // 3, (h % 3 + 1) % 3]))) for h in half]
    assert all(ends[h] == ends[pair[h]] for h in half[met])
    if counts[1] == 0:  # where more than two meet, which ones are a body is a choice
        upward = (faces < np.roll(faces, -1, axis=1)).reshape(-1)
        body, turned = np.empty(len(faces), np.int32), np.zeros(len(faces), np.bool_)
        bodies, contradictions = cutting.wind_bodies(upward, pair, body, turned)
        expected, found = naive.body_winding(faces)
        assert bodies == expected and [b for b, _ in found] == body.tolist()
        if contradictions == 0:
            assert [against for _, against in found] == turned.tolist()


@dataclass(frozen=True)
class Room:
    x_mm: float = 100.0
    y_mm: float = 60.0
    z_mm: float = 40.0


def test_part_is_centred_on_the_plate():
    mesh = place_on_plate(box(10, 20, 30, (7, -9, 1000)), Room())
    np.testing.assert_allclose(mesh.bounds_mm, [[45, 20, 0], [55, 40, 30]], atol=1e-9)


def test_part_that_exactly_fits_is_taken():
    np.testing.assert_allclose(place_on_plate(box(100, 60, 40), Room()).bounds_mm, [[0, 0, 0], [100, 60, 40]])


@pytest.mark.parametrize(
    ("size", "says"), [((101, 5, 5), "101.00 mm in x where 100"), ((5, 61, 5), "in y"), ((5, 5, 41), "in z")]
)
def test_part_too_large_names_the_axis(size, says):
    with pytest.raises(MeshError, match="does not fit") as caught:
        place_on_plate(box(*size), Room())
    assert says in str(caught.value)

"""Does a bad mesh give the right area in every layer, or a sentence on what is wrong and where?"""

from __future__ import annotations

import math
import zipfile
from dataclasses import replace

import manifold3d
import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from solid_helpers import box, joined, mesh_of

from slicer.errors import MeshError
from slicer.layers import THINNING_MM, cut_layers, cut_planes, loops_area_mm2, net_area_mm2
from slicer.mesh import Mesh, judge, read_mesh

Solid = manifold3d.Manifold
WITHIN = 5e-3  # half a percent of the right area


def write_stl(path, corners: np.ndarray) -> None:
    """A binary STL of triangles, (m, 3, 3): every corner by itself, in single precision."""
    rows = np.zeros(len(corners), np.dtype([("n", "<f4", 3), ("c", "<f4", (3, 3)), ("a", "<u2")]))
    rows["c"] = corners
    path.write_bytes(b"\0" * 80 + np.uint32(len(rows)).tobytes() + rows.tobytes())


def write_obj(path, mesh: Mesh) -> None:
    lines = [f"v {x!r} {y!r} {z!r}" for x, y, z in mesh.vertices_mm.tolist()]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in mesh.faces.tolist()]
    path.write_text("\n".join(lines) + "\n")


def write_ply(path, mesh: Mesh, number: str = "double") -> None:
    header = (
        f"ply\nformat binary_little_endian 1.0\nelement vertex {len(mesh.vertices_mm)}\n"
        + "".join(f"property {number} {axis}\n" for axis in "xyz")
        + f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    rows = np.zeros(len(mesh.faces), np.dtype([("n", "u1"), ("v", "<i4", 3)]))
    rows["n"], rows["v"] = 3, mesh.faces
    corners = mesh.vertices_mm.astype("<f8" if number == "double" else "<f4")
    path.write_bytes(header.encode() + corners.tobytes() + rows.tobytes())


def write_3mf(path, mesh: Mesh) -> None:
    corners = "".join(f'<vertex x="{x!r}" y="{y!r}" z="{z!r}"/>' for x, y, z in mesh.vertices_mm.tolist())
    faces = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in mesh.faces.tolist())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "3D/3dmodel.model",
            '<model xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02"><resources><object id="1"><mesh>'
            f"<vertices>{corners}</vertices><triangles>{faces}</triangles></mesh></object></resources>"
            '<build><item objectid="1"/></build></model>',
        )


# ---- solids whose areas are known, written badly


@st.composite
def solids(draw) -> manifold3d.Manifold:
    """Boxes, prisms and cylinders, turned, joined and cut out of one another."""
    size, place = st.floats(2.0, 20.0), st.floats(-8.0, 8.0)
    whole = Solid.cube((draw(size), draw(size), draw(size)))
    for _ in range(draw(st.integers(0, 3))):
        shape = draw(st.sampled_from(["box", "prism", "cylinder", "cone"]))
        if shape == "box":
            other = Solid.cube((draw(size), draw(size), draw(size)))
        else:
            sides = {"prism": draw(st.integers(3, 6)), "cylinder": 24, "cone": 17}[shape]
            low = draw(size) / 3
            other = Solid.cylinder(draw(size), low, 0.3 * low if shape == "cone" else low, sides)
        if draw(st.booleans()):
            other = other.rotate((draw(st.integers(0, 359)), draw(st.integers(0, 359)), 0.0))
        other = other.translate((draw(place), draw(place), draw(place)))
        cut = whole - other if draw(st.booleans()) else whole + other
        whole = whole if cut.volume() < 1.0 else cut
    return whole


def assert_areas(mesh: Mesh, solid: manifold3d.Manifold, count: int, moved_mm: float = 0.0) -> None:
    bottom, top = mesh.bounds_mm[:, 2]
    planes = bottom + (np.arange(count) + 0.5) * (top - bottom) / count
    for z, (points, starts) in zip(planes, cut_planes(mesh, planes)):
        # on a facet, which is level only to its last digit, a cut shows what is below it, above it, or part of each
        beside = 1e-6 + moved_mm
        areas = [outline.area() for outline in (solid.slice(float(z) - beside), solid.slice(float(z) + beside))]
        perimeter = sum(
            math.dist(ring[i - 1], ring[i]) for ring in np.split(points, starts[1:-1]) for i in range(len(ring))
        )
        slack = 1e-3 + (THINNING_MM + moved_mm) * perimeter + 0.5 * WITHIN * max(areas)
        assert min(areas) - slack <= loops_area_mm2(points, starts) <= max(areas) + slack


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(solids(), st.integers(1, 20), st.integers(0, 2**31))
def test_solids_written_badly_have_the_areas_of_an_independent_slicer(tmp_path_factory, solid, count, seed):
    """Single precision, no shared corners, any order, some triangles turned, some twice, some split on one side."""
    random = np.random.default_rng(seed)
    mesh = mesh_of(solid)
    corners = mesh.vertices_mm[mesh.faces]
    turned = random.permutation(len(corners))[: len(corners) // 5]
    corners[turned] = corners[turned][:, ::-1]
    t = int(random.integers(len(corners)))
    a, b, c = corners[t]
    middle = a + 0.5 * (b - a)
    others = np.delete(corners, t, axis=0)
    again = others[random.integers(0, len(others), 3)]
    corners = np.concatenate([others, [[a, middle, c], [middle, b, c]], again])
    path = tmp_path_factory.getbasetemp() / "bad.stl"
    write_stl(path, random.permutation(corners))
    mesh, report = read_mesh(path)
    assert report.is_closed and report.duplicates_dropped >= 1
    assert report.volume_mm3 == pytest.approx(solid.volume(), rel=1e-4, abs=1e-2)
    assert_areas(mesh, solid, count, moved_mm=5e-5)


# ---- far from the origin

FAR = np.array([1e6, -1e6, 1e6])
WRITERS = {".obj": write_obj, ".ply": write_ply, ".3mf": write_3mf}


@pytest.mark.parametrize("ending", WRITERS)
def test_at_a_kilometre_formats_of_double_precision_lose_nothing(tmp_path, ending):
    solid = Solid.sphere(10.0, 48)
    mesh = mesh_of(solid.translate(FAR))
    WRITERS[ending](tmp_path / f"far{ending}", mesh)
    read, report = read_mesh(tmp_path / f"far{ending}")
    assert report.sentences() == [] and report.coordinate_step_mm == 0.0
    assert report.volume_mm3 == pytest.approx(solid.volume(), rel=1e-8)
    assert_areas(replace(read, vertices_mm=read.vertices_mm - FAR), solid, 40)


def test_at_a_kilometre_single_precision_is_said_to_be_too_coarse(tmp_path):
    mesh = mesh_of(Solid.sphere(10.0, 48).translate(FAR))
    write_stl(tmp_path / "far.stl", mesh.vertices_mm[mesh.faces])
    write_ply(tmp_path / "far.ply", mesh, "float")
    for name in ("far.stl", "far.ply"):
        _, report = read_mesh(tmp_path / name)
        assert report.coordinate_step_mm == pytest.approx(0.0625)
        assert "single precision keeps only 0.062 mm" in " ".join(report.sentences())


def test_beyond_all_numbers_a_part_is_refused(tmp_path):
    write_obj(tmp_path / "gone.obj", box(10, 10, 10, (1e15, 0, 0)))
    with pytest.raises(MeshError, match="from its origin, where no number tells its corners apart"):
        read_mesh(tmp_path / "gone.obj")


# ---- slivers, planes, overlaps


@pytest.mark.parametrize("thin", [1e-12, 1e-9, 1e-6, 1e-4])
def test_slivers_change_no_area(thin):
    """A corner drawn out of each edge by next to nothing: needles of that height all over the part."""
    corners = list(box(10, 8, 6).vertices_mm[box(10, 8, 6).faces])
    for _ in range(12):
        a, b, c = corners.pop(0)
        m = 0.3 * a + 0.7 * b + thin * (c - a)
        corners += [np.array([a, m, c]), np.array([m, b, c]), np.array([a, b, m])]
    corners = np.array(corners)
    mesh, report = judge(Mesh(corners.reshape(-1, 3), np.arange(len(corners) * 3, dtype=np.int32).reshape(-1, 3), "x"))
    assert report.is_closed and report.volume_mm3 == pytest.approx(480, rel=1e-6)
    assert all(net_area_mm2(layer) == pytest.approx(80, abs=36 * THINNING_MM) for layer in cut_layers(mesh, 0.25))


def test_a_triangle_both_whole_and_in_halves_is_told():
    """Beyond repair: which of the two sheets is the part?"""
    corners = box(10, 8, 6).vertices_mm[box(10, 8, 6).faces]
    a, b, c = corners[0]
    middle = (a + b) / 2
    corners = np.concatenate([corners, [[a, middle, c], [middle, b, c]]])
    _, report = judge(Mesh(corners.reshape(-1, 3), np.arange(len(corners) * 3, dtype=np.int32).reshape(-1, 3), "x"))
    assert not report.is_closed and "not closed" in report.sentences()[0] and "mm about (" in report.sentences()[0]


def test_facets_exactly_on_the_planes_of_the_layers_count_once():
    steps = [box(10 - k, 10 - k, 1.0, (k / 2, k / 2, k)) for k in range(6)]  # a ziggurat of touching slabs
    solid = sum((Solid.cube((10 - k, 10 - k, 1.0)).translate((k / 2, k / 2, k)) for k in range(6)), Solid())
    for mesh in (joined(*steps), mesh_of(solid)):
        mesh, report = judge(mesh)
        assert report.is_closed and report.volume_mm3 == pytest.approx(sum((10 - k) ** 2 for k in range(6)))
        for thickness in (0.4, 0.5, 2.0):  # middles at 0.2, 0.6, 1.0...; at quarters; at 1, 3 and 5
            for layer in cut_layers(mesh, thickness):
                middle = layer.z_mm - thickness / 2
                beside = [(10 - min(5, math.floor(middle + side))) ** 2 for side in (-1e-9, 1e-9)]
                assert min(abs(net_area_mm2(layer) - area) for area in beside) < WITHIN * min(beside)


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(*[st.floats(3, 12)] * 3, *[st.floats(-6, 6)] * 2), min_size=2, max_size=5))
def test_bodies_that_run_into_each_other_are_their_union(shapes):
    bodies = [Solid.cube((x, y, z)).translate((dx, dy, 0)) for x, y, z, dx, dy in shapes]
    mesh, report = judge(joined(*map(mesh_of, bodies)))
    assert report.is_closed
    union = sum(bodies[1:], bodies[0])
    for layer in cut_layers(mesh, 0.7):
        z = layer.z_mm - 0.35
        area = [union.slice(z + side).area() for side in (-1e-9, 1e-9)]
        assert min(abs(net_area_mm2(layer) - right) for right in area) < WITHIN * max(area) + 1e-2


def prism(corners: np.ndarray, height: float) -> Mesh:
    """A prism over a closed line that may cross itself: walls, and a floor and a lid of fans."""
    n = len(corners)
    middle = corners.mean(axis=0)
    plan = np.concatenate([corners, [middle]])
    vertices = np.concatenate([np.column_stack([plan, np.full(n + 1, z)]) for z in (0.0, height)])
    faces = []
    for i in range(n):
        j = (i + 1) % n
        faces += [[i, j, j + n + 1], [i, j + n + 1, i + n + 1], [j, i, n], [i + n + 1, j + n + 1, 2 * n + 1]]
    return Mesh(vertices, np.array(faces, np.int32), "prism")


@pytest.mark.parametrize(("points", "step"), [(5, 2), (7, 2), (7, 3), (9, 4)])
def test_a_shell_that_runs_through_itself_is_filled_once(tmp_path, points, step):
    """A star drawn in one line winds around its middle more than once."""
    turn = 2 * np.pi * step * np.arange(points) / points
    corners = 20.0 * np.column_stack([np.cos(turn), np.sin(turn)])
    mesh = prism(corners, 6.0)
    write_stl(tmp_path / "star.stl", mesh.vertices_mm[mesh.faces])
    read, report = read_mesh(tmp_path / "star.stl")
    assert report.is_closed
    right = manifold3d.CrossSection([corners], manifold3d.FillRule.Positive).area()
    for layer in cut_layers(read, 1.0):
        assert net_area_mm2(layer) == pytest.approx(right, rel=WITHIN)


# ---- shells that are open


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(solids(), st.integers(0, 2**31), st.integers(1, 3))
def test_open_shells_are_told_with_their_place_and_never_cut_in_silence(solid, seed, missing):
    mesh = mesh_of(solid)
    random = np.random.default_rng(seed)
    gone = random.permutation(len(mesh.faces))[:missing]
    # a hole narrower than two cells of the welding grid is a gap, and closed unasked
    a, b, c = mesh.vertices_mm[mesh.faces[gone]].transpose(1, 0, 2)
    longest = np.max([np.linalg.norm(side, axis=1) for side in (b - a, c - b, a - c)], axis=0)
    assume((np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-3 * longest).all())
    torn, report = judge(replace(mesh, faces=np.delete(mesh.faces, gone, axis=0)))
    assert not report.is_closed and report.borders
    sentence = report.sentences()[0]
    assert "not closed" in sentence and "mm about (" in sentence
    heights = mesh.vertices_mm[mesh.faces[gone]][:, :, 2]
    for border in report.borders:
        assert heights.min() - 1e-6 <= border.z_mm[0] <= border.z_mm[1] <= heights.max() + 1e-6
    steepest = int(np.argmax(np.ptp(heights, axis=1)))
    low, high = heights[steepest].min(), heights[steepest].max()
    if high - low > 1e-3:
        with pytest.raises(MeshError, match="not closed"):
            cut_planes(torn, [(low + high) / 2])


def test_planes_that_miss_the_gap_are_cut_rightly():
    lid = box(10, 10, 10)
    torn = replace(lid, faces=lid.faces[~(lid.vertices_mm[lid.faces, 2] == 10.0).all(axis=1)])
    mesh, report = judge(torn)
    assert report.borders[0].z_mm == (10.0, 10.0)
    assert all(net_area_mm2(layer) == pytest.approx(100) for layer in cut_layers(mesh, 1.0))


# ---- meshes that nobody here made


@pytest.mark.parametrize(
    ("name", "count"), [("trimesh_busted.stl", 60), ("ti_DeformedKitten.stl", 60), ("pyslm_frameGuide.stl", 30)]
)
def test_areas_of_real_meshes_are_those_of_other_programs(shared_data, name, count):
    path = shared_data / "meshes" / name
    mesh, _ = read_mesh(path)
    merged = trimesh.load_mesh(path)
    merged.merge_vertices(merge_tex=True, merge_norm=True)
    data = manifold3d.Mesh64(
        np.ascontiguousarray(merged.vertices, np.float64), np.ascontiguousarray(merged.faces, np.uint64)
    )
    solid = Solid(data)
    assert solid.status() == manifold3d.Error.NoError
    assert_areas(mesh, solid, count, moved_mm=1e-6 * float(np.ptp(mesh.bounds_mm)))

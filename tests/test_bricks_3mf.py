"""Is a written 3MF file what its specification says, the same every time, and read alike by us and by others?"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solid_helpers import box

from slicer.bricks import KINDS, make_brick, write_3mf
from slicer.errors import MeshError
from slicer.mesh import Mesh, read_mesh
from slicer.mesh_3mf import UNITS_3MF_MM

CORE = "{http://schemas.microsoft.com/3dmanufacturing/core/2015/02}"


def model_of(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return ElementTree.fromstring(archive.read("3D/3dmodel.model"))


@pytest.mark.parametrize("kind", KINDS)
def test_our_reader_gives_the_brick_back(tmp_path, kind):
    brick = make_brick(kind, {"shrinkage_percent": "2,2,29"})
    write_3mf(brick.mesh, tmp_path / "part.3mf")
    mesh, report = read_mesh(tmp_path / "part.3mf")
    assert (report.open_edges, report.flipped_faces, report.triangles) == (0, 0, len(brick.mesh.faces))
    np.testing.assert_allclose(mesh.bounds_mm, brick.mesh.bounds_mm, rtol=0, atol=0)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=True), min_size=12, max_size=12))
def test_every_digit_is_kept(tmp_path, numbers):
    mesh = Mesh(np.array(numbers).reshape(4, 3), np.array([(0, 2, 1), (0, 1, 3), (1, 2, 3), (0, 3, 2)], np.int32), "p")
    write_3mf(mesh, tmp_path / "part.3mf")
    model = model_of(tmp_path / "part.3mf")
    read = [[float(vertex.get(axis)) for axis in "xyz"] for vertex in model.iter(f"{CORE}vertex")]
    np.testing.assert_array_equal(read, mesh.vertices_mm)
    faces = [[int(triangle.get(v)) for v in ("v1", "v2", "v3")] for triangle in model.iter(f"{CORE}triangle")]
    np.testing.assert_array_equal(faces, mesh.faces)


def test_the_package_has_the_parts_that_the_conventions_ask_for(tmp_path):
    write_3mf([box(1, 2, 3), box(2, 2, 2, (5, 0, 0))], tmp_path / "two.3mf")
    with zipfile.ZipFile(tmp_path / "two.3mf") as archive:
        assert archive.namelist() == ["[Content_Types].xml", "_rels/.rels", "3D/3dmodel.model"]
        types = ElementTree.fromstring(archive.read("[Content_Types].xml"))
        (relation,) = ElementTree.fromstring(archive.read("_rels/.rels"))
    kinds = {node.get("Extension"): node.get("ContentType") for node in types}
    assert kinds["model"] == "application/vnd.ms-package.3dmanufacturing-3dmodel+xml"
    assert kinds["rels"] == "application/vnd.openxmlformats-package.relationships+xml"
    assert relation.get("Target") == "/3D/3dmodel.model"
    assert relation.get("Type") == "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
    model = model_of(tmp_path / "two.3mf")
    assert model.tag == f"{CORE}model" and model.get("unit") == "millimeter"
    ids = [thing.get("id") for thing in model.iter(f"{CORE}object")]
    assert [item.get("objectid") for item in model.iter(f"{CORE}item")] == ids == ["1", "2"]


def test_the_same_mesh_makes_the_same_bytes(tmp_path):
    for name in ("one.3mf", "two.3mf"):
        write_3mf(make_brick("voussoir").mesh, tmp_path / name)
    assert (tmp_path / "one.3mf").read_bytes() == (tmp_path / "two.3mf").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.3mf") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("unit", UNITS_3MF_MM)
def test_a_part_has_one_size_in_every_unit(tmp_path, unit):
    write_3mf(box(30, 20, 10), tmp_path / "part.3mf", unit=unit)
    assert model_of(tmp_path / "part.3mf").get("unit") == unit
    mesh, _ = read_mesh(tmp_path / "part.3mf")
    np.testing.assert_allclose(mesh.bounds_mm, [(0, 0, 0), (30, 20, 10)], rtol=1e-12)


def test_several_meshes_stay_several_bodies(tmp_path):
    write_3mf([box(1, 2, 3), box(2, 2, 2, (5, 0, 0))], tmp_path / "two.3mf")
    _, report = read_mesh(tmp_path / "two.3mf")
    assert report.bodies == 2 and report.volume_mm3 == pytest.approx(14)


def test_names_are_escaped(tmp_path):
    write_3mf(replace(box(1, 1, 1), name='a<b>&"c"\x00\x0b\ud800'), tmp_path / "part.3mf")
    (thing,) = model_of(tmp_path / "part.3mf").iter(f"{CORE}object")
    assert thing.get("name") == 'a<b>&"c"'


def test_lib3mf_reads_the_same_mesh_and_warns_of_nothing(tmp_path):
    lib3mf = pytest.importorskip("lib3mf", reason="lib3mf is not installed")
    brick, plain = make_brick("osteomorphic").mesh, box(3, 4, 5)
    write_3mf([brick, plain], tmp_path / "part.3mf", unit="centimeter")
    model = lib3mf.get_wrapper().CreateModel()
    reader = model.QueryReader("3mf")
    reader.SetStrictModeActive(True)
    reader.ReadFromFile(str(tmp_path / "part.3mf"))
    assert reader.GetWarningCount() == 0
    assert model.GetUnit() == lib3mf.ModelUnit.CentiMeter
    items, read = model.GetBuildItems(), []
    while items.MoveNext():
        read.append(model.GetMeshObjectByID(items.GetCurrent().GetObjectResource().GetResourceID()))
    assert [thing.GetName() for thing in read] == ["osteomorphic", "part"]
    for thing, mesh in zip(read, (brick, plain), strict=True):
        assert thing.IsManifoldAndOriented()
        vertices = np.array([list(vertex.Coordinates) for vertex in thing.GetVertices()])
        np.testing.assert_allclose(vertices * 10, mesh.vertices_mm, rtol=1e-6, atol=1e-5)  # lib3mf keeps float32
        faces = np.array([list(triangle.Indices) for triangle in thing.GetTriangleIndices()])
        np.testing.assert_array_equal(faces, mesh.faces)


def test_trimesh_reads_the_same_volume(tmp_path):
    import trimesh

    brick = make_brick("abeille")
    write_3mf(brick.mesh, tmp_path / "part.3mf")
    scene = trimesh.load_scene(tmp_path / "part.3mf")
    (mesh,) = scene.dump()
    assert scene.units == "millimeter" and mesh.is_watertight
    assert mesh.volume == pytest.approx(69315.59, rel=1e-6)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda m: replace(m, faces=m.faces[:0]), "no triangle"),
        (lambda m: replace(m, faces=m.faces + 1), "a corner that the mesh does not hold"),
        (lambda m: replace(m, vertices_mm=m.vertices_mm / 0.0), "no number"),
        (lambda m: replace(m, faces=np.array([(0, 1, 1)], np.int32)), "a corner twice"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path, spoil, sentence):
    with np.errstate(all="ignore"), pytest.raises(MeshError, match=sentence):
        write_3mf(spoil(box(1, 1, 1)), tmp_path / "part.3mf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("meshes", "unit", "sentence"), [([], "millimeter", "no mesh"), ([box(1, 1, 1)], "mm", "unit")]
)
def test_wrong_arguments_get_a_sentence(tmp_path, meshes, unit, sentence):
    with pytest.raises(MeshError, match=sentence):
        write_3mf(meshes, tmp_path / "part.3mf", unit=unit)

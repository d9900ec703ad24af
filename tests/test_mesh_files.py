"""Does every mesh format give the same part, and every bad file a sentence?"""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from solid_helpers import box

from slicer.errors import MeshError, SlicerError
from slicer.mesh import UNITS_MM, read_mesh
from slicer.mesh_3mf import UNITS_3MF_MM


def as_trimesh(mesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices_mm, mesh.faces, process=False)


BOX = as_trimesh(box(10.0, 20.0, 30.0))
STL = BOX.export(file_type="stl")


def write(folder: Path, name: str, data: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def three_mf(unit: str | None = "millimeter", transform: str = "") -> bytes:
    """A 3MF file of the box, written by hand so that its unit and its transform are ours."""
    corners = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in BOX.vertices)
    triangles = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in BOX.faces)
    model = (
        f'<?xml version="1.0"?><model {f"unit={chr(34)}{unit}{chr(34)}" if unit else ""} '
        'xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02"><resources><object id="1" type="model">'
        f"<mesh><vertices>{corners}</vertices><triangles>{triangles}</triangles></mesh></object></resources>"
        f'<build><item objectid="1" {transform}/></build></model>'
    )
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("3D/3dmodel.model", model)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("box.stl", STL),
        ("box.STL", STL),
        ("solid.stl", b"solid looks like text".ljust(80, b" ") + STL[80:]),
        ("trailing.stl", STL + b"colour data of some program"),
        ("ascii.stl", BOX.export(file_type="stl_ascii")),
        ("named.stl", BOX.export(file_type="stl_ascii").replace("solid ", "solid outer loop vertex facet ")),
        ("latin.stl", BOX.export(file_type="stl_ascii").replace("solid ", "solid T\xe4", 1).encode("latin-1")),
        ("box.obj", BOX.export(file_type="obj")),
        ("quads.obj", "v 0 0 0\nv 10 0 0\nv 10 20 0\nv 0 20 0\nv 0 0 30\nv 10 0 30\nv 10 20 30\nv 0 20 30\n"
         "f 4 3 2 1\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n"),
        ("box.ply", BOX.export(file_type="ply")),
        ("ascii.ply", BOX.export(file_type="ply", encoding="ascii")),
        ("box.3mf", three_mf()),
        ("no_unit.3mf", three_mf(None)),
        ("mirrored.3mf", three_mf(transform='transform="-1 0 0 0 1 0 0 0 1 10 0 0"')),
    ],
)  # fmt: skip
def test_each_format_gives_the_same_part(tmp_path, name, data):
    mesh, report = read_mesh(write(tmp_path, name, data))
    assert mesh.vertices_mm.dtype == np.float64 and mesh.faces.dtype == np.int32
    assert mesh.vertices_mm.shape == (8, 3) and report.triangles == 12 and report.bodies == 1
    assert mesh.name == name.split(".")[0]
    np.testing.assert_allclose(report.bounds_mm, [[0, 0, 0], [10, 20, 30]], atol=1e-5)
    assert report.volume_mm3 == pytest.approx(6000.0, rel=1e-6)
    assert report.is_closed and report.flipped_faces == 0 and report.sentences() == []


@pytest.mark.parametrize("unit", UNITS_MM)
def test_unit_scales_the_part(tmp_path, unit):
    _, report = read_mesh(write(tmp_path, "box.stl", STL), unit=unit)
    assert report.volume_mm3 == pytest.approx(6000.0 * UNITS_MM[unit] ** 3, rel=1e-6)


@pytest.mark.parametrize("unit", UNITS_3MF_MM)
def test_3mf_honours_its_own_unit_whatever_the_user_says(tmp_path, unit):
    _, report = read_mesh(write(tmp_path, "box.3mf", three_mf(unit)), unit="m")
    assert report.volume_mm3 == pytest.approx(6000.0 * UNITS_3MF_MM[unit] ** 3, rel=1e-6)


def binary_stl(triangles) -> bytes:
    rows = b"".join(struct.pack("<12fH", 0, 0, 0, *np.ravel(triangle), 0) for triangle in triangles)
    return b"\0" * 80 + struct.pack("<I", len(triangles)) + rows


CORNERS = BOX.triangles.copy()
NAN, HUGE = CORNERS.copy(), CORNERS.copy()
NAN[3, 1, 2] = np.nan
HUGE[3, 1, 2] = np.inf


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("empty.stl", b"", "is empty"),
        ("short.stl", b"hello", "without a triangle count"),
        ("words.stl", b"hello world " * 30, "no STL mesh"),
        ("truncated.stl", STL[:400], "promises 12 triangles in 684 bytes and has 400"),
        ("truncated_text.stl", BOX.export(file_type="stl_ascii")[:900], "truncated"),
        ("cut_after_facet.stl", BOX.export(file_type="stl_ascii").split("endsolid")[0], "'endsolid' is missing"),
        ("no_facet.stl", "solid nothing\nendsolid nothing\n", "no triangle"),
        ("count_0.stl", b"\0" * 84, "no triangle"),
        ("nan.stl", binary_stl(NAN), "1 triangles have a corner that is no number"),
        ("inf.stl", binary_stl(HUGE), "the first is triangle 3"),
        ("nan.obj", "v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n", "damaged"),
        ("flat.stl", binary_stl([[[0, 0, 0], [1, 1, 1], [3, 3, 3]]] * 4), "no triangle with an area"),
        ("comma.stl", BOX.export(file_type="stl_ascii").replace("vertex 0.0", "vertex 0,0", 1), "'0,0'"),
        ("long.stl", BOX.export(file_type="stl_ascii").replace("0.0", "0." + "0" * 99, 5), "are whole"),
        ("point.stl", binary_stl([[[5, 5, 5]] * 3]), "check its unit"),
        ("tiny.stl", binary_stl(CORNERS * 1e-7), "check its unit"),
        ("vast.stl", binary_stl(CORNERS * 1e6), "check its unit"),
        ("words.obj", "this is not a mesh\n", "no triangle"),
        ("noise.obj", b"\xff\xfe\0abc" * 9, "triangle"),
        ("index.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "damaged"),
        ("noise.ply", b"ply\nformat nonsense", "PLY"),
        ("cloud.ply", "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\n"
         "end_header\n0 0 0\n1 1 1\n", "no triangle"),
        ("truncated.ply", BOX.export(file_type="ply")[:-40], "is truncated"),
        ("noise.3mf", b"PK\3\4xxxx", "3MF"),
        ("truncated.3mf", three_mf()[:-40], "3MF"),
        ("other.3mf", three_mf("furlong"), "furlong"),
        ("part.igs", b"S      1", ".stl, .obj, .ply, .3mf, .step"),
    ],
)  # fmt: skip
def test_bad_file_is_a_sentence(tmp_path, name, data, says):
    with pytest.raises(MeshError) as caught:
        read_mesh(write(tmp_path, name, data))
    sentence = str(caught.value)
    assert says in sentence and name.split(".")[0] in sentence and "\n" not in sentence
    assert isinstance(caught.value, SlicerError)


def test_missing_folder_and_unknown_unit_are_sentences(tmp_path):
    with pytest.raises(MeshError, match="does not exist"):
        read_mesh(tmp_path / "absent.stl")
    (tmp_path / "folder.stl").mkdir()
    with pytest.raises(MeshError, match="cannot be read"):
        read_mesh(tmp_path / "folder.stl")
    with pytest.raises(MeshError, match="furlong"):
        read_mesh(write(tmp_path, "box.stl", STL), unit="furlong")


@given(st.sampled_from(["stl", "obj", "ply", "3mf"]), st.integers(0, 10_000), st.binary(max_size=12))
def test_no_damage_escapes_as_anything_but_a_mesh_error(tmp_path_factory, kind, at, noise):
    data = three_mf() if kind == "3mf" else BOX.export(file_type=kind)
    data = data.encode() if isinstance(data, str) else data
    at %= len(data)
    path = write(tmp_path_factory.getbasetemp(), f"damaged.{kind}", data[:at] + noise + data[at + len(noise) :])
    try:
        mesh, _ = read_mesh(path)
    except MeshError:
        return
    assert np.isfinite(mesh.vertices_mm).all() and len(mesh.faces) > 0


SHARED = [  # name, triangles, bodies, volume in file units (by trimesh 5.2 after merging equal vertices)
    ("pyslm_frameGuide.stl", 1432, 1, 76134.39),
    ("trimesh_counter.unitsmm.stl", 83750, 6, 888809.0),
    ("trimesh_featuretype.stl", 3476, 1, 11.62773),
    ("trimesh_busted.stl", 3878, 1, 526.4489),
    ("ti_DeformedKitten.stl", 516, 1, 0.699004),
]


@pytest.mark.parametrize(("name", "triangles", "bodies", "volume"), SHARED)
def test_meshes_nobody_here_made(shared_data, name, triangles, bodies, volume):
    _, report = read_mesh(shared_data / "meshes" / name)
    assert (report.triangles, report.bodies) == (triangles, bodies)
    assert report.volume_mm3 == pytest.approx(volume, rel=1e-5)
    assert report.is_closed and report.non_manifold_edges == 0


def test_inches_of_the_featuretype_part_are_its_step_file(shared_data):
    """The same part as STEP: 127.0 x 63.5 x 34.9 mm, 190,532 mm3 (MANIFEST.md beside the meshes)."""
    _, report = read_mesh(shared_data / "meshes" / "trimesh_featuretype.stl", unit="inch")
    np.testing.assert_allclose(np.ptp(report.bounds_mm, axis=0), [127.0, 63.5, 34.925], atol=0.01)
    assert report.volume_mm3 == pytest.approx(190_532, rel=1e-4)

"""Are PLY and OBJ files of every shape that the formats allow read as they are meant?"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from solid_helpers import box

from slicer.errors import MeshError
from slicer.mesh import read_mesh
from slicer.mesh_files import read_triangles

SOLID = box(10.0, 20.0, 30.0)
QUADS = [(0, 2, 6, 4), (5, 7, 3, 1), (4, 5, 1, 0), (2, 3, 7, 6), (1, 3, 2, 0), (4, 6, 7, 5)]
CUBE = [(x, y, z) for x in (0.0, 10.0) for y in (0.0, 20.0) for z in (0.0, 30.0)]


def header(form: str, *lines: str) -> bytes:
    return "\n".join(["ply", f"format {form} 1.0", "comment x", *lines, "end_header", ""]).encode()


def quad_ply(order: str) -> bytes:
    """Doubles out of order among other properties, an element before, faces with a second list and a scalar."""
    head = header(
        {"<": "binary_little_endian", ">": "binary_big_endian", "": "ascii"}[order],
        "element sensor 2", "property uchar id", "property list uchar float gains",
        "element camera 1", "property short k",
        "element vertex 8", "property float nx", "property double z", "property double y", "property double x",
        "element face 6", "property uchar kind", "property list uchar uint vertex_indices",
        "property list uchar float texcoord", "element edge 1", "property int a",
    )  # fmt: skip
    rows: list[tuple[str, list[float]]] = [("BBff", [1, 2, 0.5, 0.5]), ("BB", [2, 0]), ("h", [-7])]
    rows += [("fddd", [1.0, z, y, x]) for x, y, z in CUBE]
    rows += [("BB4IB2f", [9, 4, *quad, 2, 0.0, 1.0]) for quad in QUADS]
    rows += [("i", [5])]
    if order == "":
        return head + "\n".join(" ".join(map(str, numbers)) for _, numbers in rows).encode()
    return head + b"".join(struct.pack(order + form, *numbers) for form, numbers in rows)


@pytest.mark.parametrize("order", ["<", ">", ""])
def test_ply_with_all_that_it_may_hold_is_the_box(tmp_path: Path, order: str) -> None:
    (tmp_path / "box.ply").write_bytes(quad_ply(order))
    _, report = read_mesh(tmp_path / "box.ply")
    assert report.volume_mm3 == pytest.approx(6000) and report.triangles == 12 and report.is_closed
    assert report.flipped_faces == 0 and report.coordinate_step_mm == 0.0


@pytest.mark.parametrize("form", ["binary_little_endian", "binary_big_endian"])
def test_triangles_beside_polygons_of_five_are_split_into_fans(tmp_path: Path, form: str) -> None:
    order = "<" if "little" in form else ">"
    pentagon = [(0, 0), (4, 0), (6, 3), (3, 6), (0, 4)]
    corners = [(x, y, z) for z in (0.0, 2.0) for x, y in pentagon]
    faces = [[4, 3, 2, 1, 0], [5, 6, 7, 8, 9]]
    for i in range(5):
        j = (i + 1) % 5
        faces += [[i, j, j + 5], [i, j + 5, i + 5]]
    data = header(
        form, "element vertex 10", *(f"property float {axis}" for axis in "xyz"),
        f"element face {len(faces)}", "property list int short vertex_index",
    )  # fmt: skip
    data += b"".join(struct.pack(order + "3f", *corner) for corner in corners)
    data += b"".join(struct.pack(f"{order}i{len(face)}h", len(face), *face) for face in faces)
    (tmp_path / "p.ply").write_bytes(data)
    _, report = read_mesh(tmp_path / "p.ply")
    area = 0.5 * sum(pentagon[i - 1][0] * pentagon[i][1] - pentagon[i][0] * pentagon[i - 1][1] for i in range(5))
    assert report.is_closed and report.triangles == 16 and report.volume_mm3 == pytest.approx(2 * area)


VERTICES = ["element vertex 3", "property float x", "property float y", "property float z"]
FACES = ["element face 1", "property list uchar int vertex_indices"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"plywood", "does not begin with a header"),
        (header("ascii", *VERTICES)[:-20], "does not begin with a header"),
        (header("utf_7", *VERTICES), "its header says 'format utf_7 1.0'"),
        (header("ascii", "element vertex -3"), "its header says 'element vertex -3'"),
        (header("ascii", "property float x"), "its header says 'property float x'"),
        (header("ascii", "element vertex 3", "property quad x"), "property quad x"),
        (b"ply\nelement vertex 3\nend_header\n", "names no format"),
        (header("ascii", *VERTICES[:3], *FACES) + b"0 " * 9, "x, y and z"),
        (header("ascii", *VERTICES, "element face 1", "property int a") + b"0 " * 10, "no list called vertex_indices"),
        (header("ascii", *VERTICES, "element tristrips 1", *FACES[1:]) + b"0 " * 13, "strips of triangles"),
        (header("ascii", *VERTICES, *FACES) + b"0 " * 8, "promises 3 rows of 'vertex' and ends before"),
        (header("ascii", *VERTICES, *FACES) + b"0 " * 9 + b"3 0 1", "promises 1 rows of 'face' and ends before"),
        (header("ascii", *VERTICES, *FACES) + b"0 " * 9 + b"-3 0 1", "negative length"),
        (header("ascii", *VERTICES, *FACES) + b"0 " * 9 + b"3 0 1 b", "names no corner"),
        (header("ascii", *VERTICES, *FACES) + b"0 " * 8 + b"x 3 0 1 2", "is no number"),
        (header("binary_little_endian", *VERTICES, *FACES) + b"\0" * 35, "'vertex' and ends before"),
        (header("binary_little_endian", *VERTICES, *FACES) + b"\0" * 36 + b"\xff\0\0\0\0", "'face' and ends before"),
        (header("binary_little_endian", *VERTICES, *FACES) + b"\0" * 36, "'face' and ends before"),
        (header("binary_little_endian", "element vertex 99999999999999", *VERTICES[1:], *FACES), "ends before"),
        (header("ascii", "element vertex 99999999999999", *VERTICES[1:], *FACES), "ends before"),
        (header("ascii", *VERTICES, "element face 99999999999999", FACES[1]) + b"0 " * 9, "ends before"),
        (header("ascii", *VERTICES, *FACES) + b"0 0 0 1 0 0 0 1 0 3 0 1 7", "names a corner that the file does not"),
    ],
)  # fmt: skip
def test_bad_ply_is_a_sentence(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "bad.ply").write_bytes(data)
    with pytest.raises(MeshError) as caught:
        read_mesh(tmp_path / "bad.ply")
    assert says in str(caught.value) and "bad.ply" in str(caught.value)


def obj(vertices, faces) -> str:
    return "\n".join([*(f"v {x} {y} {z}" for x, y, z in vertices), *(f"f {face}" for face in faces)]) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        obj(CUBE, [" ".join(str(v + 1) for v in quad) for quad in QUADS]),
        obj(CUBE, [" ".join(f"{v + 1}/{v + 1}/1" for v in quad) for quad in QUADS]),
        obj(CUBE, [" ".join(f"{v + 1}//2" for v in quad) for quad in QUADS]),
        obj(CUBE, [" ".join(str(v - 8) for v in quad) for quad in QUADS]),
        obj(CUBE, [" ".join(str(v + 1) for v in quad) for quad in QUADS]).replace("\n", "\r\n"),
        obj(CUBE, [" ".join(str(v + 1) for v in quad) for quad in QUADS]).replace("f ", "f \\\n "),
        "mtllib none.mtl\no T\xe4\nvn 0 0 1\ng side\nusemtl red\ns off\n"
        + obj(CUBE, ["\t".join(str(v + 1) for v in q) for q in QUADS])
        .replace("v ", "v\t")
        .replace("30.0", "30 1.0"),
    ],
    ids=["plain", "textured", "normals", "backwards", "windows", "continued", "decorated"],
)  # fmt: skip
def test_obj_of_any_dialect_is_the_box(tmp_path: Path, text: str) -> None:
    (tmp_path / "box.obj").write_bytes(text.encode("latin-1"))
    _, report = read_mesh(tmp_path / "box.obj")
    assert report.volume_mm3 == pytest.approx(6000) and report.is_closed and report.flipped_faces == 0


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("v 1 2", "line 9 is 'v 1 2'"),
        ("f 1 2", "line 9 is 'f 1 2'"),
        ("f 1 2 0", "line 9 is 'f 1 2 0'"),
        ("f 1 2 x", "line 9 is 'f 1 2 x'"),
        ("f 1 2 99999999999999999999", "names a corner that the file does not hold"),
        ("f 1 2 -9", "names a corner that the file does not hold"),
        ("v 1 2 1,5", "is no number"),
    ],
)
def test_bad_obj_is_a_sentence(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "bad.obj").write_text(obj(CUBE, []) + line + "\nf 1 2 3\n")
    with pytest.raises(MeshError) as caught:
        read_mesh(tmp_path / "bad.obj")
    assert says in str(caught.value) and "bad.obj" in str(caught.value)


COORDINATE = st.floats(-100, 100, width=32)


@given(
    st.lists(st.tuples(COORDINATE, COORDINATE, COORDINATE), min_size=3, max_size=20),
    st.data(),
    st.sampled_from([("obj", {}), ("ply", {}), ("ply", {"encoding": "ascii"}), ("stl", {}), ("stl_ascii", {})]),
)
def test_what_another_program_writes_is_read_as_it_was(tmp_path_factory, vertices, data, form) -> None:
    corner = st.integers(0, len(vertices) - 1)
    faces = np.array(data.draw(st.lists(st.tuples(corner, corner, corner), min_size=1, max_size=12)))
    kind, options = form
    # normals of triangles without area are no numbers to the other program
    part = trimesh.Trimesh(
        vertices, faces, process=False, validate=False, face_normals=np.tile([0.0, 0, 1], (len(faces), 1))
    )
    written = part.export(file_type=kind, **options)
    path = tmp_path_factory.getbasetemp() / f"other.{kind.split('_')[0]}"
    path.write_bytes(written.encode() if isinstance(written, str) else written)
    found = read_triangles(path)
    np.testing.assert_allclose(found.vertices[found.faces], np.array(vertices)[faces], atol=1e-6, rtol=1e-6)

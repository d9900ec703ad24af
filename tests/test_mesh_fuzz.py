"""Does any damage to a mesh file end as anything but a mesh or a sentence, or take more memory than it is worth?"""

from __future__ import annotations

import io
import random
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from solid_helpers import box

from slicer.errors import MeshError
from slicer.mesh import read_mesh

CASES = 150
PEAK_MB = 40.0
"""Far above what a file of some kilobytes needs, far below what a bomb or a believed count would take."""

BOX = trimesh.Trimesh(box(10.0, 20.0, 30.0).vertices_mm, box(10.0, 20.0, 30.0).faces, process=False)
CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
EXTREMES = [
    b"nan",
    b"-inf",
    b"1e308",
    b"-1",
    b"0",
    b"4294967295",
    b"99999999999999999999",
    b"1,5",
    b"\xff",
    b"",
    b"&a;",
]


def model_xml() -> bytes:
    corners = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in BOX.vertices)
    faces = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in BOX.faces)
    return (
        f'<?xml version="1.0"?><model unit="millimeter" xmlns="{CORE}"><resources><object id="1" type="model"><mesh>'
        f"<vertices>{corners}</vertices><triangles>{faces}</triangles></mesh></object>"
        '<object id="2"><components>'
        '<component objectid="1" transform="1 0 0 0 1 0 0 0 1 5 5 5"/></components></object></resources>'
        '<build><item objectid="1"/><item objectid="2" transform="0 1 0 -1 0 0 0 0 1 50 0 0"/></build></model>'
    ).encode()


def packed(model: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("3D/3dmodel.model", model)
    return stream.getvalue()


def as_bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data


READERS = {
    "binary.stl": as_bytes(BOX.export(file_type="stl")),
    "text.stl": as_bytes(BOX.export(file_type="stl_ascii")),
    "text.obj": as_bytes(BOX.export(file_type="obj")),
    "binary.ply": as_bytes(BOX.export(file_type="ply")),
    "text.ply": as_bytes(BOX.export(file_type="ply", encoding="ascii")),
    "zip.3mf": packed(model_xml()),
    "xml.3mf": model_xml(),
}


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The bytes with one to four things done to them that happen to files, or that someone does to them."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(out) + 1), chance.randint(1, 40)
        match chance.randrange(7):
            case 0:
                out[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del out[at:]
            case 2:
                del out[at : at + length]
            case 3:
                out[at:at] = out[chance.randrange(len(out) + 1) :][:length]
            case 4:
                out[at : at + 4] = chance.choice([b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"\0\0\xc0\x7f"])
            case 5:
                numbers = [i for i, byte in enumerate(out) if 48 <= byte <= 57]
                if numbers:
                    at = chance.choice(numbers)
                    out[at : at + chance.randint(1, 3)] = chance.choice(EXTREMES)
            case 6:
                out[at:at] = bytes(chance.randrange(256) for _ in range(length))
        if not out:
            return b"\0"
    return bytes(out)


@pytest.mark.parametrize("name", READERS)
def test_damage_is_a_mesh_or_a_sentence_in_little_memory(name: str, tmp_path: Path) -> None:
    chance = random.Random(name)
    path = tmp_path / name
    refused = 0
    path.write_bytes(as_bytes(READERS[name]) if name != "xml.3mf" else packed(READERS[name]))
    read_mesh(path)  # compiled kernels and imports are no part of what a bad file costs
    tracemalloc.start()
    try:
        for case in range(CASES):
            data = damaged(READERS[name], chance)
            path.write_bytes(packed(data) if name == "xml.3mf" else data)
            try:
                mesh, report = read_mesh(path, gap_mm=chance.choice([0.0, 0.1]))
            except MeshError as error:
                refused += 1
                assert str(error).startswith(str(path)) or name.split(".")[0] in str(error), (case, str(error))
                assert "\n" not in str(error) and len(str(error)) < 600 + len(str(path)), (case, str(error))
                continue
            assert np.isfinite(mesh.vertices_mm).all() and np.isfinite(report.volume_mm3)
            assert mesh.faces.min() >= 0 and mesh.faces.max() < len(mesh.vertices_mm)
            assert all(sentence.endswith(".") for sentence in report.sentences())
        peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
    assert peak_mb < PEAK_MB
    assert refused > CASES // 10, "the damage is large enough to be seen"
    assert refused < CASES or name.endswith("3mf"), "and small enough to be overlooked, except by a zip's check sums"


@pytest.mark.parametrize("name", READERS)
def test_every_truncation_is_a_mesh_or_a_sentence(name: str, tmp_path: Path) -> None:
    data = READERS[name]
    path = tmp_path / name
    refused = 0
    for end in range(0, len(data), max(1, len(data) // 60)):
        path.write_bytes(packed(data[:end]) if name == "xml.3mf" else data[:end])
        try:
            read_mesh(path)
        except MeshError:
            refused += 1
        else:  # a cut OBJ file looks whole; in other formats something is missing, if only of the last number
            assert name == "text.obj" or end >= len(data) - 2
    assert refused > 30 or name == "text.obj"

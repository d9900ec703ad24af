"""Meshes to files that others read: binary STL, and 3MF by its core specification."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from slicer.errors import MeshError
from slicer.mesh import Mesh
from slicer.mesh_3mf import UNITS_3MF_MM
from slicer.whole_file import whole_file

CORE_3MF = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
MODEL_PART = "3D/3dmodel.model"
ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""The oldest date a zip can say: the same bytes on every day."""

XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
CONTENT_TYPES = (
    f'{XML_HEAD}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/></Types>\n'
)
RELATIONSHIPS = (
    f'{XML_HEAD}<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Target="/{MODEL_PART}" Id="rel0" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/>'
    "</Relationships>\n"
)

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_stl(mesh: Mesh, path: str | Path) -> None:
    """Write a mesh as binary STL (float32, as the format has it); the file appears whole or not at all."""
    corners = mesh.vertices_mm[mesh.faces]
    record = np.zeros(len(mesh.faces), np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("pad", "<u2")]))
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    record["normal"] = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)
    record["corners"] = corners
    header = f"moonkiln {mesh.name}".encode("ascii", "replace")[:80].ljust(80)
    with whole_file(path) as stream:
        stream.write(header + len(record).to_bytes(4, "little") + record.tobytes())


def write_3mf(meshes: Mesh | Sequence[Mesh], path: str | Path, unit: str = "millimeter") -> None:
    """Write meshes as a 3MF file (core specification 1.3), one object each, where they stand.

    Coordinates are written with all digits of float64, so that reading gives the same mesh; the same meshes give the
    same bytes. The file appears whole or not at all.

    Args:
        meshes: one or more closed meshes; objects bear their names.
        unit: in which coordinates are written, one of `slicer.mesh_3mf.UNITS_3MF_MM`.

    Raises:
        MeshError: an unknown unit, no mesh, or a mesh that the format cannot hold (no triangle, a coordinate that is
            no number, a corner that does not exist, a triangle with a corner twice).
        OSError: the file cannot be written.
    """
    parts = [meshes] if isinstance(meshes, Mesh) else list(meshes)
    if unit not in UNITS_3MF_MM:
        raise MeshError(f"{unit!r} is not a unit of a 3MF file; use one of {', '.join(UNITS_3MF_MM)}.")
    if not parts:
        raise MeshError(f"There is no mesh to write into {path}.")
    for part in parts:
        _check_writable(part)
    objects = "".join(_object(number, part, UNITS_3MF_MM[unit]) for number, part in enumerate(parts, 1))
    items = "".join(f'<item objectid="{number}"/>\n' for number in range(1, len(parts) + 1))
    model = (
        f'{XML_HEAD}<model unit="{unit}" xml:lang="en-US" xmlns="{CORE_3MF}">\n<metadata name="Application">moonkiln'
        f"</metadata>\n<resources>\n{objects}</resources>\n<build>\n{items}</build>\n</model>\n"
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, text in (("[Content_Types].xml", CONTENT_TYPES), ("_rels/.rels", RELATIONSHIPS), (MODEL_PART, model)):
            member = zipfile.ZipInfo(name, ZIP_DATE)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.create_system, member.external_attr = 3, 0o644 << 16  # as on Unix, whatever the system
            archive.writestr(member, text.encode("utf-8"))
    with whole_file(path) as stream:
        stream.write(packed.getvalue())


def _check_writable(mesh: Mesh) -> None:
    faces = mesh.faces
    if len(faces) == 0:
        raise MeshError(f"{mesh.name} has no triangle; there is nothing to write.")
    if faces.min() < 0 or faces.max() >= len(mesh.vertices_mm):
        raise MeshError(f"{mesh.name} is damaged: a triangle names a corner that the mesh does not hold.")
    if not np.isfinite(mesh.vertices_mm).all():
        raise MeshError(f"{mesh.name} is damaged: a corner is no number (NaN or infinite).")
    twice = (faces == np.roll(faces, 1, axis=1)).any(axis=1)
    if twice.any():
        raise MeshError(
            f"{mesh.name} is damaged: triangle {int(np.argmax(twice))} has a corner twice, which 3MF forbids; drop it."
        )


def _object(number: int, mesh: Mesh, unit_mm: float) -> str:
    used = np.unique(mesh.faces)
    vertices: NDArray[np.float64] = mesh.vertices_mm[used] / unit_mm + 0.0  # + 0: no negative zero
    corners = "".join(f'<vertex x="{x!r}" y="{y!r}" z="{z!r}"/>\n' for x, y, z in vertices.tolist())
    faces = np.searchsorted(used, mesh.faces).tolist()
    triangles = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>\n' for a, b, c in faces)
    name = quoteattr(NOT_XML.sub("", mesh.name))
    return (
        f'<object id="{number}" type="model" name={name}>\n<mesh>\n<vertices>\n{corners}</vertices>\n<triangles>\n'
        f"{triangles}</triangles>\n</mesh>\n</object>\n"
    )

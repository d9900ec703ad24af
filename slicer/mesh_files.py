"""Mesh files: bytes that nobody vouches for, in; corners and triangles, or a sentence, out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slicer.errors import MeshError

FORMATS = (".stl", ".obj", ".ply", ".3mf", ".step", ".stp")
NAMING_UNIT = (".3mf", ".step", ".stp")
"""Formats whose files name the unit of their numbers."""

FILE_BYTES_MAX = 2_000_000_000
TRIANGLES_MAX = 50_000_000


@dataclass(frozen=True, eq=False)
class Triangles:
    """What a mesh file holds, before anything is judged.

    Attributes:
        vertices: (n, 3) f8, in the file's unit, or in mm where `mm_per_unit` is 1; may hold NaN.
        faces: (m, 3) i8, vertex numbers; not checked against the vertices.
        mm_per_unit: where the file names its unit itself, else None.
        single_precision: whether the file keeps coordinates in 32 bits.
        notes: sentences about what the file holds and the mesh leaves out.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    mm_per_unit: float | None = None
    single_precision: bool = False
    notes: tuple[str, ...] = ()


def read_triangles(path: Path) -> Triangles:
    """The triangles of an STL (binary or ASCII), OBJ, PLY, 3MF or STEP file; its ending tells which.

    Raises:
        MeshError: the file cannot be read, is of no known format, truncated, damaged or too large.
    """
    kind = path.suffix.lower()
    data = _read_bytes(path)
    if kind == ".stl":
        return _read_stl(path, data)
    if kind == ".3mf":
        from slicer.mesh_3mf import read_3mf

        return read_3mf(path, data)
    if kind in (".step", ".stp"):
        from slicer.mesh_step import read_step

        return read_step(path)
    if kind == ".ply":
        from slicer.mesh_ply import read_ply

        return read_ply(path, data)
    return _read_obj(path, data)


def _read_bytes(path: Path) -> bytes:
    if path.suffix.lower() not in FORMATS:
        raise MeshError(f"{path} does not end in a mesh format known here: {', '.join(FORMATS)}.")
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise MeshError(f"{path} is {size / 1e9:.1f} GB, more than a mesh may be here; export it more coarsely.")
        data = path.read_bytes()
    except FileNotFoundError:
        raise MeshError(f"{path} does not exist.") from None
    except OSError as error:
        raise MeshError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not data:
        raise MeshError(f"{path} is empty.")
    return data


# ---- STL

_STL_HEAD, _STL_ROW = 84, 50
_SOLID_LINE = re.compile(rb"^[ \t]*(?:end)?solid\b[^\r\n]*", re.IGNORECASE | re.MULTILINE)
_FACET = re.compile(
    rb"\bouter\s+loop\s+" + rb"vertex\s+(\S{1,64})\s+(\S{1,64})\s+(\S{1,64})\s+" * 3 + rb"endloop\s+endfacet\b",
    re.IGNORECASE,
)


def _read_stl(path: Path, data: bytes) -> Triangles:
    """Either form of STL; binary ones may begin with "solid" too, and some programs append data of their own."""
    promised = _STL_HEAD + _STL_ROW * int.from_bytes(data[80:84], "little") if len(data) >= _STL_HEAD else -1
    if promised != len(data) and data.lstrip()[:5].lower() == b"solid" and b"\0" not in data[:1000]:
        return _read_stl_text(path, data)
    if len(data) < _STL_HEAD or promised == _STL_HEAD < len(data):
        raise MeshError(f"{path} is no STL mesh: {len(data)} bytes without a triangle count.")
    count = (promised - _STL_HEAD) // _STL_ROW
    if promised > len(data):
        raise MeshError(
            f"{path} is truncated or no STL mesh: it promises {count} triangles in {promised} bytes "
            f"and has {len(data)} bytes; export or copy the part again."
        )
    row = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    corners = np.frombuffer(data, row, count, _STL_HEAD)["corners"]
    with np.errstate(invalid="ignore"):  # what is no number is found and named by the caller
        vertices = corners.astype(np.float64).reshape(-1, 3)
    return Triangles(vertices, _one_by_one(count), single_precision=True)


def _read_stl_text(path: Path, data: bytes) -> Triangles:
    body = _SOLID_LINE.sub(b" ", data)  # a part may be called "vertex facet"
    rows = _FACET.findall(body)
    begun, ended = (len(re.findall(word, body, re.IGNORECASE)) for word in (rb"\bfacet\b", rb"\bendfacet\b"))
    closed = re.search(rb"^[ \t]*endsolid\b", data, re.IGNORECASE | re.MULTILINE) is not None
    if not len(rows) == begun == ended or not closed:
        raise MeshError(
            f"{path} is truncated or damaged: of {begun} triangles that begin, {len(rows)} are whole, and 'endsolid' "
            f"is {'there' if closed else 'missing'}; export or copy the part again."
        )
    try:
        vertices = np.array(rows, dtype=bytes).reshape(-1, 3).astype(np.float64)
    except ValueError as error:
        what = str(error).splitlines()[0][:120]
        raise MeshError(f"{path} is damaged: a coordinate is no number ({what}); export the part again.") from error
    return Triangles(vertices, _one_by_one(len(rows)))


def _one_by_one(count: int) -> NDArray[np.int64]:
    """Faces of triangles with corners of their own."""
    return np.arange(3 * count).reshape(-1, 3)


# ---- OBJ


def _read_obj(path: Path, data: bytes) -> Triangles:
    """Corners and faces of an OBJ file; polygons are split into fans, everything else is passed over."""
    vertices: list[list[bytes]] = []
    faces: list[tuple[int, int, int]] = []
    for number, line in enumerate(data.replace(b"\\\n", b" ").replace(b"\\\r\n", b" ").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if words[0] == b"v":
            if len(words) < 4:
                raise _damaged_line(path, number, line)
            vertices.append(words[1:4])
        elif words[0] == b"f":
            try:
                corners = [int(word.split(b"/")[0]) for word in words[1:]]
            except ValueError:
                raise _damaged_line(path, number, line) from None
            if len(corners) < 3 or 0 in corners:
                raise _damaged_line(path, number, line)
            if max(map(abs, corners)) > len(data):
                raise MeshError(f"{path} is damaged: a triangle names a corner that the file does not hold.")
            # counted from 1, or backwards from the corners so far
            corners = [corner - 1 if corner > 0 else len(vertices) + corner for corner in corners]
            faces.extend((corners[0], b, c) for b, c in pairwise(corners[1:]))
    try:
        points = np.array([[float(word) for word in row] for row in vertices]).reshape(-1, 3)
    except ValueError as error:
        raise MeshError(f"{path} is damaged: a coordinate is no number ({str(error)[:80]}).") from error
    return Triangles(points, np.array(faces, np.int64).reshape(-1, 3))


def _damaged_line(path: Path, number: int, line: bytes) -> MeshError:
    return MeshError(f"{path} is damaged: line {number} is {line[:60].decode('latin-1')!r}; export the part again.")

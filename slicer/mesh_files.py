"""Mesh files: bytes that nobody vouches for, in; corners and triangles, or a sentence, out."""

from __future__ import annotations

import io
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slicer.errors import MeshError

FORMATS = (".stl", ".obj", ".ply", ".3mf", ".step", ".stp")
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
    return _read_by_trimesh(path, data)


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


# ---- OBJ and PLY

_PLY_SINGLE = re.compile(rb"property\s+float(?:32)?\s+x\b")


def _read_by_trimesh(path: Path, data: bytes) -> Triangles:
    kind = path.suffix.lower()
    if kind == ".obj":
        data = _as_utf8(data)
    import trimesh  # here, so that who reads an STL need not wait for it

    log = logging.getLogger("trimesh")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what trimesh would print, the sentence below says
    try:
        extra: dict[str, Any] = {"skip_materials": True} if kind == ".obj" else {}
        scene = trimesh.load_scene(io.BytesIO(data), file_type=kind[1:], process=False, **extra)
        parts = [part for part in scene.geometry.values() if isinstance(part, trimesh.Trimesh)]
        corners = [np.asarray(part.vertices, np.float64).reshape(-1, 3) for part in parts]
        first = np.cumsum([0, *map(len, corners)])
        faces = [np.asarray(part.faces, np.int64).reshape(-1, 3) + start for part, start in zip(parts, first)]
    except Exception as error:  # trimesh raises whatever its parsers stumble on
        what = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        raise MeshError(f"{path} is no {kind[1:].upper()} mesh, or is damaged ({what}).") from error
    finally:
        log.setLevel(level)
    single = kind == ".ply" and _PLY_SINGLE.search(data[:10_000]) is not None
    if not parts:
        return Triangles(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
    return Triangles(np.concatenate(corners), np.concatenate(faces), single_precision=single)


def _as_utf8(data: bytes) -> bytes:
    """Text in UTF-8; where it is not, names and comments are taken for Latin-1, which reads any byte."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1").encode("utf-8")
    return data

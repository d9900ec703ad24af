"""PLY: a list of elements whose shape the header tells, as text or as bytes of either order.

What the header promises must be in the file: counts are held against its length before anything is made of them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slicer.errors import MeshError
from slicer.mesh_files import Triangles

HEADER_BYTES_MAX = 100_000
_CODES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_FACE_LISTS = ("vertex_indices", "vertex_index")


@dataclass
class _Property:
    name: str
    code: str
    count_code: str | None  # of a list's length


@dataclass
class _Element:
    name: str
    count: int
    properties: list[_Property] = field(default_factory=list)


@dataclass
class _Faces:
    """Corners of all polygons in a row, and how many each has."""

    corners: NDArray[np.int64]
    counts: NDArray[np.int64]


def read_ply(path: Path, data: bytes) -> Triangles:
    """The faces of a PLY file; polygons of more than three corners are split into fans.

    Raises:
        MeshError: the file is no PLY, truncated or damaged, or holds no faces.
    """
    order, elements, at = _header(path, data)
    vertices, faces = np.zeros((0, 3)), _Faces(np.zeros(0, np.int64), np.zeros(0, np.int64))
    single = False
    reader = _TextReader(path, data[at:]) if order == "" else _ByteReader(path, data, at, order)
    for element in elements:
        if element.name == "vertex":
            vertices = reader.vertices(element)
            single = any(p.name == "x" and p.code == "f4" for p in element.properties)
        elif element.name == "face":
            faces = reader.faces(element)
            break  # what follows is no geometry
        elif element.name == "tristrips":
            raise MeshError(f"{path} holds strips of triangles, which are not read here; export it with faces.")
        else:
            reader.skip(element)
    return Triangles(vertices, _fans(faces), single_precision=single)


def _header(path: Path, data: bytes) -> tuple[str, list[_Element], int]:
    """(byte order or "" for text, elements, where the data begin)."""
    end = data.find(b"end_header", 0, HEADER_BYTES_MAX)
    line_end = data.find(b"\n", end)
    if data[:3] != b"ply" or end < 0 or line_end < 0:
        raise MeshError(f"{path} is no PLY mesh: it does not begin with a header from 'ply' to 'end_header'.")
    order: str | None = None
    elements: list[_Element] = []
    for line in data[:end].decode("latin-1").splitlines()[1:]:
        words = line.split()
        match words:
            case [] | ["comment", *_] | ["obj_info", *_]:
                pass
            case ["format", form, "1.0"] if form in _ORDERS:
                order = _ORDERS[form]
            case ["element", name, count] if count.isdecimal() and len(count) < 19:
                elements.append(_Element(name, int(count)))
            case ["property", "list", count_type, kind, name] if elements and {count_type, kind} <= _CODES.keys():
                elements[-1].properties.append(_Property(name, _CODES[kind], _CODES[count_type]))
            case ["property", kind, name] if elements and kind in _CODES:
                elements[-1].properties.append(_Property(name, _CODES[kind], None))
            case _:
                raise MeshError(f"{path} is no PLY mesh, or is damaged: its header says {line.strip()[:80]!r}.")
    if order is None:
        raise MeshError(f"{path} is no PLY mesh: its header names no format.")
    return order, elements, line_end + 1


def _fans(faces: _Faces) -> NDArray[np.int64]:
    """(m, 3) i8 triangles of polygons: corner 0 with each pair of the following ones."""
    if len(faces.counts) == 0:
        return np.zeros((0, 3), np.int64)
    if (faces.counts == 3).all():
        return faces.corners.reshape(-1, 3)
    first = np.cumsum(faces.counts) - faces.counts
    triangles = np.maximum(faces.counts - 2, 0)
    polygon = np.repeat(np.arange(len(triangles)), triangles)
    step = np.arange(len(polygon)) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    at = first[polygon]
    return np.stack([faces.corners[at], faces.corners[at + step + 1], faces.corners[at + step + 2]], axis=1)


def _truncated(path: Path, element: _Element) -> MeshError:
    return MeshError(
        f"{path} is truncated or damaged: it promises {element.count} rows of {element.name[:40]!r} and ends before; "
        "export or copy the part again."
    )


def _damaged(path: Path, what: str) -> MeshError:
    return MeshError(f"{path} is a damaged PLY: {what}; export the part again.")


def _coordinates(path: Path, element: _Element) -> list[int]:
    """Which properties of a vertex are x, y and z."""
    names = [p.name for p in element.properties]
    if any(p.count_code for p in element.properties) or not {"x", "y", "z"} <= set(names):
        raise _damaged(path, "its vertices are not rows of numbers with x, y and z")
    return [names.index(axis) for axis in "xyz"]


def _corner_list(path: Path, element: _Element) -> int:
    """Which property of a face is the list of its corners."""
    for k, p in enumerate(element.properties):
        if p.name in _FACE_LISTS and p.count_code is not None and "f" not in p.code + p.count_code:
            return k
    raise _damaged(path, f"its faces have no list called {' or '.join(_FACE_LISTS)}")


class _ByteReader:
    """Elements of a binary PLY, in order."""

    def __init__(self, path: Path, data: bytes, at: int, order: str) -> None:
        self.path, self._data, self._at, self._order = path, data, at, order

    def vertices(self, element: _Element) -> NDArray[np.float64]:
        columns = _coordinates(self.path, element)
        row = np.dtype([(f"p{k}", self._order + p.code) for k, p in enumerate(element.properties)])
        rows = self._rows(element, row)
        with np.errstate(invalid="ignore"):  # what is no number is found and named by the caller
            return np.stack([rows[f"p{k}"].astype(np.float64) for k in columns], axis=1)

    def faces(self, element: _Element) -> _Faces:
        listed = _corner_list(self.path, element)
        start = self._at
        row = np.dtype(
            [
                (f"{what}{k}", self._order + code, shape)
                for k, p in enumerate(element.properties)
                for what, code, shape in (
                    [("n", p.count_code, ()), ("p", p.code, (3,))] if p.count_code else [("p", p.code, ())]
                )
            ]
        )
        if element.count * row.itemsize <= len(self._data) - start:  # as if all were triangles, which nearly all are
            rows = self._rows(element, row)
            if all((rows[f"n{k}"] == 3).all() for k, p in enumerate(element.properties) if p.count_code):
                return _Faces(rows[f"p{listed}"].astype(np.int64).reshape(-1), np.full(element.count, 3))
            self._at = start
        return self._faces_one_by_one(element, listed)

    def skip(self, element: _Element) -> None:
        if any(p.count_code for p in element.properties):
            self._faces_one_by_one(element, -1)
        elif element.properties:
            self._rows(element, np.dtype([(f"p{k}", p.code) for k, p in enumerate(element.properties)]))

    def _rows(self, element: _Element, row: np.dtype) -> NDArray[np.void]:
        size = element.count * row.itemsize
        if size > len(self._data) - self._at:
            raise _truncated(self.path, element)
        rows = np.frombuffer(self._data, row, element.count, self._at)
        self._at += size
        return rows

    def _faces_one_by_one(self, element: _Element, listed: int) -> _Faces:
        if element.count > len(self._data) - self._at:
            raise _truncated(self.path, element)
        corners: list[int] = []
        counts = np.zeros(element.count, np.int64)
        formats = [
            (p.count_code and struct.Struct((self._order or "<") + _STRUCT[p.count_code]), _STRUCT[p.code], p.code)
            for p in element.properties
        ]
        at = self._at
        try:
            for i in range(element.count):
                for k, (length, letter, code) in enumerate(formats):
                    count = 1
                    if length:
                        (count,) = length.unpack_from(self._data, at)
                        at += length.size
                    size = count * int(code[1])
                    if count < 0 or size > len(self._data) - at:
                        raise _truncated(self.path, element)
                    if k == listed:
                        corners.extend(struct.unpack_from(f"{self._order}{count}{letter}", self._data, at))
                        counts[i] = count
                    at += size
        except struct.error:
            raise _truncated(self.path, element) from None
        self._at = at
        return _Faces(np.array(corners, np.int64), counts)


_STRUCT = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}


class _TextReader:
    """Elements of a PLY written as text, in order: numbers between blanks."""

    def __init__(self, path: Path, body: bytes) -> None:
        self.path = path
        self._words = body.split()
        self._at = 0

    def vertices(self, element: _Element) -> NDArray[np.float64]:
        columns = _coordinates(self.path, element)
        width = len(element.properties)
        words = self._take(element, element.count * width)
        try:
            return np.array([list(map(float, words[k::width])) for k in columns]).reshape(3, -1).T
        except ValueError as error:
            raise _damaged(self.path, f"a coordinate is no number ({str(error)[:80]})") from error

    def faces(self, element: _Element) -> _Faces:
        return self._one_by_one(element, _corner_list(self.path, element))

    def skip(self, element: _Element) -> None:
        if any(p.count_code for p in element.properties):
            self._one_by_one(element, -1)
        else:
            self._take(element, element.count * len(element.properties))

    def _take(self, element: _Element, count: int) -> list[bytes]:
        if count > len(self._words) - self._at:
            raise _truncated(self.path, element)
        self._at += count
        return self._words[self._at - count : self._at]

    def _one_by_one(self, element: _Element, listed: int) -> _Faces:
        corners: list[int] = []
        if element.count > len(self._words) - self._at:
            raise _truncated(self.path, element)
        counts = np.zeros(element.count, np.int64)
        try:
            for i in range(element.count):
                for k, p in enumerate(element.properties):
                    count = int(self._take(element, 1)[0]) if p.count_code else 1
                    if count < 0:
                        raise _damaged(self.path, "a list has a negative length")
                    words = self._take(element, count)
                    if k == listed:
                        corners.extend(map(int, words))
                        counts[i] = count
            return _Faces(np.array(corners, np.int64), counts)
        except (ValueError, OverflowError) as error:
            raise _damaged(self.path, f"a face names no corner ({str(error)[:80]})") from error

"""3MF: the build of a package, whole and placed (core specification 1.4, production extension 1.2).

A package is a zip archive of XML files, and either can be made to swell without end: members, their packed and
unpacked sizes, nesting and instances are bounded before anything is kept, and a document type (the only place where
XML declares entities) is refused.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from slicer.errors import MeshError
from slicer.mesh_files import FILE_BYTES_MAX, TRIANGLES_MAX, Triangles

UNITS_3MF_MM = {"micron": 1e-3, "millimeter": 1.0, "centimeter": 10.0, "meter": 1000.0, "inch": 25.4, "foot": 304.8}
"""Millimetres in each unit that a 3MF file may name (3MF core specification, section 3.4)."""

MEMBERS_MAX = 10_000
RATIO_MAX, RATIO_FREE_BYTES = 200, 1_000_000
"""A member above a megabyte that unpacks to more than this many times its size is a bomb: meshes reach 10 to 30."""

DEPTH_MAX = 64
"""Of XML elements, and of components in components."""

TOKEN_BYTES_MAX = 1_000_000
NAMES_MAX = 100_000
"""Different names of elements and attributes in an XML file: the parser keeps each."""

INSTANCES_MAX = 100_000
"""Objects, components and build items, as written in a model file and as they multiply in the build."""

_CHUNK_BYTES = 1 << 16

_CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
_PRODUCTION = "http://schemas.microsoft.com/3dmanufacturing/production/2015/06"
_RELATIONSHIP = "http://schemas.openxmlformats.org/package/2006/relationships Relationship"
_MODEL_RELATION = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
_HARMLESS = {  # extensions that a file may require and that change no outline
    _PRODUCTION,
    "http://schemas.microsoft.com/3dmanufacturing/production/alternatives/2021/04",
    "http://schemas.microsoft.com/3dmanufacturing/material/2015/02",
    "http://schemas.microsoft.com/3dmanufacturing/trianglesets/2021/07",
}
_GEOMETRY_ELSEWHERE = {"beamlattice", "booleans", "displacementmesh", "levelset", "implicitfunction"}

_Matrix = NDArray[np.float64]  # (4, 3): a row vector (x, y, z, 1) times it is the placed point
_Key = tuple[str, str]  # model file, object id


@dataclass
class _Component:
    target: _Key
    matrix: _Matrix


@dataclass
class _Object:
    kind: str
    coordinates: array[float] = field(default_factory=lambda: array("d"))
    corners: array[int] = field(default_factory=lambda: array("i"))
    components: list[_Component] = field(default_factory=list)


@dataclass
class _Model:
    """One model file of a package."""

    mm_per_unit: float
    objects: dict[str, _Object] = field(default_factory=dict)
    items: list[_Component] = field(default_factory=list)


def read_3mf(path: Path, data: bytes) -> Triangles:
    """Everything that the build of a 3MF package names, in mm and in place.

    Units, nested components, transforms of components and build items, objects in other model files (production
    extension) and mirroring are honoured. Objects of a type that is no part (support, other) and items that are marked
    as not printable are left out and noted.

    Raises:
        MeshError: the package is damaged, a bomb, refers to what it does not hold, or requires an unknown extension.
    """
    members = data.count(b"PK\x01\x02")  # entries of the directory, before zipfile makes an object of each
    if members > MEMBERS_MAX:
        raise MeshError(f"{path} holds {members} files, more than the {MEMBERS_MAX} that a 3MF package may have here.")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _ZIP_ERRORS as error:
        raise MeshError(f"{path} is no 3MF mesh, or is damaged ({error}).") from error
    with archive:
        return _Build(path, _Package(path, archive)).triangles()


_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)
"""What zipfile raises where an archive lies, is locked, packed in an unknown way or cut off."""


class _Package:
    """The members of the archive by name, read within bounds."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in archive.infolist():
            if _part_name(member.filename) in self._members:
                raise MeshError(f"{path} is damaged: it holds {member.filename[:80]!r} twice.")
            self._members[_part_name(member.filename)] = member
        unpacked = sum(member.file_size for member in self._members.values())
        if unpacked > FILE_BYTES_MAX:
            raise MeshError(f"{path} unpacks to {unpacked / 1e9:.1f} GB, more than a mesh may be here.")

    def root(self) -> str:
        """Name of the model file that the package begins with."""
        targets: list[str] = []

        def note(name: str, attributes: dict[str, str]) -> None:
            if name == _RELATIONSHIP and attributes.get("Type") == _MODEL_RELATION:
                targets.append(_part_name(attributes.get("Target", "")))

        if "_rels/.rels" in self._members:
            self.parse("_rels/.rels", note)
        named = targets or ["3d/3dmodel.model"]
        for name in named:
            if name in self._members:
                return name
        raise MeshError(f"{self.path} is no 3MF mesh: it holds no model {named[0][:80]!r}.")

    def parse(
        self,
        name: str,
        on_start: Callable[[str, dict[str, str]], None],
        on_end: Callable[[str], None] | None = None,
        on_namespace: Callable[[str, str], None] | None = None,
    ) -> None:
        """Run an XML file of the package through handlers of its elements; names come as "namespace local"."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        depth = 0

        def start(element: str, attributes: dict[str, str]) -> None:
            nonlocal depth
            depth += 1
            if depth > DEPTH_MAX:
                raise MeshError(f"{self.path} is damaged: {name} nests elements more than {DEPTH_MAX} deep.")
            on_start(element, attributes)

        def end(element: str) -> None:
            nonlocal depth
            depth -= 1
            if on_end is not None:
                on_end(element)

        def refuse(*_: object) -> None:
            raise MeshError(
                f"{self.path} declares a document type or entities in {name}, which no 3MF file may and which attacks "
                "do; it was not read. Export the part again with a program you trust."
            )

        parser.StartElementHandler, parser.EndElementHandler = start, end
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
        parser.ExternalEntityRefHandler = lambda *_: 0
        if on_namespace is not None:
            parser.StartNamespaceDeclHandler = lambda prefix, uri: on_namespace(prefix or "", uri)
        fed = 0
        try:
            for chunk in self._unpacked(name):
                parser.Parse(chunk, False)
                fed += len(chunk)
                if fed - max(parser.CurrentByteIndex, 0) > TOKEN_BYTES_MAX + _CHUNK_BYTES:
                    raise MeshError(f"{self.path} is damaged: {name} holds an element of more than a megabyte.")
                if len(parser.intern) > NAMES_MAX:
                    raise MeshError(f"{self.path} is damaged: {name} holds more than {NAMES_MAX} names of elements.")
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise MeshError(f"{self.path} is damaged: {name} is no XML ({error}).") from error

    def _unpacked(self, name: str) -> Iterator[bytes]:
        member = self._members.get(name)
        if member is None:
            raise MeshError(f"{self.path} is damaged: it refers to {name[:80]!r}, which it does not hold.")
        bound = max(RATIO_FREE_BYTES, RATIO_MAX * member.compress_size)
        size = 0
        stream = self._checked(self._archive.open, member)
        with stream:
            while chunk := self._checked(stream.read, _CHUNK_BYTES):
                size += len(chunk)
                if size > bound:
                    raise MeshError(
                        f"{self.path} is a zip bomb: {name} unpacks from {member.compress_size} to more than {bound} "
                        "bytes; it was not read further."
                    )
                yield chunk

    def _checked(self, action: Callable[[Any], Any], argument: object) -> Any:
        try:
            return action(argument)
        except _ZIP_ERRORS as error:
            raise MeshError(f"{self.path} is no 3MF mesh, or is damaged ({error}).") from error


def _part_name(name: str) -> str:
    """Part names are absolute, perhaps percent-encoded, and the same in either case (Open Packaging Conventions)."""
    return posixpath.normpath(unquote(name).replace("\\", "/").lower()).lstrip("/")


class _ModelReader:
    """Fills a _Model from the elements of one model file."""

    def __init__(self, path: Path, name: str, is_root: bool, notes: list[str]) -> None:
        self.path, self.name, self.is_root, self.notes = path, name, is_root, notes
        self.model: _Model | None = None
        self._open: list[str] = []
        self._object: _Object | None = None
        self._namespaces: dict[str, str] = {}
        self._named = 0

    def namespace(self, prefix: str, uri: str) -> None:
        if not self._open:
            self._namespaces[prefix] = uri

    def start(self, name: str, attributes: dict[str, str]) -> None:
        space, _, local = name.rpartition(" ")
        inside = self._open[-1] if self._open else ""
        self._open.append(local if space == _CORE else "")
        try:
            if space == _CORE:
                self._core(local, inside, attributes)
            elif not inside and self.model is None:
                raise MeshError(f"{self.path} is no 3MF mesh: {self.name} holds a {local!r} where a model must be.")
            elif local in _GEOMETRY_ELSEWHERE and self._object is not None:
                self.notes.append(f"A {local} of an object in {self.name} is not read here and was left out.")
        except KeyError as error:
            raise self._damaged(f"a <{local}> lacks its {error}") from error
        except ValueError as error:
            raise self._damaged(f"a <{local}> holds what is no number ({str(error)[:80]})") from error
        except OverflowError as error:
            raise self._damaged(f"a <{local}> names a corner that no mesh has") from error

    def end(self, name: str) -> None:
        if self._open.pop() == "object":
            self._object = None

    def _core(self, local: str, inside: str, attributes: dict[str, str]) -> None:
        if local == "vertex" and inside == "vertices" and self._object is not None:
            self._object.coordinates.extend((float(attributes["x"]), float(attributes["y"]), float(attributes["z"])))
        elif local == "triangle" and inside == "triangles" and self._object is not None:
            self._object.corners.extend((int(attributes["v1"]), int(attributes["v2"]), int(attributes["v3"])))
        elif local == "model" and not inside:
            self._begin(attributes)
        elif self.model is None:
            raise MeshError(f"{self.path} is no 3MF mesh: {self.name} holds a {local!r} where a model must be.")
        elif local in ("object", "component", "item"):
            self._name(local, inside, attributes)

    def _name(self, local: str, inside: str, attributes: dict[str, str]) -> None:
        assert self.model is not None
        self._named += 1
        if self._named > INSTANCES_MAX:
            raise self._damaged(f"it names more than {INSTANCES_MAX} objects")
        if local == "object" and inside == "resources":
            self._begin_object(attributes)
        elif local == "component" and inside == "components" and self._object is not None:
            self._object.components.append(self._instance(attributes))
        elif local == "item" and inside == "build" and self.is_root:
            if attributes.get("printable") == "0":
                self.notes.append(f"Object {attributes['objectid']} is marked as not printable and was left out.")
            else:
                self.model.items.append(self._instance(attributes))

    def _begin(self, attributes: dict[str, str]) -> None:
        unit = attributes.get("unit", "millimeter")
        if unit not in UNITS_3MF_MM:
            raise MeshError(f"{self.path} is given in {unit[:40]!r}; a 3MF unit is one of {', '.join(UNITS_3MF_MM)}.")
        for prefix in attributes.get("requiredextensions", "").split():
            uri = self._namespaces.get(prefix, prefix)
            if uri not in _HARMLESS:
                raise MeshError(
                    f"{self.path} can only be read with the 3MF extension {uri[:100]}, which is not known here; "
                    "export the part as a plain mesh."
                )
        self.model = _Model(UNITS_3MF_MM[unit])

    def _begin_object(self, attributes: dict[str, str]) -> None:
        assert self.model is not None
        number = attributes["id"].strip()
        if number in self.model.objects:
            raise self._damaged(f"it holds object {number[:20]} twice")
        if attributes.get(f"{_PRODUCTION} modelresolution", "fullres") != "fullres":
            raise MeshError(f"{self.path} holds object {number[:20]} only as a coarse stand-in; export it in full.")
        self._object = self.model.objects[number] = _Object(attributes.get("type", "model"))

    def _instance(self, attributes: dict[str, str]) -> _Component:
        assert self.model is not None
        elsewhere = attributes.get(f"{_PRODUCTION} path")
        if elsewhere is not None and not self.is_root:
            raise self._damaged("a component of another model file refers to a third one")
        file = self.name if elsewhere is None else _part_name(elsewhere)
        matrix = np.vstack([np.eye(3), np.zeros(3)])
        if "transform" in attributes:
            numbers = [float(word) for word in attributes["transform"].split()]
            if len(numbers) != 12 or not np.isfinite(numbers).all():
                raise self._damaged(f"a transform is not 12 numbers: {attributes['transform'][:80]!r}")
            matrix = np.array(numbers).reshape(4, 3)
        matrix[3] *= self.model.mm_per_unit
        if np.linalg.det(matrix[:3]) == 0.0:
            raise self._damaged(f"a transform flattens object {attributes['objectid'][:20]}")
        return _Component((file, attributes["objectid"].strip()), matrix)

    def _damaged(self, what: str) -> MeshError:
        return MeshError(f"{self.path} is damaged: in {self.name}, {what}; export the part again.")


class _Build:
    """The build of the root model, resolved into triangles."""

    def __init__(self, path: Path, package: _Package) -> None:
        self.path, self._package = path, package
        self._models: dict[str, _Model] = {}
        self._sizes: dict[_Key, tuple[int, int]] = {}
        self._parts: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = []
        self.notes: list[str] = []

    def triangles(self) -> Triangles:
        root = self._package.root()
        items = self._model(root, is_root=True).items
        if not items:
            raise MeshError(f"{self.path} holds no triangle: its build names no object to print.")
        sizes = [self._size(item.target, 0) for item in items]
        triangles, instances = (sum(column) for column in zip(*sizes))
        if triangles > TRIANGLES_MAX or instances > INSTANCES_MAX:
            raise MeshError(
                f"{self.path} builds {instances} objects with {triangles} triangles in all, more than {INSTANCES_MAX} "
                f"and {TRIANGLES_MAX}; export it more coarsely or in parts."
            )
        for item in items:
            self._place(item.target, item.matrix)
        notes = tuple(dict.fromkeys(self.notes))
        if not self._parts:
            return Triangles(np.zeros((0, 3)), np.zeros((0, 3), np.int64), 1.0, notes=notes)
        first = np.cumsum([0, *(len(points) for points, _ in self._parts)])
        faces = np.concatenate([corners + start for (_, corners), start in zip(self._parts, first)])
        return Triangles(np.concatenate([points for points, _ in self._parts]), faces, 1.0, notes=notes)

    def _model(self, name: str, is_root: bool = False) -> _Model:
        if name not in self._models:
            reader = _ModelReader(self.path, name, is_root, self.notes)
            self._package.parse(name, reader.start, reader.end, reader.namespace)
            assert reader.model is not None, "XML without an element does not parse"
            self._models[name] = reader.model
        return self._models[name]

    def _object(self, key: _Key) -> _Object:
        file, number = key
        found = self._model(file).objects.get(number)
        if found is None:
            raise MeshError(f"{self.path} is damaged: {file[:80]} refers to object {number[:20]}, which is not there.")
        return found

    def _size(self, key: _Key, depth: int) -> tuple[int, int]:
        """Triangles and instances that an object comes to, before any is made: components can double at every level."""
        if depth > DEPTH_MAX:
            raise MeshError(f"{self.path} is damaged: object {key[1][:20]} contains itself, or is nested too deep.")
        if key not in self._sizes:
            part = self._object(key)
            inner = [self._size(component.target, depth + 1) for component in part.components]
            triangles = len(part.corners) // 3 + sum(count for count, _ in inner)
            self._sizes[key] = triangles, 1 + sum(count for _, count in inner)
        return self._sizes[key]

    def _place(self, key: _Key, matrix: _Matrix) -> None:
        part = self._object(key)
        if part.kind != "model":
            self.notes.append(f"Object {key[1]} is of type {part.kind[:20]!r}, no part to print, and was left out.")
            return
        if part.corners:
            points = np.array(part.coordinates, np.float64).reshape(-1, 3) * self._model(key[0]).mm_per_unit
            corners = np.array(part.corners, np.int64).reshape(-1, 3)
            if corners.min() < 0 or corners.max() >= len(points):
                raise MeshError(
                    f"{self.path} is damaged: a triangle of object {key[1][:20]} names a corner that it does not hold."
                )
            with np.errstate(invalid="ignore", over="ignore"):  # what is no number is found and named by the caller
                points = points @ matrix[:3] + matrix[3]
            mirrored = np.linalg.det(matrix[:3]) < 0
            self._parts.append((points, corners[:, ::-1] if mirrored else corners))
        for component in part.components:
            inner = component.matrix
            placed = np.vstack([inner[:3] @ matrix[:3], inner[3] @ matrix[:3] + matrix[3]])
            self._place(component.target, placed)

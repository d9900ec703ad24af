"""The job file `.kiln`: everything a print needs, verified, and read layer by layer.

It is a zip of plain `.npy` arrays that are stored, not compressed: the same job always gives the same bytes whatever
the zlib, a layer is read without its neighbours, and nothing in it can unfold into more than the file's own size.
The layout is told in `docs/kiln-format.md`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import math
import struct
import zipfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from slicer.envelope import Envelope
from slicer.errors import SlicerError
from slicer.job_layer import VECTOR_ARRAYS, JobError, JobLayer, check_layer
from slicer.layers import Layer
from slicer.notes import sentences
from slicer.recipe import Recipe
from slicer.scan import ScanPath

SCHEMA_VERSION = 2
SCHEMA_VERSIONS = (1, SCHEMA_VERSION)  # those that can be read; 1 had hatch and contour and no optional arrays
LAYERS_MAX = 50_000
MANIFEST_BYTES_MAX = 16 * 1024 * 1024
SUMS_BYTES_MAX = 128 * 1024 * 1024
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"

# array of a layer -> (dtype, columns or 0 for one dimension)
ARRAYS: dict[str, tuple[str, int]] = {
    "points_mm": ("<f8", 2),
    "loop_starts": ("<i8", 0),
    "vectors_mm": ("<f8", 4),
    "kind": ("|u1", 0),
    "power_w": ("<f8", 0),
    "speed_mm_s": ("<f8", 0),
}
OPTIONAL_ARRAYS: dict[str, tuple[str, int]] = {"focus_mm": ("<f8", 0), "wait_s": ("<f8", 0), "beam": ("|u1", 0)}
"""A layer has those of them that are not all zeros."""


@dataclass(frozen=True, slots=True)
class JobHead:
    """What a job is about, known before its first layer is."""

    name: str
    recipe: Recipe
    envelope: Envelope
    mesh_name: str
    mesh_sha256: str
    parts: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """The table of contents of a job, as `manifest.json` holds it.

    `recipe` and `envelope` are whole (`Recipe.from_dict`, `Envelope.from_dict` take them back). `length_mm`, `energy_j`
    and `beam_on_s` sum over all vectors; `build_time_s` adds jumps and accelerations, without recoating and heating.
    `z_mm` is each layer's top. `notes` say what of the part comes out otherwise than it was drawn (`slicer.notes`).
    `parts` are those of a plate on which parts were placed: name, place and turn; empty for one part in the middle.
    """

    schema_version: int
    name: str
    recipe: dict[str, Any]
    recipe_name: str
    envelope: dict[str, Any]
    mesh_name: str
    mesh_sha256: str
    layer_count: int
    vector_count: int
    length_mm: float
    energy_j: float
    beam_on_s: float
    build_time_s: float
    bounds_mm: list[list[float]]
    z_mm: list[float]
    thickness_mm: list[float]
    software_version: str
    notes: list[dict[str, Any]] = field(default_factory=list)
    parts: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> bytes:
        """The bytes of `manifest.json`: sorted keys, no NaN, so that equal manifests are equal bytes."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False).encode() + b"\n"


def member_name(index: int, name: str) -> str:
    """Of an array of a layer."""
    return f"layers/{index:05d}/{name}.npy"


def software_version() -> str:
    """Of this moonkiln."""
    try:
        return importlib.metadata.version("moonkiln")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


class Job:
    """A job file, opened and its table of contents verified; layers are read and verified one by one.

    Use it as a context manager. Attributes: `path`, `manifest`, `recipe`, `envelope`.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile, sums: dict[str, str], manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._archive = archive
        self._sums = sums
        try:
            self.recipe = Recipe.from_dict(manifest.recipe, f"job {path}, recipe")
            self.envelope = Envelope.from_dict(manifest.envelope)
        except SlicerError as error:
            raise JobError(f"job file {path} cannot be used: {error}") from error

    @classmethod
    def open(cls, path: str | Path) -> Job:
        """Open a job file and verify its manifest and its list of members (not yet the layers' bytes).

        Raises:
            JobError: not there, not a job, damaged, written by a newer moonkiln, or not usable.
        """
        path = Path(path)
        try:
            archive = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise JobError(f"job file {path} does not exist") from None
        except OSError as error:
            raise JobError(f"job file {path} cannot be read: {error.strerror or error}") from error
        except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError) as error:
            raise JobError(f"{path} is not a job file, or is cut short ({error}): slice the part again") from error
        try:
            _check_directory(path, archive)
            sums = _read_sums(path, archive)
            manifest = _read_manifest(path, _read_member(path, archive, sums, MANIFEST))
            _check_members(path, sums, manifest.layer_count)
            return cls(path, archive, sums, manifest)
        except BaseException:
            archive.close()
            raise

    def layer(self, index: int) -> JobLayer:
        """Layer `index`, 0 the lowest, every byte of it verified.

        Raises:
            IndexError: the job has no such layer.
            JobError: its bytes are damaged or make no sense.
        """
        if not 0 <= index < self.manifest.layer_count:
            raise IndexError(f"job {self.path} has layers 0 to {self.manifest.layer_count - 1}, not {index}")
        where = f"job file {self.path}, layer {index}"
        array = {
            name: _npy_array(_read_member(self.path, self._archive, self._sums, member_name(index, name)), name, where)
            for name in (*ARRAYS, *OPTIONAL_ARRAYS)
            if name in ARRAYS or member_name(index, name) in self._sums
        }
        z_mm, thickness_mm = self.manifest.z_mm[index], self.manifest.thickness_mm[index]
        layer = Layer(index, z_mm, thickness_mm, array["points_mm"], array["loop_starts"])
        columns = {name: array.get(name) for name in VECTOR_ARRAYS}
        counts = {len(column) for column in columns.values() if column is not None}
        if len(counts) != 1:
            raise JobError(f"{where}: its arrays disagree on the number of vectors: slice the part again")
        path = ScanPath(**columns)  # type: ignore[arg-type]  # those that are left out are zeros
        job_layer = JobLayer(layer, path, self.recipe.jump_speed_mm_s)
        check_layer(job_layer, self.envelope, where)
        return job_layer

    def verify(self) -> None:
        """Read and verify every layer, and compare the sums over them with the manifest. Raises JobError."""
        vectors, length_mm, energy_j = 0, 0.0, 0.0
        for index in range(self.manifest.layer_count):
            path = self.layer(index).path
            vectors, length_mm, energy_j = vectors + len(path), length_mm + path.length_mm, energy_j + path.energy_j
        for what, found, claimed in (
            ("vectors", vectors, self.manifest.vector_count),
            ("mm of scan", length_mm, self.manifest.length_mm),
            ("J of energy", energy_j, self.manifest.energy_j),
        ):
            if not math.isclose(found, claimed, rel_tol=1e-9, abs_tol=1e-9):
                raise JobError(f"job file {self.path}: its layers hold {found:g} {what}, its manifest says {claimed:g}")

    def notes_told(self) -> list[str]:
        """The manifest's notes in words (`slicer.notes.sentences`). Raises JobError where they are no notes."""
        try:
            return sentences(self.manifest.notes, self.recipe.spot_mm)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise JobError(
                f"job file {self.path}: its notes cannot be told ({error!r}): slice the part again"
            ) from error

    @property
    def sha256(self) -> str:
        """The sha256 of the whole file, in hex: the job's name for a journal or a report."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def close(self) -> None:
        """Close the file; layers can no longer be read."""
        self._archive.close()

    def __enter__(self) -> Job:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _check_directory(path: Path, archive: zipfile.ZipFile) -> None:
    """Names known, nothing compressed or encrypted, nothing twice, and no more bytes declared than the file has."""
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if len(names) != len(set(names)):
        raise JobError(f"job file {path} holds a member twice: slice the part again")
    if MANIFEST not in names or SUMS not in names:
        raise JobError(f"{path} is a zip, but not a job file: it has no {MANIFEST if MANIFEST not in names else SUMS}")
    size = path.stat().st_size
    if sum(info.file_size for info in infos) > size:
        raise JobError(f"job file {path} declares more bytes than it has: it is damaged or made to do harm")
    for info in infos:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits:
            raise JobError(f"job file {path}: member {info.filename!r} is not stored plain, as a job's are")


def _read_sums(path: Path, archive: zipfile.ZipFile) -> dict[str, str]:
    data = _read_bytes(path, archive, SUMS, SUMS_BYTES_MAX)
    sums: dict[str, str] = {}
    for line in data.decode("ascii", "replace").splitlines():
        digest, _, name = line.partition("  ")
        if len(digest) != 64 or set(digest) - set("0123456789abcdef") or not name or name in sums:
            raise JobError(f"job file {path}: its {SUMS} is damaged: slice the part again")
        sums[name] = digest
    if set(sums) | {SUMS} != set(archive.namelist()):
        raise JobError(f"job file {path}: its members are not those that {SUMS} lists: slice the part again")
    return sums


def _read_member(path: Path, archive: zipfile.ZipFile, sums: dict[str, str], name: str) -> bytes:
    data = _read_bytes(path, archive, name, MANIFEST_BYTES_MAX if name == MANIFEST else None)
    if hashlib.sha256(data).hexdigest() != sums[name]:
        raise JobError(f"job file {path} is damaged in {name} (its sha256 is not the listed one): slice the part again")
    return data


def _read_bytes(path: Path, archive: zipfile.ZipFile, name: str, size_max: int | None) -> bytes:
    info = archive.getinfo(name)
    if size_max is not None and info.file_size > size_max:
        raise JobError(f"job file {path}: {name} has {info.file_size} bytes, more than the {size_max} it may have")
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, struct.error) as error:
        raise JobError(f"job file {path} is damaged in {name} ({error}): slice the part again") from error


def _read_manifest(path: Path, data: bytes) -> Manifest:
    try:
        table = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise JobError(f"job file {path}: its manifest is not JSON ({error})") from error
    version = table.get("schema_version") if isinstance(table, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise JobError(
            f"job file {path} has format {version}, this moonkiln ({software_version()}) reads up to {SCHEMA_VERSION}:"
            f" update moonkiln, or slice the part again with this one"
        )
    try:
        manifest = msgspec.convert(table, Manifest)
    except msgspec.ValidationError as error:
        raise JobError(f"job file {path}: its manifest cannot be used: {error}") from error
    keys = {f.name for f in fields(Manifest)} - ({"notes", "parts"} if version == 1 else set())
    if version not in SCHEMA_VERSIONS or set(table) != keys:
        raise JobError(f"job file {path}: its manifest is not one of format {' or '.join(map(str, SCHEMA_VERSIONS))}")
    count = manifest.layer_count
    if not 1 <= count <= LAYERS_MAX or len(manifest.z_mm) != count or len(manifest.thickness_mm) != count:
        raise JobError(f"job file {path}: its manifest tells of {count} layers but lists {len(manifest.z_mm)}")
    return manifest


def _check_members(path: Path, sums: dict[str, str], layer_count: int) -> None:
    expected = {member_name(index, name) for index in range(layer_count) for name in ARRAYS} | {MANIFEST}
    allowed = expected | {member_name(index, name) for index in range(layer_count) for name in OPTIONAL_ARRAYS}
    odd = min((expected - set(sums)) | (set(sums) - allowed), default=None)
    if odd is not None:
        raise JobError(f"job file {path}: {odd!r} is {'missing' if odd in expected else 'no part of a job'}")


def _npy_array(data: bytes, name: str, where: str) -> NDArray[Any]:
    """A `.npy` member as an array of exactly the kind that the tables say; object arrays (pickles) are never read."""
    dtype, columns = (ARRAYS | OPTIONAL_ARRAYS)[name]
    stream = io.BytesIO(data)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("unknown .npy version")
        shape, fortran, found = np.lib.format.read_array_header_1_0(stream, max_header_size=1024)
    except (ValueError, SyntaxError, EOFError, TypeError) as error:
        raise JobError(f"{where}: {name} is no array ({error}): slice the part again") from error
    rows = shape[0] if shape else -1
    wanted = (rows, columns) if columns else (rows,)
    if found != np.dtype(dtype) or fortran or shape != wanted:
        raise JobError(f"{where}: {name} is {found.str}{shape}, not {dtype} with {columns or 1} columns")
    body, due = data[stream.tell() :], found.itemsize * math.prod(shape)
    if len(body) != due:
        raise JobError(f"{where}: {name} holds {len(body)} bytes, not the {due} of its shape")
    return np.frombuffer(body, dtype=found).reshape(shape).copy()  # a view of bytes would be read-only

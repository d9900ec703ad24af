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
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from slicer.envelope import Envelope
from slicer.errors import SlicerError
from slicer.kernels.checking import vectors_fit
from slicer.layers import Layer
from slicer.motion_time import path_time
from slicer.recipe import Recipe
from slicer.scan import KINDS, ScanPath, read_only
from slicer.whole_file import whole_file

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
WAIT_S_MAX, FOCUS_MM_MAX, BEAMS_MAX = 3600.0, 100.0, 16
REACH_TOLERANCE_MM = 5e-4  # half the last digit that a G-code line carries


_VECTOR_ARRAYS = tuple(f.name for f in fields(ScanPath))


class JobError(SlicerError):
    """A job file cannot be written, or is damaged, foreign, too new, or asks for what no machine should do."""


@dataclass(frozen=True, slots=True)
class JobLayer:
    """One layer of a job: its outline, the beam's path, and the speed of the jumps between vectors.

    `jump_speed_mm_s` is the recipe's; None is as fast as the gantry may.
    """

    layer: Layer
    path: ScanPath
    jump_speed_mm_s: float | None = None


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


@dataclass(frozen=True, slots=True)
class Member:
    """A file in the archive: its name, its bytes as a head and a body that is copied nowhere, and their sha256."""

    name: str
    head: bytes
    body: bytes | memoryview
    sha256: str


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """A layer that was found sound, as a job file holds it, and what a manifest says of it."""

    index: int
    z_mm: float
    thickness_mm: float
    vector_count: int
    length_mm: float
    energy_j: float
    beam_on_s: float
    waiting_s: float
    build_time_s: float
    extent_mm: NDArray[np.float64]  # (4,) lowest x and y, highest x and y; infinities without anything
    members: tuple[Member, ...]


def pack_layer(job_layer: JobLayer, head: JobHead) -> PackedLayer:
    """Check a layer and turn it into the bytes that are written: nearly all of the work, for any thread to do.

    Raises:
        JobError: `check_layer` refuses it.
    """
    layer, path = job_layer.layer, job_layer.path
    extent_mm = check_layer(job_layer, head.envelope, f"job {head.name}, layer {layer.index}")
    if len(layer.points_mm):
        extent_mm = np.concatenate([layer.points_mm.min(axis=0), layer.points_mm.max(axis=0)])
    members = tuple(
        _packed_array(_member(layer.index, name), array, (ARRAYS | OPTIONAL_ARRAYS)[name][0])
        for name, array in _arrays_of(job_layer).items()
        if name in ARRAYS or array.any()
    )
    return PackedLayer(
        index=layer.index,
        z_mm=float(layer.z_mm),
        thickness_mm=float(layer.thickness_mm),
        vector_count=len(path),
        length_mm=path.length_mm,
        energy_j=path.energy_j,
        beam_on_s=path.exposure_time_s,
        waiting_s=float(path.wait_s.sum()),
        build_time_s=max(path_time(its, head.envelope, job_layer.jump_speed_mm_s).total_s for _, its in path.by_head()),
        extent_mm=extent_mm,
        members=members,
    )


def write_job(
    path: str | Path, head: JobHead, layers: Iterable[JobLayer], notes: Iterable[dict[str, Any]] = ()
) -> Manifest:
    """`write_packed` of layers that are packed as they come. Raises as `pack_layer` and `write_packed` do."""
    return write_packed(path, head, (pack_layer(job_layer, head) for job_layer in layers), notes)


def write_packed(
    path: str | Path, head: JobHead, layers: Iterable[PackedLayer], notes: Iterable[dict[str, Any]] = ()
) -> Manifest:
    """Write a job file from layers as they come, lowest first; it appears whole or not at all.

    `notes` are read when the last layer has come. The same head, layers and notes always give the same bytes.

    Raises:
        JobError: no layer, or layers out of order.
        OSError: the file cannot be written; what stood there before stays.
    """
    tally = _Tally(head)
    sums: list[str] = []
    with whole_file(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for index, layer in enumerate(layers):
            if index >= LAYERS_MAX:
                raise JobError(f"job {head.name}: more than {LAYERS_MAX} layers: use thicker layers")
            if layer.index != index:
                raise JobError(f"job {head.name}: layer {layer.index} came where layer {index} was due")
            for member in layer.members:
                _store(archive, member, sums)
            tally.add(layer)
        manifest = replace(tally.manifest(), notes=list(notes))
        _store(archive, _packed(MANIFEST, manifest.to_json()), sums)
        _store(archive, _packed(SUMS, "".join(sums).encode()), [])
    return manifest


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
            name: _npy_array(_read_member(self.path, self._archive, self._sums, _member(index, name)), name, where)
            for name in (*ARRAYS, *OPTIONAL_ARRAYS)
            if name in ARRAYS or _member(index, name) in self._sums
        }
        z_mm, thickness_mm = self.manifest.z_mm[index], self.manifest.thickness_mm[index]
        layer = Layer(index, z_mm, thickness_mm, array["points_mm"], array["loop_starts"])
        columns = {name: array.get(name) for name in _VECTOR_ARRAYS}
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


def columns(path: ScanPath) -> tuple[NDArray[Any], ...]:
    """kind, power_w, speed_mm_s, focus_mm, wait_s and beam as kernels take them: a column that is the same for all
    because it was left out comes as (1,), which costs nothing."""
    return tuple(
        read_only(column[:1] if column.strides == (0,) else column)
        for column in (path.kind, path.power_w, path.speed_mm_s, path.focus_mm, path.wait_s, path.beam)
    )


def check_layer(job_layer: JobLayer, envelope: Envelope, where: str) -> NDArray[np.float64]:
    """Refuse a layer that no machine of this envelope may be given.

    Returns (4,) f8, the lowest x and y and the highest x and y of its vectors in mm; infinities without any.

    Raises:
        JobError: a number that is not finite, a loop table that does not fit its points, an unknown kind, a power or
            speed outside the envelope, a vector that leaves the plate, or one too short to have a direction.
    """
    layer, path = job_layer.layer, job_layer.path
    extent_mm = np.array([np.inf, np.inf, -np.inf, -np.inf])
    sound = not len(path) or _fits(path, envelope, extent_mm)
    for name, array in ({"points_mm": layer.points_mm} if sound else _arrays_of(job_layer)).items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise JobError(f"{where}: {name} holds a value that is not a finite number")
    starts = layer.loop_starts
    if len(starts) < 1 or starts[0] != 0 or starts[-1] != len(layer.points_mm) or (np.diff(starts) < 0).any():
        raise JobError(f"{where}: the loop table does not fit its {len(layer.points_mm)} points")
    if not (math.isfinite(layer.z_mm) and 0 < layer.thickness_mm <= layer.z_mm + 1e-9 <= envelope.z_mm + 2e-9):
        raise JobError(
            f"{where}: a top at z {layer.z_mm:g} mm and a thickness of {layer.thickness_mm:g} mm do not fit a build"
            f" height of {envelope.z_mm:g} mm"
        )
    if not sound:
        _say_what_is_wrong(path, envelope, where)
        raise AssertionError(f"{where}: refused by one check of vectors and passed by the other")
    return extent_mm


def _fits(path: ScanPath, envelope: Envelope, extent_mm: NDArray[np.float64]) -> bool:
    """One look at each vector, instead of one for each of the sentences below."""
    limits = np.array(
        [
            *(envelope.x_mm, envelope.y_mm, envelope.beam_power_w_max, envelope.speed_mm_s_max),
            *(FOCUS_MM_MAX, WAIT_S_MAX, BEAMS_MAX - 1, len(KINDS) - 1),
        ]
    )
    kind, power_w, speed_mm_s, focus_mm, wait_s, beam = columns(path)
    rest = (focus_mm, wait_s, beam, limits, REACH_TOLERANCE_MM, extent_mm)
    return bool(vectors_fit(read_only(path.vectors_mm), kind, power_w, speed_mm_s, *rest))


def _say_what_is_wrong(path: ScanPath, envelope: Envelope, where: str) -> None:
    """Raises JobError for the first thing by which vectors do not fit the envelope."""
    if (path.kind >= len(KINDS)).any():
        raise JobError(f"{where}: a vector is none of {', '.join(KINDS)}")
    if (path.power_w <= 0).any() or path.power_w.max() > envelope.beam_power_w_max:
        raise JobError(
            f"{where}: beam power of {path.power_w.min():g} to {path.power_w.max():g} W, the envelope allows more"
            f" than 0 up to {envelope.beam_power_w_max:g} W"
        )
    if (path.speed_mm_s <= 0).any() or path.speed_mm_s.max() > envelope.speed_mm_s_max:
        raise JobError(
            f"{where}: scan speed of {path.speed_mm_s.min():g} to {path.speed_mm_s.max():g} mm/s, the envelope"
            f" allows more than 0 up to {envelope.speed_mm_s_max:g} mm/s"
        )
    for name, low_bound, high_bound in (
        ("wait_s", 0.0, WAIT_S_MAX),
        ("focus_mm", -FOCUS_MM_MAX, FOCUS_MM_MAX),
        ("beam", 0, BEAMS_MAX - 1),
    ):
        column = getattr(path, name)
        if column.min() < low_bound or column.max() > high_bound:
            raise JobError(
                f"{where}: {name} of {column.min():g} to {column.max():g}, a job may have {low_bound:g} to"
                f" {high_bound:g}"
            )
    low = path.vectors_mm.reshape(-1, 2).min(axis=0)
    high = path.vectors_mm.reshape(-1, 2).max(axis=0)
    reach = np.array([envelope.x_mm, envelope.y_mm])
    if (low < -REACH_TOLERANCE_MM).any() or (high > reach + REACH_TOLERANCE_MM).any():
        raise JobError(
            f"{where}: the beam would go to x {low[0]:.3f}..{high[0]:.3f}, y {low[1]:.3f}..{high[1]:.3f} mm, beyond the"
            f" plate of {reach[0]:g} x {reach[1]:g} mm"
        )
    on_grid = np.rint(path.vectors_mm * 1000.0)
    if (on_grid[:, :2] == on_grid[:, 2:]).all(axis=1).any():
        raise JobError(f"{where}: a vector is shorter than the 0.001 mm that a machine is told")


# ---- writing


class _Tally:
    """What a manifest says of the layers that have passed."""

    def __init__(self, head: JobHead) -> None:
        self.head = head
        self.vectors = 0
        self.length_mm = self.energy_j = self.beam_on_s = self.build_time_s = 0.0
        self.z_mm: list[float] = []
        self.thickness_mm: list[float] = []
        self.low = np.full(2, np.inf)
        self.high = np.full(2, -np.inf)

    def add(self, layer: PackedLayer) -> None:
        self.vectors += layer.vector_count
        self.length_mm += layer.length_mm
        self.energy_j += layer.energy_j
        self.beam_on_s += layer.beam_on_s
        self.build_time_s += layer.build_time_s
        self.z_mm.append(layer.z_mm)
        self.thickness_mm.append(layer.thickness_mm)
        self.low = np.minimum(self.low, layer.extent_mm[:2])
        self.high = np.maximum(self.high, layer.extent_mm[2:])

    def manifest(self) -> Manifest:
        if not self.z_mm or not self.vectors:
            raise JobError(
                f"job {self.head.name}: there is nothing to expose: the part is smaller than the beam spot or thinner"
                f" than half a layer"
            )
        return Manifest(
            schema_version=SCHEMA_VERSION,
            name=self.head.name,
            recipe=self.head.recipe.to_dict(),
            recipe_name=self.head.recipe.name,
            envelope=self.head.envelope.to_dict(),
            mesh_name=self.head.mesh_name,
            mesh_sha256=self.head.mesh_sha256,
            layer_count=len(self.z_mm),
            vector_count=self.vectors,
            length_mm=self.length_mm,
            energy_j=self.energy_j,
            beam_on_s=self.beam_on_s,
            build_time_s=self.build_time_s,
            bounds_mm=[
                [*map(float, self.low), self.z_mm[0] - self.thickness_mm[0]],
                [*map(float, self.high), self.z_mm[-1]],
            ],
            z_mm=self.z_mm,
            thickness_mm=self.thickness_mm,
            software_version=_software_version(),
            parts=list(self.head.parts),
        )


def _arrays_of(job_layer: JobLayer) -> dict[str, NDArray[Any]]:
    layer, path = job_layer.layer, job_layer.path
    outline = {"points_mm": layer.points_mm, "loop_starts": layer.loop_starts}
    return outline | {name: getattr(path, name) for name in _VECTOR_ARRAYS}


def _member(index: int, name: str) -> str:
    return f"layers/{index:05d}/{name}.npy"


def _packed(name: str, head: bytes, body: bytes | memoryview = b"") -> Member:
    digest = hashlib.sha256(head)
    digest.update(body)
    return Member(name, head, body, digest.hexdigest())


def _packed_array(name: str, array: NDArray[Any], dtype: str) -> Member:
    """The member that `numpy.save` would write."""
    array = np.ascontiguousarray(array, dtype=dtype)
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
    return _packed(name, stream.getvalue(), array.reshape(-1).view(np.uint8).data)


def _store(archive: zipfile.ZipFile, member: Member, sums: list[str]) -> None:
    info = zipfile.ZipInfo(member.name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = 0o644 << 16
    info.file_size = len(member.head) + len(member.body)
    with archive.open(info, "w") as stream:
        stream.write(member.head)
        stream.write(member.body)
    sums.append(f"{member.sha256}  {member.name}\n")


def _software_version() -> str:
    try:
        return importlib.metadata.version("moonkiln")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


# ---- reading: every byte is distrusted until its sum is right


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
            f"job file {path} has format {version}, this moonkiln ({_software_version()}) reads up to {SCHEMA_VERSION}:"
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
    expected = {_member(index, name) for index in range(layer_count) for name in ARRAYS} | {MANIFEST}
    allowed = expected | {_member(index, name) for index in range(layer_count) for name in OPTIONAL_ARRAYS}
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

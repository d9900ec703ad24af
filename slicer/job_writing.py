"""Writing a job file: layers are checked and packed by any thread, and stored one after the other."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slicer.job import (
    ARRAYS,
    LAYERS_MAX,
    MANIFEST,
    OPTIONAL_ARRAYS,
    SCHEMA_VERSION,
    SUMS,
    JobHead,
    Manifest,
    member_name,
    software_version,
)
from slicer.job_layer import JobError, JobLayer, arrays_of, check_layer
from slicer.motion_time import path_time
from slicer.whole_file import whole_file


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
        _packed_array(member_name(layer.index, name), array, (ARRAYS | OPTIONAL_ARRAYS)[name][0])
        for name, array in arrays_of(job_layer).items()
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
            software_version=software_version(),
            parts=list(self.head.parts),
        )


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

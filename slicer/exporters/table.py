"""Every vector of a job in one table: as lines of text (`.csv`), or as records for numpy (`.npz`)."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from slicer.exporters.source import ExportError, Source, Written
from slicer.job_layer import JobLayer, columns
from slicer.kernels.text import csv_rows
from slicer.parallel import in_order, workers_here
from slicer.whole_file import whole_file

VECTOR = np.dtype(
    [
        ("layer", "<i4"),
        ("kind", "|u1"),
        ("beam", "|u1"),
        *((name, "<f8") for name in ("x0_mm", "y0_mm", "x1_mm", "y1_mm")),
        *((name, "<f8") for name in ("power_w", "speed_mm_s", "focus_mm", "wait_s")),
    ]
)
"""A record of `vectors` in an `.npz`; `kind` as `slicer.scan.KINDS` counts them."""
LAYER = np.dtype([("index", "<i4"), ("z_mm", "<f8"), ("thickness_mm", "<f8"), ("first_vector", "<i8")])
"""A record of `layers`: its vectors stand from `first_vector` to the next layer's."""

CSV_HEADER = b"layer,z_mm,x0_mm,y0_mm,x1_mm,y1_mm,kind,power_w,speed_mm_s,focus_mm,wait_s,beam\n"


# ---- text


def write_csv(source: Source, path: str | Path) -> Written:
    """Write layers as they come, one line a vector. Coordinates have three decimals, the machine's 0.001 mm; other
    numbers as many as bring them back exactly. Raises JobError, OSError."""
    with whole_file(path) as stream:
        return stream_csv(source, stream)


def stream_csv(source: Source, stream: BinaryIO) -> Written:
    """The same into an open stream of bytes."""
    stream.write(CSV_HEADER)
    vectors = 0
    for rows, count in in_order(_rows, (job_layer for job_layer, _ in source.checked()), workers_here()):
        stream.write(rows)
        vectors += count
    return Written(vectors, vectors + 1)


def _rows(job_layer: JobLayer) -> tuple[bytes | memoryview, int]:
    """The lines of a layer, and how many. What follows the coordinates is worked out once for each run alike."""
    layer, path = job_layer.layer, job_layer.path
    if not len(path):
        return b"", 0
    table = np.zeros(len(path), VECTOR)[["kind", "power_w", "speed_mm_s", "focus_mm", "wait_s", "beam"]].copy()
    for name, column in zip(("kind", "power_w", "speed_mm_s", "focus_mm", "wait_s", "beam"), columns(path)):
        table[name] = column
    firsts = np.flatnonzero(np.append(True, table[1:] != table[:-1]))  # of runs that are exposed alike
    texts: dict[bytes, int] = {}
    tail_of_run = np.empty(len(firsts), np.int64)
    for run, values in enumerate(table[firsts].tolist()):
        text = ",".join(map(repr, values)).encode()
        tail_of_run[run] = texts.setdefault(text, len(texts))
    tail_of = np.repeat(tail_of_run, np.diff(np.append(firsts, len(path))))
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=starts[1:])
    lead = np.array(bytearray(f"{layer.index},{float(layer.z_mm)!r},".encode()), np.uint8)
    tails = np.array(bytearray(b"".join(texts)), np.uint8)
    return csv_rows(np.ascontiguousarray(path.vectors_mm), lead, tails, starts, tail_of).data, len(path)


# ---- records


def write_npz(source: Source, path: str | Path) -> Written:
    """Write layers as they come as records: `numpy.load(path)["vectors"]` has the fields of `VECTOR`, `["layers"]`
    those of `LAYER`. Nothing is rounded, nothing compressed.

    Raises:
        ExportError: nobody knows beforehand how many vectors there are, or it was not true.
        JobError, OSError: a layer is not one, or the file cannot be written.
    """
    with whole_file(path) as stream:
        return stream_npz(source, stream)


def stream_npz(source: Source, stream: BinaryIO) -> Written:
    """The same into an open stream of bytes."""
    if source.vector_count is None:
        raise ExportError("an .npz says first how many vectors it holds, and that is not known here: export to .csv")
    layers = np.zeros(source.layer_count, LAYER)
    vectors = count = 0
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open(_member("vectors"), "w", force_zip64=True) as member:
            _npy_header(member, VECTOR, source.vector_count)
            for job_layer, _ in source.checked():
                layer = job_layer.layer
                if count < len(layers):
                    layers[count] = layer.index, layer.z_mm, layer.thickness_mm, vectors
                member.write(_records(job_layer).data.cast("B") if len(job_layer.path) else b"")
                vectors, count = vectors + len(job_layer.path), count + 1
        if (vectors, count) != (source.vector_count, source.layer_count):
            raise ExportError(
                f"{source.layer_count} layers of {source.vector_count} vectors in all were announced, but {count} of"
                f" {vectors} came"
            )
        with archive.open(_member("layers"), "w", force_zip64=True) as member:
            _npy_header(member, LAYER, len(layers))
            member.write(layers.data.cast("B"))
    return Written(vectors)


def _records(job_layer: JobLayer) -> np.ndarray:
    path = job_layer.path
    records = np.empty(len(path), VECTOR)
    records["layer"] = job_layer.layer.index
    for axis, name in enumerate(("x0_mm", "y0_mm", "x1_mm", "y1_mm")):
        records[name] = path.vectors_mm[:, axis]
    for name in ("kind", "power_w", "speed_mm_s", "focus_mm", "wait_s", "beam"):
        records[name] = getattr(path, name)
    return records


def _member(name: str) -> zipfile.ZipInfo:
    """With a date of its own, so that the same job always gives the same bytes."""
    info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = 0o644 << 16
    return info


def _npy_header(member: IO[bytes], dtype: np.dtype, count: int) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(member, header)

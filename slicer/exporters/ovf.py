"""Open Vector Format (`.ovf`): every vector with its power, speed, focus, head and wait, in protocol buffers.

A file is blocks of vectors, each plane's summary behind its blocks, the job's summary behind the planes, and tables of
where they all begin. The messages are few and plain (packed floats, small integers), so they are encoded here, layer by
layer; `docs/exports.md` lists their fields. The schema is Digital-Production-Aachen/OpenVectorFormat's.

What is rounded: coordinates, powers, speeds and focus shifts are IEEE singles (24 bits), waits whole microseconds.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from slicer.exporters.parameters import TRACKS, ParameterSet, ParameterTable
from slicer.exporters.source import Source, Written
from slicer.job_layer import JobLayer
from slicer.kernels.blocks import block_starts
from slicer.recipe import Recipe
from slicer.scan import KIND_DOWN_SKIN, KIND_UP_SKIN
from slicer.whole_file import whole_file

MAGIC = b"LVF!"
HATCHES_MAX = 1 << 20  # of one block: what a reader must hold at once
PART = 1  # key of the only part

# field numbers, by message
LINE_SEQUENCE, HATCHES, EXPOSURE_PAUSE, MARKING_PARAMS_KEY, LASER_INDEX, META_DATA, LPBF = 1, 2, 10, 50, 53, 100, 101
SKIN_TYPES = {KIND_DOWN_SKIN: 1, KIND_UP_SKIN: 2}  # 0: in skin
AREA_VOLUME, AREA_CONTOUR = 0, 1


def write_ovf(source: Source, path: str | Path) -> Written:
    """Write layers as they come as an OVF file. Raises JobError, ExportError, OSError."""
    with whole_file(path) as stream:
        return stream_ovf(source, stream)


def stream_ovf(source: Source, stream: BinaryIO) -> Written:
    """The same into an open, seekable stream of bytes that begins here."""
    table = ParameterTable()
    planes: list[int] = []
    vectors = 0
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    jump_mm_s = 0.0
    at = stream.write(MAGIC + bytes(8))
    for job_layer, extent_mm in source.checked():
        low, high = np.minimum(low, extent_mm[:2]), np.maximum(high, extent_mm[2:])
        jump_mm_s = job_layer.jump_speed_mm_s or source.head.envelope.speed_mm_s_max
        vectors += len(job_layer.path)
        planes.append(at)
        for piece in _plane(job_layer, extent_mm, table, at):
            at += stream.write(piece)
    shell = _delimited(_job(source, table, len(planes), np.concatenate([low, high]), jump_mm_s))
    lut = _delimited(_integer(1, at) + _positions(2, planes))
    stream.write(shell + lut)
    stream.seek(len(MAGIC))
    stream.write(struct.pack("<q", at + len(shell)))
    stream.seek(0, 2)
    return Written(vectors)


# ---- a layer


def _plane(
    job_layer: JobLayer, extent_mm: NDArray[np.float64], table: ParameterTable, begins_at: int
) -> list[bytes | memoryview]:
    """A layer in pieces: where its table is, its blocks, its summary, its table of where those begin."""
    layer, path = job_layer.layer, job_layer.path
    set_of = table.number(path, f"layer {layer.index}")
    vectors_mm = np.ascontiguousarray(path.vectors_mm)
    waits = np.zeros(1) if path.wait_s.strides == (0,) else np.ascontiguousarray(path.wait_s)
    starts = block_starts(vectors_mm, 0.0, set_of, table.is_track, waits, HATCHES_MAX)
    singles = vectors_mm.astype("<f4")
    lengths_mm = path.lengths_mm
    lengths = np.add.reduceat(lengths_mm, starts[:-1]).tolist() if len(path) else []
    begins = starts.tolist()
    pieces: list[bytes | memoryview] = [b""]
    positions: list[int] = []
    at = begins_at + 8

    def put(head: bytes, body: bytes | memoryview, tail: bytes) -> None:
        nonlocal at
        size = len(head) + len(body) + len(tail)
        prefix = _varint(size)
        positions.append(at)
        pieces.extend((prefix + head, body, tail))
        at += len(prefix) + size

    for begin, end, length_mm in zip(begins, begins[1:], lengths, strict=False):
        number, kind, beam = int(set_of[begin]), int(path.kind[begin]), int(path.beam[begin])
        whose = _integer(MARKING_PARAMS_KEY, number + 1) + _integer(LASER_INDEX, beam)
        wait_us = round(float(path.wait_s[begin]) * 1e6)
        if wait_us:
            put(_message(EXPOSURE_PAUSE, _integer(1, wait_us)), b"", whose)
        if table.is_track[number]:
            points = np.concatenate([singles[begin, :2], singles[begin:end, 2:].reshape(-1)])
            which = LINE_SEQUENCE
        else:
            points, which = singles[begin:end].reshape(-1), HATCHES
        body = points.data.cast("B")
        packed = _key(1, 2) + _varint(len(body))
        area = _integer(1, AREA_CONTOUR if kind in TRACKS else AREA_VOLUME) + _integer(2, SKIN_TYPES.get(kind, 0))
        about = _message(META_DATA, _double(1, length_mm) + _integer(3, PART)) + _message(LPBF, area)
        put(_key(which, 2) + _varint(len(packed) + len(body)) + packed, body, whose + about)

    shell_at, blocks = at, len(positions)
    summary = _double(1, float(lengths_mm.sum())) + _double(2, path.jump_length_mm)
    if len(path):
        summary += _single(4, float(path.power_w.max())) + _single(5, float(path.power_w.min()))
        summary += _message(7, _box(extent_mm))
    shell = _single(4, layer.z_mm) + _integer(8, blocks) + _integer(10, layer.index) + _message(13, summary)
    shell = _delimited(shell)
    pieces[0] = struct.pack("<q", shell_at + len(shell))
    pieces += [shell, _delimited(_integer(1, shell_at) + _positions(2, positions))]
    return pieces


# ---- the job


def _job(source: Source, table: ParameterTable, planes: int, extent_mm: NDArray[np.float64], jump_mm_s: float) -> bytes:
    head, recipe = source.head, source.head.recipe
    about = _text(3, head.name) + _text(5, f"recipe {recipe.name}, sliced by moonkiln {source.software_version}")
    about += _message(6, _box(extent_mm)) if math.isfinite(extent_mm[0]) else b""
    sets = b"".join(_entry(3, s.number, _marking_params(s, jump_mm_s)) for s in table.sets)
    part = _entry(4, PART, _text(1, head.name) + _message(4, _strategy(recipe)))
    bed = _message(5, _double(1, recipe.bed_temp_c)) if recipe.bed_temp_c is not None else b""
    return _message(2, about) + sets + part + bed + _integer(6, planes)


def _marking_params(s: ParameterSet, jump_mm_s: float) -> bytes:
    numbers = _single(1, s.power_w) + _single(2, s.speed_mm_s) + _single(3, s.focus_mm) + _single(5, jump_mm_s)
    return numbers + _text(26, s.label)


def _strategy(recipe: Recipe) -> bytes:
    spacing_mm = recipe.hatch_spacing_mm or 0.0
    numbers = _single(2, recipe.hatch_rotation_deg) + _single(5, recipe.layer_thickness_mm) + _single(6, spacing_mm)
    return numbers + _single(9, 0.5 * recipe.spot_mm) + _integer(10, recipe.contours) + _text(90, recipe.name)


def _box(extent_mm: NDArray[np.float64]) -> bytes:
    return b"".join(_single(number, float(value)) for number, value in enumerate(extent_mm, start=1))


# ---- protocol buffers: wire types 0 (varint), 1 (8 bytes), 2 (length, then bytes), 5 (4 bytes); a zero is left out


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _key(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _integer(number: int, value: int) -> bytes:
    assert value >= 0, f"field {number}: {value} is negative, and no number written here is"
    return _key(number, 0) + _varint(value) if value else b""


def _single(number: int, value: float) -> bytes:
    return _key(number, 5) + struct.pack("<f", value) if value else b""


def _double(number: int, value: float) -> bytes:
    return _key(number, 1) + struct.pack("<d", value) if value else b""


def _message(number: int, body: bytes) -> bytes:
    """A message is there even if nothing is in it."""
    return _key(number, 2) + _varint(len(body)) + body


def _text(number: int, text: str) -> bytes:
    return _message(number, text.encode("utf-8", "replace")) if text else b""


def _entry(number: int, key: int, value: bytes) -> bytes:
    """One entry of a map with whole numbers for keys."""
    return _message(number, _integer(1, key) + _message(2, value))


def _positions(number: int, positions: list[int]) -> bytes:
    return _message(number, b"".join(map(_varint, positions))) if positions else b""


def _delimited(body: bytes) -> bytes:
    return _varint(len(body)) + body

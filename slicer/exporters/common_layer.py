"""Common Layer Interface 2.0 (`.cli`): contours as polylines, hatches, and one id for each set of parameters.

Three forms: text, binary with 32-bit numbers (long), binary with unsigned 16-bit ones (short). The file tells geometry;
what an id means in watts and mm/s stands in the header's labels and, whole, in a sidecar `FILE.parameters.csv`. The
bytes are told in `docs/exports.md`.

Layers are written as they come. What the header says of them all (box, count, labels) is known after the last: a header
of fixed size is left free and filled in at the end.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from slicer.exporters.dialects import decimals
from slicer.exporters.parameters import ParameterTable, sidecar, write_sidecar
from slicer.exporters.source import ExportError, Source, Written
from slicer.job_layer import JobLayer
from slicer.kernels.blocks import block_starts, cli_long, cli_short
from slicer.kernels.text import cli_text
from slicer.parallel import in_order, workers_here
from slicer.whole_file import whole_file

UNIT_MM = 0.001
UNIT_MM_MIN, UNIT_MM_MAX = 1e-6, 1.0
COARSE_PART = 0.1
"""Of the distance between tracks: a coarser unit is told of."""

SHORT_MAX = 65_535
HEADER_BYTES = 8192
LABELS_MAX = 64  # in the header; the sidecar has all of them
LABEL_BYTES_MAX = 80
HATCHES_MAX = 1 << 20  # of one command: what a reader must hold at once

LAYER_LONG, LAYER_SHORT, POLYLINE_SHORT, POLYLINE_LONG, HATCHES_SHORT, HATCHES_LONG = range(127, 133)


class Form(enum.Enum):
    """How numbers are written."""

    ASCII = "ascii"
    LONG = "long"
    SHORT = "short"


def write_cli(source: Source, path: str | Path, form: Form = Form.LONG, unit_mm: float = UNIT_MM) -> Written:
    """Write layers as they come as a CLI file, and its parameters beside it.

    Coordinates are rounded to `unit_mm`. Long numbers are IEEE singles of whole units: exact up to 16,777,216 units.

    Raises:
        ExportError: the unit is out of range, there are too many parameter sets, or the short form is asked to hold
            what it cannot.
        JobError, OSError: a layer is not one, or the file cannot be written.
    """
    if not UNIT_MM_MIN <= unit_mm <= UNIT_MM_MAX:
        raise ExportError(f"a unit of {unit_mm:g} mm: give one from {UNIT_MM_MIN:g} to {UNIT_MM_MAX:g} mm")
    with whole_file(path) as stream:
        written, table = stream_cli(source, stream, form, unit_mm)
    write_sidecar(path, table)
    notes = [f"power and speed of each id stand in {sidecar(path).name}"]
    notes.extend(_coarse(unit_mm, source.head.recipe.track_width_mm))
    if table.wait_s:
        notes.append(f"the {table.wait_s:g} s of waits before vectors are not in the file, CLI has no word for them")
    return Written(written.vectors, written.lines, tuple(notes))


def _coarse(unit_mm: float, track_mm: float) -> Iterator[str]:
    if unit_mm > COARSE_PART * track_mm:
        yield (
            f"coordinates are whole units of {unit_mm:g} mm, over a tenth of the {track_mm:g} mm from track to track:"
            f" tracks move by up to {0.5 * unit_mm:g} mm, and may fall onto each other"
        )


def stream_cli(
    source: Source, stream: BinaryIO, form: Form = Form.LONG, unit_mm: float = UNIT_MM
) -> tuple[Written, ParameterTable]:
    """The same into an open, seekable stream of bytes; the parameters are returned."""
    start = stream.tell()
    stream.write(b" " * HEADER_BYTES)
    whole = _Whole()
    encoder = _Encoder(form, unit_mm, whole.table.is_track)
    lines = 0
    for pieces, blocks in in_order(encoder.layer, whole.numbered(source), workers_here()):
        for piece in pieces:
            stream.write(piece)
        lines += 1 + blocks
    if form is Form.ASCII:
        stream.write(b"$$GEOMETRYEND\n")
    end = stream.tell()
    header = _header(source, form, unit_mm, whole)
    stream.seek(start)
    stream.write(header)
    stream.seek(end)
    lines = header.count(b"\n") + lines + 1 if form is Form.ASCII else 0
    return Written(whole.vectors, lines), whole.table


@dataclass(frozen=True)
class _Numbered:
    """A layer, how far its vectors reach, and which parameter set each has."""

    job_layer: JobLayer
    extent_mm: NDArray[np.float64]
    set_of: NDArray[np.int32]


@dataclass
class _Whole:
    """What the header says of all layers."""

    table: ParameterTable = field(default_factory=ParameterTable)
    layers: int = 0
    vectors: int = 0
    low_mm: NDArray[np.float64] = field(default_factory=lambda: np.full(3, np.inf))
    high_mm: NDArray[np.float64] = field(default_factory=lambda: np.full(3, -np.inf))

    def numbered(self, source: Source) -> Iterator[_Numbered]:
        """The layers in order: ids are given as they first come."""
        for job_layer, extent_mm in source.checked():
            layer, path = job_layer.layer, job_layer.path
            self.low_mm = np.minimum(self.low_mm, [*extent_mm[:2], layer.z_mm - layer.thickness_mm])
            self.high_mm = np.maximum(self.high_mm, [*extent_mm[2:], layer.z_mm])
            self.layers += 1
            self.vectors += len(path)
            yield _Numbered(job_layer, extent_mm, self.table.number(path, f"layer {layer.index}"))


@dataclass(frozen=True)
class _Encoder:
    """A layer into bytes, whatever came before it."""

    form: Form
    unit_mm: float
    is_track: NDArray[np.bool_]

    def layer(self, numbered: _Numbered) -> tuple[list[bytes | memoryview], int]:
        """The layer's commands in pieces, and how many blocks they are. Raises ExportError."""
        layer, path, set_of = numbered.job_layer.layer, numbered.job_layer.path, numbered.set_of
        form, is_track, per_unit = self.form, self.is_track, 1.0 / self.unit_mm
        vectors_mm = np.ascontiguousarray(path.vectors_mm)
        longest = SHORT_MAX if form is Form.SHORT else HATCHES_MAX
        starts = block_starts(vectors_mm, per_unit, set_of, is_track, np.zeros(1), longest)
        blocks = len(starts) - 1
        z = layer.z_mm * per_unit
        if form is Form.ASCII:
            text = cli_text(vectors_mm, per_unit, starts, set_of, is_track)
            return [b"$$LAYER/%b\n" % decimals(z, 3), text.data], blocks
        if form is Form.LONG:
            words = cli_long(vectors_mm, per_unit, starts, set_of, is_track, POLYLINE_LONG, HATCHES_LONG)
            return [struct.pack("<Hf", LAYER_LONG, z), words.astype("<u2", copy=False).data], blocks
        tracks = np.diff(starts)[is_track[set_of[starts[:-1]]]] if len(path) else np.zeros(0)
        if layer.thickness_mm < self.unit_mm:
            raise ExportError(
                f"layer {layer.index} is {layer.thickness_mm:g} mm thick, and short CLI counts heights in whole units"
                f" of {self.unit_mm:g} mm: use the long form, or a smaller unit"
            )
        self._check_short(numbered.extent_mm, z, int(tracks.max(initial=0)) + 1, f"layer {layer.index}")
        words = cli_short(vectors_mm, per_unit, starts, set_of, is_track, POLYLINE_SHORT, HATCHES_SHORT)
        return [struct.pack("<HH", LAYER_SHORT, round(z)), words.astype("<u2", copy=False).data], blocks

    def _check_short(self, extent_mm: NDArray[np.float64], z: float, points: int, where: str) -> None:
        """Refuse what 16 bits without a sign cannot count."""
        units = np.rint(extent_mm[np.isfinite(extent_mm)] / self.unit_mm)
        low, high = float(units.min(initial=0.0)), max(float(units.max(initial=0.0)), round(z))
        if low < 0:
            raise ExportError(
                f"{where}: a coordinate of {low * self.unit_mm:g} mm is negative, and short CLI has no sign: use the"
                f" long form"
            )
        if high > SHORT_MAX:
            least_mm = math.ceil(high * self.unit_mm / SHORT_MAX * 1e4) / 1e4
            raise ExportError(
                f"{where}: {high * self.unit_mm:g} mm are {high:.0f} units of {self.unit_mm:g} mm, and short CLI counts"
                f" to {SHORT_MAX}: use the long form, or a unit of {least_mm:g} mm or more"
            )
        if points > SHORT_MAX:
            raise ExportError(
                f"{where}: a contour has {points} points, and short CLI counts to {SHORT_MAX}: use the long form"
            )


def _header(source: Source, form: Form, unit_mm: float, whole: _Whole) -> bytes:
    """Exactly HEADER_BYTES; a comment fills what the labels leave."""
    head = source.head
    data = _plain(f"job {head.name} recipe {head.recipe.name} moonkiln {source.software_version}")
    box = [float(value) if math.isfinite(value) else 0.0 for value in (*whole.low_mm, *whole.high_mm)]
    first = [
        b"$$HEADERSTART",
        b"$$ASCII" if form is Form.ASCII else b"$$BINARY",
        b"$$UNITS/" + decimals(unit_mm, 9),
        b"$$VERSION/200",
        b"$$DIMENSION/" + b",".join(decimals(value, 6) for value in box),
        b"$$LAYERS/%06d" % whole.layers,
        b"$$USERDATA/moonkiln,%d,%b" % (len(data), data),
        *(b"$$LABEL/%d,%b" % (s.number, _plain(s.label)) for s in whole.table.sets[:LABELS_MAX]),
    ]
    last = b"$$HEADEREND" + (b"\n$$GEOMETRYSTART\n" if form is Form.ASCII else b"")
    text = b"".join(line + b"\n" for line in first)
    room = HEADER_BYTES - len(text) - len(last)
    rows, rest = divmod(room, LABEL_BYTES_MAX)
    widths = [LABEL_BYTES_MAX + rest] + [LABEL_BYTES_MAX] * (rows - 1)
    padding = b"".join(b"//" + b" " * (width - 5) + b"//\n" for width in widths)
    return text + padding + last


def _plain(text: str) -> bytes:
    """Printable ASCII without what the format's own lines are made of."""
    clean = "".join(c if c.isascii() and c.isprintable() and c not in "$," else "_" for c in text)
    return clean.replace("//", "__").encode()[:LABEL_BYTES_MAX]

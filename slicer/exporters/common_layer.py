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
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from slicer.envelope import Envelope
from slicer.exporters.dialects import decimals
from slicer.exporters.parameters import ParameterTable, sidecar, write_sidecar
from slicer.exporters.source import ExportError, Source, Written, check
from slicer.job import JobLayer
from slicer.kernels.blocks import block_starts, cli_long, cli_short
from slicer.kernels.text import cli_text
from slicer.whole_file import whole_file

UNIT_MM = 0.001
UNIT_MM_MIN, UNIT_MM_MAX = 1e-6, 1.0
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
    waits = f"the {table.wait_s:g} s of waits before vectors are not in the file, CLI has no word for them"
    powers = f"power and speed of each id stand in {sidecar(path).name}"
    return Written(written.vectors, written.lines, (powers, waits) if table.wait_s else (powers,))


def stream_cli(
    source: Source, stream: BinaryIO, form: Form = Form.LONG, unit_mm: float = UNIT_MM
) -> tuple[Written, ParameterTable]:
    """The same into an open, seekable stream of bytes; the parameters are returned."""
    start = stream.tell()
    stream.write(b" " * HEADER_BYTES)
    writer = _Writer(form, unit_mm)
    for job_layer in source.layers:
        for piece in writer.layer(job_layer, source.head.envelope):
            stream.write(piece)
    if form is Form.ASCII:
        stream.write(b"$$GEOMETRYEND\n")
    end = stream.tell()
    header = _header(source, writer)
    stream.seek(start)
    stream.write(header)
    stream.seek(end)
    lines = header.count(b"\n") + writer.lines + 1 if form is Form.ASCII else 0
    return Written(writer.vectors, lines), writer.table


@dataclass
class _Writer:
    """Layers into bytes, and what the header will say of them."""

    form: Form
    unit_mm: float
    table: ParameterTable = field(default_factory=ParameterTable)
    layers: int = 0
    vectors: int = 0
    lines: int = 0
    low: NDArray[np.float64] = field(default_factory=lambda: np.full(3, np.inf))  # mm, of all vectors
    high: NDArray[np.float64] = field(default_factory=lambda: np.full(3, -np.inf))

    def layer(self, job_layer: JobLayer, envelope: Envelope) -> list[bytes | memoryview]:
        """The layer's commands. Raises JobError, ExportError."""
        layer, path = job_layer.layer, job_layer.path
        where, per_unit, form = f"layer {layer.index}", 1.0 / self.unit_mm, self.form
        extent_mm = check(job_layer, envelope)
        self.low = np.minimum(self.low, [*extent_mm[:2], layer.z_mm - layer.thickness_mm])
        self.high = np.maximum(self.high, [*extent_mm[2:], layer.z_mm])
        self.layers += 1
        self.vectors += len(path)
        set_of, is_track = self.table.number(path, where), self.table.is_track
        vectors_mm = np.ascontiguousarray(path.vectors_mm)
        longest = SHORT_MAX if form is Form.SHORT else HATCHES_MAX
        starts = block_starts(vectors_mm, per_unit, set_of, is_track, np.zeros(1), longest)
        self.lines += len(starts)
        z = layer.z_mm * per_unit
        if form is Form.ASCII:
            text = cli_text(vectors_mm, per_unit, starts, set_of, is_track)
            return [b"$$LAYER/%b\n" % decimals(z, 3), text.data]
        if form is Form.LONG:
            words = cli_long(vectors_mm, per_unit, starts, set_of, is_track, POLYLINE_LONG, HATCHES_LONG)
            return [struct.pack("<Hf", LAYER_LONG, z), words.astype("<u2", copy=False).data]
        tracks = np.diff(starts)[is_track[set_of[starts[:-1]]]] if len(path) else np.zeros(0)
        self._check_short(extent_mm, z, int(tracks.max(initial=0)) + 1, where)
        words = cli_short(vectors_mm, per_unit, starts, set_of, is_track, POLYLINE_SHORT, HATCHES_SHORT)
        return [struct.pack("<HH", LAYER_SHORT, round(z)), words.astype("<u2", copy=False).data]

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


def _header(source: Source, writer: _Writer) -> bytes:
    """Exactly HEADER_BYTES; a comment fills what the labels leave."""
    head, table = source.head, writer.table
    data = _plain(f"job {head.name} recipe {head.recipe.name} moonkiln {source.software_version}")
    box = [float(value) if math.isfinite(value) else 0.0 for value in (*writer.low, *writer.high)]
    first = [
        b"$$HEADERSTART",
        b"$$ASCII" if writer.form is Form.ASCII else b"$$BINARY",
        b"$$UNITS/" + decimals(writer.unit_mm, 9),
        b"$$VERSION/200",
        b"$$DIMENSION/" + b",".join(decimals(value, 6) for value in box),
        b"$$LAYERS/%06d" % writer.layers,
        b"$$USERDATA/moonkiln,%d,%b" % (len(data), data),
        *(b"$$LABEL/%d,%b" % (s.number, _plain(s.label)) for s in table.sets[:LABELS_MAX]),
    ]
    last = b"$$HEADEREND" + (b"\n$$GEOMETRYSTART\n" if writer.form is Form.ASCII else b"")
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

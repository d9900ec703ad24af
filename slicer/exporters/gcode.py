"""Scan paths as G-code: the only writer of scan moves. What `export` writes is what `print` streams, line for line.

A print speaks Marlin's laser build: `M4 I` makes S ride in the planner's blocks with power following the feed, `G0 ...
S0` jumps with the beam off, `G1 ... S` exposes one vector, `M5 I` ends it. Other controllers' words stand in
`slicer.exporters.dialects`. S is the fraction of the set-point that the beam head holds for the layer
(`LayerProgram.power_set_w`), so no line carries watts. No E, no Z: blade and piston hang on wires of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from slicer.envelope import Envelope
from slicer.exporters.dialects import MARLIN, Dialect
from slicer.exporters.source import ExportError, Source, Written
from slicer.job_layer import JobLayer, check_layer
from slicer.kernels.text import gcode_lines
from slicer.layers import Layer
from slicer.parallel import in_order, workers_here
from slicer.recipe import Recipe
from slicer.scan import KIND_HATCH, ScanPath
from slicer.whole_file import whole_file

__all__ = ["ExportError"]  # part of this module's promise, though other exporters share it

LINE_BYTES_MAX = MARLIN.line_bytes_max

DWELL_S_MAX = 60.0
POWER_PART = 0.05
"""A longer wait is told in several lines: a host that waits two minutes for an answer gives the controller up."""


@dataclass(frozen=True, eq=False)
class LayerProgram:
    """The lines of one layer and what they mean.

    Attributes:
        lines: one G-code line each, without line number, checksum and line end.
        block_of_line: (len(lines),) i4, the job vector that a line exposes, -1 for lines that expose none.
        power_set_w: the beam head's set-point for this layer; S `s_max` is this power. 0 where nothing is exposed.
    """

    lines: list[bytes]
    block_of_line: NDArray[np.int32]
    power_set_w: float


@dataclass(frozen=True, eq=False)
class LayerText:
    """The same as `LayerProgram`, in one piece: `text` (bytes,) u1 holds the lines, each with its newline."""

    text: NDArray[np.uint8]
    block_of_line: NDArray[np.int32]
    power_set_w: float


def job_header() -> list[bytes]:
    """Sent once before the first layer: millimetres, absolute positions, beam off."""
    return [line.encode() for line in MARLIN.job_header]


def layer_header() -> list[bytes]:
    """Sent before a layer's moves: dynamic inline power, starting from none."""
    return list(MARLIN.layer_header)


def layer_footer() -> list[bytes]:
    """Sent after a layer's moves: beam off and inline mode left, then wait until the machine stands still."""
    return list(MARLIN.layer_footer)


def layer_program(job_layer: JobLayer, envelope: Envelope, dialect: Dialect = MARLIN) -> LayerProgram:
    """The G-code of one layer as lines to stream; see `layer_text`."""
    whole = layer_text(job_layer, envelope, dialect)
    lines = whole.text.tobytes().split(b"\n")
    lines.pop()  # what follows the last newline
    return LayerProgram(lines, whole.block_of_line, whole.power_set_w)


def layer_text(job_layer: JobLayer, envelope: Envelope, dialect: Dialect = MARLIN) -> LayerText:
    """The G-code of one layer, one `G1` for each vector in order.

    After the last vector the beam goes back to where that began, with S0: a controller whose planner runs dry leaves
    the power of its last move on until it has read the next line, and that move must not be an exposing one. The same
    way back, and forth again, stands before a vector that waits though it begins where the one before it ended.

    Positions are rounded to 0.001 mm. A vector that starts where the beam already is gets no jump, unless it waits;
    the first one always does, since nobody knows where the beam was. S = round(s_max x P / P_set), P_set the layer's
    largest power. A wait is `G4` after the jump, with the beam off.

    Raises:
        JobError: the layer leaves the envelope (`slicer.job_layer.check_layer`).
        ExportError: a vector's power is so far under the layer's largest that its S would be 0; it belongs to another
            head; or it asks for a shift of the focus.
    """
    path, index = job_layer.path, job_layer.layer.index
    check_layer(job_layer, envelope, f"layer {index}")
    head, foot = _lines(dialect.layer_header), _lines(dialect.layer_footer)
    before, after = len(dialect.layer_header), len(dialect.layer_footer)
    if not len(path):
        return LayerText(np.concatenate([head, foot]), np.full(before + after, -1, np.int32), 0.0)
    _check_one_head(path, index)

    power_set_w = float(path.power_w.max())
    jump_mm_s = min(job_layer.jump_speed_mm_s or envelope.speed_mm_s_max, envelope.speed_mm_s_max)
    tail_of, tails, lights = _tails(path, power_set_w, envelope.s_max, dialect, index)
    dwell_of, dwells = _dwells(path.wait_s, dialect)
    moves, blocks = gcode_lines(
        np.ascontiguousarray(path.vectors_mm),
        tail_of,
        *_table(tails),
        *_table(lights),
        _lines((dialect.dark_line,) if dialect.dark_line else ()),
        _bytes(dialect.jump_tail(jump_mm_s)),
        dwell_of,
        *_table(dwells),
    )
    block_of_line = np.full(before + len(blocks) + after, -1, np.int32)
    block_of_line[before : before + len(blocks)] = blocks
    return LayerText(np.concatenate([head, moves, foot]), block_of_line, power_set_w)


def warm_up() -> None:
    """Load the kernels from their cache, or compile them once, so that no print under way waits for that.

    Seconds without a cache, some tenths of one with it.
    """
    plate = Envelope(10.0, 10.0, 10.0, 1.0, 1.0, 1.0)
    flat = Layer(0, 1.0, 1.0, np.zeros((0, 2)), np.zeros(1, np.int64))
    layer_text(JobLayer(flat, ScanPath.uniform(np.array([[0.0, 0.0, 1.0, 0.0]]), KIND_HATCH, 1.0, 1.0)), plate)


def write_gcode_layers(source: Source, path: str | Path, dialect: Dialect = MARLIN) -> Written:
    """Write layers as they come, of a job or of a plan, as one file; comments stand on lines of their own.

    In Marlin's dialect, the lines that are no comments are exactly those a print streams.
    Raises JobError, ExportError, OSError.
    """
    with whole_file(path) as stream:
        return stream_gcode(source, stream, dialect)


def stream_gcode(source: Source, stream: BinaryIO, dialect: Dialect = MARLIN) -> Written:
    """The same into an open stream of bytes."""
    head, envelope = source.head, source.head.envelope
    lines = vectors = 0
    power_off = 0.0
    count = f", {source.vector_count} vectors" if source.vector_count is not None else ""

    def put(texts: Iterable[bytes]) -> None:
        nonlocal lines
        for text in texts:
            lines += 1
            stream.write(text + b"\n")

    put(
        [
            _comment(f"{head.name}: {source.layer_count} layers{count}", dialect),
            _comment(f"recipe {head.recipe.name}, sliced by moonkiln {source.software_version}", dialect),
        ]
    )
    if dialect is MARLIN:
        put([b"; No line moves blade or piston: where a comment says so, lay the layer's powder"])
    else:
        put([_comment(f"for {dialect.title}; full power is S{envelope.s_max}", dialect)])
        put([b"; No line moves blade or piston: at each %b, lay the layer's powder" % dialect.pause])
    put([b"; and give the beam head its set-point.", *dialect.opening(envelope)])

    def told(job_layer: JobLayer) -> tuple[JobLayer, LayerText]:
        return job_layer, layer_text(job_layer, envelope, dialect)

    for number, (job_layer, whole) in enumerate(in_order(told, source.layers, workers_here()), start=1):
        put(
            [
                b"; layer %d of %d: powder up to z %.3f mm, beam set-point %.1f W"
                % (number, source.layer_count, job_layer.layer.z_mm, whole.power_set_w)
            ]
        )
        if dialect.pause:
            put([dialect.pause])
        stream.write(whole.text.data)
        lines += len(whole.block_of_line)
        vectors += len(job_layer.path)
        power_off = max(power_off, _power_off(job_layer.path, envelope.s_max))
    put(dialect.job_footer)
    return Written(vectors, lines, _notes(head.recipe, dialect, envelope.s_max, power_off))


def _notes(recipe: Recipe, dialect: Dialect, s_max: int, power_off: float) -> tuple[str, ...]:
    """What the job says and this dialect has no word for."""
    notes, strategy = [], recipe.strategy
    if strategy.order == "return_time" and not dialect.says_feed_in_jumps:
        notes.append(
            f"the return time of {strategy.return_time_s:g} s was planned with jumps of {recipe.jump_speed_mm_s:g}"
            f" mm/s; {dialect.title} jumps as fast as its axes may, and comes back a little sooner"
        )
    if power_off > POWER_PART:
        notes.append(f"S0 to S{s_max} are too few steps for the job's powers: one is off by {power_off:.0%}")
    return tuple(notes)


def _power_off(path: ScanPath, s_max: int) -> float:
    """The largest part by which a power is not what its S word says."""
    if not len(path):
        return 0.0
    in_steps = s_max * path.power_w / path.power_w.max()
    return float(np.abs(np.rint(in_steps) / in_steps - 1.0).max())


# ---- texts for the kernel


def _tails(
    path: ScanPath, power_set_w: float, s_max: int, dialect: Dialect, index: int
) -> tuple[NDArray[np.int64], list[bytes], list[bytes]]:
    """Which ending each vector's line has, those endings, and the lines that set the power before them."""
    s_words = np.rint(s_max * path.power_w / power_set_w).astype(np.int64)
    if s_words.min() < 1:
        raise ExportError(
            f"layer {index}: a vector of {path.power_w.min():g} W beside one of {power_set_w:g} W is under S1 of"
            f" S{s_max} and would not be exposed: bring the powers of a layer closer together"
        )
    # one whole number for each (feed in 0.001 mm/min, S), so that a layer of a million vectors is sorted, not compared
    keys = np.rint(path.speed_mm_s * 60_000.0).astype(np.int64) * 65_536 + s_words
    if (keys == keys[0]).all():
        first, tail_of = np.zeros(1, np.int64), np.zeros(len(path), np.int64)
    else:
        _, first, tail_of = np.unique(keys, return_index=True, return_inverse=True)
    pairs = list(zip(path.speed_mm_s[first].tolist(), s_words[first].tolist(), strict=True))
    tails = [dialect.exposing_tail(speed_mm_s, s_word) for speed_mm_s, s_word in pairs]
    if dialect.power_line is None:
        return tail_of, tails, [b""] * len(tails)
    return tail_of, tails, [dialect.power_line(s_word / s_max) + b"\n" for _, s_word in pairs]


def _dwells(wait_s: NDArray[np.float64], dialect: Dialect) -> tuple[NDArray[np.int64], list[bytes]]:
    """Which wait comes before each vector, -1 none, and the waits as lines; an empty array where nobody waits.

    A wait is told in whole milliseconds, rounded up: it is a promise of at least so long.
    """
    if wait_s.strides == (0,) or not wait_s.any():
        return np.zeros(0, np.int64), []
    milliseconds = np.ceil(wait_s * 1000.0 - 1e-6).astype(np.int64)
    different, dwell_of = np.unique(milliseconds, return_inverse=True)
    texts = []
    for wait_ms in different.tolist():
        full, rest = divmod(wait_ms, round(DWELL_S_MAX * 1000))
        parts = [DWELL_S_MAX] * full + ([rest / 1000.0] if rest else [])
        texts.append(b"".join(dialect.dwell(part_s) + b"\n" for part_s in parts))
    return np.where(milliseconds > 0, dwell_of, -1), texts


def _check_one_head(path: ScanPath, index: int) -> None:
    if path.beam.any():
        raise ExportError(
            f"layer {index}: head {int(path.beam.max())} exposes a vector, and G-code tells of head 0 alone: export the"
            f" heads one by one (--beam 0, --beam 1 ...)"
        )
    if path.focus_mm.any():
        shift_mm = float(path.focus_mm[np.abs(path.focus_mm).argmax()])
        raise ExportError(
            f"layer {index}: a vector's focus is shifted by {shift_mm:g} mm, and this G-code has no word for that:"
            f" slice the part with focus_mm = 0, or export to OVF"
        )


def _table(texts: list[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=starts[1:])
    return _bytes(b"".join(texts)), starts


def _lines(texts: tuple[bytes, ...]) -> NDArray[np.uint8]:
    return _bytes(b"".join(text + b"\n" for text in texts))


def _bytes(text: bytes) -> NDArray[np.uint8]:
    return np.array(bytearray(text), np.uint8)  # a copy: what numba is given can be written to


def _comment(text: str, dialect: Dialect) -> bytes:
    """A comment line: one printable ASCII line, whatever the part is called."""
    return b"; " + text.encode("ascii", "replace").translate(None, b"\r\n")[: dialect.line_bytes_max - 2]

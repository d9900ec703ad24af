"""Scan paths as G-code: the only writer of scan moves. What `export` writes is what `print` streams, line for line.

The dialect is Marlin's laser build: `M4 I` makes S ride in the planner's blocks with power following the feed, `G0 ...
S0` jumps with the beam off, `G1 ... S` exposes one vector, `M5 I` ends it. S is the fraction of the set-point that the
beam head holds for the layer (`LayerProgram.power_set_w`), so no line carries watts. No E, no Z: blade and piston hang
on wires of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slicer.envelope import Envelope
from slicer.errors import SlicerError
from slicer.job import Job, JobLayer, check_layer
from slicer.whole_file import whole_file

LINE_BYTES_MAX = 90  # Marlin's MAX_CMD_SIZE is 96, and a line number and checksum come on top


class ExportError(SlicerError):
    """A layer that cannot be told in G-code."""


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


def job_header() -> list[bytes]:
    """Sent once before the first layer: millimetres, absolute positions, beam off."""
    return [b"G21", b"G90", b"M5 I"]


def layer_header() -> list[bytes]:
    """Sent before a layer's moves: dynamic inline power, starting from none."""
    return [b"M4 I S0"]


def layer_footer() -> list[bytes]:
    """Sent after a layer's moves: beam off and inline mode left, then wait until the machine stands still."""
    return [b"M5 I", b"M400"]


def layer_blocks(job_layer: JobLayer, envelope: Envelope) -> list[bytes]:
    """The lines of one layer; see `layer_program`."""
    return layer_program(job_layer, envelope).lines


def layer_program(job_layer: JobLayer, envelope: Envelope) -> LayerProgram:
    """The G-code of one layer, one `G1` for each vector in order.

    After the last vector the beam goes back to where that began, with S0: a controller whose planner runs dry leaves
    the power of its last move on until it has read the next line, and that move must not be an exposing one.

    Positions are rounded to 0.001 mm. A vector that starts where the beam already is gets no jump; the first one
    always does, since nobody knows where the beam was. S = round(s_max x P / P_set), P_set the layer's largest power.

    Raises:
        JobError: the layer leaves the envelope (`slicer.job.check_layer`).
        ExportError: a vector's power is so far under the layer's largest that its S would be 0.
    """
    path, index = job_layer.path, job_layer.layer.index
    check_layer(job_layer, envelope, f"layer {index}")
    head, foot = layer_header(), layer_footer()
    n = len(path)
    if not n:
        return LayerProgram([*head, *foot], np.full(len(head) + len(foot), -1, np.int32), 0.0)

    power_set_w = float(path.power_w.max())
    s_words = np.rint(envelope.s_max * path.power_w / power_set_w).astype(np.int64)
    if (s_words < 1).any():
        raise ExportError(
            f"layer {index}: a vector of {path.power_w.min():g} W beside one of {power_set_w:g} W is under S1 of"
            f" S{envelope.s_max} and would not be exposed: bring the powers of a layer closer together"
        )
    grid = np.rint(path.vectors_mm * 1000.0).astype(np.int64)
    jumps = np.ones(n, bool)
    jumps[1:] = (grid[1:, :2] != grid[:-1, 2:]).any(axis=1)

    jump_mm_s = min(job_layer.jump_speed_mm_s or envelope.speed_mm_s_max, envelope.speed_mm_s_max)
    jump_lines = _moves(b"G0", grid[jumps, :2], [b" F%b S0" % _feed(jump_mm_s)], np.zeros(int(jumps.sum()), np.int64))
    tails, tail_of_vector = _exposure_tails(path.speed_mm_s, s_words)
    vector_lines = _moves(b"G1", grid[:, 2:], tails, tail_of_vector)

    # a vector's line stands behind all vectors before it and all jumps up to its own
    place = np.arange(n) + np.cumsum(jumps)
    retreat = _moves(b"G0", grid[-1:, :2], [b" F%b S0" % _feed(jump_mm_s)], np.zeros(1, np.int64))
    block_of_line = np.full(len(head) + n + len(jump_lines) + len(retreat) + len(foot), -1, np.int32)
    block_of_line[len(head) + place] = np.arange(n, dtype=np.int32)
    lines: list[bytes] = [b""] * (n + len(jump_lines))
    for where, line in zip(place.tolist(), vector_lines, strict=True):
        lines[where] = line
    for where, line in zip((place[jumps] - 1).tolist(), jump_lines, strict=True):
        lines[where] = line
    return LayerProgram([*head, *lines, *retreat, *foot], block_of_line, power_set_w)


def write_gcode(job: Job, path: str | Path) -> int:
    """Write a whole job as one file and return its number of lines; comments stand on lines of their own.

    The lines that are no comments are exactly those a print streams. Raises JobError, ExportError, OSError.
    """
    count = 0
    with whole_file(path) as stream:

        def put(lines: list[bytes]) -> None:
            nonlocal count
            count += len(lines)
            stream.write(b"\n".join(lines) + b"\n")

        manifest = job.manifest
        put(
            [
                _comment(f"{manifest.name}: {manifest.layer_count} layers, {manifest.vector_count} vectors"),
                _comment(f"recipe {manifest.recipe_name}, sliced by moonkiln {manifest.software_version}"),
                b"; No line moves blade or piston: where a comment says so, lay the layer's powder",
                b"; and give the beam head its set-point.",
                *job_header(),
            ]
        )
        for index in range(manifest.layer_count):
            job_layer = job.layer(index)
            program = layer_program(job_layer, job.envelope)
            put(
                [
                    b"; layer %d of %d: powder up to z %.3f mm, beam set-point %.1f W"
                    % (index + 1, manifest.layer_count, job_layer.layer.z_mm, program.power_set_w),
                    *program.lines,
                ]
            )
    return count


def _exposure_tails(
    speed_mm_s: NDArray[np.float64], s_words: NDArray[np.int64]
) -> tuple[list[bytes], NDArray[np.int64]]:
    """The ` F.. S..` ends of vector lines: the few that differ, and which one each vector has."""
    pairs, which = np.unique(np.stack([speed_mm_s, s_words.astype(np.float64)], axis=1), axis=0, return_inverse=True)
    return [b" F%b S%d" % (_feed(speed), int(s)) for speed, s in pairs.tolist()], which.reshape(-1)


def _feed(speed_mm_s: float) -> bytes:
    """mm/s as Marlin's mm/min, three decimals at most and no idle zeros."""
    return b"%b" % f"{speed_mm_s * 60.0:.3f}".rstrip("0").rstrip(".").encode()


def _moves(word: bytes, grid: NDArray[np.int64], tails: list[bytes], tail_of: NDArray[np.int64]) -> list[bytes]:
    """One line for each row of whole micrometres, (n, 2) i8: digits by integer arithmetic, text by one C-speed map."""
    millimetres, thousandths = np.divmod(grid, 1000)
    return list(
        map(
            (word + b" X%d.%03d Y%d.%03d%b").__mod__,
            zip(
                millimetres[:, 0].tolist(),
                thousandths[:, 0].tolist(),
                millimetres[:, 1].tolist(),
                thousandths[:, 1].tolist(),
                [tails[t] for t in tail_of.tolist()],
                strict=True,
            ),
        )
    )


def _comment(text: str) -> bytes:
    """A comment line: one printable ASCII line, whatever the part is called."""
    return b"; " + text.encode("ascii", "replace").translate(None, b"\r\n")[: LINE_BYTES_MAX - 2]

"""Where an interrupted layer goes on: the journal's word reconciled with the machine's position.

Marlin tells neither which lines it has carried out nor that it was booted. An `ok` means that a line was taken into
the planner, which holds up to 16 blocks; a host that died may have sent up to one journalled group more. So the lines
in doubt begin 16 before the newest acknowledgement on disk, and end at the last line whose end point is where the
machine came to rest, or, where no line ends there, at the last line that may have been sent.

Where the machine stands is no evidence after a trip, whose sudden stop drops planned moves and may lose steps, nor at
0, 0, which is also what a board says that was restarted, nor where a board says that it is lost: then it is homed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from control.journal import PLANNED_BLOCKS, LayerRecord
from slicer.envelope import Envelope
from slicer.exporters.gcode import LayerProgram, layer_program
from slicer.job_layer import JobLayer

_MOVE = re.compile(rb"G[01] X(-?[\d.]+) Y(-?[\d.]+)")


@dataclass(frozen=True)
class ResumePoint:
    """Where a layer goes on. Blocks `first_block`..`last_block` may have been exposed already and are declared."""

    layer: int
    first_block: int
    last_block: int  # below first_block: nothing can have been exposed twice
    position_known: bool


def tail(job_layer: JobLayer, first_block: int) -> JobLayer:
    """A layer with only its vectors from `first_block` on."""
    return replace(job_layer, path=job_layer.path.chosen(slice(first_block, None)))


def block_at(program: LayerProgram, line: int) -> int:
    """The block that `line` exposes or leads to; the number of blocks when none follows."""
    later = program.block_of_line[line:]
    found = later[later >= 0]
    return int(found[0]) if len(found) else int(program.block_of_line.max(initial=-1)) + 1


def line_ends_mm(program: LayerProgram) -> NDArray[np.float64]:
    """Where the head is after each line, x and y: (lines, 2) f8; NaN before the first move.

    Read from the lines themselves; one that is no move ends where the line before it did.
    """
    ends = np.full((len(program.lines), 2), np.nan)
    here = np.full(2, np.nan)
    for line, text in enumerate(program.lines):
        move = _MOVE.match(text)
        if move:
            here = np.array([float(move[1]), float(move[2])])
        ends[line] = here
    return ends


def line_end_mm(program: LayerProgram, line: int) -> NDArray[np.float64]:
    """Where the head is after one line: (2,) f8, that of `line_ends_mm`; as quick as the last move is near."""
    for text in reversed(program.lines[: line + 1]):
        move = _MOVE.match(text)
        if move:
            return np.array([float(move[1]), float(move[2])])
    return np.full(2, np.nan)


def resume_point(
    record: LayerRecord,
    job_layer: JobLayer,
    envelope: Envelope,
    position_mm: tuple[float, float] | None,
    tolerance_mm: float,
    planned_moves: int = PLANNED_BLOCKS,
) -> ResumePoint:
    """The point at which `record`'s layer goes on, with the machine at rest at `position_mm`.

    Args:
        record: the newest attempt at the layer, as the journal has it.
        job_layer: the whole layer.
        envelope: the job's.
        position_mm: x, y that the controller reports after its motion ended; None where it says that it is lost.
        tolerance_mm: how near an end point counts as reached.
        planned_moves: lines that the controller may have acknowledged and not carried out.
    """
    base = record.base_block
    if record.sent_line < 0 or base >= len(job_layer.path):
        return ResumePoint(record.layer, base, base - 1, False)
    rest = tail(job_layer, base)
    program = layer_program(rest, envelope)
    count = len(program.lines)
    # The program ends with M400: once that is answered, nothing before it is in doubt for the planner's sake.
    planned = count if record.acked_line >= count - 1 else max(0, record.acked_line + 1 - planned_moves)
    first_line = planned if record.doubt_from is None else min(planned, record.doubt_from)
    sent_line = min(record.sent_line, count - 1)
    ends = line_ends_mm(program)
    at_mm = position_mm or (0.0, 0.0)
    off = np.abs(ends - np.asarray(at_mm)).max(axis=1)
    is_evidence = record.doubt_from is None and max(map(abs, at_mm)) > tolerance_mm
    candidates = range(max(0, first_line - 1), sent_line + 1) if is_evidence else ()
    reached = [line for line in candidates if off[line] <= tolerance_mm]
    last_line = reached[-1] if reached else sent_line
    first_block = block_at(program, first_line)
    exposed = program.block_of_line[first_line : last_line + 1]
    last_block = int(exposed.max(initial=first_block - 1))
    # A session that saw its beam fail, or was stopped, has dropped its plan by a sudden stop, which may cost steps.
    position_known = bool(reached) and record.doubt_from is None
    return ResumePoint(record.layer, base + first_block, base + last_block, position_known)

"""What the preview page holds of a layer: columns of numbers, packed for a browser's typed arrays.

For n vectors, p outline points and l loops, little-endian, one after the other:

    vectors   4n  u16   start x, start y, end x, end y: 0 to 65535 over the page's square view
    points    2p  u16   the outline's corners, likewise
    starts    l+1 u32   loop i is points starts[i] to starts[i + 1]
    begin     n   u32   when the vector begins: 0 to 4294967295 over the layer's time
    lasting   n   u16   how long it lasts: 0 to 65535 over the longest of the layer
    back      n   u16   return time: decades above BACK_LEAST_S by 1/BACK_STEPS, NEVER if none
    kind, power, speed, beam   n u8 each: kind and head as they are, power and speed as places in the layer's lists
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slicer.envelope import Envelope
from slicer.job_layer import JobLayer
from slicer.kernels.motion import LINE_VECTOR
from slicer.motion_time import path_program, program_time
from slicer.scan import ScanPath

Floats = NDArray[np.float64]

NEVER = 65535
BACK_LEAST_S, BACK_STEPS = 1e-4, 5000
"""Return times from 0.1 ms to 13 decades above it, by 1/5000 of a decade (0.05 %)."""

LEVELS_MAX = 256
"""Distinct powers or speeds that a layer's list holds; more are rounded to as many even levels."""


@dataclass(frozen=True, slots=True)
class PageView:
    """The square that the page's 16 bits span: its corner and side, mm."""

    x_mm: float
    y_mm: float
    span_mm: float

    @property
    def step_mm(self) -> float:
        """Distance of neighbouring numbers; a position is wrong by half of it at most."""
        return self.span_mm / 65535.0


def pack_layer(
    job_layer: JobLayer, view: PageView, times_s: tuple[Floats, Floats], return_time_s: Floats
) -> dict[str, Any]:
    """One layer as the page takes it: `data` (base64 of the columns above) and what is needed to read them.

    Args:
        times_s: begin and end of each vector, (n,) f8 each, as `vector_times_s` gives them.
        return_time_s: (n,) f8, inf for never.
    """
    layer, path = job_layer.layer, job_layer.path
    begin_s, end_s = times_s
    layer_s = float(end_s.max(initial=0.0))
    lasting_s = end_s - begin_s
    longest_s = float(lasting_s.max(initial=0.0))
    powers_w, power = _levels(path.power_w)
    speeds_mm_s, speed = _levels(path.speed_mm_s)

    def places(points_mm: Floats) -> bytes:
        scaled = (points_mm.reshape(-1, 2) - (view.x_mm, view.y_mm)) / view.step_mm
        return np.rint(np.clip(scaled, 0, 65535)).astype("<u2").tobytes()

    columns = [
        places(path.vectors_mm),
        places(layer.points_mm),
        layer.loop_starts.astype("<u4").tobytes(),
        _scaled(begin_s, layer_s, 2**32 - 1).astype("<u4").tobytes(),
        _scaled(lasting_s, longest_s, 65535).astype("<u2").tobytes(),
        _decades(return_time_s).astype("<u2").tobytes(),
        *(np.ascontiguousarray(column, np.uint8).tobytes() for column in (path.kind, power, speed, path.beam)),
    ]
    return {
        "vectors": len(path),
        "points": len(layer.points_mm),
        "loops": len(layer.loop_starts) - 1,
        "layer_s": layer_s,
        "longest_s": longest_s,
        "powers_w": powers_w,
        "speeds_mm_s": speeds_mm_s,
        "data": base64.b64encode(b"".join(columns)).decode(),
    }


def vector_times_s(path: ScanPath, envelope: Envelope, jump_speed_mm_s: float | None = None) -> tuple[Floats, Floats]:
    """When each vector begins and ends, (n,) f8 each, seconds from the first vector's wait or start: accelerations,
    jumps and waits as `slicer.motion_time` counts them, heads beside each other, each from its own first vector on.

    Raises:
        ScanError: a path that nobody can say the time of.
    """
    begin_s, end_s = np.zeros(len(path)), np.zeros(len(path))
    for head in np.unique(path.beam):
        rows = np.flatnonzero(path.beam == head)
        begin_s[rows], end_s[rows] = _head_times_s(path.chosen(rows), envelope, jump_speed_mm_s)
    return begin_s, end_s


def _head_times_s(path: ScanPath, envelope: Envelope, jump_speed_mm_s: float | None) -> tuple[Floats, Floats]:
    """The times of one head's vectors, from its program without head, way back and foot, as `path_time` runs it."""
    program = path_program(path, envelope, jump_speed_mm_s, is_sized=False)
    program = program.part(len(program) - 3)
    spans_s = np.zeros((2, len(program)))
    from_mm = (float(program.end_mm[1, 0]), float(program.end_mm[1, 1]))
    program_time(program, from_mm, envelope, spans_s=spans_s)
    vectors = program.kind == LINE_VECTOR
    assert int(vectors.sum()) == len(path), "a program has a line for every vector"
    began_s = spans_s[0, 2]  # after the head and the way to the first vector, which has no length here
    return spans_s[0, vectors] - began_s, spans_s[1, vectors] - began_s


def _levels(values: Floats) -> tuple[list[float], NDArray[np.uint8]]:
    """The distinct values, and each value's place among them; too many become even levels between least and most."""
    levels, places = np.unique(values, return_inverse=True)
    if len(levels) > LEVELS_MAX:
        levels = np.linspace(levels[0], levels[-1], LEVELS_MAX)
        places = np.rint((values - levels[0]) / (levels[1] - levels[0]))
    return levels.tolist(), places.astype(np.uint8)


def _scaled(values: Floats, most: float, steps: int) -> Floats:
    return np.rint(np.clip(values / most, 0.0, 1.0) * steps) if most > 0.0 else np.zeros(len(values))


def _decades(return_time_s: Floats) -> Floats:
    finite = np.isfinite(return_time_s)
    decades = np.log10(np.maximum(np.where(finite, return_time_s, 1.0), BACK_LEAST_S) / BACK_LEAST_S)
    return np.where(finite, np.rint(np.minimum(decades * BACK_STEPS, NEVER - 1)), NEVER)

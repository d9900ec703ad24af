"""A layer of a job, and the check that every layer passes before it is written and after it is read."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slicer.envelope import Envelope
from slicer.errors import SlicerError
from slicer.kernels.checking import vectors_fit
from slicer.layers import Layer
from slicer.scan import KINDS, ScanPath, read_only

VECTOR_ARRAYS = tuple(f.name for f in fields(ScanPath))
WAIT_S_MAX, FOCUS_MM_MAX, BEAMS_MAX = 3600.0, 100.0, 16
REACH_TOLERANCE_MM = 5e-4  # half the last digit that a G-code line carries


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


def arrays_of(job_layer: JobLayer) -> dict[str, NDArray[Any]]:
    """The arrays of its outline and of its path, by the names that they have in a job file."""
    layer, path = job_layer.layer, job_layer.path
    outline = {"points_mm": layer.points_mm, "loop_starts": layer.loop_starts}
    return outline | {name: getattr(path, name) for name in VECTOR_ARRAYS}


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
    for name, array in ({"points_mm": layer.points_mm} if sound else arrays_of(job_layer)).items():
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

"""ScanPath: what the beam does in one layer, vector by vector, with its length, time and energy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from slicer.errors import ScanError
from slicer.hatching import HATCHES, HatchSettings
from slicer.layers import Layer
from slicer.offsets import offset_each, thinned
from slicer.ordering import trace_loops

KIND_HATCH, KIND_CONTOUR, KIND_UP_SKIN, KIND_DOWN_SKIN, KIND_THIN = range(5)
KINDS = ("hatch", "contour", "up-skin", "down-skin", "thin wall")
"""What the numbers mean: up- and down-skin are hatches of what is open above or hangs over powder, a thin wall is a
single track in what is narrower than the beam's way around it."""

TRACK_PART = 0.01
"""How far a contour may pass from its exact offset, in spots: a controller need not be fed what no beam can draw."""


@dataclass(frozen=True, eq=False)
class ScanPath:
    """Scan vectors of one layer in exposure order.

    Attributes:
        vectors_mm: (n, 4) f8, x and y of the start, x and y of the end.
        kind: (n,) u1, one of the `KIND_` numbers.
        power_w: (n,) f8, beam power along each vector.
        speed_mm_s: (n,) f8, speed of the beam along each vector.
        focus_mm: (n,) f8, how far the focus is shifted along the beam, positive upwards; zeros if left out.
        wait_s: (n,) f8, how long the beam stays off at the vector's start before it; zeros if left out.
        beam: (n,) u1, number of the head that exposes it; zeros if left out.
    """

    vectors_mm: NDArray[np.float64]
    kind: NDArray[np.uint8]
    power_w: NDArray[np.float64]
    speed_mm_s: NDArray[np.float64]
    focus_mm: NDArray[np.float64] = None  # type: ignore[assignment]  # filled below
    wait_s: NDArray[np.float64] = None  # type: ignore[assignment]
    beam: NDArray[np.uint8] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        n = len(self.vectors_mm)
        assert self.vectors_mm.shape == (n, 4), f"vectors_mm is {self.vectors_mm.shape}, not (n, 4)"
        for name, dtype in (("focus_mm", np.float64), ("wait_s", np.float64), ("beam", np.uint8)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, _zeros(n, dtype))
        for column in fields(self)[1:]:
            shape = getattr(self, column.name).shape
            assert shape == (n,), f"{column.name} is {shape}, not ({n},)"

    def __len__(self) -> int:
        return len(self.vectors_mm)

    @staticmethod
    def empty() -> ScanPath:
        """A path without a vector."""
        return ScanPath(np.zeros((0, 4)), np.zeros(0, np.uint8), np.zeros(0), np.zeros(0))

    @staticmethod
    def uniform(
        vectors_mm: NDArray[np.float64], kind: int, power_w: float, speed_mm_s: float, focus_mm: float = 0.0
    ) -> ScanPath:
        """Vectors that share one kind, power, speed and focus."""
        n = len(vectors_mm)
        focus = np.full(n, focus_mm) if focus_mm else None
        return ScanPath(vectors_mm, np.full(n, kind, np.uint8), np.full(n, power_w), np.full(n, speed_mm_s), focus)  # type: ignore[arg-type]

    @staticmethod
    def concat(paths: Iterable[ScanPath]) -> ScanPath:
        """The paths one after the other."""
        parts = [path for path in paths if len(path)]
        if not parts:
            return ScanPath.empty()
        if len(parts) == 1:
            return parts[0]
        columns = [[getattr(part, column.name) for part in parts] for column in fields(ScanPath)]
        return ScanPath(*(_joined(column) for column in columns))

    def chosen(self, rows: slice | NDArray[np.bool_] | NDArray[np.integer]) -> ScanPath:
        """Only some of the vectors, as rows of numpy are chosen."""
        return ScanPath(*(getattr(self, column.name)[rows] for column in fields(self)))

    def of_kind(self, kind: int) -> ScanPath:
        """Only the vectors of one kind, in the same order."""
        return self.chosen(self.kind == kind)

    @property
    def lengths_mm(self) -> NDArray[np.float64]:
        """(n,) f8, the length of each vector."""
        return np.hypot(self.vectors_mm[:, 2] - self.vectors_mm[:, 0], self.vectors_mm[:, 3] - self.vectors_mm[:, 1])

    @property
    def length_mm(self) -> float:
        """The exposed length."""
        return float(self.lengths_mm.sum())

    @property
    def jump_length_mm(self) -> float:
        """The way between the end of each vector and the start of the next, beam off."""
        gap = self.vectors_mm[1:, :2] - self.vectors_mm[:-1, 2:]
        return float(np.hypot(gap[:, 0], gap[:, 1]).sum())

    @property
    def exposure_time_s(self) -> float:
        """Beam-on time at the planned speeds: sum of length / speed, without accelerations, jumps and waits."""
        return float((self.lengths_mm / self.speed_mm_s).sum())

    @property
    def energy_j(self) -> float:
        """Beam energy: sum of power x length / speed."""
        return float((self.power_w * self.lengths_mm / self.speed_mm_s).sum())


def _zeros(n: int, dtype: type) -> NDArray[Any]:
    """n zeros that take no memory and cannot be written to: nearly every path has only zeros there."""
    return np.broadcast_to(dtype(0), (n,))


def _joined(columns: list[NDArray[Any]]) -> NDArray[Any]:
    if all(column.strides == (0,) and not column[0] for column in columns):
        return _zeros(sum(map(len, columns)), columns[0].dtype.type)
    return np.concatenate(columns)


class FillParameters(Protocol):
    """What filling a layer needs to know; a Recipe is one."""

    @property
    def spot_mm(self) -> float: ...
    @property
    def power_w(self) -> float: ...
    @property
    def scan_speed_mm_s(self) -> float: ...
    @property
    def hatch_spacing_mm(self) -> float | None: ...
    @property
    def hatch_rotation_deg(self) -> float: ...
    @property
    def contours(self) -> int: ...
    @property
    def contour_power_w(self) -> float: ...
    @property
    def contour_speed_mm_s(self) -> float: ...


class Plate(Protocol):
    """The plane that a beam can reach, from (0, 0); an Envelope is one."""

    @property
    def x_mm(self) -> float: ...
    @property
    def y_mm(self) -> float: ...


def track_distances_mm(parameters: FillParameters) -> tuple[list[float], float | None]:
    """How far inside the outline the contours run, and where the hatch begins (None: no hatch), in mm.

    The outermost contour runs half a spot inside, so that the beam touches the outline. Every track owns a strip one
    hatch spacing wide with itself in the middle; the hatch begins where the strip of the last contour ends, so that no
    strip covers another (and all together the layer, where the spacing is the spot). Without hatch spacing there is one
    contour, the centre line of a beam as wide as the spot.
    """
    edge = 0.5 * parameters.spot_mm
    spacing = parameters.hatch_spacing_mm
    if spacing is None:
        return [edge], None
    contours = [edge + i * spacing for i in range(parameters.contours)]
    return contours, contours[-1] + 0.5 * spacing if contours else edge


def fill_layer(layer: Layer, parameters: FillParameters, plate: Plate | None = None) -> ScanPath:
    """Plan the exposure of one layer: contours from the outside in, then the hatch, turned from layer to layer.

    What is narrower than the spot has no track, so the path of a tiny layer may be empty. With a plate, the path is
    held against it.

    Raises:
        ScanError: a parameter is out of range, or a vector leaves the plate.
    """
    _check(parameters)
    contours_mm, hatch_mm = track_distances_mm(parameters)
    inward = [-distance for distance in [*contours_mm, *([] if hatch_mm is None else [hatch_mm])]]
    outlines = list(offset_each(layer, inward))
    parts: list[NDArray[np.float64]] = []
    at = (0.0, 0.0)
    for outline in outlines[: len(contours_mm)]:
        parts.append(trace_loops(*thinned(outline, TRACK_PART * parameters.spot_mm), at))
        if len(parts[-1]):
            at = (float(parts[-1][-1, 2]), float(parts[-1][-1, 3]))
    contour = ScanPath.uniform(
        np.concatenate([np.zeros((0, 4)), *parts]),
        KIND_CONTOUR,
        parameters.contour_power_w,
        parameters.contour_speed_mm_s,
    )
    hatch = ScanPath.empty()
    if parameters.hatch_spacing_mm is not None:
        angle = math.radians(math.fmod(parameters.hatch_rotation_deg * layer.index, 360.0))
        hatched = HATCHES["meander"](*outlines[-1], angle, HatchSettings(parameters.hatch_spacing_mm))
        hatch = ScanPath.uniform(hatched.vectors_mm, KIND_HATCH, parameters.power_w, parameters.scan_speed_mm_s)
    path = ScanPath.concat([contour, hatch])
    if plate is not None:
        _hold_on_plate(layer, path, plate)
    return path


def fill_layers(
    layers: Iterable[Layer], parameters: FillParameters, plate: Plate | None = None
) -> Iterator[tuple[Layer, ScanPath]]:
    """`fill_layer` for one layer after the other, so that a caller holds no more of them than it wants."""
    for layer in layers:
        yield layer, fill_layer(layer, parameters, plate)


def _check(parameters: FillParameters) -> None:
    positive = ["spot_mm", "power_w", "scan_speed_mm_s", "contour_power_w", "contour_speed_mm_s"]
    if parameters.hatch_spacing_mm is not None:
        positive.append("hatch_spacing_mm")
    for name in positive:
        value = getattr(parameters, name)
        if not (math.isfinite(value) and value > 0.0):
            raise ScanError(f"{name} is {value:g}, but a beam needs a positive number there.")
    if not math.isfinite(parameters.hatch_rotation_deg):
        raise ScanError(f"hatch_rotation_deg is {parameters.hatch_rotation_deg:g}; give an angle in degrees.")
    if not 0 <= parameters.contours <= 1000:
        raise ScanError(f"contours is {parameters.contours}; give a number from 0 to 1000.")


def _hold_on_plate(layer: Layer, path: ScanPath, plate: Plate) -> None:
    if not len(path):
        return
    for axis, name, size in ((0, "x", plate.x_mm), (1, "y", plate.y_mm)):
        ways = path.vectors_mm[:, axis::2]
        low, high = float(ways.min()), float(ways.max())
        if low < 0.0 or high > size:
            raise ScanError(
                f"Layer {layer.index} is exposed from {name} = {low:.3f} to {high:.3f} mm, but the plate reaches "
                f"from 0 to {size:g} mm; place the part on the plate first."
            )

"""Filling a layer: contours, hatch, skins and tracks of thin walls, in the order in which they are exposed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from slicer.cores import core_vectors
from slicer.errors import ScanError
from slicer.hatching import HATCHES, HatchSettings
from slicer.hatching.lines import line_phase
from slicer.hatching.rotation import Rotation
from slicer.layers import Layer
from slicer.middle_lines import halfway, track_vectors
from slicer.offsets import Loops, offset_each, offset_loops, thinned
from slicer.ordering import ORDERS, OrderSettings, trace_loops
from slicer.scan import KIND_CONTOUR, KIND_DOWN_SKIN, KIND_HATCH, KIND_THIN, KIND_UP_SKIN, Run, ScanPath
from slicer.skins import Neighbours, skin_regions
from slicer.strategy import PLAIN, Strategy
from slicer.thin_walls import (
    TRACKED_PART,
    NarrowPlace,
    is_even_inset,
    lasting,
    narrow_beside_holes,
    narrow_places,
)

TRACK_PART = 0.01
"""How far a contour may pass from its exact offset, in spots: a controller need not be fed what no beam can draw."""

LINE_HATCHES = ("meander", "one_way")
"""Hatches whose lines go on across the border between hatch and skin."""


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
    @property
    def jump_speed_mm_s(self) -> float: ...


class Plate(Protocol):
    """The plane that a beam can reach, from (0, 0); an Envelope is one."""

    @property
    def x_mm(self) -> float: ...
    @property
    def y_mm(self) -> float: ...


@dataclass(frozen=True)
class Filled:
    """A filled layer: its path, and what of its outline is narrower than the way of a contour around it."""

    path: ScanPath
    narrow: tuple[NarrowPlace, ...] = ()


def track_distances_mm(parameters: FillParameters, strategy: Strategy = PLAIN) -> tuple[list[float], float | None]:
    """How far inside the outline the contours run, and where the hatch begins (None: no hatch), in mm.

    The outermost contour runs half a spot inside (or the strategy's compensation), so that the beam touches the
    outline. Every track owns a strip one hatch spacing wide with itself in the middle; the hatch begins where the strip
    of the last contour ends, so that no strip covers another (and all together the layer, where the spacing is the
    spot), or the strategy's overlap farther out. Without hatch spacing there is one contour, the centre line of a beam
    as wide as the spot.
    """
    edge = _edge_mm(parameters, strategy)
    spacing = parameters.hatch_spacing_mm
    if spacing is None:
        return [edge], None
    contours = [edge + i * spacing for i in range(parameters.contours)]
    inner = contours[-1] + 0.5 * spacing if contours else edge
    return contours, max(inner - strategy.hatch_overlap_mm, 0.0)


def _edge_mm(parameters: FillParameters, strategy: Strategy) -> float:
    return 0.5 * parameters.spot_mm if strategy.compensation_mm is None else strategy.compensation_mm


def fill_layer(
    layer: Layer,
    parameters: FillParameters,
    plate: Plate | None = None,
    strategy: Strategy = PLAIN,
    neighbours: Neighbours | None = None,
) -> ScanPath:
    """The path of `fill`."""
    return fill(layer, parameters, plate, strategy, neighbours).path


def fill(
    layer: Layer,
    parameters: FillParameters,
    plate: Plate | None = None,
    strategy: Strategy = PLAIN,
    neighbours: Neighbours | None = None,
) -> Filled:
    """Plan the exposure of one layer: contours from the outside in, then the hatch, turned from layer to layer.

    What is narrower than the way of a contour gets a single track in its middle, or (where it is narrower than half the
    spot, or the strategy says so) is only told of. Skins need `neighbours`. With a plate, the path is held against it.

    Raises:
        ScanError: a parameter is out of range, or a vector leaves the plate.
    """
    _check(parameters)
    contours_mm, hatch_mm = track_distances_mm(parameters, strategy)
    distances_mm = list(contours_mm)
    if hatch_mm is not None and parameters.hatch_spacing_mm is not None:
        distances_mm.append(hatch_mm)
        if contours_mm:
            distances_mm.append(contours_mm[-1] + parameters.hatch_spacing_mm)  # where one more contour would run
    inward = [-distance for distance in distances_mm]
    holes, farther_mm = None, 0.0
    if strategy.hole_compensation_mm is not None:
        farther_mm = strategy.hole_compensation_mm - _edge_mm(parameters, strategy)
        holes = [distance - farther_mm for distance in inward]
    outlines = list(offset_each(layer, inward, holes))
    fine_mm = TRACK_PART * parameters.spot_mm
    drawn = [thinned(outline, fine_mm) for outline in outlines[: len(contours_mm)]]
    lost = bool(drawn) and len(drawn[0][1]) < len(outlines[0][1])
    inner = lasting(outlines[0], fine_mm) if lost else outlines[0]
    tracks, narrow = _thin(layer, inner, -inward[0], farther_mm, parameters, strategy)
    contours = [_contours(drawn, parameters, strategy), *tracks]
    hatch: list[Run] = []
    if parameters.hatch_spacing_mm is not None:
        at = _end(contours) if strategy.contour_order == "first" else (0.0, 0.0)
        room = sum(len(run.vectors_mm) for run in contours) if strategy.contour_order == "first" else 0
        inside = outlines[len(contours_mm)]
        hatch = _hatch(layer, inside, parameters, strategy, neighbours, at, room)
        if contours_mm:
            rings = [*outlines[: len(contours_mm)], outlines[-1]]
            hollow = [
                (distance_mm, inner)
                for (a, b), distance_mm, inner in zip(
                    pairwise(rings), contours_mm, [*drawn[1:], outlines[-1]], strict=True
                )
                if not is_even_inset(a, b, parameters.hatch_spacing_mm)
            ]
            hatch += _cores(layer, hollow, farther_mm, hatch, parameters, strategy)
        else:  # no contour goes round what falls between two lines
            spacing = parameters.hatch_spacing_mm
            opened = offset_loops(offset_loops(inside, -0.5 * spacing), 0.5 * spacing)
            missed = narrow_places(inside, opened, spacing, spacing, _vectors(hatch))
            around_mm = 2.0 * -inward[0]
            more, places = _tracked([(line, width + around_mm) for line, width in missed], parameters, strategy)
            hatch, narrow = [*hatch, *more], (*narrow, *places)
    path = ScanPath.of_runs([*contours, *hatch] if strategy.contour_order == "first" else [*hatch, *contours])
    if plate is not None:
        _hold_on_plate(layer, path, plate)
    return Filled(path, narrow)


def fill_layers(
    layers: Iterable[Layer], parameters: FillParameters, plate: Plate | None = None
) -> Iterator[tuple[Layer, ScanPath]]:
    """`fill_layer` for one layer after the other, so that a caller holds no more of them than it wants."""
    for layer in layers:
        yield layer, fill_layer(layer, parameters, plate)


def _end(runs: list[Run]) -> tuple[float, float]:
    """Where the beam is after them; the corner of the plate if they are empty."""
    for run in reversed(runs):
        if len(run.vectors_mm):
            return float(run.vectors_mm[-1, 2]), float(run.vectors_mm[-1, 3])
    return 0.0, 0.0


def _contours(drawn: list[Loops], parameters: FillParameters, strategy: Strategy) -> Run:
    parts: list[NDArray[np.float64]] = []
    at = (0.0, 0.0)
    for loops in drawn:
        parts.append(trace_loops(*loops, at))
        if len(parts[-1]):
            at = (float(parts[-1][-1, 2]), float(parts[-1][-1, 3]))
    vectors = np.concatenate([np.zeros((0, 4)), *parts])
    return Run(
        vectors, KIND_CONTOUR, parameters.contour_power_w, parameters.contour_speed_mm_s, strategy.contour_focus_mm
    )


def _thin(
    layer: Layer, inner: Loops, edge_mm: float, farther_mm: float, parameters: FillParameters, strategy: Strategy
) -> tuple[list[Run], tuple[NarrowPlace, ...]]:
    """The tracks of thin walls, and what was found.

    `inner`: the outline moved in by `edge_mm`, and around holes by `farther_mm` more.
    """
    outline = layer.points_mm, layer.loop_starts
    if farther_mm:
        lines = narrow_beside_holes(outline, edge_mm, farther_mm, parameters.spot_mm)
    else:
        opened = offset_loops(inner, edge_mm) if len(inner[0]) else inner
        lines = narrow_places(outline, opened, 2.0 * edge_mm, parameters.spot_mm)
    return _tracked(lines, parameters, strategy)


def _tracked(
    lines: list[tuple[NDArray[np.float64], float]], parameters: FillParameters, strategy: Strategy
) -> tuple[list[Run], tuple[NarrowPlace, ...]]:
    """A track for each middle line that is wide enough for one, and what is told of all of them."""
    places, tracks = [], []
    for line, width_mm in lines:
        tracked = strategy.thin_walls == "track" and width_mm >= TRACKED_PART * parameters.spot_mm
        length_mm = float(np.hypot(*np.diff(line, axis=0).T).sum())
        x, y = halfway(line).tolist()
        places.append(NarrowPlace((x, y), length_mm, width_mm, tracked))
        if tracked:
            tracks.append(track_vectors(line))
    power_w, speed_mm_s = parameters.contour_power_w, parameters.contour_speed_mm_s
    runs = [Run(vectors, KIND_THIN, power_w, speed_mm_s, strategy.contour_focus_mm) for vectors in tracks]
    return runs, tuple(places)


def _hatch(
    layer: Layer,
    inside: Loops,
    parameters: FillParameters,
    strategy: Strategy,
    neighbours: Neighbours | None,
    at_mm: tuple[float, float],
    room: int,
) -> list[Run]:
    """Down-skin, hatch and up-skin, each filled and ordered as the strategy says, from where the beam is on.

    Lines go on from one to the other. `room`: how many vectors come before them.
    """
    spacing = parameters.hatch_spacing_mm
    assert spacing is not None
    turning = Rotation(parameters.hatch_rotation_deg, angles_deg=strategy.hatch_angles_deg)
    angle = turning.angle_rad(layer.index)
    power_w, speed_mm_s = parameters.power_w, parameters.scan_speed_mm_s
    regions = [(KIND_HATCH, inside, power_w, speed_mm_s)]
    if strategy.skin_layers and neighbours is not None:
        core, up, down = skin_regions(inside, neighbours, spacing)
        regions = [
            (KIND_DOWN_SKIN, down, *strategy.skin_exposure("down", power_w, speed_mm_s)),
            (KIND_HATCH, core, power_w, speed_mm_s),
            (KIND_UP_SKIN, up, *strategy.skin_exposure("up", power_w, speed_mm_s)),
        ]
    order = OrderSettings(strategy.sweep_deg, strategy.return_time_s, strategy.return_radius_mm)
    runs: list[Run] = []
    for kind, region, power, speed in regions:
        if not len(region[0]):
            continue
        phase = 0.0
        if region is not inside and strategy.hatch in LINE_HATCHES:
            phase = line_phase(inside[0], spacing, angle) - line_phase(region[0], spacing, angle)
        settings = HatchSettings(spacing, strategy.tile_mm, strategy.tile_overlap_mm, phase, room)
        hatched = HATCHES[strategy.hatch](*region, angle, settings)
        vectors, wait_s, free = hatched.vectors_mm, None, hatched.room
        if strategy.order != "as_hatched":
            ordered = ORDERS[strategy.order](hatched, speed, parameters.jump_speed_mm_s, at_mm, order)
            vectors, wait_s, free = ordered.vectors_of(hatched), ordered.wait_s if ordered.wait_s.any() else None, 0
        runs.append(Run(vectors, kind, power, speed, strategy.focus_mm, wait_s, free))
        if len(vectors):
            at_mm = _end(runs[-1:])
    return runs


def _cores(
    layer: Layer,
    hollow: list[tuple[float, Loops]],
    farther_mm: float,
    hatch: list[Run],
    parameters: FillParameters,
    strategy: Strategy,
) -> list[Run]:
    """A line of hatch in the middle of what lies between two strips of contour, or inside the innermost, too narrow for
    the next contour, and between two lines of the hatch.

    `hollow`: how far inside the outline the contours run inside which that may be, and the next contour of each.
    """
    spacing = parameters.hatch_spacing_mm
    assert spacing is not None, "there is a hatch"
    inward = [-(distance_mm + 0.5 * spacing) for distance_mm, _ in hollow]
    borders = offset_each(layer, inward, [distance - farther_mm for distance in inward])
    drawn = _vectors(hatch)
    return [
        Run(core, KIND_HATCH, parameters.power_w, parameters.scan_speed_mm_s, strategy.focus_mm)
        for border, (_, inner) in zip(borders, hollow, strict=True)
        for core in core_vectors(border, inner, spacing, drawn)
    ]


def _vectors(runs: list[Run]) -> NDArray[np.float64]:
    return np.concatenate([np.zeros((0, 4)), *(run.vectors_mm for run in runs)])


def _check(parameters: FillParameters) -> None:
    positive = ["spot_mm", "power_w", "scan_speed_mm_s", "contour_power_w", "contour_speed_mm_s", "jump_speed_mm_s"]
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

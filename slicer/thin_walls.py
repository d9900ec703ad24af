"""What is narrower than the way of a contour around it: found and measured."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from slicer import regions
from slicer.kernels import narrowing
from slicer.layers import loop_areas_mm2, loops_area_mm2
from slicer.middle_lines import DRAWN_PART, halfway, middle_lines, sides_of
from slicer.offsets import ARC_PART, Loops, offset_loops, thinned

PIN_PART = 0.2
"""A body that is a mere point to the beam gets a track of this part of the spot, so that it is exposed at all."""

TRACKED_PART = 0.5
"""What is narrower than this part of the spot gets no track: it would come out at twice its width or more."""

WIDER_PART = 0.03
"""A wall that is wider than a contour's way by less than this part of the spot may have lost it to rounding."""

GROUPED_MAX = 4096
"""Loops that are told apart by their boxes; of more, all are looked at together."""


@dataclass(frozen=True)
class NarrowPlace:
    """A place that no contour passes. `at_mm`: the middle of its middle line; `length_mm` of that; `width_mm`: its mean
    width; `tracked`: whether it got a track."""

    at_mm: tuple[float, float]
    length_mm: float
    width_mm: float
    tracked: bool


def narrow_places(
    outline: Loops,
    opened: Loops,
    width_mm: float,
    spot_mm: float,
    drawn_mm: NDArray[np.float64] | None = None,
) -> list[tuple[NDArray[np.float64], float]]:
    """The middle lines ((m, 2) f8) of all places of an outline that are narrower than `width_mm`, and their mean width.

    Args:
        outline: of the layer; opened: what a disc of that width reaches inside it (the outline moved in by half the
            width and out again).
        spot_mm: the beam's width, which gives the fineness.
        drawn_mm: (n, 4) f8 vectors that are there already: where one passes a middle within half a spot, there is
            none.

    Raises:
        ScanError: there are more such places than can be looked at.
    """
    points, starts = outline
    if not len(points) or width_mm <= 0.0:
        return []
    suspects = _suspects(outline, opened, 0.5 * width_mm)
    if suspects is None:
        return []
    part_of, opened_part = suspects
    left = [part for part in regions.bodies(regions.difference(part_of, opened_part)) if loops_area_mm2(*part) > 1e-9]
    if not left:
        return []
    a_little = 0.01 * spot_mm * np.array([-1.0, -1.0, 1.0, 1.0])  # Clipper rounds
    boxes = _merged(regions.boxes_of(left) + a_little)
    found = middle_lines(points, starts, boxes, width_mm + WIDER_PART * spot_mm, spot_mm, drawn_mm)
    pins, of_pins = _pins(part_of, left, found, width_mm, spot_mm)
    if drawn_mm is not None and pins:
        missed = narrowing.far_from(np.array([halfway(line) for line, _ in pins]), drawn_mm, DRAWN_PART * spot_mm)
        pins = [pin for pin, is_missed in zip(pins, missed, strict=True) if is_missed]
    return [line for i, line in enumerate(found) if i not in of_pins] + pins


def narrow_beside_holes(
    outline: Loops, edge_mm: float, farther_mm: float, spot_mm: float
) -> list[tuple[NDArray[np.float64], float]]:
    """`narrow_places` where tracks keep `edge_mm` from outer loops, and by `farther_mm` more from those of holes.

    A wall vanishes below 2 `edge_mm`, and earlier (later, where `farther_mm` is below 0) by that for each hole that it
    stands beside.
    """
    points, starts = outline
    rings = [points[a:b] for a, b in pairwise(starts)]
    holes = [ring for ring, area in zip(rings, loop_areas_mm2(points, starts), strict=True) if area < 0.0]
    found = []
    for beside in range(3):
        width_mm = max(2.0 * edge_mm + beside * farther_mm, 0.0)
        opened = offset_loops(offset_loops(outline, -0.5 * width_mm), 0.5 * width_mm)
        for line, mean_mm in narrow_places(outline, opened, width_mm, spot_mm):
            reach_mm = 0.5 * width_mm + 0.1 * spot_mm
            near = sum(_distance_mm(halfway(line), hole) <= reach_mm for hole in holes)
            if min(near, 2) == beside:
                found.append((line, mean_mm))
    return found


def is_even_inset(outline: Loops, inner: Loops, distance_mm: float) -> bool:
    """Whether moving loops in by a distance has only moved them: nothing vanished, and no wall was too narrow."""
    area_mm2, missed_mm2 = narrowing.inset_area(*outline, distance_mm, ARC_PART)
    return loops_area_mm2(*inner) <= float(area_mm2) + float(missed_mm2)


def lasting(loops: Loops, tolerance_mm: float) -> Loops:
    """The loops that are still there when they are thinned to a tolerance (`slicer.offsets.thinned`)."""
    points, starts = loops
    alone = (thinned((points[a:b], np.array([0, b - a])), tolerance_mm) for a, b in pairwise(starts))
    return _chosen(loops, np.array([len(loop[0]) > 0 for loop in alone], np.bool_))


def _distance_mm(at_mm: NDArray[np.float64], ring: NDArray[np.float64]) -> float:
    """From a point to a closed ring of corners."""
    side = np.roll(ring, -1, axis=0) - ring
    part = np.clip(((at_mm - ring) * side).sum(axis=1) / np.maximum((side * side).sum(axis=1), 1e-30), 0.0, 1.0)
    return float(np.hypot(*(ring + part[:, None] * side - at_mm).T).min())


def _suspects(outline: Loops, opened: Loops, radius_mm: float) -> tuple[Loops, Loops] | None:
    """The loops of an outline, and of what a disc reaches inside it, where the disc misses more than corners explain.

    Loops whose boxes touch are looked at together, each such group by itself: what is missing of a small body must not
    hide in what the corners of many others might miss. None if nothing is missing.
    """
    points, starts = outline
    count = len(starts) - 1
    areas = np.concatenate([loop_areas_mm2(*outline), loop_areas_mm2(*opened)])
    boxes = np.concatenate([_loop_boxes(outline), _loop_boxes(opened)])
    group = np.zeros(len(boxes), np.int64)
    if len(boxes) <= GROUPED_MAX:
        narrowing.group_boxes(boxes, group)
    loss, spare = np.empty(count), np.empty(count)
    narrowing.corner_losses(points, starts, radius_mm, ARC_PART, loss, spare)
    sign = np.where(np.arange(len(boxes)) < count, 1.0, -1.0)
    missing = np.bincount(group, sign * areas)
    bodies = np.bincount(group, sign * (areas > 0.0))
    explained = np.bincount(group[:count], loss + spare, len(missing))
    suspect = (missing > explained) | (bodies != 0)
    if not suspect.any():
        return None
    return _chosen(outline, suspect[group[:count]]), _chosen(opened, suspect[group[count:]])


def _loop_boxes(loops: Loops) -> NDArray[np.float64]:
    """(l, 4) f8: x and y from, x and y to of each loop."""
    points, starts = loops
    if not len(points):
        return np.zeros((0, 4))
    return np.hstack([np.minimum.reduceat(points, starts[:-1]), np.maximum.reduceat(points, starts[:-1])])


def _chosen(loops: Loops, chosen: NDArray[np.bool_]) -> Loops:
    """Some of the loops."""
    points, starts = loops
    counts = np.diff(starts)
    return points[np.repeat(chosen, counts)], np.concatenate([[0], np.cumsum(counts[chosen])])


def _merged(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes that touch as one, so that nothing is looked at twice."""
    while True:
        group = np.empty(len(boxes), np.int64)
        count = narrowing.group_boxes(boxes, group)
        if count == len(boxes):
            return boxes[np.lexsort(boxes.T[::-1])]
        low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
        np.minimum.at(low, group, boxes[:, :2])
        np.maximum.at(high, group, boxes[:, 2:])
        boxes = np.hstack([low, high])  # grown, they may touch others


def _pins(
    outline: Loops, left: list[Loops], lines: list[tuple[NDArray[np.float64], float]], width_mm: float, spot_mm: float
) -> tuple[list[tuple[NDArray[np.float64], float]], set[int]]:
    """A short track for each body that is a point to the beam, and the lines that it stands for."""
    whole = {_box_key(body) for body in regions.bodies(outline)}
    pins = []
    of_pins: set[int] = set()
    for part in left:
        points, starts = part
        if _box_key(part) not in whole:
            continue
        low, high = points.min(axis=0), points.max(axis=0)
        inside = {i for i, (line, _) in enumerate(lines) if ((line >= low) & (line <= high)).all(axis=1).any()}
        if inside and (high - low).max() >= width_mm:
            continue
        of_pins |= inside
        middle = points.mean(axis=0)
        _, _, axes = np.linalg.svd(points - middle, full_matrices=False)
        axis = axes[0] * (1.0 if tuple(axes[0]) > (0.0, 0.0) else -1.0)
        chord = _longest_chord(part, middle, axis)
        if chord is None:
            continue
        at = middle + 0.5 * (chord[0] + chord[1]) * axis
        half = min(0.5 * PIN_PART * spot_mm, 0.45 * (chord[1] - chord[0])) * axis  # Clipper rounds
        across = float(np.ptp((points - middle) @ axis))
        pins.append((np.stack([at - half, at + half]), loops_area_mm2(points, starts) / max(across, 1e-9)))
    return pins, of_pins


def _longest_chord(part: Loops, through: NDArray[np.float64], axis: NDArray[np.float64]) -> tuple[float, float] | None:
    """Where a line enters and leaves a body on its longest way inside it, mm along the line; None if it misses it."""
    sides = sides_of(*part)
    begin, end = sides[:, :2] - through, sides[:, 2:] - through
    off_begin, off_end = (axis[0] * p[:, 1] - axis[1] * p[:, 0] for p in (begin, end))
    crossed = (off_begin > 0.0) != (off_end > 0.0)
    u = off_begin[crossed] / (off_begin[crossed] - off_end[crossed])
    at = np.sort((begin[crossed] + u[:, None] * (end[crossed] - begin[crossed])) @ axis)
    if len(at) < 2:
        return None
    longest = 2 * int(np.argmax(at[1::2] - at[0::2]))
    return float(at[longest]), float(at[longest + 1])


def _box_key(body: Loops) -> tuple[float, ...]:
    return tuple(regions.boxes_of([body])[0].round(6).tolist())

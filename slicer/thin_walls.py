"""What is narrower than the way of a contour around it: found, measured, and given a single track in its middle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from slicer import regions
from slicer.errors import ScanError
from slicer.kernels import narrowing
from slicer.layers import loop_areas_mm2, loops_area_mm2
from slicer.offsets import ARC_PART, Loops, offset_loops, thinned

SAMPLE_PART = 0.25
"""Samples along an outline are this part of the spot apart."""

SHORTEST_PART = 0.5
"""A middle line shorter than this part of the spot is a corner's tip, unless it is a body's only one."""

PIN_PART = 0.2
"""A body that is a mere point to the beam gets a track of this part of the spot, so that it is exposed at all."""

TRACKED_PART = 0.5
"""What is narrower than this part of the spot gets no track: it would come out at twice its width or more."""

WIDER_PART = 0.03
"""A wall that is wider than a contour's way by less than this part of the spot may have lost it to rounding."""

SAMPLES_MAX = 2_000_000
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
    outline: Loops, opened: Loops, width_mm: float, spot_mm: float
) -> list[tuple[NDArray[np.float64], float]]:
    """The middle lines ((m, 2) f8) of all places of an outline that are narrower than `width_mm`, and their mean width.

    Args:
        outline: of the layer; opened: what a disc of that width reaches inside it (the outline moved in by half the
            width and out again).
        spot_mm: the beam's width, which gives the fineness.

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
    found = _lines(points, starts, boxes, width_mm + WIDER_PART * spot_mm, spot_mm)
    pins, of_pins = _pins(part_of, left, found, width_mm, spot_mm)
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


def vectors_within(vectors_mm: NDArray[np.float64], loops: Loops) -> NDArray[np.float64]:
    """Those of a few vectors ((n, 4) f8) that lie inside loops from end to end: in a jagged corner that is far smaller
    than the beam a middle line may leave it."""
    sides = _sides(*loops)
    kept = []
    for vector in vectors_mm:
        a, b = vector[:2], vector[2:]
        x, y = 0.5 * (a + b)
        spans = (sides[:, 1] > y) != (sides[:, 3] > y)
        x0, y0, x1, y1 = sides[spans].T
        is_inside = np.count_nonzero(x0 + (y - y0) / (y1 - y0) * (x1 - x0) > x) % 2 == 1
        if is_inside and not _crosses(a, b, sides):
            kept.append(vector)
    return np.array(kept).reshape(-1, 4)


def is_even_inset(outline: Loops, inner: Loops, distance_mm: float) -> bool:
    """Whether moving loops in by a distance has only moved them: nothing vanished, and no wall was too narrow."""
    area_mm2, missed_mm2 = narrowing.inset_area(*outline, distance_mm, ARC_PART)
    return loops_area_mm2(*inner) <= float(area_mm2) + float(missed_mm2)


def lasting(loops: Loops, tolerance_mm: float) -> Loops:
    """The loops that are still there when they are thinned to a tolerance (`slicer.offsets.thinned`)."""
    points, starts = loops
    alone = (thinned((points[a:b], np.array([0, b - a])), tolerance_mm) for a, b in pairwise(starts))
    return _chosen(loops, np.array([len(loop[0]) > 0 for loop in alone], np.bool_))


def unreached(
    region: Loops, opened: Loops, vectors_mm: list[NDArray[np.float64]], spacing_mm: float
) -> list[tuple[NDArray[np.float64], float]]:
    """Places of a hatched region that are narrower than the spacing and that no vector comes near to: what falls
    between two lines. Arguments and answer as those of `narrow_places`."""
    narrow = narrow_places(region, opened, spacing_mm, spacing_mm)
    if not narrow:
        return []
    vectors = np.concatenate([np.zeros((0, 4)), *vectors_mm])
    found = []
    for line, width_mm in narrow:
        low, high = line.min(axis=0) - spacing_mm, line.max(axis=0) + spacing_mm
        begin, end = vectors[:, :2], vectors[:, 2:]
        near = (np.minimum(begin, end) <= high).all(axis=1) & (np.maximum(begin, end) >= low).all(axis=1)
        begin, way = begin[near], end[near] - begin[near]
        length_sq = np.maximum((way * way).sum(axis=1), 1e-30)
        missed = 0
        samples = _sampled(line, SAMPLE_PART * spacing_mm)
        for at in samples:
            part = np.clip(((at - begin) * way).sum(axis=1) / length_sq, 0.0, 1.0)
            missed += float(np.hypot(*(begin + part[:, None] * way - at).T).min(initial=np.inf)) > 0.51 * spacing_mm
        if missed > 0.5 * len(samples):
            found.append((line, width_mm))
    return found


def _sampled(line_mm: NDArray[np.float64], step_mm: float) -> NDArray[np.float64]:
    """Points along a line, in the middle of each step."""
    way = np.concatenate([[0.0], np.hypot(*np.diff(line_mm, axis=0).T).cumsum()])
    count = min(max(int(way[-1] / step_mm), 1), 1000)
    at = (np.arange(count) + 0.5) * (way[-1] / count)
    return np.stack([np.interp(at, way, column) for column in line_mm.T], axis=1)


def halfway(line_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2,) f8, the point half way along a line."""
    way = np.concatenate([[0.0], np.hypot(*np.diff(line_mm, axis=0).T).cumsum()])
    return np.array([np.interp(0.5 * way[-1], way, column) for column in line_mm.T])


def _distance_mm(at_mm: NDArray[np.float64], ring: NDArray[np.float64]) -> float:
    """From a point to a closed ring of corners."""
    side = np.roll(ring, -1, axis=0) - ring
    part = np.clip(((at_mm - ring) * side).sum(axis=1) / np.maximum((side * side).sum(axis=1), 1e-30), 0.0, 1.0)
    return float(np.hypot(*(ring + part[:, None] * side - at_mm).T).min())


def track_vectors(line_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """A middle line as (m - 1, 4) f8 vectors."""
    return np.hstack([line_mm[:-1], line_mm[1:]])


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


def _lines(
    points: NDArray[np.float64], starts: NDArray[np.int64], boxes: NDArray[np.float64], width_mm: float, spot_mm: float
) -> list[tuple[NDArray[np.float64], float]]:
    step = SAMPLE_PART * spot_mm
    room = 4 * len(points) + 1024
    while True:
        out, place, loop_of = np.empty((room, 3)), np.empty(room, np.int64), np.empty(room, np.int64)
        count = narrowing.middles(points, starts, boxes, width_mm, step, out, place, loop_of)
        if count <= room:
            break
        if count > SAMPLES_MAX:
            raise ScanError(
                f"{count} samples of places narrower than {width_mm:g} mm are more than {SAMPLES_MAX}: the part is far "
                "too fine for this spot; check its unit, or take a smaller spot."
            )
        room = count
    out, place, loop_of = out[:count], place[:count], loop_of[:count]
    if not len(out):
        return []
    gap = np.hypot(*np.diff(out[:, :2], axis=0).T)
    breaks = (gap > max(2 * step, 0.5 * spot_mm)) | (np.diff(place) > 2) | (np.diff(loop_of) != 0)
    pieces = np.split(out, np.flatnonzero(breaks) + 1)
    lines = []
    sides = _sides(points, starts)
    for line in _chained([piece for piece in pieces if len(piece) > 1], width_mm, sides):
        length = float(np.hypot(*np.diff(line[:, :2], axis=0).T).sum())
        if length >= SHORTEST_PART * spot_mm:
            middle = _simplified(line[:, :2], 0.01 * spot_mm)
            lines.append((_inside(middle, sides, 0.5 * spot_mm), float(line[:, 2].mean())))
    return lines


def _sides(points: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(p, 4) f8: from each corner to the next of its loop."""
    following = np.arange(1, len(points) + 1)
    following[starts[1:] - 1] = starts[:-1]
    return np.hstack([points, points[following]])


def _inside(line: NDArray[np.float64], sides: NDArray[np.float64], radius_mm: float) -> NDArray[np.float64]:
    """The line cut back at its ends, so that the spot does not reach out over the wall's end by more than needed."""
    if (line[0] == line[-1]).all():
        return line
    edges = sides[:, 2:] - sides[:, :2]
    for _ in range(2):
        line = line[::-1]
        ahead = line[-1] - line[-2]
        length = math.hypot(*ahead)
        ahead = ahead / length
        across = ahead[0] * edges[:, 1] - ahead[1] * edges[:, 0]
        away = sides[:, :2] - line[-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = (away[:, 0] * edges[:, 1] - away[:, 1] * edges[:, 0]) / across
            u = (away[:, 0] * ahead[1] - away[:, 1] * ahead[0]) / across
        met = reach[(u >= 0.0) & (u <= 1.0) & (reach > 0.0)]
        free = float(met.min(initial=radius_mm))
        line = line.copy()
        line[-1] -= ahead * min(radius_mm - free, 0.49 * length)
    return line


def _chained(
    pieces: list[NDArray[np.float64]], reach_mm: float, sides: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Pieces whose ends meet as one line: the outline begins somewhere, and a wall may be seen from both its sides.

    `sides`: (p, 4) f8, those of the outline; no line is led across one.
    """
    pieces = list(pieces)
    lines = []
    while pieces:
        line = pieces.pop(0)
        grown = True
        while grown:
            grown = False
            for i, piece in enumerate(pieces):
                for turned in (piece, piece[::-1]):
                    for first, second in ((line, turned), (turned, line)):
                        bend = _bend(first, second, reach_mm, sides)
                        if bend is not None:
                            line, grown = np.concatenate([first, bend, second]), True
                            break
                    if grown:
                        break
                if grown:
                    del pieces[i]
                    break
        bend = _bend(line, line, reach_mm, sides) if len(line) > 3 else None
        if bend is not None:
            line = np.concatenate([line, bend, line[:1]])  # a wall all around something
        lines.append(line)
    return lines


def _bend(
    line: NDArray[np.float64], onward: NDArray[np.float64], reach_mm: float, sides: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """How a line goes on into another that begins near its end: by (0 or 1, 3) points between; None if it does not."""
    a, b = line[-1], onward[0]
    if math.hypot(*(b[:2] - a[:2])) > reach_mm:
        return None
    along, back = a[:2] - line[-2, :2], b[:2] - onward[1, :2]
    cross = along[0] * back[1] - along[1] * back[0]
    if abs(cross) > 0.2 * math.hypot(*along) * math.hypot(*back):
        gap = b[:2] - a[:2]
        s, t = (gap[0] * back[1] - gap[1] * back[0]) / cross, (gap[0] * along[1] - gap[1] * along[0]) / cross
        if 0 < s * math.hypot(*along) <= reach_mm and 0 < t * math.hypot(*back) <= reach_mm:
            corner = np.array([[*(a[:2] + s * along), 0.5 * (a[2] + b[2])]])
            if not (_crosses(a, corner[0], sides) or _crosses(corner[0], b, sides)):
                return corner
    return None if _crosses(a, b, sides) else np.zeros((0, 3))


def _crosses(a: NDArray[np.float64], b: NDArray[np.float64], sides: NDArray[np.float64]) -> bool:
    """Whether the way from one point to another meets a side."""
    way, side = b[:2] - a[:2], sides[:, 2:] - sides[:, :2]
    off = sides[:, :2] - a[:2]
    across = way[0] * side[:, 1] - way[1] * side[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        s = (off[:, 0] * side[:, 1] - off[:, 1] * side[:, 0]) / across
        u = (off[:, 0] * way[1] - off[:, 1] * way[0]) / across
    return bool(((s >= 0.0) & (s <= 1.0) & (u >= 0.0) & (u <= 1.0)).any())


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
    sides = _sides(*part)
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


def _simplified(line: NDArray[np.float64], tolerance_mm: float) -> NDArray[np.float64]:
    """The line without points nearer than the tolerance to what is left (Douglas and Peucker 1973)."""
    keep = np.zeros(len(line), np.bool_)
    keep[[0, -1]] = True
    stack = [(0, len(line) - 1)]
    while stack:
        first, last = stack.pop()
        if last - first < 2:
            continue
        base = line[last] - line[first]
        length = math.hypot(*base)
        rest = line[first + 1 : last] - line[first]
        if length:
            away = np.abs(base[0] * rest[:, 1] - base[1] * rest[:, 0]) / length
        else:
            away = np.hypot(rest[:, 0], rest[:, 1])
        worst = int(np.argmax(away))
        if away[worst] > tolerance_mm:
            keep[first + 1 + worst] = True
            stack += [(first, first + 1 + worst), (first + 1 + worst, last)]
    return line[keep]

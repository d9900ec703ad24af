"""Middle lines along what is narrower than a width: from samples on the outline to lines in one piece."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from slicer.errors import ScanError
from slicer.kernels import narrowing
from slicer.offsets import Loops

SAMPLE_PART = 0.25
"""Samples along an outline are this part of the spot apart."""

SHORTEST_PART = 0.5
"""A middle line shorter than this part of the spot is a corner's tip, unless it is a body's only one."""

DRAWN_PART = 0.51
"""A middle that a vector passes within this part of the spot lies in its strip, or between two strips that meet."""

SAMPLES_MAX = 2_000_000


def middle_lines(
    points: NDArray[np.float64],
    starts: NDArray[np.int64],
    boxes: NDArray[np.float64],
    width_mm: float,
    spot_mm: float,
    drawn_mm: NDArray[np.float64] | None,
) -> list[tuple[NDArray[np.float64], float]]:
    """The middle lines of what is narrower than a width in some boxes, and the mean width along each.

    Args as `narrow_places` of `slicer.thin_walls`; boxes: (b, 4) f8, x and y from, x and y to.

    Raises:
        ScanError: there are more samples than can be looked at.
    """
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
    seen = np.arange(count)
    if drawn_mm is not None:
        seen = seen[narrowing.far_from(np.ascontiguousarray(out[:count, :2]), drawn_mm, DRAWN_PART * spot_mm)]
    out, place, loop_of = out[seen], place[seen], loop_of[seen]
    if not len(out):
        return []
    gap = np.hypot(*np.diff(out[:, :2], axis=0).T)
    breaks = (gap > max(2 * step, 0.5 * spot_mm)) | (np.diff(place) > 2) | (np.diff(loop_of) != 0)
    pieces = np.split(out, np.flatnonzero(breaks) + 1)
    lines = []
    sides = sides_of(points, starts)
    for line in _chained([piece for piece in pieces if len(piece) > 1], width_mm, sides):
        length = float(np.hypot(*np.diff(line[:, :2], axis=0).T).sum())
        if length >= SHORTEST_PART * spot_mm:
            middle = _simplified(line[:, :2], 0.01 * spot_mm)
            lines.append((_inside(middle, sides, 0.5 * spot_mm), float(line[:, 2].mean())))
    return lines


def halfway(line_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2,) f8, the point half way along a line."""
    way = np.concatenate([[0.0], np.hypot(*np.diff(line_mm, axis=0).T).cumsum()])
    return np.array([np.interp(0.5 * way[-1], way, column) for column in line_mm.T])


def track_vectors(line_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """A middle line as (m - 1, 4) f8 vectors."""
    return np.hstack([line_mm[:-1], line_mm[1:]])


def vectors_within(line_mm: NDArray[np.float64], loops: Loops, shortest_mm: float) -> NDArray[np.float64]:
    """A middle line as (n, 4) f8 vectors, cut to what lies inside loops: in a jagged corner, far smaller than the beam,
    it may leave them. Pieces under `shortest_mm` are left out."""
    sides = sides_of(*loops)
    low, high = line_mm.min(axis=0), line_mm.max(axis=0)
    sides = sides[  # what the line, or a ray from it to the right, can meet
        (np.maximum(sides[:, 0], sides[:, 2]) >= low[0])
        & (np.maximum(sides[:, 1], sides[:, 3]) >= low[1])
        & (np.minimum(sides[:, 1], sides[:, 3]) <= high[1])
    ]
    kept = []
    for a, b in pairwise(line_mm):
        cuts = np.unique([0.0, *_crossings(a, b, sides), 1.0])
        for begin, end in pairwise(cuts.tolist()):
            middle = a + 0.5 * (begin + end) * (b - a)
            if (end - begin) * math.hypot(*(b - a)) >= shortest_mm and _is_inside(middle, sides):
                kept.append([*(a + begin * (b - a)), *(a + end * (b - a))])
    return np.array(kept).reshape(-1, 4)


def _is_inside(at: NDArray[np.float64], sides: NDArray[np.float64]) -> bool:
    """Even-odd, by what a ray to the right crosses."""
    x, y = at
    x0, y0, x1, y1 = sides[(sides[:, 1] > y) != (sides[:, 3] > y)].T
    return bool(np.count_nonzero(x0 + (y - y0) / (y1 - y0) * (x1 - x0) > x) % 2)


def sides_of(points: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
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
    if not pieces:
        return []
    ends = np.array([[piece[0, :2], piece[-1, :2]] for piece in pieces])
    left = np.ones(len(pieces), np.bool_)
    lines = []
    for start, begun in enumerate(pieces):
        if not left[start]:
            continue
        left[start] = False
        line = begun
        grown = True
        while grown:
            grown = False
            for i in _near(line, ends, left, reach_mm):
                longer = _joined(line, pieces[i], reach_mm, sides)
                if longer is not None:
                    line, left[i], grown = longer, False, True
                    break
        bend = _bend(line, line, reach_mm, sides) if len(line) > 3 else None
        if bend is not None:
            line = np.concatenate([line, bend, line[:1]])  # a wall all around something
        lines.append(line)
    return lines


def _near(line: NDArray[np.float64], ends: NDArray[np.float64], left: NDArray[np.bool_], reach_mm: float) -> list[int]:
    """Which of the pieces that are left have an end near to one of the line's. `ends`: (k, 2, 2) f8."""
    here = np.stack([line[0, :2], line[-1, :2]])
    away = np.hypot(*(ends[:, :, None] - here).transpose(3, 0, 1, 2))
    found: list[int] = np.flatnonzero(left & (away.min(axis=(1, 2)) <= reach_mm)).tolist()
    return found


def _joined(
    line: NDArray[np.float64], piece: NDArray[np.float64], reach_mm: float, sides: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """The line with a piece at one of its ends, either way round; None if it does not go on into it."""
    for turned in (piece, piece[::-1]):
        for first, second in ((line, turned), (turned, line)):
            bend = _bend(first, second, reach_mm, sides)
            if bend is not None:
                return np.concatenate([first, bend, second])
    return None


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
    return len(_crossings(a, b, sides)) > 0


def _crossings(a: NDArray[np.float64], b: NDArray[np.float64], sides: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the way from one point to another meets sides, (n,) f8 parts of it; a side along it meets it nowhere."""
    way, side = b[:2] - a[:2], sides[:, 2:] - sides[:, :2]
    off = sides[:, :2] - a[:2]
    across = way[0] * side[:, 1] - way[1] * side[:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        s = (off[:, 0] * side[:, 1] - off[:, 1] * side[:, 0]) / across
        u = (off[:, 0] * way[1] - off[:, 1] * way[0]) / across
    found: NDArray[np.float64] = s[(s >= 0.0) & (s <= 1.0) & (u >= 0.0) & (u <= 1.0)]
    return found


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

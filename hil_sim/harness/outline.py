"""Is a way within a layer's outline, or nearly? Even-odd over its loops, and the distance from its nearest edge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
POINTS_AT_ONCE = 20_000


@dataclass(frozen=True)
class Outline:
    """Closed loops of one layer: points (p, 2) mm, loop k is points[starts[k]:starts[k + 1]]."""

    z_mm: float
    points_mm: Floats
    loop_starts: NDArray[np.int64]

    def edges(self) -> tuple[Floats, Floats]:
        """(p, 2) begins and ends of its edges."""
        ends = np.empty_like(self.points_mm)
        for a, b in zip(self.loop_starts[:-1], self.loop_starts[1:], strict=True):
            ends[a:b] = np.roll(self.points_mm[a:b], -1, axis=0)
        return self.points_mm, ends


def outside(outline: Outline, ways_mm: Floats, tolerance_mm: float) -> NDArray[np.bool_]:
    """(n,) whether a straight way (n, 4) has a point farther than `tolerance_mm` beyond the outline.

    Points are looked at from end to end, no farther apart than the tolerance.
    """
    found = np.zeros(len(ways_mm), bool)
    if not len(ways_mm):
        return found
    length_mm = np.hypot(ways_mm[:, 2] - ways_mm[:, 0], ways_mm[:, 3] - ways_mm[:, 1])
    counts = np.maximum(np.ceil(length_mm / max(tolerance_mm, 0.1)).astype(np.int64), 1) + 1
    for begin in range(0, len(ways_mm), 2000):
        part = slice(begin, begin + 2000)
        of_way = np.repeat(np.arange(len(ways_mm[part])), counts[part])
        first = np.repeat(np.cumsum(counts[part]) - counts[part], counts[part])
        share = ((np.arange(len(of_way)) - first) / (counts[part][of_way] - 1))[:, None]
        points = ways_mm[part][of_way, :2] * (1.0 - share) + ways_mm[part][of_way, 2:] * share
        bad = ~_near(outline, points, tolerance_mm)
        found[begin + of_way[bad]] = True
    return found


def _near(outline: Outline, points_mm: Floats, tolerance_mm: float) -> NDArray[np.bool_]:
    """Whether each point is inside, or within the tolerance of an edge."""
    found = np.zeros(len(points_mm), bool)
    begins, ends = outline.edges()
    for first in range(0, len(points_mm), POINTS_AT_ONCE):
        part = slice(first, first + POINTS_AT_ONCE)
        x, y = points_mm[part].T
        inside = np.zeros(len(x), bool)
        least2 = np.full(len(x), np.inf)
        for (xa, ya), (xb, yb) in zip(begins.tolist(), ends.tolist(), strict=True):
            if ya != yb:
                crosses = ((ya > y) != (yb > y)) & (x < (xb - xa) * (y - ya) / (yb - ya) + xa)
                inside ^= crosses
            dx, dy = xb - xa, yb - ya
            length2 = max(dx * dx + dy * dy, 1e-18)
            share = np.clip(((x - xa) * dx + (y - ya) * dy) / length2, 0.0, 1.0)
            np.minimum(least2, (x - xa - share * dx) ** 2 + (y - ya - share * dy) ** 2, out=least2)
        found[part] = inside | (least2 <= tolerance_mm**2)
    return found

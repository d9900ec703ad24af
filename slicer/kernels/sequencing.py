"""Which loop next, and from which of its points: nearest first."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True)
def trace_nearest(points, starts, x, y):
    """Closed loops as vectors, always going to the nearest corner of the loops that are left.

    Args:
        points: (p, 2) f8; starts: (l + 1,) i8, no loop empty; x, y: where the beam is, mm.

    Returns (p, 4) f8: each loop whole, in its own direction, from and to the corner it was entered at.
    """
    loops = len(starts) - 1
    done = np.zeros(loops, np.bool_)
    out = np.empty((len(points), 4))
    count = 0
    for _ in range(loops):
        best = math.inf
        best_loop = 0
        entry = 0
        for loop in range(loops):
            if done[loop]:
                continue
            for i in range(starts[loop], starts[loop + 1]):
                away = (points[i, 0] - x) ** 2 + (points[i, 1] - y) ** 2
                if away < best:
                    best = away
                    best_loop = loop
                    entry = i
        done[best_loop] = True
        begin, end = starts[best_loop], starts[best_loop + 1]
        i = entry
        for _ in range(end - begin):
            after = i + 1 if i + 1 < end else begin
            out[count, 0], out[count, 1] = points[i, 0], points[i, 1]
            out[count, 2], out[count, 3] = points[after, 0], points[after, 1]
            count += 1
            i = after
        x, y = points[entry, 0], points[entry, 1]
    return out

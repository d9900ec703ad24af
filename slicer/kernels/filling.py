"""Scan-line filling: parallel vectors inside closed loops, without clipping a polygon.

Points are turned so that the vectors lie along u; each gets a level, the number of lines at or below its v. An edge
crosses exactly the lines between the levels of its ends (half-open rule), so every closed loop crosses every line an
even number of times, whatever its corners do. Crossings are gathered by line (counting sort), sorted along it, and
paired even-odd.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def parallel_vectors(points, starts, spacing, angle, phase, shortest, turning):
    """Vectors along parallel lines through loops that do not overlap.

    Args:
        points: (p, 2) f8; starts: (l + 1,) i8.
        spacing: between lines, mm; angle: of the lines against x, rad.
        phase: shift of the lines in spacings; at 0 the lines are centred on the extent of the loops.
        shortest: vectors up to this length are left out, mm.
        turning: every other line that has a vector runs backwards (a meander); else none does.

    Returns (n, 4) f8, line after line.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    line_0, first, crossing = crossings(points, starts, spacing, angle, phase)
    lines = len(first) - 1
    out = np.empty((len(crossing) // 2, 4))
    count = 0
    backwards = False
    for k in range(lines):
        begin, end = first[k], first[k + 1]
        height = line_0 + k * spacing
        before_line = count
        x_0, y_0 = -height * sin, height * cos
        for i in range(begin, end - 1, 2):
            at = begin + end - 2 - i if backwards else i
            low, high = crossing[np.uint64(at)], crossing[np.uint64(at + 1)]
            if high - low <= shortest:
                continue
            from_u, to_u = (high, low) if backwards else (low, high)
            row = np.uint64(count)  # unsigned: no index counts from the end
            out[row, 0] = x_0 + from_u * cos
            out[row, 1] = y_0 + from_u * sin
            out[row, 2] = x_0 + to_u * cos
            out[row, 3] = y_0 + to_u * sin
            count += 1
        if turning and count > before_line:
            backwards = not backwards
    return out[:count]


@njit(cache=True, nogil=True)
def crossings(points, starts, spacing, angle, phase):
    """Where parallel lines cross the loops: arguments as in `parallel_vectors`.

    Returns (line_0, first (lines + 1,) i8, crossing (c,) f8): line k lies at v = line_0 + k * spacing, and
    `crossing[first[k]:first[k + 1]]` are the u at which it enters and leaves by turns, rising. u runs along the angle,
    v across it; both are 0 at the origin of the plate.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    n = len(points)
    if n == 0:
        return 0.0, np.zeros(1, np.int64), np.empty(0)
    u = np.empty(n)
    v = np.empty(n)
    lowest, highest = math.inf, -math.inf
    for i in range(n):
        u[i] = points[i, 0] * cos + points[i, 1] * sin
        v[i] = points[i, 1] * cos - points[i, 0] * sin
        lowest, highest = min(lowest, v[i]), max(highest, v[i])
    lines = max(1, math.floor((highest - lowest) / spacing + 0.5))
    line_0 = 0.5 * (lowest + highest) - 0.5 * (lines - 1) * spacing + (phase - math.floor(phase + 0.5)) * spacing
    line_0 -= spacing  # a shifted set may need one line more at either end
    lines += 2
    level = np.empty(n, np.int64)
    for i in range(n):
        level[i] = min(max(math.floor((v[i] - line_0) / spacing) + 1, 0), lines)

    # an edge adds one crossing to a run of lines: mark where the run begins and where it has ended
    first = np.zeros(lines + 2, np.int64)
    for loop in range(len(starts) - 1):
        before = starts[loop + 1] - 1
        for i in range(starts[loop], starts[loop + 1]):
            first[min(level[before], level[i]) + 1] += 1
            first[max(level[before], level[i]) + 1] -= 1
            before = i
    crossed = 0  # by edges
    for k in range(1, lines + 1):
        crossed += first[k]
        first[k] = first[k - 1] + crossed
    first = first[: lines + 1]

    crossing = np.empty(first[lines])
    cursor = first.astype(np.uint64)  # unsigned: no index counts from the end
    for loop in range(len(starts) - 1):
        before = starts[loop + 1] - 1
        for i in range(starts[loop], starts[loop + 1]):
            low, high = (before, i) if level[before] < level[i] else (i, before)
            if level[low] < level[high]:
                slope = (u[high] - u[low]) / (v[high] - v[low])
                left, right = min(u[low], u[high]), max(u[low], u[high])
                u_low, v_low = u[low], v[low]
                for k in range(level[low], level[high]):
                    at = u_low + (line_0 + k * spacing - v_low) * slope
                    line = np.uint64(k)
                    crossing[cursor[line]] = min(max(at, left), right)
                    cursor[line] += np.uint64(1)
            before = i

    for k in range(lines):
        begin, end = first[k], first[k + 1]
        if end - begin == 2:
            one, other = crossing[np.uint64(begin)], crossing[np.uint64(end - 1)]
            crossing[np.uint64(begin)], crossing[np.uint64(end - 1)] = min(one, other), max(one, other)
        elif end - begin > 2:
            _sort(crossing, begin, end)
    return line_0, first, crossing


@njit(cache=True, nogil=True)
def diagonal(points):
    """The diagonal of the box around (p, 2) f8 points, p > 0; not a number where one of them is not finite."""
    x_low, x_high, y_low, y_high = math.inf, -math.inf, math.inf, -math.inf
    nothing = 0.0
    for i in range(len(points)):
        x, y = points[i, 0], points[i, 1]
        x_low, x_high, y_low, y_high = min(x_low, x), max(x_high, x), min(y_low, y), max(y_high, y)
        nothing += 0.0 * x + 0.0 * y
    return math.hypot(x_high - x_low, y_high - y_low) + nothing


@njit(cache=True, nogil=True)
def _sort(values, begin, end):
    """Sort values[begin:end] (Shell 1959): by plain insertion while they are few, which they nearly always are."""
    gap = 1
    while 16 * gap < end - begin:
        gap = 9 * gap // 4 + 1  # gaps that grow like those of Tokuda (1992)
    while gap > 0:
        for i in range(begin + gap, end):
            value = values[np.uint64(i)]
            j = i
            while j - gap >= begin and values[np.uint64(j - gap)] > value:
                values[np.uint64(j)] = values[np.uint64(j - gap)]
                j -= gap
            values[np.uint64(j)] = value
        gap = 4 * gap // 9

"""What lies near: a k-d tree of points that come and go, and a grid of segments that finds those within reach."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

LEAF = 8
"""Points in a leaf of the tree, about: fewer cost steps down, more cost distances."""

BOXES_DEEP = 64
"""Room on the search stack; a tree of 2^31 points is 28 levels deep."""


# ---- points


@njit(cache=True, nogil=True)
def tree_of(points, present):
    """A k-d tree over fixed points that may be taken out and put back.

    The tree is balanced by halving along the wider side, whatever the points do (the ends of a rectangle's hatch lie on
    two lines). Node k has the children 2k and 2k + 1; a node's points are a stretch of `items`.

    Args:
        points: (m, 2) f8, m > 0; present: (m,) b1, which are in at first.

    Returns the tuple that the functions below take: (points, items (m,) i4, boxes (nodes, 4) f8, count (nodes,) i4 of
    points present, leaf_of (m,) i4, is_in (m,) b1, levels).
    """
    m = len(points)
    levels = 0
    while (LEAF << levels) < m:
        levels += 1
    items = np.arange(m).astype(np.int32)
    boxes = np.empty((2 << levels, 4))
    for level in range(levels + 1):
        for i in range(1 << level):
            low, high = (i * m) >> level, ((i + 1) * m) >> level
            x0, y0, x1, y1 = math.inf, math.inf, -math.inf, -math.inf
            for k in range(low, high):
                x, y = points[items[k], 0], points[items[k], 1]
                x0, y0, x1, y1 = min(x0, x), min(y0, y), max(x1, x), max(y1, y)
            box = boxes[(1 << level) + i]
            box[0], box[1], box[2], box[3] = x0, y0, x1, y1
            if level < levels:
                _halve(points, items, 0 if x1 - x0 >= y1 - y0 else 1, low, high, ((2 * i + 1) * m) >> (level + 1))
    leaf_of = np.empty(m, np.int32)
    for i in range(1 << levels):
        for k in range((i * m) >> levels, ((i + 1) * m) >> levels):
            leaf_of[items[k]] = (1 << levels) + i
    tree = (points, items, boxes, np.zeros(2 << levels, np.int32), leaf_of, np.zeros(m, np.bool_), levels)
    for k in range(m):
        if present[k]:
            put_in(tree, k)
    return tree


@njit(cache=True, nogil=True)
def _halve(points, items, axis, low, high, middle):
    """Move items[low:high] so that those before `middle` are not greater along the axis than those from it on."""
    high -= 1
    while low < high:
        pivot = points[items[(low + high) // 2], axis]
        i, j = low, high
        while i <= j:
            while points[items[i], axis] < pivot:
                i += 1
            while points[items[j], axis] > pivot:
                j -= 1
            if i <= j:
                items[i], items[j] = items[j], items[i]
                i += 1
                j -= 1
        if middle <= j:
            high = j
        elif middle >= i:
            low = i
        else:
            return


@njit(cache=True, nogil=True)
def put_in(tree, point):
    """Put a point (back) into the tree; nothing happens if it is in."""
    _, _, _, count, leaf_of, is_in, _ = tree
    if not is_in[point]:
        is_in[point] = True
        node = leaf_of[point]
        while node:
            count[node] += 1
            node >>= 1


@njit(cache=True, nogil=True)
def take_out(tree, point):
    """Take a point out of the tree; nothing happens if it is out."""
    _, _, _, count, leaf_of, is_in, _ = tree
    if is_in[point]:
        is_in[point] = False
        node = leaf_of[point]
        while node:
            count[node] -= 1
            node >>= 1


@njit(cache=True, nogil=True)
def _gap_sq(box, x, y):
    """Squared distance of a point from a box, 0 inside."""
    dx = max(box[0] - x, x - box[2], 0.0)
    dy = max(box[1] - y, y - box[3], 0.0)
    return dx * dx + dy * dy


@njit(cache=True, nogil=True)
def nearest_in(tree, x, y, stack):
    """(the point present that is nearest to (x, y), its squared distance); of equals the first; (-1, inf) if none is.

    stack: (BOXES_DEEP,) i4, scratch.
    """
    points, items, boxes, count, _, is_in, levels = tree
    m = len(items)
    leaves = 1 << levels
    best = math.inf
    best_point = -1
    depth = 0
    node = 1
    while True:
        if count[node] > 0 and _gap_sq(boxes[node], x, y) <= best:
            if node < leaves:
                near, far = 2 * node, 2 * node + 1
                if _gap_sq(boxes[far], x, y) < _gap_sq(boxes[near], x, y):
                    near, far = far, near
                stack[depth] = far
                depth += 1
                node = near
                continue
            i = node - leaves
            for k in range((i * m) >> levels, ((i + 1) * m) >> levels):
                point = items[k]
                if is_in[point]:
                    away = (points[point, 0] - x) ** 2 + (points[point, 1] - y) ** 2
                    if away < best or (away == best and point < best_point):
                        best = away
                        best_point = point
        if depth == 0:
            return best_point, best
        depth -= 1
        node = stack[depth]


@njit(cache=True, nogil=True)
def few_nearest(tree, x, y, within_sq, found, away_sq, stack):
    """The len(found) nearest of all points (present or not) nearer than sqrt(within_sq), nearest first.

    found: (k,) i4 and away_sq: (k,) f8, out; stack as above. Returns how many were found.
    """
    points, items, boxes, _, _, _, levels = tree
    m = len(items)
    leaves = 1 << levels
    room = len(found)
    many = 0
    depth = 0
    node = 1
    while True:
        if _gap_sq(boxes[node], x, y) < within_sq:
            if node < leaves:
                near, far = 2 * node, 2 * node + 1
                if _gap_sq(boxes[far], x, y) < _gap_sq(boxes[near], x, y):
                    near, far = far, near
                stack[depth] = far
                depth += 1
                node = near
                continue
            i = node - leaves
            for k in range((i * m) >> levels, ((i + 1) * m) >> levels):
                point = items[k]
                away = (points[point, 0] - x) ** 2 + (points[point, 1] - y) ** 2
                if away >= within_sq:
                    continue
                place = min(many, room - 1)
                while place > 0 and away_sq[place - 1] > away:
                    found[place] = found[place - 1]
                    away_sq[place] = away_sq[place - 1]
                    place -= 1
                found[place] = point
                away_sq[place] = away
                if many < room:
                    many += 1
                if many == room:
                    within_sq = away_sq[room - 1]
        if depth == 0:
            return many
        depth -= 1
        node = stack[depth]


# ---- segments


@njit(cache=True, nogil=True)
def grid_of(vectors, reach):
    """A grid in which each segment is noted in every cell it touches.

    Cells are about half the reach wide, and never so small that a segment of mean length is noted more than some ten
    times, or that there are far more cells than segments.

    Args:
        vectors: (n, 4) f8, n > 0; reach: up to which distance neighbours will be asked for, mm.

    Returns (frame (3,) f8: x0, y0, cell width; shape (2,) i8: columns, rows; first (cells + 1,) i8; noted i4): cell c
    holds the segments noted[first[c]:first[c + 1]], in rising order.
    """
    n = len(vectors)
    x0, y0, x1, y1 = math.inf, math.inf, -math.inf, -math.inf
    total = 0.0
    for k in range(n):
        ax, ay, bx, by = vectors[k]
        x0, x1 = min(x0, ax, bx), max(x1, ax, bx)
        y0, y1 = min(y0, ay, by), max(y1, ay, by)
        total += math.hypot(bx - ax, by - ay)
    extent = max(x1 - x0, y1 - y0)
    cell = max(0.5 * reach, total / (8.0 * n), extent / min(1024.0, 4.0 * math.sqrt(n) + 1.0), 1e-6)
    columns, rows = int((x1 - x0) / cell) + 1, int((y1 - y0) / cell) + 1
    frame = np.array([x0, y0, cell])
    shape = np.array([columns, rows])
    first = np.zeros(columns * rows + 1, np.int64)
    slack = 1e-9 * cell
    for k in range(n):
        low, high = rows_near(vectors[k], slack, frame, shape)
        for row in range(low, high + 1):
            left, right = columns_near(vectors[k], slack, row, frame, shape)
            for column in range(left, right + 1):
                first[row * columns + column + 1] += 1
    for c in range(columns * rows):
        first[c + 1] += first[c]
    noted = np.empty(first[-1], np.int32)
    cursor = first[:-1].copy()
    for k in range(n):
        low, high = rows_near(vectors[k], slack, frame, shape)
        for row in range(low, high + 1):
            left, right = columns_near(vectors[k], slack, row, frame, shape)
            for column in range(left, right + 1):
                noted[cursor[row * columns + column]] = k
                cursor[row * columns + column] += 1
    return frame, shape, first, noted


@njit(cache=True, nogil=True)
def rows_near(vector, reach, frame, shape):
    """(first, last) row of the grid within reach of a segment."""
    low = min(vector[1], vector[3]) - reach - frame[1]
    high = max(vector[1], vector[3]) + reach - frame[1]
    return max(int(low / frame[2]), 0), min(int(high / frame[2]), shape[1] - 1)


@njit(cache=True, nogil=True)
def columns_near(vector, reach, row, frame, shape):
    """(first, last) column of a row whose cells are within reach of a segment, or first > last where none is."""
    ax, ay, bx, by = vector[0], vector[1], vector[2], vector[3]
    if by < ay:
        ax, ay, bx, by = bx, by, ax, ay
    bottom = frame[1] + row * frame[2] - reach
    top = bottom + frame[2] + 2.0 * reach
    if by < bottom or ay > top:
        return 0, -1
    from_x, to_x = ax, bx
    if by > ay:  # only the part that passes the row
        slope = (bx - ax) / (by - ay)
        if ay < bottom:
            from_x = ax + (bottom - ay) * slope
        if by > top:
            to_x = ax + (top - ay) * slope
    left = min(from_x, to_x) - reach - frame[0]
    right = max(from_x, to_x) + reach - frame[0]
    slack = 1e-9 * frame[2]
    return max(int((left - slack) / frame[2]), 0), min(int((right + slack) / frame[2]), shape[0] - 1)


@njit(cache=True, nogil=True)
def segments_gap_sq(a, b):
    """Squared distance of two segments, 0 where they cross."""
    ax, ay, bx, by = a[0], a[1], a[2], a[3]
    cx, cy, dx, dy = b[0], b[1], b[2], b[3]
    ux, uy = bx - ax, by - ay
    vx, vy = dx - cx, dy - cy
    c_side = ux * (cy - ay) - uy * (cx - ax)
    d_side = ux * (dy - ay) - uy * (dx - ax)
    a_side = vx * (ay - cy) - vy * (ax - cx)
    b_side = vx * (by - cy) - vy * (bx - cx)
    apart = (
        max(ax, bx) < min(cx, dx) or max(cx, dx) < min(ax, bx) or max(ay, by) < min(cy, dy) or max(cy, dy) < min(ay, by)
    )
    if not apart and c_side * d_side < 0.0 and a_side * b_side < 0.0:  # pieces of one line only seem to cross
        return 0.0
    u_sq, v_sq = ux * ux + uy * uy, vx * vx + vy * vy
    return min(
        _point_gap_sq(cx, cy, ax, ay, ux, uy, u_sq),
        _point_gap_sq(dx, dy, ax, ay, ux, uy, u_sq),
        _point_gap_sq(ax, ay, cx, cy, vx, vy, v_sq),
        _point_gap_sq(bx, by, cx, cy, vx, vy, v_sq),
    )


@njit(cache=True, nogil=True)
def _point_gap_sq(x, y, ax, ay, ux, uy, u_sq):
    """Squared distance of a point from the segment that begins at a and runs along u."""
    part = 0.0
    if u_sq > 0.0:
        part = min(max(((x - ax) * ux + (y - ay) * uy) / u_sq, 0.0), 1.0)
    return (ax + part * ux - x) ** 2 + (ay + part * uy - y) ** 2

"""Where an outline is narrower than a given width, and the middle line of those places.

From points along the outline a ray runs inwards to the nearest other side; where it is short, its middle lies on the
wall's middle line. Every place is seen from both sides and kept from the one that comes first in the outline.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from slicer.kernels.nearby import columns_near, grid_of, rows_near, segments_gap_sq

CHORD_SHARE, CORNER_SHARE = 0.7, 0.09
"""What an arc drawn in chords may be short of, at most: this part of chord error x turn x r^2, or of turn^3 r^2."""


@njit(cache=True, nogil=True)
def corner_losses(points, starts, radius, arc_part, loss, spare):
    """What a disc that rolls along the inside cannot reach in the convex corners of each loop, if none is near another.

    A corner that turns by t loses r^2 (tan(t / 2) - t / 2).

    Args:
        points: (p, 2) f8; starts: (l + 1,) i8; radius: r, mm.
        arc_part: how far a chord of an arc of that radius stays behind it, as a part of r.
        loss: (l,) f8, out, mm2. spare: (l,) f8, out, mm2: by how much more chords may fall short of the arcs.
    """
    for loop in range(len(starts) - 1):
        loss[loop] = 0.0
        spare[loop] = 1e-3 * radius * radius
        begin, end = starts[loop], starts[loop + 1]
        for i in range(begin, end):
            before = i - 1 if i > begin else end - 1
            after = i + 1 if i + 1 < end else begin
            ax, ay = points[i, 0] - points[before, 0], points[i, 1] - points[before, 1]
            bx, by = points[after, 0] - points[i, 0], points[after, 1] - points[i, 1]
            turn = math.atan2(ax * by - ay * bx, ax * bx + ay * by)
            if turn > 0.0:
                loss[loop] += radius * radius * (math.tan(min(0.5 * turn, 1.5)) - 0.5 * turn)
                spare[loop] += radius * radius * min(CHORD_SHARE * arc_part * turn, CORNER_SHARE * turn**3)


@njit(cache=True, nogil=True)
def inset_area(points, starts, distance, arc_part):
    """The area of loops moved in by a distance, if no edge vanishes and no two loops meet on the way: where one does,
    more is left.

    A - P d + d^2 (sum of tan(t / 2) over corners that turn in by t, less the sum of t / 2 over those that turn out).

    Args:
        points: (p, 2) f8; starts: (l + 1,) i8, the inside to the left; distance: d, mm.
        arc_part: how far a chord of an arc of that radius stays behind it, as a part of d.

    Returns (area, by how much chords may miss it), mm2.
    """
    twice, length, corners, missed = 0.0, 0.0, 0.0, 1e-3
    for loop in range(len(starts) - 1):
        begin, end = starts[loop], starts[loop + 1]
        for i in range(begin, end):
            before = i - 1 if i > begin else end - 1
            after = i + 1 if i + 1 < end else begin
            ax, ay = points[i, 0] - points[before, 0], points[i, 1] - points[before, 1]
            bx, by = points[after, 0] - points[i, 0], points[after, 1] - points[i, 1]
            x, y = points[i, 0] - points[begin, 0], points[i, 1] - points[begin, 1]
            twice += x * by - y * bx
            length += math.sqrt(bx * bx + by * by)
            turn = math.atan2(ax * by - ay * bx, ax * bx + ay * by)
            corners += math.tan(min(0.5 * turn, 1.5)) if turn > 0.0 else 0.5 * turn
            missed += min(CHORD_SHARE * arc_part * abs(turn), CORNER_SHARE * abs(turn) ** 3)
    return 0.5 * twice - length * distance + corners * distance * distance, missed * distance * distance


@njit(cache=True, nogil=True)
def group_boxes(box, group):
    """Number boxes so that those that touch, directly or through others, have one number.

    Args:
        box: (l, 4) f8; group: (l,) i8, out, numbers that rise from 0 with the first box of each group.

    Returns the number of groups.
    """
    for i in range(len(box)):
        group[i] = i
    for i in range(len(box)):
        for k in range(i):
            if box[i, 0] <= box[k, 2] and box[k, 0] <= box[i, 2] and box[i, 1] <= box[k, 3] and box[k, 1] <= box[i, 3]:
                a, b = i, k
                while group[a] != a:
                    a = group[a]
                while group[b] != b:
                    b = group[b]
                group[max(a, b)] = min(a, b)
    count = 0
    for i in range(len(box)):  # a group's first box is its root
        if group[i] == i:
            group[i] = -1 - count
            count += 1
        else:
            root = group[i]
            while root >= 0 and group[root] >= 0:
                root = group[root]
            group[i] = group[root]
    for i in range(len(box)):
        group[i] = -1 - group[i]
    return count


@njit(cache=True, nogil=True)
def middles(points, starts, boxes, width, step, out, place, loop_of):
    """Middle points of all places narrower than `width`, in the order of the outline.

    Args:
        points: (p, 2) f8; starts: (l + 1,) i8; outer loops counter-clockwise, holes clockwise.
        boxes: (b, 4) f8, x and y from, x and y to: only there, and a width around, is looked for.
        step: between samples, mm.
        out: (m, 3) f8, out: x, y and the width there; place: (m,) i8, out: number of the sample; loop_of: (m,) i8, out.

    Returns how many there are (or would be, where `out` is too short), and per call the number of samples.
    """
    count = 0
    sample = 0
    edges = np.empty((len(points), 5))
    for box in range(len(boxes)):
        # the edges that a ray from this box can meet
        n = 0
        for loop in range(len(starts) - 1):
            begin, end = starts[loop], starts[loop + 1]
            for i in range(begin, end):
                after = i + 1 if i + 1 < end else begin
                if (
                    min(points[i, 0], points[after, 0]) <= boxes[box, 2] + width
                    and max(points[i, 0], points[after, 0]) >= boxes[box, 0] - width
                    and min(points[i, 1], points[after, 1]) <= boxes[box, 3] + width
                    and max(points[i, 1], points[after, 1]) >= boxes[box, 1] - width
                ):
                    edges[n, 0], edges[n, 1] = points[i, 0], points[i, 1]
                    edges[n, 2], edges[n, 3] = points[after, 0] - points[i, 0], points[after, 1] - points[i, 1]
                    edges[n, 4] = loop
                    n += 1
        for e in range(n):
            dx, dy = edges[e, 2], edges[e, 3]
            length = math.hypot(dx, dy)
            if length == 0.0:
                continue
            parts = max(1, math.ceil(length / step))
            for k in range(parts):
                sample += 1
                t = (k + 0.5) / parts
                x, y = edges[e, 0] + t * dx, edges[e, 1] + t * dy
                if not (boxes[box, 0] <= x <= boxes[box, 2] and boxes[box, 1] <= y <= boxes[box, 3]):
                    continue
                nx, ny = -dy / length, dx / length  # inside is on the left
                nearest = width
                met, met_at = -1, 0.0
                for f in range(n):
                    if f == e:
                        continue
                    across = nx * edges[f, 3] - ny * edges[f, 2]
                    if across == 0.0:
                        continue
                    rx, ry = edges[f, 0] - x, edges[f, 1] - y
                    reach = (rx * edges[f, 3] - ry * edges[f, 2]) / across
                    u = (rx * ny - ry * nx) / across
                    if 1e-9 < reach < nearest and 0.0 <= u <= 1.0:
                        nearest = reach
                        met, met_at = f, u
                if met < 0 or (met, met_at) < (e, t):
                    continue
                if count < len(out):
                    out[count, 0], out[count, 1] = x + 0.5 * nearest * nx, y + 0.5 * nearest * ny
                    out[count, 2] = nearest
                    place[count] = sample
                    loop_of[count] = np.int64(edges[e, 4])
                count += 1
        sample += 2  # nothing runs on from one box to the next
    return count


@njit(cache=True, nogil=True)
def far_from(points, vectors, reach):
    """Which points, (p, 2) f8, are farther than `reach` from every vector, (n, 4) f8: (p,) b1."""
    far = np.ones(len(points), np.bool_)
    if len(points) == 0 or len(vectors) == 0:
        return far
    frame, shape, first, noted = grid_of(vectors, reach)
    at = np.empty(4)
    for i in range(len(points)):
        x, y = points[i, 0], points[i, 1]
        at[0], at[1], at[2], at[3] = x, y, x, y
        low, high = rows_near(at, reach, frame, shape)
        for row in range(low, high + 1):
            left, right = columns_near(at, reach, row, frame, shape)
            for column in range(left, right + 1):
                cell = row * shape[0] + column
                for k in range(first[cell], first[cell + 1]):
                    if far[i]:
                        vector = vectors[noted[k]]
                        far[i] = segments_gap_sq(at, vector) > reach * reach
    return far

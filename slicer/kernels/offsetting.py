"""Offsets of closed loops: a raw curve beside every loop, then the boundary of the region that a winding rule keeps.

`raw_offset` moves every edge of a loop sideways. Where the moved edges part, an arc (of chords) joins them; where they
run into each other they are trimmed at their meeting point, if both are long enough, and else joined through the
corner itself. Let w be the winding number of the outline (0 or 1), and cover(q) the number of strips (edge x distance)
and sectors (corner arcs) over a point q, a trimmed pair of strips counted once where they overlap at their corner.
Then the raw curve's winding number is w - cover for a move inward and w + cover for a move outward, because it bounds
what is left when the strips and sectors are taken from, or added to, the region. A strip is trimmed at disjoint ends,
so cover is positive exactly within the distance of the outline: "winding number > 0" is exactly the offset region.

`slicer.kernels.resolving` finds that region's boundary, and `offset_outline` holds it against the outline.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from slicer.kernels.cutting import order_of
from slicer.kernels.resolving import CUT, FAILED, NO_NUMBER, POSITIVE, SIMPLE, resolve

MITRE_PART = 0.25
"""How far a small gap's mitre may lead, as a part of what a chord may stay behind."""

PROVEN_PART = 0.97
"""A move this much shorter than one that met nothing meets nothing: chords stay behind their arcs by less."""

BOXED = 16
"""Edges in a box."""

SAME_MM = 1e-12
"""Corners this close are one."""


@njit(cache=True, nogil=True, error_model="numpy")
def _distinct(points, begin, end, x, y):
    """Copy one loop's corners to x[begin:], y[begin:] without repeated ones. Returns how many are left."""
    count = 0
    for i in range(begin, end):
        last = begin + count - 1
        if count == 0 or abs(points[i, 0] - x[last]) > SAME_MM or abs(points[i, 1] - y[last]) > SAME_MM:
            x[begin + count], y[begin + count] = points[i, 0], points[i, 1]
            count += 1
    while count > 1 and max(abs(x[begin + count - 1] - x[begin]), abs(y[begin + count - 1] - y[begin])) <= SAME_MM:
        count -= 1
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _vanishes(x, y, begin, end, d):
    """Whether a loop moved towards its own inside is too narrow to leave anything."""
    twice_area = 0.0
    low_x, high_x, low_y, high_y = x[begin], x[begin], y[begin], y[begin]
    before = end - 1
    for i in range(begin, end):
        twice_area += (x[before] - x[begin]) * (y[i] - y[begin]) - (x[i] - x[begin]) * (y[before] - y[begin])
        low_x, high_x = min(low_x, x[i]), max(high_x, x[i])
        low_y, high_y = min(low_y, y[i]), max(high_y, y[i])
        before = i
    return twice_area * d < 0.0 and min(high_x - low_x, high_y - low_y) <= 2.0 * abs(d)


@njit(cache=True, nogil=True, error_model="numpy")
def _join_across(
    x, y, ux, uy, length, wide, d, slack, begin, end, edge, previous, following, from_start, to_end, join, gone
):  # fmt: skip
    """Join the edges on both sides of one that vanishes, and of more beside it where need be.

    They must turn towards the move, by less than 120 degrees, and what vanishes must hide behind the joint: that is as
    far from it as from the two edges that meet, or farther, but for the slack. Then all of the joined curve keeps its
    distance from the outline.

    Args:
        edge: the one that vanishes; edges and corners are numbered from begin to end - 1, edge i leaves corner i.
        wide: (n,) b1, corners that need an arc, which cannot vanish; slack: mm.
        previous, following: (n,) i4, edges that are left, in a ring; from_start, to_end: (n,) f8, what is trimmed off.
        join: (n, 2) f8, out: the joint, at the first of the corners it stands for; gone: (n,) b1, out: vanished edges.

    Returns whether they could be joined.
    """
    span = end - begin
    reach = abs(d)
    left, right = previous[edge], following[edge]
    room = 1.0 - 1e-9
    while True:
        low = left + 1 if left + 1 < end else begin
        if left == right or wide[low] or wide[right]:
            return False
        cross = ux[left] * uy[right] - uy[left] * ux[right]
        dot = ux[left] * ux[right] + uy[left] * uy[right]
        if cross * d >= 0.0 or dot < -0.5 or abs(cross) < 1e-6:
            return False
        gap_x = x[right] - x[low] + d * (uy[right] - uy[left])
        gap_y = y[right] - y[low] - d * (ux[right] - ux[left])
        off = -(gap_x * uy[right] - gap_y * ux[right]) / cross
        on = (gap_x * uy[left] - gap_y * ux[left]) / cross
        if off < 0.0 or on < 0.0:
            return False
        if from_start[left] + off > length[left] * room:
            left = previous[left]
        elif on + to_end[right] > length[right] * room:
            right = following[right]
        else:
            break
    joint_x, joint_y = x[low] + d * uy[left] - off * ux[left], y[low] - d * ux[left] - off * uy[left]
    sense = math.copysign(1.0, d)
    hidden = (right - low) % span
    i = low
    for _ in range(hidden):
        if sense * ((joint_x - x[i]) * uy[i] - (joint_y - y[i]) * ux[i]) < reach - slack:
            return False
        if dot < 0.0:
            for e in (left, right):
                if sense * ((x[i] - x[e]) * uy[e] - (y[i] - y[e]) * ux[e]) > reach:
                    return False
        i = i + 1 if i + 1 < end else begin
    join[low, 0], join[low, 1] = joint_x, joint_y
    i = low
    for _ in range(hidden):
        gone[i] = True
        i = i + 1 if i + 1 < end else begin
    to_end[left], from_start[right] = off, on
    following[left], previous[right] = right, left
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def raw_offset(points, starts, move, chords_per_turn, mitre_max):
    """The moved loops, untidied: they cross where the outline is narrower than twice the distance.

    Args:
        points: (p, 2) f8; starts: (l + 1,) i8; loops with the inside to the left that do not cross.
        move: (l,) f8, how far each loop goes to its right (outward), mm; negative: to its left.
        chords_per_turn: (l,) i8, of the arcs of each loop.
        mitre_max: (l,) f8, a gap whose mitre is at most this much longer than the move is closed by the mitre, mm.

    Returns (points (q, 2) f8, starts (k + 1,) i8, whether every corner was joined by trimming or a gap); a loop of
    fewer than three different points, or of which nothing can be left, is left out.
    """
    n = len(points)
    loops = len(starts) - 1
    x, y = np.empty(n), np.empty(n)  # the loop without repeated points
    ux, uy, length = np.empty(n), np.empty(n), np.empty(n)  # of the edge that leaves each corner
    cross, dot, trim = np.empty(n), np.empty(n), np.empty(n)
    from_start, to_end, join = np.empty(n), np.empty(n), np.empty((n, 2))
    gone, wide = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    previous, following = np.empty(n, np.int64), np.empty(n, np.int64)
    size = np.zeros(n, np.int64)  # points that each corner becomes
    corners = np.zeros(loops, np.int64)
    out_starts = np.zeros(loops + 1, np.int64)
    left = 0
    upright = True
    total = 0
    room = 1.0 - 1e-9
    for loop in range(loops):
        begin, d = starts[loop], move[loop]
        reach = abs(d)
        end = begin + _distinct(points, begin, starts[loop + 1], x, y)
        if end - begin < 3:
            continue
        if _vanishes(x, y, begin, end, d):
            upright = False
            continue
        corners[loop] = end - begin
        for i in range(begin, end):
            j = i + 1 if i + 1 < end else begin
            dx, dy = x[j] - x[i], y[j] - y[i]
            length[i] = math.sqrt(dx * dx + dy * dy)
            ux[i], uy[i] = dx / length[i], dy / length[i]
            previous[j], following[i] = i, j
        for i in range(begin, end):
            h = previous[i]
            cross[i] = ux[h] * uy[i] - uy[h] * ux[i]
            dot[i] = ux[h] * ux[i] + uy[h] * uy[i]
            trim[i] = 0.0
            if cross[i] * d < 0.0:
                trim[i] = reach * abs(cross[i]) / (1.0 + dot[i]) if dot[i] > -1.0 else math.inf
            else:
                wide[i] = dot[i] <= 0.0 or reach * (math.sqrt(2.0 / (1.0 + dot[i])) - 1.0) > mitre_max[loop]
            if dot[i] > -1.0:
                join[i, 0] = x[i] + d * (uy[h] + uy[i]) / (1.0 + dot[i])
                join[i, 1] = y[i] - d * (ux[h] + ux[i]) / (1.0 + dot[i])
            from_start[i], to_end[h] = trim[i], trim[i]
        for i in range(begin, end):
            if from_start[i] + to_end[i] > length[i] * room and not gone[i]:
                _join_across(
                    x, y, ux, uy, length, wide, d, mitre_max[loop], begin, end, i, previous, following, from_start,
                    to_end, join, gone,
                )  # fmt: skip
        for i in range(begin, end):
            h = i - 1 if i > begin else end - 1
            if gone[i]:
                size[i] = 0 if gone[h] else 1
            elif gone[h]:
                size[i] = 0
            elif trim[i] > 0.0:
                fits = from_start[h] + to_end[h] <= length[h] * room and from_start[i] + to_end[i] <= length[i] * room
                size[i] = 1 if fits else 3
                upright &= fits
            elif not wide[i]:
                size[i] = 1
            else:
                turn = abs(math.atan2(cross[i], dot[i]))
                size[i] = 1 + max(1, math.ceil(turn * chords_per_turn[loop] / (2.0 * math.pi) - 1e-9))
            total += size[i]
        left += 1
        out_starts[left] = total

    out = np.empty((total, 2))
    at = 0
    for loop in range(loops):
        begin, d = starts[loop], move[loop]
        end = begin + corners[loop]
        for i in range(begin, end):
            h = i - 1 if i > begin else end - 1
            sx, sy = d * uy[h], -d * ux[h]  # from the corner to the end of the edge before it, moved
            ex, ey = d * uy[i], -d * ux[i]  # ... and to the start of the edge after it
            if size[i] == 1:
                out[at, 0], out[at, 1] = join[i, 0], join[i, 1]
            elif size[i] > 0 and trim[i] > 0.0:
                out[at, 0], out[at, 1] = x[i] + sx, y[i] + sy
                out[at + 1, 0], out[at + 1, 1] = x[i], y[i]
                out[at + 2, 0], out[at + 2, 1] = x[i] + ex, y[i] + ey
            elif size[i] > 0:
                turn = math.atan2(cross[i], dot[i]) / (size[i] - 1)
                if dot[i] < 0.0 and cross[i] == 0.0:  # straight back: around the tip, on the side of the move
                    turn = math.copysign(turn, d)
                cos, sin = math.cos(turn), math.sin(turn)
                for k in range(size[i] - 1):
                    out[at + k, 0], out[at + k, 1] = x[i] + sx, y[i] + sy
                    sx, sy = sx * cos - sy * sin, sx * sin + sy * cos
                out[at + size[i] - 1, 0], out[at + size[i] - 1, 1] = x[i] + ex, y[i] + ey
            at += size[i]
    return out, out_starts[: left + 1], upright


@njit(cache=True, nogil=True, error_model="numpy")
def _sum(values):
    total = 0.0
    for i in range(len(values)):
        total += values[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def measure_loops(points, starts, areas, perimeters):
    """The signed area of each loop, mm2, and its length, mm, into `areas` and `perimeters` ((l,) f8 each).

    Reckoned from each loop's own first corner, so that a part far away loses no digits.
    """
    for loop in range(len(starts) - 1):
        twice, around = 0.0, 0.0
        begin, end = starts[loop], starts[loop + 1]
        before = end - 1
        for i in range(begin, end):
            ax, ay = points[before, 0] - points[begin, 0], points[before, 1] - points[begin, 1]
            bx, by = points[i, 0] - points[begin, 0], points[i, 1] - points[begin, 1]
            twice += ax * by - bx * ay
            around += math.sqrt((bx - ax) * (bx - ax) + (by - ay) * (by - ay))
            before = i
        areas[loop], perimeters[loop] = 0.5 * twice, around


@njit(cache=True, nogil=True, error_model="numpy")
def _boxes(points, starts):
    """Boxes around up to `BOXED` edges: (b, 4) f8 least x, y, greatest x, y; and (b, 3) i8 first edge, end, loop."""
    count = 0
    for loop in range(len(starts) - 1):
        count += (starts[loop + 1] - starts[loop] + BOXED - 1) // BOXED
    boxes, parts = np.empty((count, 4)), np.empty((count, 3), np.int64)
    b = 0
    for loop in range(len(starts) - 1):
        for first in range(starts[loop], starts[loop + 1], BOXED):
            end = min(first + BOXED, starts[loop + 1])
            parts[b, 0], parts[b, 1], parts[b, 2] = first, end, loop
            boxes[b, 0], boxes[b, 1], boxes[b, 2], boxes[b, 3] = math.inf, math.inf, -math.inf, -math.inf
            for k in range(first, end + 1):
                i = k if k < starts[loop + 1] else starts[loop]
                boxes[b, 0], boxes[b, 2] = min(boxes[b, 0], points[i, 0]), max(boxes[b, 2], points[i, 0])
                boxes[b, 1], boxes[b, 3] = min(boxes[b, 1], points[i, 1]), max(boxes[b, 3], points[i, 1])
            b += 1
    return boxes, parts


@njit(cache=True, nogil=True, error_model="numpy")
def _clear_of(px, py, points, starts, boxes, parts, least):
    """Whether a point is `least` (l,) f8 or more away from every loop."""
    for b in range(len(boxes)):
        loop = parts[b, 2]
        d = least[loop]
        if px < boxes[b, 0] - d or px > boxes[b, 2] + d or py < boxes[b, 1] - d or py > boxes[b, 3] + d:
            continue
        for i in range(parts[b, 0], parts[b, 1]):
            j = i + 1 if i + 1 < starts[loop + 1] else starts[loop]
            ax, ay = points[i, 0], points[i, 1]
            dx, dy = points[j, 0] - ax, points[j, 1] - ay
            square = dx * dx + dy * dy
            part = 0.0
            if square > 0.0:
                part = min(max(((px - ax) * dx + (py - ay) * dy) / square, 0.0), 1.0)
            ex, ey = px - ax - part * dx, py - ay - part * dy
            if ex * ex + ey * ey < d * d:
                return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def offset_outline(points, starts, moves, chords_per_turn, behind):
    """Offsets of one outline by several distances; see `raw_offset` and `resolve`.

    Args:
        points: (p, 2) f8; starts: (l + 1,) i8; outer loops counter-clockwise, holes clockwise; bodies may overlap.
        moves: (k, 2) f8, how far outer loops and holes move, mm; positive makes more material.
        chords_per_turn: (k, 2) i8; behind: (k, 2) f8, how far a chord may stay behind its arc, mm.

    All is reckoned from the middle of the points, so that the place of a part takes no digits from it.

    Every corner that crossings made, and one of each stretch between, is held against the outline: it must be as far
    away as the move, but for a chord. The area may not lie outside what the outline's perimeter allows. So an answer is
    either right or FAILED.

    Returns (states (k,) u1, parts (k, 2) i8, loop_starts, points): result i has the loops parts[i, 0] to
    parts[i, 1], loop j the points from loop_starts[j] to loop_starts[j + 1]. A FAILED one has none.
    """
    k = len(moves)
    states, parts = np.empty(k, np.uint8), np.zeros((k, 2), np.int64)
    states[:] = FAILED
    low_x, high_x, low_y, high_y = math.inf, -math.inf, math.inf, -math.inf
    for i in range(len(points)):
        if not (math.isfinite(points[i, 0]) and math.isfinite(points[i, 1])):
            states[:] = NO_NUMBER
            return states, parts, np.zeros(1, np.int64), np.empty((0, 2))
        low_x, high_x = min(low_x, points[i, 0]), max(high_x, points[i, 0])
        low_y, high_y = min(low_y, points[i, 1]), max(high_y, points[i, 1])
    centre_x, centre_y = 0.5 * (low_x + high_x), 0.5 * (low_y + high_y)
    near = np.empty((len(points), 2))
    for i in range(len(points)):
        near[i, 0], near[i, 1] = points[i, 0] - centre_x, points[i, 1] - centre_y
    state, outline, begins, _, step = resolve(near, starts, POSITIVE)
    out, out_starts = np.empty((2 * k * len(points), 2)), np.zeros(2 * k * len(starts), np.int64)
    points_used, loops_used = 0, 0
    if state == FAILED:
        return states, parts, out_starts[:1], out[:0]
    loops = len(begins) - 1
    areas, perimeters = np.empty(loops), np.empty(loops)
    measure_loops(outline, begins, areas, perimeters)
    area, around = _sum(areas), _sum(perimeters)
    boxes, boxed = _boxes(outline, begins)
    move, chords, mitre = np.empty(loops), np.empty(loops, np.int64), np.empty(loops)
    least = np.empty(loops)

    # From the farthest move down: where that one has all its corners and meets nothing, neither does one inside it.
    nanometres = np.empty(k, np.int64)
    for r in range(k):
        nanometres[r] = int(-1e6 * abs(moves[r, 0]))
    order = order_of(nanometres)
    proven = np.zeros(2)
    for o in range(k):
        r = order[o]
        d, hole_d = moves[r, 0], moves[r, 1]
        made, found, found_starts = state, outline, begins
        if d != 0.0 or hole_d != 0.0:
            for loop in range(loops):
                kind = 0 if areas[loop] > 0.0 else 1
                move[loop], chords[loop] = moves[r, kind], chords_per_turn[r, kind]
                mitre[loop] = MITRE_PART * behind[r, kind]
                least[loop] = abs(moves[r, kind]) - behind[r, kind] - mitre[loop] - 16.0 * step
            found, found_starts, upright = raw_offset(outline, begins, move, chords, mitre)
            side = 0 if d < 0.0 else 1
            if not (upright and d == hole_d and abs(d) <= PROVEN_PART * proven[side]):
                made, found, found_starts, probes, raw_step = resolve(found, found_starts, POSITIVE)
                if made == SIMPLE and upright and d == hole_d and proven[side] == 0.0:
                    proven[side] = abs(d)
                if made == CUT:
                    reach = max(abs(d), abs(hole_d))
                    most = reach * around + 4.0 * reach * reach * loops + raw_step * around + 1e-9
                    low, high = area, area
                    if min(d, hole_d) < 0.0:
                        low -= most
                    if max(d, hole_d) > 0.0:
                        high += most
                    sizes = np.empty(len(found_starts) - 1)
                    measure_loops(found, found_starts, sizes, np.empty(len(sizes)))
                    if not low <= _sum(sizes) <= high:
                        made = FAILED
                    i = 0
                    while i < len(probes) and made != FAILED:
                        px, py = found[i, 0], found[i, 1]
                        if probes[i] and not _clear_of(px, py, outline, begins, boxes, boxed, least):
                            made = FAILED
                        i += 1
        states[r] = max(made, state)
        if made == FAILED:
            continue
        size, count = len(found), len(found_starts) - 1
        if points_used + size > len(out):
            larger = np.empty((2 * (points_used + size), 2))
            for i in range(points_used):
                larger[i, 0], larger[i, 1] = out[i, 0], out[i, 1]
            out = larger
        if loops_used + count + 2 > len(out_starts):
            more = np.zeros(2 * (loops_used + count + 2), np.int64)
            for loop in range(loops_used):
                more[loop] = out_starts[loop]
            out_starts = more
        for i in range(size):
            out[points_used + i, 0] = found[i, 0] + centre_x
            out[points_used + i, 1] = found[i, 1] + centre_y
        parts[r, 0], parts[r, 1] = loops_used, loops_used + count
        for loop in range(count + 1):
            out_starts[loops_used + loop] = points_used + found_starts[loop]
        loops_used += count + 1
        points_used += size
    return states, parts, out_starts[:loops_used], out[:points_used]

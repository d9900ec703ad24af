"""Offsets of closed loops: a raw curve beside every loop, then the boundary of the region that a winding rule keeps.

`raw_offset` moves every edge of a loop sideways. Where the moved edges part, an arc (of chords) joins them; where they
run into each other they are trimmed at their meeting point, if both are long enough, and else joined through the
corner itself. Let w be the winding number of the outline (0 or 1), and cover(q) the number of strips (edge x distance)
and sectors (corner arcs) over a point q, a trimmed pair of strips counted once where they overlap at their corner.
Then the raw curve's winding number is w - cover for a move inward and w + cover for a move outward, because it bounds
what is left when the strips and sectors are taken from, or added to, the region. A strip is trimmed at disjoint ends,
so cover is positive exactly within the distance of the outline: "winding number > 0" is exactly the offset region.

`resolve` finds that region's boundary for any closed curves. Corners are rounded to a grid of 2^30 steps, so that every
predicate is an exact integer; crossing edges are split where they cross, rounded to the grid, until none cross; then
the winding number on both sides of each run between crossings is counted exactly, and runs with the inside on one side
are chained. Curves without crossings, the common case, come out corner by corner as they went in.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from slicer.kernels.cutting import order_of

POSITIVE, NON_ZERO, EVEN_ODD = 0, 1, 2
"""Rules of which winding numbers are inside."""

SIMPLE, CUT, FAILED, NO_NUMBER = 0, 1, 2, 3
"""What came of it: no crossing at all, crossings that were cut out, no consistent answer, or a corner that is none."""

GRID_STEPS = 2**29
"""Steps from the middle of the curves to their farthest corner: products of differences stay below 2^61."""

ROUNDS_MAX = 12
"""Splitting at rounded points may make new crossings, each round fewer; more than this many is a failure."""

SPLITS_PER_EDGE_MAX = 4
"""More new corners than this for each given one make a tangle; it is left to a sweep that does not compare pairs."""

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
def _inside(winding, rule):
    if rule == 0:
        return winding > 0
    if rule == 1:
        return winding != 0
    return winding % 2 != 0


@njit(cache=True, nogil=True, error_model="numpy")
def _side(ax, ay, bx, by, cx, cy):
    """Positive where c lies to the left of a -> b, 0 on the line; exact on the grid."""
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)


@njit(cache=True, nogil=True, error_model="numpy")
def _before(ax, ay, bx, by):
    """Whether a comes before b from left to right, and upward where both are as far right."""
    return ax < bx or (ax == bx and ay < by)


@njit(cache=True, nogil=True, error_model="numpy")
def _chains(x, y, starts):
    """Cut closed loops into chains that run into one quarter of the compass, so that none meets itself.

    Args:
        x, y: (n,) i8, each loop's first corner repeated at its end; starts: (l + 1,) i8.

    Returns (c, 4) i8, for each chain its first corner, its last, its loop and its least x, by which they are sorted.
    The box of any part of a chain is that of its ends.
    """
    found, low_x = np.empty((len(x), 4), np.int64), np.empty(len(x), np.int64)
    count = 0
    for loop in range(len(starts) - 1):
        course = -1
        for i in range(starts[loop], starts[loop + 1] - 1):
            now = 2 * _before(x[i], y[i], x[i + 1], y[i + 1]) + (y[i + 1] >= y[i])
            if now != course:
                found[count, 0], found[count, 2] = i, loop
                count += 1
                course = now
            found[count - 1, 1] = i + 1
    for c in range(count):
        low_x[c] = min(x[found[c, 0]], x[found[c, 1]])
    order = order_of(low_x[:count])
    chains = np.empty((count, 4), np.int64)
    for c in range(count):
        of = order[c]
        chains[c, 0], chains[c, 1], chains[c, 2], chains[c, 3] = found[of, 0], found[of, 1], found[of, 2], low_x[of]
    return chains


@njit(cache=True, nogil=True, error_model="numpy")
def _meet_edges(x, y, i, k, neighbours, node, splits, count):
    """Note where edges i -> i + 1 and k -> k + 1 meet: corners in `node`, new corners in `splits` from `count` on.

    Returns (splits noted, whether they meet); neighbours meet only where they run back over each other.
    """
    ax, ay, bx, by = x[i], y[i], x[i + 1], y[i + 1]
    cx, cy, dx, dy = x[k], y[k], x[k + 1], y[k + 1]
    on_c, on_d = _side(ax, ay, bx, by, cx, cy), _side(ax, ay, bx, by, dx, dy)
    if (on_c > 0 and on_d > 0) or (on_c < 0 and on_d < 0):
        return count, False
    if neighbours:
        if on_c != 0 or on_d != 0 or (bx - ax) * (dx - cx) + (by - ay) * (dy - cy) > 0:
            return count, False
        shared = i + 1 if x[i + 1] == x[k] and y[i + 1] == y[k] else i
        node[shared] = True
    on_a, on_b = _side(cx, cy, dx, dy, ax, ay), _side(cx, cy, dx, dy, bx, by)
    if (on_a > 0 and on_b > 0) or (on_a < 0 and on_b < 0):
        return count, False
    if on_a != 0 and on_b != 0 and on_c != 0 and on_d != 0:
        part = float(on_a) / (float(on_a) - float(on_b))
        px, py = ax + round(part * (bx - ax)), ay + round(part * (by - ay))
        for e in (i, k):
            if px == x[e] and py == y[e]:
                node[e] = True
            elif px == x[e + 1] and py == y[e + 1]:
                node[e + 1] = True
            else:
                splits[count, 0], splits[count, 1], splits[count, 2] = e, px, py
                count += 1
        return count, True
    meet = False
    for which in range(4):  # each end that lies on the other edge, at its ends or between them
        on = on_c if which == 0 else on_d if which == 1 else on_a if which == 2 else on_b
        if on != 0:
            continue
        e = i if which < 2 else k
        p = k + which if which < 2 else i + which - 2
        px, py = x[p], y[p]
        if px < min(x[e], x[e + 1]) or px > max(x[e], x[e + 1]) or py < min(y[e], y[e + 1]) or py > max(y[e], y[e + 1]):
            continue
        meet = True
        node[p] = True
        if px == x[e] and py == y[e]:
            node[e] = True
        elif px == x[e + 1] and py == y[e + 1]:
            node[e + 1] = True
        else:
            splits[count, 0], splits[count, 1], splits[count, 2] = e, px, py
            count += 1
    return count, meet


@njit(cache=True, nogil=True, error_model="numpy")
def _find_meetings(x, y, starts, chains, fresh, node, splits):
    """Where edges meet, apart from neighbours at their common corner.

    Args:
        x, y: (n,) i8; starts: (l + 1,) i8; chains: of `_chains`.
        fresh: (n,) i8, how many of the edges before each corner are fresh; pairs without a fresh one do not meet.
        node: (n,) b1, out: corners where others meet; splits: (s, 3) i8, room for edge, x, y of each new corner.

    Returns (splits, how many, whether any edges meet); splits may have grown; -1 for more than there may be.
    """
    count = 0
    met = False
    stack = np.empty((128, 4), np.int64)
    for c in range(len(chains)):
        c_first, c_last = chains[c, 0], chains[c, 1]
        high_x = max(x[c_first], x[c_last])
        low_y, high_y = min(y[c_first], y[c_last]), max(y[c_first], y[c_last])
        stale = fresh[c_first] == fresh[c_last]
        begin, end = starts[chains[c, 2]], starts[chains[c, 2] + 1]
        for d in range(c + 1, len(chains)):
            if chains[d, 3] > high_x:
                break
            d_first, d_last = chains[d, 0], chains[d, 1]
            if min(y[d_first], y[d_last]) > high_y or max(y[d_first], y[d_last]) < low_y:
                continue
            if stale and fresh[d_first] == fresh[d_last]:
                continue
            stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = c_first, c_last, d_first, d_last
            depth = 1
            while depth > 0:
                depth -= 1
                i, j, k, m = stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3]
                if max(x[i], x[j]) < min(x[k], x[m]) or min(x[i], x[j]) > max(x[k], x[m]):
                    continue
                if max(y[i], y[j]) < min(y[k], y[m]) or min(y[i], y[j]) > max(y[k], y[m]):
                    continue
                if fresh[i] == fresh[j] and fresh[k] == fresh[m]:
                    continue
                if j - i > 1 and j - i >= m - k:
                    middle = (i + j) // 2
                    stack[depth, 1] = middle
                    stack[depth + 1, 0], stack[depth + 1, 1] = middle, j
                    stack[depth + 1, 2], stack[depth + 1, 3] = k, m
                    depth += 2
                elif m - k > 1:
                    middle = (k + m) // 2
                    stack[depth, 3] = middle
                    stack[depth + 1, 0], stack[depth + 1, 1] = i, j
                    stack[depth + 1, 2], stack[depth + 1, 3] = middle, m
                    depth += 2
                else:
                    if count + 4 > len(splits):
                        if len(splits) > SPLITS_PER_EDGE_MAX * len(x) + 1000:
                            return splits, -1, True
                        grown = np.empty((2 * len(splits), 3), np.int64)
                        grown[:count] = splits[:count]
                        splits = grown
                    i, k = min(i, k), max(i, k)
                    neighbours = k == i + 1 or (i == begin and k == end - 2)
                    count, meet = _meet_edges(x, y, i, k, neighbours, node, splits, count)
                    met |= meet
    for loop in range(len(starts) - 1):  # a loop's first corner is its last
        if starts[loop + 1] > starts[loop]:
            i, j = starts[loop], starts[loop + 1] - 1
            node[i] |= node[j]
            node[j] = node[i]
    return splits, count, met


@njit(cache=True, nogil=True, error_model="numpy")
def _split(x, y, source, node, starts, splits, count):
    """The loops with new corners in their edges.

    Args:
        source: (n,) i4, the given point that a corner is, -1 for a corner made here; node: (n,) b1.
        starts: (l + 1,) i8; splits: (count, 3) i8.

    Returns x, y, source, node, fresh, starts of the split loops; fresh counts the edges before each corner that are
    parts of a split one.
    """
    n = len(x)
    first = np.zeros(n + 1, np.int64)
    for s in range(count):
        first[splits[s, 0] + 1] += 1
    for i in range(n):
        first[i + 1] += first[i]
    cursor = first.copy()
    order = np.empty(count, np.int64)
    place = np.empty(count, np.int64)
    for s in range(count):
        i = splits[s, 0]
        along = (splits[s, 1] - x[i]) * (x[i + 1] - x[i]) + (splits[s, 2] - y[i]) * (y[i + 1] - y[i])
        t = cursor[i]
        while t > first[i] and place[t - 1] > along:  # sorted by place as they come; few on each edge
            order[t], place[t] = order[t - 1], place[t - 1]
            t -= 1
        order[t], place[t] = s, along
        cursor[i] += 1
    size = n + count
    new_x, new_y, fresh = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    new_source, new_node = np.empty(size, np.int32), np.empty(size, np.bool_)
    new_starts = np.zeros(len(starts), np.int64)
    at = 0
    total = 0
    for loop in range(len(starts) - 1):
        for i in range(starts[loop], starts[loop + 1]):
            new_x[at], new_y[at], new_source[at], new_node[at], fresh[at] = x[i], y[i], source[i], node[i], total
            at += 1
            if first[i + 1] == first[i]:
                continue
            for s in range(first[i], first[i + 1]):
                px, py = splits[order[s], 1], splits[order[s], 2]
                if (px != new_x[at - 1] or py != new_y[at - 1]) and (px != x[i + 1] or py != y[i + 1]):
                    total += 1
                    new_x[at], new_y[at], new_source[at], new_node[at], fresh[at] = px, py, -1, True, total
                    at += 1
            total += 1
        new_starts[loop + 1] = at
    return new_x[:at], new_y[:at], new_source[:at], new_node[:at], fresh[:at], new_starts


@njit(cache=True, nogil=True, error_model="numpy")
def _windings_beside(e, x, y, chains):
    """The winding numbers below and above edge e, beside its left (lower) end, and the first edge that is the same.

    Counts the edges below on a line just right of that end, one a chain at most. No two edges cross, so an edge lies
    below where the end of e lies above it, or where, both ends being one point, the far end of e does.
    """
    p, q = (e, e + 1) if _before(x[e], y[e], x[e + 1], y[e + 1]) else (e + 1, e)
    px, py, qx, qy = x[p], y[p], x[q], y[q]
    below = 0
    here = 0
    twin = e
    for c in range(len(chains)):
        if chains[c, 3] > px:
            break
        i, j = chains[c, 0], chains[c, 1]
        if max(x[i], x[j]) < px or min(y[i], y[j]) > py:
            continue
        forward = _before(x[i], y[i], x[j], y[j])
        a, b = (i, j) if forward else (j, i)
        if _before(px, py, x[a], y[a]) or not _before(px, py, x[b], y[b]):
            continue
        while j - i > 1:
            middle = (i + j) // 2
            if _before(px, py, x[middle], y[middle]) == forward:
                j = middle
            else:
                i = middle
        a, b = (i, j) if forward else (j, i)
        sign = 1 if forward else -1
        if x[a] == px and y[a] == py:
            above = _side(px, py, x[b], y[b], qx, qy)
            if above == 0:
                here += sign
                twin = min(twin, i)
        else:
            above = _side(x[a], y[a], x[b], y[b], px, py)
        if above > 0:
            below += sign
    return below, below + here, twin


@njit(cache=True, nogil=True, error_model="numpy")
def _turn_rank(rx, ry, vx, vy):
    """Which part of a clockwise turn from r a direction v lies in: 0 before half, 1 half, 2 after, 3 the whole."""
    cross = rx * vy - ry * vx
    if cross < 0:
        return 0
    if cross > 0:
        return 2
    return 1 if rx * vx + ry * vy < 0 else 3


@njit(cache=True, nogil=True, error_model="numpy")
def _on_grid(points, starts, step):
    """Corners on the grid: x, y (n,) i8 with each loop's first corner repeated at its end, source (n,) i4, starts."""
    room = len(points) + len(starts)
    x, y, source = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int32)
    begins = np.zeros(len(starts), np.int64)
    per_mm = 1.0 / step  # a power of two
    at = 0
    for loop in range(len(starts) - 1):
        begin = at
        for i in range(starts[loop], starts[loop + 1]):
            px, py = round(points[i, 0] * per_mm), round(points[i, 1] * per_mm)
            if at == begin or px != x[at - 1] or py != y[at - 1]:
                x[at], y[at], source[at] = px, py, i
                at += 1
        while at > begin + 1 and x[at - 1] == x[begin] and y[at - 1] == y[begin]:
            at -= 1
        if at - begin < 3:  # no more than a line there and back
            at = begin
        else:
            x[at], y[at], source[at] = x[begin], y[begin], source[begin]
            at += 1
        begins[loop + 1] = at
    return x[:at], y[:at], source[:at], begins


@njit(cache=True, nogil=True, error_model="numpy")
def _border_runs(x, y, node, starts, chains, rule):
    """The runs with the inside on one side only: stretches of a loop from one meeting to the next.

    Returns (runs, whole): (r, 4) i8, for each run its first corner, its edges, its loop, and 1 where it is to be taken
    backwards, for the inside lies to its right; and how many loops are kept whole and forward.
    """
    room = 0
    for loop in range(len(starts) - 1):
        room += 1
        for i in range(starts[loop], starts[loop + 1] - 1):
            room += node[i]
    runs = np.empty((room, 4), np.int64)
    count = 0
    whole = 0
    for loop in range(len(starts) - 1):
        begin, end = starts[loop], starts[loop + 1] - 1
        if begin > end:
            continue
        head = begin
        while head < end and not node[head]:
            head += 1
        met = head < end
        i = head if met else begin
        left = end - begin
        while left > 0:
            size = 1
            j = i + 1 if i + 1 < end else begin
            while size < left and not node[j]:
                size += 1
                j = j + 1 if j + 1 < end else begin
            below, above, twin = _windings_beside(i, x, y, chains)
            if _inside(below, rule) != _inside(above, rule) and twin == i:
                backwards = _before(x[i], y[i], x[i + 1], y[i + 1]) != _inside(above, rule)
                runs[count, 0], runs[count, 1], runs[count, 2], runs[count, 3] = i, size, loop, backwards
                whole += not met and not backwards
                count += 1
            i = j
            left -= size
    return runs[:count], whole


@njit(cache=True, nogil=True, error_model="numpy")
def _link(x, y, starts, runs):
    """Which run follows each run: at a meeting the one with no other between them on the inner side.

    Returns (following (r,) i8, whether every run has one).
    """
    count = len(runs)
    ends = np.empty((count, 4), np.int64)  # corners: the first and the second, the last but one and the last
    key = np.empty(count, np.int64)
    for r in range(count):
        begin = starts[runs[r, 2]]
        span = starts[runs[r, 2] + 1] - 1 - begin
        i = runs[r, 0] - begin
        j = i + runs[r, 1]
        ends[r, 0], ends[r, 1] = begin + i % span, begin + (i + 1) % span
        ends[r, 2], ends[r, 3] = begin + (j - 1) % span, begin + j % span
        if runs[r, 3]:
            ends[r, 0], ends[r, 1], ends[r, 2], ends[r, 3] = ends[r, 3], ends[r, 2], ends[r, 1], ends[r, 0]
        key[r] = ((x[ends[r, 0]] + GRID_STEPS) << 31) + y[ends[r, 0]] + GRID_STEPS
    order = order_of(key)
    following = np.zeros(count, np.int64)
    taken = np.zeros(count, np.bool_)
    for r in range(count):
        last, end = ends[r, 2], ends[r, 3]
        back_x, back_y = x[last] - x[end], y[last] - y[end]
        wanted = ((x[end] + GRID_STEPS) << 31) + y[end] + GRID_STEPS
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            if key[order[middle]] < wanted:
                low = middle + 1
            else:
                high = middle
        best, best_rank = -1, 4
        best_x, best_y = 0, 0
        while low < count and key[order[low]] == wanted:
            other = order[low]
            low += 1
            if taken[other]:
                continue
            to_x, to_y = x[ends[other, 1]] - x[end], y[ends[other, 1]] - y[end]
            rank = _turn_rank(back_x, back_y, to_x, to_y)
            if rank < best_rank or (rank == best_rank and to_x * best_y - to_y * best_x < 0):
                best, best_rank, best_x, best_y = other, rank, to_x, to_y
        if best < 0:
            return following, False
        taken[best] = True
        following[r] = best
    return following, True


@njit(cache=True, nogil=True, error_model="numpy")
def _write_loops(points, x, y, source, starts, runs, following, step):
    """The loops that linked runs make up, without slivers that rounding made.

    Returns (points (q, 2) f8, starts (k + 1,) i8, probes (q,) b1: new corners, and one corner amid each run).
    """
    count = len(runs)
    size = 0
    for r in range(count):
        size += runs[r, 1]
    out = np.empty((size, 2))
    out_starts = np.zeros(count + 1, np.int64)
    probes = np.zeros(size, np.bool_)
    done = np.zeros(count, np.bool_)
    found = 0
    at = 0
    for seed in range(count):
        begin_at = at
        r = seed
        while not done[r]:
            done[r] = True
            begin = starts[runs[r, 2]]
            span = starts[runs[r, 2] + 1] - 1 - begin
            i = runs[r, 0] - begin + (runs[r, 1] if runs[r, 3] else 0)
            for k in range(runs[r, 1]):
                corner = begin + i % span
                probes[at] = source[corner] < 0 or k == runs[r, 1] // 2
                if source[corner] >= 0:
                    out[at, 0], out[at, 1] = points[source[corner], 0], points[source[corner], 1]
                else:
                    out[at, 0], out[at, 1] = x[corner] * step, y[corner] * step
                at += 1
                i += 1 - 2 * runs[r, 3]
            r = following[r]
        twice_area, around = 0.0, 0.0
        for i in range(begin_at, at):
            j = i + 1 if i + 1 < at else begin_at
            twice_area += (out[i, 0] - out[begin_at, 0]) * (out[j, 1] - out[begin_at, 1])
            twice_area -= (out[j, 0] - out[begin_at, 0]) * (out[i, 1] - out[begin_at, 1])
            around += abs(out[j, 0] - out[i, 0]) + abs(out[j, 1] - out[i, 1])
        if at - begin_at < 3 or abs(twice_area) <= 4.0 * step * around:
            at = begin_at
        else:
            found += 1
            out_starts[found] = at
    return out[:at], out_starts[: found + 1], probes[:at]


@njit(cache=True, nogil=True, error_model="numpy")
def _grid_step(points):
    """The step of the grid that holds all points, a power of two; 0 where they are all at the origin."""
    largest = 0.0
    for i in range(len(points)):
        largest = max(largest, max(abs(points[i, 0]), abs(points[i, 1])))
    return 2.0 ** math.ceil(math.log2(largest / GRID_STEPS)) if largest > 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def resolve(points, starts, rule):
    """The boundary of what a winding rule keeps of any closed curves.

    Args:
        points: (p, 2) f8, near the origin; starts: (l + 1,) i8; rule: POSITIVE, NON_ZERO or EVEN_ODD.

    Returns (state, points (q, 2) f8, starts (k + 1,) i8, probes (q,) b1, grid step): loops with the inside to the left
    that neither cross nor overlap (they may touch at corners); corners that were given are given back to the last bit,
    new ones lie on a grid of the returned step, mm. The state is SIMPLE where nothing met and every loop is kept as it
    was. Probes are the corners to look at to see whether runs were chosen well.
    """
    nothing, no_starts, no_probes = np.empty((0, 2)), np.zeros(1, np.int64), np.empty(0, np.bool_)
    step = _grid_step(points)
    if step == 0.0:
        return CUT, nothing, no_starts, no_probes, step
    x, y, source, begins = _on_grid(points, starts, step)
    node = np.zeros(len(x), np.bool_)
    fresh = np.arange(len(x))
    splits = np.empty((64, 3), np.int64)
    met = False
    rounds = 0
    chains = _chains(x, y, begins)
    while True:
        splits, count, now_met = _find_meetings(x, y, begins, chains, fresh, node, splits)
        met |= now_met
        if count == 0:
            break
        rounds += 1
        if count < 0 or rounds > ROUNDS_MAX:
            return FAILED, nothing, no_starts, no_probes, step
        x, y, source, node, fresh, begins = _split(x, y, source, node, begins, splits, count)
        chains = _chains(x, y, begins)
    runs, whole = _border_runs(x, y, node, begins, chains, rule)
    if not met and whole == len(starts) - 1:
        return SIMPLE, points, starts, no_probes, step
    following, linked = _link(x, y, begins, runs)
    if not linked:
        return FAILED, nothing, no_starts, no_probes, step
    found, found_starts, probes = _write_loops(points, x, y, source, begins, runs, following, step)
    return CUT, found, found_starts, probes, step


@njit(cache=True, nogil=True, error_model="numpy")
def resolved_as_given(points, starts, group_first, centre_x, centre_y, rule, clean):
    """Which groups of loops are what `resolve` would make of them, so that nothing need be done.

    Args:
        points: (p, 2) f8; starts: (l + 1,) i8; group_first: (g + 1,) i8, the loops of each group.
        centre_x, centre_y: near the points; rule: of `resolve`; clean: (g,) b1, out.
    """
    for group in range(len(clean)):
        loops = group_first[group + 1] - group_first[group]
        base = starts[group_first[group]]
        near = np.empty((starts[group_first[group + 1]] - base, 2))
        for i in range(len(near)):
            near[i, 0], near[i, 1] = points[base + i, 0] - centre_x, points[base + i, 1] - centre_y
        begins = np.empty(loops + 1, np.int64)
        for loop in range(loops + 1):
            begins[loop] = starts[group_first[group] + loop] - base
        step = _grid_step(near)
        clean[group] = len(near) == 0
        if step > 0.0:
            x, y, _, closed = _on_grid(near, begins, step)
            chains = _chains(x, y, closed)
            node, fresh = np.zeros(len(x), np.bool_), np.arange(len(x))
            _, _, met = _find_meetings(x, y, closed, chains, fresh, node, np.empty((64, 3), np.int64))
            clean[group] = not met and _border_runs(x, y, node, closed, chains, rule)[1] == loops


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
    area, around = areas.sum(), perimeters.sum()
    boxes, boxed = _boxes(outline, begins)
    move, chords, mitre = np.empty(loops), np.empty(loops, np.int64), np.empty(loops)
    least = np.empty(loops)

    # From the farthest move down: where that one has all its corners and meets nothing, neither does one inside it.
    order = order_of((-1e6 * np.abs(moves[:, 0])).astype(np.int64))
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
                    if not low <= sizes.sum() <= high:
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
            larger[:points_used] = out[:points_used]
            out = larger
        if loops_used + count + 2 > len(out_starts):
            more = np.zeros(2 * (loops_used + count + 2), np.int64)
            more[:loops_used] = out_starts[:loops_used]
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

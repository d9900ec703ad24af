"""The boundary of the region that a winding rule keeps of any closed curves.

Corners are rounded to a grid of 2^30 steps, so that every predicate is an exact integer; crossing edges are split where
they cross, rounded to the grid, until none cross; then the winding number on both sides of each run between crossings
is counted exactly, and runs with the inside on one side are chained. Curves without crossings, the common case, come
out corner by corner as they went in.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from slicer.kernels.cutting import order_of

POSITIVE, NON_ZERO, EVEN_ODD = np.int64(0), np.int64(1), np.int64(2)
"""Rules of which winding numbers are inside; not plain numbers, for each of which a kernel would be compiled."""

SIMPLE, CUT, FAILED, NO_NUMBER = 0, 1, 2, 3
"""What came of it: no crossing at all, crossings that were cut out, no consistent answer, or a corner that is none."""

GRID_STEPS = 2**29
"""Steps from the middle of the curves to their farthest corner: products of differences stay below 2^61."""

ROUNDS_MAX = 12
"""Splitting at rounded points may make new crossings, each round fewer; more than this many is a failure."""

SPLITS_PER_EDGE_MAX = 4
"""More new corners than this for each given one make a tangle; it is left to a sweep that does not compare pairs."""


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
def _note(x, y, node, splits, count, e, px, py):
    """Note that another edge meets edge e -> e + 1 at (px, py): at one of its corners, or as the new corner `count`.

    Returns how many new corners are noted.
    """
    if px == x[e] and py == y[e]:
        node[e] = True
    elif px == x[e + 1] and py == y[e + 1]:
        node[e + 1] = True
    else:
        splits[count, 0], splits[count, 1], splits[count, 2] = e, px, py
        count += 1
    return count


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
        count = _note(x, y, node, splits, count, i, px, py)
        return _note(x, y, node, splits, count, k, px, py), True
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
        count = _note(x, y, node, splits, count, e, px, py)
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
    count = np.int64(0)  # the type of 0 alone is another one, for which _meet_edges would be compiled once more
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
                        for s in range(count):
                            grown[s, 0], grown[s, 1], grown[s, 2] = splits[s, 0], splits[s, 1], splits[s, 2]
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

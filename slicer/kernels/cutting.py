"""Plane cuts of a triangle surface: half-edge pairing, winding, and the walk that chains a cut into loops.

A half-edge h = 3 t + j runs from corner j of triangle t to its next corner. Pairing half-edges once makes every cut
chain by itself: the segment that leaves a triangle through an edge goes on in the triangle on that edge's other side.
Each vertex gets a level, the number of planes at or below it; an edge crosses exactly the planes between the levels of
its ends (half-open rule), so a vertex or a whole facet on a plane needs no special case.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray


def pair_edges(faces: NDArray[np.int32]) -> tuple[NDArray[np.int32], int, int, int]:
    """Pair the half-edges of `faces` ((m, 3) i4).

    Returns (pair, open_edges, non_manifold_edges, clashing_edges): `pair` is (3 m,) i4 with the other half-edge or -1
    where nothing is on the other side; an edge is non-manifold when more than two triangles meet there, and clashes
    when its two triangles run along it in the same direction.
    """
    pair = np.full(faces.size, -1, np.int32)
    corners = np.ascontiguousarray(faces, np.int32).reshape(-1)
    opened, crowded, clashing = _pair_around_corners(corners, int(faces.max(initial=-1)) + 1, pair)
    return pair, int(opened), int(crowded), int(clashing)


@njit(cache=True, nogil=True)
def _pair_around_corners(corners, n, pair):
    """Gather half-edges at the smaller of their corners, sort the few there by the larger, and pair what is alike."""
    first = np.zeros(n + 1, np.int64)
    for h in range(len(corners)):
        tail, head = corners[h], corners[h + 1 if h % 3 < 2 else h - 2]
        first[min(tail, head) + 1] += 1
    most = 0
    for v in range(n):
        most = max(most, first[v + 1])
        first[v + 1] += first[v]
    larger, half = np.empty(len(corners), np.int32), np.empty(len(corners), np.int32)
    for h in range(len(corners)):
        tail, head = corners[h], corners[h + 1 if h % 3 < 2 else h - 2]
        v = min(tail, head)
        larger[first[v]], half[first[v]] = max(tail, head), h
        first[v] += 1
    order = np.empty(most, np.int64)
    opened = 0
    crowded = 0
    clashing = 0
    begin = np.int64(0)  # the type of 0 alone is another one, for which _sort_few would be compiled once more
    for v in range(n):
        end = first[v]  # where the next corner's begin
        _sort_few(larger, begin, end, order)
        at = 0
        while at < end - begin:
            last = at + 1
            while last < end - begin and larger[order[last]] == larger[order[at]]:
                last += 1
            if last - at == 1:
                opened += 1
            elif last - at > 2:
                crowded += 1
            # Opposite directions first: that is how two sheets of one solid meet. What is left pairs as it comes.
            for opposite in (True, False):
                for i in range(at, last):
                    a = half[order[i]]
                    if pair[a] >= 0:
                        continue
                    for j in range(i + 1, last):
                        b = half[order[j]]
                        if pair[b] < 0 and (corners[a] != corners[b]) == opposite:
                            pair[a] = b
                            pair[b] = a
                            if not opposite:
                                clashing += 1
                            break
            at = last
        begin = end
    return opened, crowded, clashing


@njit(cache=True, nogil=True)
def order_of(keys):
    """The order that sorts `keys` ((n,) i8), equal ones as they come: a merge sort, compiled faster than numba's."""
    n = len(keys)
    order, other = np.arange(n), np.empty(n, np.int64)
    width = 1
    while width < n:
        for low in range(0, n, 2 * width):
            middle, high = min(low + width, n), min(low + 2 * width, n)
            a, b = low, middle
            for at in range(low, high):
                if b == high or (a < middle and keys[order[a]] <= keys[order[b]]):
                    other[at] = order[a]
                    a += 1
                else:
                    other[at] = order[b]
                    b += 1
        order, other = other, order
        width *= 2
    return order


@njit(cache=True, nogil=True)
def _sort_few(keys, begin, end, order):
    """The order that sorts keys[begin:end] into order[:end - begin], equal ones as they come."""
    if end - begin > 64:
        few = np.empty(end - begin, np.int64)
        for i in range(end - begin):
            few[i] = keys[begin + i]
        few = order_of(few)
        for i in range(end - begin):
            order[i] = begin + few[i]
        return
    for i in range(begin, end):
        j = i - begin
        while j > 0 and keys[order[j - 1]] > keys[i]:
            order[j] = order[j - 1]
            j -= 1
        order[j] = i


@njit(cache=True, nogil=True)
def used_bounds(vertices, faces):
    """(2, 3) f8: the lowest and the highest corner of the vertices ((n, 3) f8) that faces ((m, 3) i4, some) name."""
    bounds = np.empty((2, 3))
    for axis in range(3):
        bounds[0, axis] = bounds[1, axis] = vertices[faces[0, 0], axis]
    for t in range(len(faces)):
        for j in range(3):
            v = faces[t, j]
            for axis in range(3):
                bounds[0, axis] = min(bounds[0, axis], vertices[v, axis])
                bounds[1, axis] = max(bounds[1, axis], vertices[v, axis])
    return bounds


@njit(cache=True)
def wind_bodies(upward, pair, body, turned):
    """Flood each connected body, noting which triangles disagree with its first one.

    Args:
        upward: (3 m,) b1, whether each half-edge runs from its smaller to its larger vertex number.
        pair: (3 m,) i4 from `pair_edges`.
        body: (m,) i4, out: number of the body.
        turned: (m,) b1, out: whether the triangle winds against the first of its body.

    Returns (bodies, contradictions): contradictions counts half-edges that no choice satisfies (a Moebius strip).
    """
    m = len(body)
    body[:] = -1
    stack = np.empty(m, np.int64)
    bodies = 0
    contradictions = 0
    for seed in range(m):
        if body[seed] >= 0:
            continue
        body[seed] = bodies
        turned[seed] = False
        stack[0] = seed
        depth = 1
        while depth > 0:
            depth -= 1
            t = stack[depth]
            for j in range(3):
                h = 3 * t + j
                other = pair[h]
                if other < 0:
                    continue
                u = other // 3
                clash = upward[h] == upward[other]
                if body[u] < 0:
                    body[u] = bodies
                    turned[u] = turned[t] != clash
                    stack[depth] = u
                    depth += 1
                elif turned[u] != (turned[t] != clash):
                    contradictions += 1
        bodies += 1
    return bodies, contradictions


@njit(cache=True, nogil=True)
def count_segments(faces, levels, plane_first):
    """First pass: how many triangles each plane cuts.

    Args:
        faces: (m, 3) i4.
        levels: (n,) i4, planes at or below each vertex.
        plane_first: (k + 1,) i8, out: where the triangles of each plane begin in the list that `list_segments` fills.

    Returns the number of segments over all planes.
    """
    plane_first[:] = 0
    for t in range(len(faces)):
        a, b, c = levels[faces[t, 0]], levels[faces[t, 1]], levels[faces[t, 2]]
        for k in range(min(a, b, c), max(a, b, c)):
            plane_first[k + 1] += 1
    for k in range(1, len(plane_first)):
        plane_first[k] += plane_first[k - 1]
    return plane_first[-1]


@njit(cache=True, nogil=True)
def list_segments(faces, levels, plane_first, cursor, triangle_of, first_segment):
    """Second pass: the triangles of each plane, and where each triangle's own segments are numbered from.

    Segment `first_segment[t] + k - lowest level of t` is the cut of triangle t by plane k.
    """
    for k in range(len(cursor)):
        cursor[k] = plane_first[k]
    number = 0
    for t in range(len(faces)):
        a, b, c = levels[faces[t, 0]], levels[faces[t, 1]], levels[faces[t, 2]]
        low, high = min(a, b, c), max(a, b, c)
        first_segment[t] = number - low
        number += high - low
        for k in range(low, high):
            triangle_of[cursor[k]] = t
            cursor[k] += 1


@njit(cache=True, nogil=True)
def _exit_up(faces, levels, t, k):
    """The half-edge of triangle t that rises through plane k: with the outside to the right, its cut ends there."""
    for j in range(3):
        if levels[faces[t, j]] <= k < levels[faces[t, (j + 1) % 3]]:
            return 3 * t + j
    return -1


@njit(cache=True, nogil=True)
def _other_crossed(faces, levels, h, k):
    """The other half-edge of the triangle of h that crosses plane k."""
    t = h // 3
    for step in range(1, 3):
        j = (h % 3 + step) % 3
        if (levels[faces[t, j]] <= k) != (levels[faces[t, (j + 1) % 3]] <= k):
            return 3 * t + j
    return -1


@njit(cache=True, nogil=True)
def walk_planes(
    vertices, faces, pair, levels, planes, plane_first, triangle_of, first_segment, tolerance, from_plane, to_plane,
    visited, points, loop_first, plane_loop_first, opened,
):  # fmt: skip
    """Chain the segments of some planes into closed loops, thinned to their corners.

    Planes do not depend on each other, so parts of them may run in threads of their own.

    Args:
        vertices: (n, 3) f8; faces: (m, 3) i4; pair: (3 m,) i4; levels: (n,) i4; planes: (k,) f8 rising.
        plane_first, triangle_of, first_segment: from the two passes above.
        tolerance: how far a dropped point may lie from the outline that is kept, mm.
        from_plane, to_plane: which planes; s is how many segments they have, j how many they are.
        visited: (all segments,) b1 scratch, false; threads may share it.
        points: (s, 2) f8, out; loop_first: (s + 1,) i8, out; plane_loop_first: (j + 1,) i8, out: loops of each plane.
        opened: (j,) i8, out: chains of each plane that end at a gap; they are left out.

    Returns (points used, loops used).
    """
    most = 0
    for k in range(from_plane, to_plane):
        most = max(most, plane_first[k + 1] - plane_first[k])
    raw = np.empty((most, 2))
    n_points = np.int64(0)  # see _pair_around_corners
    n_loops = 0
    loop_first[0] = 0
    plane_loop_first[0] = 0
    for k in range(from_plane, to_plane):
        opened[k - from_plane] = 0
        for i in range(plane_first[k], plane_first[k + 1]):
            start = triangle_of[i]
            if visited[first_segment[start] + k]:
                continue
            t = start
            h = _exit_up(faces, levels, t, k)
            count = 0
            closed = False
            while True:
                visited[first_segment[t] + k] = True
                a, b = faces[t, h % 3], faces[t, (h % 3 + 1) % 3]
                if a > b:  # the same arithmetic from both sides of an edge
                    a, b = b, a
                part = (planes[k] - vertices[a, 2]) / (vertices[b, 2] - vertices[a, 2])
                raw[count, 0] = vertices[a, 0] + part * (vertices[b, 0] - vertices[a, 0])
                raw[count, 1] = vertices[a, 1] + part * (vertices[b, 1] - vertices[a, 1])
                count += 1
                other = pair[h]
                if other < 0:
                    opened[k - from_plane] += 1
                    break
                t = other // 3
                if visited[first_segment[t] + k]:
                    closed = t == start
                    break
                h = _other_crossed(faces, levels, other, k)
            if closed:
                kept = thin_loop(raw, count, tolerance, points, n_points)
                if kept >= 3:
                    n_points += kept
                    n_loops += 1
                    loop_first[n_loops] = n_points
        plane_loop_first[k - from_plane + 1] = n_loops
    return n_points, n_loops


@njit(cache=True, nogil=True)
def thin_loop(raw, count, tolerance, points, at):
    """Write the corners of a closed loop to points[at:], no dropped point farther than `tolerance` from what is kept.

    From each kept point a cone of directions passes within the tolerance of everything dropped since; a point that
    leaves the cone, or turns back, makes its predecessor a corner. The loop begins at its leftmost (then lowest) point,
    which is always a corner, so equal outlines are equal arrays. Returns the number of points, 0 where no area is left.
    """
    first = 0
    for i in range(1, count):
        if raw[i, 0] < raw[first, 0] or (raw[i, 0] == raw[first, 0] and raw[i, 1] < raw[first, 1]):
            first = i
    kept = 1
    ax, ay = raw[first, 0], raw[first, 1]
    points[at, 0], points[at, 1] = ax, ay
    before_x, before_y = ax, ay  # the last point looked at
    reach = 0.0  # its distance from the anchor
    low_x, low_y, high_x, high_y = 0.0, 0.0, 0.0, 0.0  # the sides of the cone, as directions
    for step in range(1, count + 1):  # the last step returns to the first point, so that its predecessor is judged
        i = first + step
        if i >= count:
            i -= count
        x, y = raw[i, 0], raw[i, 1]
        dx, dy = x - ax, y - ay
        distance = math.sqrt(dx * dx + dy * dy)
        if reach > 0.0 and (
            distance < reach
            or low_x * dy - low_y * dx < 0.0
            or dx * high_y - dy * high_x < 0.0
            or (low_x + high_x) * dx + (low_y + high_y) * dy < 0.0
        ):
            points[at + kept, 0], points[at + kept, 1] = before_x, before_y
            kept += 1
            ax, ay = before_x, before_y
            dx, dy = x - ax, y - ay
            distance = math.sqrt(dx * dx + dy * dy)
            reach = 0.0
        if reach == 0.0 and distance <= tolerance:
            continue
        sin = tolerance / distance
        cos = math.sqrt(1.0 - sin * sin)
        from_x, from_y = dx * cos + dy * sin, dy * cos - dx * sin
        to_x, to_y = dx * cos - dy * sin, dy * cos + dx * sin
        if reach == 0.0 or low_x * from_y - low_y * from_x > 0.0:
            low_x, low_y = from_x, from_y
        if reach == 0.0 or high_x * to_y - high_y * to_x < 0.0:
            high_x, high_y = to_x, to_y
        reach = distance
        before_x, before_y = x, y
    twice_area = 0.0
    for i in range(kept):
        j = (i + 1) % kept
        twice_area += (points[at + i, 0] - ax) * (points[at + j, 1] - ay)
        twice_area -= (points[at + j, 0] - ax) * (points[at + i, 1] - ay)
    if kept < 3 or abs(twice_area) <= tolerance * tolerance:
        return 0
    return kept


@njit(cache=True, nogil=True)
def thin_loops(points, starts, tolerance, out, out_starts):
    """`thin_loop` for a set of loops: (p, 2) f8 and (l + 1,) i8 in, the same shapes out. Returns how many are left."""
    loops = 0
    out_starts[0] = 0
    for loop in range(len(starts) - 1):
        begin, end = starts[loop], starts[loop + 1]
        kept = thin_loop(points[begin:end], end - begin, tolerance, out, out_starts[loops])
        if kept >= 3:
            loops += 1
            out_starts[loops] = out_starts[loops - 1] + kept
    return loops

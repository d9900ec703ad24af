"""Mending a torn surface: which pieces hang together, which corners are near, which corners lie on another's edge.

Searches sweep along one skew direction, so that a border that lies in a plane of the axes is no worst case.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

SWEEP = (0.5345224838248488, 0.2672612419124244, 0.8017837257372732)
"""The direction of the sweep: (2, 1, 3) made a unit vector."""


_HASH = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden section: spreads neighbouring cells


@njit(cache=True, nogil=True)
def weld(vertices, faces, low, step, used, key, first, table, number):
    """Number the cells of a grid that hold corners of triangles.

    Args:
        vertices: (n, 3) f8; faces: (m, 3) i4; low: (3,) f8, the grid's origin; step: its cell, mm, so large that a
            cell's number has 21 bits an axis.
        used: (n,) b1 scratch, false; table: (2^k,) i4 scratch of more than n places, -1.
        key: (n,) i8, out: the cells, in the order of their first corner; first: (n,) i4, out: that corner.
        number: (n,) i4, out: the cell of each corner in use.

    Returns (corners in use, cells).
    """
    for t in range(len(faces)):
        for j in range(3):
            used[faces[t, j]] = True
    mask = np.uint64(len(table) - 1)
    corners = 0
    cells = 0
    for v in range(len(vertices)):
        if not used[v]:
            continue
        corners += 1
        x = np.int64(math.floor((vertices[v, 0] - low[0]) / step))
        y = np.int64(math.floor((vertices[v, 1] - low[1]) / step))
        z = np.int64(math.floor((vertices[v, 2] - low[2]) / step))
        cell = (x << 42) | (y << 21) | z
        place = (np.uint64(cell) * _HASH >> np.uint64(20)) & mask
        while table[place] >= 0 and key[table[place]] != cell:
            place = (place + np.uint64(1)) & mask
        if table[place] < 0:
            table[place] = cells
            key[cells], first[cells] = cell, v
            cells += 1
        number[v] = table[place]
    return corners, cells


@njit(cache=True, nogil=True)
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def label_components(a, b, label):
    """Number the connected pieces of a graph in the order of their first node.

    Args:
        a, b: (e,) integers, the ends of each edge.
        label: (n,) i8, out: the piece of each node.

    Returns the number of pieces.
    """
    n = len(label)
    parent = np.arange(n)
    for i in range(len(a)):
        x, y = _root(parent, a[i]), _root(parent, b[i])
        if x < y:
            parent[y] = x
        elif y < x:
            parent[x] = y
    pieces = 0
    for i in range(n):
        r = _root(parent, i)
        if r == i:
            label[i] = pieces
            pieces += 1
        else:
            label[i] = label[r]
    return pieces


@njit(cache=True, nogil=True)
def near_pairs(points, along, reach, first, second, distance):
    """Pairs of points no farther apart than `reach`.

    Args:
        points: (n, 3) f8 in the order of `along`, (n,) f8, their coordinate on the sweep's direction, rising.
        first, second: (p,) i8, distance: (p,) f8, out; as many pairs as fit are written, all are counted.

    Returns the number of pairs.
    """
    count = 0
    for i in range(len(points)):
        for j in range(i + 1, len(points)):
            if along[j] - along[i] > reach:
                break
            apart = math.sqrt(
                (points[j, 0] - points[i, 0]) ** 2
                + (points[j, 1] - points[i, 1]) ** 2
                + (points[j, 2] - points[i, 2]) ** 2
            )
            if apart <= reach:
                if count < len(first):
                    first[count], second[count], distance[count] = i, j, apart
                count += 1
    return count


@njit(cache=True, nogil=True)
def merge_pairs(points, first, second, reach, parent):
    """Make one of each pair of near points, nearest first, as long as no group grows wider than `reach`.

    Args:
        points: (n, 3) f8; first, second: (p,) i8, pairs in the order in which they are to be tried.
        parent: (n,) i8, out: for each point the one that it becomes (itself, or one of a lower number).

    Returns the number of points that became others.
    """
    n = len(points)
    low, high = points.copy(), points.copy()
    for i in range(n):
        parent[i] = i
    merged = 0
    for k in range(len(first)):
        a, b = _root(parent, first[k]), _root(parent, second[k])
        if a == b:
            continue
        if b < a:
            a, b = b, a
        wide = 0.0
        for axis in range(3):
            wide += (max(high[a, axis], high[b, axis]) - min(low[a, axis], low[b, axis])) ** 2
        if math.sqrt(wide) > reach:
            continue
        parent[b] = a
        merged += 1
        for axis in range(3):
            low[a, axis] = min(low[a, axis], low[b, axis])
            high[a, axis] = max(high[a, axis], high[b, axis])
    for i in range(n):
        parent[i] = _root(parent, i)
    return merged


@njit(cache=True, nogil=True)
def corners_on_edges(points, along, tail, head, reach, edge, corner, place):
    """Points that lie on an edge of others: no farther than `reach` from it, nearer to its inside than to its ends.

    Args:
        points: (n, 3) f8 in the order of `along`, (n,) f8, rising.
        tail, head: (e,) i8, the ends of each edge among the points.
        edge, corner: (p,) i8, place: (p,) f8, out: which edge, which point, and how far along (0 to 1); as many as fit
            are written, all are counted.

    Returns the number of them.
    """
    count = 0
    for e in range(len(tail)):
        a, b = tail[e], head[e]
        dx, dy, dz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        square = dx * dx + dy * dy + dz * dz
        if square == 0.0:
            continue
        i = np.searchsorted(along, min(along[a], along[b]) - reach)
        end = max(along[a], along[b]) + reach
        while i < len(points) and along[i] <= end:
            if i != a and i != b:
                x, y, z = points[i, 0] - points[a, 0], points[i, 1] - points[a, 1], points[i, 2] - points[a, 2]
                part = (x * dx + y * dy + z * dz) / square
                if 0.0 < part < 1.0:
                    aside = math.sqrt((x - part * dx) ** 2 + (y - part * dy) ** 2 + (z - part * dz) ** 2)
                    if aside <= reach:
                        if count < len(edge):
                            edge[count], corner[count], place[count] = e, i, part
                        count += 1
            i += 1
    return count

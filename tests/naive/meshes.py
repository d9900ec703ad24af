"""Mending and judging meshes (slicer.kernels.mending, slicer.kernels.judging)."""

from __future__ import annotations

import math

import numpy as np


def grid_cells(vertices, used, low, step):
    """The corners in use of each cell of a grid, cells in the order of their first corner."""
    cells = {}
    for v in sorted(used):
        cells.setdefault(tuple(math.floor((vertices[v][axis] - low[axis]) / step) for axis in range(3)), []).append(v)
    return list(cells.values())


def components(edges, count):
    """The piece of each node, numbered in the order of their first node."""
    pieces = [{i} for i in range(count)]
    for a, b in edges:
        one, other = (next(piece for piece in pieces if end in piece) for end in (a, b))
        if one is not other:
            one |= other
            pieces.remove(other)
    pieces.sort(key=min)
    return [next(k for k, piece in enumerate(pieces) if i in piece) for i in range(count)]


def near_pairs(points, reach):
    """Every pair (i < j) of points no farther apart than `reach`."""
    return {(i, j) for j in range(len(points)) for i in range(j) if math.dist(points[i], points[j]) <= reach}


def merged_points(points, pairs, reach):
    """What each point becomes when pairs are joined in turn while no group's box grows wider than `reach`."""
    group = [[i] for i in range(len(points))]
    for a, b in pairs:
        if group[a] is group[b]:
            continue
        both = sorted(group[a] + group[b])
        low, high = ([pick(points[i][axis] for i in both) for axis in range(3)] for pick in (min, max))
        if math.dist(low, high) <= reach:
            for i in both:
                group[i] = both
    return [group[i][0] for i in range(len(points))]


def corners_on_edges(points, edges, reach):
    """(edge, point) for each point that lies between the ends of an edge of others, no farther than `reach` from it."""
    found = set()
    for e, (a, b) in enumerate(edges):
        along = np.subtract(points[b], points[a])
        for i, point in enumerate(points):
            if i in (a, b) or not along.any():
                continue
            part = float(np.dot(np.subtract(point, points[a]), along) / np.dot(along, along))
            if 0.0 < part < 1.0 and math.dist(point, points[a] + part * along) <= reach:
                found.add((e, i))
    return found


def enclosed_boxes(boxes, asked):
    """Whether each box in question, ((x0, y0, z0), (x1, y1, z1)), lies in some other."""
    return [
        any(
            i != b and all(boxes[i][0][k] <= boxes[b][0][k] and boxes[i][1][k] >= boxes[b][1][k] for k in range(3))
            for i in range(len(boxes))
        )
        for b in asked
    ]


def tetrahedra_volume(vertices, faces):
    """The sum of the tetrahedra between the origin and each triangle, by determinants."""
    return sum(float(np.linalg.det([vertices[v] for v in face])) / 6.0 for face in faces)

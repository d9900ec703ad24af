"""Measures of a triangle surface: what bodies enclose, which lie in others, triangles without area."""

from __future__ import annotations

import math

from numba import njit


@njit(cache=True, nogil=True)
def body_volumes(vertices, faces, centre, body, volume):
    """Signed volume of each body, positive where its triangles run counter-clockwise seen from outside.

    Args:
        vertices: (n, 3) f8; faces: (m, 3) i4; centre: (3,) f8, near the part, so that one far away keeps its digits.
        body: (m,) i4, the body of each triangle; volume: (bodies,) f8, out.
    """
    volume[:] = 0.0
    for t in range(len(faces)):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ax, ay, az = vertices[a, 0] - centre[0], vertices[a, 1] - centre[1], vertices[a, 2] - centre[2]
        bx, by, bz = vertices[b, 0] - centre[0], vertices[b, 1] - centre[1], vertices[b, 2] - centre[2]
        cx, cy, cz = vertices[c, 0] - centre[0], vertices[c, 1] - centre[1], vertices[c, 2] - centre[2]
        volume[body[t]] += (ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)) / 6.0


@njit(cache=True, nogil=True)
def mark_enclosed(low, high, size, order, asked, checks_max, enclosed):
    """Find which boxes lie in another box.

    Args:
        low, high: (n, 3) f8, the boxes; size: (n,) f8, the sum of each one's edges; order: (n,) i8, largest first.
        asked: (k,) i8, the boxes in question; enclosed: (k,) b1, out.
        checks_max: after so many comparisons the rest count as enclosed.
    """
    checks = 0
    for k in range(len(asked)):
        b = asked[k]
        enclosed[k] = checks > checks_max
        if enclosed[k]:
            continue
        for i in order:
            checks += 1
            if size[i] < size[b]:
                break
            inside = i != b
            for axis in range(3):
                inside = inside and low[i, axis] <= low[b, axis] and high[i, axis] >= high[b, axis]
            if inside:
                enclosed[k] = True
                break


@njit(cache=True, nogil=True)
def mark_flat(vertices, faces, part, flat):
    """Find triangles whose corners lie in a line: less high than `part` of the longest edge of all.

    Args:
        vertices: (n, 3) f8; faces: (m, 3) i4; flat: (m,) b1, out.

    Returns how many there are.
    """
    longest = 0.0
    for t in range(len(faces)):
        for j in range(3):
            longest = max(longest, _edge(vertices, faces[t, j], faces[t, (j + 1) % 3]))
    count = 0
    for t in range(len(faces)):
        a, b, c = faces[t, 0], faces[t, 1], faces[t, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        doubled = math.sqrt((uy * vz - uz * vy) ** 2 + (uz * vx - ux * vz) ** 2 + (ux * vy - uy * vx) ** 2)
        own = max(_edge(vertices, a, b), _edge(vertices, b, c), _edge(vertices, c, a))
        flat[t] = doubled <= part * own * longest
        count += flat[t]
    return count


@njit(cache=True, nogil=True)
def _edge(vertices, a, b):
    return math.sqrt(
        (vertices[a, 0] - vertices[b, 0]) ** 2
        + (vertices[a, 1] - vertices[b, 1]) ** 2
        + (vertices[a, 2] - vertices[b, 2]) ** 2
    )

"""Cutting and filling (slicer/kernels/cutting.py, filling.py, sequencing.py); offsets (slicer/kernels/resolving.py)."""

from __future__ import annotations

import math


def edge_census(faces):
    """(open, non-manifold, clashing) edges, by a dictionary of directed edges; twin of `pair_edges`."""
    uses = {}
    for a, b, c in [[int(corner) for corner in face] for face in faces]:
        for tail, head in ((a, b), (b, c), (c, a)):
            uses.setdefault((min(tail, head), max(tail, head)), []).append(tail < head)
    opened = sum(len(directions) == 1 for directions in uses.values())
    crowded = sum(len(directions) > 2 for directions in uses.values())
    clashing = sum(abs(2 * sum(directions) - len(directions)) // 2 for directions in uses.values())
    return opened, crowded, clashing


def cut_segments(vertices, faces, z):
    """Directed segments ((x0, y0), (x1, y1)) of a surface at height z, material to the left; twin of the plane walk."""
    segments = []
    for face in faces:
        down = up = None
        for j in range(3):
            a, b = vertices[face[j]], vertices[face[(j + 1) % 3]]
            if (a[2] >= z) == (b[2] >= z):
                continue
            part = (z - a[2]) / (b[2] - a[2])
            point = (a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1]))
            if b[2] >= z:
                up = point
            else:
                down = point
        if up is not None:
            segments.append((down, up))
    return segments


def body_winding(faces):
    """(bodies, [(body, against the first of its body)] per face), by growing each body face by face."""
    directed = [[(int(f[j]), int(f[(j + 1) % 3])) for j in range(3)] for f in faces]
    by_edge = {}
    for t, edges in enumerate(directed):
        for tail, head in edges:
            by_edge.setdefault(frozenset((tail, head)), []).append((t, tail < head))
    found = [None] * len(directed)
    bodies = 0
    for seed in range(len(directed)):
        if found[seed] is not None:
            continue
        found[seed] = (bodies, False)
        queue = [seed]
        while queue:
            t = queue.pop()
            for tail, head in directed[t]:
                for other, upward in by_edge[frozenset((tail, head))]:
                    if found[other] is None:
                        found[other] = (bodies, found[t][1] != (upward == (tail < head)))
                        queue.append(other)
        bodies += 1
    return bodies, found


def distance_to_loop(point, loop):
    """How far a point lies from a closed polyline."""
    x, y = point
    best = math.inf
    for (ax, ay), (bx, by) in zip(loop, [*loop[1:], loop[0]]):
        length2 = (bx - ax) ** 2 + (by - ay) ** 2
        part = 0.0 if length2 == 0.0 else ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length2
        part = min(max(part, 0.0), 1.0)
        best = min(best, math.hypot(ax + part * (bx - ax) - x, ay + part * (by - ay) - y))
    return best


def inside(point, loops):
    """Even-odd: whether a ray from the point to the right crosses the loops an odd number of times."""
    x, y = point
    odd = False
    for loop in loops:
        for (ax, ay), (bx, by) in zip(loop, [*loop[1:], loop[0]]):
            if (ay <= y) != (by <= y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
                odd = not odd
    return odd


def hatch_lines(loops, spacing, angle, phase):
    """(v, [u at which it enters and leaves]) of each line, through every edge; twin of `crossings`."""
    cos, sin = math.cos(angle), math.sin(angle)
    turned = [[(x * cos + y * sin, y * cos - x * sin) for x, y in loop] for loop in loops]
    heights = [v for loop in turned for _, v in loop]
    if not heights:
        return []
    lines = max(1, math.floor((max(heights) - min(heights)) / spacing + 0.5))
    line_0 = 0.5 * (min(heights) + max(heights)) - 0.5 * (lines - 1) * spacing
    line_0 += (phase - math.floor(phase + 0.5)) * spacing
    found = []
    for k in range(-1, lines + 1):
        height = line_0 + k * spacing
        met = []
        for loop in turned:
            for (au, av), (bu, bv) in zip(loop, [*loop[1:], loop[0]]):
                if (av < height) != (bv < height):
                    met.append(au + (height - av) * (bu - au) / (bv - av))
        found.append((height, sorted(met)))
    return found


def hatch(loops, spacing, angle, phase, shortest, turning=True):
    """Vectors of a meander, line by line; twin of `parallel_vectors`."""
    cos, sin = math.cos(angle), math.sin(angle)
    vectors = []
    backwards = False
    for height, met in hatch_lines(loops, spacing, angle, phase):
        line = [(a, b) for a, b in zip(met[0::2], met[1::2]) if b - a > shortest]
        if backwards:
            line = [(b, a) for a, b in line[::-1]]
        for a, b in line:
            vectors.append(
                (a * cos - height * sin, a * sin + height * cos, b * cos - height * sin, b * sin + height * cos)
            )
        if line and turning:
            backwards = not backwards
    return vectors


def trace_nearest(loops, x, y):
    """Closed loops as vectors, nearest corner first; twin of the kernel of that name."""
    left = list(range(len(loops)))
    vectors = []
    while left:
        _, number, entry = min(
            ((px - x) ** 2 + (py - y) ** 2, number, i) for number in left for i, (px, py) in enumerate(loops[number])
        )
        left.remove(number)
        ring = [*loops[number][entry:], *loops[number][:entry]]
        vectors += [(*a, *b) for a, b in zip(ring, [*ring[1:], ring[0]])]
        x, y = ring[0]
    return vectors


def winding(point, loops):
    """The winding number of closed polylines around a point, by the angles that its corners are seen under."""
    x, y = point
    turns = 0.0
    for loop in loops:
        for (ax, ay), (bx, by) in zip(loop, [*loop[1:], loop[0]]):
            ax, ay, bx, by = ax - x, ay - y, bx - x, by - y
            turns += math.atan2(ax * by - ay * bx, ax * bx + ay * by)
    return round(turns / (2.0 * math.pi))


def depth(point, loops):
    """How far inside an outline a point lies, negative outside: the offset by d is where this is more than -d."""
    nearest = min((distance_to_loop(point, loop) for loop in loops), default=math.inf)
    return nearest if winding(point, loops) > 0 else -nearest

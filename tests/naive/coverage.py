"""Sampling a layer (slicer.kernels.coverage)."""

from __future__ import annotations

import itertools
import math

import numpy as np


def sampled(points, starts, vectors, spot, width, energy, row_x, row_y, columns, pixel):
    """Per sample (inside, under a spot, number of tracks, energy of the spots), each asked of the sample alone."""
    out = []
    for x_0, y in zip(row_x.tolist(), row_y.tolist()):
        row = []
        for k in range(columns):
            x = x_0 + k * pixel
            inside, covered, tracks, joule = False, False, 0, 0.0
            for a, b in itertools.pairwise(starts.tolist()):
                loop = points[a:b].tolist()
                for (ax, ay), (bx, by) in zip(loop, [*loop[1:], loop[0]]):
                    if (ay <= y) != (by <= y) and ax + (y - ay) / (by - ay) * (bx - ax) <= x:
                        inside = not inside
            for (ax, ay, bx, by), s, w, e in zip(vectors.tolist(), spot, width, energy):
                length = math.hypot(bx - ax, by - ay)
                if length == 0.0:
                    if math.hypot(x - ax, y - ay) < s / 2:
                        covered, joule = True, joule + float(e)
                    continue
                along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length
                across = ((x - ax) * (by - ay) - (y - ay) * (bx - ax)) / length
                nearest = min(max(along, 0.0), length)
                if math.hypot(along - nearest, across) < s / 2:
                    covered, joule = True, joule + float(e)
                tracks += 0.0 <= along < length and -w / 2 <= across < w / 2
            row.append((inside, covered, tracks, joule))
        out.append(row)
    return out


def tallied(samples):
    """Numbers of samples by what they are, from `sampled`'s rows."""
    names = ("INSIDE", "COVERED", "COVERED_OUTSIDE", "TRACKED", "TRACKED_TWICE", "REPEATED", "TRACKED_OUTSIDE",
             "FRINGE", "MISSING", "UNCOVERED", "CHANGES")  # fmt: skip
    count = dict.fromkeys(names, 0)
    for row in samples:
        before = (False, False, 0)
        for inside, covered, tracks, _ in row:
            now = (inside, covered, min(tracks, 3))
            count["CHANGES"] += now != before
            before = now
            if inside:
                count["INSIDE"] += 1
                count["COVERED" if covered else "UNCOVERED"] += 1
                count["TRACKED"] += tracks > 0
                count["TRACKED_TWICE"] += tracks > 1
                count["REPEATED"] += max(0, tracks - 1)
                count["FRINGE"] += covered and tracks == 0
                count["MISSING"] += not covered and tracks == 0
            else:
                count["COVERED_OUTSIDE"] += covered
                count["TRACKED_OUTSIDE"] += tracks
    return count


def connected(cells, reach):
    """The places that cells, a set of (row, column), make up when those up to `reach` apart belong together."""
    left, places = set(cells), []
    while left:
        place, rim = set(), {min(left)}
        while rim:
            place |= rim
            left -= rim
            rim = {c for c in left if any(max(abs(c[0] - a), abs(c[1] - b)) <= reach for a, b in rim)}
        places.append(frozenset(place))
    return set(places)


def depth_in_loops(points, starts, x, y):
    """How deep (x, y) lies inside loops, negative outside: the nearest of points set densely along the edges."""
    inside, best = False, math.inf
    for a, b in itertools.pairwise(starts.tolist()):
        loop = points[a:b].tolist()
        for (ax, ay), (bx, by) in zip(loop, [*loop[1:], loop[0]]):
            if (ay <= y) != (by <= y) and ax + (y - ay) / (by - ay) * (bx - ax) > x:
                inside = not inside
            for part in np.linspace(0.0, 1.0, 2001):
                best = min(best, math.hypot(ax + part * (bx - ax) - x, ay + part * (by - ay) - y))
    return best if inside else -best


def part_within(vectors, radius, points, weights):
    """The weight in all of the points that are nearer to a vector than its radius, points set along the vectors."""
    total = 0.0
    for (x, y), weight in zip(points.tolist(), weights):
        away = [
            min(math.hypot(ax + t * (bx - ax) - x, ay + t * (by - ay) - y) for t in np.linspace(0.0, 1.0, 2001)) / r
            for (ax, ay, bx, by), r in zip(vectors.tolist(), radius)
        ]
        total += weight * (min(away, default=math.inf) < 1.0)
    return total

"""Orders and return times (slicer/kernels/nearby.py, sequencing.py, heat.py)."""

from __future__ import annotations

import math

import numpy as np


def segment_gaps(vector, others):
    """Distances (m,) from one segment (4,) to others (m, 4): crossing ones 0, else the least of ends to segments."""

    def to_segments(points, tails, heads):
        ways = heads - tails
        square = (ways**2).sum(axis=-1)
        part = ((points - tails) * ways).sum(axis=-1) / np.where(square > 0.0, square, 1.0)
        feet = tails + np.clip(part, 0.0, 1.0)[..., None] * ways
        return np.sqrt(((points - feet) ** 2).sum(axis=-1))

    def turn(a, b, c):
        return (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (c[..., 0] - a[..., 0])

    a, b = np.broadcast_to(vector[:2], (len(others), 2)), np.broadcast_to(vector[2:], (len(others), 2))
    c, d = others[:, :2], others[:, 2:]
    gaps = np.min([to_segments(a, c, d), to_segments(b, c, d), to_segments(c, a, b), to_segments(d, a, b)], axis=0)
    crossing = (turn(a, b, c) * turn(a, b, d) < 0.0) & (turn(c, d, a) * turn(c, d, b) < 0.0)
    low, high = np.minimum(c, d), np.maximum(c, d)
    meet = ((np.minimum(a, b) <= high) & (low <= np.maximum(a, b))).all(axis=1)  # not pieces of one line
    return np.where(crossing & meet, 0.0, gaps)


def exposure_times(vectors, wait_s, speeds, jump_speed, at):
    """(begin, end) of each vector exposed in turn: jump, wait, expose."""
    begin, end = [], []
    now = 0.0
    for (x0, y0, x1, y1), wait, speed in zip(vectors.tolist(), wait_s.tolist(), speeds.tolist()):
        now += math.dist(at, (x0, y0)) / jump_speed + wait
        begin.append(now)
        now += math.dist((x0, y0), (x1, y1)) / speed
        end.append(now)
        at = (x1, y1)
    return np.array(begin), np.array(end)


def chains_in(vectors, may_follow):
    """[[numbers of vectors] per chain]: each begins where the one before ends, and may follow it."""
    chains = []
    for i, vector in enumerate(vectors):
        if i and may_follow[i] and math.dist(vector[:2], vectors[i - 1][2:]) <= 1e-6:
            chains[-1].append(i)
        else:
            chains.append([i])
    return chains


def left_of_rings(vectors, may_follow):
    """Per vector (whether a ring begins with it, what is left of its ring after it): a ring ends where it begins."""
    found = [(False, math.inf)] * len(vectors)
    for chain in chains_in(vectors, may_follow):
        if len(chain) > 1 and math.dist(vectors[chain[0]][:2], vectors[chain[-1]][2:]) <= 1e-6:
            for k, i in enumerate(chain):
                found[i] = (k == 0, sum(math.dist(vectors[j][:2], vectors[j][2:]) for j in chain[k + 1 :]))
    return found


def return_times(vectors, wait_s, speeds, jump_speed, at, radius, may_follow=None, rings=None):
    """Per exposed vector the least time since a neighbour ended, inf where none; every pair is looked at.

    A run goes on where the beam neither jumps nor waits. No neighbours are two of one run between which the run is
    shorter than the radius, or, of a run that began with a ring, two so near to where the ring closes. may_follow: (n,)
    b1, where a run may go on at all (everywhere if left out); rings: as from `left_of_rings`, of the path if left out.
    """
    every = np.ones(len(vectors), bool)
    may_follow = every if may_follow is None else may_follow
    rings = left_of_rings(vectors, every) if rings is None else rings
    begin, end = exposure_times(vectors, wait_s, speeds, jump_speed, at)
    lengths = np.hypot(vectors[:, 2] - vectors[:, 0], vectors[:, 3] - vectors[:, 1])
    found = np.full(len(vectors), math.inf)
    for run in chains_in(vectors, may_follow & (wait_s == 0.0)):
        first = run[0]
        for i in run:
            near = segment_gaps(vectors[i], vectors[:i]) < radius
            for j in range(first, i):
                between = lengths[j + 1 : i].sum()
                if rings[first][0]:
                    between = min(between, lengths[first:j].sum() + rings[i][1])
                near[j] &= between >= radius
            if near.any():
                found[i] = begin[i] - end[:i][near].max()
    return found


def greedy_nearest(vectors, at):
    """Entries 2 k (start of vector k first) or 2 k + 1, always the nearest end; twin of `chain_nearest`."""
    left, tour = set(range(len(vectors))), []
    while left:
        ends = [(math.dist(at, vectors[k][2 * side : 2 * side + 2]), 2 * k + side) for k in left for side in (0, 1)]
        entry = min(ends)[1]
        tour.append(entry)
        left.remove(entry >> 1)
        at = vectors[entry >> 1][2:] if entry % 2 == 0 else vectors[entry >> 1][:2]
    return tour


def farthest_tiles(centres, at, recent):
    """Tiles so ordered that the next is farthest from the `recent` ones before it; twin of `farthest_order`."""
    left = list(range(len(centres)))
    order = [min(left, key=lambda k: (math.dist(at, centres[k]), k))]
    left.remove(order[0])
    while left:
        last = list(enumerate(order[: -recent - 1 : -1], 1))
        best = max(left, key=lambda k: (min(math.dist(centres[k], centres[o]) * age**0.25 for age, o in last), -k))
        order.append(best)
        left.remove(best)
    return order


def residual_rises(vectors, begin, end, power, a, heat_m3, sigma):
    """(n, 3): what earlier exposures left at start, middle and end of each vector, summed over small steps, in SI."""
    rises = np.zeros((len(vectors), 3))
    for i, vector in enumerate(vectors):
        for place, part in enumerate((0.0, 0.5, 1.0)):
            point = vector[:2] + part * (vector[2:] - vector[:2])
            at = begin[i] + part * (end[i] - begin[i])
            for j in range(i):
                # equal steps in the root of the age, in which the sum has no pole
                edges = np.linspace(math.sqrt(max(at - end[j], 0.0)), math.sqrt(at - begin[j]), 4001)
                age = (0.5 * (edges[1:] + edges[:-1])) ** 2
                gone = (at - age - begin[j]) / (end[j] - begin[j])
                spots = vectors[j][:2] + gone[:, None] * (vectors[j][2:] - vectors[j][:2])
                width = sigma**2 + 2.0 * a * age
                warm = np.exp(-((spots - point) ** 2).sum(axis=1) / (2.0 * width)) / width
                rises[i, place] += power[j] * (2.0 * np.diff(edges) * warm).sum()
    return rises / (math.pi * heat_m3 * math.sqrt(4.0 * math.pi * a))


def blown_over(vectors, drift_deg):
    """[(i, j)]: vector j, exposed after vector i, lies downstream of a point of it, by more than ends that touch."""
    turn = math.radians(drift_deg)
    along = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    turned = (vectors.reshape(-1, 2) @ along).reshape(-1, 4).tolist()

    def x_at(vector, y):
        x0, y0, x1, y1 = vector
        return 0.5 * (x0 + x1) if abs(y1 - y0) < 1e-9 else x0 + (y - y0) / (y1 - y0) * (x1 - x0)

    def both_at(one, other):
        """A height at which the stream meets both, or None."""
        low, high = max(min(one[1::2]), min(other[1::2])), min(max(one[1::2]), max(other[1::2]))
        widths = [abs(vector[3] - vector[1]) for vector in (one, other)]
        if max(widths) < 1e-9:  # both along the stream
            return low if abs(low - high) < 1e-7 else None
        if min(widths) < 1e-9:  # one of them: the other must pass it, not end there
            flat, other = (one, other) if widths[0] < 1e-9 else (other, one)
            return flat[1] if min(other[1::2]) + 1e-4 < flat[1] < max(other[1::2]) - 1e-4 else None
        return 0.5 * (low + high) if high - low > 1e-4 else None

    found = []
    for i, one in enumerate(turned):
        for j in range(i + 1, len(turned)):
            y = both_at(one, turned[j])
            if y is not None and x_at(turned[j], y) > x_at(one, y) + 1e-6:
                found.append((i, j))
    return found

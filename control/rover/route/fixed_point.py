"""The same search in whole numbers, for maps whose costs span less than nine binary orders: twice as quick.

Half costs are counted so that the cheapest cell's cost is 2^15: rounding is at most 3e-5 of a step, and mostly averages
out. Cost and sum of a cell stand side by side in memory, a bucket is a plain stack, and since a bucket is as wide as
the cheapest step, a cell that is taken is final. A sum that would not fit ends the search; the caller takes the other.
"""

from __future__ import annotations

import numpy as np
from numba import njit

ONE_BITS = 15
ONE = 1 << ONE_BITS  # the cheapest cell's cost
SPAN_MAX = 512.0  # dearest over cheapest cost
FAR = 2_000_000_000  # not reached
SUM_MAX = 1_900_000_000
SHUT = 1_000_000_000  # half cost of a blocked cell
ROOT_2 = 92682  # sqrt 2 in 65536ths


@njit(cache=True)
def span(cost):
    """The cheapest and the dearest open cell of a map; (inf, 0) without one."""
    low, high = np.float32(np.inf), np.float32(0.0)
    for i in range(cost.shape[0]):
        for j in range(cost.shape[1]):
            c = cost[i, j]
            if c > 0.0 and c < np.inf:
                low, high = min(low, c), max(high, c)
    return float(low), float(high)


@njit(cache=True)
def count_halves(cost, low):
    """Cells (flat, with a closed border) as pairs of half cost and sum, i4 (n, 2); the cheapest cost `low` is ONE."""
    rows, columns = cost.shape
    w = columns + 2
    cells = np.empty(((rows + 2) * w, 2), np.int32)
    per = np.float32(0.5 * ONE / low)
    for at in range(w):
        cells[at, 0] = SHUT
        cells[at, 1] = 0
        cells[(rows + 1) * w + at, 0] = SHUT
        cells[(rows + 1) * w + at, 1] = 0
    for i in range(rows):
        at = (i + 1) * w
        cells[at, 0] = SHUT
        cells[at, 1] = 0  # a blocked cell's sum is 0: no step makes it less
        for j in range(columns):
            c = cost[i, j]
            at += 1
            if c > 0.0 and c < np.inf:
                cells[at, 0] = np.int32(c * per + np.float32(0.5))
                cells[at, 1] = FAR
            else:
                cells[at, 0] = SHUT
                cells[at, 1] = 0
        cells[at + 1, 0] = SHUT
        cells[at + 1, 1] = 0
    return cells


@njit(cache=True)
def count_up(cells, w, source, target, ring):
    """Fill the sums with the counted cost from `source`; with target >= 0 stop when that one is final.

    ring: buckets, a power of two, more than the dearest step takes. Returns False if a sum did not fit.
    """
    mask = ring - 1
    room = 1024
    stacks = np.empty((ring, room), np.int32)
    fill = np.zeros(ring, np.int64)
    around = np.array([-w, -1, 1, w, -w - 1, -w + 1, w - 1, w + 1], np.int64)
    cells[source, 1] = 0
    stacks[0, 0] = source
    fill[0] = 1
    live = 1
    k = 0
    while live > 0:
        slot = k & mask
        while fill[slot] == 0:
            k += 1
            slot = k & mask
        if target >= 0 and cells[target, 1] >> ONE_BITS < k:
            break
        if k << ONE_BITS > SUM_MAX:
            return False
        while fill[slot] > 0:
            fill[slot] -= 1
            live -= 1
            u = np.int64(stacks[slot, fill[slot]])
            d = cells[u, 1]
            if d >> ONE_BITS != k:
                continue  # it was taken from an earlier bucket
            own = cells[u, 0]
            base = d + own
            for n in range(8):
                v = u + around[n]
                old = cells[v, 1]
                if old <= base:
                    continue  # final already, or blocked
                if n < 4:
                    new = base + cells[v, 0]
                else:
                    if cells[u + (-w if n < 6 else w), 0] == SHUT or cells[u + (1 if n & 1 else -1), 0] == SHUT:
                        continue
                    new = d + (((own + cells[v, 0]) * ROOT_2) >> 16)
                if new >= old:
                    continue
                cells[v, 1] = new
                bucket = new >> ONE_BITS
                if old >> ONE_BITS == bucket:
                    continue  # it waits in that bucket already
                there = bucket & mask
                at = fill[there]
                if at == room:
                    wider = np.empty((ring, 2 * room), np.int32)
                    wider[:, :room] = stacks
                    stacks = wider
                    room *= 2
                stacks[there, at] = v
                fill[there] = at + 1
                live += 1
    return True


@njit(cache=True)
def field_of(cells, rows, columns, low):
    """The sums as costs (rows, columns) f4; inf where nothing came."""
    field = np.empty((rows, columns), np.float32)
    per = np.float64(low) / ONE
    w = columns + 2
    for i in range(rows):
        at = (i + 1) * w + 1
        for j in range(columns):
            reached = cells[at + j, 0] != SHUT and cells[at + j, 1] < FAR
            field[i, j] = np.float32(cells[at + j, 1] * per) if reached else np.float32(np.inf)
    return field


@njit(cache=True)
def corridor_halves(cost, kept, factor, low):
    """As `count_halves` for the squares of factor x factor cells that are kept; those around them are closed.

    Whatever is further off is not even written: no step can come there.
    """
    rows, columns = cost.shape
    w = columns + 2
    cells = np.empty(((rows + 2) * w, 2), np.int32)
    for at in range(w):
        cells[at, 0] = cells[(rows + 1) * w + at, 0] = SHUT
        cells[at, 1] = cells[(rows + 1) * w + at, 1] = 0
    for i in range(1, rows + 1):
        cells[i * w, 0] = cells[i * w + w - 1, 0] = SHUT
        cells[i * w, 1] = cells[i * w + w - 1, 1] = 0
    per = np.float32(0.5 * ONE / low)
    coarse_rows, coarse_columns = kept.shape
    for a in range(coarse_rows):
        for b in range(coarse_columns):
            near = False
            for c in range(max(0, a - 1), min(coarse_rows, a + 2)):
                for d in range(max(0, b - 1), min(coarse_columns, b + 2)):
                    near = near or kept[c, d]
            if not near:
                continue
            for i in range(a * factor, min(rows, (a + 1) * factor)):
                for j in range(b * factor, min(columns, (b + 1) * factor)):
                    at = (i + 1) * w + j + 1
                    c = cost[i, j]
                    if kept[a, b] and c > 0.0 and c < np.inf:
                        cells[at, 0] = np.int32(c * per + np.float32(0.5))
                        cells[at, 1] = FAR
                    else:
                        cells[at, 0] = SHUT
                        cells[at, 1] = 0
    return cells


@njit(cache=True)
def count_down(cells, w, start, source, path):
    """Write the flat cells of the cheapest way from `start` to the sums' source into `path`; returns their number."""
    if cells[start, 0] == SHUT or cells[start, 1] >= FAR:
        return 0
    around = np.array([-w, -1, 1, w, -w - 1, -w + 1, w - 1, w + 1], np.int64)
    u = start
    path[0] = u
    count = 1
    while u != source:
        best, to = np.int64(2 * FAR), -1
        for n in range(8):
            v = u + around[n]
            if cells[v, 0] == SHUT or cells[v, 1] >= cells[u, 1]:
                continue
            step = cells[u, 0] + cells[v, 0]
            if n >= 4:
                if cells[u + (-w if n < 6 else w), 0] == SHUT or cells[u + (1 if n & 1 else -1), 0] == SHUT:
                    continue
                step = (step * ROOT_2) >> 16
            if cells[v, 1] + step < best:
                best, to = cells[v, 1] + step, v
        if to < 0 or count == path.shape[0]:
            return 0
        u = to
        path[count] = u
        count += 1
    return count


@njit(cache=True)
def pool_crossings(cost, factor):
    """The map at 1/factor: each square costs what the cheapest straight way across it costs, a row's or column's mean.

    Blocked if every row and column is. A wall that leaves no straight way is a wall in the coarse map as well. Returns
    the coarse map and the fine one's span.
    """
    rows, columns = cost.shape
    coarse_rows, coarse_columns = (rows + factor - 1) // factor, (columns + factor - 1) // factor
    coarse = np.empty((coarse_rows, coarse_columns), np.float32)
    sums = np.empty(factor, np.float64)
    low, high = np.float32(np.inf), np.float32(0.0)
    for a in range(coarse_rows):
        low_i, high_i = a * factor, min(rows, (a + 1) * factor)
        for b in range(coarse_columns):
            low_j, high_j = b * factor, min(columns, (b + 1) * factor)
            sums[:] = 0.0
            best = np.float64(np.inf)
            for i in range(low_i, high_i):
                along = 0.0
                for j in range(low_j, high_j):
                    c = cost[i, j]
                    if c > 0.0 and c < np.inf:
                        low, high = min(low, c), max(high, c)
                    else:
                        c = np.float32(np.inf)
                    along += c
                    sums[j - low_j] += c
                if along < best * (high_j - low_j):
                    best = along / (high_j - low_j)
            for j in range(high_j - low_j):
                if sums[j] < best * (high_i - low_i):
                    best = sums[j] / (high_i - low_i)
            coarse[a, b] = np.float32(best)
    return coarse, float(low), float(high)

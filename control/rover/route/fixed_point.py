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
SHUT = 1 << 30  # half cost of a blocked cell: a bit that no other has
ROOT_2 = 92682  # sqrt 2 in 65536ths


@njit(cache=True)
def span(cost):
    """The cheapest and the dearest open cell of a map; (inf, 0) without one."""
    # positive floats are in the order of their bits, and the least of whole numbers is found many at a time
    bits = cost.view(np.int32)
    never = np.int32(0x7F800000)  # inf
    low, high = never, np.int32(0)
    for i in range(bits.shape[0]):
        for j in range(bits.shape[1]):
            c = bits[i, j]
            may_go = c > 0 and c < never
            low = min(low, c if may_go else never)
            high = max(high, c if may_go else np.int32(0))
    ends = np.array([low, high], np.int32).view(np.float32)
    return float(ends[0]), float(ends[1])


@njit(cache=True)
def count_halves(cost, low, cells):
    """Fill `cells` (flat, with a closed border) with pairs of half cost and sum, i4 (n, 2); `low` comes out as ONE."""
    rows, columns = cost.shape
    w = columns + 2
    per = np.float32(0.5 * ONE / low)
    _close_border(rows, w, cells)
    for i in range(rows):
        at = (i + 1) * w + 1
        row = cells[at : at + columns]
        for j in range(columns):
            c = cost[i, j]
            may_go = c > 0.0 and c < np.inf
            row[j, 0] = np.int32(c * per + np.float32(0.5)) if may_go else np.int32(SHUT)
            row[j, 1] = np.int32(FAR) if may_go else np.int32(0)


@njit(cache=True)
def _close_border(rows, w, cells):
    """A closed cell's sum is 0: no step makes it less."""
    for at in range(w):
        cells[at, 0] = cells[(rows + 1) * w + at, 0] = SHUT
        cells[at, 1] = cells[(rows + 1) * w + at, 1] = 0
    for i in range(1, rows + 1):
        cells[i * w, 0] = cells[i * w + w - 1, 0] = SHUT
        cells[i * w, 1] = cells[i * w + w - 1, 1] = 0


@njit(cache=True)
def _lower(cells, v, new, waits, count):
    """Let cell v have the sum `new` if that is less; note it in `waits` if it has to wait in another bucket now.

    Without a branch: which of the neighbours a cell betters, no processor foresees.
    """
    old = cells[v, 1]
    bucket = new >> ONE_BITS
    less = new < old
    cells[v, 1] = new if less else old
    waits[count, 0] = v
    waits[count, 1] = bucket
    return count + np.uint64(less & (old >> ONE_BITS != bucket))


@njit(cache=True)
def count_up(cells, w, source, target, ring):
    """Fill the sums with the counted cost from `source`; with target >= 0 stop when that one is final.

    ring: buckets, a power of two, more than the dearest step takes. Returns False if a sum did not fit.
    """
    mask = ring - 1
    room = 1024
    stacks = np.empty((ring, room), np.int32)
    fill = np.zeros(ring, np.int64)
    waits = np.empty((9, 2), np.int64)
    one, row = np.uint64(1), np.uint64(w)  # unsigned: no index is counted from the end
    cells[source, 1] = 0
    stacks[0, 0] = source
    fill[0] = 1
    k, empty = 0, 0
    while empty < ring:
        slot = k & mask
        if fill[slot] == 0:
            k += 1
            empty += 1
            continue
        empty = 0
        if target >= 0 and cells[target, 1] >> ONE_BITS < k:
            break
        if k << ONE_BITS > SUM_MAX:
            return False
        for nth in range(fill[slot]):
            u = np.uint64(stacks[slot, nth])
            d = np.int64(cells[u, 1])
            if d >> ONE_BITS != k:
                continue  # it was taken from an earlier bucket
            own = np.int64(cells[u, 0])
            up, down, left, right = u - row, u + row, u - one, u + one
            half_up, half_down = np.int64(cells[up, 0]), np.int64(cells[down, 0])
            half_left, half_right = np.int64(cells[left, 0]), np.int64(cells[right, 0])
            count = _lower(cells, up, d + own + half_up, waits, np.uint64(0))
            count = _lower(cells, left, d + own + half_left, waits, count)
            count = _lower(cells, right, d + own + half_right, waits, count)
            count = _lower(cells, down, d + own + half_down, waits, count)
            # past a closed corner a step is dearer than anything
            v = up - one
            far = d + (((own + cells[v, 0]) * ROOT_2) >> 16) + 2 * ((half_up | half_left) & SHUT)
            count = _lower(cells, v, far, waits, count)
            v = up + one
            far = d + (((own + cells[v, 0]) * ROOT_2) >> 16) + 2 * ((half_up | half_right) & SHUT)
            count = _lower(cells, v, far, waits, count)
            v = down - one
            far = d + (((own + cells[v, 0]) * ROOT_2) >> 16) + 2 * ((half_down | half_left) & SHUT)
            count = _lower(cells, v, far, waits, count)
            v = down + one
            far = d + (((own + cells[v, 0]) * ROOT_2) >> 16) + 2 * ((half_down | half_right) & SHUT)
            count = _lower(cells, v, far, waits, count)
            for n in range(count):
                there = waits[n, 1] & mask
                at = fill[there]
                if at == room:
                    wider = np.empty((ring, 2 * room), np.int32)
                    wider[:, :room] = stacks
                    stacks = wider
                    room *= 2
                stacks[there, at] = waits[n, 0]
                fill[there] = at + 1
        fill[slot] = 0
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
def corridor_halves(cost, kept, factor, low, cells):
    """As `count_halves` for the squares of factor x factor cells that are kept; those around them are closed.

    Whatever is further off is not even written: no step can come there.
    """
    rows, columns = cost.shape
    w = columns + 2
    _close_border(rows, w, cells)
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

    Blocked if every row and column is. A wall that leaves no straight way is a wall in the coarse map as well.
    """
    rows, columns = cost.shape
    coarse_rows, coarse_columns = (rows + factor - 1) // factor, (columns + factor - 1) // factor
    coarse = np.empty((coarse_rows, coarse_columns), np.float32)
    sums = np.empty(factor, np.float64)
    for a in range(coarse_rows):
        low_i, high_i = a * factor, min(rows, (a + 1) * factor)
        for b in range(coarse_columns):
            low_j, high_j = b * factor, min(columns, (b + 1) * factor)
            sums[:] = 0.0
            best = np.float64(np.inf)
            for i in range(low_i, high_i):
                along = 0.0
                for j in range(low_j, high_j):
                    c = cost[i, j] if cost[i, j] > 0.0 else np.float32(np.inf)
                    along += float(c)
                    sums[j - low_j] += c
                if along < best * (high_j - low_j):
                    best = along / (high_j - low_j)
            for j in range(high_j - low_j):
                if sums[j] < best * (high_i - low_i):
                    best = sums[j] / (high_i - low_i)
            coarse[a, b] = np.float32(best)
    return coarse

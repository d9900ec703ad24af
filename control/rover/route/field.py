"""The bucket search under every route: an exact cost-to-go by Dial's buckets, over a flat map with a closed border.

A cell is an index into a map with one blocked cell all round, so no step needs a bounds test. Half costs are f4 and
sums f8: ten thousand equal steps added in f4 drift by more than 1e-4. A bucket is as wide as the cheapest step, so a
cell hardly ever changes after it was taken; one that does is taken again (label-correcting), so the result is exact
for wider buckets too. Buckets are stacks made of chunks from one pool.
"""

from __future__ import annotations

import numpy as np
from numba import njit

CHUNK = 32  # cells in one piece of a bucket's stack
RING_LIMIT = 1 << 15  # buckets at most; beyond it they are made wider


@njit(cache=True)
def pad_halves(cost):
    """(flat half costs f4 with a blocked border, cheapest, dearest cost) of a cost map f4 (rows, columns).

    A cost that is not a positive finite number is blocked. Without an open cell cheapest is inf.
    """
    rows, columns = cost.shape
    w = columns + 2
    half = np.empty((rows + 2) * w, np.float32)
    half[:w] = np.inf
    half[(rows + 1) * w :] = np.inf
    low, high = np.float32(np.inf), np.float32(0.0)
    for i in range(rows):
        at = (i + 1) * w + 1
        half[at - 1] = np.inf
        half[at + columns] = np.inf
        for j in range(columns):
            c = cost[i, j]
            if c > 0.0 and c < np.inf:
                low, high = min(low, c), max(high, c)
                half[at + j] = np.float32(0.5) * c
            else:
                half[at + j] = np.inf
    return half, low, high


@njit(cache=True)
def search(half, w, source, target, low, high, aim, total):
    """Fill `total` (flat f8, inf before) with the cost from `source`; with target >= 0 stop when that one is exact.

    half, w: as of `pad_halves`. aim 1.0 adds the octile distance to the target (A*), 0.0 none. Cells that were not
    taken before the stop hold inf or the cost of some real path.
    """
    diagonal = np.sqrt(2.0)
    steps = np.array([-w, -1, 1, w, -w - 1, -w + 1, w - 1, w + 1], np.int64)
    side_a = np.array([0, 0, 0, 0, -w, -w, w, w], np.int64)
    side_b = np.array([0, 0, 0, 0, -1, 1, -1, 1], np.int64)
    # a hair below the true bound, so that rounding never lets a step fall into an earlier bucket
    aim_low = aim * low * (1.0 - 1e-7)
    reach = diagonal * (high + aim_low)
    # aimed, steps along the line to the target add next to nothing: narrow buckets keep the order
    width = max(float(low) * (0.02 if aim_low > 0.0 else 1.0), reach / (RING_LIMIT - 4))
    per = 1.0 / width
    ring = 8
    while ring < reach * per + 4:
        ring *= 2
    mask = ring - 1
    head = np.full(ring, -1, np.int32)
    fill = np.zeros(ring, np.int32)
    chunks = 4 * ring + 1024
    pool = np.empty(chunks * CHUNK, np.int32)
    link = np.empty(chunks, np.int32)
    unused, spare = 0, -1
    ti, tj = target // w, target % w

    total[source] = 0.0
    start = 0.0
    if aim_low > 0.0:
        di, dj = abs(source // w - ti), abs(source % w - tj)
        start = aim_low * (max(di, dj) + (diagonal - 1.0) * min(di, dj))
    k = np.int64(start * per)
    head[k & mask], fill[k & mask], link[0], pool[0], unused = 0, 1, -1, source, 1
    live = 1
    while live > 0:
        slot = k & mask
        while head[slot] < 0:
            k += 1
            slot = k & mask
        if target >= 0 and total[target] * per < k:
            break
        while head[slot] >= 0:
            chunk = head[slot]
            fill[slot] -= 1
            u = np.int64(pool[chunk * CHUNK + fill[slot]])
            live -= 1
            if fill[slot] == 0:
                head[slot] = link[chunk]
                link[chunk] = spare
                spare = chunk
                fill[slot] = CHUNK if head[slot] >= 0 else 0
            d = total[u]
            remaining = 0.0
            if aim_low > 0.0:
                di, dj = abs(u // w - ti), abs(u % w - tj)
                remaining = aim_low * (max(di, dj) + (diagonal - 1.0) * min(di, dj))
            if np.int64((d + remaining) * per) != k:
                continue  # it was taken from an earlier bucket
            own = half[u]
            for n in range(8):
                v = u + steps[n]
                old = total[v]
                new = d + (own + half[v]) * (1.0 if n < 4 else diagonal)
                if not new < old:
                    continue
                if n >= 4 and (half[u + side_a[n]] == np.inf or half[u + side_b[n]] == np.inf):
                    continue
                total[v] = new
                remaining = 0.0
                if aim_low > 0.0:
                    di, dj = abs(v // w - ti), abs(v % w - tj)
                    remaining = aim_low * (max(di, dj) + (diagonal - 1.0) * min(di, dj))
                b = np.int64((new + remaining) * per)
                if b != k and old < np.inf and np.int64((old + remaining) * per) == b:
                    continue  # it already waits in that bucket
                there = b & mask
                if head[there] < 0 or fill[there] == CHUNK:
                    if spare >= 0:
                        fresh = np.int32(spare)
                        spare = link[fresh]
                    else:
                        if unused == chunks:
                            wider = np.empty(2 * chunks * CHUNK, np.int32)
                            wider[: chunks * CHUNK] = pool
                            pool = wider
                            longer = np.empty(2 * chunks, np.int32)
                            longer[:chunks] = link
                            link = longer
                            chunks *= 2
                        fresh = np.int32(unused)
                        unused += 1
                    link[fresh] = head[there]
                    head[there] = fresh
                    fill[there] = 0
                pool[head[there] * CHUNK + fill[there]] = v
                fill[there] += 1
                live += 1


@njit(cache=True)
def walk_down(half, w, total, start, path):
    """Write the flat cells of the cheapest way from `start` to where `total` is 0 into `path`; their number, 0 if none.

    Every step goes to a cell of lower total, so the walk ends; `path` as long as the map is enough.
    """
    if not total[start] < np.inf:
        return 0
    diagonal = np.sqrt(2.0)
    u = start
    path[0] = u
    count = 1
    while total[u] > 0.0:
        best, to = np.inf, -1
        for di in range(-1, 2):
            for dj in range(-1, 2):
                v = u + di * w + dj
                if v == u or not total[v] < total[u]:
                    continue
                if di != 0 and dj != 0:
                    if half[u + di * w] == np.inf or half[u + dj] == np.inf:
                        continue
                    via = total[v] + (half[u] + half[v]) * diagonal
                else:
                    via = total[v] + (half[u] + half[v])
                if via < best:
                    best, to = via, v
        if to < 0 or count == path.shape[0]:
            return 0
        u = to
        path[count] = u
        count += 1
    return count

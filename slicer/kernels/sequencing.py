"""What comes next: which loop and from which of its points, which vector and from which of its ends, which tile."""

from __future__ import annotations

import heapq
import math

import numpy as np
from numba import njit

from slicer.kernels import nearby


@njit(cache=True)
def trace_nearest(points, starts, x, y):
    """Closed loops as vectors, always going to the nearest corner of the loops that are left.

    Args:
        points: (p, 2) f8; starts: (l + 1,) i8, no loop empty; x, y: where the beam is, mm.

    Returns (p, 4) f8: each loop whole, in its own direction, from and to the corner it was entered at.
    """
    loops = len(starts) - 1
    done = np.zeros(loops, np.bool_)
    out = np.empty((len(points), 4))
    count = 0
    for _ in range(loops):
        best = math.inf
        best_loop = 0
        entry = 0
        for loop in range(loops):
            if done[loop]:
                continue
            for i in range(starts[loop], starts[loop + 1]):
                away = (points[i, 0] - x) ** 2 + (points[i, 1] - y) ** 2
                if away < best:
                    best = away
                    best_loop = loop
                    entry = i
        done[best_loop] = True
        begin, end = starts[best_loop], starts[best_loop + 1]
        i = entry
        for _ in range(end - begin):
            after = i + 1 if i + 1 < end else begin
            out[count, 0], out[count, 1] = points[i, 0], points[i, 1]
            out[count, 2], out[count, 3] = points[after, 0], points[after, 1]
            count += 1
            i = after
        x, y = points[entry, 0], points[entry, 1]
    return out


# ---- the shortest way through vectors of which either end may come first


@njit(cache=True, nogil=True)
def chain_nearest(vectors, x, y):
    """Vectors one after the other, each begun at the end that is nearest to where the beam then is.

    Args:
        vectors: (n, 4) f8, n > 0; x, y: where the beam is, mm.

    Returns (n,) i4: the end at which the i-th vector is entered, 2 k for the start of vector k and 2 k + 1 for its end.
    """
    n = len(vectors)
    ends = vectors.copy().reshape(2 * n, 2)
    tree = nearby.tree_of(ends, np.ones(2 * n, np.bool_))
    stack = np.empty(nearby.BOXES_DEEP, np.int32)
    tour = np.empty(n, np.int32)
    for i in range(n):
        entry, _ = nearby.nearest_in(tree, x, y, stack)
        nearby.take_out(tree, entry)
        nearby.take_out(tree, entry ^ 1)
        tour[i] = entry
        x, y = ends[entry ^ 1]
    return tour


@njit(cache=True, nogil=True)
def _away(ends, a, b):
    """Distance of two ends; 0 to the end -1, that of the tour, after which nothing comes."""
    if b < 0:
        return 0.0
    return math.hypot(ends[a, 0] - ends[b, 0], ends[a, 1] - ends[b, 1])


@njit(cache=True, nogil=True)
def shorten(vectors, tour, x, y, passes, span, work):
    """Shorten the jumps of a tour, in place, by 2-opt and Or-opt moves.

    A move ends one jump (a, b) in favour of a shorter one to one of the few ends nearest to a or to b: either the
    stretch between is run backwards (2-opt), or one vector is taken from where it is and put in there (Or-opt).

    Args:
        vectors: (n, 4) f8; tour: (n,) i4 as from `chain_nearest`; x, y: where the beam is before, mm.
        passes: times that all jumps are looked at; span: vectors that a move may renumber; work: those that all moves
            together may.
    """
    n = len(vectors)
    ends = np.empty((2 * n + 1, 2))
    ends[: 2 * n] = vectors.copy().reshape(2 * n, 2)
    ends[2 * n, 0], ends[2 * n, 1] = x, y
    tree = nearby.tree_of(ends[: 2 * n], np.zeros(2 * n, np.bool_))
    stack = np.empty(nearby.BOXES_DEEP, np.int32)
    found = np.empty(8, np.int32)
    found_sq = np.empty(8)
    place = np.empty(n, np.int32)
    for i in range(n):
        place[tour[i] >> 1] = i
    for _ in range(passes):
        moved = 0
        for i in range(-1, n - 1):  # the jump from the i-th vector (-1: from where the beam is) to the next
            a = tour[i] ^ 1 if i >= 0 else 2 * n
            b = tour[i + 1]
            jump = _away(ends, a, b)
            gain = 1e-9
            move, at = 0, 0  # 1: reverse a stretch to or from `at`; 2, 3: put vector `at` in, entered or left there
            first, last = 0, 0
            for side in range(2):
                here = a if side == 0 else b
                many = nearby.few_nearest(
                    tree, ends[here, 0], ends[here, 1], jump * jump * (1.0 - 1e-9), found, found_sq, stack
                )
                for f in range(many):
                    p = found[f]
                    j = place[p >> 1]
                    if j == i + side:
                        continue
                    to_p = math.sqrt(found_sq[f])
                    before = tour[j - 1] ^ 1 if j > 0 else 2 * n
                    after = tour[j + 1] if j + 1 < n else -1
                    if side == 0 and p == tour[j] ^ 1:  # a meets an exit: what lies between turns round
                        won = jump + _away(ends, p, after) - to_p - _away(ends, b, after)
                        low, high = (i + 1, j) if j > i else (j + 1, i)
                        if won > gain and high - low < span:
                            gain, move, first, last = won, 1, low, high
                    elif side == 1 and p == tour[j]:  # b meets an entry
                        won = jump + _away(ends, before, p) - to_p - _away(ends, a, before)
                        low, high = (i + 1, j - 1) if j > i else (j, i)
                        if won > gain and high - low < span:
                            gain, move, first, last = won, 1, low, high
                    if j != i and j != i + 1 and abs(j - i) < span:
                        won = (
                            _away(ends, before, tour[j]) + _away(ends, tour[j] ^ 1, after) - _away(ends, before, after)
                        )
                        won += jump - to_p - _away(ends, p ^ 1, b if side == 0 else a)
                        if won > gain:
                            gain, move, at = won, 2 + side, p
            if move == 0:
                continue
            if move == 1:
                low, high = first, last
                while low < high:
                    tour[low], tour[high] = tour[high] ^ 1, tour[low] ^ 1
                    low += 1
                    high -= 1
                if low == high:
                    tour[low] ^= 1
            else:
                j = place[at >> 1]
                first, last = min(i + 1, j), max(i, j)
                if j > i:
                    for k in range(j, i + 1, -1):
                        tour[k] = tour[k - 1]
                    tour[i + 1] = at ^ (move - 2)
                else:
                    for k in range(j, i):
                        tour[k] = tour[k + 1]
                    tour[i] = at ^ (move - 2)
            for k in range(first, last + 1):
                place[tour[k] >> 1] = k
            moved += 1
            work -= last + 1 - first
            if work < 0:
                return
        if moved == 0:
            return


# ---- a least time between neighbours

TOUCH = 1e-6
"""Ends this near to each other are one point, mm."""

LOOK = 64
"""Vectors that are not ready yet of which the one that could begin first is looked for, soonest ready first."""


@njit(cache=True, nogil=True)
def return_time_order(vectors, follows, x, y, speed, jump_speed, least_s, radius):
    """An order in which no vector begins sooner than `least_s` after a neighbour ended.

    Always next is the vector that can begin first: the nearest of those that are ready, or one that becomes ready
    sooner than the beam could be there. Vectors that are not ready stand in a queue by the time they become so: each
    exposure sends its neighbours to the queue's end, where the latest time belongs.

    Vectors of a chain (each begins where the one before ends) keep their direction and begin with the first that is
    left. While the beam runs on along the chain, what it passed less than the radius ago, measured along the chain,
    does not hold it up, nor does the beginning of a ring when it closes. Where the beam stops, they do.

    Args:
        vectors: (n, 4) f8, n > 0; follows: (n,) b1, vector k continues the chain of vector k - 1.
        x, y: where the beam is, mm; speed, jump_speed: mm/s; least_s: s.
        radius: vectors nearer to each other than this are neighbours, mm.

    Returns (tour (n,) i4 as from `chain_nearest`, wait_s (n,) f8: beam off at the start of the i-th vector).
    """
    n = len(vectors)
    ends = vectors.copy().reshape(2 * n, 2)
    chains = chains_of(vectors, follows)
    head_of, last_of, _, _, _ = chains
    present = np.zeros(2 * n, np.bool_)
    heads = np.zeros(n, np.bool_)  # what may come next at all: not the inner vectors of a chain
    turns = np.zeros(n, np.bool_)  # what may be run either way: vectors in no chain
    for k in range(n):
        heads[k] = head_of[k] == k
        turns[k] = heads[k] and last_of[k] == k
        present[2 * k] = heads[k]
        present[2 * k + 1] = turns[k]
    tree = nearby.tree_of(ends, present)
    stack = np.empty(nearby.BOXES_DEEP, np.int32)
    guarded = least_s > 0.0 and radius > 0.0
    reach, run_on = (
        radius * (1.0 + 1e-9) + 1e-9,
        radius * (1.0 - 1e-9),
    )  # where rounding decides, two vectors are neighbours
    frame, shape, first, noted = nearby.grid_of(vectors, reach)
    asked = np.full(n, -1, np.int32)
    done = np.zeros(n, np.bool_)
    ready = np.zeros(n)
    earlier, later = np.full(n + 1, n, np.int32), np.full(n + 1, n, np.int32)  # the queue, a ring closed by entry n
    queued = np.zeros(n, np.bool_)
    tour = np.empty(n, np.int32)
    wait_s = np.zeros(n)
    now = 0.0
    last = run = -1  # the vector exposed before, and the one that the beam's run began with
    for i in range(n):
        entry = -1
        if last >= 0 and last_of[last] > last:
            if ready[last + 1] <= now:
                entry = 2 * (last + 1)
            else:  # the beam leaves the chain: now what it just passed counts, for this vector and so for all after it
                ready[last + 1] = now + least_s
                heads[last + 1] = True
                _queue(last + 1, earlier, later, queued)
        begin = now
        if entry < 0:
            while later[n] < n and ready[later[n]] <= now:
                k = later[n]
                _unqueue(k, earlier, later, queued)
                nearby.put_in(tree, 2 * k)
                if turns[k]:
                    nearby.put_in(tree, 2 * k + 1)
            entry, away_sq = nearby.nearest_in(tree, x, y, stack)
            away = math.sqrt(away_sq)
            begin = now + away / jump_speed
            k = later[n]
            for _ in range(LOOK):
                if k == n or ready[k] > begin:
                    break
                for end in range(2 * k, 2 * k + (2 if turns[k] else 1)):
                    to_end = math.hypot(ends[end, 0] - x, ends[end, 1] - y)
                    could = max(now + to_end / jump_speed, ready[k])
                    if could < begin or (could == begin and to_end < away):
                        entry, begin, away = end, could, to_end
                k = later[k]
            arrives = now + away / jump_speed
            wait_s[i] = whole_wait(begin - arrives)
            begin = arrives + wait_s[i]
            run = entry >> 1
        k = entry >> 1
        tour[i] = entry
        done[k] = True
        nearby.take_out(tree, 2 * k)
        nearby.take_out(tree, 2 * k + 1)
        if queued[k]:
            _unqueue(k, earlier, later, queued)
        x, y = ends[entry ^ 1]
        now = begin + math.hypot(vectors[k, 2] - vectors[k, 0], vectors[k, 3] - vectors[k, 1]) / speed
        last = k
        if not guarded:
            continue
        low, high = nearby.rows_near(vectors[k], reach, frame, shape)
        for row in range(low, high + 1):
            left, right = nearby.columns_near(vectors[k], reach, row, frame, shape)
            cell = row * shape[0]
            for c in range(first[cell + left], first[cell + right + 1] if right >= left else first[cell + left]):
                j = noted[c]
                if done[j] or asked[j] == i:
                    continue
                asked[j] = i
                if is_spared(chains, k, j, run, run_on):
                    continue
                if nearby.segments_gap_sq(vectors[k], vectors[j]) >= reach * reach:
                    continue
                ready[j] = now + least_s
                if heads[j]:
                    nearby.take_out(tree, 2 * j)
                    nearby.take_out(tree, 2 * j + 1)
                    if queued[j]:
                        _unqueue(j, earlier, later, queued)
                    _queue(j, earlier, later, queued)
    return tour, wait_s


@njit(cache=True, nogil=True)
def whole_wait(wait_s):
    """The wait in whole milliseconds, rounded up: machines take no parts of one. At least 0."""
    return math.ceil(max(wait_s, 0.0) * 1000.0) / 1000.0


@njit(cache=True, nogil=True)
def chains_of(vectors, follows):
    """Where each vector stands in its chain; a vector alone is a chain too.

    Returns (head_of (n,) i4, last_of (n,) i4: the chain's first and last vector; before (n,) f8, after (n,) f8: length
    of the chain before the vector and after it, mm; closed (n,) b1: the chain ends where it begins).
    """
    n = len(vectors)
    head_of, last_of = np.empty(n, np.int32), np.empty(n, np.int32)
    before, after = np.empty(n), np.empty(n)
    closed = np.zeros(n, np.bool_)
    for k in range(n):
        goes_on = k > 0 and follows[k]
        head_of[k] = head_of[k - 1] if goes_on else k
        before[k] = before[k - 1] + _length(vectors[k - 1]) if goes_on else 0.0
    for k in range(n - 1, -1, -1):
        goes_on = k + 1 < n and follows[k + 1]
        last_of[k] = last_of[k + 1] if goes_on else k
        after[k] = after[k + 1] + _length(vectors[k + 1]) if goes_on else 0.0
        head, last = vectors[head_of[k]], vectors[last_of[k]]
        closed[k] = last_of[k] > head_of[k] and math.hypot(last[2] - head[0], last[3] - head[1]) <= TOUCH
    return head_of, last_of, before, after, closed


@njit(cache=True, nogil=True)
def _length(vector):
    return math.hypot(vector[2] - vector[0], vector[3] - vector[1])


@njit(cache=True, nogil=True)
def is_spared(chains, k, j, run, run_on):
    """Whether vector j, later in the chain of vector k, is no neighbour of it as long as the beam runs on.

    That is where the chain between them is shorter than run_on, or where both lie so near to the beginning of a ring
    that has been exposed from there (run: the vector that the beam's run began with).
    """
    head_of, _, before, after, closed = chains
    if j <= k or head_of[j] != head_of[k]:
        return False
    if before[j] - before[k + 1] < run_on:
        return True
    return closed[k] and run == head_of[k] and before[k] + after[j] < run_on


@njit(cache=True, nogil=True)
def _queue(k, earlier, later, queued):
    """Put a vector at the end of the queue."""
    end = len(earlier) - 1
    earlier[k], later[k] = earlier[end], end
    later[earlier[end]] = k
    earlier[end] = k
    queued[k] = True


@njit(cache=True, nogil=True)
def _unqueue(k, earlier, later, queued):
    """Take a vector out of the queue, wherever it stands."""
    later[earlier[k]] = later[k]
    earlier[later[k]] = earlier[k]
    queued[k] = False


# ---- tiles far from each other


@njit(cache=True, nogil=True)
def farthest_order(centres, x, y, recent, pool):
    """Tiles so ordered that the next is farthest from those exposed last.

    A tile's distance from one that was exposed `age` tiles ago counts age^(1/4)-fold: without that all of the last
    count alike, and where each tile that is left lies near some of them, the one exposed just now is as good as any.

    Args:
        centres: (m, 2) f8; x, y: where the beam is, mm: the first tile is the one nearest to it.
        recent: how many tiles before count as exposed last; pool: of more tiles than this, every other one (every
            third, ...) is exposed first, then the ones between, so that the cost stays m x pool x recent.

    Returns (m,) i4.
    """
    m = len(centres)
    order = np.empty(m, np.int32)
    left = np.empty(m, np.int32)
    weight = np.sqrt(np.arange(recent + 1))  # of squared distances
    rounds = (m + pool - 1) // pool
    count = 0
    for turn in range(rounds):
        many = 0
        for k in range(turn, m, rounds):
            left[many] = k
            many += 1
        while many:
            best = 0
            beaten = -math.inf  # a little more than the best score: tiles that only rounding tells apart are equal
            for i in range(many):
                k = left[i]
                if count == 0:
                    score = -((centres[k, 0] - x) ** 2 + (centres[k, 1] - y) ** 2)
                else:
                    score = math.inf
                for age in range(1, min(count, recent) + 1):
                    other = order[count - age]
                    away_sq = (centres[k, 0] - centres[other, 0]) ** 2 + (centres[k, 1] - centres[other, 1]) ** 2
                    score = min(score, away_sq * weight[age])
                    if score <= beaten:
                        break
                if score > beaten:
                    best = i
                    beaten = score + 1e-9 * abs(score)
            order[count] = left[best]
            count += 1
            many -= 1
            for i in range(best, many):  # keeps the numbers rising, so that of equals the first is taken
                left[i] = left[i + 1]
    return order


# ---- against a stream


@njit(cache=True, nogil=True)
def upstream_order(vectors, group, rank, groups):
    """Groups of vectors so ordered that none lies downstream of one that comes before it.

    The stream drifts towards -x. A line along y sweeps over the vectors and keeps those it meets sorted by x; each pair
    that is ever next to each other there has an order, and all these together make the groups' (topological sort).
    Vectors that touch at their ends or cross count as well as one can tell. Where groups block each other (rings in
    rings) the one of lowest rank goes first.

    Args:
        vectors: (n, 4) f8, n > 0; group: (n,) i8, from 0; rank: (groups,) i8, each number once: of groups that may come
            next the lowest does.

    Returns (order (groups,) i8, votes (groups,) i4: negative where a group's vectors should come in reverse).
    """
    n = len(vectors)
    low, high = np.empty(n), np.empty(n)
    for k in range(n):
        below, above = min(vectors[k, 1], vectors[k, 3]), max(vectors[k, 1], vectors[k, 3])
        # ends that touch are not passed over; a vector along the stream is as wide as a touch
        narrow = above - below < 4.0 * TOUCH
        low[k] = 0.5 * (below + above) - TOUCH if narrow else below + TOUCH
        high[k] = 0.5 * (below + above) + TOUCH if narrow else above - TOUCH
    entering, leaving = np.argsort(low, kind="mergesort"), np.argsort(high, kind="mergesort")
    met = np.empty(n, np.int32)
    many = 0
    first_of, edge_to, edge_after = np.full(groups, -1), np.empty(3 * n, np.int32), np.empty(3 * n, np.int32)
    blocked, votes = np.zeros(groups, np.int32), np.zeros(groups, np.int32)
    edges = 0
    gone = 0
    for k in entering:
        while high[leaving[gone]] <= low[k]:
            out = leaving[gone]
            gone += 1
            place = _place_among(vectors, met, many, out, high[out])
            if place >= many or met[place] != out:  # vectors that cross stand elsewhere than they did
                place = 0
                while met[place] != out:
                    place += 1
            many -= 1
            for i in range(place, many):
                met[i] = met[i + 1]
            if 0 < place < many:
                edges = _follow(met[place - 1], met[place], group, first_of, edge_to, edge_after, blocked, votes, edges)
        place = _place_among(vectors, met, many, k, low[k])
        for i in range(many, place, -1):
            met[i] = met[i - 1]
        met[place] = k
        many += 1
        if place > 0:
            edges = _follow(met[place - 1], k, group, first_of, edge_to, edge_after, blocked, votes, edges)
        if place + 1 < many:
            edges = _follow(k, met[place + 1], group, first_of, edge_to, edge_after, blocked, votes, edges)
    by_rank = np.argsort(rank)
    free = [np.int64(0)]
    free.clear()
    for g in range(groups):
        if blocked[g] == 0:
            heapq.heappush(free, rank[g])
    done = np.zeros(groups, np.bool_)
    order = np.empty(groups, np.int64)
    lowest = 0
    for i in range(groups):
        if len(free) > 0:
            g = by_rank[heapq.heappop(free)]
        else:
            while done[by_rank[lowest]]:
                lowest += 1
            g = by_rank[lowest]
        order[i] = g
        done[g] = True
        edge = first_of[g]
        while edge >= 0:
            after = edge_to[edge]
            blocked[after] -= 1
            if blocked[after] == 0 and not done[after]:
                heapq.heappush(free, rank[after])
            edge = edge_after[edge]
    return order, votes


@njit(cache=True, nogil=True)
def _x_at(vector, y):
    """Where a vector passes a height; its middle if it lies along it."""
    rise = vector[3] - vector[1]
    if abs(rise) < 4.0 * TOUCH:
        return 0.5 * (vector[0] + vector[2])
    return vector[0] + (y - vector[1]) / rise * (vector[2] - vector[0])


@njit(cache=True, nogil=True)
def _place_among(vectors, met, many, k, y):
    """Where vector k stands, or would stand, among those met at height y, sorted by x and then by number."""
    x = _x_at(vectors[k], y)
    first, last = 0, many
    while first < last:
        middle = (first + last) // 2
        other = _x_at(vectors[met[middle]], y)
        if other < x or (other == x and met[middle] < k):
            first = middle + 1
        else:
            last = middle
    return first


@njit(cache=True, nogil=True)
def _follow(k, j, group, first_of, edge_to, edge_after, blocked, votes, edges):
    """Note that the group of one vector comes before that of another; returns how many such notes there are."""
    before, after = group[k], group[j]
    if before == after:
        votes[before] += 1 if k < j else -1
        return edges
    edge_to[edges] = after
    edge_after[edges] = first_of[before]
    first_of[before] = edges
    blocked[after] += 1
    return edges + 1

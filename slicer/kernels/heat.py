"""When neighbours were exposed, and what warmth they left: replayed vector by vector."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from slicer.kernels import nearby, sequencing

# ---- return times


@njit(cache=True, nogil=True)
def return_times(vectors, follows, runs_on, begin, end, turn, radius, returns):
    """The least time from the end of an earlier neighbour to the beginning of each vector.

    Vectors of one head stand together, in the order in which it exposes them.

    Args:
        vectors: (n, 4) f8, n > 0; follows: (n,) b1, begins where the one before ended (same head); runs_on: (n,) b1,
            and without a wait.
        begin, end: (n,) f8, s; turn: (n,) i8, the vectors by the time they begin; radius: mm.
        returns: (n,) f8, out, s; inf where no neighbour was exposed before, negative where one still is.
    """
    n = len(vectors)
    chains = sequencing.chains_of(vectors, follows)
    grid = nearby.grid_of(vectors, radius)
    begun = np.zeros(n, np.bool_)
    asked = np.full(n, -1, np.int32)
    run = np.empty(n, np.int32)
    for i in range(n):
        run[i] = run[i - 1] if i > 0 and runs_on[i] else i
    near, run_on = radius * (1.0 - 1e-9), radius * (1.0 + 1e-9)  # where rounding decides, no neighbours
    for i in turn:
        returns[i] = begin[i] - _latest_end(i, i, vectors, chains, grid, begun, end, run[i], near, run_on, asked)
        begun[i] = True


@njit(cache=True, nogil=True)
def hold(vectors, follows, lengths, speeds, jump_speed, least_s, radius, wait_s):
    """Lengthen the waits of one head's path, in place, until no vector begins too soon after a neighbour ended.

    Args:
        vectors: (n, 4) f8, n > 0; follows: (n,) b1, begins where the one before ended; lengths: (n,) f8, mm.
        speeds: (n,) f8, mm/s; jump_speed: mm/s; least_s: s; radius: mm.
        wait_s: (n,) f8, in and out: the waits that the path has, and those it needs.
    """
    n = len(vectors)
    chains = sequencing.chains_of(vectors, follows)
    grid = nearby.grid_of(vectors, radius)
    begun = np.zeros(n, np.bool_)
    asked = np.full(n, -1, np.int32)
    near, run_on = radius * (1.0 + 1e-9) + 1e-9, radius * (1.0 - 1e-9)  # where rounding decides, neighbours
    end = np.empty(n)
    now = 0.0
    run = 0
    for i in range(n):
        if i > 0:
            now += math.hypot(vectors[i, 0] - vectors[i - 1, 2], vectors[i, 1] - vectors[i - 1, 3]) / jump_speed
        now += wait_s[i]
        if not follows[i] or wait_s[i] > 0.0:
            run = i
        may = least_s + _latest_end(i, 2 * i, vectors, chains, grid, begun, end, run, near, run_on, asked)
        if may > now:
            if run < i:  # a beam that stops here does not run on: what it just passed counts too
                run = i
                may = least_s + _latest_end(i, 2 * i + 1, vectors, chains, grid, begun, end, run, near, run_on, asked)
            longer_s = sequencing.whole_wait(wait_s[i] + may - now) - wait_s[i]
            wait_s[i] += longer_s
            now += longer_s
        now += lengths[i] / speeds[i]
        end[i] = now
        begun[i] = True


@njit(cache=True, nogil=True)
def _latest_end(i, question, vectors, chains, grid, begun, end, run, radius, run_on, asked):
    """When the last of the neighbours of vector i that have begun ends; -inf where there is none.

    run: the vector that the run of vector i began with; within a run what `is_spared` says is no neighbour. question: a
    number of its own for each call, by which `asked` knows whom it has seen.
    """
    frame, shape, first, noted = grid
    latest = -math.inf
    low, high = nearby.rows_near(vectors[i], radius, frame, shape)
    for row in range(low, high + 1):
        left, right = nearby.columns_near(vectors[i], radius, row, frame, shape)
        if right < left:
            continue
        cell = row * shape[0]
        for c in range(first[cell + left], first[cell + right + 1]):
            j = noted[c]
            if not begun[j] or asked[j] == question or end[j] <= latest:
                continue
            asked[j] = question
            if j >= run and sequencing.is_spared(chains, j, i, run, run_on):
                continue
            if nearby.segments_gap_sq(vectors[i], vectors[j]) < radius * radius:
                latest = end[j]
    return latest


# ---- warmth


@njit(cache=True, nogil=True)
def residual_rises(vectors, begin, end, power, chosen, diffusivity, heat_m3, sigma, memory_s, cut, rises):
    """The rise that earlier vectors of a path have left where the beam arrives: at start, middle and end of a vector.

    Everything in SI units. See `slicer.thermal.residual_rise_k`.

    Args:
        vectors: (n, 4) f8, m; begin, end: (n,) f8, s, rising; power: (n,) f8, absorbed, W; chosen: (m,) i8, the
            vectors to be looked at.
        diffusivity: m2/s; heat_m3: density times heat capacity, J/(m3 K); sigma: standard deviation of the beam, m.
        memory_s: vectors that ended longer ago are forgotten; cut: standard deviations beyond which heat is.
        rises: (m, 3) f8, out, K.
    """
    for row in range(len(chosen)):
        i = chosen[row]
        for place in range(3):
            part = 0.5 * place
            x = vectors[i, 0] + part * (vectors[i, 2] - vectors[i, 0])
            y = vectors[i, 1] + part * (vectors[i, 3] - vectors[i, 1])
            at_s = begin[i] + part * (end[i] - begin[i])
            total = 0.0
            for j in range(i - 1, -1, -1):
                if end[j] < at_s - memory_s:
                    break
                youngest_s = max(at_s - end[j], 0.0)  # one that ended just now may be a rounding younger
                warmth = _line_rise(vectors[j], youngest_s, at_s - begin[j], x, y, diffusivity, sigma, cut)
                total += power[j] * warmth
            rises[row, place] = total / (math.pi * heat_m3 * math.sqrt(4.0 * math.pi * diffusivity))


PIECE_PART = 0.25
"""A piece of a vector is older at its one end than at its other by this part at most."""


@njit(cache=True, nogil=True)
def _line_rise(vector, youngest_s, oldest_s, x, y, a, sigma, cut):
    """The integral of Eagar and Tsai at the surface over one straight exposure, for one watt and without its constant.

    The exposure is cut into pieces of like age; within a piece the width of the warmth is constant and the integral
    over the beam's way is a difference of error functions.
    """
    ux, uy = vector[2] - vector[0], vector[3] - vector[1]
    length = math.hypot(ux, uy)
    if oldest_s <= youngest_s or length == 0.0:
        return 0.0
    ux, uy = ux / length, uy / length
    along = (x - vector[0]) * ux + (y - vector[1]) * uy
    across_sq = ((x - vector[0]) * uy - (y - vector[1]) * ux) ** 2
    beyond = max(-along, along - length, 0.0)
    if across_sq + beyond * beyond > cut * cut * (sigma * sigma + 2.0 * a * oldest_s):
        return 0.0
    speed = length / (oldest_s - youngest_s)
    nearest_s = oldest_s - along / speed
    reach_s = cut * math.sqrt(sigma * sigma + 2.0 * a * oldest_s) / speed
    stop_s = min(oldest_s, nearest_s + reach_s)
    young_s = max(youngest_s, nearest_s - reach_s)
    least_s = 1e-3 * sigma * sigma / a
    total = 0.0
    while young_s < stop_s:
        pass_s = math.sqrt(sigma * sigma + 2.0 * a * young_s) / speed  # the beam moves on by the width of the warmth
        old_s = min(young_s + min(max(young_s * PIECE_PART, least_s), pass_s), oldest_s)
        middle_s = 0.5 * (young_s + old_s)
        width_sq = sigma * sigma + 2.0 * a * middle_s
        root = math.sqrt(2.0 * width_sq)
        passed = math.erf((speed * (oldest_s - young_s) - along) / root)
        passed -= math.erf((speed * (oldest_s - old_s) - along) / root)
        inverse_root = 2.0 / (math.sqrt(young_s) + math.sqrt(old_s))  # mean of age^-1/2, which has no bound at age 0
        total += inverse_root / width_sq * math.exp(-across_sq / (2.0 * width_sq)) * passed * root
        young_s = old_s
    return total * math.sqrt(math.pi) / (2.0 * speed)

"""Vectors in blocks, as file formats hold them: runs that share their parameters, contours as polylines.

A column of a path may be given as (n,) or, where it is the same for all, as (1,). `per_unit` is how many units a mm
has; coordinates are rounded to whole units, or left as they are at 0.
"""

from __future__ import annotations

import numpy as np
from numba import njit

DIRECTION_INNER, DIRECTION_OUTER, DIRECTION_OPEN = 0, 1, 2
"""Of a polyline: clockwise, counter-clockwise, not closed."""


@njit(cache=True, nogil=True)
def number_sets(vectors_mm, kind, power_w, speed_mm_s, focus_mm, wait_s, beam, sets, known, sums, set_of):
    """Number the different (kind, power, speed, focus, beam) in the order in which they first come.

    Args:
        vectors_mm: (n, 4) f8; the columns of a path: see above.
        sets: (room, 5) f8, the sets known so far, grown in place.
        known: how many rows of it are in use.
        sums: (room, 4) f8, of each set: vectors, mm, J, s of waiting; added to.
        set_of: (n,) i4, out: which set each vector has.

    Returns how many sets are known now, or -1: there is no room for another.
    """
    of_kind, of_power, of_speed = len(kind) > 1, len(power_w) > 1, len(speed_mm_s) > 1
    of_focus, of_wait, of_beam = len(focus_mm) > 1, len(wait_s) > 1, len(beam) > 1
    last = 0
    for i in range(len(vectors_mm)):
        k, p, v = float(kind[i * of_kind]), power_w[i * of_power], speed_mm_s[i * of_speed]
        f, b = focus_mm[i * of_focus], float(beam[i * of_beam])
        found = -1
        for step in range(known):
            at = last + step
            if at >= known:
                at -= known
            if sets[at, 1] == p and sets[at, 2] == v and sets[at, 0] == k and sets[at, 3] == f and sets[at, 4] == b:
                found = at
                break
        if found < 0:
            if known == len(sets):
                return -1
            found = known
            known += 1
            sets[found, 0], sets[found, 1], sets[found, 2], sets[found, 3], sets[found, 4] = k, p, v, f, b
        last = found
        set_of[i] = found
        along_x, along_y = vectors_mm[i, 2] - vectors_mm[i, 0], vectors_mm[i, 3] - vectors_mm[i, 1]
        length = np.sqrt(along_x * along_x + along_y * along_y)
        sums[found, 0] += 1.0
        sums[found, 1] += length
        sums[found, 2] += p * length / v
        sums[found, 3] += wait_s[i * of_wait]
    return known


@njit(cache=True, nogil=True, inline="always")
def whole_units(value, per_unit):
    """A coordinate in whole units; as it is if `per_unit` is 0."""
    return np.rint(value * per_unit) if per_unit > 0.0 else value


@njit(cache=True, nogil=True)
def _join(vectors_mm, i, k, j, m, per_unit):
    """Whether the points at columns k, k + 1 of vector i and m, m + 1 of vector j are one."""
    return whole_units(vectors_mm[i, k], per_unit) == whole_units(vectors_mm[j, m], per_unit) and whole_units(
        vectors_mm[i, k + 1], per_unit
    ) == whole_units(vectors_mm[j, m + 1], per_unit)


@njit(cache=True, nogil=True)
def block_starts(vectors_mm, per_unit, set_of, is_track, wait_s, longest):
    """Where blocks begin: at another parameter set, and at a wait; a polyline also where the beam jumps or comes back.

    Args:
        vectors_mm: (n, 4) f8; per_unit: see above.
        set_of: (n,) i4.
        is_track: (sets,) b1, whether the vectors of a set are parts of polylines.
        wait_s: (n,) f8; a (1,) of 0: waits do not matter.
        longest: vectors that a block of hatches may hold.

    Returns (blocks + 1,) i8; the last is n.
    """
    n = len(vectors_mm)
    of_wait = len(wait_s) > 1
    starts = np.empty(n + 1, np.int64)
    blocks = 0
    begin = 0
    for i in range(n):
        new = i == 0 or set_of[i] != set_of[i - 1] or wait_s[i * of_wait] > 0.0
        if not new and is_track[set_of[i]]:
            new = not _join(vectors_mm, i, 0, i - 1, 2, per_unit) or _join(vectors_mm, i, 0, begin, 0, per_unit)
        elif not new:
            new = i - begin == longest
        if new:
            starts[blocks] = begin = i
            blocks += 1
    starts[blocks] = n
    return starts[: blocks + 1]


@njit(cache=True, nogil=True)
def direction(vectors_mm, per_unit, begin, end):
    """Which way round the polyline of vectors[begin:end] runs, by twice its signed area."""
    if not _join(vectors_mm, begin, 0, end - 1, 2, per_unit):
        return DIRECTION_OPEN
    area = 0.0
    x, y = vectors_mm[begin, 0], vectors_mm[begin, 1]
    for i in range(begin, end):
        area += (vectors_mm[i, 0] - x) * (vectors_mm[i, 3] - y) - (vectors_mm[i, 2] - x) * (vectors_mm[i, 1] - y)
    return DIRECTION_OUTER if area >= 0.0 else DIRECTION_INNER


@njit(cache=True, nogil=True)
def cli_long(vectors_mm, per_unit, starts, set_of, is_track, polyline, hatches):
    """The blocks of one layer as Common Layer Interface's binary commands, in little-endian words of two bytes.

    Args:
        vectors_mm: (n, 4) f8; per_unit: more than 0.
        starts: (blocks + 1,) i8, from `block_starts`.
        set_of: (n,) i4; is_track: (sets,) b1. A file's ids are set numbers from 1 up.
        polyline, hatches: command numbers.

    Returns (m,) u2: ids, directions and counts are i4, coordinates f4, two words each.
    """
    out = np.empty(len(vectors_mm) * 8 + (len(starts) - 1) * 11, np.uint16)
    at = 0
    for block in range(len(starts) - 1):
        begin, end = starts[block], starts[block + 1]
        track = is_track[set_of[begin]]
        out[at] = polyline if track else hatches
        at = _put_two(out, at + 1, set_of[begin] + 1)
        if track:
            at = _put_two(out, at, direction(vectors_mm, per_unit, begin, end))
            at = _put_two(out, at, end - begin + 1)
            at = _put_single(out, at, np.rint(vectors_mm[begin, 0] * per_unit))
            at = _put_single(out, at, np.rint(vectors_mm[begin, 1] * per_unit))
            for i in range(begin, end):
                at = _put_single(out, at, np.rint(vectors_mm[i, 2] * per_unit))
                at = _put_single(out, at, np.rint(vectors_mm[i, 3] * per_unit))
        else:
            at = _put_two(out, at, end - begin)
            for i in range(begin, end):
                for k in range(4):
                    _put_single(out, at + 2 * k, np.rint(vectors_mm[i, k] * per_unit))
                at += 8
    return out[:at]


@njit(cache=True, nogil=True)
def cli_short(vectors_mm, per_unit, starts, set_of, is_track, polyline, hatches):
    """The same in unsigned numbers of one word each; the caller has seen to it that they fit."""
    out = np.empty(len(vectors_mm) * 4 + (len(starts) - 1) * 6, np.uint16)
    at = 0
    for block in range(len(starts) - 1):
        begin, end = starts[block], starts[block + 1]
        track = is_track[set_of[begin]]
        out[at] = polyline if track else hatches
        out[at + 1] = set_of[begin] + 1
        at += 2
        if track:
            out[at] = direction(vectors_mm, per_unit, begin, end)
            out[at + 1] = end - begin + 1
            out[at + 2] = np.int64(np.rint(vectors_mm[begin, 0] * per_unit))
            out[at + 3] = np.int64(np.rint(vectors_mm[begin, 1] * per_unit))
            at += 4
            for i in range(begin, end):
                out[at] = np.int64(np.rint(vectors_mm[i, 2] * per_unit))
                out[at + 1] = np.int64(np.rint(vectors_mm[i, 3] * per_unit))
                at += 2
        else:
            out[at] = end - begin
            at += 1
            for i in range(begin, end):
                for k in range(4):
                    out[at + k] = np.int64(np.rint(vectors_mm[i, k] * per_unit))
                at += 4
    return out[:at]


@njit(cache=True, nogil=True, inline="always")
def _put_single(out, at, value):
    return _put_two(out, at, np.float32(value).view(np.int32))


@njit(cache=True, nogil=True, inline="always")
def _put_two(out, at, value):
    out[at] = value & 0xFFFF
    out[at + 1] = (value >> 16) & 0xFFFF
    return at + 2

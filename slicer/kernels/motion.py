"""The time a look-ahead motion controller needs for a chain of straight moves: trapezoids with junction deviation."""

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True)
def move_times(points_mm, cruise_mm_s, acceleration_mm_s2, junction_deviation_mm, times_s, entry_sq):
    """Time of each move of a chain that starts and ends at rest, with every move known ahead.

    Args:
        points_mm: (n + 1, 2) f8, the corners of the chain.
        cruise_mm_s: (n,) f8, the wanted speed of each move.
        acceleration_mm_s2, junction_deviation_mm: limits, the same for all moves.
        times_s: (n,) f8, out: seconds per move; 0 for a move without length.
        entry_sq: (n + 1,) f8, scratch: squared speed at each corner.

    Returns:
        The sum of times_s.

    Corner speed (Marlin, `planner.cpp`, junction deviation): v^2 = a d s / (1 - s) with s = sin(theta / 2), theta the
    angle between the moves; a short move that turns little is also held to v^2 <= L a / (pi - theta). Then a backward
    and a forward pass v_i^2 <= v_j^2 + 2 a L.
    """
    n = cruise_mm_s.shape[0]
    a = acceleration_mm_s2
    entry_sq[0] = 0.0
    last_x = 0.0
    last_y = 0.0
    last_cruise_sq = 0.0
    for i in range(n):
        dx = points_mm[i + 1, 0] - points_mm[i, 0]
        dy = points_mm[i + 1, 1] - points_mm[i, 1]
        length = math.sqrt(dx * dx + dy * dy)
        times_s[i] = length  # holds the length until the last pass
        if length == 0.0:
            continue  # a controller drops a move without length: the corner lies between its neighbours
        ux = dx / length
        uy = dy / length
        cruise_sq = cruise_mm_s[i] * cruise_mm_s[i]
        limit = 0.0
        if last_cruise_sq > 0.0:
            limit = min(cruise_sq, last_cruise_sq)
            cosine = -(last_x * ux + last_y * uy)  # of the angle between the moves; -1 is straight on
            if cosine > 0.999999:
                limit = 0.0
            elif cosine > -0.999999:
                half_sine = math.sqrt(0.5 * (1.0 - cosine))
                limit = min(limit, a * junction_deviation_mm * half_sine / (1.0 - half_sine))
                if length < 1.0 and cosine < -0.7071067811865475:
                    limit = min(limit, length * a / (math.pi - math.acos(cosine)))
        entry_sq[i] = limit
        last_x = ux
        last_y = uy
        last_cruise_sq = cruise_sq
    entry_sq[n] = 0.0

    following = 0.0
    for i in range(n - 1, -1, -1):
        if times_s[i] == 0.0:
            continue
        entry_sq[i] = min(entry_sq[i], following + 2.0 * a * times_s[i])
        following = entry_sq[i]

    total = 0.0
    speed_sq = 0.0
    i = 0
    while i < n:
        length = times_s[i]
        j = i + 1
        while j < n and times_s[j] == 0.0:
            j += 1
        if length == 0.0:
            i = j
            continue
        exit_sq = entry_sq[j] if j < n else 0.0
        exit_sq = min(exit_sq, speed_sq + 2.0 * a * length)
        cruise = cruise_mm_s[i]
        peak_sq = min(cruise * cruise, 0.5 * (speed_sq + exit_sq) + a * length)
        entry = math.sqrt(speed_sq)
        leave = math.sqrt(exit_sq)
        peak = max(math.sqrt(peak_sq), entry, leave)
        ramps = (peak - entry) / a + (peak - leave) / a
        ramp_length = (2.0 * peak * peak - speed_sq - exit_sq) / (2.0 * a)
        times_s[i] = ramps + max(0.0, length - ramp_length) / peak
        total += times_s[i]
        speed_sq = exit_sq
        i = j
    return total


@njit(cache=True)
def chain_moves(vectors_mm, speed_mm_s, jump_speed_mm_s, points_mm, cruise_mm_s, is_vector):
    """Turn scan vectors into one chain of moves: a jump wherever a vector does not start where the last one ended.

    Args:
        vectors_mm: (n, 4) f8; speed_mm_s: (n,) f8; jump_speed_mm_s: of the moves between.
        points_mm: (2 n, 2) f8, out; cruise_mm_s: (2 n,) f8, out; is_vector: (2 n,) u1, out: 1 scan vector, 0 jump.

    Returns:
        The number of moves; the chain starts at the first vector's start.
    """
    moves = 0
    n = vectors_mm.shape[0]
    for i in range(n):
        x = vectors_mm[i, 0]
        y = vectors_mm[i, 1]
        if i == 0:
            points_mm[0, 0] = x
            points_mm[0, 1] = y
        elif abs(points_mm[moves, 0] - x) > 5e-4 or abs(points_mm[moves, 1] - y) > 5e-4:
            cruise_mm_s[moves] = jump_speed_mm_s
            is_vector[moves] = 0
            moves += 1
            points_mm[moves, 0] = x
            points_mm[moves, 1] = y
        cruise_mm_s[moves] = speed_mm_s[i]
        is_vector[moves] = 1
        moves += 1
        points_mm[moves, 0] = vectors_mm[i, 2]
        points_mm[moves, 1] = vectors_mm[i, 3]
    return moves


def empty_scratch(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Room for `chain_moves` of n vectors."""
    return np.empty((2 * n + 1, 2)), np.empty(2 * n), np.empty(2 * n, np.uint8)

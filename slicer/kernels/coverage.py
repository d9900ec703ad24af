"""Sampling a layer: which points of it are inside the outline, under a spot, in how many tracks, with how much energy.

The samples stand in rows a pixel apart, a pixel from each other. Where a row lies within its pixel, and where its first
sample lies, is drawn from row to row, so that lines which repeat at the pixel's pace are not all hit or all missed. A
track is the rectangle around a vector, as wide as the distance of tracks; a spot's trace is the vector swept by the
spot's disc. Both are filled row by row: a row cuts a convex shape in one interval, and a sample on the interval's left
end is in, one on its right end is out.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

OUTLINE, SPOT, BARE = 1, 2, 4  # bits of a mark

# out of `tally`: numbers of samples
(
    INSIDE,
    COVERED,
    COVERED_OUTSIDE,
    TRACKED,
    TRACKED_TWICE,
    REPEATED,
    TRACKED_OUTSIDE,
    FRINGE,
    MISSING,
    UNCOVERED,
    CHANGES,
) = range(11)
COUNTS = 11


@njit(cache=True, nogil=True)
def place_rows(x_0, y_0, pixel, row_x, row_y):
    """Where each row's first sample lies: row_x and row_y, (rows,) f8, out.

    Both are drawn at random within a pixel, from the row's number (SplitMix64). A low-discrepancy sequence would not
    do: rows shifted by one step after the other are a lattice again, which some hatch angle lines up with.
    """
    for j in range(len(row_y)):
        row_x[j] = x_0 + pixel * _drawn(2 * j)
        row_y[j] = y_0 + pixel * (j + _drawn(2 * j + 1))


@njit(cache=True, nogil=True)
def _drawn(number):
    """A number in [0, 1) that only depends on this one: SplitMix64 (Steele, Lea and Flood 2014)."""
    z = (np.uint64(number) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * 2.0**-53


@njit(cache=True, nogil=True)
def mark_outline(points, starts, y_0, pixel, row_x, row_y, marks):
    """Toggle OUTLINE at the first sample right of each crossing of a row with a loop; `tally` fills between them.

    Args:
        points: (p, 2) f8; starts: (l + 1,) i8; loops may wind as they like (even-odd).
        marks: (rows, columns + 1) u1; the last column takes what lies right of all samples.
    """
    rows, columns = marks.shape[0], marks.shape[1] - 1
    for loop in range(len(starts) - 1):
        before = starts[loop + 1] - 1
        for i in range(starts[loop], starts[loop + 1]):
            low, high = (before, i) if points[before, 1] < points[i, 1] else (i, before)
            before = i
            y_low, y_high = points[low, 1], points[high, 1]
            if y_low == y_high:
                continue
            slope = (points[high, 0] - points[low, 0]) / (y_high - y_low)
            first = max(0, math.floor((y_low - y_0) / pixel))
            last = min(rows - 1, math.floor((y_high - y_0) / pixel))
            for j in range(first, last + 1):
                if y_low <= row_y[j] < y_high:
                    x = points[low, 0] + (row_y[j] - y_low) * slope
                    k = math.ceil((x - row_x[j]) / pixel)
                    marks[j, min(max(k, 0), columns)] ^= OUTLINE


@njit(cache=True, nogil=True)
def sweep_tracks(vectors, spot, width, energy, y_0, pixel, row_x, row_y, marks, tracks, received):
    """Mark what each vector's spot passes over, sum the energy there, and count the tracks that a sample lies in.

    Args:
        vectors: (n, 4) f8; spot, width: (n,) f8, diameter of the disc and width of the track, mm.
        energy: (n,) f4, what each vector gives to all that its spot passes over, J/mm2.
        marks: (rows, columns + 1) u1, gets SPOT; tracks: (rows, columns) u2, counts; received: (rows, columns) f4.
    """
    rows, columns = tracks.shape
    scale = 1.0 / pixel
    for i in range(len(vectors)):
        ax, ay, bx, by = vectors[i, 0], vectors[i, 1], vectors[i, 2], vectors[i, 3]
        length = math.sqrt((bx - ax) ** 2 + (by - ay) ** 2)
        ux, uy = 1.0, 0.0
        if length > 0.0:
            ux, uy = (bx - ax) / length, (by - ay) / length
        radius, half, joule = 0.5 * spot[i], 0.5 * width[i], energy[i]
        # At height y over the start a row runs beside the vector (neither before its start nor past its end) from
        # (0 - y uy) / ux to (length - y uy) / ux, and no farther from its line than h from (y ux - h) / |uy| on, to
        # (y ux + h) / |uy|. A direction along or across the rows takes the limits that are never met.
        along_step, along_0, along_1 = 0.0, -math.inf, math.inf
        if abs(ux) > 1e-12:
            along_step, along_0, along_1 = -uy / ux, min(0.0, length / ux), max(0.0, length / ux)
        across_step, wide, spread = 0.0, math.inf, math.inf
        if abs(uy) > 1e-12:
            across_step, wide, spread = ux / uy, half / abs(uy), radius / abs(uy)
        reach = max(radius, half)
        first = max(0, int(max(0.0, (min(ay, by) - reach - y_0) * scale)))
        last = min(rows - 1, int((max(ay, by) + reach - y_0) * scale))
        for j in range(first, last + 1):
            y = row_y[j] - ay
            shift = (ax - row_x[j]) * scale
            beside_0, beside_1 = along_0 + y * along_step, along_1 + y * along_step
            if along_1 == math.inf and not 0.0 <= y * uy < length:
                beside_1 = -math.inf
            middle = y * across_step
            left, right = max(beside_0, middle - wide), min(beside_1, middle + wide)
            if left < right and (wide < math.inf or abs(y) <= half):
                k_0 = _ceiling(left * scale + shift)
                for k in range(k_0, min(columns, _ceiling(right * scale + shift))):
                    if tracks[j, k] < 65535:
                        tracks[j, k] += 1

            left, right = max(beside_0, middle - spread), min(beside_1, middle + spread)
            if left >= right or (spread == math.inf and abs(y) > radius):
                left, right = math.inf, -math.inf
            if abs(y) < radius:
                chord = math.sqrt(radius * radius - y * y)
                left, right = min(left, -chord), max(right, chord)
            y_end = row_y[j] - by
            if abs(y_end) < radius:
                chord = math.sqrt(radius * radius - y_end * y_end)
                left, right = min(left, bx - ax - chord), max(right, bx - ax + chord)
            if left < right:
                k_0 = _ceiling(left * scale + shift)
                for k in range(k_0, min(columns, _ceiling(right * scale + shift))):
                    marks[j, k] |= SPOT
                    received[j, k] += joule


@njit(cache=True, nogil=True, inline="always")
def _ceiling(x):
    """The least whole number from x on, and from 0 on."""
    if x <= 0.0:
        return 0
    k = int(x)
    return k + 1 if k < x else k


@njit(cache=True, nogil=True)
def tally(marks, tracks, received, row_x, row_y, pixel, turn_cos, turn_sin, map_x, map_y, map_cell, counts, energy_map):
    """Count the samples by what they are, mark the BARE ones, and average the energy over the cells of a map.

    Args:
        marks, tracks, received: as the two functions above leave them.
        turn_cos, turn_sin: turn the samples' frame into the map's.
        map_x, map_y, map_cell: the map's corner and the side of its cells, mm.
        counts: (COUNTS,) i8, out. CHANGES are neighbours in a row that differ in what is asked of them: they measure
            the length of all edges at which a sample can be on the wrong side.
        energy_map: (map rows, map columns, 2) f8, out: sum of energy over the samples inside the outline, and their
            number.
    """
    rows, columns = tracks.shape
    map_rows, map_columns = energy_map.shape[0], energy_map.shape[1]
    counts[:] = 0
    energy_map[:] = 0.0
    per_cell = 1.0 / map_cell
    for j in range(rows):
        inside = False
        before = 0
        x_0 = (row_x[j] * turn_cos - row_y[j] * turn_sin - map_x) * per_cell
        y_0 = (row_x[j] * turn_sin + row_y[j] * turn_cos - map_y) * per_cell
        step_x, step_y = pixel * turn_cos * per_cell, pixel * turn_sin * per_cell
        for k in range(columns):
            mark = marks[j, k]
            if mark & OUTLINE:
                inside = not inside
            spot = mark & SPOT != 0
            m = np.int64(tracks[j, k])
            kind = 4 * (m if m < 3 else 3) + 2 * spot + inside
            counts[CHANGES] += kind != before
            before = kind
            if not inside:
                counts[COVERED_OUTSIDE] += spot
                counts[TRACKED_OUTSIDE] += m
                continue
            counts[INSIDE] += 1
            if spot:
                counts[COVERED] += 1
            else:
                counts[UNCOVERED] += 1
                marks[j, k] |= BARE
            if m > 0:
                counts[TRACKED] += 1
                counts[TRACKED_TWICE] += m > 1
                counts[REPEATED] += m - 1
            elif spot:
                counts[FRINGE] += 1
            else:
                counts[MISSING] += 1
            a = math.floor(x_0 + k * step_x)
            b = math.floor(y_0 + k * step_y)
            if 0 <= a < map_columns and 0 <= b < map_rows:
                energy_map[b, a, 0] += received[j, k]
                energy_map[b, a, 1] += 1.0


@njit(cache=True, nogil=True)
def gather_bare(marks, reach, queue, place_end):
    """Put the BARE samples of each connected place together, and take their marks away.

    Args:
        marks: (rows, columns + 1) u1.
        reach: bare samples up to this many rows and columns apart are one place.
        queue: (bare samples,) i8, out: row x columns + column of each, place after place.
        place_end: (places or more,) i8, out: where each place ends in the queue.

    Returns:
        The number of places.
    """
    rows, columns = marks.shape[0], marks.shape[1] - 1
    places = 0
    tail = 0
    for j in range(rows):
        for k in range(columns):
            if marks[j, k] & BARE == 0:
                continue
            head = tail
            marks[j, k] &= ~np.uint8(BARE)
            queue[tail] = j * columns + k
            tail += 1
            while head < tail:
                at_j, at_k = queue[head] // columns, queue[head] % columns
                head += 1
                for b in range(max(0, at_j - reach), min(rows, at_j + reach + 1)):
                    for a in range(max(0, at_k - reach), min(columns, at_k + reach + 1)):
                        if marks[b, a] & BARE:
                            marks[b, a] &= ~np.uint8(BARE)
                            queue[tail] = b * columns + a
                            tail += 1
            place_end[places] = tail
            places += 1
    return places


@njit(cache=True, nogil=True)
def measure_places(queue, place_end, places, columns, row_x, row_y, pixel, turn_cos, turn_sin, out):
    """Size and middle of each place in the turned frame.

    Args:
        out: (places, 7) f8: number of samples, middle x, y, least x, y, most x, y, in mm.
    """
    begin = 0
    for place in range(places):
        end = place_end[place]
        sum_x, sum_y = 0.0, 0.0
        x_0, y_0, x_1, y_1 = math.inf, math.inf, -math.inf, -math.inf
        for q in range(begin, end):
            j, k = queue[q] // columns, queue[q] % columns
            u, v = row_x[j] + k * pixel, row_y[j]
            x, y = u * turn_cos - v * turn_sin, u * turn_sin + v * turn_cos
            sum_x += x
            sum_y += y
            x_0, y_0, x_1, y_1 = min(x_0, x), min(y_0, y), max(x_1, x), max(y_1, y)
        out[place, 0] = end - begin
        out[place, 1] = sum_x / (end - begin)
        out[place, 2] = sum_y / (end - begin)
        out[place, 3], out[place, 4], out[place, 5], out[place, 6] = x_0, y_0, x_1, y_1
        begin = end


@njit(cache=True, nogil=True)
def nearest_edge(points, starts, x, y):
    """The nearest point of the loops to (x, y), and how deep inside them (x, y) lies: (x, y, depth), outside < 0."""
    best, best_x, best_y = math.inf, 0.0, 0.0
    inside = False
    for loop in range(len(starts) - 1):
        before = starts[loop + 1] - 1
        for i in range(starts[loop], starts[loop + 1]):
            ax, ay = points[before, 0], points[before, 1]
            dx, dy = points[i, 0] - ax, points[i, 1] - ay
            before = i
            if (ay <= y) != (points[i, 1] <= y) and ax + (y - ay) / dy * dx > x:
                inside = not inside
            square = dx * dx + dy * dy
            part = 0.0
            if square > 0.0:
                part = min(max(((x - ax) * dx + (y - ay) * dy) / square, 0.0), 1.0)
            near_x, near_y = ax + part * dx, ay + part * dy
            away = (near_x - x) ** 2 + (near_y - y) ** 2
            if away < best:
                best, best_x, best_y = away, near_x, near_y
    return best_x, best_y, math.sqrt(best) if inside else -math.sqrt(best)


@njit(cache=True, nogil=True)
def spot_fits(points, starts, x, y, radius, slack):
    """Can a disc of this radius lie inside the loops and on (x, y), a point inside them?

    Tried are the disc around the point itself and the one that touches the nearest edge and has the point on its
    diameter; `slack` is how far a disc may overhang, mm. Said to be no, it may still fit around a corner of the loops
    that is not the nearest edge.
    """
    edge_x, edge_y, depth = nearest_edge(points, starts, x, y)
    if depth >= radius - slack:
        return True
    if depth <= 0.0:
        return False
    middle_x = edge_x + (x - edge_x) / depth * radius
    middle_y = edge_y + (y - edge_y) / depth * radius
    return nearest_edge(points, starts, middle_x, middle_y)[2] >= radius - slack


@njit(cache=True, nogil=True)
def reachable_part(points, starts, xy, radius, slack):
    """Which part, 0..1, of the points xy, (n, 2) f8, a disc of this radius could cover from inside the loops."""
    fits = 0
    for i in range(len(xy)):
        fits += spot_fits(points, starts, xy[i, 0], xy[i, 1], radius, slack)
    return fits / len(xy)


@njit(cache=True, nogil=True)
def part_within(vectors, radius, points, weights):
    """The weight, (p,) f8, in all of the points, (p, 2) f8, nearer to a vector, (n, 4) f8, than its radius, (n,) f8."""
    low_x, low_y = math.inf, math.inf
    high_x, high_y = -math.inf, -math.inf
    for p in range(len(points)):
        low_x, high_x = min(low_x, points[p, 0]), max(high_x, points[p, 0])
        low_y, high_y = min(low_y, points[p, 1]), max(high_y, points[p, 1])
    is_within = np.zeros(len(points), np.bool_)
    within = 0.0
    for i in range(len(vectors)):
        ax, ay, r = vectors[i, 0], vectors[i, 1], radius[i]
        dx, dy = vectors[i, 2] - ax, vectors[i, 3] - ay
        if max(ax, ax + dx) + r < low_x or min(ax, ax + dx) - r > high_x:
            continue
        if max(ay, ay + dy) + r < low_y or min(ay, ay + dy) - r > high_y:
            continue
        square = dx * dx + dy * dy
        for p in range(len(points)):
            if is_within[p]:
                continue
            x, y = points[p, 0] - ax, points[p, 1] - ay
            part = 0.0
            if square > 0.0:
                part = min(max((x * dx + y * dy) / square, 0.0), 1.0)
            if (x - part * dx) ** 2 + (y - part * dy) ** 2 < r * r:
                is_within[p] = True
                within += weights[p]
    return within

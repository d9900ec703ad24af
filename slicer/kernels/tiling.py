"""Hatches in tiles (stripes, squares, hexagons), without clipping a cell.

The whole layer is hatched once for each direction that its tiles are hatched in, and each line is cut at the borders of
the tiles of that direction (a tile's colour): along a line these borders repeat with a fixed period, so the cut is
arithmetic in one dimension.

All three tilings are one lattice: the centre of tile (q, r) lies at u = (q + shear * r) * pitch, v = r * row_height,
and its colour is (q - r) modulo the number of colours. Turned by 90 degrees (squares) or 120 degrees (hexagons) about a
centre, the lattice and its colours fall on themselves, so the lines of every colour are cut by the same arithmetic in a
frame turned by that much; only the numbers of the tiles change, and they do so linearly.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from slicer.kernels.filling import crossings

STRIPES, SQUARES, HEXAGONS = 1, 2, 3
"""The tilings, each by the number of its colours."""


@njit(cache=True, nogil=True)
def tiled_vectors(points, starts, spacing, angle, phase, shortest, colours, pitch, overlap):
    """Vectors of a hatch in tiles, tile by tile; within a tile its lines run there and back by turns.

    Args:
        points: (p, 2) f8; starts: (l + 1,) i8, loops that do not overlap.
        spacing: between lines, mm; angle: of the tiles' grid against x, rad.
        phase: shift of the lines in spacings, and of the grid in tiles along both axes.
        shortest: vectors up to this length are left out, mm.
        colours: `STRIPES` (lines across them), `SQUARES` or `HEXAGONS`; pitch: their width, mm; overlap: how far
            neighbours run into each other, mm, less than the pitch.

    Returns ((n, 4) f8, (n,) i4 number of the tile), row of tiles after row of tiles.
    """
    shear = 0.5 if colours == HEXAGONS else 0.0
    row_height = math.inf
    row_overlap = 0.0  # how far a tile reaches into the next row, in rows
    turn = 0.5 * math.pi
    if colours == SQUARES:
        row_height = pitch
        row_overlap = 0.5 * overlap / pitch
    elif colours == HEXAGONS:
        row_height = 0.5 * math.sqrt(3.0) * pitch
        row_overlap = (pitch + overlap) / math.sqrt(3.0) / row_height - 0.5
        turn = 2.0 * math.pi / 3.0
    else:
        angle += turn
    half = 0.5 * (pitch + overlap)
    shift = (phase - math.floor(phase)) * pitch

    cos, sin = math.cos(angle), math.sin(angle)
    u_low, u_high, v_low, v_high = math.inf, -math.inf, math.inf, -math.inf
    for i in range(len(points)):
        u = points[i, 0] * cos + points[i, 1] * sin
        v = points[i, 1] * cos - points[i, 0] * sin
        u_low, u_high, v_low, v_high = min(u_low, u), max(u_high, u), min(v_low, v), max(v_high, v)
    reach = 1.5 + row_overlap  # of a tile from its centre, in rows, and one for rounding
    row_low = math.floor((v_low - shift) / row_height - reach)
    row_high = math.ceil((v_high - shift) / row_height + reach)
    column_low = math.floor((u_low - shift) / pitch - shear * row_high) - 2
    column_high = math.ceil((u_high - shift) / pitch - shear * row_low) + 2
    columns = column_high - column_low + 1
    cells = (row_high - row_low + 1) * columns

    frames = [crossings(points, starts, spacing, angle + colour * turn, phase) for colour in range(colours)]
    cursor = np.zeros(cells + 1, np.int64)
    for colour in range(colours):
        line_0, first, crossing = frames[colour]
        along, across = _turned(shift, shift, -colour * turn)
        origin, by_column, by_row = _numbering(colours, colour, columns, column_low, row_low)
        for k in range(len(first) - 1):
            begin, end = first[k], first[k + 1]
            if begin == end:
                continue
            v = line_0 + k * spacing - across
            row_at = v / row_height - 0.5
            for row in range(math.ceil(row_at - row_overlap), math.ceil(row_at + row_overlap) + 1):
                width = _half_width(colours, half, v - row * row_height)
                if 2.0 * width <= shortest:
                    continue
                step = (colour + row) % colours
                centre = along + (shear * row + step) * pitch
                number = origin + row * by_row + step * by_column
                for i in range(begin, end - 1, 2):
                    from_m, to_m = _tiles_met(crossing[i], crossing[i + 1], centre, width, colours * pitch, shortest)
                    for m in range(from_m, to_m + 1):
                        cursor[number + m * colours * by_column + 1] += 1
    tiles = 0
    for cell in range(cells):
        cursor[cell + 1] += cursor[cell]
    out = np.empty((cursor[cells], 4))
    tile = np.empty(cursor[cells], np.int32)
    for cell in range(cells):
        if cursor[cell + 1] > cursor[cell]:
            tile[cursor[cell] : cursor[cell + 1]] = tiles
            tiles += 1

    for colour in range(colours):
        line_0, first, crossing = frames[colour]
        along, across = _turned(shift, shift, -colour * turn)
        origin, by_column, by_row = _numbering(colours, colour, columns, column_low, row_low)
        cos, sin = math.cos(angle + colour * turn), math.sin(angle + colour * turn)
        period = colours * pitch
        for k in range(len(first) - 1):
            begin, end = first[k], first[k + 1]
            if begin == end:
                continue
            height = line_0 + k * spacing
            v = height - across
            x_0, y_0 = -height * sin, height * cos
            backwards = k % 2 == 1
            row_at = v / row_height - 0.5
            for row in range(math.ceil(row_at - row_overlap), math.ceil(row_at + row_overlap) + 1):
                width = _half_width(colours, half, v - row * row_height)
                if 2.0 * width <= shortest:
                    continue
                step = (colour + row) % colours
                centre = along + (shear * row + step) * pitch
                number = origin + row * by_row + step * by_column
                for i in range(begin, end - 1, 2):
                    at = end - 2 - (i - begin) if backwards else i
                    low, high = crossing[at], crossing[at + 1]
                    from_m, to_m = _tiles_met(low, high, centre, width, period, shortest)
                    for m in range(from_m, to_m + 1):
                        cell = number + m * colours * by_column
                        n = cursor[cell]
                        cursor[cell] = n + 1
                        left = max(low, centre + m * period - width)
                        right = min(high, centre + m * period + width)
                        from_u, to_u = (right, left) if backwards else (left, right)
                        out[n, 0] = x_0 + from_u * cos
                        out[n, 1] = y_0 + from_u * sin
                        out[n, 2] = x_0 + to_u * cos
                        out[n, 3] = y_0 + to_u * sin
    return out, tile


@njit(cache=True, nogil=True)
def _turned(u, v, by):
    cos, sin = math.cos(by), math.sin(by)
    return u * cos - v * sin, u * sin + v * cos


@njit(cache=True, nogil=True)
def _numbering(colours, colour, columns, column_low, row_low):
    """(number of tile (0, 0), step a column, step a row) in the frame of a colour; counted in rows of the first."""
    # where the first frame has this frame's tiles (1, 0) and (0, 1): 90 degrees on for squares, 120 for hexagons
    q_of_q, r_of_q, q_of_r, r_of_r = 1, 0, 0, 1
    for _ in range(colour):
        if colours == HEXAGONS:
            q_of_q, r_of_q, q_of_r, r_of_r = -q_of_q - r_of_q, q_of_q, -q_of_r - r_of_r, q_of_r
        else:
            q_of_q, r_of_q, q_of_r, r_of_r = -r_of_q, q_of_q, -r_of_r, q_of_r
    return -row_low * columns - column_low, r_of_q * columns + q_of_q, r_of_r * columns + q_of_r


@njit(cache=True, nogil=True)
def _half_width(colours, half, away):
    """Half the chord of a tile along a line that passes its centre at a distance."""
    if colours == HEXAGONS:
        return min(half, 2.0 * half - math.sqrt(3.0) * abs(away))
    return half


@njit(cache=True, nogil=True)
def _tiles_met(low, high, centre, width, period, shortest):
    """First and last m for which low..high has more than `shortest` in common with centre + m * period +- width."""
    if high - low <= shortest:
        return 1, 0
    from_m = math.floor((low + shortest - centre - width) / period) + 1
    to_m = math.ceil((high - shortest - centre + width) / period) - 1
    return from_m, to_m

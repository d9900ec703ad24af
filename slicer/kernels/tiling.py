"""Hatches in tiles (stripes, squares, hexagons), without clipping a cell.

The whole layer is hatched once for each direction that its tiles are hatched in, and each line is cut at the borders of
the tiles of that direction (a tile's colour): along a line these borders repeat with a fixed period, so the cut is
arithmetic in one dimension.

All three tilings are one lattice: the centre of tile (q, r) lies at u = (q + shear * r) * pitch, v = r * row height,
and its colour is (q - r) modulo the number of colours. Turned by 90 degrees (squares) or 120 degrees (hexagons) about a
centre, the lattice and its colours fall on themselves, so the lines of every colour are cut by the same arithmetic in a
frame turned by that much; only the numbers of the tiles change, and they do so linearly.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from slicer.kernels.filling import crossings

STRIPES, SQUARES, HEXAGONS = 1, 2, 3
"""The tilings, each by the number of its colours."""


class Tiling(NamedTuple):
    """Of which tiles a lattice is made."""

    colours: int
    pitch: float  # mm from one to the next in a row
    half: float  # half the width of a tile with its overlap, mm
    shear: float  # shift of a row against the one before it, in pitches
    rows_a_mm: float  # 0 for stripes, which lie in one endless row
    row_overlap: float  # how far a tile reaches beyond the middle between two rows, in rows
    turn: float  # of the frame of each colour against that of the one before it, rad


class Frame(NamedTuple):
    """Lines of one colour's direction, and the rows of its tiles that they cross; u along the lines, v across."""

    cos: float
    sin: float
    line_0: float  # v of the first line
    first: NDArray[np.int64]
    crossing: NDArray[np.float64]  # u, as `filling.crossings` returns it
    across: float  # v of row 0
    row_0: int
    centre: NDArray[
        np.float64
    ]  # u of a tile of this colour in row `row_0 + i`; the others lie whole periods from it ...
    number: NDArray[np.int64]  # ... and the number of that tile
    step: int  # what a period adds to the number


@njit(cache=True, nogil=True)
def tiled_vectors(points, starts, spacing, angle, phase, shortest, colours, pitch, overlap, room):
    """Vectors of a hatch in tiles, tile by tile; within a tile its lines run there and back by turns.

    Args:
        points: (p, 2) f8, at least one; starts: (l + 1,) i8, loops that do not overlap.
        spacing: between lines, mm; angle: of the tiles' grid against x, rad.
        phase: shift of the lines in spacings, and of the grid in tiles along both axes.
        shortest: vectors up to this length are left out, mm.
        colours: `STRIPES` (lines across them), `SQUARES` or `HEXAGONS`; pitch: their width, mm; overlap: how far
            neighbours run into each other, mm, less than the pitch.
        room: rows to leave unwritten in front.

    Returns ((room + n, 4) f8, (t + 1,) i8 where the vectors of each tile begin), row of tiles after row of tiles.
    """
    tiling = _tiling(colours, pitch, overlap)
    if colours == STRIPES:
        angle += tiling.turn
    shift = (phase - math.floor(phase)) * pitch
    q_low, q_high, r_low, r_high = _extent(points, angle, shift, tiling)
    frames = [
        _frame(points, starts, spacing, angle, phase, shift, tiling, colour, q_low, r_low, q_high - q_low + 1)
        for colour in range(colours)
    ]
    cells = (q_high - q_low + 1) * (r_high - r_low + 1)
    place = np.zeros(cells + 1, np.int64)  # first how many vectors a tile has, then where the next of them goes
    runs = [_runs(frame, tiling, spacing, shortest, place) for frame in frames]
    for cell in range(cells):
        place[cell + 1] += place[cell]
    out = np.empty((room + place[cells], 4))
    tile_starts = np.zeros(cells + 1, np.int64)
    tiles = 0
    for cell in range(cells):
        if place[cell + 1] > place[cell]:
            tiles += 1
            tile_starts[tiles] = place[cell + 1]
    for colour in range(colours):
        _write(frames[colour], runs[colour], tiling, spacing, place.view(np.uint64), out[room:])
    return out, tile_starts[: tiles + 1]


@njit(cache=True, nogil=True)
def _tiling(colours, pitch, overlap):
    half = 0.5 * (pitch + overlap)
    if colours == STRIPES:
        return Tiling(colours, pitch, half, 0.0, 0.0, 0.0, 0.5 * math.pi)
    if colours == SQUARES:
        return Tiling(colours, pitch, half, 0.0, 1.0 / pitch, 0.5 * overlap / pitch, 0.5 * math.pi)
    row_height = 0.5 * math.sqrt(3.0) * pitch
    beyond = 2.0 * half / math.sqrt(3.0) / row_height - 0.5
    return Tiling(colours, pitch, half, 0.5, 1.0 / row_height, beyond, 2.0 * math.pi / 3.0)


@njit(cache=True, nogil=True)
def _extent(points, angle, shift, tiling):
    """(lowest q, highest q, lowest r, highest r) of the tiles that points can lie in, and of some around them."""
    cos, sin = math.cos(angle), math.sin(angle)
    u_low, u_high, v_low, v_high = math.inf, -math.inf, math.inf, -math.inf
    for i in range(len(points)):
        u = points[i, 0] * cos + points[i, 1] * sin
        v = points[i, 1] * cos - points[i, 0] * sin
        u_low, u_high, v_low, v_high = min(u_low, u), max(u_high, u), min(v_low, v), max(v_high, v)
    reach = 1.5 + tiling.row_overlap  # of a tile from its centre, in rows, and one for rounding
    r_low = math.floor((v_low - shift) * tiling.rows_a_mm - reach)
    r_high = math.ceil((v_high - shift) * tiling.rows_a_mm + reach)
    q_low = math.floor((u_low - shift) / tiling.pitch - tiling.shear * r_high) - 2
    q_high = math.ceil((u_high - shift) / tiling.pitch - tiling.shear * r_low) + 2
    return q_low, q_high, r_low, r_high


@njit(cache=True, nogil=True)
def _frame(points, starts, spacing, angle, phase, shift, tiling, colour, q_low, r_low, columns):
    """The frame of a colour, with tiles numbered along the rows of the first colour's frame from (q_low, r_low) on."""
    turned = angle + colour * tiling.turn
    line_0, first, crossing = crossings(points, starts, spacing, turned, phase)
    cos, sin = math.cos(colour * tiling.turn), math.sin(colour * tiling.turn)
    along, across = shift * (cos + sin), shift * (cos - sin)
    # where the first frame has this frame's tiles (1, 0) and (0, 1)
    q_of_q, r_of_q, q_of_r, r_of_r = 1, 0, 0, 1
    for _ in range(colour):
        if tiling.colours == HEXAGONS:
            q_of_q, r_of_q, q_of_r, r_of_r = -q_of_q - r_of_q, q_of_q, -q_of_r - r_of_r, q_of_r
        else:
            q_of_q, r_of_q, q_of_r, r_of_r = -r_of_q, q_of_q, -r_of_r, q_of_r
    row_0, _ = _rows_met(line_0 - across, tiling)
    _, row_1 = _rows_met(line_0 + (len(first) - 2) * spacing - across, tiling)
    centre = np.empty(row_1 - row_0 + 1)
    number = np.empty(row_1 - row_0 + 1, np.int64)
    for i in range(row_1 - row_0 + 1):
        r = row_0 + i
        q = (colour + r) % tiling.colours
        centre[i] = along + (tiling.shear * r + q) * tiling.pitch
        number[i] = (r_of_q * q + r_of_r * r - r_low) * columns + q_of_q * q + q_of_r * r - q_low
    step = tiling.colours * (r_of_q * columns + q_of_q)
    return Frame(math.cos(turned), math.sin(turned), line_0, first, crossing, across, row_0, centre, number, step)


@njit(cache=True, nogil=True)
def _runs(frame, tiling, spacing, shortest, place):
    """The runs of tiles that stretches of lines are cut into; how many vectors a tile has goes to `place`, one on.

    Returns (r, 5) i8 in the order of exposure: the line, the row, which crossing the stretch begins at, the first tile
    of the run and the last, in periods.
    """
    first, crossing = frame.first, frame.crossing
    runs = np.empty((len(crossing) // 2 * (math.floor(2.0 * tiling.row_overlap) + 2), 5), np.int64)
    frequency = 1.0 / (tiling.colours * tiling.pitch)
    lowest, highest = math.inf, -math.inf
    for k in range(len(first) - 1):
        if first[k] < first[k + 1]:
            lowest = min(lowest, crossing[np.uint64(first[k])])
            highest = max(highest, crossing[np.uint64(first[k + 1] - 1)])
    if lowest > highest:
        return runs[:0]

    # a run adds one to each of its tiles: mark where it begins and where it has ended
    begins = np.empty(len(frame.centre), np.int64)
    for row in range(len(begins)):
        begins[row] = math.floor((lowest - frame.centre[row] - tiling.half) * frequency) - 1
    marks = np.zeros((len(begins), math.ceil((highest - lowest + 2.0 * tiling.half) * frequency) + 6), np.int64)
    count = 0
    for k in range(len(first) - 1):
        begin, end = first[k], first[k + 1]
        if begin == end:
            continue
        v = frame.line_0 + k * spacing - frame.across
        row_from, row_to = _rows_met(v, tiling)
        for row in range(row_from - frame.row_0, row_to - frame.row_0 + 1):
            width = _half_chord(v, row + frame.row_0, tiling)
            if 2.0 * width <= shortest:
                continue
            of_row, centre, m_0 = np.uint64(row), frame.centre[row], begins[row]
            for i in range(begin, end - 1, 2):
                at = begin + end - 2 - i if k % 2 else i  # every other line runs backwards
                low, high = crossing[np.uint64(at)], crossing[np.uint64(at + 1)]
                m_from, m_to = _tiles_met(low, high, centre, width, frequency, shortest)
                if m_from <= m_to:
                    run = np.uint64(count)
                    runs[run, 0], runs[run, 1], runs[run, 2], runs[run, 3], runs[run, 4] = k, row, at, m_from, m_to
                    count += 1
                    marks[of_row, np.uint64(m_from - m_0)] += 1
                    marks[of_row, np.uint64(m_to + 1 - m_0)] -= 1
    for row in range(len(begins)):
        vectors = 0
        for i in range(marks.shape[1]):
            vectors += marks[row, i]
            if vectors > 0:
                place[frame.number[row] + (begins[row] + i) * frame.step + 1] = vectors
    return runs[:count]


@njit(cache=True, nogil=True)
def _write(frame, runs, tiling, spacing, place, out):
    """Put every vector of this colour where `place` says, and move that on."""
    cos, sin = frame.cos, frame.sin
    period = tiling.colours * tiling.pitch
    for i in range(len(runs)):
        k, row, at, m_from, m_to = runs[i, 0], runs[i, 1], runs[i, 2], runs[i, 3], runs[i, 4]
        height = frame.line_0 + k * spacing
        x_0, y_0 = -height * sin, height * cos
        width = _half_chord(height - frame.across, row + frame.row_0, tiling)
        low, high = frame.crossing[np.uint64(at)], frame.crossing[np.uint64(at + 1)]
        centre, number = frame.centre[row], frame.number[row]
        backwards = k % 2 == 1
        for m in range(m_from, m_to + 1):
            left = max(low, centre + m * period - width)
            right = min(high, centre + m * period + width)
            from_u, to_u = (right, left) if backwards else (left, right)
            cell = np.uint64(number + m * frame.step)  # unsigned: no index counts from the end
            n = place[cell]
            place[cell] = n + np.uint64(1)
            out[n, 0] = x_0 + from_u * cos
            out[n, 1] = y_0 + from_u * sin
            out[n, 2] = x_0 + to_u * cos
            out[n, 3] = y_0 + to_u * sin


@njit(cache=True, nogil=True)
def _rows_met(v, tiling):
    """First and last row that a line at v, from row 0, crosses tiles of."""
    row_at = v * tiling.rows_a_mm - 0.5
    return math.ceil(row_at - tiling.row_overlap), math.ceil(row_at + tiling.row_overlap)


@njit(cache=True, nogil=True)
def _half_chord(v, row, tiling):
    """Half of what a tile of a row has of a line at v, from row 0."""
    if tiling.colours == HEXAGONS:
        return min(tiling.half, 2.0 * tiling.half - math.sqrt(3.0) * abs(v - row / tiling.rows_a_mm))
    return tiling.half


@njit(cache=True, nogil=True)
def _tiles_met(low, high, centre, width, periods_a_mm, shortest):
    """First and last m for which low..high has more than `shortest` in common with centre + m periods +- width."""
    if high - low <= shortest:
        return 1, 0
    m_from = math.floor((low + shortest - centre - width) * periods_a_mm) + 1
    m_to = math.ceil((high - shortest - centre + width) * periods_a_mm) - 1
    return m_from, m_to

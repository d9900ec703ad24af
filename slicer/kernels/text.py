"""Numbers as text: whole files of scan vectors, byte by byte, without a Python object for any of them.

Coordinates are counted in whole units first (micrometres, mostly), so digits come from integer arithmetic and a text is
the same on every machine. All texts are arrays of bytes (u1); a table of texts is one array and the (t + 1,) i8 places
where its texts begin and end.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from slicer.kernels.blocks import direction

_NEWLINE, _COMMA, _DOT, _MINUS, _ZERO = 10, 44, 46, 45, 48
_POLYLINE = np.array(list(b"$$POLYLINE/"), np.uint8)
_HATCHES = np.array(list(b"$$HATCHES/"), np.uint8)
_TRIPLES = np.array([list(b"%03d" % value) for value in range(1000)], np.uint8)

COORDINATE_BYTES = 14
"""The longest coordinate: a sign, a dot and the twelve digits of less than UNITS_MAX."""

UNITS_MAX = 10**12
"""Coordinates beyond this many units are no part of any plate; they would not fit COORDINATE_BYTES."""


@njit(cache=True, nogil=True, inline="always")
def _put(out, at, texts, begin, end):
    for i in range(begin, end):
        out[at] = texts[i]
        at += 1
    return at


@njit(cache=True, nogil=True)
def _put_whole(out, at, value):
    """The digits of a whole number from 0 up; returns where the next byte goes."""
    if value < 1000:
        if value >= 100:
            out[at] = _TRIPLES[value, 0]
            at += 1
        if value >= 10:
            out[at] = _TRIPLES[value, 1]
            at += 1
        out[at] = _TRIPLES[value, 2]
        return at + 1
    above = value // np.uint64(1000)
    at = _put_whole(out, at, above)
    rest = value - above * np.uint64(1000)
    for k in range(3):
        out[at + k] = _TRIPLES[rest, k]
    return at + 3


@njit(cache=True, nogil=True)
def _put_integer(out, at, value):
    """A signed whole number."""
    if value < 0:
        out[at] = _MINUS
        return _put_whole(out, at + 1, np.uint64(-value))
    return _put_whole(out, at, np.uint64(value))


@njit(cache=True, nogil=True)
def _put_thousandths(out, at, value):
    """A whole number of thousandths, with three decimals."""
    if value < 0:
        out[at] = _MINUS
        at += 1
        value = -value
    count = np.uint64(value)
    whole = count // np.uint64(1000)
    rest = count - whole * np.uint64(1000)
    at = _put_whole(out, at, whole)
    out[at] = _DOT
    for k in range(3):
        out[at + 1 + k] = _TRIPLES[rest, k]
    return at + 4


@njit(cache=True, nogil=True)
def _put_move(out, at, word, x, y, tails, begin, end):
    """One line `G<word> X.. Y..` with its tail; x and y in micrometres."""
    out[at] = 71  # G
    out[at + 1] = _ZERO + word
    out[at + 2] = 32
    out[at + 3] = 88  # X
    at = _put_thousandths(out, at + 4, x)
    out[at] = 32
    out[at + 1] = 89  # Y
    at = _put_thousandths(out, at + 2, y)
    at = _put(out, at, tails, begin, end)
    out[at] = _NEWLINE
    return at + 1


@njit(cache=True, nogil=True)
def gcode_lines(
    vectors_mm, tail_of, tails, tail_starts, lights, light_starts, dark, jump_tail, dwell_of, dwells, dwell_starts
):
    """The lines of one layer: a jump where a vector does not begin where the one before it ended, a wait, the vector.

    The beam is off in every `G0`. A vector that waits is led to by a jump even if it joins the one before it; then the
    beam first goes back to where that began, since a controller may drop a move that leads nowhere. The same way back
    is the last line, so that none of the layer's last moves is an exposing one.

    Args:
        vectors_mm: (n, 4) f8, told in micrometres.
        tail_of: (n,) i8, which of the tails (and lights) a vector's line has.
        tails, tail_starts: what follows the place in an exposing line.
        lights, light_starts: the whole line (newline and all) that must stand before an exposing move wherever the
            power changes; empty texts for a language in which each move says its power.
        dark: the same for a jump.
        jump_tail: what follows the place in a jump's line.
        dwell_of: (n,) i8, which of the dwells comes before a vector, -1 none; or (0,): nobody waits.
        dwells, dwell_starts: whole lines, newlines and all.

    Returns (text (m,) u1, block_of_line (lines,) i4: the vector that a line exposes, -1 none).
    """
    n = len(vectors_mm)
    longest_tail = 0
    for k in range(len(tail_starts) - 1):
        longest_tail = max(longest_tail, tail_starts[k + 1] - tail_starts[k])
    longest_light = 0
    for k in range(len(light_starts) - 1):
        longest_light = max(longest_light, light_starts[k + 1] - light_starts[k])
    move = 2 * COORDINATE_BYTES + 7
    size = (n + 1) * (2 * move + longest_tail + longest_light + len(dark) + len(jump_tail))
    lines = 4 * (n + 1)
    for i in range(len(dwell_of)):
        if dwell_of[i] >= 0:
            length = dwell_starts[dwell_of[i] + 1] - dwell_starts[dwell_of[i]]
            size += length + move + len(jump_tail) + len(dark)
            lines += length + 2
    out = np.empty(size, np.uint8)
    block_of_line = np.full(lines, -1, np.int32)
    at = line = 0
    lit = -1
    from_x = from_y = to_x = to_y = np.int64(0)
    for i in range(n):
        x = np.int64(np.rint(vectors_mm[i, 0] * 1000.0))
        y = np.int64(np.rint(vectors_mm[i, 1] * 1000.0))
        waits = len(dwell_of) > 0 and dwell_of[i] >= 0
        jumps = i == 0 or x != to_x or y != to_y
        if jumps or waits:
            if lit >= 0 and len(dark) > 0:
                at = _put(out, at, dark, 0, len(dark))
                line += 1
                lit = -1
            if not jumps:
                at = _put_move(out, at, 0, from_x, from_y, jump_tail, 0, len(jump_tail))
                line += 1
            at = _put_move(out, at, 0, x, y, jump_tail, 0, len(jump_tail))
            line += 1
        if waits:
            for k in range(dwell_starts[dwell_of[i]], dwell_starts[dwell_of[i] + 1]):
                out[at] = dwells[k]
                at += 1
                line += dwells[k] == _NEWLINE
        tail = tail_of[i]
        if longest_light > 0 and tail != lit:
            at = _put(out, at, lights, light_starts[tail], light_starts[tail + 1])
            line += 1
            lit = tail
        from_x, from_y = x, y
        to_x = np.int64(np.rint(vectors_mm[i, 2] * 1000.0))
        to_y = np.int64(np.rint(vectors_mm[i, 3] * 1000.0))
        at = _put_move(out, at, 1, to_x, to_y, tails, tail_starts[tail], tail_starts[tail + 1])
        block_of_line[line] = i
        line += 1
    if n:
        if lit >= 0 and len(dark) > 0:
            at = _put(out, at, dark, 0, len(dark))
            line += 1
        at = _put_move(out, at, 0, from_x, from_y, jump_tail, 0, len(jump_tail))
        line += 1
    return out[:at], block_of_line[:line]


@njit(cache=True, nogil=True)
def cli_text(vectors_mm, per_unit, starts, set_of, is_track):
    """The blocks of one layer as Common Layer Interface's ASCII commands.

    Args:
        vectors_mm: (n, 4) f8; per_unit: how many units a mm has.
        starts: (blocks + 1,) i8, from `blocks.block_starts`.
        set_of: (n,) i4; is_track: (sets,) b1. A file's ids are set numbers from 1 up.

    Returns (m,) u1.
    """
    out = np.empty(len(vectors_mm) * 4 * COORDINATE_BYTES + (len(starts) - 1) * (80 + 2 * COORDINATE_BYTES), np.uint8)
    at = 0
    for block in range(len(starts) - 1):
        begin, end = starts[block], starts[block + 1]
        track = is_track[set_of[begin]]
        word = _POLYLINE if track else _HATCHES
        at = _put(out, at, word, 0, len(word))
        at = _put_whole(out, at, np.uint64(set_of[begin] + 1))
        out[at] = _COMMA
        at += 1
        if track:
            at = _put_whole(out, at, np.uint64(direction(vectors_mm, per_unit, begin, end)))
            out[at] = _COMMA
            at = _put_whole(out, at + 1, np.uint64(end - begin + 1))
            at = _put_pair(out, at, vectors_mm[begin, 0], vectors_mm[begin, 1], per_unit)
            for i in range(begin, end):
                at = _put_pair(out, at, vectors_mm[i, 2], vectors_mm[i, 3], per_unit)
        else:
            at = _put_whole(out, at, np.uint64(end - begin))
            for i in range(begin, end):
                at = _put_pair(out, at, vectors_mm[i, 0], vectors_mm[i, 1], per_unit)
                at = _put_pair(out, at, vectors_mm[i, 2], vectors_mm[i, 3], per_unit)
        out[at] = _NEWLINE
        at += 1
    return out[:at]


@njit(cache=True, nogil=True)
def _put_pair(out, at, x, y, per_unit):
    out[at] = _COMMA
    at = _put_integer(out, at + 1, np.int64(np.rint(x * per_unit)))
    out[at] = _COMMA
    return _put_integer(out, at + 1, np.int64(np.rint(y * per_unit)))


@njit(cache=True, nogil=True)
def csv_rows(vectors_mm, lead, tails, tail_starts, tail_of):
    """One line `lead x0,y0,x1,y1,tail` for each vector, coordinates in mm with three decimals.

    Args:
        vectors_mm: (n, 4) f8; lead: (bytes,) u1; tails, tail_starts: texts; tail_of: (n,) i8.

    Returns (m,) u1.
    """
    longest = 0
    for k in range(len(tail_starts) - 1):
        longest = max(longest, tail_starts[k + 1] - tail_starts[k])
    out = np.empty(len(vectors_mm) * (len(lead) + 4 * (COORDINATE_BYTES + 1) + longest + 1), np.uint8)
    at = 0
    for i in range(len(vectors_mm)):
        at = _put(out, at, lead, 0, len(lead))
        for k in range(4):
            at = _put_thousandths(out, at, np.int64(np.rint(vectors_mm[i, k] * 1000.0)))
            out[at] = _COMMA
            at += 1
        at = _put(out, at, tails, tail_starts[tail_of[i]], tail_starts[tail_of[i] + 1])
        out[at] = _NEWLINE
        at += 1
    return out[:at]

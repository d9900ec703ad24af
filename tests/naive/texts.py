"""Texts (slicer/kernels/text.py); blocks (slicer/kernels/blocks.py)."""

from __future__ import annotations

import numpy as np


def _milli(value):
    sign, value = ("-" if value < 0 else ""), abs(value)
    return f"{sign}{value // 1000}.{value % 1000:03d}"


def gcode_lines(vectors_mm, tail_of, tails, lights, dark, jump_tail, dwell_of, dwells):
    """Lines of a layer and the vector that each exposes; twin of `text.gcode_lines`, with texts as lists of bytes."""
    lines, blocks = [], []
    lit = None

    def put(text, block=-1):
        for line in text.decode().splitlines():
            lines.append(line)
            blocks.append(block)

    def move(word, x, y, tail):
        return f"{word} X{_milli(x)} Y{_milli(y)}".encode() + tail

    def darken():
        nonlocal lit
        if lit is not None and dark:
            put(dark)
        lit = None

    rows = [[round(float(value) * 1000) for value in row] for row in np.rint(np.asarray(vectors_mm) * 1000) / 1000]
    for i, (x0, y0, x1, y1) in enumerate(rows):
        joined = i > 0 and (x0, y0) == tuple(rows[i - 1][2:])
        waits = len(dwell_of) > 0 and dwell_of[i] >= 0
        if waits or not joined:
            darken()
            if joined:
                put(move("G0", *rows[i - 1][:2], jump_tail))
            put(move("G0", x0, y0, jump_tail))
        if waits:
            put(dwells[dwell_of[i]])
        if lights[tail_of[i]] and lit != tail_of[i]:
            put(lights[tail_of[i]])
            lit = tail_of[i]
        put(move("G1", x1, y1, tails[tail_of[i]]), i)
    if rows:
        darken()
        put(move("G0", *rows[-1][:2], jump_tail))
    return [line.encode() for line in lines], blocks


def number_sets(kind, power_w, speed_mm_s, focus_mm, beam, room):
    """The different rows in order of appearance and which one each vector has; (None, None): more than `room`."""
    rows = [tuple(map(float, row)) for row in zip(kind, power_w, speed_mm_s, focus_mm, beam)]
    sets = list(dict.fromkeys(rows))
    return (None, None) if len(sets) > room else (sets, [sets.index(row) for row in rows])


def block_starts(vectors, set_of, is_track, wait_s, longest):
    """Where runs begin; twin of `blocks.block_starts`, by growing one block after the other."""
    blocks = []
    for i in range(len(vectors)):
        block = blocks[-1] if blocks else None
        if block is None or set_of[i] != set_of[block[0]] or np.broadcast_to(wait_s, len(vectors))[i] > 0:
            blocks.append([i])
        elif not is_track[set_of[i]]:
            if len(block) == longest:
                blocks.append([i])
            else:
                block.append(i)
        else:
            chain = [tuple(vectors[k][2:]) for k in block]
            here = tuple(vectors[i][:2])
            if here != chain[-1] or here == tuple(vectors[block[0]][:2]):
                blocks.append([i])
            else:
                block.append(i)
    return [block[0] for block in blocks] + [len(vectors)]

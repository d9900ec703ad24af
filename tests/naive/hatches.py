"""Hatches in tiles and along curves (slicer/kernels/tiling.py, curving.py)."""

from __future__ import annotations

import math
from itertools import pairwise

from .outlines import distance_to_loop, hatch_lines, inside


def tiled(loops, spacing, angle, phase, shortest, colours, pitch, overlap):
    """[(row, column, vector)] tile by tile, each line clipped by the sides of every tile; twin of `tiled_vectors`."""
    if colours == 1:
        angle += math.pi / 2
    flats = {1: (0,), 2: (0, 90), 3: (0, 60, 120)}[colours]  # directions across the sides of a tile
    side = 0.5 * (pitch + overlap)
    shift = (phase - math.floor(phase)) * pitch
    cells = int(max(math.hypot(x, y) for loop in loops for x, y in loop) / pitch * 1.2) + 2
    pieces = []
    for colour in range(colours):
        turn = colour * {1: 0.0, 2: math.pi / 2, 3: 2 * math.pi / 3}[colours]
        for k, (height, met) in enumerate(hatch_lines(loops, spacing, angle + turn, phase)):
            for a, b in zip(met[0::2], met[1::2]):
                # in the frame of the grid
                start = (a * math.cos(turn) - height * math.sin(turn), a * math.sin(turn) + height * math.cos(turn))
                along = (math.cos(turn), math.sin(turn))
                for row in range(-cells, cells + 1) if colours > 1 else [0]:
                    for column in range(-cells, cells + 1):
                        if (column - row) % colours != colour:
                            continue
                        centre = (
                            shift + (column + (0.5 * row if colours == 3 else 0.0)) * pitch,
                            shift + row * pitch * {1: 0.0, 2: 1.0, 3: math.sqrt(0.75)}[colours],
                        )
                        low, high = 0.0, b - a
                        for flat in flats:
                            nx, ny = math.cos(math.radians(flat)), math.sin(math.radians(flat))
                            away = (start[0] - centre[0]) * nx + (start[1] - centre[1]) * ny
                            rate = along[0] * nx + along[1] * ny
                            if abs(rate) < 1e-9:
                                if not -side < away < side:
                                    high = -1.0
                                continue
                            ends = sorted(((-side - away) / rate, (side - away) / rate))
                            low, high = max(low, ends[0]), min(high, ends[1])
                        if high - low > shortest:
                            pieces.append(
                                (
                                    row,
                                    column,
                                    k,
                                    -(a + low) if k % 2 else a + low,
                                    a + low,
                                    a + high,
                                    height,
                                    angle + turn,
                                )
                            )
    vectors = []
    for row, column, k, _, a, b, height, frame in sorted(pieces):
        cos, sin = math.cos(frame), math.sin(frame)
        a, b = (b, a) if k % 2 else (a, b)
        vector = (a * cos - height * sin, a * sin + height * cos, b * cos - height * sin, b * sin + height * cos)
        vectors.append((row, column, vector))
    return vectors


def ring_order(rings, level, direction):
    """Rings from the outline to the core, pocket by pocket, nearest first; twin of the kernel of that name."""
    parent = [
        min(
            (i for i in range(len(rings)) if level[i] == level[ring] - 1),
            key=lambda i: distance_to_loop(rings[ring][0], rings[i]),
            default=None,
        )
        for ring in range(len(rings))
    ]
    order = []
    at = max((p for ring in rings for p in ring), key=lambda p: p[0] * direction[0] + p[1] * direction[1])

    def trace(outer):
        nonlocal at
        left = [ring for ring in range(len(rings)) if parent[ring] == outer]
        while left:
            _, ring, entry = min((math.dist(p, at), ring, p) for ring in left for p in rings[ring])
            left.remove(ring)
            order.append(ring)
            at = entry
            trace(ring)

    trace(None)
    return order


def spiral(loops, spacing, angle, phase, shortest, rays):
    """[(chain, vector)] of the spiral, every chord met with every side; twin of both its kernels."""
    cos, sin = math.cos(angle), math.sin(angle)
    turned = [[(x * cos + y * sin, y * cos - x * sin) for x, y in loop] for loop in loops]
    us, vs = [u for loop in turned for u, _ in loop], [v for loop in turned for _, v in loop]
    middle = (0.5 * (min(us) + max(us)), 0.5 * (min(vs) + max(vs)))
    turned = [[(u - middle[0], v - middle[1]) for u, v in loop] for loop in turned]
    pitch = spacing / math.cos(math.pi / rays)

    def corner(c):
        r, turn = pitch * (phase % 1.0 + c / rays), 2 * math.pi * (c % rays) / rays
        return r * math.cos(turn), r * math.sin(turn)

    outer = max(math.hypot(u, v) for loop in turned for u, v in loop) / math.cos(math.pi / rays) + 2 * pitch
    within = inside(corner(0), turned)
    chain, vectors, started = -1, [], False
    for c in range(int(outer / pitch * rays)):
        (pu, pv), (qu, qv) = corner(c), corner(c + 1)
        stops = [0.0]
        for loop in turned:
            for (au, av), (bu, bv) in zip(loop, [*loop[1:], loop[0]]):
                side_a = (qu - pu) * (av - pv) - (qv - pv) * (au - pu)
                side_b = (qu - pu) * (bv - pv) - (qv - pv) * (bu - pu)
                side_p = (bu - au) * (pv - av) - (bv - av) * (pu - au)
                side_q = (bu - au) * (qv - av) - (bv - av) * (qu - au)
                if (side_a < 0) != (side_b < 0) and (side_p < 0) != (side_q < 0):
                    stops.append(side_p / (side_p - side_q))
        stops = [*sorted(stops), 1.0]
        for i, (low, high) in enumerate(pairwise(stops)):
            if i:
                within = not within
            if i or c == 0:
                started = False
            cut = low > 0.0 or high < 1.0 or c == 0
            if not within or (cut and (high - low) * math.dist((pu, pv), (qu, qv)) <= shortest):
                continue
            chain, started = chain + (not started), True
            ends = [(pu + at * (qu - pu) + middle[0], pv + at * (qv - pv) + middle[1]) for at in (low, high)]
            vectors.append((chain, [w for u, v in ends for w in (u * cos - v * sin, u * sin + v * cos)]))
    return vectors


def hilbert_cells(side):
    """The cells of Hilbert's curve in a square of 2^n cells, from the lower left corner to the upper left one."""
    if side == 1:
        return [(0, 0)]
    half = side // 2
    quarter = hilbert_cells(half)
    return (
        [(y, x) for x, y in quarter]
        + [(x + half, y) for x, y in quarter]
        + [(x + half, y + half) for x, y in quarter]
        + [(half - 1 - y, side - 1 - x) for x, y in quarter]
    )


def hilbert(loops, spacing, angle, phase, shortest):
    """[(chain, vector)] of Hilbert's curve, step by step; twin of `hilbert_vectors`."""
    cos, sin = math.cos(angle), math.sin(angle)
    level = hatch_lines(loops, spacing, angle, phase)
    upright = [(-w, met) for w, met in hatch_lines(loops, spacing, angle + math.pi / 2, -phase)][::-1]
    side = 1
    while side < max(len(level), len(upright)):
        side *= 2
    cells = hilbert_cells(side)
    chain, vectors, at = -1, [], None
    for (c0, r0), (c1, r1) in pairwise(cells):
        if max(c0, c1) >= len(upright) or max(r0, r1) >= len(level):
            at = None
            continue
        start, end = (upright[c0][0], level[r0][0]), (upright[c1][0], level[r1][0])
        along = 0 if r0 == r1 else 1
        met = (level[r0] if along == 0 else upright[c0])[1]
        low, high = sorted((start[along], end[along]))
        pieces = [(max(low, a), min(high, b)) for a, b in zip(met[0::2], met[1::2])]
        pieces = [piece for piece in pieces if piece[1] - piece[0] > shortest]
        if start[along] > end[along]:
            pieces = [(b, a) for a, b in pieces[::-1]]
        for a, b in pieces:
            p, q = ((a, start[1]), (b, start[1])) if along == 0 else ((start[0], a), (start[0], b))
            if at is None or math.dist(at, p) > 1e-9:
                chain += 1
                vectors.append((chain, p, q))
            elif abs((q[0] - p[0]) * (p[1] - vectors[-1][1][1]) - (q[1] - p[1]) * (p[0] - vectors[-1][1][0])) < 1e-9:
                vectors[-1] = (chain, vectors[-1][1], q)
            else:
                vectors.append((chain, p, q))
            at = q
    return [(c, [w for u, v in ends for w in (u * cos - v * sin, u * sin + v * cos)]) for c, *ends in vectors]

"""What a height map says of a cell (control.rover.ground.terrain); horizons (control.rover.ground.illumination)."""

from __future__ import annotations

import math

import numpy as np


def ground_cell(heights, i, j, cell_m):
    """Slope (deg), roughness and step of one cell, by a least-squares solver; None beside what is not known."""
    rows, columns = len(heights), len(heights[0])
    if not (0 < i < rows - 1 and 0 < j < columns - 1):
        return None
    around = [(b, a, float(heights[i + a][j + b])) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    if any(math.isnan(h) for *_, h in around):
        return None
    plane, *_ = np.linalg.lstsq(np.array([(b, a, 1.0) for b, a, _ in around]), np.array([h for *_, h in around]))
    across = (float(heights[i][j + 1]) - float(heights[i][j - 1])) / 2
    along = (float(heights[i + 1][j]) - float(heights[i - 1][j])) / 2
    steepest = max(math.hypot(plane[0], plane[1]), math.hypot(across, along)) / cell_m
    left = [h - plane[0] * b - plane[1] * a - plane[2] for b, a, h in around]
    lines = [[float(heights[i + k * a][j + k * b]) for k in (-1, 0, 1)] for a, b in ((0, 1), (1, 0), (1, 1), (1, -1))]
    steps = [min(abs(p - 2 * q + r), max(abs(q - p), abs(r - q))) for p, q, r in lines]
    return math.degrees(math.atan(steepest)), math.sqrt(sum(x * x for x in left) / 9), max(steps)


def horizon_deg(heights, i, j, across, up, cell_m, radius_m):
    """The horizon of a cell towards so many columns across and rows up: every crossing of the ray, one by one."""
    rows, columns = len(heights), len(heights[0])
    own = float(heights[i][j])
    major = max(abs(across), abs(up))
    best = -math.degrees(math.atan(math.sqrt(2 * max(own, 0.0) / radius_m)))
    for n in range(1, rows + columns):
        y, x = i + n * up / major, j + n * across / major
        if not (-1e-9 <= y <= rows - 1 + 1e-9 and -1e-9 <= x <= columns - 1 + 1e-9):
            break
        a, b = min(int(y + 1e-9), rows - 1), min(int(x + 1e-9), columns - 1)
        v, u = y - a, x - b
        z = 0.0
        for da, db, weight in ((0, 0, (1 - v) * (1 - u)), (1, 0, v * (1 - u)), (0, 1, (1 - v) * u), (1, 1, v * u)):
            if weight > 1e-9:
                z += weight * float(heights[a + da][b + db])
        if math.isnan(z):
            continue
        far = n * cell_m * math.hypot(across, up) / major
        best = max(best, math.degrees(math.atan((z - own) / far - far / (2 * radius_m))))
    return best

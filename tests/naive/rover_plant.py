"""The rover's plant (hil_sim.world.plant.rover_kernels)."""

from __future__ import annotations

import math


def ground_height(x, y, heights, x0, y0, cell, features):
    """The map between its cell centres, and every crater and rock asked in turn."""
    u, v = (x - x0) / cell, (y - y0) / cell
    rows, columns = heights.shape
    if not (0 <= u <= columns - 1 and 0 <= v <= rows - 1):
        return math.nan
    j, i = min(int(u), columns - 2), min(int(v), rows - 2)
    square = [[float(heights[i + a, j + b]) for b in (0, 1)] for a in (0, 1)]
    across = [left + (right - left) * (u - j) for left, right in square]
    z = across[0] + (across[1] - across[0]) * (v - i)
    for fx, fy, radius, size in features:
        far = math.dist((x, y), (fx, fy)) / radius
        if size >= 0:
            z += size * max(0.0, 1 - far**2)
        elif far < 1:
            z -= -size * (1 - 1.2 * far**2)
        elif far < 2:
            z += 0.2 * -size * (2 - far) ** 2
    return z

"""One look at each vector of a layer: is it what a machine may be given?"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def vectors_fit(vectors_mm, kind, power_w, speed_mm_s, focus_mm, wait_s, beam, limits, reach_tolerance_mm, extent_mm):
    """Whether every number is finite and within its limits, and every vector longer than 0.001 mm can tell.

    Args:
        vectors_mm: (n, 4) f8, n > 0; the other columns (n,), or (1,): the same for all.
        limits: (8,) f8: plate width and depth in mm; the largest power, speed, focus shift (either way), wait, beam
            and kind.
        reach_tolerance_mm: how far beyond the plate is still on it.
        extent_mm: (4,) f8, out: lowest x and y, highest x and y. Worth something only if all is in order.
    """
    low_x = low_y = np.inf
    high_x = high_y = -np.inf
    fits = True
    for i in range(len(vectors_mm)):
        x0, y0, x1, y1 = vectors_mm[i, 0], vectors_mm[i, 1], vectors_mm[i, 2], vectors_mm[i, 3]
        low_x, high_x = min(low_x, x0, x1), max(high_x, x0, x1)
        low_y, high_y = min(low_y, y0, y1), max(high_y, y0, y1)
        fits &= abs(x0) + abs(y0) + abs(x1) + abs(y1) < np.inf  # min and max would pass a NaN by
        fits &= np.rint(x0 * 1000.0) != np.rint(x1 * 1000.0) or np.rint(y0 * 1000.0) != np.rint(y1 * 1000.0)
    fits &= low_x >= -reach_tolerance_mm and low_y >= -reach_tolerance_mm
    fits &= high_x <= limits[0] + reach_tolerance_mm and high_y <= limits[1] + reach_tolerance_mm
    for i in range(len(power_w)):
        fits &= 0.0 < power_w[i] <= limits[2]
    for i in range(len(speed_mm_s)):
        fits &= 0.0 < speed_mm_s[i] <= limits[3]
    for i in range(len(focus_mm)):
        fits &= abs(focus_mm[i]) <= limits[4]
    for i in range(len(wait_s)):
        fits &= 0.0 <= wait_s[i] <= limits[5]
    for i in range(len(beam)):
        fits &= beam[i] <= limits[6]
    for i in range(len(kind)):
        fits &= kind[i] <= limits[7]
    extent_mm[0], extent_mm[1], extent_mm[2], extent_mm[3] = low_x, low_y, high_x, high_y
    return fits

"""Layer heights from the steepness of a surface, by one sweep from the bottom up."""

from __future__ import annotations

import math

from numba import njit


@njit(cache=True, nogil=True)
def note_leaning(low, high, leaning, slice_mm, steepest):
    """The most vertical normal in each slice of height.

    Args:
        low, high: (m,) f8, heights between which each face lies, from the bottom; leaning: (m,) f8, its |n_z|.
        steepest: (k,) f8, zeros on entry, out.
    """
    for t in range(len(low)):
        first = max(0, math.floor(low[t] / slice_mm))
        last = min(len(steepest) - 1, math.floor(high[t] / slice_mm))
        for k in range(first, last + 1):
            steepest[k] = max(steepest[k], leaning[t])


@njit(cache=True, nogil=True)
def stack_layers(steepest, slice_mm, flats, height, cusp, thinnest, thickest, edges):
    """Edges of layers over a surface, thickest first choice, thinner while the surface in it leans too much for that.

    Args:
        steepest: (k,) f8 from `note_leaning`; flats: (f,) f8 rising, heights of flat faces; edges: (e,) f8, out.

    Returns how many edges there are.
    """
    edges[0] = 0.0
    count = 1
    z = 0.0
    flat = 0
    while count < len(edges):
        # the thickest layer in which no slice leans more than its thickness allows
        thickness = thickest
        k = math.floor(z / slice_mm + 1e-9)
        while k < len(steepest) and k * slice_mm < z + thickness - 1e-9:
            if steepest[k] * thickness > cusp:
                allowed = cusp / steepest[k]
                # a steep slice may also be kept out by ending below it
                thickness = max(thinnest, max(min(thickness, k * slice_mm - z), allowed))
                if k * slice_mm - z >= thickness - 1e-9:
                    break
            k += 1
        while flat < len(flats) and flats[flat] < z + 0.5 * thinnest:
            flat += 1
        if flat < len(flats):
            to_flat = flats[flat] - z
            if to_flat <= thickness:
                thickness = max(to_flat, thinnest)
            elif to_flat < thickness + thinnest:  # two even layers rather than one and a rest too thin to be made
                thickness = max(0.5 * to_flat, thinnest)
        if z + 0.5 * thickness > height - 1e-9:
            break
        z += thickness
        edges[count] = z
        count += 1
    return count

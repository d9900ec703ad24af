"""How full the layer lay under the beam: strips of powder, each at its moment and plane, against rows of exposure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hil_sim.harness.series import Floats
from hil_sim.harness.trace import Powder
from hil_sim.world.plant.recoater import Laid

SAME_PLANE_MM = 0.05  # what was laid at another depth of the piston is another layer's powder
EDGE_MM = 1e-6


def fill_under(rows: Floats, laid: Sequence[Laid | Powder], drops: Floats) -> Floats:
    """(n,) least share, 0 to 1, to which the layer was filled along each row's way when the row began.

    rows: as `plant.optics.Optics` cuts them. drops: (n,) how deep the plate was when each began, mm; a strip that was
    laid with the plate at another depth does not count.
    A second pass fills a share of what the first one left.
    """
    found = np.zeros(len(rows))
    for group, edges, fills in _seen(rows, laid, drops):
        found[group] = _least(edges, fills, *_reach(rows[group]))
    return found


def thin_share(rows: Floats, laid: Sequence[Laid | Powder], drops: Floats, below: float) -> Floats:
    """(n,) share, 0 to 1, of each row's way over which the layer was filled to less than `below`; else as above."""
    found = np.ones(len(rows))
    for group, edges, fills in _seen(rows, laid, drops):
        low, high = _reach(rows[group])
        low, high = low - EDGE_MM, high + EDGE_MM  # a row across the bed lies at one x
        full = np.zeros(len(group))
        for begin, end in zip(edges[:-1][fills >= below], edges[1:][fills >= below], strict=True):
            full += np.clip(np.minimum(high, end) - np.maximum(low, begin), 0.0, None)
        found[group] = np.clip(1.0 - full / (high - low), 0.0, 1.0)
    return found


def _reach(rows: Floats) -> tuple[Floats, Floats]:
    """From which x to which each row goes."""
    return np.minimum(rows[:, 2], rows[:, 4]), np.maximum(rows[:, 2], rows[:, 4])


def _seen(
    rows: Floats, laid: Sequence[Laid | Powder], drops: Floats
) -> Iterator[tuple[NDArray[np.int64], Floats, Floats]]:
    """Numbers of rows that see the same strips, and these as `_filled` has them: between two changes of depth or of
    powder all rows do, so their groups are few."""
    if not len(rows):
        return
    planes = np.array([strip.plane_drop_mm for strip in laid])
    times_s = np.array([strip.t_s for strip in laid])
    seen = np.searchsorted(times_s, rows[:, 0], side="right")
    order = np.lexsort((np.round(drops / SAME_PLANE_MM), seen))
    keys = np.column_stack([seen, np.round(drops / SAME_PLANE_MM)])[order]
    borders = np.flatnonzero((np.diff(keys, axis=0) != 0).any(axis=1)) + 1
    for group in np.split(order, borders):  # never empty
        mine = np.flatnonzero(np.abs(planes[: seen[group[0]]] - drops[group[0]]) <= SAME_PLANE_MM)
        yield group, *_filled([laid[int(n)] for n in mine])


def _filled(strips: Sequence[Laid | Powder]) -> tuple[Floats, Floats]:
    """(k + 1,) edges along x and the (k,) shares between them; nothing was laid beyond the edges."""
    edges = np.unique([edge for strip in strips for edge in (strip.x_from_mm, strip.x_to_mm)])
    missing = np.ones(max(len(edges) - 1, 0))
    for strip in strips:
        first, last = np.searchsorted(edges, (strip.x_from_mm, strip.x_to_mm))
        missing[first:last] *= 1.0 - strip.fill_fraction
    return edges, 1.0 - missing


def _least(edges: Floats, fills: Floats, low: Floats, high: Floats) -> Floats:
    """The least share within each [low, high]."""
    if not len(fills):
        return np.zeros(len(low))
    least = np.where((low >= edges[0] - EDGE_MM) & (high <= edges[-1] + EDGE_MM), 1.0, 0.0)
    for begin, end, fill in zip(edges[:-1], edges[1:], fills, strict=True):
        least = np.where((high > begin + EDGE_MM) & (low < end - EDGE_MM), np.minimum(least, fill), least)
    return np.minimum(least, 1.0)

"""Several beams on one plate: who exposes what, so that all are busy for the same time, and how seams are stitched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from slicer.errors import ScanError
from slicer.scan import ScanPath

HALVINGS = 50
SEAM_STEPS = 8
"""Seams lie at one of so many places in turn, layer by layer, so that they do not stand above each other."""


@dataclass(frozen=True)
class Head:
    """One of several beams that stand side by side along x: what it reaches, mm."""

    from_mm: float
    to_mm: float


def side_by_side(plate_mm: float, count: int, reach_mm: float | None) -> list[Head]:
    """So many heads evenly over a plate that is so wide along x; each reaches that much of it, or all of it if None."""
    half = plate_mm if reach_mm is None else 0.5 * reach_mm
    middles = ((i + 0.5) * plate_mm / count for i in range(count))
    return [Head(max(middle - half, 0.0), min(middle + half, plate_mm)) for middle in middles]


def split_among(path: ScanPath, heads: Sequence[Head], stitch_mm: float = 0.0, layer: int = 0) -> ScanPath:
    """The same exposure by several heads: `beam` says by whom, all vectors of a head stand together in their order.

    The plate is parted at lines x = constant so that every head exposes for the same time, as far as what each reaches
    allows. A vector that crosses such a seam is cut there, and both parts run `stitch_mm` / 2 beyond the cut, so that
    the seam is exposed twice over that width rather than not at all. Seams move from layer to layer by up to
    `stitch_mm` to either side. Waits stay with the part that begins where the vector began.

    Raises:
        ScanError: no head, more than 256, neighbours that leave a gap, a stitch that is no length or wider than the
            heads overlap, or a vector that no head reaches.
    """
    _check(heads, stitch_mm)
    if not len(path):
        return path
    low = float(path.vectors_mm[:, 0::2].min())
    high = float(path.vectors_mm[:, 0::2].max())
    if low < heads[0].from_mm or high > heads[-1].to_mm:
        raise ScanError(
            f"Layer {layer} is exposed from x = {low:.3f} to {high:.3f} mm, but the heads reach from "
            f"{heads[0].from_mm:g} to {heads[-1].to_mm:g} mm; place the part under them."
        )
    seams = seams_mm(path, heads, stitch_mm, layer)
    edges = [-math.inf, *seams, math.inf]
    parts = []
    for number, (begin, end) in enumerate(pairwise(edges)):
        part = _between(path, begin, end, 0.5 * stitch_mm)
        parts.append(replace(part, beam=np.full(len(part), number, np.uint8)))
    return ScanPath.concat(parts)


def seams_mm(path: ScanPath, heads: Sequence[Head], stitch_mm: float = 0.0, layer: int = 0) -> list[float]:
    """Where the plate is parted, rising: equal times of exposure for all heads, as far as they reach."""
    wander = stitch_mm * (2.0 * ((layer * 3) % SEAM_STEPS) / (SEAM_STEPS - 1) - 1.0) if stitch_mm else 0.0
    total_s = path.exposure_time_s
    seams: list[float] = []
    for i, (left, right) in enumerate(pairwise(heads)):
        low, high = right.from_mm + 0.5 * stitch_mm, left.to_mm - 0.5 * stitch_mm
        wanted_s = total_s * (i + 1) / len(heads)
        begin, end = low, high
        for _ in range(HALVINGS):
            middle = 0.5 * (begin + end)
            if _time_left_of(path, middle) < wanted_s:
                begin = middle
            else:
                end = middle
        seam = min(max(0.5 * (begin + end) + wander, low), high)
        seams.append(max(seam, seams[-1]) if seams else seam)
    return seams


def times_s(path: ScanPath) -> NDArray[np.float64]:
    """(heads,) f8: how long each head exposes, s, without jumps. The layer takes as long as the busiest."""
    return np.bincount(path.beam, weights=path.lengths_mm / path.speed_mm_s).astype(np.float64)


def _time_left_of(path: ScanPath, x_mm: float) -> float:
    begin, end = path.vectors_mm[:, 0], path.vectors_mm[:, 2]
    low, span = np.minimum(begin, end), np.abs(end - begin)
    share = np.clip((x_mm - low) / np.where(span > 0.0, span, 1.0), 0.0, 1.0)
    share = np.where(span > 0.0, share, (low < x_mm).astype(np.float64))
    return float((share * path.lengths_mm / path.speed_mm_s).sum())


def _between(path: ScanPath, begin_mm: float, end_mm: float, beyond_mm: float) -> ScanPath:
    """What of each vector lies between two seams, and a little beyond them where it was cut."""
    x0, x1 = path.vectors_mm[:, 0], path.vectors_mm[:, 2]
    span = x1 - x0
    low, high = np.minimum(x0, x1), np.maximum(x0, x1)
    met = (high > begin_mm) & (low < end_mm) | (low == high) & (low >= begin_mm) & (low < end_mm)
    chosen = path.chosen(met)
    x0, span, low, high = x0[met], span[met], low[met], high[met]
    from_x = np.where(low < begin_mm, np.maximum(begin_mm - beyond_mm, low), low)
    to_x = np.where(high > end_mm, np.minimum(end_mm + beyond_mm, high), high)
    leans = span != 0.0
    safe = np.where(leans, span, 1.0)
    a, b = np.where(leans, (from_x - x0) / safe, 0.0), np.where(leans, (to_x - x0) / safe, 1.0)
    first, last = np.minimum(a, b)[:, None], np.maximum(a, b)[:, None]
    start, way = chosen.vectors_mm[:, :2], chosen.vectors_mm[:, 2:] - chosen.vectors_mm[:, :2]
    whole = (first <= 0.0) & (last >= 1.0)
    cut = np.hstack([start + np.maximum(first, 0.0) * way, start + np.minimum(last, 1.0) * way])
    vectors = np.where(whole, chosen.vectors_mm, cut)
    return replace(chosen, vectors_mm=vectors, wait_s=np.where(first[:, 0] <= 0.0, chosen.wait_s, 0.0))


def _check(heads: Sequence[Head], stitch_mm: float) -> None:
    if not 1 <= len(heads) <= 256:
        raise ScanError(f"A plate is split among 1 to 256 heads, not {len(heads)}.")
    if not (math.isfinite(stitch_mm) and stitch_mm >= 0.0):
        raise ScanError(f"A stitch is 0 mm or more, not {stitch_mm:g} mm.")
    for i, (left, right) in enumerate(pairwise(heads)):
        if left.to_mm - right.from_mm < stitch_mm or not left.from_mm <= right.from_mm <= left.to_mm <= right.to_mm:
            raise ScanError(
                f"Heads {i} ({left.from_mm:g} to {left.to_mm:g} mm) and {i + 1} ({right.from_mm:g} to {right.to_mm:g} "
                f"mm) do not stand side by side with {stitch_mm:g} mm in common; a seam needs that."
            )

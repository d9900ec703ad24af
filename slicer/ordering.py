"""Which vector next: the order in which hatch vectors are exposed, and where each loop begins.

An order takes the vectors of one hatch and says which comes i-th, whether it runs backwards, and how long the beam
waits before it. Orders are pure and deterministic: what ties is decided by the vectors' numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slicer.errors import ScanError
from slicer.hatching import Hatched
from slicer.kernels import sequencing

TOUCH_MM = sequencing.TOUCH
"""Ends this near to each other are one point: the beam passes it without a jump."""

PASSES, SPAN, WORK = 3, 25_000, 200
"""Bounds of the improvement in `nearest`: looks at every jump, vectors renumbered by a move, and by all per vector."""

RECENT_PART, RECENT_PART_IN_LINE, RECENT_MAX = 1 / 8, 1 / 2, 128
"""`farthest` keeps away from this part of all tiles, or of all in a line, but from no more than so many."""

IN_LINE = 0.1
"""Tiles stand in a line where they spread across it by less than this part of how they spread along it."""

POOL = 512
"""Tiles that `farthest` weighs against each other; of more, every other (third, ...) one comes first."""


@dataclass(frozen=True)
class OrderSettings:
    """What the orders may be told.

    Attributes:
        sweep_deg: where the gas or the dust drifts, counter-clockwise from x; exposures of the order `sweep` advance
            against it.
        return_time_s: least time of the order `return_time` from the end of a vector to the start of a neighbour.
        return_radius_mm: vectors nearer to each other than this are neighbours.
    """

    sweep_deg: float = 0.0
    return_time_s: float = 0.0
    return_radius_mm: float = 0.0


@dataclass(frozen=True, eq=False)
class Ordered:
    """An order of n vectors.

    Attributes:
        index: (n,) i8, which vector comes i-th.
        flipped: (n,) b1, the i-th vector runs from its end to its start.
        wait_s: (n,) f8, the beam stays off at the start of the i-th vector for so long before it.
    """

    index: NDArray[np.int64]
    flipped: NDArray[np.bool_]
    wait_s: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = len(self.index)
        assert self.flipped.shape == self.wait_s.shape == (n,), "an order has one row a vector"

    def vectors_of(self, hatched: Hatched) -> NDArray[np.float64]:
        """(n, 4) f8: the vectors as they are exposed."""
        vectors = hatched.vectors_mm[self.index]
        vectors[self.flipped] = vectors[self.flipped][:, [2, 3, 0, 1]]
        return vectors


Order = Callable[[Hatched, float, float, tuple[float, float], OrderSettings], Ordered]
"""(hatched, speed_mm_s, jump_speed_mm_s, from_mm: where the beam is before, settings) -> Ordered.

Raises ScanError where a number is none to plan with.
"""


def as_hatched(
    hatched: Hatched,
    speed_mm_s: float,
    jump_speed_mm_s: float,
    from_mm: tuple[float, float],
    settings: OrderSettings,
) -> Ordered:
    """The order of the hatch itself."""
    _check(speed_mm_s, jump_speed_mm_s, from_mm, settings)
    return _ordered(np.arange(len(hatched.vectors_mm)))


def nearest(
    hatched: Hatched,
    speed_mm_s: float,
    jump_speed_mm_s: float,
    from_mm: tuple[float, float],
    settings: OrderSettings,
) -> Ordered:
    """Short jumps: the nearest end next, then 2-opt and Or-opt moves (Croes 1958; Or 1976) within bounds.

    Either end of a vector may begin. The jumps, that from `from_mm` included, are never longer in sum than as hatched:
    where they would be, it is as hatched.
    """
    hatch = as_hatched(hatched, speed_mm_s, jump_speed_mm_s, from_mm, settings)
    n = len(hatched.vectors_mm)
    if n == 0:
        return hatch
    vectors = _contiguous(hatched)
    tour = sequencing.chain_nearest(vectors, float(from_mm[0]), float(from_mm[1]))
    sequencing.shorten(vectors, tour, float(from_mm[0]), float(from_mm[1]), PASSES, SPAN, WORK * n)
    found = _ordered(tour >> 1, tour & 1 == 1)
    longer = jump_length_mm(found.vectors_of(hatched), from_mm) > jump_length_mm(hatched.vectors_mm, from_mm)
    return hatch if longer else found


def sweep(
    hatched: Hatched,
    speed_mm_s: float,
    jump_speed_mm_s: float,
    from_mm: tuple[float, float],
    settings: OrderSettings,
) -> Ordered:
    """Exposures advance against the stream of gas or dust, so that it blows over what is exposed, not over powder.

    The stream drifts towards `sweep_deg`, so what lies farthest that way comes first: no tile lies downstream of one
    that is exposed before it. Within a tile vectors keep the hatch's order, or its reverse where that advances. Where
    there is one tile only, all this holds for its vectors. Of what may come next, that comes whose middle lies farthest
    down the stream; it also goes first where tiles block each other (rings in rings, tiles that overlap).

    Each vector runs against the stream too, and one across the stream always to the same side.
    """
    _check(speed_mm_s, jump_speed_mm_s, from_mm, settings)
    n = len(hatched.vectors_mm)
    if n == 0:
        return _ordered(np.arange(0))
    turn = math.radians(math.fmod(settings.sweep_deg, 360.0) + 180.0)
    along = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    vectors = (hatched.vectors_mm.reshape(-1, 2) @ along).reshape(-1, 4)  # x is now against the stream
    ways = vectors[:, 2:] - vectors[:, :2]
    backwards = np.where(np.abs(ways[:, 0]) <= TOUCH_MM, ways[:, 1] < 0.0, ways[:, 0] < 0.0)
    first = hatched.tile_starts[:-1]
    if len(first) == 1:
        first = np.arange(n)
    low, high = vectors[:, ::2].min(axis=1), vectors[:, ::2].max(axis=1)
    middle = np.round((np.minimum.reduceat(low, first) + np.maximum.reduceat(high, first)) / TOUCH_MM)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(middle, kind="stable")] = np.arange(len(first))
    stops = np.append(first[1:], n)
    group = np.repeat(np.arange(len(first)), stops - first)
    order, votes = sequencing.upstream_order(vectors, group, rank, len(first))
    index = np.concatenate([np.arange(first[g], stops[g])[:: -1 if votes[g] < 0 else 1] for g in order.tolist()])
    return _ordered(index, backwards[index])


def farthest(
    hatched: Hatched,
    speed_mm_s: float,
    jump_speed_mm_s: float,
    from_mm: tuple[float, float],
    settings: OrderSettings,
) -> Ordered:
    """Tiles farthest-first: next is the tile whose distance to those exposed last is largest.

    A tile's place is the middle of its vectors, weighed by length, so that stripes are spread in one dimension and
    islands in two. Within a tile vectors come as hatched. "Last" are an eighth of all tiles (half of tiles in a line),
    at most 128, the longer ago the less they count. The first tile is the one nearest to where the beam is. One tile
    alone stays as hatched.
    """
    _check(speed_mm_s, jump_speed_mm_s, from_mm, settings)
    vectors = hatched.vectors_mm
    first = hatched.tile_starts[:-1]
    if len(first) < 2:
        return _ordered(np.arange(len(vectors)))
    weight = np.hypot(vectors[:, 2] - vectors[:, 0], vectors[:, 3] - vectors[:, 1])[:, None] + 1e-12
    middles = np.add.reduceat(0.5 * (vectors[:, :2] + vectors[:, 2:]) * weight, first) / np.add.reduceat(weight, first)
    spread = np.linalg.svd(middles - middles.mean(axis=0), compute_uv=False)
    part = RECENT_PART_IN_LINE if spread[1] < IN_LINE * spread[0] else RECENT_PART
    recent = min(max(int(part * len(first)), 1), RECENT_MAX)
    tiles = sequencing.farthest_order(middles, float(from_mm[0]), float(from_mm[1]), recent, POOL)
    stops = np.append(first[1:], len(vectors))
    return _ordered(np.concatenate([np.arange(first[tile], stops[tile]) for tile in tiles.tolist()]))


def return_time(
    hatched: Hatched,
    speed_mm_s: float,
    jump_speed_mm_s: float,
    from_mm: tuple[float, float],
    settings: OrderSettings,
) -> Ordered:
    """A guaranteed least time between neighbours: none begins sooner than `return_time_s` after another ended.

    Neighbours are vectors nearer to each other than `return_radius_mm`, segment to segment. Always next is the vector
    that can begin first; where all must wait, the beam waits. Interleaved orders (every third line, then those between)
    come out by themselves.

    Vectors that touch end to start in the hatch and share a tile form a chain, which keeps its direction. While the
    beam runs on along a chain, vectors that follow each other, and those less than the radius apart along it, are no
    neighbours: a beam cannot leave the point where it is. Nor are the two ends of a ring that closes. What lies farther
    back along the chain counts (the spiral's turn before), and where the beam stops in a chain and comes back later,
    everything counts.

    Time is length / speed and jump / jump speed; waits are whole milliseconds, rounded up. A machine that accelerates
    takes longer for its moves, so the guarantee holds on it as long as it keeps to these speeds and waits in full.
    """
    _check(speed_mm_s, jump_speed_mm_s, from_mm, settings)
    if len(hatched.vectors_mm) == 0:
        return _ordered(np.arange(0))
    tour, wait_s = sequencing.return_time_order(
        _contiguous(hatched),
        follows_before(hatched),
        float(from_mm[0]),
        float(from_mm[1]),
        float(speed_mm_s),
        float(jump_speed_mm_s),
        float(settings.return_time_s),
        float(settings.return_radius_mm),
    )
    return _ordered(tour >> 1, tour & 1 == 1, wait_s)


ORDERS: dict[str, Order] = {
    "as_hatched": as_hatched,
    "nearest": nearest,
    "sweep": sweep,
    "return_time": return_time,
    "farthest": farthest,
}


def follows_before(hatched: Hatched) -> NDArray[np.bool_]:
    """(n,) b1: the vector begins where the one before it in the hatch ends, in the same tile: both are of one chain."""
    vectors = hatched.vectors_mm
    follows = np.zeros(len(vectors), np.bool_)
    gap = vectors[1:, :2] - vectors[:-1, 2:]
    follows[1:] = np.hypot(gap[:, 0], gap[:, 1]) <= TOUCH_MM
    follows[hatched.tile_starts[:-1]] = False
    return follows


def jump_length_mm(vectors_mm: NDArray[np.float64], from_mm: tuple[float, float]) -> float:
    """The way with the beam off: from `from_mm` to the first vector, and from each vector's end to the next's start."""
    gap = vectors_mm[:, :2] - np.concatenate([np.reshape(from_mm, (1, 2)), vectors_mm[:-1, 2:]])[: len(vectors_mm)]
    return float(np.hypot(gap[:, 0], gap[:, 1]).sum())


def trace_loops(
    points_mm: NDArray[np.float64], loop_starts: NDArray[np.int64], from_mm: tuple[float, float]
) -> NDArray[np.float64]:
    """Closed loops as (p, 4) f8 vectors, each loop begun at its corner nearest to where the beam then is.

    The loops keep their directions; the nearest loop comes next (a greedy choice, not the shortest tour).
    """
    if len(points_mm) == 0:
        return np.zeros((0, 4))
    return sequencing.trace_nearest(points_mm, loop_starts, float(from_mm[0]), float(from_mm[1]))


def _ordered(
    index: NDArray[np.integer],
    flipped: NDArray[np.bool_] | None = None,
    wait_s: NDArray[np.float64] | None = None,
) -> Ordered:
    n = len(index)
    return Ordered(
        index.astype(np.int64),
        np.zeros(n, np.bool_) if flipped is None else flipped,
        np.zeros(n) if wait_s is None else wait_s,
    )


def _contiguous(hatched: Hatched) -> NDArray[np.float64]:
    return np.ascontiguousarray(hatched.vectors_mm, np.float64)


def _check(speed_mm_s: float, jump_speed_mm_s: float, from_mm: tuple[float, float], settings: OrderSettings) -> None:
    for name, value in (("speed_mm_s", speed_mm_s), ("jump_speed_mm_s", jump_speed_mm_s)):
        if not (math.isfinite(value) and value > 0.0):
            raise ScanError(f"{name} is {value:g}, but an order of exposure needs a positive speed there.")
    for name in ("return_time_s", "return_radius_mm"):
        value = getattr(settings, name)
        if not (math.isfinite(value) and value >= 0.0):
            raise ScanError(f"{name} is {value:g}; give a finite number that is not negative.")
    if not (math.isfinite(settings.sweep_deg) and math.isfinite(from_mm[0]) and math.isfinite(from_mm[1])):
        raise ScanError(
            f"An order of exposure needs a finite sweep_deg and start, not {settings.sweep_deg:g} deg from {from_mm}."
        )

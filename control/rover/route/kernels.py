"""Ways over a cost map: the cost-to-go of every cell, one cheapest path, and a quick path in a corridor.

Maps are (rows, columns) f4, cost per cell of way, any positive number; inf (or NaN, or <= 0) is blocked. A step from a
to b costs 0.5 * (cost_a + cost_b) * distance in cells (1 or sqrt 2); a diagonal one needs both orthogonal neighbours
open, so no corner is cut. Places are (i, j). A start or goal outside the map or blocked, or one without a way to the
other, is no exception: the field is inf everywhere, the path is empty (0, 2) and its total inf.
"""

from __future__ import annotations

import numpy as np

from control.rover.route.field import pad_halves, search, walk_down
from control.rover.route.fixed_point import (
    SPAN_MAX,
    corridor_halves,
    count_down,
    count_halves,
    count_up,
    field_of,
    pool_crossings,
    span,
)

Cell = tuple[int, int]


def is_open(cost: np.ndarray, cell: Cell) -> bool:
    """Whether a cell is inside the map and can be entered."""
    i, j = cell
    return 0 <= i < cost.shape[0] and 0 <= j < cost.shape[1] and bool(0.0 < cost[i, j] < np.inf)


def _map(cost: np.ndarray) -> np.ndarray:
    cost = np.ascontiguousarray(cost, dtype=np.float32)
    assert cost.ndim == 2, f"a cost map has two dimensions, not {cost.ndim}"
    return cost


def _flat(cell: Cell, w: int) -> int:
    return (int(cell[0]) + 1) * w + int(cell[1]) + 1


def _no_way() -> tuple[np.ndarray, float]:
    return np.empty((0, 2), np.int32), float("inf")


def _cells(flat: np.ndarray, w: int) -> np.ndarray:
    return np.stack((flat // w - 1, flat % w - 1), axis=1).astype(np.int32)


def cost_to_go(cost: np.ndarray, goal_ij: Cell) -> np.ndarray:
    """The cheapest cost from every cell to the goal: (rows, columns) f4, inf where there is no way.

    Exact to 3e-5: costs are counted in whole numbers where that fits, else summed in f8.
    """
    cost = _map(cost)
    if not is_open(cost, goal_ij):
        return np.full(cost.shape, np.inf, np.float32)
    w = cost.shape[1] + 2
    low, high = span(cost)
    if high <= SPAN_MAX * low:
        cells = _room(cost)
        count_halves(cost, low, cells)
        if count_up(cells, w, _flat(goal_ij, w), -1, _ring(low, high)):
            return np.asarray(field_of(cells, cost.shape[0], cost.shape[1], low))
    half, least, most = pad_halves(cost)
    total = np.full(half.size, np.inf)
    search(half, w, _flat(goal_ij, w), -1, least, most, 0.0, total)
    return total.reshape(-1, w)[1:-1, 1:-1].astype(np.float32)


def _room(cost: np.ndarray) -> np.ndarray:
    """Memory for the counted cells. NumPy asks for large pages, which count for as much as the search itself."""
    return np.empty(((cost.shape[0] + 2) * (cost.shape[1] + 2), 2), np.int32)


def _ring(low: float, high: float) -> int:
    """Buckets enough for the dearest step: a power of two."""
    return 1 << int(np.ceil(np.log2(np.sqrt(2.0) * high / low + 4.0)))


def path_cost(cost: np.ndarray, path: np.ndarray) -> float:
    """What a path (n, 2) costs; inf if it is empty, has a step that is not allowed, or a blocked cell."""
    cost = _map(cost)
    cells = np.asarray(path, dtype=np.int64).reshape(-1, 2)
    if not len(cells) or not all(is_open(cost, (int(i), int(j))) for i, j in cells[[0, -1]]):
        return float("inf")
    if (cells < 0).any() or (cells >= cost.shape).any():
        return float("inf")
    moves = np.abs(np.diff(cells, axis=0))
    if len(moves) and (moves.max() > 1 or (moves.sum(axis=1) == 0).any()):
        return float("inf")
    i, j = cells.T
    own, across, up = cost[i, j], cost[i[:-1], j[1:]], cost[i[1:], j[:-1]]
    if not all(((c > 0.0) & (c < np.inf)).all() for c in (own, across, up)):
        return float("inf")
    own = own.astype(np.float64)
    return float((0.5 * (own[:-1] + own[1:]) * np.sqrt(moves.sum(axis=1))).sum())


def astar(cost: np.ndarray, start: Cell, goal: Cell) -> tuple[np.ndarray, float]:
    """The cheapest path (n, 2) i4 from start to goal, and its total; exact as `cost_to_go` is."""
    cost = _map(cost)
    if not (is_open(cost, start) and is_open(cost, goal)):
        return _no_way()
    w = cost.shape[1] + 2
    low, high = span(cost)
    if 2.0 * low < high <= SPAN_MAX * low:  # on rugged cost the distance says too little to pay for itself
        cells = _room(cost)
        count_halves(cost, low, cells)
        if count_up(cells, w, _flat(goal, w), _flat(start, w), _ring(low, high)):
            return _counted_path(cost, cells, start, goal)
    half, least, most = pad_halves(cost)
    total = np.full(half.size, np.inf)
    at = _flat(start, w)
    search(half, w, _flat(goal, w), at, least, most, 1.0 if high <= 2.0 * low else 0.0, total)
    path = np.empty(half.size, np.int64)
    count = walk_down(half, w, total, at, path)
    return (_cells(path[:count], w), float(total[at])) if count else _no_way()


def corridor_astar(
    cost: np.ndarray, start: Cell, goal: Cell, factor: int = 6, share: float = 0.17
) -> tuple[np.ndarray, float]:
    """The cheapest path that stays where the coarse map says a way may lead: far quicker than `astar`, hardly dearer.

    factor: cells of the map to one coarse cell; share: part of the coarse cells that is searched, those through which
    the cheapest ways lead. So every pass that may be the best one is among them, near or far, at a bounded price. Where
    they hold no way, the whole map is searched: no way is missed.
    """
    cost = _map(cost)
    if not (is_open(cost, start) and is_open(cost, goal)):
        return _no_way()
    low, high = span(cost)
    rough = pool_crossings(cost, factor)
    ends = [(int(cell[0]) // factor, int(cell[1]) // factor) for cell in (start, goal)]
    opened = rough[np.isfinite(rough)]
    for end in ends:  # an end may stand in a square that nothing crosses straight
        rough[end] = min(rough[end], opened.max() if opened.size else 1.0)
    through = cost_to_go(rough, ends[1]) + cost_to_go(rough, ends[0])
    best = float(through[ends[0]])
    if np.isfinite(best) and high <= SPAN_MAX * low:
        nth = min(int(share * through.size), through.size - 1)
        # on even ground more ways than that are equally good, and rounding must not choose between them
        dearest = max(float(np.partition(through.reshape(-1), nth)[nth]), 1.005 * best)
        w = cost.shape[1] + 2
        cells = _room(cost)
        corridor_halves(cost, through <= dearest, factor, low, cells)
        if count_up(cells, w, _flat(goal, w), _flat(start, w), _ring(low, high)):
            path, total = _counted_path(cost, cells, start, goal)
            if len(path):
                return path, total
    return astar(cost, start, goal)


def _counted_path(cost: np.ndarray, cells: np.ndarray, start: Cell, goal: Cell) -> tuple[np.ndarray, float]:
    """The way down the counted sums, and what it costs."""
    w = cost.shape[1] + 2
    path = np.empty(cost.size, np.int64)
    count = count_down(cells, w, _flat(start, w), _flat(goal, w), path)
    if not count:
        return _no_way()
    way = _cells(path[:count], w)
    return way, path_cost(cost, way)

"""Ways over a cost map: the cost-to-go of every cell, one cheapest path, and a quick path in a corridor.

Maps are (rows, columns) f4, cost per cell of way, any positive number; inf (or NaN, or <= 0) is blocked. A step from a
to b costs 0.5 * (cost_a + cost_b) * distance in cells (1 or sqrt 2); a diagonal one needs both orthogonal neighbours
open, so no corner is cut. Places are (i, j). A start or goal outside the map or blocked, or one without a way to the
other, is no exception: the field is inf everywhere, the path is empty (0, 2) and its total inf.
"""

from __future__ import annotations

import numpy as np

from control.rover.route.field import corridor_halves, pad_halves, pool_costs, search, walk_down

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
    """The cheapest cost from every cell to the goal: (rows, columns) f4, inf where there is no way. Exact."""
    cost = _map(cost)
    if not is_open(cost, goal_ij):
        return np.full(cost.shape, np.inf, np.float32)
    w = cost.shape[1] + 2
    half, low, high = pad_halves(cost)
    total = np.full(half.size, np.inf)
    search(half, w, _flat(goal_ij, w), -1, low, high, 0.0, total)
    return total.reshape(-1, w)[1:-1, 1:-1].astype(np.float32)


def descend(field: np.ndarray, cost: np.ndarray, start_ij: Cell) -> np.ndarray:
    """The cheapest path from a start to the goal of a cost-to-go field: cells (n, 2) i4, both ends included."""
    cost = _map(cost)
    if field.shape != cost.shape or not is_open(cost, start_ij):
        return _no_way()[0]
    w = cost.shape[1] + 2
    half, _, _ = pad_halves(cost)
    total = np.full((cost.shape[0] + 2, w), np.inf)
    total[1:-1, 1:-1] = field
    path = np.empty(half.size, np.int64)
    return _cells(path[: walk_down(half, w, total.reshape(-1), _flat(start_ij, w), path)], w)


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
    prices = np.where(cost > 0.0, cost, np.inf).astype(np.float64)
    i, j = cells.T
    sides = prices[i[:-1], j[1:]] + prices[i[1:], j[:-1]]
    if not np.isfinite(sides).all():
        return float("inf")
    return float((0.5 * (prices[i[:-1], j[:-1]] + prices[i[1:], j[1:]]) * np.sqrt(moves.sum(axis=1))).sum())


def _path_in(half: np.ndarray, w: int, low: float, high: float, start: Cell, goal: Cell) -> tuple[np.ndarray, float]:
    """The cheapest path in padded half costs, and its total."""
    total = np.full(half.size, np.inf)
    at = _flat(start, w)
    aim = 1.0 if high <= 2.0 * low else 0.0  # on rugged cost the distance says too little to pay for itself
    search(half, w, _flat(goal, w), at, low, high, aim, total)
    path = np.empty(half.size, np.int64)
    count = walk_down(half, w, total, at, path)
    return (_cells(path[:count], w), float(total[at])) if count else _no_way()


def astar(cost: np.ndarray, start: Cell, goal: Cell) -> tuple[np.ndarray, float]:
    """The cheapest path (n, 2) i4 from start to goal, and its total; exact."""
    cost = _map(cost)
    if not (is_open(cost, start) and is_open(cost, goal)):
        return _no_way()
    half, low, high = pad_halves(cost)
    return _path_in(half, cost.shape[1] + 2, low, high, start, goal)


def corridor_astar(
    cost: np.ndarray, start: Cell, goal: Cell, factor: int = 8, margin: int = 6
) -> tuple[np.ndarray, float]:
    """A path found in the neighbourhood of the coarse map's path: far quicker than `astar`, seldom 1 % dearer.

    factor: cells of the map to one coarse cell; margin: coarse cells kept on either side. Where the corridor holds no
    way, the whole map is searched: no way is missed.
    """
    cost = _map(cost)
    if not (is_open(cost, start) and is_open(cost, goal)):
        return _no_way()
    rough = pool_costs(cost, factor)
    ends = [(int(cell[0]) // factor, int(cell[1]) // factor) for cell in (start, goal)]
    rough_path, _ = astar(rough, ends[0], ends[1])
    if len(rough_path):
        half, low, high = corridor_halves(cost, rough_path, factor, margin)
        path, total = _path_in(half, cost.shape[1] + 2, low, high, start, goal)
        if len(path):
            return path, total
    return astar(cost, start, goal)

"""Repairing a path after cells changed: D* Lite (Koenig and Likhachev, 2002), started from the bucketed field.

Only cells whose cost-to-go changes and that can matter to the start are touched. Sums are f8 and every cell's value is
the least of its neighbours' plus the step, so a repair gives the very number that a search from scratch gives.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from control.rover.route.field import pad_halves, search, walk_down
from control.rover.route.kernels import Cell, _cells, _flat, _map, _no_way, is_open

MOST_MIN = 10_000  # cells that a repair may touch, at least, before it gives up for a search from scratch


@njit(cache=True)
def _bound(u, v, w, low):
    di, dj = abs(u // w - v // w), abs(u % w - v % w)
    return low * (max(di, dj) + (np.sqrt(2.0) - 1.0) * min(di, dj))


@njit(cache=True)
def _best(half, w, g, u):
    """The least of step + cost-to-go over the neighbours of an open cell."""
    if half[u] == np.inf:
        return np.inf
    best = np.inf
    for di in range(-1, 2):
        for dj in range(-1, 2):
            v = u + di * w + dj
            if v == u or half[v] == np.inf:
                continue
            if di != 0 and dj != 0:
                if half[u + di * w] == np.inf or half[u + dj] == np.inf:
                    continue
                best = min(best, g[v] + (half[u] + half[v]) * np.sqrt(2.0))
            else:
                best = min(best, g[v] + (half[u] + half[v]))
    return best


@njit(cache=True)
def _push(keys, cells, size, first, second, cell):
    """Into a binary heap ordered by (first, second); the arrays may be new ones, larger."""
    if size == cells.size:
        longer = np.empty((2 * size, 2), np.float64)
        longer[:size] = keys
        keys = longer
        more = np.empty(2 * size, np.int64)
        more[:size] = cells
        cells = more
    at = size
    while at > 0:
        up = (at - 1) // 2
        if keys[up, 0] < first or (keys[up, 0] == first and keys[up, 1] <= second):
            break
        keys[at, 0], keys[at, 1], cells[at] = keys[up, 0], keys[up, 1], cells[up]
        at = up
    keys[at, 0], keys[at, 1], cells[at] = first, second, cell
    return keys, cells, size + 1


@njit(cache=True)
def _pop(keys, cells, size):
    """Take the least away; the size left."""
    size -= 1
    first, second, cell = keys[size, 0], keys[size, 1], cells[size]
    at = 0
    while True:
        down = 2 * at + 1
        if down >= size:
            break
        right = down + 1
        if right < size and (
            keys[right, 0] < keys[down, 0] or (keys[right, 0] == keys[down, 0] and keys[right, 1] < keys[down, 1])
        ):
            down = right
        if first < keys[down, 0] or (first == keys[down, 0] and second <= keys[down, 1]):
            break
        keys[at, 0], keys[at, 1], cells[at] = keys[down, 0], keys[down, 1], cells[down]
        at = down
    keys[at, 0], keys[at, 1], cells[at] = first, second, cell
    return size


@njit(cache=True)
def repair(half, w, g, rhs, keys, cells, size, changed, start, goal, low, drift, most):
    """Make the start's cost-to-go exact after the costs of `changed` (flat) became what `half` says.

    Returns (keys, cells, size): the heap of cells that are still to be looked at when they come to matter; size -1 if
    `most` cells were not enough, and a search from scratch is the quicker way.
    """
    left = most
    for c in changed:
        for di in range(-1, 2):
            for dj in range(-1, 2):
                u = c + di * w + dj
                if half[u] == np.inf:
                    g[u] = rhs[u] = np.inf
                    continue
                if u != goal:
                    rhs[u] = _best(half, w, g, u)
                if g[u] != rhs[u]:
                    least = min(g[u], rhs[u])
                    keys, cells, size = _push(keys, cells, size, least + _bound(start, u, w, low) + drift, least, u)
    while size > 0:
        if left == 0:
            return keys, cells, -1
        left -= 1
        least = min(g[start], rhs[start])
        behind = keys[0, 0] > least + drift or (keys[0, 0] == least + drift and keys[0, 1] >= least)
        if behind and g[start] == rhs[start]:
            break
        first, second, u = keys[0, 0], keys[0, 1], cells[0]
        size = _pop(keys, cells, size)
        if g[u] == rhs[u]:
            continue
        least = min(g[u], rhs[u])
        now = least + _bound(start, u, w, low) + drift
        if first < now or (first == now and second < least):
            keys, cells, size = _push(keys, cells, size, now, least, u)
            continue
        lowered = g[u] > rhs[u]
        g[u] = rhs[u] if lowered else np.inf
        for di in range(-1, 2):
            for dj in range(-1, 2):
                v = u + di * w + dj
                if half[v] == np.inf or (lowered and v == u):
                    continue
                if v != goal:
                    rhs[v] = _best(half, w, g, v)
                if g[v] != rhs[v]:
                    least = min(g[v], rhs[v])
                    keys, cells, size = _push(keys, cells, size, least + _bound(start, v, w, low) + drift, least, v)
    return keys, cells, size


class DStarLite:
    """A path that is kept cheapest while cells change and the start moves.

    cost (rows, columns) f4 is copied. Start and goal must be open cells of the map, or every answer is the empty path
    and inf. A new cost below the cheapest of the first map starts over, as the bound that aims the repair fails then.
    """

    def __init__(self, cost: np.ndarray, start: Cell, goal: Cell) -> None:
        self._cost = _map(cost).copy()
        self._goal = goal
        self._start = start
        self._begin()

    def _inside(self, cell: Cell) -> bool:
        return 0 <= cell[0] < self._cost.shape[0] and 0 <= cell[1] < self._cost.shape[1]

    def _begin(self) -> None:
        self._w = self._cost.shape[1] + 2
        self._half, low, high = pad_halves(self._cost)
        self._low = float(low) * (1.0 - 1e-7) if np.isfinite(low) else 0.0
        self._floor = float(low)
        self._g = np.full(self._half.size, np.inf)
        self._valid = is_open(self._cost, self._goal)
        if self._valid:
            search(self._half, self._w, _flat(self._goal, self._w), -1, low, high, 0.0, self._g)
        self._rhs = self._g.copy()
        self._keys, self._cells, self._size = np.empty((1024, 2)), np.empty(1024, np.int64), 0
        self._drift = 0.0
        self._route = np.empty(self._half.size, np.int64)

    def path(self) -> tuple[np.ndarray, float]:
        """The cheapest path (n, 2) i4 from the present start, and its total."""
        if not (self._valid and is_open(self._cost, self._start)):
            return _no_way()
        at = _flat(self._start, self._w)
        count = walk_down(self._half, self._w, self._g, at, self._route)
        return (_cells(self._route[:count], self._w), float(self._g[at])) if count else _no_way()

    def replan(self, cells: np.ndarray, new_costs: np.ndarray) -> tuple[np.ndarray, float]:
        """Change the costs of cells (k, 2) to new_costs (k,), and give the cheapest path and its total."""
        cells = np.asarray(cells, np.int64).reshape(-1, 2)
        costs = np.asarray(new_costs, np.float32).reshape(-1)
        assert len(cells) == len(costs), "every changed cell needs its cost"
        assert not len(cells) or ((cells >= 0).all() and (cells < self._cost.shape).all()), "a changed cell is outside"
        self._cost[cells[:, 0], cells[:, 1]] = costs
        now = self._cost[cells[:, 0], cells[:, 1]]
        may_go = (now > 0.0) & (now < np.inf)
        ends_open = is_open(self._cost, self._goal)
        if not (self._valid and ends_open) or (may_go.any() and float(now[may_go].min()) < self._floor):
            self._begin()
            return self.path()
        flat = (cells[:, 0] + 1) * self._w + cells[:, 1] + 1
        self._half[flat] = np.where(may_go, np.float32(0.5) * now, np.float32(np.inf))
        self._settle(flat)
        return self.path()

    def move(self, start: Cell) -> tuple[np.ndarray, float]:
        """The rover is elsewhere now: the cheapest path from there, and its total."""
        if self._inside(start) and self._inside(self._start):
            ends = _flat(start, self._w), _flat(self._start, self._w)
            self._drift += float(_bound(ends[0], ends[1], self._w, self._low))
        self._start = start
        self._settle(np.empty(0, np.int64))
        return self.path()

    def _settle(self, flat: np.ndarray) -> None:
        if not self._valid or not self._inside(self._start):
            return
        ends = _flat(self._start, self._w), _flat(self._goal, self._w)
        self._keys, self._cells, self._size = repair(
            self._half, self._w, self._g, self._rhs, self._keys, self._cells, self._size, flat, *ends, self._low,
            self._drift, max(MOST_MIN, self._half.size // 32),
        )  # fmt: skip
        if self._size < 0:
            self._begin()

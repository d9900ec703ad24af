"""Seeded maps in the manner of the MovingAI collection, and scenarios on them whose optimum a plain Dijkstra knows."""

from __future__ import annotations

from itertools import pairwise

import naive
import numpy as np

from control.rover.route.movingai import Task


def rooms(seed: int, side: int = 512) -> np.ndarray:
    """A dungeon: rooms of many sizes joined by doors, rubble in some; about a third of it open, as in AR0300SR."""
    rng = np.random.default_rng(seed)
    cost = np.full((side, side), np.inf, np.float32)
    middles = []
    for _ in range(side // 4):
        h, w = rng.integers(side // 40, side // 10, 2)
        i, j = rng.integers(1, side - h - 1), rng.integers(1, side - w - 1)
        cost[i : i + h, j : j + w] = 1.0
        if rng.random() < 0.5:  # rubble, away from the middle
            rubble = rng.random((h, w)) < 0.12
            rubble[h // 2 - 1 : h // 2 + 2, :] = rubble[:, w // 2 - 1 : w // 2 + 2] = False
            cost[i : i + h, j : j + w][rubble] = np.inf
        middles.append((i + h // 2, j + w // 2))
    for (i0, j0), (i1, j1) in pairwise(middles):  # corridors two cells wide, with a corner
        cost[min(i0, i1) : max(i0, i1) + 2, j0 : j0 + 2] = 1.0
        cost[i1 : i1 + 2, min(j0, j1) : max(j0, j1) + 2] = 1.0
    cost[0], cost[-1], cost[:, 0], cost[:, -1] = np.inf, np.inf, np.inf, np.inf
    return cost


def city(seed: int, side: int = 1024) -> np.ndarray:
    """Blocks of houses between streets, as in Berlin_1_1024; about three quarters of it open."""
    rng = np.random.default_rng(seed)
    cost = np.ones((side, side), np.float32)
    i = 6
    while i < side - 40:
        depth = int(rng.integers(16, 48))
        j = 6
        while j < side - 40:
            width = int(rng.integers(16, 64))
            if rng.random() < 0.6:
                gap = int(rng.integers(4, 12))
                cost[i + gap // 2 : i + depth - gap // 2, j + gap // 2 : j + width - gap // 2] = np.inf
            j += width
        i += depth
    return cost


def tasks_on(cost: np.ndarray, name: str, seed: int, goals: int, starts: int) -> list[Task]:
    """Scenarios from far-off starts to seeded goals, with the optimum of a heap over all cells."""
    rng = np.random.default_rng(seed)
    cells = np.argwhere(np.isfinite(cost))
    tasks = []
    for goal in cells[rng.integers(len(cells), size=goals)]:
        left = np.array(naive.dijkstra(cost.tolist(), tuple(map(int, goal))))
        left[~np.isfinite(left)] = -1.0
        farthest = np.argsort(left, axis=None)[-len(cells) // 3 :]  # the longest third of them
        for flat in rng.choice(farthest[left.reshape(-1)[farthest] > 0], starts, replace=False):
            start = divmod(int(flat), cost.shape[1])
            optimum = float(left[start])
            tasks.append(Task(int(optimum / 4), name, start, (int(goal[0]), int(goal[1])), optimum))
    return tasks

"""Ways over a cost map (control.rover.route); planning over time (control.rover.route.timed)."""

from __future__ import annotations

import heapq
import math


def dijkstra(cost, goal):
    """The cheapest cost from every cell to the goal, by a heap of cells; rows x columns, inf where there is no way."""
    rows, columns = len(cost), len(cost[0])
    left = [[math.inf] * columns for _ in range(rows)]
    if not math.isfinite(cost[goal[0]][goal[1]]):
        return left
    left[goal[0]][goal[1]] = 0.0
    waiting = [(0.0, goal)]
    while waiting:
        so_far, (i, j) = heapq.heappop(waiting)
        if so_far > left[i][j]:
            continue
        for a in (-1, 0, 1):
            for b in (-1, 0, 1):
                m, n = i + a, j + b
                if (a, b) == (0, 0) or not (0 <= m < rows and 0 <= n < columns) or math.isinf(cost[m][n]):
                    continue
                if a and b and (math.isinf(cost[m][j]) or math.isinf(cost[i][n])):
                    continue  # no corner is cut
                new = so_far + 0.5 * (float(cost[i][j]) + float(cost[m][n])) * math.hypot(a, b)
                if new < left[m][n]:
                    left[m][n] = new
                    heapq.heappush(waiting, (new, (m, n)))
    return left


def most_charge(is_open, drive_w, lit, heard, numbers, start, charge, steps):
    """For each step, a dictionary from cell to the most charge that can be had there: every move from every cell.

    Standing takes one step, a straight move two, a diagonal one three.
    """
    step_s, frame_s, hotel_w, sleep_w, solar_w, capacity_wh, reserve = numbers
    rows, columns = len(is_open), len(is_open[0])
    history = [{} for _ in range(steps + 1)]
    history[0][start] = charge
    for k in range(steps):
        for (i, j), had in history[k].items():
            for a in (-1, 0, 1):
                for b in (-1, 0, 1):
                    m, n, last = i + a, j + b, k + 1 + abs(a) + abs(b)
                    if not (0 <= m < rows and 0 <= n < columns and is_open[m][n]) or last > steps:
                        continue
                    if a and b and not (is_open[m][j] and is_open[i][n]):
                        continue
                    left = had
                    for frame in range(len(lit)):
                        within_s = min(last * step_s, (frame + 1) * frame_s) - max(k * step_s, frame * frame_s)
                        if within_s < 1e-6 * frame_s or left < reserve:
                            continue
                        sun = (float(lit[frame][i][j]) + float(lit[frame][m][n])) / 2
                        load_w = hotel_w + (drive_w[i][j] + drive_w[m][n]) / 2
                        if (a, b) == (0, 0):
                            load_w = hotel_w if sun >= 0.5 else sleep_w
                        elif heard is not None and not (heard[frame][i][j] and heard[frame][m][n]):
                            left = -1.0
                        left = min(1.0, left + (solar_w * sun - load_w) * within_s / 3600 / capacity_wh)
                    if left >= reserve:
                        history[last][m, n] = max(left, history[last].get((m, n), -1.0))
    return history

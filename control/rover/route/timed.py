"""When to drive and when to wait: the earliest arrival over place, time and charge, under moving light and radio.

Time goes in steps of half a straight crossing: the rover stands for one, crosses to a neighbour in two, to a diagonal
one in three (6 % longer than at its speed, never shorter). At one place and time more charge is never worse, so the
whole state is the most charge that can be had there then: one sweep over the steps finds the earliest arrival exactly,
on these cells and steps. Light and radio are those of every frame that a move lasts into. Standing in the dark is done
asleep.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from control.errors import MoonkilnError
from control.rover.energy import EnergyModel
from control.rover.route.havens import LIT_ENOUGH

MOVES = np.array([(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)], np.int64)
STEPS_OF = np.array([1, 2, 2, 2, 2, 3, 3, 3, 3], np.int64)  # that each move takes
STATES_MAX = 150_000_000  # of 5 bytes


class TimedError(MoonkilnError):
    """No plan over time, and why."""

    exit_code = 1


@dataclass(frozen=True, eq=False)
class Frames:
    """Light and radio over time: shares of the Sun's disc (n, rows, columns) f4 and where the Earth is heard (n, rows,
    columns) bool or None (not asked), from `start_s` on, each good for `frame_s`.
    """

    start_s: float
    frame_s: float
    lit: NDArray[np.float32]
    heard: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class TimedSettings:
    """`speed_m_s`: at which cells are crossed; `reserve`: the charge never to go under; `arrive_with`: at the goal."""

    speed_m_s: float = 0.06
    reserve: float = 0.2
    arrive_with: float = 0.2


@dataclass(frozen=True, eq=False)
class TimedPlan:
    """Where the rover is and when: cells (n, 2), Unix seconds (n,), charge (n,). Repeated cells are waits."""

    cells: NDArray[np.int64]
    times_s: NDArray[np.float64]
    charge: NDArray[np.float64]


def plan_timed(
    cost: NDArray[np.float32],
    slope_deg: NDArray[np.float32],
    cell_m: float,
    start: tuple[int, int],
    goal: tuple[int, int],
    charge: float,
    frames: Frames,
    model: EnergyModel,
    settings: TimedSettings,
) -> TimedPlan:
    """The earliest arrival from start to goal, beginning at `frames.start_s` with a charge.

    cost (rows, columns): inf is blocked, nothing else counts. Costs of driving are the model's at each cell's slope.

    Raises:
        TimedError: it cannot be done within the frames; the sentence says whether charge, radio or time is short.
    """
    step_s = 0.5 * cell_m / settings.speed_m_s
    steps = int(len(frames.lit) * frames.frame_s / step_s + 1e-6)
    if steps * cost.size > STATES_MAX:
        raise TimedError(f"{steps} steps over {cost.size} cells are too many: plan on a coarser map or for less time")
    drive_w = np.array([[model.drive_w(settings.speed_m_s, s) for s in row] for row in np.nan_to_num(slope_deg)])
    tries = {"all": (charge, model, frames.heard), "no radio": (charge, model, None), "no dark": (1.0, None, None)}
    for given, (own_charge, own_model, heard) in tries.items():
        lit = frames.lit
        loads = (drive_w, model.hotel_w, model.sleep_w, model.solar_w_max * model.charge_efficiency, model.capacity_wh)
        if own_model is None:
            loads = (np.zeros_like(drive_w), 0.0, 0.0, 0.0, 1.0)
        most, came = _sweep_all(
            cost, own_charge, start, goal, step_s, steps, frames.frame_s, lit, heard, loads, settings
        )
        arrived: NDArray[np.int64] = np.nonzero(most[:, goal[0], goal[1]] >= settings.arrive_with)[0]
        if not len(arrived):
            continue
        if given == "all":
            return _walked_back(most, came, goal, int(arrived[0]), frames.start_s, step_s)
        hours = arrived[0] * step_s / 3600
        lack = "the Earth is not heard where and when it would have to drive"
        if given == "no dark":
            lack = (
                f"its charge of {charge:.0%} and what Sun there is do not carry it there above {settings.reserve:.0%}"
            )
        raise TimedError(
            f"no plan within {steps * step_s / 86400:.1f} days: {lack} (without that it would be {hours:.1f} h away);"
            " depart at another time, with more charge, or go to a haven first"
        )
    raise TimedError(f"no way leads there at {settings.speed_m_s:g} m/s within {steps * step_s / 86400:.1f} days")


def _sweep_all(cost, charge, start, goal, step_s, steps, frame_s, lit, heard, loads, settings):
    """`sweep` with its arrays made: (most, came) for as many steps as it took."""
    most = np.full((steps + 1, *cost.shape), -1.0, np.float32)
    came = np.zeros((steps + 1, *cost.shape), np.int8)
    if steps == 0 or not (np.isfinite(cost[start]) and np.isfinite(cost[goal])):
        return most[:1], came[:1]
    most[0][start] = charge
    drive_w, hotel_w, sleep_w, solar_w, capacity_wh = loads
    used = sweep(
        np.isfinite(cost),
        drive_w,
        np.ascontiguousarray(np.nan_to_num(lit), np.float32),
        np.ones((1, 1, 1), np.bool_) if heard is None else np.ascontiguousarray(heard),
        heard is not None,
        np.array([step_s, frame_s, hotel_w, sleep_w, solar_w, capacity_wh, settings.reserve, settings.arrive_with]),
        np.array(goal, np.int64),
        most,
        came,
    )
    return most[: used + 1], came[: used + 1]


@njit(cache=True)
def sweep(is_open, drive_w, lit, heard, asks_radio, numbers, goal, most, came):  # pragma: no cover
    """Fill the most charge that can be had in each cell after each step (-1: it cannot be there), and by which move.

    most (steps + 1, rows, columns) f4 with the first step given; numbers: step, frame (s), hotel, sleep, solar (W),
    capacity (Wh), reserve, arrive_with. Returns the last step filled: the goal's, or all.
    """
    step_s, frame_s, hotel_w, sleep_w, solar_w, capacity_wh, reserve, arrive_with = numbers
    rows, columns = is_open.shape
    firsts = np.empty(4, np.int64)  # of a move that takes 1, 2 or 3 steps and ends now: its first and last frame,
    lasts = np.empty(4, np.int64)
    seconds = np.empty((4, int(3 * step_s / frame_s) + 3))  # and how long it lasts in each
    for k in range(1, most.shape[0]):
        for d in range(1, min(k, 3) + 1):
            _split((k - d) * step_s, k * step_s, frame_s, lit.shape[0], d, firsts, lasts, seconds)
        for i in range(rows):
            for j in range(columns):
                if not is_open[i, j]:
                    continue
                best = -1.0
                move = 0
                for n in range(9):
                    a, b, d = i - MOVES[n, 0], j - MOVES[n, 1], STEPS_OF[n]
                    if k < d or not (0 <= a < rows and 0 <= b < columns) or most[k - d, a, b] < 0.0:
                        continue
                    if n >= 5 and not (is_open[a, j] and is_open[i, b]):
                        continue
                    left = float(most[k - d, a, b])
                    moving_w = hotel_w + 0.5 * (drive_w[a, b] + drive_w[i, j])
                    for f in range(firsts[d], lasts[d] + 1):
                        sun = 0.5 * (lit[f, a, b] + lit[f, i, j])
                        load_w = moving_w
                        if n == 0:
                            load_w = hotel_w if sun >= LIT_ENOUGH else sleep_w
                        elif asks_radio and not (heard[f, a, b] and heard[f, i, j]):
                            left = -1.0
                            break
                        spent = (load_w - solar_w * sun) * seconds[d, f - firsts[d]] / 3600.0 / capacity_wh
                        left = min(1.0, left - spent)
                        if left < reserve:
                            left = -1.0
                            break
                    if left > best:
                        best, move = left, n
                most[k, i, j] = best
                came[k, i, j] = move
        if most[k, goal[0], goal[1]] >= arrive_with:
            return k
    return most.shape[0] - 1


@njit(cache=True)
def _split(since_s, until_s, frame_s, count, d, firsts, lasts, seconds):  # pragma: no cover
    """The frames between two times and the seconds in each; slivers that rounding makes belong to no frame."""
    sliver = 1e-6 * frame_s
    first = min(int((since_s + sliver) / frame_s), count - 1)
    last = max(first, min(int((until_s - sliver) / frame_s), count - 1))
    firsts[d], lasts[d] = first, last
    for f in range(first, last + 1):
        begins = since_s if f == first else f * frame_s
        ends = until_s if f == last else (f + 1) * frame_s
        seconds[d, f - first] = ends - begins


def _walked_back(most, came, goal, last, start_s, step_s) -> TimedPlan:
    """The plan that ends at the goal with step `last`."""
    at, k = np.array(goal, np.int64), last
    cells, steps = [at], [k]
    while k > 0:
        move = came[k, at[0], at[1]]
        at, k = at - MOVES[move], k - int(STEPS_OF[move])
        cells.append(at)
        steps.append(k)
    way, when = np.array(cells[::-1]), np.array(steps[::-1])
    charge = most[when, way[:, 0], way[:, 1]].astype(np.float64)
    return TimedPlan(way, start_s + step_s * when, charge)

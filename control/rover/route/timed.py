"""When to drive and when to wait: the earliest arrival over place, time and charge, under moving light and radio.

Time goes in steps in which the rover crosses to one of eight neighbouring cells or stands. At one place and time more
charge is never worse, so the whole state is the most charge that can be had there then: one sweep over the steps finds
the earliest arrival exactly, on these cells and steps. Standing in the dark is done asleep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from control.errors import MoonkilnError
from control.rover.energy import EnergyModel
from control.rover.route.havens import LIT_ENOUGH

MOVES = np.array([(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)], np.int64)
STATES_MAX = 400_000_000


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
    """Where the rover is at each step: cells (n, 2), Unix seconds (n,), charge (n,). Repeated cells are waits."""

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
    step_s = math.sqrt(2.0) * cell_m / settings.speed_m_s
    steps = int(len(frames.lit) * frames.frame_s / step_s)
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
    share = step_s / 3600.0 / capacity_wh
    for k in range(most.shape[0] - 1):
        frame = min(int(k * step_s / frame_s), lit.shape[0] - 1)
        for i in range(rows):
            for j in range(columns):
                if not is_open[i, j]:
                    continue
                best = np.float32(-1.0)
                move = 0
                for n in range(9):
                    a, b = i - MOVES[n, 0], j - MOVES[n, 1]
                    if not (0 <= a < rows and 0 <= b < columns) or most[k, a, b] < 0.0:
                        continue
                    sun = 0.5 * (lit[frame, a, b] + lit[frame, i, j])
                    if n == 0:
                        load_w = hotel_w if sun >= LIT_ENOUGH else sleep_w
                    else:
                        if asks_radio and not (heard[frame, a, b] and heard[frame, i, j]):
                            continue
                        if n >= 5 and not (is_open[a, j] and is_open[i, b]):
                            continue
                        load_w = hotel_w + 0.5 * (drive_w[a, b] + drive_w[i, j])
                    left = np.float32(min(1.0, most[k, a, b] + (solar_w * sun - load_w) * share))
                    if left >= reserve and left > best:
                        best, move = left, n
                most[k + 1, i, j] = best
                came[k + 1, i, j] = move
        if most[k + 1, goal[0], goal[1]] >= arrive_with:
            return k + 1
    return most.shape[0] - 1


def _walked_back(most, came, goal, last, start_s, step_s) -> TimedPlan:
    """The plan that ends at the goal with step `last`."""
    cells = np.empty((last + 1, 2), np.int64)
    at = np.array(goal, np.int64)
    for k in range(last, -1, -1):
        cells[k] = at
        at = at - MOVES[came[k, at[0], at[1]]] if k else at
    charge = most[np.arange(last + 1), cells[:, 0], cells[:, 1]].astype(np.float64)
    return TimedPlan(cells, start_s + step_s * np.arange(last + 1), charge)

"""What moved, as signals: the gantry's runs and an axis' phases become straight lines through enough knots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hil_sim.harness.series import Floats, Series, lines, steps
from hil_sim.world.plant.gantry import Run, Stand
from hil_sim.world.plant.linear_axis import Phase

RAMP_KNOTS = 6  # a ramp of 0.2 s at 500 mm/s2 is then true to 0.1 mm


def gantry_series(motion: Sequence[Run | Stand], start_mm: tuple[float, float, float], end_s: float) -> list[Series]:
    """`gantry.x_mm`, `y_mm`, `z_mm`, `speed_mm_s` and `moving` of a whole run that lasted from 0 to `end_s`."""
    runs = [entry for entry in motion if isinstance(entry, Run) and entry.duration_s > 0.0]
    if not runs:
        still = [(0.0, 0.0), (end_s, 0.0)]
        places = [lines(f"gantry.{a}_mm", "mm", [0.0, end_s], [v, v]) for a, v in zip("xyz", start_mm, strict=True)]
        return [*places, lines("gantry.speed_mm_s", "mm/s", *zip(*still)), steps("gantry.moving", "", still[:1])]
    t0, duration, accelerate, brake_from, full = (
        np.array([getattr(run, field) for run in runs])
        for field in ("t0_s", "duration_s", "accelerate_s", "brake_from_s", "full_s")
    )
    shares = np.linspace(0.0, 1.0, RAMP_KNOTS + 1)
    ramp_up = accelerate[:, None] * shares
    ramp_down = brake_from[:, None] + (full - brake_from)[:, None] * shares
    tau = np.minimum(np.hstack([ramp_up, ramp_down]), duration[:, None])  # (runs, 2 (RAMP_KNOTS + 1))
    distance, speed = _profile(runs, tau)
    begin, unit = np.array([run.start_mm for run in runs]), np.array([run.unit for run in runs])
    times_s = (t0[:, None] + tau).ravel()
    times_s = np.maximum.accumulate(times_s)  # one rounding of a large clock
    knots = np.concatenate([[0.0], times_s, [max(end_s, times_s[-1])]])
    found = []
    for axis, name in enumerate("xyz"):
        way_mm = (begin[:, axis, None] + unit[:, axis, None] * distance).ravel()
        found.append(lines(f"gantry.{name}_mm", "mm", knots, np.concatenate([way_mm[:1], way_mm, way_mm[-1:]])))
    # At rest between runs: the speed falls to zero at a run's end and stands up again at the next one's begin.
    ends_s = t0 + duration
    speed_t = np.hstack([t0[:, None], t0[:, None] + tau, ends_s[:, None]])
    zero = np.zeros((len(runs), 1))
    rests = np.hstack([zero, speed, zero])
    joined = np.concatenate([[0.0], np.maximum.accumulate(speed_t.ravel()), [max(end_s, ends_s[-1])]])
    found.append(lines("gantry.speed_mm_s", "mm/s", joined, np.concatenate([[0.0], rests.ravel(), [0.0]])))
    found.append(_switch("gantry.moving", t0, ends_s))
    return found


def _profile(runs: Sequence[Run], tau: Floats) -> tuple[Floats, Floats]:
    """Way (mm) and speed (mm/s) of each run at its own times: the trapezoid of `plant.gantry.Run`, all at once."""
    entry, cruise, exit_, acceleration = (
        np.array([getattr(run.move, field) for run in runs])[:, None]
        for field in ("entry_mm_s", "cruise_mm_s", "exit_mm_s", "acceleration_mm_s2")
    )
    accelerate_s, brake_from_s, full_s, accelerate_mm, length_mm = (
        np.array([getattr(run, field) for run in runs])[:, None]
        for field in ("accelerate_s", "brake_from_s", "full_s", "accelerate_mm", "length_mm")
    )
    left = full_s - tau
    up, down = tau < accelerate_s, tau > brake_from_s
    way = np.where(up, tau * (entry + 0.5 * acceleration * tau), accelerate_mm + cruise * (tau - accelerate_s))
    way = np.where(down, length_mm - left * (exit_ + 0.5 * acceleration * left), way)
    speed = np.where(up, entry + acceleration * tau, np.where(down, exit_ + acceleration * left, cruise))
    return way, speed


def axis_series(name: str, phases: Sequence[Phase], zero_mm: float, end_s: float) -> tuple[Series, Series]:
    """Place (`name`, mm, `zero_mm` added) and whether it moves, of an axis that did `phases` until `end_s`."""
    times: list[float] = []
    places: list[float] = []
    moving: list[tuple[float, float]] = []
    for phase, following in zip(phases, [*phases[1:], None], strict=True):
        until_s = max(phase.t_s, end_s if following is None else following.t_s)
        moves = bool(phase.velocity_mm_s or phase.acceleration_mm_s2)
        if not moving or moving[-1][1] != float(moves):
            moving.append((phase.t_s, float(moves)))
        for share in np.linspace(0.0, 1.0, RAMP_KNOTS + 1 if phase.acceleration_mm_s2 else 2):
            t_s = min(phase.t_s + (until_s - phase.t_s) * float(share), until_s)  # the sum may round beyond it
            times.append(t_s)
            places.append(phase.position_at(t_s) + zero_mm)
    return lines(name, "mm", times, places), steps(f"{name.split('.')[0]}.moving", "", moving)


def _switch(name: str, on_s: NDArray[np.float64], off_s: NDArray[np.float64]) -> Series:
    """1 from each of `on_s` to its `off_s`; what begins where the last one ended goes on."""
    rows: list[tuple[float, float]] = [(0.0, 0.0)]
    for begin_s, end_s in zip(on_s.tolist(), off_s.tolist(), strict=True):
        if rows[-1][1] == 0.0 and begin_s <= rows[-1][0] + 1e-9 and len(rows) > 1:
            rows.pop()
        else:
            rows.append((begin_s, 1.0))
        rows.append((max(end_s, begin_s), 0.0))
    return steps(name, "", rows)

"""The truth of a run as signals, made only when somebody asks for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from hil_sim.harness.motion_series import axis_series, gantry_series
from hil_sim.harness.powder import fill_under
from hil_sim.harness.series import Floats, Series, lines, steps
from hil_sim.world.build import World
from hil_sim.world.build_rover import RoverTruth

TOUCHING_S = 1e-9


def printer_signals(world: World, end_s: float, wanted: Iterable[str]) -> dict[str, Series]:
    """Signals of a printer's world that has been finished at `end_s`; of `wanted`, those that it has."""
    kept, spec = world.histories, world.spec

    def told(name: str, unit: str, key: str, first: float | None = 0.0) -> Series:
        rows = kept.as_changes(key).tolist()
        return steps(name, unit, rows if first is None or (rows and rows[0][0] <= 0.0) else [(0.0, first), *rows])

    def gantry(name: str) -> Callable[[], Series]:
        def make() -> Series:
            found = gantry_series(kept.motion, spec.devices.motion.start_mm, end_s)
            return next(series for series in found if series.name == name)

        return make

    def axis(name: str, phases: str, zero_mm: float, which: int) -> Callable[[], Series]:
        return lambda: axis_series(name, kept.phases[phases], zero_mm, end_s)[which]

    def live() -> Series:
        whole = [told("beam.live", "", key) for key in ("capability_w", "leak_w")]
        return _joined("beam.live", whole, lambda values: np.max(values, axis=0) > 0.0)

    def closed() -> Series:
        switches = [told(name, "", name, 1.0) for name in ("door", "purge")]
        return _joined("interlock.closed", switches, lambda values: np.min(values, axis=0))

    blade_zero_mm = spec.devices.recoater.blade_zero_x_mm
    makers: dict[str, Callable[[], Series]] = {
        "beam.emission_w": lambda: _emission(world),
        "beam.capability_w": lambda: told("beam.capability_w", "W", "capability_w"),
        "beam.live": live,
        "beam.still": lambda: _still(world),
        **{f"gantry.{what}": gantry(f"gantry.{what}") for what in ("x_mm", "y_mm", "z_mm", "speed_mm_s", "moving")},
        "blade.x_mm": axis("blade.x_mm", "blade", blade_zero_mm, 0),
        "blade.moving": axis("blade.x_mm", "blade", 0.0, 1),
        "piston.drop_mm": axis("piston.drop_mm", "piston", 0.0, 0),
        "piston.moving": axis("piston.drop_mm", "piston", 0.0, 1),
        "plate.temp_c": lambda: lines("plate.temp_c", "degC", *kept.as_changes("plate_c").T),
        "bed.temp_c_max": lambda: told("bed.temp_c_max", "degC", "bed_c_max", None),
        "bed.layer": lambda: told("bed.layer", "", "layer", -1.0),
        "powder.under_beam": lambda: _under_beam(world),
        "meter.power_w": lambda: _drawn(world),
        "heater.power_w": lambda: told("heater.power_w", "W", "load_heater_w"),
        "door.closed": lambda: told("door.closed", "", "door", 1.0),
        "purge.ok": lambda: told("purge.ok", "", "purge", 1.0),
        "interlock.closed": closed,
        "faults.struck": lambda: struck((t_s for t_s, _, _ in world.faults.strikes)),
    }
    return {name: makers[name]() for name in dict.fromkeys(wanted) if name in makers}


def rover_signals(truth: RoverTruth) -> dict[str, Series]:
    """Signals of a drive: its track has ten rows a second."""
    t = truth.track
    tilt = np.degrees(np.arccos(np.clip(np.cos(t.roll_rad) * np.cos(t.pitch_rad), -1.0, 1.0)))
    gone_m = np.hypot(np.diff(t.x_m), np.diff(t.y_m))
    speed = gone_m / np.maximum(np.diff(t.t_s), TOUCHING_S)
    columns = {
        "x_m": ("m", t.x_m), "y_m": ("m", t.y_m), "z_m": ("m", t.z_m), "roll_deg": ("deg", np.degrees(t.roll_rad)),
        "pitch_deg": ("deg", np.degrees(t.pitch_rad)), "tilt_deg": ("deg", tilt),
        "yaw_deg": ("deg", np.degrees(np.unwrap(t.yaw_rad))), "slip": ("", t.slip), "power_w": ("W", t.power_w),
        "winding_c": ("degC", t.winding_c),
    }  # fmt: skip
    found = {f"rover.{name}": lines(f"rover.{name}", unit, t.t_s, values) for name, (unit, values) in columns.items()}
    found["rover.speed_m_s"] = Series("rover.speed_m_s", "m/s", t.t_s[:-1], speed)
    found["faults.struck"] = struck(t_s for t_s, _, _ in truth.strikes)
    return found


def struck(times_s: Iterable[float]) -> Series:
    """How many faults have struck."""
    return steps("faults.struck", "", [(0.0, 0.0), *((t_s, n + 1.0) for n, t_s in enumerate(sorted(times_s)))])


def _emission(world: World) -> Series:
    """Power over time: straight within a row, nothing between rows that do not touch."""
    rows = world.histories.rows()
    times: list[np.ndarray] = [np.array([0.0])]
    values: list[np.ndarray] = [np.array([0.0])]
    if len(rows):
        parted = np.concatenate([[True], rows[1:, 0] - rows[:-1, 1] > TOUCHING_S, [True]])
        n = len(rows)
        knots = np.column_stack([rows[:, 0], rows[:, 0], rows[:, 1], rows[:, 1]])
        watts = np.column_stack([np.zeros(n), rows[:, 6], rows[:, 7], np.zeros(n)])
        keep = np.column_stack([parted[:-1], np.ones(n, bool), np.ones(n, bool), parted[1:]])
        times.append(np.maximum.accumulate(knots[keep]))
        values.append(watts[keep])
    return lines("beam.emission_w", "W", np.concatenate(times), np.concatenate(values))


def _still(world: World) -> Series:
    rows = world.histories.rows()
    stood = rows[(rows[:, 2:4] == rows[:, 4:6]).all(axis=1)]
    found: list[tuple[float, float]] = [(0.0, 0.0)]
    for t0_s, t1_s in stood[:, :2].tolist():
        if found[-1][1] == 0.0 and t0_s - found[-1][0] <= TOUCHING_S and len(found) > 1:
            found.pop()
        else:
            found.append((t0_s, 1.0))
        found.append((t1_s, 0.0))
    return steps("beam.still", "", found)


def _under_beam(world: World) -> Series:
    """Row by row of the exposure; not known while it is dark."""
    rows = world.histories.rows()
    fill = fill_under(rows, world.laid, world.histories.plane_drop_mm(rows[:, 0]))
    knots = np.column_stack([rows[:, 0], rows[:, 1]])
    values = np.column_stack([fill, np.full(len(rows), math.nan)])
    return Series("powder.under_beam", "", np.maximum.accumulate(knots.ravel()), values.ravel())


def _drawn(world: World) -> Series:
    """The sum of all loads."""
    changes = world.histories.changes
    loads = [steps(name, "W", rows) for name, rows in changes.items() if name.startswith("load_")]
    return _joined("meter.power_w", loads, lambda values: np.nan_to_num(values).sum(axis=0), "W")


def _joined(name: str, parts: list[Series], join: Callable[[Floats], Any], unit: str = "") -> Series:
    """One signal of several that jump: `join` makes (n,) values of theirs, (parts, n)."""
    times_s = np.unique(np.concatenate([[0.0], *(part.times_s for part in parts)]))
    values = np.asarray(join(np.array([part.at(times_s) for part in parts])), np.float64)
    return Series(name, unit, times_s, values)

"""What instruments show of the plant: the truth, unless a fault of the schedule stands between.

    sensors = Sensors(faults, seed)
    heater.loop.sense = sensors.at("heater.temp", plate.temp_c, full_scale=1372.0)

A point that the schedule never touches is handed its truth back as it is, so that a sound sensor costs nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hil_sim.world.faults.schedule import Fault, Faults

Truth = Callable[[float], float]
"""Loop time in s -> what there is to measure, in the unit of the point."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """A fault that lasts: since when, what was shown then, and what is shown now."""

    fault: Fault
    since_s: float
    held: float
    shown: float
    shown_s: float


class Sensors:
    """The sensors of one world. `points`: those that were made. `seed`: of their noise."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self.points: list[str] = []
        self._faults = faults
        self._seed = seed
        self._truths: dict[str, Truth] = {}
        self._begun: dict[str, _Begun] = {}

    def at(self, point: str, truth: Truth, *, full_scale: float, shorted: float | None = None) -> Truth:
        """The sensor at `point`: what it shows at a time. `full_scale`: the most that it can show; `shorted`: what it
        shows when its wires touch."""
        self.points.append(point)
        self._truths[point] = truth
        if not self._faults.touches(point):
            return truth
        ends = full_scale, full_scale if shorted is None else shorted
        last = [math.nan]  # what it showed while it was sound

        def show(t_s: float) -> float:
            true = truth(t_s)
            fault = self._faults.now(point, t_s)
            if fault is None:
                self._begun.pop(point, None)
                last[0] = true
                return true
            return self._shown(fault, point, t_s, true, true if math.isnan(last[0]) else last[0], ends)

        return show

    def group(
        self, points: Sequence[str], truth: Callable[[float], Sequence[float]], *, full_scale: float
    ) -> Callable[[float], Sequence[float]]:
        """Several sensors that are read at once, each with a point of its own."""
        shows = [
            self.at(point, lambda t_s, place=place: truth(t_s)[place], full_scale=full_scale)  # type: ignore[misc]
            for place, point in enumerate(points)
        ]
        if not any(self._faults.touches(point) for point in points):
            return truth
        return lambda t_s: tuple(show(t_s) for show in shows)

    def strange(self) -> list[str]:
        """What is wrong with the schedule that only the made sensors can tell, in sentences."""
        return [
            f"'{fault.kind}' at '{fault.point}' asks for the channel '{fault.arg('with', '')}'; there are"
            f" {', '.join(sorted(self._truths))}."
            for fault in self._faults.schedule.faults
            if fault.kind == "swapped" and fault.arg("with", fault.point) not in self._truths
        ]

    def _shown(
        self, fault: Fault, point: str, t_s: float, true: float, last: float, ends: tuple[float, float]
    ) -> float:
        begun = self._begun.get(point)
        if begun is None or begun.fault is not fault:
            begun = _Begun(fault, t_s, last, last, t_s)
        kind = fault.kind
        if kind == "stuck":
            shown = begun.held
        elif kind == "bias":
            shown = true + _number(fault, "offset", 5.0)
        elif kind == "drift":
            shown = true + _number(fault, "per_s", 0.1) * (t_s - begun.since_s)
        elif kind == "noise_on":  # of the moment, not of who has asked before
            rng = random.Random(f"{self._seed}:{point}:{t_s!r}")
            shown = true + rng.gauss(0.0, _number(fault, "sigma", 5.0))
        elif kind == "spike":
            shown = _number(fault, "value", 1000.0)
        elif kind == "saturated":
            shown = ends[0]
        elif kind == "short_circuit":
            shown = _number(fault, "reading_c", ends[1])
        elif kind == "swapped":
            shown = self._truths[str(fault.arg("with", point))](t_s)
        elif kind == "quantised":
            step = _number(fault, "step", 10.0)
            shown = math.floor(true / step + 0.5) * step if step > 0 else true
        elif kind == "lag":
            tau_s = max(_number(fault, "tau_s", 30.0), 1e-6)
            share = -math.expm1(-max(t_s - begun.shown_s, 0.0) / tau_s)
            shown = begun.shown + share * (true - begun.shown)
        else:
            raise ValueError(f"'{kind}' at {point} is no fault of a sensor")
        self._begun[point] = _Begun(fault, begun.since_s, begun.held, shown, max(t_s, begun.shown_s))
        return shown


def _number(fault: Fault, name: str, default: float) -> float:
    value = float(fault.arg(name, default))
    return value if math.isfinite(value) else default

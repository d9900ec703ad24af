"""What is kept of a drive: each cycle for telemetry, sums, and the story of what the guard held back."""

from __future__ import annotations

import math
from typing import NamedTuple

from control.outcome import Status
from control.rover.drive.guard import Action, Decision
from control.rover.outcome import DriveOutcome, DriveTotals, Held
from control.rover.route.route_file import Route
from control.telemetry import Telemetry

HELD_KEPT = 1000


class DriveStep(NamedTuple):
    """One cycle as telemetry keeps it."""

    x_m: float
    y_m: float
    heading_rad: float
    sigma_m: float
    roll_rad: float
    pitch_rad: float
    progress_m: float
    length_m: float
    cross_track_m: float
    slip: float
    speed_m_s: float
    omega_rad_s: float
    charge: float
    power_w: float
    action: str
    cause: str


class DriveRecord:
    """Sums and holds of one drive; every cycle is noted once."""

    def __init__(self, telemetry: Telemetry, period_s: float) -> None:
        self.held: list[Held] = []
        self.energy_wh = 0.0
        self.cross_track_max_m = 0.0
        self._telemetry = telemetry
        self._period_s = period_s
        self._holding: tuple[Decision, float] | None = None
        self._cross2_sum, self._cycles = 0.0, 0

    @property
    def cross_track_rms_m(self) -> float:
        """Beside the path, over all cycles."""
        return math.sqrt(self._cross2_sum / self._cycles) if self._cycles else 0.0

    def note(self, now_s: float, step: DriveStep, decision: Decision) -> None:
        """One cycle."""
        self._cycles += 1
        self._cross2_sum += step.cross_track_m**2
        self.cross_track_max_m = max(self.cross_track_max_m, abs(step.cross_track_m))
        self.energy_wh += max(step.power_w, 0.0) * self._period_s / 3600.0
        self._telemetry.drive(step)
        held = self._holding
        if held is not None and (held[0].action, held[0].cause) != (decision.action, decision.cause):
            self.end_hold(now_s)
        if decision.action is not Action.GO and self._holding is None:
            self._holding = (decision, now_s)
            self._telemetry.event("warning", f"{decision.action.name}: {decision.sentence}")

    def end_hold(self, now_s: float) -> None:
        """What was held is held no more, or the drive is over."""
        if self._holding is None:
            return
        decision, since_s = self._holding
        self._holding = None
        if len(self.held) < HELD_KEPT:
            cause = "" if decision.cause is None else decision.cause.value
            self.held.append(Held(decision.action.name, cause, decision.sentence, since_s, now_s))  # type: ignore[arg-type]

    def held_for_s(self, now_s: float) -> float:
        """How long the present hold has lasted; 0 without one."""
        return 0.0 if self._holding is None else now_s - self._holding[1]


def not_driven(route: Route, route_sha256: str, status: Status, reason: str, exit_code: int) -> DriveOutcome:
    """The outcome of a drive that did not begin, or of which nothing is known."""
    return DriveOutcome(
        status=status,
        reason=reason,
        exit_code=exit_code,
        route_sha256=route_sha256,
        route_length_m=route.length_m,
        progress_m=0.0,
        position_m=None,
        heading_rad=None,
        sigma_m=None,
        cross_track_rms_m=0.0,
        cross_track_max_m=0.0,
        held=[],
        detours=0,
        map_watched=False,
        haven_m=None,
        totals=DriveTotals(0, 0, 0, 0, 0.0, 0.0, 0.0),
    )

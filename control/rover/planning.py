"""From a rover's machine file to what its plans are made with."""

from __future__ import annotations

from control.rover.config import RoverConfig, energy_of
from control.rover.route.costmap import CostSettings
from control.rover.route.planner import PlanSettings
from control.rover.surroundings import Size

MARGIN_M = 0.15  # beyond the wheels' outlines


def plan_settings(config: RoverConfig, *, name: str = "route", charge: float | None = None) -> PlanSettings:
    """What a route for this rover is planned with. `charge`: at the start; None plans without asking."""
    drive = config.drive
    return PlanSettings(
        costs=CostSettings(
            slope_soft_deg=drive.slope_soft_deg,
            slope_max_deg=drive.slope_max_deg,
            step_max_m=drive.step_max_m,
            clearance_m=drive.clearance_m,
        ),
        energy=energy_of(config),
        cruise_m_s=drive.cruise_m_s,
        turn_radius_min_m=config.body.turn_radius_min_m,
        corridor_m=drive.corridor_m,
        charge=charge,
        reserve=config.energy.reserve_fraction,
        name=name,
    )


def size_of(config: RoverConfig) -> Size:
    """The rover's outline, with a margin."""
    body = config.body
    wheels = body.wheels.values()
    return Size(
        front_m=max(wheel.x_m for wheel in wheels) + body.wheel_radius_m + MARGIN_M,
        half_width_m=max(abs(wheel.y_m) for wheel in wheels) + MARGIN_M,
    )

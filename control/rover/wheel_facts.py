"""What the wheels' and the inertial unit's readings say of the rover; what cannot be believed is left out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from control.rover.drive.inclination import Inclination
from control.rover.drive.kinematics import Geometry, Twist2D, forward
from firmware_bridge.signals import Quality, Reading

Readings = Mapping[str, Reading]


def odometry(geometry: Geometry, wheels: Readings) -> Twist2D | None:
    """The body's motion by the wheels that can be believed; None if fewer than two can."""
    names = geometry.names
    speeds = [wheels[f"{name}_speed_rad_s"] for name in names]
    steers = [wheels.get(f"{name}_steer_rad") for name in names]
    good = np.array([s.is_good and (t is None or t.is_good) for s, t in zip(speeds, steers, strict=True)])
    if int(good.sum()) < 2:
        return None
    values = np.array([s.value if ok else 0.0 for s, ok in zip(speeds, good, strict=True)])
    angles = np.array([t.value if ok and t is not None else 0.0 for t, ok in zip(steers, good, strict=True)])
    return forward(geometry, values, angles, use=good).twist


def incline(tilt: Inclination, imu: Readings) -> None:
    """Bring the inclination up to the newest reading of the inertial unit."""
    gyro = (imu["gyro_x_rad_s"].value, imu["gyro_y_rad_s"].value, imu["gyro_z_rad_s"].value)
    force = (imu["accel_x_m_s2"].value, imu["accel_y_m_s2"].value, imu["accel_z_m_s2"].value)
    tilt.step(imu["gyro_x_rad_s"].time_s, gyro, force)


def by_wheel(readings: Readings, ending: str) -> dict[str, float]:
    """The values of what each wheel (or board) says, by its name."""
    return {name.removesuffix(ending): r.value for name, r in readings.items() if name.endswith(ending) and r.is_good}


def board_temp_c(wheels: Readings) -> dict[str, float]:
    """Each board's temperature."""
    return {name: value for name, value in by_wheel(wheels, "_temp_c").items() if name != "board"}


def dead_wheels(wheels: Readings, names: tuple[str, ...]) -> tuple[str, ...]:
    """Wheels whose counters cannot be believed, sorted."""
    return tuple(sorted(name for name in names if wheels[f"{name}_angle_rad"].quality is Quality.BAD))

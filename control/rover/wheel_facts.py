"""What the wheels' and the inertial unit's readings say of the rover; what cannot be believed is left out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from control.rover.drive.inclination import Inclination
from control.rover.drive.kinematics import Geometry, Twist2D, forward
from firmware_bridge.signals import Quality, Reading

Readings = Mapping[str, Reading]


def odometry(geometry: Geometry, wheels: Readings) -> Twist2D | None:
    """The body's motion by the wheels that can be believed; None if fewer than two can."""
    speeds, steers, good = [], [], []
    for speed_name, steer_name in _motion_names(geometry.names):
        speed, steer = wheels[speed_name], wheels.get(steer_name)
        is_good = speed.is_good and (steer is None or steer.is_good)
        good.append(is_good)
        speeds.append(speed.value if is_good else 0.0)
        steers.append(steer.value if is_good and steer is not None else 0.0)
    return forward(geometry, speeds, steers, use=good).twist if sum(good) >= 2 else None


def incline(tilt: Inclination, imu: Readings) -> None:
    """Bring the inclination up to the newest reading of the inertial unit."""
    gyro = (imu["gyro_x_rad_s"].value, imu["gyro_y_rad_s"].value, imu["gyro_z_rad_s"].value)
    force = (imu["accel_x_m_s2"].value, imu["accel_y_m_s2"].value, imu["accel_z_m_s2"].value)
    tilt.step(imu["gyro_x_rad_s"].time_s, gyro, force)


def by_wheel(readings: Readings, ending: str) -> dict[str, float]:
    """The values of what each wheel (or board) says, by its name."""
    ours = _names_ending(tuple(readings), ending)
    return {wheel: r.value for name, wheel in ours if (r := readings[name]).quality is Quality.GOOD}


def board_temp_c(wheels: Readings) -> dict[str, float]:
    """Each board's temperature."""
    return {name: value for name, value in by_wheel(wheels, "_temp_c").items() if name != "board"}


def dead_wheels(wheels: Readings, names: tuple[str, ...]) -> tuple[str, ...]:
    """Wheels whose counters cannot be believed, sorted."""
    return tuple(sorted(name for name in names if wheels[f"{name}_angle_rad"].quality is Quality.BAD))


# What is polled has the same names each time, so they are taken apart and put together once.


@lru_cache(maxsize=64)
def _names_ending(names: tuple[str, ...], ending: str) -> tuple[tuple[str, str], ...]:
    """Those of the names that end so, each with what stands before that."""
    return tuple((name, name.removesuffix(ending)) for name in names if name.endswith(ending))


@lru_cache(maxsize=64)
def _motion_names(wheels: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Of each wheel the names of its speed and its steering angle."""
    return tuple((f"{wheel}_speed_rad_s", f"{wheel}_steer_rad") for wheel in wheels)

"""Which motors a rover's machine file names, as the drivers of its wheels take them."""

from __future__ import annotations

import math

from control.rover.config import ModbusWheelsDevice, RoboClawDevice, RoverConfig
from firmware_bridge.devices.wheels_layout import RoboClawLayout
from firmware_bridge.devices.wheels_modbus_drives import ModbusLayout

WHEEL_SPEED_SPARE = 1.5  # outer wheels of a turn go faster than the rover, and slip is made up for
STEER_SPARE_DEG = 3.0
MODBUS_TIMEOUT_S = 0.03  # a dead drive must not make the others' positions old


def roboclaw_layout(config: RoverConfig) -> RoboClawLayout:
    """The motors of a rover whose wheels are of kind `roboclaw`. ValueError for motors that cannot be."""
    c, body = config.devices.wheels, config.body
    assert isinstance(c, RoboClawDevice)
    return RoboClawLayout(
        wheels=c.drive,
        steers=c.steer,
        ticks_per_rad=c.ticks_per_rad,
        steer_ticks_per_rad=c.steer_ticks_per_rad,
        qpps_max=WHEEL_SPEED_SPARE * body.speed_max_m_s / body.wheel_radius_m * c.ticks_per_rad,
        steer_max_rad=_steer_max_rad(config),
    )


def modbus_layout(config: RoverConfig) -> ModbusLayout:
    """The drives of a rover whose wheels are of kind `modbus_wheels`. ValueError for drives that cannot be."""
    c, body = config.devices.wheels, config.body
    assert isinstance(c, ModbusWheelsDevice)
    return ModbusLayout(
        drive=c.drive,
        steer=c.steer,
        wheel_rad_per_rev=c.wheel_rad_per_rev,
        steer_rad_per_rev=c.steer_rad_per_rev,
        speed_max_rad_s=WHEEL_SPEED_SPARE * body.speed_max_m_s / body.wheel_radius_m,
        steer_max_rad=_steer_max_rad(config),
    )


def _steer_max_rad(config: RoverConfig) -> float:
    return math.radians(max(wheel.steer_max_deg for wheel in config.body.wheels.values()) + STEER_SPARE_DEG)

"""Motors, drives and a power model for the tests of the rover's Modbus devices."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

from firmware_bridge.devices.wheels_modbus import ModbusLayout, ModbusWheels
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import load_map
from hil_sim.world.emulators.leadshine_wheel import LeadshineWheel, MotorPort
from hil_sim.world.emulators.modbus_slave import RtuBus
from hil_sim.world.faults.schedule import FaultSchedule
from hil_sim.world.plant.linear_axis import LinearAxis
from hil_sim.world.wire import Wire, lay_virtual

NAMES = ("fl", "rl", "fr", "rr")
GEAR = 50.0


class ExactMotor:
    """A motor that follows its ramps exactly, with a new target at any time. `jammed_rad`: it turns no further."""

    def __init__(self) -> None:
        self._axis = LinearAxis("motor", travel_mm=(-1e9, 1e9))
        self.jammed_rad = math.inf

    def set_speed(self, t_s: float, rad_s: float, accel_rad_s2: float) -> None:
        assert rad_s == 0.0, "these drives only ever make finite moves"
        self._axis.stop(t_s, accel_rad_s2)

    def set_position(self, t_s: float, angle_rad: float, speed_rad_s: float, accel_rad_s2: float) -> None:
        self._axis.move(t_s, angle_rad, speed_rad_s, accel_rad_s2, accel_rad_s2)

    def angle_rad(self, t_s: float) -> float:
        return min(self._axis.position_at(t_s), self.jammed_rad)

    def speed_rad_s(self, t_s: float) -> float:
        return 0.0 if self._axis.position_at(t_s) > self.jammed_rad else self._axis.velocity_at(t_s)


class Rover:
    """Four wheels with a drive each, and four steering drives, on one bus."""

    def __init__(self, motors: Sequence[MotorPort] | None = None, *, mirrored: frozenset[str] = frozenset()) -> None:
        self.layout = ModbusLayout(
            drive={name: 1 + index for index, name in enumerate(NAMES)},
            steer={name: 5 + index for index, name in enumerate(NAMES)},
            wheel_rad_per_rev=2 * math.pi / GEAR,
            steer_rad_per_rev=2 * math.pi / 100,
            mirrored=mirrored,
        )
        self.motors: dict[int, Any] = dict(enumerate(motors or [ExactMotor() for _ in range(8)], start=1))
        self.drives = {
            unit: LeadshineWheel(
                motor, rad_per_rev=self.layout.wheel_rad_per_rev if unit < 5 else self.layout.steer_rad_per_rev
            )
            for unit, motor in self.motors.items()
        }
        self.bus = RtuBus(self.drives, baud=115200)
        self.seq = 0

    @contextlib.asynccontextmanager
    async def opened(self, faults: FaultSchedule | None = None) -> AsyncIterator[tuple[ModbusWheels, ModbusLink, Wire]]:
        wire = await lay_virtual("wheels", self.bus, baud=115200, faults=faults)
        link = await ModbusLink.open(f"{wire.url}?baud=115200", framing="rtu", timeout_s=0.03)
        try:
            yield ModbusWheels(link, self.layout, load_map("leadshine_wheel")), link, wire
        finally:
            link.close()
            wire.close()

    def wheel_speed(self, t_s: float) -> float:
        return max(abs(self.motors[unit].speed_rad_s(t_s)) for unit in range(1, 5))

    def angles(self, t_s: float) -> list[float]:
        return [self.motors[unit].angle_rad(t_s) for unit in range(1, 5)]

    def steers(self, t_s: float) -> list[float]:
        return [self.motors[unit].angle_rad(t_s) for unit in range(5, 9)]

    async def command(self, wheels: ModbusWheels, now_s: float, speed: float, steer: float = 0.0) -> None:
        """The next command of a host: all alike, good for 0.5 s."""
        self.seq += 1
        await wheels.drive(
            dict.fromkeys(NAMES, speed), dict.fromkeys(NAMES, steer), seq=self.seq, valid_until_s=now_s + 0.5
        )


class Cells:
    """A battery that never changes, and what was done to it."""

    def __init__(self) -> None:
        self.volts, self.amps, self.charge, self.temp = 28.4, 1.5, 0.8, 5.0
        self.array_a = 2.0
        self.heating: list[tuple[float, float]] = []
        self.loads: list[tuple[float, bool]] = []

    def battery_v(self, t_s: float) -> float:
        return self.volts

    def battery_a(self, t_s: float) -> float:
        return self.amps

    def soc(self, t_s: float) -> float:
        return self.charge

    def capacity_wh(self, t_s: float) -> float:
        return 1000.0

    def battery_temp_c(self, t_s: float) -> float:
        return self.temp

    def solar_v(self, t_s: float) -> float:
        return 32.0

    def solar_a(self, t_s: float) -> float:
        return self.array_a

    def heater_w(self, t_s: float) -> float:
        return self.heating[-1][1]

    def set_heater_w(self, t_s: float, power_w: float) -> None:
        self.heating.append((t_s, power_w))

    def set_load(self, t_s: float, on: bool) -> None:
        self.loads.append((t_s, on))

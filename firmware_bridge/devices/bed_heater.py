"""The bed heater: a Eurotherm 3200 that is told its set-point over and over, and cools down when it is not.

Set-points go to the remote set-point (register 26) only: the local ones (2, 24, 25) are non-volatile and wear out. The
device's own watchdog is that the remote set-point times out to SP1, which configure() holds at the least it takes.
"""

from __future__ import annotations

from typing import Protocol

from firmware_bridge.devices.mapped_unit import MappedUnit
from firmware_bridge.errors import Rejected
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import RegisterMap
from firmware_bridge.signals import Quality, Reading

# The least that our maps let such instruments be told. One that wakes up, or times out, on a room's temperature heats
# for as long as its thermocouple shows less: shorted, or on a bed that is colder. On a bed in the frost it still does.
SAFE_TEMP_C = 0.0
NORMAL, STANDBY = 0, 1


class Heater(Protocol):
    """What a printer asks of whatever heats its bed, of this make or another."""

    @property
    def map(self) -> RegisterMap:
        """Its register map."""
        ...

    async def identify(self) -> dict[str, float]:
        """WrongModel if another model answers."""
        ...

    async def configure(self) -> None:
        """Ready to be told temperatures, with its output off until then."""
        ...

    async def poll(self) -> dict[str, Reading]:
        """bed_temp_c, working_setpoint_c, output_percent and what else it tells."""
        ...

    async def set_temp_c(self, temp_c: float) -> None:
        """Ask for a bed temperature; to be repeated at the machine file's rate."""
        ...

    async def safe(self) -> None:
        """Cool down. At any time, and again."""
        ...


class BedHeater(MappedUnit):
    """Temperatures in degC. `temp_c_max`: what this machine's bed may be asked for."""

    def __init__(
        self, link: ModbusLink, unit: int, table: RegisterMap, *, temp_c_max: float, name: str = "heater"
    ) -> None:
        super().__init__(link, unit, table, name)
        self.temp_c_max = temp_c_max
        self._target_c: float | None = None

    async def configure(self) -> None:
        """Output off until it is told a temperature; SP1 low and selected, and the remote set-point listened to.

        Writes only what differs, reads it back.
        """
        await self._access.ensure("mode", STANDBY)  # a bed in the frost would be heated towards any set-point
        await self._access.ensure("sp1_c", SAFE_TEMP_C)
        await self._access.ensure("setpoint_select", 0)
        await self._access.write_and_verify("remote_setpoint_c", SAFE_TEMP_C)  # never wake up to an old target
        await self._access.ensure("remote", 1)
        self._target_c = None

    async def poll(self) -> dict[str, Reading]:
        """Temperature, working set-point, output, status. A broken sensor makes the temperature BAD."""
        readings = await super().poll()
        if self.map.signal("status").has(readings["status"].value, "sensor_break"):
            readings["bed_temp_c"] = readings["bed_temp_c"]._replace(quality=Quality.BAD)
        return readings

    async def set_temp_c(self, temp_c: float) -> None:
        """Ask for a bed temperature. To be repeated at 1 Hz or faster, or the device falls back to its safe set-point.

        A new target is read back (Unverified); repeating the same one costs one write. Rejected above `temp_c_max`.
        """
        if not temp_c <= self.temp_c_max:  # NaN as well
            raise Rejected(f"{self.name}: {temp_c:g} degC is refused: this bed may reach {self.temp_c_max:g} degC.")
        if temp_c == self._target_c:
            await self._access.write("remote_setpoint_c", temp_c)
            return
        self._target_c = None
        await self._access.write_and_verify("remote_setpoint_c", temp_c)
        await self._access.ensure("remote", 1)  # after safe() the local set-point is in charge, and the output off
        await self._access.ensure("mode", NORMAL)
        self._target_c = temp_c

    async def safe(self) -> None:
        """Output off, and back to the local set-point. May be called at any time and again.

        The local set-point alone would not do: it is low, but a controller whose thermocouple shows less (shorted, or a
        bed in the cold) heats towards it for as long as that lasts.
        """
        self._target_c = None
        try:
            await self._access.write_and_verify("mode", STANDBY, urgent=True)
        finally:  # an instrument that does not stand by is at least told to want little
            await self._access.write_and_verify("remote", 0, urgent=True)

"""A bench supply of the Riden RD60xx family: volts, amperes, on and off.

It goes on delivering when nobody speaks to it, so it is only accepted behind a contactor. What its numbers are worth
depends on the model: nothing is read or written before identify() has told which one answers.
"""

from __future__ import annotations

from firmware_bridge.devices.mapped_unit import MappedUnit
from firmware_bridge.errors import NotReady, Rejected
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import RegisterMap
from firmware_bridge.signals import Quality, Reading

PROTECTIONS = {1: "over-voltage", 2: "over-current"}


class BenchSupply(MappedUnit):
    """Volts and amperes. `volts_max`, `amps_max`: what this machine's load bears. `contactor`: what cuts its power."""

    def __init__(
        self,
        link: ModbusLink,
        unit: int,
        table: RegisterMap,
        *,
        volts_max: float,
        amps_max: float,
        contactor: str,
        name: str = "supply",
    ) -> None:
        super().__init__(link, unit, table, name, contactor=contactor)
        self.volts_max = volts_max
        self.amps_max = amps_max
        self._is_configured = False

    async def configure(self) -> None:
        """Output off, set to nothing, and the supply's own protections at this machine's bounds; read back."""
        self._is_configured = False
        await self.safe()
        await self._access.write_and_verify("set_v", 0.0)
        await self._access.write_and_verify("set_a", 0.0)
        await self._access.ensure("ovp_v", self.volts_max)
        await self._access.ensure("ocp_a", self.amps_max)
        self._is_configured = True

    async def poll(self) -> dict[str, Reading]:
        """Settings, output, input, protection, mode, and internal_temp_c put together from its sign and its size."""
        readings = await super().poll()
        sign, size = readings.pop("internal_temp_sign"), readings.pop("internal_temp_size_c")
        temp_c = -size.value if sign.value == 1 else size.value
        is_sign = sign.value in (0, 1)
        readings["internal_temp_c"] = size._replace(
            name="internal_temp_c",
            value=temp_c,
            quality=size.quality if is_sign else Quality.BAD,
            why="" if is_sign else f"its sign is {sign.value:g}",
        )
        return readings

    async def set_output(self, volts: float, amps: float) -> None:
        """Set voltage and current limit; read back. Rejected beyond what the load or the model bears."""
        if not 0.0 <= volts <= self.volts_max or not 0.0 <= amps <= self.amps_max:  # NaN as well
            raise Rejected(
                f"{self.name}: {volts:g} V, {amps:g} A is refused: this load bears {self.volts_max:g} V, "
                f"{self.amps_max:g} A."
            )
        if not self._is_configured:
            raise NotReady(f"{self.name} is not set: configure() must set its protections first.")
        self.map.signal("set_a").encode(amps)  # refuses before anything is set
        await self._access.write_and_verify("set_v", volts)
        await self._access.write_and_verify("set_a", amps)

    async def switch_on(self) -> None:
        """Output on; read back. NotReady before configure(), or while a protection has tripped."""
        if not self._is_configured:
            raise NotReady(f"{self.name} is not switched on: configure() must set its protections first.")
        protection = await self._access.value("protection")
        if protection:
            why = PROTECTIONS.get(int(protection), f"protection {protection:g}")
            raise NotReady(f"{self.name} has tripped ({why}): remove the cause and reset it at its keys.")
        await self._access.write_and_verify("output", 1)

    async def switch_off(self) -> None:
        """Output off, ahead of everything else on the bus; read back."""
        await self._access.write_and_verify("output", 0, urgent=True)

    async def safe(self) -> None:
        """Output off. May be called at any time and again."""
        await self.switch_off()

"""A read-only instrument: every number comes from its map."""

from __future__ import annotations

from firmware_bridge.devices.register_access import RegisterAccess
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import RegisterMap, Signal
from firmware_bridge.signals import Reading


class Instrument:
    """Anything that is only asked, such as an energy meter."""

    def __init__(self, link: ModbusLink, unit: int, table: RegisterMap, *, name: str = "instrument") -> None:
        self.name = name
        self.map = table
        self._access = RegisterAccess(link, unit, table, name)

    @property
    def poll_signals(self) -> tuple[Signal, ...]:
        """What poll() reads."""
        return self.map.polled

    async def identify(self) -> dict[str, float]:
        """WrongModel if another model answers."""
        return await self._access.identify()

    async def configure(self) -> None:
        """There is nothing to set."""

    async def poll(self) -> dict[str, Reading]:
        """The map's polled signals, by name."""
        return await self._access.poll()

    async def safe(self) -> None:
        """It acts on nothing, so there is nothing to make safe."""

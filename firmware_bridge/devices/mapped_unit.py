"""One Modbus unit that is seen through a register map: what the drivers of such devices share."""

from __future__ import annotations

from firmware_bridge.devices.register_access import RegisterAccess
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import RegisterMap, Signal
from firmware_bridge.signals import Reading


class MappedUnit:
    """Identified and polled by its map alone; a driver adds what its device can be asked to do.

    `contactor`: what cuts its power from outside, in words; NotReady without one if the map asks for it.
    """

    def __init__(
        self, link: ModbusLink, unit: int, table: RegisterMap, name: str = "device", *, contactor: str = ""
    ) -> None:
        self.name = name
        self._access = RegisterAccess(link, unit, table, name, contactor=contactor)

    @property
    def map(self) -> RegisterMap:
        """The file's map; of a family, after identify(), the model's."""
        return self._access.map

    @property
    def poll_signals(self) -> tuple[Signal, ...]:
        """What poll() reads."""
        return self.map.polled

    async def identify(self) -> dict[str, float]:
        """What tells this model from others. WrongModel if another answers, or one whose scales are not known."""
        return await self._access.identify()

    async def poll(self) -> dict[str, Reading]:
        """The map's polled signals, by name."""
        return await self._access.poll()

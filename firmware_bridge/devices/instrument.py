"""A read-only instrument: every number comes from its map."""

from __future__ import annotations

from firmware_bridge.devices.mapped_unit import MappedUnit
from firmware_bridge.signals import Reading


class Instrument(MappedUnit):
    """Anything that is only asked, such as an energy meter or a pyranometer."""

    async def read(self, signal: str) -> Reading:
        """One of its signals alone, which is told sooner than all that poll() reads."""
        return (await self._access.read(signal))[signal]

    async def configure(self) -> None:
        """There is nothing to set."""

    async def safe(self) -> None:
        """It acts on nothing, so there is nothing to make safe."""

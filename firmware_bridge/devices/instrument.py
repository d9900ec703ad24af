"""A read-only instrument: every number comes from its map."""

from __future__ import annotations

from firmware_bridge.devices.mapped_unit import MappedUnit


class Instrument(MappedUnit):
    """Anything that is only asked, such as an energy meter or a pyranometer."""

    async def configure(self) -> None:
        """There is nothing to set."""

    async def safe(self) -> None:
        """It acts on nothing, so there is nothing to make safe."""

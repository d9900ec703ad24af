"""The rover's power unit: battery, solar array, the heater of the night, and the switch that lets the rover sleep."""

from __future__ import annotations

import asyncio
import math

from firmware_bridge.devices.mapped_unit import MappedUnit
from firmware_bridge.errors import FrameError, LinkTimeout, Mismatch, NotReady, Unverified
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import RegisterMap
from firmware_bridge.signals import LimitState, Reading

WATCHDOG_MS = 5000
SET_TRIES = 3  # a set-point may be written twice; it says the same each time
RETRY_S = 0.05


class RoverPower(MappedUnit):
    """The unit behind one Modbus unit. A heater set-point holds as long as poll() is called within the watchdog."""

    def __init__(self, link: ModbusLink, unit: int, table: RegisterMap, *, name: str = "power") -> None:
        super().__init__(link, unit, table, name)
        self._status = table.signal("status")
        self._heater_w: float | None = None

    async def configure(self, watchdog_ms: int = WATCHDOG_MS) -> None:
        """Set the heater's watchdog, read back. Calls off a hibernation that has not begun. Unverified, Rejected."""
        await self._access.write_and_verify("watchdog_ms", watchdog_ms)
        await self._access.write_and_verify("load", 1)

    async def poll(self) -> dict[str, Reading]:
        """battery_v, battery_a (discharge positive), soc_fraction, capacity_wh, battery_temp_c, solar_v, solar_a,
        solar_w, heater_w, heater_set_w, status, watchdog_ms, and `energy_wh`, what the battery still holds.

        Feeds the watchdog once a set-point was given, so that it holds while somebody polls and no longer.
        """
        if self._heater_w is not None:
            await self._write_heater(self._heater_w)
        readings = await super().poll()
        for name, bits, state in (
            ("undervoltage", "undervoltage", LimitState.ALARM),
            ("sensor_fault", "sensor_fault", LimitState.WARN),
            ("watchdog_tripped", "watchdog_tripped", LimitState.WARN),
        ):
            status = readings["status"]
            if self._status.has(status.value, bits) and status.limit is not LimitState.ALARM:
                readings["status"] = status._replace(limit=state)
            readings[name] = status._replace(name=name, value=float(self._status.has(status.value, bits)))
        charge, capacity = readings["soc_fraction"], readings["capacity_wh"]
        readings["energy_wh"] = charge._replace(name="energy_wh", unit="Wh", value=charge.value * capacity.value)
        return readings

    async def set_heater_w(self, power_w: float) -> None:
        """What the heater shall draw, W; read back. Rejected outside the map's range, Unverified otherwise."""
        self._access.map.signal("heater_set_w").encode(power_w)  # refuses before anything is promised
        self._heater_w = power_w
        await self._write_heater(power_w)
        seen_w = await self._access.value("heater_set_w")
        if not math.isclose(seen_w, power_w, abs_tol=0.051):
            raise Unverified(f"{self.name}: the heater was set to {power_w:g} W and reads back as {seen_w:g} W.")

    async def _write_heater(self, power_w: float) -> None:
        for attempt in range(1, SET_TRIES + 1):
            try:
                await self._access.write("heater_set_w", power_w)
                return
            except (LinkTimeout, FrameError, Mismatch):
                if attempt == SET_TRIES:
                    raise
                await asyncio.sleep(RETRY_S)

    async def keep_alive(self) -> None:
        """Give the heater back to the unit's own keep-alive heating: when its watchdog's time is over."""
        self._heater_w = None

    async def hibernate(self, wake_after_s: float) -> None:
        """Put the rover to sleep: its load goes off 5 s from now, and comes back `wake_after_s` (60 to 3,000,000 s,
        whole seconds) later. The heater goes back to keep-alive heating.

        Each value is read back before the load is switched. NotReady if the battery is at its end or the unit does not
        know it; Rejected, Unverified if it does not take a value: then the load stays on.
        """
        readings = await self._access.read("status", "soc_fraction", "battery_temp_c")
        if self._status.has(readings["status"].value, "undervoltage") or not readings["soc_fraction"].is_good:
            raise NotReady(
                f"{self.name}: the battery is too low, or its charge unknown, to sleep {wake_after_s:g} s and wake "
                "again. Charge it first."
            )
        await self.keep_alive()
        await self._access.write_and_verify("wake_after_s", wake_after_s)
        try:
            await self._access.write_and_verify("load", 0)
        except (LinkTimeout, FrameError, Mismatch) as error:
            seen = await self._access.value("load")  # a lost reply: what it holds tells
            if seen != 0:
                raise Unverified(f"{self.name} was told to sleep and does not: {error}") from error

    async def wake(self) -> None:
        """Call a hibernation off, or end it."""
        await self._access.write_and_verify("load", 1)

    async def safe(self) -> None:
        """The unit's own keep-alive heating; the load stays on, since the host lives by it."""
        await self.keep_alive()

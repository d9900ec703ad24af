"""The beam head: power, shutter, arm, fire, and a stop that has a connection of its own.

Every step that matters is read back. The head's own watchdog closes the shutter when it hears nothing valid for the
configured time: feed() is what keeps it open. Arming is with a token that lives 30 s; a latched stop or watchdog trip
refuses arming until reset() clears it, which is an operator's decision and never done by safe().
"""

from __future__ import annotations

from firmware_bridge.devices.mapped_unit import MappedUnit
from firmware_bridge.devices.register_access import RegisterAccess
from firmware_bridge.errors import DeviceError, NotReady, Rejected, Unverified
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import RegisterMap


class BeamHead(MappedUnit):
    """Powers in W. `stop_link`: a second connection, on which nothing but stop is ever written."""

    def __init__(
        self, link: ModbusLink, stop_link: ModbusLink, unit: int, table: RegisterMap, *, name: str = "beam"
    ) -> None:
        super().__init__(link, unit, table, name)
        self._stop_access = RegisterAccess(stop_link, unit, table, name)
        self._token = 0
        self._watchdog_ms: float | None = None

    async def identify(self) -> dict[str, float]:
        """WrongModel if something else answers, on either connection."""
        await self._stop_access.identify()
        return await super().identify()

    async def configure(self, watchdog_ms: float) -> None:
        """Set the head's own watchdog (100 to 5000 ms) and read it back; beam off and disarmed, shutter closed."""
        await self._access.write_and_verify("watchdog_ms", watchdog_ms)
        self._watchdog_ms = watchdog_ms
        await self.safe()

    async def is_armed(self) -> bool:
        """Whether the head says that it is armed."""
        return await self._status("armed")

    async def is_firing(self) -> bool:
        """Whether the head says that it fires."""
        return await self._status("firing")

    async def gives(self) -> tuple[float, float]:
        """What its photodiode sees: power now, W, and energy since it was armed, J."""
        seen = await self._access.read("emission_w", "energy_j")
        return seen["emission_w"].value, seen["energy_j"].value

    async def set_power_w(self, power_w: float) -> None:
        """Power at full S. Rejected outside 0..200 W; read back."""
        await self._access.write_and_verify("power_w", power_w)

    async def set_shutter(self, is_open: bool) -> None:
        """Open or close the shutter; read back."""
        await self._access.write_and_verify("shutter", int(is_open), urgent=not is_open)

    async def arm(self, token: int) -> None:
        """Arm with a token of 1..65535 for 30 s. Rejected while the interlock is open or a trip is latched."""
        if self._watchdog_ms is None:
            raise NotReady(f"{self.name} is not armed: configure() must set its watchdog first.")
        if not 1 <= token <= 0xFFFF:
            raise Rejected(f"{self.name}: {token} is no arm token; 1 to 65535 are.")
        await self._access.write_and_verify("token", token)
        if not await self._status("armed"):
            raise Unverified(f"{self.name} took the arm token and does not say that it is armed. Look at the head.")
        self._token = token

    async def disarm(self) -> None:
        """Fire off and disarmed; read back. Clears no latch unless the head was armed (then none is set)."""
        self._token = 0
        await self._access.write("fire", 0, urgent=True)
        await self._end_arming()

    async def _end_arming(self) -> None:
        self._token = 0
        if await self._status("armed"):
            await self._access.write_and_verify("token", 0, urgent=True)
        if await self._status("armed"):
            raise Unverified(f"{self.name} was disarmed and still says that it is armed. Use the emergency stop.")

    async def fire(self, on: bool) -> None:
        """Beam on (needs arm, open shutter, closed interlock) or off; the status bit is read back."""
        await self._access.write("fire", int(on), urgent=not on)
        if await self._status("firing", urgent=not on) is not on:
            state = "on" if on else "off"
            raise Unverified(f"{self.name} was told to switch the beam {state} and its status does not say so.")

    async def feed(self) -> None:
        """Keep the head's watchdog, and while armed the token, alive. To be called at 4 Hz."""
        token = self._token
        if token:
            try:
                await self._access.write("token", token)
            except Rejected:
                self._token = 0  # it tripped or was stopped: never re-arm blindly
                raise
        elif self._watchdog_ms is not None:
            await self._access.write("watchdog_ms", self._watchdog_ms)

    async def stop(self) -> None:
        """The software stop, over its own connection: beam off, disarmed, shutter closed, latched.

        Read back, each of them. Unverified if the head took the stop and is not so.
        """
        self._token = 0
        await self._stop_access.write_and_verify("stop", 1, urgent=True)
        seen = await self._stop_access.read("shutter", "status", urgent=True)
        status = self.map.signal("status")
        if live := [bit for bit in ("armed", "firing") if status.has(seen["status"].value, bit)]:
            raise Unverified(f"{self.name} took the stop and says that it is {' and '.join(live)}: cut its power.")
        if seen["shutter"].value:
            raise Unverified(
                f"{self.name} took the stop, and its shutter stays open: cut its power, then look what holds the blade."
            )

    async def reset(self) -> None:
        """Clear a latched stop or watchdog trip. Only when the causes are gone and an operator says so."""
        self._token = 0
        await self._access.write_and_verify("token", 0)
        if await self._status("watchdog_tripped"):
            raise Unverified(f"{self.name} was reset and still says that its watchdog has tripped.")

    async def safe(self) -> None:
        """Fire off, shutter closed, power 0, disarmed. Any time, again and again; latches stay as they are.

        What the head does not do keeps it from none of the rest; the first failure is raised. A lost wire ends it.
        """
        failures: list[DeviceError] = []
        for step in (
            lambda: self._access.write("fire", 0, urgent=True),
            lambda: self._access.write_and_verify("shutter", 0, urgent=True),
            lambda: self._access.write_and_verify("power_w", 0, urgent=True),
            self._end_arming,
        ):
            try:
                await step()
            except DeviceError as failure:
                failures.append(failure)
        if failures:
            raise failures[0]

    async def _status(self, bit: str, *, urgent: bool = False) -> bool:
        signal = self.map.signal("status")
        words = await self._access.link.read(
            self._access.unit, signal.fc, signal.address, signal.words, retries=1, urgent=urgent
        )
        return signal.has(signal.decode(words), bit)

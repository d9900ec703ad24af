"""An auger or a conveyor on a Delta MS300 frequency drive: run at a frequency, stop, and stop by itself without a host.

The drive's own watchdog (Pr.09-02 and Pr.09-03) is set and read back before it may run. What it was told cannot be read
where it was written, so it is judged by what it shows: its commanded frequency, its state and its direction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from firmware_bridge.devices.mapped_unit import MappedUnit
from firmware_bridge.errors import NotReady, Rejected, Unverified
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import RegisterMap
from firmware_bridge.signals import Quality, Reading

COMMAND_STOP = 0x01
COMMAND_FORWARD = 0x12
COMMAND_REVERSE = 0x22
CLEAR_FAULT = 0x02
RAMP_TO_STOP = 1
STOPPED, STOPPING, STANDBY, RUNNING = range(4)
FORWARD, REVERSE = 0, 3
POLL_S = 0.1
AT_REST = (STOPPED, STANDBY)
OBEYS_WITHIN_S = 2.0
STANDS_WITHIN_S = 60.0  # the longest ramp that anybody sets for an auger, and more
TIMEOUT_MIN_S, TIMEOUT_MAX_S = 0.2, 10.0


class Conveyor(MappedUnit):
    """Frequencies in Hz. `hz_max`: the fastest that this machine's screw or belt may be driven.

    poll() is what feeds the drive's watchdog: to be asked well within its time. identify() also reads how many decimals
    this size of drive gives its current.
    """

    def __init__(
        self, link: ModbusLink, unit: int, table: RegisterMap, *, hz_max: float, name: str = "conveyor"
    ) -> None:
        super().__init__(link, unit, table, name)
        self.hz_max = hz_max
        self._status = table.signal("status")
        self._is_guarded = False

    async def configure(self, timeout_s: float) -> None:
        """Stop, and arm the drive's watchdog: silent for `timeout_s` (0.2 to 10), it ramps to a stop. Read back.

        NotReady if the drive takes its commands or its frequency from elsewhere, or reports a fault.
        """
        if not TIMEOUT_MIN_S <= timeout_s <= TIMEOUT_MAX_S:  # NaN as well
            raise Rejected(
                f"{self.name}: a watchdog of {timeout_s:g} s is refused: {TIMEOUT_MIN_S:g} to {TIMEOUT_MAX_S:g} s "
                "may be."
            )
        self._is_guarded = False
        await self.stop()
        await self._access.ensure("timeout_action", RAMP_TO_STOP)
        await self._access.ensure("timeout_s", timeout_s)
        status = (await self._check_no_fault())["status"].value
        if not (self._status.has(status, "command_by_comms") and self._status.has(status, "frequency_by_comms")):
            raise NotReady(
                f"{self.name}: the drive takes its commands or frequency from elsewhere (status {int(status):#06x}). "
                "Set Pr.00-20 and Pr.00-21 to RS-485 at its keys."
            )
        self._is_guarded = True

    async def run(self, frequency_hz: float, *, reverse: bool = False) -> None:
        """Run at a frequency; returns when the drive says that it runs so. Rejected beyond `hz_max`.

        NotReady before configure() or on a fault; Unverified if the drive does not run within 2 s, and then it is
        stopped.
        """
        if not 0.0 < frequency_hz <= self.hz_max:  # NaN as well
            raise Rejected(f"{self.name}: {frequency_hz:g} Hz is refused: over 0 and up to {self.hz_max:g} Hz may be.")
        if not self._is_guarded:
            raise NotReady(f"{self.name} does not run: configure() must arm its watchdog first.")
        await self._check_no_fault()
        await self._access.write_and_verify("frequency_hz", frequency_hz)
        await self._access.write("command", COMMAND_REVERSE if reverse else COMMAND_FORWARD)
        direction = REVERSE if reverse else FORWARD
        try:
            await self._until(
                lambda r: r["run_state"].value == RUNNING and r["direction"].value == direction,
                f"run at {frequency_hz:g} Hz",
            )
        except (Unverified, NotReady):
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ramp to a stop, ahead of everything else on the bus; returns when the drive says that it is stopping."""
        await self._access.write("command", COMMAND_STOP, urgent=True)
        await self._until(lambda r: r["run_state"].value in (STOPPED, STOPPING), "stop", urgent=True)

    async def come_to_rest(self) -> None:
        """Stop, and return when the drive says that it stands: its ramp may take many seconds. Unverified if it does
        not within `STANDS_WITHIN_S`.
        """
        await self.stop()
        await self._until(lambda r: r["run_state"].value in AT_REST, "come to rest", STANDS_WITHIN_S)

    async def reset(self) -> int:
        """Clear what fault the drive reports, if it does; returns its number, 0 for none. NotReady if it stays.

        For whoever starts a host and has looked at the machine: a drive that its host has left alone has tripped.
        """
        code = int(await self._access.value("fault_code"))
        if code:
            await self.clear_fault()
        return code

    async def clear_fault(self) -> None:
        """Reset the drive's fault, once its cause is gone. It is told to stop first, so that it does not run again."""
        await self.stop()
        await self._access.write("fault_command", CLEAR_FAULT)
        await self._check_no_fault()

    async def safe(self) -> None:
        """Stop. May be called at any time and again."""
        await self.stop()

    # -- inside -------------------------------------------------------------------------------------------------

    async def _check_no_fault(self) -> dict[str, Reading]:
        readings = await self._access.read("fault_code", "status", "run_state", "direction")
        code = readings["fault_code"].value
        if code or readings["fault_code"].quality is not Quality.GOOD:
            raise NotReady(
                f"{self.name}: the drive reports fault {code:g}. Look it up in its manual, remove the cause, clear it."
            )
        return readings

    async def _until(
        self,
        is_so: Callable[[dict[str, Reading]], bool],
        what: str,
        within_s: float = OBEYS_WITHIN_S,
        *,
        urgent: bool = False,
    ) -> None:
        """Until the drive shows it; bounded."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + within_s
        while True:
            readings = await self._access.read("fault_code", "run_state", "direction", urgent=urgent)
            if is_so(readings):
                return
            if loop.time() >= until_s:
                raise Unverified(
                    f"{self.name} was told to {what} and after {within_s:g} s shows state "
                    f"{readings['run_state'].value:g}, direction {readings['direction'].value:g}, fault "
                    f"{readings['fault_code'].value:g}. Look at the drive."
                )
            await asyncio.sleep(POLL_S)

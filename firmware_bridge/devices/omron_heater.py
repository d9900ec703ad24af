"""A bed heater on an Omron E5CC, which has no watchdog of its own: it is only accepted behind a contactor.

Writes go to its working memory alone (RAM write mode), and a target that holds is not written again but read: what a
restart or an operator at its keys has changed is found out, not overwritten. Operation commands are refused by the
controller until writing by communication is allowed.
"""

from __future__ import annotations

from firmware_bridge.devices.bed_heater import SAFE_TEMP_C
from firmware_bridge.devices.mapped_unit import MappedUnit
from firmware_bridge.errors import NotReady, Rejected, Unverified
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import RegisterMap
from firmware_bridge.signals import Quality, Reading

ALLOW_WRITING = 0x0001
RUN = 0x0100
STOP = 0x0101
WRITE_TO_RAM = 0x0401
DECIMALS = 1


class OmronHeater(MappedUnit):
    """Temperatures in degC. `temp_c_max`: what the machine's bed may be asked for. `contactor`: what cuts its power."""

    def __init__(
        self,
        link: ModbusLink,
        unit: int,
        table: RegisterMap,
        *,
        temp_c_max: float,
        contactor: str,
        name: str = "heater",
    ) -> None:
        super().__init__(link, unit, table, name, contactor=contactor)
        self.temp_c_max = temp_c_max
        self._status = table.signal("controller_status")
        self._target_c: float | None = None

    async def configure(self) -> None:
        """Allow writing, to working memory alone; a safe low set-point, and stopped until it is told another.

        NotReady if it counts in other steps than 0.1 degC; Unverified if it does not say that it obeyed.
        """
        decimals = await self._access.value("decimals")
        if decimals != DECIMALS:
            raise NotReady(
                f"{self.name}: the controller gives temperatures with {decimals:g} decimals, and its map is for "
                f"{DECIMALS}. Choose an input type with one decimal at its keys."
            )
        await self._command(ALLOW_WRITING, "comm_write", True)
        await self._command(WRITE_TO_RAM, "ram_write", True)
        await self._access.write_and_verify("setpoint_c", SAFE_TEMP_C)  # never wake up to an old target
        await self._command(STOP, "stopped", True)
        self._target_c = None

    async def poll(self) -> dict[str, Reading]:
        """Temperature, working set-point, output, heater current, status. An input error makes the temperature BAD."""
        readings = await super().poll()
        for bit in ("input_error", "converter_error"):
            if self._status.has(readings["controller_status"].value, bit):
                bad = readings["bed_temp_c"]._replace(quality=Quality.BAD, why=f"the controller reports {bit}")
                readings["bed_temp_c"] = bad
        return readings

    async def set_temp_c(self, temp_c: float) -> None:
        """Ask for a bed temperature; to be repeated, so that a controller which lost it is noticed.

        A new target is read back (Unverified); an old one is only looked at (NotReady if it is gone). Rejected above
        `temp_c_max`.
        """
        if not temp_c <= self.temp_c_max:  # NaN as well
            raise Rejected(f"{self.name}: {temp_c:g} degC is refused: this bed may reach {self.temp_c_max:g} degC.")
        readings = await self._access.read("setpoint_c", "controller_status")
        status = readings["controller_status"].value
        is_set_up = self._status.has(status, "comm_write") and self._status.has(status, "ram_write")
        if temp_c == self._target_c:
            is_held = abs(readings["setpoint_c"].value - temp_c) < 0.1 and not self._status.has(status, "stopped")
            if not (is_held and is_set_up):
                self._target_c = None
                raise NotReady(
                    f"{self.name}: the controller no longer holds {temp_c:g} degC (set-point "
                    f"{readings['setpoint_c'].value:g}, status {int(status):#x}). Was it restarted or used at its keys?"
                )
            return
        self._target_c = None
        if not is_set_up:
            raise NotReady(f"{self.name}: the controller would save every set-point and wear out: configure() it.")
        await self._access.write_and_verify("setpoint_c", temp_c)
        if self._status.has(status, "stopped"):
            await self._command(RUN, "stopped", False)
        self._target_c = temp_c

    async def safe(self) -> None:
        """Stop control: the output goes off. May be called at any time and again."""
        self._target_c = None
        try:
            await self._command(STOP, "stopped", True, urgent=True)
        except Rejected:  # it was restarted, and takes no commands before this one
            await self._access.write("command", ALLOW_WRITING, urgent=True)
            await self._command(STOP, "stopped", True, urgent=True)

    async def _command(self, command: int, bit: str, wanted: bool, *, urgent: bool = False) -> None:
        """An operation command, and the status bit that shows that it was obeyed."""
        await self._access.write("command", command, urgent=urgent)
        status = await self._access.value("controller_status", urgent=urgent)
        if self._status.has(status, bit) is not wanted:
            raise Unverified(
                f"{self.name} took the command {command:#06x} and its status ({int(status):#x}) does not show it. "
                "Look at the controller."
            )

"""A bed heater on a Watlow EZ-ZONE PM, which has no watchdog of its own: it is only accepted behind a contactor.

The controller speaks degF over Modbus until it is told otherwise, and may save every set-point to EEPROM: configure()
sets both right and reads them back, poll() and set_temp_c() look again. A target that holds is read, not written again.
"""

from __future__ import annotations

from firmware_bridge.devices.bed_heater import SAFE_TEMP_C
from firmware_bridge.devices.mapped_unit import MappedUnit
from firmware_bridge.errors import NotReady, Rejected
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import RegisterMap

CELSIUS = 15
DO_NOT_SAVE = 59
MODE_OFF = 62
MODE_AUTO = 10
SAME_C = 0.05


class WatlowHeater(MappedUnit):
    """Temperatures in degC. `temp_c_max`: what the machine's bed may be asked for. `contactor`: what cuts its power.

    Polled temperatures are BAD while the controller speaks degF, or has an input error: the map says so.
    """

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
        self._target_c: float | None = None

    async def configure(self) -> None:
        """degC, nothing saved, a safe low set-point, and control off until it is told another.

        Writes only what differs, reads it back.
        """
        await self._access.ensure("saving", DO_NOT_SAVE)
        await self._access.ensure("units", CELSIUS)
        await self._access.write_and_verify("setpoint_c", SAFE_TEMP_C)  # never wake up to an old target
        await self._access.ensure("control_mode", MODE_OFF)
        self._target_c = None

    async def set_temp_c(self, temp_c: float) -> None:
        """Ask for a bed temperature; to be repeated, so that a controller which lost it is noticed.

        A new target is read back (Unverified); an old one is only looked at (NotReady if it is gone). Rejected above
        `temp_c_max`. NotReady while the controller speaks degF or saves what it is told.
        """
        if not temp_c <= self.temp_c_max:  # NaN as well
            raise Rejected(f"{self.name}: {temp_c:g} degC is refused: this bed may reach {self.temp_c_max:g} degC.")
        readings = await self._access.read("setpoint_c", "control_mode", "units", "saving")
        if readings["units"].value != CELSIUS or readings["saving"].value != DO_NOT_SAVE:
            self._target_c = None
            raise NotReady(f"{self.name}: the controller speaks degF or saves every set-point: configure() it.")
        setpoint_c, mode = readings["setpoint_c"].value, readings["control_mode"].value
        if temp_c == self._target_c:
            if not abs(setpoint_c - temp_c) <= SAME_C or mode != MODE_AUTO:
                self._target_c = None
                raise NotReady(
                    f"{self.name}: the controller no longer holds {temp_c:g} degC (set-point {setpoint_c:g}, control "
                    f"mode {mode:g}). Was it restarted, or used at its keys?"
                )
            return
        self._target_c = None
        await self._access.write_and_verify("setpoint_c", temp_c)
        if mode != MODE_AUTO:
            await self._access.write_and_verify("control_mode", MODE_AUTO)
        self._target_c = temp_c

    async def safe(self) -> None:
        """Control off: the output goes off. May be called at any time and again."""
        self._target_c = None
        await self._access.write_and_verify("control_mode", MODE_OFF, urgent=True)

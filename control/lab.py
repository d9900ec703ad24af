"""The devices that a printer may have beside those that every one has, and what a print asks of them.

    conveyor      brings powder while the blade spreads it, and stands at all other times
    supply        its output is on from arming to disarming, its current watched
    pyranometer   recorded; with a floor, nothing is exposed without enough Sun

`control.machine.Machine` owns them and calls these functions; `control.interlock` says what of them trips.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from control.lab_config import LabConfig, PyranometerConfig, SupplyConfig
from firmware_bridge.devices.conveyor import Conveyor
from firmware_bridge.devices.instrument import Instrument
from firmware_bridge.devices.supply import BenchSupply
from firmware_bridge.signals import Reading

SUPPLY_SETTLES_S = 0.5  # after it was switched on its load draws what it draws
SUN_BACK_SHARE = 1.05  # of the floor: where light that had gone counts as back, so that a print does not flicker


@dataclass(frozen=True)
class LabDevices:
    """Those of one printer, not yet identified; None: it has none."""

    conveyor: Conveyor | None = None
    supply: BenchSupply | None = None
    pyranometer: Instrument | None = None

    def present(self) -> dict[str, Conveyor | BenchSupply | Instrument]:
        """Those that the machine has, by name, in the order in which they are made safe."""
        found = {"conveyor": self.conveyor, "supply": self.supply, "pyranometer": self.pyranometer}
        return {name: device for name, device in found.items() if device is not None}


async def configure_lab(devices: LabDevices, config: LabConfig, tell: Callable[[str], None]) -> None:
    """Watchdog armed and read back, output off and bounded. `tell` hears of a fault that an earlier session left.

    Raises:
        NotReady: the conveyor's drive keeps its fault, or is commanded from elsewhere.
        Unverified, Rejected: a setting that was not taken.
    """
    if devices.conveyor is not None and config.conveyor is not None:
        # The drive trips whenever its host goes away, as it did at the end of the last session.
        if code := await devices.conveyor.reset():
            tell(f"conveyor: the drive had tripped (fault {code}) before this session; its fault is cleared")
        await devices.conveyor.configure(config.conveyor.watchdog_s)
    if devices.supply is not None:
        await devices.supply.configure()


async def switch_on(supply: BenchSupply, config: SupplyConfig) -> dict[str, Reading]:
    """Set, switch on, and wait until its load draws what it draws: the readings of then.

    It is set anew each time, since a bench supply has knobs. NotReady if a protection has tripped.
    """
    await supply.set_output(config.volts, config.amps_max)
    await supply.switch_on()
    await asyncio.sleep(SUPPLY_SETTLES_S)
    return await supply.poll()


def lacks_light(config: PyranometerConfig | None, readings: dict[str, Reading] | None, *, is_waiting: bool) -> str:
    """Why there is not light enough to expose by, in a sentence; empty: there is, or nobody asks for it.

    `is_waiting`: it had gone, so it must come back by a little more.
    """
    if config is None or config.irradiance_min_w_m2 is None:
        return ""
    reading = (readings or {}).get("irradiance_w_m2")
    wanted = config.irradiance_min_w_m2 * (SUN_BACK_SHARE if is_waiting else 1.0)
    if reading is None or not reading.is_good:
        return "the pyranometer does not tell how much light there is"
    if reading.value >= wanted:
        return ""
    return f"the irradiance is {reading.value:.0f} W/m2, under the {wanted:.0f} W/m2 that exposing needs"

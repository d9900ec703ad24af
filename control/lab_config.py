"""What a printer may have beside the devices that every one has: a conveyor, a supply, a pyranometer.

Each is a table `[devices.NAME]` of the machine file that may be left out; `control.lab` says what a print does with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from control.bounds import Hz, NonNegative, Positive, Unit


class ConveyorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An auger or a belt on a frequency drive: it runs at `run_hz` while powder is spread, and never else.

    `watchdog_s`: after how long without a word from the host the drive stops by itself; polls are what it hears.
    """

    kind: Literal["conveyor"]
    wire: str
    unit: Unit
    map: str
    poll_hz: Hz
    run_hz: Positive
    hz_max: Annotated[float, Meta(gt=0, le=60)]  # what the map's drive takes
    watchdog_s: Annotated[float, Meta(ge=0.2, le=10)]
    stale_after_s: Positive


class SupplyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bench supply whose output is on while the beam is armed, and never else.

    It gives `volts` and at most `amps_max`; below `amps_min` its load is not there. `volts_max`: what the load bears,
    at which the supply's own protection strikes. `contactor`: what cuts its power when the host falls silent.
    """

    kind: Literal["supply"]
    wire: str
    unit: Unit
    map: str
    poll_hz: Hz
    volts: Positive
    volts_max: Positive
    amps_max: Positive
    contactor: str
    stale_after_s: Positive
    amps_min: NonNegative = 0.0


class PyranometerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the Sun gives. With `irradiance_min_w_m2` nothing is exposed below it: the print waits for light, at most
    `wait_s_max`, and then stops; without, it is recorded."""

    kind: Literal["pyranometer"]
    wire: str
    unit: Unit
    map: str
    poll_hz: Hz
    stale_after_s: Positive
    irradiance_min_w_m2: Annotated[float, Meta(gt=0, le=4000)] | None = None
    wait_s_max: NonNegative = 0.0


class LabConfig(msgspec.Struct, frozen=True):
    """The three of one machine; None: it has none."""

    conveyor: ConveyorConfig | None
    supply: SupplyConfig | None
    pyranometer: PyranometerConfig | None

    def present(self) -> dict[str, ConveyorConfig | SupplyConfig | PyranometerConfig]:
        """Those that the machine has, by name, in the order in which they are made safe."""
        rows = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: row for name, row in rows.items() if row is not None}


def lab_flaws(lab: LabConfig) -> Iterator[str]:
    """What cannot work, in sentences that begin with the table."""
    conveyor, supply, pyranometer = lab.conveyor, lab.supply, lab.pyranometer
    if conveyor is not None:
        if conveyor.run_hz > conveyor.hz_max:
            yield f"devices.conveyor: run_hz {conveyor.run_hz:g} is over hz_max {conveyor.hz_max:g}"
        if conveyor.watchdog_s < 2 / conveyor.poll_hz:
            yield (
                f"devices.conveyor: a watchdog_s of {conveyor.watchdog_s:g} is less than two polls at poll_hz"
                f" {conveyor.poll_hz:g} ({2 / conveyor.poll_hz:g} s): the drive would trip whenever one is lost"
            )
    if supply is not None:
        if supply.volts > supply.volts_max:
            yield f"devices.supply: volts {supply.volts:g} is over volts_max {supply.volts_max:g}, what its load bears"
        if supply.amps_min >= supply.amps_max:
            yield f"devices.supply: amps_min {supply.amps_min:g} must be less than amps_max {supply.amps_max:g}"
    if pyranometer is not None and pyranometer.wait_s_max and pyranometer.irradiance_min_w_m2 is None:
        yield "devices.pyranometer: wait_s_max is for what? Without irradiance_min_w_m2 nothing waits for light"

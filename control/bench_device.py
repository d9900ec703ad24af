"""One device on the bench: its signals read and written by hand, within units, ranges and the machine's limits.

A device with a register map is read and written signal by signal; any other is read by its own `poll()` and written to
only by the commands that know how (`moonkiln jog`, `moonkiln rover teleop`).
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from control.config import BeamConfig, DriveConfig, HeaterConfig, MachineConfig
from control.errors import MoonkilnError, UsageError
from control.lab_config import ConveyorConfig, SupplyConfig
from control.rover.config import RoverConfig
from firmware_bridge.devices.register_access import RegisterAccess
from firmware_bridge.errors import Rejected
from firmware_bridge.register_map import RegisterMap, Signal, load_map
from firmware_bridge.signals import Quality, Reading
from slicer.words import did_you_mean

FIRST_READING_S = 2.0  # a device that streams may take this long until it has said something
LOOK_EVERY_S = 0.05
PULSES_PER_REV = 10000.0  # what the drives' maps identify them by

_NUMBER = r"0[xX][0-9a-fA-F]+|[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf)"
_ASSIGNMENT = re.compile(rf"\s*(?P<name>\w+)\s*=\s*(?P<value>{_NUMBER})\s*(?P<unit>.*?)\s*")


@dataclass(frozen=True)
class Bound:
    """What this machine allows of a signal, tighter than its map: low..high in the signal's unit, and who says so."""

    low: float
    high: float
    why: str


@dataclass(frozen=True)
class Write:
    """One value that may be written: in its range, in its unit."""

    signal: Signal
    value: float

    @property
    def is_safe(self) -> bool:
        """Whether its map says that this value does no harm."""
        return self.value in self.signal.safe_values

    def __str__(self) -> str:
        return f"{self.signal.name} = {self.value:.12g} {self.signal.unit}".rstrip()


class BenchDevice(Protocol):
    """What `moonkiln device` works with."""

    name: str

    async def identify(self) -> None:
        """WrongModel if another device answers."""
        ...

    async def read(self, names: Sequence[str]) -> dict[str, Reading]:
        """The named signals; without a name, those that a run polls."""
        ...

    def check(self, writes: Sequence[Write]) -> None:
        """UsageError for a value that the model which was identified cannot take as it is."""
        ...

    async def write(self, write: Write) -> Reading | None:
        """Write one value and read it back; None where it cannot be read. Unverified if it reads otherwise."""
        ...


class MappedDevice:
    """A device with a register map."""

    def __init__(self, access: RegisterAccess) -> None:
        self.name = access.name
        self._access = access

    async def identify(self) -> None:
        await self._access.identify()

    async def read(self, names: Sequence[str]) -> dict[str, Reading]:
        table = self._access.map
        wanted = names or [signal.name for signal in table.signals.values() if signal.poll]
        for name in wanted:
            if "r" not in _signal(table, self.name, name).access:
                raise UsageError(f"{self.name}: {name} is only written; its map says that it cannot be read")
        found = await self._access.read(*wanted)
        return {name: found[name] for name in wanted}

    def check(self, writes: Sequence[Write]) -> None:
        for write in writes:
            _check_value(self.name, self._access.map.signal(write.signal.name), write.value)

    async def write(self, write: Write) -> Reading | None:
        signal = write.signal
        if "r" not in signal.access:
            await self._access.write(signal.name, write.value)
            return None
        if signal.nonvolatile:
            await self._access.ensure(signal.name, write.value)  # memory that wears out is written only if it differs
        else:
            await self._access.write_and_verify(signal.name, write.value)
        return (await self._access.read(signal.name))[signal.name]


class PolledDevice:
    """A device without a map: what its own driver reads."""

    def __init__(
        self, name: str, identify: Callable[[], Awaitable[object]], poll: Callable[[], Awaitable[dict[str, Reading]]]
    ) -> None:
        self.name = name
        self._identify = identify
        self._poll = poll

    async def identify(self) -> None:
        await self._identify()

    async def read(self, names: Sequence[str]) -> dict[str, Reading]:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + FIRST_READING_S
        found = await self._poll()
        while found and all(r.quality is Quality.BAD for r in found.values()) and loop.time() < until_s:
            await asyncio.sleep(LOOK_EVERY_S)
            found = await self._poll()
        if not found:
            raise UsageError(
                f"{self.name} has no signals to read: `moonkiln doctor --machine` tells whether it is there"
            )
        for name in names:
            if name not in found:
                known = ", ".join(found)
                raise UsageError(f"{self.name} has no signal {name!r}{did_you_mean(name, found)}; it has {known}")
        return {name: found[name] for name in names or found}

    def check(self, writes: Sequence[Write]) -> None:
        """Nothing of it is written by hand."""

    async def write(self, write: Write) -> Reading | None:
        raise Rejected(f"{self.name} has no register map, so nothing of it is written by hand.")


def parse_writes(
    device: str, table: RegisterMap, bounds: Mapping[str, Bound], assignments: Sequence[str]
) -> list[Write]:
    """`SIGNAL=VALUE` words, with or without the unit, as writes. All are checked before any is sent.

    What depends on which model answers is left to `BenchDevice.check`, once that is known.

    Raises:
        UsageError: no such word, signal or unit, a signal that is only read or is named twice, or a value that is out
            of range or off the signal's steps.
    """
    writes: list[Write] = []
    for text in assignments:
        found = _ASSIGNMENT.fullmatch(text)
        if found is None:
            raise UsageError(f"{text!r} is no SIGNAL=VALUE; write for instance power_w=20, or 'power_w=20 W'")
        signal = _signal(table, device, found["name"])
        if any(write.signal is signal for write in writes):
            raise UsageError(f"{device}: {signal.name} is given twice; say which value is meant")
        if found["unit"] not in ("", signal.unit):
            unit = signal.unit or "a number without a unit"
            raise UsageError(f"{device}: {signal.name} is in {unit}, not in {found['unit']}: convert it first")
        value = _number(found["value"], text)
        bound = bounds.get(signal.name)
        if bound is not None and not bound.low <= value <= bound.high:
            raise UsageError(
                f"{device}: {Write(signal, value)} is refused: on this machine"
                f" {bound.low:g} to {bound.high:g} {signal.unit} may be ({bound.why})"
            )
        if not table.is_open(signal):
            _check_value(device, signal, value)
        writes.append(Write(signal, value))
    return writes


def check_armed(device: str, writes: Sequence[Write], armed: bool) -> None:
    """MoonkilnError (exit code 1) for a value that no map calls safe, unless the operator has given `--arm`."""
    hazardous = [write for write in writes if not write.is_safe]
    if hazardous and not armed:
        raise MoonkilnError(
            f"{device}: {', '.join(map(str, hazardous))} may move, heat, fire or wear something out. Nothing was"
            " written. Look at the machine, keep people away from it, and give --arm"
        )


def bounds_of(config: MachineConfig | RoverConfig, name: str) -> dict[str, Bound]:
    """What the machine file allows of a device's signals beyond what its register map does."""
    if isinstance(config, RoverConfig):
        return {}
    device = config.every_device()[name]
    if isinstance(device, BeamConfig):
        return {"power_w": Bound(0.0, config.envelope.beam_power_w_max, "envelope.beam_power_w_max")}
    if isinstance(device, HeaterConfig):
        bound = Bound(0.0, device.temp_c_max, f"devices.{name}.temp_c_max")
        known = load_map(device.map).signals
        return {signal: bound for signal in ("remote_setpoint_c", "sp1_c", "setpoint_c") if signal in known}
    if isinstance(device, DriveConfig):
        pulses = device.travel_mm / device.mm_per_rev * PULSES_PER_REV
        rpm = max(1, round(device.speed_mm_s / device.mm_per_rev * 60))
        return {
            "pr0_position": Bound(0.0, pulses, f"devices.{name}.travel_mm = {device.travel_mm:g} mm"),
            "pr0_velocity_rpm": Bound(1.0, rpm, f"devices.{name}.speed_mm_s = {device.speed_mm_s:g} mm/s"),
        }
    if isinstance(device, ConveyorConfig):
        return {"frequency_hz": Bound(0.0, device.hz_max, f"devices.{name}.hz_max")}
    if isinstance(device, SupplyConfig):
        volts = Bound(0.0, device.volts_max, f"devices.{name}.volts_max")
        amps = Bound(0.0, device.amps_max, f"devices.{name}.amps_max")
        return {"set_v": volts, "ovp_v": volts, "set_a": amps, "ocp_a": amps}
    return {}


def _signal(table: RegisterMap, device: str, name: str) -> Signal:
    if name not in table.signals:
        known = ", ".join(table.signals)
        raise UsageError(f"{device} has no signal {name!r}{did_you_mean(name, table.signals)}; it has {known}")
    return table.signals[name]


def _check_value(device: str, signal: Signal, value: float) -> None:
    """UsageError for a value that the signal does not take exactly: what a person types is never rounded."""
    try:
        signal.encode(value)
        signal.check_on_step(value)
    except Rejected as error:
        raise UsageError(f"{device}: {error}") from error


def _number(word: str, text: str) -> float:
    value = float(int(word, 16)) if word.lower().startswith("0x") else float(word)
    if not math.isfinite(value):
        raise UsageError(f"{text!r} gives no finite number: write for instance power_w=20")
    return value

"""What the Modbus devices share: readings through a map, checked writes, read-back. Devices hold one of these."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence

from firmware_bridge.devices.wear import SessionRecord, WearGuard
from firmware_bridge.errors import ModbusException, NotReady, Rejected, Unverified, WrongModel
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_blocks import Block, RegisterMap
from firmware_bridge.register_signals import Signal
from firmware_bridge.signals import Quality, Reading


class RegisterAccess:
    """One unit on one link, seen through its map. `contactor`: what cuts its power from outside, in words.

    Writes that wear memory are counted by the link's `write_record`, without one for as long as this object lives.
    `map` is the file's until identify() has told which model of a family answers; then it is that model's.
    NotReady from the constructor: the map says that the device is safe only behind a contactor, and none is declared.
    """

    def __init__(self, link: ModbusLink, unit: int, table: RegisterMap, name: str, *, contactor: str = "") -> None:
        if table.needs_contactor and not contactor.strip():
            raise NotReady(
                f"{name}: this {table.model} has no watchdog of its own ({table.watchdog_why}). Wire a contactor that "
                'cuts its power when the host falls silent, and say in the machine file what it is (contactor = "...").'
            )
        self.link = link
        self.unit = unit
        self.map = table
        self.name = name
        self._poll_blocks = table.blocks(table.polled)
        self._written: dict[str, tuple[float, float]] = {}  # for rate limits: value and time of the last write
        self._constants: dict[str, float] = {}  # scales that were read when the device was identified
        self._wear = WearGuard(name, unit, link.write_record or SessionRecord())

    # -- reading ------------------------------------------------------------------------------------------------

    async def identify(self) -> dict[str, float]:
        """Read what tells this model from others, and the scales that it keeps. WrongModel if it is another."""
        seen = {}
        for identity in self.map.identify:
            try:
                value = await self._unscaled(identity.signal)
            except ModbusException as error:
                raise WrongModel(f"{self.name} is no {self.map.model}: {error}") from error
            if not identity.low <= value <= identity.high:
                wanted = f"{identity.low:g}" + (f" to {identity.high:g}" if identity.high != identity.low else "")
                raise WrongModel(
                    f"unit {self.unit} on {self.link.url} is no {self.map.model}: its {identity.signal} is {value:g}, "
                    f"expected {wanted}. Check the unit number and the machine file's map for {self.name}."
                )
            seen[identity.signal] = value
        table = self.map.for_model(seen)
        if table is None:
            models = ", ".join(variant.model for variant in self.map.variants)
            told = ", ".join(f"{name} {value:g}" for name, value in seen.items())
            raise WrongModel(
                f"unit {self.unit} on {self.link.url} is none of the models whose scales are known ({models}): its "
                f"{told}. Nothing that it says could be trusted."
            )
        self.map = table
        self._poll_blocks = table.blocks(table.polled)
        for name in {signal.scale_from for signal in table.signals.values() if signal.scale_once}:
            self._constants[name] = await self._unscaled(name)
        return seen

    async def _unscaled(self, name: str) -> float:
        """A value that means the same on every model of the map: an id, a scale."""
        return (await self._read_blocks(self.map.blocks([self.map.signal(name)])))[name].value

    async def poll(self) -> dict[str, Reading]:
        """The polled signals, by name."""
        self._check_identified(self.map.polled)
        return await self._read_blocks(self._poll_blocks)

    async def read(self, *names: str, urgent: bool = False) -> dict[str, Reading]:
        """Some signals, by name."""
        signals = [self.map.signal(name) for name in names]
        self._check_identified(signals)
        return await self._read_blocks(self.map.blocks(signals), urgent=urgent)

    async def value(self, name: str, *, urgent: bool = False) -> float:
        """One signal's value in its unit; NaN for a sentinel."""
        return (await self.read(name, urgent=urgent))[name].value

    async def _read_blocks(self, blocks: Sequence[Block], *, urgent: bool = False) -> dict[str, Reading]:
        readings: dict[str, Reading] = {}
        for block in blocks:
            words = await self.link.read(
                self.unit, block.fc, block.address, block.count, retries=block.retries, urgent=urgent
            )
            time_s = asyncio.get_running_loop().time()
            if block.is_plain:
                for signal, start, end in block.plan:
                    readings[signal.name] = signal.reading(signal.raw(words[start:end]), time_s)
                continue
            raws = {signal.name: signal.raw(words[start:end]) for signal, start, end in block.plan}
            for signal in block.signals:
                name, scale_from = signal.name, signal.scale_from
                if not scale_from:
                    exponent = 0.0
                elif signal.scale_once:
                    exponent = self._constants.get(scale_from, math.nan)
                else:
                    exponent = self.map.signal(scale_from).scaled(raws[scale_from])
                readings[name] = signal.reading(raws[name], time_s, exponent)
        for block in blocks:
            for signal in () if block.is_plain else block.signals:
                if signal.good_when:
                    readings[signal.name] = _judged(readings, signal)
        return readings

    # -- writing ------------------------------------------------------------------------------------------------

    async def write(self, name: str, value: float, *, urgent: bool = False) -> None:
        """Write one signal. Rejected if the map or the device refuses it; link errors as they come.

        A non-volatile signal is read first and written only if it differs, at most so often a day as its map says.
        """
        signal = self.map.signal(name)
        self._check_identified([signal])
        registers = signal.encode(value)
        if signal.nonvolatile:
            if await self._registers(signal) == registers:
                return
            await self._wear.count(signal, value)
        self._check_rate(signal, value)
        what = f"{name} = {value:g} {signal.unit}".rstrip()
        await self._send(signal.address, registers, what, urgent, retries=signal.write_retries)

    async def write_block(self, values: Mapping[str, float], *, urgent: bool = False) -> None:
        """Write signals that lie side by side in one request (function 16), all or none; it is never repeated."""
        signals = sorted((self.map.signal(name) for name in values), key=lambda signal: signal.address)
        self._check_identified(signals)
        registers: list[int] = []
        for signal in signals:
            if signal.address != signals[0].address + len(registers):
                raise ValueError(f"map {self.map.name}: {signal.name} does not follow its neighbour; not one block")
            if signal.nonvolatile:
                raise ValueError(f"map {self.map.name}: {signal.name} is non-volatile; write() it by itself")
            registers += signal.encode(values[signal.name])
        words = ", ".join(f"{signal.name} = {values[signal.name]:g}" for signal in signals)
        await self._send(signals[0].address, registers, words, urgent, fc=16)

    async def write_and_verify(self, name: str, value: float, *, urgent: bool = False) -> None:
        """Write, read back, compare. Unverified if another value reads back, in the signal itself or in the one that
        the map names."""
        signal = self.map.signal(name)
        await self.write(name, value, urgent=urgent)
        shown = self.map.signal(signal.read_back) if signal.read_back else signal
        words = await self._registers(shown, urgent=urgent)
        if shown is signal and not signal.read_back_tolerance:
            is_held = words == signal.encode(value)
        else:
            is_held = abs(shown.decode(words) - value) <= signal.read_back_tolerance  # NaN is not held
        if not is_held:
            wanted, got = f"{value:g} {signal.unit}".rstrip(), f"{shown.decode(words):g} {shown.unit}".rstrip()
            raise Unverified(
                f"{self.name}: {name} was set to {wanted} and {shown.name} reads back as {got}. "
                "Do not rely on it; look at the device."
            )

    async def ensure(self, name: str, value: float) -> bool:
        """Make a setting hold this value, writing only if it differs (memory wears out). Returns whether it wrote."""
        signal = self.map.signal(name)
        self._check_identified([signal])
        if await self._registers(signal) == signal.encode(value):
            return False
        await self.write_and_verify(name, value)
        return True

    async def _registers(self, signal: Signal, *, urgent: bool = False) -> list[int]:
        """A signal's registers as they stand."""
        if "r" not in signal.access:
            raise ValueError(f"map {self.map.name}: {signal.name} cannot be read; name a 'read_back' for it")
        retries = 0 if signal.read_once else signal.read_retries
        return await self.link.read(self.unit, signal.fc, signal.address, signal.words, retries=retries, urgent=urgent)

    async def _send(
        self, address: int, registers: list[int], what: str, urgent: bool, *, fc: int | None = None, retries: int = 0
    ) -> None:
        try:
            await self.link.write(self.unit, address, registers, fc=fc, retries=retries, urgent=urgent)
        except ModbusException as error:
            raise Rejected(f"{self.name} refuses {what}: {error}") from error

    def _check_identified(self, signals: Iterable[Signal]) -> None:
        if self.map.variants and any(self.map.is_open(signal) for signal in signals):
            raise NotReady(
                f"{self.name}: it is not known which {self.map.model} answers, and they differ in scale: identify() it."
            )

    def _check_rate(self, signal: Signal, value: float) -> None:
        now_s = asyncio.get_running_loop().time()
        last = self._written.get(signal.name)
        if last is not None and abs(value - last[0]) > signal.rate_max_per_s * (now_s - last[1]):
            raise Rejected(
                f"{self.name}: {signal.name} from {last[0]:g} to {value:g} {signal.unit} after {now_s - last[1]:.3g} s "
                f"is faster than {signal.rate_max_per_s:g} {signal.unit}/s: ramp it."
            )
        self._written[signal.name] = (value, now_s)


def _judged(readings: Mapping[str, Reading], signal: Signal) -> Reading:
    """A signal's reading, BAD where the state that vouches for it does not."""
    reading = readings[signal.name]
    for name, low, high, why in signal.good_when:
        state = readings[name]
        if reading.quality is Quality.GOOD and not (state.is_good and low <= state.value <= high):
            reading = reading._replace(quality=Quality.BAD, why=f"{why} ({name} {state.value:g})")
    return reading


async def broadcast(link: ModbusLink, table: RegisterMap, name: str, value: float, *, urgent: bool = False) -> None:
    """Write one signal to every unit on the bus at once; nobody answers, so read back what matters from each.

    The link keeps the turnaround afterwards. Rejected if the map refuses the value, or the signal is one that must not
    be written on the chance that not everybody heard it: relative or non-volatile.
    """
    signal = table.signal(name)
    if signal.relative or signal.nonvolatile:
        raise Rejected(f"{name} is not broadcast: {signal.relative or signal.nonvolatile}. Write it to each unit.")
    await link.write(0, signal.address, signal.encode(value), urgent=urgent)

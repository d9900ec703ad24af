"""What the Modbus devices share: readings through a map, checked writes, read-back. Devices hold one of these."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from firmware_bridge.errors import ModbusException, Rejected, Unverified, WrongModel
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import Block, RegisterMap, Signal
from firmware_bridge.signals import Reading

READ_RETRIES = 1  # reading twice changes nothing; writes are never repeated here


class RegisterAccess:
    """One unit on one link, seen through its map."""

    def __init__(self, link: ModbusLink, unit: int, table: RegisterMap, name: str) -> None:
        self.link = link
        self.unit = unit
        self.map = table
        self.name = name
        self._poll_blocks = table.blocks(table.polled)
        self._written: dict[str, tuple[float, float]] = {}  # for rate limits: value and time of the last write

    # -- reading ------------------------------------------------------------------------------------------------

    async def identify(self) -> dict[str, float]:
        """Read what tells this model from others. WrongModel if it is another one."""
        seen = {}
        for identity in self.map.identify:
            try:
                value = await self.value(identity.signal)
            except ModbusException as error:
                raise WrongModel(f"{self.name} is no {self.map.model}: {error}") from error
            if not identity.low <= value <= identity.high:
                wanted = f"{identity.low:g}" + (f" to {identity.high:g}" if identity.high != identity.low else "")
                raise WrongModel(
                    f"unit {self.unit} on {self.link.url} is no {self.map.model}: its {identity.signal} is {value:g}, "
                    f"expected {wanted}. Check the unit number and the machine file's map for {self.name}."
                )
            seen[identity.signal] = value
        return seen

    async def poll(self) -> dict[str, Reading]:
        """The polled signals, by name."""
        return await self._read_blocks(self._poll_blocks)

    async def read(self, *names: str) -> dict[str, Reading]:
        """Some signals, by name."""
        return await self._read_blocks(self.map.blocks(self.map.signal(name) for name in names))

    async def value(self, name: str) -> float:
        """One signal's value in its unit; NaN for a sentinel."""
        return (await self.read(name))[name].value

    async def _read_blocks(self, blocks: Sequence[Block]) -> dict[str, Reading]:
        readings: dict[str, Reading] = {}
        for block in blocks:
            words = await self.link.read(self.unit, block.fc, block.address, block.count, retries=READ_RETRIES)
            time_s = asyncio.get_running_loop().time()
            raws = {signal.name: signal.raw(words[start:end]) for signal, start, end in block.plan}
            for signal in block.signals:
                name, scale_from = signal.name, signal.scale_from
                exponent = self.map.signal(scale_from).scaled(raws[scale_from]) if scale_from else 0.0
                readings[name] = signal.reading(raws[name], time_s, exponent)
        return readings

    # -- writing ------------------------------------------------------------------------------------------------

    async def write(self, name: str, value: float, *, urgent: bool = False) -> None:
        """Write one signal. Rejected if the map or the device refuses it; link errors as they come."""
        signal = self.map.signal(name)
        registers = signal.encode(value)
        self._check_rate(signal, value)
        await self._send(signal.address, registers, f"{name} = {value:g} {signal.unit}".rstrip(), urgent)

    async def write_block(self, values: Mapping[str, float], *, urgent: bool = False) -> None:
        """Write signals that lie side by side in one request (function 16), all or none."""
        signals = sorted((self.map.signal(name) for name in values), key=lambda signal: signal.address)
        registers: list[int] = []
        for signal in signals:
            if signal.address != signals[0].address + len(registers):
                raise ValueError(f"map {self.map.name}: {signal.name} does not follow its neighbour; not one block")
            registers += signal.encode(values[signal.name])
        words = ", ".join(f"{signal.name} = {values[signal.name]:g}" for signal in signals)
        await self._send(signals[0].address, registers, words, urgent, fc=16)

    async def write_and_verify(self, name: str, value: float, *, urgent: bool = False) -> None:
        """Write, read back, compare the registers. Unverified if another value reads back."""
        signal = self.map.signal(name)
        await self.write(name, value, urgent=urgent)
        words = await self.link.read(
            self.unit, signal.fc, signal.address, signal.words, retries=READ_RETRIES, urgent=urgent
        )
        if words != signal.encode(value):
            raise Unverified(
                f"{self.name}: {name} was set to {value:g} {signal.unit} and reads back as "
                f"{signal.decode(words):g} {signal.unit}. Do not rely on it; look at the device."
            )

    async def ensure(self, name: str, value: float) -> bool:
        """Make a setting hold this value, writing only if it differs (memory wears out). Returns whether it wrote."""
        signal = self.map.signal(name)
        words = await self.link.read(self.unit, signal.fc, signal.address, signal.words, retries=READ_RETRIES)
        if words == signal.encode(value):
            return False
        await self.write_and_verify(name, value)
        return True

    async def _send(self, address: int, registers: list[int], what: str, urgent: bool, fc: int | None = None) -> None:
        try:
            await self.link.write(self.unit, address, registers, fc=fc, urgent=urgent)
        except ModbusException as error:
            raise Rejected(f"{self.name} refuses {what}: {error}") from error

    def _check_rate(self, signal: Signal, value: float) -> None:
        now_s = asyncio.get_running_loop().time()
        last = self._written.get(signal.name)
        if last is not None and abs(value - last[0]) > signal.rate_max_per_s * (now_s - last[1]):
            raise Rejected(
                f"{self.name}: {signal.name} from {last[0]:g} to {value:g} {signal.unit} after {now_s - last[1]:.3g} s "
                f"is faster than {signal.rate_max_per_s:g} {signal.unit}/s: ramp it."
            )
        self._written[signal.name] = (value, now_s)

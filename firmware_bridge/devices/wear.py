"""Memory that wears out: how often a device's non-volatile registers were written in the last day."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from firmware_bridge.errors import Rejected
from firmware_bridge.register_signals import Signal

DAY_S = 86_400.0


class WriteRecord(Protocol):
    """What remembers the writes to the devices on one link: `ModbusLink.write_record`, if its owner gave it one."""

    async def take(self, unit: int, signal: str, per_day_max: int) -> int:
        """Note one write more, unless `per_day_max` were noted in the last 24 h; returns how many had been.

        Raises:
            BridgeError: it cannot be told how many there were, or this one cannot be noted.
        """


class SessionRecord:
    """Remembers for as long as this host runs: all that can be said of a device that does not outlive it either."""

    def __init__(self) -> None:
        self._times_s: dict[tuple[int, str], deque[float]] = {}

    async def take(self, unit: int, signal: str, per_day_max: int) -> int:
        """As `WriteRecord.take`; it never fails."""
        now_s = asyncio.get_running_loop().time()
        times_s = self._times_s.setdefault((unit, signal), deque())
        while times_s and now_s - times_s[0] >= DAY_S:
            times_s.popleft()
        before = len(times_s)
        if before < per_day_max:
            times_s.append(now_s)
        return before


class WearGuard:
    """Bounds the writes of one device. `name`: the device's, for sentences; `record`: what remembers them."""

    def __init__(self, name: str, unit: int, record: WriteRecord) -> None:
        self._name = name
        self._unit = unit
        self._record = record

    async def count(self, signal: Signal, value: float) -> None:
        """Take one write into account, before it is made. Rejected, and not counted, beyond the day's bound.

        What the record raises passes through: memory whose wear is not known is not written.
        """
        before = await self._record.take(self._unit, signal.name, signal.writes_per_day_max)
        if before >= signal.writes_per_day_max:
            raise Rejected(
                f"{self._name}: {signal.name} = {value:g} {signal.unit} is refused: it was written {before} "
                f"times in 24 h, and its memory wears out ({signal.nonvolatile}). Stream to a volatile register."
            )

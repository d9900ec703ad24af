"""One poller for each bus: ask the devices on it in turn, publish readings, say when a device falls silent.

A poller never writes for itself, but the set-points that a device forgets when it is not reminded of them (a heater's
remote set-point, a beam head's token) are refreshed in the same turn, so that a bus has one owner.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from firmware_bridge.errors import BridgeError
from firmware_bridge.signals import Reading

SILENT_AFTER = 3  # failed polls in a row, then a device counts as silent and its neighbours come first
SILENT_SHARE = 0.05  # of the bus's time that all its silent devices together may cost
PROBE_COST = 2.0  # a probe that times out costs its wait, and about the same again until the line is quiet
PROBE_PAUSE_MAX_S = 60.0


class Polled(Protocol):
    """A device that can be asked."""

    async def poll(self) -> dict[str, Reading]:
        """The newest readings, by signal name."""
        ...


@dataclass
class PollTurn:
    """One device's place in a bus's turn: how often, what to do beside reading, and when it is due."""

    name: str
    device: Polled
    period_s: Callable[[], float]  # asked each time: a drive is asked more often while it moves
    refresh: Callable[[], Awaitable[None]] | None = None
    refresh_period_s: float = 0.0
    due_s: float = 0.0
    refresh_due_s: float = 0.0
    polls: int = 0
    failures: int = 0  # in a row
    refresh_failures: int = 0  # in a row, whatever the polls between them did


class Poller:
    """Polls the devices of one bus until it is stopped.

    `publish(name, readings)` receives each good poll, `failed(name, error, in_a_row)` each poll or refresh that failed.
    A device that fails does not slow the others: it is asked again only at its next turn. When it stays silent while
    others on the bus answer, it is not refreshed, and asked so seldom that it costs at most `SILENT_SHARE` of the bus.
    """

    def __init__(
        self,
        bus: str,
        turns: Sequence[PollTurn],
        publish: Callable[[str, dict[str, Reading]], None],
        failed: Callable[[str, BridgeError, int], None],
    ) -> None:
        self.bus = bus
        self.turns = list(turns)
        self._publish = publish
        self._failed = failed
        self._sleeper: asyncio.Future[None] | None = None

    @property
    def polls(self) -> int:
        """Answered polls so far."""
        return sum(turn.polls for turn in self.turns)

    def hurry(self, name: str) -> None:
        """Ask `name` at once rather than when its turn comes."""
        for turn in self.turns:
            if turn.name == name:
                turn.due_s = asyncio.get_running_loop().time()
        self._wake()

    async def run(self) -> None:
        """Poll until cancelled."""
        loop = asyncio.get_running_loop()
        for turn in self.turns:
            turn.due_s = turn.refresh_due_s = loop.time()
        while True:
            now = loop.time()
            for turn in self.turns:
                if turn.refresh is not None and turn.refresh_due_s <= now and not self._is_silent(turn):
                    turn.refresh_due_s = max(turn.refresh_due_s + turn.refresh_period_s, now)
                    await self._refresh(turn, turn.refresh)
                if turn.due_s <= now:
                    turn.due_s = max(turn.due_s + turn.period_s(), now)
                    await self._poll(turn)
            next_s = math.inf
            for turn in self.turns:  # only now: somebody may have hurried while another turn was waited for
                if turn.due_s < next_s:
                    next_s = turn.due_s
                if turn.refresh is not None and turn.refresh_due_s < next_s and not self._is_silent(turn):
                    next_s = turn.refresh_due_s
            delay_s = next_s - loop.time()
            if delay_s > 0:
                await self._sleep(delay_s)
            else:
                await asyncio.sleep(0)  # a bus that cannot keep its plan must still let the others run

    async def _poll(self, turn: PollTurn) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            readings = await turn.device.poll()
        except BridgeError as error:
            turn.failures += 1
            self._failed(turn.name, error, turn.failures)
            if self._is_silent(turn):
                silent = sum(self._is_silent(other) for other in self.turns)
                pause_s = PROBE_COST * (loop.time() - began_s) * silent / SILENT_SHARE
                turn.due_s = max(turn.due_s, loop.time() + min(pause_s, PROBE_PAUSE_MAX_S))
            return
        turn.failures = 0
        turn.polls += 1
        self._publish(turn.name, readings)

    def _is_silent(self, turn: PollTurn) -> bool:
        """Whether `turn` has to step back for others: it does not answer, and somebody else on the bus does."""
        return turn.failures >= SILENT_AFTER and any(other.failures < SILENT_AFTER for other in self.turns)

    async def _refresh(self, turn: PollTurn, refresh: Callable[[], Awaitable[None]]) -> None:
        try:
            await refresh()
        except BridgeError as error:
            turn.refresh_failures += 1
            self._failed(turn.name, error, turn.refresh_failures)
            return
        turn.refresh_failures = 0

    async def _sleep(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._sleeper = loop.create_future()
        timer = loop.call_later(delay_s, self._wake)
        try:
            await self._sleeper
        finally:
            timer.cancel()
            self._sleeper = None

    def _wake(self) -> None:
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

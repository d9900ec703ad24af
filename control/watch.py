"""What every machine under control needs, printer or rover: the newest readings, trips that latch, steps that a trip
breaks off, and background tasks that cannot die unnoticed.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Collection, Coroutine, Iterable
from typing import Any, Protocol, TypeVar

from control.errors import MoonkilnError
from control.interlock import Health, Trip, health_of
from control.polling import Poller
from firmware_bridge.errors import BridgeError, TransportError
from firmware_bridge.signals import Reading

T = TypeVar("T")
log = logging.getLogger(__name__)

POLL_FAILURES_MAX = 3  # in a row, then the device counts as lost


class MachineTripped(MoonkilnError):
    """The machine went to FAULT under our hands: an interlock, a lost device, or the operator's stop."""

    exit_code = 4

    def __init__(self, trips: list[Trip], *, stopped: bool = False) -> None:
        super().__init__("; ".join(str(trip) for trip in trips))
        self.trips = trips
        self.stopped = stopped


class Listener(Protocol):
    """Who hears what the machine hears: telemetry, the report, the progress line."""

    def readings(self, device: str, readings: dict[str, Reading]) -> None:
        """New readings of one device."""

    def event(self, level: str, text: str) -> None:
        """Something worth a sentence. Levels: info, warning, error."""


class Watch(ABC):
    """The watched side of a machine. A subclass owns the state, the devices and what counts as a trip."""

    def __init__(self, listener: Listener) -> None:
        self.readings: dict[str, dict[str, Reading]] = {}
        self._health: dict[str, Health] = {}
        self._listener = listener
        self._tripped: asyncio.Future[list[Trip]] = asyncio.get_running_loop().create_future()
        self._stopped = False
        self._pollers: list[Poller] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._broken: list[Trip] = []  # background tasks that died of a bug

    # -- what a subclass says -----------------------------------------------------------------------------------

    @property
    @abstractmethod
    def in_fault(self) -> bool:
        """Whether it has tripped, or was never brought up: nothing more can trip it then."""

    @abstractmethod
    def _latched(self, stopped: bool) -> None:
        """It has tripped (or was stopped): take the state to FAULT."""

    @abstractmethod
    def _judge(self, name: str, readings: dict[str, Reading], health: Health) -> list[Trip]:
        """What trips by these new readings, and by the silence of the others."""

    # -- working with the machine -------------------------------------------------------------------------------

    @property
    def polls(self) -> int:
        """Answered polls over all buses."""
        return sum(poller.polls for poller in self._pollers)

    async def guarded(self, step: Coroutine[Any, Any, T]) -> T:
        """Run a step; a trip or a stop cancels it and raises MachineTripped instead."""
        try:
            self._raise_if_tripped()
        except MachineTripped:
            step.close()
            raise
        task = asyncio.get_running_loop().create_task(step, name="guarded-step")
        try:
            waited: set[asyncio.Future[Any]] = {task, self._tripped}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        if self._tripped.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._raise_if_tripped()
        return task.result()

    def trip(self, found: list[Trip], *, stopped: bool = False) -> None:
        """Latch: to FAULT, whoever works is broken off. The caller of `guarded` makes the machine safe."""
        if self._tripped.done():
            return
        self._stopped = stopped
        self._tripped.set_result(found)  # first: whoever hears of it may fail
        self._latched(stopped)
        for trip in found:
            self._listener.event("error", f"{'stop' if stopped else 'trip'}: {trip}")

    @property
    def trips(self) -> list[Trip]:
        """What has tripped it; empty: nothing has."""
        return self._tripped.result() if self._tripped.done() else []

    def _raise_if_tripped(self) -> None:
        if self._tripped.done():
            raise MachineTripped(self._tripped.result(), stopped=self._stopped)

    def _clear_trip(self) -> None:
        """A reset: the next trip latches anew. MachineTripped if a background task has died: none comes back."""
        if self._broken:
            raise MachineTripped(self._broken)
        if self._tripped.done():
            self._tripped = asyncio.get_running_loop().create_future()

    # -- polls ----------------------------------------------------------------------------------------------------

    def _start(self, pollers: Iterable[Poller]) -> None:
        self._pollers = list(pollers)
        for poller in self._pollers:
            self._spawn(poller.run(), f"poller-{poller.bus}")

    async def _first_readings(self, names: Collection[str], within_s: float) -> None:
        """Wait until each polled device has answered once."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + within_s
        while loop.time() < deadline_s:
            if all(name in self.readings for name in names):
                return
            await asyncio.sleep(0.05)
        missing = [name for name in names if name not in self.readings]
        raise MachineTripped([Trip(name, "does not answer") for name in missing])

    def _take(self, name: str, readings: dict[str, Reading]) -> Health:
        self.readings[name] = readings
        self._health[name] = health = health_of(readings)
        return health

    def _publish(self, name: str, readings: dict[str, Reading]) -> None:
        health = self._take(name, readings)
        self._listener.readings(name, readings)
        if not self.in_fault:
            found = self._judge(name, readings, health)
            if found:
                self.trip(found)

    def _poll_failed(self, name: str, error: BridgeError, in_a_row: int) -> None:
        self._listener.event("warning", f"{name}: {error}")
        if self.in_fault:
            return
        if isinstance(error, TransportError):  # a stream that was lost does not come back by being asked again
            self.trip([Trip(name, str(error))])
        elif in_a_row >= POLL_FAILURES_MAX:
            self.trip([Trip(name, f"failed {in_a_row} times in a row: {error}")])

    # -- background tasks -----------------------------------------------------------------------------------------

    def _spawn(self, step: Awaitable[None], name: str) -> None:
        task = asyncio.ensure_future(step)
        task.set_name(name)
        task.add_done_callback(self._task_ended)
        self._tasks.append(task)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """A background task that dies of a bug must not die alone: the machine trips."""
        if task.cancelled() or task.exception() is None:
            return
        log.error("background task %s failed", task.get_name(), exc_info=task.exception())
        self._broken.append(Trip("host", f"{task.get_name()} failed: {task.exception()}"))
        self.trip(self._broken)

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

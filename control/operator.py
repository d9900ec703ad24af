"""What the operator wants: one bounded queue of intents from the console, the keyboard or an interface.

A stop does not wait in the queue: it is set at once and wakes whoever waits, because it must not stand behind a pause
that nobody has read yet.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from enum import Enum

INTENTS_MAX = 16


class Intent(Enum):
    """What can be asked of a run."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    STOP = "stop"


BUTTONS = {
    "pause": Intent.PAUSE,
    "paused": Intent.PAUSE,
    "resume": Intent.RESUME,
    "resumed": Intent.RESUME,
    "cancel": Intent.CANCEL,
}
"""What a board's own buttons ask of its host (`//action:` of Marlin, facts of the page hosts 1a)."""


class Operator:
    """The queue, and the stop that jumps it."""

    def __init__(self) -> None:
        self._intents: deque[Intent] = deque()
        self._woken = asyncio.Event()
        self._on_stop: list[Callable[[str], None]] = []
        self.stop_reason: str | None = None

    def ask(self, intent: Intent, reason: str = "the operator asked for it") -> bool:
        """Add an intent. False when the queue is full; a stop is never refused."""
        if intent is Intent.STOP:
            if self.stop_reason is None:
                self.stop_reason = reason
                for callback in self._on_stop:
                    callback(reason)
            self._woken.set()
            return True
        if len(self._intents) >= INTENTS_MAX:
            return False
        self._intents.append(intent)
        self._woken.set()
        return True

    def press(self, button: str) -> None:
        """Somebody pressed a button of the machine; one that means nothing for a run is passed over."""
        if button in BUTTONS:
            self.ask(BUTTONS[button], f"the machine's button '{button}'")

    def when_stopped(self, callback: Callable[[str], None]) -> None:
        """Call `callback(reason)` the moment a stop is asked for, at once if it has been already."""
        self._on_stop.append(callback)
        if self.stop_reason is not None:
            callback(self.stop_reason)

    @property
    def wants_break(self) -> bool:
        """Something waits that a stream of lines should break off for: a pause, a cancel or a stop."""
        return self.stop_reason is not None or Intent.PAUSE in self._intents or Intent.CANCEL in self._intents

    def take(self) -> Intent | None:
        """The oldest intent, or None."""
        return self._intents.popleft() if self._intents else None

    async def next(self) -> Intent:
        """Wait for the next intent; a stop comes first."""
        while True:
            if self.stop_reason is not None:
                return Intent.STOP
            if self._intents:
                return self._intents.popleft()
            self._woken.clear()
            await self._woken.wait()

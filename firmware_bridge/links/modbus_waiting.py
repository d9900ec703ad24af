"""Requests that wait for a Modbus line, and which of them goes next. No I/O and no clock."""

from __future__ import annotations

import asyncio
from collections import deque

from firmware_bridge.links.modbus_frames import Question

QUEUE_MAX = 64


class Transaction:
    """`asked`: what is on the wire, the question or a probe before it. `is_urgent`: goes before what is not.
    `presses`: an urgent write that has had no echo yet: it waits for nothing."""

    __slots__ = ("asked", "future", "is_urgent", "number", "presses", "question")

    def __init__(self, question: Question, future: asyncio.Future[bytes], presses: bool, is_urgent: bool) -> None:
        self.question = self.asked = question
        self.is_urgent = is_urgent
        self.future = future
        self.presses = presses
        self.number = 0

    def fail(self, error: Exception) -> None:
        """Tell who waits for it, if anybody still does."""
        if not self.future.done():
            self.future.set_exception(error)


class Waiting:
    """Two queues: the urgent, and the others, each in the order in which they came."""

    def __init__(self) -> None:
        self._urgent: deque[Transaction] = deque()
        self._others: deque[Transaction] = deque()

    def is_full(self, *, urgent: bool) -> bool:
        """Whether no more of that kind may wait."""
        return len(self._urgent if urgent else self._others) >= QUEUE_MAX

    def add(self, transaction: Transaction) -> None:
        """At the end of its queue."""
        self._of(transaction.is_urgent).append(transaction)

    def put_back(self, transaction: Transaction) -> None:
        """At the beginning of its queue: it has been on the wire, and goes on."""
        self._of(transaction.is_urgent).appendleft(transaction)

    def remove(self, transaction: Transaction) -> None:
        """Its turn has come."""
        self._of(transaction.is_urgent).remove(transaction)

    def first(self) -> Transaction | None:
        """A stop that has not been sent goes before one that waits to be sure of its echo."""
        if self._urgent:
            return next((transaction for transaction in self._urgent if transaction.presses), self._urgent[0])
        return self._others[0] if self._others else None

    @property
    def has_stop(self) -> bool:
        """Whether a stop has not been sent yet."""
        return bool(self._urgent) and any(one.presses for one in self._urgent)

    def has_urgent_only_for(self, unit: int) -> bool:
        """Whether nothing urgent waits for another unit."""
        return all(one.question.unit == unit for one in self._urgent)

    def fail(self, error: Exception) -> None:
        """Nothing waits any more, and everybody is told why."""
        waiting = (*self._urgent, *self._others)
        self._urgent.clear()
        self._others.clear()
        for transaction in waiting:
            transaction.fail(error)

    def _of(self, urgent: bool) -> deque[Transaction]:
        return self._urgent if urgent else self._others

"""What waits for a RoboClaw line: stops before orders, orders before questions, each in the order in which it came."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from firmware_bridge.errors import BridgeError, LinkError
from firmware_bridge.links.roboclaw_frames import Question

QUEUE_MAX = 64
URGENT, WRITE, READ = range(3)


@dataclass(eq=False, slots=True)
class Transaction:
    """One question and who waits for its answer. `unless`: asked right before it goes out; a sentence calls it off."""

    question: Question
    future: asyncio.Future[bytes]
    rank: int
    unless: Callable[[], str | None] | None


class TransactionQueue:
    """Transactions by rank, at most QUEUE_MAX of each."""

    def __init__(self) -> None:
        self._waiting: tuple[deque[Transaction], ...] = (deque(), deque(), deque())

    def push(self, transaction: Transaction, url: str) -> None:
        """Behind its like. LinkError if too many wait on `url`."""
        queue = self._waiting[transaction.rank]
        if len(queue) >= QUEUE_MAX:
            raise LinkError(f"{url}: {QUEUE_MAX} requests wait: the line cannot keep up. Ask less often.")
        queue.append(transaction)

    def put_back(self, transaction: Transaction) -> None:
        """Before its like."""
        self._waiting[transaction.rank].appendleft(transaction)

    def first(self) -> Transaction | None:
        """What goes next and is still waited for. It stays."""
        for queue in self._waiting:
            while queue and queue[0].future.done():
                queue.popleft()
            if queue:
                return queue[0]
        return None

    def pop(self, transaction: Transaction) -> None:
        """Take `first()` out."""
        assert self._waiting[transaction.rank][0] is transaction
        self._waiting[transaction.rank].popleft()

    def fail(self, error: BridgeError) -> None:
        """Nothing of it goes any more: everybody who waits is told."""
        for queue in self._waiting:
            for transaction in queue:
                if not transaction.future.done():
                    transaction.future.set_exception(error)
            queue.clear()

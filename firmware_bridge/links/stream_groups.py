"""A plan's lines in groups: parsed, and noted in the journal before they go; the next group while this one goes out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from firmware_bridge.errors import LinkError
from firmware_bridge.links.marlin_flight import StreamJournal

GROUP_LINES = 16  # how many lines one journal commit covers

P = TypeVar("P")


class StreamGroups(Generic[P]):
    """`parse` reads a line, and raises ValueError for one that may not be sent to `url`. To be closed at the end."""

    def __init__(
        self,
        url: str,
        lines: Sequence[bytes],
        parse: Callable[[bytes], P],
        journal: StreamJournal,
        cancelled: Callable[[], bool] | None,
    ) -> None:
        self._url = url
        self._lines = lines
        self._parse = parse
        self._journal = journal
        self._cancelled = cancelled
        self._first = 0
        self._ahead: asyncio.Task[None] | None = None

    async def next(self) -> list[tuple[int, P]] | None:
        """The next lines with their indices, durably noted; None at the end, or when the stream is cancelled.

        Raises LinkError for a line that may not be sent, or what the journal raises.
        """
        group = self._group()
        planned = [] if group is None else [(index, self._read(index)) for index in group]
        if group is not None and self._ahead is None:
            self._ahead = self._note(group)
        if self._ahead is not None:
            await self._ahead
            self._ahead = None
        if group is None:
            return None
        self._first = group[-1] + 1
        following = self._group()
        if following is not None:
            self._ahead = self._note(following)
        return planned

    @property
    def is_cancelled(self) -> bool:
        """Whether the caller wants no further line to go."""
        return self._cancelled is not None and self._cancelled()

    async def close(self) -> None:
        """Nothing is noted any more. What ended the stream came first, and is what its caller hears."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return
        ahead.cancel()
        await asyncio.wait({ahead})
        if not ahead.cancelled():
            ahead.exception()

    def _group(self) -> range | None:
        if self._first >= len(self._lines) or self.is_cancelled:
            return None
        return range(self._first, min(self._first + GROUP_LINES, len(self._lines)))

    def _read(self, index: int) -> P:
        try:
            return self._parse(self._lines[index])
        except ValueError as error:
            raise LinkError(f"line {self._lines[index]!r} is not sent to {self._url}: {error}.") from error

    def _note(self, group: range) -> asyncio.Task[None]:
        async def note() -> None:
            await self._journal.ahead(group[0], group[-1])

        return asyncio.get_running_loop().create_task(note())

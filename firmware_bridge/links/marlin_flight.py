"""Which numbered lines are on their way to the firmware: window, history, markers, rewinding. No I/O and no clock.

Three queues in number order: `entries` (sent, not proven), `again` (to be repeated), and whatever the link numbers
next. `in_buffer` bounds what may lie in the firmware's receive buffer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Protocol

from firmware_bridge.links.line_framing import frame_line

RX_WINDOW_BYTES = 127  # Marlin's RX_BUFFER_SIZE is 128; one byte of a ring always stays free
HISTORY_LINES = 512
MARKER_EVERY_LINES = 32
MARKER_ECHO = "echo"  # M118: the firmware repeats our token
MARKER_TEMPERATURE = "temperature"  # M105: `ok T:...`, for builds without M118


def resolve(future: asyncio.Future[Any], value: Any) -> None:
    """Give a future its value, unless it has one."""
    if not future.done():
        future.set_result(value)


class StreamJournal(Protocol):
    """Who must know of lines before and after they are sent."""

    async def ahead(self, first: int, last: int) -> None:
        """Return once lines first..last (0-based, inclusive) are durably noted: only then may they be sent."""

    def acked(self, index: int) -> None:
        """Line `index` was taken by the firmware (planned, not executed). Called in order, once a line."""


@dataclass
class MarlinCounters:
    """What went by since the link was opened."""

    lines: int = 0
    markers: int = 0
    resends: int = 0
    repeated_requests: int = 0
    lost_oks: int = 0
    surplus_oks: int = 0
    noise_lines: int = 0
    probes: int = 0


class Command:
    """One command that somebody waits for; `replies` are the lines heard before its ok."""

    __slots__ = ("future", "line", "patience_s", "replies")

    def __init__(self, line: bytes, patience_s: float, future: asyncio.Future[list[str]]) -> None:
        self.line = line
        self.patience_s = patience_s
        self.future = future
        self.replies: list[str] = []


RECENT_LINES = 32  # lines of which the firmware may still speak
OURS_CHARS = 5  # so many characters of a line in a row are no chance
OURS_WHOLE_CHARS = 3  # nor is a text of so few that stands in a line whole


class Stream:
    """A stream in progress: lines below `allowed` may go, `next` goes next, those below `confirmed` are proven taken.

    `marked`: lines below it have a marker behind them. `end`: where the stream ends (earlier when it is cancelled).
    """

    __slots__ = ("allowed", "confirmed", "done", "end", "journal", "lines", "marked", "next", "open", "room")

    def __init__(self, lines: Sequence[bytes], journal: StreamJournal, done: asyncio.Future[None]) -> None:
        self.lines = lines
        self.journal = journal
        self.done = done
        self.room: asyncio.Future[None] | None = None
        self.end = len(lines)
        self.allowed = self.next = self.marked = self.confirmed = 0
        self.open = True

    def prove(self, upto: int) -> None:
        """The firmware has taken all lines below `upto`: tell the journal, and who waits for the end if it is there."""
        try:
            for index in range(self.confirmed, upto):
                self.confirmed = index + 1
                self.journal.acked(index)
        except Exception as error:  # the journal's own failure stops the stream and reaches its caller
            self.fail(error)
            return
        if upto >= self.end:
            self.finish_if_proven()

    def finish_if_proven(self) -> None:
        """Whoever waits for the stream goes on, if every line up to its end is proven."""
        if self.confirmed >= self.end and self.next >= self.end:
            resolve(self.done, None)

    def fail(self, error: BaseException) -> None:
        """No further line goes out, and the caller is told why."""
        self.allowed = self.end = self.next
        for future in (self.done, self.room):
            if future is not None and not future.done():
                future.set_exception(error)

    def close(self) -> None:
        """The caller has its answer: what comes now is for nobody."""
        self.open = False
        for future in (self.done, self.room):
            if future is not None and future.done() and not future.cancelled():
                future.exception()  # marks it as heard: the one that was awaited has told the caller


class Entry:
    """One numbered line. `size`: bytes it may occupy in the firmware's receive buffer. `upto`: how many lines of
    `stream` are proven once this line is. `is_marker`: its answer cannot be mistaken for another line's."""

    __slots__ = ("command", "framed", "is_marker", "number", "size", "stream", "upto")

    def __init__(
        self,
        number: int,
        framed: bytes,
        stream: Stream | None = None,
        upto: int = 0,
        command: Command | None = None,
        is_marker: bool = False,
    ) -> None:
        self.number = number
        self.framed = framed
        self.size = len(framed)
        self.stream = stream
        self.upto = upto
        self.command = command
        self.is_marker = is_marker


class Flight:
    """The lines between the host's intent and the firmware's proof."""

    def __init__(self, first_number: int, marker: str, *, needs_markers: bool, is_blind: bool) -> None:
        self.entries: deque[Entry] = deque()
        self.again: deque[Entry] = deque()
        self.next_number = first_number
        self.in_buffer = 0
        self.line_limit = RX_WINDOW_BYTES
        self.needs_markers = needs_markers
        self.is_blind = is_blind  # neither markers nor numbered oks: proof needs a pause (MarlinTalk.ask_blind)
        self.counters = MarlinCounters()
        self._marker = marker
        self._history: dict[int, bytes] = {}

    def marker_line(self, number: int) -> bytes:
        """The command whose answer proves every line before it."""
        return b"M118 k%d" % number if self._marker == MARKER_ECHO else b"M105"

    def may_send(self, size: int) -> bool:
        """Whether `size` more bytes fit the window. An empty flight always may send."""
        return not self.entries or (self.in_buffer + size <= RX_WINDOW_BYTES and len(self.entries) < self.line_limit)

    def remembers(self, number: int) -> bool:
        """Whether this line could be sent again (or is the one that comes next)."""
        return number == self.next_number or number in self._history

    def launch(self, entry: Entry) -> bytes:
        """Put `entry` into flight and history; the caller writes what is returned."""
        self._history[entry.number] = entry.framed
        self._history.pop(entry.number - HISTORY_LINES, None)
        self.entries.append(entry)
        entry.size = len(entry.framed)
        self.in_buffer += entry.size
        return entry.framed

    def number(self, line: bytes, command: Command | None = None, *, is_marker: bool = False) -> bytes:
        """Give `line` the next number and launch it."""
        framed = frame_line(self.next_number, line) + b"\n"  # nothing may follow soon, and a command may take long
        entry = Entry(self.next_number, framed, None, 0, command, is_marker)
        self.next_number += 1
        return self.launch(entry)

    def number_marker(self, command: Command | None = None, stream: Stream | None = None) -> bytes:
        """Launch a marker that proves `command`, or all lines of `stream` sent so far."""
        framed = frame_line(self.next_number, self.marker_line(self.next_number))
        entry = Entry(self.next_number, framed, stream, stream.next if stream else 0, command, True)
        if stream is not None:
            stream.marked = stream.next
        self.next_number += 1
        self.counters.markers += 1
        return self.launch(entry)

    def fill(self, stream: Stream, out: list[bytes]) -> None:
        """The hot loop: launch as many lines of `stream`, and markers, as window and journal let through."""
        lines, allowed, history, entries = stream.lines, stream.allowed, self._history, self.entries
        index, number, free = stream.next, self.next_number, RX_WINDOW_BYTES - self.in_buffer
        is_marked, line_limit = self.needs_markers or self.is_blind, self.line_limit
        while True:
            unmarked = index - stream.marked if is_marked else 0
            if unmarked and self.needs_markers and (unmarked >= MARKER_EVERY_LINES or index == stream.end):
                framed = frame_line(number, self.marker_line(number))
                if entries and free < len(framed):
                    break
                entry = Entry(number, framed, stream, index, None, True)
                stream.marked = index
                self.counters.markers += 1
            elif unmarked >= MARKER_EVERY_LINES and self.is_blind:
                break
            elif index < allowed:
                line = lines[index]
                if entries and (free < len(line) + 14 or len(entries) >= line_limit):
                    break
                framed = frame_line(number, line)
                index += 1
                entry = Entry(number, framed, stream, index)
            else:
                break
            entries.append(entry)
            history[number] = framed
            if number > HISTORY_LINES:
                history.pop(number - HISTORY_LINES, None)
            free -= len(framed)
            number += 1
            out.append(framed)
        self.counters.lines += index - stream.next
        stream.next, self.next_number, self.in_buffer = index, number, RX_WINDOW_BYTES - free

    def resembles_ours(self, text: str) -> bool:
        """Whether what the firmware did not understand may be a damaged line of ours, and not noise between lines."""
        if text[:1] in ("G", "M", "N", "T"):
            return True
        recent = (self._history.get(self.next_number - back, b"") for back in range(1, RECENT_LINES + 1))
        needed = min(max(len(text), OURS_WHOLE_CHARS), OURS_CHARS)
        return any(_common(text, framed.decode("ascii")) >= needed for framed in recent)

    def pop_oldest(self) -> Entry:
        """The oldest line leaves the flight."""
        entry = self.entries.popleft()
        self.in_buffer -= entry.size
        return entry

    def pop_through(self, target: Entry) -> list[Entry]:
        """`target` and all older lines leave the flight, oldest first."""
        taken = []
        while True:
            taken.append(self.pop_oldest())
            if taken[-1] is target:
                self.counters.lost_oks += len(taken) - 1
                return taken

    def find_marker(self, number: int | None) -> Entry | None:
        """The oldest marker in flight, or the one with this number."""
        for entry in self.entries:
            if entry.is_marker and (number is None or entry.number == number):
                return entry
        return None

    def find(self, number: int) -> Entry | None:
        """The line in flight with this number."""
        for entry in self.entries:
            if entry.number == number:
                return entry
        return None

    def recall(self, number: int, *, is_marker: bool = False) -> Entry | None:
        """The line with this number that was to be repeated, although its answer says that it was taken: it and those
        before it count as sent, and are not repeated. None if it was not to be repeated, or is no marker."""
        target = next((entry for entry in self.again if entry.number == number), None)
        if target is None or (is_marker and not target.is_marker):
            return None
        while self.again and self.again[0].number <= number:
            entry = self.again.popleft()
            entry.size = 0  # the firmware has it: nothing of it lies in the receive buffer
            self.entries.append(entry)
        return target

    def find_temperature_question(self) -> Entry | None:
        """The oldest M105 in flight."""
        for entry in self.entries:
            if b" M105*" in entry.framed:
                return entry
        return None

    def forget_markers(self) -> None:
        """Markers without a token of their own (M105): answers that are overdue are taken as lost, so that the next
        answer belongs to the next marker."""
        if self._marker != MARKER_ECHO:
            for entry in self.entries:
                entry.is_marker = False

    def rewind(self, number: int) -> None:
        """The firmware has taken every line below `number` and thrown away what its receive buffer held."""
        while self.again and self.again[0].number < number:
            self.entries.append(self.again.popleft())
        back: list[Entry] = []
        while self.entries and self.entries[-1].number >= number:
            back.append(self.entries.pop())
        self.again.extendleft(back)  # newest first, so the oldest ends up first
        oldest = self.again[0].number if self.again else self.next_number
        for missing in range(oldest - 1, number - 1, -1):  # an ok had been counted for it wrongly
            self.again.appendleft(Entry(missing, self._history[missing]))
        for entry in self.entries:  # these are in the command queue: out of the buffer
            entry.size = 0
        self.in_buffer = 0


def _common(one: str, other: str) -> int:
    """Length of the longest text that both have."""
    return SequenceMatcher(None, one, other, autojunk=False).find_longest_match().size

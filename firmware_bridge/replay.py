"""A recorded device: `replay:FILE` answers what was answered, when the host sends what it sent.

Each answer waits for the host's byte that it followed in the record, and then for as long as it did there. A host that
sends anything else has departed from the record: the connection is lost with a sentence that names the byte. Every
opening of `replay:FILE` on a loop plays the next recorded connection, or the one of `?connection=N`.

Exact bytes are asked for, unless host and device speak in lines of G-code (`dialect=reprap`): then the token of M118,
which is another one in every session, and with it the checksum (and the number of a line with a CRC) may differ, and
answers carry the new token. Which it is the record tells, unless it is asked for: a host that sent M118 sends another
token today.

`Script` is the pure half: bytes and times in, answers with times out.
"""

from __future__ import annotations

import asyncio
import re
import weakref
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.errors import TransportError
from firmware_bridge.recording import Connection, Ending, Piece, Recording, RecordingError, Way, read_recording
from firmware_bridge.transport import Receiver, Transport, split_options

DIALECTS = ("bytes", "reprap")
LINE_BYTES_MAX = 4096  # a host that sends more without a line's end speaks no lines
_TOKEN = re.compile(rb"(?<=M118 )[^\s*]+")
_SAID = re.compile(rb'(?<=M118 )(?:S")?([^\s*"]+)')  # what the board says of it: RepRapFirmware has it in quotes
_WORD = re.compile(rb'[^\s*":]+')
_COUNTED = re.compile(rb"^N\d+ (?=.*\*\d{5}\s*$)")  # with a CRC behind it, a number that begins anew in no session
_SESSION = re.compile(rb"(?:^|\n)[ -~]*M118 ")  # in a line of text
_CHECKSUM = re.compile(rb"\*\d+\s*$")
_SHOWN = 32

USE_LINES = (
    "The record is of lines of G-code with a token (M118) that is another one in every session: play it with --dialect"
    " reprap (in a URL: dialect=reprap)."
)

Place = Callable[[int], str]
"""A byte's number in the host's stream -> when it was sent in the record, in words."""


class Departure(TransportError):
    """The host did not send what it had sent. `at_byte` counts the host's recorded bytes from 0."""

    def __init__(self, at_byte: int, sentence: str) -> None:
        super().__init__(sentence)
        self.at_byte = at_byte


@dataclass(frozen=True, slots=True)
class Answer:
    """What the device does at `due_s`: says `data`, or is lost (None)."""

    due_s: float
    data: bytes | None


@dataclass(frozen=True, slots=True)
class _Cue:
    """An answer of the record: after that many bytes of the host, and `delay_s` after the last of them."""

    after: int
    delay_s: float
    data: bytes | None


def dialect_of(connection: Connection) -> str:
    """`reprap` if the host said M118, whose token no other session repeats; `bytes` otherwise."""
    return "reprap" if _SESSION.search(connection.sent(Way.TO_DEVICE)) else "bytes"


class Script:
    """The device's half of one recorded connection. Times are the caller's, in s, and never run backwards."""

    def __init__(self, connection: Connection, dialect: str = "bytes") -> None:
        """ValueError for a dialect that is none."""
        if dialect not in DIALECTS:
            raise ValueError(f"'{dialect}' is no dialect; known are {', '.join(DIALECTS)}")
        self._connection = connection
        expected = connection.sent(Way.TO_DEVICE)
        speaks_lines = dialect == "reprap"
        self._heard = _Lines(expected) if speaks_lines else _Bytes(expected)
        pieces = _by_lines(connection.pieces) if speaks_lines else connection.pieces
        self._cues = deque(_cues(connection, pieces, self._heard))
        self._last_due_s = 0.0

    @property
    def bytes_expected(self) -> int:
        """How many bytes the host sent when this was recorded."""
        return self._heard.expected_bytes

    @property
    def bytes_heard(self) -> int:
        """How many of them have been sent again."""
        return self._heard.at

    @property
    def is_over(self) -> bool:
        """Whether everything was heard and everything was answered."""
        return self.bytes_heard == self.bytes_expected and not self._cues

    def begin(self, now_s: float) -> list[Answer]:
        """The host has opened the wire: what the device says unasked."""
        self._last_due_s = now_s
        return self._released(now_s)

    def hear(self, data: bytes, now_s: float) -> list[Answer]:
        """Bytes from the host -> the answers that they bring, in order. Raises Departure."""
        try:
            self._heard.feed(data, self._place)
        except Departure as departure:
            if isinstance(self._heard, _Bytes) and dialect_of(self._connection) == "reprap":
                raise Departure(departure.at_byte, f"{departure} {USE_LINES}") from None
            raise
        return self._released(now_s)

    def _released(self, now_s: float) -> list[Answer]:
        answers = []
        while self._cues and self._cues[0].after <= self._heard.at:
            cue = self._cues.popleft()
            self._last_due_s = max(self._last_due_s, now_s + cue.delay_s)
            data = cue.data if cue.data is None else self._heard.answer(cue.data)
            answers.append(Answer(self._last_due_s, data))
        return answers

    def _place(self, at_byte: int) -> str:
        """When the record's host sent its byte `at_byte`."""
        left = at_byte
        for piece in self._connection.pieces:
            if piece.way is Way.TO_DEVICE:
                if left < len(piece.data):
                    return f"{piece.time_s - self._connection.opened_s:.3f} s after it was opened"
                left -= len(piece.data)
        raise AssertionError(f"byte {at_byte} is none of the record's")


class _Bytes:
    """The host's bytes, compared as they are."""

    def __init__(self, expected: bytes) -> None:
        self._expected = expected
        self.at = 0

    def feed(self, data: bytes, place: Place) -> None:
        wanted = self._expected[self.at : self.at + len(data)]
        if data != wanted:
            same = next((i for i, (a, b) in enumerate(zip(data, wanted)) if a != b), len(wanted))
            at = self.at + same
            raise _departure(at, self._expected[at:], data[same:], place)
        self.at += len(data)

    @property
    def expected_bytes(self) -> int:
        return len(self._expected)

    def anchor(self, after: int) -> int:
        """The point of the host's stream at which an answer is given that came after `after` bytes."""
        return after

    def answer(self, data: bytes) -> bytes:
        """What the device says now where it said `data` then."""
        return data


class _Lines:
    """The host's lines of G-code, compared without checksums and without the words that are new in each session."""

    def __init__(self, expected: bytes) -> None:
        self._ends = [found.end() for found in re.finditer(rb"\n", expected)]
        self._expected = expected[: self._ends[-1] if self._ends else 0]  # a line without an end is none yet
        self._rest = b""
        self._new: dict[bytes, bytes] = {}
        self.at = 0

    def feed(self, data: bytes, place: Place) -> None:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            index = bisect_right(self._ends, self.at)
            end = self._ends[index] if index < len(self._ends) else self.at
            self._compare(line + b"\n", self._expected[self.at : end], place)
            self.at = end
        if len(self._rest) > LINE_BYTES_MAX:
            raise _departure(self.at, self._expected[self.at :], self._rest, place)

    def _compare(self, line: bytes, wanted: bytes, place: Place) -> None:
        if not wanted or _plain(line) != _plain(wanted):
            pairs = zip(_plain(line), _plain(wanted))
            same = next((i for i, (a, b) in enumerate(pairs) if a != b), len(wanted) - 1) if wanted else 0
            at, at_sent = (min(same + _left_out(whole), len(whole) - 1) if whole else 0 for whole in (wanted, line))
            raise _departure(self.at + at, wanted[at:], line[at_sent:], place)
        then, now = _SAID.search(wanted), _SAID.search(line)
        if then is not None and now is not None and then[1] != now[1]:
            self._new[then[1]] = now[1]

    @property
    def expected_bytes(self) -> int:
        return len(self._expected)

    def anchor(self, after: int) -> int:
        """An answer that came within a line belongs to the whole lines before it."""
        index = bisect_right(self._ends, after)
        return self._ends[index - 1] if index else 0

    def answer(self, data: bytes) -> bytes:
        return _WORD.sub(lambda found: self._new.get(found[0], found[0]), data)  # once: a new one may be one of then


def _plain(line: bytes) -> bytes:
    return _TOKEN.sub(b"", _CHECKSUM.sub(b"", _COUNTED.sub(b"", line))).rstrip()


def _left_out(line: bytes) -> int:
    """How many bytes at a line's beginning are not compared."""
    counted = _COUNTED.match(line)
    return counted.end() if counted else 0


def _departure(at: int, wanted: bytes, sent: bytes, place: Place) -> Departure:
    told = f"recorded is {wanted[:_SHOWN]!r}, {place(at)}" if wanted else "the record ends there"
    return Departure(at, f"the host departs from the record at its byte {at}: sent was {sent[:_SHOWN]!r}; {told}.")


def _cues(connection: Connection, pieces: Iterable[Piece], heard: _Bytes | _Lines) -> Iterable[_Cue]:
    """Each answer with what it waits for: the host's last byte before it, and the time since then."""
    sent, ends_s = 0, {0: connection.opened_s}  # when the host's stream had reached a point
    for piece in pieces:
        if piece.way is Way.TO_DEVICE:
            sent += len(piece.data)
            for after in {heard.anchor(sent), sent}:
                ends_s.setdefault(after, piece.time_s)
        else:
            after = heard.anchor(sent)
            yield _Cue(after, piece.time_s - ends_s[after], piece.data)
    if connection.ending is Ending.DEVICE_LOST:
        after = heard.anchor(sent)
        yield _Cue(after, connection.ended_s - ends_s[after], None)


def _by_lines(pieces: Iterable[Piece]) -> list[Piece]:
    """The device's pieces cut anew at the ends of its lines, so that a word is never in two of them."""
    result: list[Piece] = []
    rest, rest_s = b"", 0.0
    for piece in pieces:
        if piece.way is Way.TO_DEVICE:
            result.append(piece)
            continue
        lines = (rest + piece.data).splitlines(keepends=True)
        rest, rest_s = b"", piece.time_s
        if lines and not lines[-1].endswith(b"\n"):
            rest = lines.pop()
        if lines:
            result.append(Piece(piece.time_s, Way.TO_HOST, b"".join(lines)))
    if rest:
        result.append(Piece(rest_s, Way.TO_HOST, rest))
    return result


# ---- as a transport

_PLAYED: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Path, tuple[Recording, int]]] = (
    weakref.WeakKeyDictionary()
)


async def open_replay(url: str, receiver: Receiver, timeout_s: float) -> Transport:
    """`replay:FILE?connection=N&dialect=reprap`; if it is not asked for, the next connection, in the dialect it tells.

    RecordingError: no such file or connection, or all are played.
    """
    target, options = split_options(url, {"connection": "", "dialect": ""})
    if options["dialect"] and options["dialect"] not in DIALECTS:
        raise RecordingError(f"{url}: dialect={options['dialect']} is not possible; known are {', '.join(DIALECTS)}.")
    path = Path(target).absolute()
    played = _PLAYED.setdefault(asyncio.get_running_loop(), {})
    recording, count = played.get(path) or (read_recording(path), 0)
    if options["connection"]:
        number = int(options["connection"]) if options["connection"].isdecimal() else 0
    else:
        number = count + 1
        played[path] = recording, number
    connection = pick(recording, number)
    return ReplayTransport(url, receiver, recording, connection, options["dialect"] or dialect_of(connection))


def pick(recording: Recording, number: int) -> Connection:
    """The recorded connection of that number, from 1. RecordingError if there is none."""
    found = recording.connections
    if not 1 <= number <= len(found):
        raise RecordingError(
            f"{recording.path} has no connection {number}: it holds {len(found)}. Each opening plays the next of them."
        )
    return found[number - 1]


class Prompter:
    """Carries answers out when they are due, in order, from the loop: whoever hears one may write, close or stop()."""

    def __init__(self, carry_out: Callable[[Answer], None]) -> None:
        self._carry_out = carry_out
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Answer] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    def take(self, answers: Iterable[Answer]) -> None:
        """More of them, none due before those that wait."""
        self._waiting.extend(answers)
        if self._timer is None and self._waiting and not self._stopped:
            self._timer = self._loop.call_at(self._waiting[0].due_s, self._next)

    def stop(self) -> None:
        """Carry out nothing more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _next(self) -> None:
        self._timer = None
        self._carry_out(self._waiting.popleft())
        self.take(())


class ReplayTransport(Transport):
    """The host's end of a recorded wire."""

    def __init__(
        self, url: str, receiver: Receiver, recording: Recording, connection: Connection, dialect: str
    ) -> None:
        super().__init__(url, receiver, recording.byte_time_s)
        self.script = Script(connection, dialect)
        self._reason = connection.reason
        self._loop = asyncio.get_running_loop()
        self._departed: asyncio.Handle | None = None
        self._prompter = Prompter(self._carry_out)
        self._prompter.take(self.script.begin(self._loop.time()))

    def _send(self, data: bytes) -> None:
        if self._departed is not None:
            return
        try:
            self._prompter.take(self.script.hear(bytes(data), self._loop.time()))
        except Departure as departure:
            self._prompter.stop()
            lost = TransportError(f"{self.url}: {departure}")
            self._departed = self._loop.call_soon(self._finish, lost)  # never from inside write()

    def _carry_out(self, answer: Answer) -> None:
        if answer.data is None:
            self._finish(TransportError(f"{self.url}: the device was lost here. {self._reason}".rstrip()))
        else:
            self._receiver.data_received(answer.data)

    def _waiting_bytes(self) -> int:
        return 0

    def _release(self) -> None:
        self._prompter.stop()
        if self._departed is not None:
            self._departed.cancel()

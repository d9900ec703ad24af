"""The grant protocol's messages: bytes in, bytes out; no socket, no clock. Their meaning: `docs/grant-protocol.md`.

A message is one line of JSON in UTF-8, at most 1 MiB. Times are whole nanoseconds of virtual time since the run began.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PROTOCOL = 1
LINE_BYTES_MAX = 1024 * 1024
EVENTS_MAX = 4096

Nanoseconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Hex = Annotated[str, Meta(pattern=r"^([0-9a-f]{2})*\Z")]


class MessageError(ValueError):
    """A line that is no message of this protocol, or one that is not allowed here."""


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="hello"):
    """The first line, from the outside process: which protocol it speaks, and its name for sentences."""

    protocol: int
    name: Annotated[str, Meta(min_length=1, max_length=80)]


class Welcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="welcome"):
    """The answer: the wire it is the far end of (baud null: unpaced), the quantum, the time, the run's seed."""

    protocol: int
    wire: str
    baud: int | None
    quantum_ns: Nanoseconds
    now_ns: Nanoseconds
    seed: int


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What happened on the wire at `at_ns`: it was opened or closed by its host, or bytes passed (`data`, hex)."""

    at_ns: Nanoseconds
    kind: Literal["open", "bytes", "close"]
    data: Hex = ""


class Grant(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="grant"):
    """Leave to live from `from_ns` (where the last one ended, or later if the process was idle) until `until_ns`.

    `events`: what happened since the last grant, none of it after `from_ns`.
    """

    from_ns: Nanoseconds
    until_ns: Nanoseconds
    events: tuple[Event, ...]


class Done(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag="done"):
    """The outside process has lived until `at_ns`.

    `events`: the bytes that it sent meanwhile, in order. `idle_until_ns`: it will do nothing before then unless bytes
    come (-1: never); without it the next quantum follows at once.
    """

    at_ns: Nanoseconds
    events: Annotated[tuple[Event, ...], Meta(max_length=EVENTS_MAX)] = ()
    idle_until_ns: Annotated[int, Meta(ge=-1, le=2**63 - 1)] | None = None


class Failed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="failed"):
    """From the outside process, instead of `done`: it cannot go on. The run ends with its reason."""

    reason: Annotated[str, Meta(max_length=2000)]


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="end"):
    """The last line, to the outside process: the run is over."""

    reason: str


Message = Hello | Welcome | Grant | Done | Failed | End

_DECODER: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Hello | Welcome | Grant | Done | Failed | End)


def line_of(message: Message) -> bytes:
    """A message as its line."""
    return msgspec.json.encode(message) + b"\n"


def message_of(line: bytes) -> Message:
    """The message in a line (its end may be there or not). Raises MessageError with what is wrong."""
    if len(line) > LINE_BYTES_MAX:
        raise MessageError(f"a line of {len(line)} bytes; {LINE_BYTES_MAX} are the most")
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageError(f"{line[:80]!r} is no message: {error}") from error


def check_done(done: Done, grant: Grant) -> None:
    """Hold a `done` against what was granted.

    Raises:
        MessageError: it did not stop where it had to, or sent what it may not send, or at a time that is not its own.
    """
    until_ns = grant.until_ns
    if done.at_ns != until_ns:
        raise MessageError(f"it was granted time until {until_ns} ns and is done at {done.at_ns} ns")
    last_ns = grant.from_ns
    for event in done.events:
        if event.kind != "bytes" or not event.data:
            raise MessageError(f"the far end of a wire sends bytes, and this is {event.kind!r} with {event.data!r}")
        if not last_ns <= event.at_ns <= until_ns:
            raise MessageError(f"bytes at {event.at_ns} ns, which is not between {last_ns} and {until_ns} ns")
        last_ns = event.at_ns
    if done.idle_until_ns is not None and 0 <= done.idle_until_ns < until_ns:
        raise MessageError(f"idle until {done.idle_until_ns} ns, which is over at {until_ns} ns")

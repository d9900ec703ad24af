"""A byte stream to a device, whatever carries it: `serial:`, `tcp:`, `tls:`, a recorded device (`replay:`), and schemes
that others register (`sim:`).

    transport = await open_transport("serial:/dev/ttyUSB0?baud=115200", receiver)
    transport.write(b"M105\n")          # queued, never blocks
    transport.close()                   # calls receiver.connection_lost(None) before it returns

A transport knows nothing of frames. It owns the port: raw mode, exclusive lock, a bounded write queue, and the promise
that `connection_lost` is called exactly once and that nothing is called after it.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import parse_qsl

from firmware_bridge.errors import BadAddress, TransportError

WRITE_QUEUE_BYTES = 64 * 1024
"""A transport refuses to hold more unsent bytes than this: nothing we speak to can use them."""


class Receiver(Protocol):
    """Who listens to a transport. Both calls come from the event loop."""

    def data_received(self, data: bytes) -> None:
        """At least one byte came, in the order sent, cut at arbitrary places."""

    def connection_lost(self, error: TransportError | None) -> None:
        """The last call, made exactly once. None: we closed it; otherwise a sentence about what happened."""


class Transport(ABC):
    """An open byte stream. Attributes: `url` as asked for; `byte_time_s`, the time one byte takes (0.0 if unpaced)."""

    def __init__(self, url: str, receiver: Receiver, byte_time_s: float) -> None:
        self.url = url
        self.byte_time_s = byte_time_s
        self._receiver = receiver
        self._open = True

    @property
    def is_open(self) -> bool:
        """Whether write() is allowed."""
        return self._open

    @property
    def waiting_bytes(self) -> int:
        """How many written bytes the system has not taken yet: who hands bytes on waits while these are many."""
        return self._waiting_bytes() if self._open else 0

    def write(self, data: bytes) -> None:
        """Queue `data`. Raises TransportError when closed, or when more than 64 KiB would wait to be sent."""
        if not self._open:
            raise TransportError(f"{self.url} is closed: nothing can be written. Open it again.")
        if not data:
            return
        waiting = self._waiting_bytes()
        if waiting + len(data) > WRITE_QUEUE_BYTES:
            raise TransportError(
                f"{self.url} does not take bytes as fast as they are written: {waiting} wait, and {len(data)} more "
                f"would pass the bound of {WRITE_QUEUE_BYTES}. Is the device hung, or its flow control holding?"
            )
        self._send(data)

    def overtake(self, data: bytes) -> None:
        """Send `data` at once: what was written before and has not left this computer is dropped. For a stop.

        What was dropped may have been the end of a line: let `data` begin with what ends it. Raises as write().
        """
        if self._open:
            self._drop_unsent()
        self.write(data)

    def close(self) -> None:
        """Give the port back. Bytes that the system has not taken yet are dropped. Calling it again does nothing.

        `connection_lost(None)` is called before close() returns (unless the stream was lost before): no callback
        comes after it.
        """
        self._finish(None)

    def _finish(self, error: TransportError | None) -> None:
        """The one way out: release the port, then say so, once."""
        if not self._open:
            return
        self._open = False
        self._release()
        self._receiver.connection_lost(error)

    @abstractmethod
    def _send(self, data: bytes) -> None:
        """Send or queue `data` (never empty, always within the bound)."""

    def _drop_unsent(self) -> None:  # noqa: B027 - a stream without a buffer of its own has nothing to forget
        """Forget what the system or the device's adapter has not sent yet, where that can be done."""

    @abstractmethod
    def _waiting_bytes(self) -> int:
        """How many bytes are queued and not yet taken by the system."""

    @abstractmethod
    def _release(self) -> None:
        """Free the port and stop every callback. Called once."""


Opener = Callable[[str, Receiver, float], Awaitable[Transport]]
"""(url, receiver, timeout_s) -> an open transport, or TransportError."""

_OPENERS: dict[str, Opener] = {}


def register_scheme(scheme: str, opener: Opener) -> None:
    """Let `open_transport` understand URLs that begin with `scheme:`. The last registration of a name holds."""
    _OPENERS[scheme] = opener


async def open_transport(url: str, receiver: Receiver, *, timeout_s: float = 5.0) -> Transport:
    """Open the byte stream that `url` names and connect `receiver` to it.

    `serial:/dev/x?baud=115200&parity=N&exclusive=1&dtr=hold`, `tcp:HOST:PORT`, `tls:HOST:PORT?ca=F&cert=F&key=F`, or a
    registered scheme (`sim:NAME`).
    Raises TransportError with what is wrong and what to do (BadAddress: the URL itself); the receiver then hears
    nothing.
    """
    scheme, colon, rest = url.partition(":")
    opener = _OPENERS.get(scheme)
    if not colon or not rest or opener is None:
        known = ", ".join(f"{name}:" for name in sorted(_OPENERS))
        raise BadAddress(
            f"'{url}' names no byte stream: a URL begins with one of {known} and goes on with a path or an address, "
            "for instance serial:/dev/ttyUSB0?baud=115200 or tcp:192.168.1.20:502."
        )
    return await opener(url, receiver, timeout_s)


def split_options(url: str, defaults: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Split `scheme:target?key=value&...` into target and options (defaults filled in). BadAddress: an unknown key."""
    target, _, query = url.partition(":")[2].partition("?")
    options = dict(defaults)
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in defaults:
            raise BadAddress(f"{url}: '{key}' is no option of this kind of URL; known are {', '.join(defaults)}.")
        options[key] = value
    return target, options


def running_in_virtual_time() -> bool:
    """Whether the running loop has no file descriptors to wait for."""
    return bool(getattr(asyncio.get_running_loop(), "is_virtual", False))


async def _open_serial(url: str, receiver: Receiver, timeout_s: float) -> Transport:
    from firmware_bridge.transport_serial import open_serial  # pyserial only when a port is really opened

    return await open_serial(url, receiver, timeout_s)


async def _open_tcp(url: str, receiver: Receiver, timeout_s: float) -> Transport:
    from firmware_bridge.transport_tcp import open_tcp

    return await open_tcp(url, receiver, timeout_s)


async def _open_tls(url: str, receiver: Receiver, timeout_s: float) -> Transport:
    from firmware_bridge.transport_tls import open_tls

    return await open_tls(url, receiver, timeout_s)


async def _open_replay(url: str, receiver: Receiver, timeout_s: float) -> Transport:
    from firmware_bridge.replay import open_replay

    return await open_replay(url, receiver, timeout_s)


register_scheme("serial", _open_serial)
register_scheme("tcp", _open_tcp)
register_scheme("tls", _open_tls)
register_scheme("replay", _open_replay)

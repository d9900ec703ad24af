"""Wires: what lies between a host's transport and an emulated device, in memory, on a pty or on loopback TCP.

An emulator knows no wire: it is handed `send` once per connection and gives back a session that takes bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Session(Protocol):
    """One connection, as the device sees it."""

    def received(self, data: bytes) -> None:
        """Bytes from the host have arrived: at the pace of the line, in order, at most `chunk_bytes` at once."""

    def closed(self) -> None:
        """The host has left (or the wire was cut). The last call; `send` does nothing from now on."""


class Emulator(Protocol):
    """A device at the far end of a wire.

    `attach` is called once per connection: on a serial line at each open (one session at a time), on TCP for every
    connection (several at once). `send` queues bytes to this host; it never blocks and may be called at any time.
    An emulator may carry an attribute `chunk_bytes: int` (default 256, so that a Modbus RTU frame comes whole): the
    most bytes one `received` call brings, a stretch of the line's time. A device with a small receive ring asks for less.
    """

    def attach(self, send: Callable[[bytes], None]) -> Session:
        """A host has connected."""

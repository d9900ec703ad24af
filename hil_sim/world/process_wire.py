"""A wire's end in a simulated process: bytes for a process that is held up wait, and those of a dead one go nowhere.

What the process writes enters the world from outside it, so that the devices' timers are not the process's. When it is
killed the operating system closes what it had open: the device hears that its host has left, the host hears nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from firmware_bridge.errors import TransportError
from firmware_bridge.transport import Receiver, Transport
from hil_sim.virtual_process import VirtualProcess


class ProcessTransport(Transport):
    """An open byte stream of a process. `connect` opens the world's own, with a receiver that it is given."""

    def __init__(
        self, process: VirtualProcess, url: str, receiver: Receiver, connect: Callable[[Receiver], Transport]
    ) -> None:
        self._process = process
        self._inner = process.outside(connect, _Ear(process, receiver))
        super().__init__(url, receiver, self._inner.byte_time_s)
        process.at_death(self._inner.close)

    @property
    def is_open(self) -> bool:
        """Whether write() is allowed."""
        return self._inner.is_open

    @property
    def waiting_bytes(self) -> int:
        """How many written bytes the system has not taken yet."""
        return self._inner.waiting_bytes

    def write(self, data: bytes) -> None:
        """As Transport.write; nothing in a dead process reaches this."""
        self._process.outside(self._inner.write, data)

    def overtake(self, data: bytes) -> None:
        """As Transport.overtake."""
        self._process.outside(self._inner.overtake, data)

    def close(self) -> None:
        """As Transport.close: the receiver hears it before this returns."""
        self._process.outside(self._inner.close)

    def _send(self, data: bytes) -> None:
        raise AssertionError("write() hands on to the world's own transport")

    def _waiting_bytes(self) -> int:
        return self._inner.waiting_bytes

    def _release(self) -> None:
        raise AssertionError("close() hands on to the world's own transport")


class _Ear:
    """What the world tells goes to the process when it can hear it."""

    def __init__(self, process: VirtualProcess, receiver: Receiver) -> None:
        self._process = process
        self._receiver = receiver

    def data_received(self, data: bytes) -> None:
        self._process.hear(self._receiver.data_received, data)

    def connection_lost(self, error: TransportError | None) -> None:
        self._process.hear(self._receiver.connection_lost, error)

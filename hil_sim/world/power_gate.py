"""What hangs on the feeder: an emulator behind its mains plug. Without power it hears and says nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Plugged:
    """An emulator as its wire sees it. `is_on`: whether there is power."""

    def __init__(self, emulator: Any, is_on: Callable[[], bool]) -> None:
        self.emulator = emulator
        if hasattr(emulator, "chunk_bytes"):
            self.chunk_bytes = emulator.chunk_bytes
        self._is_on = is_on

    def attach(self, send: Callable[[bytes], None]) -> PluggedSession:
        """A host has connected. A device without power takes no connection."""
        if not self._is_on():
            raise ConnectionRefusedError("the device has no power")

        def send_if_on(data: bytes) -> None:
            if self._is_on():
                send(data)

        return PluggedSession(self.emulator.attach(send_if_on), self._is_on)


class PluggedSession:
    """One connection to such an emulator."""

    def __init__(self, session: Any, is_on: Callable[[], bool]) -> None:
        self._session = session
        self._is_on = is_on

    def received(self, data: bytes) -> None:
        """Bytes from the host."""
        if self._is_on():
            self._session.received(data)

    def closed(self) -> None:
        """The host has left."""
        self._session.closed()

"""What the tests of wires and transports share: a device that answers, and a receiver that remembers."""

from __future__ import annotations

import asyncio


class Echo:
    """Answers every chunk with itself in capitals, greets at each open, and keeps what happened, with loop times."""

    def __init__(self, greeting: bytes = b"", chunk_bytes: int | None = None) -> None:
        self.greeting = greeting
        self.log: list[tuple[float, str, bytes]] = []
        self.sessions: list[EchoSession] = []
        if chunk_bytes is not None:
            self.chunk_bytes = chunk_bytes

    def attach(self, send):
        session = EchoSession(self, send)
        self.sessions.append(session)
        self.note("attach", b"")
        if self.greeting:
            send(self.greeting)
        return session

    def note(self, what: str, data: bytes) -> None:
        self.log.append((asyncio.get_running_loop().time(), what, data))

    @property
    def events(self) -> list[str]:
        return [what for _, what, _ in self.log]

    @property
    def heard(self) -> bytes:
        return b"".join(data for _, what, data in self.log if what == "received")


class EchoSession:
    def __init__(self, echo: Echo, send) -> None:
        self.echo = echo
        self.send = send

    def received(self, data: bytes) -> None:
        self.echo.note("received", data)
        self.send(data.upper())

    def closed(self) -> None:
        self.echo.note("closed", b"")


class Listener:
    """A Receiver: bytes with their loop times, and every connection_lost."""

    def __init__(self) -> None:
        self.chunks: list[tuple[float, bytes]] = []
        self.lost: list[object] = []
        self._changed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        assert not self.lost, "a callback after connection_lost"
        self.chunks.append((asyncio.get_running_loop().time(), data))
        self._changed.set()

    def connection_lost(self, error) -> None:
        self.lost.append(error)
        self._changed.set()

    @property
    def data(self) -> bytes:
        return b"".join(data for _, data in self.chunks)

    async def until(self, condition, timeout_s: float = 20.0) -> None:
        """Wait until `condition(self)` holds; the generous bound only ends a test that fails."""
        async with asyncio.timeout(timeout_s):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()


async def settle(condition, timeout_s: float = 20.0) -> None:
    """Wait (on the real clock of a stock loop, or virtually) until `condition()` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)

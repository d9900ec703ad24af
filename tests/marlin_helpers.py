"""A host for the emulated Marlin board in virtual time: it sends what it is told and notes replies and times."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import reduce
from typing import Any

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_firmware import MarlinBuild, full_build
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.plant.optics import Head, Optics


def framed(n: int, command: str) -> bytes:
    """`N<n> <command>*<checksum>` and a line end; the checksum by the plainest code."""
    text = f"N{n} {command}".encode()
    return text + b"*%d\n" % reduce(lambda a, b: a ^ b, text, 0)


class Host:
    """One board, its plant, and the replies so far as (time_s, line)."""

    def __init__(self, loop: VirtualLoop, **build: Any) -> None:
        build.setdefault("reset_on_open", False)
        self.loop = loop
        self.gantry = Gantry(frame_mm=((0.0, 0.0, 0.0), (250.0, 150.0, 100.0)))
        self.head = Head()
        self.optics = Optics(self.gantry, self.head, keep_history=True)
        self.board = MarlinEmulator(self.gantry, MarlinBuild(**build))
        self.replies: list[tuple[float, str]] = []
        self.session = self.board.attach(self._heard)
        self._rest = b""
        self._oks = 0
        self._ok = asyncio.Event()

    def _heard(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode("latin-1")
            self.replies.append((self.loop.time(), text))
            if text.startswith("ok"):
                self._oks += 1
                self._ok.set()

    @property
    def lines(self) -> list[str]:
        """Reply lines so far."""
        return [text for _, text in self.replies]

    @property
    def oks(self) -> int:
        """Replies so far that begin with ok."""
        return self._oks

    def send(self, *commands: str | bytes) -> None:
        """Bytes on the line at this instant; text gets a line end."""
        for command in commands:
            self.session.received(command if isinstance(command, bytes) else command.encode() + b"\n")

    async def ask(self, command: str | bytes, *, within_s: float = 600.0) -> list[str]:
        """Send one command and wait for its ok; return the lines up to it."""
        first, wanted = len(self.replies), self._oks + 1
        self.send(command)
        async with asyncio.timeout(within_s):
            while self._oks < wanted:
                self._ok.clear()
                await self._ok.wait()
        return [text for _, text in self.replies[first:]]

    async def stream(self, commands: list[str]) -> None:
        """Ask them one after the other."""
        for command in commands:
            await self.ask(command)

    def settle(self) -> None:
        """Bring the optics up to now."""
        self.optics.settle(self.loop.time())


def with_board(story: Callable[[Host], Awaitable[Any]], **build: Any) -> Any:
    """Run `story(host)` in virtual time on a fresh board."""

    async def main(loop: VirtualLoop) -> Any:
        return await story(Host(loop, **build))

    return run_virtual(main)


def with_full_board(story: Callable[[Host], Awaitable[Any]], **build: Any) -> Any:
    """The same on a board with every feature, but silent when idle."""
    return with_board(story, **{**asdict(full_build(no_timeouts_s=0.0, reset_on_open=False)), **build})

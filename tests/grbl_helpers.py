"""A host for the emulated Grbl board in virtual time: it sends what it is told and notes replies and times."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.grbl import GrblEmulator
from hil_sim.world.emulators.grbl_firmware import GrblBuild, Inputs
from hil_sim.world.plant.gantry import Gantry, Point, Run
from hil_sim.world.plant.optics import Head, Optics

# 80 steps/mm, 100 mm/s, 500 mm/s2: the machine of the worked examples.
BENCH = {
    100: 80, 101: 80, 102: 80, 110: 6000, 111: 6000, 112: 6000, 120: 500, 121: 500, 122: 500, 130: 250, 131: 150,
    132: 100,
}  # fmt: skip
BYTE_S = 10 / 115200
LASER = {**BENCH, 32: 1}
FRAME = ((0.0, 0.0, 0.0), (250.0, 150.0, 100.0))


class Host:
    """One board, its plant, and the replies so far as (time_s, line)."""

    def __init__(
        self,
        loop: VirtualLoop,
        *,
        inputs: Inputs | None = None,
        start_mm: Point = (0.0, 0.0, 0.0),
        frame_mm: tuple[Point, Point] | None = None,
        **build: Any,
    ) -> None:
        build.setdefault("reset_on_open", False)
        build.setdefault("settings", BENCH)
        self.loop = loop
        self.gantry = Gantry(start_mm=start_mm, frame_mm=frame_mm)
        self.head = Head()
        self.optics = Optics(self.gantry, self.head, keep_history=True)
        self.inputs = inputs or Inputs()
        self.board = GrblEmulator(self.gantry, GrblBuild(**build), self.inputs)
        self.replies: list[tuple[float, str]] = []
        self._rest = b""
        self._changed = asyncio.Event()
        self.session = self.board.attach(self._heard)

    def _heard(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for line in lines:
            self.replies.append((self.loop.time(), line.decode("latin-1")))
        self._changed.set()

    @property
    def lines(self) -> list[str]:
        """Reply lines so far."""
        return [text for _, text in self.replies]

    @property
    def answers(self) -> list[str]:
        """The oks and errors among them."""
        return [text for text in self.lines if text == "ok" or text.startswith("error:")]

    @property
    def runs(self) -> list[Run]:
        """What the gantry did."""
        self.gantry.advance_to(self.loop.time())
        return [entry for entry in self.gantry.history if isinstance(entry, Run)]

    @property
    def at(self) -> Point:
        """Where the gantry truly is."""
        return self.gantry.position_at(self.loop.time())

    def send(self, *what: str | bytes) -> None:
        """Bytes on the line at this instant; text gets a line end."""
        for item in what:
            self.session.received(item if isinstance(item, bytes) else item.encode() + b"\n")

    async def feed(self, *lines: str) -> None:
        """Send lines without waiting for answers, at the pace of a wire, but not before the last one is done."""
        for line in lines:
            await asyncio.sleep(max((len(line) + 1) * BYTE_S, 1e-3))
            self.send(line)

    async def until(self, holds: Callable[[], bool], *, within_s: float = 600.0) -> None:
        """Wait for replies until `holds`."""
        async with asyncio.timeout(within_s):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def ask(self, line: str, *, within_s: float = 600.0) -> list[str]:
        """Send one line and wait for its answer; the lines up to it."""
        await asyncio.sleep((len(line) + 1) * BYTE_S)
        first, wanted = len(self.replies), len(self.answers) + 1
        self.send(line)
        await self.until(lambda: len(self.answers) >= wanted, within_s=within_s)
        return self.lines[first:]

    async def stream(self, *lines: str) -> None:
        """Ask them one after the other; each must be accepted."""
        for line in lines:
            answer = (await self.ask(line))[-1]
            assert answer == "ok", f"{line}: {answer}"

    async def status(self) -> str:
        """Ask for a report and give it back."""
        before = len(self.replies)
        self.send(b"?")
        await self.until(lambda: any(text.startswith("<") for text in self.lines[before:]), within_s=60)
        return next(text for text in self.lines[before:] if text.startswith("<"))

    async def idle(self) -> None:
        """Wait until nothing moves and nothing is queued."""
        while not (await self.status()).startswith("<Idle"):
            await asyncio.sleep(0.05)

    async def soft_reset(self) -> list[str]:
        """0x18, and what comes within a second."""
        before = len(self.replies)
        self.send(b"\x18")
        await asyncio.sleep(1.0)
        return self.lines[before:]

    def settle(self) -> None:
        """Bring the optics up to now."""
        self.optics.settle(self.loop.time())


def with_board(story: Callable[[Host], Awaitable[Any]], **build: Any) -> Any:
    """Run `story(host)` in virtual time on a fresh board."""

    async def main(loop: VirtualLoop) -> Any:
        return await story(Host(loop, **build))

    return run_virtual(main)

"""A cable between the Marlin link and an emulated board, on which a test may change any one line as it passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from firmware_bridge.links.marlin import MarlinLink
from firmware_bridge.transport import Transport
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.plant.gantry import Gantry, Run

BYTE_S = 10 / 115200
COUNT = 120
POINTS = [(20 + index * 0.25, 20 + index % 2 * 0.125) for index in range(COUNT)]
LINES = [b"G1 X%.3f Y%.3f F6000 S500" % point for point in POINTS]
Change = Callable[[bytes], bytes]


class Cable(Transport):
    """115,200 baud each way. `to_board` and `to_host` get each line with its end and return what arrives of it;
    `sent` keeps what the link wrote, line by line, before that."""

    def __init__(self, link: MarlinLink, board: MarlinEmulator) -> None:
        super().__init__("cable:motion", link, BYTE_S)
        self.to_board: Change = lambda line: line
        self.to_host: Change = lambda line: line
        self.sent: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._free_s = {"to_board": 0.0, "to_host": 0.0}
        self._rest = b""
        self._session = board.attach(self._said)
        link.attach(self)

    def _send(self, data: bytes) -> None:
        for line in data.splitlines(keepends=True):
            self.sent.append(line)
            if arrives := self.to_board(line):
                self._carry("to_board", arrives, self._session.received)

    def _said(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if arrives := self.to_host(line + b"\n"):
                self._carry("to_host", arrives, self._heard)

    def _heard(self, data: bytes) -> None:
        if self.is_open:
            self._receiver.data_received(data)

    def _carry(self, way: str, data: bytes, deliver: Callable[[bytes], None]) -> None:
        self._free_s[way] = max(self._free_s[way], self._loop.time()) + len(data) * BYTE_S
        self._loop.call_at(self._free_s[way], deliver, data)

    def _waiting_bytes(self) -> int:
        return 0

    def _release(self) -> None:
        self._session.closed()


@dataclass
class Talk:
    """A link that has made the board's acquaintance, and all that lies behind it."""

    loop: VirtualLoop
    link: MarlinLink
    cable: Cable
    board: MarlinEmulator
    gantry: Gantry = field(repr=False)

    def ends(self) -> list[tuple[float, float]]:
        """Where the moves that were executed end, mm."""
        runs = [run for run in self.gantry.history if isinstance(run, Run)]
        return [(round(run.end_mm[0], 3), round(run.end_mm[1], 3)) for run in runs]


def talking(story: Callable[[Talk], Coroutine[Any, Any, Any]], build: MarlinBuild | None = None) -> Any:
    """`story` with a link and a board of this build, in virtual time; none of a board's bytes may have overrun."""

    async def main(loop: VirtualLoop) -> Any:
        gantry, link = Gantry(), MarlinLink()
        board = MarlinEmulator(gantry, build)
        talk = Talk(loop, link, Cable(link, board), board, gantry)
        await link.handshake(10.0)
        try:
            return await story(talk)
        finally:
            link.close()

    return run_virtual(main)


def once(match: Callable[[bytes], bool], change: Change) -> Change:
    """Change the first line that matches, and no other."""
    left = [True]

    def passes(line: bytes) -> bytes:
        if left and match(line):
            left.clear()
            return change(line)
        return line

    return passes


def nth(number: int, begins: bytes, change: Change) -> Change:
    """Change the `number`-th line, from 1, that begins so."""
    seen = [0]

    def passes(line: bytes) -> bytes:
        seen[0] += line.startswith(begins)
        return change(line) if line.startswith(begins) and seen[0] == number else line

    return passes

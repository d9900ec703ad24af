"""What lies under Grbl's main program: the serial line of its board, the clock, the timers and the switches.

A board is entered from outside, by bytes, by a timer or by a question about its state: `_begin` brings the clock up to
date first, and with it everything that has happened by itself since. What is printed takes its time on the line.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf

from hil_sim.world.emulators.grbl_firmware import Firmware, GrblBuild, Inputs
from hil_sim.world.emulators.grbl_line import Ears, ReceiveRing
from hil_sim.world.emulators.grbl_settings import Eeprom
from hil_sim.world.emulators.grbl_states import State
from hil_sim.world.emulators.line_session import LineSession
from hil_sim.world.plant.gantry import Gantry

_BITS = 10


class Board(ABC):
    """One board on one serial line, driving `gantry`; what it does with the bytes is the subclass's."""

    chunk_bytes = 64  # less than half the ring, so that one delivery never overruns what a paced line could not

    def __init__(self, gantry: Gantry, build: GrblBuild, inputs: Inputs) -> None:
        self.build = build
        self.gantry = gantry
        self.inputs = inputs
        self.eeprom = Eeprom(build.settings)
        self.eeprom.coordinates["G54"] = build.work_offset_mm
        self.boot_bytes = self.lines_done = self.errors = self.resets = 0
        self._byte_s = _BITS / build.baud
        self._loop: asyncio.AbstractEventLoop | None = None
        self._send: Callable[[bytes], None] | None = None
        self._session: LineSession | None = None
        self._latest_s = 0.0
        self._sent_s = -inf  # when all that was printed so far has left
        self._timer: asyncio.TimerHandle | None = None  # of the main program
        self._motion_timer: asyncio.TimerHandle | None = None
        self._report_timer: asyncio.TimerHandle | None = None
        self._ears = Ears(self._byte_s)
        self._ring = ReceiveRing(build.rx_buffer)
        self.firmware = Firmware(build, gantry, self.eeprom, inputs, self._say)
        self.firmware.ring_free = lambda: self._ring.free
        self.firmware.deafen = self._ears.deafen
        gantry.driven_by(self._advance)

    # ---- the line ---------------------------------------------------------------------------------------------------
    def attach(self, send: Callable[[bytes], None]) -> LineSession:
        """A host has opened the port."""
        self._loop = asyncio.get_running_loop()
        self._send = send
        self._session = session = LineSession(self)
        if self.build.reset_on_open:
            self.reset()
        return session

    def hung_up(self, session: LineSession) -> None:
        """The host of that open has left; the board lives on."""
        if session is self._session:
            self._send = self._session = None

    def received(self, session: LineSession, data: bytes) -> None:
        """Bytes from the host, as the wire brings them."""
        if session is self._session:
            self._receive(data)

    @abstractmethod
    def _receive(self, data: bytes) -> None:
        """Bytes at the receiver's pin."""

    @abstractmethod
    def reset(self) -> None:
        """DTR pulse or reset button: everything is forgotten but the EEPROM, position included."""

    def _say(self, line: str) -> None:
        data = line.encode("latin-1") + b"\r\n"
        self._sent_s = max(self._sent_s, self.firmware.now_s) + len(data) * self._byte_s
        if self._send is not None:
            self._send(data)

    # ---- what the world may ask -------------------------------------------------------------------------------------
    @property
    def planner_free(self) -> int:
        """Free planner blocks now."""
        self._begin()
        return self.firmware.planner.free

    @property
    def state(self) -> State:
        """The machine state now."""
        self._begin()
        return self.firmware.state

    @property
    def dropped_bytes(self) -> int:
        """Bytes that found the receive ring full."""
        return self._ring.lost

    @property
    def deaf_bytes(self) -> int:
        """Bytes that came while an EEPROM write had stopped the interrupts."""
        return self._ears.missed

    # ---- the clock --------------------------------------------------------------------------------------------------
    def _begin(self) -> float:
        """Every entry: the time now, and what has happened by itself since the last one."""
        latest_s = self._latest_s
        if self._loop is not None and (now_s := self._loop.time()) > latest_s:
            self._latest_s = latest_s = now_s
        self.firmware.now_s = latest_s
        self.firmware.settle(latest_s)
        return latest_s

    def _advance(self, t_s: float) -> None:
        """For the gantry: moves begun by `t_s`, but never later than the present, where a host may still change
        them.
        """
        now_s = self._latest_s
        if self._loop is not None:
            now_s = max(now_s, self._loop.time())
        self.firmware.settle(min(t_s, now_s))

    def _at(self, at_s: float, what: Callable[[], None]) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_at(at_s, what)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cancel_timers(self) -> None:
        self._cancel_timer()
        for timer in (self._motion_timer, self._report_timer):
            if timer is not None:
                timer.cancel()
        self._motion_timer = self._report_timer = None

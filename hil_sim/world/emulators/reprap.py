"""An emulated RepRapFirmware board (Duet) on a serial line: bytes in, bytes out.

One line at a time: while a command waits (for a free move, for standstill, for heat) no byte is read, so nothing, an
M112 neither, overtakes it on this channel; up to `rx_buffer` bytes wait, and what comes on top is an overrun that
spoils its line. `ok` comes when a command is done or its move is taken, without a line number; `Error: ` and
`Warning: ` lines come before an ok of their own. Lines with a bad check get no answer at all (see `reprap_lines`).

Source: Duet3D `GCodes.cpp` (`HandleReply`), `GCodes2.cpp` (`HandleResult` and the commands), 3.5. Unverified: what a
stopped board answers to the commands that it does not carry out (here: ok, and nothing is done), the boot's text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hil_sim.world.emulators.line_session import LineSession
from hil_sim.world.emulators.marlin_firmware import new_heaters
from hil_sim.world.emulators.reprap_commands import COMMANDS, reporting_commands
from hil_sim.world.emulators.reprap_lines import OVERRUN, Line, LineReader, Words, read_line, split_commands
from hil_sim.world.emulators.reprap_machine import MARLIN, NAME, Machine, Refused, RepRapBuild, Wait
from hil_sim.world.plant.gantry import Gantry

_STOPPED = "Emergency Stop! Reset the controller to continue."
_RESET_S = 1.0  # M999 waits so long, and is never answered
_HEEDED_WHEN_STOPPED = reporting_commands()


class RepRapEmulator:
    """One board on one serial line, driving `gantry`.

    For the truth: `bad_lines` (dropped for their check), `dropped_bytes` (overrun), `boot_bytes`, `commands_done`,
    `resets`, `planner`.
    """

    chunk_bytes = 64

    def __init__(self, gantry: Gantry, build: RepRapBuild | None = None) -> None:
        self.build = build or RepRapBuild()
        self.gantry = gantry
        self.heaters = new_heaters()
        self.bad_lines = 0
        self.dropped_bytes = 0
        self.boot_bytes = 0
        self.commands_done = 0
        self.resets = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._send: Callable[[bytes], None] | None = None
        self._session: LineSession | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._latest_s = 0.0
        self._due_s = 0.0
        self._wake()
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
        """For the session: its host has left."""
        if session is self._session:
            self._send = self._session = None

    def reset(self) -> None:
        """Reset button or M999: everything is forgotten, position included."""
        if self._loop is None:  # power may go before any host has come
            self._loop = asyncio.get_running_loop()
        self.machine.now_s = self._now()
        self.machine.stop()
        self.resets += 1
        self._cancel()
        self._wake()
        self.gantry.datum((0.0, 0.0, 0.0))
        self._is_booting = True
        self._schedule(self._now() + self.build.boot_s, self._booted)

    @property
    def planner_free(self) -> int:
        """Moves that the ring still takes."""
        self._advance(self._now())
        return self.machine.planner.free

    def _wake(self) -> None:
        self._is_booting = False
        self._ring = b""
        self._reader = LineReader()
        self._line: Line | None = None  # in work
        self._commands: list[Words] = []  # of it, the first in work
        self._work: Wait | None = None
        self.machine: Machine = Machine(self.build, self.gantry, self.heaters)
        self.machine.booted_s = self.machine.now_s = self._latest_s
        self.planner = self.machine.planner

    def _booted(self) -> None:
        self._timer = None
        self._is_booting = False
        self._say(f"{NAME} is up and running.")

    # ---- receiving --------------------------------------------------------------------------------------------------
    def received(self, session: LineSession, data: bytes) -> None:
        """For the session: bytes from its host."""
        if session is not self._session:
            return
        if self._is_booting:
            self.boot_bytes += len(data)
            return
        if self._line is None:
            self._read(self._ring + data)
            return
        room = self.build.rx_buffer - len(self._ring)
        self._ring += data[:room]
        if len(data) > room:
            self.dropped_bytes += len(data) - room
            if self._ring[-1:] != bytes((OVERRUN,)):
                self._ring = self._ring[:-1] + bytes((OVERRUN,))

    def _read(self, data: bytes) -> None:
        """Bytes up to the first line that is worth a command; the rest waits."""
        self._ring = b""
        while data:
            parts = self._reader.split(data)
            if parts is None:
                return
            raw, data = parts
            line = read_line(raw, needs_check=self.build.needs_check, needs_crc=self.build.needs_crc)
            if line is None:
                continue
            self.machine.last_line_no = self.machine.last_line_no + 1 if line.number is None else line.number
            if line.is_bad:
                self.bad_lines += 1
                if self.build.reports_checksum_errors and line.number is not None:
                    self._say(f"rs  Checksum error on line {line.number}" if line.number else "rs  ")
                continue
            self._line, self._commands = line, split_commands(line.code)
            self._ring = data
            self._schedule(self._now() + self.build.loop_s, self._begin)
            return

    # ---- executing --------------------------------------------------------------------------------------------------
    def _begin(self) -> None:
        """The first command that is left of the line."""
        self._timer = None
        machine, line, words = self.machine, self._line, self._commands[0]
        assert line is not None
        machine.now_s = self._now()
        machine.line_no = line.number
        if line.is_long:
            self._commands = self._commands[:1]
            self._finish("Error: GCode command too long")  # wording of its place unverified
            return
        if words.code == "M999":
            self._work = self._reset_later()
        elif words.code == "M112":
            machine.stop()
            self._commands = self._commands[:1]
            self._finish(_STOPPED)
            return
        elif machine.is_stopped and words.code not in _HEEDED_WHEN_STOPPED:
            self._finish("")
            return
        elif not words.code:
            self._finish(f"Error: Bad command: {words.text}")
            return
        else:
            handler = COMMANDS.get(words.code)
            if handler is None:
                self._finish(f"Warning: {words.code}: Command is not supported")
                return
            try:
                outcome = handler(machine, words)
            except Refused as refusal:
                self._refuse(refusal)
                return
            if isinstance(outcome, str):
                self._finish(outcome)
                return
            self._work = outcome
        self._due_s = machine.now_s
        self._go_on()

    def _reset_later(self) -> Wait:
        ends_s = self.machine.now_s + _RESET_S
        while self.machine.now_s < ends_s:
            yield ends_s
        self.reset()
        return ""

    def _go_on(self) -> None:
        """The waiting command looks again."""
        self._timer = None
        if self._now() < self._due_s:  # a timer may come one clock tick early: what was awaited is taken as come
            self._latest_s = self._due_s
        self.machine.now_s = self._latest_s
        work, machine = self._work, self.machine
        assert work is not None
        try:
            until_s = next(work)
        except StopIteration as end:
            if machine is self.machine:  # else the command was a reset
                self._finish(end.value)
        except Refused as refusal:
            self._refuse(refusal)
        else:
            self._schedule(until_s, self._go_on)

    def _refuse(self, refusal: Refused) -> None:
        kind = "Warning" if refusal.is_warning else "Error"
        self._finish(f"{kind}: {self._commands[0].code}: {refusal}")

    def _finish(self, reply: str) -> None:
        """Answer one command as the chosen manner does, then the next of the line, then the next line."""
        self._work = None
        words, is_last = self._commands.pop(0), len(self._commands) == 0
        if self.machine.compatibility != MARLIN:
            if reply or is_last:
                self._say(reply)
        elif not is_last:
            if reply:
                self._say(reply)
        elif words.code == "M105":
            self._say(f"ok {reply}")
        else:
            self._say(f"{reply}\nok" if reply else "ok")
        self.commands_done += 1
        if self._commands:
            self._begin()
            return
        self._line = None
        if self._ring:
            self._read(self._ring)

    # ---- small things -----------------------------------------------------------------------------------------------
    def _now(self) -> float:
        if self._loop is not None and (now_s := self._loop.time()) > self._latest_s:
            self._latest_s = now_s
        return self._latest_s

    def _advance(self, t_s: float) -> None:
        """For the gantry: moves begun by `t_s`, but never later than the present."""
        self.machine.planner.advance(min(t_s, self._now()))

    def _schedule(self, at_s: float, what: Callable[[], None]) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_at(at_s, what)
        self._due_s = at_s

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _say(self, text: str) -> None:
        if self._send is not None:
            self._send(text.encode("utf-8") + b"\n")

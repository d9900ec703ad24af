"""An emulated Marlin board: bytes in, bytes out, with the buffers and the time a real one has.

The serial side: a 128-byte receive ring that the wire fills at its pace; a queue of four commands, of which the first
is in work; one command at a time; `ok` when it is done or planned. While a command waits (a G1 for a free planner
block, an M400) the firmware idles, and idling it still reads lines into the queue; once four are there nobody reads
the ring: what does not fit is lost, as on the board.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from hil_sim.world.emulators.line_session import LineSession
from hil_sim.world.emulators.marlin_commands import Wait, commands_of
from hil_sim.world.emulators.marlin_debug import DebugConsole, Debugged, DebuggedChecker
from hil_sim.world.emulators.marlin_firmware import Firmware, Heaters, MarlinBuild, Settings, new_heaters
from hil_sim.world.emulators.marlin_moves import extruding_move, linear_words, watched_move
from hil_sim.world.emulators.marlin_protocol import (
    KILLED,
    NUMBER_ABSENT,
    STR_ERROR,
    Command,
    EmergencyScanner,
    LineAssembler,
    LineChecker,
    parse,
)
from hil_sim.world.emulators.marlin_timers import Timers
from hil_sim.world.plant.gantry import Gantry

_RUNNING, _BOOTING, _DEAD = "running", "booting", "dead"
_EARLY = {b"M108": "M108", b"M112": "M112", b"M410": "M410"}


class MarlinEmulator:
    """One board on one serial line, driving `gantry`.

    `attach` opens the line (one host at a time; the board lives on when the host leaves). With `reset_on_open` every
    open resets the board, as a DTR pulse does; `reset()` is the button. Boot ends with `start`.

    For the truth: `heaters` (with what the world can do to them), `dropped_bytes` (ring overflow), `boot_bytes` (lost
    while booting), `commands_done`, `resends`, `planner.dry_runs`.
    """

    chunk_bytes = 64  # less than half the ring, so that one delivery never overruns what a paced line could not

    # CPython finds no more than 30 attributes of a class without slots the quick way, nor then its methods
    __slots__ = (
        "_assembler", "_blocked", "_busy_s", "_checker", "_commands", "_debug", "_heaters", "_latest_s", "_look_s",
        "_loop", "_queue", "_ring", "_says_wait", "_scanner", "_send", "_session", "_stall_s", "_state", "_stored",
        "_timer", "_timers", "_wait_s", "_work", "boot_bytes", "build", "commands_done", "drop_line", "dropped_bytes",
        "firmware", "gantry", "planner", "resends", "resets",
    )  # fmt: skip

    def __init__(self, gantry: Gantry, build: MarlinBuild | None = None) -> None:
        self.build = build or MarlinBuild()
        self.gantry = gantry
        self.dropped_bytes = 0
        self.boot_bytes = 0
        self.commands_done = 0
        self.resends = 0
        self.resets = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._send: Callable[[bytes], None] | None = None
        self._session: LineSession | None = None
        self._stored: Settings | None = None
        self.drop_line: Callable[[], None] | None = None  # the wire puts here what hangs it up
        self._latest_s = 0.0
        self._commands = commands_of(self.build)
        self._says_wait = self.build.no_timeouts_s > 0.0
        self._heaters = new_heaters()
        self._timer: asyncio.TimerHandle | None = None
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
        elif self._state == _RUNNING:
            self._timers.listen(True)
        return session

    def reset(self) -> None:
        """DTR pulse or reset button: everything is forgotten but stored settings, position included."""
        if self._loop is None:  # power may go before any host has come
            self._loop = asyncio.get_running_loop()
        now_s = self._now()
        self.resets += 1
        self.firmware.now_s = now_s
        self.firmware.quick_stop(beam_stays=False)
        self._cancel_timer()
        self._timers.cancel()
        self._stored = self.firmware.stored
        self._wake()
        for heater in self._heaters:
            heater.set_target(now_s, 0.0)
        self.gantry.datum((0.0, 0.0, 0.0))
        self._state = _BOOTING
        assert self._loop is not None
        self._timer = self._loop.call_at(now_s + self.build.boot_s, self._booted)

    @property
    def killed(self) -> bool:
        """Whether the board has halted and hears nothing until a reset."""
        return self._state == _DEAD

    @property
    def heaters(self) -> Heaters:
        """Hot end and bed, as the world sees them."""
        return self._heaters

    @property
    def planner_free(self) -> int:
        """Free planner blocks now."""
        self._advance(self._now())
        return self.firmware.planner.free

    def _wake(self) -> None:
        """Power-on state of everything that RAM holds."""
        self._state = _RUNNING
        self._ring = b""
        self._assembler = LineAssembler()
        strict = self.build.numbers_with_checksums
        self._debug = DebugConsole(self._debugged()) if self.build.debug_commands else None
        self._checker = DebuggedChecker(self._debug, strict) if self._debug is not None else LineChecker(strict)
        self._scanner = EmergencyScanner() if self.build.emergency_parser else None
        self._queue: deque[Command] = deque()
        self._work: Wait | None = None  # the waiting command's generator
        self._blocked = False  # the first command waits (for a planner block, or in its generator)
        self._wait_s = 0.0  # what it waits for
        self._look_s = 0.0  # when it looks again: then, or at the next busy message
        self._busy_s = 0.0
        self._stall_s = 0.0  # after a quick stop nothing is executed before this time
        fw: Firmware = Firmware(self.build, self.gantry, self._heaters, self._stored, self._say, self._latest_s)
        self.firmware: Firmware = fw
        self.planner = fw.planner
        fw.set_current_line = self._set_current_line
        fw.request_resend = self._request_resend
        fw.kill = self._kill
        self._timers: Timers = Timers(fw, now=self._now, call_at=self._call_at, say=self._say, halt=self._halt)
        fw.reschedule_reports = self._timers.reschedule_reports

    def _debugged(self) -> Debugged:
        return Debugged(
            say=self._say,
            kill=self._kill,
            reset=self.reset,
            doze=self._doze,
            end_wait=lambda: self._emergency("M108"),
            set_ambient=self._set_ambient,
            drop_line=lambda: self.drop_line,
        )

    def _booted(self) -> None:
        self._timer = None
        self._state = _RUNNING
        if self._send is not None:
            self._timers.listen(True)
        self._emit(
            b"start\nMarlin 2.1.2.5 (emulated)\necho: Last Updated: 2024-01-01 | Author: (none)\n"
            b"echo: Free Memory: 4096  PlannerBufferBytes: 1232\necho:Hardcoded Default Settings Loaded\n"
        )

    def hung_up(self, session: LineSession) -> None:
        """For the session: its host has left."""
        if session is self._session:
            self._send = self._session = None
            self._timers.listen(False)

    # ---- receiving --------------------------------------------------------------------------------------------------
    def received(self, session: LineSession, data: bytes) -> None:
        """For the session: bytes from its host."""
        if session is not self._session:
            return
        if self._state != _RUNNING:
            if self._state == _BOOTING:
                self.boot_bytes += len(data)
            return
        if self._scanner is not None:
            for code in self._scanner.scan(data):
                self._emergency(code)
                if self._state != _RUNNING:
                    return
        if b"\r" in data:
            data = data.replace(b"\r", b"\n")
        queued = len(self._queue)
        if queued and (not self._blocked or queued >= self.build.command_buffer):
            self._keep(self._ring + data)
        else:
            self._read(self._ring + data, self._now())

    def _keep(self, data: bytes) -> None:
        """Bytes that wait in the ring; the ones over its size were never seen by the firmware."""
        over = len(data) - self.build.rx_buffer
        if over > 0:
            self.dropped_bytes += over
            data = data[: self.build.rx_buffer]
        self._ring = data

    def _read(self, data: bytes, now_s: float) -> None:
        """Marlin's get_serial_commands: bytes to lines to checked commands, until the queue is full or the ring is
        empty.
        """
        queue, room, assembler = self._queue, self.build.command_buffer, self._assembler
        self._ring = b""
        while len(queue) < room:
            if not assembler.head:
                data = data.lstrip(b"\n")  # empty lines have no answer
            if not data:
                break
            parts = assembler.split(data)
            if parts is None:
                data = b""
                break
            line, data = parts
            command = self._checker.admit(line)
            if command is None:
                continue  # nothing but a comment has no answer either
            if isinstance(command, str):
                self._emit(f"{STR_ERROR}{command}{self._checker.last_n}\n".encode())
                if command == NUMBER_ABSENT:
                    continue
                self._request_resend()
                data = b""
                break
            if command.number is None and self._scanner is None and command.text[:4] in _EARLY:
                self._emergency(_EARLY[command.text[:4]])
                if self._state != _RUNNING:
                    return
            queue.append(command)
        if data:
            self._keep(data)
        if queue and self._timer is None:
            if self._says_wait:
                self._timers.busy()
            self._begin(now_s)

    def _request_resend(self) -> None:
        """flush_and_request_resend: the ring and the unfinished line are gone."""
        self._ring = b""
        self._assembler.clear()
        self.resends += 1
        self._emit((b"rs N%d\n" if self.build.short_resend else b"Resend: %d\n") % (self._checker.last_n + 1))
        if self.build.ok_after_resend:
            self._emit(b"ok\n")

    def _set_current_line(self, n: int) -> None:
        self._checker.last_n = n

    # ---- executing --------------------------------------------------------------------------------------------------
    def _begin(self, now_s: float) -> None:
        """The first command of the queue is executed once it is parsed; a move that will find the ring full waits at
        once for the block to end.
        """
        at_s = now_s + self.build.parse_s
        planner = self.planner
        until_s = planner.changes_s
        is_full = not planner.free and until_s > at_s >= self._stall_s
        if is_full and self._queue[0].linear is not None and not self.firmware.debug_flags & 1:
            self._block(until_s, at_s)
            return
        self._schedule(at_s, self._execute)

    def _execute(self) -> None:
        """The first command of the queue, from its beginning."""
        self._timer = None
        now_s = self._now()
        if now_s < self._stall_s:
            self._schedule(self._stall_s, self._execute)
            return
        self.firmware.now_s = now_s
        command = self._queue[0]
        if self.firmware.debug_flags & 1:
            self._say("echo:" + command.text.decode("latin-1"))
        if command.linear is not None and not self.firmware.switches_watched:
            self._linear(command)
            return
        words = parse(command.text)
        self.firmware.line_no = int(command.number) if command.number else None
        if words.code in ("G0", "G1"):
            if self.firmware.switches_watched:
                self._work = watched_move(self.firmware, words)
            else:
                self._work = extruding_move(self.firmware, words) if words.seen("E") else None
            if self._work is None:
                self._linear(command._replace(linear=linear_words(command.number, words)))
                return
        else:
            handler = self._commands.get(words.code)
            if handler is None:
                self._say(f'echo:Unknown command: "{words.text}"')
                self._finish()
                return
            self._work = handler(self.firmware, words)
        if self._state != _RUNNING:
            return
        if self._work is None:
            self._finish()
        else:
            self._continue_work()

    def _linear(self, command: Command) -> None:
        """A G0/G1: planned now, or blocked until a planner block is free."""
        firmware, planner = self.firmware, self.planner
        planner.advance(firmware.now_s)
        if not planner.free:
            self._queue[0] = command
            self._block(planner.changes_s, firmware.now_s)
            return
        assert command.linear is not None
        number, rapid, x, y, z, feed, s, _ = command.linear
        if feed is not None:
            mm_min = float(feed)
            if mm_min > 0.0:
                firmware.feed_mm_s = mm_min / 60.0
        firmware.move(
            rapid == b"0",
            None if x is None else float(x),
            None if y is None else float(y),
            None if z is None else float(z),
            None if s is None else float(s),
            int(number) if number else None,
        )
        self._finish()

    def _continue_work(self) -> None:
        assert self._work is not None
        until_s = next(self._work, None)
        if self._state != _RUNNING:
            return
        if until_s is None:
            self._work = None
            self._finish()
        else:
            self._block(until_s, self.firmware.now_s)

    def _block(self, until_s: float, since_s: float) -> None:
        """The command in work waits; every keepalive interval a busy message goes out."""
        keepalive_s = self.firmware.keepalive_s
        is_first = not self._blocked
        if is_first:
            self._blocked = True
            self._busy_s = since_s + keepalive_s
        self._wait_s = until_s
        if keepalive_s > 0.0 and self._busy_s < until_s:
            until_s = self._busy_s
        self._look_s = until_s
        assert self._loop is not None
        self._timer = self._loop.call_at(until_s, self._look_again)
        if is_first and self._ring:
            self._read(self._ring, since_s)

    def _look_again(self) -> None:
        self._timer = None
        firmware = self.firmware
        keepalive_s = firmware.keepalive_s
        now_s = self._now()
        if now_s < self._look_s:  # a timer may come one clock tick early: what was awaited is taken as come
            now_s = self._latest_s = self._look_s
        firmware.now_s = now_s
        if now_s >= self._busy_s and keepalive_s > 0.0:
            self._say(firmware.busy)
            self._busy_s = now_s + keepalive_s
            if now_s < self._wait_s:
                self._block(self._wait_s, now_s)
                return
        if self._work is None:
            self._linear(self._queue[0])
        else:
            self._continue_work()

    def _finish(self) -> None:
        """ok, and on to the next command."""
        queue, firmware = self._queue, self.firmware
        self._blocked = False
        command = queue[0]
        if self._debug is not None and (sleep_s := self._debug.sleep_s(command)):
            self._schedule(firmware.now_s + sleep_s, self._finish_late)
            return
        if firmware.own_ok:
            firmware.own_ok = False
        elif self.build.advanced_ok:
            # The command still counts among the buffered ones while it answers, as in ok_to_send.
            planner, now_s = self.planner, firmware.now_s
            if planner.changes_s <= now_s:
                planner.advance(now_s)
            free, room = planner.free, self.build.command_buffer - len(queue)
            if command.number is None:
                self._emit(b"ok P%d B%d\n" % (free, room))
            else:
                self._emit(b"ok N%b P%d B%d\n" % (command.number, free, room))
        else:
            self._emit(b"ok\n")
        self.commands_done += 1
        queue.popleft()
        if self._ring:
            self._read(self._ring, firmware.now_s)
        if queue:
            if self._timer is None:
                self._begin(firmware.now_s)
        elif self._says_wait:
            self._timers.idle()

    def _finish_late(self) -> None:
        self._timer = None
        self.firmware.now_s = self._now()
        self._finish()

    def _set_ambient(self, temp_c: float) -> None:
        for heater in self._heaters:
            heater.set_ambient(self._now(), temp_c)

    def _doze(self, for_s: float) -> None:
        """Nothing is executed for so long, nor is what waits."""
        self._stall_s = max(self._stall_s, self._now() + for_s)
        if self._blocked:
            self._cancel_timer()
            self._look_s = max(self._look_s, self._stall_s)
            self._schedule(self._look_s, self._look_again)

    # ---- stops ------------------------------------------------------------------------------------------------------
    def _emergency(self, code: str) -> None:
        """M108, M112, M410 or M876 seen before the queue."""
        now_s = self.firmware.now_s = self._now()
        if code == "M112":
            self._kill()
        elif code == "M410":
            self.firmware.quick_stop(beam_stays=True)
            self._stall_s = now_s + 1.0
            if self._blocked:  # the waiting command is over; its ok comes when the stop has settled
                self._work = _stalled(self._stall_s)
                self._cancel_timer()
                self._block(self._stall_s, now_s)
        else:
            if code == "M108":
                self.firmware.heat_wait = self.firmware.user_wait = False
            else:
                self.firmware.answered()
            if self._blocked and self._work is not None:
                self._cancel_timer()
                self._look_s = now_s
                self._schedule(now_s, self._look_again)

    def _halt(self, why: str) -> None:
        """The firmware stops itself."""
        self._say(STR_ERROR + why)
        self._kill()

    def _kill(self, last_words: bytes = KILLED) -> None:
        """Steppers, beam and heaters off, one sentence, and then deaf until a reset."""
        self.firmware.now_s = self._now()
        self.firmware.quick_stop(beam_stays=False)
        self._cancel_timer()
        for heater in self._heaters:
            heater.set_target(self.firmware.now_s, 0.0)
        self._timers.cancel()
        self._queue.clear()
        self._ring = b""
        self._work = None
        self._state = _DEAD
        self._emit(last_words)
        self.firmware.action("poweroff")

    # ---- small things -----------------------------------------------------------------------------------------------
    def _now(self) -> float:
        latest_s = self._latest_s
        if self._loop is not None and (now_s := self._loop.time()) > latest_s:
            self._latest_s = latest_s = now_s
        return latest_s

    def _advance(self, t_s: float) -> None:
        """For the gantry: moves begun by `t_s`, but never later than the present, where a host may still change
        them.
        """
        self.planner.advance(min(t_s, self._now()))

    def _call_at(self, at_s: float, what: Callable[[], None]) -> asyncio.TimerHandle:
        if self._loop is None:  # the world may break a heater before any host has come
            self._loop = asyncio.get_running_loop()
        return self._loop.call_at(at_s, what)

    def _schedule(self, at_s: float, what: Callable[[], None]) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_at(at_s, what)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _say(self, line: str) -> None:
        self._emit(line.encode("latin-1") + b"\n")

    def _emit(self, data: bytes) -> None:
        if self._debug is not None:
            data = self._debug.said(data)
        if self._send is not None:
            self._send(data)


def _stalled(until_s: float) -> Wait:
    yield until_s

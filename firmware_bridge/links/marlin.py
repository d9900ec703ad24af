"""A conversation with Marlin: numbered and checksummed lines, a window by free buffer, and nothing believed twice.

The firmware's ok says that a line was taken and planned, not that it was executed, and an `ok` may be lost, doubled or
damaged on the way. So progress is never counted by oks alone:

* a build with ADVANCED_OK names the line in its ok (`ok N12 P15 B3`): exact;
* any other build is asked for a *marker* behind a group of lines: a numbered `M118 k<number>`, which it repeats (or
  M105, whose `ok T:...` no other line gives). Lines are taken strictly in number order, so the marker's answer proves
  every line before it. Plain oks only move the window; `acked` and the end of a command wait for the marker;
* a build with neither is asked, when its oks say that all is done, with a line numbered one too far: it answers with
  the number it wants, and that is the proof (every 32 lines and at the end; such a stream pauses for it);
* a silence is a doubt, and a doubt is a marker with the next number: either its answer comes (oks were lost) or the
  firmware names its last line (`Resend: n`) and the lines from n on go again.

Sources: behaviour of Marlin's gcode/queue.cpp; the failures handled are those that users of hosts report.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from firmware_bridge.errors import BridgeError, DeviceHalted, DeviceReset, LinkError, LinkTimeout, TransportError
from firmware_bridge.links.line_framing import (
    Acknowledge,
    Identity,
    LineSplitter,
    clean,
    frame_line,
    parse_identity,
    parse_numbered_ok,
    parse_ok,
    parse_resend,
    parse_temperatures,
    unsendable,
)
from firmware_bridge.links.marlin_boot import Boot
from firmware_bridge.links.marlin_flight import (
    MARKER_EVERY_LINES,
    MARKER_TEMPERATURE,
    RX_WINDOW_BYTES,
    Command,
    Entry,
    Flight,
    MarlinCounters,
    Stream,
    StreamJournal,
    resolve,
)
from firmware_bridge.links.marlin_patience import PATIENCE_S, Patience, Silence
from firmware_bridge.transport import Transport, open_transport

__all__ = ["MarlinCounters", "MarlinLink", "StreamJournal"]

GROUP_LINES = 16  # how many lines one journal commit covers
RESEND_CAP = 10
COMMAND_QUEUE_MAX = 32
REPLY_LINES_MAX = 500
_SLOW_COMMANDS = {b"G28": 120.0, b"G29": 300.0, b"G4": 120.0, b"M109": 300.0, b"M190": 300.0, b"M400": 120.0}


class MarlinLink:
    """One Marlin firmware on one transport. Made by `open`; a fatal error leaves the link failed and says why."""

    def __init__(self) -> None:
        self.identity = Identity()
        self.on_temperature: Callable[[dict[str, tuple[float, float]]], None] | None = None
        self.temperatures_time_s: float | None = None
        self.heard_s = asyncio.get_running_loop().time()  # when anything last came
        self.has_advanced_ok = False
        self.marker = ""
        self.free: tuple[int | None, int] | None = None  # planner blocks and queue slots, by the newest ok that tells
        self._loop = asyncio.get_running_loop()
        self._transport: Transport | None = None
        self._splitter = LineSplitter()
        self._error: BridgeError | None = None
        self._boot: Boot | None = None
        self._temperature_text = ""
        self._flight = Flight(1, "", needs_markers=False, is_blind=False)
        self._proven = 0  # every line up to this number is proven taken
        self._commands: deque[Command] = deque()
        self._awaited: deque[Command] = deque()  # commands sent, whose replies are being collected
        self._stream: Stream | None = None
        self._skip_ok = False  # the ok that follows at once belongs to a Resend or to a marker's echo
        self._stopped_by = ""
        self._last_line_said: int | None = None
        self._resend = (-1, 0)  # the line last asked for again, and how often in a row
        self._not_understood = ""
        self._blind_probe = False
        self._hold: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._patience = Patience(self._loop.time())

    # -- opening and closing ------------------------------------------------------------------------------------

    @classmethod
    async def open(cls, url: str, *, boot_timeout_s: float = 10.0, temperature_every_s: int = 2) -> MarlinLink:
        """Open `url`, start line numbers afresh, learn who answers (M115) and ask for temperatures (M155).

        Raises TransportError, or LinkTimeout when nobody answers within `boot_timeout_s`.
        """
        link = cls()
        link.attach(await open_transport(url, link, timeout_s=boot_timeout_s))
        try:
            await link.handshake(boot_timeout_s)
            if link.capabilities.get("AUTOREPORT_TEMP"):
                await link.command(b"M155 S%d" % temperature_every_s)
        except BaseException:
            link.close()
            raise
        return link

    def attach(self, transport: Transport) -> None:
        """Speak over `transport`, whose receiver this link is."""
        self._transport = transport

    async def handshake(self, boot_timeout_s: float) -> None:
        """Reset the line numbers, find out what kind of answers this build gives, read its identity."""
        boot = self._boot = Boot()
        try:
            await boot.shake_hands(self._write, lambda: self._url, boot_timeout_s)
        finally:
            self._boot = None
        self.has_advanced_ok, self.marker = boot.has_advanced_ok, boot.marker
        self._flight = Flight(
            boot.next_number,
            self.marker,
            needs_markers=bool(self.marker) and not self.has_advanced_ok,
            is_blind=not self.marker and not self.has_advanced_ok,
        )
        self._proven = boot.next_number - 1
        self._raise_if_failed()
        self.identity = parse_identity(await self.command(b"M115"))

    def close(self) -> None:
        """Give the port back. Whoever still waits gets a TransportError."""
        if self._transport is not None:
            self._transport.close()

    @property
    def _url(self) -> str:
        return self._transport.url if self._transport is not None else "(no transport)"

    @property
    def error(self) -> BridgeError | None:
        """Why this link is unusable, or None."""
        return self._error

    @property
    def capabilities(self) -> dict[str, bool]:
        """M115's `Cap:` lines; an absent name means no."""
        return self.identity.capabilities

    @property
    def counters(self) -> MarlinCounters:
        """What went by since the link was opened."""
        return self._flight.counters

    @property
    def temperatures(self) -> dict[str, tuple[float, float]]:
        """Latest temperatures, name -> (degC now, degC wanted); heard at `temperatures_time_s`."""
        return parse_temperatures(self._temperature_text)

    # -- what callers ask ---------------------------------------------------------------------------------------

    async def command(self, line: bytes, *, timeout_s: float | None = None) -> list[str]:
        """Send one line, numbered, and return the reply lines that came before its ok (M105: the ok line itself).

        `timeout_s` is the patience without any sign of life (ok, busy); then the firmware is probed, then LinkTimeout.
        """
        self._raise_if_failed()
        if reason := unsendable(line):
            raise LinkError(f"{line!r} is not sent to {self._url}: {reason}.")
        if len(self._commands) >= COMMAND_QUEUE_MAX:
            raise LinkError(f"{self._url}: {COMMAND_QUEUE_MAX} commands wait already; the firmware takes none.")
        patience_s = timeout_s if timeout_s is not None else _SLOW_COMMANDS.get(line.split(b" ", 1)[0], PATIENCE_S)
        command = Command(line, patience_s, self._loop.create_future())
        self._commands.append(command)
        self._feed()
        try:
            return await command.future
        finally:
            if command in self._commands:  # cancelled before it was sent
                self._commands.remove(command)

    async def stream(
        self, lines: Sequence[bytes], journal: StreamJournal, *, cancelled: Callable[[], bool] | None = None
    ) -> int:
        """Send `lines` in order, each only after `journal` has noted it; return how many the firmware has taken.

        Returns when the firmware is proven to have taken every line (fewer if `cancelled()` became true: then those
        already sent). Commands may be given meanwhile. Cancelling the task stops sending at once and leaves the link
        usable.
        """
        self._raise_if_failed()
        self._not_understood = ""
        if self._stream is not None:
            raise LinkError(f"{self._url} is streaming already: one stream at a time.")
        stream = self._stream = Stream(lines, journal, self._loop.create_future())
        try:
            first = 0
            while first < len(lines) and not (cancelled and cancelled()):
                group = range(first, min(first + GROUP_LINES, len(lines)))
                for index in group:
                    if reason := unsendable(lines[index]):
                        raise LinkError(f"line {lines[index]!r} is not sent to {self._url}: {reason}.")
                await journal.ahead(group[0], group[-1])  # meanwhile data_received sends the group before
                if stream.done.done():  # failed in the meantime
                    break
                first = stream.allowed = group[-1] + 1
                self._feed()
                if stream.next < stream.allowed - GROUP_LINES:
                    stream.room = self._loop.create_future()
                    await stream.room
            if first < len(lines):
                stream.end = stream.allowed = stream.next
            self._feed()
            self._ask_blind()
            stream.finish_if_proven()
            await stream.done
            return stream.confirmed
        finally:
            stream.close()
            self._stream = None

    def emergency_stop(self) -> None:
        """M112, raw and checksummed, ahead of everything queued. The link is failed afterwards: the firmware halts."""
        try:
            self._overtake(b"\nM112\n" + frame_line(self._flight.next_number, b"M112"))
        finally:
            self._fail(
                DeviceHalted(
                    f"the software stop (M112) was sent to {self._url}: the firmware halts, its position is unknown; "
                    "reset it and home again."
                )
            )

    def quick_stop(self) -> None:
        """M410, raw, ahead of everything queued: with EMERGENCY_PARSER the firmware drops what it has planned at once.

        Lines that wait in the firmware's queue are carried out after it: ask again until a later command is answered.
        """
        self._raise_if_failed()
        self._overtake(b"\nM410\n")

    # -- sending ------------------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        if self._transport is None:
            raise TransportError("this Marlin link has no transport: it was never opened.")
        self._transport.write(data)

    def _overtake(self, data: bytes) -> None:
        """Before all that has not left yet. A line lost by that is asked for again, if somebody still wants it."""
        if self._transport is None:
            raise TransportError("this Marlin link has no transport: it was never opened.")
        self._transport.overtake(data)

    def _feed(self) -> None:
        """Send what the window lets through: lines to repeat, then commands, then the stream."""
        if self._hold is not None or self._error is not None or self._boot is not None or self._blind_probe:
            return
        flight = self._flight
        out: list[bytes] = []
        was_idle = not flight.entries
        while flight.again and flight.may_send(len(flight.again[0].framed)):
            out.append(flight.launch(flight.again.popleft()))
        if not flight.again:
            while self._commands and flight.may_send(len(self._commands[0].line) + 44):  # its frame and its marker's
                self._send_command(self._commands.popleft(), out)
            stream = self._stream
            if stream is not None and not self._commands:
                flight.fill(stream, out)
                if stream.room is not None and stream.next >= stream.allowed - GROUP_LINES:
                    resolve(stream.room, None)
        if out:
            if was_idle:
                self._patience.begin(self._loop.time())
            self._write_or_fail(b"".join(out))
            if self._watch is None and self._error is None:
                self._arm_watch()

    def _send_command(self, command: Command, out: list[bytes]) -> None:
        flight = self._flight
        is_marker = self.marker == MARKER_TEMPERATURE and command.line == b"M105"
        out.append(flight.number(command.line, command, is_marker=is_marker and flight.needs_markers))
        self._awaited.append(command)
        if flight.needs_markers and not is_marker:
            out.append(flight.number_marker(command))

    def _write_or_fail(self, data: bytes) -> None:
        try:
            self._write(data)
        except TransportError as error:
            self._fail(error)

    # -- receiving ----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes from the transport: oks move the window, everything else is looked at."""
        self.heard_s = self._loop.time()
        for line in self._splitter.feed(data):
            if line[:2] == b"ok" and self._boot is None:
                if (numbers := parse_numbered_ok(line)) is not None:  # nearly every line of a stream
                    self._on_numbered_ok(*numbers)
                elif line == b"ok" or line == b"ok\r":
                    self._on_plain_ok()
                else:
                    self._on_line(clean(line))
            elif line:
                self._on_line(clean(line))
            if self._error is not None:
                return
        self._feed()

    def connection_lost(self, error: TransportError | None) -> None:
        """The transport is gone."""
        self._fail(error if error is not None else TransportError(f"{self._url} was closed."))

    def _on_line(self, text: str) -> None:
        if self._boot is not None:
            self._boot.hear(text)
            return
        if not text:
            self._flight.counters.noise_lines += 1
            return
        ok = parse_ok(text)
        if ok is not None:
            self._on_ok(ok, text)
            return
        self._skip_ok = False
        resend = parse_resend(text)
        if resend is not None:
            self._on_resend(resend.number)
        elif text[:1] == "k" and text[1:].isdigit():
            self._on_echo(int(text[1:]))
        elif text[:6] == "echo:k" and text[6:].isdigit():
            self._on_echo(int(text[6:]))
        elif text == "start":
            self._fail(
                DeviceReset(
                    f"the firmware on {self._url} has restarted in the middle of the conversation: what it had queued "
                    "and its position are lost. Check its supply, then home before going on."
                )
            )
        elif "system stopped" in text:  # MINTEMP, MAXTEMP, ...: the cause, said before the end
            self._stopped_by = text.removeprefix("Error:")
        elif "kill() called" in text or text.startswith("!!") or "Printer halted" in text:
            self._fail(
                DeviceHalted(
                    f"the firmware on {self._url} has halted ('{self._stopped_by or text}'): it obeys nothing "
                    "until it is reset, and its position is unknown. Find the cause, reset it, home again."
                )
            )
        elif text.startswith("echo:busy:"):
            self._patience.busy(self._loop.time())
        elif text.startswith("Error:") and "Last Line:" in text:
            said = text.rpartition("Last Line:")[2].strip()
            self._last_line_said = int(said) if said.lstrip("-").isdigit() else None
        elif ("T:" in text or "B:" in text) and parse_temperatures(text):
            self._on_temperature(text)
        else:
            self._on_report(text)

    def _on_report(self, text: str) -> None:
        """Any other line: a reply to the oldest command, or word that a streamed line was not understood."""
        if self._awaited:
            if len(self._awaited[0].replies) < REPLY_LINES_MAX:
                self._awaited[0].replies.append(text)
        elif "Unknown command" in text and self._stream is not None:
            # A line without its number asks for no proof: if it was a broken one of ours, a Resend comes (or came).
            if self._resend[0] <= self._proven:
                self._not_understood = text
        elif not text.startswith(("echo:", "//", "wait", "Error:")):
            self.counters.noise_lines += 1

    def _on_temperature(self, text: str) -> None:
        self._temperature_text = text
        self.temperatures_time_s = self._patience.alive_s = self._loop.time()
        if self.on_temperature is not None:
            self.on_temperature(parse_temperatures(text))

    # -- oks and proofs -----------------------------------------------------------------------------------------

    def _on_plain_ok(self) -> None:
        if self._skip_ok:
            self._skip_ok = False
            return
        entries = self._flight.entries
        if not entries or entries[0].is_marker or self.has_advanced_ok:
            self._flight.counters.surplus_oks += 1
            return
        entry = self._flight.pop_oldest()
        self._patience.ok(self.heard_s)
        if not self.marker and entry.command is not None:
            self._prove(entry)
        self._ask_blind()

    def _ask_blind(self) -> None:
        """Where no marker exists: once the oks say that all is done, ask with a number one too far for the truth."""
        flight, stream = self._flight, self._stream
        if not flight.is_blind or self._blind_probe or flight.entries or flight.again or stream is None:
            return
        unproven = stream.next - stream.marked
        if unproven >= MARKER_EVERY_LINES or (unproven and stream.next == stream.end):
            self._blind_probe = True
            flight.counters.markers += 1
            self._write_or_fail(frame_line(flight.next_number + 1, b"M105"))

    def _on_numbered_ok(self, number: int, planner_free: int, commands_free: int) -> None:
        """`ok N12 P15 B3`: exactly which line was taken, and what is free behind it."""
        self._note_free(planner_free, commands_free)
        entries = self._flight.entries
        if entries and entries[0].number == number:
            self._take(entries[0])
        elif (target := self._flight.find(number)) is not None:
            self._take(target)
        else:
            self._flight.counters.surplus_oks += 1

    def _note_free(self, planner_free: int | None, commands_free: int) -> None:
        self.free = (planner_free, commands_free)
        if self.has_advanced_ok:  # free slots + the one just emptied: more lines than that only wait in the buffer
            capacity = commands_free + 1
            known = self._flight.line_limit
            if known == RX_WINDOW_BYTES:
                self._flight.line_limit = min(known, max(capacity, 2))
            elif capacity > known:
                self._flight.line_limit = min(capacity, RX_WINDOW_BYTES)

    def _on_ok(self, ok: Acknowledge, text: str) -> None:
        """An ok that says more than `ok`: it names its line, or carries temperatures."""
        if ok.commands_free is not None:
            self._note_free(ok.planner_free, ok.commands_free)
        flight = self._flight
        target = None
        if ok.number is not None:
            target = flight.find(ok.number)
        elif ok.has_temperature:
            self._on_temperature(text.removeprefix("ok").strip())
            if self._awaited and self._awaited[0].line == b"M105":
                self._awaited[0].replies.append(text)
            if self.has_advanced_ok:  # M105 names no number even there: it answers the oldest M105 in flight
                target = flight.find_temperature_question()
            elif self.marker == MARKER_TEMPERATURE:
                target = flight.find_marker(None)
            else:
                self._on_plain_ok()
                return
        else:
            self._on_plain_ok()
            return
        if target is None:
            flight.counters.surplus_oks += 1
            return
        self._take(target)

    def _on_echo(self, number: int) -> None:
        """The firmware repeats a marker's token: everything up to that marker is taken. Its own ok follows."""
        target = self._flight.find_marker(number)
        if target is not None:
            self._take(target)
            self._skip_ok = not self.has_advanced_ok

    def _take(self, target: Entry) -> None:
        self._skip_ok = False
        self._patience.proof(self.heard_s)
        flight = self._flight
        if flight.entries[0] is not target:
            for entry in flight.pop_through(target):
                self._prove(entry)
            return
        flight.entries.popleft()  # nearly always: no ok was lost
        flight.in_buffer -= target.size
        self._prove(target)

    def _prove(self, entry: Entry) -> None:
        """The firmware has taken this line and all before it."""
        if self.marker:
            self._proven = entry.number
        self._last_line_said = None
        stream, command = entry.stream, entry.command
        if stream is not None and stream.open:
            self._prove_stream(stream, entry.upto)
        if command is not None and command in self._awaited and (entry.is_marker or not self._flight.needs_markers):
            self._awaited.remove(command)
            resolve(command.future, command.replies)

    def _prove_stream(self, stream: Stream, upto: int) -> None:
        if self._not_understood:  # and no Resend came before this proof: it was a numbered line
            stream.fail(
                LinkError(
                    f"the firmware on {self._url} did not understand a streamed line ('{self._not_understood}'): what "
                    "it executed differs from the plan, so the stream stops here."
                )
            )
        else:
            stream.prove(upto)

    # -- resends ------------------------------------------------------------------------------------------------

    def _on_resend(self, number: int) -> None:
        """The firmware wants `number` next and has thrown its receive buffer away."""
        self._skip_ok = True
        said, self._last_line_said = self._last_line_said, None
        flight = self._flight
        if self._hold is not None:
            flight.counters.repeated_requests += 1  # caused by a line that was in flight already
            return
        if (said is not None and said + 1 != number) or not flight.remembers(number) or number <= self._proven:
            if said is not None and said + 1 == number:
                self._fail(
                    LinkError(
                        f"the firmware on {self._url} asks for line {number}, but lines up to {self._proven} are "
                        f"proven and {flight.next_number - 1} was the last sent: its line counter was changed by a "
                        "restart or by another program. The stream stops; home before going on."
                    )
                )
                return
            self._doubt(f"asks for line {number}, which cannot be")
            return
        if number == flight.next_number:
            flight.rewind(number)
            self._on_resend_of_nothing()
            return
        self._not_understood = ""
        flight.counters.resends += 1
        before, count = self._resend
        self._resend = (number, count + 1 if number == before else 1)
        if self._resend[1] > RESEND_CAP:
            self._fail(
                LinkError(
                    f"the firmware on {self._url} has asked {RESEND_CAP} times for line {number} and never took it: "
                    "the line is too noisy. Check cable, shielding and baud rate."
                )
            )
            return
        self._blind_probe = False
        flight.rewind(number)
        # what is on the wire now still reaches the firmware, and makes it ask again: wait it out, then repeat once
        byte_time_s = self._transport.byte_time_s if self._transport is not None else 0.0
        self._hold = self._loop.call_later(RX_WINDOW_BYTES * byte_time_s + 0.005, self._release_hold)
        self._patience.progress_s = self._loop.time()

    def _release_hold(self) -> None:
        self._hold = None
        self._skip_ok = False
        self._feed()

    def _on_resend_of_nothing(self) -> None:
        """All lines are with the firmware: it was woken by noise, or by our blind probe."""
        self._patience.doubts = 0
        if not self._blind_probe:
            return
        self._blind_probe = False
        flight, stream = self._flight, self._stream
        while flight.entries and flight.entries[0].command is None:
            flight.counters.lost_oks += 1
            flight.pop_oldest()
        if flight.is_blind:
            self._proven = flight.next_number - 1
        if stream is not None:
            stream.marked = stream.next
            self._prove_stream(stream, stream.next)

    # -- doubts -------------------------------------------------------------------------------------------------

    def _due_s(self) -> float | None:
        """When the present silence becomes a doubt; None if the firmware owes nothing."""
        if not self._flight.entries and not self._flight.again and not self._blind_probe:
            return None
        return self._patience.due_s(command.patience_s for command in self._awaited)

    def _arm_watch(self) -> None:
        due_s = self._due_s()
        self._watch = None if due_s is None else self._loop.call_at(due_s, self._on_watch)

    def _on_watch(self) -> None:
        """The one timer: set lazily, so a stream of oks costs no timer work."""
        self._watch = None
        due_s = self._due_s()
        now_s = self._loop.time()
        if due_s is not None and now_s >= due_s:
            self._patience.progress_s = now_s
            if self._hold is None:
                self._on_silence(now_s)
        if self._error is None:
            self._arm_watch()

    def _on_silence(self, now_s: float) -> None:
        patience = self._patience
        judgement = patience.judge(now_s)
        if judgement is Silence.ASK:
            self._probe()
        elif judgement is Silence.GIVE_UP:
            what = "only signs of life came" if patience.is_alive(now_s) else "nothing came"
            self._fail(
                LinkTimeout(
                    f"the firmware on {self._url} has acknowledged nothing for {patience.silence_s(now_s):.0f} s"
                    f" ({what}), though it was asked {patience.probes_out} times. Is it halted, or is the cable loose?"
                )
            )

    def _doubt(self, what: str) -> None:
        """Something that cannot be true was heard: ask instead of believing it, but not for ever."""
        self._flight.counters.noise_lines += 1
        if self._patience.doubt():
            self._probe()
            return
        self._fail(
            LinkError(
                f"the firmware on {self._url} {what}, {self._patience.doubts} times (lines {self._proven + 1} to "
                f"{self._flight.next_number - 1} are under way): the stream stops. Does another program use the port?"
            )
        )

    def _probe(self) -> None:
        """Ask where the firmware stands: a marker with the next number, or one number too far where markers fail."""
        flight = self._flight
        flight.counters.probes += 1
        self._patience.probes_out += 1
        if flight.again:  # what has to be repeated asks as well
            framed = flight.launch(flight.again.popleft())
        elif self.marker:
            flight.forget_markers()
            framed = flight.number_marker(self._awaited[-1] if self._awaited else None, self._stream)
        else:
            self._blind_probe = True
            framed = frame_line(flight.next_number + 1, b"M105")
        self._write_or_fail(b"\n" + framed)

    # -- the end ------------------------------------------------------------------------------------------------

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise type(self._error)(str(self._error))

    def _fail(self, error: BridgeError) -> None:
        """Nothing more is sent or believed; everybody who waits is told why. The first error stays."""
        if self._error is not None:
            return
        self._error = error
        for timer in (self._hold, self._watch):
            if timer is not None:
                timer.cancel()
        self._hold = self._watch = None
        if self._stream is not None:
            self._stream.fail(error)
        for command in (*self._awaited, *self._commands):
            if not command.future.done():
                command.future.set_exception(error)
        self._awaited.clear()
        self._commands.clear()
        if self._boot is not None:
            self._boot.fail(error)

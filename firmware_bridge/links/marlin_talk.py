"""What Marlin has taken for certain, and what it is asked when that is in doubt: oks, markers, resends, silences.

No transport and no parsing: the link hands over what a reply line says. The rules are told in
`firmware_bridge.links.marlin`; `marlin_flight` holds the lines under way, `marlin_patience` the bounds of waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from firmware_bridge.errors import BridgeError, LinkError, LinkTimeout
from firmware_bridge.links.line_framing import Acknowledge, frame_line, is_unnumbered_ok
from firmware_bridge.links.marlin_boot import Boot
from firmware_bridge.links.marlin_flight import (
    MARKER_EVERY_LINES,
    MARKER_TEMPERATURE,
    RX_WINDOW_BYTES,
    Command,
    Entry,
    Flight,
    Stream,
    resolve,
)
from firmware_bridge.links.marlin_patience import Patience, Silence

GROUP_LINES = 16  # how many lines one journal commit covers
REPLY_LINES_MAX = 500
RESEND_CAP = 10


class MarlinTalk:
    """The numbered lines of one conversation, between the callers' wish and the firmware's proof.

    `send` writes bytes or fails the link; `fail` ends the link with a reason, and comes back as `end`. `url` and
    `byte_time_s` are the transport's. `commands` wait to be sent, the replies of `awaited` are being collected.
    """

    def __init__(self, send: Callable[[bytes], None], fail: Callable[[BridgeError], None]) -> None:
        self.url = "(no transport)"
        self.byte_time_s = 0.0
        self.is_open = False  # between `begin` and `end`: lines may be sent
        self.has_advanced_ok = False
        self.marker = ""
        self.free: tuple[int | None, int] | None = None  # planner blocks and queue slots, by the newest ok that tells
        self.flight = Flight(1, "", needs_markers=False, is_blind=False)
        self.proven = 0  # every line up to this number is proven taken
        self.commands: deque[Command] = deque()
        self.awaited: deque[Command] = deque()
        self.stream: Stream | None = None
        self.last_line_said: int | None = None  # by the error line that goes before a Resend
        self._send = send
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self.heard_s = self._loop.time()  # when anything last came
        self.patience = Patience(self.heard_s)
        self._skip_ok = False  # the ok that follows at once belongs to a Resend or to a marker's echo
        self._asked_again = (-1, 0)  # the line last asked for again, and how often in a row
        self._alone: int | None = None  # the line that was asked for: until its answer comes, none is sent behind it
        self.raw_lines = 0  # sent on purpose without a number, and not answered yet
        self._not_understood = ""
        self._strange = False  # it did not understand a line: the next ok without a number is that line's
        self._excused = ""  # that ok
        self._blind_probe = False
        self._hold: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None

    def begin(self, boot: Boot) -> None:
        """Line numbers stand where the handshake left them, and it is known what this build's answers prove."""
        self.has_advanced_ok, self.marker = boot.has_advanced_ok, boot.marker
        self.flight = Flight(
            boot.next_number,
            self.marker,
            needs_markers=bool(self.marker) and not self.has_advanced_ok,
            is_blind=not self.marker and not self.has_advanced_ok,
        )
        self.proven = boot.next_number - 1
        self.is_open = True

    def begin_stream(self, stream: Stream) -> None:
        """Lines of `stream` go out as it allows them, until `stream` is set to None. LinkError: another one runs."""
        if self.stream is not None:
            raise LinkError(f"{self.url} is streaming already: one stream at a time.")
        self._not_understood = ""
        self._strange, self._excused = False, ""
        self.stream = stream

    def end(self, error: BridgeError) -> None:
        """Nothing more is sent or believed; everybody who waits is told why."""
        self.is_open = False
        for timer in (self._hold, self._watch):
            if timer is not None:
                timer.cancel()
        self._hold = self._watch = None
        if self.stream is not None:
            self.stream.fail(error)
        for command in (*self.awaited, *self.commands):
            if not command.future.done():
                command.future.set_exception(error)
        self.awaited.clear()
        self.commands.clear()

    # -- sending ------------------------------------------------------------------------------------------------

    def feed(self) -> None:
        """Send what the window lets through: lines to repeat, then commands, then the stream."""
        if self._hold is not None or self._blind_probe or not self.is_open:
            return
        flight = self.flight
        if self._alone is not None and flight.find(self._alone) is not None:
            return
        out: list[bytes] = []
        was_idle = not flight.entries
        if flight.again or self._alone is not None:
            self._repeat(out)
        if not flight.again and self._alone is None:
            while self.commands and flight.may_send(len(self.commands[0].line) + 44):  # its frame and its marker's
                self._send_command(self.commands.popleft(), out)
            stream = self.stream
            if stream is not None and not self.commands:
                flight.fill(stream, out)
                if stream.room is not None and stream.next >= stream.allowed - GROUP_LINES:
                    resolve(stream.room, None)
        if out:
            if was_idle:
                self.patience.begin(self._loop.time())
            self._send(b"".join(out))
            if self._watch is None and self.is_open:
                self._arm_watch()

    def _repeat(self, out: list[bytes]) -> None:
        """The lines that go again: the one that was asked for alone, or what the window lets through."""
        flight = self.flight
        while flight.again and not out and flight.again[0].number == self._alone:
            out.append(flight.launch(flight.again.popleft()))
        if not out:
            self._alone = None
        while flight.again and self._alone is None and flight.may_send(len(flight.again[0].framed)):
            out.append(flight.launch(flight.again.popleft()))

    def _send_command(self, command: Command, out: list[bytes]) -> None:
        flight = self.flight
        is_marker = self.marker == MARKER_TEMPERATURE and command.line == b"M105"
        out.append(flight.number(command.line, command, is_marker=is_marker and flight.needs_markers))
        self.awaited.append(command)
        if flight.needs_markers and not is_marker:
            out.append(flight.number_marker(command))

    # -- oks and proofs -----------------------------------------------------------------------------------------

    def plain_ok(self) -> None:
        """`ok` and nothing else: it moves the window, and proves nothing that a marker could."""
        if self._skip_ok:
            self._skip_ok = False
            return
        entries = self.flight.entries
        if not entries or entries[0].is_marker or self.has_advanced_ok:
            self.flight.counters.surplus_oks += 1
            return
        entry = self.flight.pop_oldest()
        self.patience.ok(self.heard_s)
        if not self.marker and entry.command is not None:
            self._prove(entry)
        self.ask_blind()

    def ask_blind(self) -> None:
        """Where no marker exists: once the oks say that all is done, ask with a number one too far for the truth."""
        flight, stream = self.flight, self.stream
        if not flight.is_blind or self._blind_probe or flight.entries or flight.again or stream is None:
            return
        unproven = stream.next - stream.marked
        if unproven >= MARKER_EVERY_LINES or (unproven and stream.next == stream.end):
            self._blind_probe = True
            flight.counters.markers += 1
            self._send(frame_line(flight.next_number + 1, b"M105"))

    def numbered_ok(self, number: int, planner_free: int, commands_free: int) -> None:
        """`ok N12 P15 B3`: exactly which line was taken, and what is free behind it."""
        self._note_free(planner_free, commands_free)
        entries = self.flight.entries
        if entries and entries[0].number == number:
            self._take(entries[0])
        elif (target := self.flight.find(number) or self.flight.recall(number)) is not None:
            self._take(target)
        else:
            self.flight.counters.surplus_oks += 1

    def _note_free(self, planner_free: int | None, commands_free: int) -> None:
        self.free = (planner_free, commands_free)
        if self.has_advanced_ok:  # free slots + the one just emptied: more lines than that only wait in the buffer
            capacity = commands_free + 1
            known = self.flight.line_limit
            if known == RX_WINDOW_BYTES:
                self.flight.line_limit = min(known, max(capacity, 2))
            elif capacity > known:
                self.flight.line_limit = min(capacity, RX_WINDOW_BYTES)

    def ok(self, ok: Acknowledge, text: str) -> None:
        """An ok that says more than `ok`: it names its line, or carries temperatures."""
        if ok.commands_free is not None:
            self._note_free(ok.planner_free, ok.commands_free)
        flight = self.flight
        target = None
        if ok.number is not None:
            target = flight.find(ok.number) or flight.recall(ok.number)
        elif ok.has_temperature:
            if self.awaited and self.awaited[0].line == b"M105":
                self.awaited[0].replies.append(text)
            if self.has_advanced_ok:  # M105 names no number even there: it answers the oldest M105 in flight
                target = flight.find_temperature_question()
            elif self.marker == MARKER_TEMPERATURE:
                target = flight.find_marker(None)
            else:
                self.plain_ok()
                return
        else:
            if self.has_advanced_ok and not self._skip_ok and is_unnumbered_ok(text):
                self._on_unnumbered(text)
            self.plain_ok()
            return
        if target is None:
            flight.counters.surplus_oks += 1
            return
        self._take(target)

    def _on_unnumbered(self, text: str) -> None:
        """The firmware took a line that bore no number, and every line of ours bears one. After noise it has said what
        it did not understand, a stop was meant so; otherwise a line's end ran, whose beginning was thrown away."""
        if self._strange:
            self._strange, self._excused = False, text
        elif text == self._excused:  # the same ok, doubled on its way
            self._excused = ""
        elif self.raw_lines:
            self.raw_lines -= 1
        elif self.stream is not None:
            self.stream.fail(
                LinkError(
                    f"the firmware on {self.url} carried out a line without its number, the torn end of one or another "
                    "program's: what it executed differs from the plan, so the stream stops here."
                )
            )

    def echo(self, number: int) -> None:
        """The firmware repeats a marker's token: everything up to that marker is taken. Its own ok follows."""
        target = self.flight.find_marker(number) or self.flight.recall(number, is_marker=True)
        if target is not None:
            self._take(target)
            self._skip_ok = not self.has_advanced_ok

    def _take(self, target: Entry) -> None:
        self._skip_ok = False
        self.patience.proof(self.heard_s)
        flight = self.flight
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
            self.proven = entry.number
        self.last_line_said = None
        stream, command = entry.stream, entry.command
        if stream is not None and stream.open:
            self._prove_stream(stream, entry.upto)
        if command is not None and command in self.awaited and (entry.is_marker or not self.flight.needs_markers):
            self.awaited.remove(command)
            resolve(command.future, command.replies)

    def _prove_stream(self, stream: Stream, upto: int) -> None:
        if self._not_understood:  # and no Resend came before this proof: it was a numbered line
            stream.fail(
                LinkError(
                    f"the firmware on {self.url} did not carry out a streamed line ('{self._not_understood}'): what "
                    "it executed differs from the plan, so the stream stops here."
                )
            )
        else:
            stream.prove(upto)

    # -- other words --------------------------------------------------------------------------------------------

    def other_line(self) -> None:
        """What came is no ok: the one that a Resend or an echo announced is not coming now."""
        self._skip_ok = False

    def report(self, text: str) -> None:
        """Any other line: a reply to the oldest command, or word that a streamed line was not carried out."""
        self._strange |= "Unknown command" in text
        if self.awaited:
            if len(self.awaited[0].replies) < REPLY_LINES_MAX:
                self.awaited[0].replies.append(text)
        elif ("Unknown command" in text or text.startswith("Error:")) and self.stream is not None:
            # A line without its number asks for no proof: if it was a broken one of ours, a Resend comes (or came).
            # Noise between two lines is a line of its own to the firmware, and harmless.
            unknown = text.partition("Unknown command")[2].partition('"')[2].removesuffix('"')
            if unknown and not self.flight.resembles_ours(unknown):
                self.flight.counters.noise_lines += 1
            elif self._asked_again[0] <= self.proven:
                self._not_understood = text
        elif not text.startswith(("echo:", "//", "wait", "Error:")):
            self.flight.counters.noise_lines += 1

    # -- resends ------------------------------------------------------------------------------------------------

    def resend(self, number: int) -> None:
        """The firmware wants `number` next and has thrown its receive buffer away."""
        self._skip_ok = True
        said, self.last_line_said = self.last_line_said, None
        flight = self.flight
        if self._hold is not None:
            flight.counters.repeated_requests += 1  # caused by a line that was in flight already
            return
        if (said is not None and said + 1 != number) or not flight.remembers(number) or number <= self.proven:
            if said is not None and said + 1 == number:
                self._fail(
                    LinkError(
                        f"the firmware on {self.url} asks for line {number}, but lines up to {self.proven} are "
                        f"proven and {flight.next_number - 1} was the last sent: its line counter was changed by a "
                        "restart or by another program. The stream stops; home before going on."
                    )
                )
                return
            self._doubt(f"asks for line {number}, which cannot be")
            return
        if number == flight.next_number:
            flight.rewind(number)
            self._resend_of_nothing()
            return
        self._not_understood = ""
        flight.counters.resends += 1
        before, count = self._asked_again
        self._asked_again = (number, count + 1 if number == before else 1)
        if self._asked_again[1] > RESEND_CAP:
            self._fail(
                LinkError(
                    f"the firmware on {self.url} has asked {RESEND_CAP} times for line {number} and never took it: "
                    "the line is too noisy. Check cable, shielding and baud rate."
                )
            )
            return
        self._blind_probe = False
        flight.rewind(number)
        # It may be with the firmware already, which then refuses it and throws its receive buffer away once more: the
        # end of a line that is cut so has no number, and would run before its turn.
        self._alone = number
        # what is on the wire now still reaches the firmware, and makes it ask again: wait it out, then repeat once
        self._hold = self._loop.call_later(RX_WINDOW_BYTES * self.byte_time_s + 0.005, self._release_hold)
        self.patience.asked_again(self._loop.time())

    def _release_hold(self) -> None:
        self._hold = None
        self._skip_ok = False
        self.feed()

    def _resend_of_nothing(self) -> None:
        """All lines are with the firmware: it was woken by noise, or by our blind probe."""
        self.patience.doubts = 0
        if not self._blind_probe:
            return
        self._blind_probe = False
        flight, stream = self.flight, self.stream
        while flight.entries and flight.entries[0].command is None:
            flight.counters.lost_oks += 1
            flight.pop_oldest()
        if flight.is_blind:
            self.proven = flight.next_number - 1
        if stream is not None:
            stream.marked = stream.next
            self._prove_stream(stream, stream.next)

    # -- doubts -------------------------------------------------------------------------------------------------

    def _due_s(self) -> float | None:
        """When the present silence becomes a doubt; None if the firmware owes nothing."""
        if not self.flight.entries and not self.flight.again and not self._blind_probe:
            return None
        return self.patience.due_s(command.patience_s for command in self.awaited)

    def _arm_watch(self) -> None:
        due_s = self._due_s()
        self._watch = None if due_s is None else self._loop.call_at(due_s, self._on_watch)

    def _on_watch(self) -> None:
        """The one timer: set lazily, so a stream of oks costs no timer work."""
        self._watch = None
        due_s = self._due_s()
        now_s = self._loop.time()
        if due_s is not None and now_s >= due_s:
            self.patience.progress_s = now_s
            if self._hold is None:
                self._on_silence(now_s)
        if self.is_open:
            self._arm_watch()

    def _on_silence(self, now_s: float) -> None:
        patience = self.patience
        judgement = patience.judge(now_s)
        if judgement is Silence.ASK:
            self._probe()
        elif judgement is Silence.GIVE_UP:
            what = "only signs of life came" if patience.is_alive(now_s) else "nothing came"
            self._fail(
                LinkTimeout(
                    f"the firmware on {self.url} has acknowledged nothing for {patience.silence_s(now_s):.0f} s"
                    f" ({what}), though it was asked {patience.probes_out} times. Is it halted, or is the cable loose?"
                )
            )

    def _doubt(self, what: str) -> None:
        """Something that cannot be true was heard: ask instead of believing it, but not for ever."""
        self.flight.counters.noise_lines += 1
        if self.patience.doubt():
            self._probe()
            return
        self._fail(
            LinkError(
                f"the firmware on {self.url} {what}, {self.patience.doubts} times (lines {self.proven + 1} to "
                f"{self.flight.next_number - 1} are under way): the stream stops. Does another program use the port?"
            )
        )

    def _probe(self) -> None:
        """Ask where the firmware stands: a marker with the next number, or one number too far where markers fail."""
        flight = self.flight
        flight.counters.probes += 1
        self.patience.probes_out += 1
        if flight.again:  # what has to be repeated asks as well
            framed = flight.launch(flight.again.popleft())
        elif self.marker:
            flight.forget_markers()
            framed = flight.number_marker(self.awaited[-1] if self.awaited else None, self.stream)
        else:
            self._blind_probe = True
            framed = frame_line(flight.next_number + 1, b"M105")
        self._send(b"\n" + framed)

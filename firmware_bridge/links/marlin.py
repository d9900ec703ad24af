"""A conversation with Marlin: numbered and checksummed lines, a window by free buffer, and nothing believed twice.

The firmware's ok says that a line was taken and planned, not that it was executed, and an `ok` may be lost, doubled or
damaged on the way. So progress is never counted by oks alone:

* a build with ADVANCED_OK names the line in its ok (`ok N12 P15 B3`): exact;
* any other build is asked for a *marker* behind a group of lines: a numbered `M118 k<number>`, which it repeats (or
  M105, whose `ok T:...` no other line gives). Lines are taken strictly in number order, so the marker's answer proves
  every line before it. Plain oks only move the window; `acked` and the end of a command wait for the marker;
* a build with neither is asked, when its oks say that all is done, with a line numbered one too far: it answers with
  the number it wants, and that is the proof (every 32 lines and at the end; such a stream pauses for it);
* an answer that names its line is a fact even behind a `Resend` for that line, which then is a late one;
* an `ok P15 B3` without a number, of a build with ADVANCED_OK, is a line that was none of ours: the stream stops;
* a silence is a doubt, and a doubt is a marker with the next number: either its answer comes (oks were lost) or the
  firmware names its last line (`Resend: n`) and the lines from n on go again.

Here: opening, what callers ask, and what a reply line says. What follows from it is `marlin_talk`'s.
Sources: behaviour of Marlin's gcode/queue.cpp; the failures handled are those that users of hosts report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from firmware_bridge.errors import BridgeError, DeviceHalted, DeviceReset, LinkError, TransportError
from firmware_bridge.links.line_framing import (
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
from firmware_bridge.links.marlin_flight import Command, MarlinCounters, Stream, StreamJournal
from firmware_bridge.links.marlin_patience import PATIENCE_S
from firmware_bridge.links.marlin_talk import GROUP_LINES, MarlinTalk
from firmware_bridge.transport import Transport, open_transport

__all__ = ["MarlinCounters", "MarlinLink", "StreamJournal"]

COMMAND_QUEUE_MAX = 32
HALT_ANSWER_S = 1.0
"""A board that hears M112 when its bytes come says its last words at once: so long they are waited for."""
_SLOW_COMMANDS = {b"G28": 120.0, b"G29": 300.0, b"G4": 120.0, b"M109": 300.0, b"M190": 300.0, b"M400": 120.0}


class MarlinLink:
    """One Marlin firmware on one transport. Made by `open`; a fatal error leaves the link failed and says why."""

    def __init__(self) -> None:
        self.identity = Identity()
        self.on_temperature: Callable[[dict[str, tuple[float, float]]], None] | None = None
        self.on_action: Callable[[str], None] | None = None
        """Called with what the board asks of its host (`//action:pause`, `cancel`, ...): a button was pressed."""
        self.temperatures_time_s: float | None = None
        self._loop = asyncio.get_running_loop()
        self._transport: Transport | None = None
        self._splitter = LineSplitter()
        self._error: BridgeError | None = None
        self._last_words: asyncio.Future[None] = self._loop.create_future()
        self._boot: Boot | None = None
        self._temperature_text = ""
        self._stopped_by = ""
        self._talk = MarlinTalk(self._write_or_fail, self._fail)

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
        self._talk.url, self._talk.byte_time_s = transport.url, transport.byte_time_s

    async def handshake(self, boot_timeout_s: float) -> None:
        """Reset the line numbers, find out what kind of answers this build gives, read its identity."""
        boot = self._boot = Boot()
        try:
            await boot.shake_hands(self._write, lambda: self._url, boot_timeout_s)
        finally:
            self._boot = None
        self._raise_if_failed()
        self._talk.begin(boot)
        await self.ask_identity()

    async def ask_identity(self) -> None:
        """Who answers and what it is capable of (M115), anew: its lines have no checksum, and one may be lost."""
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
    def has_halted(self) -> bool:
        """Whether the firmware itself has said that it halted: a stop that was only sent is no proof."""
        return self._last_words.done()

    @property
    def capabilities(self) -> dict[str, bool]:
        """M115's `Cap:` lines; an absent name means no."""
        return self.identity.capabilities

    @property
    def counters(self) -> MarlinCounters:
        """What went by since the link was opened."""
        return self._talk.flight.counters

    @property
    def heard_s(self) -> float:
        """Loop time at which anything last came."""
        return self._talk.heard_s

    @property
    def has_advanced_ok(self) -> bool:
        """Whether this build's oks name their lines."""
        return self._talk.has_advanced_ok

    @property
    def marker(self) -> str:
        """What proves lines on a build whose oks name none: "echo", "temperature" or, where nothing does, ""."""
        return self._talk.marker

    @property
    def free(self) -> tuple[int | None, int] | None:
        """Planner blocks and queue slots that are free, by the newest ok that tells."""
        return self._talk.free

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
        waiting = self._talk.commands
        if len(waiting) >= COMMAND_QUEUE_MAX:
            raise LinkError(f"{self._url}: {COMMAND_QUEUE_MAX} commands wait already; the firmware takes none.")
        patience_s = timeout_s if timeout_s is not None else _SLOW_COMMANDS.get(line.split(b" ", 1)[0], PATIENCE_S)
        command = Command(line, patience_s, self._loop.create_future())
        waiting.append(command)
        self._talk.feed()
        try:
            return await command.future
        finally:
            if command in waiting:  # cancelled before it was sent
                waiting.remove(command)

    async def stream(
        self, lines: Sequence[bytes], journal: StreamJournal, *, cancelled: Callable[[], bool] | None = None
    ) -> int:
        """Send `lines` in order, each only after `journal` has noted it; return how many the firmware has taken.

        Returns when the firmware is proven to have taken every line (fewer if `cancelled()` became true: then those
        already sent). Commands may be given meanwhile. Cancelling the task stops sending at once and leaves the link
        usable.
        """
        self._raise_if_failed()
        talk, stream = self._talk, Stream(lines, journal, self._loop.create_future())
        talk.begin_stream(stream)
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
                talk.feed()
                if stream.next < stream.allowed - GROUP_LINES:
                    stream.room = self._loop.create_future()
                    await stream.room
            if first < len(lines):
                stream.end = stream.allowed = stream.next
            talk.feed()
            talk.ask_blind()
            stream.finish_if_proven()
            await stream.done
            return stream.confirmed
        finally:
            stream.close()
            talk.stream = None

    def emergency_stop(self) -> None:
        """M112, raw and checksummed, ahead of everything queued. The link is failed afterwards: the firmware halts."""
        try:
            self._overtake(b"\nM112\n" + frame_line(self._talk.flight.next_number, b"M112"))
        finally:
            self._fail(
                DeviceHalted(
                    f"the software stop (M112) was sent to {self._url} and is not confirmed yet; its position is "
                    "unknown. See that the machine stands, reset the firmware and home again."
                )
            )

    async def halt(self) -> bool:
        """`emergency_stop`, and whether the firmware says within `HALT_ANSWER_S` that it has halted."""
        self.emergency_stop()
        await asyncio.wait({self._last_words}, timeout=HALT_ANSWER_S)
        return self.has_halted

    def quick_stop(self) -> None:
        """M410, raw, ahead of everything queued: with EMERGENCY_PARSER the firmware drops what it has planned at once,
        without it when it comes to read that line.

        Lines that wait in the firmware's queue are carried out after it: ask again until a later command is answered.
        """
        self._raise_if_failed()
        self._talk.raw_lines += 1
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

    def _write_or_fail(self, data: bytes) -> None:
        assert self._transport is not None  # a conversation has been begun on it
        try:
            self._transport.write(data)
        except TransportError as error:
            self._fail(error)

    # -- receiving ----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes from the transport: oks move the window, everything else is looked at."""
        talk = self._talk
        talk.heard_s = self._loop.time()
        for line in self._splitter.feed(data):
            if self._error is not None:
                self._hear_last_words(clean(line))
            elif line[:2] == b"ok" and self._boot is None:
                if (ok := parse_numbered_ok(line)) is not None:  # nearly every line of a stream
                    talk.numbered_ok(ok[0], ok[1], ok[2])
                elif line == b"ok" or line == b"ok\r":
                    talk.plain_ok()
                else:
                    self._on_line(clean(line))
            elif line:
                self._on_line(clean(line))
        if self._error is None:
            talk.feed()

    def connection_lost(self, error: TransportError | None) -> None:
        """The transport is gone."""
        self._fail(error if error is not None else TransportError(f"{self._url} was closed."))

    def _on_line(self, text: str) -> None:
        if self._boot is not None:
            self._boot.hear(text)
            return
        talk = self._talk
        if not text:
            talk.flight.counters.noise_lines += 1
            return
        ok = parse_ok(text)
        if ok is not None:
            if ok.has_temperature:
                self._on_temperature(text.removeprefix("ok").strip())
            talk.ok(ok, text)
            return
        talk.other_line()
        resend = parse_resend(text)
        if resend is not None:
            talk.resend(resend.number)
        elif text[:1] == "k" and text[1:].isdigit():
            talk.echo(int(text[1:]))
        elif text[:6] == "echo:k" and text[6:].isdigit():
            talk.echo(int(text[6:]))
        elif text == "start":
            self._fail(
                DeviceReset(
                    f"the firmware on {self._url} has restarted in the middle of the conversation: what it had queued "
                    "and its position are lost. Check its supply, then home before going on."
                )
            )
        elif "system stopped" in text:  # MINTEMP, MAXTEMP, ...: the cause, said before the end
            self._stopped_by = text.removeprefix("Error:")
        elif self._hear_last_words(text):
            return
        elif text.startswith("//action:"):
            if self.on_action is not None:
                self.on_action(text.removeprefix("//action:").strip())
        elif text.startswith("echo:busy:"):
            talk.patience.busy(self._loop.time())
        elif text.startswith("Error:") and "Last Line:" in text:
            said = text.rpartition("Last Line:")[2].strip()
            talk.last_line_said = int(said) if said.lstrip("-").isdigit() else None
        elif ("T:" in text or "B:" in text) and parse_temperatures(text):
            self._on_temperature(text)
        else:
            talk.report(text)

    def _hear_last_words(self, text: str) -> bool:
        """Whether this line says that the firmware has halted: all that is listened for on a link that has failed."""
        if not ("kill() called" in text or text.startswith("!!") or "Printer halted" in text):
            return False
        if not self._last_words.done():
            self._last_words.set_result(None)
        halted = DeviceHalted(
            f"the firmware on {self._url} has halted ('{self._stopped_by or text}'): it obeys nothing "
            "until it is reset, and its position is unknown. Find the cause, reset it, home again."
        )
        if isinstance(self._error, DeviceHalted):
            self._error = halted  # was only asked for until now
        self._fail(halted)
        return True

    def _on_temperature(self, text: str) -> None:
        self._temperature_text = text
        self.temperatures_time_s = self._talk.patience.alive_s = self._loop.time()
        if self.on_temperature is not None:
            self.on_temperature(parse_temperatures(text))

    # -- the end ------------------------------------------------------------------------------------------------

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise type(self._error)(str(self._error))

    def _fail(self, error: BridgeError) -> None:
        """Nothing more is sent or believed; everybody who waits is told why. The first error stays."""
        if self._error is not None:
            return
        self._error = error
        self._talk.end(error)
        if self._boot is not None:
            self._boot.fail(error)

"""A scripted Marlin peer for the link's tests: it keeps the number and checksum rules, and misbehaves where it is told.

Written from the protocol's facts alone; it has no planner: every accepted line is answered `reply_s` later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from firmware_bridge.errors import TransportError
from firmware_bridge.links.line_framing import xor_checksum
from firmware_bridge.links.marlin import MarlinLink
from firmware_bridge.transport import Transport

IDENTITY = "FIRMWARE_NAME:Marlin 2.1.2 PROTOCOL_VERSION:1.0 MACHINE_TYPE:moonkiln bench"


class FakeMarlin(Transport):
    """`taken`: the commands executed, in order. `on_line(number, text)` may return replies to give instead."""

    def __init__(
        self,
        link: MarlinLink,
        echo: bool = True,
        temperature: bool = True,
        advanced: bool = False,
        emergency_parser: bool = False,
    ) -> None:
        super().__init__("fake:marlin", link, 0.0)
        self.loop = asyncio.get_running_loop()
        self.echo, self.temperature, self.advanced = echo, temperature, advanced
        self.emergency_parser = emergency_parser
        self.last = -1
        self.taken: list[str] = []
        self.raw_lines: list[bytes] = []
        self.written: list[bytes] = []
        self.biggest_burst = 0
        self.deaf = False
        self.reply_s = 0.001
        self.mangle: Callable[[bytes], bytes] = lambda line: line
        self.on_reply: Callable[[str], list[bytes]] = lambda reply: [reply.encode() + b"\n"]
        self.on_line: Callable[[int, str], list[str] | None] = lambda number, text: None
        self._input = b""
        self._unanswered: dict[int, int] = {}
        link.attach(self)

    # Transport
    def _send(self, data: bytes) -> None:
        self.written.append(data)
        self._input += data
        *lines, self._input = self._input.split(b"\n")
        for line in lines:
            if line:
                self.raw_lines.append(line)
                self._take(self.mangle(line))

    def _waiting_bytes(self) -> int:
        return 0

    def _release(self) -> None:
        self.deaf = True

    def say(self, *replies: str) -> None:
        """Send reply lines a little later, in order."""
        for reply in replies:
            self.say_raw(b"".join(self.on_reply(reply)))

    def say_raw(self, data: bytes) -> None:
        if data:
            self.loop.call_later(self.reply_s, self._deliver, data)

    def lose(self) -> None:
        """The cable is pulled."""
        self._finish(TransportError("fake:marlin is gone"))

    def _deliver(self, data: bytes) -> None:
        if self.is_open and not self.deaf:
            self._receiver.data_received(data)

    # firmware
    def _take(self, line: bytes) -> None:
        if self.deaf or not line:
            return
        body, star, checksum = line.rpartition(b"*")
        text = (body if star else line).decode("latin-1")
        number = None
        if text.startswith("N"):
            digits, _, text = text[1:].partition(" ")
            if not digits.lstrip("-").isdigit():
                self._refuse("No Line Number with checksum")
                return
            number = int(digits)
            if "M110" in text:
                number = int(text.split("N")[-1])
            elif number != self.last + 1:
                self._refuse("Line Number is not Last Line Number+1")
                return
            if not star:
                self._refuse("No Checksum with line number")
                return
            if checksum != b"%d" % xor_checksum(body):
                self._refuse("checksum mismatch")
                return
            self.last = number
        if text == "M112":
            self.say("Error:Printer halted. kill() called!")
            self.loop.call_later(self.reply_s * 2, setattr, self, "deaf", True)
            return
        self.taken.append(text)
        scripted = self.on_line(-1 if number is None else number, text)
        if scripted is not None:
            self.say(*scripted)
            return
        self.answer(number, text)

    def answer(self, number: int | None, text: str) -> None:
        ok = f"ok N{number} P15 B3" if self.advanced and number is not None else "ok"
        if text == "M115":
            self.say(IDENTITY, "Cap:AUTOREPORT_TEMP:1", f"Cap:EMERGENCY_PARSER:{self.emergency_parser:d}", ok)
        elif text == "M114":
            self.say("X:20.00 Y:1.50 Z:0.25 E:0.00 Count X:1600 Y:120 Z:100", ok)
        elif text == "M105" and self.temperature:
            self.say("ok T:21.30 /0.00 B:20.00 /0.00 @:0 B@:0")
        elif text.startswith("M118") and self.echo:
            self.say(text.removeprefix("M118 "), ok)
        elif text.startswith("M118"):
            self.say('echo:Unknown command: "M118"', ok)
        else:
            self.say(ok)

    def _refuse(self, why: str) -> None:
        self.say(f"Error:{why}, Last Line: {self.last}", f"Resend: {self.last + 1}", "ok")

    def moves(self) -> list[str]:
        """The G0/G1 lines executed."""
        return [text for text in self.taken if text.startswith(("G0", "G1"))]


class Notes:
    """A journal that remembers; `delay_s` is how long a commit takes."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.groups: list[tuple[int, int]] = []
        self.acks: list[int] = []

    async def ahead(self, first: int, last: int) -> None:
        await asyncio.sleep(self.delay_s)
        self.groups.append((first, last))

    def acked(self, index: int) -> None:
        self.acks.append(index)


async def talk(**options: bool) -> tuple[MarlinLink, FakeMarlin]:
    """A link that has shaken hands with a well-behaved peer."""
    link = MarlinLink()
    peer = FakeMarlin(link, **options)
    await link.handshake(3.0)
    peer.taken.clear()
    return link, peer


def lines(count: int) -> list[bytes]:
    return [b"G1 X%d.125 Y7.5 F1200 S500" % index for index in range(count)]

"""What answers on a port, found out by questions that change nothing.

In this order at each baud rate: listen (a board that was reset by the opening says who it is), `M115` (firmware of the
RepRap family; where nobody answers, with a CRC as well: RepRapFirmware may demand one), `$I` (Grbl's build, only if it
talks like one), RoboClaw's "read firmware version" to each address, and Modbus reads of the registers by which known
maps tell their models. Binary questions are asked only where no line of
text came. A board that runs at another baud rate hears noise: probe no machine that is at work.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from firmware_bridge.errors import FrameError, TransportError
from firmware_bridge.links import roboclaw_frames
from firmware_bridge.links.modbus_frames import Found, Oddities, RtuDeframer, ask_read, frame_rtu, registers_of
from firmware_bridge.links.reprap_crc16 import frame_line
from firmware_bridge.map_folders import known_names
from firmware_bridge.register_map import MapError, RegisterMap, load_map
from firmware_bridge.transport import Transport, open_transport

BAUDS = (115200, 9600, 19200, 38400, 57600, 250000)
UNITS = (1, 2)
BOOT_S = 2.5  # a board with a bootloader is silent for so long after its reset
LISTEN_S = 0.3
TEXT_S = 1.0
ROBOCLAW_S = 0.06
MODBUS_S = 0.3
ROBOCLAW_VERSION = 21
HEARD_BYTES_MAX = 16 * 1024

_FIRMWARE = re.compile(rb"FIRMWARE_NAME:\s*(?P<name>.+?)(?:\s+[A-Z_]+:|\r?\n)")
_GRBL = re.compile(rb"(?P<name>Grbl(?:HAL)? \S+)|\[VER:(?P<version>[^\]]*)\]|\berror:\d+")
_GRBL_VERSION = re.compile(rb"\[VER:(?P<version>[^\]]*)\]")


@dataclass(frozen=True)
class Answer:
    """Somebody who answered: marlin, reprap, grbl, roboclaw, modbus-rtu or (unknown) lines, and `what` in words; `unit`
    and `map` of Modbus units."""

    protocol: str
    baud: int
    what: str
    unit: int | None = None
    map: str | None = None


class _Ear:
    """Keeps what comes."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.error: TransportError | None = None
        self._more = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard += data
        del self.heard[:-HEARD_BYTES_MAX]
        self._more.set()

    def connection_lost(self, error: TransportError | None) -> None:
        self.error = error
        self._more.set()

    async def until(self, enough: Callable[[bytes], bool], timeout_s: float) -> bool:
        """Wait for bytes that are enough. TransportError if the port goes away meanwhile."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while not enough(bytes(self.heard)):
            if self.error is not None:
                raise self.error
            self._more.clear()
            try:
                async with asyncio.timeout_at(deadline_s):
                    await self._more.wait()
            except TimeoutError:
                return False
        return True


async def probe(
    url_at: Callable[[int], str],
    *,
    bauds: Sequence[int] = BAUDS,
    units: Sequence[int] = UNITS,
) -> list[Answer]:
    """Ask at each baud rate in turn until somebody answers; empty if nobody does.

    `url_at(baud)` is the port's URL; `units`: the Modbus units that are asked. Raises TransportError where the port
    cannot be opened, or is lost.
    """
    maps = _maps()
    for number, baud in enumerate(bauds):
        ear = _Ear()
        transport = await open_transport(url_at(baud), ear)
        try:
            found = await _ask_all(ear, transport, baud, units, maps, BOOT_S if number == 0 else LISTEN_S)
        finally:
            transport.close()
        if found:
            return found
    return []


def _maps() -> list[RegisterMap]:
    """Every RTU map that tells its model by plain registers; those with a number of their own before mere ranges."""
    maps = []
    for name in known_names():
        try:
            table = load_map(name)
        except MapError:
            continue  # a user's map that cannot be used is told of where it is used
        if table.protocol == "modbus-rtu" and not any(table.signal(i.signal).scale_from for i in table.identify):
            maps.append(table)
    return sorted(maps, key=lambda table: any(identity.low != identity.high for identity in table.identify))


async def _ask_all(
    ear: _Ear, transport: Transport, baud: int, units: Iterable[int], maps: Sequence[RegisterMap], listen_s: float
) -> list[Answer]:
    await ear.until(lambda heard: bool(_GRBL.search(heard)) or b"start\n" in heard, listen_s)
    answer = await _ask_text(ear, transport, baud)
    if answer is not None:
        return [answer]
    found = await _ask_roboclaws(ear, transport, baud)
    if found:
        return found
    return [answer for unit in units if (answer := await _ask_unit(ear, transport, baud, unit, maps)) is not None]


async def _ask_text(ear: _Ear, transport: Transport, baud: int) -> Answer | None:
    """Firmware that speaks in lines."""
    transport.write(b"M115\n")
    await ear.until(lambda heard: bool(_FIRMWARE.search(heard) or _GRBL.search(heard)), TEXT_S)
    if not ear.heard:
        transport.write(frame_line(0, b"M115", guard=False))
        await ear.until(lambda heard: bool(_FIRMWARE.search(heard)), TEXT_S)
    firmware = _FIRMWARE.search(ear.heard)
    if firmware is not None:
        name = _words(firmware["name"]).strip()
        return Answer("reprap" if "RepRapFirmware" in name else "marlin", baud, name)
    talk = _GRBL.search(ear.heard)
    if talk is None:
        line = next(filter(_is_text, bytes(ear.heard).split(b"\n")[:-1]), None)
        return None if line is None else Answer("lines", baud, f"something that says {line.decode().strip()!r}")
    transport.write(b"$I\n")
    await ear.until(lambda heard: bool(_GRBL_VERSION.search(heard)), TEXT_S)
    version = _GRBL_VERSION.search(ear.heard)
    if version is not None:
        return Answer("grbl", baud, f"Grbl {_words(version['version']).rstrip(':')}")
    return Answer("grbl", baud, _words(talk["name"] or b"Grbl, or something that talks like it"))


def _is_text(line: bytes) -> bool:
    """A line that somebody wrote to be read, and no echo of what was asked."""
    line = line.strip()
    return len(line) > 1 and line != b"M115" and _is_printable(line)


def _is_printable(raw: bytes) -> bool:
    return all(32 <= byte < 127 for byte in raw)


def _words(raw: bytes) -> str:
    """What a device calls itself, fit for a terminal: what is not printable ASCII is a question mark."""
    return bytes(byte if 32 <= byte < 127 else ord("?") for byte in raw).decode("ascii")


async def _ask_roboclaws(ear: _Ear, transport: Transport, baud: int) -> list[Answer]:
    """Motor boards by their packet serial; several share a line."""
    found = []
    for address in roboclaw_frames.ADDRESSES:
        question = roboclaw_frames.ask_text(address, ROBOCLAW_VERSION)
        ear.heard.clear()
        transport.write(roboclaw_frames.frame(question))

        def version(heard: bytes, question: roboclaw_frames.Question = question) -> str | None:
            return _roboclaw_version(question, heard)

        wire_s = question.reply_bytes * transport.byte_time_s
        if await ear.until(lambda heard: version(heard) is not None, ROBOCLAW_S + wire_s):
            found.append(Answer("roboclaw", baud, f"{version(bytes(ear.heard))} at address 0x{address:02X}"))
    return found


def _roboclaw_version(question: roboclaw_frames.Question, heard: bytes) -> str | None:
    """The board's text; None unless all of it is printable and names the family: a CRC alone fits other things too."""
    try:
        text = roboclaw_frames.Deframer().feed(question, heard)
    except FrameError:
        return None
    text = (text or b"").rstrip(b"\n\0")
    return text.decode("ascii") if _is_printable(text) and b"roboclaw" in text.lower() else None


async def _ask_unit(
    ear: _Ear, transport: Transport, baud: int, unit: int, maps: Sequence[RegisterMap]
) -> Answer | None:
    """One Modbus unit: whether it answers at all, and the first map whose model it is."""
    answered = False
    for asked, table in enumerate(maps):
        if asked >= 2 and not answered:
            break  # two questions that every Modbus device has to answer, if only with a refusal
        is_model = True
        for identity in table.identify:
            signal = table.signal(identity.signal)
            words = await _read(ear, transport, unit, signal.fc, signal.address, signal.words)
            answered = answered or words is not None
            value = signal.decode(words) if words else None
            is_model = value is not None and identity.low <= value <= identity.high
            if not is_model:
                break
        if is_model:
            return Answer("modbus-rtu", baud, table.model, unit, table.name)
    return Answer("modbus-rtu", baud, "a Modbus unit that no map knows", unit) if answered else None


async def _read(ear: _Ear, transport: Transport, unit: int, fc: int, address: int, count: int) -> list[int] | None:
    """Registers; empty if the unit refuses, None if nobody answers."""
    question = ask_read(unit, fc, address, count)
    request = frame_rtu(question)
    await asyncio.sleep(max(3.5 * transport.byte_time_s, 0.00175))  # the silence that ends the frame before
    ear.heard.clear()
    transport.write(request)

    def outcome(heard: bytes) -> tuple[Found, bytes]:
        return RtuDeframer().feed(question, heard, Oddities())

    wire_s = (len(request) + question.reply_size + 3) * transport.byte_time_s
    if not await ear.until(lambda heard: outcome(heard)[0] is not Found.NOTHING, wire_s + MODBUS_S):
        return None
    kind, pdu = outcome(bytes(ear.heard))
    return registers_of(question, pdu) if kind is Found.REPLY else []

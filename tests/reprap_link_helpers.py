"""A scripted RepRapFirmware peer for the link's tests: lines, checks and workplaces as the facts tell, and misbehaviour
where it is told. It shares nothing with the driver but the transport, and has no planner: a command takes no time."""

from __future__ import annotations

import asyncio
import binascii
import re
from collections.abc import Callable
from functools import reduce
from operator import xor

from firmware_bridge.errors import TransportError
from firmware_bridge.links.reprap import Expected, RepRapLink
from firmware_bridge.transport import Transport

LIMITS = {"X": 250.0, "Y": 150.0, "Z": 100.0}
_COMMAND = re.compile(r'M118 S"([^"]*)"|M409 K"([^"]*)"|[GM]\d+(?:\.\d)?[^GM]*')


class FakeReprap(Transport):
    """`done`: the commands carried out, in order. `on_line(text)` may return False: the line is lost. `on_reply(line)`
    gives what is really sent of a reply line."""

    def __init__(self, link: RepRapLink) -> None:
        super().__init__("fake:reprap", link.receiver, 0.0)
        self.loop = asyncio.get_running_loop()
        self.done: list[str] = []
        self.moves: list[tuple[float, float]] = []
        self.written: list[bytes] = []
        self.needs_crc = True
        self.is_homed = True
        self.status = "idle"
        self.place = {"X": 0.0, "Y": 0.0, "Z": 0.0}
        self.offset = {"G54": 0.0, "G55": 0.0}
        self.workplace = "G54"
        self.model: dict[str, str] = {"move.queue[0].length": "60"}
        self.name = "FIRMWARE_NAME: RepRapFirmware for Fake FIRMWARE_VERSION: 3.5.4 ELECTRONICS: Fake"
        self.closes_mm = {"X": 0.0, "Y": 0.0}  # where the end switches are, by what the board counts
        self.endstops: dict[str, str] = {}  # what is said of them instead
        self.deaf = False
        self.drops_rest = False  # of a line, behind a refusal
        self.reply_s = 0.001
        self.on_line: Callable[[str], bool] = lambda text: True
        self.on_reply: Callable[[str], list[str]] = lambda reply: [reply]
        self._input = b""
        link.attach(self)

    # Transport
    def _send(self, data: bytes) -> None:
        self.written.append(data)
        self._input += data
        *lines, self._input = self._input.split(b"\n")
        for line in lines:
            if line and not self.deaf:
                self._take(line)

    def _waiting_bytes(self) -> int:
        return 0

    def _release(self) -> None:
        self.deaf = True

    def lose(self) -> None:
        """The cable is pulled."""
        self._finish(TransportError("fake:reprap is gone"))

    def say(self, *replies: str) -> None:
        """Reply lines, a little later, in order."""
        for reply in replies:
            for line in self.on_reply(reply):
                self.loop.call_later(self.reply_s, self._deliver, line.encode("latin-1") + b"\n")

    def _deliver(self, data: bytes) -> None:
        if self.is_open and not self.deaf:
            self._receiver.data_received(data)

    # firmware
    def _take(self, raw: bytes) -> None:
        body, star, digits = raw.rpartition(b"*")
        if star and body.startswith(b"N"):
            is_weak = len(digits) < 4 and not self.needs_crc
            if int(digits) != (reduce(xor, body) if is_weak else binascii.crc_hqx(body, 0)):
                return
            text = body.partition(b" ")[2].decode()
        elif self.needs_crc:
            return
        else:
            text = raw.decode("latin-1")
        if not self.on_line(text):
            return
        for found in _COMMAND.finditer(text):
            self._is_refused = False
            self._do(found[0].strip())
            if self._is_refused and self.drops_rest:
                break
        self.say("ok")

    def _do(self, command: str) -> None:
        word = command.split()[0]
        word = re.match(r"[GM]\d+", word)[0]  # type: ignore[index]
        if word in ("G0", "G1"):
            self._move(command, word)
            return
        self.done.append(command)
        if word in ("G54", "G55"):
            self.workplace = word
        elif command.startswith("G10 L2 P2"):
            self.offset["G55"] = float(command.split("X")[1].split()[0])
        elif word == "M118":
            self.say(command.split('"')[1])
            self.done.pop()
        elif word == "M115":
            self.say(self.name)
        elif word == "M114":
            at = " ".join(f"{self.place[axis]:.3f}" for axis in "XYZ")
            self.say(f"X:0.000 Y:0.000 Z:0.000 E:0.000 Count 0 0 0 Machine {at} Bed comp 0.000")
        elif word == "M201":
            self.say("Accelerations (mm/sec^2): X: 500.0, Y: 500.0, Z: 100.0, E: 250.0")
        elif word == "M409":
            self._tell(command.split('"')[1])
        elif word == "M119":
            is_closed = {axis: self.place[axis] <= at_mm for axis, at_mm in self.closes_mm.items()}
            said = {axis: "at min stop" if is_closed[axis] else "not stopped" for axis in "XY"} | self.endstops
            self.say(f"Endstops - X: {said['X']}, Y: {said['Y']}, Z: not stopped, Z probe: not stopped")
        elif word == "M112":
            self.say("Emergency Stop! Reset the controller to continue.")
        elif word == "G28":
            self.is_homed = True
            self.place = dict.fromkeys("XYZ", 0.0)

    def _tell(self, key: str) -> None:
        axis = "XYZ"[int(key[10])] if key.startswith("move.axes[") else ""
        value = self.model.get(key)
        if value is None and axis:
            leaf = key.rpartition(".")[2]
            value = {"min": "0", "max": str(LIMITS[axis]), "homed": str(self.is_homed).lower()}[leaf]
        elif value is None:
            value = f'"{self.status}"'
        self.say(f'{{"key":"{key}","flags":"","result":{value}}}', "")

    def _move(self, command: str, word: str) -> None:
        axes = {axis: float(value) for axis, value in re.findall(r"([XYZ])(-?[\d.]+)", command)}
        if " H4 " in command:
            self.place |= {
                axis: max(value, min(self.place[axis], self.closes_mm[axis])) for axis, value in axes.items()
            }
            self.done.append(command)
            return
        if "X" in axes:
            axes["X"] += self.offset[self.workplace]
        if not self.is_homed:
            self.say(f"Error: {word}: insufficient axes homed")
        elif any(not 0 <= value <= LIMITS[axis] for axis, value in axes.items()):
            self._is_refused = True
            self.say(f"Error: {word}: target position outside machine limits")
        else:
            self.place |= axes
            self.done.append(command)
            self.moves.append((round(self.place["X"], 3), round(self.place["Y"], 3)))


class Notes:
    """A journal that remembers."""

    def __init__(self) -> None:
        self.groups: list[tuple[int, int]] = []
        self.acks: list[int] = []

    async def ahead(self, first: int, last: int) -> None:
        await asyncio.sleep(0.0)
        self.groups.append((first, last))

    def acked(self, index: int) -> None:
        self.acks.append(index)


async def talk() -> tuple[RepRapLink, FakeReprap]:
    """A link that has made the acquaintance of a well-behaved peer."""
    link = RepRapLink(Expected())
    peer = FakeReprap(link)
    await link.handshake(3.0)
    peer.done.clear()
    peer.written.clear()
    return link, peer


def points(count: int) -> list[tuple[float, float]]:
    return [(10.0 + index * 0.5, 20.0 + index % 2 * 5.0) for index in range(count)]


def lines(count: int) -> list[bytes]:
    return [b"G1 X%.3f Y%.3f F1200 S500" % point for point in points(count)]

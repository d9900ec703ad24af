"""The grant protocol's reference client: a toy Marlin that lives by granted time. It needs nothing but Python.

    python -m hil_sim.harness.grant_client tcp:127.0.0.1:PORT

The file imports nothing of ours: copy it to where your simulator lives, and replace Firmware by whatever runs your
firmware for a stretch of time. Client is the protocol, whole. 0 only if the run was over by moonkiln's own word.
"""

from __future__ import annotations

import heapq
import json
import socket
import sys
from typing import Any

MS = 1_000_000
US = 1_000
PROTOCOL = 1


class PeerError(Exception):
    """The other side is lost, or does not speak the protocol; the sentence says what came of it."""


class Firmware:
    """A board that takes 300 us for a line, G4 P for its milliseconds, and knows a few commands of Marlin.

    It is told of bytes with their time, is run until a time, and then has `sent`: (time, bytes) in order.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self._input = b""
        self._waiting: list[bytes] = []
        self._due: list[tuple[int, int, bytes]] = []  # replies: (time, number, bytes)
        self._count = 0
        self._free_at_ns = 0
        self._last = 0

    def opened(self, now_ns: int) -> None:
        """DTR has reset the board."""
        self.__init__()  # type: ignore[misc]
        self._free_at_ns = now_ns + 20 * MS
        self._say(self._free_at_ns, b"start\n")

    def received(self, now_ns: int, data: bytes) -> None:
        """Bytes from the host."""
        self._input += data
        *lines, self._input = self._input.split(b"\n")
        for line in filter(bytes.strip, lines):  # an empty line gets no ok
            begin_ns = max(now_ns, self._free_at_ns)
            self._free_at_ns = begin_ns + 300 * US
            reply = self._answer(line.strip())
            self._say(self._free_at_ns, reply)

    def run_until(self, until_ns: int) -> None:
        """Live: what is due by then is sent."""
        while self._due and self._due[0][0] <= until_ns:
            at_ns, _, data = heapq.heappop(self._due)
            self.sent.append((at_ns, data))

    def idle_until_ns(self) -> int:
        """When it will do something next by itself, or -1."""
        return self._due[0][0] if self._due else -1

    def _say(self, at_ns: int, data: bytes) -> None:
        self._count += 1
        heapq.heappush(self._due, (at_ns, self._count, data))

    def _answer(self, line: bytes) -> bytes:
        if line.startswith(b"N"):
            body, star, told = line.rpartition(b"*")
            total = 0
            for byte in body:
                total ^= byte
            digits, _, text = body[1:].partition(b" ")
            if not star or told != b"%d" % total:
                return self._again(b"checksum mismatch")
            number = int(text.split(b"N")[-1]) if text.startswith(b"M110") else int(digits)
            if not text.startswith(b"M110") and number != self._last + 1:
                return self._again(b"Line Number is not Last Line Number+1")
            self._last, line = number, text
        word = line.split(b" ", 1)[0]
        if word == b"M115":
            return b"FIRMWARE_NAME:Marlin 2.1.2 (granted toy) PROTOCOL_VERSION:1.0\nCap:AUTOREPORT_TEMP:0\nok\n"
        if word == b"M105":
            return b"ok T:21.30 /0.00 B:20.00 /0.00 @:0 B@:0\n"
        if word == b"M118":
            return line[5:] + b"\nok\n"
        if word == b"G4" and b"P" in line:
            self._free_at_ns += int(line.partition(b"P")[2]) * MS
        return b"ok\n"

    def _again(self, why: bytes) -> bytes:
        return b"Error:%b, Last Line: %d\nResend: %d\nok\n" % (why, self._last, self._last + 1)


def connected(address: str) -> socket.socket:
    """A connection to `tcp:HOST:PORT` or `unix:PATH`. ValueError for another address, OSError where nobody listens."""
    scheme, _, rest = address.partition(":")
    host, _, port = rest.rpartition(":")
    if scheme == "unix" and rest:
        link = socket.socket(socket.AF_UNIX)
        link.connect(rest)
        return link
    if scheme != "tcp" or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is no address to connect to: give tcp:HOST:PORT or unix:PATH")
    return socket.create_connection((host, int(port)))


class Client:
    """The protocol: one line of JSON each way for every quantum."""

    def __init__(self, address: str, name: str = "toy marlin") -> None:
        """As `connected` raises; PeerError: it is welcomed by nobody, or to another protocol."""
        self._socket = connected(address)
        self._lines = self._socket.makefile("rb")
        self.log: list[str] = []
        self.say({"type": "hello", "protocol": PROTOCOL, "name": name})
        self.welcome = self.hear()
        if self.welcome["type"] != "welcome" or self.welcome.get("protocol") != PROTOCOL:
            raise PeerError(
                f"{address} answered the hello with {self.welcome}: that is no welcome to grant protocol {PROTOCOL}"
            )

    def say(self, message: dict[str, Any]) -> None:
        """Send a message. OSError: nobody is there."""
        text = json.dumps(message, separators=(",", ":"))
        self.log.append(f"process: {text}")
        self._socket.sendall(text.encode() + b"\n")

    def hear(self) -> dict[str, Any]:
        """The next message. PeerError: the connection was lost, or the line is no message. OSError: as `say`."""
        line = self._lines.readline()
        if not line.endswith(b"\n"):
            raise PeerError("the connection was closed before moonkiln said end: look what its run came to")
        try:
            message: dict[str, Any] = json.loads(line)
            kind = message["type"]
        except (ValueError, TypeError, KeyError):
            raise PeerError(
                f"{line[:80]!r} is no message of the grant protocol: is it moonkiln that listens?"
            ) from None
        self.log.append(f"moonkiln: {line.decode().strip()}")
        if kind not in ("welcome", "grant", "end"):
            raise PeerError(f"moonkiln says no {kind!r}: is it moonkiln that listens?")
        return message

    def serve(self, firmware: Firmware) -> None:
        """Live by grants until the end. PeerError, OSError: as `hear`."""
        while (message := self.hear())["type"] != "end":
            from_ns, until_ns, happened = granted(message)
            for kind, data in happened:
                if kind == "open":
                    firmware.opened(from_ns)
                elif kind == "bytes":
                    # it happened before this quantum: time that is over cannot be lived again
                    firmware.received(from_ns, data)
            firmware.run_until(until_ns)
            events = [{"at_ns": at_ns, "kind": "bytes", "data": data.hex()} for at_ns, data in firmware.sent]
            firmware.sent = []
            done: dict[str, Any] = {"type": "done", "at_ns": until_ns}
            if events:
                done["events"] = events
            done["idle_until_ns"] = firmware.idle_until_ns()
            self.say(done)


def granted(message: dict[str, Any]) -> tuple[int, int, list[tuple[str, bytes]]]:
    """From when until when it may live, ns, and (kind, bytes) of what happened before. PeerError: it is no grant."""
    try:
        happened = [(event["kind"], bytes.fromhex(event.get("data", ""))) for event in message["events"]]
        return int(message["from_ns"]), int(message["until_ns"]), happened
    except (ValueError, TypeError, KeyError, AttributeError):
        raise PeerError(f"{message} is no grant") from None


def main() -> None:
    """Serve one run; with a second word the conversation is written to that file."""
    if len(sys.argv) not in (2, 3):
        sys.exit("give the address to connect to, tcp:HOST:PORT or unix:PATH, and perhaps a file for the conversation")
    try:
        client = Client(sys.argv[1])
        try:
            client.serve(Firmware())
        finally:
            if len(sys.argv) > 2:
                with open(sys.argv[2], "w", encoding="utf-8") as file:
                    file.write("\n".join(client.log) + "\n")
    except (PeerError, ValueError) as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error.strerror or error}: a run with this peer must be listening there")


if __name__ == "__main__":
    main()

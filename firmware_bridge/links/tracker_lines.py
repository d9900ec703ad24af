"""A total station that follows a reflector: text lines with a CRC-16, streamed, and a few questions.

    $MKTRK,412,123450,12.0312,-4.5520,0.1180,1.57080,0.0500,0*7A83

(number, device ms, x y z m, heading rad, sigma m, status: docs/tracker-line.md.) A line whose CRC does not fit,
or whose fields are not what they should be, is counted and forgotten: never half believed.
"""

from __future__ import annotations

import asyncio
import math
import re
from binascii import crc_hqx
from dataclasses import dataclass

from firmware_bridge.errors import LinkError, LinkTimeout, TransportError
from firmware_bridge.transport import Transport, open_transport

LINE_BYTES_MAX = 160
_LINE = re.compile(rb"\$([A-Z]{5})((?:,[^,*$]*)*)\*([0-9A-F]{4})\r?")
_NUMBER = re.compile(rb"-?\d{1,8}(?:\.\d{1,6})?")
_COUNT = re.compile(rb"\d{1,10}")
TRACKING, SEARCHING = 0, 1


@dataclass(frozen=True, slots=True)
class Fix:
    """One position of the reflector in the map frame. `heading_rad` is None where only one reflector is seen."""

    seq: int
    device_ms: int
    x_m: float
    y_m: float
    z_m: float
    heading_rad: float | None
    sigma_m: float
    heard_s: float  # loop time


@dataclass
class TrackerCounters:
    """What went by since the link was opened. `lost`: by gaps in the sequence numbers."""

    fixes: int = 0
    searching: int = 0
    damaged: int = 0
    lost: int = 0


def tracker_line(name: bytes, fields: tuple[bytes, ...]) -> bytes:
    """A whole line. The CRC (poly 0x1021, init 0xFFFF) is over what stands between `$` and `*`."""
    body = b",".join((name, *fields))
    return b"$%b*%04X\r\n" % (body, crc_hqx(body, 0xFFFF))


def parse_line(line: bytes) -> tuple[bytes, list[bytes]] | None:
    """Name and fields of a line without its newline; None for anything that is damaged or no line."""
    match = _LINE.fullmatch(line)
    if match is None or int(match[3], 16) != crc_hqx(line[1 : match.start(3) - 1], 0xFFFF):
        return None
    return match[1], match[2].split(b",")[1:]


def parse_fix(fields: list[bytes], heard_s: float) -> Fix | None:
    """The fields of a `MKTRK` line as a Fix; None while the station searches. ValueError: not such fields."""
    if len(fields) != 8 or not (_COUNT.fullmatch(fields[0]) and _COUNT.fullmatch(fields[1])):
        raise ValueError("a fix has eight fields, the first two whole numbers")
    if fields[7] == b"%d" % SEARCHING:
        return None
    if fields[7] != b"%d" % TRACKING:
        raise ValueError(f"a status of {fields[7]!r} is not known")
    if not all(_NUMBER.fullmatch(field) for field in (*fields[2:5], fields[5] or b"0", fields[6])):
        raise ValueError("a coordinate that is no number")
    heading = float(fields[5]) if fields[5] else None
    x_m, y_m, z_m, sigma_m = (float(fields[at]) for at in (2, 3, 4, 6))
    if sigma_m <= 0 or (heading is not None and abs(heading) > 2 * math.pi):
        raise ValueError("a sigma or a heading out of its range")
    return Fix(int(fields[0]), int(fields[1]), x_m, y_m, z_m, heading, sigma_m, heard_s)


class TrackerLink:
    """The stream of fixes, and questions with their answers. `latest`: the newest fix; `heard_s`: when a line came."""

    def __init__(self, timeout_s: float = 0.5) -> None:
        self.counters = TrackerCounters()
        self.latest: Fix | None = None
        self.is_searching = False
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._rest = b""
        self._seq: int | None = None
        self._question: tuple[bytes, asyncio.Future[list[bytes]]] | None = None
        self._transport: Transport | None = None
        self._error: LinkError | None = None
        self._url = ""
        self.heard_s = -math.inf

    @classmethod
    async def open(cls, url: str, *, timeout_s: float = 0.5) -> TrackerLink:
        """Open the port. Raises TransportError."""
        link = cls(timeout_s)
        link._url = url
        link._transport = await open_transport(url, link)
        return link

    async def ask(self, name: bytes, *fields: bytes, answer: bytes) -> list[bytes]:
        """Send a question and wait for the line of the name `answer`; asked twice before it is given up.

        Raises:
            LinkTimeout: no such line within the timeout.
            LinkError: the port is gone, or another question waits.
        """
        for attempt in (1, 2):
            if self._error is not None:
                raise self._error
            if self._question is not None or self._transport is None:
                raise LinkError(f"{self._url} is busy with another question, or closed: one at a time.")
            future: asyncio.Future[list[bytes]] = self._loop.create_future()
            self._question = (answer, future)
            try:
                self._transport.write(tracker_line(name, fields))
                async with asyncio.timeout(self._timeout_s):
                    return await future
            except TimeoutError:
                if attempt == 2:
                    raise LinkTimeout(
                        f"nothing on {self._url} answers {name.decode()} with {answer.decode()} within"
                        f" {self._timeout_s:g} s: is a tracker connected there, at this baud rate?"
                    ) from None
            finally:
                self._question = None
        raise AssertionError("two attempts end the loop")

    def close(self) -> None:
        """Give the port back."""
        if self._transport is not None:
            self._transport.close()

    # -- receiving ------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes from the transport."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > LINE_BYTES_MAX:
            self._rest = b""
            self.counters.damaged += 1
        for line in lines:
            if line.strip():
                self._on_line(line)

    def connection_lost(self, error: TransportError | None) -> None:
        """The transport is gone."""
        self._error = LinkError(f"{self._url} is closed." if error is None else f"the tracker was lost: {error}")
        if self._question is not None and not self._question[1].done():
            self._question[1].set_exception(self._error)

    @property
    def error(self) -> LinkError | None:
        """Why the link is gone, or None."""
        return self._error

    def _on_line(self, line: bytes) -> None:
        parsed = parse_line(line)
        if parsed is None:
            self.counters.damaged += 1
            return
        name, fields = parsed
        if self._question is not None and name == self._question[0]:
            if not self._question[1].done():
                self._question[1].set_result(fields)
            return
        if name != b"MKTRK":
            return
        try:
            fix = parse_fix(fields, self._loop.time())
        except ValueError:
            self.counters.damaged += 1
            return
        seq = int(fields[0])
        if self._seq is not None:
            self.counters.lost += min((seq - self._seq - 1) % 65536, 1000)
        self._seq = seq
        self.heard_s = self._loop.time()
        self.is_searching = fix is None
        if fix is None:
            self.counters.searching += 1
        else:
            self.latest = fix
            self.counters.fixes += 1

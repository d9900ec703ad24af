"""A camera's picture over HTTP/1.1: `GET /snapshot.jpg`, one connection and one request at a time.

    link = HttpSnapshotLink("tcp:192.168.70.11:80", timeout_s=5.0)
    jpeg = await link.snapshot()

Each picture has a connection of its own, so that what is left of a failed answer can never be taken for the next one.
Content-Length is required and at most 8 MB; chunked, compressed, redirected or cut answers are refused with a sentence,
and so is a picture whose bytes are not those that its header's digest was made of, where there is one.
"""

from __future__ import annotations

import asyncio

from firmware_bridge.errors import FrameError, LinkError, LinkTimeout, TransportError
from firmware_bridge.links.http_digest import digest_flaw
from firmware_bridge.transport import Transport, open_transport

HEAD_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 8 * 1024 * 1024
JPEG_START = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
JPEG_TAIL = 64  # cameras pad behind the end mark, by a few bytes


class SnapshotReply:
    """Cuts one HTTP reply out of a byte stream. Free of I/O: `feed` bytes until it returns the body.

    Raises LinkError for a status other than 200, FrameError for a reply that breaks the contract. `who` begins each
    sentence.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._head = bytearray()
        self._body = bytearray()
        self._length: int | None = None
        self._fields: dict[bytes, set[bytes]] = {}

    def feed(self, data: bytes) -> bytes | None:
        """The next bytes; the whole body once it is there, None before."""
        if self._length is None:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end > HEAD_BYTES_MAX or (end < 0 and len(self._head) > HEAD_BYTES_MAX):
                raise FrameError(
                    f"{self._who} sends no end of its HTTP header within {HEAD_BYTES_MAX} bytes: {self._start()}."
                )
            if end < 0:
                if len(self._head) >= 5 and not self._head.startswith(b"HTTP/"):
                    raise FrameError(
                        f"{self._who} does not speak HTTP: it begins with {self._start()}. Check address and port."
                    )
                return None
            self._length = self._read_head(bytes(self._head[:end]))
            data = bytes(self._head[end + 4 :])
        self._body += data
        if len(self._body) > self._length:
            raise FrameError(
                f"{self._who} sends more than the {self._length} bytes that its Content-Length promises: "
                "the picture cannot be trusted."
            )
        if len(self._body) < self._length:
            return None
        body = bytes(self._body)
        if flaw := digest_flaw(self._fields, body):
            raise FrameError(f"{self._who} sent a picture that was damaged on its way: {flaw}.")
        return body

    def progress(self) -> str:
        """How far the reply came, for a sentence."""
        if self._length is None:
            return f"{len(self._head)} bytes of the header"
        return f"{len(self._body)} of {self._length} bytes of the picture"

    def _start(self) -> str:
        return ascii(bytes(self._head[:40]))

    def _read_head(self, head: bytes) -> int:
        """Content-Length of a header that keeps the contract."""
        status_line, *lines = head.split(b"\r\n")
        words = status_line.split(b" ", 2)
        if (
            len(words) < 2
            or words[0] not in (b"HTTP/1.1", b"HTTP/1.0")
            or not (len(words[1]) == 3 and words[1].isdigit())
        ):
            raise FrameError(f"{self._who} answers with a status line that is not HTTP/1.1: {status_line[:60]!a}.")
        status = int(words[1])
        if status != 200:
            meaning = ascii(words[2][:60])[2:-1] if len(words) > 2 else ""
            advice = {
                401: "the camera wants a login; switch it off for this address",
                404: "the camera has no /snapshot.jpg",
                503: "the camera is busy; is another program taking pictures?",
            }.get(
                status,
                "redirects are not followed" if 300 <= status < 400 else "look at the camera's own page or restart it",
            )
            raise LinkError(f"{self._who} answers GET /snapshot.jpg with {status} {meaning}: {advice}.")
        fields = self._fields
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon or not name or name != name.strip():
                raise FrameError(f"{self._who} sends a header line that is none: {line[:60]!a}.")
            fields.setdefault(name.lower(), set()).add(value.strip())
        if b"transfer-encoding" in fields:
            raise FrameError(
                f"{self._who} sends its picture in chunks (Transfer-Encoding); a Content-Length is required: "
                "set the camera to plain snapshots."
            )
        if fields.get(b"content-encoding", {b"identity"}) != {b"identity"}:
            raise FrameError(f"{self._who} compresses its answer (Content-Encoding); switch that off.")
        lengths = fields.get(b"content-length", set())
        if not lengths:
            raise FrameError(f"{self._who} does not say how long its picture is: a Content-Length is required.")
        text = next(iter(lengths))
        if len(lengths) > 1 or not text.isdigit() or len(text) > 12:
            raise FrameError(f"{self._who} sends a Content-Length that is no one number: {sorted(lengths)[:2]!a}.")
        length = int(text)
        if not 0 < length <= BODY_BYTES_MAX:
            raise FrameError(f"{self._who} announces a picture of {length} bytes; 1 to {BODY_BYTES_MAX} are accepted.")
        return length


class _Conversation:
    """The receiver of one connection: feeds the reply, ends its future."""

    def __init__(self, who: str) -> None:
        self.reply = SnapshotReply(who)
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._who = who

    def data_received(self, data: bytes) -> None:
        if self.done.done():
            return
        try:
            body = self.reply.feed(data)
        except LinkError as error:
            self.done.set_exception(error)
            return
        if body is not None:
            self.done.set_result(body)

    def connection_lost(self, error: TransportError | None) -> None:
        if not self.done.done():
            why = f"({error})" if error else "(this side closed the link)"
            self.done.set_exception(
                LinkError(f"{self._who} was cut off after {self.reply.progress()} {why}; take the picture again.")
            )

    def settle(self) -> None:
        """Nobody will ask any more: leave no exception behind that is never looked at."""
        if not self.done.cancel() and not self.done.cancelled():
            self.done.exception()


class HttpSnapshotLink:
    """Pictures from one camera. url: `tcp:HOST:PORT` or a registered scheme. timeout_s bounds a whole snapshot:
    waiting for an earlier one, connecting, and the last byte."""

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        if not 0 < timeout_s < 3600:
            raise ValueError(f"timeout_s is {timeout_s}; give seconds above 0")
        self.url = url
        self.timeout_s = timeout_s
        self.snapshots = 0
        self.failures = 0
        self._lock = asyncio.Lock()
        self._transport: Transport | None = None
        self._closed = False

    @classmethod
    async def open(cls, url: str, *, timeout_s: float = 5.0) -> HttpSnapshotLink:
        """A link whose camera takes connections: TransportError where it does not."""
        link = cls(url, timeout_s=timeout_s)
        transport = await open_transport(url, _Deaf(), timeout_s=timeout_s)
        transport.close()
        return link

    @property
    def is_closed(self) -> bool:
        """Whether it was closed: there will be no more pictures."""
        return self._closed

    async def snapshot(self) -> bytes:
        """One picture, as whole JPEG bytes.

        Raises LinkTimeout, FrameError or LinkError in a sentence, TransportError where the camera takes no connection.
        """
        if self._closed:
            raise LinkError(f"the camera at {self.url} was closed; open it again.")
        who = f"the camera at {self.url}"
        conversation: _Conversation | None = None
        try:
            async with asyncio.timeout(self.timeout_s), self._lock:
                conversation = _Conversation(who)
                body = await self._ask(conversation)
        except TimeoutError as error:
            self.failures += 1
            far = "no connection" if conversation is None else conversation.reply.progress()
            raise LinkTimeout(
                f"{who} gave no whole picture within {self.timeout_s:g} s ({far}); check its cable and load."
            ) from error
        except (LinkError, TransportError):
            self.failures += 1
            raise
        if not body.startswith(JPEG_START) or JPEG_END not in body[-JPEG_TAIL:]:
            self.failures += 1
            raise FrameError(f"{who} sent {len(body)} bytes that are no whole JPEG (they begin with {body[:8]!a}).")
        self.snapshots += 1
        return body

    async def _ask(self, conversation: _Conversation) -> bytes:
        try:
            self._transport = await open_transport(self.url, conversation, timeout_s=self.timeout_s)
            self._transport.write(
                b"GET /snapshot.jpg HTTP/1.1\r\nHost: %s\r\nAccept: image/jpeg\r\nConnection: close\r\n\r\n"
                % self._host()
            )
            return await conversation.done
        finally:
            conversation.settle()
            if self._transport is not None:
                self._transport.close()
                self._transport = None

    def close(self) -> None:
        """No more pictures; one under way ends with a LinkError."""
        self._closed = True
        if self._transport is not None:
            self._transport.close()

    def _host(self) -> bytes:
        return self.url.partition(":")[2].partition("?")[0].encode("ascii", "replace").replace(b" ", b"")


class _Deaf:
    """The receiver of a connection that only tries the door."""

    def data_received(self, data: bytes) -> None:
        """Nothing was asked."""

    def connection_lost(self, error: TransportError | None) -> None:
        """It is closed at once."""

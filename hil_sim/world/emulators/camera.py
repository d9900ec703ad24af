"""An emulated network camera: HTTP/1.1 requests in, JPEG pictures out.

The picture is taken in two steps, as a camera does it: `shoot(t_s)` holds the truth of that moment fast (cheap, on the
loop), the picture is developed from it beside the loop. The camera serves one request at a time, whoever asks. Where
`shoot` gives None the sensor hangs: that request is never answered, and the next connection starts afresh.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

Develop = Callable[[], bytes]
Shoot = Callable[[float], Develop | None]

REQUEST_BYTES_MAX = 8 * 1024
PICTURE_BYTES_MAX = 8_000_000
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class CameraEmulator:
    """The camera. shoot: see above. exposure_s: from the request to the moment that the picture shows; readout_s: from
    there to the first byte of the answer."""

    def __init__(self, shoot: Shoot, *, exposure_s: float = 0.02, readout_s: float = 0.06) -> None:
        self.shoot = shoot
        self.exposure_s = exposure_s
        self.readout_s = readout_s
        self.busy = False
        self.served = 0
        self.refused = 0

    def attach(self, send: Callable[[bytes], None]) -> CameraSession:
        """A client has connected."""
        return CameraSession(self, send)


class CameraSession:
    """One connection: cuts requests out of the stream and answers them in order."""

    def __init__(self, camera: CameraEmulator, send: Callable[[bytes], None]) -> None:
        self._camera = camera
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._answering = False
        self._open = True
        self._dead = False  # after a request that cannot be cut: nothing that follows can be trusted

    def received(self, data: bytes) -> None:
        """Bytes of the stream, in any cut."""
        if self._dead:
            return
        self._buffer += data
        if len(self._buffer) > REQUEST_BYTES_MAX:
            self._buffer.clear()
            self._dead = True
            self._refuse(431)
            return
        self._next()

    def closed(self) -> None:
        """The client has left; a picture under way is finished and thrown away."""
        self._open = False
        self._buffer.clear()

    def _next(self) -> None:
        while not self._answering and not self._dead:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end])
            del self._buffer[: end + 4]
            self._request(head)

    def _request(self, head: bytes) -> None:
        line, *fields = head.split(b"\r\n")
        words = line.split(b" ")
        names = {field.partition(b":")[0].strip().lower() for field in fields}
        if len(words) != 3 or not words[1].startswith(b"/") or not words[2].startswith(b"HTTP/"):
            self._dead = True
            self._refuse(400)
        elif words[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
            self._refuse(505)
        elif words[2] == b"HTTP/1.1" and b"host" not in names:
            self._refuse(400)
        elif words[0] != b"GET":
            self._refuse(405, b"Allow: GET\r\n")
        elif words[1].partition(b"?")[0] != b"/snapshot.jpg":
            self._refuse(404)
        elif self._camera.busy:
            self._refuse(503, b"Retry-After: 1\r\n")
        else:
            self._camera.busy = True
            self._answering = True
            self._loop.call_later(self._camera.exposure_s, self._expose)

    def _expose(self) -> None:
        try:
            develop = self._camera.shoot(self._loop.time())
        except Exception:
            self._finish(500, b"", b"")
            raise
        if develop is None:
            self._camera.busy = False
            return
        due_s = self._loop.time() + self._camera.readout_s
        self._loop.run_in_executor(None, develop).add_done_callback(lambda picture: self._developed(picture, due_s))

    def _developed(self, picture: asyncio.Future[bytes], due_s: float) -> None:
        if picture.cancelled():  # the loop is ending
            self._camera.busy = False
            return
        error = picture.exception()
        if error is not None or len(picture.result()) > PICTURE_BYTES_MAX:
            self._finish(500, b"", b"")
            raise error or ValueError(f"a picture of {len(picture.result())} bytes is over {PICTURE_BYTES_MAX}")
        self._loop.call_at(
            due_s, self._finish, 200, b"Content-Type: image/jpeg\r\nCache-Control: no-store\r\n", picture.result()
        )

    def _finish(self, status: int, fields: bytes, body: bytes) -> None:
        self._camera.busy = False
        self._answering = False
        if status == 200:
            self._camera.served += 1
        self._reply(status, fields, body)
        self._next()

    def _refuse(self, status: int, fields: bytes = b"") -> None:
        self._camera.refused += 1
        self._reply(status, fields + b"Content-Type: text/plain\r\n", REASONS[status].encode() + b"\n")

    def _reply(self, status: int, fields: bytes, body: bytes) -> None:
        if self._open:
            head = b"HTTP/1.1 %d %s\r\nServer: topcam/1.0\r\n" % (status, REASONS[status].encode())
            self._send(head + fields + b"Content-Length: %d\r\n\r\n" % len(body) + body)

"""A tap on a wire: a transport around a transport, which notes every byte of both directions on its way."""

from __future__ import annotations

from firmware_bridge.errors import TransportError
from firmware_bridge.recording import Ending, Recorder, Way
from firmware_bridge.transport import Receiver, Transport, open_transport


async def open_tapped(url: str, receiver: Receiver, recorder: Recorder, *, timeout_s: float = 5.0) -> Transport:
    """Open `url` as `open_transport` does, and record what passes as one more connection of `recorder`.

    Raises TransportError as `open_transport` does; nothing is recorded of it then.
    """
    tap = Tap(url, receiver, recorder)
    tap.attach(await open_transport(url, tap, timeout_s=timeout_s))
    return tap


class Tap(Transport):
    """The outer transport: hands everything on unchanged, in both directions, and at once."""

    def __init__(self, url: str, receiver: Receiver, recorder: Recorder) -> None:
        super().__init__(url, receiver, 0.0)
        self._recorder = recorder
        self._inner: Transport | None = None
        self._connection = 0

    def attach(self, inner: Transport) -> None:
        """`inner`, whose receiver this tap is, is open."""
        self._inner = inner
        self.byte_time_s = inner.byte_time_s
        self._number()

    def _number(self) -> int:
        """Bytes may come before `open_transport` has returned: whoever is first opens the record."""
        if not self._connection:
            self._connection = self._recorder.opened()
        return self._connection

    def write(self, data: bytes) -> None:
        assert self._inner is not None, "a tap is written to once it is open"
        if not data:
            return
        self._inner.write(data)  # raises for itself; what it refuses has not passed
        self._recorder.passed(self._number(), Way.TO_DEVICE, bytes(data))

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()

    def data_received(self, data: bytes) -> None:
        """Bytes from the device."""
        self._recorder.passed(self._number(), Way.TO_HOST, bytes(data))
        self._receiver.data_received(data)

    def connection_lost(self, error: TransportError | None) -> None:
        """The inner transport has ended: noted, and told on."""
        ending = Ending.HOST_LEFT if error is None else Ending.DEVICE_LOST
        self._recorder.ended(self._number(), ending, str(error or ""))
        self._finish(error)

    def _send(self, data: bytes) -> None:
        raise AssertionError("write() goes to the inner transport")

    def _waiting_bytes(self) -> int:
        return self._inner.waiting_bytes if self._inner is not None else 0

    def _release(self) -> None:
        """The inner transport has released itself."""

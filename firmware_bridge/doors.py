"""A name that a host opens in a device's stead: a pseudo terminal under a stable path, or a loopback TCP port.

Who stands behind a door is told of each host that comes (`greet`), hears its bytes and its leaving, and may send it
bytes or hang up on it. A host that writes faster than whoever is behind the door can pass on is held back, as a serial
port's buffer would do; one that does not read what it is sent is hung up on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import termios
import tty
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from firmware_bridge.errors import BadAddress, TransportError

LOOK_EVERY_S = 0.025  # an unopened pty is asked by timer whether a host has come: waiting for it would spin
HOLD_BACK_BYTES = 4096  # what may wait behind a door before the host's next bytes do
HOLD_BACK_S = 0.005
_READ_BYTES = 4096
_PTY_QUEUE_BYTES = 64 * 1024
_TCP_QUEUE_BYTES = 16 * 1024 * 1024  # room for a camera's picture
_SPEEDS = {value: int(name[1:]) for name, value in vars(termios).items() if name[0] == "B" and name[1:].isdigit()}


class Visitor(Protocol):
    """A host that has come, as whoever stands behind the door sees it."""

    def received(self, data: bytes) -> None:
        """At least one byte came."""

    def left(self) -> None:
        """The host has gone, or was hung up on. The last call."""

    @property
    def waiting_bytes(self) -> int:
        """How many bytes of this host have not been passed on yet."""


class Guest(ABC):
    """A host that has come, as something to be answered."""

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Queue bytes for the host; nothing once it has left."""

    @abstractmethod
    def hang_up(self) -> None:
        """Send it away: it hears that the device is gone. `left` is called before this returns."""

    @property
    def baud(self) -> int | None:
        """The baud rate that the host has set; None where there is none, or it is not known."""
        return None


Greet = Callable[[Guest], Visitor]


class Door(ABC):
    """An open door. `url` is what a host opens."""

    url: str

    @abstractmethod
    def close(self) -> None:
        """Send every host away and take the name away."""


# ---- a pseudo terminal


class PtyDoor(Door):
    """A pty under a path of its own choosing, one host at a time. Raises TransportError where none can be made, and
    BadAddress where the path cannot be its name.

    A host that closes it and opens it again in the same millisecond is taken for one that stayed.
    """

    def __init__(self, path: Path, greet: Greet, *, baud: int = 115200) -> None:
        self.path = path.absolute()
        self.url = f"serial:{self.path}?baud={baud}"
        self._greet = greet
        self._baud = baud
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._master = -1
        self._guest: _PtyGuest | None = None
        self._lay()

    def _lay(self) -> None:
        try:
            self._master, slave = os.openpty()
        except OSError as error:
            raise TransportError(f"no pseudo terminal can be made ({error.strerror}): is /dev/pts mounted?") from error
        try:
            tty.setraw(slave)
            os.set_blocking(self._master, False)
            self._name(os.ttyname(slave))
        except OSError as error:
            os.close(self._master)
            self._master = -1
            raise BadAddress(f"{self.path} cannot be made ({error.strerror}). Give another path.") from error
        finally:
            os.close(slave)
        self._poll = select.poll()
        self._poll.register(self._master, select.POLLIN)
        self._timer = self._loop.call_later(LOOK_EVERY_S, self._look)

    def _name(self, device: str) -> None:
        """Point the path at `device`, in one step: a host finds the old pty or the new one, never nothing."""
        if self.path.exists() and not self.path.is_symlink():
            raise OSError(errno.EEXIST, "a file of that name is there")
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(device)
        temporary.replace(self.path)
        self._device = device

    def _look(self) -> None:
        self._timer = None
        if self._guest is None:
            events = self._poll.poll(0)
            if events and not events[0][1] & select.POLLIN:  # a hang-up alone: nobody has it open
                self._timer = self._loop.call_later(LOOK_EVERY_S, self._look)
                return
            guest = self._guest = _PtyGuest(self, self._master)
            guest.visitor = self._greet(guest)
            if self._guest is not guest:  # it was hung up on at once
                return
        self._loop.add_reader(self._master, self._readable)

    def _readable(self) -> None:
        guest = self._guest
        assert guest is not None and guest.visitor is not None
        if guest.visitor.waiting_bytes > HOLD_BACK_BYTES:
            self._loop.remove_reader(self._master)
            self._timer = self._loop.call_later(HOLD_BACK_S, self._look)
            return
        try:
            data = os.read(self._master, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if data:
            guest.visitor.received(data)
        else:
            self._host_left()

    def _host_left(self) -> None:
        self._loop.remove_reader(self._master)
        self._loop.remove_writer(self._master)
        self._part()
        self._drop_unread()
        if self._timer is None and self._master >= 0:
            self._timer = self._loop.call_later(LOOK_EVERY_S, self._look)

    def _drop_unread(self) -> None:
        """What this host did not read is not for the next one, who may have come by now and be setting the port.

        So nothing is set here: a serial port keeps the settings that its last host made.
        """
        with contextlib.suppress(OSError, termios.error):  # TIOCEXCL of a host that has come meanwhile
            slave = os.open(self._device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                termios.tcflush(slave, termios.TCIFLUSH)
            finally:
                os.close(slave)

    def send_away(self, guest: _PtyGuest) -> None:
        """Hang up: the host finds its pty gone, and the next one a new pty under the same name."""
        if self._guest is not guest:
            return
        self._pull_out()
        self._lay()

    def _pull_out(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._master >= 0:
            self._loop.remove_reader(self._master)
            self._loop.remove_writer(self._master)
            os.close(self._master)
            self._master = -1
        self._part()

    def _part(self) -> None:
        guest, self._guest = self._guest, None
        if guest is not None and guest.visitor is not None:
            guest.visitor.left()

    def close(self) -> None:
        self._pull_out()
        with contextlib.suppress(OSError):  # another program may have taken the name meanwhile
            if os.readlink(self.path) == self._device:
                self.path.unlink()


class _PtyGuest(Guest):
    def __init__(self, door: PtyDoor, master: int) -> None:
        self.visitor: Visitor | None = None
        self._door = door
        self._master = master
        self._loop = asyncio.get_running_loop()
        self._queue = bytearray()

    @property
    def is_here(self) -> bool:
        return self._door._guest is self

    def send(self, data: bytes) -> None:
        if not self.is_here:
            return
        if len(self._queue) + len(data) > _PTY_QUEUE_BYTES:
            self.hang_up()  # it has read nothing for long: bytes with a hole in them would be worse
            return
        if not self._queue:
            self._loop.add_writer(self._master, self._writable)
        self._queue += data
        self._writable()

    def _writable(self) -> None:
        try:
            del self._queue[: os.write(self._master, self._queue)]
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._queue.clear()  # the host has just left: the reader will say so
        if not self._queue:
            self._loop.remove_writer(self._master)

    def hang_up(self) -> None:
        self._door.send_away(self)

    @property
    def baud(self) -> int | None:
        try:
            return _SPEEDS.get(termios.tcgetattr(self._master)[5]) if self.is_here else None
        except termios.error:
            return None


# ---- loopback TCP


class TcpDoor(Door):
    """A TCP port of this computer alone, several hosts at once. Made by `open`."""

    def __init__(self, greet: Greet) -> None:
        self._greet = greet
        self._server: asyncio.AbstractServer | None = None
        self.ends: set[_TcpGuest] = set()

    @classmethod
    async def open(cls, greet: Greet, port: int = 0) -> TcpDoor:
        """Listen on 127.0.0.1 (port 0: any free one). TransportError: the port is taken, or may not be used."""
        door = cls(greet)
        loop = asyncio.get_running_loop()
        try:
            door._server = await loop.create_server(lambda: _TcpGuest(door), "127.0.0.1", port)
        except OSError as error:
            raise TransportError(
                f"port {port} of this computer cannot be listened to ({error.strerror}). Give another, or none."
            ) from error
        door.url = f"tcp:127.0.0.1:{door._server.sockets[0].getsockname()[1]}"
        return door

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for end in list(self.ends):
            end.hang_up()


class _TcpGuest(Guest, asyncio.Protocol):
    def __init__(self, door: TcpDoor) -> None:
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._stream: asyncio.Transport | None = None
        self._visitor: Visitor | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._stream = transport
        self._door.ends.add(self)
        self._visitor = self._door._greet(self)

    def data_received(self, data: bytes) -> None:
        visitor = self._visitor
        if visitor is None:
            return
        visitor.received(data)
        if visitor.waiting_bytes > HOLD_BACK_BYTES and self._timer is None and self._stream is not None:
            self._stream.pause_reading()
            self._timer = self._loop.call_later(HOLD_BACK_S, self._go_on)

    def _go_on(self) -> None:
        self._timer = None
        if self._visitor is None or self._stream is None:
            return
        if self._visitor.waiting_bytes > HOLD_BACK_BYTES:
            self._timer = self._loop.call_later(HOLD_BACK_S, self._go_on)
        else:
            self._stream.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()

    def send(self, data: bytes) -> None:
        if self._stream is None or self._stream.is_closing():
            return
        if self._stream.get_write_buffer_size() + len(data) > _TCP_QUEUE_BYTES:
            self.hang_up()
            return
        self._stream.write(data)

    def hang_up(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._gone()

    def _gone(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._door.ends.discard(self)
        visitor, self._visitor = self._visitor, None
        if visitor is not None:
            visitor.left()

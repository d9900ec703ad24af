"""A serial line made of a pseudo terminal: what a host with pyserial finds under a path.

The device holds only the master. While no host has the slave open the master reports a hang-up; it is asked by timer
(never waited for, which would spin), and a host's open ends the hang-up. While a host has it open the loop waits for
bytes, reads no more than the line could have carried, and writes at the pace of the baud rate.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import select
import termios
import tty
from pathlib import Path

from hil_sim.world.faults.schedule import Faults, FaultSchedule
from hil_sim.world.pty_speed import is_other_speed, set_speed
from hil_sim.world.wire_line import CHUNK_BYTES, Emulator, Line, Wire
from hil_sim.world.wire_point import Tap

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.025  # how often an unopened pty is asked whether a host has come
_READ_AHEAD_S = 0.002  # real timers are late: bytes for this long are taken early so that the line has no gaps
_GARBLE = bytes(((value << 1) ^ 0xE1) & 0xFF for value in range(256))  # what a wrong baud rate makes of a byte


class PtyWire(Wire):
    def __init__(
        self,
        directory: str | os.PathLike[str],
        name: str,
        emulator: Emulator,
        *,
        baud: int,
        faults: Faults | FaultSchedule | None,
        tap: Tap | None,
    ) -> None:
        self.path = Path(directory) / name
        super().__init__(
            name, f"serial:{self.path}?baud={baud}", emulator, baud=baud, latency_s=0.0, faults=faults, tap=tap
        )
        self._loop = asyncio.get_running_loop()
        self._read_bytes = int(getattr(emulator, "chunk_bytes", CHUNK_BYTES))
        self._baud = baud
        self._line: Line | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._master = -1
        self._next: tuple[int, str] | None = None  # a port that nobody has been shown yet
        self._garbled = False
        self._plug_in()

    # ---- the port comes and goes ------------------------------------------------------------------------------------

    @property
    def port(self) -> str:
        return self._device

    def _plug_in(self) -> None:
        master, device = self._next or self._new_port()
        self._next = None
        try:
            self._point_symlink_at(device)
        except BaseException:
            os.close(master)
            raise
        self._master = master
        self._poll = select.poll()
        self._poll.register(master, select.POLLIN)
        self._timer = self._loop.call_later(_LOOK_EVERY_S, self._look)

    def _new_port(self) -> tuple[int, str]:
        """A raw pty: its master, and the path of its slave, which is not kept open."""
        master, slave = os.openpty()
        try:
            tty.setraw(slave)
            set_speed(slave, self._baud)
            os.set_blocking(master, False)
            return master, os.ttyname(slave)
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)

    def _point_symlink_at(self, device: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and not self.path.is_symlink():
            raise FileExistsError(errno.EEXIST, f"{self.path} is a file of its own; give the wires another directory")
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(device)
        temporary.replace(self.path)
        self._device = device

    def _pull_out(self) -> None:
        """The host gets a hang-up, the path is gone."""
        if self._timer is not None:
            self._timer.cancel()
        if self._master < 0:
            return
        self._loop.remove_reader(self._master)
        with contextlib.suppress(OSError):  # another process may have laid its own wire under this name
            if os.readlink(self.path) == self._device:
                self.path.unlink()
        os.close(self._master)
        self._master = -1
        self._end_line()

    def hang_up(self, back_after_s: float = -1.0) -> None:
        self._pull_out()
        if back_after_s >= 0:
            self._timer = self._loop.call_later(back_after_s, self._plug_in)

    def plug_elsewhere(self, back_after_s: float) -> None:
        self._next = self._new_port()  # while the old one holds its number
        self.hang_up(back_after_s)

    def close(self) -> None:
        self._pull_out()
        if self._next is not None:
            os.close(self._next[0])
            self._next = None

    # ---- hosts come and go ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        events = self._poll.poll(0)
        if events and not events[0][1] & select.POLLIN:  # a hang-up alone: nobody has it open
            self._timer = self._loop.call_later(_LOOK_EVERY_S, self._look)
            return
        self._timer = None
        self._garbled = False
        self._line = Line(self, self._to_host, inline=False)
        self._loop.add_reader(self._master, self._readable)

    def _host_left(self) -> None:
        self._loop.remove_reader(self._master)
        line, self._line = self._line, None
        if line is not None:
            line.end_when_carried()
        self._drop_unread()
        self._timer = self._loop.call_later(_LOOK_EVERY_S, self._look)

    def _drop_unread(self) -> None:
        """What this host did not read is not for the next one, who may have come by now and be setting the port.

        So nothing is set here: a serial port keeps the settings that its last host made. All that waits to be read was
        put there before this call, hence for the host that left.
        """
        with contextlib.suppress(OSError, termios.error):  # TIOCEXCL of a host that has come meanwhile
            slave = os.open(self._device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                termios.tcflush(slave, termios.TCIFLUSH)  # only the slave's own end can drop what waits there
            finally:
                os.close(slave)

    def _end_line(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.end()

    # ---- bytes ------------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        assert self._line is not None
        try:
            data = os.read(self._master, self._read_bytes)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data:
            self._host_left()
            return
        inward = self._line.inward
        inward.send(self._as_heard(data))
        wait_s = inward.free_at_s - _READ_AHEAD_S - self._loop.time()
        if wait_s > 0:  # the line is busy: the host's next bytes wait in its own buffer, as on a UART
            self._loop.remove_reader(self._master)
            self._timer = self._loop.call_later(wait_s, self._read_on)

    def _read_on(self) -> None:
        self._timer = None
        self._loop.add_reader(self._master, self._readable)

    def _to_host(self, data: bytes) -> None:
        data = self._as_heard(data)
        try:
            taken = os.write(self._master, data)
        except BlockingIOError:
            taken = 0
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return  # the host has just left; the reader will say so
        if taken < len(data):
            self.to_host.lose(len(data) - taken)

    def _as_heard(self, data: bytes) -> bytes:
        """The bytes, or what two ends with different baud rates make of them."""
        if not is_other_speed(self._master, self._baud):
            return data
        if not self._garbled:
            self._garbled = True
            log.warning("%s: the host has not set %s baud: it gets garbage", self.url, self.baud)
        return data.translate(_GARBLE)

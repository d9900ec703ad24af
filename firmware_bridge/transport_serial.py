"""`serial:/dev/x?baud=...`: a tty through pyserial, raw, exclusive, and never in the loop's way.

pyserial opens and configures the port; the bytes go through the event loop's readers and writers.

DTR: many boards reset when it changes. `dtr=hold` (default) leaves it as the system opens the port and keeps the system
from dropping it at the last close, so that a second open makes no edge; the first open after plugging in still raises
it, which Linux does before anybody can ask. `dtr=pulse` drops it for 0.1 s: a reset on purpose.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import glob
import logging
import os
import termios
from pathlib import Path
from typing import Any, NamedTuple

import serial

from firmware_bridge.errors import BadAddress, TransportError
from firmware_bridge.ports import stable_names
from firmware_bridge.transport import Receiver, Transport, running_in_virtual_time, split_options

log = logging.getLogger(__name__)

_DEFAULTS = {"baud": "115200", "parity": "N", "bits": "8", "stop": "1", "exclusive": "1", "dtr": "hold"}
_CHOICES = {
    "parity": ("N", "E", "O"),
    "bits": ("7", "8"),
    "stop": ("1", "2"),
    "exclusive": ("0", "1"),
    "dtr": ("hold", "pulse"),
}
_READ_BYTES = 4096
_PULSE_S = 0.1
_EMPTY_READS = 10  # a readable port that gives nothing this often in a row is gone or shared
_LOOKED_FOR = ("/dev/serial/by-id/*", "/dev/ttyUSB*", "/dev/ttyACM*", "/dev/cu.usb*")
_NUMBERED = ("/dev/ttyUSB", "/dev/ttyACM")
_NAMES_TOLD = 12


class SerialLine(NamedTuple):
    """What a `serial:` URL asks for; `byte_time_s` is the time of one byte with its start, parity and stop bits."""

    path: str
    baud: int
    byte_time_s: float
    options: dict[str, str]


def parse_serial(url: str) -> SerialLine:
    """Read a `serial:` URL. BadAddress: no path, or an option, or a value of one, that there is not."""
    path, options = split_options(url, _DEFAULTS)
    if not path:
        raise BadAddress(f"{url}: give the port's path, for instance serial:/dev/ttyUSB0?baud=115200.")
    for key, known in _CHOICES.items():
        if options[key] not in known:
            raise BadAddress(f"{url}: {key}={options[key]} is not possible; known are {', '.join(known)}.")
    if not options["baud"].isdecimal() or not 50 <= int(options["baud"]) <= 4_000_000:
        raise BadAddress(f"{url}: baud={options['baud']} is no baud rate; give 50 to 4000000.")
    bits = 1 + int(options["bits"]) + (options["parity"] != "N") + int(options["stop"])
    return SerialLine(path, int(options["baud"]), bits / int(options["baud"]), options)


async def open_serial(url: str, receiver: Receiver, timeout_s: float) -> Transport:
    """Open the port. Raises TransportError: absent, busy, forbidden, no serial port, a setting it cannot do."""
    if running_in_virtual_time():
        raise TransportError(f"{url}: virtual time has no serial ports. Use a sim: URL, or run on the wire.")
    path, _, byte_time_s, options = parse_serial(url)
    port = _open_port(url, path, options)
    try:
        _set_dtr_policy(port, options["dtr"])
        if options["dtr"] == "pulse":
            await _pulse_dtr(port)
        return SerialTransport(url, receiver, byte_time_s, port)
    except (OSError, termios.error) as error:  # it went away between two calls
        port.close()
        raise TransportError(f"{url}: {_reason(error, path, options)}") from error
    except BaseException:
        port.close()
        raise


def _open_port(url: str, path: str, options: dict[str, str]) -> serial.Serial:
    port = serial.Serial()
    port.port = path
    port.baudrate = int(options["baud"])
    port.bytesize = int(options["bits"])
    port.parity = options["parity"]
    port.stopbits = int(options["stop"])
    port.timeout = 0
    port.exclusive = True if options["exclusive"] == "1" else None
    try:
        port.open()
        _check_settings(port, options)
    except (OSError, termios.error, ValueError) as error:  # termios.error is no OSError, and pyserial lets it out
        with contextlib.suppress(OSError, termios.error):
            port.close()
        raise TransportError(f"{url}: {_reason(error, path, options)}") from error
    return port


def _check_settings(port: serial.Serial, options: dict[str, str]) -> None:
    """A pseudo terminal takes parity and 7 bits at the first open and silently does without: ask what was set."""
    flags = termios.tcgetattr(port.fileno())[2]
    if bool(flags & termios.PARENB) != (options["parity"] != "N") or (flags & termios.CSIZE) != (
        termios.CS8 if options["bits"] == "8" else termios.CS7
    ):
        raise termios.error(errno.EINVAL, "settings did not take")


def _reason(error: Exception, path: str, options: dict[str, str]) -> str:
    code = error.errno if isinstance(error, OSError) else (error.args[0] if error.args else None)
    if code in (errno.ENOENT, errno.ENXIO, errno.ENODEV) or not os.path.exists(path):
        return f"there is no port {path}. {_moved(path) or _candidates(path)}"
    if code in (errno.EACCES, errno.EPERM):
        return (
            f"this user may not open {path}. Join its group (sudo usermod -aG {_group(path)} $USER), log in again, "
            "then try once more."
        )
    if code in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in str(error):
        return f"{path} is in use by another program. Close it (`fuser {path}` names it), then try again."
    if isinstance(error, termios.error) and code == errno.EINVAL:
        return (
            f"{path} does not do {options['baud']} baud, {options['bits']} bits, parity {options['parity']}, "
            f"{options['stop']} stop bits. A pseudo terminal has no parity and no 7 bits: use parity=N&bits=8 there."
        )
    if code in (errno.ENOTTY, errno.EISDIR) or (isinstance(error, OSError) and "Could not configure" in str(error)):
        return f"{path} is no serial port. {_candidates(path)}"
    return f"{path} cannot be opened ({error}). Unplug it, plug it in again, and look at `dmesg`."


def _group(path: str) -> str:
    """The group that owns the port: dialout, uucp, tty; it differs from system to system."""
    try:
        return Path(path).group()
    except (OSError, KeyError):
        return "dialout"


def _moved(path: str) -> str:
    """Of a numbered port that is absent: by which lasting names the adapters go that are here; "" if none has one."""
    if not path.startswith(_NUMBERED):
        return ""
    names = [f"{name} (now {device})" for device, name in sorted(stable_names().items())]
    if not names:
        return ""
    return (
        "The device is absent, or came back under another number, as adapters do from plug to plug. A lasting name "
        "finds it again; write it into [urls] of the machine file, or give it with --url: "
        f"{', '.join(names[:_NAMES_TOLD])}."
    )


def _candidates(path: str) -> str:
    found = sorted(name for pattern in _LOOKED_FOR for name in glob.glob(pattern))
    folder = os.path.dirname(path)
    if folder not in ("", "/dev"):
        with contextlib.suppress(OSError):
            found += sorted(entry.path for entry in os.scandir(folder) if entry.is_symlink())
    if not found:
        return "No serial port was found on this computer: is the device plugged in and switched on?"
    return f"Ports found here: {', '.join(found[:_NAMES_TOLD])}."


def _set_dtr_policy(port: serial.Serial, policy: str) -> None:
    """hold: no drop of DTR at the last close, hence no edge at the next open."""
    settings = termios.tcgetattr(port.fileno())
    if policy == "hold":
        settings[2] &= ~termios.HUPCL
    else:
        settings[2] |= termios.HUPCL
    with contextlib.suppress(termios.error):  # a driver without modem lines has nothing to hold
        termios.tcsetattr(port.fileno(), termios.TCSANOW, settings)


async def _pulse_dtr(port: serial.Serial) -> None:
    try:
        port.dtr = False
        await asyncio.sleep(_PULSE_S)
        port.dtr = True
    except OSError as error:  # ENOTTY: a pseudo terminal has no DTR
        log.info("%s has no DTR line to pulse (%s)", port.port, error)


def _lasting_name(path: str) -> str:
    """By which name a numbered port can be found under its next number as well; "" where it has none, or is one."""
    return stable_names().get(path, "") if path.startswith(_NUMBERED) else ""


class SerialTransport(Transport):
    def __init__(self, url: str, receiver: Receiver, byte_time_s: float, port: serial.Serial) -> None:
        super().__init__(url, receiver, byte_time_s)
        self._port = port
        self._lasting = _lasting_name(str(port.port))
        self._fd: int = port.fileno()
        os.set_blocking(self._fd, False)
        self._queue = bytearray()
        self._empty_reads = 0
        self._failure: asyncio.Handle | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._gone(error)
            return
        if data:
            self._empty_reads = 0
            self._receiver.data_received(data)
            return
        # VMIN is 0: nothing there reads as b"", and so does a port that has been pulled out
        self._empty_reads += 1
        if self._empty_reads >= _EMPTY_READS:
            self._gone(None)

    def _gone(self, error: OSError | None) -> None:
        told = f" ({error.strerror})" if error is not None else ""
        advice = (
            f" It may come back under another number: call it {self._lasting} in [urls], or with --url."
            if self._lasting
            else ""
        )
        self._finish(
            TransportError(
                f"{self.url} was lost{told}: the port has gone. Check the cable and the device's power.{advice}"
            )
        )

    def _send(self, data: bytes) -> None:
        if not self._queue:
            taken = self._write_now(data)
            if taken == len(data):
                return
            data = data[taken:]
            if self._failure is None:
                self._loop.add_writer(self._fd, self._writable)
        self._queue += data

    def _writable(self) -> None:
        del self._queue[: self._write_now(self._queue)]
        if not self._queue or self._failure is not None:
            self._loop.remove_writer(self._fd)

    def _write_now(self, data: Any) -> int:
        """How many bytes the system took. A broken port is reported from the loop, not from inside write()."""
        try:
            return os.write(self._fd, data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            if self._failure is None:
                self._failure = self._loop.call_soon(self._gone, error)
            return 0

    def _drop_unsent(self) -> None:
        self._queue.clear()
        with contextlib.suppress(termios.error):  # a port that has gone is told of by the write that follows
            termios.tcflush(self._fd, termios.TCOFLUSH)

    def _waiting_bytes(self) -> int:
        return len(self._queue)

    def _release(self) -> None:
        if self._failure is not None:
            self._failure.cancel()
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        with contextlib.suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        with contextlib.suppress(OSError, termios.error):
            self._port.close()

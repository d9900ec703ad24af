"""What speed a host has set on a pseudo terminal: nothing paces it, but it is kept, and the master's end can read it.

Linux keeps the rate itself, whatever it is (`termios2` with BOTHER, `asm-generic/termbits.h`): 250,000 baud, which many
boards speak, has no name in POSIX. Elsewhere, and on the few architectures that number these calls otherwise, only a
rate with a name is known; a host's rate without one is then taken to be the right one.
"""

from __future__ import annotations

import fcntl
import struct
import sys
import termios
from typing import Any

TOLERANCE = 0.025  # what a UART still reads: a 16 MHz board at "115200" is itself 2.1 % off

_TCGETS2, _TCSETS2 = 0x802C542A, 0x402C542B
_TERMIOS2 = struct.Struct("=4I20B2I")  # iflag, oflag, cflag, lflag; line and 19 control characters; rates in and out
_CFLAG = 2
_CBAUD, _CIBAUD, _BOTHER = 0o010017, 0o02003600000, 0o010000
_NAMED_SPEEDS = {value: int(name[1:]) for name, value in vars(termios).items() if name[0] == "B" and name[1:].isdigit()}


def set_speed(fd: int, baud: int) -> None:
    """Set both directions of a terminal to `baud`; a rate that this system cannot name or keep is left unset."""
    if (speed := getattr(termios, f"B{baud}", None)) is not None:  # by its name: most hosts know no other way to ask
        settings = termios.tcgetattr(fd)
        settings[4] = settings[5] = speed
        termios.tcsetattr(fd, termios.TCSANOW, settings)
    elif (fields := _termios2(fd)) is not None:
        fields[_CFLAG] = fields[_CFLAG] & ~(_CBAUD | _CIBAUD) | _BOTHER
        fields[-2:] = [baud, baud]
        fcntl.ioctl(fd, _TCSETS2, _TERMIOS2.pack(*fields))


def speed_of(fd: int) -> int | None:
    """The rate in baud at which the host sends; None where it cannot be known. Raises termios.error: no terminal."""
    if (fields := _termios2(fd)) is not None:
        return fields[-1]
    settings: list[Any] = termios.tcgetattr(fd)
    return _NAMED_SPEEDS.get(settings[5])


def is_other_speed(fd: int, baud: int) -> bool:
    """Whether the host has for certain set a rate at which a line of `baud` carries garbage."""
    try:
        speed = speed_of(fd)
    except termios.error:
        return False
    return speed is not None and abs(speed - baud) > TOLERANCE * baud


def _termios2(fd: int) -> list[int] | None:
    if sys.platform != "linux":
        return None
    try:
        return list(_TERMIOS2.unpack(fcntl.ioctl(fd, _TCGETS2, bytes(_TERMIOS2.size))))
    except OSError:  # another numbering of these calls: the answer is that there is no such call
        return None

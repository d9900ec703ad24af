"""The serial ports of this computer: their stable names, what USB says of them, and whether they are free.

No port is opened for it, since opening one resets many boards: whether it is in use is read from `/proc` (open files
of the processes that this user may look into, and file locks of all).
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

BY_ID = Path("/dev/serial/by-id")
BY_PATH = Path("/dev/serial/by-path")
PROC = Path("/proc")


@dataclass(frozen=True)
class Port:
    """One port. `name` is the path to use: by-id where there is one, since numbers change from plug to plug.

    `usb`: vendor and product number, "" if it is not on USB. `users`: the processes that have it open, as far as this
    user may see; `is_locked`: whether a lock is on it, None where that cannot be told. `group`: who may open it.
    """

    device: str
    name: str
    description: str
    manufacturer: str
    serial_number: str
    usb: str
    users: tuple[str, ...]
    is_locked: bool | None
    may_open: bool
    group: str

    @property
    def is_busy(self) -> bool:
        """Whether some program has it."""
        return bool(self.users) or bool(self.is_locked)

    @property
    def state(self) -> str:
        """In words: free, in use, forbidden, and what to do."""
        if not self.may_open:
            return f"this user may not open it: sudo usermod -aG {self.group} $USER, then log in again"
        if self.users:
            return f"in use by {', '.join(self.users)}"
        if self.is_locked:
            return "in use by a program of another user"
        return "free" if self.is_locked is not None else "cannot be told whether it is free"


def list_ports(more: Sequence[Path] = (), *, proc: Path = PROC) -> list[Port]:
    """Every serial port that is plugged in, then those of `more`: ports, or folders with links to ports.

    Raises FileNotFoundError for a path of `more` that is not there, NotADirectoryError for one that is no port.
    """
    from serial.tools.list_ports import comports

    names = stable_names()
    found: dict[str, Port] = {}
    locks = _locks(proc)
    for info in sorted(comports(), key=lambda info: str(info.device)):
        device = str(info.device)
        if "/ttyS" in device and info.hwid in (None, "n/a"):
            continue  # built-in ports that lead nowhere
        usb = f"{info.vid:04x}:{info.pid:04x}" if info.vid is not None and info.pid is not None else ""
        described = "" if info.description in (None, "n/a") else str(info.description)
        about = described, info.manufacturer or "", info.serial_number or "", usb
        found[device] = _port(device, names.get(device, device), about, locks, proc)
    for path in _ports_in(more):
        device = str(path.resolve())
        about = ("pseudo terminal" if device.startswith("/dev/pts/") else "", "", "", "")
        found.setdefault(device, _port(device, str(path), about, locks, proc))
    return list(found.values())


def _port(
    device: str, name: str, about: tuple[str, str, str, str], locks: set[tuple[int, int, int]] | None, proc: Path
) -> Port:
    described, manufacturer, serial_number, usb = about
    group, locked = "dialout", None
    with contextlib.suppress(OSError):
        status = os.stat(device)
        if locks is not None:
            locked = (os.major(status.st_dev), os.minor(status.st_dev), status.st_ino) in locks
        with contextlib.suppress(KeyError):  # a group without a name
            group = Path(device).group()
    return Port(
        device=device,
        name=name,
        description=described,
        manufacturer=manufacturer,
        serial_number=serial_number,
        usb=usb,
        users=tuple(_users(device, proc)),
        is_locked=locked,
        may_open=os.access(device, os.R_OK | os.W_OK),
        group=group,
    )


def stable_names() -> dict[str, str]:
    """Device -> its stable name: by-id, or by-path where two adapters have the same serial number."""
    names: dict[str, str] = {}
    for folder in (BY_PATH, BY_ID):  # the later ones hold
        with contextlib.suppress(OSError):
            names |= {str(link.resolve()): str(link) for link in sorted(folder.iterdir())}
    return names


def _ports_in(more: Iterable[Path]) -> Iterable[Path]:
    """The ports among these paths, and those that folders among them hold."""
    for path in more:
        if path.is_dir():
            yield from (entry for entry in sorted(path.iterdir()) if _is_tty(entry))
        elif _is_tty(path):
            yield path.absolute()
        elif not path.exists():
            raise FileNotFoundError(f"there is no port or folder {path}")
        else:
            raise NotADirectoryError(f"{path} is neither a serial port nor a folder with links to some")


def _is_tty(path: Path) -> bool:
    """A character device that is a terminal, by its place: asking it would open it."""
    try:
        is_device = stat.S_ISCHR(path.stat().st_mode)
    except OSError:
        return False
    return is_device and str(path.resolve()).startswith(("/dev/tty", "/dev/pts/", "/dev/cu.", "/dev/rfcomm"))


def _users(device: str, proc: Path) -> Iterable[str]:
    """`pid name` of each process that has the device open, of those that this user may look into."""
    for folder in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # processes of others, and those that have just ended
            if any(os.readlink(link) == device for link in os.scandir(folder / "fd")):
                name = (folder / "comm").read_text(encoding="utf-8", errors="replace").strip()
                yield f"{name} ({folder.name})"


def _locks(proc: Path) -> set[tuple[int, int, int]] | None:
    """Device numbers and inodes of all files that are locked; None where the system does not tell."""
    try:
        lines = (proc / "locks").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = set()
    for line in lines:
        for word in line.split():
            parts = word.split(":")
            if len(parts) == 3:
                with contextlib.suppress(ValueError):
                    found.add((int(parts[0], 16), int(parts[1], 16), int(parts[2])))
    return found

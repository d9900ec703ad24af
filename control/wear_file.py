"""How often a device's memory was written, from one session to the next: a file in the user's state folder.

A device's EEPROM outlives every run, so the count stands beside no journal: it is
`$XDG_STATE_HOME/moonkiln/nonvolatile_writes.json` (`~/.local/state/moonkiln/...`), one for all machines of this user on
this computer. It holds the writes of the last 24 h, by the wall clock; one that lies in the future (the clock was
wrong) counts until it is a day old. A device goes by its URL without options and its unit number.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from control.clock import run_start_ns
from control.errors import MoonkilnError
from control.files import FolderBusy, sole_use, write_atomically
from control.offload import offload
from firmware_bridge.devices.wear import DAY_S
from firmware_bridge.errors import Rejected

NAME = "nonvolatile_writes.json"
TRIES = 40
BETWEEN_TRIES_S = 0.05  # another host holds the folder for the few milliseconds that a write takes
PSEUDO_TERMINAL = re.compile(r"/dev/(pts/\d+|ttys\d+)")  # Linux; macOS


class _Write(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    device: str
    unit: Annotated[int, Meta(ge=0, le=255)]
    signal: str
    utc_s: Annotated[float, Meta(ge=0.0, le=1e11)]


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    writes: list[_Write]
    schema_version: Literal[1] = 1


def state_folder() -> Path:
    """Where this user's programs keep what must outlive a run (`$XDG_STATE_HOME/moonkiln`), there or not.

    RuntimeError: this user has no home.
    """
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "moonkiln"


def outlives_a_session(url: str) -> bool:
    """Whether what answers at a URL has a memory of its own.

    A simulated wire has none, nor a recording, nor a pseudo terminal: a program is behind it, and each start of an
    emulated device is a new one. Those are counted for a session, as long as their device lives.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "serial":
        return PSEUDO_TERMINAL.fullmatch(os.path.realpath(rest.partition("?")[0])) is None
    return scheme not in ("sim", "replay")


class WearFile:
    """The writes to the devices at one URL, in the file that all share. `folder`: where it is, None: the user's."""

    def __init__(self, url: str, folder: Path | None = None) -> None:
        self._device = url.partition("?")[0]
        self._folder = folder

    async def take(self, unit: int, signal: str, per_day_max: int) -> int:
        """Note one write more, unless `per_day_max` were noted in the last 24 h; returns how many had been.

        It is on the disk before this returns: a host that dies then has counted a write too many, never one too few.

        Raises:
            Rejected: the file is damaged, cannot be read or written, or stays in use by another host.
        """
        what = f"{signal} of unit {unit} on {self._device} is not written"
        now_s = run_start_ns() / 1e9 + asyncio.get_running_loop().time()
        for _ in range(TRIES):
            try:
                return await offload(lambda: self._take(unit, signal, per_day_max, now_s))
            except FolderBusy:
                await asyncio.sleep(BETWEEN_TRIES_S)
            except (OSError, RuntimeError, MoonkilnError) as error:
                raise Rejected(
                    f"{what}: its memory wears out, and the write cannot be counted ({error}). Put that right,"
                    " or set XDG_STATE_HOME to a folder that can be written."
                ) from error
        raise Rejected(f"{what}: another moonkiln keeps {self._path()} in use. Stop it, or try again.")

    def _path(self) -> Path:
        return (self._folder or state_folder()) / NAME

    def _take(self, unit: int, signal: str, per_day_max: int, now_s: float) -> int:
        path = self._path()
        path.parent.mkdir(parents=True, exist_ok=True)
        with sole_use(path.parent):
            writes = [write for write in _read(path) if now_s - write.utc_s < DAY_S]
            before = sum((w.device, w.unit, w.signal) == (self._device, unit, signal) for w in writes)
            if before < per_day_max:
                content = _Content([*writes, _Write(self._device, unit, signal, now_s)])
                write_atomically(path, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
        return before


def _read(path: Path) -> list[_Write]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Content).writes
    except FileNotFoundError:
        return []  # nobody has written yet
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MoonkilnError(
            f"{path} is damaged: {error}; its count is lost. Ask when devices were last written, then move it away"
        ) from error

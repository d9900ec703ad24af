"""Devices that others bring: drivers through the entry-point group `moonkiln.devices`, used under `[extra.NAME]`.

An entry point's name is the kind; its value names a coroutine function `make(wires, name, config) -> device`:
`wires` is `control.assembly.Wires`, whose `modbus()` and `link()` open each wire once; `config` is
`control.config.ExtraConfig`. What it returns keeps `ExtraDevice`. `docs/adding-a-device.md` walks through one.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from control.errors import MoonkilnError
from firmware_bridge.signals import Reading

if TYPE_CHECKING:
    from control.assembly import Wires
    from control.config import ExtraConfig

ENTRY_POINT_GROUP = "moonkiln.devices"
INSTRUMENT = "instrument"  # any device that is only read: its map is all that it needs


class ExtraDevice(Protocol):
    """What a machine asks of a device that it knows nothing else of. Each may raise BridgeError, and is bounded."""

    async def identify(self) -> object:
        """WrongModel if another device answers."""
        ...

    async def configure(self) -> None:
        """Make it ready: its own watchdog set and read back, if it acts on anything."""
        ...

    async def poll(self) -> dict[str, Reading]:
        """The newest readings, by signal name. What must be written again and again is written here."""
        ...

    async def safe(self) -> None:
        """Bring it where it does no harm. May be called at any time and again."""
        ...


Maker = Callable[["Wires", str, "ExtraConfig"], Awaitable[Any]]


def extra_kinds() -> set[str]:
    """Every kind that `[extra.NAME]` may name. Loads no driver."""
    return {INSTRUMENT} | {point.name for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}


def load_maker(kind: str) -> Maker:
    """A driver's `make`. MoonkilnError with the package at fault where it cannot be loaded, or two bring the kind."""
    points = list(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=kind))
    if len(points) != 1:
        who = " and ".join(point.value for point in points) or "no installed package"
        raise MoonkilnError(f"a driver of kind {kind!r} comes from {who}: one must bring it; uninstall the others", 2)
    try:
        maker = points[0].load()
    except Exception as error:  # whatever a stranger's module does when it is loaded is what the user must hear of
        told = f"{type(error).__name__}: {error}"
        raise MoonkilnError(f"the driver of kind {kind!r} ({points[0].value}) cannot be loaded: {told}", 2) from error
    if not callable(maker):
        raise MoonkilnError(f"the driver of kind {kind!r} ({points[0].value}) is no function that makes a device", 2)
    return maker


def check_device(kind: str, device: Any) -> ExtraDevice:
    """The device that a driver made, if it has what every device has. MoonkilnError naming what it lacks."""
    lacks = [word for word in ("identify", "configure", "poll", "safe") if not callable(getattr(device, word, None))]
    if lacks:
        raise MoonkilnError(f"the driver of kind {kind!r} made a device without {', '.join(lacks)}: see its author", 2)
    return device

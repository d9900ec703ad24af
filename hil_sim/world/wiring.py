"""The wires of a world, printer's or rover's: laid in memory or for real, announced, looked up and taken away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hil_sim.world.faults import check_faults
from hil_sim.world.faults.schedule import Faults
from hil_sim.world.wire import Tap, Wire, lay_pty, lay_tcp, lay_virtual
from hil_sim.world.wire_line import points_of

MACHINES = Path(__file__).parent / "machines"

Lay = Literal["virtual", "wire"]


class WorldError(ValueError):
    """A machine file of the world that cannot be built."""


def refuse_strange(faults: Faults, points: Iterable[str], also: Sequence[str] = ()) -> None:
    """Refuse a schedule of which something would be accepted and never strike; `also`: what else was found.

    Raises:
        WorldError: what is wrong with it, in sentences.
    """
    if sentences := [*check_faults(faults.schedule, points), *also]:
        raise WorldError(" ".join(sentences))


class WireSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One wire: what is spoken on it, and how fast."""

    protocol: Literal[
        "marlin", "grbl", "reprap", "modbus-tcp", "modbus-rtu", "http-jpeg", "roboclaw", "imu", "tracker"
    ]  # fmt: skip
    baud: Annotated[int, Meta(ge=1200, le=4_000_000)] | None = None


@dataclass(frozen=True)
class DeviceLine:
    """One emulated device, as `sim serve` announces it."""

    device: str
    protocol: str
    url: str
    unit: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without a unit where a wire is not shared."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class Wiring:
    """The laid wires: `urls` by wire, `devices` to announce."""

    def __init__(self, wires: Mapping[str, WireSpec], faults: Faults, tap: Tap | None = None) -> None:
        self.urls: dict[str, str] = {}
        self.devices: list[DeviceLine] = []
        self._specs = wires
        self._faults = faults
        self._tap = tap
        self._laid: list[Wire] = []

    async def lay(
        self, emulators: Mapping[str, Any], devices: Mapping[str, Any], how: Lay, directory: Path | None
    ) -> None:
        """Lay every wire to its emulator, and note where each device is reached.

        Raises:
            OSError: a pty or a socket cannot be made.
        """
        for name, spec in self._specs.items():
            emulator = emulators[name]
            if how == "virtual":
                laid = await lay_virtual(name, emulator, baud=spec.baud, faults=self._faults, tap=self._tap)
                url = laid.url if spec.baud is None else f"{laid.url}?baud={spec.baud}"
            elif spec.baud is None:
                laid = await lay_tcp(name, emulator, faults=self._faults, tap=self._tap)
                url = laid.url
            else:
                assert directory is not None, "ptys need a directory for their names"
                laid = await lay_pty(directory, name, emulator, baud=spec.baud, faults=self._faults, tap=self._tap)
                url = laid.url
            self._laid.append(laid)
            self.urls[name] = url
        for name, device in devices.items():
            protocol, url = self._specs[device.wire].protocol, self.urls[device.wire]
            self.devices.append(DeviceLine(name, protocol, url, getattr(device, "unit", None)))

    def wire(self, name: str) -> Wire:
        """One of the laid wires: what passed on it, and a way to cut it."""
        return next(wire for wire in self._laid if wire.name == name)

    @property
    def points(self) -> list[str]:
        """The places on wires that faults can strike."""
        return [point for name, spec in self._specs.items() for point in points_of(name, spec.baud)]

    def close(self) -> None:
        """Take every wire away."""
        for wire in self._laid:
            wire.close()
        self._laid.clear()

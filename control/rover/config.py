"""A rover's machine file (TOML) -> frozen configuration, with every bound checked where the value is read.

The file says what the rover is made of: its wheels and where they stand, one URL for each wire, its devices and how
often each is asked, how it is driven and when it must stop. `control/machines/osr.toml` is the worked example.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from control.config import Hz, MachineConfig, Positive, Unit, load_machine
from control.machine_file import ConfigError, baud_of, converted, machine_path, read_document
from control.rover.drive.kinematics import Geometry, WheelMount
from control.rover.energy import EnergyModel
from slicer.words import did_you_mean

Ratio = Annotated[float, Meta(ge=0, le=1)]
Offset = Annotated[float, Meta(ge=-10, le=10)]
Degrees = Annotated[float, Meta(gt=0, le=90)]
Channel = tuple[Annotated[int, Meta(ge=1, le=255)], Annotated[int, Meta(ge=1, le=2)]]
"""Board address and channel of one motor."""


class WheelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a wheel stands in the rover's frame (x forward, y left), and how far it can be steered (0: fixed)."""

    x_m: Offset
    y_m: Offset
    steer_max_deg: Annotated[float, Meta(ge=0, le=180)] = 0.0


class BodyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rover's geometry. `height_of_mass_m`: its centre of mass over the ground."""

    mode: Literal["ackermann", "crab", "skid"]
    wheel_radius_m: Annotated[float, Meta(gt=0.01, le=1)]
    speed_max_m_s: Annotated[float, Meta(gt=0, le=5)]
    turn_radius_min_m: Annotated[float, Meta(ge=0, le=50)]
    mass_kg: Annotated[float, Meta(gt=0, le=5000)]
    height_of_mass_m: Annotated[float, Meta(gt=0, le=3)]
    wheels: dict[str, WheelConfig]


class RoboClawDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="roboclaw", tag_field="kind"):
    """Wheels and steering on motor boards that share one packet-serial line; the boards stop by themselves after
    `timeout_s` of silence.
    """

    wire: str
    drive: dict[str, Channel]
    steer: dict[str, Channel]
    ticks_per_rad: Positive
    steer_ticks_per_rad: Positive
    timeout_s: Annotated[float, Meta(ge=0.1, le=1.0)]
    poll_hz: Hz
    stale_after_s: Positive


class ModbusWheelsDevice(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="modbus_wheels", tag_field="kind"
):
    """Wheels and steering on Modbus drives that share one bus, moved by finite moves that end by themselves."""

    wire: str
    map: str
    drive: dict[str, Unit]
    steer: dict[str, Unit]
    wheel_rad_per_rev: Positive
    steer_rad_per_rev: Positive
    timeout_s: Annotated[float, Meta(ge=0.1, le=1.0)]
    poll_hz: Hz
    stale_after_s: Positive


class ImuDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The inertial unit, which streams."""

    kind: Literal["imu"]
    wire: str
    rate_hz: Annotated[int, Meta(ge=1, le=200)]
    poll_hz: Hz
    stale_after_s: Positive


class PowerDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Battery, panel and the night's heater."""

    kind: Literal["rover_power"]
    wire: str
    unit: Unit
    map: str
    poll_hz: Hz
    stale_after_s: Positive


class TrackerDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A total station (or a motion-capture room) that follows the rover's reflector and tells where it is."""

    kind: Literal["tracker"]
    wire: str
    poll_hz: Hz
    sigma_m: Annotated[float, Meta(gt=0, le=10)]
    stale_after_s: Positive


class RoverCameraDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The camera that finds the route's tags: pictures on request, its lens, and where it sits on the rover.

    It is asked only on routes that name tags.
    """

    kind: Literal["http_snapshot"]
    wire: str
    timeout_s: Positive
    poll_hz: Hz
    width_px: Annotated[int, Meta(ge=64, le=8192)]
    height_px: Annotated[int, Meta(ge=64, le=8192)]
    focal_px: Positive
    ahead_m: Offset
    left_m: Offset
    up_m: Positive
    down_deg: Annotated[float, Meta(ge=-45, le=90)]


class RoverDevices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every device of a rover, by the name under which its readings appear."""

    wheels: RoboClawDevice | ModbusWheelsDevice
    imu: ImuDevice
    power: PowerDevice
    tracker: TrackerDevice
    camera: RoverCameraDevice | None = None


class DriveConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the rover is driven: commands at `command_hz`, each good for `valid_s`."""

    command_hz: Annotated[float, Meta(ge=1, le=50)]
    valid_s: Annotated[float, Meta(ge=0.1, le=2)]
    cruise_m_s: Annotated[float, Meta(gt=0, le=5)]
    corridor_m: Annotated[float, Meta(gt=0.05, le=50)]
    arrival_m: Annotated[float, Meta(gt=0.005, le=5)]
    back_outs_max: Annotated[int, Meta(ge=0, le=20)] = 3
    slope_soft_deg: Annotated[float, Meta(gt=0, le=60)] = 10.0
    slope_max_deg: Annotated[float, Meta(gt=0, le=60)] = 15.0
    step_max_m: Annotated[float, Meta(ge=0, le=5)] = 0.10
    clearance_m: Annotated[float, Meta(ge=0, le=20)] = 0.6
    guard: dict[str, float] = {}
    """Limits of `control.rover.drive.guard.GuardLimits` that differ from the defaults."""


class EnergyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What plans count with (`control.rover.energy.EnergyModel`), as measured on the rover."""

    capacity_wh: Positive
    hotel_w: Positive
    reserve_fraction: Ratio
    solar_w_max: Annotated[float, Meta(ge=0, le=1e5)]
    sleep_w: Annotated[float, Meta(ge=0, le=1e4)]
    drive_j_m: Annotated[float, Meta(ge=0, le=1e5)]
    drive_j_m_deg: Annotated[float, Meta(ge=0, le=1e4)]
    slip_flat: Ratio
    slip_deg: Ratio
    charge_efficiency: Ratio = 0.95


class RoverConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rover, whole."""

    schema_version: Annotated[int, Meta(ge=1)]
    kind: Literal["rover"]
    name: str
    body: BodyConfig
    urls: dict[str, str]
    devices: RoverDevices
    drive: DriveConfig
    energy: EnergyConfig

    def every_device(self) -> dict[str, Any]:
        """Each device's configuration by its name."""
        rows = {name: getattr(self.devices, name) for name in self.devices.__struct_fields__}
        return {name: row for name, row in rows.items() if row is not None}

    def with_urls(self, overlay: dict[str, str]) -> RoverConfig:
        """This rover with some wires elsewhere. Raises ConfigError for a wire that it does not have."""
        for name in overlay:
            if name not in self.urls:
                raise ConfigError(f"rover {self.name} has no wire named {name!r}{did_you_mean(name, self.urls)}")
        return msgspec.structs.replace(self, urls={**self.urls, **overlay})


def load_rover(machine: str | Path) -> RoverConfig:
    """Read and check a rover's machine file.

    Raises:
        ConfigError: unreadable, not TOML, not a rover's, an unknown key (the nearest known one is named), a value out
            of its range, a device on a wire that `[urls]` does not name, or values that contradict each other.
    """
    path = machine_path(machine)
    document = read_document(path)
    if document.get("kind", "printer") != "rover":
        raise ConfigError(
            f"machine file {path} is a printer's, not a rover's: `moonkiln print` takes it; rovers say kind = \"rover\""
        )
    config = converted(document, RoverConfig, path)
    for check in (_check_wires, _check_wheels, _check_times, _check_guard):
        if sentence := next(check(config), None):
            raise ConfigError(f"machine file {path}: {sentence}")
    return config


def load_any(machine: str | Path) -> MachineConfig | RoverConfig:
    """Read and check the machine file of a printer or a rover, as its `kind` says. Raises ConfigError as those do."""
    is_rover = read_document(machine_path(machine)).get("kind") == "rover"
    return load_rover(machine) if is_rover else load_machine(machine)


def _check_wires(config: RoverConfig) -> Iterator[str]:
    """Each device's wire has a URL, and at a baud rate that there is."""
    for name, device in config.every_device().items():
        wire = device.wire
        if wire not in config.urls:
            yield f"device {name} hangs on wire {wire!r}, which [urls] does not name{did_you_mean(wire, config.urls)}"
    for url in config.urls.values():
        try:
            baud_of(url)
        except ConfigError as error:
            yield str(error)


def _check_wheels(config: RoverConfig) -> Iterator[str]:
    """Each wheel has one motor of its own, each steered wheel a second, and nothing else has any."""
    wheels, d = config.body.wheels, config.devices.wheels
    if len(wheels) < 3:
        yield f"body.wheels: three wheels or more carry a rover, {len(wheels)} do not"
    steered = {name for name, wheel in wheels.items() if wheel.steer_max_deg > 0}
    for what, given, wanted in (("drive", d.drive, set(wheels)), ("steer", d.steer, steered)):
        for name in sorted(set(given) ^ wanted):
            lack = "has no motor" if name in wanted else f"is no wheel to {what}"
            yield f"devices.wheels.{what}: {name} {lack}"
    taken: dict[object, str] = {}
    for what, table in (("drive", d.drive), ("steer", d.steer)):
        for name, place in table.items():
            other = taken.setdefault(place, f"{what}.{name}")
            if other != f"{what}.{name}":
                yield f"devices.wheels: {other} and {what}.{name} are the same motor ({place})"


def _check_times(config: RoverConfig) -> Iterator[str]:
    """Commands must come before the last one expires, and a reading must be able to stay fresh."""
    drive, d = config.drive, config.devices
    if drive.valid_s < 2 / drive.command_hz:
        yield (
            f"drive: valid_s {drive.valid_s:g} is less than two commands at command_hz {drive.command_hz:g}"
            f" ({2 / drive.command_hz:g} s): the rover would stop whenever one is late"
        )
    if d.wheels.timeout_s < drive.valid_s:
        yield (
            f"devices.wheels: timeout_s {d.wheels.timeout_s:g} is shorter than drive.valid_s {drive.valid_s:g}:"
            " the boards would stop on commands that are still good"
        )
    for name in ("wheels", "imu", "power", "tracker"):
        device = getattr(d, name)
        if device.stale_after_s < 2 / device.poll_hz:
            yield (
                f"devices.{name}: stale_after_s {device.stale_after_s:g} is less than two polls at poll_hz"
                f" {device.poll_hz:g} ({2 / device.poll_hz:g} s): the rover would stop whenever one is lost"
            )
    if drive.slope_soft_deg > drive.slope_max_deg:
        yield f"drive: slope_soft_deg {drive.slope_soft_deg:g} is over slope_max_deg {drive.slope_max_deg:g}"
    if drive.cruise_m_s > config.body.speed_max_m_s:
        yield f"drive: cruise_m_s {drive.cruise_m_s:g} is over the body's speed_max_m_s {config.body.speed_max_m_s:g}"


def _check_guard(config: RoverConfig) -> Iterator[str]:
    """Limits by their names, within their ranges."""
    from control.rover.drive.guard import limits_from

    try:
        limits_from(config.drive.guard)
    except ValueError as error:
        yield f"drive.guard: {error}"


def geometry_of(config: RoverConfig) -> Geometry:
    """The wheels as the drive's mathematics takes them, in the file's order."""
    body = config.body
    return Geometry(
        wheels=tuple(
            WheelMount(name, wheel.x_m, wheel.y_m, math.radians(wheel.steer_max_deg))
            for name, wheel in body.wheels.items()
        ),
        wheel_radius_m=body.wheel_radius_m,
        speed_max_m_s=body.speed_max_m_s,
        turn_radius_min_m=body.turn_radius_min_m,
        mode=body.mode,
    )


def energy_of(config: RoverConfig) -> EnergyModel:
    """The rover's electricity as plans count with it."""
    known = {item.name for item in dataclasses.fields(EnergyModel)}
    return EnergyModel(**{name: v for name, v in msgspec.structs.asdict(config.energy).items() if name in known})

"""A machine file becomes links, devices and a Machine. The only file that imports links and devices to make them.

Every wire is opened once, at the URL that the configuration names for it; devices that share a bus share its link.
The beam head gets two connections, the second reserved for stop.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

from control.bench_device import BenchDevice, MappedDevice, PolledDevice
from control.config import CameraConfig, DriveConfig, ExtraConfig, MachineConfig
from control.idle_draw import POWER_SIGNAL
from control.lab import LabDevices
from control.machine import Devices, Machine
from control.machine_file import ConfigError
from control.offload import offload
from control.plug_in_devices import INSTRUMENT, ExtraDevice, check_device, load_maker
from control.rover.config import ModbusWheelsDevice, RoboClawDevice, RoverCameraDevice, RoverConfig
from control.rover.machine import Rover, RoverDevices
from control.rover.wheel_layouts import MODBUS_TIMEOUT_S, modbus_layout, roboclaw_layout
from control.watch import Listener
from control.wear_file import WearFile, outlives_a_session
from firmware_bridge.devices.beam import BeamHead
from firmware_bridge.devices.bed_heater import BedHeater
from firmware_bridge.devices.camera import Camera
from firmware_bridge.devices.conveyor import Conveyor
from firmware_bridge.devices.imu import Imu
from firmware_bridge.devices.instrument import Instrument
from firmware_bridge.devices.motion import MotionController
from firmware_bridge.devices.motion_grbl import GrblMotionController
from firmware_bridge.devices.motion_reprap import RepRapMotionController
from firmware_bridge.devices.omron_heater import OmronHeater
from firmware_bridge.devices.power import RoverPower
from firmware_bridge.devices.recoater import StepperDrive
from firmware_bridge.devices.register_access import RegisterAccess
from firmware_bridge.devices.supply import BenchSupply
from firmware_bridge.devices.tracker import Tracker
from firmware_bridge.devices.watlow_heater import WatlowHeater
from firmware_bridge.devices.wheels import RoboClawWheels, Wheels
from firmware_bridge.devices.wheels_modbus import ModbusWheels
from firmware_bridge.links.grbl import Expected, GrblLink
from firmware_bridge.links.http_snapshot import HttpSnapshotLink
from firmware_bridge.links.imu_frames import ImuLink
from firmware_bridge.links.marlin import MarlinLink
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.links.reprap import Expected as RepRapExpected
from firmware_bridge.links.reprap import RepRapLink
from firmware_bridge.links.roboclaw import RoboClawLink
from firmware_bridge.links.tracker_lines import TrackerLink
from firmware_bridge.register_map import RegisterMap, load_map
from slicer.words import did_you_mean
from vision.jpeg_check import jpeg_flaw


class Wires:
    """The open links of one machine, by wire; each is opened when the first device asks for it."""

    def __init__(self, config: MachineConfig | RoverConfig) -> None:
        self._urls = config.urls
        self._links: dict[str, Any] = {}

    async def modbus(
        self, wire: str, framing: Literal["rtu", "tcp"], *, role: str = "", timeout_s: float = 0.3
    ) -> ModbusLink:
        """The Modbus link on a wire; another `role` is another connection to the same place. TLS carries TCP frames."""
        key = wire + role
        if self._urls[wire].startswith("tls:"):
            framing = "tcp"
        if key not in self._links:
            self._links[key] = link = await ModbusLink.open(self._urls[wire], framing=framing, timeout_s=timeout_s)
            if outlives_a_session(self._urls[wire]):
                link.write_record = WearFile(self._urls[wire])
        return self._links[key]

    async def marlin(self, wire: str) -> MarlinLink:
        """The line-protocol link on a wire."""
        self._links[wire] = await MarlinLink.open(self._urls[wire])
        return self._links[wire]

    async def grbl(self, wire: str, expected: Expected) -> GrblLink:
        """The character-counting link on a wire."""
        self._links[wire] = await GrblLink.open(self._urls[wire], expected=expected)
        return self._links[wire]

    async def reprap(self, wire: str, expected: RepRapExpected) -> RepRapLink:
        """The CRC-16 line link on a wire."""
        self._links[wire] = await RepRapLink.open(self._urls[wire], expected=expected)
        return self._links[wire]

    async def http(self, wire: str, timeout_s: float) -> HttpSnapshotLink:
        """The snapshot link on a wire."""
        self._links[wire] = HttpSnapshotLink(self._urls[wire], timeout_s=timeout_s)
        return self._links[wire]

    async def roboclaw(self, wire: str) -> RoboClawLink:
        """The packet-serial link on a wire."""
        self._links[wire] = await RoboClawLink.open(self._urls[wire])
        return self._links[wire]

    async def imu(self, wire: str) -> ImuLink:
        """The inertial unit's link on a wire."""
        self._links[wire] = await ImuLink.open(self._urls[wire])
        return self._links[wire]

    async def tracker(self, wire: str) -> TrackerLink:
        """The tracker's link on a wire."""
        self._links[wire] = await TrackerLink.open(self._urls[wire])
        return self._links[wire]

    async def link(self, wire: str, open_link: Callable[[str], Awaitable[Any]]) -> Any:
        """The link of a driver's own kind on a wire: `open_link(url)` makes it, once; it must have `close()`."""
        if wire not in self._links:
            self._links[wire] = await open_link(self._urls[wire])
        return self._links[wire]

    def close(self) -> None:
        """Give every port back."""
        for link in self._links.values():
            link.close()


async def _motion(wires: Wires, config: MachineConfig) -> MotionController:
    e = config.envelope
    link = await wires.marlin(config.devices.motion.wire)
    return MotionController(
        link,
        travel_mm=(e.x_mm, e.y_mm, e.z_mm),
        speed_mm_s_max=e.speed_mm_s_max,
        needs_emergency_parser=config.devices.motion.emergency_parser,
    )


async def _grbl(wires: Wires, config: MachineConfig) -> GrblMotionController:
    e = config.envelope
    link = await wires.grbl(config.devices.motion.wire, Expected(s_max=e.s_max))
    return GrblMotionController(link, travel_mm=(e.x_mm, e.y_mm, e.z_mm), speed_mm_s_max=e.speed_mm_s_max)


async def _reprap(wires: Wires, config: MachineConfig) -> RepRapMotionController:
    e = config.envelope
    expected = RepRapExpected(s_max=e.s_max, rapid_mm_s=e.speed_mm_s_max)
    link = await wires.reprap(config.devices.motion.wire, expected)
    return RepRapMotionController(link, travel_mm=(e.x_mm, e.y_mm, e.z_mm), speed_mm_s_max=e.speed_mm_s_max)


async def _beam(wires: Wires, config: MachineConfig) -> BeamHead:
    c = config.devices.beam
    link = await wires.modbus(c.wire, "tcp")
    stop_link = await wires.modbus(c.wire, "tcp", role="/stop")
    return BeamHead(link, stop_link, c.unit, load_map(c.map))


async def _heater(wires: Wires, config: MachineConfig) -> BedHeater:
    c = config.devices.heater
    return BedHeater(await wires.modbus(c.wire, "rtu"), c.unit, load_map(c.map), temp_c_max=c.temp_c_max)


async def _omron_heater(wires: Wires, config: MachineConfig) -> OmronHeater:
    c = config.devices.heater
    link = await wires.modbus(c.wire, "rtu")
    return OmronHeater(link, c.unit, load_map(c.map), temp_c_max=c.temp_c_max, contactor=c.contactor)


async def _watlow_heater(wires: Wires, config: MachineConfig) -> WatlowHeater:
    c = config.devices.heater
    link = await wires.modbus(c.wire, "rtu")
    return WatlowHeater(link, c.unit, load_map(c.map), temp_c_max=c.temp_c_max, contactor=c.contactor)


async def _meter(wires: Wires, config: MachineConfig) -> Instrument:
    c, table = config.devices.meter, load_map(config.devices.meter.map)
    if c.idle_w_max is not None and POWER_SIGNAL not in {signal.name for signal in table.polled}:
        raise ConfigError(
            f"devices.meter: idle_w_max is compared with {POWER_SIGNAL!r}, which {table.name} does not poll: leave it"
        )
    return Instrument(await wires.modbus(c.wire, "rtu"), c.unit, table, name="meter")


async def _drive(wires: Wires, config: MachineConfig, name: str) -> StepperDrive:
    c: DriveConfig = getattr(config.devices, name)
    return StepperDrive(
        await wires.modbus(c.wire, "rtu"),
        c.unit,
        load_map(c.map),
        name=name,
        mm_per_rev=c.mm_per_rev,
        travel_mm=c.travel_mm,
        speed_mm_s=c.speed_mm_s,
    )


async def _conveyor(wires: Wires, config: MachineConfig) -> Conveyor:
    c = config.devices.conveyor
    assert c is not None, "a machine without a conveyor opens none"
    table = load_map(c.map)
    return Conveyor(await wires.modbus(c.wire, framing_of(table)), c.unit, table, hz_max=c.hz_max)


async def _supply(wires: Wires, config: MachineConfig) -> BenchSupply:
    c = config.devices.supply
    assert c is not None, "a machine without a supply opens none"
    table = load_map(c.map)
    link = await wires.modbus(c.wire, framing_of(table))
    return BenchSupply(link, c.unit, table, volts_max=c.volts_max, amps_max=c.amps_max, contactor=c.contactor)


async def _pyranometer(wires: Wires, config: MachineConfig) -> Instrument:
    c = config.devices.pyranometer
    assert c is not None, "a machine without a pyranometer opens none"
    table = load_map(c.map)
    return Instrument(await wires.modbus(c.wire, framing_of(table)), c.unit, table, name="pyranometer")


async def _lab(wires: Wires, config: MachineConfig) -> LabDevices:
    """Those of the three that the machine file has."""
    return LabDevices(**{name: await KINDS[c.kind](wires, config) for name, c in config.devices.lab.present().items()})


async def _roboclaw_wheels(wires: Wires, config: RoverConfig) -> Wheels:
    return RoboClawWheels(await wires.roboclaw(config.devices.wheels.wire), roboclaw_layout(config))


async def _modbus_wheels(wires: Wires, config: RoverConfig) -> Wheels:
    c = config.devices.wheels
    assert isinstance(c, ModbusWheelsDevice)
    link = await wires.modbus(c.wire, "rtu", timeout_s=MODBUS_TIMEOUT_S)
    return ModbusWheels(link, modbus_layout(config), load_map(c.map))


async def _imu(wires: Wires, config: RoverConfig) -> Imu:
    return Imu(await wires.imu(config.devices.imu.wire))


async def _rover_power(wires: Wires, config: RoverConfig) -> RoverPower:
    c = config.devices.power
    return RoverPower(await wires.modbus(c.wire, "rtu"), c.unit, load_map(c.map))


async def _tracker(wires: Wires, config: RoverConfig) -> Tracker:
    return Tracker(await wires.tracker(config.devices.tracker.wire))


async def _camera(wires: Wires, config: MachineConfig | RoverConfig) -> Camera:
    c = config.devices.camera
    assert c is not None, "a machine without a camera opens none"
    size_px = (c.width_px, c.height_px) if isinstance(c, RoverCameraDevice) else None
    # A rover's next look follows anyhow, and it must know when a picture was taken.
    tries = c.tries_max if isinstance(c, CameraConfig) else 1
    return Camera(await wires.http(c.wire, c.timeout_s), size_px=size_px, tries_max=tries, flaw=_jpeg_flaw)


async def _jpeg_flaw(jpeg: bytes) -> str:
    return await offload(lambda: jpeg_flaw(jpeg))


# Which function makes a device of a kind. A new device has its row here, a file in firmware_bridge/devices, a map, and
# an emulator; a test walks the four.
KINDS: dict[str, Callable[..., Awaitable[Any]]] = {
    "marlin": _motion,
    "grbl": _grbl,
    "reprap": _reprap,
    "beam_head": _beam,
    "bed_heater": _heater,
    "omron_heater": _omron_heater,
    "watlow_heater": _watlow_heater,
    "meter": _meter,
    "stepper": _drive,
    "conveyor": _conveyor,
    "supply": _supply,
    "pyranometer": _pyranometer,
    "http_snapshot": _camera,
    "roboclaw": _roboclaw_wheels,
    "modbus_wheels": _modbus_wheels,
    "imu": _imu,
    "rover_power": _rover_power,
    "tracker": _tracker,
}


async def _extra(wires: Wires, name: str, config: ExtraConfig) -> ExtraDevice:
    """A device of `[extra.NAME]`: an instrument by its map, or what an installed driver makes of it."""
    if config.kind != INSTRUMENT:
        return check_device(config.kind, await load_maker(config.kind)(wires, name, config))
    if config.map is None or config.unit is None:
        raise ConfigError(f"extra.{name}: an instrument needs a map and a unit")
    table = load_map(config.map)
    link = await wires.modbus(config.wire, framing_of(table))
    return Instrument(link, config.unit, table, name=name)


def framing_of(table: RegisterMap) -> Literal["rtu", "tcp"]:
    """The Modbus framing that a map's device speaks."""
    return "rtu" if table.protocol == "modbus-rtu" else "tcp"


@contextlib.asynccontextmanager
async def open_machine(config: MachineConfig, listener: Listener) -> AsyncIterator[Machine]:
    """Open every wire, make the machine, and shut it down on the way out, whatever happened.

    Raises:
        TransportError: a port that is absent, busy or refused; ports opened before it are given back.
    """
    wires = Wires(config)
    try:
        devices = Devices(
            motion=await KINDS[config.devices.motion.kind](wires, config),
            beam=await _beam(wires, config),
            heater=await KINDS[config.devices.heater.kind](wires, config),
            meter=await _meter(wires, config),
            recoater=await _drive(wires, config, "recoater"),
            piston=await _drive(wires, config, "piston"),
            camera=await _camera(wires, config),
            lab=await _lab(wires, config),
            extra={name: await _extra(wires, name, extra) for name, extra in config.extra.items()},
        )
        machine = Machine(config, devices, listener)
        try:
            yield machine
        finally:
            await machine.shut_down()
    finally:
        wires.close()


def device_config(config: MachineConfig | RoverConfig, name: str) -> Any:
    """One device's configuration. ConfigError naming the devices that there are."""
    devices = config.every_device()
    if name not in devices:
        known = ", ".join(devices)
        raise ConfigError(f"machine {config.name} has no device {name!r}{did_you_mean(name, devices)}; it has {known}")
    return devices[name]


def map_of(config: MachineConfig | RoverConfig, name: str) -> RegisterMap | None:
    """The register map by which one device is read and written, if it is one unit with a map."""
    c = device_config(config, name)
    map_name = getattr(c, "map", None)
    return None if map_name is None or getattr(c, "unit", None) is None else load_map(map_name)


@contextlib.asynccontextmanager
async def open_motion(
    config: MachineConfig,
) -> AsyncIterator[MotionController | GrblMotionController | RepRapMotionController]:
    """Open the gantry alone, identified, for work by hand; its port is given back on the way out.

    Raises:
        BridgeError: a port that is absent or busy, another firmware, or one that is not set for this machine.
    """
    wires = Wires(config)
    try:
        motion = await KINDS[config.devices.motion.kind](wires, config)
        await motion.identify()
        yield motion
    finally:
        wires.close()


@contextlib.asynccontextmanager
async def open_device(config: MachineConfig | RoverConfig, name: str) -> AsyncIterator[BenchDevice]:
    """Open one device alone, for work on the bench; its port is given back on the way out.

    Raises:
        TransportError: a port that is absent, busy or refused.
        ConfigError: the machine has no such device.
    """
    c = device_config(config, name)
    table = map_of(config, name)
    wires = Wires(config)
    try:
        if table is not None:
            link = await wires.modbus(c.wire, framing_of(table))
            yield MappedDevice(RegisterAccess(link, c.unit, table, name, contactor=getattr(c, "contactor", "")))
        elif isinstance(c, ExtraConfig):
            extra = await _extra(wires, name, c)
            yield PolledDevice(name, extra.identify, extra.poll)
        else:
            device = await KINDS[c.kind if hasattr(c, "kind") else c.__struct_config__.tag](wires, config)
            if isinstance(device, MotionController | GrblMotionController | RepRapMotionController):
                yield PolledDevice(name, device.identify, device.position_readings)
            else:
                yield PolledDevice(name, device.identify, device.poll)
    finally:
        wires.close()


@contextlib.asynccontextmanager
async def open_rover(config: RoverConfig, listener: Listener, *, looks: bool = False) -> AsyncIterator[Rover]:
    """Open every wire, make the rover, and shut it down on the way out, whatever happened.

    `looks`: with its camera, if it has one; a route without tags needs none.

    Raises:
        TransportError: a port that is absent, busy or refused; ports opened before it are given back.
    """
    wires = Wires(config)
    try:
        kind = "roboclaw" if isinstance(config.devices.wheels, RoboClawDevice) else "modbus_wheels"
        devices = RoverDevices(
            wheels=await KINDS[kind](wires, config),
            imu=await _imu(wires, config),
            power=await _rover_power(wires, config),
            tracker=await _tracker(wires, config),
            camera=None if config.devices.camera is None or not looks else await _camera(wires, config),
        )
        rover = Rover(config, devices, listener)
        try:
            yield rover
        finally:
            await rover.shut_down()
    finally:
        wires.close()

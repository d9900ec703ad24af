"""The machine file of a printer's world: its wires, its devices and its bed, and where faults can strike them."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hil_sim.world.build_lab import LIGHT, LOAD, SCREW, ConveyorSpec, PyranometerSpec, SupplySpec
from hil_sim.world.emulators.eurotherm3200 import Eurotherm3200
from hil_sim.world.emulators.grbl import GrblEmulator
from hil_sim.world.emulators.grbl_firmware import GrblBuild, Inputs
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.emulators.omron_e5cc import OmronE5cc
from hil_sim.world.emulators.reprap import RepRapEmulator
from hil_sim.world.emulators.reprap_machine import RepRapBuild
from hil_sim.world.emulators.watlow_pm import WatlowPm
from hil_sim.world.faults.camera import CAMERA
from hil_sim.world.faults.sensor import BENCH as SENSORS_OF_BENCH
from hil_sim.world.faults.thermal import BED_SENSOR, HOTEND, PLATE
from hil_sim.world.plant.bed import BedConfig
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.plant.recoater import FEED_POINT
from hil_sim.world.plant_faults import PLANT_POINTS
from hil_sim.world.safety import SafetySpec
from hil_sim.world.toml_words import UNREADABLE, what_is_wrong
from hil_sim.world.wire_line import points_of
from hil_sim.world.wiring import MACHINES, WireSpec, WorldError


class MotionSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="emulator"):
    """The motion board and the frame it drives; home is at the end switches, 0, 0, 0. `overtravel_mm`: how far behind
    those of x and y metal begins."""

    wire: str
    frame_mm: tuple[float, float, float]
    start_mm: tuple[float, float, float]
    reset_on_open: bool
    overtravel_mm: Annotated[float, Meta(ge=0)] = 3.0

    def gantry(self) -> Gantry:
        """What the board drives."""
        low_mm = (-self.overtravel_mm, -self.overtravel_mm, 0.0)
        return Gantry(start_mm=self.start_mm, frame_mm=(low_mm, self.frame_mm), switches_mm=(0.0, 0.0, 0.0))


class MarlinSpec(MotionSpec, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="marlin"):
    """A Marlin board with a laser build; `debug_commands`: it obeys OctoPrint's `!!DEBUG:` lines; `emergency_parser`:
    it is built with that option; `command_buffer`: so many lines wait behind its planner (BUFSIZE)."""

    speed_mm_s: float
    acceleration_mm_s2: float
    debug_commands: bool = False
    emergency_parser: bool = True
    command_buffer: Annotated[int, Meta(ge=1, le=64)] = 4

    def board(self, gantry: Gantry, baud: int | None) -> MarlinEmulator:
        """The board that drives `gantry`."""
        build = MarlinBuild(
            size_mm=self.frame_mm,
            max_speed_mm_s=(self.speed_mm_s, self.speed_mm_s, 20.0),
            acceleration_mm_s2=self.acceleration_mm_s2,
            reset_on_open=self.reset_on_open,
            debug_commands=self.debug_commands,
            emergency_parser=self.emergency_parser,
            command_buffer=self.command_buffer,
        )
        return MarlinEmulator(gantry, build)


class GrblSpec(MotionSpec, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="grbl"):
    """A Grbl board in laser mode.

    `settings`: `$` numbers that differ from the stock build's. `work_offset_mm`: G54 as its EEPROM holds it.
    `line_numbers`: built with `Ln:` in its reports. `switch_release_mm`: how far a switch must be left to open.
    """

    settings: dict[str, float]
    work_offset_mm: tuple[float, float, float]
    line_numbers: bool
    switch_release_mm: float

    def board(self, gantry: Gantry, baud: int | None) -> GrblEmulator:
        """The board that drives `gantry`, with its switches at the frame's low ends."""
        build = GrblBuild(
            settings={int(number): value for number, value in self.settings.items()},
            work_offset_mm=self.work_offset_mm,
            line_numbers=self.line_numbers,
            baud=baud or 115200,
            reset_on_open=self.reset_on_open,
        )
        inputs = Inputs(limit_low_mm=(0.0, 0.0, 0.0), release_mm=self.switch_release_mm)
        return GrblEmulator(gantry, build, inputs)


class RepRapSpec(MotionSpec, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="reprap"):
    """A RepRapFirmware board: what its config.g says.

    `needs_crc`: M575 S4 on the host's channel. `speed_mm_s`, `acceleration_mm_s2`, `jerk_mm_s`: of each axis (M203,
    M201, M566).
    """

    needs_crc: bool
    speed_mm_s: tuple[float, float, float]
    acceleration_mm_s2: tuple[float, float, float]
    jerk_mm_s: tuple[float, float, float]
    steps_per_mm: tuple[float, float, float]

    def board(self, gantry: Gantry, baud: int | None) -> RepRapEmulator:
        """The board that drives `gantry`."""
        build = RepRapBuild(
            size_mm=self.frame_mm,
            max_speed_mm_s=self.speed_mm_s,
            acceleration_mm_s2=self.acceleration_mm_s2,
            jerk_mm_s=self.jerk_mm_s,
            steps_per_mm=self.steps_per_mm,
            needs_crc=self.needs_crc,
            reset_on_open=self.reset_on_open,
        )
        return RepRapEmulator(gantry, build)


class BeamSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The beam head and its optics."""

    emulator: Literal["beam_head"]
    wire: str
    unit: int
    spot_mm: float
    wall_plug_efficiency: Annotated[float, Meta(gt=0, le=1)]


class HeaterSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The heated plate and its controller."""

    emulator: Literal["eurotherm3200", "omron_e5cc", "watlow_pm"]
    wire: str
    unit: int
    plate_j_k: float
    power_w: float


HEATERS: dict[str, type[Eurotherm3200 | OmronE5cc | WatlowPm]] = {
    "eurotherm3200": Eurotherm3200,
    "omron_e5cc": OmronE5cc,
    "watlow_pm": WatlowPm,
}


class MeterSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The energy meter on the bench's feeder."""

    emulator: Literal["sdm120"]
    wire: str
    unit: int
    standby_w: float


class DriveSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stepper drive and the axis it moves."""

    emulator: Literal["leadshine"]
    wire: str
    unit: int
    mm_per_rev: float
    travel_mm: tuple[float, float]
    start_mm: float
    home_mm: float
    blade_zero_x_mm: float = 0.0


class CameraSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The top camera."""

    emulator: Literal["camera"]
    wire: str


class DeviceSpecs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every device of the printer, by the name under which the host knows it."""

    motion: MarlinSpec | GrblSpec | RepRapSpec
    beam: BeamSpec
    heater: HeaterSpec
    meter: MeterSpec
    recoater: DriveSpec
    piston: DriveSpec
    camera: CameraSpec
    conveyor: ConveyorSpec | None = None
    supply: SupplySpec | None = None
    pyranometer: PyranometerSpec | None = None


CELL_MM_MIN = 0.1
"""Of a cell's side: narrower ones make more cells of a plate than a computer holds."""


class BedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The soil, its surroundings, and how finely they are solved; `spot_mm` None is the head's."""

    material: str = "mare"
    atmosphere: str = "vacuum"
    ambient_temp_c: Annotated[float, Meta(ge=-273.15, le=2000)] = 20.0
    absorptivity: Annotated[float, Meta(ge=0, le=1)] = 0.8
    depth_mm: Annotated[float, Meta(gt=0, le=1000)] = 10.0
    max_height_mm: Annotated[float, Meta(ge=0, le=2000)] = 20.0
    cell_xy_mm: Annotated[float, Meta(ge=CELL_MM_MIN, le=20)] = 2.0
    cell_z_mm: Annotated[float, Meta(ge=0.01, le=20)] = 2.0
    spot_mm: Annotated[float, Meta(gt=0, le=100)] | None = None


class MachineSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One world's machine, whole."""

    schema_version: int
    name: str
    protocol_version: str
    wires: dict[str, WireSpec]
    devices: DeviceSpecs
    bed: BedSettings
    safety: SafetySpec = SafetySpec()


def load_machine_spec(machine: str | Path) -> MachineSpec:
    """Read a machine file of the world, by name or path. Raises WorldError with what is wrong."""
    path = Path(machine)
    if path.suffix != ".toml":
        path = MACHINES / f"{machine}.toml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in MACHINES.glob("*.toml")))
        if Path(machine).suffix == ".toml":
            raise WorldError(
                f"emulated machine {path} does not exist: give a .toml file that does, or one of {shipped}"
            )
        raise WorldError(
            f"there is no emulated machine {str(machine)!r}; there are {shipped}, or give a .toml file"
            ' (a scenario says world = "FILE.toml")'
        )
    try:
        spec = _parsed(path.read_text(encoding="utf-8"))
    except UNREADABLE as error:
        raise WorldError(f"emulated machine {path}: {what_is_wrong(error)}") from error
    for name, device in devices_of(spec).items():
        if device.wire not in spec.wires:
            raise WorldError(
                f"emulated machine {path}: device {name} hangs on wire {device.wire!r}, which it does not have"
            )
    return spec


@lru_cache(maxsize=16)
def _parsed(text: str) -> MachineSpec:
    """It is frozen, so that one text need be read once: a campaign builds the same world thousands of times."""
    return msgspec.convert(tomllib.loads(text), MachineSpec)


def devices_of(spec: MachineSpec) -> dict[str, Any]:
    """The rows of the devices that the machine has, by name."""
    rows = {name: getattr(spec.devices, name) for name in DeviceSpecs.__struct_fields__}
    return {name: row for name, row in rows.items() if row is not None}


def fault_points(spec: MachineSpec) -> list[str]:
    """Where a fault can strike the world of this machine."""
    d = spec.devices
    points = [point for name, wire in spec.wires.items() for point in points_of(name, wire.baud)]
    points += [FEED_POINT, BED_SENSOR, CAMERA, *PLANT_POINTS]
    points += SENSORS_OF_BENCH
    points += [name for name, device in devices_of(spec).items() if hasattr(device, "unit")]
    points += [HOTEND, PLATE] if isinstance(d.motion, MarlinSpec) else []  # a Grbl board has no heaters
    added = ((d.conveyor, SCREW), (d.supply, LOAD), (d.pyranometer, LIGHT))
    return points + [point for device, point in added if device is not None]


def bed_config(spec: MachineSpec, settings: BedSettings) -> BedConfig:
    """The bed under `settings`: the whole plate, so that the camera sees all of it; cells that stay cold cost nothing.

    Raises WorldError where the bed cannot be so.
    """
    frame_x_mm, frame_y_mm, _ = spec.devices.motion.frame_mm
    try:
        return BedConfig(
            x_mm=(0.0, frame_x_mm),
            y_mm=(0.0, frame_y_mm),
            cell_xy_mm=settings.cell_xy_mm,
            cell_z_mm=settings.cell_z_mm,
            depth_mm=settings.depth_mm,
            max_height_mm=settings.max_height_mm,
            material=settings.material,
            atmosphere=settings.atmosphere,
            ambient_temp_c=settings.ambient_temp_c,
            absorptivity=settings.absorptivity,
            spot_mm=settings.spot_mm or spec.devices.beam.spot_mm,
        )
    except ValueError as error:
        raise WorldError(str(error)) from error

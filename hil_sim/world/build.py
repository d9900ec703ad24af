"""A machine file of the world becomes plant, emulators and wires: the other end of everything a host speaks to.

    world = await build_world("bench", lay="virtual", settings=BedSettings(...), faults=schedule)
    ... a host runs against world.urls ...
    truth = await world.finish()

`lay="virtual"` lays wires in memory on the running loop, `lay="wire"` real ptys and loopback TCP under a directory.
The plant is advanced lazily; the bed is solved by one worker beside the loop (inline in virtual time).
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hil_sim.world.build_lab import LIGHT, LOAD, SCREW, ConveyorSpec, Lab, PyranometerSpec, SupplySpec
from hil_sim.world.emulators.beam_head import BeamHead
from hil_sim.world.emulators.camera import CameraEmulator
from hil_sim.world.emulators.eurotherm3200 import Eurotherm3200
from hil_sim.world.emulators.grbl import GrblEmulator
from hil_sim.world.emulators.grbl_firmware import GrblBuild, Inputs
from hil_sim.world.emulators.leadshine import LeadshineDrive
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.emulators.marlin_heaters import LumpedHeater
from hil_sim.world.emulators.modbus_slave import RtuBus, TcpSlave
from hil_sim.world.emulators.omron_e5cc import OmronE5cc
from hil_sim.world.emulators.reprap import RepRapEmulator
from hil_sim.world.emulators.reprap_machine import RepRapBuild
from hil_sim.world.emulators.sdm120 import Sdm120
from hil_sim.world.emulators.watlow_pm import WatlowPm
from hil_sim.world.fault_edges import FaultEdges
from hil_sim.world.faults.schedule import Fault, Faults, FaultSchedule
from hil_sim.world.faults.thermal import BED_SENSOR, HOTEND, PLATE, reading_c
from hil_sim.world.plant.bed import Bed, BedConfig
from hil_sim.world.plant.bed_feed import BedFeed, BedView
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.plant.heater import HeaterPlate, PlateConfig
from hil_sim.world.plant.linear_axis import LinearAxis
from hil_sim.world.plant.optics import Dwell, ExecutedBlock, Head, Optics
from hil_sim.world.plant.power import Meter
from hil_sim.world.plant.recoater import FEED_POINT, Laid, Recoater, RecoaterConfig
from hil_sim.world.scene import Scene, SceneMaps, jpeg
from hil_sim.world.wire import Wire
from hil_sim.world.wiring import MACHINES, DeviceLine, Lay, WireSpec, Wiring, WorldError, refuse_strange

# ---- the machine file


class MotionSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="emulator"):
    """The motion board and the frame it drives; home is at the frame's corner 0, 0, 0."""

    wire: str
    frame_mm: tuple[float, float, float]
    start_mm: tuple[float, float, float]
    reset_on_open: bool


class MarlinSpec(MotionSpec, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="marlin"):
    """A Marlin board with a laser build."""

    speed_mm_s: float
    acceleration_mm_s2: float

    def board(self, gantry: Gantry, baud: int | None) -> MarlinEmulator:
        """The board that drives `gantry`."""
        build = MarlinBuild(
            size_mm=self.frame_mm,
            max_speed_mm_s=(self.speed_mm_s, self.speed_mm_s, 20.0),
            acceleration_mm_s2=self.acceleration_mm_s2,
            reset_on_open=self.reset_on_open,
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


class BedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The soil, its surroundings, and how finely they are solved; `spot_mm` None is the head's."""

    material: str = "mare"
    atmosphere: str = "vacuum"
    ambient_temp_c: float = 20.0
    absorptivity: float = 0.8
    depth_mm: float = 10.0
    max_height_mm: float = 20.0
    cell_xy_mm: float = 2.0
    cell_z_mm: float = 2.0
    spot_mm: float | None = None


class MachineSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One world's machine, whole."""

    schema_version: int
    name: str
    protocol_version: str
    wires: dict[str, WireSpec]
    devices: DeviceSpecs
    bed: BedSettings


def load_machine_spec(machine: str | Path) -> MachineSpec:
    """Read a machine file of the world, by name or path. Raises WorldError with what is wrong."""
    path = Path(machine)
    if path.suffix != ".toml":
        path = MACHINES / f"{machine}.toml"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in MACHINES.glob("*.toml")))
        raise WorldError(f"there is no emulated machine {str(machine)!r}; there are {shipped}, or give a .toml file")
    try:
        spec = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), MachineSpec)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise WorldError(f"emulated machine {path}: {error}") from error
    for name, device in _devices(spec).items():
        if device.wire not in spec.wires:
            raise WorldError(
                f"emulated machine {path}: device {name} hangs on wire {device.wire!r}, which it does not have"
            )
    return spec


def fault_points(spec: MachineSpec) -> list[str]:
    """Where a fault can strike the world of this machine."""
    d = spec.devices
    points = [f"{name}.{way}" for name in spec.wires for way in ("to_device", "to_host")]
    points += [FEED_POINT, BED_SENSOR]
    points += [HOTEND, PLATE] if isinstance(d.motion, MarlinSpec) else []  # a Grbl board has no heaters
    added = ((d.conveyor, SCREW), (d.supply, LOAD), (d.pyranometer, LIGHT))
    return points + [point for device, point in added if device is not None]


# ---- the world

SAME_LAYER_MM = 0.01
"""Powder that is spread no deeper than this below the last layer's plane is one more pass over it."""


@dataclass(frozen=True)
class Truth:
    """What truly happened, for the oracle and the report. Times in loop seconds."""

    executed: list[ExecutedBlock]
    plane_drop_mm: list[float]  # of the piston when each block began
    dwells: list[Dwell]
    laid: list[Laid]
    strikes: list[tuple[float, str, str]]  # time, point, kind of each fault that struck
    beam_energy_j: float
    beam_live_at_end: bool
    crashes: int
    end_s: float
    facts: dict[str, float] = field(default_factory=dict)


class World:
    """A built world: `urls` by wire, `devices` to announce, plant and emulators to look into."""

    def __init__(
        self, spec: MachineSpec, settings: BedSettings, faults: FaultSchedule, *, exact_timing: bool, seed: int
    ) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        self.spec = spec
        self.faults = Faults(faults)
        self._wiring = Wiring(spec.wires, self.faults)
        self._edges = FaultEdges(self.faults)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="bed")
        d = spec.devices

        self.gantry = Gantry(start_mm=d.motion.start_mm, frame_mm=((0.0, 0.0, 0.0), d.motion.frame_mm))
        self.head = Head()
        self.optics = Optics(self.gantry, self.head)
        self.bed = Bed(_bed_config(spec, settings), t_s=now_s)
        self.feed = BedFeed(self.bed, self.optics)
        self.meter = Meter()
        self.meter.set_load("standby", now_s, d.meter.standby_w)
        self.plate = HeaterPlate(
            PlateConfig(
                heat_capacity_j_k=d.heater.plate_j_k,
                max_power_w=d.heater.power_w,
                ambient_temp_c=settings.ambient_temp_c,
            ),
            t_s=now_s,
        )
        self.blade = LinearAxis("blade", travel_mm=d.recoater.travel_mm, position_mm=d.recoater.start_mm, t_s=now_s)
        self.piston = LinearAxis("piston", travel_mm=d.piston.travel_mm, position_mm=d.piston.start_mm, t_s=now_s)
        self.laid: list[Laid] = []
        self._layer_drops_mm: list[float] = []  # at which powder was spread, one a layer
        self._drops: list[float] = []
        self.lab = Lab(
            d.conveyor,
            d.supply,
            d.pyranometer,
            bed_mm=d.motion.frame_mm[:2],
            meter=self.meter,
            faults=self.faults,
            edges=self._edges,
            t_s=now_s,
        )
        self.recoater = Recoater(
            self.blade,
            self.piston,
            self,
            faults=self.faults,
            store=self.lab.hopper,
            config=RecoaterConfig(bed_x_mm=d.motion.frame_mm[0], blade_zero_x_mm=d.recoater.blade_zero_x_mm),
            t_s=now_s,
        )
        if self.lab.drive is not None:
            self.lab.drive.motor.before_change.append(self.recoater.advance_to)
        self.piston.before_change.append(self._note_blocks)
        baud1 = spec.wires[d.recoater.wire].baud or 115200
        self.motion_board: MarlinEmulator | GrblEmulator | RepRapEmulator = d.motion.board(
            self.gantry, spec.wires[d.motion.wire].baud
        )
        self.beam_head = BeamHead(on_emission=self._emission_changed, emission_w=self.optics.emission_w, timers=loop)
        self.heater = HEATERS[d.heater.emulator](
            self.plate,
            t_s=now_s,
            on_power=lambda t_s, watts: self.meter.set_load("heater", t_s, watts),
            on_temp=self.feed.base_temp,
        )
        self.meter.settle_before_read(self.heater.advance_to)
        self.drives = {
            "recoater": LeadshineDrive(
                self.blade, mm_per_rev=d.recoater.mm_per_rev, baud=baud1, home_mm=d.recoater.home_mm, t_s=now_s
            ),
            "piston": LeadshineDrive(
                self.piston, mm_per_rev=d.piston.mm_per_rev, baud=baud1, home_mm=d.piston.home_mm, t_s=now_s
            ),
        }
        units: dict[str, dict[int, Any]] = {}
        shared = {"heater": self.heater, "meter": Sdm120(self.meter), **self.drives, **self.lab.models}
        for name, model in shared.items():
            units.setdefault(getattr(d, name).wire, {})[getattr(d, name).unit] = model
        self._hang_thermal_faults()
        self._scene = Scene(seed=seed)
        self._shots = 0
        self.emulators: dict[str, Any] = {
            d.motion.wire: self.motion_board,
            d.beam.wire: TcpSlave({d.beam.unit: self.beam_head}, max_connections=2),
            d.camera.wire: CameraEmulator(self._shoot),
            **{
                wire: RtuBus(devices, baud=spec.wires[wire].baud or 9600, exact_timing=exact_timing)
                for wire, devices in units.items()
            },
        }

    @property
    def points(self) -> list[str]:
        """The places that faults can strike."""
        return fault_points(self.spec)

    @property
    def urls(self) -> dict[str, str]:
        """Where each wire is reached."""
        return self._wiring.urls

    @property
    def devices(self) -> list[DeviceLine]:
        """What `sim serve` announces."""
        return self._wiring.devices

    async def lay(self, how: Lay, directory: Path | None) -> None:
        """Lay every wire and note its URL."""
        await self._wiring.lay(self.emulators, _devices(self.spec), how, directory)

    def spread(self, t_s: float, x_from_mm: float, x_to_mm: float, plane_drop_mm: float, fill_fraction: float) -> None:
        """The recoater has laid a strip of powder (see `plant.recoater.PowderBed`)."""
        self._note_blocks(t_s)
        if not self._layer_drops_mm or plane_drop_mm > self._layer_drops_mm[-1] + SAME_LAYER_MM:
            self.faults.begin_layer(len(self._layer_drops_mm), t_s)
            self._layer_drops_mm.append(plane_drop_mm)
        self.laid.append(Laid(t_s, x_from_mm, x_to_mm, plane_drop_mm, fill_fraction))
        self.feed.spread(t_s, x_from_mm, x_to_mm, plane_drop_mm, fill_fraction)

    async def finish(self) -> Truth:
        """The truth up to now, with the bed solved to the present."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        self._settle(now_s)
        await loop.run_in_executor(self._worker, self.feed.catch_up, now_s)
        bed = self.bed
        return Truth(
            executed=self.optics.executed,
            plane_drop_mm=self._drops,
            dwells=self.optics.dwells,
            laid=self.laid,
            strikes=[(t_s, point, fault.kind) for t_s, point, fault in self.faults.strikes],
            beam_energy_j=self.optics.total_energy_j,
            beam_live_at_end=self.beam_head.capability_w > 0.0,
            crashes=self.gantry.crashes,
            end_s=now_s,
            facts={
                "absorbed_j": bed.absorbed_j,
                "radiated_j": bed.radiated_j,
                "base_j": bed.base_j,
                "stored_j": bed.stored_j,
                "missed_j": bed.missed_j,
                "energy_balance": bed.balance,
                "meter_wh": self.meter.energy_wh(now_s),
                "cell_updates": float(bed.cell_updates),
            },
        )

    def wire(self, name: str) -> Wire:
        """One of the laid wires: what passed on it, and a way to cut it."""
        return self._wiring.wire(name)

    def maps(self) -> dict[str, Any]:
        """The bed's maps, after `finish`."""
        return self.bed.maps()

    def close(self) -> None:
        """Take every wire away and end the worker."""
        self._edges.close()
        self._wiring.close()
        self._worker.shutdown(wait=True)

    # -- inside

    def _settle(self, t_s: float) -> None:
        """Bring everything lazy up to the present, on the loop."""
        self.lab.settle(t_s)
        self.recoater.advance_to(t_s)
        self.heater.advance_to(t_s)
        self.feed.collect(t_s)
        self._note_blocks(t_s)

    def _note_blocks(self, t_s: float) -> None:
        """Remember how deep the piston stood when each block that has ended began; asked before the piston moves."""
        self.optics.settle(t_s)
        since_s = self.piston.phases[0].t_s  # what ended before this command was noted before it
        for block in self.optics.executed[len(self._drops) :]:
            self._drops.append(self.recoater.plane_drop_mm(max(block.t0_s, since_s)))

    def _hang_thermal_faults(self) -> None:
        """The heaters and sensors that can fail, as the board and the controllers have them."""
        heater = self.heater
        self._edges.at(
            BED_SENSOR,
            lambda t_s, _fault: heater.set_sensor_break(t_s, True),
            lambda t_s: heater.set_sensor_break(t_s, False),
        )
        if not isinstance(self.motion_board, MarlinEmulator):
            return
        for point, channel in zip((HOTEND, PLATE), self.motion_board.heaters, strict=True):

            def strike(t_s: float, fault: Fault, channel: LumpedHeater = channel) -> None:
                if fault.kind == "heater_open":
                    channel.lose_power(t_s)
                else:
                    channel.stick_sensor(t_s, reading_c(fault))

            self._edges.at(point, strike, channel.repair)

    def _emission_changed(self, t_s: float, watts: float) -> None:
        self.head.set_emission_capability(t_s, watts)
        self.meter.set_load("beam", t_s, watts / self.spec.devices.beam.wall_plug_efficiency)

    def _shoot(self, t_s: float) -> Callable[[], bytes]:
        """Hold this moment: note what has happened, and develop the picture from the solved bed beside the loop."""
        self._settle(t_s)
        blade_x_mm, plane_drop_mm = self.recoater.blade_x_mm(t_s), self.recoater.plane_drop_mm(t_s)
        shot, powder = self._shots, self.recoater.passes
        inline = getattr(asyncio.get_running_loop(), "is_virtual", False)
        self._shots += 1

        def look() -> BedView:
            return self.feed.view(t_s, plane_drop_mm)

        def develop() -> bytes:
            # The camera develops on a thread of its own; the bed belongs to the one worker.
            view = look() if inline else self._worker.submit(look).result()
            maps = SceneMaps(
                height_mm=view.height_mm,
                temp_c=view.temp_c,
                sintered=view.sintered,
                cover_mm=view.cover_mm,
                origin_mm=view.origin_mm,
                pitch_mm=view.pitch_mm,
            )
            in_view = -30.0 < blade_x_mm < self.spec.devices.motion.frame_mm[0] + 30.0
            return jpeg(self._scene.picture(maps, shot=shot, powder=powder, blade_x_mm=blade_x_mm if in_view else None))

        return develop


async def build_world(
    machine: str | Path = "bench",
    *,
    lay: Lay = "virtual",
    directory: Path | None = None,
    settings: BedSettings | None = None,
    faults: FaultSchedule | None = None,
    seed: int = 0,
) -> World:
    """Build a machine's world on the running loop and lay its wires.

    Args:
        machine: the name of a shipped machine, or a TOML file.
        lay: wires in memory, or real ptys and loopback TCP under `directory`.
        settings: the bed; None: the machine file's.
        faults: what shall go wrong.
        seed: of everything random (the camera's noise, the powder's grain).

    Raises:
        WorldError: the machine file cannot be used, or a fault could never strike in this world.
        OSError: a pty or a socket cannot be made.
    """
    spec = load_machine_spec(machine)
    world = World(spec, settings or spec.bed, faults or FaultSchedule(), exact_timing=lay == "virtual", seed=seed)
    try:
        refuse_strange(world.faults, world.points)
        await world.lay(lay, directory)
    except BaseException:
        world.close()
        raise
    return world


def _devices(spec: MachineSpec) -> dict[str, Any]:
    rows = {name: getattr(spec.devices, name) for name in DeviceSpecs.__struct_fields__}
    return {name: row for name, row in rows.items() if row is not None}


def _bed_config(spec: MachineSpec, settings: BedSettings) -> BedConfig:
    """The whole plate, so that the camera sees all of it; cells that stay cold cost nothing."""
    frame_x_mm, frame_y_mm, _ = spec.devices.motion.frame_mm
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

"""A machine file of the world becomes plant, emulators and wires: the other end of everything a host speaks to.

    world = await build_world("bench", lay="virtual", settings=BedSettings(...), faults=schedule)
    ... a host runs against world.urls ...
    truth = await world.finish()

`lay="virtual"` lays wires in memory on the running loop, `lay="wire"` real ptys and loopback TCP under a directory.
The plant is advanced lazily; the bed is solved by one worker beside the loop (inline in virtual time).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hil_sim.world.build_lab import Lab
from hil_sim.world.camera_faults import FaultyCamera, Shot
from hil_sim.world.darkroom import developed
from hil_sim.world.emulators.beam_head import BeamHead
from hil_sim.world.emulators.camera import CameraEmulator
from hil_sim.world.emulators.grbl import GrblEmulator
from hil_sim.world.emulators.leadshine import LeadshineDrive
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_heaters import LumpedHeater
from hil_sim.world.emulators.modbus_mishaps import Mishaps
from hil_sim.world.emulators.modbus_slave import RtuBus, TcpSlave
from hil_sim.world.emulators.reprap import RepRapEmulator
from hil_sim.world.emulators.sdm120 import Sdm120
from hil_sim.world.fault_edges import FaultEdges
from hil_sim.world.faults.power import FEEDER
from hil_sim.world.faults.schedule import Fault, Faults, FaultSchedule
from hil_sim.world.faults.sensor import BLADE, EMISSION, HEATER_TEMP, METER_POWER, PISTON
from hil_sim.world.faults.thermal import BED_SENSOR, HOTEND, PLATE, reading_c
from hil_sim.world.faulty_sensors import Sensors
from hil_sim.world.histories import Histories
from hil_sim.world.layer_starts import LayerStarts
from hil_sim.world.machine_spec import (
    HEATERS,
    BedSettings,
    MachineSpec,
    bed_config,
    devices_of,
    fault_points,
    load_machine_spec,
)
from hil_sim.world.plant.beam_source import FAINT_W
from hil_sim.world.plant.bed import Bed
from hil_sim.world.plant.bed_feed import BedFeed, BedView
from hil_sim.world.plant.gantry import Run as GantryRun
from hil_sim.world.plant.gantry import Stand
from hil_sim.world.plant.heater import HeaterPlate, PlateConfig
from hil_sim.world.plant.linear_axis import LinearAxis
from hil_sim.world.plant.optics import Dwell, ExecutedBlock, Head, Optics
from hil_sim.world.plant.power import Meter
from hil_sim.world.plant.recoater import Laid, Recoater, RecoaterConfig
from hil_sim.world.plant_faults import PlantFaults, PlantParts, plugged_units
from hil_sim.world.power_gate import Plugged
from hil_sim.world.scene import Scene, SceneMaps
from hil_sim.world.wire import Tap, Wire
from hil_sim.world.wiring import DeviceLine, Lay, Wiring, refuse_strange

THERMOCOUPLE_TOP_C, METER_TOP_W, EMISSION_TOP_W = 1372.0, 23_000.0, 6553.5  # type K; 100 A; a register of tenths

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
    gantry_mm: tuple[float, float, float]  # where it stands
    heater_w: float = 0.0  # that the plate's controller asks of its heater
    heated_w: float = 0.0  # that its heater gives, asked or not
    source_w: float = 0.0  # light that the beam's source makes, with its shutter closed, too
    supply_w: float = 0.0  # that a laboratory's supply delivers to its load
    heated_since_s: float | None = None  # without a break; None: its heater gives nothing
    bright_since_s: float | None = None  # its source makes more than FAINT_W, without a break; None: it does not
    plate_lit_c: tuple[float, float] | None = None  # least and greatest temperature of the plate under light
    facts: dict[str, float] = field(default_factory=dict)


class World:
    """A built world: `urls` by wire, `devices` to announce, plant and emulators to look into."""

    def __init__(
        self,
        spec: MachineSpec,
        settings: BedSettings,
        faults: FaultSchedule,
        *,
        exact_timing: bool,
        seed: int,
        tap: Tap | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        self.spec = spec
        self.faults = Faults(faults)
        self.histories = Histories()
        self._wiring = Wiring(spec.wires, self.faults, tap)
        self._edges = FaultEdges(self.faults)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="bed")
        d = spec.devices

        self.gantry = d.motion.gantry()
        self.head = Head()
        self.optics = Optics(self.gantry, self.head)
        self.bed = Bed(bed_config(spec, settings), t_s=now_s)
        self.feed = BedFeed(self.bed, self.optics)
        self.meter = Meter()
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
        self._keep_histories(now_s)
        self.meter.set_load("standby", now_s, d.meter.standby_w)
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
        self._layer_starts = LayerStarts(self.recoater) if self.faults.waits_for_layers else None
        self.recoater.on_slip = self.histories.teller("slip_mm")
        self.piston.before_change.append(self._note_blocks)
        baud1 = spec.wires[d.recoater.wire].baud or 115200
        self.motion_board: MarlinEmulator | GrblEmulator | RepRapEmulator = d.motion.board(
            self.gantry, spec.wires[d.motion.wire].baud
        )
        self.beam_head = BeamHead(
            on_emission=self._emission_changed,
            emission_w=self.optics.emission_w,
            timers=loop,
            energy_j=self._emitted_j,
            on_leak=self.optics.leak.set_emission_capability,
            on_made=self._light_made,
        )
        self.heater = HEATERS[d.heater.emulator](
            self.plate,
            t_s=now_s,
            on_power=lambda t_s, watts: self.meter.set_load("heater", t_s, watts),
            on_temp=self._plate_moved,
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
        names: dict[str, dict[int, str]] = {}
        self.meter_device = Sdm120(self.meter)
        shared = {"heater": self.heater, "meter": self.meter_device, **self.drives, **self.lab.models}
        for name, model in shared.items():
            units.setdefault(getattr(d, name).wire, {})[getattr(d, name).unit] = model
            names.setdefault(getattr(d, name).wire, {})[getattr(d, name).unit] = name
        self.sensors = Sensors(self.faults, seed)
        self._hang_sensors()
        self.modbus_points = [*shared, "beam"]
        self._hang_thermal_faults()
        self.plant_faults = PlantFaults(
            PlantParts(
                settle=self._settle,
                gantry=self.gantry,
                board=self.motion_board,
                recoater=self.recoater,
                plate=self.plate,
                meter=self.meter,
                head=self.beam_head,
                emitted_j=self._emitted_j,
                units=plugged_units({**shared, "beam": self.beam_head}),
                on_switch=self.histories.changed,
            ),
            self._edges,
        )
        self._scene = Scene(seed=seed)
        self._faulty_camera = FaultyCamera(self.faults, seed)
        self._shots = 0
        self.emulators: dict[str, Any] = {
            d.motion.wire: self.motion_board,
            d.beam.wire: TcpSlave(
                {d.beam.unit: self.beam_head}, max_connections=2, mishaps=Mishaps(self.faults, {d.beam.unit: "beam"})
            ),
            d.camera.wire: CameraEmulator(self._shoot),
            **{
                wire: RtuBus(
                    devices,
                    baud=spec.wires[wire].baud or 9600,
                    exact_timing=exact_timing,
                    mishaps=Mishaps(self.faults, names[wire]),
                )
                for wire, devices in units.items()
            },
        }
        self.models: dict[str, Any] = {  # by device: each one's emulated firmware
            "motion": self.motion_board,
            "beam": self.beam_head,
            "camera": self.emulators[d.camera.wire],
            **shared,
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
        emulators = self.emulators
        if self.faults.touches(FEEDER):
            emulators = {name: Plugged(one, lambda: self.plant_faults.has_power) for name, one in emulators.items()}
        await self._wiring.lay(emulators, devices_of(self.spec), how, directory)

    def spread(self, t_s: float, x_from_mm: float, x_to_mm: float, plane_drop_mm: float, fill_fraction: float) -> None:
        """The recoater has laid a strip of powder (see `plant.recoater.PowderBed`)."""
        self._note_blocks(t_s)
        if not self._layer_drops_mm or plane_drop_mm > self._layer_drops_mm[-1] + SAME_LAYER_MM:
            self.faults.begin_layer(len(self._layer_drops_mm), t_s)
            self.histories.changed("layer", t_s, float(len(self._layer_drops_mm)))
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
        self.histories.close(now_s)
        return Truth(
            executed=self.optics.executed,
            plane_drop_mm=self._drops,
            dwells=self.optics.dwells,
            laid=self.laid,
            strikes=[(t_s, point, fault.kind) for t_s, point, fault in self.faults.strikes],
            beam_energy_j=self.optics.total_energy_j,
            beam_live_at_end=self.beam_head.capability_w + self.beam_head.leak_w > 0.0,
            crashes=self.gantry.crashes,
            end_s=now_s,
            gantry_mm=self.gantry.position_at(now_s),
            heater_w=self.plate.asked_w,
            heated_w=self.plate.power_w,
            source_w=self.beam_head.made_w,
            supply_w=self.lab.delivered_w,
            heated_since_s=self.histories.over_since("load_heater_w", 0.0),
            bright_since_s=self.histories.over_since(
                "load_beam_w", FAINT_W / self.spec.devices.beam.wall_plug_efficiency
            ),
            plate_lit_c=self.histories.plate_lit_c(),
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

    def doings(self, t_s: float) -> tuple[float, ...]:
        """Numbers of which one is another whenever gantry, blade or piston have been moved, or a picture was taken."""
        self.gantry.advance_to(t_s)
        return self.gantry.moves_run, self.blade.phases[0].t_s, self.piston.phases[0].t_s, self._shots

    def wire(self, name: str) -> Wire:
        """One of the laid wires: what passed on it, and a way to cut it."""
        return self._wiring.wire(name)

    def maps(self) -> dict[str, Any]:
        """The bed's maps, after `finish`."""
        return self.bed.maps()

    def close(self) -> None:
        """Take every wire away and end the worker."""
        self._edges.close()
        if self._layer_starts is not None:
            self._layer_starts.close()
        self.plant_faults.close()
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
        blocks = self.optics.executed[len(self._drops) :]
        if blocks and not self.piston.moving(first_s := max(blocks[0].t0_s, since_s)):
            self._drops += [self.recoater.plane_drop_mm(first_s)] * len(blocks)  # it stands, as it does in an exposure
            return
        for block in blocks:
            self._drops.append(self.recoater.plane_drop_mm(max(block.t0_s, since_s)))

    def _hang_sensors(self) -> None:
        """What the instruments show of the plant, where the schedule may stand between."""
        at, d = self.sensors.at, self.spec.devices
        ambient_c = self.plate.config.ambient_temp_c  # a thermocouple whose wires touch measures at its terminals
        self.heater.loop.sense = at(HEATER_TEMP, self.plate.sensor_c, full_scale=THERMOCOUPLE_TOP_C, shorted=ambient_c)
        self.meter_device.sense_w = at(METER_POWER, self.meter.power_w, full_scale=METER_TOP_W)
        self.beam_head.sense_w = at(EMISSION, self.beam_head.emitted_w, full_scale=EMISSION_TOP_W)
        for point, name, axis in ((BLADE, "recoater", self.blade), (PISTON, "piston", self.piston)):
            travel_mm = max(map(abs, getattr(d, name).travel_mm))
            self.drives[name].sense_mm = at(point, axis.position_at, full_scale=travel_mm)

    def _moved(self, entry: GantryRun | Stand) -> None:
        """The gantry has begun something: the first block with S > 0 behind a layer's powder is that layer's light."""
        self.histories.moved(entry)
        if self._layer_drops_mm and isinstance(entry, GantryRun) and entry.move.s_fraction > 0.0:
            self.faults.begin_light(len(self._layer_drops_mm) - 1, entry.t0_s)

    def _keep_histories(self, now_s: float) -> None:
        """Let the plant tell what it does as it does it."""
        kept = self.histories
        self.gantry.on_entry = kept.moved if not self.faults.waits_for_light else self._moved
        self.head.on_change = kept.teller("capability_w")
        self.optics.leak.on_change = kept.teller("leak_w")
        self.feed.on_rows = kept.exposed
        self.feed.on_hottest = kept.teller("bed_c_max")
        self.meter.on_load = lambda name, t_s, watts: kept.changed(f"load_{name}_w", t_s, watts)
        for axis in (self.blade, self.piston):
            kept.follow(axis)
        for name in ("door", "purge"):
            kept.changed(name, now_s, 1.0)

    def _plate_moved(self, t_s: float, temp_c: float) -> None:
        self.histories.changed("plate_c", t_s, temp_c)
        self.feed.base_temp(t_s, temp_c)

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

    def _light_made(self, t_s: float, watts: float) -> None:
        self.meter.set_load("beam", t_s, watts / self.spec.devices.beam.wall_plug_efficiency)

    def _emitted_j(self, t_s: float) -> float:
        self._note_blocks(t_s)
        return self.optics.total_energy_j

    def _shoot(self, t_s: float) -> Callable[[], bytes] | None:
        """Hold this moment: note what has happened, and develop the picture from the solved bed beside the loop."""
        self._settle(t_s)
        blade_x_mm, plane_drop_mm = self.recoater.blade_x_mm(t_s), self.recoater.plane_drop_mm(t_s)
        shot, powder = self._shots, self.recoater.passes
        inline = getattr(asyncio.get_running_loop(), "is_virtual", False)
        self._shots += 1

        def look() -> BedView:
            return self.feed.view(t_s, plane_drop_mm)

        def develop(how: Shot) -> bytes:
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
            return developed(self._scene, maps, shot, powder, blade_x_mm if in_view else None, how)

        return self._faulty_camera.take(t_s, develop)


async def build_world(
    machine: str | Path = "bench",
    *,
    lay: Lay = "virtual",
    directory: Path | None = None,
    settings: BedSettings | None = None,
    faults: FaultSchedule | None = None,
    seed: int = 0,
    host_points: Iterable[str] = (),
    tap: Tap | None = None,
) -> World:
    """Build a machine's world on the running loop and lay its wires.

    Args:
        machine: the name of a shipped machine, or a TOML file.
        lay: wires in memory, or real ptys and loopback TCP under `directory`.
        settings: the bed; None: the machine file's.
        faults: what shall go wrong.
        seed: of everything random (the camera's noise, the powder's grain).
        host_points: places that faults can strike beside the world's own: those of a host that the caller simulates.
        tap: hears every chunk that a wire delivers.

    Raises:
        WorldError: the machine file cannot be used, or a fault could never strike in this world.
        OSError: a pty or a socket cannot be made.
    """
    spec = load_machine_spec(machine)
    world = World(
        spec, settings or spec.bed, faults or FaultSchedule(), exact_timing=lay == "virtual", seed=seed, tap=tap
    )
    try:
        refuse_strange(world.faults, [*world.points, *host_points], world.sensors.strange())
        await world.lay(lay, directory)
    except BaseException:
        world.close()
        raise
    return world

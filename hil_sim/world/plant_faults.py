"""Where the faults of a printer's plant strike: what is done to each part when a window begins, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hil_sim.world.emulators.beam_head import BeamHead
from hil_sim.world.emulators.grbl import GrblEmulator
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.modbus_pdu import ModbusDevice
from hil_sim.world.emulators.reprap import RepRapEmulator
from hil_sim.world.fault_edges import FaultEdges
from hil_sim.world.faults.actuator import BLADE, GANTRY, HEATER, PISTON_AXIS, SHUTTER, SOURCE, axis_of
from hil_sim.world.faults.power import FEEDER
from hil_sim.world.faults.safety import DOOR, PURGE
from hil_sim.world.faults.schedule import Fault
from hil_sim.world.faults.thermal import AMBIENT, COOLING, PLATE_HEAT, PLATE_LOSSES, PLATE_SENSOR
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.plant.heater import HeaterPlate, PlateFault
from hil_sim.world.plant.power import Meter
from hil_sim.world.plant.recoater import Recoater

PLANT_POINTS = (
    BLADE, PISTON_AXIS, GANTRY, SOURCE, SHUTTER, COOLING, HEATER, PLATE_HEAT, PLATE_LOSSES, PLATE_SENSOR, AMBIENT,
    FEEDER, DOOR, PURGE,
)  # fmt: skip
COOLING_EVERY_S = 0.5


@dataclass(frozen=True)
class PlantParts:
    """What can be struck. `settle(t_s)` brings everything lazy up to a moment; `units`: every Modbus device.
    `on_switch(name, t_s, ok)`: told when the `door` or the `purge` switch opens (0) or closes (1)."""

    settle: Callable[[float], None]
    gantry: Gantry
    board: MarlinEmulator | GrblEmulator | RepRapEmulator
    recoater: Recoater
    plate: HeaterPlate
    meter: Meter
    head: BeamHead
    emitted_j: Callable[[float], float]
    units: tuple[ModbusDevice, ...]
    on_switch: Callable[[str, float, float], object]


class PlantFaults:
    """Hangs the points of one world. For the truth: `door_open`, `purge_lost`, `has_power`."""

    def __init__(self, parts: PlantParts, edges: FaultEdges) -> None:
        self.door_open = self.purge_lost = False
        self.has_power = True
        self._parts = parts
        self._plate_faults: dict[str, Fault] = {}
        self._supply = 1.0
        self._cooling: asyncio.TimerHandle | None = None
        parts_recoater = parts.recoater
        edges.at(BLADE, self._jam, lambda t_s: parts_recoater.blade.lay_obstacle(t_s, None))
        edges.at(PISTON_AXIS, self._slip, _stays)
        edges.at(GANTRY, self._gantry_fails, self._gantry_mended)
        edges.at(SOURCE, self._source_fails, self._source_mended)
        edges.at(
            SHUTTER, lambda t_s, _fault: self._stick_shutter(t_s, True), lambda t_s: self._stick_shutter(t_s, False)
        )
        edges.at(COOLING, lambda t_s, _fault: self._water(t_s, False), lambda t_s: self._water(t_s, True))
        for point in (HEATER, PLATE_HEAT, PLATE_LOSSES, PLATE_SENSOR, AMBIENT):
            edges.at(point, *self._plate_edges(point))
        edges.at(FEEDER, self._feeder_fails, self._feeder_mended)
        edges.at(
            DOOR,
            lambda t_s, _fault: self._interlock(t_s, door_open=True),
            lambda t_s: self._interlock(t_s, door_open=False),
        )
        edges.at(
            PURGE,
            lambda t_s, _fault: self._interlock(t_s, purge_lost=True),
            lambda t_s: self._interlock(t_s, purge_lost=False),
        )

    def close(self) -> None:
        """No timer strikes any more."""
        if self._cooling is not None:
            self._cooling.cancel()

    # -- what moves

    def _jam(self, t_s: float, fault: Fault) -> None:
        blade = self._parts.recoater.blade
        zero_mm = self._parts.recoater.config.blade_zero_x_mm
        blade.lay_obstacle(t_s, float(fault.arg("x_mm", 125.0)) - zero_mm)

    def _slip(self, t_s: float, fault: Fault) -> None:
        self._parts.settle(t_s)
        self._parts.recoater.slip(t_s, float(fault.arg("mm", 0.5)))

    def _gantry_fails(self, t_s: float, fault: Fault) -> None:
        self._parts.settle(t_s)
        gantry, axis = self._parts.gantry, axis_of(fault)
        if fault.kind == "missed_steps":
            gantry.lose_steps(t_s, axis, float(fault.arg("mm", 1.0)))
        elif fault.kind == "stall_axis":
            gantry.stalled.add(axis)
        elif fault.kind == "backlash":
            gantry.play_mm[axis] = float(fault.arg("mm", 0.3))
        else:
            self._shift_switch(axis, float(fault.arg("mm", 1.0)))

    def _gantry_mended(self, t_s: float) -> None:
        self._parts.settle(t_s)
        gantry = self._parts.gantry
        gantry.stalled.clear()
        gantry.play_mm[:] = (0.0, 0.0, 0.0)
        for axis in range(3):
            self._shift_switch(axis, 0.0)

    def _shift_switch(self, axis: int, mm: float) -> None:
        gantry, board = self._parts.gantry, self._parts.board
        gantry.switch_mm[axis] = gantry.built_switch_mm[axis] + mm
        if isinstance(board, GrblEmulator):
            x, y, z = gantry.switch_mm
            board.inputs.limit_low_mm = (x, y, z)

    # -- what emits

    def _source_fails(self, t_s: float, fault: Fault) -> None:
        source = self._parts.head.source
        if fault.kind == "beam_stuck_on":
            source.stuck_w = float(fault.arg("watts", 50.0))
        else:
            source.share = 0.0 if fault.kind == "beam_dead" else min(max(float(fault.arg("fraction", 0.7)), 0.0), 1.0)
        self._parts.head.source_changed(t_s)

    def _source_mended(self, t_s: float) -> None:
        source = self._parts.head.source
        source.share, source.stuck_w = 1.0, 0.0
        self._parts.head.source_changed(t_s)

    def _stick_shutter(self, t_s: float, sticks: bool) -> None:
        self._parts.head.source.stick_shutter(sticks)
        self._parts.head.source_changed(t_s)

    def _water(self, t_s: float, runs: bool) -> None:
        self._warm(t_s)
        self._parts.head.source.water_runs = runs
        if self._cooling is None:
            self._watch_cooling()

    def _watch_cooling(self) -> None:
        """While the water stands, and until the head is cool again: a warm source gives less every half second."""
        loop = asyncio.get_running_loop()
        self._warm(loop.time())
        source = self._parts.head.source
        if source.water_runs and source.is_cool:
            self._cooling = None
        else:
            self._cooling = loop.call_later(COOLING_EVERY_S, self._watch_cooling)

    def _warm(self, t_s: float) -> None:
        head = self._parts.head
        head.source.warm(t_s, self._parts.emitted_j(t_s))
        if head.source.is_too_hot:
            head.set_fault(t_s, True)
        elif head.source.is_cool:
            head.set_fault(t_s, False)
        head.source_changed(t_s)

    def _interlock(self, t_s: float, *, door_open: bool | None = None, purge_lost: bool | None = None) -> None:
        """Door and flow switch in one circuit."""
        if door_open is not None:
            self.door_open = door_open
            self._parts.on_switch("door", t_s, float(not door_open))
        if purge_lost is not None:
            self.purge_lost = purge_lost
            self._parts.on_switch("purge", t_s, float(not purge_lost))
        self._parts.head.set_interlock(t_s, not (self.door_open or self.purge_lost))

    # -- what heats

    def _plate_edges(self, point: str) -> tuple[Callable[[float, Fault], object], Callable[[float], object]]:
        def begin(t_s: float, fault: Fault) -> None:
            self._plate_faults[point] = fault
            self._plate_changed(t_s)

        def end(t_s: float) -> None:
            self._plate_faults.pop(point, None)
            self._plate_changed(t_s)

        return begin, end

    def _plate_changed(self, t_s: float) -> None:
        """All that is wrong with the plate at this moment."""
        parts, active = self._parts, self._plate_faults
        parts.settle(t_s)

        def arg(point: str, name: str, default: float, otherwise: float) -> float:
            return float(active[point].arg(name, default)) if point in active else otherwise

        output = active.get(HEATER)
        parts.plate.fail(
            t_s,
            PlateFault(
                stuck_on=output is not None and output.kind == "heater_stuck_on",
                is_open=output is not None and output.kind == "heater_open",
                supply=self._supply,
                extra_w=arg(PLATE_HEAT, "extra_w", 600.0, 0.0),
                sensor_off=PLATE_SENSOR in active,
                loss_share=max(arg(PLATE_LOSSES, "share", 0.1, 1.0), 0.0),
                ambient_c=arg(AMBIENT, "to_c", -20.0, 0.0) if AMBIENT in active else None,
            ),
        )
        parts.meter.set_load("heater", t_s, parts.plate.power_w)

    # -- what feeds

    def _feeder_fails(self, t_s: float, fault: Fault) -> None:
        if fault.kind == "supply_sag":
            self._feed(t_s, min(max(float(fault.arg("fraction", 0.8)), 0.0), 1.0))
            return
        self._parts.settle(t_s)
        self._parts.gantry.cut(t_s)
        self._restart(t_s)
        self._feed(t_s, 0.0)
        self.has_power = False

    def _feeder_mended(self, t_s: float) -> None:
        if not self.has_power:
            self.has_power = True
            self._restart(t_s)
        self._feed(t_s, 1.0)

    def _restart(self, t_s: float) -> None:
        """Power goes or comes: nothing that lives in memory outlasts it."""
        for unit in self._parts.units:
            unit.power_cycle(t_s)
        self._parts.board.reset()

    def _feed(self, t_s: float, share: float) -> None:
        self._supply = share
        self._parts.head.source.supply = share
        self._parts.head.source_changed(t_s)
        self._plate_changed(t_s)


def _stays(_t_s: float) -> None:
    """What has slipped does not slip back."""


def plugged_units(units: dict[str, Any]) -> tuple[ModbusDevice, ...]:
    """The Modbus devices among a world's models, in the order of their names."""
    return tuple(model for _, model in sorted(units.items()) if isinstance(model, ModbusDevice))

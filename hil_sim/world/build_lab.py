"""What a world's printer may have beside the devices of every one: a conveyor, a supply, a pyranometer."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from hil_sim.world.emulators.delta_ms300 import DeltaMs300
from hil_sim.world.emulators.kipp_zonen_smp11 import KippZonenSmp11
from hil_sim.world.emulators.modbus_pdu import ModbusDevice
from hil_sim.world.emulators.riden_rd6006 import RidenSupply
from hil_sim.world.fault_edges import FaultEdges
from hil_sim.world.faults.actuator import light_share
from hil_sim.world.faults.schedule import Fault, Faults
from hil_sim.world.plant.dc_supply import DcLoad, DcSupply
from hil_sim.world.plant.hopper import Hopper, HopperConfig
from hil_sim.world.plant.motor import InductionMotor
from hil_sim.world.plant.power import Meter

SCREW, LOAD, LIGHT = "conveyor.load", "supply.load", "sun.light"
Over0 = Annotated[float, Meta(gt=0, le=1e9)]


class ConveyorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The drive of the screw that fills the hopper, and what it brings. `motor_load`: torque in parts of the rated."""

    emulator: Literal["delta_ms300"]
    wire: str
    unit: int
    mm3_per_rev: Over0
    hopper_mm3: Over0
    hopper_start_mm3: Annotated[float, Meta(ge=0, le=1e9)]
    motor_load: Annotated[float, Meta(gt=0, le=2)] = 0.5


class SupplySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The supply and the resistance that hangs on it."""

    emulator: Literal["riden_rd6006"]
    wire: str
    unit: int
    load_ohm: Over0


class PyranometerSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pyranometer and the Sun that shines on it."""

    emulator: Literal["kipp_zonen_smp11"]
    wire: str
    unit: int
    irradiance_w_m2: Annotated[float, Meta(ge=0, le=4000)]


class Lab:
    """The emulated ones of one world. `models`: by the host's device name; `hopper`: what the recoater takes from."""

    def __init__(
        self,
        conveyor: ConveyorSpec | None,
        supply: SupplySpec | None,
        pyranometer: PyranometerSpec | None,
        *,
        bed_mm: tuple[float, float],
        meter: Meter,
        faults: Faults,
        edges: FaultEdges,
        t_s: float,
    ) -> None:
        self.models: dict[str, ModbusDevice] = {}
        self.drive: DeltaMs300 | None = None
        self.supply: RidenSupply | None = None
        self.pyranometer: KippZonenSmp11 | None = None
        self.hopper: Hopper | None = None
        self._meter = meter
        if conveyor is not None:
            self.drive, self.hopper = self._conveyor(conveyor, bed_mm, edges, t_s)
            self.models["conveyor"] = self.drive
        if supply is not None:
            self.models["supply"] = self.supply = self._supply(supply, edges, t_s)
        if pyranometer is not None:
            self.models["pyranometer"] = self.pyranometer = _pyranometer(pyranometer, faults, edges, t_s)
        meter.settle_before_read(self._tell_meter)

    def settle(self, t_s: float) -> None:
        """Let strike what was due: the drive's time-out."""
        if self.drive is not None:
            self.drive.settle(t_s)

    @property
    def delivered_w(self) -> float:
        """What the supply delivers to its load; 0 W without a supply."""
        return self.supply.stage.output.watts if self.supply is not None else 0.0

    def _conveyor(
        self, spec: ConveyorSpec, bed_mm: tuple[float, float], edges: FaultEdges, t_s: float
    ) -> tuple[DeltaMs300, Hopper]:
        motor = InductionMotor(load=spec.motor_load, t_s=t_s)
        drive = DeltaMs300(motor, t_s=t_s)

        def jam(now_s: float, fault: Fault) -> None:
            drive.load_changed(now_s, float(fault.arg("load", 3.0)))

        edges.at(SCREW, jam, lambda now_s: drive.load_changed(now_s, spec.motor_load))
        length_mm, width_mm = bed_mm
        config = HopperConfig(spec.hopper_mm3, spec.hopper_start_mm3, length_mm, width_mm)
        return drive, Hopper(config, lambda at_s: max(motor.revolutions(at_s), 0.0) * spec.mm3_per_rev, t_s=t_s)

    def _supply(self, spec: SupplySpec, edges: FaultEdges, t_s: float) -> RidenSupply:
        supply = RidenSupply(DcSupply(DcLoad(spec.load_ohm), t_s=t_s))

        def strike(now_s: float, fault: Fault) -> None:
            left_ohm = math.inf if fault.kind == "open_load" else float(fault.arg("ohm", 0.05))
            supply.load_changed(now_s, DcLoad(left_ohm))

        edges.at(LOAD, strike, lambda now_s: supply.load_changed(now_s, DcLoad(spec.load_ohm)))
        return supply

    def _tell_meter(self, t_s: float) -> None:
        """What they draw now. It counts from reading to reading, so energies are as fine as the meter is asked."""
        if self.drive is not None:
            self.drive.settle(t_s)
            self._meter.set_load("conveyor", t_s, 1000.0 * self.drive.motor.power_kw(t_s))
        if self.supply is not None:
            stage = self.supply.stage
            self._meter.set_load("supply", t_s, stage.config.idle_w + stage.output.watts * (1.0 + stage.config.loss))


def _pyranometer(spec: PyranometerSpec, faults: Faults, edges: FaultEdges, t_s: float) -> KippZonenSmp11:
    edges.at(LIGHT, lambda _t_s, _fault: None, lambda _t_s: None)  # noted only: the light itself asks at each look
    return KippZonenSmp11(
        lambda at_s: spec.irradiance_w_m2 * light_share(faults.now(LIGHT, at_s)), node=spec.unit, t_s=t_s
    )

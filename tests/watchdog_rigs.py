"""One rig for each kind of device: driver and emulated device at work on a wire that can be cut, and what is safe."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from reprap_link_helpers import Notes
from roboclaw_helpers import make_line
from rover_modbus_helpers import Cells, Rover
from wheels_helpers import BOARDS, LAYOUT, STRAIGHT, cycle, speeds, wheel_speeds

from firmware_bridge.devices.beam import BeamHead
from firmware_bridge.devices.bed_heater import BedHeater
from firmware_bridge.devices.conveyor import Conveyor
from firmware_bridge.devices.omron_heater import OmronHeater
from firmware_bridge.devices.power import RoverPower
from firmware_bridge.devices.recoater import StepperDrive
from firmware_bridge.devices.supply import BenchSupply
from firmware_bridge.devices.watlow_heater import WatlowHeater
from firmware_bridge.devices.wheels import RoboClawWheels
from firmware_bridge.links.grbl import Expected, GrblLink
from firmware_bridge.links.marlin import MarlinLink
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.links.reprap import RepRapLink
from firmware_bridge.links.roboclaw import RoboClawLink
from firmware_bridge.register_map import load_map
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators import beam_head, delta_ms300
from hil_sim.world.emulators.eurotherm3200 import Eurotherm3200
from hil_sim.world.emulators.leadshine import LeadshineDrive
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.modbus_pdu import ModbusDevice
from hil_sim.world.emulators.modbus_slave import RtuBus, TcpSlave
from hil_sim.world.emulators.omron_e5cc import OmronE5cc
from hil_sim.world.emulators.riden_rd6006 import RidenSupply
from hil_sim.world.emulators.rover_power import RoverPowerEmulator
from hil_sim.world.emulators.watlow_pm import WatlowPm
from hil_sim.world.machine_spec import load_machine_spec
from hil_sim.world.plant.dc_supply import DcLoad, DcSupply
from hil_sim.world.plant.gantry import Gantry, Run
from hil_sim.world.plant.heater import HeaterPlate
from hil_sim.world.plant.linear_axis import LinearAxis
from hil_sim.world.plant.motor import InductionMotor
from hil_sim.world.wire import Wire, lay_virtual

BAUD = 19_200
KEEP_ALIVE_W = 6.0


class Rig(NamedTuple):
    """A device at work. `is_safe(t_s)`: asked of the emulated device and its plant, never of the driver."""

    wire: Wire
    is_safe: Callable[[float], bool]
    device: Any = None


Making = Callable[[VirtualLoop], contextlib.AbstractAsyncContextManager[Rig]]


@contextlib.asynccontextmanager
async def modbus(emulated: ModbusDevice) -> AsyncIterator[tuple[ModbusLink, Wire]]:
    """One unit on a bus."""
    wire = await lay_virtual("bus", RtuBus({1: emulated}, baud=BAUD), baud=BAUD)
    link = await ModbusLink.open("sim:bus", framing="rtu")
    try:
        yield link, wire
    finally:
        link.close()
        wire.close()


@contextlib.asynccontextmanager
async def marlin(_: VirtualLoop) -> AsyncIterator[Rig]:
    """A move of two seconds with the beam on, the last that the board has."""
    gantry = Gantry()
    wire = await lay_virtual("motion", MarlinEmulator(gantry), baud=115200)
    link = await MarlinLink.open("sim:motion")
    for line in (b"G28", b"M3 I", b"G1 X100 F3000 S1000"):
        await link.command(line, timeout_s=60.0)
    await asyncio.sleep(0.3)
    yield Rig(wire, lambda t_s: gantry.run_at(t_s) is None)
    link.close()
    wire.close()


@contextlib.asynccontextmanager
async def grbl(_: VirtualLoop) -> AsyncIterator[Rig]:
    """The same in laser mode."""
    gantry = Gantry(start_mm=(9.0, 9.0, 9.0))
    board = load_machine_spec("bench_grbl").devices.motion.board(gantry, 115200)
    wire = await lay_virtual("motion", board, baud=115200)
    link = await GrblLink.open("sim:motion", expected=Expected(s_max=1000))
    await link.home()
    link.receiver.write(b"M4 S1000\nG1 X100 F3000\n")
    await asyncio.sleep(0.3)
    yield Rig(wire, lambda t_s: _is_dark(gantry, t_s))
    link.close()
    wire.close()


@contextlib.asynccontextmanager
async def reprap(_: VirtualLoop) -> AsyncIterator[Rig]:
    """The same by a board that demands CRCs."""
    gantry = Gantry(start_mm=(9.0, 9.0, 9.0))
    wire = await lay_virtual("motion", load_machine_spec("bench_rrf").devices.motion.board(gantry, 115200), baud=115200)
    link = await RepRapLink.open("sim:motion")
    await link.home()
    lines = [b"M4 I S0", b"G1 X100 Y0 F3000 S1000", b"G1 X100 Y100 F3000 S1000"]
    streaming = asyncio.ensure_future(link.stream(lines, Notes()))
    await asyncio.sleep(0.3)
    yield Rig(wire, lambda t_s: _is_dark(gantry, t_s))
    await asyncio.gather(streaming, return_exceptions=True)
    link.close()
    wire.close()


def _is_dark(gantry: Gantry, t_s: float) -> bool:
    entry = gantry.run_at(t_s)
    s_fraction = entry.move.s_fraction if isinstance(entry, Run) else entry.s_fraction if entry else 0.0
    return s_fraction == 0.0


@contextlib.asynccontextmanager
async def beam(loop: VirtualLoop, head_kind: type[beam_head.BeamHead] = beam_head.BeamHead) -> AsyncIterator[Rig]:
    """A head that fires, its watchdog fed by nobody but its last order."""
    head = head_kind(on_emission=lambda *_: None, emission_w=lambda _: 0.0, timers=loop)
    wire = await lay_virtual("beam", TcpSlave({1: head}, max_connections=2), baud=None)
    link, stop_link = [await ModbusLink.open("sim:beam", framing="tcp") for _ in range(2)]
    driver = BeamHead(link, stop_link, 1, load_map("moonkiln_beam_head"))
    await driver.identify()
    await driver.configure(watchdog_ms=1000)
    await driver.set_power_w(50.0)
    await driver.set_shutter(True)
    await driver.arm(7)
    await driver.fire(True)
    yield Rig(wire, lambda _t_s: head.capability_w == 0.0 and not head.armed, driver)
    link.close()
    stop_link.close()
    wire.close()


@contextlib.asynccontextmanager
async def bed_heater(loop: VirtualLoop) -> AsyncIterator[Rig]:
    plate = HeaterPlate()
    emulated = Eurotherm3200(plate)
    async with modbus(emulated) as (link, wire):
        driver = BedHeater(link, 1, load_map("eurotherm_3200"), temp_c_max=200.0)
        await driver.identify()
        await driver.configure()
        await driver.set_temp_c(150.0)
        await asyncio.sleep(1.0)
        await driver.set_temp_c(150.0)
        yield Rig(wire, lambda t_s: _output_w(emulated, t_s) == 0.0, driver)


@contextlib.asynccontextmanager
async def _behind_a_contactor(
    kind: type[OmronHeater] | type[WatlowHeater], emulated: OmronE5cc | WatlowPm, table: str
) -> AsyncIterator[Rig]:
    async with modbus(emulated) as (link, wire):
        driver = kind(link, 1, load_map(table), temp_c_max=200.0, contactor="K1")
        await driver.identify()
        await driver.configure()
        await driver.set_temp_c(150.0)
        await asyncio.sleep(1.0)
        yield Rig(wire, lambda t_s: _output_w(emulated, t_s) == 0.0, driver)


def omron_heater(_: VirtualLoop) -> contextlib.AbstractAsyncContextManager[Rig]:
    return _behind_a_contactor(OmronHeater, OmronE5cc(HeaterPlate()), "omron_e5cc")


def watlow_heater(_: VirtualLoop) -> contextlib.AbstractAsyncContextManager[Rig]:
    return _behind_a_contactor(WatlowHeater, WatlowPm(HeaterPlate()), "watlow_pm")


def _output_w(controller: Eurotherm3200 | OmronE5cc | WatlowPm, t_s: float) -> float:
    controller.advance_to(t_s)
    return controller.plate.power_w


@contextlib.asynccontextmanager
async def conveyor(
    loop: VirtualLoop, drive_kind: type[delta_ms300.DeltaMs300] = delta_ms300.DeltaMs300
) -> AsyncIterator[Rig]:
    motor = InductionMotor()
    drive = drive_kind(motor)
    drive.write_holding(delta_ms300.DECELERATION, [100], 0.0)  # a ramp of 1 s from the top, as a short belt would have
    async with modbus(drive) as (link, wire):
        driver = Conveyor(link, 1, load_map("delta_ms300"), hz_max=50.0)
        await driver.identify()
        await driver.configure(1.0)
        await driver.run(30.0)
        for _ in range(20):
            await asyncio.sleep(0.25)
            await driver.poll()

        def stands(t_s: float) -> bool:
            drive.settle(t_s)
            return motor.speed_rpm(t_s) == 0.0

        yield Rig(wire, stands, driver)


@contextlib.asynccontextmanager
async def supply(loop: VirtualLoop) -> AsyncIterator[Rig]:
    stage = DcSupply(DcLoad(10.0))
    async with modbus(RidenSupply(stage)) as (link, wire):
        driver = BenchSupply(link, 1, load_map("riden_rd6006"), volts_max=30.0, amps_max=3.0, contactor="K2")
        await driver.identify()
        await driver.configure()
        await driver.set_output(12.0, 2.0)
        await driver.switch_on()
        yield Rig(wire, lambda _t_s: stage.output.amps == 0.0, driver)


@contextlib.asynccontextmanager
async def stepper(loop: VirtualLoop) -> AsyncIterator[Rig]:
    """A blade on its way over 300 mm at 150 mm/s."""
    axis = LinearAxis("blade", travel_mm=(-5.0, 325.0), position_mm=4.0)
    drive = LeadshineDrive(axis, mm_per_rev=40.0, baud=BAUD)
    async with modbus(drive) as (link, wire):
        driver = StepperDrive(
            link, 1, load_map("leadshine_cs2rs"), name="blade", mm_per_rev=40.0, travel_mm=320.0, speed_mm_s=150.0
        )
        await driver.identify()
        await driver.configure()
        await driver.home()
        moving = asyncio.ensure_future(driver.move_to(300.0))
        await asyncio.sleep(0.5)
        yield Rig(wire, lambda t_s: not axis.moving(t_s), driver)
        moving.cancel()
        await asyncio.gather(moving, return_exceptions=True)


@contextlib.asynccontextmanager
async def roboclaw(loop: VirtualLoop) -> AsyncIterator[Rig]:
    line = make_line(*BOARDS)
    wire = await lay_virtual("wheels", line, baud=line.baud)
    link = await RoboClawLink.open("sim:wheels")
    wheels = RoboClawWheels(link, LAYOUT)
    await wheels.configure(0.5)
    for seq in range(1, 20):
        await cycle(wheels, seq)
    await wheels.drive(speeds(1.0), STRAIGHT, seq=20, valid_until_s=loop.time() + 0.4)
    yield Rig(wire, lambda _t_s: all(speed == 0.0 for speed in wheel_speeds(line)), wheels)
    link.close()
    wire.close()


@contextlib.asynccontextmanager
async def modbus_wheels(loop: VirtualLoop) -> AsyncIterator[Rig]:
    rover = Rover()
    async with rover.opened() as (wheels, _, wire):
        await wheels.identify()
        await wheels.configure(0.5)
        for _ in range(20):
            await wheels.poll()
            await rover.command(wheels, loop.time(), 1.0)
            await asyncio.sleep(0.05)
        yield Rig(wire, lambda t_s: rover.wheel_speed(t_s) == 0.0, wheels)


@contextlib.asynccontextmanager
async def rover_power(
    loop: VirtualLoop, unit_kind: type[RoverPowerEmulator] = RoverPowerEmulator
) -> AsyncIterator[Rig]:
    cells = Cells()
    unit = unit_kind(cells, loop, keep_alive_w=KEEP_ALIVE_W, undervoltage_v=22.0)
    async with modbus(unit) as (link, wire):
        driver = RoverPower(link, 1, load_map("moonkiln_rover_power"))
        await driver.identify()
        await driver.configure()
        await driver.set_heater_w(20.0)
        await driver.poll()
        yield Rig(wire, lambda _t_s: cells.heater_w(0.0) <= KEEP_ALIVE_W, driver)

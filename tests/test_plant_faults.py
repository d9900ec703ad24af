"""Does each fault of the plant change the truth as its catalogue says, and is it mended where its window ends?"""

from __future__ import annotations

import asyncio
import binascii
import math
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from modbus_slave_helpers import read, write

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.build import World, build_world
from hil_sim.world.emulators.beam_head import EMISSION, ENERGY, FIRE, POWER, SHUTTER, STATUS, TOKEN
from hil_sim.world.emulators.leadshine import FAULT, HOMED, MOTION_STATUS
from hil_sim.world.emulators.modbus_pdu import ModbusDevice
from hil_sim.world.faults import Fault, FaultSchedule
from hil_sim.world.machine_spec import BedSettings
from hil_sim.world.plant.beam_source import BeamSource, CoolingConfig
from hil_sim.world.plant.gantry import Gantry, Move
from hil_sim.world.plant.heater import HeaterPlate, PlateConfig, PlateFault

COARSE = BedSettings(cell_xy_mm=10.0)
AT_S, FOR_S = 10.0, 20.0
Work = Callable[[World, VirtualLoop], Awaitable[None]]


def in_a_world(work: Work, kind: str, point: str, machine: str = "bench", **args: Any) -> World:
    """`work` in a world in which this fault lasts from AT_S on for FOR_S."""

    async def main(loop: VirtualLoop) -> World:
        fault = Fault(kind, point, at_s=AT_S, for_s=FOR_S, args=args)
        world = await build_world(machine, settings=COARSE, faults=FaultSchedule((fault,)))
        try:
            await work(world, loop)
            struck = [(where, what) for _, where, what in (await world.finish()).strikes]
            assert struck == [(point, kind)]
        finally:
            world.close()
        return world

    return run_virtual(main)


async def until(loop: VirtualLoop, time_s: float) -> None:
    await asyncio.sleep(time_s - loop.time())


def one(device: ModbusDevice, register: int, now_s: float) -> int:
    return read(device, register, 1, now_s)[0]


def lit(world: World, now_s: float, power_dw: int = 1000) -> None:
    """The head armed and fired, as a host does it."""
    head = world.beam_head
    for register, value in ((POWER, power_dw), (SHUTTER, 1), (TOKEN, 7), (FIRE, 1)):
        write(head, register, value, now_s)


def move(x_mm: float, y_mm: float = 0.0, *, start: tuple[float, float] = (0.0, 0.0)) -> Move:
    return Move((*start, 0.0), (x_mm, y_mm, 0.0), 0.0, 50.0, 0.0, 500.0, 50.0, 1.0)


# -- the gantry


def test_an_axis_that_lost_steps_stands_off_until_it_is_homed() -> None:
    gantry = Gantry(frame_mm=((0.0, 0.0, 0.0), (250.0, 150.0, 100.0)))
    end_s = gantry.run(0.0, move(20.0))
    gantry.lose_steps(end_s, 0, -1.5)
    end_s = gantry.run(end_s, move(40.0, start=(20.0, 0.0)))
    assert gantry.position_at(end_s) == (38.5, 0.0, 0.0) and gantry.controller_at(end_s) == (40.0, 0.0, 0.0)
    end_s = gantry.run(end_s, move(1.5, start=(40.0, 0.0)))
    gantry.datum((0.0, 0.0, 0.0))  # its switch is met
    assert gantry.position_at(end_s) == (0.0, 0.0, 0.0) == gantry.controller_at(end_s)


def test_a_stalled_axis_takes_no_part_in_moves() -> None:
    gantry = Gantry(frame_mm=((0.0, 0.0, 0.0), (250.0, 150.0, 100.0)))
    gantry.stalled.add(0)
    end_s = gantry.run(0.0, move(30.0, 40.0))
    assert gantry.position_at(end_s) == (0.0, 40.0, 0.0)
    alone_s = gantry.run(end_s, move(60.0, 40.0, start=(30.0, 40.0)))
    assert alone_s > end_s and gantry.position_at(alone_s) == (0.0, 40.0, 0.0)  # it hums for the move's time
    gantry.stalled.clear()
    end_s = gantry.run(alone_s, move(70.0, 40.0, start=(60.0, 40.0)))
    assert gantry.position_at(end_s) == (10.0, 40.0, 0.0)


def test_a_move_that_a_loss_makes_longer_or_shorter_takes_the_controllers_time() -> None:
    for mm in (-1.0, 1.0):
        gantry, other = Gantry(), Gantry()
        gantry.lose_steps(0.0, 0, mm)
        short = Move((0.0, 0.0, 0.0), (0.2, 0.0, 0.0), 0.0, 10.0, 0.0, 500.0, 50.0, 1.0)
        assert gantry.run(0.0, short) == other.run(0.0, short)
        assert gantry.rest_mm == (pytest.approx(0.2 + mm), 0.0, 0.0)


def test_an_axis_with_play_lags_where_it_turns_round() -> None:
    gantry = Gantry()
    gantry.play_mm[0] = 0.3
    end_s = gantry.run(0.0, move(20.0))
    assert gantry.position_at(end_s)[0] == 20.0
    end_s = gantry.run(end_s, move(10.0, start=(20.0, 0.0)))
    assert gantry.position_at(end_s)[0] == pytest.approx(10.3)
    end_s = gantry.run(end_s, move(15.0, start=(10.0, 0.0)))
    assert gantry.position_at(end_s)[0] == pytest.approx(15.0)


G28_CRC = b"N1 G28*%05d\n" % binascii.crc_hqx(b"N1 G28", 0)


@pytest.mark.parametrize(("machine", "line"), [("bench", b"G28\n"), ("bench_grbl", b"$H\n"), ("bench_rrf", G28_CRC)])
def test_a_shifted_switch_makes_the_next_homing_wrong(machine: str, line: bytes) -> None:
    async def main(loop: VirtualLoop, at_s: float) -> tuple[float, float]:
        fault = Fault("wrong_home", "motion.axis", at_s=at_s, for_s=1e4, args={"mm": 2.0})
        world = await build_world(machine, settings=COARSE, faults=FaultSchedule((fault,)))
        try:
            session = world.motion_board.attach(lambda data: None)
            await asyncio.sleep(5.0)
            session.received(line)
            await asyncio.sleep(60.0)
            true_mm, told_mm = world.gantry.position_at(loop.time()), world.gantry.controller_at(loop.time())
            return true_mm[0] - told_mm[0], true_mm[1] - told_mm[1]
        finally:
            world.close()

    x_mm, y_mm = run_virtual(lambda loop: main(loop, 1000.0))
    wrong_x_mm, wrong_y_mm = run_virtual(lambda loop: main(loop, 1.0))
    assert (wrong_x_mm - x_mm, wrong_y_mm - y_mm) == (pytest.approx(2.0, abs=0.05), pytest.approx(0.0, abs=0.05))


@pytest.mark.parametrize("kind", ["missed_steps", "stall_axis", "backlash"])
def test_faults_of_the_gantry_reach_the_axis_that_they_name(kind: str) -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        gantry = world.gantry
        before = gantry.controller_at(loop.time())[1]
        await until(loop, AT_S + 1.0)
        now = {
            "missed_steps": before - gantry.controller_at(loop.time())[1],
            "stall_axis": float(gantry.stalled == {1}),
            "backlash": gantry.play_mm[1],
        }
        assert now[kind] != 0.0
        await until(loop, AT_S + FOR_S + 1.0)
        assert not gantry.stalled and not any(gantry.play_mm)

    in_a_world(work, kind, "motion.axis", axis="y")


# -- recoater and piston


def test_a_jam_stops_the_blade_and_its_drive_alarms() -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        await until(loop, AT_S - 0.5)
        world.blade.move(loop.time(), 300.0, 100.0, 1000.0, 1000.0)
        await asyncio.sleep(3.0)
        assert world.recoater.blade_x_mm(loop.time()) == pytest.approx(125.0)
        assert one(world.drives["recoater"], MOTION_STATUS, loop.time()) & FAULT
        world.blade.move(loop.time(), 10.0, 100.0, 1000.0, 1000.0)  # back it may go
        await asyncio.sleep(3.0)
        assert world.blade.position_at(loop.time()) == pytest.approx(10.0)
        await until(loop, AT_S + FOR_S + 1.0)
        world.blade.move(loop.time(), 300.0, 100.0, 1000.0, 1000.0)
        await asyncio.sleep(5.0)
        assert world.blade.position_at(loop.time()) == pytest.approx(300.0)

    in_a_world(work, "jam", "recoater.blade")


def test_a_slipping_piston_leaves_the_plate_higher_than_its_drive_says() -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        world.piston.move(loop.time(), 2.0, 2.0, 100.0, 100.0)
        await until(loop, AT_S - 1.0)
        assert world.recoater.plane_drop_mm(loop.time()) == pytest.approx(2.0)
        for time_s in (AT_S + 1.0, AT_S + FOR_S + 1.0):  # it does not slip back
            await until(loop, time_s)
            assert world.recoater.plane_drop_mm(loop.time()) == pytest.approx(1.6)
            assert world.piston.position_at(loop.time()) == pytest.approx(2.0)

    in_a_world(work, "piston_slip", "piston.axis", mm=0.4)


def test_a_streak_is_a_thin_band_that_one_more_pass_fills() -> None:
    async def main(loop: VirtualLoop) -> list[list[tuple[float, float]]]:
        fault = Fault("streak", "recoater.feed", at_event=0, args={"x_mm": 43.0, "width_mm": 14.0})
        world = await build_world("bench", settings=COARSE, faults=FaultSchedule((fault,)))
        thin = []
        try:
            world.blade.move(loop.time(), 0.0, 100.0, 1000.0, 1000.0)
            world.piston.move(loop.time(), 1.0, 2.0, 100.0, 100.0)
            for _ in range(2):
                await asyncio.sleep(5.0)
                world.blade.move(loop.time(), 310.0, 100.0, 1000.0, 1000.0)
                await asyncio.sleep(5.0)
                world.recoater.advance_to(loop.time())
                strips = [s for s in world.recoater.last_pass if s.fill_fraction < 1.0]
                thin.append([(s.x_from_mm, s.x_to_mm) for s in strips])
                world.blade.move(loop.time(), 0.0, 100.0, 1000.0, 1000.0)
        finally:
            world.close()
        return thin

    assert run_virtual(main) == [[(43.0, 50.0), (50.0, 57.0)], []]


# -- the beam


@pytest.mark.parametrize(("kind", "args", "left"), [("beam_weak", {"fraction": 0.6}, 0.6), ("beam_dead", {}, 0.0)])
def test_the_source_gives_what_its_fault_leaves(kind: str, args: dict[str, float], left: float) -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        head = world.beam_head
        lit(world, loop.time())
        assert head.capability_w == 100.0
        for _ in range(24):  # it is fed
            await asyncio.sleep(0.5)
            write(head, TOKEN, 7, loop.time())
        assert loop.time() > AT_S and head.capability_w == pytest.approx(100.0 * left)
        assert one(head, POWER, loop.time()) == 1000  # the head does not know
        await until(loop, AT_S + FOR_S + 1.0)
        write(head, TOKEN, 0, loop.time())
        lit(world, loop.time())
        assert head.capability_w == 100.0

    in_a_world(work, kind, "beam.source", **args)


def test_a_source_that_is_stuck_on_shines_wherever_nothing_was_asked_for() -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        head = world.beam_head
        await until(loop, AT_S + 1.0)
        assert one(head, EMISSION, loop.time()) == 0  # behind the shutter
        opened_s = loop.time()
        write(head, SHUTTER, 1, opened_s)
        assert one(head, EMISSION, loop.time()) == 400 and world.beam_head.capability_w == 0.0
        await asyncio.sleep(2.0)
        write(head, SHUTTER, 0, loop.time())
        assert one(head, EMISSION, loop.time()) == 0
        truth = await world.finish()
        assert truth.beam_energy_j == pytest.approx(80.0)
        assert [d.energy_j for d in truth.dwells] == [pytest.approx(80.0)]
        assert truth.dwells[0].at_mm[:2] == (61.0, 43.0)  # where the gantry stands
        assert not truth.beam_live_at_end

    in_a_world(work, "beam_stuck_on", "beam.source", watts=40.0)


def test_since_when_a_source_is_bright_and_a_heater_heats_is_told() -> None:
    async def main(loop: VirtualLoop) -> list[tuple[float | None, float | None]]:
        faint, strong = (Fault("beam_stuck_on", "beam.source", at_s=t, for_s=f, args={"watts": w})
                         for t, f, w in ((2.0, 90.0, 10.0), (6.0, 20.0, 50.0)))  # fmt: skip
        welded = [Fault("heater_stuck_on", "heater.output", at_s=t, for_s=3.0) for t in (4.0, 9.0)]
        world = await build_world("bench", settings=COARSE, faults=FaultSchedule((faint, *welded, strong)))
        told = []
        try:
            for t_s in (3.0, 5.0, 8.0, 10.0, 20.0, 30.0):
                await until(loop, t_s)
                truth = await world.finish()
                told.append((truth.bright_since_s, truth.heated_since_s))
        finally:
            world.close()
        return told

    assert run_virtual(main) == [(None, None), (None, 4.0), (6.0, None), (6.0, 9.0), (6.0, None), (None, None)]


def test_a_stuck_shutter_stays_and_follows_when_it_comes_free() -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        head = world.beam_head
        await until(loop, AT_S + 1.0)
        write(head, SHUTTER, 1, loop.time())
        assert one(head, SHUTTER, loop.time()) == 0
        await until(loop, AT_S + FOR_S + 1.0)
        assert one(head, SHUTTER, loop.time()) == 1

    in_a_world(work, "shutter_stuck", "beam.shutter")


def test_the_head_counts_the_energy_that_leaves_it() -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        head = world.beam_head
        await until(loop, AT_S + 1.0)
        write(head, TOKEN, 7, loop.time())
        write(head, SHUTTER, 1, loop.time())
        await asyncio.sleep(0.5)
        assert read(head, ENERGY, 2, loop.time()) == [0, 200]  # 20 J in tenths
        write(head, SHUTTER, 0, loop.time())
        write(head, TOKEN, 0, loop.time())
        assert read(head, ENERGY, 2, loop.time()) == [0, 200]
        write(head, TOKEN, 8, loop.time())
        assert read(head, ENERGY, 2, loop.time()) == [0, 0]

    in_a_world(work, "beam_stuck_on", "beam.source", watts=40.0)


def test_a_head_without_water_warms_derates_and_trips() -> None:
    source = BeamSource(CoolingConfig())
    source.move_shutter(True)
    source.water_runs = False
    given, joules = [], 0.0
    for second in range(1, 400):
        joules += source.gated_w(100.0)
        source.warm(float(second), joules)
        given.append(source.gated_w(100.0))
        if source.is_too_hot:
            break
    assert source.is_too_hot and given[0] == 100.0 and given[-1] == pytest.approx(50.0)
    assert all(later <= earlier for earlier, later in pairwise(given))
    source.water_runs = True
    source.warm(float(len(given)) + 120.0, joules)
    assert source.is_cool and source.gated_w(100.0) == 100.0


def test_a_hot_head_switches_itself_off_and_says_so_until_it_is_cool() -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        await until(loop, AT_S + 1.0)
        source = world.beam_head.source
        source.temp_c = 70.0
        await asyncio.sleep(1.0)
        assert one(world.beam_head, STATUS, loop.time()) & 1 << 4
        await until(loop, AT_S + FOR_S + 200.0)
        assert not one(world.beam_head, STATUS, loop.time()) & 1 << 4 and source.is_cool

    in_a_world(work, "chiller_lost", "beam.cooling")


@pytest.mark.parametrize(("kind", "point"), [("door_open", "interlock.door"), ("purge_lost", "interlock.purge")])
def test_an_open_interlock_darkens_the_head_at_once(kind: str, point: str) -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        head = world.beam_head
        await until(loop, AT_S - 0.2)
        lit(world, loop.time())
        await until(loop, AT_S - 0.001)
        assert head.capability_w == 100.0
        await until(loop, AT_S + 0.001)
        assert head.capability_w == 0.0 and not head.armed and not one(head, STATUS, loop.time()) & 1
        await until(loop, AT_S + FOR_S + 1.0)
        assert one(head, STATUS, loop.time()) & 1 and not head.armed

    in_a_world(work, kind, point)


# -- heat and power

SETTLED_S = 1e5


@pytest.mark.parametrize(
    ("fault", "felt_c", "true_c"),
    [
        (PlateFault(), 120.0, 120.0),
        (PlateFault(stuck_on=True), 420.0, 420.0),
        (PlateFault(is_open=True), 20.0, 20.0),
        (PlateFault(supply=0.5), 45.0, 45.0),
        (PlateFault(extra_w=200.0), 220.0, 220.0),
        (PlateFault(sensor_off=True), 20.0, 120.0),
        (PlateFault(loss_share=1 / 3), 220.0, 220.0),
        (PlateFault(ambient_c=-20.0), 90.0, 90.0),
    ],
)
def test_what_fails_about_the_plate_changes_its_balance(fault: PlateFault, felt_c: float, true_c: float) -> None:
    """2 W/K in all, 0.5 of them into a bed at 20 degC; 200 W asked for."""
    plate = HeaterPlate(PlateConfig(), t_s=0.0)
    plate.set_power(0.0, 200.0)
    plate.fail(10.0, fault)
    assert plate.temp_c(SETTLED_S) == pytest.approx(true_c)
    assert plate.sensor_c(SETTLED_S) == pytest.approx(felt_c)
    plate.advance_to(SETTLED_S)
    gained_j = plate.drawn_j + plate.extra_j - plate.lost_j - plate.to_bed_j
    assert gained_j == pytest.approx(plate.config.heat_capacity_j_k * (true_c - 20.0), rel=1e-6, abs=1e-3)
    plate.fail(SETTLED_S, PlateFault())
    assert plate.sensor_c(2 * SETTLED_S) == pytest.approx(120.0)


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        ("heater_stuck_on", "heater.output"),
        ("heater_open", "heater.output"),
        ("runaway", "plate.heat"),
        ("sensor_off_block", "plate.sensor"),
        ("cooling_lost", "plate.losses"),
        ("ambient", "bed.ambient"),
    ],
)
def test_faults_of_heat_reach_the_plate_and_are_mended(kind: str, point: str) -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        await until(loop, AT_S + 1.0)
        assert world.plate._failing != PlateFault()
        await until(loop, AT_S + FOR_S + 1.0)
        assert world.plate._failing == PlateFault()

    in_a_world(work, kind, point)


def test_the_meter_sees_a_heater_that_is_stuck_on() -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        before_w = world.meter.power_w(loop.time())
        await until(loop, AT_S + 1.0)
        assert world.meter.power_w(loop.time()) == pytest.approx(before_w + 800.0)

    in_a_world(work, "heater_stuck_on", "heater.output")


def test_a_sagging_supply_weakens_beam_and_heater() -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        await until(loop, AT_S + 1.0)
        lit(world, loop.time())
        assert world.beam_head.capability_w == pytest.approx(70.0)
        assert world.plate._failing == PlateFault(supply=0.7)
        await until(loop, AT_S + FOR_S + 0.1)
        assert world.plate._failing == PlateFault() and world.beam_head.source.supply == 1.0

    in_a_world(work, "supply_sag", "power.feeder", fraction=0.7)


@pytest.mark.parametrize("kind", ["brownout", "outage"])
def test_a_brownout_resets_what_hangs_on_the_feeder(kind: str) -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        head, drive = world.beam_head, world.drives["recoater"]
        said: list[bytes] = []
        session = world.wire("motion").emulator.attach(said.append)
        await until(loop, AT_S - 0.2)
        lit(world, loop.time())
        drive._homed = True
        await until(loop, AT_S + 1.0)
        assert head.capability_w == 0.0 and not head.armed and not one(head, SHUTTER, loop.time())
        assert not one(drive, MOTION_STATUS, loop.time()) & HOMED
        said.clear()
        session.received(b"M115\n")
        with pytest.raises(ConnectionRefusedError):
            world.wire("camera").emulator.attach(lambda data: None)
        await until(loop, AT_S + FOR_S - 0.1)
        assert said == []
        await until(loop, AT_S + FOR_S + 10.0)
        assert b"start" in b"".join(said)
        said.clear()
        session.received(b"M115\n")
        await asyncio.sleep(1.0)
        assert b"FIRMWARE_NAME" in b"".join(said)

    in_a_world(work, kind, "power.feeder")


G1_CRC = b"".join(
    b"%s*%05d\n" % (line, binascii.crc_hqx(line, 0)) for line in (b"N1 M564 S0 H0", b"N2 G91", b"N3 G1 X100 F1200")
)


@pytest.mark.parametrize("kind", ["brownout", "outage"])
@pytest.mark.parametrize(
    ("machine", "lines"),
    [
        ("bench", b"G91\nG1 X100 F1200\n"),
        ("bench_grbl", b"$X\n$20=0\nG91\nG1 X100 F1200\n"),
        ("bench_rrf", G1_CRC),
        ("bench", b"G28\n"),
        ("bench_grbl", b"$H\n"),  # no move of its planner
        ("bench_rrf", G28_CRC),
    ],
    ids=["marlin", "grbl", "rrf", "marlin homing", "grbl homing", "rrf homing"],
)
def test_a_gantry_without_power_stands_where_it_was(machine: str, lines: bytes, kind: str) -> None:
    async def work(world: World, loop: VirtualLoop) -> None:
        async def place_at(time_s: float) -> tuple[float, float, float]:
            await until(loop, time_s)
            return world.gantry.position_at(loop.time())

        session = world.motion_board.attach(lambda data: None)
        await until(loop, AT_S - 0.16)
        session.received(lines)
        earlier, before = await place_at(AT_S - 0.02), await place_at(AT_S - 0.01)
        stood = await place_at(AT_S + 0.001)
        step_mm = math.dist(earlier, before)
        assert step_mm > 0.05, "it is to be on its way"
        assert 0.5 * step_mm < math.dist(before, stood) < 1.5 * step_mm, "it went on until the power was gone"
        for later_s in (0.01, 0.5, FOR_S - 0.5, FOR_S + 10.0):
            assert await place_at(AT_S + later_s) == stood, later_s

    in_a_world(work, kind, "power.feeder", machine)

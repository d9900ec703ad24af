"""Do drivers and maps, and the devices that others emulated from the manuals, understand each other?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from firmware_bridge.devices.conveyor import Conveyor
from firmware_bridge.devices.instrument import Instrument
from firmware_bridge.devices.omron_heater import OmronHeater
from firmware_bridge.devices.register_access import RegisterAccess
from firmware_bridge.devices.supply import BenchSupply
from firmware_bridge.devices.watlow_heater import WatlowHeater
from firmware_bridge.errors import NotReady, WrongModel
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import load_map
from firmware_bridge.signals import Quality
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.delta_ms300 import DeltaMs300
from hil_sim.world.emulators.kipp_zonen_smp11 import KippZonenSmp11
from hil_sim.world.emulators.modbus_pdu import ModbusDevice
from hil_sim.world.emulators.modbus_slave import RtuBus
from hil_sim.world.emulators.omron_e5cc import OmronE5cc
from hil_sim.world.emulators.riden_rd6006 import RidenSupply
from hil_sim.world.emulators.watlow_pm import WatlowPm
from hil_sim.world.plant.dc_supply import DcLoad, DcSupply
from hil_sim.world.plant.heater import HeaterPlate
from hil_sim.world.plant.motor import InductionMotor
from hil_sim.world.wire import lay_virtual

BAUD = 19_200


def meeting(device: ModbusDevice, work: Callable[[ModbusLink, VirtualLoop], Awaitable[None]]) -> RtuBus:
    """`work` with a link to the device as unit 1 of a bus in virtual time; the bus, to be asked what it has heard."""
    bus = RtuBus({1: device}, baud=BAUD)

    async def main(loop: VirtualLoop) -> None:
        await lay_virtual("bus", bus, baud=BAUD)
        link = await ModbusLink.open("sim:bus", framing="rtu")
        try:
            await work(link, loop)
            assert link.counters.timeouts == link.counters.mismatches == link.counters.frame_errors == 0
        finally:
            link.close()

    run_virtual(main)
    assert bus.counters.bad_crc == bus.counters.voided == bus.counters.hasty == bus.counters.crowded == 0
    return bus


def all_good(readings: dict[str, Any]) -> dict[str, float]:
    assert all(reading.quality is Quality.GOOD for reading in readings.values()), readings
    return {name: reading.value for name, reading in readings.items()}


@pytest.mark.parametrize("kind", ["omron", "watlow"])
def test_a_bed_is_heated_and_made_safe(kind: str) -> None:
    plate = HeaterPlate()
    emulated = OmronE5cc(plate) if kind == "omron" else WatlowPm(plate)
    driver = OmronHeater if kind == "omron" else WatlowHeater
    table = load_map("omron_e5cc" if kind == "omron" else "watlow_pm")

    async def work(link: ModbusLink, loop: VirtualLoop) -> None:
        heater = driver(link, 1, table, temp_c_max=200.0, contactor="K1")
        await heater.identify()
        await heater.configure()
        await heater.set_temp_c(60.0)
        for _ in range(1800):
            await asyncio.sleep(1.0)
            temp_c = all_good(await heater.poll())["bed_temp_c"]
        assert temp_c == pytest.approx(60.0, abs=1.5)
        assert temp_c == pytest.approx(plate.temp_c(loop.time()), abs=0.3)
        await heater.safe()
        for _ in range(1800):
            await asyncio.sleep(1.0)
            temp_c = all_good(await heater.poll())["bed_temp_c"]
        assert temp_c < 40.0

    meeting(emulated, work)
    assert emulated.nonvolatile_writes <= 4, "a target that is refreshed must not wear the memory out"


def test_a_conveyor_runs_both_ways_and_stops_when_its_host_is_gone() -> None:
    motor = InductionMotor()
    emulated = DeltaMs300(motor)

    async def work(link: ModbusLink, loop: VirtualLoop) -> None:
        conveyor = Conveyor(link, 1, load_map("delta_ms300"), hz_max=50.0)
        await conveyor.identify()
        await conveyor.configure(1.0)
        for reverse in (False, True):
            await conveyor.run(30.0, reverse=reverse)
            for _ in range(40):
                await asyncio.sleep(0.5)
                values = all_good(await conveyor.poll())
            assert values["output_hz"] == pytest.approx(30.0, abs=0.1)
            await conveyor.stop()
            for _ in range(40):
                await asyncio.sleep(0.5)
                await conveyor.poll()
        await conveyor.run(30.0)
        await asyncio.sleep(30.0)
        emulated.settle(loop.time())
        assert emulated.watchdog_trips == 1
        with pytest.raises(NotReady):
            await conveyor.run(30.0)
        await conveyor.clear_fault()
        await conveyor.run(10.0)

    meeting(emulated, work)


def test_a_supply_feeds_its_load() -> None:
    stage = DcSupply(DcLoad(10.0))
    emulated = RidenSupply(stage)

    async def work(link: ModbusLink, loop: VirtualLoop) -> None:
        supply = BenchSupply(link, 1, load_map("riden_rd6006"), contactor="K2", volts_max=30.0, amps_max=3.0)
        await supply.identify()
        await supply.configure()
        await supply.set_output(12.0, 2.0)
        await supply.switch_on()
        await asyncio.sleep(1.0)
        values = all_good(await supply.poll())
        assert values["output_v"] == pytest.approx(12.0, abs=0.05) and values["output_a"] == pytest.approx(
            1.2, abs=0.01
        )
        await supply.safe()
        await asyncio.sleep(1.0)
        assert all_good(await supply.poll())["output_a"] == pytest.approx(0.0, abs=0.01)

    meeting(emulated, work)


def test_a_pyranometer_tells_the_sun() -> None:
    async def work(link: ModbusLink, loop: VirtualLoop) -> None:
        meter = Instrument(link, 1, load_map("kipp_smp11"), name="sun")
        await meter.identify()
        await asyncio.sleep(5.0)
        values = all_good(await meter.poll())
        assert values["irradiance_w_m2"] == pytest.approx(812.0, abs=1.0)

    meeting(KippZonenSmp11(lambda _: 812.0), work)


@pytest.mark.parametrize(
    "name", ["omron_e5cc", "watlow_pm", "delta_ms300", "riden_rd6006", "kipp_smp11", "eurotherm_3200"]
)
def test_another_device_is_found_out_before_anything_is_done(name: str) -> None:
    others: dict[str, ModbusDevice] = {
        "omron_e5cc": OmronE5cc(HeaterPlate()),
        "watlow_pm": WatlowPm(HeaterPlate()),
        "delta_ms300": DeltaMs300(InductionMotor()),
        "riden_rd6006": RidenSupply(DcSupply(DcLoad(10.0))),
        "kipp_smp11": KippZonenSmp11(lambda _: 800.0),
    }
    for other, device in others.items():
        if other == name:
            continue

        async def work(link: ModbusLink, loop: VirtualLoop) -> None:
            with pytest.raises(WrongModel):
                await RegisterAccess(link, 1, load_map(name), "one", contactor="K1").identify()

        meeting(device, work)

"""Does the rover's power unit tell the truth, keep its heater alive without a host, and wake again?"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from rover_modbus_helpers import Cells

from firmware_bridge.devices.power import RoverPower
from firmware_bridge.errors import LinkError, LinkTimeout, NotReady, Rejected, Unverified, WrongModel
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import load_map
from firmware_bridge.signals import LimitState, Quality
from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.modbus_pdu import ModbusDevice, Refusal
from hil_sim.world.emulators.modbus_slave import RtuBus
from hil_sim.world.emulators.rover_power import RoverPowerEmulator
from hil_sim.world.faults.schedule import Fault, FaultSchedule
from hil_sim.world.wire import lay_virtual

KEEP_ALIVE_W = 6.0


def virtually(main: Callable[[VirtualLoop], Awaitable[None]]) -> None:
    run_virtual(main)


class Place:
    """A unit on a bus, and the host's device for it."""

    def __init__(self, device: RoverPower, unit: RoverPowerEmulator, cells: Cells, bus: RtuBus) -> None:
        self.device, self.unit, self.cells, self.bus = device, unit, cells, bus


@contextlib.asynccontextmanager
async def placed(loop: VirtualLoop, faults: FaultSchedule | None = None) -> AsyncIterator[Place]:
    cells = Cells()
    unit = RoverPowerEmulator(cells, loop, keep_alive_w=KEEP_ALIVE_W, undervoltage_v=22.0)
    bus = RtuBus({9: unit}, baud=19200)
    wire = await lay_virtual("power", bus, baud=19200, faults=faults)
    link = await ModbusLink.open(f"{wire.url}?baud=19200", framing="rtu", timeout_s=0.1)
    try:
        yield Place(RoverPower(link, 9, load_map("moonkiln_rover_power")), unit, cells, bus)
    finally:
        link.close()
        wire.close()


# Registers as the contract has them, independent of map and emulator: (value in the world, raw, reading, its value)
def test_every_register_is_what_the_contract_says() -> None:
    async def main(loop: VirtualLoop) -> None:
        async with placed(loop) as here:
            here.cells.amps, here.cells.temp, here.cells.array_a = -2.5, -17.3, 0.25
            raw = here.unit.read_holding(0, 17, loop.time())
            minus = 0x10000
            assert list(raw) == [0x4D50, 1, 2840, minus - 250, 8000, 10000, minus - 173, 3200, 25, 80, 60, 0b100001,
                                 60, 5000, 0, 0, 1]  # fmt: skip
            await here.device.identify()
            readings = await here.device.poll()
            values = {name: reading.value for name, reading in readings.items()}
            assert values == pytest.approx(
                {
                    "battery_v": 28.4, "battery_a": -2.5, "soc_fraction": 0.8, "capacity_wh": 1000.0,
                    "battery_temp_c": -17.3, "solar_v": 32.0, "solar_a": 0.25, "solar_w": 8.0, "heater_w": 6.0,
                    "heater_set_w": 6.0, "watchdog_ms": 5000, "status": 0b100001, "undervoltage": 0,
                    "sensor_fault": 0, "watchdog_tripped": 0, "energy_wh": 800.0,
                }
            )  # fmt: skip
            assert {reading.quality for reading in readings.values()} == {Quality.GOOD}
            assert readings["battery_temp_c"].limit is LimitState.WARN  # below -10
            assert next(signal.name for signal in here.device.poll_signals) == "battery_v"

    virtually(main)


def test_a_low_battery_and_a_dead_sensor_are_told() -> None:
    async def main(loop: VirtualLoop) -> None:
        async with placed(loop) as here:
            here.cells.volts, here.cells.charge, here.cells.temp = 21.0, 0.08, math.nan
            readings = await here.device.poll()
            assert readings["status"].limit is LimitState.ALARM and readings["undervoltage"].value == 1
            assert readings["soc_fraction"].limit is LimitState.ALARM
            assert readings["battery_temp_c"].quality is Quality.BAD and readings["sensor_fault"].value == 1
            here.cells.volts, here.cells.charge, here.cells.temp = 28.0, math.nan, 1.0
            readings = await here.device.poll()
            assert readings["soc_fraction"].quality is readings["energy_wh"].quality is Quality.BAD

    virtually(main)


def test_the_heater_holds_while_somebody_polls_and_falls_back_when_nobody_does() -> None:
    async def main(loop: VirtualLoop) -> None:
        async with placed(loop) as here:
            assert here.cells.heating == [(pytest.approx(0.0), KEEP_ALIVE_W)]
            await here.device.configure(watchdog_ms=2000)
            await here.device.set_heater_w(25.0)
            for _ in range(10):
                await asyncio.sleep(1.0)
                readings = await here.device.poll()
            assert here.cells.heating[-1][1] == 25.0 and here.unit.watchdog_trips == 0
            assert readings["heater_w"].value == 25.0
            last_s = loop.time()
            await asyncio.sleep(5.0)  # nobody asks: its own timer strikes
            fell_s, power_w = here.cells.heating[-1]
            assert power_w == KEEP_ALIVE_W and 1.9 < fell_s - last_s <= 2.0 and here.unit.watchdog_trips == 1
            await here.device.safe()
            readings = await here.device.poll()  # tells of it, and heats no more by itself
            assert readings["watchdog_tripped"].value == 1 and readings["status"].limit is LimitState.WARN
            assert readings["heater_set_w"].value == KEEP_ALIVE_W and here.unit.watchdog_trips == 1
            await here.device.set_heater_w(10.0)
            assert (await here.device.poll())["watchdog_tripped"].value == 0

    virtually(main)


def test_safe_gives_the_heater_back_within_the_watchdog() -> None:
    async def main(loop: VirtualLoop) -> None:
        async with placed(loop) as here:
            await here.device.configure()
            await here.device.set_heater_w(100.0)
            await here.device.safe()
            await here.device.safe()
            for _ in range(6):
                await here.device.poll()
                await asyncio.sleep(1.0)
            assert here.cells.heating[-1][1] == KEEP_ALIVE_W and here.unit.load_on

    virtually(main)


def test_a_rover_that_sleeps_wakes_when_its_time_has_come() -> None:
    async def main(loop: VirtualLoop) -> None:
        async with placed(loop) as here:
            await here.device.configure()
            asked_s = loop.time()
            night_s = 17.3 * 86400
            await here.device.hibernate(night_s)
            assert here.unit.load_on  # the host has 5 s to close its files
            assert (await here.device.poll())["status"].value == 0b000001
            await asyncio.sleep(6.0)
            assert here.cells.loads[-1][1] is False  # its own timer, though nobody asked
            assert not here.unit.load_on and (await here.device.poll())["status"].value == 0b000010
            await asyncio.sleep(night_s)
            assert here.cells.loads[-1][1] is True and here.unit.load_on
            (off_s, off), (on_s, on) = here.cells.loads
            assert (off, on) == (False, True) and 5.0 <= off_s - asked_s < 5.5
            assert on_s - off_s == pytest.approx(night_s, abs=1e-3)
            assert here.unit.hibernations == 1

    virtually(main)


def test_a_hibernation_can_be_called_off_and_ended() -> None:
    async def main(loop: VirtualLoop) -> None:
        async with placed(loop) as here:
            await here.device.hibernate(3600)
            await here.device.configure()  # a host that starts anew wants to live
            await asyncio.sleep(30.0)
            assert here.unit.load_on and here.cells.loads == []
            await here.device.hibernate(3600)
            await asyncio.sleep(30.0)
            await here.device.wake()
            assert [on for _, on in here.cells.loads] == [False, True]
            await asyncio.sleep(4000.0)
            assert here.unit.load_on and len(here.cells.loads) == 2

    virtually(main)


def test_no_sleep_without_a_wake_time_or_a_battery() -> None:
    async def main(loop: VirtualLoop) -> None:
        async with placed(loop) as here:
            for wake_s in (math.nan, math.inf, 0.0, 59.0, 4e6):
                with pytest.raises(Rejected, match="wake_after_s"):
                    await here.device.hibernate(wake_s)
            with pytest.raises(Refusal):
                here.unit.write_holding(16, [0], loop.time())
            here.cells.volts = 20.0
            with pytest.raises(NotReady, match="Charge it"):
                await here.device.hibernate(3600)
            here.cells.volts, here.cells.charge = 28.0, math.nan
            with pytest.raises(NotReady):
                await here.device.hibernate(3600)
            for power_w in (math.nan, -1.0, 1000.0):
                with pytest.raises(Rejected, match="heater_set_w"):
                    await here.device.set_heater_w(power_w)
            with pytest.raises(Rejected):
                await here.device.configure(watchdog_ms=100)
            await asyncio.sleep(30.0)
            assert here.unit.load_on and here.cells.heating == [(0.0, KEEP_ALIVE_W)]

    virtually(main)


@pytest.mark.parametrize(
    "address, values",
    [(0, [1]), (11, [0]), (17, [0]), (12, [2001]), (13, [499]), (14, [0]), (15, [100]), (14, [0, 59]), (16, [2]),
     (12, [100, 70000 & 0xFFFF, 0]), (11, [0, 100])],
)  # fmt: skip
def test_what_the_unit_refuses_changes_nothing(address: int, values: list[int]) -> None:
    async def main(loop: VirtualLoop) -> None:
        async with placed(loop) as here:
            before = list(here.unit.read_holding(0, 17, 0.0))
            with pytest.raises(Refusal):
                here.unit.write_holding(address, values, loop.time())
            assert list(here.unit.read_holding(0, 17, 0.0)) == before
            with pytest.raises(Refusal):
                here.unit.read_holding(10, 8, 0.0)

    virtually(main)


class Stuck(RoverPowerEmulator):
    """Says yes to a wake time and keeps another."""

    def write_holding(self, address, values, t_s):
        super().write_holding(address, [0, 60] if address == 14 else values, t_s)


def test_a_value_that_reads_back_differently_never_cuts_the_load() -> None:
    async def main(loop: VirtualLoop) -> None:
        async with placed(loop) as here:
            here.bus.units[9] = stuck = Stuck(here.cells, loop, keep_alive_w=KEEP_ALIVE_W)
            with pytest.raises(Unverified, match="reads back as 60 s"):
                await here.device.hibernate(3600)
            await asyncio.sleep(30.0)
            assert stuck.load_on

    virtually(main)


def test_another_device_at_its_address_is_told() -> None:
    async def main(loop: VirtualLoop) -> None:
        async with placed(loop) as here:
            here.bus.units[9] = Other()
            with pytest.raises(WrongModel, match="moonkiln rover power unit"):
                await here.device.identify()
            del here.bus.units[9]
            with pytest.raises(LinkTimeout):
                await here.device.poll()

    virtually(main)


class Other(ModbusDevice):
    """Zero wherever it is asked."""

    def read_holding(self, address: int, count: int, t_s: float) -> list[int]:
        return [0] * count


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_bus_gives_true_values_or_errors(seed: int) -> None:
    async def main(loop: VirtualLoop) -> None:
        rng = random.Random(seed)
        faults = FaultSchedule(
            tuple(
                Fault(rng.choice(["flip", "drop", "duplicate"]), f"power.to_{side}", at_chunk=rng.randrange(20, 400))
                for _ in range(30)
                for side in ("device", "host")
            )
        )
        async with placed(loop, faults) as here:
            await here.device.configure()
            await here.device.set_heater_w(25.0)
            told = 0
            for _ in range(80):
                await asyncio.sleep(0.3)
                with contextlib.suppress(LinkError):
                    readings = await here.device.poll()
                    told += 1
                    assert readings["battery_v"].value == pytest.approx(28.4)
                    assert readings["heater_set_w"].value == pytest.approx(25.0)
                assert here.cells.heating[-1][1] == 25.0
            assert told > 60 and here.unit.watchdog_trips == 0 and here.unit.load_on

    run_virtual(main, seed=seed)

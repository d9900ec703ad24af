"""Do the Modbus devices read back what matters, refuse what must not be, and end every wait?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest
from modbus_link_helpers import FakeSlave, bus

from firmware_bridge.devices.beam import BeamHead
from firmware_bridge.devices.bed_heater import BedHeater
from firmware_bridge.devices.instrument import Instrument
from firmware_bridge.devices.recoater import StepperDrive
from firmware_bridge.errors import LinkTimeout, NotReady, Rejected, Unverified, WrongModel
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import load_map
from firmware_bridge.signals import Quality
from hil_sim.virtual_run import run_virtual


def virtually(main: Callable[[], Awaitable[None]]) -> None:
    run_virtual(lambda loop: main())


class Head:
    """The beam head's rules as far as these tests need them, over two connections to one set of registers."""

    def __init__(self) -> None:
        self.link, self.wire = bus("tcp", delay_s=0.002)
        self.stop_link, self.stop_wire = bus("tcp", delay_s=0.002)
        self.table = {0: 0x4B48, 1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 1, 7: 1000, 8: 0, 9: 0, 10: 0}
        self.writes: list[tuple[str, int, int]] = []
        for wire, where in ((self.wire, "main"), (self.stop_wire, "stop")):
            wire.registers = {1: self.table}
            wire.on_write = lambda unit, address, value, where=where: self.wrote(where, address, value)  # type: ignore
        self.device = BeamHead(self.link, self.stop_link, 1, load_map("moonkiln_beam_head"))

    def wrote(self, where: str, address: int, value: int) -> None:
        self.writes.append((where, address, value))
        if address == 3:
            self.table[6] = self.table[6] & ~0b1010 | (0b10 if value else 0)
        if address == 4 or address == 8:
            self.table[6] = self.table[6] & ~0b100 | (0b100 if address == 4 and value else 0)
        if address == 8 and value:
            self.table[6] &= ~0b10
            self.table[3] = self.table[2] = self.table[4] = 0


def test_beam_arm_fire_feed_and_stop() -> None:
    async def main() -> None:
        head = Head()
        beam = head.device
        await beam.identify()
        with pytest.raises(NotReady, match="watchdog"):
            await beam.arm(7)
        await beam.configure(watchdog_ms=800)
        assert head.table[7] == 800
        await beam.feed()
        assert head.writes[-1] == ("main", 7, 800)
        await beam.set_power_w(123.4)
        await beam.set_shutter(True)
        await beam.arm(7)
        await beam.fire(True)
        await beam.feed()
        assert head.writes[-1] == ("main", 3, 7)
        assert head.table[1] == 1234 and head.table[2] == 1 and await beam.is_armed()
        readings = await beam.poll()
        assert readings["power_w"].value == pytest.approx(123.4) and readings["status"].value == 7
        await beam.stop()
        assert head.writes[-1] == ("stop", 8, 1)
        assert not await beam.is_armed()
        await beam.feed()
        assert head.writes[-1] == ("main", 7, 800), "a stopped head is never re-armed by the feeder"

    virtually(main)


def test_a_head_that_tripped_is_not_re_armed_by_the_feeder() -> None:
    async def main() -> None:
        head = Head()
        await head.device.configure(watchdog_ms=1000)
        await head.device.arm(7)
        head.wire.refuse[1, 3] = 4
        with pytest.raises(Rejected, match="refuses token = 7"):
            await head.device.feed()
        del head.wire.refuse[1, 3]
        await head.device.feed()
        assert head.writes[-1] == ("main", 7, 1000)

    virtually(main)


def test_beam_safe_is_repeatable_and_clears_no_latch() -> None:
    async def main() -> None:
        head = Head()
        beam = head.device
        await beam.configure(watchdog_ms=1000)
        head.table[6] = 0b1001  # tripped
        head.writes.clear()
        await beam.safe()
        await beam.safe()
        assert not any(address == 3 for _, address, _ in head.writes)
        await beam.reset()
        assert head.table[6] == 1

    virtually(main)


def jammed_open() -> Head:
    """A head whose blade stays where it is, open, whatever is written."""
    head = Head()
    honest = head.wire.on_write

    def write(unit: int, address: int, value: int) -> None:
        honest(unit, address, value)
        head.table[2] = 1

    head.wire.on_write = head.stop_wire.on_write = write
    return head


def test_a_shutter_that_does_not_close_keeps_the_rest_of_the_head_from_nothing() -> None:
    async def main() -> None:
        head = jammed_open()
        head.device._watchdog_ms = 1000
        await head.device.set_power_w(100.0)
        await head.device.arm(7)
        with pytest.raises(Unverified, match="shutter"):
            await head.device.safe()
        assert head.table[1] == 0 and not head.table[6] & 0b10, "its power stands, or it is armed still"

    virtually(main)


def test_a_head_that_refuses_one_order_is_given_the_rest() -> None:
    async def main() -> None:
        head = Head()
        await head.device.configure(watchdog_ms=1000)
        await head.device.set_power_w(100.0)
        await head.device.set_shutter(True)
        await head.device.arm(7)
        head.wire.refuse[1, 4] = 4  # fire
        with pytest.raises(Rejected, match="fire"):
            await head.device.safe()
        assert (head.table[1], head.table[2], head.table[6] & 0b10) == (0, 0, 0)

    virtually(main)


def test_a_stop_behind_which_the_shutter_is_open_is_unverified() -> None:
    async def main() -> None:
        with pytest.raises(Unverified, match="shutter stays open"):
            await jammed_open().device.stop()

    virtually(main)


@pytest.mark.parametrize(("bit", "word"), [(0b10, "armed"), (0b100, "firing")])
def test_a_stop_behind_which_the_head_is_live_is_unverified(bit: int, word: str) -> None:
    async def main() -> None:
        head = Head()
        honest = head.stop_wire.on_write

        def write(unit: int, address: int, value: int) -> None:
            honest(unit, address, value)
            head.table[6] |= bit

        head.stop_wire.on_write = write
        with pytest.raises(Unverified, match=f"says that it is {word}"):
            await head.device.stop()

    virtually(main)


@pytest.mark.parametrize("power_w", [-1.0, 200.2, float("nan"), float("inf")])
def test_beam_power_outside_the_range_never_reaches_the_wire(power_w: float) -> None:
    async def main() -> None:
        head = Head()
        with pytest.raises(Rejected):
            await head.device.set_power_w(power_w)
        assert head.writes == []

    virtually(main)


def test_beam_that_lies_is_unverified() -> None:
    async def main() -> None:
        head = Head()
        beam = head.device
        await beam.configure(watchdog_ms=1000)
        honest = head.wire.on_write

        def deaf(unit: int, address: int, value: int) -> None:
            honest(unit, address, value)
            if address in (1, 2):
                head.table[address] = 0
            if address == 3:
                head.table[6] &= ~0b10
            if address == 4:
                head.table[6] &= ~0b100

        head.wire.on_write = deaf
        for step in (beam.set_power_w(50), beam.set_shutter(True), beam.arm(9), beam.fire(True)):
            with pytest.raises(Unverified):
                await step

    virtually(main)


def test_beam_refusals_are_sentences() -> None:
    async def main() -> None:
        head = Head()
        await head.device.configure(watchdog_ms=1000)
        head.wire.refuse[1, 3] = 4
        with pytest.raises(Rejected, match="refuses token = 5"):
            await head.device.arm(5)
        with pytest.raises(Rejected):
            await head.device.configure(watchdog_ms=50)
        head.table[0] = 1
        with pytest.raises(WrongModel, match="is no moonkiln beam head"):
            await head.device.identify()

    virtually(main)


def heater() -> tuple[BedHeater, FakeSlave, list[tuple[int, int]]]:
    link, slave = bus()
    slave.registers = {1: dict.fromkeys([1, 2, 3, 4, 5, 6, 8, 9, 13, 14, 15, 24, 25, 26, 39, 75, 122, 199, 276], 0)}
    slave.registers[1][122] = 0xE162
    writes: list[tuple[int, int]] = []
    slave.on_write = lambda unit, address, value: writes.append((address, value))
    return BedHeater(link, 1, load_map("eurotherm_3200"), temp_c_max=400.0), slave, writes


def test_a_heater_that_does_not_stand_by_is_told_to_want_little_and_that_is_not_called_safe() -> None:
    async def main() -> None:
        device, slave, _ = heater()
        await device.identify()
        await device.configure()

        def stays_normal(unit: int, address: int, value: int) -> None:
            slave.registers[1][199] = 0

        slave.on_write = stays_normal
        with pytest.raises(Unverified, match="mode was set to 1 and mode reads back as 0"):
            await device.safe()
        assert slave.registers[1][276] == 0

    virtually(main)


def test_heater_streams_to_the_remote_set_point_only() -> None:
    async def main() -> None:
        device, slave, writes = heater()
        slave.registers[1][24] = 200  # as delivered
        await device.identify()
        await device.configure()
        assert (24, 0) in writes and (276, 1) in writes and slave.registers[1][199] == 1, "heated before it was told"
        writes.clear()
        await device.configure()
        assert {address for address, _ in writes} == {26}, "what holds already is not written again"
        for step in range(50):
            await device.set_temp_c(100.0 + step)
            await device.set_temp_c(100.0 + step)
        others = [write for write in writes if write[0] != 26]
        assert others == [(199, 0)] and slave.registers[1][26] == 1490, "told a temperature, it heats; and no more"
        await device.safe()
        await device.safe()
        assert slave.registers[1][276] == 0 and slave.registers[1][199] == 1, "local, and the output off"
        await device.set_temp_c(50)
        assert slave.registers[1][276] == 1 and slave.registers[1][199] == 0
        assert not {2, 24, 25} & {address for address, _ in writes}

    virtually(main)


def test_heater_limits_sensor_break_and_wrong_model() -> None:
    async def main() -> None:
        device, slave, writes = heater()
        for temp_c in (400.1, float("nan"), -1.0):
            with pytest.raises(Rejected):
                await device.set_temp_c(temp_c)
        assert writes == []
        slave.registers[1].update({1: 1234, 75: 32})
        readings = await device.poll()
        assert readings["bed_temp_c"].value == pytest.approx(123.4)
        assert readings["bed_temp_c"].quality is Quality.BAD
        slave.registers[1][75] = 0
        assert (await device.poll())["bed_temp_c"].is_good
        slave.registers[1][122] = 5
        with pytest.raises(WrongModel, match="id is 5, expected 57698"):
            await device.identify()

    virtually(main)


def test_meter_reads_floats_and_knows_its_model() -> None:
    async def main() -> None:
        link, slave = bus()
        slave.registers = {2: {0: 0x4366, 1: 0, 6: 0, 7: 0, 12: 0x43AC, 13: 0x8000, 70: 0x4248, 71: 0, 72: 0, 73: 0}}
        meter = Instrument(link, 2, load_map("eastron_sdm120"), name="meter")
        await meter.identify()
        readings = await meter.poll()
        assert {name: reading.value for name, reading in readings.items()} == {
            "voltage_v": 230.0, "current_a": 0.0, "power_w": 345.0, "import_energy_kwh": 0.0
        }  # fmt: skip

    async def swapped() -> None:
        link, slave = bus()
        slave.registers = {2: {0: 0, 1: 0x4366, 70: 0x4248, 71: 0}}
        with pytest.raises(WrongModel, match="voltage_v"):
            await Instrument(link, 2, load_map("eastron_sdm120"), name="meter").identify()

    virtually(main)
    virtually(swapped)


class Drive:
    """A drive that moves at once or in time, as told."""

    def __init__(self, link: ModbusLink, slave: FakeSlave, unit: int, *, mm_per_rev: float, travel_mm: float) -> None:
        self.table = dict.fromkeys([1, 0xF, 0x1003, 0x1014, 0x1015, 0x1801, 0x6002, 0x600A], 0)
        self.table |= dict.fromkeys(range(0x6200, 0x6208), 0)
        self.table[1] = 10000
        slave.registers[unit] = self.table
        self.move_s = 0.5
        self.moves: list[int] = []
        self.stops = 0
        self.stall = False
        self.loop = asyncio.get_running_loop()
        self.device = StepperDrive(
            link, unit, load_map("leadshine_cs2rs"),
            name=f"drive {unit}", mm_per_rev=mm_per_rev, travel_mm=travel_mm, speed_mm_s=1.5 * mm_per_rev,
        )  # fmt: skip

    def wrote(self, address: int, value: int) -> None:
        if address == 0xF:
            self.table[0x1003] |= 0b10 if value else 0
        elif address == 0x6002 and value == 0x20:
            self.go(0, 0x40)
        elif address == 0x6002 and value == 0x40:
            self.stops += 1
            self.table[0x1003] &= ~0b100
        elif address == 0x6207:
            assert self.table[0x6200] == 1
            self.go(self.table[0x6201] << 16 | self.table[0x6202], 0)

    def go(self, pulses: int, bits: int) -> None:
        self.moves.append(pulses)
        if self.stall:
            return
        self.table[0x1003] = self.table[0x1003] & ~0b110000 | 0b100

        def arrive() -> None:
            self.table[0x1014], self.table[0x1015] = pulses >> 16, pulses & 0xFFFF
            self.table[0x1003] = self.table[0x1003] & ~0b100 | 0b110000 | bits

        self.loop.call_later(self.move_s, arrive)


def drives() -> tuple[Drive, Drive, FakeSlave]:
    link, slave = bus(byte_time_s=10 / 115200, delay_s=0.00244)
    slave.registers = {}
    blade = Drive(link, slave, 1, mm_per_rev=40.0, travel_mm=320.0)
    piston = Drive(link, slave, 2, mm_per_rev=5.0, travel_mm=100.0)
    slave.on_write = lambda unit, address, value: (blade if unit == 1 else piston).wrote(address, value)
    return blade, piston, slave


def test_blade_and_piston_home_lower_and_spread() -> None:
    async def main() -> None:
        blade, piston, _ = drives()
        for drive in (blade.device, piston.device):
            await drive.identify()
            await drive.configure()
        with pytest.raises(NotReady, match="home it first"):
            await blade.device.move_to(310.0)
        await blade.device.home()
        await piston.device.home()
        await piston.device.move_to(0.5)
        await piston.device.move_to(1.0)
        await blade.device.move_to(310.0)
        await blade.device.move_to(0.0)
        assert piston.moves == [0, 1000, 2000] and blade.moves == [0, 77500, 0]
        assert blade.table[0x6203] == 90
        readings = await piston.device.poll()
        assert set(readings) == {"motion_status", "position_mm"}
        assert readings["position_mm"].value == pytest.approx(1.0) and readings["position_mm"].unit == "mm"
        await blade.device.safe()
        await piston.device.safe()
        assert (blade.stops, piston.stops) == (1, 1)

    virtually(main)


@pytest.mark.parametrize("target_mm", [-0.1, 320.1, float("nan")])
def test_moves_beyond_the_axis_never_reach_the_wire(target_mm: float) -> None:
    async def main() -> None:
        blade, _, slave = drives()
        with pytest.raises(Rejected, match="the axis has 0 to 320"):
            await blade.device.move_to(target_mm)
        assert slave.raw == []

    virtually(main)


def test_a_move_whose_reply_is_lost_is_not_repeated() -> None:
    async def main() -> None:
        blade, _, slave = drives()
        await blade.device.configure()
        await blade.device.home()
        slave.twist = lambda unit, pdu, reply: [] if pdu[0] == 16 else None
        await blade.device.move_to(100.0)
        assert blade.moves == [0, 25000]

    virtually(main)


def test_a_move_that_never_arrives_is_unverified_and_stopped() -> None:
    async def main() -> None:
        blade, _, _ = drives()
        await blade.device.configure()
        await blade.device.home()
        blade.move_s = 500.0
        with pytest.raises(Unverified, match=r"did not arrive in time: it reads 0\.000 mm"):
            await blade.device.move_to(100.0)
        assert blade.stops == 1 and blade.moves == [0, 25000]
        blade.table[0x1003] = 0b1110010
        blade.stall = True
        with pytest.raises(Unverified, match="stands still elsewhere"):
            await blade.device.move_to(100.0)
        blade.table[0x1003] |= 1
        with pytest.raises(NotReady, match="fault"):
            await blade.device.move_to(50.0)

    virtually(main)


def moving_blade() -> tuple[Drive, FakeSlave]:
    """A blade on its way, for as long as nobody stops it."""
    blade, _, slave = drives()
    blade.move_s = 500.0
    blade.go(1000, 0)
    return blade, slave


def test_a_drive_is_safe_when_it_says_that_it_stands() -> None:
    async def main() -> None:
        blade, slave = moving_blade()
        slave.on_write = lambda _unit, address, value: blade.loop.call_later(0.2, blade.wrote, address, value)
        began_s = blade.loop.time()
        await blade.device.safe()
        assert not blade.table[0x1003] & 0b100 and 0.2 < blade.loop.time() - began_s < 0.4

    virtually(main)


@pytest.mark.parametrize("waits_s", [0.0, 2.0])
def test_a_drive_that_has_not_begun_its_move_yet_is_not_taken_at_its_word(waits_s: float) -> None:
    async def main() -> None:
        blade, _, slave = drives()
        await blade.device.configure()
        await blade.device.home()
        blade.move_s = 500.0

        def late(_unit: int, address: int, value: int) -> None:
            blade.loop.call_later(0.3 if address == 0x6207 else 0.0, blade.wrote, address, value)

        slave.on_write = late
        write_block = blade.device._access.write_block

        async def wait_for_the_bus(values: Mapping[str, float]) -> None:
            await asyncio.sleep(waits_s)
            await write_block(values)

        blade.device._access.write_block = wait_for_the_bus
        move = asyncio.create_task(blade.device.move_to(100.0))
        await asyncio.sleep(waits_s + 0.1)  # it was triggered, and stands by its own word
        move.cancel()
        await asyncio.gather(move, return_exceptions=True)
        await blade.device.safe()
        await asyncio.sleep(1.0)
        assert blade.moves == [0, 25000] and not blade.table[0x1003] & 0b100, "it went on behind a stop that was seen"

    virtually(main)


@pytest.mark.parametrize("trigger_s", [0.05, 0.6, 30.0])
def test_a_start_that_is_on_its_way_is_waited_for(trigger_s: float) -> None:
    """Its trigger may reach the drive behind the stop that was to prevent it."""

    async def main() -> None:
        blade, _, _ = drives()
        await blade.device.configure()
        await blade.device.home()
        blade.move_s = 500.0
        write_block = blade.device._access.write_block

        async def wait_for_the_bus(values: Mapping[str, float]) -> None:
            await asyncio.sleep(0.1 + trigger_s)
            await write_block(values)

        blade.device._access.write_block = wait_for_the_bus
        move = asyncio.create_task(blade.device.move_to(100.0))
        await asyncio.sleep(0.1)
        began_s = blade.loop.time()
        if trigger_s < 1.0:
            await blade.device.safe()
            assert blade.moves == [0, 25000] and not blade.table[0x1003] & 0b100, "it went on behind a stop"
        else:
            with pytest.raises(Unverified, match="drive 1 was told to stop while a move of it was being sent"):
                await blade.device.safe()
        assert blade.loop.time() - began_s < 2.0, "the machine gives it no longer"
        move.cancel()
        await asyncio.gather(move, return_exceptions=True)

    virtually(main)


def test_a_drive_that_acknowledges_a_stop_and_goes_on_is_not_safe() -> None:
    async def main() -> None:
        blade, slave = moving_blade()
        slave.on_write = lambda *_: None
        began_s = blade.loop.time()
        with pytest.raises(Unverified, match="drive 1 was told to stop and goes on by its own word"):
            await blade.device.safe()
        assert blade.loop.time() - began_s < 1.5

    virtually(main)


def test_a_stop_that_was_not_heard_once_is_told_again() -> None:
    async def main() -> None:
        blade, slave = moving_blade()
        orders: list[int] = []

        def deaf_at_first(_unit: int, address: int, value: int) -> None:
            orders.append(value)
            if len(orders) > 1:
                blade.wrote(address, value)

        slave.on_write = deaf_at_first
        await blade.device.safe()
        assert orders == [0x40, 0x40] and blade.stops == 1

    virtually(main)


@pytest.mark.parametrize("function", [3, 6])
def test_a_lost_answer_does_not_leave_a_drive_in_doubt(function: int) -> None:
    async def main() -> None:
        blade, slave = moving_blade()
        lost: list[bytes] = []

        def twist(_unit: int, pdu: bytes, _reply: bytes) -> list[bytes] | None:
            if pdu[0] != function or lost:
                return None
            lost.append(pdu)
            return []

        slave.twist = twist
        await blade.device.safe()
        assert lost and blade.stops >= 1

    virtually(main)


def test_a_drive_that_does_not_answer_is_not_safe() -> None:
    async def main() -> None:
        blade, slave = moving_blade()
        del slave.registers[1]
        began_s = blade.loop.time()
        with pytest.raises(LinkTimeout, match="did not answer"):
            await blade.device.safe()
        assert blade.loop.time() - began_s < 3.0, "the machine gives it no longer"

    virtually(main)


def test_a_silent_drive_ends_in_a_sentence() -> None:
    async def main() -> None:
        blade, _, slave = drives()
        del slave.registers[1]
        with pytest.raises(LinkTimeout, match="unit 1 on fake:bus did not answer"):
            await blade.device.identify()

    virtually(main)

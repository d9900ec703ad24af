"""Does a conveyor run only with its drive's watchdog armed, stop for certain, and tell its current rightly?"""

from __future__ import annotations

import asyncio
import math

import pytest
from map_helpers import exchanged, framed, one_unit, virtually

from firmware_bridge.devices.conveyor import Conveyor
from firmware_bridge.devices.register_access import RegisterAccess
from firmware_bridge.errors import ModbusException, NotReady, Rejected, Unverified, WrongModel
from firmware_bridge.register_map import load_map
from firmware_bridge.signals import Quality

BY_COMMS = 1 << 10 | 1 << 8


class Drive:
    """An MS300: 2000H to 2002H are only written, 2100H and up only read."""

    def __init__(self) -> None:
        self.table = {0x0902: 3, 0x0903: 0, **dict.fromkeys(range(0x2000, 0x2003), 0)}
        self.table |= dict.fromkeys([*range(0x2100, 0x2107), 0x210B, 0x210C, 0x210F, 0x211F], 0)
        self.table |= {0x2101: BY_COMMS, 0x211F: 0x0200}
        self.link, self.slave, self.writes = one_unit(self.table)
        self.slave.on_write = self.wrote
        self.slave.twist = self.answer
        self.ramp_s = 0.3
        self.starts = True
        self.source = BY_COMMS
        self.device = Conveyor(self.link, 1, load_map("delta_ms300"), hz_max=50.0)

    def answer(self, unit: int, pdu: bytes, good: bytes) -> list[tuple[float, bytes]] | None:
        address = int.from_bytes(pdu[1:3], "big")
        if (pdu[0] == 3 and 0x2000 <= address < 0x2100) or (pdu[0] != 3 and address >= 0x2100):
            return [(0.0, self.slave.frame(1, bytes((pdu[0] | 0x80, 2))))]
        return None

    def wrote(self, unit: int, address: int, value: int) -> None:
        self.writes.append((address, value))
        if address == 0x2001:
            self.table[0x2102] = value
        elif address == 0x2002 and value == 2:
            self.table[0x2100] = 0
        elif address == 0x2000 and value == 0x01:
            self.show(1 if self.table[0x2101] & 3 else 0)
            asyncio.get_running_loop().call_later(self.ramp_s, self.show, 0)
        elif address == 0x2000 and self.starts:
            direction = 3 if value == 0x22 else 0
            asyncio.get_running_loop().call_later(self.ramp_s, self.show, 3, direction)

    def show(self, state: int, direction: int = 0) -> None:
        self.table[0x2101] = self.source | direction << 3 | state


def test_the_manuals_frames_go_over_the_wire() -> None:
    """MH300 p. 1016 (reading 2102H and 2103H: 60.00 and 0.00 Hz); MS300 p. 794 (an exception to function 06)."""

    async def main() -> None:
        link, slave, _ = one_unit({})
        access = RegisterAccess(link, 1, load_map("delta_ms300"), "conveyor")
        exchanged(slave, "01 03 21 02 00 02 6F F7", "01 03 04 17 70 00 00 FE 5C")
        readings = await access.read("commanded_hz", "output_hz")
        assert (readings["commanded_hz"].value, readings["output_hz"].value) == (60.0, 0.0)
        exchanged(slave, framed("01 06 20 00 00 12").hex(), "01 86 02 C3 A1")
        with pytest.raises(Rejected, match=r"refuses command = 18.*no such register") as caught:
            await access.write("command", 0x12)
        assert isinstance(caught.value.__cause__, ModbusException) and caught.value.__cause__.code == 2

    virtually(main)


def test_it_does_not_run_before_its_watchdog_is_armed_and_read_back() -> None:
    async def main() -> None:
        drive = Drive()
        await drive.device.identify()
        with pytest.raises(NotReady, match=r"configure\(\) must arm its watchdog"):
            await drive.device.run(10.0)
        for timeout_s in (0.0, 0.1, 11.0, float("nan")):
            with pytest.raises(Rejected, match=r"0\.2 to 10 s"):
                await drive.device.configure(timeout_s)
        await drive.device.configure(2.0)
        assert (drive.table[0x0902], drive.table[0x0903]) == (1, 20), "ramp to a stop after 2.0 s"
        drive.writes.clear()
        await drive.device.configure(2.0)
        assert drive.writes == [(0x2000, 0x01)], "parameters live in EEPROM: what holds already is not written again"

    virtually(main)


def test_a_watchdog_that_is_not_kept_lets_nothing_run() -> None:
    async def main() -> None:
        drive = Drive()
        honest = drive.slave.on_write

        def forgetful(unit: int, address: int, value: int) -> None:
            honest(unit, address, value)
            if address == 0x0903:
                drive.table[address] = 0

        drive.slave.on_write = forgetful
        with pytest.raises(Unverified, match="timeout_s was set to 2 s and timeout_s reads back as 0 s"):
            await drive.device.configure(2.0)
        with pytest.raises(NotReady):
            await drive.device.run(10.0)

    virtually(main)


def test_it_runs_both_ways_and_stops() -> None:
    async def main() -> None:
        drive = Drive()
        await drive.device.identify()
        await drive.device.configure(2.0)
        drive.writes.clear()
        await drive.device.run(12.34)
        assert drive.writes == [(0x2001, 1234), (0x2000, 0x12)]
        await drive.device.stop()
        await drive.device.run(5.0, reverse=True)
        assert drive.writes[-1] == (0x2000, 0x22)
        await drive.device.safe()
        await drive.device.safe()
        assert drive.writes[-1] == (0x2000, 0x01)
        await asyncio.sleep(1.0)
        assert (await drive.device.poll())["run_state"].value == 0

    virtually(main)


def test_a_drive_that_does_not_run_is_stopped_and_unverified() -> None:
    async def main() -> None:
        drive = Drive()
        await drive.device.configure(2.0)
        drive.starts = False
        with pytest.raises(Unverified, match=r"told to run at 10 Hz and after 2 s shows state 0"):
            await drive.device.run(10.0)
        assert drive.writes[-1] == (0x2000, 0x01)

    virtually(main)


@pytest.mark.parametrize("frequency_hz", [0.0, -1.0, 50.1, float("nan")])
def test_frequencies_beyond_the_machine_never_reach_the_wire(frequency_hz: float) -> None:
    async def main() -> None:
        drive = Drive()
        await drive.device.configure(2.0)
        drive.writes.clear()
        with pytest.raises(Rejected, match="over 0 and up to 50 Hz"):
            await drive.device.run(frequency_hz)
        assert drive.writes == []

    virtually(main)


def test_commands_from_elsewhere_and_faults_are_named() -> None:
    async def main() -> None:
        drive = Drive()
        drive.source = 0
        with pytest.raises(NotReady, match="takes its commands or frequency from elsewhere"):
            await drive.device.configure(2.0)
        drive.source = BY_COMMS
        await drive.device.configure(2.0)
        drive.table[0x2100] = 0x4A15  # warning 74 in the high byte, fault 21 in the low one
        with pytest.raises(NotReady, match="reports fault 21"):
            await drive.device.run(10.0)
        readings = await drive.device.poll()
        assert (readings["fault_code"].value, readings["warning_code"].value) == (21, 74)
        await drive.device.clear_fault()
        assert (0x2002, 2) in drive.writes
        await drive.device.run(10.0)

    virtually(main)


@pytest.mark.parametrize("decimals, value_a", [(1, 15.0), (2, 1.5)])
def test_the_current_has_the_decimals_that_the_drive_tells(decimals: int, value_a: float) -> None:
    """They stand in the high byte of 211FH, too far off for one request, and are the same for good."""

    async def main() -> None:
        drive = Drive()
        drive.table |= {0x2104: 150, 0x211F: decimals << 8 | 0x37}
        reading = (await drive.device.poll())["current_a"]
        assert reading.quality is Quality.BAD and math.isnan(reading.value) and "current_decimals" in reading.why
        await drive.device.identify()
        reading = (await drive.device.poll())["current_a"]
        assert reading.is_good and reading.value == pytest.approx(value_a)

    virtually(main)


def test_a_huanyang_drive_and_another_model_are_no_ms300() -> None:
    async def main() -> None:
        link, slave, _ = one_unit({}, unit=4)
        conveyor = Conveyor(link, 4, load_map("delta_ms300"), hz_max=50.0)
        slave.twist = lambda unit, pdu, good: [(0.0, bytes.fromhex("04 01 03 01 00 00 6D DB"))]
        with pytest.raises(Exception, match="reply to function 1"):
            await conveyor.identify()
        drive = Drive()
        drive.table[0x211F] = 0
        with pytest.raises(WrongModel, match="current_decimals is 0"):
            await drive.device.identify()

    virtually(main)

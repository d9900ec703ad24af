"""Is a Watlow PM never believed in degF, never worn out, and its low word first taken as such?"""

from __future__ import annotations

import struct

import pytest
from map_helpers import exchanged, framed, one_unit, virtually

from firmware_bridge.devices.register_access import RegisterAccess
from firmware_bridge.devices.watlow_heater import WatlowHeater
from firmware_bridge.errors import NotReady, Rejected, Unverified, WrongModel
from firmware_bridge.register_map import load_map
from firmware_bridge.signals import Quality

CONTACTOR = "K2, dropped by the safety relay"
FLOATS = (360, 1480, 1482, 1904, 2160, 2172)


def low_word_first(value: float) -> tuple[int, int]:
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return low, high


class Controller:
    """A PM as it comes: degF over Modbus, every write saved."""

    def __init__(self) -> None:
        table = {1880: 62, 362: 61, 2490: 30, 2494: 106}
        for address in FLOATS:
            table |= {address: 0, address + 1: 0}
        self.table = table
        self.put(360, 75.0)
        self.link, self.slave, self.writes = one_unit(table)
        self.saved = 0
        self.is_deaf_at: int | None = None
        self.slave.on_write = self.wrote
        self.device = WatlowHeater(self.link, 1, load_map("watlow_pm"), temp_c_max=400.0, contactor=CONTACTOR)

    def put(self, address: int, value: float) -> None:
        self.table[address], self.table[address + 1] = low_word_first(value)

    def get(self, address: int) -> float:
        return struct.unpack(">f", struct.pack(">HH", self.table[address + 1], self.table[address]))[0]

    def wrote(self, unit: int, address: int, value: int) -> None:
        self.writes.append((address, value))
        self.saved += self.table[2494] == 106 or address == 2494
        if address == self.is_deaf_at:
            self.table[address] = 0


def test_the_manuals_75_degrees_go_low_word_first() -> None:
    """2160:0000, 2161:4296 = 75.0."""

    async def main() -> None:
        link, slave, _ = one_unit({})
        access = RegisterAccess(link, 1, load_map("watlow_pm"), "heater", contactor=CONTACTOR)
        exchanged(slave, framed("01 10 08 70 00 02 04 00 00 42 96").hex(), framed("01 10 08 70 00 02").hex())
        await access.write("setpoint_c", 75.0)
        exchanged(slave, framed("01 03 08 70 00 02").hex(), framed("01 03 04 00 00 42 96").hex())
        assert await access.value("setpoint_c") == 75.0

    virtually(main)


def test_without_a_contactor_it_is_refused() -> None:
    async def main() -> None:
        link, _, _ = one_unit({})
        with pytest.raises(NotReady, match="no watchdog of its own"):
            WatlowHeater(link, 1, load_map("watlow_pm"), temp_c_max=400.0, contactor="")

    virtually(main)


def test_before_it_is_configured_its_fahrenheit_is_not_believed() -> None:
    async def main() -> None:
        watlow = Controller()
        await watlow.device.identify()
        reading = (await watlow.device.poll())["bed_temp_c"]
        assert reading.quality is Quality.BAD and reading.why == "the controller speaks degF (units 30)"
        with pytest.raises(NotReady, match="speaks degF or saves"):
            await watlow.device.set_temp_c(100.0)
        assert watlow.writes == []

    virtually(main)


def test_it_serves_a_print_and_saves_nothing_but_its_settings() -> None:
    async def main() -> None:
        watlow = Controller()
        heater = watlow.device
        await heater.identify()
        await heater.configure()
        assert (watlow.table[2490], watlow.table[2494], watlow.table[1880]) == (15, 59, 62)
        assert watlow.saved == 1, "the one write that says: save nothing"
        await heater.configure()
        assert {address for address, _ in watlow.writes[-2:]} == {2160, 2161}, "what holds already is not written again"
        for step in range(30):
            await heater.set_temp_c(100.0 + step)
        assert watlow.get(2160) == 129.0
        writes = len(watlow.writes)
        for _ in range(50):
            await heater.set_temp_c(129.0)
        assert len(watlow.writes) == writes and watlow.saved == 1
        await heater.safe()
        await heater.safe()
        assert watlow.table[1880] == 62
        await heater.set_temp_c(60.0)
        assert watlow.table[1880] == 10

    virtually(main)


def test_a_controller_that_goes_back_to_fahrenheit_is_found_out() -> None:
    async def main() -> None:
        watlow = Controller()
        await watlow.device.configure()
        await watlow.device.set_temp_c(100.0)
        watlow.table[2490] = 30
        with pytest.raises(NotReady, match="speaks degF"):
            await watlow.device.set_temp_c(100.0)
        assert (await watlow.device.poll())["bed_temp_c"].quality is Quality.BAD

    virtually(main)


@pytest.mark.parametrize("where, sentence", [((2160, 300.0), "set-point 300"), ((1880, 62), "control mode 62")])
def test_a_target_that_is_gone_is_found_out(where: tuple[int, float], sentence: str) -> None:
    async def main() -> None:
        watlow = Controller()
        await watlow.device.configure()
        await watlow.device.set_temp_c(100.0)
        if where[0] == 2160:
            watlow.put(*where)
        else:
            watlow.table[where[0]] = int(where[1])
        with pytest.raises(NotReady, match=sentence):
            await watlow.device.set_temp_c(100.0)

    virtually(main)


def test_writes_that_are_not_kept_are_unverified() -> None:
    async def main() -> None:
        watlow = Controller()
        await watlow.device.configure()
        watlow.is_deaf_at = 2161
        with pytest.raises(Unverified, match="setpoint_c was set to 100 degC"):
            await watlow.device.set_temp_c(100.0)
        watlow.is_deaf_at = 1880
        with pytest.raises(Unverified, match="control_mode was set to 62"):
            await watlow.device.safe()

    virtually(main)


def test_limits_input_error_and_another_device() -> None:
    async def main() -> None:
        watlow = Controller()
        await watlow.device.configure()
        for temp_c in (400.1, float("nan"), -1.0):
            with pytest.raises(Rejected):
                await watlow.device.set_temp_c(temp_c)
        assert watlow.get(2160) == 0.0
        reading = (await watlow.device.poll())["bed_temp_c"]
        assert reading.is_good and (reading.value, reading.unit, reading.why) == (75.0, "degC", "")
        watlow.table[362] = 65
        reading = (await watlow.device.poll())["bed_temp_c"]
        assert reading.quality is Quality.BAD and reading.why.startswith("the controller reports an input error")
        watlow.table[2490] = 0
        with pytest.raises(WrongModel, match="units is 0"):
            await watlow.device.identify()

    virtually(main)


def test_a_setting_that_is_fought_over_is_not_written_for_ever() -> None:
    """Somebody at the keys goes back to degF again and again: four writes to EEPROM a day, then a refusal."""

    async def main() -> None:
        watlow = Controller()
        for _ in range(4):
            await watlow.device.configure()
            watlow.table[2490] = 30
        with pytest.raises(Rejected, match="written 4 times in 24 h"):
            await watlow.device.configure()

    virtually(main)

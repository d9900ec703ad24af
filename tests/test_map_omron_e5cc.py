"""Does the Omron E5CC heater send what its manual shows, wear nothing out, and refuse what may not be safe?"""

from __future__ import annotations

import pytest
from map_helpers import exchanged, framed, one_unit, virtually
from modbus_link_helpers import FakeSlave

from firmware_bridge.devices.omron_heater import OmronHeater
from firmware_bridge.devices.register_access import RegisterAccess
from firmware_bridge.errors import LinkTimeout, NotReady, Rejected, Unverified, WrongModel
from firmware_bridge.register_map import load_map
from firmware_bridge.signals import Quality

CONTACTOR = "K1, dropped by the safety relay"
COMM_WRITE, STOPPED, RAM_WRITE, INPUT_ERROR = 1 << 25, 1 << 24, 1 << 20, 1 << 6


class Controller:
    """An E5CC as its manual tells: commands to 0000H, refused until writing is allowed; pairs of registers."""

    def __init__(self, decimals: int = 1) -> None:
        self.table = dict.fromkeys([*range(0x000A), *range(0x0106, 0x010E), 0x0420, 0x0421], 0)
        self.table[0x0421] = decimals
        self.link, self.slave, self.writes = one_unit(self.table)
        self.status = STOPPED
        self.is_deaf = False
        self.backed_up = 0  # writes to non-volatile memory
        self.slave.twist = self.answer
        self.pv_c = 25.0
        self.show()
        self.device = OmronHeater(self.link, 1, load_map("omron_e5cc"), temp_c_max=400.0, contactor=CONTACTOR)

    def show(self) -> None:
        pv = round(self.pv_c * 10) & 0xFFFFFFFF
        self.table.update({0: pv >> 16, 1: pv & 0xFFFF, 2: self.status >> 16, 3: self.status & 0xFFFF})

    def answer(self, unit: int, pdu: bytes, good: bytes) -> list[tuple[float, bytes]] | None:
        refused = self.slave.frame(1, bytes((pdu[0] | 0x80, 4)))
        if pdu[0] == 6:
            assert pdu[1:3] == b"\x00\x00", "function 06 is for operation commands"
            command = int.from_bytes(pdu[3:5], "big")
            if command == 0x0001:
                self.status |= COMM_WRITE
            elif not self.status & COMM_WRITE:
                self.show()
                return [(0.0, refused)]
            elif not self.is_deaf:
                self.status &= ~{0x0100: STOPPED}.get(command, 0)
                self.status |= {0x0101: STOPPED, 0x0401: RAM_WRITE}.get(command, 0)
            self.show()
        elif pdu[0] == 16:
            assert pdu[2] % 2 == 0 and pdu[4] % 2 == 0, "4-byte window: even addresses, even numbers"
            if not self.status & COMM_WRITE:
                return [(0.0, refused)]
            self.backed_up += not self.status & RAM_WRITE
        elif pdu[0] == 4:  # a probe of what is owed: the controller does not know the function
            return [(0.0, self.slave.frame(unit, b"\x84\x01"))]
        else:
            assert pdu[0] == 3 and pdu[2] % 2 == 0 and pdu[4] % 2 == 0
        return None

    @property
    def setpoint(self) -> int:
        return self.table[0x0106] << 16 | self.table[0x0107]


def test_the_manuals_frames_go_over_the_wire() -> None:
    """H175 p. 4-12 (alarm values, 4-byte window) and p. 4-14 (stop); what is read at a poll is one request."""

    async def main() -> None:
        link, slave, _ = one_unit({})
        access = RegisterAccess(link, 1, load_map("omron_e5cc"), "heater", contactor=CONTACTOR)
        exchanged(slave, "01 10 01 0A 00 04 08 00 00 03 E8 FF FF FC 18 8D E9", "01 10 01 0A 00 04 E0 34")
        await access.write_block({"alarm_1_upper_c": 100.0, "alarm_1_lower_c": -100.0})
        exchanged(slave, "01 06 00 00 01 01 49 9A", "01 06 00 00 01 01 49 9A")
        await access.write("command", 0x0101)
        reply = framed("01 03 14 00 00 09 D8 02 10 00 00 00 00 03 E8 00 00 00 37 00 00 04 1A")
        exchanged(slave, framed("01 03 00 00 00 0A").hex(), reply.hex())
        readings = await access.poll()
        assert {name: reading.value for name, reading in readings.items()} == pytest.approx(
            {"bed_temp_c": 252.0, "controller_status": 0x02100000, "working_setpoint_c": 100.0, "heater_current_a": 5.5,
             "output_percent": 105.0}
        )  # fmt: skip

    virtually(main)


def test_without_a_contactor_it_is_refused() -> None:
    async def main() -> None:
        link, _, _ = one_unit({})
        for contactor in ("", "  "):
            with pytest.raises(NotReady, match=r"no watchdog of its own.*Wire a contactor"):
                OmronHeater(link, 1, load_map("omron_e5cc"), temp_c_max=400.0, contactor=contactor)

    virtually(main)


def test_it_serves_a_print_and_saves_nothing() -> None:
    async def main() -> None:
        omron = Controller()
        heater = omron.device
        await heater.identify()
        await heater.configure()
        assert omron.setpoint == 0 and omron.status & STOPPED and omron.status & RAM_WRITE
        for step in range(30):
            await heater.set_temp_c(100.0 + step)
        assert omron.setpoint == 1290 and not omron.status & STOPPED
        writes = len(omron.writes)
        for _ in range(50):
            await heater.set_temp_c(129.0)
        assert len(omron.writes) == writes, "a target that holds is looked at, not written again"
        assert omron.backed_up == 0
        await heater.safe()
        await heater.safe()
        assert omron.status & STOPPED
        await heater.set_temp_c(60.0)
        assert not omron.status & STOPPED and omron.setpoint == 600

    virtually(main)


def test_commands_are_refused_until_writing_is_allowed_and_safe_still_stops() -> None:
    async def main() -> None:
        omron = Controller()
        await omron.device.configure()
        await omron.device.set_temp_c(60.0)
        omron.status &= ~(COMM_WRITE | RAM_WRITE)  # the supply dipped
        omron.show()
        with pytest.raises(NotReady, match="no longer holds 60 degC"):
            await omron.device.set_temp_c(60.0)
        with pytest.raises(NotReady, match=r"would save every set-point and wear out: configure\(\) it"):
            await omron.device.set_temp_c(90.0)
        assert omron.backed_up == 0
        await omron.device.safe()
        assert omron.status & STOPPED

    virtually(main)


def test_a_target_that_was_changed_at_its_keys_is_found_out() -> None:
    async def main() -> None:
        omron = Controller()
        await omron.device.configure()
        await omron.device.set_temp_c(100.0)
        omron.table[0x0107] = 3500
        with pytest.raises(NotReady, match=r"no longer holds 100 degC \(set-point 350"):
            await omron.device.set_temp_c(100.0)
        await omron.device.set_temp_c(100.0)
        assert omron.setpoint == 1000

    virtually(main)


def test_a_command_that_is_taken_and_not_obeyed_is_unverified() -> None:
    async def main() -> None:
        omron = Controller()
        omron.is_deaf = True
        with pytest.raises(Unverified, match=r"took the command 0x0401 and its status \(0x3000000\) does not show it"):
            await omron.device.configure()

    virtually(main)


@pytest.mark.parametrize("decimals", [0, 2])
def test_other_decimals_than_the_maps_are_not_taken_for_them(decimals: int) -> None:
    async def main() -> None:
        omron = Controller(decimals)
        await omron.device.identify()
        with pytest.raises(NotReady, match=f"with {decimals} decimals"):
            await omron.device.configure()
        assert omron.writes == []

    virtually(main)


def test_limits_input_error_and_another_device() -> None:
    async def main() -> None:
        omron = Controller()
        await omron.device.configure()
        for temp_c in (400.1, float("nan"), -1.0):
            with pytest.raises(Rejected):
                await omron.device.set_temp_c(temp_c)
        assert omron.setpoint == 0
        assert (await omron.device.poll())["bed_temp_c"].is_good
        omron.status |= INPUT_ERROR
        omron.show()
        reading = (await omron.device.poll())["bed_temp_c"]
        assert reading.quality is Quality.BAD and reading.why == "the controller reports input_error"
        omron.table[0x0420] = 1  # words the other way round
        with pytest.raises(WrongModel, match="is no Omron E5CC: its decimals is 65537"):
            await omron.device.identify()

    virtually(main)


def test_a_lost_reply_to_the_stop_is_asked_for_again() -> None:
    async def main() -> None:
        omron = Controller()
        await omron.device.configure()
        lost = [1]

        def twist(unit: int, pdu: bytes, good: bytes) -> list[tuple[float, bytes]] | None:
            omron.answer(unit, pdu, good)
            if pdu[0] == 6 and lost:
                lost.pop()
                return []
            return None

        omron.slave.twist = twist
        await omron.device.safe()
        assert omron.status & STOPPED
        assert isinstance(omron.slave, FakeSlave) and omron.link.counters.retries == 1
        omron.slave.registers.clear()
        with pytest.raises(LinkTimeout, match="unit 1"):
            await omron.device.safe()

    virtually(main)

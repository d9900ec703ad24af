"""Does the iEM-RS serve as an axis like its sister, and are its own habits known?"""

from __future__ import annotations

import pytest
from map_helpers import exchanged, framed, one_unit, virtually

from firmware_bridge.devices.recoater import StepperDrive
from firmware_bridge.devices.register_access import RegisterAccess
from firmware_bridge.errors import ModbusException, Rejected
from firmware_bridge.links.modbus_frames import Found, Oddities, RtuDeframer, ask_read
from firmware_bridge.register_map import load_map

MAP = load_map("leadshine_iem_rs")


def test_a_path_is_one_request_of_eight_words() -> None:
    """As on the CS2RS manual's p. 50, but with the velocity that its text speaks of (its frame carries 0)."""

    async def main() -> None:
        link, slave, _ = one_unit({})
        access = RegisterAccess(link, 1, MAP, "blade")
        request = framed("01 10 62 00 00 08 10 00 01 00 00 27 10 00 C8 00 64 00 64 00 00 00 10")
        exchanged(slave, request.hex(), framed("01 10 62 00 00 08").hex())
        await access.write_block(
            {"pr0_mode": 1, "pr0_position": 10000, "pr0_velocity_rpm": 200, "pr0_acceleration": 100,
             "pr0_deceleration": 100, "pr0_pause": 0, "pr0_trigger": 0x10}
        )  # fmt: skip
        exchanged(slave, framed("01 03 10 14 00 02").hex(), framed("01 03 04 FF FF D8 F0").hex())
        assert await access.value("position_pulses") == -10000
        exchanged(slave, framed("01 03 01 91 00 01").hex(), framed("01 03 02 00 20").hex())
        assert await access.value("peak_current_a") == pytest.approx(3.2)

    virtually(main)


@pytest.mark.parametrize(
    "frame, is_sound",
    [
        ("01 06 18 01 22 11 06 06", True),
        ("01 06 01 91 00 20 DD 7B", False),
        ("01 03 0C 00 00 00 02 00 00 00 01 00 00 00 04 9D B3", False),
    ],
)
def test_the_manuals_own_frames_are_not_all_sound(frame: str, is_sound: bool) -> None:
    """p. 12: two of its examples carry a wrong CRC, so none is copied without a look."""
    raw = bytes.fromhex(frame)
    assert (framed(raw[:-2].hex()) == raw) is is_sound


def test_a_request_that_came_damaged_is_repeated_where_it_may_be() -> None:
    """p. 20: it answers a bad checksum with exception 08, which says that nothing was executed."""

    async def main() -> None:
        link, slave, writes = one_unit({0x1003: 0x12, 0x6002: 0})
        access = RegisterAccess(link, 1, MAP, "blade")
        damaged = [1]

        def twist(unit: int, pdu: bytes, good: bytes) -> list[tuple[float, bytes]] | None:
            return [(0.0, slave.frame(1, bytes((pdu[0] | 0x80, 8))))] if damaged and damaged.pop() else None

        slave.twist = twist
        assert await access.value("motion_status") == 0x12
        assert link.counters.exceptions == {8: 1}
        damaged.append(1)
        with pytest.raises(Rejected, match="came damaged and was not executed"):
            await access.write("trigger", 0x20)
        assert writes.count((0x6002, 0x20)) <= 1, "a command that starts a motion is never repeated by itself"

    virtually(main)


def test_the_manuals_exception_frame_is_one() -> None:
    found, pdu = RtuDeframer().feed(ask_read(1, 3, 1, 1), bytes.fromhex("01 83 08 40 F6"), Oddities())
    assert (found, pdu) == (Found.EXCEPTION, b"\x83\x08")


def test_other_exceptions_are_not_repeated() -> None:
    async def main() -> None:
        link, slave, _ = one_unit({})
        with pytest.raises(ModbusException):
            await RegisterAccess(link, 1, MAP, "blade").value("motion_status")
        assert len(slave.asked) == 1

    virtually(main)


def test_the_status_word_that_resets_when_read_is_never_read() -> None:
    assert all(
        not block.address <= 0x1901 < block.address + block.count
        for gap in (0, 512)
        for block in MAP.blocks(MAP.signals.values())
    )
    assert 0x1901 not in {signal.address for signal in MAP.signals.values()}


def test_saving_and_jogging_are_not_offered() -> None:
    for word in (0x2211, 0x2222, 0x2233, 0x2244, 0x4001, 0x4002):
        with pytest.raises(Rejected):
            MAP.signal("control").encode(word)
    for mode in (0x41, 2):
        with pytest.raises(Rejected):
            MAP.signal("pr0_mode").encode(mode)


def test_it_serves_as_an_axis() -> None:
    """The driver of the CS2RS needs nothing that this map does not have."""

    async def main() -> None:
        table = dict.fromkeys([1, 0xF, 0x1003, 0x1014, 0x1015, 0x1801, 0x6002, 0x600A, *range(0x6200, 0x6208)], 0)
        table[1] = 10000
        link, slave, _ = one_unit(table)

        def wrote(unit: int, address: int, value: int) -> None:
            if address == 0xF:
                table[0x1003] |= 0b10
            elif address == 0x6002 and value == 0x20:
                table[0x1003] |= 0b1110000
            elif address == 0x6207:
                table[0x1014], table[0x1015] = table[0x6201], table[0x6202]

        slave.on_write = wrote
        axis = StepperDrive(link, 1, MAP, name="blade", mm_per_rev=5.0, travel_mm=100.0, speed_mm_s=10.0)
        await axis.identify()
        await axis.configure()
        await axis.home()
        await axis.move_to(12.5)
        assert (await axis.poll())["position_mm"].value == pytest.approx(12.5)

    virtually(main)

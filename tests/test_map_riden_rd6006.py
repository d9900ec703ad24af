"""Is a bench supply never set at another model's scale, never switched on unguarded, its frost never taken for heat?"""

from __future__ import annotations

import pytest
from map_helpers import exchanged, framed, one_unit, virtually
from modbus_link_helpers import FakeSlave

from firmware_bridge.devices.supply import BenchSupply
from firmware_bridge.errors import NotReady, Rejected, Unverified, WrongModel
from firmware_bridge.links.modbus import ModbusLink
from firmware_bridge.register_map import load_map
from firmware_bridge.signals import Quality

CONTACTOR = "K3, on the watchdog relay"


def supply(model_id: int = 60062, amps_max: float = 5.0) -> tuple[BenchSupply, FakeSlave, list[tuple[int, int]]]:
    table = dict.fromkeys((*range(20), *range(38, 42), *range(48, 54), 82, 83), 0)
    table[0] = model_id
    link, slave, writes = one_unit(table)
    return on(link, amps_max), slave, writes


def on(link: ModbusLink, amps_max: float = 5.0, contactor: str = CONTACTOR) -> BenchSupply:
    return BenchSupply(link, 1, load_map("riden_rd6006"), volts_max=40.0, amps_max=amps_max, contactor=contactor)


def test_without_a_contactor_it_is_refused() -> None:
    async def main() -> None:
        link, _, _ = one_unit({})
        with pytest.raises(NotReady, match=r"goes on delivering.*Wire a contactor"):
            on(link, contactor="")

    virtually(main)


def test_frames_as_the_registers_stand() -> None:
    async def main() -> None:
        link, slave, _ = one_unit({})
        device = on(link)
        exchanged(slave, framed("01 03 00 00 00 01").hex(), framed("01 03 02 EA 9E").hex())
        assert await device.identify() == {"model_id": 60062}
        body = "00 01 00 0C 00 00 00 36 04 B0 05 DC 04 AF 05 DB 00 00 07 05 19 64 00 01 00 02 00 01 00 01"
        exchanged(slave, framed("01 03 00 04 00 0F").hex(), framed("01 03 1E " + body).hex())
        values = {name: reading.value for name, reading in (await device.poll()).items()}
        assert values == pytest.approx(
            {"internal_temp_c": -12, "set_v": 12.0, "set_a": 1.5, "output_v": 11.99, "output_a": 1.499,
             "power_w": 17.97, "input_v": 65.0, "keypad_lock": 1, "protection": 2, "constant_current": 1, "output": 1}
        )  # fmt: skip
        exchanged(slave, framed("01 06 00 12 00 00").hex(), framed("01 06 00 12 00 00").hex())
        await device._access.write("output", 0)

    virtually(main)


@pytest.mark.parametrize(
    "model_id, model, volts, amps",
    [
        (60062, "Riden RD6006", (8, 1234), (9, 2500)),
        (60065, "Riden RD6006P", (8, 12340), (9, 25000)),
        (60121, "Riden RD6012", (8, 1234), (9, 250)),
    ],
)
def test_the_scale_is_the_models(model_id: int, model: str, volts: tuple[int, int], amps: tuple[int, int]) -> None:
    async def main() -> None:
        device, _, writes = supply(model_id)
        await device.identify()
        assert device.map.model == model
        await device.configure()
        writes.clear()
        await device.set_output(12.34, 2.5)
        assert writes == [volts, amps]
        readings = await device.poll()
        assert (readings["set_v"].value, readings["set_a"].value) == pytest.approx((12.34, 2.5))

    virtually(main)


def test_nothing_with_a_scale_is_said_or_done_before_the_model_is_known() -> None:
    async def main() -> None:
        device, slave, writes = supply()
        for step in (device.poll(), device.configure()):
            with pytest.raises(NotReady, match=r"not known which Riden RD60xx answers.*identify"):
                await step
        assert set(writes) <= {(18, 0)} and slave.registers[1][8] == 0
        await device.safe()
        assert writes[-1] == (18, 0), "off is off on every model"

    virtually(main)


@pytest.mark.parametrize("model_id", [60066, 60125, 60181, 1])
def test_models_whose_scales_are_not_known_are_refused(model_id: int) -> None:
    async def main() -> None:
        device, _, _ = supply(model_id)
        with pytest.raises(WrongModel, match=f"model_id.*{model_id}"):
            await device.identify()

    virtually(main)


def test_limits_of_the_load_and_of_the_model() -> None:
    async def main() -> None:
        device, _, writes = supply(amps_max=10.0)
        await device.identify()
        with pytest.raises(Rejected, match=r"ocp_a = 10 A is refused: 0 to 6\.2 A"):
            await device.configure()
        device, _, writes = supply(60121, amps_max=10.0)
        await device.identify()
        await device.configure()
        writes.clear()
        for volts, amps in ((40.1, 1.0), (1.0, 10.1), (float("nan"), 1.0), (1.0, float("nan")), (-1.0, 1.0)):
            with pytest.raises(Rejected, match="this load bears"):
                await device.set_output(volts, amps)
        assert writes == []
        await device.set_output(40.0, 9.5)

    virtually(main)


def test_switching_on_needs_protections_and_no_trip() -> None:
    async def main() -> None:
        device, slave, _ = supply()
        await device.identify()
        for step in (device.switch_on(), device.set_output(1.0, 1.0)):
            with pytest.raises(NotReady, match="configure"):
                await step
        await device.configure()
        assert slave.registers[1][82] == 4000 and slave.registers[1][83] == 5000
        await device.set_output(12.0, 1.0)
        await device.switch_on()
        assert slave.registers[1][18] == 1
        await device.safe()
        slave.registers[1][16] = 2
        with pytest.raises(NotReady, match=r"has tripped \(over-current\)"):
            await device.switch_on()
        slave.registers[1][16] = 0
        slave.on_write = lambda unit, address, value: slave.registers[1].update({18: 0})
        with pytest.raises(Unverified, match="output was set to 1"):
            await device.switch_on()

    virtually(main)


def test_protections_are_written_only_when_they_differ() -> None:
    async def main() -> None:
        device, _, writes = supply()
        await device.identify()
        for _ in range(30):
            await device.configure()
        assert [address for address, _ in writes].count(82) == 1

    virtually(main)


def test_a_sign_that_is_none_makes_the_temperature_bad() -> None:
    async def main() -> None:
        device, slave, _ = supply()
        slave.registers[1].update({4: 0, 5: 30})
        await device.identify()
        assert (await device.poll())["internal_temp_c"].value == 30
        slave.registers[1][4] = 7
        reading = (await device.poll())["internal_temp_c"]
        assert reading.quality is Quality.BAD and reading.why == "its sign is 7"

    virtually(main)


def test_calibration_and_clock_are_out_of_reach() -> None:
    table = load_map("riden_rd6006")
    assert (55, 62) in table.holes
    taken = {signal.address + word for signal in table.signals.values() for word in range(signal.words)}
    assert not taken & {*range(48, 54), *range(55, 63)}
    blocks = table.blocks(table.signals.values())
    assert not any(block.address <= 62 and block.address + block.count > 55 for block in blocks)

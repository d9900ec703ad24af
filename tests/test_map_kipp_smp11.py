"""Is a pyranometer's value read with the scale of the same moment, and not believed when the sensor flags it?"""

from __future__ import annotations

import math

import pytest
from map_helpers import exchanged, one_unit, virtually

from firmware_bridge.devices.instrument import Instrument
from firmware_bridge.errors import LinkTimeout, WrongModel
from firmware_bridge.register_map import load_map
from firmware_bridge.signals import Quality

GOLDEN_REPLY = "01 04 10 00 01 00 00 00 00 03 E5 03 E5 00 00 00 F8 00 EA 66 12"
GOLDEN_REQUEST = "01 04 00 02 00 08 50 0C"


def registers(**changed: int) -> dict[int, int]:
    """The manual's example, and some of it otherwise: r5=1234."""
    table = dict(enumerate([603, 100, 1, 0, 0, 997, 997, 0, 248, 234]))
    return table | {int(name[1:]): value for name, value in changed.items()}


def test_the_manuals_frame_is_one_poll() -> None:
    """SMP manual p. 46."""

    async def main() -> None:
        link, slave, _ = one_unit({})
        exchanged(slave, GOLDEN_REQUEST, GOLDEN_REPLY)
        readings = await Instrument(link, 1, load_map("kipp_smp11"), name="sun").poll()
        assert {name: reading.value for name, reading in readings.items()} == pytest.approx(
            {"mode": 1, "status": 0, "scale_factor": 0, "irradiance_w_m2": 997, "raw_irradiance_w_m2": 997,
             "deviation_w_m2": 0, "body_temp_c": 24.8, "supply_v": 23.4}
        )  # fmt: skip
        assert all(reading.is_good for reading in readings.values())

    virtually(main)


@pytest.mark.parametrize("factor, value", [(2, 9.97), (1, 99.7), (0, 997.0), (0xFFFF, 9970.0)])
def test_the_scale_is_the_registers_before_it(factor: int, value: float) -> None:
    async def main() -> None:
        link, _, _ = one_unit(registers(r4=factor))
        readings = await Instrument(link, 1, load_map("kipp_smp11")).poll()
        assert readings["irradiance_w_m2"].value == pytest.approx(value)
        assert readings["body_temp_c"].value == pytest.approx(24.8), "temperatures have a scale of their own"

    virtually(main)


@pytest.mark.parametrize("names", [("irradiance_w_m2",), ("raw_irradiance_w_m2",), ("irradiance_w_m2", "supply_v")])
def test_value_and_scale_come_in_the_same_request(names: tuple[str, ...]) -> None:
    table = load_map("kipp_smp11")
    block = next(b for b in table.blocks(map(table.signal, names)) if any(s.name == names[0] for s in b.signals))
    assert any(signal.name == "scale_factor" for signal in block.signals)


@pytest.mark.parametrize(
    "changed, why",
    [
        ({"r3": 4}, "the sensor flags its data (status 4)"),
        ({"r2": 2}, "the sensor is not in its normal mode (mode 2)"),
        ({"r4": 9}, "there is no such scale (scale_factor 9)"),
        ({"r4": 0x8000}, "its scale scale_factor is -32768"),
    ],
)
def test_what_the_sensor_does_not_vouch_for_is_bad(changed: dict[str, int], why: str) -> None:
    async def main() -> None:
        link, _, _ = one_unit(registers(**changed))
        readings = await Instrument(link, 1, load_map("kipp_smp11")).poll()
        reading = readings["irradiance_w_m2"]
        assert reading.quality is Quality.BAD and reading.why == why
        assert math.isnan(reading.value) or math.isfinite(reading.value)
        assert readings["supply_v"].is_good

    virtually(main)


def test_the_deviation_is_not_read_twice_nor_by_the_way() -> None:
    """Reading latches it: a lost reply is not asked for again, and it is no gap between its neighbours."""

    async def main() -> None:
        link, slave, _ = one_unit(registers())
        table = load_map("kipp_smp11")
        device = Instrument(link, 1, table)
        slave.twist = lambda unit, pdu, good: []
        with pytest.raises(LinkTimeout):
            await device.poll()
        assert len(slave.asked) == 1
        assert [(b.address, b.count) for b in table.blocks([table.signal("body_temp_c")])] == [(8, 1)]
        between = table.blocks([table.signal("raw_irradiance_w_m2"), table.signal("body_temp_c")])
        assert [(b.address, b.count) for b in between] == [(4, 3), (8, 1)]
        assert [b.retries for b in between] == [1, 1]

    virtually(main)


@pytest.mark.parametrize("device_type", [600, 617, 0])
def test_another_model_is_named(device_type: int) -> None:
    async def main() -> None:
        link, _, _ = one_unit(registers(r0=device_type))
        with pytest.raises(WrongModel, match=f"device_type is {device_type}, expected 601 to 616"):
            await Instrument(link, 1, load_map("kipp_smp11")).identify()

    virtually(main)

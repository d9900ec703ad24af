"""Does a map say the same as the manuals' frames, and does a wrong map end in a sentence?"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from map_golden import GOLDEN, differences, mutations
from modbus_link_helpers import bus

from firmware_bridge.devices.poll_cost import poll_cost, poll_cost_s
from firmware_bridge.devices.register_access import RegisterAccess
from firmware_bridge.errors import Mismatch, Rejected
from firmware_bridge.register_map import MapError, Signal, load_map
from hil_sim.virtual_run import run_virtual

MAPS = sorted(GOLDEN)

HEAD = """
[device]
model = "m"
protocol = "modbus-rtu"
source = "a manual"
max_gap = 2
[watchdog]
kind = "none"
why = "only read"
[[identify]]
signal = "mode"
equals = 1
[signal.mode]
fc = 4
addr = 2
dtype = "u16"
poll = true
"""

# Kipp & Zonen SMP manual p. 41-46
PYRANOMETER = (
    HEAD
    + """
[signal.status]
fc = 4
addr = 3
dtype = "u16"
poll = true
[signal.scale_factor]
fc = 4
addr = 4
dtype = "i16"
[signal.irradiance_w_m2]
fc = 4
addr = 5
dtype = "i16"
scale_from = "scale_factor"
unit = "W/m2"
poll = true
[signal.body_c]
fc = 4
addr = 8
dtype = "i16"
scale = 0.1
poll = true
[signal.supply_v]
fc = 4
addr = 9
dtype = "u16"
scale = 0.1
poll = true
"""
)

# Leadshine manual p. 20: two 32-bit parameters, high word first
DRIVE = (
    HEAD
    + """
[signal.first]
fc = 3
addr = 0x0146
dtype = "u32"
access = "rw"
range = [0, 100]
[signal.second]
fc = 3
addr = 0x0148
dtype = "u32"
access = "rw"
range = [0, 100]
"""
)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "trial.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", MAPS)
def test_shipped_maps_load_and_say_where_they_come_from(name: str) -> None:
    table = load_map(name)
    assert table.source and table.identify and table.polled and table.watchdog_why
    assert load_map(Path(str(resources.files("firmware_bridge.maps") / f"{name}.toml"))).signals == table.signals
    for signal in table.signals.values():
        if signal.nonvolatile:
            assert "w" in signal.access and 0 < signal.writes_per_day_max <= 10


def test_every_map_in_the_folder_is_tried_here() -> None:
    folder = resources.files("firmware_bridge.maps")
    assert sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml")) == sorted(MAPS)


@pytest.mark.parametrize("name", MAPS)
def test_each_register_stands_where_the_manual_has_it(name: str) -> None:
    assert not differences(load_map(name), GOLDEN[name])


WRONG = [(name, wrong) for name in MAPS for wrong in mutations(load_map(name))]


@pytest.mark.parametrize("name, wrong", WRONG, ids=[f"{name}: {wrong}" for name, wrong in WRONG])
def test_a_map_with_a_shifted_address_or_a_swapped_word_is_found_out(name: str, wrong: str) -> None:
    assert differences(mutations(load_map(name))[wrong], GOLDEN[name])


def test_pyranometer_reply_decodes_through_map_and_link(tmp_path: Path) -> None:
    table = load_map(written(tmp_path, PYRANOMETER))
    words = [1, 0, 0, 997, 997, 0, 248, 234]
    frame = bytes.fromhex("01 04 10 00 01 00 00 00 00 03 E5 03 E5 00 00 00 F8 00 EA 66 12")

    async def main(loop: object) -> None:
        link, slave = bus()
        slave.registers[1] = {2 + index: word for index, word in enumerate(words)}
        slave.twist = lambda unit, pdu, reply: [(0, frame)]
        readings = await RegisterAccess(link, 1, table, "pyranometer").poll()
        assert slave.raw == [bytes.fromhex("01 04 00 02 00 08 50 0C")]
        values = {name: reading.value for name, reading in readings.items()}
        assert values == pytest.approx(
            {"mode": 1, "status": 0, "scale_factor": 0, "irradiance_w_m2": 997, "body_c": 24.8, "supply_v": 23.4}
        )
        assert table.signal("irradiance_w_m2").decode([997], 1.0) == pytest.approx(99.7)

    run_virtual(main)


def test_drive_frame_encodes_through_map_and_link(tmp_path: Path) -> None:
    table = load_map(written(tmp_path, DRIVE))

    async def main(loop: object) -> None:
        link, slave = bus()
        slave.registers[1] = dict.fromkeys(range(0x146, 0x14A), 0)
        slave.twist = lambda unit, pdu, reply: [(0, bytes.fromhex("01 10 01 46 00 04 21 E3"))]
        await RegisterAccess(link, 1, table, "drive").write_block({"second": 0x29, "first": 0x28})
        assert slave.raw == [bytes.fromhex("01 10 01 46 00 04 08 00 00 00 28 00 00 00 29 1C 14")]
        assert list(slave.registers[1].values()) == [0, 0x28, 0, 0x29]

    run_virtual(main)


def test_pseudo_modbus_is_refused(tmp_path: Path) -> None:
    """A Huanyang drive frames with Modbus' CRC and is not Modbus: nothing it says may become a value."""
    table = load_map(written(tmp_path, PYRANOMETER))

    async def main(loop: object) -> None:
        link, slave = bus()
        slave.registers = {4: dict.fromkeys(range(12), 0)}
        slave.twist = lambda unit, pdu, reply: [(0, bytes.fromhex("04 01 03 01 00 00 6D DB"))]
        with pytest.raises(Mismatch) as caught:
            await RegisterAccess(link, 4, table, "drive").poll()
        assert "reply to function 1" in str(caught.value)

    run_virtual(main)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (("dtype", "dtyp"), r"unknown key 'dtyp' \(did you mean 'dtype'\?\)"),
        (('"u16"', '"u17"'), "'dtype' = 'u17'; allowed are u16"),
        (("addr = 2", "addr = 40003000"), "PDU addresses go from 0 to 65535"),
        (("fc = 4", "fc = 5"), "'fc' = 5"),
        (("addr = 2", 'addr = "2"'), "has the wrong type"),
        (("addr = 2\n", ""), "the key 'addr' is missing"),
        (('signal = "mode"', 'signal = "mod"'), r"no signal 'mod' \(did you mean 'mode'\?\)"),
        (("poll = true", 'access = "w"'), "input registers"),
        (("poll = true", "range = [3, 1]"), "the low end is above"),
        (("poll = true", "scale = 0"), "finite number other than 0"),
        (("poll = true", 'scale_from = "mde"'), "'scale_from' = 'mde'"),
        (("[watchdog]", "[watchdgo]"), r"did you mean 'watchdog'"),
        (('kind = "none"', 'kind = "maybe"'), "allowed are device, none"),
        (("model", "model = 3\n#"), "wrong type"),
        (("[device]", "[device"), "is no TOML"),
    ],
)
def test_a_wrong_map_is_a_sentence(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    with pytest.raises(MapError, match=sentence):
        load_map(written(tmp_path, HEAD.replace(*change, 1)))


def test_unknown_map_names_the_nearest() -> None:
    with pytest.raises(MapError, match=r"did you mean 'eurotherm_3200'"):
        load_map("eurotherm_320")
    with pytest.raises(MapError, match="cannot be read"):
        load_map("/nowhere/x.toml")


def test_a_scale_in_another_block_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="not read in the same block"):
        load_map(written(tmp_path, PYRANOMETER.replace("addr = 4", "addr = 40")))


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 200.1])
def test_nothing_outside_the_range_is_encoded(value: float) -> None:
    with pytest.raises(Rejected, match="power_w"):
        load_map("moonkiln_beam_head").signal("power_w").encode(value)


def test_read_only_and_sentinels() -> None:
    with pytest.raises(Rejected, match="only read"):
        load_map("moonkiln_beam_head").signal("emission_w").encode(1)
    signal = load_map("eurotherm_3200").signal("bed_temp_c")
    assert math.isnan(signal.decode([0x8000])) and signal.sentinel([0x8000]) == "no value"


@given(
    dtype=st.sampled_from(["u16", "i16", "u32", "i32"]),
    order=st.sampled_from(["big", "little"]),
    scale=st.sampled_from([1.0, 0.1, 0.01, -0.5]),
    raw=st.integers(0, 0x7FFF),
)
def test_encode_and_decode_are_inverse(dtype: str, order: str, scale: float, raw: int) -> None:
    signal = Signal("s", 3, 0, dtype, order, scale, offset=3.0, access="rw")
    value = raw * scale + 3.0
    assert signal.decode(signal.encode(value)) == pytest.approx(value)


@given(
    dtype=st.sampled_from(["u16", "i16", "u32", "i32"]),
    scale=st.sampled_from([1.0, 10.0, 0.5, 0.1, 0.01, 0.001, -0.5]),
    offset=st.sampled_from([0.0, 3.0, -273.15]),
    data=st.data(),
)
def test_every_value_on_a_step_is_taken_as_it_is_typed_and_none_between(
    dtype: str, scale: float, offset: float, data: st.DataObject
) -> None:
    """Round trip by its decimal writing, which is what a hand types: 20.1 is no binary number."""
    signal = Signal("s", 3, 0, dtype, scale=scale, offset=offset, unit="W", access="rw")
    low, high = {"u16": (0, 65535), "i16": (-32768, 32767), "u32": (0, 2**32 - 1), "i32": (-(2**31), 2**31 - 1)}[dtype]
    raw = data.draw(st.integers(low, high - 1))
    typed = str(Decimal(str(offset)) + raw * Decimal(str(scale)))
    signal.check_on_step(float(typed))
    assert signal.raw(signal.encode(float(typed))) == raw
    between = raw + data.draw(st.floats(0.001, 0.999))
    with pytest.raises(Rejected, match="steps of"):
        signal.check_on_step(between * scale + offset)


@pytest.mark.parametrize(("name", "value"), [("shutter", 0.6), ("fire", 0.4), ("token", 1.5), ("watchdog_ms", 100.4)])
def test_a_bit_a_code_or_a_count_is_never_rounded(name: str, value: float) -> None:
    with pytest.raises(Rejected, match=rf"^{name} = {value}( ms)? is refused: it goes in steps of 1"):
        load_map("moonkiln_beam_head").signal(name).encode(value)


def test_a_set_point_goes_to_the_nearest_step_and_an_f32_has_none() -> None:
    assert load_map("moonkiln_beam_head").signal("power_w").encode(20.04) == [200]
    setpoint = load_map("watlow_pm").signal("setpoint_c")
    setpoint.check_on_step(math.pi)
    assert setpoint.step == 0.0


def test_a_refusal_names_the_step_and_the_nearest_values_and_has_no_gap_where_there_is_no_unit() -> None:
    head = load_map("moonkiln_beam_head")
    with pytest.raises(Rejected) as caught:
        head.signal("power_w").check_on_step(20.04)
    assert str(caught.value) == (
        "power_w = 20.04 W is refused: it goes in steps of 0.1 W, and the nearest are 20 and 20.1 W."
    )
    with pytest.raises(Rejected) as caught:
        head.signal("shutter").encode(0.6)
    assert str(caught.value) == "shutter = 0.6 is refused: it goes in steps of 1, and the nearest are 0 and 1."
    with pytest.raises(Rejected) as caught:
        head.signal("shutter").encode(2)
    assert str(caught.value) == "shutter = 2 is refused: 0 to 1 may be."


def test_blocks_respect_gaps_lengths_and_holes(tmp_path: Path) -> None:
    signals = "".join(f"[signal.s{a}]\nfc = 3\naddr = {a}\ndtype = 'u16'\npoll = true\n" for a in (10, 12, 13, 20, 22))
    text = HEAD.replace("max_gap = 2", "max_gap = 2\nmax_words = 4\nholes = [[21, 21]]") + signals
    table = load_map(written(tmp_path, text))
    assert [(b.address, b.count) for b in table.blocks(table.polled) if b.fc == 3] == [(10, 4), (20, 1), (22, 1)]


def test_poll_cost_is_the_arithmetic_of_the_wire() -> None:
    """Eurotherm at 9600: registers 1..5 and 75: 2 requests, 16 bytes out, 15 + 7 back, 20 ms each."""
    cost = poll_cost("eurotherm_3200", baud=9600)
    assert cost == (2, 16, 22, pytest.approx(0.040))
    assert poll_cost_s("eurotherm_3200", baud=9600) == pytest.approx(38 * 10 / 9600 + 0.04 + 4 * 35 / 9600)
    assert poll_cost_s("eurotherm_3200", baud=9600, writes=1, reads=False) == pytest.approx(
        16 * 10 / 9600 + 0.02 + 2 * 35 / 9600
    )
    assert poll_cost("leadshine_cs2rs", baud=115200).reply_delay_s == pytest.approx(2 * 0.00244)
    assert poll_cost(load_map("leadshine_cs2rs"), baud=9600).reply_delay_s == pytest.approx(2 * 0.0205)


def test_the_bench_plan_fits_its_buses() -> None:
    slow = 2 * poll_cost_s("eurotherm_3200", baud=9600) + poll_cost_s("eastron_sdm120", baud=9600)
    slow += poll_cost_s("eurotherm_3200", baud=9600, writes=1, reads=False)
    assert slow < 0.7
    assert 2 * 10 * poll_cost_s("leadshine_cs2rs", baud=115200) < 0.7


def test_maps_name_what_no_source_confirms() -> None:
    table = load_map("eurotherm_3200")
    assert {name for name, signal in table.signals.items() if signal.unverified} == {
        "remote_setpoint_c", "status", "id", "mode", "remote"
    }  # fmt: skip
    assert re.match("100,000 writes", table.signal("sp1_c").nonvolatile)

"""Does a machine file that cannot work say so, where and what to do, before any port is opened?"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from control.config import MachineConfig, load_envelope, load_machine
from control.config_checks import BUS_LOAD_MAX, bus_loads
from control.machine_file import MACHINES, ConfigError, machine_path, machine_text_with_urls

BENCH = (MACHINES / "bench.toml").read_text(encoding="utf-8")
LAB = (MACHINES / "bench_lab.toml").read_text(encoding="utf-8")


def set_key(text: str, table: str, key: str, value: str) -> str:
    """The text with `key = value` in `[table]` (top level: ""), the key added where it is not there."""
    lines, here, last = [], "", None
    for line in text.splitlines():
        header = re.match(r"\[([\w.]+)\]", line)
        if header:
            here = header.group(1)
        if here == table and re.match(rf"{key}\s*=", line):
            line, last = f"{key} = {value}", -1
        lines.append(line)
        if last is None and header and here == table:
            last = len(lines)
    if last is not None and last > 0:
        lines.insert(last, f"{key} = {value}")
    return "\n".join(lines) + "\n"


def refusal(tmp_path: Path, text: str) -> str:
    """The sentence with which a machine file of this text is refused."""
    path = tmp_path / "machine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        load_machine(path)
    assert refused.value.exit_code == 2
    assert str(path) in str(refused.value), "the sentence does not name the file"
    return str(refused.value)


# ---- what is shipped


def test_the_shipped_bench_is_a_machine_and_has_the_envelope_of_the_bench_printer() -> None:
    config = load_machine("bench")
    assert config.name == "bench" and set(config.urls) == {"motion", "beam", "bus0", "bus1", "camera"}
    envelope = load_envelope("bench")
    assert (envelope.x_mm, envelope.y_mm, envelope.z_mm) == (250.0, 150.0, 100.0)
    assert (envelope.beam_power_w_max, envelope.speed_mm_s_max, envelope.acceleration_mm_s2) == (200.0, 100.0, 500.0)
    assert envelope.s_max == 1000


@pytest.mark.parametrize(("machine", "is_taken"), [("bench", True), ("bench_rrf", True), ("bench_grbl", False)])
def test_a_place_is_checked_where_the_board_can_stop_at_its_switches(
    tmp_path: Path, machine: str, is_taken: bool
) -> None:
    text = (MACHINES / f"{machine}.toml").read_text(encoding="utf-8")
    assert bool(load_machine(machine).devices.motion.home_check_layers) is is_taken, "as shipped"
    if not is_taken:
        text = text.replace('kind = "grbl"', 'kind = "grbl"\nhome_check_layers = 1')
        assert "home_check_layers is for kind 'marlin' or 'reprap'; 'grbl' takes 0" in refusal(tmp_path, text)


def test_the_bench_polls_at_the_rates_of_its_contract_and_no_bus_is_overloaded() -> None:
    d = load_machine("bench").devices
    assert (d.beam.poll_hz, d.beam.poll_arming_hz, d.beam.feed_hz, d.beam.watchdog_ms) == (2.0, 10.0, 4.0, 1000)
    assert (d.heater.poll_hz, d.meter.poll_hz) == (2.0, 1.0)
    for drive in (d.recoater, d.piston):
        assert (drive.poll_hz, drive.poll_moving_hz) == (1.0, 10.0)
    loads = bus_loads(load_machine("bench"))
    assert set(loads) == {"bus0", "bus1"} and all(0 < load <= BUS_LOAD_MAX for load, _ in loads.values())


# ---- every bound

BAD_VALUES = [
    ("envelope", "x_mm", ["0.0", "-1.0", "5001.0", '"250"', "true"]),
    ("envelope", "y_mm", ["0.0", "5001.0"]),
    ("envelope", "z_mm", ["0.0", "2001.0"]),
    ("envelope", "beam_power_w_max", ["0.0", "20001.0"]),
    ("envelope", "speed_mm_s_max", ["0.0", "2001.0"]),
    ("envelope", "acceleration_mm_s2", ["0.0", "50001.0"]),
    ("envelope", "junction_deviation_mm", ["0.0", "1.1"]),
    ("envelope", "s_max", ["0", "65536", "10.5"]),
    ("devices.motion", "kind", ['"linuxcnc"']),
    ("devices.motion", "stale_after_s", ["0.0"]),
    ("devices.beam", "kind", ['"laser"']),
    ("devices.beam", "unit", ["0", "248"]),
    ("devices.motion", "emergency_parser", ["0", '"absent"']),
    ("devices.motion", "home_check_layers", ["-1", "1001"]),
    ("devices.motion", "home_check_mm", ["0.0", "5.1"]),
    ("devices.beam", "poll_hz", ["0.0", "50.1"]),
    ("devices.beam", "poll_arming_hz", ["0.0", "50.1"]),
    ("devices.beam", "feed_hz", ["0.9", "20.1"]),
    ("devices.beam", "watchdog_ms", ["99", "5001"]),
    ("devices.beam", "energy_share_max", ["0", "1.1"]),
    ("devices.beam", "stale_after_s", ["0.0"]),
    ("devices.heater", "unit", ["0", "248"]),
    ("devices.heater", "poll_hz", ["0.0", "50.1"]),
    ("devices.heater", "refresh_hz", ["0.4", "5.1"]),
    ("devices.heater", "temp_c_max", ["0.0", "1501.0"]),
    ("devices.heater", "tolerance_c", ["0.0", "100.5"]),
    ("devices.heater", "warm_up_s_max", ["0.0"]),
    ("devices.heater", "stale_after_s", ["0.0"]),
    ("devices.heater", "temp_rate_c_s_max", ["0.0", "100.5"]),
    ("devices.heater", "no_rise_s_max", ["0.0"]),
    ("devices.heater.model", "power_w", ["0.0"]),
    ("devices.heater.model", "plate_j_k", ["0.0"]),
    ("devices.heater.model", "loss_w_k", ["0.0"]),
    ("devices.heater.model", "ambient_c", ["-250.5", "200.5"]),
    ("devices.heater.model", "uncertainty", ["0.0", "0.6"]),
    ("devices.meter", "unit", ["0", "248"]),
    ("devices.meter", "poll_hz", ["0.0", "50.1"]),
    ("devices.meter", "stale_after_s", ["0.0"]),
    ("devices.meter", "idle_w_max", ["0.0"]),
    ("devices.meter", "idle_w_min", ["-1.0"]),
    ("devices.recoater", "unit", ["0", "248"]),
    ("devices.recoater", "poll_hz", ["0.0", "50.1"]),
    ("devices.recoater", "poll_moving_hz", ["0.0", "50.1"]),
    ("devices.recoater", "mm_per_rev", ["0.0"]),
    ("devices.recoater", "travel_mm", ["0.0"]),
    ("devices.recoater", "speed_mm_s", ["0.0"]),
    ("devices.recoater", "stale_after_s", ["0.0"]),
    ("devices.camera", "timeout_s", ["0.0"]),
    ("devices.camera", "tries_max", ["0", "11"]),
    ("devices.camera", "fiducial_size_mm", ["0.0"]),
    ("print", "recoat_park_mm", ["-0.1"]),
    ("print", "recoat_far_mm", ["0.0"]),
    ("print", "recoat_tries_max", ["0", "11"]),
    ("print", "thin_area_mm2_max", ["-0.1"]),
    ("print", "on_unknown_picture", ['"hope"']),
    ("print", "position_tolerance_mm", ["0.0", "1.1"]),
]
LAB_VALUES = [  # of the devices that may be left out
    ("devices.conveyor", "unit", ["0", "248"]),
    ("devices.conveyor", "poll_hz", ["0.0", "50.1"]),
    ("devices.conveyor", "run_hz", ["0.0", "50.1"]),
    ("devices.conveyor", "hz_max", ["0.0", "60.1", "29.0"]),
    ("devices.conveyor", "watchdog_s", ["0.1", "10.1", "0.4"]),
    ("devices.conveyor", "stale_after_s", ["0.0", "0.4"]),
    ("devices.supply", "unit", ["0", "248"]),
    ("devices.supply", "poll_hz", ["0.0", "50.1"]),
    ("devices.supply", "volts", ["0.0", "13.1"]),
    ("devices.supply", "volts_max", ["0.0", "11.9"]),
    ("devices.supply", "amps_max", ["0.0", "0.5"]),
    ("devices.supply", "amps_min", ["-0.1", "2.0"]),
    ("devices.supply", "stale_after_s", ["0.0", "0.4"]),
    ("devices.pyranometer", "unit", ["0", "248"]),
    ("devices.pyranometer", "poll_hz", ["0.0", "50.1"]),
    ("devices.pyranometer", "irradiance_min_w_m2", ["0.0", "4001.0"]),
    ("devices.pyranometer", "wait_s_max", ["-1.0"]),
    ("devices.pyranometer", "stale_after_s", ["0.0", "0.9"]),
]


@pytest.mark.parametrize(
    ("table", "key", "value"), [(table, key, value) for table, key, values in BAD_VALUES for value in values]
)
def test_a_value_out_of_its_range_is_refused_where_it_is_read(tmp_path: Path, table: str, key: str, value: str) -> None:
    assert f"{table}.{key}" in refusal(tmp_path, set_key(BENCH, table, key, value))


@pytest.mark.parametrize(
    ("table", "key", "value"), [(table, key, value) for table, key, values in LAB_VALUES for value in values]
)
def test_so_is_one_of_a_device_that_may_be_left_out(tmp_path: Path, table: str, key: str, value: str) -> None:
    sentence = refusal(tmp_path, set_key(LAB, table, key, value))
    assert table in sentence and key in sentence


def test_a_key_that_a_device_does_not_have_is_named_also_where_it_may_be_left_out(tmp_path: Path) -> None:
    assert "did you mean 'run_hz'" in refusal(tmp_path, LAB.replace("run_hz", "run_hx")).replace("?", "")


def test_a_wait_for_light_that_nobody_asks_for_is_refused(tmp_path: Path) -> None:
    text = LAB.replace("irradiance_min_w_m2 = 600.0", "")
    assert "wait_s_max is for what" in refusal(tmp_path, text)
    assert load_machine_text(tmp_path, text.replace("wait_s_max = 1800.0", "")).devices.pyranometer is not None


@pytest.mark.parametrize("machine", ["bench_grbl", "bench_rrf"])
def test_an_emergency_parser_is_a_matter_of_marlin_alone(tmp_path: Path, machine: str) -> None:
    text = (MACHINES / f"{machine}.toml").read_text(encoding="utf-8")
    said = refusal(tmp_path, set_key(text, "devices.motion", "emergency_parser", "false"))
    assert "devices.motion: emergency_parser = false is for kind 'marlin'" in said


def load_machine_text(tmp_path: Path, text: str) -> MachineConfig:
    (tmp_path / "machine.toml").write_text(text, encoding="utf-8")
    return load_machine(tmp_path / "machine.toml")


def number_keys() -> list[tuple[str, str]]:
    """(table, key) of every real number in the shipped bench."""
    found = []

    def walk(node: dict, place: str) -> None:
        for key, value in node.items():
            if isinstance(value, dict):
                walk(value, f"{place}.{key}" if place else key)
            elif isinstance(value, float):
                found.append((place, key))

    walk(tomllib.loads(BENCH), "")
    return found


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_no_number_of_a_machine_file_may_be_other_than_finite(tmp_path: Path, value: str) -> None:
    for table, key in number_keys():
        sentence = refusal(tmp_path, set_key(BENCH, table, key, value))
        assert f"{table}.{key}" in sentence, sentence


def test_every_number_with_a_bound_is_tried_above() -> None:
    """A new key of the configuration must have its bad values in this file."""
    tried = {(table, key) for table, key, _ in BAD_VALUES + LAB_VALUES}

    def walk(kind: type, place: str) -> None:
        for field in msgspec.structs.fields(kind):
            kinds = [field.type, *get_args(field.type)]
            inner = next((k for k in kinds if isinstance(k, type) and issubclass(k, msgspec.Struct)), None)
            if inner is not None and field.name != "extra":
                walk(inner, f"{place}.{field.name}" if place else field.name)
            elif field.type not in (str, dict[str, str]) and field.name not in (
                "schema_version",
                "fiducials",
                "kind",
                "extra",
            ):  # fmt: skip  (devices that others bring: tests/test_adding_a_device.py)
                names = {place} if place != "devices.piston" else {"devices.recoater"}
                assert any((name, field.name) in tried for name in names), f"{place}.{field.name} is not tried"

    walk(MachineConfig, "")


# ---- unknown, missing, newer


@pytest.mark.parametrize(
    ("table", "key", "near"),
    [
        ("envelope", "beam_power_max", "beam_power_w_max"),
        ("devices.beam", "watchdog_s", "watchdog_ms"),
        ("devices.recoater", "poll_moving_h", "poll_moving_hz"),
        ("print", "recoat_tries", "recoat_tries_max"),
    ],
)
def test_an_unknown_key_names_its_table_and_the_nearest_known_key(
    tmp_path: Path, table: str, key: str, near: str
) -> None:
    sentence = refusal(tmp_path, set_key(BENCH, table, key, "1.0"))
    assert f"[{table}] has an unknown key '{key}' (did you mean '{near}'?)" in sentence


def test_an_unknown_device_and_an_unknown_table_name_the_nearest(tmp_path: Path) -> None:
    assert "did you mean 'heater'?" in refusal(tmp_path, BENCH + '\n[devices.heeter]\nkind = "bed_heater"\n')
    assert "did you mean 'print'?" in refusal(tmp_path, BENCH + "\n[prints]\nx = 1\n")


def test_a_missing_key_is_named_with_its_table(tmp_path: Path) -> None:
    text = BENCH.replace("watchdog_ms = 1000\n", "")
    assert "[devices.beam] lacks the key 'watchdog_ms'" in refusal(tmp_path, text)


def test_a_device_on_a_wire_that_has_no_url_names_the_nearest_wire(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, set_key(BENCH, "devices.meter", "wire", '"buss0"'))
    assert "device meter hangs on wire 'buss0'" in sentence and "did you mean 'bus0'?" in sentence


def test_a_newer_schema_asks_for_an_upgrade(tmp_path: Path) -> None:
    sentence = refusal(tmp_path, set_key(BENCH, "", "schema_version", "2"))
    assert "schema version 2" in sentence and "upgrade" in sentence
    assert "schema_version" in refusal(tmp_path, set_key(BENCH, "", "schema_version", "0"))


def test_what_is_no_toml_says_where(tmp_path: Path) -> None:
    assert "is not valid TOML" in refusal(tmp_path, BENCH + "\n[[[\n")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_machine(tmp_path / "binary.toml")
    with pytest.raises(ConfigError, match="does not exist"):
        load_machine(tmp_path / "absent.toml")


def test_an_unknown_machine_names_the_nearest_shipped_one() -> None:
    with pytest.raises(ConfigError, match=r"'bensh' \(did you mean 'bench'\?\); shipped are"):
        machine_path("bensh")


# ---- what each key allows and all of them together do not


def test_an_overloaded_bus_is_refused_with_the_arithmetic(tmp_path: Path) -> None:
    text = set_key(set_key(BENCH, "devices.heater", "poll_hz", "10.0"), "devices.meter", "poll_hz", "10.0")
    sentence = refusal(tmp_path, text)
    said = re.search(r"the poll plan needs (\d+)% of bus0 \((.*)\), more than 70%", sentence)
    assert said, sentence
    parts = re.findall(r"(\w+) 10 Hz x ([\d.]+) ms = (\d+)%", said.group(2))
    assert [name for name, _, _ in parts] == ["heater", "meter"]
    for _, cost_ms, share in parts:
        assert 10 * float(cost_ms) / 10 == pytest.approx(float(share), abs=1.0)
    assert sum(float(share) for _, _, share in parts) == pytest.approx(float(said.group(1)), abs=1.5)


@pytest.mark.parametrize(("share", "is_refused"), [(BUS_LOAD_MAX - 0.03, False), (BUS_LOAD_MAX + 0.03, True)])
def test_the_bound_of_a_bus_is_where_it_is_said_to_be(tmp_path: Path, share: float, is_refused: bool) -> None:
    config = load_machine("bench")
    load, words = bus_loads(config)["bus0"]
    meter_ms = float(next(word for word in words if word.startswith("meter")).split()[4])
    poll_hz = config.devices.meter.poll_hz + (share - load) / (meter_ms * 1e-3)
    text = set_key(BENCH, "devices.meter", "poll_hz", f"{poll_hz:.4f}")
    if is_refused:
        assert "more than 70%" in refusal(tmp_path, text)
    else:
        (tmp_path / "machine.toml").write_text(text, encoding="utf-8")
        assert bus_loads(load_machine(tmp_path / "machine.toml"))["bus0"][0] == pytest.approx(share, abs=0.01)


def test_the_same_plan_fits_a_faster_bus(tmp_path: Path) -> None:
    text = set_key(set_key(BENCH, "devices.recoater", "poll_moving_hz", "20.0"), "devices.piston", "poll_hz", "2.0")
    path = tmp_path / "machine.toml"
    path.write_text(text, encoding="utf-8")
    assert load_machine(path).devices.recoater.poll_moving_hz == 20.0
    slow = load_machine(path).with_urls({"bus1": "serial:/dev/x?baud=9600"})
    load, words = bus_loads(slow)["bus1"]
    assert load > BUS_LOAD_MAX and len(words) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("devices.meter", "unit", "1")], ["heater and meter", "unit 1", "bus0"]),
        ([("devices.piston", "unit", "1")], ["recoater and piston", "unit 1", "bus1"]),
        ([("devices.beam", "feed_hz", "1.0")], ["devices.beam", "watchdog_ms", "feed_hz"]),
        ([("devices.beam", "stale_after_s", "0.4")], ["beam", "stale_after_s"]),
        ([("devices.meter", "stale_after_s", "1.0")], ["meter", "stale_after_s"]),
        ([("print", "recoat_far_mm", "321.0")], ["recoat_far_mm", "recoater", "320"]),
        ([("print", "recoat_park_mm", "310.0")], ["recoat_park_mm", "recoat_far_mm"]),
        ([("devices.meter", "idle_w_min", "100.0")], ["idle_w_min 100", "idle_w_max 100"]),
        ([("devices.piston", "travel_mm", "99.0")], ["piston", "z_mm"]),
    ],
)
def test_values_that_contradict_each_other_are_refused(
    tmp_path: Path, changes: list[tuple[str, str, str]], words: list[str]
) -> None:
    text = BENCH
    for change in changes:
        text = set_key(text, *change)
    sentence = refusal(tmp_path, text)
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize("device", ["beam", "heater", "meter", "recoater", "piston"])
def test_a_map_that_is_not_there_is_refused_before_any_port_is_opened(tmp_path: Path, device: str) -> None:
    sentence = refusal(tmp_path, set_key(BENCH, f"devices.{device}", "map", '"no_such_map"'))
    assert device in sentence and "no_such_map" in sentence


@pytest.mark.parametrize(
    ("line", "word"),
    [("0 = [-12.0, -12.0]\n", "four"), ("first = [1.0, 2.0]\n0 = [-12.0, -12.0]\n", "'first'")],
)
def test_fiducials_are_at_least_four_markers_with_numbers(tmp_path: Path, line: str, word: str) -> None:
    changed = "" if word == "four" else line
    sentence = refusal(tmp_path, BENCH.replace("0 = [-12.0, -12.0]\n", changed))
    assert "fiducials" in sentence and word in sentence


# ---- the overlay of URLs


def test_an_overlay_moves_wires_and_knows_their_names() -> None:
    config = load_machine("bench").with_urls({"motion": "sim:motion"})
    assert config.urls["motion"] == "sim:motion" and config.urls["beam"].startswith("tcp:")
    with pytest.raises(ConfigError, match=r"no wire named 'moton' \(did you mean 'motion'\?\)"):
        config.with_urls({"moton": "sim:motion"})


def test_only_the_urls_of_a_machine_file_change_and_its_comments_stay() -> None:
    urls = {name: f"sim:{name}" for name in load_machine("bench").urls}
    text = machine_text_with_urls(BENCH, urls)
    before, after = tomllib.loads(BENCH), tomllib.loads(text)
    assert after.pop("urls") == urls
    before.pop("urls")
    assert after == before
    assert [line for line in BENCH.splitlines() if "#" in line] == [line for line in text.splitlines() if "#" in line]


@pytest.mark.parametrize(
    "table",
    [
        '[urls]   # where the wires are\nmotion = "a"  # the gantry\n\n# the head\nbeam = "b"\n',
        '[ urls ]\n"motion" = "a"\nbeam="b" # why\n# the next table is the printer\'s',
        '[urls]\nbeam = "b"\nmotion = "a"',
    ],
)
def test_comments_around_the_urls_stay_where_they_are(table: str) -> None:
    text = f"name = 'x'\n{table}\n# devices follow\n[devices]\nk = 1\n"
    hard = {"motion": 'serial:C:\\odd "name"', "beam": "tcp:[::1]:502", "new": "sim:new"}
    changed = machine_text_with_urls(text, hard)
    assert tomllib.loads(changed) == {"name": "x", "urls": hard, "devices": {"k": 1}}
    comments = re.findall(r"#.*", text)
    assert comments == re.findall(r"#.*", changed)


def test_a_machine_file_without_a_table_of_urls_cannot_be_overlaid() -> None:
    with pytest.raises(ConfigError, match=r"no \[urls\] table"):
        machine_text_with_urls("name = 'x'\n", {"motion": "sim:motion"})


def test_a_config_is_plain_data() -> None:
    """It can be written and read back whole: nothing of it hides in an object."""
    config = load_machine("bench")
    assert msgspec.convert(json.loads(msgspec.json.encode(config)), MachineConfig) == config

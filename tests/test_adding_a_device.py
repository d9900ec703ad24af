"""Is what `docs/adding-a-device.md` says so: does its code run, in its own test, on the bench and in a machine?"""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench_helpers import REPOSITORY
from click.testing import CliRunner

from control import plug_in_devices
from control.assembly import open_machine
from control.cli import cli
from control.config import load_machine
from control.config_checks import bus_loads
from control.errors import MoonkilnError
from control.machine_file import ConfigError
from control.watch import MachineTripped
from firmware_bridge.errors import Rejected
from firmware_bridge.map_folders import use_folders, user_folder
from firmware_bridge.register_map import MapError, load_map
from hil_sim.virtual_run import run_virtual
from hil_sim.world.build import build_world
from hil_sim.world.emulators.modbus_slave import RtuBus
from hil_sim.world.wire import lay_virtual

PAGE = (REPOSITORY / "docs" / "adding-a-device.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```(?:py|toml)\n# ([^\n]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
BENCH = (REPOSITORY / "control" / "machines" / "bench.toml").read_text(encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The tutorial's files in a folder, installed as pip would, its map in the user's own folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("df100.toml", "df100.py", "df100_emulator.py", "test_df100.py", "pyproject.toml"):
        (folder / name).write_text(FILES[name], encoding="utf-8")
    described = tomllib.loads(FILES["pyproject.toml"])["project"]
    info = folder / f"{described['name']}-{described['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: {described['version']}\n"
    )
    rows = [
        f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in t.items()) for group, t in described["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(rows) + "\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    user_folder().mkdir(parents=True)
    (user_folder() / "df100.toml").write_text(FILES["df100.toml"], encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in ("df100", "df100_emulator", "test_df100"):
        sys.modules.pop(name, None)


def machine_file(folder: Path, extra: str, url: str = "sim:fan?baud=19200") -> Path:
    """The bench with the tutorial's part of a machine file."""
    path = folder / "my_bench.toml"
    text = BENCH.replace("[urls]\n", f'[urls]\nfan_bus = "{url}"\n') + "\n" + extra
    path.write_text(text, encoding="utf-8")
    return path


INSTRUMENT, ACTING = FILES["as an instrument"], FILES["as a device that acts"]


def python(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}"}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


# ---- the tutorial's own test ----------------------------------------------------------------------------------------


def test_the_tutorials_test_passes(project: Path) -> None:
    done = python(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_df100.py")
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout + done.stderr


def failures_of_own_test() -> list[str]:
    """Which of the tutorial's tests fail, with its files as they stand."""
    failed = []
    for name, test in vars(importlib.import_module("test_df100")).items():
        if name.startswith("test_"):
            try:
                test()
            except (Exception, pytest.fail.Exception):
                failed.append(name)
    return failed


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("df100.toml", "equals = 0xDF10", "equals = 0xDF10  # as it was"),
        ("df100.toml", "addr = 2", "addr = 3"),
        ("df100.toml", 'dtype = "i16"', 'dtype = "u16"'),
        ("df100.toml", "alarm_high = 900.0", "alarm_high = 9000.0"),
        ("df100.toml", 'sentinels = { "32767" = "no sensor" }', "sentinels = {}"),
        ("df100.toml", "equals = 0xDF10", "equals = 0x1234"),
        ("df100.py", '        await self._access.write_and_verify("watchdog_s", WATCHDOG_S)\n', ""),
        ("df100.py", '"speed_percent", 0, urgent=True', '"speed_percent", 1, urgent=True'),
        ("df100.py", "_replace(limit=LimitState.ALARM)", "_replace(limit=LimitState.WARN)"),
        ("df100_emulator.py", "self._speed, self.tripped = 0, True", "self.tripped = True"),
    ],
)
def test_it_would_notice_a_mistake(
    project: Path, monkeypatch: pytest.MonkeyPatch, file: str, right: str, wrong: str
) -> None:
    text = (project / file).read_text()
    assert right in text
    (project / file).write_text(text.replace(right, wrong))
    monkeypatch.chdir(project)
    assert bool(failures_of_own_test()) is not wrong.endswith("# as it was")


def test_emulator_and_driver_share_nothing_and_the_driver_knows_no_simulator() -> None:
    assert "firmware_bridge" not in FILES["df100_emulator.py"] and "df100.toml" not in FILES["df100_emulator.py"]
    assert "hil_sim" not in FILES["df100.py"]


# ---- on the bench ---------------------------------------------------------------------------------------------------


@pytest.mark.real_time
def test_the_device_command_works_on_the_served_emulator(project: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{REPOSITORY}", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(project / "df100_emulator.py"), str(tmp_path)]
    served = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert served.stdout is not None
        url = served.stdout.readline().strip()
        machine = machine_file(tmp_path, INSTRUMENT, url)

        def moonkiln(*words: str) -> str:
            done = python(project, "-m", "control.cli", "device", "dust_fan", *words, "--machine", machine)
            return done.stdout if done.returncode == 0 else done.stderr

        assert "filter_pa                120 Pa" in moonkiln("read")
        assert "give --arm" in moonkiln("write", "speed_percent=40")
        assert "speed_percent = 40 %: reads back 40 %" in moonkiln("write", "speed_percent=40", "--arm")
        assert "speed_percent = 0 %: reads back 0 %" in moonkiln("write", "speed_percent=0")
        assert "0 to 100 % may be" in moonkiln("write", "speed_percent=101", "--arm")
        machine_file(tmp_path, ACTING, url)
        assert "status                   0 (nothing set)" in moonkiln("read", "status")
    finally:
        served.kill()
        served.communicate()


# ---- in a machine ---------------------------------------------------------------------------------------------------


class Told:
    """What a machine tells."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.devices: set[str] = set()

    def readings(self, device, readings) -> None:
        self.devices.add(device)

    def event(self, level, text) -> None:
        self.events.append(text)


def in_machine(tmp_path: Path, extra: str, story) -> Told:
    """`story(machine, device, wire)` once the bench with the extractor has been brought up, in virtual time."""
    from df100_emulator import Df100

    told = Told()

    async def main(loop):
        world = await build_world("bench")
        device = Df100()
        wire = await lay_virtual("fan", RtuBus({7: device}, baud=19200), baud=19200)
        config = load_machine(machine_file(tmp_path, extra)).with_urls(world.urls)
        async with open_machine(config, told) as machine:
            await machine.bring_up()
            await story(machine, device, wire)
        assert device.speed_percent(loop.time()) == 0, "made safe with everything else"
        world.close()

    run_virtual(main)
    return told


def test_a_machine_brings_it_up_polls_it_and_makes_it_safe(project: Path, tmp_path: Path) -> None:
    async def story(machine, device, wire):
        await asyncio.sleep(10)
        assert device.speed_percent(asyncio.get_running_loop().time()) == 60 and not device.tripped
        assert machine.readings["dust_fan"]["filter_pa"].value == 120

    assert "dust_fan" in in_machine(tmp_path, ACTING, story).devices


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda device, wire: setattr(device, "filter_pa", 950), "filter_pa is 950 Pa, which is an alarm"),
        (lambda device, wire: setattr(device, "filter_pa", None), "filter_pa is bad"),
    ],
)
def test_an_alarm_and_a_bad_reading_trip_the_machine(project: Path, tmp_path: Path, harm, sentence) -> None:
    async def story(machine, device, wire):
        with pytest.raises(MachineTripped, match=sentence):
            harm(device, wire)
            await machine.guarded(asyncio.sleep(30))

    in_machine(tmp_path, ACTING, story)


def test_silence_trips_the_machine_and_the_device_saves_itself(project: Path, tmp_path: Path) -> None:
    async def story(machine, device, wire):
        wire.hang_up()
        with pytest.raises(MachineTripped, match="dust_fan"):
            await machine.guarded(asyncio.sleep(30))
        await asyncio.sleep(5)

    assert any("dust_fan could not be made safe" in event for event in in_machine(tmp_path, ACTING, story).events)


def test_an_instrument_needs_no_driver(tmp_path: Path, project: Path) -> None:
    async def story(machine, device, wire):
        assert machine.readings["dust_fan"]["speed_rpm"].value == 0

    in_machine(tmp_path, INSTRUMENT, story)


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "wrong", "sentence"),
    [
        ("[extra.dust_fan]", "[extra.heater]", "own device has this name"),
        ("[extra.dust_fan]", "[extra.Dust-Fan]", "extra.Dust-Fan: a name has small letters"),
        ('kind = "df100"', 'kind = "df10"', "no driver of kind 'df10' is installed (did you mean 'df100'?)"),
        ('wire = "fan_bus"', 'wire = "fan_bux"', "which [urls] does not name (did you mean 'fan_bus'?)"),
        ('map = "df100"', 'map = "df1000"', "extra.dust_fan.map: there is no register map 'df1000'"),
        ("unit = 7", "unit = 300", "unit"),
        ("poll_hz = 2.0", "poll_hz = 60.0", "poll_hz"),
        ("poll_hz = 2.0", "poll_hz = 50.0", "the poll plan needs"),
        ("stale_after_s = 5.0", "stale_after_s = 0.5", "extra.dust_fan: stale_after_s 0.5 is less than two polls"),
        ('wire = "fan_bus"\nunit = 7', 'wire = "bus0"\nunit = 1', "heater and dust_fan are both unit 1 on bus0"),
        ('kind = "df100"', 'kind = "df100"\nbaud = 9600', "unknown key 'baud'"),
    ],
)
def test_a_machine_file_with_a_mistake_is_a_sentence(project: Path, tmp_path: Path, right, wrong, sentence) -> None:
    assert right in ACTING
    with pytest.raises(ConfigError) as caught:
        load_machine(machine_file(tmp_path, ACTING.replace(right, wrong)))
    assert sentence in str(caught.value)


def test_its_polls_count_towards_the_load_of_its_bus(project: Path, tmp_path: Path) -> None:
    load, words = bus_loads(load_machine(machine_file(tmp_path, ACTING)))["fan_bus"]
    assert 0.02 < load < 0.2 and words[0].startswith("dust_fan 2 Hz x")


def test_settings_that_the_driver_refuses_open_nothing(project: Path, tmp_path: Path) -> None:
    async def story(machine, device, wire):
        raise AssertionError("it was brought up")

    with pytest.raises(Rejected, match=r"settings\.run_percent is 101"):
        in_machine(tmp_path, ACTING.replace("run_percent = 60", "run_percent = 101"), story)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        ("raise RuntimeError('no such library')", "cannot be loaded: RuntimeError: no such library"),
        ("make = 3", "is no function that makes a device"),
        ("async def make(wires, name, config): return object()", "without identify, configure, poll, safe"),
    ],
)
def test_a_broken_driver_is_a_sentence_that_names_it(project: Path, tmp_path: Path, spoil, sentence) -> None:
    (project / "df100.py").write_text(spoil)
    with pytest.raises(MoonkilnError) as caught:
        in_machine(tmp_path, ACTING, None)
    assert sentence in str(caught.value) and "df100" in str(caught.value) and caught.value.exit_code == 2


def test_two_drivers_of_one_kind_are_refused(project: Path, tmp_path: Path, monkeypatch) -> None:
    second = tmp_path / "other-1.0.dist-info"
    second.mkdir()
    (second / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (second / "entry_points.txt").write_text("[moonkiln.devices]\ndf100 = other:make\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MoonkilnError, match=r"comes from .*other:make"):
        plug_in_devices.load_maker("df100")


# ---- folders of maps ------------------------------------------------------------------------------------------------


def test_a_map_is_found_in_the_users_folder_and_in_named_ones(project: Path, tmp_path: Path) -> None:
    assert load_map("df100").model == "DF-100 dust extractor"
    (user_folder() / "df100.toml").rename(tmp_path / "df100.toml")
    with pytest.raises(MapError, match="there is no register map 'df100'"):
        load_map("df100")
    try:
        use_folders([tmp_path])
        assert load_map("df100").model == "DF-100 dust extractor"
    finally:
        use_folders([])
    machine = machine_file(tmp_path, INSTRUMENT, "serial:/dev/absent?baud=19200")
    words = ["device", "dust_fan", "read", "--machine", str(machine)]
    assert "there is no register map 'df100'" in CliRunner().invoke(cli, words).stderr
    assert "there is no port /dev/absent" in CliRunner().invoke(cli, ["--maps", str(tmp_path), *words]).stderr
    use_folders([])


def test_no_map_hides_another(project: Path, tmp_path: Path) -> None:
    (user_folder() / "eurotherm_3200.toml").write_text(FILES["df100.toml"])
    with pytest.raises(MapError, match=r"there are 2 register maps named 'eurotherm_3200'.*Rename all but one"):
        load_map("eurotherm_3200")


def test_the_users_folder_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/me")
    assert user_folder() == Path("/etc/me/moonkiln/maps")
    for unset in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", unset)
        assert user_folder() == Path.home() / ".config" / "moonkiln" / "maps"

"""Does the count of writes that wear a device's memory hold from one session to the next, whatever befalls its file?"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from pathlib import Path

import pytest
from map_helpers import virtually
from modbus_link_helpers import bus

from control.assembly import Wires
from control.config import load_machine
from control.wear_file import NAME, WearFile, outlives_a_session, state_folder
from firmware_bridge.devices.register_access import RegisterAccess
from firmware_bridge.errors import Rejected
from firmware_bridge.register_map import load_map
from hil_sim.virtual_run import run_virtual
from hil_sim.world.emulators.modbus_slave import TcpSlave
from hil_sim.world.wire import lay_tcp, lay_virtual

URL = "serial:/dev/serial/by-id/usb-heater"
DAY_S = 86_400.0
EEPROM = """
[device]
model = "a device"
protocol = "modbus-rtu"
source = "a manual"
max_words = 8
[watchdog]
kind = "none"
why = "only read"
[[identify]]
signal = "saved_c"
between = [0.0, 100.0]
[signal.saved_c]
fc = 3
addr = 11
dtype = "i16"
access = "rw"
range = [0, 100]
nonvolatile = "100,000 writes"
writes_per_day_max = 3
"""


def session(folder: Path, *values: int, after_s: float = 0.0, url: str = URL) -> list[int]:
    """A host that starts, writes what it may, and ends; what reached the device's memory."""
    reached: list[int] = []
    (folder / "eeprom.toml").write_text(EEPROM)

    async def main() -> None:
        await asyncio.sleep(after_s)
        link, slave = bus()
        link.write_record = WearFile(url, folder / "state")
        slave.on_write = lambda _unit, _address, value: reached.append(value)
        access = RegisterAccess(link, 1, load_map(folder / "eeprom.toml"), "heater")
        for value in values:
            await access.write("saved_c", value)

    virtually(main)
    return reached


def test_a_limit_holds_over_sessions_and_a_day_later_there_is_room_again(tmp_path: Path) -> None:
    assert session(tmp_path, 20, 21) == [20, 21]
    assert session(tmp_path, 22, after_s=3600.0) == [22]
    with pytest.raises(Rejected, match=r"heater: saved_c = 23 .*written 3 times in 24 h, and its memory wears out"):
        session(tmp_path, 23, after_s=DAY_S - 60.0)
    assert session(tmp_path, 24, 25, after_s=DAY_S + 60.0) == [24, 25], "the first session's two are a day old"
    with pytest.raises(Rejected, match="written 3 times"):
        session(tmp_path, 26, after_s=DAY_S + 120.0)


def test_a_write_is_on_the_disk_before_the_device_hears_of_it(tmp_path: Path) -> None:
    noted: list[int] = []
    (tmp_path / "eeprom.toml").write_text(EEPROM)

    async def main() -> None:
        link, slave = bus()
        link.write_record = WearFile(URL, tmp_path)
        slave.on_write = lambda *_: noted.append(len(json.loads((tmp_path / NAME).read_bytes())["writes"]))
        access = RegisterAccess(link, 1, load_map(tmp_path / "eeprom.toml"), "heater")
        await access.write("saved_c", 20.0)
        await access.write("saved_c", 21.0)

    virtually(main)
    assert noted == [1, 2]


def test_every_register_of_every_device_is_counted_by_itself(tmp_path: Path) -> None:
    async def main() -> None:
        record, same = WearFile(URL, tmp_path), WearFile(URL + "?baud=9600", tmp_path)
        assert await record.take(1, "saved_c", 2) == 0
        assert await same.take(1, "saved_c", 2) == 1, "options say how to open the port, not what is there"
        assert await record.take(1, "saved_c", 2) == 2
        assert await record.take(1, "units", 2) == 0
        assert await record.take(2, "saved_c", 2) == 0
        assert await WearFile("tcp:10.0.0.7:502", tmp_path).take(1, "saved_c", 2) == 0
        assert await same.take(1, "saved_c", 2) == 2, "what was refused is not counted"

    virtually(main)


# -- what befalls the file ------------------------------------------------------------------------------------------

WRITE = {"device": URL, "unit": 1, "signal": "saved_c", "utc_s": 1.8e9}
DAMAGED = [
    b"",
    b'{"schema_version": 1, "writes": [',
    b"\xff\xfe\x00",
    b"[]",
    json.dumps({"schema_version": 2, "writes": []}).encode(),
    json.dumps({"schema_version": 1, "writes": [WRITE], "more": 1}).encode(),
    json.dumps({"schema_version": 1, "writes": [{**WRITE, "utc_s": -1.0}]}).encode(),
    json.dumps({"schema_version": 1, "writes": [{**WRITE, "unit": 256}]}).encode(),
    json.dumps({"schema_version": 1, "writes": [{**WRITE, "signal": 'a"\ud800'}]}).encode(),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_told_of_and_nothing_is_written(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "state" / NAME
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.raises(
        Rejected,
        match=r"saved_c of unit 1 on serial:.* is not written: its memory wears out.*writes\.json is damaged: ",
    ) as told:
        session(tmp_path, 20)
    assert str(file) in str(told.value) and "move it away" in str(told.value)
    assert file.read_bytes() == content, "it is evidence: left as it is"
    file.rename(tmp_path / "damaged.json")
    assert session(tmp_path, 20) == [20]


def test_a_folder_that_cannot_be_made_is_told_of_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    with pytest.raises(Rejected, match=r"cannot be counted \(.*state.*\)\. Put that right, or set XDG_STATE_HOME"):
        session(tmp_path, 20)


def test_a_disk_that_takes_nothing_more_leaves_the_old_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session(tmp_path, 20)
    before = (tmp_path / "state" / NAME).read_bytes()

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Rejected, match="No space left on device"):
        session(tmp_path, 21)
    assert [path.name for path in (tmp_path / "state").iterdir()] == [NAME]
    assert (tmp_path / "state" / NAME).read_bytes() == before


def test_a_write_of_the_future_counts_until_the_clock_has_passed_it(tmp_path: Path) -> None:
    """The clock was a year ahead, or is behind now: what was written stays written."""
    assert session(tmp_path, 20, 21, 22, after_s=365 * DAY_S) == [20, 21, 22]
    with pytest.raises(Rejected, match="written 3 times"):
        session(tmp_path, 23)


@pytest.mark.real_time
def test_hosts_that_write_at_the_same_time_lose_no_count(tmp_path: Path) -> None:
    async def main() -> list[int]:
        records = [WearFile(URL, tmp_path) for _ in range(8)]
        return await asyncio.gather(*(record.take(1, "saved_c", 5) for record in records))

    assert sorted(asyncio.run(main())) == [0, 1, 2, 3, 4, 5, 5, 5]


def test_a_folder_that_stays_in_use_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    handle = os.open(tmp_path / "state", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(Rejected, match=r"another moonkiln keeps .*writes\.json in use"):
            session(tmp_path, 20)
    finally:
        os.close(handle)
    assert session(tmp_path, 20) == [20]


# -- which devices have a memory, and where it is written down --------------------------------------------------------


def test_simulated_wires_and_pseudo_terminals_are_counted_for_a_session_alone(tmp_path: Path) -> None:
    master, slave = os.openpty()
    try:
        (tmp_path / "bus0").symlink_to(os.ttyname(slave))
        assert not outlives_a_session(f"serial:{tmp_path}/bus0?baud=9600")
    finally:
        os.close(master)
        os.close(slave)
    assert not outlives_a_session("sim:bus0?baud=9600")
    assert not outlives_a_session("replay:bus0.mcap")
    for url in (URL, "serial:/dev/ttyUSB0?baud=9600", "tcp:10.0.0.7:502", "tls:plc:802"):
        assert outlives_a_session(url), url


@pytest.mark.parametrize(("url", "is_kept"), [("tcp:127.0.0.1:{port}", True), ("sim:beam", False)])
def test_the_links_of_a_machine_remember_what_outlives_them(url: str, is_kept: bool) -> None:
    async def main(_loop: object) -> None:
        tcp = await lay_tcp("beam", TcpSlave({}))
        sim = await lay_virtual("beam", TcpSlave({}))
        wires = Wires(load_machine("bench").with_urls({"beam": url.format(port=tcp.url.rpartition(":")[2])}))
        for role in ("", "/stop"):
            assert isinstance((await wires.modbus("beam", "tcp", role=role)).write_record, WearFile) is is_kept
        wires.close()
        tcp.close()
        sim.close()

    run_virtual(main)


def test_the_state_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_folder() == tmp_path / "moonkiln"
    for unset in ("", "relative/state"):
        monkeypatch.setenv("XDG_STATE_HOME", unset)
        assert state_folder() == Path.home() / ".local" / "state" / "moonkiln"

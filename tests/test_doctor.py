"""Does `moonkiln doctor` see what is wrong, say what to do, and leave every wire as it found it?"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tty
from pathlib import Path

import pytest
from click.testing import CliRunner

from control.cli import cli
from control.commands import doctor as module
from control.commands.doctor import Check, fits, installation, machine_checks
from control.machine_file import machine_path, machine_text_with_urls

WIRES = ("motion", "beam", "bus0", "bus1", "camera")


def machine_file(folder: Path, **urls: str) -> Path:
    table = {name: urls.get(name, f"sim:{name}?baud=115200") for name in WIRES}
    path = folder / "here.toml"
    path.write_text(machine_text_with_urls(machine_path("bench").read_text(encoding="utf-8"), table), encoding="utf-8")
    return path


def wire_checks(machine: Path) -> dict[str, Check]:
    checks = asyncio.run(machine_checks(str(machine)))
    return {check.what.split()[1]: check for check in checks if check.what.startswith("wire ")}


def test_this_installation_is_sound() -> None:
    checks = installation()
    assert all(check.state != "bad" for check in checks), [check for check in checks if check.state == "bad"]
    words = " ".join(check.what for check in checks)
    for name in ("Python", "numpy", "numba", "pyserial", "opencv-python-headless", "moonkiln"):
        assert name in words


def test_json_is_one_object_and_the_exit_code_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "installation", lambda: [Check("installation", "ok", "sound")])
    monkeypatch.setattr(module, "computer", lambda: [Check("computer", "note", "no data", "set it")])
    result = CliRunner().invoke(cli, ["doctor", "--json"], standalone_mode=False)
    assert result.return_value == 0
    said = json.loads(result.stdout)
    assert said["schema_version"] == 1 and said["ok"] is True and len(said["checks"]) == 2
    monkeypatch.setattr(module, "computer", lambda: [Check("computer", "bad", "the disk is full", "free some space")])
    result = CliRunner().invoke(cli, ["doctor"], standalone_mode=False)
    assert result.return_value == 1
    assert "BAD   the disk is full" in result.stdout and "-> free some space" in result.stdout
    assert "1 problem to solve" in result.stdout


@pytest.mark.real_time
def test_wires_that_answer_open_and_get_no_byte(tmp_path: Path) -> None:
    async def try_it() -> tuple[list[Check], bytes]:
        heard = bytearray()

        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.extend(await reader.read())
            writer.close()

        server = await asyncio.start_server(hear, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        here, there = os.openpty()
        tty.setraw(there)
        urls = {"beam": f"tcp:127.0.0.1:{port}", "bus0": f"serial:{os.ttyname(there)}?baud=9600"}
        checks = await machine_checks(str(machine_file(tmp_path, **urls)))
        await asyncio.sleep(0.05)
        os.set_blocking(here, False)
        with contextlib.suppress(BlockingIOError):
            heard += os.read(here, 100)
        os.close(here)
        os.close(there)
        server.close()
        await server.wait_closed()
        return checks, bytes(heard)

    checks, heard = asyncio.run(try_it())
    assert heard == b"", "doctor never sends"
    opened = {check.what.split()[1]: check for check in checks if check.what.startswith("wire ")}
    assert opened["beam"].state == opened["bus0"].state == "ok"
    assert "heater, meter" in opened["bus0"].what
    assert opened["motion"].state == "note" and "simulated" in opened["motion"].what
    assert any("polling takes" in check.what for check in checks)


def test_how_a_board_without_emergency_parser_stops_is_said_behind_its_bound(tmp_path: Path) -> None:
    path = Path(machine_file(tmp_path))
    path.write_text(path.read_text(encoding="utf-8").replace('"marlin"', '"marlin"\nemergency_parser = false'), "utf-8")
    (told,) = [check.what for check in asyncio.run(machine_checks(str(path))) if "on the wire of motion" in check.what]
    assert "heard when its queue frees (up to 16 planned moves: no EMERGENCY_PARSER)" in told


def test_each_wire_that_does_not_open_has_its_sentence_and_advice(tmp_path: Path) -> None:
    (tmp_path / "no_port").write_text("a file", encoding="utf-8")
    found = wire_checks(
        machine_file(
            tmp_path,
            motion=f"serial:{tmp_path}/absent?baud=115200",
            bus0=f"serial:{tmp_path}/no_port?baud=9600",
            bus1="serial:/dev/null?baud=115200",
            beam="tcp:127.0.0.1:1",
            camera="carrier-pigeon:loft",
        )
    )
    assert all(check.state == "bad" and check.advice for check in found.values())
    assert "there is no port" in found["motion"].what
    assert "no serial port" in found["bus0"].what
    assert "refuses port 1" in found["beam"].what and "sim serve" in found["beam"].advice
    assert "names no byte stream" in found["camera"].what


def test_a_machine_file_that_cannot_be_used_is_one_problem(tmp_path: Path) -> None:
    (check,) = asyncio.run(machine_checks("bensh"))
    assert check.state == "bad" and "did you mean 'bench'" in check.what
    broken = tmp_path / "broken.toml"
    broken.write_text("schema_version = 1\nname = 3\n", encoding="utf-8")
    (check,) = asyncio.run(machine_checks(str(broken)))
    assert check.state == "bad" and str(broken) in check.what


def test_a_missing_or_old_dependency_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._dependency("no-such-thing-here>=1").state == "bad"
    assert "does not fit" in module._dependency("numpy>=99,<100").what
    assert module._dependency('numpy>=2.0; python_version >= "3.11"').state == "ok"

    def broken(name: str) -> None:
        raise OSError("libGL.so.1: cannot open shared object file")

    monkeypatch.setattr(module.importlib, "import_module", broken)
    check = module._dependency("numpy>=2")
    assert check.state == "bad" and "libGL" in check.what and "reinstall" in check.advice


@pytest.mark.parametrize(
    ("version", "bounds", "kept"),
    [
        ("5.0.0.93", ">=5.0,<6", True),
        ("6.0", ">=5.0,<6", False),
        ("4.12", ">=5.0", False),
        ("3.16.1", "<3.17,>=3.16", True),
        ("3.17.0rc1", "<3.17,>=3.16", False),
        ("2.0", "(>=2.0.0)", True),
        ("1.9", "", True),
    ],
)
def test_versions_against_bounds(version: str, bounds: str, kept: bool) -> None:
    assert fits(version, bounds) is kept


def test_the_kernel_cache_in_its_three_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    kernels = tmp_path / "slicer" / "kernels" / "__pycache__"
    kernels.mkdir(parents=True)
    assert "is empty" in module._kernel_cache(tmp_path).what
    (kernels / "cut.nbi").touch()
    assert module._kernel_cache(tmp_path).state == "ok"
    monkeypatch.setattr(module.os, "access", lambda path, mode: False)
    check = module._kernel_cache(tmp_path)
    assert check.state == "note" and "NUMBA_CACHE_DIR" in check.advice


def test_a_port_that_may_not_be_opened_names_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    class Port:
        device, description, hwid = "/dev/ttyUSB7", "USB adapter", "USB VID:PID=0403:6001"

    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [Port()])
    monkeypatch.setattr(module.os, "access", lambda path, mode: False)
    (check,) = module._serial_ports()
    assert check.state == "bad" and "/dev/ttyUSB7" in check.what and "usermod -aG dialout" in check.advice

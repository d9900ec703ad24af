"""Are ports listed without touching them, and is what answers on them named by questions that change nothing?"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from roboclaw_helpers import crc, make_line
from test_transport import Pty
from wire_helpers import Echo

from control.cli import cli
from control.commands.ports import _probe_all
from firmware_bridge import ports, probing
from firmware_bridge.errors import TransportError
from firmware_bridge.links import roboclaw_frames
from firmware_bridge.ports import Port, list_ports
from firmware_bridge.probing import Answer, probe
from hil_sim.virtual_run import run_virtual
from hil_sim.world.emulators import modbus_mishaps
from hil_sim.world.emulators.eurotherm3200 import Eurotherm3200
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.emulators.modbus_pdu import READ_HOLDING, READ_INPUT
from hil_sim.world.emulators.modbus_slave import RtuBus
from hil_sim.world.emulators.reprap import RepRapEmulator
from hil_sim.world.emulators.reprap_machine import RepRapBuild
from hil_sim.world.emulators.sdm120 import Sdm120
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.plant.heater import HeaterPlate
from hil_sim.world.plant.power import Meter
from hil_sim.world.wire import lay_pty, lay_virtual
from hil_sim.world.wire_pty import PtyWire


def run(*words: object):
    return CliRunner().invoke(cli, [str(word) for word in words])


# ---- the list -------------------------------------------------------------------------------------------------------


def test_a_free_port_a_locked_one_and_one_that_is_merely_open(tmp_path):
    with Pty() as pty:
        (tmp_path / "bus0").symlink_to(pty.path)
        (tmp_path / "notes.txt").write_text("no port")
        os.close(pty.slave)
        pty.slave = -1
        (free,) = [port for port in list_ports([tmp_path]) if port.device == pty.path]
        assert (free.name, free.description, free.state) == (str(tmp_path / "bus0"), "pseudo terminal", "free")
        descriptor = os.open(pty.path, os.O_RDWR | os.O_NOCTTY)
        (used,) = [port for port in list_ports([tmp_path]) if port.device == pty.path]
        assert used.is_busy and not used.is_locked and f"({os.getpid()})" in used.state
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        (locked,) = [port for port in list_ports([tmp_path]) if port.device == pty.path]
        assert locked.is_locked
        os.close(descriptor)


def test_no_port_is_opened_to_list_it(tmp_path, monkeypatch):
    with Pty() as pty:
        (tmp_path / "bus0").symlink_to(pty.path)
        opened = []
        real = os.open
        monkeypatch.setattr(
            os, "open", lambda path, *more, **named: opened.append(str(path)) or real(path, *more, **named)
        )
        assert list_ports([tmp_path])
        assert pty.path not in opened and str(tmp_path / "bus0") not in opened


def info(device: str, **more: object) -> SimpleNamespace:
    blank = {"hwid": "USB", "vid": None, "pid": None, "description": "n/a", "manufacturer": None, "serial_number": None}
    return SimpleNamespace(device=device, **{**blank, **more})


def test_usb_names_stable_names_and_ports_that_lead_nowhere(tmp_path, monkeypatch):
    found = [
        info("/dev/ttyUSB7", vid=0x0403, pid=0x6001, description="FT232R", manufacturer="FTDI", serial_number="A1"),
        info("/dev/ttyS0", hwid="n/a"),
    ]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: found)
    monkeypatch.setattr(ports, "BY_ID", tmp_path)
    (tmp_path / "usb-FTDI_A1-if00").symlink_to("/dev/ttyUSB7")
    (port,) = list_ports()
    assert (port.name, port.usb, port.manufacturer, port.serial_number) == (
        str(tmp_path / "usb-FTDI_A1-if00"), "0403:6001", "FTDI", "A1",
    )  # fmt: skip


def test_states_are_sentences_that_say_what_to_do():
    port = Port("/dev/ttyUSB0", "/dev/ttyUSB0", "", "", "", "", (), False, True, "uucp")
    for change, words in [
        ({"may_open": False}, "usermod -aG uucp"),
        ({"users": ("octoprint (77)",)}, "in use by octoprint (77)"),
        ({"is_locked": True}, "in use by a program of another user"),
        ({"is_locked": None}, "cannot be told"),
        ({}, "free"),
    ]:
        assert words in Port(**{**port.__dict__, **change}).state


def test_without_proc_it_is_not_claimed_that_a_port_is_free(tmp_path):
    with Pty() as pty:
        (port,) = [p for p in list_ports([Path(pty.path)], proc=tmp_path / "absent") if p.device == pty.path]
        assert port.is_locked is None and not port.is_busy


def test_bad_words_get_a_sentence(tmp_path):
    (tmp_path / "notes.txt").write_text("no port")
    for words, sentence in [
        ((tmp_path / "absent",), "there is no port or folder"),
        ((tmp_path / "notes.txt",), "is neither a serial port nor a folder"),
        (("--baud", 9600), "give --probe as well"),
        (("--probe", "--unit", 248), "248"),
    ]:
        done = run("ports", *words)
        assert done.exit_code == 2 and sentence in done.stderr and "Traceback" not in done.stderr


def test_a_folder_without_ports_is_said_to_be_one(tmp_path, monkeypatch):
    monkeypatch.setattr("serial.tools.list_ports.comports", list)
    for words, sentence in [
        ((tmp_path,), f"{tmp_path} holds no serial port, nor a link to one\n"),
        ((tmp_path, tmp_path), f"{tmp_path} and {tmp_path} hold no serial port, nor a link to one\n"),
    ]:
        assert run("ports", *words).stdout == sentence
    assert run("ports").stdout.startswith("no serial port is plugged in")


def test_the_command_lists_and_gives_json(tmp_path):
    with Pty() as pty:
        (tmp_path / "bus0").symlink_to(pty.path)
        told = run("ports", tmp_path)
        assert told.exit_code == 0 and f"{tmp_path}/bus0 -> {pty.path}" in told.stdout and "in use by" in told.stdout
        (row,) = json.loads(run("ports", tmp_path, "--json").stdout)["ports"]
        assert row["device"] == pty.path and row["is_busy"] and "answers" not in row
        (row,) = json.loads(run("ports", tmp_path, "--probe", "--json").stdout)["ports"]
        assert row["answers"] == [] and row["probe_error"] == "not asked", "a port in use is left alone"


# ---- probing --------------------------------------------------------------------------------------------------------


def probed(emulator, *, baud: int = 115200, at: tuple[int, ...] = (115200,), units: tuple[int, ...] = (1, 2)):
    async def main(loop):
        await lay_virtual("line", emulator, baud=baud)
        return await probe(lambda baud: "sim:line", bauds=at, units=units)

    return run_virtual(main)


class Lines:
    """A board that answers lines from a table, and keeps all that it was sent."""

    def __init__(self, answers: dict[bytes, bytes], banner: bytes = b"") -> None:
        self.answers = answers
        self.banner = banner
        self.heard = b""

    def attach(self, send):
        if self.banner:
            send(self.banner)
        outer = self

        class Session:
            def received(self, data):
                outer.heard += data
                for line in data.split(b"\n"):
                    if line in outer.answers:
                        send(outer.answers[line])

            def closed(self):
                pass

        return Session()


def test_a_marlin_board_is_named():
    gantry = Gantry(frame_mm=((0.0, 0.0, 0.0), (250.0, 150.0, 100.0)))
    for resets in (True, False):
        (answer,) = probed(MarlinEmulator(gantry, MarlinBuild(reset_on_open=resets)))
        assert answer.protocol == "marlin" and answer.what.startswith("Marlin 2.1") and answer.baud == 115200


def test_another_firmware_of_that_family_is_named_as_it_calls_itself():
    board = Lines(
        {b"M115": b"FIRMWARE_NAME: RepRapFirmware for Duet 3 FIRMWARE_VERSION: 3.5.1 ELECTRONICS: Duet\nok\n"}
    )
    assert probed(board) == [Answer("reprap", 115200, "RepRapFirmware for Duet 3")]


def test_a_board_that_demands_a_crc_is_named():
    board = RepRapEmulator(Gantry(), RepRapBuild(needs_crc=True))
    assert probed(board) == [Answer("reprap", 115200, "RepRapFirmware for Duet 3 Mini 5+")]


@pytest.mark.parametrize("banner", [b"\r\nGrbl 1.1h ['$' for help]\r\n", b""])
def test_grbl_is_asked_for_its_build(banner):
    board = Lines({b"M115": b"error:20\r\n", b"$I": b"[VER:1.1h.20190825:]\r\n[OPT:V,15,128]\r\nok\r\n"}, banner)
    assert probed(board) == [Answer("grbl", 115200, "Grbl 1.1h.20190825")]
    assert board.heard == b"M115\n$I\n", "nothing else was sent to it"


def test_who_speaks_in_lines_is_sent_no_binary_question():
    board = Lines({b"M115": b"unknown command\r\n"})
    assert probed(board) == [Answer("lines", 115200, "something that says 'unknown command'")]
    assert board.heard == b"M115\n"


def test_roboclaws_are_found_at_their_addresses():
    found = probed(make_line(0x80, 0x83))
    assert [answer.protocol for answer in found] == ["roboclaw"] * 2
    assert "0x80" in found[0].what and "0x83" in found[1].what and "Roboclaw" in found[0].what


def framed(text: bytes) -> bytes:
    """The version answer of board 0x80, its CRC by the manual's loop."""
    return text + crc(b"\x80\x15" + text)


def version_in(heard: bytes) -> str | None:
    return probing._roboclaw_version(roboclaw_frames.ask_text(0x80, 21), heard)


@given(st.binary(max_size=60))
def test_no_bytes_are_a_roboclaw_that_do_not_say_so(data):
    """Neither noise nor noise that ends as its answer does, with a CRC that fits."""
    for heard in (data, framed(data[:46] + b"\n\0"), framed(data[:30] + b" RoboClaw v4\x1b\n\0")):
        said = version_in(heard)
        assert said is None or (said.isascii() and said.isprintable() and "roboclaw" in said.lower())


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_a_roboclaw_is_named_in_its_own_words(words):
    text = f"USB RoboClaw {words}"
    assert version_in(framed(text.encode() + b"\n\0")) == text


@pytest.mark.parametrize("version", ["", "Sabertooth 2x25 v1.0", "Roboclaw 2x15a\x1b[2J v4.2.4", "\x07Roboclaw"])
def test_a_crc_that_fits_makes_no_roboclaw(version):
    line = make_line(0x80)
    line.boards[0x80].version = version
    assert not [answer for answer in probed(line) if answer.protocol == "roboclaw"]


@pytest.mark.parametrize(
    ("answers", "named"),
    [
        ({b"M115": b"FIRMWARE_NAME: Mar\x1b[2Jlin\xff 2.1 SOURCE_CODE_URL:x\nok\n"}, "Mar?[2Jlin? 2.1"),
        ({b"M115": b"error:20\n", b"$I": b"[VER:1.1h\x1b[31m.2019:]\nok\n"}, "Grbl 1.1h?[31m.2019"),
        ({b"M115": b"Grbl 1\x07.1\n"}, "Grbl 1?.1"),
    ],
)
def test_no_control_byte_reaches_the_terminal(answers, named):
    (answer,) = probed(Lines(answers))
    assert answer.what == named


def test_modbus_units_are_named_by_their_maps_and_a_stranger_is_one():
    class Stranger(Sdm120):
        def read_input(self, address, count, t_s):
            return [0] * count

    units = {1: Eurotherm3200(HeaterPlate()), 2: Sdm120(Meter(supply_v=230.0)), 5: Stranger(Meter())}
    found = probed(RtuBus(units, baud=9600), baud=9600, at=(9600,), units=(1, 2, 3, 5))
    assert [(a.unit, a.map) for a in found] == [(1, "eurotherm_3200"), (2, "eastron_sdm120"), (5, None)]
    assert found[0].what == "Eurotherm 3200" and "no map knows" in found[2].what


def test_a_probe_only_reads(monkeypatch):
    """Every request that reached a unit was a read, and nothing was stored."""
    device = Eurotherm3200(HeaterPlate())
    functions = []
    real = modbus_mishaps.answer
    monkeypatch.setattr(modbus_mishaps, "answer", lambda d, pdu, t: functions.append(pdu[0]) or real(d, pdu, t))
    assert probed(RtuBus({1: device}, baud=9600), baud=9600, at=(9600,))
    assert functions and set(functions) <= {READ_HOLDING, READ_INPUT} and device.nonvolatile_writes == 0


def test_a_unit_that_is_not_there_is_asked_twice_and_no_more():
    line = Lines({})
    assert probed(line, baud=9600, at=(9600,), units=(5,)) == []
    asked = b"M115\nN0 M115*15745\n"
    assert line.heard.startswith(asked + b"\x80\x15\x81\x15")
    assert len(line.heard) == len(asked) + 8 * 2 + 2 * 8, "two lines, eight addresses, two Modbus reads"


def test_questions_keep_the_silence_that_ends_a_frame():
    passed = []

    async def main(loop):
        bus = RtuBus({1: Eurotherm3200(HeaterPlate()), 2: Sdm120(Meter(supply_v=230.0))}, baud=9600)
        await lay_virtual("line", bus, baud=9600, tap=lambda t_s, point, data: passed.append((t_s, point, data)))
        return await probe(lambda baud: "sim:line", bauds=(9600,))

    assert len(run_virtual(main)) == 2
    byte_s = 10 / 9600
    silences_s = [
        asked_s - len(data) * byte_s - answered_s
        for (answered_s, before, _), (asked_s, point, data) in itertools.pairwise(passed)
        if (before, point) == ("line.to_host", "line.to_device")
    ]
    assert silences_s and min(silences_s) >= 3.5 * byte_s


def test_what_is_heard_is_kept_within_bounds():
    async def main(loop):
        ear = probing._Ear()
        for _ in range(100):
            ear.data_received(bytes(1000))
        return len(ear.heard)

    assert run_virtual(main) == probing.HEARD_BYTES_MAX


def test_nobody_is_nobody_in_bounded_time():
    async def main(loop):
        await lay_virtual("line", Lines({}), baud=9600)
        found = await probe(lambda baud: "sim:line", bauds=(9600, 19200))
        return found, loop.time()

    found, took_s = run_virtual(main)
    assert found == [] and took_s < 15.0


def test_an_echo_is_nobody():
    assert probed(Echo()) == []


def test_babble_is_nobody_and_kept_within_bounds():
    class Babble:
        def attach(self, send):
            async def babble():
                for n in range(2000):
                    send(bytes((n % 251,)) * 50)
                    await asyncio.sleep(0.004)

            task = asyncio.ensure_future(babble())
            return SimpleNamespace(received=lambda data: None, closed=task.cancel)

    assert probed(Babble()) == []


@pytest.mark.real_time
def test_the_right_baud_rate_is_found_on_a_real_pty_and_ports_are_asked_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "BOOT_S", 0.3)

    async def story():
        bus = RtuBus(
            {1: Eurotherm3200(HeaterPlate(), t_s=asyncio.get_running_loop().time())}, baud=9600, exact_timing=False
        )
        await lay_pty(tmp_path, "bus0", bus, baud=9600)
        board = Lines({b"M115": b"error:20\n", b"$I": b"[VER:1.1h.20190825:]\nok\n"}, b"Grbl 1.1h ['$' for help]\n")
        await lay_pty(tmp_path, "motion", board, baud=115200)
        found = [port for port in list_ports([tmp_path]) if port.name.startswith(str(tmp_path))]
        said = await _probe_all(found, (115200, 9600), (1,))
        return {Path(port.name).name: said[port.device] for port in found}

    said = asyncio.run(story())
    assert said["bus0"] == [Answer("modbus-rtu", 9600, "Eurotherm 3200", 1, "eurotherm_3200")]
    assert said["motion"] == [Answer("grbl", 115200, "Grbl 1.1h.20190825")]


@pytest.mark.real_time
def test_a_wrong_baud_rate_is_never_named_however_soon_the_port_is_opened_again(tmp_path, monkeypatch):
    """Each of the probe's opens falls between the line's noticing that the last host left and what it does then."""
    for name in ("BOOT_S", "LISTEN_S", "TEXT_S", "ROBOCLAW_S"):
        monkeypatch.setattr(probing, name, 0.02)
    notice, opens = PtyWire._host_left, probing.open_transport
    noticed, opened = threading.Semaphore(0), threading.Semaphore(0)
    reopened = []

    def notice_late(wire):
        noticed.release()
        assert opened.acquire(timeout=20)
        notice(wire)

    async def open_and_say(url, ear):
        if reopened:
            assert noticed.acquire(timeout=20)
        transport = await opens(url, ear)
        if reopened:
            opened.release()
        reopened.append(url)
        return transport

    async def story():
        power = RtuBus({1: Sdm120(Meter(supply_v=230.0))}, baud=19200, exact_timing=False)
        wire = await lay_pty(tmp_path, "power", power, baud=19200)
        monkeypatch.setattr(PtyWire, "_host_left", notice_late)
        monkeypatch.setattr(probing, "open_transport", open_and_say)
        rates = (115200, 9600, 57600, 38400, 19200)

        def ask():
            try:
                return asyncio.run(probe(lambda baud: f"serial:{wire.path}?baud={baud}", bauds=rates, units=(1,)))
            finally:
                opened.release()  # nobody comes after the last

        found = await asyncio.to_thread(ask)
        wire.close()
        return found

    assert asyncio.run(story()) == [Answer("modbus-rtu", 19200, "Eastron SDM120", 1, "eastron_sdm120")]
    assert len(reopened) == 5


def test_a_port_that_is_lost_meanwhile_is_a_sentence():
    async def main(loop):
        wire = await lay_virtual("line", Lines({}), baud=9600)
        loop.call_later(1.0, wire.hang_up)
        with pytest.raises(TransportError, match="hung up"):
            await probe(lambda baud: "sim:line", bauds=(9600,))

    run_virtual(main)

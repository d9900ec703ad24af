"""Is one device read, watched and written by hand within its units and limits, and never into harm unasked?"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import json
import os
import signal
from typing import Any

import msgspec
import pytest
from bench_helpers import moonkiln
from click.testing import CliRunner
from test_transport import Pty

from control.assembly import map_of, open_device
from control.bench_device import bounds_of, parse_writes
from control.cli import cli
from control.commands.device import _read, _watch, _write
from control.config import MachineConfig, load_machine
from control.errors import MoonkilnError, UsageError
from control.machine_file import ConfigError
from control.rover.config import load_rover
from firmware_bridge.errors import NotReady, Rejected, WrongModel
from firmware_bridge.map_folders import known_names
from firmware_bridge.register_map import load_map
from hil_sim.virtual_run import run_virtual
from hil_sim.world.emulators.beam_head import BeamHead
from hil_sim.world.emulators.eurotherm3200 import Eurotherm3200
from hil_sim.world.emulators.marlin import MarlinEmulator
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.emulators.modbus_slave import RtuBus, TcpSlave
from hil_sim.world.emulators.riden_rd6006 import RD6006, RD6012, RidenSupply
from hil_sim.world.emulators.sdm120 import Sdm120
from hil_sim.world.plant.dc_supply import DcLoad, DcSupply
from hil_sim.world.plant.gantry import Gantry
from hil_sim.world.plant.heater import HeaterPlate
from hil_sim.world.plant.power import Meter
from hil_sim.world.wire import lay_virtual

BENCH = load_machine("bench")


class Bench:
    """Three of the bench's wires in virtual time: the head, the bus with heater and meter, and the motion board."""

    def __init__(self, loop: Any) -> None:
        self.head = BeamHead(on_emission=lambda t_s, watts: None, emission_w=lambda t_s: 0.0, timers=loop)
        self.heater = Eurotherm3200(HeaterPlate())
        self.bus = RtuBus({1: self.heater, 2: Sdm120(Meter(supply_v=230.0))}, baud=9600)
        gantry = Gantry(frame_mm=((0.0, 0.0, 0.0), (250.0, 150.0, 100.0)))
        self.motion = MarlinEmulator(gantry, MarlinBuild())

    async def lay(self) -> MachineConfig:
        await lay_virtual("beam", TcpSlave({1: self.head}, max_connections=2))
        await lay_virtual("bus0", self.bus, baud=9600)
        await lay_virtual("motion", self.motion, baud=115200)
        return BENCH.with_urls({"beam": "sim:beam", "bus0": "sim:bus0?baud=9600", "motion": "sim:motion"})


def on_bench(work) -> Bench:
    """`work(config, bench)` in virtual time."""

    async def main(loop):
        bench = Bench(loop)
        await work(await bench.lay(), bench)
        return bench

    return run_virtual(main)


# ---- reading --------------------------------------------------------------------------------------------------------


def test_a_read_shows_values_units_and_the_names_of_bits(capsys):
    async def work(config, bench):
        await _read(config, "heater", (), False)
        await _read(config, "beam", ("status", "watchdog_ms"), False)
        await _read(config, "meter", ("frequency_hz",), False)
        await _read(config, "motion", (), False)

    on_bench(work)
    said = " ".join(capsys.readouterr().out.split())
    assert "bed_temp_c 20 degC" in said and "status 0 (nothing set)" in said
    assert "status 1 (interlock_ok)" in said and "watchdog_ms 1000 ms" in said
    assert "frequency_hz 50 Hz" in said and "voltage_v" not in said, "only what was asked for"
    assert "x_mm 0 mm" in said and "z_mm 0 mm" in said


def test_a_read_is_one_json_object(capsys):
    async def work(config, bench):
        await _read(config, "meter", ("voltage_v",), True)

    on_bench(work)
    said = json.loads(capsys.readouterr().out)
    reading = {"signal": "voltage_v", "value": 230.0, "unit": "V", "quality": "good", "limit": "normal"}
    assert said == {"device": "meter", "readings": [reading]}


def test_another_device_than_the_machine_file_names_is_not_read():
    async def work(config, bench):
        bench.bus.units[1] = bench.bus.units[2]
        with pytest.raises(WrongModel, match="heater is no Eurotherm 3200"):
            await _read(config, "heater", (), False)

    on_bench(work)


@pytest.mark.parametrize(
    ("device", "words", "sentence"),
    [
        ("heater", ("bed_tmp_c",), "no signal 'bed_tmp_c' (did you mean 'bed_temp_c'?)"),
        ("motion", ("w_mm",), "motion has no signal 'w_mm'"),
    ],
)
def test_a_signal_that_there_is_not_is_named(device, words, sentence):
    async def work(config, bench):
        with pytest.raises(UsageError) as caught:
            await _read(config, device, words, False)
        assert sentence in str(caught.value)

    on_bench(work)


def test_a_device_that_there_is_not_is_named():
    async def work(config, bench):
        with pytest.raises(ConfigError, match=r"no device .heather. .did you mean .heater."):
            await _read(config, "heather", (), False)

    on_bench(work)


# ---- watching -------------------------------------------------------------------------------------------------------


def test_a_watch_reads_at_its_rate_and_ends_by_itself(capsys):
    async def work(config, bench):
        assert await _watch(config, "meter", ("voltage_v",), 0.5, 4, True) == 0

    on_bench(work)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    gaps = [b["t_s"] - a["t_s"] for a, b in itertools.pairwise(lines)]
    assert len(lines) == 4 and gaps == pytest.approx([0.5] * 3, abs=0.01)


def test_a_watch_goes_on_over_a_lost_answer_and_ends_when_nobody_answers(capsys):
    async def work(config, bench):
        units = bench.bus.units
        meter = units[2]

        class Moody(Sdm120):
            reads = 0

            def read_input(self, address, count, t_s):
                self.reads += 1
                if self.reads == 4:  # identify asks twice
                    del units[2]
                return super().read_input(address, count, t_s)

        units[2] = Moody(meter.meter)
        with pytest.raises(Exception, match=r"does not answer|no answer|silent|within"):
            await _watch(config, "meter", ("voltage_v",), 0.5, None, False)

    on_bench(work)
    said = capsys.readouterr()
    assert said.out.count("voltage_v 230 V") == 2 and len(said.err.splitlines()) == 9


def test_ctrl_c_ends_a_watch_well(capsys):
    async def work(config, bench):
        loop = asyncio.get_running_loop()
        loop.call_later(2.2, os.kill, os.getpid(), signal.SIGINT)
        assert await _watch(config, "meter", ("voltage_v",), 1.0, None, False) == 0

    on_bench(work)
    assert 2 <= capsys.readouterr().out.count("voltage_v") <= 4


# ---- writing --------------------------------------------------------------------------------------------------------


def test_a_hazardous_write_needs_arm_and_is_read_back(capsys):
    async def work(config, bench):
        with pytest.raises(MoonkilnError, match=r"power_w = 20 W may move.*Nothing was written.*--arm") as caught:
            await _write(config, "beam", ("power_w=20",), False, False)
        assert caught.value.exit_code == 1 and bench.bus is not None
        assert bench.head.capability_w == 0.0
        assert await _write(config, "beam", ("power_w = 20 W",), True, False) == 0
        assert await _write(config, "heater", ("remote_setpoint_c=60degC",), True, True) == 0

    on_bench(work)
    said = capsys.readouterr().out
    assert "power_w = 20 W: reads back 20 W" in said
    assert json.loads(said[said.index("{") :])["writes"][0]["reads"]["value"] == 60.0


@pytest.mark.parametrize(
    ("device", "word"),
    [("beam", "shutter=0"), ("beam", "fire=0"), ("beam", "stop=1"), ("beam", "power_w=0"), ("heater", "remote=0")],
)
def test_what_makes_a_device_safe_needs_no_arm(device, word):
    async def work(config, bench):
        assert await _write(config, device, (word,), False, False) == 0

    on_bench(work)


@pytest.mark.parametrize("word", ["shutter=1", "fire=1", "stop=0", "token=7", "token=0", "watchdog_ms=5000"])
def test_what_does_not_make_it_safe_does(word):
    async def work(config, bench):
        with pytest.raises(MoonkilnError, match="--arm"):
            await _write(config, "beam", ("power_w=0", word), False, False)

    on_bench(work)


@pytest.mark.parametrize(
    ("device", "word", "sentence"),
    [
        ("beam", "power_w=250", "0 to 200 W may be (envelope.beam_power_w_max)"),
        ("beam", "power_w=-1", "0 to 200 W may be"),
        ("beam", "watchdog_ms=50", "100 to 5000 ms may be"),
        ("beam", "power_w=20mW", "power_w is in W, not in mW"),
        ("beam", "power_w=2e", "is in W, not in e"),
        ("beam", "shutter=1 W", "shutter is in a number without a unit, not in W"),
        ("beam", "power_w=nan", "no finite number"),
        ("beam", "power_w=inf", "no finite number"),
        ("beam", "power_w=", "no SIGNAL=VALUE"),
        ("beam", "power_w", "no SIGNAL=VALUE"),
        ("beam", "power_w=1.2.3", "not in .3"),
        ("beam", "power_w=lots", "no SIGNAL=VALUE"),
        ("beam", "power_w=1e3", "power_w = 1000 W is refused"),
        ("beam", "shutter=0.6", "beam: shutter = 0.6 is refused: it goes in steps of 1, and the nearest are 0 and 1."),
        ("beam", "power_w=20.03 W", "it goes in steps of 0.1 W, and the nearest are 20 and 20.1 W."),
        ("beam", "shutter=2", "beam: shutter = 2 is refused: 0 to 1 may be."),
        ("heater", "remote_setpoint_c=60.05", "the nearest are 60 and 60.1 degC."),
        ("recoater", "pr0_position=7000.5", "pr0_position = 7000.5 pulses is refused: it goes in steps of 1 pulses"),
        ("beam", "powr_w=1", "no signal 'powr_w' (did you mean 'power_w'?)"),
        ("beam", "emission_w=1", "only read"),
        ("heater", "remote_setpoint_c=401", "devices.heater.temp_c_max"),
        ("heater", "sp1_c=51", "0 to 50 degC may be"),
        ("recoater", "pr0_position=80001", "travel_mm = 320 mm"),
        ("piston", "pr0_velocity_rpm=25", "speed_mm_s = 2 mm/s"),
        ("motion", "x_mm=1", "motion has no register map, so nothing of it is written by hand: move the gantry with"),
        ("camera", "x=1", "nothing of it is written by hand: it can be read and watched"),
    ],
)
def test_a_write_out_of_bounds_or_in_another_unit_is_refused_before_anything_is_sent(device, word, sentence):
    async def work(config, bench):
        with pytest.raises(UsageError) as caught:
            await _write(config, device, (word,), True, False)
        assert sentence in str(caught.value)
        assert bench.bus.counters.frames == 0

    on_bench(work)


def test_all_values_are_checked_before_the_first_is_written():
    async def work(config, bench):
        with pytest.raises(UsageError, match="power_w = 999"):
            await _write(config, "beam", ("shutter=1", "power_w=999"), True, False)
        with pytest.raises(UsageError, match="power_w is given twice"):
            await _write(config, "beam", ("power_w=1", "shutter=0", "power_w=2"), True, False)
        with pytest.raises(UsageError, match="beam takes power_w, shutter, token"):
            await _write(config, "beam", (), True, False)

    on_bench(work)


def test_what_the_device_refuses_is_a_sentence():
    async def work(config, bench):
        with pytest.raises(Rejected, match="beam refuses fire = 1"):
            await _write(config, "beam", ("fire=1",), True, False)

    on_bench(work)


def test_memory_that_wears_out_is_written_only_when_it_differs():
    async def work(config, bench):
        before = bench.heater.nonvolatile_writes
        await _write(config, "heater", ("sp1_c=20",), True, False)
        assert bench.heater.nonvolatile_writes == before
        await _write(config, "heater", ("sp1_c=25",), True, False)
        assert bench.heater.nonvolatile_writes != before

    on_bench(work)


def test_each_step_of_the_beams_power_can_be_typed(capsys):
    """0.1 W is no binary number: what is written is what reads back, all the way."""
    typed = [f"{tenths / 10}" for tenths in range(0, 2001, 7)]
    for power in typed:
        (write,) = parse_writes("beam", load_map("moonkiln_beam_head"), {}, [f"power_w={power}"])
        assert write.signal.decode(write.signal.encode(write.value)) == pytest.approx(float(power), abs=1e-9)


def test_steps_that_differ_by_model_are_checked_once_the_model_is_known(capsys):
    """An RD6006 sets amperes in steps of 1 mA, an RD6012 in steps of 10 mA."""

    async def main(loop, model):
        supply = RidenSupply(DcSupply(DcLoad(10.0)), model)
        await lay_virtual("psu", RtuBus({1: supply}, baud=115200), baud=115200)
        config = load_machine("bench_lab").with_urls({"psu": "sim:psu?baud=115200"})
        await _write(config, "supply", ("set_v=5", "set_a=1.234"), True, False)

    run_virtual(lambda loop: main(loop, RD6006))
    assert "set_a = 1.234 A: reads back 1.234 A" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"steps of 0\.01 A, and the nearest are 1\.23 and 1\.24 A"):
        run_virtual(lambda loop: main(loop, RD6012))
    assert "set_v" not in capsys.readouterr().out, "all are checked before the first is written"


def test_hexadecimal_and_every_safe_value_of_a_shipped_map_can_be_written():
    assert parse_writes("recoater", load_map("leadshine_cs2rs"), {}, ["trigger=0x40"])[0].is_safe
    tried = 0
    for name in known_names():
        table = load_map(name)
        for found in table.signals.values():
            for value in found.safe_values:
                (write,) = parse_writes(name, table, {}, [f"{found.name}={value:g}{found.unit}"])
                tried += write.is_safe
    assert tried >= 6


def test_the_machines_limits_are_of_signals_that_the_maps_have():
    for name in ("beam", "heater", "recoater", "piston"):
        table = map_of(BENCH, name)
        assert table is not None and set(bounds_of(BENCH, name)) <= set(table.signals)
        assert bounds_of(BENCH, name)
    assert bounds_of(load_rover("osr"), "power") == {}


# ---- the command ----------------------------------------------------------------------------------------------------


def run(*words: object):
    return CliRunner().invoke(cli, [str(word) for word in words])


def test_a_port_that_another_program_uses_is_a_sentence():
    with Pty() as pty:
        lock = os.open(pty.path, os.O_RDWR | os.O_NOCTTY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run("device", "heater", "read", "--machine", "bench", "--url", f"bus0=serial:{pty.path}?baud=9600")
        os.close(lock)
    assert done.exit_code == 3 and "is in use by another program" in done.stderr and "Traceback" not in done.stderr


def test_an_absent_port_and_bad_words_are_sentences():
    absent = run("device", "heater", "read", "--machine", "bench")
    assert absent.exit_code == 3 and "there is no port" in absent.stderr
    for words, sentence in [
        (("beam", "read", "--url", "beam=tcp:127.0.0.1:40241:"), "a port from 1 to 65535"),
        (("heater", "read", "--url", "bus0=serial:/dev/x?baud=abc"), "baud=abc is no baud rate"),
        (("heater", "read", "--url", "bus0=rfc2217:10.0.0.7:4000"), "names no byte stream"),
        (("heater", "read", "--arm"), "--arm is for writing"),
        (("heater", "poke"), "'poke' is not one of"),
        (("heater", "watch", "--every", "0"), "0.05"),
        (("nothing", "read"), "has no device 'nothing'"),
        (("heater", "write"), "give SIGNAL=VALUE"),
    ]:
        done = run("device", *words, "--machine", "bench")
        assert done.exit_code == 2 and sentence in done.stderr, done.stderr


def test_a_hazardous_write_without_arm_exits_1_and_opens_nothing():
    done = moonkiln("device", "beam", "write", "fire=1", "--machine", "bench", "--json")
    out, err = done.communicate(timeout=60)
    assert done.returncode == 1 and json.loads(out)["exit_code"] == 1 and "--arm" in err


@pytest.mark.parametrize(
    ("machine", "device", "advice"),
    [
        ("osr", "wheels", "drive the rover with `moonkiln rover teleop`"),
        ("polar", "wheels", "drive the rover with `moonkiln rover teleop`"),
        ("osr", "imu", "it can be read and watched"),
    ],
)
def test_what_is_not_written_by_hand_is_told_with_what_moves_it(machine, device, advice):
    done = run("device", device, "write", "speed=1", "--arm", "--machine", machine)
    assert done.exit_code == 2 and f"nothing of it is written by hand: {advice}" in done.stderr
    assert "jog" not in done.stderr
    words = advice.split("`")[1].split()[1:] if "`" in advice else []
    assert run(*words, "--help").exit_code == 0, "the command that is named is there"


def test_a_rover_device_is_found_in_its_machine_file():
    done = run("device", "power", "read", "--machine", "osr")
    assert done.exit_code == 3 and "there is no port" in done.stderr


def test_a_device_behind_a_contactor_is_opened_by_the_word_of_its_machine_file():
    """Without that word the same device is refused: nothing would cut its power."""

    async def main(loop):
        supply = RidenSupply(DcSupply(DcLoad(10.0)))
        await lay_virtual("psu", RtuBus({1: supply}, baud=115200), baud=115200)
        config = load_machine("bench_lab").with_urls({"psu": "sim:psu?baud=115200"})
        assert config.devices.supply is not None
        async with open_device(config, "supply") as device:
            await device.identify()
            assert (await device.read(["model_id"]))["model_id"].value == 60062
        uncut = msgspec.structs.replace(config.devices.supply, contactor="")
        devices = msgspec.structs.replace(config.devices, supply=uncut)
        with pytest.raises(NotReady, match="no watchdog of its own"):
            async with open_device(msgspec.structs.replace(config, devices=devices), "supply"):
                pass

    run_virtual(main)


@pytest.mark.parametrize(
    ("device", "word", "limit"),
    [
        ("conveyor", "frequency_hz=50.1", "0 to 50 Hz may be (devices.conveyor.hz_max)"),
        ("supply", "set_v=13.1", "0 to 13 V may be (devices.supply.volts_max)"),
        ("supply", "set_a=2.1", "0 to 2 A may be (devices.supply.amps_max)"),
        ("supply", "ovp_v=14", "0 to 13 V may be (devices.supply.volts_max)"),
    ],
)
def test_what_a_laboratory_adds_has_its_limits_by_hand_too(device, word, limit):
    config = load_machine("bench_lab")
    table, bounds = map_of(config, device), bounds_of(config, device)
    assert table is not None and set(bounds) <= set(table.signals)
    with pytest.raises(UsageError) as refused:
        parse_writes(device, table, bounds, [word])
    assert limit in str(refused.value)


@pytest.mark.parametrize(("kind", "table"), [("omron_heater", "omron_e5cc"), ("watlow_heater", "watlow_pm")])
def test_a_heater_of_another_make_has_the_machines_limit_by_hand_too(kind, table):
    heater = msgspec.structs.replace(BENCH.devices.heater, kind=kind, map=table, contactor="K1", temp_c_max=150.0)
    config = msgspec.structs.replace(BENCH, devices=msgspec.structs.replace(BENCH.devices, heater=heater))
    registers = map_of(config, "heater")
    assert registers is not None
    with pytest.raises(UsageError, match="0 to 150 degC may be"):
        parse_writes("heater", registers, bounds_of(config, "heater"), ["setpoint_c=151"])

"""Do faults of Modbus units change the answers as the catalogue says, on a serial line and on TCP?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from modbus_slave_helpers import Ear, Tables, mbap, rtu, words

from hil_sim.virtual_run import run_virtual
from hil_sim.virtual_time import VirtualLoop
from hil_sim.world.emulators.modbus_mishaps import Mishaps
from hil_sim.world.emulators.modbus_slave import RtuBus, TcpSlave
from hil_sim.world.faults import Fault, Faults, FaultSchedule
from hil_sim.world.faults.modbus import KINDS

READ, WRITE, BLOCK = "03 0000 0002", "06 0005 1234", "10 0005 0002 04 1111 2222"
READ_OK, BLOCK_OK = "03 04 0007 0008", "10 0005 0002"
DELAY_S = 0.01


class Unit(Tables):
    """Counts how often it was restarted; 7 and 8 in its first registers, the second of which counts reads."""

    reply_delay_s = DELAY_S

    def __init__(self) -> None:
        super().__init__()
        self.holding[0], self.holding[1] = 7, 8
        self.restarts = 0

    def power_cycle(self, t_s: float) -> None:
        self.restarts += 1
        self.holding = [0] * len(self.holding)


def struck(framing: str, requests: list[str], *faults: Fault) -> tuple[list[bytes], Unit, list[float], Faults]:
    """The frames that come back for each of `requests`, said 1 s apart to unit 1, named `heater`."""

    async def main(loop: VirtualLoop) -> tuple[list[bytes], Unit, list[float], Faults]:
        unit, ear, running = Unit(), Ear(), Faults(FaultSchedule(faults))
        mishaps = Mishaps(running, {1: "heater"})
        slave: Any = (
            RtuBus({1: unit}, baud=9600, mishaps=mishaps) if framing == "rtu" else TcpSlave({1: unit}, mishaps=mishaps)
        )
        session = slave.attach(ear)
        for number, request in enumerate(requests):
            session.received(rtu(1, request) if framing == "rtu" else mbap(number, 1, request))
            await asyncio.sleep(1.0)
        session.closed()
        return ear.frames, unit, [t for t, _ in ear.heard], running

    return run_virtual(main)


def whole(framing: str, pdu: str, *, unit: int = 1, transaction: int = 0) -> bytes:
    return rtu(unit, pdu) if framing == "rtu" else mbap(transaction, unit, pdu)


# kind, its arguments, the request that is struck -> the frames that come back; unit and transaction if another's
CASES: list[tuple[str, dict[str, Any], str, list[str], dict[str, int]]] = [
    ("no_reply", {}, READ, [], {}),
    ("late_reply", {"delay_s": 0.25}, READ, [READ_OK], {}),
    ("double_reply", {}, READ, [READ_OK, READ_OK], {}),
    ("wrong_unit", {}, READ, [READ_OK], {"unit": 2}),
    ("wrong_function", {}, READ, ["04 04 0007 0008"], {}),
    ("wrong_count", {}, READ, ["03 02 0007"], {}),
    ("wrong_count", {}, "03 0000 0001", ["03 04 0007 0007"], {}),
    ("wrong_count", {}, BLOCK, ["10 0005 0003"], {}),
    ("wrong_count", {}, "03 0FFF 0001", ["83 02"], {}),
    ("wrong_echo", {}, WRITE, ["06 0006 1234"], {}),
    ("wrong_echo", {}, BLOCK, ["10 0006 0002"], {}),
    ("wrong_transaction", {}, READ, [READ_OK], {"transaction": 1}),
    ("exception", {}, READ, ["83 04"], {}),
    ("exception", {"code": 11}, WRITE, ["86 0B"], {}),
    ("busy", {}, READ, ["83 06"], {}),
    ("ignored_write", {}, WRITE, [WRITE], {}),
    ("ignored_write", {}, BLOCK, [BLOCK_OK], {}),
    ("stale", {}, READ, [READ_OK], {}),
    ("unit_dead", {}, READ, [], {}),
    ("reboot", {}, READ, [], {}),
]
NOT_CARRIED_OUT = {"exception", "busy", "ignored_write", "unit_dead", "reboot"}


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
@pytest.mark.parametrize(("kind", "args", "request_pdu", "answers", "how"), CASES)
def test_each_kind_changes_the_answer_as_it_says(
    framing: str, kind: str, args: dict[str, Any], request_pdu: str, answers: list[str], how: dict[str, int]
) -> None:
    if framing == "rtu" and kind == "wrong_transaction":
        assert "heater" not in KINDS[kind].points
        return
    frames, unit, _, running = struck(framing, [request_pdu], Fault(kind, "heater", at_request=0, args=args))
    expected = [whole(framing, pdu, **how) for pdu in answers]
    assert b"".join(frames) == b"".join(expected)  # of TCP two answers may come in one piece
    if request_pdu == WRITE:
        assert unit.holding[5] == (0 if kind in NOT_CARRIED_OUT else 0x1234)
    if request_pdu == BLOCK:
        assert unit.holding[5:7] == ([0, 0] if kind in NOT_CARRIED_OUT else [0x1111, 0x2222])
    assert [fault.kind for _, _, fault in running.strikes] == [kind]


def test_every_kind_of_the_catalogue_is_shown_here() -> None:
    assert {kind for kind, *_ in CASES} | {"bad_crc", "short_reply", "noise_first"} == set(KINDS)


def test_a_spoilt_crc_is_wrong_and_the_rest_right() -> None:
    (frame,), *_ = struck("rtu", [READ], Fault("bad_crc", "heater", at_request=0))
    good = rtu(1, READ_OK)
    assert frame != good and frame[:-1] == good[:-1] and len(frame) == len(good)


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
def test_a_short_reply_is_a_beginning_and_noise_comes_in_front(framing: str) -> None:
    good = whole(framing, READ_OK)
    (short,), *_ = struck(framing, [READ], Fault("short_reply", "heater", at_request=0, args={"bytes": 5}))
    (noisy,), *_ = struck(framing, [READ], Fault("noise_first", "heater", at_request=0, args={"hex": "a5"}))
    (least,), *_ = struck(framing, [READ], Fault("short_reply", "heater", at_request=0, args={"bytes": 500}))
    assert (short, noisy, least) == (good[:5], b"\xa5" + good, good[:-1])


def test_a_late_reply_is_late_by_what_it_says() -> None:
    _, _, plain, _ = struck("rtu", [READ])
    _, _, late, _ = struck("rtu", [READ], Fault("late_reply", "heater", at_request=0, args={"delay_s": 0.25}))
    assert late[0] - plain[0] == pytest.approx(0.25)


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
def test_a_kind_that_needs_a_write_waits_for_the_next_one(framing: str) -> None:
    frames, unit, _, _ = struck(framing, [READ, READ, WRITE, WRITE], Fault("ignored_write", "heater", at_request=0))
    assert len(frames) == 4 and unit.holding[5] == 0x1234, "the second write must have been carried out"
    _, once, _, _ = struck(framing, [READ, READ, WRITE], Fault("ignored_write", "heater", at_request=0))
    assert once.holding[5] == 0


def test_a_window_strikes_each_request_inside_it_and_none_behind() -> None:
    requests = [WRITE, "06 0006 0001", "06 0007 0001"]
    _, unit, _, running = struck("rtu", requests, Fault("ignored_write", "heater", at_s=0.5, for_s=1.0))
    assert unit.holding[5:8] == [0x1234, 0, 1] and len(running.strikes) == 1


def test_a_window_leaves_requests_alone_that_its_kind_can_do_nothing_to() -> None:
    frames, *_ = struck("rtu", [READ, WRITE], Fault("ignored_write", "heater", at_s=0.0, for_s=9.0))
    assert frames == [rtu(1, READ_OK), rtu(1, WRITE)]


def test_busy_strikes_as_often_as_it_says() -> None:
    frames, *_ = struck("rtu", [READ] * 5, Fault("busy", "heater", at_request=1, args={"times": 3}))
    assert frames == [rtu(1, READ_OK), *[rtu(1, "83 06")] * 3, rtu(1, READ_OK)]


def test_stale_registers_stay_what_they_were_and_come_back_to_life() -> None:
    first = "03 0005 0001"
    requests = [first, "06 0005 0001", first, "06 0005 0002", first, first]
    frames, *_ = struck("rtu", requests, Fault("stale", "heater", at_request=1, count=2))
    reads = [frames[n] for n in (0, 2, 4, 5)]
    assert reads == [rtu(1, "03 02 0000")] * 3 + [rtu(1, "03 02 0002")]


def test_a_restarted_unit_is_deaf_for_a_while_and_begins_anew_once() -> None:
    fault = Fault("reboot", "heater", at_request=1, args={"off_s": 1.5})
    frames, unit, *_ = struck("rtu", [WRITE, READ, READ, "03 0005 0001"], fault)
    assert frames == [rtu(1, WRITE), rtu(1, "03 02 0000")] and unit.restarts == 1


def test_other_units_and_broadcasts_are_neither_struck_nor_counted() -> None:
    async def main(_: VirtualLoop) -> list[bytes]:
        ear, running = Ear(), Faults(FaultSchedule((Fault("no_reply", "heater", at_request=1),)))
        bus = RtuBus({1: Unit(), 2: Unit()}, baud=9600, mishaps=Mishaps(running, {1: "heater", 2: "meter"}))
        session = bus.attach(ear)
        for frame in (rtu(2, READ), rtu(0, WRITE), rtu(1, READ), rtu(2, READ), rtu(1, READ), rtu(1, READ)):
            session.received(frame)
            await asyncio.sleep(1.0)
        session.closed()
        return ear.frames

    one, two = rtu(1, READ_OK), rtu(2, READ_OK)
    assert run_virtual(main) == [two, one, two, one]


def test_words_of_the_tests_are_the_words_of_the_line() -> None:
    assert whole("rtu", READ) == rtu(1, bytes([3]) + words(0, 2))

"""Whatever the wire does to the bytes: does the stream end exact, or stopped with the reason, and never otherwise?"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable

import pytest
from grbl_link_helpers import FakeGrbl, Notes, differs, due_moves, layer, talk, virtually

from firmware_bridge.errors import BridgeError, DeviceHalted, DeviceReset, LinkError, LinkTimeout
from firmware_bridge.links.grbl import GrblLink

PLAN = layer(8, contour=24)


def once(match: Callable[[bytes], bool], change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Change the first chunk that matches, and no other."""
    left = [True]

    def mangle(data: bytes) -> bytes:
        if left and match(data):
            left.clear()
            return change(data)
        return data

    return mangle


def nth_reply(number: int, text: str, change: Callable[[bytes], list[bytes]]) -> Callable[[str], list[bytes]]:
    """Change the `number`-th reply (from 0) that is `text`, or begins with it."""
    seen = [0]

    def on_reply(reply: str) -> list[bytes]:
        raw = reply.encode() + b"\r\n"
        if reply.startswith(text):
            seen[0] += 1
            if seen[0] == number + 1:
                return change(raw)
        return [raw]

    return on_reply


async def ends(link: GrblLink, peer: FakeGrbl, plan: list[bytes] = PLAN, limit_s: float = 120.0) -> BridgeError | None:
    """Stream: the error, with the machine standing; or None with everything exact. Fails the test for all else."""
    notes = Notes(0.001)
    try:
        async with asyncio.timeout(limit_s):
            taken = await link.stream(plan, notes)
    except BridgeError as error:
        await link.is_down()
        done = len(peer.done)
        await asyncio.sleep(5.0)
        assert len(peer.done) == done, "the buffered rest ran on"
        return error
    assert taken == len(plan)
    assert differs(peer.done, due_moves(plan)) == "", "SILENT"
    assert notes.acks == list(range(len(plan)))
    return None


# -- what users of hosts report -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 3, 7, 20, 45])
@pytest.mark.parametrize(
    "damaged", [[], [b"o\r\n"], [b"k\r\n"], [b"ok*\r\n"], [b"ok\xef\r\n"], [b"o*\r\n"], [b"ok"], [b"ok\r\n", b"ok\r\n"]]
)
def test_an_ok_that_is_lost_damaged_or_doubled_is_proven_and_the_stream_goes_on(
    number: int, damaged: list[bytes]
) -> None:
    async def main() -> None:
        link, peer = await talk()
        peer.on_reply = nth_reply(number, "ok", lambda raw: damaged)
        assert await ends(link, peer) is None
        assert peer.overflowed == 0

    virtually(main)


def test_a_lost_ok_is_a_pause_and_not_a_guess() -> None:
    async def main() -> None:
        link, peer = await talk()
        peer.on_reply = nth_reply(12, "ok", lambda raw: [])
        assert await ends(link, peer) is None
        assert link.counters.doubts == 1 and link.counters.recoveries == 1

    virtually(main)


def test_an_error_whose_answer_is_lost_is_not_taken_for_a_lost_ok() -> None:
    """The line was refused, and nothing says so but the place."""

    async def main() -> None:
        link, peer = await talk()
        peer.mangle = once(lambda data: data.startswith(b"N12X"), lambda data: data.replace(b"X", b"Q"))
        peer.on_reply = nth_reply(0, "error", lambda raw: [])
        error = await ends(link, peer)
        assert isinstance(error, LinkError)
        assert "off every move" in str(error) or "came to rest" in str(error)

    virtually(main)


@pytest.mark.parametrize("change", [lambda raw: [], lambda raw: [raw[:-3] + b"\x07\r\n"], lambda raw: [raw, raw]])
def test_a_parser_state_that_is_lost_damaged_or_doubled(change: Callable[[bytes], list[bytes]]) -> None:
    async def main() -> None:
        link, peer = await talk()
        peer.on_reply = nth_reply(5, "[GC:", change)
        error = await ends(link, peer)
        if change(b"[GC:x]\r\n"):
            assert error is None
        else:  # lost whole: its mode has passed and cannot be asked for
            assert error is not None and "cannot be proven" in str(error)

    virtually(main)


def test_a_line_refused_is_named_in_words_and_the_rest_never_runs() -> None:
    async def main() -> None:
        link, peer = await talk()
        peer.mangle = once(lambda data: data.startswith(b"N15X"), lambda data: data.replace(b"X", b"A"))
        error = await ends(link, peer)
        assert error is not None and "error:20 (a command is not supported)" in str(error)
        assert "line 1" in str(error)
        assert b"!" in peer.written and b"\x18" in peer.written

    virtually(main)


@pytest.mark.parametrize("code", range(1, 10))
def test_every_alarm_is_named_and_ends_the_stream(code: int) -> None:
    async def main() -> None:
        link, peer = await talk()
        asyncio.get_running_loop().call_later(1.0, peer.say, f"ALARM:{code}")
        error = await ends(link, peer)
        assert isinstance(error, DeviceHalted) and f"ALARM:{code} (" in str(error)

    virtually(main)


def test_a_restart_in_the_middle_costs_the_position_and_says_so() -> None:
    async def main() -> None:
        link, peer = await talk()
        asyncio.get_running_loop().call_later(1.0, peer.restart)
        error = await ends(link, peer)
        assert isinstance(error, DeviceReset) and "position is unknown" in str(error)

    virtually(main)


def test_a_restart_whose_banner_is_lost_is_noticed_all_the_same() -> None:
    async def main() -> None:
        link, peer = await talk()
        peer.on_reply = lambda reply: [] if reply.startswith(("Grbl", "[MSG", "ALARM")) else [reply.encode() + b"\r\n"]
        asyncio.get_running_loop().call_later(1.0, peer.restart)
        assert await ends(link, peer) is not None

    virtually(main)


def test_a_dead_line_in_the_middle_of_a_long_move() -> None:
    async def main() -> None:
        link, peer = await talk()
        plan = [b"M4 S0", b"G0 X1.000 Y1.000", b"G1 X200.000 Y1.000 F60 S10", b"M5"]
        asyncio.get_running_loop().call_later(3.0, setattr, peer, "deaf", True)
        error = await ends(link, peer, plan)
        assert isinstance(error, LinkTimeout)

    virtually(main)


def test_a_long_move_without_any_answer_is_no_silence() -> None:
    async def main() -> None:
        link, peer = await talk()
        plan = [b"M4 S0", b"G0 X1.000 Y1.000", b"G1 X101.000 Y1.000 F60 S10", b"M5"]  # 100 s
        assert await ends(link, peer, plan, limit_s=130.0) is None
        assert link.counters.doubts == 0

    virtually(main)


@pytest.mark.parametrize(
    ("byte", "why"),
    [(b"!", "Hold"), (b"\x84", "Door"), (b"\x91", "overrides"), (b"\x92", "overrides"), (b"\x18", "restarted|ALARM")],
)
def test_a_real_time_byte_that_nobody_sent_stops_the_stream(byte: bytes, why: str) -> None:
    async def main() -> None:
        link, peer = await talk()
        asyncio.get_running_loop().call_later(1.0, peer._send, byte)
        error = await ends(link, peer)
        assert error is not None
        with pytest.raises(BridgeError, match=why):
            raise error

    virtually(main)


@pytest.mark.parametrize(
    ("good", "bad", "why"),
    [
        (b"F2400", b"F24", "F24 instead of F2400"), (b"S1000", b"S100", "S100 instead of S1000"),
        (b"G91G1", b"G91G0", "G0 instead of G1"), (b"G91G1", b"G90G1", "a target lies beyond"),
        (b"G0M4S0", b"G0M3S0", "M3 instead of M4"), (b"G21G54", b"G21G55", "G55 instead of G54"),
        (b"G17G21", b"G17G20", "G20 instead of G21"),
    ],
)  # fmt: skip
def test_a_mode_that_was_damaged_is_named(good: bytes, bad: bytes, why: str) -> None:
    async def main() -> None:
        link, peer = await talk()
        peer.mangle = once(lambda data: good in data, lambda data: data.replace(good, bad))
        error = await ends(link, peer)
        assert error is not None and why in str(error)
        assert not any(move.power for move in peer.done[:1])

    virtually(main)


@pytest.mark.parametrize(
    ("change"),
    [
        lambda data: data.replace(b"X-", b"X"), lambda data: data.replace(b"X", b"Z"),
        lambda data: data.replace(b".", b""),
        lambda data: b"", lambda data: data + data, lambda data: data.replace(b"\n", b""), lambda data: b";" + data,
        lambda data: data.replace(b"X", b"\x18"), lambda data: data.replace(b"\n", b"\n\n"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("number", [b"N11X", b"N14X"])
def test_a_move_that_was_damaged_lost_doubled_or_merged(change: Callable[[bytes], bytes], number: bytes) -> None:
    async def main() -> None:
        link, peer = await talk()
        harmed: list[bytes] = []

        def note(data: bytes) -> bytes:
            harmed.append(data)
            return change(data)

        peer.mangle = once(lambda data: data.startswith(number), note)
        error = await ends(link, peer)
        assert harmed
        assert error is not None or change(b"N1X1\n") == b"N1X1\n\n"  # an empty line harms nothing

    virtually(main)


def test_a_fault_too_short_for_any_report_is_found_where_the_machine_comes_to_rest() -> None:
    async def main() -> None:
        link, peer = await talk()
        plan = [b"M4 S0", b"G0 X5.000 Y5.000"]
        plan += [b"G1 X%.3f Y5.000 F6000 S900" % (5 + 0.3 * index) for index in range(1, 11)]
        peer.mangle = once(lambda data: data.startswith(b"N9X0.3"), lambda data: data.replace(b"0.3", b"0.2"))
        error = await ends(link, peer, [*plan, b"M5"])
        assert error is not None and "came to rest after line 12" in str(error)
        assert "x = 7.900 mm instead of 8.000 mm" in str(error)

    virtually(main)


def test_a_mode_that_a_damaged_line_set_is_asked_for_before_the_plan_sets_it_anew() -> None:
    """N becomes F by one bit: the line moves as it should, and all that follow at another feed."""

    async def main() -> None:
        link, peer = await talk()
        plan = [b"M4 S0", b"G0 X5.000 Y5.000"]
        plan += [b"G1 X%.3f Y5.000 F2400 S900" % (5 + 0.5 * index) for index in range(1, 6)]
        plan += [b"G1 X%.3f Y5.000 F3000 S900" % (8 + 0.5 * index) for index in range(1, 6)]
        peer.mangle = once(lambda data: data.startswith(b"N7X"), lambda data: data.replace(b"N", b"F"))
        error = await ends(link, peer, [*plan, b"M5"])
        assert error is not None and "F7 instead of F2400" in str(error)

    virtually(main)


def test_a_damaged_report_is_read_again_before_anything_is_stopped() -> None:
    async def main() -> None:
        link, peer = await talk()
        peer.on_reply = nth_reply(8, "<Run", lambda raw: [raw.replace(b"MPos:", b"MPos:1")])
        assert await ends(link, peer) is None

    virtually(main)


@pytest.mark.parametrize(("numbers", "due", "plan"), [(False, 600, layer(0, contour=200)), (True, 1000, layer(6))])
def test_a_controller_that_reports_another_power_than_was_asked_for_is_stopped(
    numbers: bool, due: int, plan: list[bytes]
) -> None:
    """A build that tells its line numbers tells even where dark and lit moves take turns."""

    async def main() -> None:
        link, peer = await talk(numbers=numbers)
        peer.on_reply = lambda reply: [reply.replace(f",{due}", ",240").encode() + b"\r\n"]
        error = await ends(link, peer, plan)
        assert error is not None and "its power is S240" in str(error)

    virtually(main)


def test_a_machine_that_does_not_move_is_not_waited_for_for_ever() -> None:
    async def main() -> None:
        link, peer = await talk()
        loop = asyncio.get_running_loop()

        def stick() -> None:
            if peer._run is not None:
                peer._run.cancel()
                peer._ends_s = loop.time() + 1e6

        loop.call_later(1.0, stick)
        peer.on_reply = lambda reply: [
            re.sub(r"<Run\|MPos:[^|]*", "<Run|MPos:35.000,25.000,0.000", reply).encode() + b"\r\n"
        ]
        error = await ends(link, peer, limit_s=60.0)
        assert isinstance(error, LinkTimeout) and "has not moved" in str(error)

    virtually(main)


def test_a_cable_that_spits_noise_ends_in_a_sentence() -> None:
    async def main() -> None:
        link, peer = await talk()
        rng = random.Random(5)
        peer.on_reply = lambda reply: [bytes(rng.randrange(256) for _ in range(20)) + b"\n"]
        error = await ends(link, peer)
        assert isinstance(error, LinkTimeout)

    virtually(main)


# -- random faults --------------------------------------------------------------------------------------------------


class Faults:
    """One to four faults at bytes drawn from a seed; both ways, or one."""

    def __init__(self, seed: int, way: str) -> None:
        self.rng = random.Random(seed)
        self.hits = 0
        self.counts = Counter[str]()
        self.plan = {}
        for _ in range(self.rng.randrange(1, 5)):
            side = way if way != "both" else self.rng.choice(["to", "from"])
            kind = self.rng.choice(["drop", "double", "flip", "byte"])
            self.plan[side, self.rng.randrange(700 if side == "to" else 4500)] = kind
        answers = self.rng.randrange(3) if way != "to" else 0
        self.answers = {self.rng.randrange(150): self.rng.choice(["lost", "twice"]) for _ in range(answers)}

    def bytes(self, side: str, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            kind = self.plan.get((side, self.counts[side]), "")
            self.counts[side] += 1
            self.hits += bool(kind)
            if kind == "flip":
                byte ^= 1 << self.rng.randrange(8)
            elif kind == "byte":
                byte = self.rng.randrange(256)
            out += bytes([byte] * {"drop": 0, "double": 2}.get(kind, 1))
        return bytes(out)

    def reply(self, text: str) -> list[bytes]:
        raw = self.bytes("from", text.encode() + b"\r\n")
        kind = ""
        if not text.startswith("<"):
            kind = self.answers.get(self.counts["answers"], "")
            self.counts["answers"] += 1
            self.hits += bool(kind)
        return [raw] * {"lost": 0, "twice": 2}.get(kind, 1)


@pytest.mark.parametrize(("way", "exact_at_least"), [("to", 0.05), ("from", 0.80), ("both", 0.30)])
def test_random_faults_end_exact_or_stopped_and_never_otherwise(way: str, exact_at_least: float) -> None:
    """A fault in what the controller hears can only be stopped for; one in what it says is mostly proven harmless."""
    tally = Counter[str]()
    for seed in range(70):

        async def main(seed: int = seed) -> None:
            faults = Faults(seed, way)
            link, peer = await talk(numbers=seed % 3 == 0, byte_time_s=0.0 if seed % 2 else 10 / 115200)
            peer.mangle = lambda data: faults.bytes("to", data)
            peer.on_reply = faults.reply
            error = await ends(link, peer, limit_s=300.0)
            if faults.hits:
                tally["stopped" if error is not None else "exact"] += 1
            else:
                assert error is None

        virtually(main)
    assert tally.total() > 50
    assert tally["exact"] / tally.total() >= exact_at_least, tally

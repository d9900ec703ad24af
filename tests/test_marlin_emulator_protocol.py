"""Does the emulated Marlin board hear, check and answer lines as Marlin does?"""

from __future__ import annotations

import asyncio
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marlin_helpers import Host, framed, with_board

from hil_sim.world.emulators.marlin_protocol import EmergencyScanner, LineChecker, clean, parse, strtol, xor_checksum


@given(st.binary(max_size=96))
def test_the_folded_checksum_is_the_xor_of_all_bytes(data: bytes) -> None:
    assert xor_checksum(data) == reduce(lambda a, b: a ^ b, data, 0)


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (b"G1 X1", b"G1 X1"),
        (b"G1 X1 ; to the left", b"G1 X1 "),
        (b"; only words", b""),
        (b"M118 a\\;b", b"M118 a;b"),
        (b"G1 X12\x08", b"G1 X1"),
        (b"\x08G28", b"G28"),
        (b"G1\0 X1", b"G1"),
        (b"M117 " + b"a" * 100, b"M117 " + b"a" * 90),
        (b"a" * 95, b"a" * 95),
        (b"a" * 96, b"a" * 95),
    ],
)
def test_a_line_is_cut_and_stripped_as_the_firmware_does(raw: bytes, kept: bytes) -> None:
    assert clean(raw) == kept


@given(st.binary(max_size=200), st.integers(-5, 5))
def test_no_line_breaks_the_checker(raw: bytes, last_n: int) -> None:
    checker = LineChecker()
    checker.last_n = last_n
    result = checker.admit(raw.replace(b"\n", b""))
    if result is not None and not isinstance(result, str):
        parse(result.text)
    if isinstance(result, str):
        assert checker.last_n == last_n, "a refused line moved the line number"


@given(st.integers(-99, 99), st.integers(0, 40), st.integers(1, 255))
def test_one_changed_byte_never_passes(n: int, at: int, flip: int) -> None:
    line = bytearray(framed(n + 1, "G1 X10.25 Y-3 F3000 S800")[:-1])
    at %= len(line)
    line[at] ^= flip
    checker = LineChecker()
    checker.last_n = n
    result = checker.admit(bytes(line))
    # What gets through had its N changed (no numbered line any more), or still says the sum of its bytes.
    if result is not None and not isinstance(result, str) and line[0] == ord("N"):
        before, _, after = bytes(line).rpartition(b"*")
        assert xor_checksum(before) == strtol(after)


def test_the_three_errors_and_the_resend() -> None:
    async def story(host: Host) -> None:
        for n in range(1, 9):
            assert await host.ask(framed(n, "G4 P1")) == [f"ok N{n} P15 B3"]
        assert await host.ask(framed(11, "G4 P1")) == [
            "Error:Line Number is not Last Line Number+1, Last Line: 8", "Resend: 9", "ok",
        ]  # fmt: skip
        assert await host.ask(b"N9 G4 P1*1\n") == ["Error:checksum mismatch, Last Line: 8", "Resend: 9", "ok"]
        assert await host.ask(b"N9 G4 P1\n") == ["Error:No Checksum with line number, Last Line: 8", "Resend: 9", "ok"]
        # number before checksum: a line wrong in both ways is called wrong in its number
        assert (await host.ask(b"N12 G4 P1*1\n"))[0].startswith("Error:Line Number")
        assert await host.ask(framed(9, "G4 P1")) == ["ok N9 P15 B3"]
        assert host.board.resends == 4

    with_board(story)


@pytest.mark.parametrize("command", ["G1 X1 F6000", "G1F6000X1", "g28", "M105"])
def test_any_writing_of_a_line_is_checked_alike(command: str) -> None:
    async def story(host: Host) -> None:
        assert (await host.ask(framed(2, command)))[0].startswith("Error:Line Number")
        assert (await host.ask(f"N1 {command}"))[0].startswith("Error:No Checksum")
        assert (await host.ask(f"N1 {command}*1"))[0].startswith("Error:checksum mismatch")
        replies = await host.ask(framed(1, command))
        assert not any(reply.startswith(("Error", "Resend")) for reply in replies)

    with_board(story)


def test_line_numbers_are_set_by_m110_also_negative_and_twice() -> None:
    async def story(host: Host) -> None:
        await host.ask(framed(-1, "M110 N-1"))  # printcore's greeting
        assert await host.ask(framed(0, "M400")) == ["ok N0 P15 B3"]
        await host.ask("M110 N41")  # no number of its own
        assert await host.ask(framed(42, "M400")) == ["ok N42 P15 B3"]
        await host.ask(framed(7, "M110 N100"))  # the number after the word is the one that counts
        assert await host.ask(framed(101, "M400")) == ["ok N101 P15 B3"]
        host.send(framed(3, "M110 N200") + framed(201, "M400"))  # the check alone moves the number, before M110 runs
        await asyncio.sleep(0.1)
        assert [line.split(" P")[0] for line in host.lines[-2:]] == ["ok N3", "ok N201"]
        await host.ask(framed(5, "M110"))
        assert await host.ask(framed(6, "M400")) == ["ok N6 P15 B3"]
        await host.ask(framed(0, "M110 N0"))
        await host.ask(framed(0, "M110 N0"))
        assert await host.ask(framed(1, "M400")) == ["ok N1 P15 B3"]

    with_board(story)


def test_a_bad_line_drains_what_has_arrived_behind_it() -> None:
    async def story(host: Host) -> None:
        host.send(b"N1 G4 P1*0\n" + framed(1, "G4 P1") + framed(2, "G4"))
        await asyncio.sleep(1)
        assert host.lines == ["Error:checksum mismatch, Last Line: 0", "Resend: 1", "ok"]
        host.send(b"G4 P10\nN1 G4 P1*0\n" + framed(1, "G4 P1"))  # also what waits behind a command in work
        await asyncio.sleep(1)
        assert host.lines[3:] == [
            "Error:checksum mismatch, Last Line: 0", "Resend: 1", "ok", "ok P15 B3",
        ]  # fmt: skip
        # the tail of a line whose head was drained is a command without a number: nothing protects it
        host.send(b"N9 X*1\nN1 G1 X", b"5\n")
        await asyncio.sleep(1)
        assert host.lines[-2:] == ['echo:Unknown command: "5"', "ok P15 B3"]

    with_board(story)


def test_empty_lines_and_comments_get_no_answer_and_crlf_is_one_end() -> None:
    async def story(host: Host) -> None:
        host.send(b"\n\r\n; a comment\n\n", b"M114\r\n\r\n")
        await asyncio.sleep(1)
        assert host.oks == 1

    with_board(story)


def test_unknown_commands_are_echoed_and_acknowledged() -> None:
    async def story(host: Host) -> None:
        assert await host.ask("M12345 X1") == ['echo:Unknown command: "M12345 X1"', "ok P15 B3"]
        assert await host.ask(framed(1, "hello")) == ['echo:Unknown command: "hello"', "ok N1 P15 B3"]
        assert await host.ask("G21") == ["ok P15 B3"]

    with_board(story)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_chunks_do_not_matter(sizes: list[int]) -> None:
    text = b"M114\n" + framed(1, "G1 X1 F6000") + b"M114 ; where\r\nG91\n" + framed(2, "G1 X-1")
    text += b"M114\nfoo\nM118 a b\n"

    async def story(host: Host, cuts: list[int]) -> list[str]:
        at = 0
        for size in [*cuts, len(text)]:
            host.send(text[at : at + size])
            at += size
            await asyncio.sleep(0.02)
        return [line.split(" Count")[0].split(" P")[0] for line in host.lines]  # free buffers depend on the pace

    # one line at a time is the reference
    lines = text.splitlines(keepends=True)
    expected = with_board(lambda host: story(host, [len(line) for line in lines]))
    assert with_board(lambda host: story(host, sizes)) == expected
    assert len(expected) == 13


@pytest.mark.parametrize("chunk", [1, 3, 200])
def test_emergency_commands_are_seen_in_any_chunking(chunk: int) -> None:
    data = b"G1 X1\nM1125\nM118 M112\n N4 M108*37\r\nM410 ; now\nXM112\nM112\n"
    scanner = EmergencyScanner()
    found = [code for i in range(0, len(data), chunk) for code in scanner.scan(data[i : i + chunk])]
    # Marlin's state machine looks at the beginning of a line alone: M1125 counts, a comment behind does not hide
    assert found == ["M112", "M108", "M410", "M112"]


def test_identity_names_capabilities() -> None:
    async def story(host: Host) -> list[str]:
        return await host.ask("M115")

    for emergency in (False, True):
        lines = with_board(story, emergency_parser=emergency)
        assert lines[0].startswith("FIRMWARE_NAME:Marlin") and "EXTRUDER_COUNT:1" in lines[0]
        assert f"Cap:EMERGENCY_PARSER:{int(emergency)}" in lines and "Cap:AUTOREPORT_TEMP:1" in lines
        assert lines[-1].startswith("ok")


def test_plain_ok_without_advanced_ok() -> None:
    async def story(host: Host) -> None:
        assert await host.ask(framed(1, "G1 X1 F600")) == ["ok"]
        assert (await host.ask("M105"))[0].startswith("ok T:21.00 /0.00 B:20.00 /0.00 @:0 B@:0")

    with_board(story, advanced_ok=False)

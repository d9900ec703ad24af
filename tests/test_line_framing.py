"""Is a framed line what Marlin's rules say, and does no noise become an acknowledgement?"""

from __future__ import annotations

from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.links.line_framing import (
    LINE_BYTES_MAX,
    REPLY_BYTES_MAX,
    Acknowledge,
    LineSplitter,
    Resend,
    clean,
    frame_line,
    parse_identity,
    parse_ok,
    parse_position,
    parse_resend,
    parse_temperatures,
    unframe_line,
    unsendable,
    xor_checksum,
)

COMMANDS = st.text("GMXYZFSI0123456789.- ", min_size=1, max_size=70).map(lambda text: b"G" + text.encode())


@given(st.binary(max_size=300))
def test_checksum_is_the_xor_of_the_bytes(data: bytes) -> None:
    assert xor_checksum(data) == reduce(xor, data, 0)


@given(COMMANDS, st.integers(0, 10**8))
def test_framed_lines_unframe(line: bytes, number: int) -> None:
    framed = frame_line(number, line)
    body, _, checksum = framed.strip(b"\n").rpartition(b"*")
    assert int(checksum) == reduce(xor, body, 0)
    assert framed.startswith(b"\n") and framed.endswith(b"\n") and framed.count(b"\n") == 2
    assert unframe_line(framed) == (number, line)
    assert unframe_line(frame_line(number, line, guard=False)) == (number, line)


def test_known_lines() -> None:
    assert frame_line(0, b"M110 N0", guard=False) == b"N0 M110 N0*125\n"
    assert frame_line(3, b"T0", guard=False) == b"N3 T0*57\n"  # RepRap wiki's example


@given(COMMANDS, st.integers(0, 9999), st.integers(0, 60), st.integers(0, 7))
def test_one_flipped_bit_never_passes(line: bytes, number: int, place: int, bit: int) -> None:
    framed = bytearray(frame_line(number, line).strip(b"\n"))
    framed[place % len(framed)] ^= 1 << bit
    try:
        result = unframe_line(bytes(framed))
    except ValueError:
        return
    assert result == (number, line)  # a flip inside the stripped line end or a leading zero changes nothing


@pytest.mark.parametrize("framed", [b"N5 G1 X1", b"N5 G1 X1*7", b"G1*118", b"*0", b""])
def test_bad_frames_are_value_errors(framed: bytes) -> None:
    with pytest.raises(ValueError):
        unframe_line(framed)


@given(COMMANDS)
def test_what_may_be_sent_has_no_byte_that_ends_or_hides_a_line(line: bytes) -> None:
    if unsendable(line) is None:
        assert len(frame_line(99_999_999, line)) <= LINE_BYTES_MAX + 2
        assert not set(line) & set(b"\r\n*;\\") and line.isascii()


def test_reasons_not_to_send() -> None:
    assert "empty" in (unsendable(b" ") or "")
    assert "cut" in (unsendable(b"G1 " + b"X" * 90) or "")
    for line in (b"g1 X1", b"G1\rX", b"G1 *", b"G1 ;x", b"G1 \\", "G1 é".encode(), b" G1"):
        assert unsendable(line) is not None, line
    for line in (b"G1 X-1.5 Y2 S0", b"M4 I S0", b"M5 I", b"M118 hello [x]", b"M117 it's (fine)"):
        assert unsendable(line) is None, line


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(1, 17))
def test_splitting_is_the_same_however_bytes_come(chunks: list[bytes], size: int) -> None:
    data = b"".join(chunks)
    one, many = LineSplitter(), LineSplitter()
    got = [line for start in range(0, len(data), size) for line in many.feed(data[start : start + size])]
    assert got == one.feed(data) == data.split(b"\n")[:-1]


def test_noise_without_line_ends_cannot_grow() -> None:
    splitter = LineSplitter()
    for _ in range(20):
        assert splitter.feed(b"x" * 1000) == []
    assert splitter.overlong >= 3
    assert len(splitter.feed(b"\n")[0]) <= REPLY_BYTES_MAX


@pytest.mark.parametrize(
    "text, expected",
    [
        ("ok", Acknowledge()),
        ("ok N12 P15 B3", Acknowledge(12, 15, 3)),
        ("ok P15 B3", Acknowledge(None, 15, 3)),
        ("ok N-1 P15 B3", Acknowledge(-1, 15, 3)),
        ("ok T:21.3 /0.0 B:20 /0 @:0 B@:0", Acknowledge(has_temperature=True)),
        ("o", None), ("k", None), ("ok*", None), ("okay", None), ("okok", None), ("o*", None), ("ok ?", None),
    ],
)  # fmt: skip
def test_oks_and_what_only_looks_like_one(text: str, expected: Acknowledge | None) -> None:
    assert parse_ok(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Resend: 9", Resend(9)), ("Resend:9", Resend(9)), ("rs N2", Resend(2)), ("rs 2", Resend(2)),
        ("Resend: ", None), ("Resend: x", None), ("Resend: -1", None), ("rs", None), ("Resend: 12345678901", None),
    ],
)  # fmt: skip
def test_resends(text: str, expected: Resend | None) -> None:
    assert parse_resend(text) == expected


@given(st.binary(max_size=80))
def test_no_bytes_break_the_parsers(noise: bytes) -> None:
    text = clean(noise)
    assert text.isascii() and text.isprintable()
    parse_ok(text)
    parse_resend(text)
    parse_temperatures(text)
    parse_position(text)
    parse_identity([text])


def test_reports_of_real_firmware() -> None:
    assert parse_temperatures(" T:21.00 /0.00 B:20.00 /5.50 @:0 B@:0 W:?") == {"T": (21.0, 0.0), "B": (20.0, 5.5)}
    assert parse_position("X:20.00 Y:-1.50 Z:0.00 E:0.00 Count X:1600 Y:0 Z:0") == {
        "X": 20.0, "Y": -1.5, "Z": 0.0, "E": 0.0
    }  # fmt: skip
    identity = parse_identity(
        [
            "FIRMWARE_NAME:Marlin 2.1.2 (Jan 1 2024 10:00:00) SOURCE_CODE_URL:https://github.com/MarlinFirmware/Marlin "
            "PROTOCOL_VERSION:1.0 MACHINE_TYPE:Moon Kiln EXTRUDER_COUNT:1 UUID:cede2a2f",
            "Cap:AUTOREPORT_TEMP:1",
            "Cap:EMERGENCY_PARSER:0",
        ]
    )
    assert identity.fields["FIRMWARE_NAME"] == "Marlin 2.1.2 (Jan 1 2024 10:00:00)"
    assert identity.fields["MACHINE_TYPE"] == "Moon Kiln"
    assert identity.capabilities == {"AUTOREPORT_TEMP": True, "EMERGENCY_PARSER": False}

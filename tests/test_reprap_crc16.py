"""Is a line with a CRC what RepRapFirmware takes, and does no damaged one pass?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.links import line_framing
from firmware_bridge.links.reprap_crc16 import LINE_BYTES_MAX, crc16, frame_line, unframe_line, unsendable

COMMANDS = st.text("GMXYZFSI0123456789.- ", min_size=1, max_size=150).map(lambda text: b"G" + text.encode())


def slow_crc(data: bytes) -> int:
    """Bit by bit."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021) & 0xFFFF if crc & 0x8000 else crc << 1
    return crc


@given(st.binary(max_size=300))
def test_the_crc_is_the_polynomials(data: bytes) -> None:
    assert crc16(data) == slow_crc(data)


def test_the_published_check_value() -> None:
    assert crc16(b"123456789") == 0x31C3


@pytest.mark.parametrize(
    ("number", "command", "framed"),
    [
        (0, b"M110 N0", b"N0 M110 N0*36174"), (1, b"M115", b"N1 M115*30753"), (123, b"G1 X10", b"N123 G1 X10*50035"),
        (7, b"G1 X60.000 Y50.000 F3000 S1000", b"N7 G1 X60.000 Y50.000 F3000 S1000*16308"),
    ],
)  # fmt: skip
def test_golden_lines(number: int, command: bytes, framed: bytes) -> None:
    assert frame_line(number, command, guard=False) == framed + b"\n"


@given(COMMANDS, st.integers(0, 10**8))
def test_framed_lines_unframe_and_have_five_digits(line: bytes, number: int) -> None:
    framed = frame_line(number, line)
    assert framed.endswith(b"\n\n") and framed.count(b"\n") == 2
    assert len(framed.rstrip(b"\n").rpartition(b"*")[2]) == 5
    assert unframe_line(framed) == (number, line)


@given(COMMANDS, st.integers(0, 9999), st.data())
def test_one_or_two_flipped_bits_never_pass(line: bytes, number: int, data: st.DataObject) -> None:
    framed = frame_line(number, line).rstrip(b"\n")
    body = framed[: framed.rindex(b"*")]
    harmed = bytearray(body)
    bits = st.integers(0, 8 * len(body) - 1)
    for at in data.draw(st.sets(bits, min_size=1, max_size=2)):
        harmed[at // 8] ^= 1 << at % 8
    with pytest.raises(ValueError):
        unframe_line(bytes(harmed) + framed[len(body) :])


@pytest.mark.parametrize("digits", [b"", b"1", b"94", b"4294", b"042940", b"0429x", b"-4294", b" 4294"])
def test_anything_but_five_digits_is_no_crc(digits: bytes) -> None:
    with pytest.raises(ValueError, match="five digits"):
        unframe_line(b"N1 M115*" + digits)


@pytest.mark.parametrize("line", [b"M115", b"", b"G1 X1*00001", b"*00000"])
def test_a_line_without_number_or_crc_is_none(line: bytes) -> None:
    with pytest.raises(ValueError):
        unframe_line(line)


@given(st.binary(max_size=120))
def test_anything_is_unframed_or_refused(framed: bytes) -> None:
    try:
        unframe_line(framed)
    except ValueError:
        return


def test_a_merged_pair_that_the_xor_lets_through_is_found() -> None:
    """N1 and N2 with the bytes between them lost: one XOR in 256 fits by chance, a CRC one in 65,536."""
    weak = strong = 0
    for value in range(3000):
        first, second = b"G1 X%d.5" % value, b"G1 Y%d.25 S%d" % (value * 7 % 200, value % 1000)
        for frame, unframe in ((line_framing.frame_line, line_framing.unframe_line), (frame_line, unframe_line)):
            one, other = (frame(number, text, guard=False) for number, text in ((1, first), (2, second)))
            merged = one[: one.index(b".")] + other[other.index(b".") :]
            try:
                unframe(merged)
            except ValueError:
                continue
            weak += frame is line_framing.frame_line
            strong += frame is frame_line
    assert weak > 3 and strong == 0


def test_what_no_line_may_hold() -> None:
    assert unsendable(b"G1 X1 Y2 F3000 S1000") is None
    assert unsendable(b"G1 " + b"X1 " * 40) is None
    assert unsendable(b'M118 P0 S"k17"') is None
    for line in (
        b"",
        b" ",
        b"G1 X1*2",
        b"G1\nX1",
        b"G1 ;",
        b"G1 " + b"X" * LINE_BYTES_MAX,
        b"g1",
        b"G1 {1",
        b'M118 S"k',
    ):
        assert unsendable(line) is not None

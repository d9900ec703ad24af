"""Is what a RepRapFirmware board says read as it is meant, and nothing damaged taken for something else?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.links.line_framing import clean
from firmware_bridge.links.reprap_replies import (
    NUMBER_MAX,
    Answer,
    Restarted,
    Stopped,
    Text,
    Token,
    Trouble,
    accelerations,
    end_switches,
    identity_fields,
    machine_position,
    model_value,
    parse_reply,
    token,
    version,
)

SAID = [
    ("", None),
    ("ok", None),
    ("k12G", Token(12)),
    ("k12H", Text("k12H")),
    ("k123456A", Text("k123456A")),
    ("Error: G1: insufficient axes homed", Trouble("Error: G1: insufficient axes homed")),
    ("Warning: M999: x", Trouble("Warning: M999: x")),
    ("RepRapFirmware for Duet 3 Mini 5+ is up and running.", Restarted()),
    ("Emergency Stop! Reset the controller to continue.", Stopped()),
    ("ok T:21.0 /0.0", Text("ok T:21.0 /0.0")),
    ("hello", Text("hello")),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reply"), SAID)
def test_a_line(text: str, reply: object) -> None:
    assert parse_reply(text) == reply


@given(st.integers(0, NUMBER_MAX))
def test_a_token_is_read_back(number: int) -> None:
    assert parse_reply(token(number)) == Token(number)


@given(st.integers(0, NUMBER_MAX), st.integers(0, 7), st.integers(0, 7))
def test_a_flipped_bit_makes_no_token_of_another_line(number: int, at: int, bit: int) -> None:
    said = bytearray(token(number).encode())
    said[at % len(said)] ^= 1 << bit
    assert parse_reply(clean(bytes(said))) in (Token(number), None) or not isinstance(
        parse_reply(clean(bytes(said))), Token
    )


@given(st.integers(1, NUMBER_MAX), st.integers(0, 6))
def test_a_token_that_lost_a_byte_is_none_of_another_line(number: int, at: int) -> None:
    said = token(number)
    at %= len(said)
    reply = parse_reply(said[:at] + said[at + 1 :])
    assert not isinstance(reply, Token) or abs(reply.number - number) > 1  # and one far away is not waited for


@given(st.text(max_size=80))
def test_no_text_breaks_the_readers(text: str) -> None:
    parse_reply(text)
    answer = Answer([text])
    machine_position(answer), accelerations(answer), identity_fields(answer)
    with pytest.raises(ValueError):
        model_value(answer, "no.such key")


def test_the_newest_line_counts() -> None:
    here = "X:1.000 Y:2.000 Z:3.000 E:0.000 E0:0.0 Count 80 160 1200 Machine {} 2.500 -3.000 Bed comp 0.000"
    answer = Answer([here.format("1.000"), here.format("301.250"), "noise", "X:9.000 Machine 1.0"])
    assert machine_position(answer) == (301.25, 2.5, -3.0)
    assert machine_position(Answer(["X:1.000 Y:2.000 Machine 1.000 2.0"])) is None


def test_values_of_the_model() -> None:
    row = '{"key":"move.axes[0].max","flags":"","result":250.0}'
    assert model_value(Answer([row, "{", '{"key":"other","result":1}']), "move.axes[0].max") == 250.0
    for damaged in (row[:-1], row.replace("max", "mbx"), row.replace("result", "rasult"), "[]"):
        with pytest.raises(ValueError):
            model_value(Answer([damaged]), "move.axes[0].max")


def test_who_it_is() -> None:
    fields = identity_fields(Answer([
        "FIRMWARE_NAME: RepRapFirmware for Duet 3 Mini 5+ FIRMWARE_VERSION: 3.5.4 ELECTRONICS: Duet 3 Mini5plus"
        " Ethernet FIRMWARE_DATE: 2024-11-24 10:47:24"
    ]))  # fmt: skip
    assert fields["FIRMWARE_NAME"] == "RepRapFirmware for Duet 3 Mini 5+" and version(fields) == (3, 5)
    assert fields["ELECTRONICS"] == "Duet 3 Mini5plus Ethernet" and version({}) is None


def test_accelerations_are_read_or_not_at_all() -> None:
    said = "Accelerations (mm/sec^2): X: 500.0, Y: 450.0, Z: 100.0, E: 250.0"
    assert accelerations(Answer([said])) == {"X": 500.0, "Y": 450.0, "Z": 100.0}
    assert accelerations(Answer([said.replace("Y", "?")])) is None
    assert accelerations(Answer([said.replace("450.0", "0.0")])) is None


SWITCHES = "Endstops - X: at min stop, Y: not stopped, Z: no endstop, Z probe: not stopped"


def test_end_switches_are_read_or_not_at_all() -> None:
    assert end_switches(Answer([SWITCHES.replace("at min", "at max"), "noise", SWITCHES])) == (
        "at min stop",
        "not stopped",
    )
    assert end_switches(Answer([SWITCHES.replace("X: at min stop, ", "")])) is None
    assert end_switches(Answer([SWITCHES.replace("not stopped, Z", "not stop")])) is None


@given(st.integers(0, len(SWITCHES) - 1), st.integers(0, 7))
def test_a_flipped_bit_makes_no_switch_of_another_state(at: int, bit: int) -> None:
    said = bytearray(SWITCHES.encode())
    said[at] ^= 1 << bit
    assert end_switches(Answer([clean(bytes(said))])) in (("at min stop", "not stopped"), None)

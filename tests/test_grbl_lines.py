"""Is each of Grbl's lines read as what it is, and does no damaged one become an answer, a report or a state?"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from firmware_bridge.links.grbl_lines import (
    ALARMS,
    ERRORS,
    Alarm,
    Banner,
    Build,
    Message,
    Noise,
    Ok,
    ParserState,
    Refused,
    Report,
    Setting,
    State,
    alarm_words,
    error_words,
    parse_build,
    parse_reply,
    refusal_words,
)

SAID = [  # lines of the manual and of a real controller
    (b"ok\r", Ok()),
    (b"ok", Ok()),
    (b"error:20\r", Refused(20)),
    (b"ALARM:3\r", Alarm(3)),
    (b"Grbl 1.1h ['$' for help]\r", Banner("1.1h")),
    (b"$110=500.000\r", Setting(110, 500.0)),
    (b"$32=1", Setting(32, 1.0)),
    (b"[MSG:'$H'|'$X' to unlock]", Message("MSG", "'$H'|'$X' to unlock")),
    (b"[VER:1.1h.20190825:]", Message("VER", "1.1h.20190825:")),
    (b"[OPT:V,15,128]", Message("OPT", "V,15,128")),
    (b">G54G20:ok", Message(">", "G54G20:ok")),
    (b"[GC:G0 G54 G17 G21 G90 G94 M5 M9 T0 F0 S0]", ParserState()),
    (b"[GC:G0 G54 G17 G21 G90 G94 M0 M5 M9 T0 F0. S0.]", ParserState(program="M0")),
    (
        b"[GC:G1 G54 G17 G21 G91 G94 M4 M9 T0 F3000 S1000]",
        ParserState(motion="G1", distance="G91", spindle="M4", feed_mm_min=3000.0, power_s=1000.0),
    ),
    (
        b"<Idle|MPos:0.000,-10.000,5.000|Bf:15,128|FS:0,0|WCO:0.000,1.551,5.664>",
        Report(State.IDLE, None, (0.0, -10.0, 5.0), True, 15, 128, None, 0.0, 0.0, "", (0.0, 1.551, 5.664)),
    ),
    (
        b"<Hold:1|WPos:-2.500,0.000,11.000|Bf:3,40|Ln:99999|FS:500,800|Pn:XH|Ov:100,50,100|A:SF>",
        Report(State.HOLD, 1, (-2.5, 0.0, 11.0), False, 3, 40, 99999, 500.0, 800.0, "XH", None, (100, 50, 100), "SF"),
    ),
    (
        b"<Run|MPos:1.000,2.000,3.000|FS:10,0|Ov:100,100,100>",
        Report(State.RUN, None, (1.0, 2.0, 3.0), True, None, None, None, 10.0, 0.0, "", None, (100, 100, 100), ""),
    ),
    (
        b"<Jog|MPos:1.000,2.000,3.000|F:10|SD:newer>",
        Report(State.JOG, None, (1.0, 2.0, 3.0), True, feed_mm_min=10.0),
    ),
]


@pytest.mark.parametrize(("line", "meaning"), SAID)
def test_each_kind_of_line(line: bytes, meaning: object) -> None:
    assert parse_reply(line) == meaning


def test_the_empty_line_before_a_banner_is_nothing() -> None:
    assert parse_reply(b"\r") is None and parse_reply(b"") is None


@pytest.mark.parametrize(
    "line",
    [
        b"o", b"k", b"o*", b"ok\xef", b"\xffok", b"ok ok", b"OK", b"okay", b"ok\x00", b"error:", b"eror:20",
        b"error:20x", b"ALARM:", b"ALRM:1", b"$10", b"$=1", b"<Idle", b"<Idle|MPos:1.000,2.000>", b"<Idol|MPos:1,2,3>",
        b"<Idle|MPos:1.000,2.000,3.0o0>", b"<Run|MPos:1,2,3|Bf:15>", b"<Run|MPos:1,2,3|Bf:1,2|Bf:1,2>",
        b"<Run|QPos:1.000,2.000,3.000>", b"[GC:G1 G54]", b"[GC:G1 G54 G17 G21 G91 G94 M4 M9 T0 F3000 S10\x110]",
        b"[MSG:half", b"grbl 1.1h",
    ],
)  # fmt: skip
def test_a_damaged_line_is_noise(line: bytes) -> None:
    assert isinstance(parse_reply(line), Noise)


@given(st.binary(max_size=120))
@example(b"<Idle|MPos:99999999999,0,0>")
def test_anything_is_read_without_an_exception(line: bytes) -> None:
    parse_reply(line)


@given(st.sampled_from([b"ok", b"o", b"k", b"ook", b"okk", b"kok"]), st.binary(max_size=3), st.binary(max_size=3))
def test_only_a_whole_ok_is_one(core: bytes, before: bytes, after: bytes) -> None:
    line = before + core + after
    is_ok = line.removesuffix(b"\r") == b"ok"
    assert isinstance(parse_reply(line), Ok) is is_ok


def test_every_error_and_alarm_of_the_manual_has_words() -> None:
    assert sorted(ERRORS) == [*range(1, 18), *range(20, 39)]
    assert sorted(ALARMS) == list(range(1, 10))
    assert len(set(ERRORS.values())) == len(ERRORS)
    assert error_words(11) == "error:11 (the line is too long)"
    assert (
        "limit switch" in alarm_words(1) and "does not have" in alarm_words(77) and "does not have" in error_words(18)
    )


def test_a_build_tells_its_buffers_and_whether_it_tells_line_numbers() -> None:
    said = [Message("VER", "1.1h.20190825:kiln"), Message("OPT", "VN,15,128")]
    assert parse_build(said) == Build("1.1h.20190825", "kiln", "VN", 15, 128)
    assert parse_build(said).tells_line_numbers
    older = parse_build([Message("VER", "1.1d.20161014:Some string"), Message("OPT", "VL")])
    assert (older.planner_blocks, older.rx_bytes, older.tells_line_numbers) == (15, 128, False)


@pytest.mark.parametrize(
    "said", [[], [Message("VER", "1.1h:")], [Message("VER", "1.1h:"), Message("OPT", "V,x,128")],
             [Message("VER", "1.1h:"), Message("OPT", "V,15,3")]],
)  # fmt: skip
def test_a_build_that_is_none_is_refused(said: list[Message]) -> None:
    with pytest.raises(ValueError):
        parse_build(said)


def test_a_locked_controller_s_refusal_says_what_locks_it() -> None:
    assert refusal_words(20, "it was damaged") == "it was damaged"
    assert "has restarted" in refusal_words(9, "it was damaged") and "home" in refusal_words(9, "")

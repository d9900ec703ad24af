"""Does the emulated Grbl accept, refuse (by number) and carry out G-code and `$` lines as Grbl's documents say?"""

from __future__ import annotations

import asyncio

import pytest
from grbl_helpers import BENCH, LASER, Host, with_board
from hypothesis import given
from hypothesis import strategies as st

from hil_sim.world.emulators.grbl_settings import GrblError, Settings
from hil_sim.world.emulators.grbl_words import read_number, read_words

# Number and line; every error that a stock board can give to a line in Idle. Meanings: Grbl's error list.
REFUSED = [
    (1, "N5 G90*12"),
    (1, "10"),
    (1, "G1X1(lost)%"),
    (2, "G"),
    (2, "X+.Y1"),
    (2, "$Z"),
    (2, "$110=fast"),
    (3, "$110"),
    (3, "$7=1"),
    (3, "$103=1"),
    (3, "$256=1"),
    (3, "$GG"),
    (3, "$SLEEP"),
    (3, "$RST=X"),
    (3, "$J X1"),
    (4, "F-1"),
    (4, "G4 P-1"),
    (4, "$110=-5"),
    (5, "$H"),
    (6, "$0=2"),
    (10, "$20=1"),
    (16, "$J=G0 X1 F100"),
    (16, "$J=G54 X1 F100"),
    (16, "$J=G4 P1 F100"),
    (16, "$J=M3 X1 F100"),
    (20, "G5"),
    (20, "G64"),
    (20, "G61.1"),
    (20, "G43 Z1"),
    (20, "G38.6 Z-1 F10"),
    (20, "G28.2"),
    (20, "G90.1"),
    (20, "M6"),
    (20, "M7"),
    (20, "A1"),
    (20, "G10 L3 P1 X0"),
    (20, "G10 L2 P1 X0 R1"),
    (21, "G90 G91"),
    (21, "M3 M5"),
    (21, "G20 G21"),
    (21, "M0 M30"),
    (22, "G1 X1"),
    (22, "G93 G1 X1"),
    (22, "$J=X1"),
    (23, "G1.5 X1"),
    (23, "G59.1"),
    (23, "M3.1"),
    (24, "G0 G92 X1"),
    (24, "G0 G1 X1"),
    (24, "G10 L2 P1 G28 X1"),
    (25, "X1 X2"),
    (25, "F100 F200"),
    (26, "G92"),
    (26, "G10 L2 P1"),
    (26, "G2 F100"),
    (26, "G38.2 F100"),
    (27, "N10000001 G0 X1"),
    (28, "G4"),
    (28, "G10 X1"),
    (29, "G10 L2 P7 X1"),
    (30, "G53 G2 X1 I1 F100"),
    (31, "G80 X1"),
    (32, "G2 Z1 I1 F100"),
    (33, "G2 X10 Y0 I1 J0 F100"),
    (33, "G38.2 X0 F100"),
    (33, "G2 X0 Y0 R5 F100"),
    (34, "G2 X10 Y0 R2 F100"),
    (35, "G2 X1 Y1 F100"),
    (36, "G0 X1 I1"),
    (36, "G90 P1"),
    (36, "$J=X1 F100 S5"),
    (37, "G43.1 X1"),
    (37, "G43.1 Y1 Z1"),
    (38, "T256"),
]


@pytest.mark.parametrize(("number", "line"), REFUSED)
def test_a_line_is_refused_by_the_number_of_grbls_list_and_leaves_no_trace(number: int, line: str) -> None:
    async def story(host: Host) -> None:
        before = await host.ask("$G"), await host.ask("$#"), await host.ask("$$")
        assert (await host.ask(line)) == [f"error:{number}"]
        assert (await host.ask("$G"), await host.ask("$#"), await host.ask("$$")) == before
        assert not host.runs and host.board.errors == 1

    with_board(story)


def test_errors_that_need_another_state_or_build() -> None:
    async def alarmed(host: Host) -> None:
        assert (await host.ask("G0 X1")) == ["error:9"]  # homing is enabled: locked at power-up
        assert (await host.ask("$J=X1F100")) == ["error:8"]
        assert (await host.ask("$N0=G54")) == ["error:8"]

    with_board(alarmed, settings={**BENCH, 22: 1})

    async def running(host: Host) -> None:
        await host.stream("G1 X50 F600")
        for line in ("$$", "$#", "$I", "$N", "$X=", "$C", "$110=500", "$H", "$RST=*", "$J=X1F100"):
            expected = "error:3" if line == "$X=" else "error:8"
            assert (await host.ask(line)) == [expected], line
        assert (await host.ask("$X"))[-1] == "ok" and (await host.ask("$G"))[-1] == "ok"

    with_board(running)

    async def fast(host: Host) -> None:
        assert (await host.ask("$110=30000")) == ["error:12"]
        assert (await host.ask("$100=400")) == ["error:12"]
        assert (await host.ask("$110=22500")) == ["ok"]

    with_board(fast, max_step_rate_hz=30000.0)

    async def open_door(host: Host) -> None:
        host.inputs.door_open = True
        assert (await host.ask("$X")) == ["error:13"] and (await host.ask("$H")) == ["error:13"]

    with_board(open_door, settings={**BENCH, 22: 1}, door_pin=True)

    async def jogging(host: Host) -> None:
        await host.stream("$J=X50 F600")
        assert (await host.ask("G0 X1")) == ["error:9"]

    with_board(jogging)

    async def limited(host: Host) -> None:
        await host.ask("$X")
        assert (await host.ask("$J=X1 F600")) == ["error:15"]
        assert (await host.ask("$J=X-1 F600")) == ["ok"]

    with_board(limited, settings={**BENCH, 22: 1, 20: 1})

    async def spoilt(host: Host) -> None:
        await host.stream("$110=777")
        host.board.eeprom.spoilt = True
        host.board.reset()
        await asyncio.sleep(2)
        after = host.lines[1:]
        assert after[0] == "error:7" and "$110=6000.000" in after and "Grbl 1.1h ['$' for help]" in after

    with_board(spoilt)


numbers = st.one_of(
    st.floats(-1e7, 1e7).map(lambda v: f"{v:.3f}"),
    st.integers(-999, 999).map(str),
    st.sampled_from(["+.5", "5.", "-0"]),
)


@given(numbers, st.text("GX", max_size=2))
def test_numbers_are_read_to_eight_digits(text: str, behind: str) -> None:
    value, end = read_number(text + behind, 0)
    assert end == len(text) and value == pytest.approx(float(text), rel=1e-7, abs=1e-12)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
def test_any_text_is_words_or_an_error_by_number(text: str) -> None:
    try:
        words = read_words(text.upper(), mist=True)
    except GrblError as error:
        assert error.number in {1, 2, 4, 20, 21, 23, 24, 25, 38}
    else:
        assert all(abs(value) < 4e38 for value in words.values.values())


@given(st.integers(0, 300), st.floats(-1.0, 1e12), st.booleans())
def test_any_setting_is_stored_or_refused(number: int, value: float, limited: bool) -> None:
    settings = Settings(BENCH)
    before = settings.lines()
    try:
        settings.store(number, value, 30000.0 if limited else None)
    except GrblError as error:
        assert error.number in {3, 4, 6, 10, 12} and settings.lines() == before
    assert len(settings.packed()) > 80


# ---- modal state and offsets ----------------------------------------------------------------------------------------


def test_the_modal_state_after_power_up_and_after_a_program() -> None:
    async def story(host: Host) -> None:
        assert (await host.ask("$G"))[0] == "[GC:G0 G54 G17 G21 G90 G94 M5 M9 T0 F0 S0]"
        await host.stream("G1 G18 G20 G91 G55 M4 S500 M8 F10 T3")
        assert (await host.ask("$G"))[0] == "[GC:G1 G55 G18 G20 G91 G94 M4 M8 T3 F254 S500]"
        assert (await host.ask("M30")) == ["[MSG:Pgm End]", "ok"]
        assert (await host.ask("$G"))[0] == "[GC:G1 G54 G17 G20 G90 G94 M5 M9 T0 F254 S500]"

    with_board(story)


def test_offsets_by_g10_g92_g43_and_the_systems() -> None:
    async def story(host: Host) -> None:
        await host.stream("G10 L2 P1 X10 Y20 Z-5", "G10 L20 P2 X1", "G92 X100", "G43.1 Z2")
        lines = await host.ask("$#")
        assert lines[0] == "[G54:10.000,20.000,-5.000]" and lines[1] == "[G55:-1.000,0.000,0.000]"
        assert lines[8:10] == ["[G92:-110.000,0.000,0.000]", "[TLO:2.000]"]
        assert "|WCO:-100.000,20.000,-3.000" in await host.status()
        await host.stream("G1 X101 Y1 Z1 F6000")
        await host.idle()
        assert host.at == (1.0, 21.0, -2.0)
        await host.stream("G92.1", "G49", "G55", "G0 X0")
        await host.idle()
        assert host.at == (-1.0, 21.0, -2.0)
        await host.stream("G53 G0 X5 Y5 Z5", "G91 G0 X1", "G90 G20 G0 X1")
        await host.idle()
        assert host.at[0] == pytest.approx(24.4, abs=0.0063)
        assert (await host.ask("$#"))[9] == "[TLO:0.000]"

    with_board(story)


def test_g28_and_g30_go_home_over_an_intermediate_point() -> None:
    async def story(host: Host) -> None:
        await host.stream("G0 X5 Y6", "G28.1", "G0 X20 Y20", "G28")
        await host.idle()
        assert host.at == (5.0, 6.0, 0.0)
        await host.stream("G91 G28 X1")
        await host.idle()
        assert host.at == (5.0, 6.0, 0.0) and host.runs[-2].end_mm == (6.0, 6.0, 0.0)
        await host.stream("G90 G30.1", "G0 X9", "G30")
        await host.idle()
        assert (await host.ask("$#"))[6:8] == ["[G28:5.000,6.000,0.000]", "[G30:5.000,6.000,0.000]"]

    with_board(story)


def test_the_eeprom_outlives_resets_and_ram_does_not() -> None:
    async def story(host: Host) -> None:
        await host.stream("$110=777", "G10 L2 P3 X7", "$N0=G55", "$I=moon", "G92 X5", "$C")
        host.board.reset()
        await asyncio.sleep(2)
        assert host.lines[-2:] == ["Grbl 1.1h ['$' for help]", ">G55:ok"]
        assert "$110=777.000" in await host.ask("$$")
        lines = await host.ask("$#")
        assert lines[2] == "[G56:7.000,0.000,0.000]" and lines[8] == "[G92:0.000,0.000,0.000]"
        assert (await host.ask("$I"))[0] == "[VER:1.1h.20190830:MOON]", "lines are upper case"
        assert (await host.ask("$N")) == ["$N0=G55", "$N1=", "ok"]
        assert (await host.ask("$RST=*"))[-1] == "ok"
        await asyncio.sleep(1)
        assert "$110=6000.000" in await host.ask("$$") and (await host.ask("$N"))[0] == "$N0="
        assert (await host.ask("$#"))[2] == "[G56:0.000,0.000,0.000]"

    with_board(story)


@pytest.mark.parametrize(("what", "settings_kept", "offsets_kept"), [("$", False, True), ("#", True, False)])
def test_rst_restores_only_what_it_names(what: str, settings_kept: bool, offsets_kept: bool) -> None:
    async def story(host: Host) -> None:
        await host.stream("$110=777", "G10 L2 P3 X7")
        assert (await host.ask(f"$RST={what}")) == ["[MSG:Restoring defaults]", "ok"]
        await asyncio.sleep(1)
        assert ("$110=777.000" in await host.ask("$$")) is settings_kept
        assert ("[G56:7.000,0.000,0.000]" in await host.ask("$#")) is offsets_kept

    with_board(story)


def test_check_mode_checks_and_moves_nothing_and_ends_with_a_reset() -> None:
    async def story(host: Host) -> None:
        assert (await host.ask("$C")) == ["[MSG:Enabled]", "ok"]
        await host.stream("G1 X10 F600 M3 S500", "G4 P100", "G91")
        assert (await host.ask("G5")) == ["error:20"]
        assert (await host.status()).startswith("<Check|MPos:0.000")
        assert (await host.ask("$C")) == ["[MSG:Disabled]", "ok"]
        await asyncio.sleep(1)
        assert host.lines[-1] == "Grbl 1.1h ['$' for help]" and not host.runs
        assert (await host.ask("$G"))[0].startswith("[GC:G0 G54 G17 G21 G90")

    with_board(story)


def test_a_dwell_waits_for_the_motion_and_then_its_time() -> None:
    async def story(host: Host) -> None:
        await host.stream("G1 X10 F600")
        end_s = 1.02
        await host.ask("G4 P0.52")  # in steps of 50 ms
        assert host.loop.time() == pytest.approx(end_s + 0.55, abs=0.01)

    with_board(story)


def test_inverse_time_feeds_by_the_block() -> None:
    async def story(host: Host) -> None:
        await host.stream("G93 G1 X10 F30")  # a thirtieth of a minute for the way
        await host.idle()
        assert host.runs[0].move.nominal_mm_s == pytest.approx(5.0)
        assert (await host.ask("X20")) == ["error:22"]
        assert (await host.ask("G94 X20")) == ["error:22"], "what was known before is not a feed any more"

    with_board(story)


def test_m0_pauses_until_a_cycle_start() -> None:
    async def story(host: Host) -> None:
        await host.stream("G1 X5 F6000")
        host.send("M0", "G1 X10")
        await asyncio.sleep(5)
        assert len(host.answers) == 1 and (await host.status()).startswith("<Hold:0|MPos:5.000")
        host.send(b"~")
        await asyncio.sleep(1)
        assert len(host.answers) == 3 and host.at[0] == 10.0

    with_board(story)


def test_builds_with_line_numbers_have_one_block_less_and_say_which_line_moves() -> None:
    async def story(host: Host) -> None:
        assert (await host.ask("$I"))[1] == "[OPT:VNM,14,128]"
        await host.stream("$10=3", "N7 G1 X10 F600", "N8 G1 X20")
        await asyncio.sleep(0.1)
        assert "|Bf:12,128|Ln:7|" in await host.status()
        await host.stream("M7")
        assert "M7" in (await host.ask("$G"))[0]

    with_board(story, line_numbers=True, mist_coolant=True, settings=LASER)


def test_one_move_may_be_executed_although_a_bit_of_it_was_flipped() -> None:
    """No checksum exists: a damaged line is another line."""

    async def story(host: Host) -> None:
        good = b"G1 X10.000 F600\n"
        await host.stream(good.replace(b"X1", b"X3").decode().strip())
        await host.idle()
        assert host.at[0] == 30.0

    with_board(story)

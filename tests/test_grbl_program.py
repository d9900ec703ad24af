"""Do the lines that are sent make the plan's moves, and does a damaged one leave a trace that lasts?"""

from __future__ import annotations

import itertools
import math

import pytest
from grbl_link_helpers import Done, Parser, Refusal, differs, due_moves, layer
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.links.grbl_lines import LINE_BYTES_MAX, ParserState, parse_reply
from firmware_bridge.links.grbl_program import (
    Kind,
    Planned,
    Program,
    differences,
    is_damaged,
    millimetres,
    parse_planned,
)

PLACES = st.integers(0, 250_000)
MOVES = st.lists(
    st.tuples(st.sampled_from(["G0", "G1"]), PLACES, PLACES, st.sampled_from([600, 2400, 3000]), st.integers(0, 1000)),
    min_size=1,
    max_size=30,
)


def planned_text(motion: str, x_um: int, y_um: int, feed: int, power: int) -> bytes:
    text = f"{motion} X{x_um / 1000:.3f} Y{y_um / 1000:.3f}"
    return (text + (f" F{feed} S{power}" if motion == "G1" else "")).encode()


def sent_for(plan: list[bytes]) -> tuple[list[str], Program]:
    """The lines for a plan's moves, as one run from the work's zero with the beam on."""
    program = Program()
    sent = [program.tell_start().decode(), program.tell_beam(parse_planned(b"M4 S0")).decode()]
    for line in plan:
        planned = parse_planned(line)
        if planned.kind is Kind.MOVE:
            sent.append(program.tell(planned).line.decode())
    return [line.removesuffix("\n") for line in sent], program


def carried_out(lines: list[str]) -> tuple[list[Done], Parser]:
    parser = Parser()
    done = [parser.read(line) for line in lines]
    return [move for move in done if isinstance(move, Done)], parser


@settings(max_examples=150, deadline=None)
@given(MOVES)
def test_the_lines_make_the_plans_moves_and_the_model_knows_the_parsers_modes(moves: list) -> None:
    plan = [b"M4 S0", *(planned_text(*move) for move in moves)]
    sent, program = sent_for(plan)
    done, parser = carried_out(sent)
    assert differs(done, due_moves(plan)) == ""
    assert all(math.isclose(at * 1000, um, abs_tol=1e-3) for at, um in zip(parser.place, program.place_um))
    told = parse_reply(parser.told().encode())
    assert isinstance(told, ParserState) and differences(told, program.state) == ""
    assert all(len(line) <= LINE_BYTES_MAX and " " not in line for line in sent)


@settings(max_examples=100, deadline=None)
@given(MOVES)
def test_two_lines_that_lose_the_newline_between_them_are_refused(moves: list) -> None:
    sent, _ = sent_for([planned_text(*move) for move in moves])
    for first, second in itertools.pairwise(sent):
        with pytest.raises(Refusal):
            Parser().read(first + second)


def test_each_flipped_bit_of_a_layer_is_refused_or_lasts_or_changes_nothing() -> None:
    """Every bit of every move line, carried out by a parser: no trace at the end means no harm was done."""
    sent, program = sent_for(layer(3, contour=9))
    due, _ = carried_out(sent)
    harmless = traced = 0
    for index, line in enumerate(sent[2:], start=2):
        for place in range(len(line)):
            for bit in range(8):
                byte = ord(line[place]) ^ 1 << bit
                if byte >= 0x80 or byte in b"?!~\x18":  # no byte of a line: the receive interrupt takes or drops it
                    byte = None
                harmed = line[:place] + (chr(byte) if byte is not None else "") + line[place + 1 :]
                parser, done = Parser(), []
                asked = ""
                try:
                    pieces = harmed.replace("\r", "\n").split("\n")
                    for number, text in enumerate([*sent[:index], *pieces, *sent[index + 1 :]]):
                        move = parser.read(text)
                        done += [move] if isinstance(move, Done) else []
                        if number == index + len(pieces) - 1:
                            asked = parser.told()
                except Refusal:
                    traced += 1
                    continue
                state = parse_reply(asked.encode())
                clean = Parser()
                for text in sent[: index + 1]:
                    clean.read(text)
                due_state = parse_reply(clean.told().encode())
                assert isinstance(state, ParserState) and isinstance(due_state, ParserState)
                off = max(abs(at * 1000 - um) for at, um in zip(parser.place, program.place_um))
                if off > 17.5 or differences(state, due_state):
                    traced += 1
                else:
                    assert differs(done, due) == "", (line, harmed)
                    harmless += 1
    assert traced > 4 * harmless > 0


def test_a_mode_is_said_once_and_a_question_is_wanted_before_it_changes() -> None:
    program = Program()
    program.tell_start()
    program.tell_beam(parse_planned(b"M4 S0"))
    jump, light = parse_planned(b"G0 X1.000 Y2.000"), parse_planned(b"G1 X5.000 Y2.000 F3000 S1000")
    assert not program.changes_modes(jump)
    told = program.tell(jump)
    assert told.line == b"N3X1Y2\n" and not told.says_modes
    assert program.changes_modes(light)
    told = program.tell(light)
    assert told.line == b"N4G91G1X4F3000S1000\n" and told.says_modes
    further = parse_planned(b"G1 X5.000 Y2.500 F3000 S1000")
    assert not program.changes_modes(further)
    assert program.tell(further).line == b"N5Y0.5\n"
    assert program.changes_modes(parse_planned(b"G1 X6.000 Y2.500 F3000 S999"))


def test_a_question_is_wanted_every_32_lines() -> None:
    program = Program()
    for index in range(32):
        assert not program.wants_question
        program.tell(Planned(Kind.MOVE, "G0", ((0, index),)))
    assert program.wants_question
    program.asked()
    assert not program.wants_question


def test_line_numbers_go_round_and_are_never_zero() -> None:
    program = Program()
    numbers = [program.tell(Planned(Kind.MOVE, "G0", ((0, 1000 * index),))).line for index in range(1001)]
    assert numbers[998].startswith(b"N999") and numbers[999].startswith(b"N1X")


def test_a_block_knows_its_power_and_a_move_to_where_it_stands_is_none() -> None:
    program = Program()
    program.tell_beam(parse_planned(b"M4 S0"))
    dark = program.tell(parse_planned(b"G0 X1.000 Y0.000")).block
    lit = program.tell(parse_planned(b"G1 X2.000 Y0.000 F600 S500")).block
    nowhere = program.tell(parse_planned(b"G1 X2.000 Y0.000 F600 S500"))
    assert dark is not None and (dark.power_s, dark.feed_mm_min) == (0.0, None)
    assert lit is not None and (lit.power_s, lit.feed_mm_min, lit.end_um) == (500.0, 600.0, (2000, 0, 0))
    assert nowhere.block is None and nowhere.line == b"N4\n"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"G28", "no command that is streamed"), (b"M2", "no command"), (b"M0", "no command"),
        (b"G2 X1 Y1 I1", "no command"),
        (b"G1 X1 X2 F5", "repeated"), (b"G0 G1 X1", "one command a line"), (b"G1 X1 Q2", "no place"), (b"G4", "lacks"),
        (b"G1 X1 F-5", "negative"), (b"G1 X99999", "beyond any machine"), (b"g1 x1", "capital"), (b"", "capital"),
        (b"$H", "capital"), (b"G1 X1\nG1 X2", "capital"), (b"G1 X1?", "capital"), (b"G1 X1 ;c", "capital"),
        (b"G1 X1e3", "capital"), (b"G1 X" + b"0" * 80, "79 at most"), (b"G4 P-1", "negative"), (b"M4 X1", "no place"),
    ],
)  # fmt: skip
def test_a_line_that_is_not_the_plans_language_is_not_sent(line: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_planned(line)


@given(st.binary(max_size=90))
def test_anything_is_read_or_refused(line: bytes) -> None:
    try:
        parse_planned(line)
    except ValueError:
        return


@given(st.integers(-5_000_000, 5_000_000))
def test_millimetres_are_exact_and_short(place_um: int) -> None:
    text = millimetres(place_um)
    assert round(float(text) * 1000) == place_um and "e" not in text
    assert not ("." in text and text.endswith(("0", ".")))


STATE = ParserState(motion="G1", distance="G91", spindle="M4", feed_mm_min=3000.0, power_s=1000.0)
WHOLE = "[GC:G1 G54 G17 G21 G91 G94 M4 M9 T0 F3000 S1000]"


@pytest.mark.parametrize(
    ("text", "one_place"),
    [
        (WHOLE.replace("G54", "W54"), True), (WHOLE[:-1], True), (WHOLE[1:], True),
        (WHOLE.replace("S1000", "S10:0"), True),
        (WHOLE.replace("F3000 S1000", "F3000. S1000.")[:-1], True), (WHOLE.replace(" ", "", 1), True),
        (WHOLE.replace("G54", "W54").replace("M4", "Q4"), False),
        (WHOLE.replace("G1", "G0").replace("M9", "Q9"), False),
        ("", False), ("ok", False), (WHOLE.replace("S1000", "S4"), False),
    ],
)  # fmt: skip
def test_a_state_with_one_damaged_place_is_recognised(text: str, one_place: bool) -> None:
    assert is_damaged(text, STATE) is one_place


def test_differences_are_named() -> None:
    assert differences(STATE, STATE) == ""
    other = ParserState(motion="G0", distance="G91", spindle="M4", feed_mm_min=300.0, power_s=1001.0)
    assert differences(other, STATE) == "G0 instead of G1, F300 instead of F3000, S1001 instead of S1000"

"""Does the count of bytes under way hold, whatever answers come, and is a lost or doubled one noticed?"""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from firmware_bridge.links.grbl_flight import QUESTION, Flight
from firmware_bridge.links.grbl_lines import ParserState

WINDOW = 127


class Accounting(RuleBasedStateMachine):
    """A controller that reads lines in order and answers each; a wire that may lose or double an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.flight = Flight(WINDOW)
        self.unread: deque[bytes] = deque()  # what the controller has not answered
        self.said: deque[str] = deque()  # what is on the way to the host
        self.harm = 0  # answers lost and doubled
        self.answered_lines = 0

    @rule(size=st.integers(2, 80))
    def send(self, size: int) -> None:
        line = b"x" * (size - 1) + b"\n"
        if self.flight.may_send(len(line)):
            self.flight.launch(line, 0)
            self.unread.append(line)

    @rule()
    def ask(self) -> None:
        if self.flight.may_send(len(QUESTION)):
            self.flight.launch(QUESTION, 0, ParserState())
            self.unread.append(QUESTION)

    @precondition(lambda self: self.unread)
    @rule()
    def controller_answers(self) -> None:
        line = self.unread.popleft()
        if line == QUESTION:
            self.said.append("state")
        self.said.append("ok")

    @precondition(lambda self: self.said)
    @rule()
    def host_hears(self) -> None:
        if self.said.popleft() == "state":
            self.flight.told(ParserState())
        else:
            self.answered_lines += self.flight.answered() is not None

    @precondition(lambda self: self.said and self.harm == 0)
    @rule()
    def an_answer_is_lost(self) -> None:
        self.said.popleft()
        self.harm += 1

    @precondition(lambda self: self.said and self.harm == 0)
    @rule()
    def an_answer_is_doubled(self) -> None:
        self.said.appendleft(self.said[0])
        self.harm += 1

    @invariant()
    def the_count_is_the_sum_of_the_entries(self) -> None:
        assert self.flight.in_buffer == sum(entry.size for entry in self.flight.entries) <= WINDOW

    @invariant()
    def without_harm_the_controller_never_holds_more_than_is_counted(self) -> None:
        if not self.harm:
            assert sum(map(len, self.unread)) <= self.flight.in_buffer
            assert not self.flight.out_of_step

    @invariant()
    def out_of_step_nothing_more_is_sent(self) -> None:
        if self.flight.out_of_step:
            assert not self.flight.may_send(1)

    def teardown(self) -> None:
        """At the end a question tells: in step if nothing was lost or doubled, and only then."""
        while self.said or self.unread:
            if self.unread:
                self.controller_answers()
            while self.said:
                self.host_hears()
        if not self.flight.out_of_step and self.flight.may_send(len(QUESTION)):
            self.ask()
            self.controller_answers()
            while self.said:
                self.host_hears()
        left = bool(self.flight.entries)
        assert bool(self.flight.out_of_step or left) == bool(self.harm)


TestAccounting = Accounting.TestCase
TestAccounting.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


def test_an_answer_that_nobody_waits_for_is_a_doubt() -> None:
    flight = Flight(WINDOW)
    assert flight.answered() is None and "no line was waiting" in flight.out_of_step
    flight.abandon()
    assert flight.told(ParserState()) is None and "nobody had asked" in flight.out_of_step


def test_what_the_parser_says_while_out_of_step_is_kept_in_order() -> None:
    flight = Flight(WINDOW)
    flight.launch(b"N1X1\n", 1)
    flight.launch(QUESTION, 1, ParserState())
    flight.told(ParserState(motion="G1"))  # before the line's own answer: that was lost
    assert flight.out_of_step == "1 answer was lost"
    flight.told(ParserState(motion="G0"))
    assert [state.motion for state in flight.kept] == ["G1", "G0"]
    flight.abandon()
    assert not flight.kept and flight.may_send(WINDOW)

"""Which bytes are on their way to Grbl, and which answer belongs to which line. No I/O and no clock.

Character counting: the sum of the unanswered lines' bytes, line ends included, never exceeds what the receive buffer
holds, less one. Grbl answers each line once and in order, so an answer belongs to the oldest line, until one is lost
or doubled on the way. That shows at a *question*: a `$G` line, whose answer (`[GC:...]`, then `ok`) no other line
gives. A flight that has seen it come too early or too late is out of step: it says so, counts no further, and only
keeps what the parser goes on to say.

Source: gnea/grbl, doc/markdown/interface.md (streaming protocols).
"""

from __future__ import annotations

from collections import deque

from firmware_bridge.links.grbl_lines import ParserState

QUESTION = b"$G\n"
KEPT_MAX = 64  # states kept while out of step: more than questions can be under way


class Entry:
    """One line under way.

    `upto`: how many of the caller's lines are sent with it. `expected`: of a question, what the parser must say.
    `heard`: of a question, whether it has been said. `is_block`: the line becomes a block of the planner.
    """

    __slots__ = ("expected", "heard", "is_block", "size", "upto")

    def __init__(self, size: int, upto: int, expected: ParserState | None = None, *, is_block: bool = False) -> None:
        self.size = size
        self.upto = upto
        self.expected = expected
        self.heard = False
        self.is_block = is_block


class Flight:
    """The lines between the host and the controller's answers."""

    def __init__(self, window_bytes: int) -> None:
        self.entries: deque[Entry] = deque()
        self.window_bytes = window_bytes
        self.in_buffer = 0
        self.out_of_step = ""  # the end of a sentence: what was heard that cannot be
        self.verified: ParserState | None = None  # of the newest question answered in step
        self.kept: list[ParserState] = []  # said while out of step

    def may_send(self, size: int) -> bool:
        """Whether `size` more bytes fit behind those unanswered."""
        return not self.out_of_step and self.in_buffer + size <= self.window_bytes

    def launch(self, line: bytes, upto: int, expected: ParserState | None = None, *, is_block: bool = False) -> None:
        """A line, its end included, was written. Raises AssertionError where the window has no room for it."""
        assert self.may_send(len(line)), f"{len(line)} bytes beside {self.in_buffer} pass the window"
        self.in_buffer += len(line)
        self.entries.append(Entry(len(line), upto, expected, is_block=is_block))

    def answered(self) -> Entry | None:
        """An `ok` or an `error:N` came: the line that it answers. None if it answers none: then all is out of step."""
        if self.out_of_step:
            return None
        if not self.entries:
            self.out_of_step = "an answer came, and no line was waiting for one"
            return None
        entry = self.entries[0]
        if entry.expected is not None and not entry.heard:
            self.out_of_step = "an answer came too many, or what the parser said was lost"
            return None
        return self._pop()

    def told(self, state: ParserState) -> Entry | None:
        """`[GC:...]` came: the question that it answers, whose `ok` follows. None: it answers none, and is kept."""
        questions = self.questions()
        if not self.out_of_step and not questions:
            self.out_of_step = "the parser's state came, and nobody had asked"
        elif not self.out_of_step and self.entries[0] is not questions[0]:
            lost = self.entries.index(questions[0])
            self.out_of_step = f"{lost} answer{'s were' if lost > 1 else ' was'} lost"
        if self.out_of_step:
            if len(self.kept) < KEPT_MAX:
                self.kept.append(state)
            return None
        questions[0].heard = True
        self.verified = questions[0].expected
        return questions[0]

    def questions(self) -> list[Entry]:
        """The questions under way that the parser has not answered, oldest first."""
        return [entry for entry in self.entries if entry.expected is not None and not entry.heard]

    def abandon(self) -> None:
        """Forget what is under way: the controller has read it all, or was reset."""
        self.entries.clear()
        self.kept.clear()
        self.in_buffer = 0
        self.out_of_step = ""

    def _pop(self) -> Entry:
        entry = self.entries.popleft()
        self.in_buffer -= entry.size
        return entry

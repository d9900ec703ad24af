"""OctoPrint's `!!DEBUG:` commands on the emulated Marlin board, for hosts and suites that were written to its virtual
printer (names and meanings as in OctoPrint 1.11.8; facts `hil.md` 1b). Off unless the build has `debug_commands`.

A line `!!DEBUG:NAME ARGUMENTS`, numbered and checked or bare, is obeyed as it is read, never queued, and has no `ok`;
`!!DEBUG` alone lists the names. What this board truly does differs where a virtual printer only talks: a fatal error
halts it, a reset forgets, a sleep withholds. What it has not (a card, a Klipper host) is answered with a sentence.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from hil_sim.world.emulators.marlin_heaters import MAXTEMP, MINTEMP, RUNAWAY
from hil_sim.world.emulators.marlin_protocol import (
    CHECKSUM_ABSENT,
    CHECKSUM_WRONG,
    KILLED,
    LINE_NUMBER_WRONG,
    NUMBER_ABSENT,
    Command,
    LineChecker,
    parse,
)

PREFIX = b"!!DEBUG"
REPETIER_FATAL = (
    b"fatal: Heater/sensor error - Printer stopped and heaters disabled due to this error."
    b" Fix error and restart with M999.\n"
)
SLEEP_S_MAX = 86_400.0
AMBIENT_C = (-273.15, 200.0)
PREPARED_MAX = 1000  # errors and oks that can be laid up; more are refused


@dataclass(frozen=True)
class Debugged:
    """What the console can do to its board.

    say: a line to the host. kill: stop for good, with these last words. reset: the button. doze: execute nothing for so
    many seconds. end_wait: what M108 does. set_ambient: the room's temperature, degC. drop_line: what hangs the board's
    wire up, None where it hangs on none.
    """

    say: Callable[[str], None]
    kill: Callable[[bytes], None]
    reset: Callable[[], None]
    doze: Callable[[float], None]
    end_wait: Callable[[], None]
    set_ambient: Callable[[float], None]
    drop_line: Callable[[], Callable[[], None] | None]


class DebugConsole:
    """One boot of a board with `debug_commands`: what it was told to do wrong, and does."""

    def __init__(self, board: Debugged) -> None:
        self._board = board
        self._errors: deque[str] = deque()  # error texts for the next numbered lines
        self._oks: deque[bytes] = deque()  # said in place of the next oks
        self._deaf_lines = 0  # how many lines are not heard at all
        self._is_awol = False
        self._asks_again = False  # every numbered line
        self._resend_every = 0
        self._lines = 0
        self._sleep_after_s: dict[str, float] = {}
        self._sleep_after_next_s: dict[str, float] = {}
        self._slept_for: Command | None = None

    # ---- what the board asks ----------------------------------------------------------------------------------------
    def hears(self) -> bool:
        """Whether the line that has just come is heard at all; it is counted."""
        self._lines += 1
        if self._deaf_lines:
            self._deaf_lines -= 1
            return False
        return True

    def refusal(self) -> str | None:
        """The error with which a numbered line is refused, be it right or not."""
        if self._errors:
            return self._errors.popleft()
        if self._asks_again:
            return LINE_NUMBER_WRONG
        if self._resend_every and self._lines % self._resend_every == 0:
            return CHECKSUM_WRONG
        return None

    def said(self, data: bytes) -> bytes:
        """What goes out in place of `data`."""
        if self._is_awol:
            return b""
        if self._oks and data.startswith(b"ok"):
            _, keeps, report = data.partition(b" T:")
            return self._oks.popleft() + (b" T:" + report if keeps else b"\n")
        return data

    def sleep_s(self, command: Command) -> float:
        """For how long the board sleeps behind this executed command, asked again when it has; 0: not."""
        if command is self._slept_for:
            self._slept_for = None
            return 0.0
        if not (self._sleep_after_s or self._sleep_after_next_s):
            return 0.0
        code = parse(command.text).code
        pause_s = self._sleep_after_s.get(code) or self._sleep_after_next_s.pop(code, 0.0)
        if pause_s:
            self._slept_for = command
            self._board.say(f"// sleeping for {pause_s:g} seconds")
        return pause_s

    # ---- commands ---------------------------------------------------------------------------------------------------
    def obey(self, text: str) -> None:
        """Do what stands behind `!!DEBUG:`; nothing: list what can stand there."""
        name, _, tail = text.strip().partition(" ")
        command = COMMANDS.get(name or "help")
        if command is None:
            near = get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else "!!DEBUG lists them."
            self._board.say(f"// there is no debug command '{name}'; {hint}")
            return
        try:
            command(self, tail.strip())
        except ValueError as error:
            self._board.say(f"// {name}: {error}")

    def _help(self, tail: str) -> None:
        for name, command in COMMANDS.items():
            self._board.say(f"echo: {name}: {(command.__doc__ or '').strip()}")

    def _action_pause(self, tail: str) -> None:
        """Tells the host to pause."""
        self._board.say("// action:pause")

    def _action_resume(self, tail: str) -> None:
        """Tells the host to resume."""
        self._board.say("// action:resume")

    def _action_disconnect(self, tail: str) -> None:
        """Tells the host to disconnect."""
        self._board.say("// action:disconnect")

    def _action_custom(self, tail: str) -> None:
        """ACTION [PARAMETERS]: tells the host that."""
        if not tail:
            raise ValueError("give the action, and its parameters if it has any")
        self._board.say(f"// action:{tail}")

    def _dont_answer(self, tail: str) -> None:
        """The next line is neither heard nor answered."""
        self._deaf_lines += 1

    def _go_awol(self, tail: str) -> None:
        """Nothing is said any more; commands are still executed."""
        self._board.say("// Going AWOL")
        self._is_awol = True

    def _refuse_next(self, error: str) -> None:
        if len(self._errors) >= PREPARED_MAX:
            raise ValueError(f"{PREPARED_MAX} lines will be refused already")
        self._errors.append(error)

    def _trigger_resend_lineno(self, tail: str) -> None:
        """The next numbered line is refused for its number and asked for again."""
        self._refuse_next(LINE_NUMBER_WRONG)

    def _trigger_resend_checksum(self, tail: str) -> None:
        """The next numbered line is refused for its checksum and asked for again."""
        self._refuse_next(CHECKSUM_WRONG)

    def _trigger_missing_checksum(self, tail: str) -> None:
        """The next numbered line is refused for want of a checksum and asked for again."""
        self._refuse_next(CHECKSUM_ABSENT)

    def _trigger_missing_lineno(self, tail: str) -> None:
        """The next numbered line is refused for want of its number, and not asked for again."""
        self._refuse_next(NUMBER_ABSENT)

    def _halt(self, why: str) -> None:
        _soon(lambda: self._board.kill(why.encode() + b"\n" + KILLED))

    def _trigger_fatal_error_marlin(self, tail: str) -> None:
        """The board halts with a thermal runaway."""
        self._halt(f"Error:{RUNAWAY}, system stopped! Heater_ID: bed")

    def _trigger_fatal_error_repetier(self, tail: str) -> None:
        """The board halts with a Repetier's words."""
        _soon(lambda: self._board.kill(REPETIER_FATAL))

    def _mintemp_error(self, tail: str) -> None:
        """The board halts: the hot end is too cold to be true."""
        self._halt(f"Error:{MINTEMP}, system stopped! Heater_ID: 0")

    def _maxtemp_error(self, tail: str) -> None:
        """The board halts: the hot end is too hot."""
        self._halt(f"Error:{MAXTEMP}, system stopped! Heater_ID: 0")

    def _drop_connection(self, tail: str) -> None:
        """The port goes away and comes back."""

        if (drop := self._board.drop_line()) is None:
            self._board.say("// drop_connection: this board hangs on no wire that it could drop")
        else:
            _soon(drop)

    def _prepare_ok(self, tail: str) -> None:
        """BROKEN_OK: said in place of the next ok."""
        if not tail:
            raise ValueError("give what shall be said in place of ok")
        if len(self._oks) >= PREPARED_MAX:
            raise ValueError(f"{PREPARED_MAX} oks are prepared already")
        self._oks.append(tail.encode("latin-1"))

    def _rerequest_last(self, tail: str) -> None:
        """Every numbered line from now on is refused and asked for again."""
        self._board.say("// Entering rerequest loop")
        self._asks_again = True

    def _resend_ratio(self, tail: str) -> None:
        """PERCENT: so many of the lines are refused for their checksum, evenly spread; 0: none."""
        percent = _number(tail, 0, 100)
        self._resend_every = round(100 / percent) if percent else 0

    def _sleep(self, tail: str) -> None:
        """SECONDS: nothing is executed for so long."""
        for_s = _number(tail, 0, SLEEP_S_MAX)
        self._board.say(f"// sleeping for {for_s:g} seconds")
        self._board.doze(for_s)

    def _sleep_after(self, tail: str) -> None:
        """COMMAND SECONDS: sleeps so long behind each of them, in front of its ok; 0: no more."""
        code, for_s = _code_and_seconds(tail)
        self._sleep_after_s[code] = for_s
        self._board.say(f"// going to sleep {for_s:g} seconds after each {code}")

    def _sleep_after_next(self, tail: str) -> None:
        """COMMAND SECONDS: sleeps so long behind the next of them, in front of its ok."""
        code, for_s = _code_and_seconds(tail)
        self._sleep_after_next_s[code] = for_s
        self._board.say(f"// going to sleep {for_s:g} seconds after next {code}")

    def _send(self, tail: str) -> None:
        """MESSAGE: says it."""
        self._board.say(tail)

    def _set_ambient(self, tail: str) -> None:
        """DEGREES: the temperature, in degC, to which the heaters cool."""
        temp_c = _number(tail, *AMBIENT_C)
        self._board.set_ambient(temp_c)
        self._board.say(f"// set ambient temperature to {temp_c:g}")

    def _reset(self, tail: str) -> None:
        """The reset button: everything is forgotten, these commands' doings too."""
        _soon(self._board.reset)

    def _unbusy(self, tail: str) -> None:
        """Ends the wait of the command in work, as M108 does."""
        _soon(self._board.end_wait)

    def _no_card(self, tail: str) -> None:
        """Answered with a sentence: this board has no card."""
        self._board.say("// this board has no card: nothing can be selected, printed or cancelled there")

    def _no_klipper(self, tail: str) -> None:
        """Answered with a sentence: this board is a Marlin."""
        self._board.say("// this board is a Marlin: there is no Klipper whose connection could break")


COMMANDS: dict[str, Callable[[DebugConsole, str], None]] = {
    "help": DebugConsole._help,
    "?": DebugConsole._help,
    "action_pause": DebugConsole._action_pause,
    "action_resume": DebugConsole._action_resume,
    "action_disconnect": DebugConsole._action_disconnect,
    "action_custom": DebugConsole._action_custom,
    "dont_answer": DebugConsole._dont_answer,
    "go_awol": DebugConsole._go_awol,
    "trigger_resend_lineno": DebugConsole._trigger_resend_lineno,
    "trigger_resend_checksum": DebugConsole._trigger_resend_checksum,
    "trigger_missing_checksum": DebugConsole._trigger_missing_checksum,
    "trigger_missing_lineno": DebugConsole._trigger_missing_lineno,
    "trigger_fatal_error_marlin": DebugConsole._trigger_fatal_error_marlin,
    "trigger_fatal_error_repetier": DebugConsole._trigger_fatal_error_repetier,
    "mintemp_error": DebugConsole._mintemp_error,
    "maxtemp_error": DebugConsole._maxtemp_error,
    "drop_connection": DebugConsole._drop_connection,
    "prepare_ok": DebugConsole._prepare_ok,
    "rerequest_last": DebugConsole._rerequest_last,
    "resend_ratio": DebugConsole._resend_ratio,
    "toggle_klipper_connection": DebugConsole._no_klipper,
    "sleep": DebugConsole._sleep,
    "sleep_after": DebugConsole._sleep_after,
    "sleep_after_next": DebugConsole._sleep_after_next,
    "start_sd": DebugConsole._no_card,
    "select_sd": DebugConsole._no_card,
    "cancel_sd": DebugConsole._no_card,
    "send": DebugConsole._send,
    "set_ambient": DebugConsole._set_ambient,
    "reset": DebugConsole._reset,
    "unbusy": DebugConsole._unbusy,
}


class DebuggedChecker(LineChecker):
    """The line rules of a board with `debug_commands`: its console has the first word on every line."""

    def __init__(self, console: DebugConsole, numbers_with_checksums: bool = False) -> None:
        super().__init__(numbers_with_checksums)
        self._console = console

    def admit(self, raw: bytes) -> Command | str | None:
        """As LineChecker.admit; a debug command is obeyed here and then as nothing."""
        if not self._console.hears():
            return None
        before = self.last_n
        command = super().admit(raw)
        if not isinstance(command, Command):
            return command
        text = _bare(command)
        if text.startswith(PREFIX):
            self._console.obey(text[len(PREFIX) :].lstrip(b":").decode("latin-1"))
            return None
        if command.number is not None and b"M110" not in command.text and (error := self._console.refusal()):
            self.last_n = before
            return error
        return command


def _soon(what: Callable[[], None]) -> None:
    """Once the bytes at hand are read."""
    asyncio.get_running_loop().call_soon(what)


def _bare(command: Command) -> bytes:
    """The command without its number and checksum."""
    text = command.text
    if command.number is not None:
        text = text.split(b" ", 1)[1] if b" " in text else text.lstrip(b"N-+0123456789")
        text = text.rsplit(b"*", 1)[0]
    return text.strip()


def _number(text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"'{text}' is no number; give one from {low:g} to {high:g}") from None
    if not low <= value <= high:
        raise ValueError(f"{value:g} is out of range; give {low:g} to {high:g}")
    return value


def _code_and_seconds(text: str) -> tuple[str, float]:
    code, _, seconds = text.partition(" ")
    if code[:1] not in ("G", "M") or not code[1:].isdigit():
        raise ValueError(f"'{code}' is no command; give one and the seconds, for instance G1 5")
    return f"{code[0]}{int(code[1:])}", _number(seconds, 0, SLEEP_S_MAX)

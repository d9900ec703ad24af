"""Grbl's `$` lines: settings, offsets, homing, jogging, check mode, sleep.

Facts: Grbl `system.c`, `commands.md`, `interface.md` (page hosts 1b). Which of them need Idle or Alarm is decided
before anything else is read of the line, as in the firmware.
"""

from __future__ import annotations

from hil_sim.world.emulators import grbl_report as report
from hil_sim.world.emulators.grbl_cycles import homing_cycle
from hil_sim.world.emulators.grbl_firmware import Firmware, Wait
from hil_sim.world.emulators.grbl_gcode import execute, jog
from hil_sim.world.emulators.grbl_settings import BAD_NUMBER, INVALID_STATEMENT, GrblError
from hil_sim.world.emulators.grbl_states import Event, State
from hil_sim.world.emulators.grbl_words import read_number

HOMING_DISABLED, NOT_IDLE, CHECK_DOOR = 5, 8, 13


def system_line(fw: Firmware, text: str) -> Wait:
    """A line that begins with `$`. Raises GrblError."""
    letter = text[1:2]
    if not letter:
        fw.say(report.HELP)
    elif letter == "J":
        if fw.state not in (State.IDLE, State.JOG):
            raise GrblError(NOT_IDLE)
        if text[2:3] != "=":
            raise GrblError(INVALID_STATEMENT)
        yield from jog(fw, text[3:])
    elif letter in "$GCX":
        if len(text) > 2:
            raise GrblError(INVALID_STATEMENT)
        _ANYTIME[letter](fw)
    else:
        if fw.state not in (State.IDLE, State.ALARM):
            raise GrblError(NOT_IDLE)
        yield from _at_rest(fw, letter, text)


def run_startup(fw: Firmware) -> Wait:
    """The stored startup lines, answered in their own form."""
    for text in fw.eeprom.startup:
        if not text:
            continue
        try:
            yield from execute(fw, text)
        except GrblError as error:
            fw.say(f">{text}:{error}")
        else:
            fw.say(f">{text}:ok")


# ---- any time -------------------------------------------------------------------------------------------------------
def _settings(fw: Firmware) -> None:
    if fw.state in (State.RUN, State.HOLD):
        raise GrblError(NOT_IDLE)
    for line in fw.settings.lines():
        fw.say(line)


def _modes(fw: Firmware) -> None:
    fw.say(report.modes(fw))


def _check_mode(fw: Firmware) -> None:
    if fw.state is State.CHECK:
        fw.say("[MSG:Disabled]")
        fw.abort(0)  # forgets every mode that the checked program has set
        return
    if fw.state is not State.IDLE:
        raise GrblError(NOT_IDLE)
    fw.event(Event.CHECK_MODE)
    fw.say("[MSG:Enabled]")


def _unlock(fw: Firmware) -> None:
    if fw.state is not State.ALARM:
        return
    _refuse_open_door(fw)
    fw.event(Event.UNLOCK)
    fw.say("[MSG:Caution: Unlocked]")


_ANYTIME = {"$": _settings, "G": _modes, "C": _check_mode, "X": _unlock}


# ---- Idle or Alarm --------------------------------------------------------------------------------------------------
def _at_rest(fw: Firmware, letter: str, text: str) -> Wait:
    if letter == "#":
        if len(text) > 2:
            raise GrblError(INVALID_STATEMENT)
        for line in report.parameters(fw):
            fw.say(line)
    elif letter == "H":
        yield from _home(fw, text)
    elif letter == "S":
        if text != "$SLP":
            raise GrblError(INVALID_STATEMENT)
        fw.sleep_asked = True
    elif letter == "I":
        yield from _build_info(fw, text)
    elif letter == "R":
        yield from _restore(fw, text)
    elif letter == "N":
        yield from _startup(fw, text)
    else:
        number, value = _assignment(text, 1)
        amount = read_number(value, 0)
        if amount is None:
            raise GrblError(BAD_NUMBER)
        if amount[1] != len(value) or number > 255:
            raise GrblError(INVALID_STATEMENT)
        seconds = fw.eeprom.store_setting(int(number), amount[0], fw.build.max_step_rate_hz)
        fw.apply_settings()
        yield from fw.write(seconds)


def _assignment(text: str, at: int) -> tuple[float, str]:
    """`number=rest` from `at` on."""
    number = read_number(text, at)
    if number is None:
        raise GrblError(BAD_NUMBER)
    value, end = number
    if text[end : end + 1] != "=":
        raise GrblError(INVALID_STATEMENT)
    return value, text[end + 1 :]


def _home(fw: Firmware, text: str) -> Wait:
    if not fw.settings.flag(22):
        raise GrblError(HOMING_DISABLED)
    _refuse_open_door(fw)
    fw.event(Event.HOMING_START)
    if len(text) > 2:  # single axes are not compiled in; the firmware has left Idle all the same
        raise GrblError(INVALID_STATEMENT)
    yield from homing_cycle(fw)
    fw.event(Event.HOMING_END)
    yield from run_startup(fw)


def _build_info(fw: Firmware, text: str) -> Wait:
    if len(text) == 2:
        for line in report.build_info(fw):
            fw.say(line)
        return
    if text[2] != "=":
        raise GrblError(INVALID_STATEMENT)
    yield from fw.write(fw.eeprom.store_build_info(text[3:]))


def _restore(fw: Firmware, text: str) -> Wait:
    if len(text) != 6 or not text.startswith("$RST=") or text[5] not in "$#*":
        raise GrblError(INVALID_STATEMENT)
    seconds = fw.eeprom.restore(text[5])
    fw.apply_settings()
    yield from fw.write(seconds)
    fw.say("[MSG:Restoring defaults]")
    fw.abort(0)


def _startup(fw: Firmware, text: str) -> Wait:
    if len(text) == 2:
        for index, line in enumerate(fw.eeprom.startup):
            fw.say(f"$N{index}={line}")
        return
    if fw.state is not State.IDLE:
        raise GrblError(NOT_IDLE)
    number, line = _assignment(text, 2)
    yield from execute(fw, line)  # stored only if it can be executed, and so executed
    yield from fw.synchronise()
    yield from fw.write(fw.eeprom.store_startup(int(number), line))


def _refuse_open_door(fw: Firmware) -> None:
    if fw.door_is_ajar():
        raise GrblError(CHECK_DOOR)

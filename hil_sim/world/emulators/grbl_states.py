"""The machine state of a Grbl board (`<Run|...>`), as one pure transition function.

Facts: Grbl's `protocol.c`, `system.c` and `interface.md` (page hosts 1b). Sub-states (`Hold:0`, `Door:2`) are not here:
they say how far a stop has come, which the firmware keeps beside this.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """The word in a status report."""

    IDLE = "Idle"
    RUN = "Run"
    HOLD = "Hold"
    JOG = "Jog"
    HOME = "Home"
    ALARM = "Alarm"
    CHECK = "Check"
    DOOR = "Door"
    SLEEP = "Sleep"


class Event(Enum):
    """What can change it."""

    CYCLE_START = "motion begins, or goes on after a stop"
    NOTHING_LEFT = "resumed with no motion queued"
    JOG_START = "a jog begins"
    MOTION_END = "the steppers have stopped"
    FEED_HOLD = "feed hold"
    DOOR_OPENED = "safety door"
    JOG_STOPPED_BY_DOOR = "a jog that the door cancelled has come to rest"
    ALARM = "an alarm"
    UNLOCK = "$X"
    CHECK_MODE = "$C"
    HOMING_START = "$H"
    HOMING_END = "homed"
    SLEEP = "$SLP"
    RESET = "a reset has been carried out"
    POWER_UP_LOCKED = "power-up with homing enabled"


_I, _R, _H, _J, _D = State.IDLE, State.RUN, State.HOLD, State.JOG, State.DOOR
_ANY = tuple(State)

_TABLE: dict[Event, dict[State, State]] = {
    Event.CYCLE_START: {_I: _R, _H: _R, _D: _R},
    Event.NOTHING_LEFT: {_H: _I, _D: _I},
    Event.JOG_START: {_I: _J},
    Event.MOTION_END: {_R: _I, _J: _I},  # a hold or an open door keeps its state: only its sub-state changes
    Event.FEED_HOLD: {_I: _H, _R: _H},
    Event.DOOR_OPENED: {_I: _D, _R: _D, _H: _D},
    Event.JOG_STOPPED_BY_DOOR: {_J: _D},
    Event.ALARM: dict.fromkeys(_ANY, State.ALARM),
    Event.UNLOCK: {State.ALARM: _I},
    Event.CHECK_MODE: {_I: State.CHECK},
    Event.HOMING_START: {_I: State.HOME, State.ALARM: State.HOME},
    Event.HOMING_END: {State.HOME: _I},
    Event.SLEEP: dict.fromkeys(_ANY, State.SLEEP),
    # Steppers were off in a sleep: the position cannot be trusted any more. An alarm outlives a reset.
    Event.RESET: {**dict.fromkeys(_ANY, _I), State.ALARM: State.ALARM, State.SLEEP: State.ALARM},
    Event.POWER_UP_LOCKED: dict.fromkeys(_ANY, State.ALARM),
}


def next_state(state: State, event: Event) -> State:
    """The state after `event`; the same one where the event means nothing in it."""
    return _TABLE[event].get(state, state)

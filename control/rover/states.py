"""What state a rover is in, and the one pure function that says what may come next.

It boots in FAULT: nothing is known yet. Wheels turn only while DRIVING, which is entered from READY alone and left by a
halt, a trip or a stop. What the guard decides while it drives (hold, back out, make for a haven) is a drive's business
and not the machine's: `control.rover.drive.guard`.
"""

from __future__ import annotations

from enum import Enum

from control.states import IllegalTransition


class RoverState(Enum):
    """Where the rover stands; the owner of the one live value is `control.rover.machine.Rover`."""

    FAULT = "fault"  # unknown or tripped: wheels stopped as far as we can tell
    SAFE = "safe"  # known, wheels stopped
    READY = "ready"  # identified, configured, dead-man timers read back: may be driven
    DRIVING = "driving"  # takes commands, each good for a fraction of a second


class RoverEvent(Enum):
    """What can happen to a rover."""

    RESET = "reset"  # the causes are gone and somebody said so
    PREPARE = "prepare"  # devices identified and configured
    GO = "go"
    HALT = "halt"
    RELEASE = "release"  # the drive is over
    TRIP = "trip"
    STOP = "stop"  # the operator's software stop


_S, _E = RoverState, RoverEvent

_TRANSITIONS: dict[tuple[RoverState, RoverEvent], RoverState] = {
    (_S.FAULT, _E.RESET): _S.SAFE,
    (_S.SAFE, _E.PREPARE): _S.READY,
    (_S.READY, _E.GO): _S.DRIVING,
    (_S.DRIVING, _E.HALT): _S.READY,
    (_S.READY, _E.RELEASE): _S.SAFE,
    (_S.DRIVING, _E.RELEASE): _S.SAFE,
    (_S.SAFE, _E.RELEASE): _S.SAFE,  # releasing twice is harmless
}


def next_rover_state(state: RoverState, event: RoverEvent) -> RoverState:
    """The state after `event`. TRIP and STOP lead to FAULT from everywhere; anything not listed is illegal.

    Raises:
        IllegalTransition: the event is not allowed in this state.
    """
    if event in (_E.TRIP, _E.STOP):
        return _S.FAULT
    try:
        return _TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"{event.value!r} is not allowed while the rover is {state.value}") from None

"""What state a printing machine is in, and the one pure function that says what may come next.

The machine boots in FAULT: nothing is known yet. A reset is an explicit event, given when the causes are gone, and
leads to SAFE. Arming is only possible from READY, firing only from ARMED, and a trip or a stop leads to FAULT from
anywhere, because a machine that tripped must be looked at before it may be armed again.
"""

from __future__ import annotations

from enum import Enum


class RunState(Enum):
    """Where the machine stands; the owner of the one live value is `control.machine.Machine`."""

    FAULT = "fault"  # unknown or tripped: beam disarmed as far as we can tell, nothing may move
    SAFE = "safe"  # known, beam disarmed and shut, heaters at their safe set-point
    READY = "ready"  # identified, configured, watchdogs read back: may move and heat
    ARMED = "armed"  # the head holds a live token; the shutter is open
    EXPOSING = "exposing"  # the head fires; the motion controller's S decides the power
    PAUSED = "paused"  # an operator paused; the beam is disarmed, heat is held


class RunEvent(Enum):
    """What can happen to a machine."""

    RESET = "reset"  # the causes are gone and somebody said so
    PREPARE = "prepare"  # devices identified and configured
    ARM = "arm"
    FIRE = "fire"
    CEASE = "cease"  # fire off, still armed
    DISARM = "disarm"
    PAUSE = "pause"
    RESUME = "resume"
    RELEASE = "release"  # the run is over: heaters down, everything safe
    TRIP = "trip"  # an interlock or a failed device
    STOP = "stop"  # the operator's software stop


class IllegalTransition(Exception):
    """An event that the state does not allow: our bug or a confused caller, never a reason to go on."""


_S, _E = RunState, RunEvent

_TRANSITIONS: dict[tuple[RunState, RunEvent], RunState] = {
    (_S.FAULT, _E.RESET): _S.SAFE,
    (_S.SAFE, _E.PREPARE): _S.READY,
    (_S.READY, _E.ARM): _S.ARMED,
    (_S.ARMED, _E.FIRE): _S.EXPOSING,
    (_S.EXPOSING, _E.CEASE): _S.ARMED,
    (_S.ARMED, _E.DISARM): _S.READY,
    (_S.EXPOSING, _E.DISARM): _S.READY,
    (_S.READY, _E.PAUSE): _S.PAUSED,
    (_S.ARMED, _E.PAUSE): _S.PAUSED,
    (_S.EXPOSING, _E.PAUSE): _S.PAUSED,
    (_S.PAUSED, _E.RESUME): _S.READY,
    (_S.READY, _E.RELEASE): _S.SAFE,
    (_S.PAUSED, _E.RELEASE): _S.SAFE,
    (_S.SAFE, _E.RELEASE): _S.SAFE,  # releasing twice is harmless
}


def next_state(state: RunState, event: RunEvent) -> RunState:
    """The state after `event`. TRIP and STOP lead to FAULT from everywhere; anything not listed is illegal.

    Raises:
        IllegalTransition: the event is not allowed in this state.
    """
    if event in (_E.TRIP, _E.STOP):
        return _S.FAULT
    try:
        return _TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"{event.value!r} is not allowed while the machine is {state.value}") from None


BEAM_MAY_BE_LIVE = frozenset({RunState.ARMED, RunState.EXPOSING})

"""Which events may a rover take in which state, over every pair?"""

from __future__ import annotations

import pytest

from control.rover.states import RoverEvent, RoverState, next_rover_state
from control.states import IllegalTransition

S, E = RoverState, RoverEvent
ALLOWED = {
    (S.FAULT, E.RESET): S.SAFE,
    (S.SAFE, E.PREPARE): S.READY,
    (S.SAFE, E.RELEASE): S.SAFE,
    (S.READY, E.GO): S.DRIVING,
    (S.READY, E.RELEASE): S.SAFE,
    (S.DRIVING, E.HALT): S.READY,
    (S.DRIVING, E.RELEASE): S.SAFE,
}


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize("event", E)
def test_every_pair(state: RoverState, event: RoverEvent) -> None:
    if event in (E.TRIP, E.STOP):
        assert next_rover_state(state, event) is S.FAULT
    elif (state, event) in ALLOWED:
        assert next_rover_state(state, event) is ALLOWED[state, event]
    else:
        with pytest.raises(IllegalTransition):
            next_rover_state(state, event)

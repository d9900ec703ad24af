"""Which transitions does a machine allow? Every (state, event) pair is asked."""

from __future__ import annotations

import itertools

import pytest

from control.states import BEAM_MAY_BE_LIVE, IllegalTransition, RunEvent, RunState, next_state

PAIRS = list(itertools.product(RunState, RunEvent))


def reached(state: RunState, event: RunEvent) -> RunState | None:
    try:
        return next_state(state, event)
    except IllegalTransition:
        return None


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_a_trip_and_a_stop_lead_to_fault_from_everywhere(state: RunState, event: RunEvent) -> None:
    if event in (RunEvent.TRIP, RunEvent.STOP):
        assert next_state(state, event) is RunState.FAULT


def test_only_a_reset_leads_out_of_fault() -> None:
    assert [e for e in RunEvent if reached(RunState.FAULT, e) not in (None, RunState.FAULT)] == [RunEvent.RESET]


def test_the_beam_is_live_only_by_arming_from_ready_and_firing_from_armed() -> None:
    into = {(s, e) for s, e in PAIRS if s not in BEAM_MAY_BE_LIVE and reached(s, e) in BEAM_MAY_BE_LIVE}
    assert into == {(RunState.READY, RunEvent.ARM)}
    assert [s for s in RunState if reached(s, RunEvent.FIRE) is not None] == [RunState.ARMED]


@pytest.mark.parametrize("state", list(RunState))
def test_pause_disarms_and_resume_does_not_rearm(state: RunState) -> None:
    if reached(state, RunEvent.PAUSE) is RunState.PAUSED:
        assert next_state(RunState.PAUSED, RunEvent.RESUME) is RunState.READY


def test_an_illegal_event_names_itself_and_the_state() -> None:
    with pytest.raises(IllegalTransition, match="'fire' is not allowed while the machine is safe"):
        next_state(RunState.SAFE, RunEvent.FIRE)

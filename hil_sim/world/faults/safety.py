"""Faults at the safety inputs: what opens the head's interlock circuit. Each lasts for its window."""

from __future__ import annotations

from hil_sim.world.faults.schedule import Kind

DOOR, PURGE = "interlock.door", "interlock.purge"

_TEST = "tests/test_plant_faults.py::test_an_open_interlock_darkens_the_head_at_once"
_REACTION = "the head is dark and disarmed at once by itself; the host sees its open interlock, stops and names it"

KINDS: dict[str, Kind] = {
    "door_open": Kind("somebody opens the chamber's door", (DOOR,), {}, _REACTION, "1 s", _TEST),
    "purge_lost": Kind(
        "the gas that keeps the head's window clean stops, and its flow switch opens",
        (PURGE,),
        {},
        _REACTION,
        "1 s",
        _TEST,
    ),
}

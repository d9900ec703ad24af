"""Faults of supplies and what hangs on them, struck at the terminals."""

from __future__ import annotations

from hil_sim.world.faults.schedule import Kind

KINDS: dict[str, Kind] = {
    "open_load": Kind(
        "what the supply feeds is disconnected",
        ("supply.load",),
        {},
        "the current falls to nothing; the host trips where the machine file sets amps_min",
        "2 s",
        "tests/test_fault_edges.py::test_what_a_laboratory_adds_fails_and_is_mended",
    ),
    "short_load": Kind(
        "what the supply feeds is short-circuited",
        ("supply.load",),
        {"ohm": "what is left of its resistance, ohm (0.05)"},
        "the supply holds its current limit, or its protection strikes; the host trips on either",
        "2 s",
        "tests/test_fault_edges.py::test_what_a_laboratory_adds_fails_and_is_mended",
    ),
}

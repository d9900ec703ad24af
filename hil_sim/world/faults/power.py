"""Faults of supplies and what hangs on them, struck at the terminals."""

from __future__ import annotations

from hil_sim.world.faults.schedule import Kind

KINDS: dict[str, Kind] = {
    "open_load": Kind(
        "what the supply feeds is disconnected",
        ("supply.load",),
        {},
        models="a plug that came off, a broken lead",
        reaction="the current falls to nothing; the host trips where the machine file sets amps_min",
        detect_s=2.0,
        is_timed=True,
    ),
    "short_load": Kind(
        "what the supply feeds is short-circuited",
        ("supply.load",),
        {"ohm": "what is left of its resistance, ohm (0.05)"},
        models="a pinched cable, a failed capacitor",
        reaction="the supply holds its current limit, or its protection strikes; the host trips on either",
        detect_s=2.0,
        is_timed=True,
    ),
}

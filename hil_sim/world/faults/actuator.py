"""Faults of what moves, struck in the plant. Points: `recoater.feed`, whose events are the blade's strokes."""

from __future__ import annotations

from hil_sim.world.faults.schedule import Fault, Kind

KINDS: dict[str, Kind] = {
    "short_feed": Kind(
        "the hopper gives less powder than a layer needs; the far end of the stroke stays thin",
        ("recoater.feed",),
        {"fraction": "how much of the powder comes, 0 to 1 (0.5)"},
        "the camera sees the thin part before it is exposed; one more pass of the blade, declared as recoated",
        "1 layer",
        "tests/test_plant_recoater.py::test_a_short_feed_leaves_the_far_part_thin_and_one_more_pass_fills_it",
        "at_event",
    ),
}


def feed_fraction(fault: Fault | None) -> float:
    """The share of the asked powder that a stroke under `fault` gets, 0 to 1."""
    if fault is None:
        return 1.0
    if fault.kind != "short_feed":
        raise ValueError(f"'{fault.kind}' at {fault.point} is no fault of the feed; known are {', '.join(KINDS)}")
    return min(1.0, max(0.0, float(fault.arg("fraction", 0.5))))

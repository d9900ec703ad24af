"""Faults of what moves, struck in the plant. Points: `recoater.feed`, whose events are the blade's strokes."""

from __future__ import annotations

from hil_sim.world.faults.schedule import Fault, Kind

KINDS: dict[str, Kind] = {
    "short_feed": Kind(
        "the hopper gives less powder than a layer needs; the far end of the stroke stays thin",
        ("recoater.feed",),
        {"fraction": "how much of the powder comes, 0 to 1 (0.5)"},
        "the thin area is seen before it is exposed; one more stroke fills it, or the run stops and says so",
        "1 layer",
        "tests/test_plant_recoater.py::test_a_short_feed_leaves_the_far_part_thin_and_one_more_pass_fills_it",
        "at_event",
    ),
    "auger_jam": Kind(
        "a stone or caked powder in the conveyor's screw: its motor takes more torque",
        ("conveyor.load",),
        {"load": "torque in parts of the rated one (3.0)"},
        "the drive trips on over-current and stands; the host trips on its fault",
        "2 s",
        "tests/test_fault_edges.py::test_what_a_laboratory_adds_fails_and_is_mended",
    ),
    "shade": Kind(
        "something stands between the Sun and the pyranometer: a cloud, dust that settles, a mast's shadow",
        ("sun.light",),
        {"share": "how much of the light comes through, 0 to 1 (0.1)"},
        "with a floor set the exposure is broken off between two lines, waits for light, and goes on or stops",
        "5 s",
        "tests/test_fault_edges.py::test_what_a_laboratory_adds_fails_and_is_mended",
    ),
}


def feed_fraction(fault: Fault | None) -> float:
    """The share of the asked powder that a stroke under `fault` gets, 0 to 1."""
    if fault is None:
        return 1.0
    if fault.kind != "short_feed":
        raise ValueError(f"'{fault.kind}' at {fault.point} is no fault of the feed; short_feed is")
    return min(1.0, max(0.0, float(fault.arg("fraction", 0.5))))


def light_share(fault: Fault | None) -> float:
    """The share of the Sun's light that comes through, 0 to 1."""
    return 1.0 if fault is None else min(1.0, max(0.0, float(fault.arg("share", 0.1))))

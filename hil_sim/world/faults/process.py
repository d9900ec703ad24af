"""Faults of the process itself, struck in the plant."""

from __future__ import annotations

from hil_sim.world.faults.schedule import Fault, Kind

KINDS: dict[str, Kind] = {
    "short_feed": Kind(
        "the hopper gives less powder than a layer needs; the far end of the stroke stays thin",
        ("recoater.feed",),
        {"fraction": "how much of the powder comes, 0 to 1 (0.5)"},
        models="powder that bridges in the hopper",
        reaction="the thin area is seen in the picture; one more stroke fills it, or the run stops and says so",
    ),
    "jam": Kind(
        "the conveyor's screw meets something: its motor takes more torque",
        ("conveyor.load",),
        {"load": "torque in parts of the rated one (3.0)"},
        models="a stone or caked powder in an auger",
        reaction="the drive trips on over-current and stands; the host trips on its fault",
        detect_s=2.0,
        is_timed=True,
    ),
    "shade": Kind(
        "something stands between the Sun and the pyranometer",
        ("sun.light",),
        {"share": "how much of the light comes through, 0 to 1 (0.1)"},
        models="a cloud over a field test, dust that settles, a mast's shadow",
        reaction="with a floor set the exposure is broken off between two lines, waits for light, and goes on or stops",
        detect_s=5.0,
        is_timed=True,
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

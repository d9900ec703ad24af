"""Faults of heaters and their sensors. Points: `motion.hotend` and `motion.plate` are the thermistor channels of a
Marlin board, `heater.sensor` the thermocouple of the bed's own controller. Each lasts for its window and is mended at
its end: what has tripped by then stays tripped.
"""

from __future__ import annotations

from hil_sim.world.faults.schedule import Fault, Kind

HOTEND, PLATE, BED_SENSOR = "motion.hotend", "motion.plate", "heater.sensor"

KINDS: dict[str, Kind] = {
    "sensor_open": Kind(
        "a wire of the temperature sensor is open: a thermistor reads far below zero, a controller says sensor break",
        (HOTEND, PLATE, BED_SENSOR),
        {"reading_c": "what a thermistor reads then, degC (-15)"},
        models="a thermistor's pull-up with nothing against it; a thermocouple input's break current",
        reaction="a Marlin board that heats stops with 'MINTEMP triggered' and is deaf until its reset; the bed's"
        " controller switches its output off and the host trips on its sensor",
        detect_s=2.0,
        is_timed=True,
    ),
    "sensor_short": Kind(
        "the thermistor's wires touch: it reads far above everything",
        (HOTEND, PLATE),
        {"reading_c": "what it reads then, degC (400)"},
        models="a thermistor's divider at its low end",
        reaction="the board stops with 'MAXTEMP triggered' whether it heats or not, and is deaf until its reset",
        detect_s=2.0,
        is_timed=True,
    ),
    "heater_lost": Kind(
        "the heating element is disconnected: it cools, whatever the firmware switches",
        (HOTEND, PLATE),
        {},
        models="a cartridge that slipped out, a burnt MOSFET, a blown thermal fuse",
        reaction="the board stops: with 'Heating failed' on the way to a set-point, with 'Thermal Runaway' at one",
        detect_s=130.0,
        is_timed=True,
    ),
}


def reading_c(fault: Fault) -> float:
    """What a thermistor under `fault` reads, degC."""
    defaults = {"sensor_open": -15.0, "sensor_short": 400.0}
    if fault.kind not in defaults:
        raise ValueError(f"'{fault.kind}' at {fault.point} is no fault of a sensor; known are {', '.join(defaults)}")
    return float(fault.arg("reading_c", defaults[fault.kind]))

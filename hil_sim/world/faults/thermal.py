"""Faults of heaters and their sensors. Points: `motion.hotend` and `motion.plate` are the thermistor channels of a
Marlin board, `heater.sensor` the thermocouple of the bed's own controller. Each lasts for its window and is mended at
its end: what has tripped by then stays tripped.
"""

from __future__ import annotations

from hil_sim.world.faults.schedule import Fault, Kind

HOTEND, PLATE, BED_SENSOR = "motion.hotend", "motion.plate", "heater.sensor"

KINDS: dict[str, Kind] = {
    "open_circuit": Kind(
        "a wire of the temperature sensor is open: a thermistor reads far below zero, a controller says sensor break",
        (HOTEND, PLATE, BED_SENSOR),
        {"reading_c": "what a thermistor reads then, degC (-15)"},
        "a Marlin board that heats stops with 'MINTEMP triggered' and is deaf until its reset; the bed's"
        " controller switches its output off and the host trips on its sensor",
        "2 s",
        "tests/test_faults_of_heaters.py::test_a_marlin_board_stops_with_its_words_within_the_bound",
    ),
    "short_circuit": Kind(
        "the thermistor's wires touch: it reads far above everything",
        (HOTEND, PLATE),
        {"reading_c": "what it reads then, degC (400)"},
        "the board stops with 'MAXTEMP triggered' whether it heats or not, and is deaf until its reset",
        "2 s",
        "tests/test_faults_of_heaters.py::test_a_marlin_board_stops_with_its_words_within_the_bound",
    ),
    "heater_open": Kind(
        "the heating element is disconnected: it cools, whatever the firmware switches",
        (HOTEND, PLATE),
        {},
        "the board stops: with 'Heating failed' on the way to a set-point, with 'Thermal Runaway' at one",
        "130 s",
        "tests/test_faults_of_heaters.py::test_a_marlin_board_stops_with_its_words_within_the_bound",
    ),
}


def reading_c(fault: Fault) -> float:
    """What a thermistor under `fault` reads, degC."""
    defaults = {"open_circuit": -15.0, "short_circuit": 400.0}
    if fault.kind not in defaults:
        raise ValueError(f"'{fault.kind}' at {fault.point} is no fault of a sensor; known are {', '.join(defaults)}")
    return float(fault.arg("reading_c", defaults[fault.kind]))

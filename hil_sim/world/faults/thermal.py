"""Faults of heaters and their sensors. Points: `motion.hotend` and `motion.plate` are the thermistor channels of a
Marlin board, `heater.sensor` the thermocouple of the bed's own controller. Each lasts for its window and is mended at
its end: what has tripped by then stays tripped. `plate.heat`, `plate.losses`, `plate.sensor` and `bed.ambient` are the
heated plate itself, `beam.cooling` the head's water.
"""

from __future__ import annotations

from hil_sim.world.faults.argument import number, share
from hil_sim.world.faults.schedule import Fault, Kind

ABSOLUTE_ZERO_C, HOT_C = -273.15, 5000.0
HOTEND, PLATE, BED_SENSOR, HEATER_TEMP = "motion.hotend", "motion.plate", "heater.sensor", "heater.temp"
BED_OUTPUT = "heater.output"
PLATE_HEAT, PLATE_LOSSES, PLATE_SENSOR, AMBIENT = "plate.heat", "plate.losses", "plate.sensor", "bed.ambient"
COOLING = "beam.cooling"

_BALANCE = "tests/test_plant_faults.py::test_what_fails_about_the_plate_changes_its_balance"

KINDS: dict[str, Kind] = {
    "open_circuit": Kind(
        "a wire of the temperature sensor is open: a thermistor reads far below zero, a controller says sensor break",
        (HOTEND, PLATE, BED_SENSOR),
        {"reading_c": number("what a thermistor reads then, degC", -15, ABSOLUTE_ZERO_C, HOT_C)},
        "a Marlin board that heats stops with 'MINTEMP triggered' and is deaf until its reset; the bed's"
        " controller switches its output off and the host trips on its sensor",
        "2 s",
        "tests/test_faults_of_heaters.py::test_a_marlin_board_stops_with_its_words_within_the_bound",
    ),
    "short_circuit": Kind(
        "the wires of the temperature sensor touch: a thermistor reads far above everything, a thermocouple cold",
        (HOTEND, PLATE, HEATER_TEMP),
        {
            "reading_c": number(
                "what it reads then, degC",
                None,
                ABSOLUTE_ZERO_C,
                HOT_C,
                left_out="400; a thermocouple: the temperature of its terminals",
            )
        },
        "the board stops with 'MAXTEMP triggered' whether it heats or not, and is deaf until its reset; the bed is"
        " heated and does not warm, or leaps, and the host trips on that; the board within 2 s",
        "130 s",
        "tests/test_faults_of_heaters.py::test_a_marlin_board_stops_with_its_words_within_the_bound",
    ),
    "heater_open": Kind(
        "the heating element is disconnected: it cools, whatever the firmware switches",
        (HOTEND, PLATE, BED_OUTPUT),
        {},
        "a Marlin board stops: with 'Heating failed' on the way to a set-point, with 'Thermal Runaway' at one; of the"
        " bed's own controller the host sees that full power does not warm it, and trips",
        "300 s",
        "tests/test_faults_of_heaters.py::test_a_marlin_board_stops_with_its_words_within_the_bound",
    ),
    "runaway": Kind(
        "heat comes into the plate from elsewhere: a beam that goes beside, a neighbour's heater",
        (PLATE_HEAT,),
        {"extra_w": number("how much, W", 600, 0.0, 1e6)},
        "the bed gets warmer than anybody asked for; the run stops and names the heater",
        "300 s",
        _BALANCE,
        limit="heat that leaves the bed within 15 K of its set-point is what a controller is for",
    ),
    "sensor_off_block": Kind(
        "the thermocouple has come off the plate and feels the chamber",
        (PLATE_SENSOR,),
        {},
        "full power does not warm what the sensor feels: the host trips, and nothing is heated any more",
        "200 s",
        _BALANCE,
        limit="a bed whose target lies within 1 K, or 2 %, of the chamber's temperature",
    ),
    "cooling_lost": Kind(
        "the plate loses less to the chamber: a fan stands, insulation has shifted",
        (PLATE_LOSSES,),
        {"share": share("of the usual losses", 0.1)},
        "the controller gives less; nothing else changes",
        "1 layer",
        _BALANCE,
    ),
    "ambient": Kind(
        "the chamber gets colder or warmer",
        (AMBIENT,),
        {"to_c": number("its temperature, degC", -20, ABSOLUTE_ZERO_C, 2000.0)},
        "the controller gives more or less; a bed that it cannot hold stops the run",
        "300 s",
        _BALANCE,
    ),
    "chiller_lost": Kind(
        "the head's water stops: it warms as it emits, gives less from 50 degC on, and switches itself off at 65",
        (COOLING,),
        {},
        "the layer that got too little is not claimed, or the head's fault bit is seen; the run stops and names it",
        "1 layer",
        "tests/test_plant_faults.py::test_a_head_without_water_warms_derates_and_trips",
        limit="a loss under `energy_share_max` of a layer's energy, 0.5 % in the shipped files",
    ),
}


def reading_c(fault: Fault) -> float:
    """What a thermistor under `fault` reads, degC."""
    defaults = {"open_circuit": -15.0, "short_circuit": 400.0}
    if fault.kind not in defaults:
        raise ValueError(f"'{fault.kind}' at {fault.point} is no fault of a sensor; known are {', '.join(defaults)}")
    return float(fault.arg("reading_c", defaults[fault.kind]))

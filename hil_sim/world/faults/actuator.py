"""Faults of what moves, emits and heats, struck in the plant.

Points: `recoater.feed`, whose events are the blade's strokes; `recoater.blade`, `piston.axis` and `motion.axis`, what
the drives move; `beam.source`, `beam.shutter`; `heater.output`; a rover's `wheels.NAME` and `wheels.NAME.steer`. What
strikes at once (steps lost, a coupling that slips) does so where its window begins, and is not undone where it ends.
"""

from __future__ import annotations

from hil_sim.world.faults.argument import number, share, word
from hil_sim.world.faults.schedule import Fault, Kind

BLADE, PISTON_AXIS, GANTRY = "recoater.blade", "piston.axis", "motion.axis"
SOURCE, SHUTTER, HEATER = "beam.source", "beam.shutter", "heater.output"
WHEELS, JOINTS = "wheels.??", "wheels.??.steer"

_AXIS = word("of the gantry", "x", "y", "z")
_FAR_MM = 10_000.0

_PLANT = "tests/test_plant_faults.py::"
_STEPS = (
    "the end switches of x and y, looked at after each layer, are not where the board counts them; the layer is not"
    " claimed, the run stops and names it"
)
_UNSEEN = (
    "less than `home_check_mm` (0.5), z, what is made good again before the next look, and what is lost behind the last"
    " one; all of it without `home_check_layers`, as on Grbl: a board tells the steps that it counted, not where it"
    " stands. Until its layer is done, light falls beside the part by as much as was lost"
)

KINDS: dict[str, Kind] = {
    "short_feed": Kind(
        "the hopper gives less powder than a layer needs; the far end of the stroke stays thin",
        ("recoater.feed",),
        {"fraction": share("how much of the powder comes", 0.5)},
        "the thin area is seen before it is exposed; one more stroke fills it, or the run stops and says so",
        "1 layer",
        "tests/test_plant_recoater.py::test_a_short_feed_leaves_the_far_part_thin_and_one_more_pass_fills_it",
        "at_event",
    ),
    "streak": Kind(
        "the blade hops over a lump: a band across the bed stays thin",
        ("recoater.feed",),
        {
            "x_mm": number("where the band begins, mm", 50, -_FAR_MM, _FAR_MM),
            "width_mm": number("how wide it is, mm", 10, 0, _FAR_MM),
        },
        "the band is seen before it is exposed; one more stroke fills it, or the run stops and says so",
        "1 layer",
        _PLANT + "test_a_streak_is_a_thin_band_that_one_more_pass_fills",
        "at_event",
        "a band beside what the layer exposes is not looked at",
    ),
    "jam": Kind(
        "a crust or a chip on the bed stops the blade",
        (BLADE,),
        {"x_mm": number("where it lies over the bed, mm", 125, -_FAR_MM, _FAR_MM)},
        "the blade meets it, its drive loses the motor, lets go and says so; the stroke is not tried again and the run"
        " stops",
        "5 s",
        _PLANT + "test_a_jam_stops_the_blade_and_its_drive_alarms",
    ),
    "piston_slip": Kind(
        "the piston's coupling slips: the plate stands higher than its drive has turned",
        (PISTON_AXIS,),
        {"mm": number("by how much", 0.5, 0.0, 1000.0)},
        "a slip of a layer or more leaves no room for powder: the bare part is seen and the run stops",
        "1 layer",
        _PLANT + "test_a_slipping_piston_leaves_the_plate_higher_than_its_drive_says",
        limit="a slip of less than a layer, and one behind the last picture of powder, whatever its size: the encoder"
        " sits on the motor, and only powder that finds no room shows where the plate stands",
    ),
    "missed_steps": Kind(
        "a blow or a cable that catches: an axis of the gantry loses steps",
        (GANTRY,),
        {"mm": number("how far along it then stands, under 0: behind", 1.0, -1000.0, 1000.0), "axis": _AXIS},
        _STEPS,
        "1 layer",
        _PLANT + "test_an_axis_that_lost_steps_stands_off_until_it_is_homed",
        limit=_UNSEEN,
    ),
    "stall_axis": Kind(
        "a motor of the gantry hums and does not turn",
        (GANTRY,),
        {"axis": _AXIS},
        _STEPS,
        "1 layer",
        _PLANT + "test_a_stalled_axis_takes_no_part_in_moves",
        limit=_UNSEEN,
    ),
    "backlash": Kind(
        "a belt has gone slack: an axis that turns round lags behind",
        (GANTRY,),
        {"mm": number("how much play it has", 0.3, 0.0, 100.0), "axis": _AXIS},
        "not noticeable on this machine: homing and switches are met from one side, where there is no play",
        "never",
        _PLANT + "test_an_axis_with_play_lags_where_it_turns_round",
        limit="all of it: the board counts its steps, and the switches are met from one side",
    ),
    "wrong_home": Kind(
        "an end switch has shifted: everything after the next homing is off by it",
        (GANTRY,),
        {"mm": number("by how much", 1.0, -100.0, 100.0), "axis": _AXIS},
        "not noticeable on this machine: the switch is what tells where the machine's zero is",
        "never",
        _PLANT + "test_a_shifted_switch_makes_the_next_homing_wrong",
        limit="all of it: the switch is what tells where zero is",
    ),
    "beam_stuck_on": Kind(
        "the source's driver is shorted: it emits whatever fire and S say, and only the shutter holds it back",
        (SOURCE,),
        {"watts": number("how much", 50, 0.0, 100_000.0)},
        "light that nobody asked for is seen before the head is fired and after its fire is off, or, in a long layer,"
        " where it is more than its lines can have let out by then; the shutter closes,"
        " the layer is not claimed, the run stops and names the head; behind the last layer the energy meter shows it",
        "1 layer",
        _PLANT + "test_a_source_that_is_stuck_on_shines_wherever_nothing_was_asked_for",
        limit="light of 1 W or less, which a dark photodiode may show as well; a leak under 0.2 J at a layer's edges,"
        " and within its light one of less than `energy_share_max` of its energy, or 0.3 J; behind the last layer"
        " what the meter's `idle_w_max` hides",
    ),
    "beam_weak": Kind(
        "the source gives less than its set-point",
        (SOURCE,),
        {"fraction": share("what is left", 0.7)},
        "the energy that the head counts is less than the lines that were surely run ask for, at the latest than the"
        " layer's; the layer is not claimed, the run stops",
        "1 layer",
        _PLANT + "test_the_source_gives_what_its_fault_leaves",
        limit="a loss under `energy_share_max` of a layer's energy, 0.5 % in the shipped files, or 0.3 J",
    ),
    "beam_dead": Kind(
        "the source gives nothing, and its electronics do not know",
        (SOURCE,),
        {},
        "the energy that the head counts is less than the lines that were surely run ask for, at the latest than the"
        " layer's; the layer is not claimed, the run stops",
        "1 layer",
        _PLANT + "test_the_source_gives_what_its_fault_leaves",
        limit="a gap of less than `energy_share_max` of a layer's energy, 0.5 % in the shipped files, or 0.3 J",
    ),
    "shutter_stuck": Kind(
        "the shutter's blade stays where it is; the switch behind it shows where",
        (SHUTTER,),
        {},
        "the read-back of the shutter differs from what was written: nothing is fired, or the run stops and says that"
        " the head could not be made safe",
        "1 layer",
        _PLANT + "test_a_stuck_shutter_stays_and_follows_when_it_comes_free",
    ),
    "heater_stuck_on": Kind(
        "the contact of the bed heater's relay has welded: full power, whatever the controller says",
        (HEATER,),
        {},
        "the bed gets warmer than anybody asked for; the run stops and names the heater, and one that has come to its"
        " end by then names what its energy meter still shows",
        "200 s",
        _PLANT + "test_what_fails_about_the_plate_changes_its_balance",
    ),
    "auger_jam": Kind(
        "a stone or caked powder in the conveyor's screw: its motor takes more torque",
        ("conveyor.load",),
        {"load": number("torque in parts of the rated one", 3.0, 0.0, 1000.0)},
        "the drive trips on over-current and stands; the host trips on its fault",
        "2 s",
        "tests/test_fault_edges.py::test_what_a_laboratory_adds_fails_and_is_mended",
    ),
    "shade": Kind(
        "something stands between the Sun and the pyranometer: a cloud, dust that settles, a mast's shadow",
        ("sun.light",),
        {"share": share("how much of the light comes through", 0.1)},
        "with a floor set the exposure is broken off between two lines, waits for light, and goes on or stops",
        "5 s",
        "tests/test_fault_edges.py::test_what_a_laboratory_adds_fails_and_is_mended",
    ),
    "wheel_stall": Kind(
        "a drive motor of the rover stands still",
        (WHEELS,),
        {},
        "the wheel's speed is not what was commanded; the rover stops and names the wheel",
        "5 s",
        "tests/test_plant_faults_rover.py::test_a_stalled_wheel_stands_and_its_motor_draws_its_stall_current",
    ),
    "wheel_slip": Kind(
        "a wheel turns on loose ground and pushes with a part of its grip",
        (WHEELS,),
        {"fraction": share("the share of its way that still counts", 0.2)},
        "the rover drifts to that side; the tracker's fixes show it and the path is kept, or the rover stops",
        "30 s",
        "tests/test_plant_faults_rover.py::test_a_wheel_without_grip_pulls_the_rover_aside",
    ),
    "steer_fixed": Kind(
        "a steering joint stays at its angle",
        (JOINTS,),
        {},
        "the joint's angle is not what was commanded; the rover stops and names the joint, or the path is kept with"
        " the others",
        "30 s",
        "tests/test_plant_faults_rover.py::test_a_fixed_joint_keeps_its_angle_until_it_is_mended",
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


def streak_mm(fault: Fault) -> tuple[float, float]:
    """Where the band of a `streak` begins and ends, mm in the machine frame."""
    begins_mm = float(fault.arg("x_mm", 50.0))
    return begins_mm, begins_mm + max(float(fault.arg("width_mm", 10.0)), 0.0)


def axis_of(fault: Fault) -> int:
    """The number of the axis that a fault of the gantry names."""
    axis = str(fault.arg("axis", "x"))
    if axis not in ("x", "y", "z"):
        raise ValueError(f"'{fault.kind}' at {fault.point}: axis is {axis!r}; give x, y or z")
    return "xyz".index(axis)

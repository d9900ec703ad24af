"""Faults of what measures, struck where an emulator reads its plant: the truth stays what it is, and what the
instrument shows, and steers by, is another. Points: one for each value that a device measures. Each kind lasts for its
window.

An open or shorted thermocouple of the bed is in the catalogue of thermal faults.
"""

from __future__ import annotations

from hil_sim.world.faults.argument import Arg, number, other_point
from hil_sim.world.faults.schedule import Kind
from hil_sim.world.faults.thermal import HEATER_TEMP

METER_POWER, EMISSION = "meter.power", "beam.emission"
BLADE, PISTON = "recoater.position", "piston.position"
BENCH = (HEATER_TEMP, METER_POWER, EMISSION, BLADE, PISTON)
GYRO = ("imu.gyro_x", "imu.gyro_y", "imu.gyro_z")
ACCEL = ("imu.accel_x", "imu.accel_y", "imu.accel_z")
TRACKER = ("tracker.x", "tracker.y", "tracker.z", "tracker.heading")
CURRENT = "wheels.current"  # of each drive wheel: `wheels.current.NAME`
ROVER = (*GYRO, *ACCEL, *TRACKER, f"{CURRENT}.*")

_HOST = (
    "a temperature that leaps or stays put though it is heated, a drive that does not arrive, an emission over its"
    " set-point or without fire trips the machine by name"
)
MOST = 1e9
"""The furthest that a reading is led astray, in the unit of its point: beyond every full scale."""

_SHOWN = "tests/test_faults_of_sensors.py::test_what_each_kind_makes_of_a_true_value"


def _kind(models: str, args: dict[str, Arg], reaction: str = _HOST, bound: str = "130 s") -> Kind:
    return Kind(models, (*BENCH, *ROVER), args, reaction, bound, _SHOWN)


KINDS: dict[str, Kind] = {
    "stuck": _kind("the value stays what it was when the fault began", {}),
    "bias": _kind(
        "the value is off by a constant", {"offset": number("by how much, in the unit of the point", 5.0, -MOST, MOST)}
    ),
    "drift": _kind(
        "the value goes away from the truth, a little every second",
        {"per_s": number("by how much a second, in the unit of the point", 0.1, -MOST, MOST)},
        "a bed's drift is regulated out, and found when reading and heating no longer fit the plate's model, at about"
        " 75 degC of 150; an axis and an emission that drift are found as by a bias",
        "900 s",
    ),
    "noise_on": _kind(
        "the value is noisy", {"sigma": number("its standard deviation, in the unit of the point", 5.0, 0.0, MOST)}
    ),
    "spike": _kind(
        "the value leaps to another",
        {"value": number("to which, in the unit of the point", 1000.0, -MOST, MOST)},
        bound="5 s",
    ),
    "saturated": _kind("the value is the upper end of what the sensor can show", {}, bound="5 s"),
    "swapped": _kind("the channel shows what another one measures", {"with": other_point("the other point", "itself")}),
    "quantised": _kind(
        "the value comes in coarse steps", {"step": number("how coarse, in the unit of the point", 10.0, 1e-9, MOST)}
    ),
    "lag": _kind(
        "the value follows the truth late, as through dirt or a loose fit",
        {"tau_s": number("the time constant, s", 30.0, 1e-6, 1e6)},
        "a set-point is overshot by what the lag hides, which nothing tells; a drive is found elsewhere than it was"
        " sent",
        "130 s",
    ),
}

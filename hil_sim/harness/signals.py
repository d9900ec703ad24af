"""The signals that expectations speak of: what was true, and what the host believed.

Names of the truth stand in `CATALOGUE`. The host's are `host.status`, `host.state` and their like, and whatever its
telemetry holds: `host.heater.bed_temp_c` is the field `bed_temp_c` of the topic `/printer/heater`, `host.drive.sigma_m`
of `/rover/drive`, `host.vision.powder.thin_area_mm2` of `/vision/powder`; their units stand at the end of their names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from control.host import RunState, Status
from hil_sim.harness.expression import UNITS
from hil_sim.harness.expression_check import Kind, Meaning, hint
from hil_sim.harness.oracle import Verdict


@dataclass(frozen=True, slots=True)
class Entry:
    """One signal: its unit, what it says, and whether that is a number or a text. words: all that a text can say, none:
    anything. at_end: it is known only when the run is over."""

    unit: str
    says: str
    kind: Kind = "number"
    words: tuple[str, ...] = ()
    at_end: bool = False


PRINTER: dict[str, Entry] = {
    "beam.emission_w": Entry("W", "what leaves the head, exact"),
    "beam.capability_w": Entry("W", "what would leave the head at S = 1"),
    "beam.live": Entry("", "1 while the head would emit at S = 1"),
    "beam.still": Entry("", "1 while the beam emits onto one place"),
    "gantry.x_mm": Entry("mm", "true place of the beam's axis, to 0.1 mm within ramps"),
    "gantry.y_mm": Entry("mm", "true place of the beam's axis, to 0.1 mm within ramps"),
    "gantry.z_mm": Entry("mm", "true height, to 0.1 mm within ramps"),
    "gantry.speed_mm_s": Entry("mm/s", "true speed along the path, exact"),
    "gantry.moving": Entry("", "1 while it moves"),
    "blade.x_mm": Entry("mm", "where the recoater's blade is over the bed, to 0.1 mm within ramps"),
    "blade.moving": Entry("", "1 while the blade moves"),
    "piston.drop_mm": Entry("mm", "depth of the build piston below the first plane"),
    "piston.moving": Entry("", "1 while the piston moves"),
    "plate.temp_c": Entry("degC", "the heated plate, to 0.3 degC"),
    "bed.temp_c_max": Entry("degC", "the hottest surface of the bed when it was last looked at"),
    "bed.layer": Entry("", "the layer whose powder was spread last, from 0; -1 before any"),
    "powder.under_beam": Entry("", "how full the layer lies where the beam emits, 0 to 1; unknown while it is dark"),
    "meter.power_w": Entry("W", "what the bench draws"),
    "heater.power_w": Entry("W", "what the plate's heater draws"),
    "door.closed": Entry("", "1 while the cell's door is closed"),
    "purge.ok": Entry("", "1 while the chamber's atmosphere is in order"),
    "interlock.closed": Entry("", "1 while the head's interlock circuit is closed"),
}
ROVER: dict[str, Entry] = {
    "rover.x_m": Entry("m", "true place in the map's frame"),
    "rover.y_m": Entry("m", "true place in the map's frame"),
    "rover.z_m": Entry("m", "true height"),
    "rover.roll_deg": Entry("deg", "left side up is positive"),
    "rover.pitch_deg": Entry("deg", "nose down is positive"),
    "rover.tilt_deg": Entry("deg", "angle between its mast and the vertical"),
    "rover.yaw_deg": Entry("deg", "heading, ccw from +x, not wrapped"),
    "rover.speed_m_s": Entry("m/s", "over the ground, from one row of the track to the next"),
    "rover.slip": Entry("", "the slip that its wheels share"),
    "rover.power_w": Entry("W", "what motors and everything else draw"),
    "rover.winding_c": Entry("degC", "of the winding of its warmest drive motor, computed from the currents"),
}
STATUSES = ("running", *(status.value for status in Status), "none")
COMMON: dict[str, Entry] = {
    "faults.struck": Entry("", "how many faults have struck so far"),
    "host.status": Entry("", "`running`, then the outcome's status; `none` where it left no outcome", "text", STATUSES),
    "host.state": Entry(
        "", "what the host says its machine's state is", "text", tuple(state.value for state in RunState)
    ),
    "host.doing": Entry("", "what the host says it does", "text"),
    "host.layers_done": Entry("", "how many layers the host has committed"),
    "host.exit_code": Entry("", "of the outcome; known at the end", at_end=True),
    "host.reason": Entry("", "of the outcome; known at the end", "text", at_end=True),
    "host.declared": Entry("", "how many deviations the outcome owns up to; known at the end", at_end=True),
    "verdict": Entry(
        "", "the oracle's word; known at the end", "text", tuple(verdict.value for verdict in Verdict), at_end=True
    ),
}
CATALOGUE: dict[str, Entry] = {**PRINTER, **ROVER, **COMMON}

TEXT_FIELDS = frozenset({"quality", "reason", "doing", "action", "cause"})
_SUFFIXES = (
    ("_mm_s", "mm/s"), ("_m_s", "m/s"), ("_rad_s", "rad/s"), ("_mm2", "mm2"), ("_mm", "mm"), ("_wh", "Wh"),
    ("_w", "W"), ("_c", "degC"), ("_s", "s"), ("_v", "V"), ("_a", "A"), ("_hz", "Hz"), ("_j", "J"), ("_m", "m"),
    ("_deg", "deg"), ("_rad", "rad"),
)  # fmt: skip


def unit_of_field(field: str) -> str:
    """The unit at the end of a telemetry field's name, '' where there is none."""
    return next((unit for suffix, unit in _SUFFIXES if field.endswith(suffix)), "")


def meaning_of(name: str) -> Meaning | None:
    """Kind and unit of a signal; None for one that no run can have."""
    entry = CATALOGUE.get(name)
    if entry is not None:
        return Meaning(entry.kind, entry.unit if entry.kind == "number" else None, entry.words, entry.at_end)
    parts = name.split(".")
    if parts[0] == "host" and len(parts) >= 3:
        field = parts[-1]
        return Meaning("text") if field in TEXT_FIELDS else Meaning("number", unit_of_field(field))
    return None


PRINTER_TOPICS = ("progress", "camera", "vision", "events")
"""What the telemetry of a print may hold beside its devices."""
ROVER_TOPICS = ("drive", "events")
"""What the telemetry of a drive may hold beside its devices."""
VISION_TOPICS = ("/vision/powder", "/vision/exposed")
"""Where a print tells what its pictures showed, if it comes to take any; a host of the user's may have others."""
PRINT_ONLY = frozenset({"host.state", "host.doing", "host.layers_done"})


def untold(names: Iterable[str], devices: Iterable[str], *, is_rover: bool) -> list[str]:
    """Sentences for telemetry that no host of this world tells, of devices that its machine does not have or of another
    world's topics: nobody would ever know what it says."""
    known = {*devices, *(ROVER_TOPICS if is_rover else PRINTER_TOPICS)}
    ours, theirs = ("rover", "printer") if is_rover else ("printer", "rover")
    found = []
    for name in sorted(set(names)):
        if is_rover and name in PRINT_ONLY:
            found.append(f"there is no signal {name!r}: only a print tells it, and this is a drive.")
        parts = name.split(".")
        if parts[0] != "host" or len(parts) < 3 or name in CATALOGUE:
            continue
        has_world = parts[1] in (ours, theirs) and len(parts) > 3
        place = parts[2] if has_world else parts[1]
        if has_world and parts[1] == theirs:
            found.append(f"there is no signal {name!r}: this machine is no {theirs}: say 'host.{place}...'.")
        elif place not in known:
            found.append(f"there is no signal {name!r}: this machine has no {place!r}{hint(place, sorted(known))}.")
    return found


assert all(entry.unit in UNITS for entry in CATALOGUE.values())

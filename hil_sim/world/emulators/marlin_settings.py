"""Marlin's settings: what they are set by, what they report, and the EEPROM that M500 writes.

Reports asked for by the command itself are bare; within M503 each line carries `echo:`.
"""

from __future__ import annotations

from collections.abc import Callable

from hil_sim.world.emulators.marlin_firmware import AXES, Firmware, copy_settings
from hil_sim.world.emulators.marlin_moves import Handler
from hil_sim.world.emulators.marlin_protocol import Words
from hil_sim.world.plant.gantry import Point

_PROBE_Z_RANGE_MM = 20.0  # Z_PROBE_OFFSET_RANGE_MIN and _MAX


def _positive(words: Words, letter: str, default: float) -> float:
    value = words.number(letter)
    return default if value is None or value <= 0.0 else value


def _per_axis(words: Words, old: Point) -> Point:
    x, y, z = (_positive(words, axis, value) for axis, value in zip(AXES, old))
    return x, y, z


def _xyz(values: Point) -> str:
    return " ".join(f"{axis}{value:.2f}" for axis, value in zip(AXES, values))


def _on_off(is_on: bool) -> str:
    return "ON" if is_on else "OFF"


# ---- reports --------------------------------------------------------------------------------------------------------
def _m92_line(fw: Firmware) -> str:
    e = f" E{fw.settings.steps_per_mm_e:.2f}" if fw.build.extruders else ""
    return f"M92 {_xyz(fw.settings.steps_per_mm)}{e}"


def _m201_line(fw: Firmware) -> str:
    return f"M201 {_xyz(fw.settings.max_acceleration_mm_s2)}"


def _m203_line(fw: Firmware) -> str:
    return f"M203 {_xyz(fw.settings.max_speed_mm_s)}"


def _m204_line(fw: Firmware) -> str:
    s = fw.settings
    return f"M204 P{s.acceleration_mm_s2:.2f} R{s.retract_acceleration_mm_s2:.2f} T{s.travel_acceleration_mm_s2:.2f}"


def _m205_line(fw: Firmware) -> str:
    s = fw.settings
    return f"M205 S{s.min_feed_mm_s:.2f} T{s.min_travel_feed_mm_s:.2f} J{s.junction_deviation_mm:.2f}"


def _m301_line(fw: Firmware) -> str:
    p, i, d = fw.settings.pid
    return f"M301 P{p:.2f} I{i:.2f} D{d:.2f}"


def _m412_line(fw: Firmware) -> str:
    return f"M412 S{int(fw.settings.runout)} ; Sensor {_on_off(fw.settings.runout)}"


def _m413_line(fw: Firmware) -> str:
    return f"M413 S{int(fw.settings.power_loss)} ; {_on_off(fw.settings.power_loss)}"


def _m851_line(fw: Firmware) -> str:
    return f"M851 {_xyz(fw.settings.probe_offset_mm)} ; (mm)"  # spacing unverified


_REPORTS: tuple[tuple[str, str, Callable[[Firmware], str]], ...] = (  # heading, the build's switch, line
    ("Steps per unit", "", _m92_line),
    ("Max feedrates (units/s)", "", _m203_line),
    ("Max Acceleration (units/s2)", "", _m201_line),
    ("Acceleration (units/s2) (P<print-accel> R<retract-accel> T<travel-accel>)", "", _m204_line),
    ("Advanced (S<min-feedrate> T<min-travel-feedrate> J<junc-dev>)", "", _m205_line),
    ("Hotend PID", "extruders", _m301_line),
    ("Filament runout sensor", "filament_sensor", _m412_line),
    ("Power-loss recovery", "power_loss_recovery", _m413_line),
    ("Z-Probe Offset", "bed_probe", _m851_line),
)


def m503(fw: Firmware, words: Words) -> None:
    """Print settings."""
    fw.say("echo:; Linear Units:\necho:  G21 ; (mm)")
    for heading, switch, line in _REPORTS:
        if not switch or getattr(fw.build, switch):
            fw.say(f"echo:; {heading}:\necho:  {line(fw)}")


# ---- motion settings ------------------------------------------------------------------------------------------------
def m92(fw: Firmware, words: Words) -> None:
    """Steps per mm. They scale the counts of M114; that a wrong figure would scale the motion itself is left out."""
    if not any(words.seen(letter) for letter in "XYZE"):
        fw.say("  " + _m92_line(fw))
        return
    fw.settings.steps_per_mm = _per_axis(words, fw.settings.steps_per_mm)
    fw.settings.steps_per_mm_e = _positive(words, "E", fw.settings.steps_per_mm_e)


def m201(fw: Firmware, words: Words) -> None:
    """Largest acceleration per axis."""
    if not words.values:
        fw.say("  " + _m201_line(fw))
        return
    fw.settings.max_acceleration_mm_s2 = _per_axis(words, fw.settings.max_acceleration_mm_s2)
    fw.apply_settings()


def m203(fw: Firmware, words: Words) -> None:
    """Largest speed per axis."""
    if not words.values:
        fw.say("  " + _m203_line(fw))
        return
    fw.settings.max_speed_mm_s = _per_axis(words, fw.settings.max_speed_mm_s)
    fw.apply_settings()


def m204(fw: Firmware, words: Words) -> None:
    """Acceleration: S or P of moves (this board has one for all of them), R and T as told."""
    s = fw.settings
    if not words.values:
        fw.say("  " + _m204_line(fw))
        return
    s.acceleration_mm_s2 = _positive(words, "P", _positive(words, "S", s.acceleration_mm_s2))
    s.retract_acceleration_mm_s2 = _positive(words, "R", s.retract_acceleration_mm_s2)
    s.travel_acceleration_mm_s2 = _positive(words, "T", _positive(words, "S", s.travel_acceleration_mm_s2))
    fw.apply_settings()


def m205(fw: Firmware, words: Words) -> None:
    """Junction deviation J, mm (0.01 to 0.3 as in Marlin), smallest feed rates S and T, mm/s."""
    s = fw.settings
    if not words.values:
        fw.say("  " + _m205_line(fw))
        return
    s.min_feed_mm_s = max(words.number("S", s.min_feed_mm_s) or 0.0, 0.0)
    s.min_travel_feed_mm_s = max(words.number("T", s.min_travel_feed_mm_s) or 0.0, 0.0)
    deviation = words.number("J")
    if deviation is None:
        return
    if not 0.01 <= deviation <= 0.3:
        fw.say("Error:?J out of range (0.01 to 0.3)")
        return
    s.junction_deviation_mm = deviation
    fw.apply_settings()


# ---- other settings -------------------------------------------------------------------------------------------------
def m412(fw: Firmware, words: Words) -> None:
    """Filament runout sensor on or off (S), R resets it."""
    if words.seen("S"):
        fw.settings.runout = bool(words.number("S", 1.0))
    elif not words.seen("R"):
        fw.say(f"echo:Filament runout {_on_off(fw.settings.runout)}")


def m413(fw: Firmware, words: Words) -> None:
    """Power-loss recovery on or off (S); it is for prints from a card alone."""
    if words.seen("S"):
        fw.settings.power_loss = bool(words.number("S", 1.0))
    else:
        fw.say("  " + _m413_line(fw))


def m851(fw: Firmware, words: Words) -> None:
    """Offset of the probe from the nozzle, mm. One figure out of range and none is taken."""
    if not any(words.seen(axis) for axis in AXES):
        fw.say("  " + _m851_line(fw))
        return
    x, y, z = (words.number(axis, old) or 0.0 for axis, old in zip(AXES, fw.settings.probe_offset_mm))
    width, depth, _ = fw.build.size_mm
    is_ok = True
    for axis, value, limit in (("X", x, width), ("Y", y, depth), ("Z", z, _PROBE_Z_RANGE_MM)):
        if abs(value) > limit:
            fw.say(f"?{axis} out of range ({-limit:.0f} to {limit:.0f})")
            is_ok = False
    if is_ok:
        fw.settings.probe_offset_mm = (x, y, z)


def m500(fw: Firmware, words: Words) -> None:
    """Store settings."""
    fw.stored = copy_settings(fw.settings)
    fw.say("echo:Settings Stored (64 bytes; crc 0)")


def m501(fw: Firmware, words: Words) -> None:
    """Load stored settings."""
    fw.settings = copy_settings(fw.stored or fw.defaults)
    fw.apply_settings()
    fw.say("echo:V88 stored settings retrieved (64 bytes; crc 0)")


def m502(fw: Firmware, words: Words) -> None:
    """Compiled-in settings."""
    fw.settings = copy_settings(fw.defaults)
    fw.apply_settings()
    fw.say("echo:Hardcoded Default Settings Loaded")


COMMANDS: dict[str, Handler] = {
    "M92": m92, "M201": m201, "M203": m203, "M204": m204, "M205": m205, "M412": m412, "M413": m413, "M500": m500,
    "M501": m501, "M502": m502, "M503": m503, "M851": m851,
}  # fmt: skip

"""Marlin's commands of heat: set-points, waits for them, reports, PID."""

from __future__ import annotations

from math import pi

from hil_sim.world.emulators.marlin_firmware import Firmware
from hil_sim.world.emulators.marlin_heaters import LumpedHeater
from hil_sim.world.emulators.marlin_moves import Handler, Wait
from hil_sim.world.emulators.marlin_protocol import Words

_REPORT_S = 1.0
_TUNE_REPORT_S = 2.0
_SENSOR_LAG_S = 2.0  # what makes a relay-controlled heater swing about its set-point (this emulator's own figure)
_TUNE_TOO_HIGH_C = 10.0


def _set_target(fw: Firmware, words: Words, heater: LumpedHeater) -> bool:
    target = words.number("S", words.number("R"))
    if target is None:
        return False
    heater.set_target(fw.now_s, target)
    return True


def heat_and_wait(fw: Firmware, heater: LumpedHeater) -> Wait:
    """Until the set-point has held for the residency time, or M108; with a report every second."""
    fw.heat_wait = True
    report_s = fw.now_s + _REPORT_S
    while fw.heat_wait:
        reached_s = heater.reached_s()  # anew each time: a heater may break meanwhile
        done_s = reached_s + fw.build.residency_s
        if fw.now_s >= done_s:
            break
        if fw.now_s >= report_s:
            left = "?" if fw.now_s < reached_s else str(int(done_s - fw.now_s))
            fw.say(f"{fw.temperatures()} W:{left}")
            report_s += _REPORT_S
        yield min(done_s, report_s)
    fw.heat_wait = False


def _set_and_wait(fw: Firmware, words: Words, heater: LumpedHeater) -> Wait:
    if not _set_target(fw, words, heater):
        return
    if heater.reading_c(fw.now_s) > heater.target_c and not words.seen("R"):
        return  # S waits for heating only
    yield from heat_and_wait(fw, heater)


def m104(fw: Firmware, words: Words) -> None:
    """Hot end set-point."""
    _set_target(fw, words, fw.hotend)


def m109(fw: Firmware, words: Words) -> Wait:
    """Hot end set-point, and wait until it holds."""
    return _set_and_wait(fw, words, fw.hotend)


def m140(fw: Firmware, words: Words) -> None:
    """Plate set-point."""
    _set_target(fw, words, fw.plate)


def m190(fw: Firmware, words: Words) -> Wait:
    """Plate set-point, and wait until it holds."""
    return _set_and_wait(fw, words, fw.plate)


def m105(fw: Firmware, words: Words) -> None:
    """Temperatures, behind the ok."""
    fw.own_ok = True
    fw.say("ok" + fw.temperatures())


def m106(fw: Firmware, words: Words) -> None:
    """Fan on."""
    fw.fan = int(min(max(words.number("S", 255.0) or 0.0, 0.0), 255.0))


def m107(fw: Firmware, words: Words) -> None:
    """Fan off."""
    fw.fan = 0


def m108(fw: Firmware, words: Words) -> None:
    """Stop waiting: its effect came when its bytes did (EMERGENCY_PARSER), or when its line was read."""


def m155(fw: Firmware, words: Words) -> None:
    """Send temperatures every S seconds (0: never)."""
    seconds = words.number("S")
    if seconds is not None:
        fw.auto_report_s = int(min(max(seconds, 0.0), 60.0))
        fw.reschedule_reports()


def m301(fw: Firmware, words: Words) -> None:
    """Hot end PID: set P, I, D, or report them."""
    if not any(words.seen(letter) for letter in "PID"):
        p, i, d = fw.settings.pid
        fw.say(f"  M301 P{p:.2f} I{i:.2f} D{d:.2f}")
    elif words.number("E", 0.0):
        fw.say("Error:Invalid extruder")
    else:
        p, i, d = (words.number(letter, old) or 0.0 for letter, old in zip("PID", fw.settings.pid))
        fw.settings.pid = (p, i, d)


def m303(fw: Firmware, words: Words) -> Wait:
    """PID autotune by relay: E0 or E-1 (the plate), S degC, C cycles, U to use the result.

    The swing and its period follow from the heater's own slopes about the set-point and a fixed sensor lag; gains by
    the classic rule of the ultimate gain and period. The cycle's line is unverified in its spacing.
    """
    extruder = words.number("E", 0.0)
    if extruder not in (0.0, -1.0):
        fw.say("PID Autotune failed! Bad extruder number")
        return
    heater = fw.plate if extruder else fw.hotend
    target = words.number("S", 70.0 if extruder else 180.0) or 0.0
    cycles = max(3, int(words.number("C", 5.0) or 0.0))
    if target > heater.max_target_c - _TUNE_TOO_HIGH_C or target <= heater.ambient_c:
        fw.say("PID Autotune failed! Temperature too high")
        return
    fw.say("PID Autotune start")
    heater.set_target(fw.now_s, target)
    fw.heat_wait = True
    while fw.heat_wait and fw.now_s < heater.reached_s():
        yield min(heater.reached_s(), fw.now_s + _TUNE_REPORT_S)
        fw.say(fw.temperatures())
    rise_c_s = (heater.full_c - target) / heater.tau_s
    fall_c_s = (target - heater.ambient_c) / heater.tau_s
    highest, lowest = target + rise_c_s * _SENSOR_LAG_S, target - fall_c_s * _SENSOR_LAG_S
    period_s = _SENSOR_LAG_S * (2.0 + rise_c_s / fall_c_s + fall_c_s / rise_c_s)
    ultimate_gain = 4.0 * 127.0 / (pi * (highest - lowest) / 2.0)
    p = 0.6 * ultimate_gain
    i, d = 2.0 * p / period_s, p * period_s / 8.0
    for _ in range(cycles):
        ends_s = fw.now_s + period_s
        while fw.heat_wait and fw.now_s < ends_s:
            yield ends_s
        if not fw.heat_wait:
            break
        fw.say(f" bias: 127 d: 127 min: {lowest:.2f} max: {highest:.2f} Ku: {ultimate_gain:.2f} Tu: {period_s:.2f}")
    heater.set_target(fw.now_s, 0.0)
    if not fw.heat_wait:
        return
    fw.heat_wait = False
    fw.say("PID Autotune finished! Put the last Kp, Ki and Kd constants from below into Configuration.h")
    suffix = "bed" if extruder else ""
    for name, value in (("Kp", p), ("Ki", i), ("Kd", d)):
        fw.say(f"#define DEFAULT_{suffix}{name} {value:.2f}")
    if words.number("U") and not extruder:
        fw.settings.pid = (p, i, d)


COMMANDS: dict[str, Handler] = {
    "M104": m104, "M105": m105, "M106": m106, "M107": m107, "M108": m108, "M109": m109, "M140": m140, "M155": m155,
    "M190": m190, "M301": m301, "M303": m303,
}  # fmt: skip

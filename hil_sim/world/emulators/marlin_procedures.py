"""Marlin's long procedures, which move by themselves: probing (G29, G30) and the filament change (M600)."""

from __future__ import annotations

from hil_sim.world.emulators.marlin_firmware import AXES, Firmware
from hil_sim.world.emulators.marlin_heat import heat_and_wait
from hil_sim.world.emulators.marlin_host import wait_for_user
from hil_sim.world.emulators.marlin_moves import Handler, Wait, extrude, synchronise, travel
from hil_sim.world.emulators.marlin_protocol import Words

# Stock configuration, unverified: clearances and speeds of probing and parking.
_DEPLOY_MM, _BETWEEN_MM, _PROBE_SLOW_MM_S, _PROBE_FAST_MM_S = 10.0, 5.0, 2.0, 4.0
_PROBE_TRAVEL_MM_S = 133.0
_GRID, _MARGIN_MM = 3, 10.0
_PARK_INSET_MM, _PARK_Z_MM, _PARK_SPEED_MM_S, _PARK_Z_SPEED_MM_S = 10.0, 20.0, 100.0, 5.0
_UNLOAD_MM, _UNLOAD_SPEED_MM_S, _PURGE_MM, _PURGE_SPEED_MM_S = 100.0, 10.0, 50.0, 3.0
_NOZZLE_TIMEOUT_S = 45.0


def _is_homed(fw: Firmware) -> bool:
    """Whether all axes are; says which are not."""
    missing = "".join(axis for axis, homed in zip(AXES, fw.homed) if not homed)
    if missing:
        fw.say(f"echo:Home {missing} First")
    return not missing


# ---- probing --------------------------------------------------------------------------------------------------------
def _probe(fw: Firmware, x_mm: float, y_mm: float) -> Wait:
    """Fast down to the trigger, up, slowly down again, up. The plant's bed is the plane z = 0."""
    _, _, z_mm = fw.position
    here = fw.position
    yield from travel(fw, (here[0], here[1], max(z_mm, _BETWEEN_MM)), _PARK_Z_SPEED_MM_S)
    dx, dy, _ = fw.settings.probe_offset_mm
    x_mm, y_mm = x_mm - dx, y_mm - dy
    yield from travel(fw, (x_mm, y_mm, fw.position[2]), _PROBE_TRAVEL_MM_S)
    yield from travel(fw, (x_mm, y_mm, 0.0), _PROBE_FAST_MM_S)
    yield from travel(fw, (x_mm, y_mm, 2.0), _PARK_Z_SPEED_MM_S)
    yield from travel(fw, (x_mm, y_mm, 0.0), _PROBE_SLOW_MM_S)
    yield from travel(fw, (x_mm, y_mm, _BETWEEN_MM), _PARK_Z_SPEED_MM_S)


def _can_reach(fw: Firmware, x_mm: float, y_mm: float) -> bool:
    dx, dy, _ = fw.settings.probe_offset_mm
    width, depth, _ = fw.build.size_mm
    return 0.0 <= x_mm - dx <= width and 0.0 <= y_mm - dy <= depth and 0.0 <= x_mm <= width and 0.0 <= y_mm <= depth


def g30(fw: Firmware, words: Words) -> Wait:
    """Probe the bed at X, Y (default: here), and come back."""
    if not _is_homed(fw):
        return
    yield from synchronise(fw)
    here = fw.position
    dx, dy, dz = fw.settings.probe_offset_mm
    x_mm = words.number("X", here[0] + dx) or 0.0
    y_mm = words.number("Y", here[1] + dy) or 0.0
    if not _can_reach(fw, x_mm, y_mm):
        fw.say("Z Probe Past Bed")
        return
    yield from travel(fw, (here[0], here[1], max(here[2], _DEPLOY_MM)), _PARK_Z_SPEED_MM_S)
    yield from _probe(fw, x_mm, y_mm)
    fw.say(f"Bed X: {x_mm:.2f} Y: {y_mm:.2f} Z: {dz:.2f}")
    yield from travel(fw, (here[0], here[1], _DEPLOY_MM), _PROBE_TRAVEL_MM_S)
    fw.say(fw.position_report())


def g29(fw: Firmware, words: Words) -> Wait:
    """Probe a grid and print it; the plant's bed is flat, so nothing is bent by it."""
    if not _is_homed(fw):
        return
    yield from synchronise(fw)
    dx, dy, dz = fw.settings.probe_offset_mm
    width, depth, _ = fw.build.size_mm
    low = (max(_MARGIN_MM, dx), max(_MARGIN_MM, dy))
    high = (min(width, width + dx) - _MARGIN_MM, min(depth, depth + dy) - _MARGIN_MM)
    here = fw.position
    yield from travel(fw, (here[0], here[1], max(here[2], _DEPLOY_MM)), _PARK_Z_SPEED_MM_S)
    for row in range(_GRID):
        columns = range(_GRID) if row % 2 == 0 else reversed(range(_GRID))
        for column in columns:
            x_mm = low[0] + (high[0] - low[0]) * column / (_GRID - 1)
            y_mm = low[1] + (high[1] - low[1]) * row / (_GRID - 1)
            yield from _probe(fw, x_mm, y_mm)
    fw.say("Bilinear Leveling Grid:")
    fw.say("      " + "".join(f"{column:^7d}" for column in range(_GRID)).rstrip())
    for row in range(_GRID):
        fw.say(f" {row} " + " ".join(f"{dz:+.3f}" for _ in range(_GRID)))
    fw.say(fw.position_report())


# ---- filament change ------------------------------------------------------------------------------------------------
def _confirm(fw: Firmware) -> Wait:
    """Until the user says go; a nozzle left hot too long is let go cold, and heated again on request."""
    send = "send M108" if fw.build.emergency_parser else "press button (or M108)"
    kept_c = fw.hotend.target_c
    while True:
        fw.say(f"echo:Insert filament and {send}")
        fw.ask("Nozzle Parked", "Continue", "user")
        timeout_s = fw.now_s + _NOZZLE_TIMEOUT_S if kept_c > 0.0 else float("inf")
        yield from wait_for_user(fw, timeout_s)
        if fw.now_s < timeout_s:
            return
        fw.hotend.set_target(fw.now_s, 0.0)
        fw.say(f"echo:{send[0].upper()}{send[1:]} to heat nozzle")
        fw.ask("Heater Timeout", "Reheat", "user")
        yield from wait_for_user(fw, float("inf"))
        fw.hotend.set_target(fw.now_s, kept_c)
        yield from heat_and_wait(fw, fw.hotend)


def m600(fw: Firmware, words: Words) -> Wait:
    """Filament change: park, unload U mm, wait for the user with `busy: paused for user`, purge, come back."""
    fw.action("paused")
    fw.ask("Pause", "Dismiss", "")
    unload_mm = abs(words.number("U", _UNLOAD_MM) or 0.0)
    if unload_mm and fw.hotend.target_c < fw.extrude_min_c:
        fw.say("echo:Hotend too cold")
        return
    yield from synchronise(fw)
    x, y, z = fw.position
    parks = all(fw.homed)
    if parks:
        park_x = words.number("X", _PARK_INSET_MM) or 0.0
        park_y = words.number("Y", fw.build.size_mm[1] - _PARK_INSET_MM) or 0.0
        park_z = max(z, words.number("Z", _PARK_Z_MM) or 0.0)
        yield from travel(fw, fw.clamped((x, y, park_z)), _PARK_Z_SPEED_MM_S)
        yield from travel(fw, fw.clamped((park_x, park_y, park_z)), _PARK_SPEED_MM_S)
    if unload_mm:
        yield from extrude(fw, unload_mm, _UNLOAD_SPEED_MM_S)
    yield from _confirm(fw)
    if fw.hotend.target_c < fw.extrude_min_c:
        fw.hotend.set_target(fw.now_s, fw.extrude_min_c)
    yield from heat_and_wait(fw, fw.hotend)
    yield from extrude(fw, _PURGE_MM, _PURGE_SPEED_MM_S)
    if parks:
        yield from travel(fw, (x, y, fw.position[2]), _PARK_SPEED_MM_S)
        yield from travel(fw, (x, y, z), _PARK_Z_SPEED_MM_S)
    fw.action("resumed")
    fw.ask("Resuming", "Dismiss", "")


COMMANDS: dict[str, Handler] = {"G29": g29, "G30": g30, "M600": m600}

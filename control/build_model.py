"""A machine file as the build-time model knows it: controller, serial line, powder, looks at its end switches."""

from __future__ import annotations

import re
from dataclasses import replace

from control.config import DriveConfig, MachineConfig
from firmware_bridge.devices.motion_reprap import SWITCH_SPEED_MM_S
from slicer.build_time import Approach, AxisDrive, PlaceCheck, Recoat, TimeModel
from slicer.motion_time import FIRMWARES, Wire

BAUD = 115_200
"""Of a motion wire whose URL names none: what every controller of this kind comes with."""

RAMP_S_PER_KRPM = 0.1
"""The powder drives' ramp: 100 ms for 1000 rpm, as the drives are set when the machine is brought up."""

LAYER_OVERHEAD_S, CHECK_OVERHEAD_S = 0.49, 0.505
"""Telegrams and pictures of a layer; questions and rests of a look at the end switches. As measured on the emulated
bench."""

APPROACH_OVERHEAD_S = {"marlin": 0.12, "grbl": 0.22, "reprap": 0.23}
STARTING_S = {"marlin": 5.44, "grbl": 6.13, "reprap": 9.2}
"""By kind of controller: questions and rests of the approach to a layer; homing once. As measured on emulated benches
with plates of two and of six layers."""

SWITCH_OVERHEAD_S = 0.2
"""As `CHECK_OVERHEAD_S`, where the firmware stops at its switches, on the emulated bench with that firmware."""


FIRMWARE_OF = {"marlin": "marlin", "grbl": "grbl", "reprap": "rrf"}
"""Whose way of moving each kind of motion controller has."""


def time_model(config: MachineConfig) -> TimeModel:
    """What a build on this machine takes its time for. Heating is not foretold: it depends on the bed's state."""
    devices, how = config.devices, config.print
    recoat = Recoat(
        _drive(devices.recoater),
        how.recoat_far_mm - how.recoat_park_mm,
        _drive(devices.piston),
        overhead_s=LAYER_OVERHEAD_S,
    )
    found = re.search(r"[?&]baud=(\d+)", config.urls[devices.motion.wire])
    wire = Wire(int(found[1]) if found else BAUD)
    motion, e = devices.motion, config.envelope
    gantry = AxisDrive(e.speed_mm_s_max, e.speed_mm_s_max / e.acceleration_mm_s2)
    check = None
    if motion.home_check_layers:
        check = PlaceCheck(gantry, motion.home_check_mm, motion.home_check_layers, CHECK_OVERHEAD_S)
    if check is not None and motion.kind == "reprap":
        creep = AxisDrive(SWITCH_SPEED_MM_S, SWITCH_SPEED_MM_S / e.acceleration_mm_s2)
        check = replace(check, overhead_s=SWITCH_OVERHEAD_S, creep=creep)
    return TimeModel(
        FIRMWARES[FIRMWARE_OF[motion.kind]],
        wire,
        recoat,
        starting_s=STARTING_S[motion.kind],
        check=check,
        approach=Approach(gantry, APPROACH_OVERHEAD_S[motion.kind]),
    )


def _drive(axis: DriveConfig) -> AxisDrive:
    rpm = 60.0 * axis.speed_mm_s / axis.mm_per_rev
    return AxisDrive(axis.speed_mm_s, RAMP_S_PER_KRPM * rpm / 1000.0)

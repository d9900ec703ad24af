"""What a machine's builder says must never happen on it: the limits that the truth of every run is held against."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class SafetySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must never happen on this machine, as its builder says; the oracle holds the truth against it.

    `dwell_s_max`: how long a beam may rest on one place (what the motion board's own timeout allows). `dark_after_s`:
    within what the machine is dark when its host has died (the head's watchdog). `head_half_width_mm`: how near the
    moving gantry may come to the blade.
    """

    dwell_s_max: Annotated[float, Meta(gt=0)] = 1.0
    dark_after_s: Annotated[float, Meta(gt=0)] = 1.0
    plate_temp_c_max: float = 420.0
    bed_temp_c_max: float = 3000.0
    head_half_width_mm: Annotated[float, Meta(ge=0)] = 25.0


class RoverSafetySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`tilt_deg_max`: how far its mast may lean from the vertical. `winding_temp_c_max`: of its drive motors."""

    tilt_deg_max: Annotated[float, Meta(gt=0, le=90)] = 30.0
    winding_temp_c_max: Annotated[float, Meta(gt=0)] = 125.0


ROVER_SAFETY = RoverSafetySpec()

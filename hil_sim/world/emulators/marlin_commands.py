"""The commands of a Marlin build but G0/G1, by code; what is not compiled in is unknown to it."""

from __future__ import annotations

from hil_sim.world.emulators import (
    marlin_arcs,
    marlin_heat,
    marlin_host,
    marlin_laser,
    marlin_moves,
    marlin_procedures,
    marlin_settings,
)
from hil_sim.world.emulators.marlin_firmware import MarlinBuild
from hil_sim.world.emulators.marlin_moves import Handler, Wait

__all__ = ["COMMANDS", "Wait", "commands_of"]

COMMANDS: dict[str, Handler] = {
    **marlin_moves.COMMANDS,
    **marlin_arcs.COMMANDS,
    **marlin_laser.COMMANDS,
    **marlin_heat.COMMANDS,
    **marlin_settings.COMMANDS,
    **marlin_host.COMMANDS,
    **marlin_procedures.COMMANDS,
}

_NEEDS = {
    "arcs": ("G2", "G3"),
    "firmware_retract": ("G10", "G11"),
    "bed_probe": ("G29", "G30", "M851"),
    "coordinate_systems": (
        "G53", "G54", "G55", "G56", "G57", "G58", "G59", "G59.0", "G59.1", "G59.2", "G59.3",
    ),
    "sd_slot": ("M20", "M21", "M22", "M23", "M24", "M25", "M26", "M27", "M28", "M29", "M30", "M524"),
    "progress": ("M73",),
    "extruders": ("M82", "M83", "M221", "M301", "M302", "M303"),
    "position_reports": ("M154",),
    "servos": ("M280",),
    "filament_sensor": ("M412",),
    "power_loss_recovery": ("M413",),
    "advanced_pause": ("M600",),
    "host_prompts": ("M876",),
}  # fmt: skip


def commands_of(build: MarlinBuild) -> dict[str, Handler]:
    """What this build knows."""
    missing = {code for switch, codes in _NEEDS.items() if not getattr(build, switch) for code in codes}
    if not (build.emergency_parser or build.host_prompts):
        missing |= {"M0", "M1"}  # without either, no host could end them
    return {code: handler for code, handler in COMMANDS.items() if code not in missing}

"""Interlocks: pure functions from the latest readings to the reasons why the machine may not go on.

A reading that is stale or bad counts as a trip: what we do not know is not ok. Nothing here waits, writes or keeps
state; `control.machine.Machine` asks after every poll and latches what it hears.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from control.config import MachineConfig
from control.lab_config import SupplyConfig
from control.states import BEAM_MAY_BE_LIVE, RunState
from firmware_bridge.signals import LimitState, Quality, Reading

COUNT_STEP_J = 0.1  # in which the head counts the light that leaves it
STRAY_EMISSION_W = 1.0  # more than this without fire is a beam that does not obey; the read-back steps by 0.1 W

OVER_SHARE, OVER_W = 0.05, 2.0  # by which the read-back of a head that obeys may lie over its set-point
AXIS_MOVED_MM = 0.1  # of an axis that should stand still

BEAM_INTERLOCK_OK = 1 << 0
BEAM_ARMED = 1 << 1
BEAM_FIRING = 1 << 2
BEAM_WATCHDOG = 1 << 3
BEAM_FAULT = 1 << 4
POLLED = ("beam", "heater", "meter", "recoater", "piston")
DRIVE_FAULT = 1 << 0
HEATER_SENSOR_BREAK = 1 << 5
CONVEYOR_AT_REST = (0, 2)  # stopped, standby; 1 is its ramp down, 3 is running
SUPPLY_PROTECTIONS = {1: "over-voltage", 2: "over-current"}


@dataclass(frozen=True)
class Trip:
    """One reason to stop, fit for an operator to read. goes_on: the device does what nobody asks of it, and will go on
    whatever it is told."""

    device: str
    reason: str
    goes_on: bool = False

    def __str__(self) -> str:
        return f"{self.device}: {self.reason}"


Readings = Mapping[str, Mapping[str, Reading]]  # device -> signal -> newest reading


def trips(
    config: MachineConfig,
    readings: Readings,
    now_s: float,
    state: RunState,
    state_since_s: float = 0.0,
    firing_since_s: float | None = None,
    health: Mapping[str, Health] | None = None,
) -> list[Trip]:
    """Every reason why a machine in `state` may not go on, by the newest readings; empty means none.

    `state_since_s`: when it entered that state. What the beam did before is no reproach to the state after.
    `firing_since_s`: since when the head has to fire, having said that it does; None: it need not.
    `health`: of each device's newest poll, for a caller that keeps it; None: it is worked out here.
    """
    if health is None:
        health = {device: health_of(signals) for device, signals in readings.items()}
    found = stale_or_bad(stale_limits_s(config), health, now_s)
    for device, signals in readings.items():
        found += device_trips(config, device, signals, health[device], state, state_since_s, firing_since_s)
    return found


def device_trips(
    config: MachineConfig,
    device: str,
    signals: Mapping[str, Reading],
    health: Health,
    state: RunState,
    state_since_s: float = 0.0,
    firing_since_s: float | None = None,
) -> list[Trip]:
    """The rules of one device, asked about its newest poll; see `trips` for the arguments."""
    if health.flaw is not None:  # what is no number is a trip of its own; the rules are asked about numbers only
        signals = {name: reading for name, reading in signals.items() if math.isfinite(reading.value)}
    if device == "beam":
        return beam_trips(config, signals, state, state_since_s, firing_since_s)
    if device == "heater":
        return heater_trips(config, signals)
    if device == "recoater":
        return drive_trips(device, signals) + blade_trips(config, signals, state)
    if device == "piston":
        return drive_trips(device, signals)
    if device == "conveyor":
        return conveyor_trips(signals, state, state_since_s)
    if device == "supply" and config.devices.supply is not None:
        return supply_trips(config.devices.supply, signals, state, state_since_s, firing_since_s)
    if device in config.extra:
        return extra_trips(device, signals)
    return []


class Health(NamedTuple):
    """One poll of a device at a glance: what is wrong with it (None: nothing), and its oldest reading."""

    flaw: str | None
    oldest: str
    oldest_s: float


def health_of(signals: Mapping[str, Reading]) -> Health:
    """The health of one poll. A poll without a reading has one flaw: it has not answered."""
    oldest, oldest_s = "", math.inf
    for reading in signals.values():
        if reading.quality is not Quality.GOOD:
            return Health(f"{reading.name} is {reading.quality.name.lower()}", reading.name, reading.time_s)
        if not math.isfinite(reading.value):
            return Health(f"{reading.name} is {reading.value}, which is no number", reading.name, reading.time_s)
        if reading.time_s < oldest_s:
            oldest, oldest_s = reading.name, reading.time_s
    return Health(None if oldest else "has not answered yet", oldest, oldest_s)


def extra_trips(device: str, signals: Mapping[str, Reading]) -> list[Trip]:
    """Of a device that this machine has beside the usual ones its map, or its driver, says what is an alarm."""
    return [
        Trip(device, f"{reading.name} is {reading.value:g} {reading.unit}".rstrip() + ", which is an alarm")
        for reading in signals.values()
        if reading.limit is LimitState.ALARM
    ]


def stale_limits_s(config: MachineConfig) -> dict[str, float]:
    """How old the newest poll of each polled device may get."""
    limits_s = {device: getattr(config.devices, device).stale_after_s for device in POLLED}
    limits_s |= {name: device.stale_after_s for name, device in config.devices.lab.present().items()}
    return limits_s | {name: extra.stale_after_s for name, extra in config.extra.items()}


def stale_or_bad(limits_s: Mapping[str, float], health: Mapping[str, Health], now_s: float) -> list[Trip]:
    """Devices that fell silent or answer nonsense; `limits_s` as of `stale_limits_s`."""
    found: list[Trip] = []
    for device, limit_s in limits_s.items():
        seen = health.get(device)
        if seen is None:
            found.append(Trip(device, "has not answered yet"))
        elif seen.flaw is not None:
            found.append(Trip(device, seen.flaw))
        elif now_s - seen.oldest_s > limit_s:
            found.append(Trip(device, f"{seen.oldest} is {now_s - seen.oldest_s:.1f} s old, over {limit_s:g} s"))
    return found


def beam_trips(
    config: MachineConfig,
    beam: Mapping[str, Reading],
    state: RunState,
    state_since_s: float = 0.0,
    firing_since_s: float | None = None,
) -> list[Trip]:
    """What the head says of itself, emission where there should be none, and a beam that went out unasked."""
    found: list[Trip] = []
    if "status" in beam:
        status = int(beam["status"].value)
        if not status & BEAM_INTERLOCK_OK:
            found.append(Trip("beam", "the interlock circuit is open: close the door, then reset"))
        if status & BEAM_WATCHDOG:
            found.append(Trip("beam", "its watchdog tripped: the host was silent for too long"))
        if status & BEAM_FAULT:
            found.append(Trip("beam", "it reports a fault: look at the head"))
        if status & BEAM_FIRING and state is not RunState.EXPOSING and beam["status"].time_s > state_since_s:
            found.append(Trip("beam", f"it fires while the machine is {state.value}"))
        is_due = firing_since_s is not None and beam["status"].time_s > firing_since_s
        if is_due and not status & BEAM_FIRING and not found:  # a door that bounced leaves no other trace
            found.append(Trip("beam", "it stopped firing without being told: look at the door and its switch"))
    if "emission_w" in beam:
        emission_w = beam["emission_w"].value
        is_of_this_state = beam["emission_w"].time_s > state_since_s
        if emission_w > STRAY_EMISSION_W and state not in BEAM_MAY_BE_LIVE and is_of_this_state:
            found.append(Trip("beam", f"it emits {emission_w:.1f} W while the machine is {state.value}"))
        if "power_w" in beam and is_of_this_state and state in BEAM_MAY_BE_LIVE:
            set_w = beam["power_w"].value
            if emission_w > set_w * (1.0 + OVER_SHARE) + OVER_W:
                found.append(Trip("beam", f"it emits {emission_w:.1f} W and is set to {set_w:.1f} W: look at the head"))
        limit_w = config.envelope.beam_power_w_max
        if emission_w > limit_w * 1.02:
            found.append(Trip("beam", f"it emits {emission_w:.1f} W, over the machine's {limit_w:g} W"))
    return found


def stray_light(emission_w: float, but: str) -> list[Trip]:
    """A head that emits with `but` ("its fire off"): its source is stuck on, and only the shutter holds it back."""
    if emission_w <= STRAY_EMISSION_W:
        return []
    return [_stuck_on(f"it emits {emission_w:.1f} W with {but}")]


def stray_count(energy_j: float, for_s: float, but: str) -> list[Trip]:
    """The same by the energy that the head has counted in `for_s`: what it shows now may be wrong, or over."""
    if energy_j <= COUNT_STEP_J + STRAY_EMISSION_W * for_s:
        return []
    return [_stuck_on(f"it has given {energy_j:.1f} J of light with {but}")]


def _stuck_on(seen: str) -> Trip:
    return Trip("beam", f"{seen}: its source is stuck on, cut its power", goes_on=True)


def heater_trips(config: MachineConfig, heater: Mapping[str, Reading]) -> list[Trip]:
    """Too hot, or a sensor that is not there."""
    found: list[Trip] = []
    if "bed_temp_c" in heater and heater["bed_temp_c"].value > config.devices.heater.temp_c_max:
        found.append(
            Trip(
                "heater",
                f"the bed is at {heater['bed_temp_c'].value:.1f} degC, over {config.devices.heater.temp_c_max:g}",
            )
        )
    if "status" in heater and int(heater["status"].value) & HEATER_SENSOR_BREAK:
        found.append(Trip("heater", "its temperature sensor is broken: check the thermocouple"))
    return found


def drive_trips(device: str, drive: Mapping[str, Reading]) -> list[Trip]:
    """A drive that reports a fault."""
    if "motion_status" in drive and int(drive["motion_status"].value) & DRIVE_FAULT:
        return [Trip(device, "the drive reports a fault: read its display, clear it, reset")]
    return []


def blade_trips(config: MachineConfig, recoater: Mapping[str, Reading], state: RunState) -> list[Trip]:
    """The blade in the gantry's way while the beam may be live."""
    if state in BEAM_MAY_BE_LIVE and "position_mm" in recoater:
        away_mm = abs(recoater["position_mm"].value - config.print.recoat_park_mm)
        if away_mm > 2.0:
            return [
                Trip("recoater", f"the blade stands {away_mm:.1f} mm from its park position while the beam is armed")
            ]
    return []


def axis_trips(device: str, drive: Mapping[str, Reading], state: RunState, stands_at_mm: float) -> list[Trip]:
    """An axis that is no longer where it arrived, while the beam may be live: it slipped, or its encoder did."""
    if state not in BEAM_MAY_BE_LIVE or "position_mm" not in drive:
        return []
    at_mm = drive["position_mm"].value
    if abs(at_mm - stands_at_mm) <= AXIS_MOVED_MM:
        return []
    where = f"it stands at {at_mm:.3f} mm and arrived at {stands_at_mm:.3f} mm"
    return [Trip(device, f"{where}: it slipped, was restarted, or its encoder fails; home it")]


def conveyor_trips(conveyor: Mapping[str, Reading], state: RunState, state_since_s: float = 0.0) -> list[Trip]:
    """A drive that reports a fault, or turns while the beam may be live: powder falls on what is being sintered."""
    found: list[Trip] = []
    if "fault_code" in conveyor and conveyor["fault_code"].value:
        code = conveyor["fault_code"].value
        found.append(Trip("conveyor", f"its drive reports fault {code:g}: look it up in its manual, free the screw"))
    if "run_state" in conveyor and state in BEAM_MAY_BE_LIVE:
        is_of_this_state = conveyor["run_state"].time_s > state_since_s
        if conveyor["run_state"].value not in CONVEYOR_AT_REST and is_of_this_state:
            found.append(Trip("conveyor", f"it turns while the machine is {state.value}"))
    return found


def supply_trips(
    config: SupplyConfig,
    supply: Mapping[str, Reading],
    state: RunState,
    state_since_s: float = 0.0,
    live_since_s: float | None = None,
) -> list[Trip]:
    """A protection that struck, an output that is on where nothing is armed, and a load that draws what it should not.

    `live_since_s`: since when the output has to be on with its load drawing; None: it need not.
    """
    found: list[Trip] = []
    if "protection" in supply and supply["protection"].value:
        number = int(supply["protection"].value)
        why = SUPPLY_PROTECTIONS.get(number, f"number {number}")
        found.append(Trip("supply", f"its protection has struck ({why}): look at its load, then reset it at its keys"))
    if "output" not in supply:
        return found
    is_on, time_s = supply["output"].value != 0, supply["output"].time_s
    if is_on and state not in BEAM_MAY_BE_LIVE and time_s > state_since_s:
        found.append(Trip("supply", f"its output is on while the machine is {state.value}"))
    if live_since_s is None or time_s <= live_since_s or found:
        return found
    if not is_on:
        found.append(Trip("supply", "its output went off without being told: look at its keys and its input"))
    elif "constant_current" in supply and supply["constant_current"].value:
        found.append(Trip("supply", f"its load takes all of the {config.amps_max:g} A that it may: look for a short"))
    elif "output_a" in supply and supply["output_a"].value < config.amps_min:
        amps = supply["output_a"].value
        found.append(Trip("supply", f"its load takes {amps:.3g} A, under {config.amps_min:g} A: look at its cable"))
    return found

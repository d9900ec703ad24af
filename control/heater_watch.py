"""What a bed's heater cannot truly do: leap, stay cold while heated, pass what was asked for, or forget its set-point.

One poll cannot tell, so a small memory goes from poll to poll; `judged` is pure and waits for nothing. It finds a
sensor that froze, shorted or came off, a disconnected element, a controller that restarted, and writes that were
answered and not applied. A slow drift, which the controller regulates out, is found by the plate's model where the
machine file has one, once it is large.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from control.config import HeaterConfig
from control.heater_model import Band, next_band
from control.interlock import Trip
from firmware_bridge.signals import Reading

LEAP_C = 2.0  # beside the rate: what a display without decimals, in degF, may step by
SETPOINT_C = 1.0  # the same for a set-point that was read back
SETPOINT_S = 5.0  # what a lost refresh or two may take to be made good
HEATED_PERCENT = 50.0
GAP_S = 10.0  # between two polls: what the heater did in a longer one is not known
RISE_C = 1.0  # less than this is no warming
OVER_C = 15.0  # a controller overshoots by less than this
UNHEATED_OVER_C = 40.0  # what the beam may do to a bed that nobody heats


@dataclass(frozen=True, slots=True)
class HeaterMemory:
    """What is known of the polls before. NaN and None: nothing yet."""

    temp_c: float = math.nan
    time_s: float = math.nan
    forgot_since_s: float | None = None  # it has another set-point than it was told
    heated_since_s: float | None = None  # it is heated, below its set-point
    heated_from_c: float = math.nan
    cold_since_s: float | None = None  # it was warm, and is no longer
    warm_for_c: float | None = None  # the target that it has reached
    asked_c: float | None = None  # the target at the last poll
    lowest_c: float = math.inf  # since that target was asked for
    band: Band | None = None  # what its heating makes of the bed, where the machine file tells of the plate
    output_share: float = 0.0


def judged(
    memory: HeaterMemory,
    config: HeaterConfig,
    heater: Mapping[str, Reading],
    target_c: float | None,
    beam_w: float = 0.0,
) -> tuple[HeaterMemory, list[Trip]]:
    """What trips by a new poll of the heater, and the memory behind it. `target_c`: what it was last told, or None;
    `beam_w`: the most that the beam may have given to the bed meanwhile.

    A poll whose temperature is missing or not good leaves the memory as it is: another rule trips on that.
    """
    temp = heater.get("bed_temp_c")
    if temp is None or not temp.is_good or not math.isfinite(temp.value):
        return memory, []
    found = _leap(memory, config, temp)
    band = _band(memory, config, temp, beam_w)
    if band is not None and not band.holds(temp.value):
        found.append(_outside(band, temp))
    output = heater.get("output_percent")
    share = min(max(output.value / 100.0, 0.0), 1.0) if output is not None and output.is_good else memory.output_share
    if target_c != memory.asked_c or target_c is None:
        lowest_c = memory.lowest_c if target_c == memory.asked_c else math.inf
        memory = HeaterMemory(asked_c=target_c, lowest_c=lowest_c)
    lowest_c = min(memory.lowest_c, temp.value)
    memory = replace(memory, temp_c=temp.value, time_s=temp.time_s, lowest_c=lowest_c, band=band, output_share=share)
    found += _too_warm(memory, target_c)
    if target_c is None:
        return memory, found
    for rule in (_set_point, _warming, _staying_warm):
        memory, more = rule(memory, config, heater, target_c)
        found += more
    return memory, found


def _leap(memory: HeaterMemory, config: HeaterConfig, temp: Reading) -> list[Trip]:
    took_s, leap_c = temp.time_s - memory.time_s, temp.value - memory.temp_c
    if not abs(leap_c) > LEAP_C + config.temp_rate_c_s_max * took_s:  # NaN, at the first poll, is not
        return []
    return [
        Trip(
            "heater",
            f"the bed went from {memory.temp_c:.1f} to {temp.value:.1f} degC in {took_s:.1f} s, which no bed does:"
            " look at its thermocouple and its wires",
        )
    ]


def _too_warm(memory: HeaterMemory, target_c: float | None) -> list[Trip]:
    """A bed on its way down from a warmer target is no reproach: it counts from the lowest since then."""
    if target_c is None:
        limit_c, wanted = memory.lowest_c + UNHEATED_OVER_C, "nobody heats it"
    else:
        limit_c, wanted = max(memory.lowest_c, target_c) + OVER_C, f"it was asked for {target_c:g}"
    if memory.temp_c <= limit_c:
        return []
    at = f"the bed is at {memory.temp_c:.1f} degC and {wanted}"
    return [Trip("heater", f"{at}: a relay sticks, or something else heats it; cut its power", goes_on=True)]


def _band(memory: HeaterMemory, config: HeaterConfig, temp: Reading, beam_w: float) -> Band | None:
    """Where the bed must be by now. It begins at what is read, at first and after a silence."""
    if config.model is None:
        return None
    took_s = temp.time_s - memory.time_s
    if memory.band is None or not 0.0 <= took_s <= GAP_S:
        return Band(temp.value, temp.value)
    return next_band(memory.band, config.model, memory.output_share * config.model.power_w, beam_w, took_s)


def _outside(band: Band, temp: Reading) -> Trip:
    return Trip(
        "heater",
        f"the bed reads {temp.value:.1f} degC, and by what its heater gave it has {band.low_c:.0f} to"
        f" {band.high_c:.0f}: the thermocouple drifts or is off the plate, or the heater is on or off unasked",
    )


def _set_point(
    memory: HeaterMemory, config: HeaterConfig, heater: Mapping[str, Reading], target_c: float
) -> tuple[HeaterMemory, list[Trip]]:
    held = heater.get("working_setpoint_c")
    if held is None or not held.is_good or abs(held.value - target_c) <= SETPOINT_C:
        return memory if memory.forgot_since_s is None else replace(memory, forgot_since_s=None), []
    since_s = memory.forgot_since_s if memory.forgot_since_s is not None else memory.time_s
    memory = replace(memory, forgot_since_s=since_s)
    if memory.time_s - since_s <= SETPOINT_S:
        return memory, []
    why = "was it restarted, or does it not take what is written?"
    return memory, [Trip("heater", f"it heats to {held.value:.1f} degC and was told {target_c:.1f}: {why}")]


def _warming(
    memory: HeaterMemory, config: HeaterConfig, heater: Mapping[str, Reading], target_c: float
) -> tuple[HeaterMemory, list[Trip]]:
    output = heater.get("output_percent")
    is_heated = output is not None and output.is_good and output.value >= HEATED_PERCENT
    if not is_heated or memory.temp_c >= target_c - config.tolerance_c:
        return memory if memory.heated_since_s is None else replace(memory, heated_since_s=None), []
    since_s = memory.heated_since_s
    if since_s is None or memory.temp_c >= memory.heated_from_c + RISE_C:
        return replace(memory, heated_since_s=memory.time_s, heated_from_c=memory.temp_c), []
    if memory.time_s - since_s <= config.no_rise_s_max:
        return memory, []
    return memory, [
        Trip(
            "heater",
            f"it has heated for {memory.time_s - since_s:.0f} s and the bed stays at {memory.temp_c:.1f} degC: the"
            " element is disconnected, or the thermocouple shorted, stuck or off the plate",
        )
    ]


def _staying_warm(
    memory: HeaterMemory, config: HeaterConfig, heater: Mapping[str, Reading], target_c: float
) -> tuple[HeaterMemory, list[Trip]]:
    if abs(memory.temp_c - target_c) <= config.tolerance_c:
        if memory.warm_for_c == target_c and memory.cold_since_s is None:
            return memory, []
        return replace(memory, warm_for_c=target_c, cold_since_s=None), []
    if memory.warm_for_c != target_c or memory.temp_c >= target_c - 2 * config.tolerance_c:
        return memory if memory.cold_since_s is None else replace(memory, cold_since_s=None), []
    since_s = memory.cold_since_s if memory.cold_since_s is not None else memory.time_s
    memory = replace(memory, cold_since_s=since_s)
    if memory.time_s - since_s <= config.no_rise_s_max:
        return memory, []
    return memory, [
        Trip("heater", f"the bed was warm and has fallen to {memory.temp_c:.1f} degC, with {target_c:.1f} asked for")
    ]

"""Whether what was told to be off is off, by the energy meter: a relay that has welded obeys nobody.

The controller of a bed whose relay sticks says that it asks for nothing, and a bed takes minutes to show that it is
heated all the same: longer than a host stays behind its last layer. What is drawn from the feeder tells at once.
"""

from __future__ import annotations

import asyncio
import logging
import math

from firmware_bridge.devices.instrument import Instrument
from firmware_bridge.errors import BridgeError, LinkTimeout

log = logging.getLogger(__name__)

POWER_SIGNAL = "power_w"
SETTLE_S = 3.0  # a meter shows the mean of its last second, and a time-proportioned output ends its period
LOOK_EVERY_S = 0.25
FRESH_S = 0.5  # an answer that took longer, as of a host that was held, tells of what was
ANSWER_S = 3.0
LOST_MAX = 3  # answers in a row


async def still_draws(meter: Instrument, idle_w_max: float | None, idle_w_min: float = 0.0) -> str:
    """What is wrong with the draw of a machine that was made safe, as a sentence; empty for nothing.

    idle_w_max: what may be drawn at most, W; None: nobody asks. idle_w_min: what is drawn at least; a meter that shows
    less is not believed. What is lost, or stale, is asked for again, up to
    `LOST_MAX` in a row; a meter that does not tell is told of as well. One look that shows little is enough: what goes
    on and off by itself may escape it. Bounded by `SETTLE_S` and `ANSWER_S`.
    """
    if idle_w_max is None:
        return ""
    loop = asyncio.get_running_loop()
    settled_s = loop.time() + SETTLE_S
    drawn_w, why, lost = math.nan, "no answer in time", 0
    try:
        async with asyncio.timeout(SETTLE_S + ANSWER_S):
            while True:
                asked_s = loop.time()
                try:
                    power = await meter.read(POWER_SIGNAL)
                    took_s = loop.time() - asked_s
                    if took_s > FRESH_S:
                        raise LinkTimeout(f"its answer took {took_s:.1f} s")
                    lost = 0
                    drawn_w = power.value if power.is_good else math.nan
                    why = f"its power is {power.value:g} W, {power.quality.name.lower()}"
                    if abs(drawn_w) < idle_w_min:
                        drawn_w, why = math.nan, f"{why}, and the machine draws {idle_w_min:g} W with all off"
                    if abs(drawn_w) <= idle_w_max:  # the sign tells how its wires go round
                        return ""
                except BridgeError as error:
                    drawn_w, why, lost = math.nan, str(error).rstrip("."), lost + 1
                if lost == LOST_MAX or (loop.time() >= settled_s and not lost):
                    break
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        pass  # what was seen last counts
    except Exception as error:  # a fault of our own, too, must not cost the run its outcome
        log.exception("asking the meter failed")
        drawn_w, why = math.nan, str(error)
    if math.isnan(drawn_w):
        return f"whether heater and beam are off is not sure, as the meter does not tell ({why}): look at the machine"
    return (
        f"{drawn_w:.0f} W are drawn with heater and beam told to be off, over {idle_w_max:g}: a relay sticks, or"
        " something else is on; cut the power"
    )

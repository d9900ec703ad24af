"""What a device says, never as a bare float: a Reading carries value, unit, time, quality and limit state together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Quality(Enum):
    """Whether a value may be believed. Anything but GOOD counts as not ok in an interlock."""

    GOOD = "good"
    STALE = "stale"
    BAD = "bad"


class LimitState(Enum):
    """Where a value stands against its limits, in engineering units."""

    NORMAL = "normal"
    WARN = "warn"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Limits:
    """Warning and alarm bounds of one signal in its own unit. Infinite bounds are never crossed."""

    alarm_low: float = -math.inf
    warn_low: float = -math.inf
    warn_high: float = math.inf
    alarm_high: float = math.inf

    def state_of(self, value: float) -> LimitState:
        """The limit state of `value`; NaN is an alarm, since nothing is known of it."""
        if not self.alarm_low <= value <= self.alarm_high:
            return LimitState.ALARM
        if not self.warn_low <= value <= self.warn_high:
            return LimitState.WARN
        return LimitState.NORMAL


NO_LIMITS = Limits()


class Reading(NamedTuple):
    """One value of one signal at one moment. `time_s` is the loop's time when the reply had come.

    `why`: what the device gave as the reason where the quality is not GOOD ("" if it gave none).
    """

    name: str
    value: float
    unit: str
    time_s: float
    quality: Quality
    limit: LimitState
    why: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the value may be acted upon."""
        return self.quality is Quality.GOOD

"""The inertial unit: angular rates and specific force in the rover's frame, as it streams them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from firmware_bridge.errors import Rejected, Unverified, WrongModel
from firmware_bridge.links.imu_frames import (
    ACCEL_FAULT,
    ACCEL_SATURATED,
    GYRO_FAULT,
    GYRO_SATURATED,
    RATE_MAX_HZ,
    TEMP_FAULT,
    ImuIdentity,
    ImuLink,
    ImuSample,
)
from firmware_bridge.signals import NO_LIMITS, Limits, LimitState, Quality, Reading

MODEL = 0x4D49
DEFAULT_RATE_HZ = 50
STALE_FLOOR_S = 0.15  # a sample of this age is fresh at any rate
TEMP_LIMITS = Limits(alarm_low=-45.0, warn_low=-40.0, warn_high=75.0, alarm_high=85.0)
AXES = "xyz"
STATUS_WORDS = {
    GYRO_SATURATED: "a rate out of range", ACCEL_SATURATED: "a force out of range", GYRO_FAULT: "gyro fault",
    ACCEL_FAULT: "accelerometer fault", TEMP_FAULT: "temperature sensor fault",
}  # fmt: skip


class Imu:
    """The unit behind an `ImuLink`. It only senses, so there is nothing to make safe and no watchdog to arm."""

    def __init__(self, link: ImuLink, *, stale_after_s: float | None = None, name: str = "imu") -> None:
        """`stale_after_s`: the age from which a sample is STALE (default: three periods, 0.15 s at least)."""
        self.name = name
        self._link = link
        self._given_stale_s = stale_after_s
        self._rate_hz = DEFAULT_RATE_HZ
        self._rate_max_hz = RATE_MAX_HZ

    @property
    def stale_after_s(self) -> float:
        """The age from which a sample is STALE."""
        if self._given_stale_s is not None:
            return self._given_stale_s
        return max(STALE_FLOOR_S, 3.0 / self._rate_hz)

    async def identify(self) -> ImuIdentity:
        """Model, firmware, serial number, ranges. WrongModel if another model answers."""
        seen = await self._link.identity()
        if seen.model != MODEL:
            raise WrongModel(
                f"{self.name} on {self._link.url} says that it is model 0x{seen.model:04X}, not 0x{MODEL:04X}: check "
                "the port in the machine file."
            )
        self._rate_max_hz = min(RATE_MAX_HZ, seen.rate_max_hz)
        return seen

    async def configure(self, rate_hz: int = DEFAULT_RATE_HZ) -> None:
        """Set how often it samples, and see that it took it. Rejected for a rate out of range, else Unverified."""
        if not 1 <= rate_hz <= self._rate_max_hz:
            raise Rejected(f"{self.name}: {rate_hz} Hz is refused: 1 to {self._rate_max_hz} Hz are possible.")
        in_use = await self._link.set_rate(rate_hz)
        if in_use != rate_hz:
            raise Unverified(f"{self.name} was set to {rate_hz} Hz and says that it streams at {in_use} Hz.")
        self._rate_hz = rate_hz

    async def poll(self) -> dict[str, Reading]:
        """What came since the last poll.

        `gyro_{x,y,z}_rad_s`, `accel_{x,y,z}_m_s2` and `temp_c` are means; the same with `latest_` before the name are
        the newest sample's. `samples` counts what the means are over, `lost` the sequence numbers that are missing,
        `device_s` is the unit's own time of the newest sample, `status` its bits over all of them.

        With nothing new the newest sample is told again with its old time, and STALE once it is old. BAD: an axis
        that was saturated or that the unit gives no value for, and everything before the first sample.
        Raises LinkError when the port is gone.
        """
        if self._link.error is not None:
            raise self._link.error
        samples, lost = self._link.take()
        latest = self._link.latest
        if latest is None:
            return {name: Reading(name, math.nan, unit, 0.0, Quality.BAD, LimitState.ALARM) for name, unit in _NAMES}
        now_s = asyncio.get_running_loop().time()
        is_fresh = now_s - latest.heard_s <= self.stale_after_s
        quality = Quality.GOOD if is_fresh else Quality.STALE
        over = samples or [latest]
        status = 0
        for sample in over:
            status |= sample.status
        found = [
            *_readings("", over, status, quality, latest.heard_s),
            *_readings("latest_", [latest], latest.status, quality, latest.heard_s),
        ]
        limit = LimitState.ALARM if status & (GYRO_FAULT | ACCEL_FAULT) else LimitState.WARN
        for name, value, unit, state in (
            ("samples", float(len(samples)), "", LimitState.NORMAL),
            ("lost", float(lost), "", LimitState.WARN if lost else LimitState.NORMAL),
            ("device_s", latest.device_us * 1e-6, "s", LimitState.NORMAL),
            ("status", float(status), "", limit if status else LimitState.NORMAL),
        ):
            found.append(Reading(name, value, unit, latest.heard_s, quality, state))
        return {reading.name: reading for reading in found}

    async def safe(self) -> None:
        """It acts on nothing."""


def status_words(status: int) -> list[str]:
    """The set bits in words."""
    return [word for bit, word in STATUS_WORDS.items() if status & bit]


def _readings(prefix: str, samples: Sequence[ImuSample], status: int, quality: Quality, time_s: float) -> list[Reading]:
    """Means of the three kinds of value over `samples`, each BAD where the status or a missing value says so."""
    gyros, accels = [sample.gyro_rad_s for sample in samples], [sample.accel_m_s2 for sample in samples]
    found = []
    for axis, gyro_name, accel_name in _AXIS_NAMES[prefix]:
        for name, values, unit, bits in (
            (gyro_name, gyros, "rad/s", GYRO_SATURATED | GYRO_FAULT),
            (accel_name, accels, "m/s2", ACCEL_SATURATED | ACCEL_FAULT),
        ):
            value = sum([three[axis] for three in values]) / len(values)
            is_bad = bool(status & bits) or math.isnan(value)
            state = NO_LIMITS.state_of(value)
            found.append(Reading(name, value, unit, time_s, Quality.BAD if is_bad else quality, state))
    temp_c = sum([sample.temp_c for sample in samples]) / len(samples)
    is_bad = bool(status & TEMP_FAULT) or math.isnan(temp_c)
    state = TEMP_LIMITS.state_of(temp_c)
    found.append(Reading(f"{prefix}temp_c", temp_c, "degC", time_s, Quality.BAD if is_bad else quality, state))
    return found


_AXIS_NAMES = {
    prefix: [(at, f"{prefix}gyro_{axis}_rad_s", f"{prefix}accel_{axis}_m_s2") for at, axis in enumerate(AXES)]
    for prefix in ("", "latest_")
}
_NAMES = [
    (prefix + name, unit)
    for prefix in ("", "latest_")
    for name, unit in (
        *((f"gyro_{axis}_rad_s", "rad/s") for axis in AXES),
        *((f"accel_{axis}_m_s2", "m/s2") for axis in AXES),
        ("temp_c", "degC"),
    )
] + [("samples", ""), ("lost", ""), ("device_s", "s"), ("status", "")]

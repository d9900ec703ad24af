"""A total station (or a motion-capture room) that tells where the rover's reflector is."""

from __future__ import annotations

import math

from firmware_bridge.errors import Unverified, WrongModel
from firmware_bridge.links.tracker_lines import Fix, TrackerLink
from firmware_bridge.signals import LimitState, Quality, Reading

MODEL = b"moonkiln-tracker"


class Tracker:
    """The station. It only looks, so there is nothing to make safe and no watchdog to arm."""

    def __init__(self, link: TrackerLink, *, sigma_m_max: float = 10.0, name: str = "tracker") -> None:
        self.name = name
        self._link = link
        self._sigma_m_max = sigma_m_max

    async def identify(self) -> dict[str, str]:
        """Its model and serial number. WrongModel if another answers."""
        fields = await self._link.ask(b"MKTRQ", answer=b"MKTRI")
        if len(fields) != 3 or fields[0] != MODEL:
            raise WrongModel(f"{self.name}: {b','.join(fields)!r} answers where {MODEL.decode()} should be")
        return {"model": fields[0].decode(), "version": fields[1].decode(), "serial": fields[2].decode()}

    async def configure(self, rate_hz: int) -> None:
        """Set how often it tells, and see that it took it."""
        fields = await self._link.ask(b"MKTRR", b"%d" % rate_hz, answer=b"MKTRS")
        if fields != [b"%d" % rate_hz]:
            raise Unverified(f"{self.name}: a rate of {rate_hz} Hz was asked for, it says {b','.join(fields)!r}")

    def fix(self) -> Fix | None:
        """The newest fix, with the loop time at which it was heard."""
        return self._link.latest

    async def poll(self) -> dict[str, Reading]:
        """The newest fix as readings. While it searches they are STALE, with the time of the last fix; BAD before any.

        Raises LinkError when the port is gone.
        """
        if self._link.error is not None:
            raise self._link.error
        fix = self._link.latest
        if fix is None:
            return {name: self._reading(name, math.nan, unit, 0.0, Quality.BAD) for name, unit in _SIGNALS}
        bad = fix.sigma_m > self._sigma_m_max
        quality = Quality.BAD if bad else Quality.STALE if self._link.is_searching else Quality.GOOD
        values = (fix.x_m, fix.y_m, fix.z_m, fix.sigma_m)
        return {
            name: self._reading(name, value, unit, fix.heard_s, quality)
            for (name, unit), value in zip(_SIGNALS, values, strict=True)
        }

    async def safe(self) -> None:
        """It acts on nothing."""

    @staticmethod
    def _reading(name: str, value: float, unit: str, time_s: float, quality: Quality) -> Reading:
        limit = LimitState.NORMAL if quality is Quality.GOOD else LimitState.WARN
        return Reading(name, value, unit, time_s, quality, limit)


_SIGNALS = (("x_m", "m"), ("y_m", "m"), ("z_m", "m"), ("sigma_m", "m"))

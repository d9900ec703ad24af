"""When a Modbus frame may begin: t3.5 after the last byte, and after an answer that may still come, if one is owed.

No I/O and no clock: every call is told the loop time, in seconds.
"""

from __future__ import annotations

SILENCE_MIN_S = 0.00175  # t3.5 above 19200 baud is fixed (serial line specification)
DRAIN_LIMIT_S = 5.0  # whoever waits behind a line that babbles longer than this is told so


class Quiet:
    """`silence_s`: t3.5, 0 on TCP. `free_at_s`: when a frame may begin; `until_s`: when one may that an older answer
    must not be taken for its own. `is_tainted`: an older answer may still come."""

    def __init__(self, silence_s: float) -> None:
        self.silence_s = silence_s
        self.free_at_s = self.until_s = 0.0
        self.is_tainted = False
        self._drain_ends_s = 0.0

    def begin(self, now_s: float, byte_time_s: float, *, is_rtu: bool) -> None:
        """The line has been opened: what was on it before is over after t3.5."""
        if is_rtu:  # above 19200 baud t3.5 is fixed
            self.silence_s = 3.5 * byte_time_s if byte_time_s > 10 / 19200 else SILENCE_MIN_S
        self.until_s = self.free_at_s = now_s + self.silence_s

    def heard(self, now_s: float) -> None:
        """Bytes came."""
        self.free_at_s = now_s + self.silence_s

    def ended(self, now_s: float) -> None:
        """A transaction is over."""
        self.free_at_s = now_s + self.silence_s
        self.until_s = max(self.until_s, self.free_at_s)

    def sent(self, now_s: float) -> None:
        """A frame goes out: the wait is over, unless it is a stop, which does not end it."""
        self.is_tainted = self.is_tainted and now_s < self.until_s

    def taint(self, now_s: float, quiet_s: float) -> bool:
        """An older answer may still come: nothing but a stop is sent before it was quiet so long. Whether that is
        new."""
        is_new = not self.is_tainted
        if is_new:
            self.is_tainted = True
            self._drain_ends_s = now_s + DRAIN_LIMIT_S
        self.until_s = max(self.until_s, now_s + quiet_s)
        return is_new

    def is_draining(self, now_s: float) -> bool:
        """Whether an older answer is waited for."""
        return self.is_tainted and now_s < self.until_s

    def is_babbling(self, now_s: float) -> bool:
        """Whether that has lasted too long; asked again, it is counted from now."""
        if not self.is_draining(now_s) or now_s < self._drain_ends_s:
            return False
        self._drain_ends_s = now_s + DRAIN_LIMIT_S
        return True

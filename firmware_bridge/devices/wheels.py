"""Drive and steering motors of a rover on RoboClaw boards.

    wheels = RoboClawWheels(link, layout)
    await wheels.identify()
    await wheels.configure(0.5)                     # the boards' own dead-man, read back
    await wheels.drive({"fl": 1.0, ...}, {"fl": 0.1, ...}, seq=1, valid_until_s=loop.time() + 0.4)
    readings = await wheels.poll()                  # at 10 Hz

Nothing moves for longer than somebody means it to. Each command has a number and an end: a stale, repeated or overtaken
one is refused, also while it waits for the line. poll() stops the wheels when the last command's time is over, since
its own questions feed the boards' dead-man; if nobody polls either, the dead-man stops them. A board that has lost its
settings (it reads back another serial timeout, or its counters jump) is driven no more until configure() is called; nor
are any wheels when a board has reported an error (emergency stop, driver fault, ...): that it is gone starts nothing.
Wheels that turn although they were stopped are stopped again at each poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import struct
from collections.abc import Callable, Mapping
from typing import Protocol

from firmware_bridge.devices.wheel_orders import check_fresh, check_values
from firmware_bridge.devices.wheels_layout import RoboClawLayout
from firmware_bridge.devices.wheels_readings import (
    ERROR_BITS,
    GET_COUNTERS,
    GET_STATUS,
    GET_TIMEOUT,
    SLOW_READS,
    BoardReadings,
    BoardState,
    Tick,
    status_limit,
    status_words,
)
from firmware_bridge.errors import (
    BridgeError,
    DeviceError,
    DeviceReset,
    FrameError,
    LinkTimeout,
    NotReady,
    Rejected,
    Unverified,
    WrongModel,
)
from firmware_bridge.links.roboclaw import RoboClawLink
from firmware_bridge.signals import LimitState, Reading

__all__ = ["RoboClawLayout", "RoboClawWheels", "Wheels"]

SET_TIMEOUT, GET_SPEED, GET_VERSION, SET_COUNTER, DUTIES_RAMPED = 14, 18, 21, 22, 54
SLOW_PERIOD_S = 1.0
DRIVE_RETRIES = 5
SETUP_RETRIES = 8  # nothing is in a hurry then, and a long reply is often damaged on a bad line
STOPS_WITHIN_S = 0.3
CREEP_RAD_S = 0.1
SPEED_FROM_S = (0.02, 0.5)  # between counts this far apart the speed is their difference
VERSION_MIN = (4, 1)


class Wheels(Protocol):
    """What a rover's wheels can be asked, whatever drives them."""

    names: tuple[str, ...]

    async def identify(self) -> object:
        """WrongModel if other devices answer than the machine file says."""

    async def configure(self, timeout_s: float) -> None:
        """Stand still, and arm what stops the wheels when nobody speaks to them for `timeout_s`."""

    async def poll(self) -> dict[str, Reading]:
        """`<wheel>_angle_rad` (cumulative), `<wheel>_speed_rad_s`, `<wheel>_current_a`, `<wheel>_steer_rad`, ..."""

    async def drive(
        self, speeds_rad_s: Mapping[str, float], steers_rad: Mapping[str, float], *, seq: int, valid_until_s: float
    ) -> None:
        """Speeds of all wheels and angles of all steered ones, until `valid_until_s`. Rejected if stale or repeated."""

    async def stop(self) -> None:
        """Stand still, ahead of everything that waits."""

    async def safe(self) -> None:
        """Stand still; may be called at any time and again."""


class RoboClawWheels:
    """The boards of one rover on one link. Angles in rad, speeds in rad/s, at the wheel."""

    def __init__(self, link: RoboClawLink, layout: RoboClawLayout, *, name: str = "wheels") -> None:
        self.name = name
        self.layout = layout
        self.names = tuple(layout.wheels)
        self._link = link
        self._boards = [BoardState(plan) for plan in layout.boards()]
        self._readings = BoardReadings(layout, self._boards)
        self._slow_plan = [(board, *item) for item in SLOW_READS for board in self._boards]
        self._slow_next = 0
        self._polled_s = -math.inf
        self._timeout_steps: int | None = None
        self._seq: int | None = None
        self._valid_until_s: float | None = None
        self._stopped_s: float | None = None  # when they were told to stand still, if nothing came after it
        self._generation = 0  # goes up with each command and each stop: what belongs to an older one is not sent

    # -- before driving -----------------------------------------------------------------------------------------

    async def identify(self) -> dict[int, str]:
        """The firmware text of each board, by address. WrongModel for another model, or firmware before 4.1."""
        texts = {}
        for board in self._boards:
            text = await self._link.read_text(board.address, GET_VERSION, retries=SETUP_RETRIES)
            version = re.search(r"v(\d+)\.(\d+)", text)
            if self.layout.model.casefold() not in text.casefold() or version is None:
                raise WrongModel(
                    f"board {board.address} on {self._link.url} says that it is '{text}', not a {self.layout.model}: "
                    f"check its address and the machine file's entry for {self.name}."
                )
            if (int(version[1]), int(version[2])) < VERSION_MIN:
                raise WrongModel(
                    f"board {board.address} on {self._link.url} has firmware '{text}': bring it to 4.1 or later, "
                    "whose status bits and commands are known."
                )
            texts[board.address] = text
        return texts

    async def configure(self, timeout_s: float) -> None:
        """Stand still; set each board's serial timeout (0.1 to 25.5 s, rounded down to 0.1 s) and read it back.

        Writes no NVM. Rejected for another timeout, Unverified if it reads back differently, NotReady if a board
        reports an error or lost its counters while its wheels were being steered.
        """
        steps = math.floor(timeout_s * 10 + 1e-6) if math.isfinite(timeout_s) else 0
        if not 1 <= steps <= 255:
            raise Rejected(f"{self.name}: a serial timeout of {timeout_s:g} s is refused: 0.1 to 25.5 s are possible.")
        self._timeout_steps = None
        await self.stop()
        for board in self._boards:
            address = board.address
            with contextlib.suppress(LinkTimeout):  # some firmware is said to acknowledge no byte of data: it is read
                await self._link.write(address, SET_TIMEOUT, bytes((steps,)), retries=SETUP_RETRIES)
            seen = (await self._link.read(address, GET_TIMEOUT, 1, retries=SETUP_RETRIES))[0]
            if seen != steps:
                raise Unverified(
                    f"board {address}: its serial timeout was set to {steps / 10:g} s and reads back as {seen / 10:g} "
                    "s. It would not stop by itself: do not drive; look at the board."
                )
            status = int.from_bytes(await self._link.read(address, GET_STATUS, 4, retries=SETUP_RETRIES), "big")
            if status_limit(status) is LimitState.ALARM:
                raise NotReady(
                    f"board {address} reports {', '.join(status_words(status))}. Remove the cause, then configure "
                    "again."
                )
            board.alarm = None
            if board.lost is not None:
                await self._restore(board)
                board.lost = None
            board.has_failed = False
            self._take_counts(board, await self._link.read(address, GET_COUNTERS, 8, retries=SETUP_RETRIES))
            board.sure = dict(board.ticks)
        self._timeout_steps = steps

    async def set_straight(self) -> None:
        """Tell the boards that all steered wheels stand straight now: their counters are set so."""
        for board in self._boards:
            for channel, (name, _) in board.plan.steers.items():
                await self._set_counter(board, channel, self.layout.steer_zero_ticks.get(name, 0))
                board.sure[channel] = board.ticks[channel]

    async def _restore(self, board: BoardState) -> None:
        """After a restart: a steering counter gets its last sure value, if the motor stood there as it was told to.

        A driving motor's counter goes on from where it was, whatever the board counts from now on.
        """
        for channel, (name, _) in board.plan.steers.items():
            tick, told = board.sure.get(channel), board.told.get(channel)
            if tick is None or (told is not None and abs(tick.wrapped - told) > 0.03 * self.layout.steer_ticks_per_rad):
                raise NotReady(
                    f"board {board.address} lost the counter of {name}'s steering while it turned: nobody knows where "
                    "the wheel points. Straighten the steered wheels, then call set_straight() and configure again."
                )
            await self._set_counter(board, channel, tick.wrapped)
        raw = await self._link.read(board.address, GET_COUNTERS, 8)
        now_s = asyncio.get_running_loop().time()
        for channel, wrapped in enumerate(struct.unpack(">ii", raw), start=1):
            if channel in board.plan.drives and channel in board.ticks:
                board.ticks[channel] = Tick(wrapped, board.ticks[channel].total, 0.0, now_s)

    async def _set_counter(self, board: BoardState, channel: int, ticks: int) -> None:
        await self._link.write(
            board.address, SET_COUNTER + channel - 1, struct.pack(">i", ticks), retries=SETUP_RETRIES
        )
        board.ticks[channel] = Tick(ticks, ticks, 0.0, asyncio.get_running_loop().time())
        board.told.pop(channel, None)

    # -- driving ------------------------------------------------------------------------------------------------

    async def drive(
        self, speeds_rad_s: Mapping[str, float], steers_rad: Mapping[str, float], *, seq: int, valid_until_s: float
    ) -> None:
        """Speeds (rad/s) of all wheels and angles (rad, left positive) of all steered ones, until `valid_until_s`.

        `seq` must grow with each command. Rejected: stale, repeated, overtaken by a stop, a name missing or unknown,
        not a number, too fast, too far. NotReady before configure() and after an error that a board has reported;
        DeviceReset if a board has lost its settings.
        LinkTimeout or FrameError if a board did not take its part; the others have theirs.
        """
        self._check_ready()
        self._check_order(speeds_rad_s, steers_rad, seq, valid_until_s)
        self._seq = seq
        self._valid_until_s = valid_until_s
        self._stopped_s = None
        self._generation += 1
        unless = self._overtaken(self._generation, seq, valid_until_s)
        errors: list[BridgeError] = []
        for board in self._boards:
            if board.has_failed:  # it may have been off: poll() asks it first whether its dead-man is still armed
                errors.append(
                    LinkTimeout(f"board {board.address} on {self._link.url} did not answer when polled last.")
                )
                continue
            board.told.update(self.layout.steer_ticks(board.plan, steers_rad))
            for command, data in self.layout.commands(board.plan, speeds_rad_s, steers_rad):
                try:
                    await self._link.write(board.address, command, data, retries=DRIVE_RETRIES, unless=unless)
                except (LinkTimeout, FrameError) as error:
                    errors.append(error)
        if errors:
            raise type(errors[0])(f"{self.name}: {len(errors)} commands were not taken. First: {errors[0]}")

    @property
    def is_ready(self) -> bool:
        """Whether drive() would be taken: configured, and no board has reported an error or restarted since."""
        try:
            self._check_ready()
        except DeviceError:
            return False
        return True

    def _check_ready(self) -> None:
        if self._timeout_steps is None:
            raise NotReady(f"{self.name} is not driven: configure() must arm the boards' serial timeout first.")
        for board in self._boards:
            if board.lost is not None:
                raise DeviceReset(f"{self.name} is not driven: {board.lost} Find out why, then configure() it again.")
            if board.alarm is not None:
                raise NotReady(
                    f"{self.name} is not driven: board {board.address} has reported {board.alarm} and stopped its "
                    "motors. Remove the cause, then configure() again."
                )

    def _check_order(
        self, speeds_rad_s: Mapping[str, float], steers_rad: Mapping[str, float], seq: int, valid_until_s: float
    ) -> None:
        layout = self.layout
        check_values(self.name, "speed", speeds_rad_s, layout.wheels, layout.speed_max_rad_s, "rad/s")
        check_values(self.name, "steering angle", steers_rad, layout.steers, layout.steer_max_rad, "rad")
        check_fresh(self.name, self._seq, seq, valid_until_s, asyncio.get_running_loop().time())

    def _overtaken(self, generation: int, seq: int, valid_until_s: float) -> Callable[[], str | None]:
        loop = asyncio.get_running_loop()

        def reason() -> str | None:
            if self._generation != generation:
                return f"{self.name}: command {seq} was overtaken by a stop or a newer one, and is not sent."
            if loop.time() > valid_until_s:
                return f"{self.name}: command {seq} grew stale while it waited for the line, and is not sent."
            return None

        return reason

    async def stop(self) -> None:
        """Duty 0 on every board, ramped, ahead of all that waits; what was commanded before is not sent any more.

        Raises the first board's LinkTimeout or FrameError, after all have been asked: its dead-man has to stop it.
        """
        self._generation += 1
        self._valid_until_s = None
        self._stopped_s = asyncio.get_running_loop().time()
        ramp = struct.pack(">hIhI", 0, self.layout.stop_rate, 0, self.layout.stop_rate)
        results = await asyncio.gather(
            *(
                self._link.write(board.address, DUTIES_RAMPED, ramp, retries=DRIVE_RETRIES, urgent=True)
                for board in self._boards
            ),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def safe(self) -> None:
        """Stand still. May be called at any time and again."""
        await self.stop()

    # -- reading ------------------------------------------------------------------------------------------------

    async def poll(self) -> dict[str, Reading]:
        """Counters of all boards, and a part of what is read once a second.

        `<wheel>_angle_rad`, `<wheel>_speed_rad_s`, `<wheel>_current_a`, `<wheel>_steer_rad`, `<wheel>_steer_a` (the
        steering motor's current); over all boards `volts_v` (the lowest), `board_temp_c` (the highest) and `status`
        (all bits); and these of each board (`board128_volts_v`). A board that does not answer has its last values, BAD
        after 0.3 s (3 s for the slow ones). LinkTimeout if none answers.
        """
        loop = asyncio.get_running_loop()
        if (self._valid_until_s is not None and loop.time() >= self._valid_until_s) or self._creeps(loop.time()):
            await self.stop()
        errors = []
        for board in self._boards:
            try:
                await self._read_counts(board)
            except (LinkTimeout, FrameError) as error:
                board.has_failed = True
                errors.append(error)
        if len(errors) == len(self._boards):
            raise errors[0]
        await self._read_slowly(loop.time())
        return self._readings.at(loop.time())

    def _creeps(self, now_s: float) -> bool:
        """Whether a wheel still turns that was told to stand still: a 0xFF is no proof that a board has obeyed, and its
        dead-man does not strike while it is polled."""
        if self._stopped_s is None or now_s - self._stopped_s < STOPS_WITHIN_S:
            return False
        creep = CREEP_RAD_S * self.layout.ticks_per_rad
        return any(
            abs(tick.speed) > creep and tick.time_s > self._stopped_s + STOPS_WITHIN_S / 2
            for board in self._boards
            for channel, tick in board.ticks.items()
            if channel in board.plan.drives
        )

    async def _read_counts(self, board: BoardState) -> None:
        raw = await self._link.read(board.address, GET_COUNTERS, 8)
        if board.has_failed and self._timeout_steps is not None:  # has it been off meanwhile?
            self._check_timeout(board, await self._link.read(board.address, GET_TIMEOUT, 1))
        board.has_failed = False
        for channel in self._take_counts(board, raw):
            speed, flags = struct.unpack(">iB", await self._link.read(board.address, GET_SPEED + channel - 1, 5))
            board.ticks[channel] = board.ticks[channel]._replace(speed=float(-abs(speed) if flags & 1 else speed))

    def _take_counts(self, board: BoardState, raw: bytes) -> list[int]:
        """Note both counters. Returns the channels whose speed is not known from them: the last ones are too old."""
        now_s = asyncio.get_running_loop().time()
        unknown: list[int] = []
        if board.lost is not None:  # what was known last is kept for the repair
            return unknown
        for channel, wrapped in enumerate(struct.unpack(">ii", raw), start=1):
            if channel not in board.plan.channels:
                continue
            last = board.ticks.get(channel)
            if last is None:
                board.ticks[channel] = Tick(wrapped, wrapped, 0.0, now_s)
                unknown.append(channel)
                continue
            dt_s = now_s - last.time_s
            if dt_s < SPEED_FROM_S[0]:
                continue
            change = (wrapped - last.wrapped + 0x80000000 & 0xFFFFFFFF) - 0x80000000
            if abs(change) > self.layout.jump_ticks(board.plan, channel, dt_s):
                board.lost = (
                    f"board {board.address} has restarted: counter {channel} went from {last.wrapped} to {wrapped} "
                    f"in {dt_s:.2g} s."
                )
                return []
            if dt_s > SPEED_FROM_S[1]:
                unknown.append(channel)
            board.ticks[channel] = Tick(wrapped, last.total + change, change / dt_s, now_s)
        return unknown

    async def _read_slowly(self, now_s: float) -> None:
        """As many of the slow reads as are due, each about once a second, in turn."""
        plan = self._slow_plan
        share = len(plan) * min(1.0, (now_s - self._polled_s) / SLOW_PERIOD_S)
        self._polled_s = now_s
        for _ in range(math.ceil(share - 1e-6)):
            board, command, size = plan[self._slow_next % len(plan)]
            self._slow_next += 1
            if board.has_failed:
                continue
            try:
                raw = await self._link.read(board.address, command, size)
            except (LinkTimeout, FrameError):
                board.has_failed = True  # the readings that this one feeds grow old, and say so
                continue
            board.slow[command] = (raw, asyncio.get_running_loop().time())
            if command == GET_STATUS and self._timeout_steps is not None:
                await self._heed_status(board, int.from_bytes(raw, "big"))
            if command == GET_TIMEOUT and self._timeout_steps is not None:
                self._check_timeout(board, raw)

    async def _heed_status(self, board: BoardState, status: int) -> None:
        """An error stops one board by itself; the others are stopped here, and none is driven until configure()."""
        if status_limit(status) is not LimitState.ALARM:
            return
        is_new = board.alarm is None
        board.alarm = ", ".join(status_words(status & ERROR_BITS))
        if is_new:
            await self.stop()

    def _check_timeout(self, board: BoardState, raw: bytes) -> None:
        """A restart takes the serial timeout back to what the board's memory holds."""
        if raw[0] == self._timeout_steps:
            board.sure = dict(board.ticks)
        elif board.lost is None:
            board.lost = (
                f"board {board.address} has restarted: its serial timeout reads {raw[0] / 10:g} s, not "
                f"{(self._timeout_steps or 0) / 10:g} s."
            )

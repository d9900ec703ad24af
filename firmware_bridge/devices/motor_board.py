"""One RoboClaw motor board by itself: every command of its manual by name, in units and within bounds.

    board = MotorBoard(link, 0x80)
    await board.identify()
    await board.arm(0.5)                                        # its own dead-man, set and read back
    await board.tell("m1_speed", speed_qpps=500)
    counts = (await board.ask("encoders"))["m1_counts"]

For benches and machines with a motor or two; a rover's boards are driven together by `wheels.RoboClawWheels`. Nothing
moves before the dead-man is armed, nor after the board has reported an error or was seen to have restarted, until it is
armed again. Every answer feeds the dead-man: who asks without meaning the motors to turn has to stop them.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque

from firmware_bridge.devices.wheels_readings import status_limit, status_words
from firmware_bridge.errors import DeviceReset, LinkTimeout, NotReady, Rejected, Unverified, WrongModel
from firmware_bridge.links.roboclaw import RETRIES, RoboClawLink
from firmware_bridge.links.roboclaw_commands import COMMANDS, NVM_KEY, SIMPLE_UNTIL, Command, Kind
from firmware_bridge.signals import LimitState, Quality, Reading

GET_VERSION = 21
SETUP_RETRIES = 8
STORES_PER_DAY_MAX = 10
DAY_S = 86_400.0
STOP_RATE_1_S = 10.0  # full duty to none in 0.1 s
POLLED = ("encoders", "status", "serial_timeout", "currents", "main_battery", "temperature")


class MotorBoard:
    """One board on a line. `model`: what the firmware's text must hold."""

    def __init__(self, link: RoboClawLink, address: int, *, name: str = "motors", model: str = "roboclaw") -> None:
        self.name = name
        self.address = address
        self._link = link
        self._model = model
        self._version: tuple[int, ...] = ()
        self._timeout_s: float | None = None  # None: not armed
        self._barred: str | None = None
        self._stores_s: deque[float] = deque()
        self._generation = 0  # goes up with each stop: a move that waited while it came is not sent

    # -- before moving ------------------------------------------------------------------------------------------

    async def identify(self) -> str:
        """The firmware's text. WrongModel for another model, or firmware before 4.1."""
        text = await self._link.read_text(self.address, GET_VERSION, retries=SETUP_RETRIES)
        found = re.search(r"v(\d+)\.(\d+)(?:\.(\d+))?", text)
        if self._model.casefold() not in text.casefold() or found is None:
            raise WrongModel(f"{self._where} says that it is '{text}', not a {self._model}: check its address.")
        self._version = tuple(int(part or 0) for part in found.groups())
        if self._version < (4, 1):
            raise WrongModel(f"{self._where} has firmware '{text}': bring it to 4.1 or later, whose status is known.")
        return text

    async def arm(self, timeout_s: float) -> None:
        """Stop; set the serial timeout (0.1 to 25.5 s, in steps of 0.1 s) and read it back; look for errors.

        Rejected for another timeout, Unverified if it reads back differently, NotReady if the board reports an error.
        """
        self._timeout_s = None
        data = COMMANDS["set_serial_timeout"].encode({"timeout_s": timeout_s})
        await self.stop()
        with contextlib.suppress(LinkTimeout):  # some firmware is said to acknowledge no byte of data: it is read
            await self._link.write(self.address, COMMANDS["set_serial_timeout"].number, data, retries=SETUP_RETRIES)
        wanted_s, seen_s = data[0] / 10, (await self._values("serial_timeout"))["timeout_s"]
        if seen_s != wanted_s:
            raise Unverified(
                f"{self._where}: its serial timeout was set to {wanted_s:g} s and reads back as {seen_s:g} s. It would "
                "not stop by itself: move nothing; look at the board."
            )
        status = int((await self._values("status"))["status"])
        if status_limit(status) is LimitState.ALARM:
            raise NotReady(
                f"{self._where} reports {', '.join(status_words(status))}. Remove the cause, then arm again."
            )
        self._barred = None
        self._timeout_s = seen_s

    # -- asking and telling -------------------------------------------------------------------------------------

    async def ask(self, name: str) -> dict[str, float]:
        """The values of a read, by their names; units are in `COMMANDS[name].fields`. Rejected for another command."""
        command = self._command(name)
        if command.kind is not Kind.READ:
            raise Rejected(f"{self.name}: {name} is no question: tell() it.")
        found = await self._values(name)
        self._heed(name, found)
        return found

    async def poll(self) -> dict[str, Reading]:
        """Counters, status, serial timeout, currents, supply and temperature, by the names of the fields."""
        readings: dict[str, Reading] = {}
        for name in POLLED:
            found = await self.ask(name)
            now_s = asyncio.get_running_loop().time()
            limit = status_limit(int(found["status"])) if name == "status" else LimitState.NORMAL
            for field in COMMANDS[name].fields:
                value = found[field.name]
                readings[field.name] = Reading(field.name, value, field.unit, now_s, Quality.GOOD, limit)
        return readings

    async def tell(self, name: str, **values: float) -> None:
        """Carry out a command that moves or sets something, acknowledged.

        A move by a distance is sent once. If its answer is lost (LinkTimeout, FrameError) nobody knows whether it was
        taken: look at the counters and at `ask("buffers")` before it is told again.
        Rejected for values out of bounds, a question, or a command that this firmware does not answer; NotReady before
        arm() and after an error; DeviceReset if the board has lost its settings.
        """
        command = self._command(name)
        if command.kind is Kind.READ:
            raise Rejected(f"{self.name}: {name} is a question: ask() it.")
        if command.kind is Kind.STORE:
            raise Rejected(f"{self.name}: {name} wears the board's memory out: use store().")
        if command.number == COMMANDS["set_serial_timeout"].number:
            raise Rejected(f"{self.name}: the serial timeout is set, and read back, by arm().")
        data = command.encode(values)
        unless = None
        if command.kind is Kind.MOVE:
            self._check_ready()
            self._check_answered(command)
            generation = self._generation

            def unless() -> str | None:
                return None if self._generation == generation else f"{self.name}: {name} was overtaken by a stop."

        retries = 0 if command.is_relative else RETRIES
        await self._link.write(self.address, command.number, data, retries=retries, unless=unless)

    async def store(self) -> None:
        """Write the settings in use into the board's memory, from which it boots. Rejected over 10 times a day."""
        now_s = asyncio.get_running_loop().time()
        while self._stores_s and now_s - self._stores_s[0] >= DAY_S:
            self._stores_s.popleft()
        if len(self._stores_s) >= STORES_PER_DAY_MAX:
            raise Rejected(
                f"{self._where}: its settings were stored {STORES_PER_DAY_MAX} times in 24 h, and its memory wears out."
            )
        self._stores_s.append(now_s)
        command = COMMANDS["store_settings"]
        await self._link.write(self.address, command.number, command.encode({"key": NVM_KEY}), retries=0)

    async def stop(self) -> None:
        """Both motors to duty 0 by a ramp, ahead of all that waits on the line; what is buffered is forgotten."""
        self._generation += 1
        command = COMMANDS["both_duty_ramp"]
        rates = {"m1_rate_1_s": STOP_RATE_1_S, "m2_rate_1_s": STOP_RATE_1_S}
        data = command.encode({"m1_duty": 0.0, "m2_duty": 0.0, **rates})
        await self._link.write(self.address, command.number, data, urgent=True)

    async def safe(self) -> None:
        """Stand still. May be called at any time and again."""
        await self.stop()

    # -- inside -------------------------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return f"{self.name}: board {self.address} on {self._link.url}"

    def _command(self, name: str) -> Command:
        if name not in COMMANDS:
            raise Rejected(f"{self.name}: there is no command {name!r}; there are {', '.join(COMMANDS)}.")
        return COMMANDS[name]

    async def _values(self, name: str) -> dict[str, float]:
        command = COMMANDS[name]
        return command.decode(await self._link.read(self.address, command.number, command.size))

    def _heed(self, name: str, found: dict[str, float]) -> None:
        """What bars the next move."""
        if self._timeout_s is None:
            return
        if name == "status" and status_limit(int(found["status"])) is LimitState.ALARM:
            self._barred = f"has reported {', '.join(status_words(int(found['status']) & 0xFFFF))}"
        elif name == "serial_timeout" and found["timeout_s"] != self._timeout_s:
            self._barred = (
                f"has restarted: its serial timeout reads {found['timeout_s']:g} s, not {self._timeout_s:g} s"
            )
            raise DeviceReset(f"{self._where} {self._barred}. Find out why, then arm() it again.")

    def _check_ready(self) -> None:
        if self._timeout_s is None:
            raise NotReady(f"{self.name} is not moved: arm() must set the board's serial timeout first.")
        if self._barred is not None:
            raise NotReady(
                f"{self.name} is not moved: {self._where} {self._barred}. Remove the cause, then arm() again."
            )

    def _check_answered(self, command: Command) -> None:
        if command.is_simple and self._version > SIMPLE_UNTIL:
            version = ".".join(map(str, self._version))
            raise Rejected(
                f"{self.name}: firmware {version} leaves {command.name} unanswered: use "
                f"{command.name[:2]}_duty, which every firmware takes."
            )
